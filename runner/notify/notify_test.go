package notify

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/event"
)

// heard is what a listener took, and what was said to people.
type heard struct {
	mu     sync.Mutex
	events []string
	said   []string
}

func (h *heard) tell(_ context.Context, kind string, _ json.RawMessage) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, kind)
	return nil
}

func (h *heard) say(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = append(h.said, text)
}

func ended(context.Context) error { return nil }

// run puts a whole run into a queue, with n tasks, as fast as it goes.
func run(q *Queue, n int) {
	stream := event.NewStream(q, time.Now, nil)
	stream.Emit(event.RunStarted{Run: "r"})
	for range n {
		stream.Emit(event.TaskDone{Task: "t", Host: "h"})
	}
	stream.Emit(event.RunDone{})
}

func TestEventsComeInOrderAndByKind(t *testing.T) {
	for _, c := range []struct {
		name  string
		kinds []string
		want  string
	}{
		{"all kinds", nil, "run_started task_done task_done run_done"},
		{"two kinds", []string{"run_started", "run_done"}, "run_started run_done"},
		{"a kind that nobody knows", []string{"moon_landed"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h heard
			q := New(t.Context(), Options{Say: h.say, Begin: func(context.Context, func(error)) (*Listener, error) {
				return &Listener{Kinds: c.kinds, Tell: h.tell, End: ended}, nil
			}})
			run(q, 2)
			q.Close()
			assert.Equal(t, c.want, strings.Join(h.events, " "))
			assert.Empty(t, h.said)
		})
	}
}

func TestNobodyKeepsARunWaiting(t *testing.T) {
	forever := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	boom := errors.New("plugin webhook: died (exit status 2)")
	for _, c := range []struct {
		name     string
		listener func(h *heard) (*Listener, error)
		begin    func(ctx context.Context) error // before it listens
		said     []string
	}{
		{"one that hangs with the first event", func(*heard) (*Listener, error) {
			return &Listener{Tell: func(ctx context.Context, _ string, _ json.RawMessage) error { return forever(ctx) }, End: ended}, nil
		}, nil, []string{"5 events of it were not passed on"}},
		{"one that hangs without looking at its context", func(*heard) (*Listener, error) {
			return &Listener{Tell: func(context.Context, string, json.RawMessage) error { select {} }, End: ended}, nil
		}, nil, []string{"4 events of it were not passed on"}},
		{"one that never begins", nil, forever, []string{"5 events of it were not passed on"}},
		{"one that cannot begin", nil, func(context.Context) error { return boom }, []string{"died"}},
		{"one that never ends", func(h *heard) (*Listener, error) { return &Listener{Tell: h.tell, End: forever}, nil }, nil, []string{"had not passed everything on 200ms after the end of the run"}},
		{"one that dies with the first event", func(*heard) (*Listener, error) {
			return &Listener{Tell: func(context.Context, string, json.RawMessage) error { return boom }, End: ended}, nil
		}, nil, []string{"plugin webhook: died"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h heard
			q := New(t.Context(), Options{Flush: 200 * time.Millisecond, Say: h.say, Begin: func(ctx context.Context, _ func(error)) (*Listener, error) {
				if c.begin != nil {
					return nil, c.begin(ctx)
				}
				return c.listener(&h)
			}})
			began := time.Now()
			run(q, 3)
			require.Less(t, time.Since(began), 100*time.Millisecond, "the run waits for nobody")
			q.Close()
			require.Less(t, time.Since(began), 2*time.Second, "nor does its end, for longer than agreed")
			h.mu.Lock()
			defer h.mu.Unlock()
			require.LessOrEqual(t, len(h.said), 2)
			require.GreaterOrEqual(t, len(h.said), len(c.said))
			for i, want := range c.said {
				require.Contains(t, h.said[i], want)
			}
		})
	}
}

// TestWhoeverIsLateIsNamed, whether something is left to tell or it only does not end.
func TestWhoeverIsLateIsNamed(t *testing.T) {
	forever := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	for name, c := range map[string]struct {
		tell func(ctx context.Context) error
		want string
	}{
		"takes nothing": {forever, "plugin x had not taken everything 50ms after the end of the run: 3 events of it were not passed on"},
		"does not end":  {ended, "plugin x had not passed everything on 50ms after the end of the run"},
	} {
		var h heard
		q := New(t.Context(), Options{Flush: 50 * time.Millisecond, Say: h.say, Blame: func(text string) string { return "plugin x " + text },
			Begin: func(context.Context, func(error)) (*Listener, error) {
				return &Listener{End: forever, Tell: func(ctx context.Context, _ string, _ json.RawMessage) error { return c.tell(ctx) }}, nil
			}})
		run(q, 1)
		q.Close()
		assert.Equal(t, []string{c.want}, h.said, name)
	}
}

func TestWhatWaitsIsBounded(t *testing.T) {
	var h heard
	free := make(chan struct{})
	q := New(t.Context(), Options{Say: h.say, Begin: func(ctx context.Context, _ func(error)) (*Listener, error) {
		<-free
		return &Listener{Tell: h.tell, End: ended}, nil
	}})
	run(q, maxEvents+50)
	close(free)
	q.Close()
	assert.Len(t, h.events, maxEvents+1)
	assert.Equal(t, "run_done", h.events[maxEvents], "what is about the run as a whole is kept for longer")
	assert.Equal(t, []string{"51 events of the run were not passed on"}, h.said)
}

func TestLongEventsAreBoundedByTheirLength(t *testing.T) {
	var h heard
	free := make(chan struct{})
	q := New(t.Context(), Options{Say: h.say, Begin: func(context.Context, func(error)) (*Listener, error) {
		<-free
		return &Listener{Tell: h.tell, End: ended}, nil
	}})
	for range 4 {
		q.Record(event.Record{Event: event.TaskDone{Msg: strings.Repeat("x", maxBytes/3)}})
	}
	close(free)
	q.Close()
	assert.Equal(t, []string{"2 events of the run were not passed on"}, h.said)
}

func TestProblemsOfOneThatGoesOnAreSaidOnce(t *testing.T) {
	var h heard
	q := New(t.Context(), Options{Say: h.say, Begin: func(_ context.Context, problem func(error)) (*Listener, error) {
		return &Listener{End: ended, Tell: func(context.Context, string, json.RawMessage) error {
			problem(errors.New("the server answers 500"))
			return nil
		}}, nil
	}})
	run(q, 3)
	q.Close()
	assert.Equal(t, []string{"the server answers 500", "4 more such problems"}, h.said)
}
