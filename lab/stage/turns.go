package stage

import (
	"context"
	"slices"
	"strings"
	"time"
)

// starts is how often a replica server has been started soon after the start before.
type starts struct {
	last  time.Time
	quick int
}

const (
	// quickLimit is how many quick restarts in a row pegbook allows (max_quick_restarts): a meta server ignores a
	// replica server that has more.
	quickLimit = 4
	// quickRestart is what makes one quick, in production.
	quickRestart = 10 * time.Minute
)

// heard takes what a run says about starts of replica servers.
func (s *Stage) heard(rec Record) {
	if rec.Event != "task_done" || rec.Module != "daemon" || !strings.Contains(rec.Task, "replica server:") || rec.Status != "changed" && rec.Status != "failed" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	was := s.started[rec.Host]
	if now.Sub(was.last) > s.quick() {
		was.quick = 0
	}
	s.started[rec.Host] = starts{last: now, quick: was.quick + 1}
}

func (s *Stage) quick() time.Duration { return Scaled(quickRestart, s.Scale) }

// WorkedOn chooses the replica servers that a scenario is about, in the order of updates: the two that have been
// restarted least lately. Where these would be restarted too often it waits.
func (s *Stage) WorkedOn(ctx context.Context, restarts int) ([]string, error) {
	hosts := s.Replicas()
	slices.SortStableFunc(hosts, func(a, b string) int {
		n, _ := s.quickStarts(a)
		m, _ := s.quickStarts(b)
		return n - m
	})
	pair := hosts[:2]
	slices.SortFunc(pair, func(a, b string) int { return slices.Index(s.Replicas(), a) - slices.Index(s.Replicas(), b) })
	return pair, s.Rest(ctx, pair, restarts)
}

// quickStarts is how often a replica server has been started in a row, and until when the next start counts.
func (s *Stage) quickStarts(host string) (n int, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.started[host]
	if until = was.last.Add(s.quick() + time.Second); time.Now().After(until) {
		return 0, until
	}
	return was.quick, until
}

// Rest waits until replica servers can be restarted so often.
func (s *Stage) Rest(ctx context.Context, hosts []string, restarts int) error {
	for _, host := range hosts {
		n, until := s.quickStarts(host)
		if n+restarts <= quickLimit {
			continue
		}
		s.tell("waiting %s, as %s has been restarted %d times in a row\n", time.Until(until).Round(time.Second), host, n)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Until(until)):
		}
	}
	return nil
}
