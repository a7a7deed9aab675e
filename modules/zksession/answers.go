package zksession

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// The library takes what a server answers as it is: a length or a count that is made up takes all memory, and an
// answer that is cut short ends the process. The server may be a host that was taken over, or whoever stands between.
// So each answer is gone through before the library sees it.

const (
	// maxAnswer is 16 times what a server sends unless it was set up otherwise (jute.maxbuffer).
	maxAnswer = 16 << 20
	// shortestSession and longestSession bound the timeout that a server gives, which the library divides into pings.
	shortestSession = 10 * time.Millisecond
	longestSession  = 24 * time.Hour
)

// Operations, of which answers are known by the number of their question.
const (
	opCreate          = 1
	opDelete          = 2
	opExists          = 3
	opGetData         = 4
	opSetData         = 5
	opGetACL          = 6
	opSetACL          = 7
	opGetChildren     = 8
	opSync            = 9
	opGetChildren2    = 12
	opCheck           = 13
	opMulti           = 14
	opReconfig        = 16
	opCreateContainer = 19
	opCreateTTL       = 21
	opClose           = -11
	opSetAuth         = 100
	opSetWatches      = 101
	opError           = -1

	ofWatch = -1 // the number of what answers no question, but tells of a change
)

// errNonsense is what no server of ZooKeeper answers.
var errNonsense = errors.New("it does not answer as ZooKeeper does")

// traffic is what goes through a connection.
type traffic struct {
	mu    sync.Mutex // guards asked
	asked map[int32]int32
}

// guarded is a connection whose answers can be relied on, with the deadlines that the library needs and connections
// through a tunnel have not. wrong is told of an answer that is none, with which the connection ends.
func guarded(raw net.Conn, wrong func(error)) net.Conn {
	near, far := net.Pipe()
	t := &traffic{asked: map[int32]int32{}}
	go func() {
		if err := pass(far, raw, maxAnswer, t.checkAnswers()); errors.Is(err, errNonsense) {
			wrong(err)
		}
		_ = far.Close()
	}()
	go func() {
		_ = pass(raw, far, 1<<30, t.noteQuestions()) // it ends with the connection
		_ = raw.Close()
	}()
	return near
}

// pass passes frames on that a check lets through, until one does not or an end closes. What a length says is taken as
// it comes, not at once.
func pass(to io.Writer, from io.Reader, most uint32, check func(frame []byte) error) error {
	var frame bytes.Buffer
	for {
		frame.Reset()
		if _, err := io.CopyN(&frame, from, 4); err != nil {
			return err
		}
		length := binary.BigEndian.Uint32(frame.Bytes())
		if length > most {
			return fmt.Errorf("%w: an answer of %d bytes", errNonsense, length)
		}
		if _, err := io.CopyN(&frame, from, int64(length)); err != nil {
			return err
		}
		if err := check(frame.Bytes()[4:]); err != nil {
			return err
		}
		if _, err := to.Write(frame.Bytes()); err != nil {
			return err
		}
	}
}

// noteQuestions notes what each question asks for. The first frame opens the session and has no number.
func (t *traffic) noteQuestions() func([]byte) error {
	first := true
	return func(frame []byte) error {
		r := &reader{rest: frame}
		if number, op := r.int32(), r.int32(); !first && !r.short {
			t.mu.Lock()
			t.asked[number] = op
			t.mu.Unlock()
		}
		first = false
		return nil
	}
}

func (t *traffic) checkAnswers() func([]byte) error {
	first := true
	return func(frame []byte) error {
		r := &reader{rest: frame}
		switch {
		case first:
			r.session()
		default:
			t.answer(r)
		}
		first = false
		if r.short {
			return fmt.Errorf("%w: an answer is cut short", errNonsense)
		}
		return r.wrong
	}
}

// answer goes through an answer, or what tells of a change.
func (t *traffic) answer(r *reader) {
	number, _, failed := r.int32(), r.int64(), r.int32()
	if number == ofWatch {
		r.int32()
		r.int32()
		r.bytes()
		return
	}
	t.mu.Lock()
	op, asked := t.asked[number]
	delete(t.asked, number)
	t.mu.Unlock()
	if asked && number >= 0 && failed == 0 {
		r.result(op)
	}
}

// reader goes through the bytes of an answer.
type reader struct {
	rest  []byte
	short bool // there was less than there should be
	wrong error
}

func (r *reader) skip(n int) []byte {
	if r.short || n > len(r.rest) {
		r.short, r.rest = true, nil
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) int32() int32 {
	if b := r.skip(4); b != nil {
		return int32(binary.BigEndian.Uint32(b)) //nolint:gosec // the wire's numbers have a sign
	}
	return 0
}

func (r *reader) int64() int64 {
	if b := r.skip(8); b != nil {
		return int64(binary.BigEndian.Uint64(b)) //nolint:gosec // as above
	}
	return 0
}

// bytes is a text, or content, with its length before it.
func (r *reader) bytes() {
	if n := r.int32(); n >= 0 {
		r.skip(int(n))
	} else {
		r.short = true
	}
}

// content may be none at all, which is a length of -1.
func (r *reader) content() {
	if n := r.int32(); n > 0 {
		r.skip(int(n))
	}
}

// list is as many of something as the number before it says.
func (r *reader) list(one func()) {
	n := r.int32()
	if n < 0 || int(n) > len(r.rest)/4 { // the least that one of them takes
		r.short = true
		return
	}
	for range n {
		one()
	}
}

func (r *reader) stat() { r.skip(68) }

// session is the answer to the opening of a session.
func (r *reader) session() {
	r.int32()
	timeout := time.Duration(r.int32()) * time.Millisecond
	id := r.int64()
	r.content()
	if id != 0 && !r.short && (timeout < shortestSession || timeout > longestSession) {
		r.wrong = fmt.Errorf("%w: a session of %s", errNonsense, timeout)
	}
}

// result is what an operation that went well answers.
func (r *reader) result(op int32) {
	switch op {
	case opCreate, opSync, opCreateContainer, opCreateTTL:
		r.bytes()
	case opExists, opSetData, opSetACL:
		r.stat()
	case opGetData, opReconfig:
		r.content()
		r.stat()
	case opGetACL:
		r.list(func() { r.int32(); r.bytes(); r.bytes() })
		r.stat()
	case opGetChildren:
		r.list(r.bytes)
	case opGetChildren2:
		r.list(r.bytes)
		r.stat()
	case opMulti:
		r.results()
	case opDelete, opCheck, opClose, opSetAuth, opSetWatches:
	default:
		r.wrong = fmt.Errorf("%w: operation %d is not known", errNonsense, op)
	}
}

// results are those of several operations that were done together.
func (r *reader) results() {
	for !r.short {
		op, done, _ := r.int32(), r.skip(1), r.int32()
		switch {
		case r.short || done[0] != 0:
			return
		case op == opError:
			r.int32()
		case op == opCreate:
			r.bytes()
		case op == opSetData:
			r.stat()
		case op != opCheck && op != opDelete:
			return // the library reads no further
		}
	}
}
