package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ask asks the source of a real process.
func ask(ctx context.Context, p *Plugin, how string) (*Inventory, error) {
	options, err := json.Marshal(map[string]string{"how": how})
	if err != nil {
		return nil, err
	}
	return p.Sources()[0].Answer(ctx, Question{File: "/f"}, options)
}

// tellAll tells the notifier of a real process of a run with some events, and gives the first error. wait is how long it
// may take to end.
func tellAll(ctx context.Context, p *Plugin, how string, problem func(error), wait time.Duration) error {
	options, err := json.Marshal(map[string]string{"how": how})
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeoutCause(ctx, wait, errors.New("the time is up"))
	defer stop()
	l, err := p.Notifiers()[0].Begin(ctx, Run{ID: "r1", Problem: problem}, options)
	if err != nil {
		return err
	}
	for range 3 {
		if err := l.Tell(ctx, Event{Kind: RunStarted, Line: json.RawMessage(`{"seq":1,"event":"run_started"}`)}); err != nil {
			return err
		}
	}
	return l.End(ctx)
}

func TestSourceOfAProcessThatMisbehaves(t *testing.T) {
	p := mustOpen(t, Options{})
	for how, want := range map[string]string{
		"die":           "plugin plugins: died (exit status 7); its last words: cannot reach db1: die",
		"flood and die": "plugin plugins: died (exit status 7); its last words: out of words",
	} {
		_, err := ask(t.Context(), p, how)
		require.EqualError(t, err, want)
	}
	inv, err := ask(t.Context(), p, "flood")
	require.NoError(t, err, "what is printed is no answer, and the next process answers")
	require.Equal(t, "h1", inv.Hosts[0].Name)
	require.LessOrEqual(t, len(p.Said()), maxWords)

	// One that does not come to an answer is given up with the question, and its process asked again.
	ctx, stop := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, errors.New("enough"))
	defer stop()
	began := time.Now()
	_, err = ask(ctx, p, "hang")
	require.ErrorContains(t, err, "enough")
	require.Less(t, time.Since(began), 3*time.Second)
	_, err = ask(t.Context(), p, "well")
	require.NoError(t, err)
}

func TestNotifierOfAProcessThatMisbehaves(t *testing.T) {
	p := mustOpen(t, Options{})
	for how, want := range map[string]string{
		"at once die":   "plugin plugins: died (exit status 7); its last words: cannot reach db1: die",
		"die":           "plugin plugins: died (exit status 7); its last words: cannot reach db1: die",
		"flood and die": "plugin plugins: died (exit status 7); its last words: out of words",
	} {
		require.EqualError(t, tellAll(t.Context(), p, how, func(error) {}, time.Minute), want)
	}
	require.NoError(t, tellAll(t.Context(), p, "flood", func(error) {}, time.Minute))
	problems := 0
	require.NoError(t, tellAll(t.Context(), p, "tell problems", func(err error) {
		require.Less(t, len(err.Error()), 5000)
		require.NotContains(t, err.Error(), "\x1b")
		problems++
	}, time.Minute))
	require.Equal(t, 6000, problems)

	// A bug of a notifier ends its listening, and nothing else that the process does.
	pid := p.PID()
	require.EqualError(t, tellAll(t.Context(), p, "panic", func(error) {}, time.Minute), "plugin plugins: gave up: bug in the plugin: too hard")
	require.Equal(t, pid, p.PID())

	began := time.Now()
	require.ErrorContains(t, tellAll(t.Context(), p, "hang", func(error) {}, 200*time.Millisecond), "the time is up")
	require.Less(t, time.Since(began), 3*time.Second)
	require.NoError(t, tellAll(t.Context(), p, "well", func(error) {}, time.Minute))
}

// TestFrozenPluginIsNoticed by what it does not answer any more: a task, a question to a source, or a run that is told of.
func TestFrozenPluginIsNoticed(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 15 seconds: gRPC's heartbeat has a lower bound")
	}
	var all sync.WaitGroup
	for name, use := range map[string]func(p *Plugin, how string) error{
		"a task":     func(p *Plugin, how string) error { _, err := act(t.Context(), p, how); return err },
		"a source":   func(p *Plugin, how string) error { _, err := ask(t.Context(), p, how); return err },
		"a notifier": func(p *Plugin, how string) error { return tellAll(t.Context(), p, how, func(error) {}, time.Minute) },
		"a notifier that begins": func(p *Plugin, how string) error {
			return tellAll(t.Context(), p, strings.Replace(how, "freeze", "at once freeze", 1), func(error) {}, time.Minute)
		},
	} {
		p := mustOpen(t, Options{})
		pid := p.PID()
		all.Go(func() {
			err := use(p, "freeze")
			if err == nil || !strings.HasPrefix(err.Error(), "plugin plugins: stopped answering and was ended") {
				t.Errorf("%s: %v", name, err)
			}
			if err != nil && name != "a task" && !strings.HasSuffix(err.Error(), "; its last words: cannot reach db1: freeze") {
				t.Errorf("%s has other last words: %v", name, err)
			}
			gone(t, pid)
			if err := use(p, "well"); err != nil {
				t.Errorf("%s, anew: %v", name, err)
			}
		})
	}
	all.Wait()
}
