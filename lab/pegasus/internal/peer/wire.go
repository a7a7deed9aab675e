package peer

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// frameLimit bounds a message: a learner gets a whole partition in one.
const frameLimit = 64 << 20

// writeLimit is how long a server that does not read may hold up its callers.
const writeLimit = 5 * time.Second

// Handler answers one kind of message.
type Handler func(ctx context.Context, body []byte) ([]byte, error)

// Handle makes a Handler from a typed function.
func Handle[Q, A any](f func(context.Context, Q) A) Handler {
	return func(ctx context.Context, body []byte) ([]byte, error) {
		var q Q
		if err := json.Unmarshal(body, &q); err != nil {
			return nil, err
		}
		return json.Marshal(f(ctx, q))
	}
}

// Serve answers the messages of one connection, whose Magic has been read,
// until it ends. Each message is answered by a goroutine of its own.
func Serve(ctx context.Context, r *bufio.Reader, w io.Writer, handlers map[string]Handler) error {
	var mu sync.Mutex // guards w
	for {
		var m envelope
		if err := readFrame(r, &m); err != nil {
			return err
		}
		h, ok := handlers[m.Kind]
		if !ok {
			return fmt.Errorf("peer: no handler for %q", m.Kind)
		}
		go func() {
			body, err := h(ctx, m.Body)
			if err != nil || ctx.Err() != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			_ = writeFrame(w, envelope{ID: m.ID, Body: body}) // a dead connection ends the reader
		}()
	}
}

// Client keeps one connection per server. Safe for concurrent use.
type Client struct {
	local net.Addr // source address, nil for any

	mu    sync.Mutex // guards conns
	conns map[Addr]*conn
}

// NewClient makes a client whose connections leave from the address local.
func NewClient(local Addr) *Client {
	return &Client{
		local: &net.TCPAddr{IP: local.Addr().AsSlice()},
		conns: map[Addr]*conn{},
	}
}

// Close ends all connections; calls in flight fail.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cn := range c.conns {
		cn.fail()
	}
	clear(c.conns)
}

// Call sends q to a server and waits for the answer until ctx is done.
func Call[Q, A any](ctx context.Context, c *Client, to Addr, kind string, q Q) (A, error) {
	var answer A
	body, err := json.Marshal(q)
	if err != nil {
		return answer, err
	}
	cn, err := c.open(ctx, to)
	if err != nil {
		return answer, err
	}
	reply, err := cn.roundTrip(ctx, kind, body)
	if err != nil {
		return answer, err
	}
	return answer, json.Unmarshal(reply, &answer)
}

func (c *Client) open(ctx context.Context, to Addr) (*conn, error) {
	c.mu.Lock()
	cn := c.conns[to]
	c.mu.Unlock()
	if cn != nil && !cn.dead() {
		return cn, nil
	}
	d := net.Dialer{LocalAddr: c.local}
	raw, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(raw, Magic); err != nil {
		raw.Close()
		return nil, err
	}
	fresh := &conn{raw: raw, waiting: map[uint64]chan []byte{}, done: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.conns[to]; other != nil && !other.dead() {
		raw.Close()
		return other, nil
	}
	c.conns[to] = fresh
	go fresh.read()
	return fresh, nil
}

// conn is one connection with calls in flight.
type conn struct {
	raw  net.Conn
	done chan struct{}

	mu      sync.Mutex // guards next, waiting, and writing to raw
	next    uint64
	waiting map[uint64]chan []byte
	closed  bool
}

func (c *conn) dead() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *conn) fail() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		close(c.done)
		c.raw.Close()
	}
}

func (c *conn) read() {
	r := bufio.NewReader(c.raw)
	for {
		var m envelope
		if err := readFrame(r, &m); err != nil {
			c.fail()
			return
		}
		c.mu.Lock()
		ch := c.waiting[m.ID]
		delete(c.waiting, m.ID)
		c.mu.Unlock()
		if ch != nil {
			ch <- m.Body
		}
	}
}

func (c *conn) roundTrip(ctx context.Context, kind string, body []byte) ([]byte, error) {
	ch := make(chan []byte, 1)
	c.mu.Lock()
	c.next++
	id := c.next
	c.waiting[id] = ch
	_ = c.raw.SetWriteDeadline(time.Now().Add(writeLimit)) // an open connection takes it
	err := writeFrame(c.raw, envelope{ID: id, Kind: kind, Body: body})
	c.mu.Unlock()
	if err != nil {
		c.fail()
		return nil, err
	}
	select {
	case reply := <-ch:
		return reply, nil
	case <-c.done:
		return nil, errors.New("peer: connection lost")
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
		return nil, context.Cause(ctx)
	}
}

func readFrame(r io.Reader, m *envelope) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > frameLimit {
		return fmt.Errorf("peer: message of %d bytes", n)
	}
	body, err := io.ReadAll(io.LimitReader(r, int64(n))) // grows as bytes arrive, not as announced
	if err != nil {
		return err
	}
	if len(body) < int(n) {
		return io.ErrUnexpectedEOF
	}
	return json.Unmarshal(body, m)
}

func writeFrame(w io.Writer, m envelope) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	_, err = w.Write(append(frame, body...))
	return err
}
