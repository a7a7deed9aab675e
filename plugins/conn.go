package plugins

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pegbook/pegbook/plugins/wire"
)

// conn is a stream that the other side holds: a connection that it has dialled, or content that it reads.
type conn struct {
	*session
	number uint64
	local  addr
	remote addr

	closing sync.Once
	closed  chan struct{} // nil: it has no deadlines and is not closed while it is read

	reading sync.Mutex // one Read at a time
	rest    []byte     // of the last answer
	end     error
	pending chan *wire.Frame // the answer to a read that nobody waited for

	writing sync.Mutex // one Write at a time

	deadlines sync.Mutex // guards what follows
	readBy    time.Time
	writeBy   time.Time
	changed   chan struct{} // closed when they change, and another takes its place
}

var _ net.Conn = (*conn)(nil)

// addr is an address as the other side tells it.
type addr struct{ network, text string }

func (a addr) Network() string { return a.network }
func (a addr) String() string  { return a.text }

func newConn(s *session, opened *wire.Stream, network string) *conn {
	return &conn{session: s, number: opened.GetStream(), local: addr{network, opened.GetLocal()}, remote: addr{network, opened.GetRemote()},
		closed: make(chan struct{}), changed: make(chan struct{})}
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// Read asks for what is there. A read that a deadline ended stays asked, so nothing of what comes is lost.
func (c *conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if len(c.rest) == 0 && c.end == nil && len(p) > 0 {
		if err := c.fill(len(p)); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	if n == 0 && len(p) > 0 {
		return 0, c.end
	}
	return n, nil
}

func (c *conn) fill(limit int) error {
	if c.pending == nil {
		answer, err := c.put(&wire.Frame{Body: &wire.Frame_Read{Read: &wire.Read{Stream: c.number, Max: int64(max(limit, 4<<10))}}})
		if err != nil {
			return err
		}
		c.pending = answer
	}
	f, err := c.await(c.pending, func() time.Time { return c.readBy })
	if err != nil {
		return err
	}
	c.pending = nil
	f, err = c.unpack(f)
	if err != nil {
		return err
	}
	c.rest = f.GetData().GetData()
	switch {
	case f.GetData() == nil:
		return errNonsense
	case f.GetData().GetEnd():
		c.end = io.EOF
	}
	return nil
}

// await waits for an answer until the deadline, which may be moved meanwhile.
func (c *conn) await(answer chan *wire.Frame, deadline func() time.Time) (*wire.Frame, error) {
	for {
		c.deadlines.Lock()
		by, changed := deadline(), c.changed
		c.deadlines.Unlock()
		var late <-chan time.Time
		if !by.IsZero() {
			left := time.Until(by)
			if left <= 0 {
				return nil, os.ErrDeadlineExceeded
			}
			late = time.After(left)
		}
		select {
		case f := <-answer:
			return f, nil
		case <-c.over:
			return nil, c.why()
		case <-c.closed:
			return nil, net.ErrClosed
		case <-late:
			return nil, os.ErrDeadlineExceeded
		case <-changed:
		}
	}
}

// Write gives bytes to the other side, which answers when it has passed them on.
func (c *conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	done := 0
	for done < len(p) {
		chunk := p[done:min(done+maxChunk, len(p))]
		answer, err := c.put(&wire.Frame{Body: &wire.Frame_Write{Write: &wire.Write{Stream: c.number, Data: chunk}}})
		if err != nil {
			return done, err
		}
		f, err := c.await(answer, func() time.Time { return c.writeBy })
		if err == nil {
			_, err = c.unpack(f)
		}
		if err != nil {
			return done, err
		}
		done += len(chunk)
	}
	return done, nil
}

// Close lets the other side close the stream.
func (c *conn) Close() (err error) {
	c.closing.Do(func() {
		if c.closed != nil {
			close(c.closed)
		}
		err = c.send(&wire.Frame{Body: &wire.Frame_Close{Close: c.number}})
	})
	return err
}

func (c *conn) SetDeadline(t time.Time) error      { return c.setDeadlines(&t, &t) }
func (c *conn) SetReadDeadline(t time.Time) error  { return c.setDeadlines(&t, nil) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(nil, &t) }

func (c *conn) setDeadlines(read, write *time.Time) error {
	c.deadlines.Lock()
	if read != nil {
		c.readBy = *read
	}
	if write != nil {
		c.writeBy = *write
	}
	if c.changed != nil {
		close(c.changed)
		c.changed = make(chan struct{})
	}
	c.deadlines.Unlock()
	return nil
}
