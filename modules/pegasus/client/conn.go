package client

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

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

// stuckWrite is how long a request may take to be sent whose caller has lost interest.
const stuckWrite = time.Second

// drop forgets who waits for an answer; the answer is thrown away when it comes.
func (c *conn) drop(seq int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch := c.waiting[seq]; ch != nil {
		delete(c.waiting, seq)
		close(ch)
	}
}

// call sends a frame and waits for its answer. When its time is up the connection is closed: deadlines
// of connections through a tunnel are not to be had, and a connection that swallows a request is no
// good for the next one either. A caller who only lost interest takes no other's answer away.
func (c *conn) call(ctx context.Context, seq int32, frame []byte) (*wire.Answer, error) {
	ch := make(chan *wire.Answer, 1)
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return nil, c.err
	}
	c.waiting[seq] = ch
	c.mu.Unlock()
	var written atomic.Bool
	stop := context.AfterFunc(ctx, func() {
		cause := context.Cause(ctx)
		if !errors.Is(ctx.Err(), context.Canceled) {
			c.close(cause)
			return
		}
		c.drop(seq)
		time.AfterFunc(stuckWrite, func() {
			if !written.Load() {
				c.close(cause)
			}
		})
	})
	defer stop()
	c.write.Lock()
	_, err := c.raw.Write(frame)
	c.write.Unlock()
	if err != nil {
		c.close(err)
	}
	written.Store(true)
	if answer, ok := <-ch; ok {
		return answer, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return nil, context.Cause(ctx)
	}
	return nil, c.err
}
