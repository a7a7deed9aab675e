package client

import (
	"bufio"
	"context"
	"net"
	"sync"

	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// conn is a connection whose requests may be in flight together; answers are matched by number.
type conn struct {
	raw net.Conn

	write sync.Mutex

	mu      sync.Mutex
	waiting map[int32]chan *wire.Answer
	err     error
}

func newConn(raw net.Conn) *conn {
	c := &conn{raw: raw, waiting: map[int32]chan *wire.Answer{}}
	go c.read()
	return c
}

func (c *conn) read() {
	r := bufio.NewReader(c.raw)
	for {
		answer, err := wire.ReadAnswer(r)
		if err != nil {
			c.close(err)
			return
		}
		c.mu.Lock()
		if ch := c.waiting[answer.Seq]; ch != nil {
			delete(c.waiting, answer.Seq)
			ch <- answer
		}
		c.mu.Unlock()
	}
}

// close ends the connection; whoever waits for an answer gets err.
func (c *conn) close(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	_ = c.raw.Close()
	for seq, ch := range c.waiting {
		delete(c.waiting, seq)
		close(ch)
	}
}

func (c *conn) dead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// call sends a frame and waits for its answer. When ctx ends first the connection is closed: deadlines
// of connections through a tunnel are not to be had, and a connection that swallows a request is no
// good for the next one either.
func (c *conn) call(ctx context.Context, seq int32, frame []byte) (*wire.Answer, error) {
	ch := make(chan *wire.Answer, 1)
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return nil, c.err
	}
	c.waiting[seq] = ch
	c.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { c.close(context.Cause(ctx)) })
	defer stop()
	c.write.Lock()
	_, err := c.raw.Write(frame)
	c.write.Unlock()
	if err != nil {
		c.close(err)
	}
	if answer, ok := <-ch; ok {
		return answer, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return nil, c.err
}
