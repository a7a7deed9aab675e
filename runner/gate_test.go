package runner

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/lock"
)

// of gives the events of one kind.
func of[E event.Event](r *records) []E {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []E
	for _, e := range r.events {
		if one, ok := e.(E); ok {
			all = append(all, one)
		}
	}
	return all
}

const gated = `-- site.yml --
- name: web
  hosts: all
  gather_facts: false
  serial: 1
  tasks:
    - {name: before, say: x}
    - {name: canary, gate: "{{ .inventory_hostname }} is new. Is it well?", when: eq .inventory_hostname "h1"}
    - {name: after, say: x}
`

func TestGateIsAskedOnceAndSaysWhatComesNext(t *testing.T) {
	r := runFiles(t, gated, func(_ *Inputs, o *Options) {
		o.Gates.Ask = func(context.Context, event.GateWaiting) (bool, string, error) {
			return true, "the one at the terminal", nil
		}
	})
	assert.Equal(t, 0, r.ExitCode())
	assert.Equal(t, []string{"before h1 ok x", "canary h1 ok approved by the one at the terminal", "after h1 ok x",
		"before h2 ok x", "canary h2 skipped", "after h2 ok x", "before h3 ok x", "canary h3 skipped", "after h3 ok x"}, r.done())
	waiting := of[event.GateWaiting](r.records)
	require.Len(t, waiting, 1)
	waiting[0].At.File, waiting[0].At.Line, waiting[0].At.Column = "", 0, 0
	assert.Equal(t, event.GateWaiting{Play: "web", Batch: 1, Task: "canary", Hosts: []string{"h1"}, Message: "h1 is new. Is it well?",
		Next: `task "after" on h1, then 2 more batches`}, waiting[0])
	assert.Equal(t, []event.GateAnswered{{Play: "web", Batch: 1, Task: "canary", Approved: true, By: "the one at the terminal"}}, of[event.GateAnswered](r.records))
}

func TestWhatComesBehindAGate(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"the next batch", `-- site.yml --
- {hosts: all, gather_facts: false, serial: 2, tasks: [{say: x}, {gate: , when: eq .inventory_hostname "h1"}]}
`, "batch 2 of 2: h3"},
		{"the next play with hosts", `-- site.yml --
- {hosts: h1, gather_facts: false, tasks: [{gate: }]}
- {hosts: "h1:!h1", gather_facts: false, tasks: [{say: x}]}
- {name: last, hosts: "h2,h3", gather_facts: false, tasks: [{say: x}]}
`, `play "last" on h2, h3`},
		{"the end", `-- site.yml --
- {hosts: h1, gather_facts: false, tasks: [{gate: }]}
`, "the end of the run"},
		{"within what is included", `-- site.yml --
- {hosts: "h1,h2", gather_facts: false, tasks: [{include_tasks: more.yml}]}
-- more.yml --
- gate:
- say: x
`, "the tasks behind it on h1, h2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := runFiles(t, tt.text, func(_ *Inputs, o *Options) { o.Gates.Yes = true })
			assert.Equal(t, 0, r.ExitCode())
			waiting := of[event.GateWaiting](r.records)
			require.Len(t, waiting, 1)
			assert.Equal(t, tt.want, waiting[0].Next)
			assert.Equal(t, []event.GateAnswered{{Play: waiting[0].Play, Batch: 1, Task: "gate", Approved: true, By: "--yes"}}, of[event.GateAnswered](r.records))
		})
	}
}

