// Package wire is how the control node and the helper talk: frames over a byte stream, and the
// messages inside them. It trusts neither side: every length is checked before memory is taken for it.
//
// A frame is a length (4 bytes, big endian, of what follows it), a kind (1 byte), the request's number
// (4 bytes) and a payload. A request is one Request frame, followed by Data frames where content is
// streamed; its answer is any number of Part frames and one Done frame, whose payloads together are
// the message. Before a large content is streamed the helper says how much of it an earlier request, which
// broke off, has left (From). Requests run side by side; Cancel ends one.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Kind is what a frame is.
type Kind byte

// Kinds of frame.
const (
	// Request starts a request; the payload is an Op byte and the operation's message.
	Request Kind = 1 + iota
	// Data is the next piece of the content that a request streams to the helper.
	Data
	// Cancel ends a request early. The helper still answers it.
	Cancel
	// Ping shows that the sender lives. It asks for no answer.
	Ping
	// Part is a piece of an answer, Done the last piece.
	Part
	Done
	// Credit lets the control node send as many more bytes of Data as the payload says.
	Credit
	// From says from which byte on the helper wants the next content that resumes (see Change.Resumes).
	// After that content has been sent it comes once more: its size when all is well, 0 when what the
	// helper had from before was damaged and all of it is wanted again.
	From
)

// Op is what a request asks for.
type Op byte

// Operations. Nothing answers at once. Job is about a command that goes on by itself. Fenced stands before a request
// that is made under locks; FenceOp asks for these alone. Hold is about a lock that the helper holds. KeptFolder asks where
// what was there before changes is kept.
const (
	Nothing Op = 1 + iota
	Look
	Apply
	Run
	Job
	Fenced
	FenceOp
	Hold
	KeptFolder
)

const (
	// HeaderLen is how many bytes come before a frame's payload.
	HeaderLen = 9
	// MaxRequest bounds one frame to the helper, MaxPart one from it.
	MaxRequest = 8 << 20
	MaxPart    = 256 << 10
	// ChunkLen is how much content one Data frame carries at most.
	ChunkLen = 64 << 10
	// Window is how many bytes of Data may be on their way before the helper has given Credit.
	Window = 2 << 20
	// InlineLen is up to what size content travels inside the request.
	InlineLen = 32 << 10
	// ResumeLen is from what size on content that broke off is continued and not sent again.
	ResumeLen = 8 << 20

	// grain is how much memory a length alone may ask for; the rest is taken as bytes arrive.
	grain = 64 << 10
)

// Frame is one frame.
type Frame struct {
	Kind    Kind
	ID      uint32
	Payload []byte
}

// ErrFrame is a stream that does not hold frames, or holds one over the bound.
var ErrFrame = errors.New("broken frame")

// Begin makes room for a frame whose payload is appended to it; Finish completes it.
func Begin(payload int) []byte { return make([]byte, HeaderLen, HeaderLen+payload) }

// Finish fills in the header of a frame made with Begin.
func Finish(frame []byte, kind Kind, id uint32) []byte {
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	frame[4] = byte(kind)
	binary.BigEndian.PutUint32(frame[5:], id)
	return frame
}

// Read reads one frame whose payload has at most limit bytes. io.EOF is an end between two frames.
func Read(r io.Reader, limit int) (Frame, error) {
	var head [HeaderLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Frame{}, err
	}
	n := int64(binary.BigEndian.Uint32(head[:])) - (HeaderLen - 4)
	if n < 0 || n > int64(limit) {
		return Frame{}, fmt.Errorf("%w: length %d", ErrFrame, n)
	}
	f := Frame{Kind: Kind(head[4]), ID: binary.BigEndian.Uint32(head[5:])}
	if f.Kind < Request || f.Kind > From {
		return Frame{}, fmt.Errorf("%w: kind %d", ErrFrame, head[4])
	}
	for left := int(n); left > 0; {
		step := min(left, max(grain, len(f.Payload)))
		old := len(f.Payload)
		if cap(f.Payload)-old < step {
			f.Payload = append(make([]byte, 0, old+step), f.Payload...)
		}
		f.Payload = f.Payload[:old+step]
		if _, err := io.ReadFull(r, f.Payload[old:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return Frame{}, err
		}
		left -= step
	}
	return f, nil
}
