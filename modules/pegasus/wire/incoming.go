package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// Incoming is a request as a server receives it, in either framing.
type Incoming struct {
	Header
	Code Code
	// Seq is the client's number for the request; of RDSN, its id.
	Seq int32
	// Request is nil for a procedure that this package does not know.
	Request Request
	// Forwardable is a client that follows a standby's ForwardReply (RDSN).
	Forwardable bool

	rdsn *rdsnHeader
	self Address
}

// Sniff tells whether a connection's next bytes begin an RPC request; HTTP ones ("GET ", "POST") do not.
// It waits for four bytes.
func Sniff(r *bufio.Reader) (bool, error) {
	magic, err := r.Peek(4)
	if err != nil {
		return false, err
	}
	return string(magic) == magicTHFT || string(magic) == magicRDSN, nil
}

// ReadIncoming reads one request. self is the server's own address, for replies. A *FrameError means
// that the connection is to be closed, and one that is Fatal that a real server would have aborted.
func ReadIncoming(r *bufio.Reader, self Address) (*Incoming, error) {
	magic, err := r.Peek(4)
	if err != nil {
		if len(magic) > 0 {
			err = noEOF(err)
		}
		return nil, err
	}
	switch string(magic) {
	case magicTHFT:
		return readTHFT(r, self)
	case magicRDSN:
		return readRDSN(r, self)
	}
	return nil, badFrame("a request that starts with %q", magic)
}

func readTHFT(r io.Reader, self Address) (*Incoming, error) {
	head := make([]byte, 16)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, noEOF(err)
	}
	in := &Incoming{self: self}
	var bodyLen int64
	switch version := binary.BigEndian.Uint32(head[4:]); version {
	case 0:
		if n := binary.BigEndian.Uint32(head[8:]); n != thftHeaderLen {
			return nil, badFrame("a header of %d bytes", n)
		}
		rest := make([]byte, thftHeaderLen-16)
		if _, err := io.ReadFull(r, rest); err != nil {
			return nil, noEOF(err)
		}
		bodyLen = in.readHeaderV0(rest)
	case 1:
		meta, err := readBody(r, int64(int32(binary.BigEndian.Uint32(head[8:]))))
		if err != nil {
			return nil, err
		}
		c := &coder{decoding: true, skipStructs: true, in: meta}
		if c.structure((*requestMeta)(&in.Header)); c.err != nil {
			return nil, c.err
		}
		bodyLen = int64(int32(binary.BigEndian.Uint32(head[12:])))
	default:
		return nil, badFrame("version %d of the header", version)
	}
	body, err := readBody(r, bodyLen)
	if err != nil {
		return nil, err
	}
	return in, in.decode(body)
}

// readHeaderV0 takes the header from its offset 16 on and gives the length of the body.
func (in *Incoming) readHeaderV0(b []byte) int64 {
	i32 := func(offset int) int32 { return int32(binary.BigEndian.Uint32(b[offset-16:])) }
	in.Header = Header{PID: GPID{App: i32(24), Index: i32(28)}, TimeoutMS: i32(32), ThreadHash: i32(36),
		PartitionHash: binary.BigEndian.Uint64(b[40-16:])}
	return int64(i32(16))
}

// requestMeta is the header of THFT version 1.
type requestMeta Header

func (h *requestMeta) fields(c *coder) {
	i32Field(c, 1, &h.PID.App)
	i32Field(c, 2, &h.PID.Index)
	i32Field(c, 3, &h.TimeoutMS)
	hash := int64(h.PartitionHash)
	c.i64Field(4, &hash)
	h.PartitionHash = uint64(hash)
	c.boolField(5, &h.Backup)
}

// decode reads a THFT body: thrift's message header, then the argument.
func (in *Incoming) decode(body []byte) error {
	c := &coder{decoding: true, skipStructs: true, in: body}
	var word int32
	var name string
	c.i32(&word)
	if word >= 0 && c.err == nil {
		// The old form has the name first and a byte for the type.
		c.in = body
		var typ byte
		c.text(&name)
		c.byte(&typ)
		word = int32(0x80010000 | uint32(typ))
	} else {
		c.text(&name)
	}
	c.i32(&in.Seq)
	if c.err == nil && uint32(word) != messageCall && uint32(word) != messageOneway {
		return badFrame("a message of type %#x", uint32(word))
	}
	in.Code = Code(name)
	return in.argument(c)
}

// argument reads the request's value. Whatever does not decode aborts a real server.
func (in *Incoming) argument(c *coder) error {
	if req := newRequest(in.Code); req != nil && c.err == nil {
		c.unwrap(req)
		in.Request = req
		if c.err == nil && len(c.in) > 0 {
			c.fail("%d bytes behind the argument", len(c.in))
		}
	}
	var bad *FrameError
	if errors.As(c.err, &bad) {
		in.Request = nil
		return &FrameError{Problem: "a body that does not decode: " + bad.Problem, Fatal: true}
	}
	return c.err
}

// Data says whether the request is about a table's data; such a request names its partition.
func (in *Incoming) Data() bool {
	switch in.Request.(type) {
	case *GetRequest, *PutRequest, *RemoveRequest, *TTLRequest:
		return true
	}
	return false
}

// Reply encodes an answer. With an error of the transport there is no result, whatever m is.
func (in *Incoming) Reply(err ErrorCode, m Reply) []byte {
	if in.rdsn != nil {
		return in.rdsn.reply(in, err, m)
	}
	return encodeTHFTReply(in.Code, in.Seq, err, m)
}

// NewReply is an empty result for the request, with this error in it where it can hold one; nil for
// an unknown procedure.
func (in *Incoming) NewReply() Reply {
	if in.Request == nil {
		return nil
	}
	return in.Request.newReply()
}