func TestHowAGateEnds(t *testing.T) {
	ask := func(approved bool, by string, err error) func(context.Context, event.GateWaiting) (bool, string, error) {
		return func(context.Context, event.GateWaiting) (bool, string, error) { return approved, by, err }
	}
	tests := []struct {
		name    string
		options func(*Options)
		code    int
		message string
		done    []string
	}{
		{"refused: the run is paused, and nothing has failed", func(o *Options) { o.Gates.Ask = ask(false, "alice", nil) }, 5,
			`paused: alice did not approve at gate "canary"`, []string{"before h1 ok x"}},
		{"nobody can be asked: it fails", func(*Options) {}, 2, "", []string{"before h1 ok x", "canary h1 failed somebody has to approve, and there is no terminal to ask on: " +
			"with --yes all gates are open, with --wait-for-approval they wait for pegbook runs approve"}},
		{"the terminal has gone: it fails", func(o *Options) { o.Gates.Ask = ask(false, "", errors.New("no more input")) }, 2, "",
			[]string{"before h1 ok x", "canary h1 failed no more input"}},
		{"nobody comes: the run is paused", func(o *Options) { o.Gates.Wait = time.Millisecond }, 5,
			`paused: nobody has approved at gate "canary" within 1ms`, []string{"before h1 ok x"}},
		{"check mode shows it and passes", func(o *Options) { o.Check = true }, 0, "",
			[]string{"before h1 ok x", "canary h1 ok approved by check mode", "after h1 ok x", "before h2 ok x", "canary h2 skipped", "after h2 ok x", "before h3 ok x", "canary h3 skipped", "after h3 ok x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := runFiles(t, gated, func(_ *Inputs, o *Options) {
				o.Resume = "the command"
				tt.options(o)
			})
			assert.Equal(t, tt.code, r.ExitCode())
			if tt.message != "" {
				assert.Equal(t, tt.message+"; to go on: the command", r.Message)
				assert.Equal(t, []event.RunPaused{{Reason: strings.TrimPrefix(tt.message, "paused: "), GoOn: "the command"}}, of[event.RunPaused](r.records))
			}
			assert.Equal(t, tt.done, r.done())
		})
	}
}

func TestInterruptedAtAGateIsInterrupted(t *testing.T) {
	drain := make(chan struct{})
	r := runFiles(t, `-- site.yml --
- {hosts: h1, gather_facts: false, tasks: [{gate: }]}
`, func(_ *Inputs, o *Options) {
		o.Drain = drain
		o.Gates.Ask = func(ctx context.Context, _ event.GateWaiting) (bool, string, error) {
			close(drain)
			<-ctx.Done()
			return false, "", ctx.Err()
		}
	})
	assert.Equal(t, 130, r.ExitCode())
}

func TestUnderFreeAGateIsAskedOnceForTheBatch(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	r := runFiles(t, `-- site.yml --
- {hosts: all, gather_facts: false, strategy: free, tasks: [{name: a, say: x}, {gate: }, {name: b, say: x}]}
`, func(_ *Inputs, o *Options) {
		o.Forks = 3
		o.Gates.Ask = func(context.Context, event.GateWaiting) (bool, string, error) {
			mu.Lock()
			defer mu.Unlock()
			asked++
			return true, "alice", nil
		}
	})
	assert.Equal(t, 0, r.ExitCode())
	assert.Equal(t, 1, asked)
	assert.Len(t, r.done(), 7, "%v", r.done())
}

func TestGateTakesNoFork(t *testing.T) {
	other := make(chan struct{})
	r := runFiles(t, `-- site.yml --
- {id: one, hosts: h1, gather_facts: false, tasks: [{gate: }]}
- {needs: [], hosts: h2, gather_facts: false, tasks: [{tell: }]}
`, func(in *Inputs, o *Options) {
		in.Modules = NewSet(modules.Define("tell", "Tell.", func(context.Context, *modules.Call, struct{}) (*modules.Proposal, error) {
			close(other)
			return nil, nil
		}))
		o.Gates.Ask = func(ctx context.Context, _ event.GateWaiting) (bool, string, error) {
			select {
			case <-other:
				return true, "alice", nil
			case <-ctx.Done():
				return false, "", ctx.Err()
			}
		}
	})
	assert.Equal(t, 0, r.ExitCode(), r.Message)
}

// ask sends a command to a run and gives the answer.
func ask(t *testing.T, to chan<- Command, word CommandWord, gate string) (string, error) {
	t.Helper()
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	to <- Command{Word: word, Gate: gate, By: "bob", Answer: func(text string, err error) { got <- answer{text, err} }}
	a := <-got
	return a.text, a.err
}

func TestGateIsApprovedFromOutside(t *testing.T) {
	commands := make(chan Command)
	waits := make(chan struct{})
	go func() {
		<-waits
		_, err := ask(t, commands, CommandApprove, "other")
		assert.EqualError(t, err, `no gate "other" waits; those that wait are: canary`)
		text, err := ask(t, commands, CommandApprove, "")
		assert.NoError(t, err)
		assert.Equal(t, `gate "canary" is open; next: task "after" on h1, then 2 more batches`, text)
	}()
	r := runFiles(t, gated, func(_ *Inputs, o *Options) {
		o.Commands = commands
		o.Gates.Ask = func(ctx context.Context, _ event.GateWaiting) (bool, string, error) { // nobody is at the terminal
			close(waits)
			<-ctx.Done()
			return false, "", ctx.Err()
		}
	})
	assert.Equal(t, 0, r.ExitCode())
	assert.Contains(t, r.done(), "canary h1 ok approved by bob")
}

