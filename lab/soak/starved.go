package main

import (
	"context"
	"sync"
	"time"
)

// starved knows how long this machine has kept processes waiting for a processor. The simulated servers tell each other
// that they live many times a second, so a machine that lets them wait makes servers die that nothing is wrong with.
type starved struct {
	mu    sync.Mutex // guards spans
	spans []span
}

type span struct {
	at   time.Time
	long time.Duration
}

const (
	sampleEvery = 20 * time.Millisecond
	// noticed is how long a wait must be to be kept.
	noticed = 100 * time.Millisecond
	// grace is how long a replica server may not be heard of before it is given up, at production times.
	grace = 22 * time.Second
)

// watch looks until ctx is done.
func (s *starved) watch(ctx context.Context) {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		if late := now.Sub(last) - sampleEvery; late > noticed {
			s.mu.Lock()
			s.spans = append(s.spans, span{now, late})
			s.mu.Unlock()
		}
		last = now
	}
}

// worst is the longest wait since then.
func (s *starved) worst(since time.Time) (most time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, span := range s.spans {
		if span.at.After(since) {
			most = max(most, span.long)
		}
	}
	return most
}
