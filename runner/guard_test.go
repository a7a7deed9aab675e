package runner

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/event"
)

type probeArgs struct {
	Wait bool `arg:"wait" doc:"whether Do waits"`
}

// guardModules are the modules of tests with some that a guard needs: probe fails once bad is set, after is called
// when the batch is at work.
type guardModules struct {
	bad   atomic.Bool
	looks atomic.Int32
	begun chan struct{} // a step of the play is at work
	seen  chan struct{} // the guard has looked since
}

func newGuardModules() *guardModules {
	return &guardModules{begun: make(chan struct{}), seen: make(chan struct{})}
}

func (g *guardModules) set() Set {
	return NewSet(append(testModules().All(),
		modules.Define("probe", "Look.", func(_ context.Context, call *modules.Call, a probeArgs) (*modules.Proposal, error) {
			g.looks.Add(1)
			if !g.bad.Load() {
				return &modules.Proposal{}, nil
			}
			if !a.Wait {
				return nil, errors.New("two partitions are lost")
			}
			return &modules.Proposal{Waits: true, Do: func(ctx context.Context, _ modules.Host) error {
				call.Note("waiting for partition 1.2")
				<-ctx.Done()
				return ctx.Err()
			}}, nil
		}),
		modules.Define("work", "Take long.", func(ctx context.Context, _ *modules.Call, _ struct{}) (*modules.Proposal, error) {
			g.bad.Store(true)
			select {
			case <-g.seen:
			case <-ctx.Done():
			}
			return &modules.Proposal{Message: "worked"}, nil
		}),
		modules.Define("writes", "Write although nothing differs.", func(context.Context, *modules.Call, struct{}) (*modules.Proposal, error) {
			return &modules.Proposal{Do: func(ctx context.Context, h modules.Host) error {
				return h.Apply(ctx, modules.Change{Kind: modules.WriteFile, Path: "/x", Content: modules.Bytes("", nil)})
			}}, nil
		}),
		modules.Define("lost", "Lose the host.", func(_ context.Context, call *modules.Call, _ struct{}) (*modules.Proposal, error) {
			g.looks.Add(1)
			return nil, &modules.UnreachableError{Host: call.Hostname, Err: errors.New("no route")}
		}))...)
}

// runGuarded runs a playbook and lets what works end when a look has failed.
func runGuarded(t *testing.T, text string, change func(*Options)) (ran, *guardModules) {
	t.Helper()
	g := newGuardModules()
	r := runFiles(t, text, func(in *Inputs, o *Options) {
		in.Modules = g.set()
		o.Resume = "the command"
		if change != nil {
			change(o)
		}
		o.Forks = 1
	})
	return r, g
}

// guarded is a play for h1 and h2, one after the other, with a guard.
func guardedPlay(guard, tasks string) string {
	return "-- site.yml --\n- name: web\n  hosts: h1,h2\n  gather_facts: false\n  serial: 1\n  guard: " + guard + "\n  tasks: " + tasks + "\n"
}

func TestGuardIsLookedAtBeforeEachBatch(t *testing.T) {
	r, g := runGuarded(t, guardedPlay("[{name: well, probe: }]", "[{name: a, say: x}]"), nil)
	assert.Equal(t, 0, r.ExitCode())
	assert.Equal(t, []string{"a h1 ok x", "a h2 ok x"}, r.done())
	assert.EqualValues(t, 2, g.looks.Load())
	for i, c := range of[event.GuardChecked](r.records) {
		assert.Equal(t, event.GuardChecked{Play: "web", Batch: i + 1, When: "before", Outcome: event.Passed, Checks: 1, TookMS: c.TookMS}, c)
	}
}