func TestPauseStartsNothingMoreUntilContinue(t *testing.T) {
	commands := make(chan Command)
	begun, paused := make(chan struct{}), make(chan struct{})
	go func() {
		<-begun
		_, err := ask(t, commands, CommandContinue, "")
		assert.EqualError(t, err, "the run is not paused")
		_, err = ask(t, commands, CommandPause, "")
		assert.NoError(t, err)
		_, err = ask(t, commands, CommandPause, "")
		assert.EqualError(t, err, "the run is paused already, by bob")
		_, err = ask(t, commands, CommandApprove, "")
		assert.EqualError(t, err, "no gate waits for an approval")
		close(paused)
		time.Sleep(50 * time.Millisecond)
		_, err = ask(t, commands, CommandContinue, "")
		assert.NoError(t, err)
	}()
	r := runFiles(t, `-- site.yml --
- {hosts: h1, gather_facts: false, tasks: [{name: a, tell: }, {name: b, say: x}]}
`, func(in *Inputs, o *Options) {
		in.Modules = NewSet(append(testModules().All(), modules.Define("tell", "Tell.", func(context.Context, *modules.Call, struct{}) (*modules.Proposal, error) {
			close(begun)
			<-paused
			return nil, nil
		}))...)
		o.Commands, o.RunID = commands, "r1"
	})
	assert.Equal(t, 0, r.ExitCode())
	assert.Equal(t, []event.RunPaused{{Reason: "as asked", By: "bob", GoOn: "pegbook runs continue r1"}}, of[event.RunPaused](r.records))
	assert.Equal(t, "bob", of[event.RunContinued](r.records)[0].By)
	var order []string
	for _, e := range r.events {
		switch e.(type) {
		case event.TaskStarted, event.TaskDone, event.RunPaused, event.RunContinued:
			order = append(order, e.Kind())
		}
	}
	assert.Equal(t, []string{"task_started", "task_done", "run_paused", "run_continued", "task_started", "task_done"}, order)
}

// TestARunThatWaitsForItsLockHears what is asked of it meanwhile.
func TestARunThatWaitsForItsLockHears(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	other, err := (&lock.File{Path: path}).Take(t.Context(), lock.Holder{User: "eve"}, lock.Wait{})
	require.NoError(t, err)
	commands, waits := make(chan Command), make(chan struct{})
	go func() {
		<-waits
		for _, word := range []CommandWord{CommandPause, CommandContinue} {
			_, err := ask(t, commands, word, "")
			assert.NoError(t, err)
		}
		assert.NoError(t, other.Release())
	}()
	plan, problems := compileFiles(t, "-- site.yml --\n- {hosts: h1, gather_facts: false, lock: {file: "+path+"}, tasks: [{say: x}]}\n", nil)
	require.NoError(t, problems.Err())
	out, err := plan.Run(t.Context(), Options{Connect: &machines{}, Commands: commands, LockWait: 20 * time.Second, Events: sinkFunc(func(r event.Record) {
		if e, ok := r.Event.(event.Lock); ok && e.State == event.LockAwaited {
			close(waits)
		}
	})})
	require.NoError(t, err)
	assert.Equal(t, 0, out.ExitCode(), out.Message)
}

func TestConfirmationIsAskedOnce(t *testing.T) {
	asked := 0
	r := runFiles(t, `-- site.yml --
- import_playbook: one.yml
- {hosts: h2, gather_facts: false, confirm: {message: all is lost, value: prod}, tasks: [{name: b, say: x}]}
-- one.yml --
- {hosts: h1, gather_facts: false, confirm: {message: all is lost, value: prod}, tasks: [{name: a, say: x}]}
`, func(_ *Inputs, o *Options) {
		o.Confirm = func(context.Context, string, string) error { asked++; return nil }
	})
	assert.Equal(t, 0, r.ExitCode())
	assert.Equal(t, 1, asked)
	assert.Equal(t, []string{"a h1 ok x", "b h2 ok x"}, r.done())
}
