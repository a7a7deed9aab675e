// Package client talks to a Pegasus cluster: it finds the leading meta server and follows it when it
// changes, asks and orders, and reads what the cluster looks like.
//
// Rules that hold everywhere here: a reading is sent again when it stays without an answer, an order
// is not, because nobody knows whether it was carried out; an empty or partial answer is an error and
// never zero; and whether a remote command worked is told from its text.
package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// Dial opens a connection to an address of the cluster.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// Options are what a caller may set; the zero value is good.
type Options struct {
	// Note is told what the client waits for. nil: nobody.
	Note func(format string, args ...any)
	// AnswerTimeout is how long one request waits for its answer; 0 means 2 s. A meta server that is
	// starting loses requests, so waiting longer helps nobody.
	AnswerTimeout time.Duration
	// LeaderTimeout is how long to wait for a meta server to lead; 0 means 60 s.
	LeaderTimeout time.Duration
}

// Client is a client of one cluster. It keeps a connection to each server it has talked to. It is
// safe for concurrent use.
type Client struct {
	dial  Dial
	metas []string
	opt   Options
	seq   atomic.Int32

	mu     sync.Mutex
	conns  map[string]*conn
	leader string
	closed bool
	// barred is why no connection can be had at all, whatever the address.
	barred error
}

// New makes a client of the cluster with these meta servers, each ip:port. It connects when first used.
func New(dial Dial, metas []string, opt Options) (*Client, error) {
	if len(metas) == 0 {
		return nil, errors.New("the list of meta servers is empty")
	}
	for _, addr := range metas {
		if _, err := wire.ParseAddress(addr); err != nil {
			return nil, fmt.Errorf("meta server: %w", err)
		}
	}
	if opt.AnswerTimeout == 0 {
		opt.AnswerTimeout = 2 * time.Second
	}
	if opt.LeaderTimeout == 0 {
		opt.LeaderTimeout = time.Minute
	}
	if opt.Note == nil {
		opt.Note = func(string, ...any) {}
	}
	return &Client{dial: dial, metas: metas, opt: opt, conns: map[string]*conn{}}, nil
}

// Close closes all connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, conn := range c.conns {
		conn.close(net.ErrClosed)
	}
	c.conns = nil
}

// Metas is the meta servers that the client was made with.
func (c *Client) Metas() []string { return c.metas }

// ServerError is a server's refusal.
type ServerError struct {
	Addr string
	Code wire.Code
	Err  wire.ErrorCode
	// Hint is what the server added, or what to do; may be empty.
	Hint string
}

// Error names the server, the request and the error.
func (e *ServerError) Error() string {
	text := fmt.Sprintf("%s answered %s with %s", e.Addr, e.Code, e.Err)
	if e.Hint != "" {
		text += ": " + e.Hint
	}
	return text
}

// NoAnswerError is a server that was not reached or did not answer.
type NoAnswerError struct {
	Addr string
	// Sent says that the request may have arrived and been carried out.
	Sent bool
	Err  error
}

// Error names the server and the cause.
func (e *NoAnswerError) Error() string {
	if e.Sent {
		return fmt.Sprintf("%s did not answer: %v", e.Addr, e.Err)
	}
	return fmt.Sprintf("%s cannot be reached: %v", e.Addr, e.Err)
}

// Unwrap gives the cause.
func (e *NoAnswerError) Unwrap() error { return e.Err }

var errAnswerTimeout = errors.New("no answer in time")

// conn gives the connection to a server, opening one when there is none that works.
func (c *Client) conn(ctx context.Context, addr string) (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	if cn := c.conns[addr]; cn != nil && !cn.dead() {
		return cn, nil
	}
	c.mu.Unlock()
	raw, err := c.dial(ctx, "tcp", addr)
	c.mu.Lock()
	if err != nil {
		if bars(err) {
			c.barred = err
		}
		return nil, err
	}
	if cn := c.conns[addr]; c.closed || cn != nil && !cn.dead() {
		// Somebody else was faster, or the client has been closed.
		_ = raw.Close()
		if c.closed {
			return nil, net.ErrClosed
		}
		return cn, nil
	}
	cn := newConn(raw)
	c.conns[addr] = cn
	return cn, nil
}

// bars says whether an error of connecting is about the host that connects and not about the address.
func bars(err error) bool {
	var unreachable *modules.UnreachableError
	return errors.Is(err, modules.ErrUnpredicted) || errors.As(err, &unreachable)
}

func (c *Client) barredBy() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.barred
}

// send sends one request to a server and waits for its answer.
func (c *Client) send(ctx context.Context, addr string, timeout time.Duration, encode func(seq int32) ([]byte, error)) (*wire.Answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errAnswerTimeout)
	defer cancel()
	cn, err := c.conn(ctx, addr)
	if err != nil {
		return nil, &NoAnswerError{Addr: addr, Err: cause(ctx, err)}
	}
	seq := c.seq.Add(1)
	frame, err := encode(seq)
	if err != nil {
		return nil, err
	}
	answer, err := cn.call(ctx, seq, frame)
	if err != nil {
		return nil, &NoAnswerError{Addr: addr, Sent: true, Err: cause(ctx, err)}
	}
	return answer, nil
}

func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// ask sends an administrative request to a server once.
func ask[R wire.Reply](ctx context.Context, c *Client, addr string, req wire.AdminRequest[R]) (R, error) {
	var none R
	timeout := c.opt.AnswerTimeout
	answer, err := c.send(ctx, addr, timeout, func(seq int32) ([]byte, error) { return wire.EncodeAdmin(seq, timeout, req), nil })
	if err != nil {
		return none, err
	}
	return decode(addr, answer, req)
}

func decode[R wire.Reply](addr string, answer *wire.Answer, req wire.AdminRequest[R]) (R, error) {
	var none R
	if answer.Err != wire.OK {
		return none, &ServerError{Addr: addr, Code: req.Code(), Err: answer.Err}
	}
	reply := wire.NewAdminReply(req)
	if answer.Code != req.Code() {
		return none, &NoAnswerError{Addr: addr, Sent: true, Err: fmt.Errorf("an answer to %s", answer.Code)}
	}
	if err := answer.Decode(reply); err != nil {
		return none, &NoAnswerError{Addr: addr, Sent: true, Err: err}
	}
	if err := reply.Result(); err != wire.OK {
		return reply, &ServerError{Addr: addr, Code: req.Code(), Err: err}
	}
	return reply, nil
}

// Ask reads from one server, whatever its role. It asks again when there is no answer, up to attempts
// times.
func Ask[R wire.Reply](ctx context.Context, c *Client, addr string, attempts int, req wire.AdminRequest[R]) (R, error) {
	for try := 1; ; try++ {
		reply, err := ask(ctx, c, addr, req)
		var silent *NoAnswerError
		if try >= attempts || !errors.As(err, &silent) || ctx.Err() != nil || c.barredBy() != nil {
			return reply, err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return reply, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
