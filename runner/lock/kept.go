package lock

import (
	"context"
	"errors"
	"sync"
	"time"
)

// kept is a lock that is held for as long as a check says so.
type kept struct {
	name  string
	token uint64
	// check asks for the lock: nil is that it is held, *goneError that it is not, anything else that it cannot
	// be told at the moment.
	check func(ctx context.Context) error
	// every is how often that is asked, patience how long it may stay unknown.
	every, patience time.Duration
	release         func() error

	lost chan struct{}
	ctx  context.Context //nolint:containedctx // lives as long as the lock is held
	stop context.CancelFunc

	asking sync.Mutex // one check at a time

	mu    sync.Mutex // guards the rest
	fresh time.Time  // when the last check that found it held was begun; zero: there is doubt
	good  time.Time  // the same, whatever doubts there are
	err   error      // once lost
	over  bool       // lost or released
}

// keep begins to watch a lock that was taken a moment ago.
func (k *kept) keep(ctx context.Context) *kept {
	k.lost = make(chan struct{})
	k.good = time.Now()
	k.fresh = k.good
	// It is held for the run, not for the step that took it.
	k.ctx, k.stop = context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		for sleep(k.ctx, k.every) == nil {
			_ = k.ask(k.ctx)
		}
	}()
	return k
}

// done is closed when the lock is lost or released.
func (k *kept) done() <-chan struct{} { return k.ctx.Done() }

// Token implements Held.
func (k *kept) Token() uint64 { return k.token }

// Lost implements Held.
func (k *kept) Lost() <-chan struct{} { return k.lost }

// Err implements Held.
func (k *kept) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// doubt lets Ready ask before it says yes.
func (k *kept) doubt() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fresh = time.Time{}
}

// lose ends the lock.
func (k *kept) lose(why error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over {
		return
	}
	k.over, k.err = true, &LostError{Lock: k.name, Err: why}
	k.stop()
	close(k.lost)
}

// since is how long ago a moment was, by the clock that shows the more: one of them stands while the machine
// sleeps, the other one can be set.
func since(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

// Ready implements Held.
func (k *kept) Ready(ctx context.Context) error {
	for {
		k.mu.Lock()
		err, fresh := k.err, k.fresh
		k.mu.Unlock()
		if err != nil {
			return err
		}
		if !fresh.IsZero() && since(fresh) < 2*k.every {
			return nil
		}
		if k.ask(ctx) == nil {
			continue
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// ask checks the lock, and takes it as lost when it is gone, or has been in doubt for too long.
func (k *kept) ask(ctx context.Context) error {
	k.asking.Lock()
	defer k.asking.Unlock()
	began := time.Now()
	err := k.check(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.fresh, k.good = began, began
		return nil
	}
	k.mu.Lock()
	doubted := since(k.good)
	k.mu.Unlock()
	var gone *goneError
	if errors.As(err, &gone) {
		k.lose(gone.err)
	} else if doubted > k.patience {
		k.lose(err)
	}
	return err
}

// Release implements Held.
func (k *kept) Release() error {
	k.mu.Lock()
	k.over = true
	k.mu.Unlock()
	k.stop()
	k.asking.Lock() // a check under way uses what is given back now
	defer k.asking.Unlock()
	return k.release()
}
