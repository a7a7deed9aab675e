package zookeeper

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"
)

// connectWithin is how long a connection may be there without a session, as in the real server.
const connectWithin = 10 * time.Second

// maxQueued bounds what waits to be sent to a client that does not read, in bytes.
const maxQueued = 64 << 20

// conn is one client's connection. Replies and watch events go through one queue, so that a client
// hears of a change before it can see it.
type conn struct {
	server  *Server
	nc      net.Conn
	session *session // guarded by server.mu

	mu     sync.Mutex // guards the rest
	queue  [][]byte
	size   int
	closed bool
	last   bool // close once the queue is sent
	wake   chan struct{}
}

func newConn(s *Server, nc net.Conn) *conn {
	return &conn{server: s, nc: nc, wake: make(chan struct{}, 1)}
}

// serve reads requests to the connection's end.
func (c *conn) serve() {
	var writer sync.WaitGroup
	writer.Go(c.write)
	c.read()
	c.finish()
	writer.Wait()
	c.nc.Close()
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.watches.forget(c)
	if c.session != nil && c.session.conn == c {
		c.session.conn = nil
	}
}

func (c *conn) read() {
	c.nc.SetReadDeadline(time.Now().Add(connectWithin)) //nolint:errcheck // the read fails then
	var head [4]byte
	if _, err := io.ReadFull(c.nc, head[:]); err != nil {
		return
	}
	if answer, ok := c.server.word(string(head[:])); ok {
		c.send([]byte(answer))
		return
	}
	first, err := c.body(head)
	if err != nil || !c.server.connect(c, first) {
		return
	}
	c.nc.SetReadDeadline(time.Time{}) //nolint:errcheck // the session's end closes the connection
	for {
		if _, err := io.ReadFull(c.nc, head[:]); err != nil {
			return
		}
		p, err := c.body(head)
		if err != nil || !c.server.handle(c, p) {
			return
		}
	}
}

func (c *conn) body(head [4]byte) ([]byte, error) {
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return nil, errMalformed
	}
	p := make([]byte, n)
	_, err := io.ReadFull(c.nc, p)
	return p, err
}

// send queues bytes; it never blocks.
func (c *conn) send(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.last {
		return
	}
	if c.size += len(p); c.size > maxQueued {
		c.shut()
		return
	}
	c.queue = append(c.queue, p)
	c.signal()
}

func (c *conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// close cuts the connection; what is queued is lost.
func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut()
}

func (c *conn) shut() {
	c.closed = true
	c.nc.Close()
	c.signal()
}

// finish lets the writer send what is queued and end.
func (c *conn) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = true
	c.signal()
}

func (c *conn) write() {
	for range c.wake {
		c.mu.Lock()
		queue, closed, last := c.queue, c.closed, c.last
		c.queue, c.size = nil, 0
		c.mu.Unlock()
		if closed {
			return
		}
		buffers := net.Buffers(queue)
		c.nc.SetWriteDeadline(time.Now().Add(connectWithin)) //nolint:errcheck // the write fails then
		if _, err := buffers.WriteTo(c.nc); err != nil {
			c.close()
			return
		}
		if last {
			return
		}
	}
}

func (c *conn) notify(e event) {
	out := header(-1, -1, errOK)
	out.int(int32(e.kind))
	out.int(3) // state: connected
	out.string(e.path)
	c.send(out.frame())
}

func header(xid int32, zxid int64, code errCode) *encoder {
	out := &encoder{b: make([]byte, 0, 64)}
	out.int(xid)
	out.long(zxid)
	out.int(int32(code))
	return out
}