func TestBreachBeforeTheFirstBatchTouchesNothing(t *testing.T) {
	for _, tt := range []struct {
		name, guard string
		code        int
		says        string
	}{
		{"pauses", "[{name: well, fail: {msg: bad}}]", 5, "paused: the guard of play web does not hold (batch 1): task \"well\" on h1: bad; to go on: the command"},
		{"fails", "{on_breach: fail, tasks: [{name: well, fail: {msg: bad}}]}", 2,
			"the guard of play web does not hold (batch 1): task \"well\" on h1: bad; nothing more was started; to go on: the command"},
		{"what cannot be told pauses, whatever a breach would do", "{on_breach: fail, tasks: [{name: well, lost: }]}", 5,
			"paused: the guard of play web cannot be told (batch 1): task \"well\" on h1: h1 cannot be reached: no route; to go on: the command"},
		{"an answer that does not come is none", "{timeout: 0.02, tasks: [{name: well, sleep: }]}", 5,
			"paused: the guard of play web cannot be told (batch 1): task \"well\" on h1: task \"well\" took longer than its timeout of 20ms; to go on: the command"},
		{"a module that would change something is refused", "[{name: well, touch: /a}]", 5,
			"paused: the guard of play web does not hold (batch 1): task \"well\" on h1: module touch would change /a, and a guard only looks; to go on: the command"},
		{"so is one that acts without saying so", "[{name: well, writes: }]", 5,
			"paused: the guard of play web does not hold (batch 1): task \"well\" on h1: module writes would change /x, and a guard only looks; to go on: the command"},
		{"so is a command", "[{name: well, sh: touch /a}]", 5,
			"paused: the guard of play web does not hold (batch 1): task \"well\" on h1: module sh would change touch /a, and a guard only looks; to go on: the command"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, g := runGuarded(t, guardedPlay(tt.guard, "[{name: a, say: x}]"), nil)
			assert.Equal(t, tt.code, r.ExitCode())
			assert.Empty(t, r.done())
			assert.Equal(t, tt.says, r.Message)
			if strings.Contains(tt.guard, "lost") {
				assert.EqualValues(t, 2, g.looks.Load(), "what cannot be told is looked at once more")
			}
			for _, h := range r.machines.hosts {
				found, err := h.Look(t.Context(), modules.Query{Path: "/a"}, modules.Query{Path: "/x"})
				require.NoError(t, err)
				assert.Equal(t, []modules.FileKind{modules.Missing, modules.Missing}, []modules.FileKind{found[0].Kind, found[1].Kind})
			}
		})
	}
}

// watcher closes g.seen when a look has failed.
type watcher struct {
	*records
	g *guardModules
}

func (f watcher) Record(rec event.Record) {
	f.records.Record(rec)
	if c, ok := rec.Event.(event.GuardChecked); ok && c.Outcome == event.Breached {
		go close(f.g.seen)
	}
}

func TestBreachDuringABatchLetsWhatIsUnderWayEnd(t *testing.T) {
	tests := []struct {
		name, guard, says string
		code              int
	}{
		{"pause", "{interval: 1, tasks: [{name: well, probe: }]}", "two partitions are lost", 5},
		{"fail", "{interval: 1, on_breach: fail, tasks: [{name: well, probe: }]}", "two partitions are lost", 2},
		{"what waits in vain says what for", "{interval: 1, timeout: 0.05, tasks: [{name: well, probe: {wait: true}}]}", "waiting for partition 1.2", 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newGuardModules()
			rec := watcher{&records{}, g}
			plan, problems := compileFiles(t, guardedPlay(tt.guard, "[{name: long, work: }, {name: rest, say: x}]"), func(in *Inputs) { in.Modules = g.set() })
			require.NoError(t, problems.Err())
			ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
			defer stop()
			out, err := plan.Run(ctx, Options{Connect: &machines{}, Events: rec, Forks: 1})
			require.NoError(t, err)
			assert.Equal(t, tt.code, out.ExitCode())
			assert.Equal(t, []string{"long h1 ok worked"}, rec.done(), "what was under way ended; neither the next task nor the next batch began")
			assert.Contains(t, out.Message, tt.says)
			last := of[event.GuardChecked](rec.records)
			assert.Equal(t, "during", last[len(last)-1].When)
		})
	}
}

