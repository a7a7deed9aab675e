package connect

import (
	"context"
	"sync"
)

// shared is something that is being made once for all who wait for it. Making it goes on while anybody
// waits, whoever began it.
type shared[T any] struct {
	done   chan struct{}
	value  T // once done is closed
	err    error
	cancel context.CancelFunc

	mu        sync.Mutex // guards the rest
	waiting   int
	abandoned bool // everybody who waited has gone, so the making was stopped
}

// share starts to make a thing. The caller has to wait for it.
func share[T any](ctx context.Context, build func(context.Context) (T, error)) *shared[T] {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &shared[T]{done: make(chan struct{}), cancel: cancel}
	go func() {
		defer cancel()
		s.value, s.err = build(ctx)
		close(s.done)
	}()
	return s
}

func (s *shared[T]) wait(ctx context.Context) (T, error) {
	s.mu.Lock()
	s.waiting++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.waiting--; s.waiting == 0 && ctx.Err() != nil {
			s.abandoned = true
			s.cancel()
		}
	}()
	select {
	case <-s.done:
		return s.value, s.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// over says whether the thing is no good any more: making it failed, or it has died.
func (s *shared[T]) over(alive func(T) bool) bool {
	select {
	case <-s.done:
		return s.err != nil || !alive(s.value)
	default:
		return s.left()
	}
}

// left says whether the making was stopped because nobody waited any more. Who came at that very moment
// has to begin anew.
func (s *shared[T]) left() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.abandoned
}

// stop ends the making, and gives what was made.
func (s *shared[T]) stop() (T, bool) {
	s.cancel()
	<-s.done
	return s.value, s.err == nil
}

// join waits for what find gives, which is called under mu, and once more where that was given up by
// those who had wanted it before.
func join[T any](ctx context.Context, mu *sync.Mutex, find func() *shared[T]) (T, error) {
	for {
		mu.Lock()
		s := find()
		mu.Unlock()
		value, err := s.wait(ctx)
		if err == nil || ctx.Err() != nil || !s.left() {
			return value, err
		}
	}
}
