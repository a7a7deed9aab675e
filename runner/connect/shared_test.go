package connect

import (
	"context"
	"errors"
	"sync"
	"testing"
)

// Who waits gets the thing, even if whoever began to make it has gone.
func TestSharedOutlivesItsFirst(t *testing.T) {
	first, leave := context.WithCancel(t.Context())
	release := make(chan struct{})
	s := share(first, func(ctx context.Context) (int, error) {
		select {
		case <-release:
			return 7, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	})
	var all sync.WaitGroup
	second := make(chan struct{})
	all.Add(1)
	go func() {
		defer all.Done()
		s.mu.Lock()
		s.waiting++ // as wait does
		s.mu.Unlock()
		close(second)
		<-s.done
	}()
	<-second
	leave()
	if _, err := s.wait(first); !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	close(release)
	all.Wait()
	if v, err := s.wait(t.Context()); v != 7 || err != nil {
		t.Errorf("the second: %d, %v", v, err)
	}
}

// Who comes when everybody has left begins anew.
func TestJoinAfterAbandoned(t *testing.T) {
	var mu sync.Mutex
	gone, leave := context.WithCancel(t.Context())
	leave()
	stuck := share(gone, func(ctx context.Context) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	})
	if _, err := stuck.wait(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	current := stuck
	v, err := join(t.Context(), &mu, func() *shared[int] {
		if current.over(func(int) bool { return true }) {
			current = share(t.Context(), func(context.Context) (int, error) { return 8, nil })
		}
		return current
	})
	if v != 8 || err != nil {
		t.Errorf("%d, %v", v, err)
	}
}