func TestWhatAGuardRegistersStaysInTheLook(t *testing.T) {
	r, _ := runGuarded(t, guardedPlay(`[{name: ask, say: fine, register: state}, {name: judge, assert: {that: [eq .state.msg "fine"]}}]`,
		`[{name: a, say: "{{ .state | default \"none\" }}"}]`), nil)
	assert.Equal(t, 0, r.ExitCode(), r.Message)
	assert.Equal(t, []string{"a h1 ok none", "a h2 ok none"}, r.done())
	assert.Equal(t, 2, of[event.GuardChecked](r.records)[0].Checks)
}

func TestGuardOnHostsOfItsOwn(t *testing.T) {
	r, _ := runGuarded(t, guardedPlay(`{hosts: "h2,h3", tasks: [{name: all, probe: }, {name: one, probe: , run_once: true}, {name: bad, fail: , when: eq .inventory_hostname "h3"}]}`,
		`[{name: a, say: x}]`), nil)
	assert.Equal(t, 5, r.ExitCode())
	got := of[event.GuardChecked](r.records)[0]
	assert.Equal(t, 4, got.Checks, "those that were not skipped")
	require.Len(t, got.Findings, 1)
	assert.Equal(t, "bad h3 broken", got.Findings[0].Task+" "+got.Findings[0].Host+" "+got.Findings[0].Msg)
}

func TestGuardsLookWhereTheirPlayHasNothingToDo(t *testing.T) {
	g := newGuardModules()
	r := runFiles(t, guardedPlay("[{name: well, fail: }]", "[{name: a, say: x, tags: [t]}]")+"- {hosts: h1, gather_facts: false, tags: [other], tasks: [{name: b, say: y}]}\n", func(in *Inputs, _ *Options) {
		in.Modules, in.Tags = g.set(), []string{"other"}
	})
	assert.Equal(t, 0, r.ExitCode())
	assert.Equal(t, []string{"b h1 ok y"}, r.done())
}

func TestGuardThatSkipsAllSaysNothing(t *testing.T) {
	r, _ := runGuarded(t, guardedPlay("[{name: well, fail: , when: \"false\"}]", "[{name: a, say: x}]"), nil)
	assert.Equal(t, 0, r.ExitCode())
	assert.Empty(t, of[event.GuardChecked](r.records))
}

func TestCheckModeLooksToo(t *testing.T) {
	r, _ := runGuarded(t, guardedPlay("[{name: well, fail: {msg: bad}}]", "[{name: a, say: x}]"), func(o *Options) { o.Check = true })
	assert.Equal(t, 5, r.ExitCode())
	r, _ = runGuarded(t, guardedPlay("[{name: well, sh: x}]", "[{name: a, say: x}]"), func(o *Options) { o.Check = true })
	assert.Equal(t, 5, r.ExitCode())
}

func TestGuardsAreAnalysed(t *testing.T) {
	tests := []struct{ name, guard, want string }{
		{"unknown module", "[{prob: }]", `there is no module "prob"`},
		{"undefined variable", `[{say: "{{ .nobody_has_this }}"}]`, `nothing defines the variable "nobody_has_this"`},
		{"hosts that are not there", "{hosts: nowhere, tasks: [{probe: }]}", "no host or group is called nowhere"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, problems := compileFiles(t, guardedPlay(tt.guard, "[]"), func(in *Inputs) { in.Modules = newGuardModules().set() })
			var all []string
			for _, p := range problems {
				all = append(all, p.Problem)
			}
			assert.Contains(t, strings.Join(all, "\n"), tt.want)
		})
	}
}

func TestGuardRegisteringIsNotSeenByTasks(t *testing.T) {
	_, problems := compileFiles(t, guardedPlay("[{probe: , register: seen}]", `[{say: "{{ .seen.msg }}"}]`), func(in *Inputs) { in.Modules = newGuardModules().set() })
	require.True(t, problems.Failed() || len(problems) > 0, "a task uses what only the guard has")
}
