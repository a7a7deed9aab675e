package connect

import (
	"context"
	"sync"
	"time"
)

// patience ends a context after a time, without that for which it was paused: a host must not count as
// unreachable because a thousand others are dialled before it. A nil *patience never ends anything.
type patience struct {
	late   error
	cancel context.CancelCauseFunc

	mu    sync.Mutex // guards the rest
	left  time.Duration
	since time.Time
	timer *time.Timer
}

// newPatience gives a context that ends with the error late when the time is over. Call end when done.
func newPatience(ctx context.Context, limit time.Duration, late error) (context.Context, *patience) {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &patience{late: late, cancel: cancel, left: limit}
	p.resume()
	return ctx, p
}

func (p *patience) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = time.Now()
	p.timer = time.AfterFunc(p.left, func() { p.cancel(p.late) })
}

// pause stops the clock until the function it gives is called.
func (p *patience) pause() (resume func()) {
	if p == nil {
		return func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer.Stop()
	p.left -= time.Since(p.since)
	return p.resume
}

// end frees what the context holds.
func (p *patience) end() {
	p.mu.Lock()
	p.timer.Stop()
	p.mu.Unlock()
	p.cancel(nil)
}
