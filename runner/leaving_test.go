package runner

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/event"
)

type watchArgs struct {
	Kind string `arg:"kind" doc:"what it does"`
	Item string `arg:"item" default:"" doc:"of a loop"`
}

// watching gives a module that waits for health, lets time pass, or changes something slowly. It has to wait only
// before it is well.
func watching(well bool) *modules.Module {
	forever := func(ctx context.Context, _ modules.Host) error { <-ctx.Done(); return context.Cause(ctx) }
	return modules.Define("watch", "Wait.", func(_ context.Context, _ *modules.Call, a watchArgs) (*modules.Proposal, error) {
		switch {
		case a.Kind == "acts": // until the run has been told to end, and a bit longer
			return &modules.Proposal{Diff: []modules.Diff{{Subject: "x"}}, Waits: true, Do: func(ctx context.Context, _ modules.Host) error {
				return pause(ctx, 100*time.Millisecond)
			}}, nil
		case well || a.Item == "quick":
			return &modules.Proposal{Message: "well"}, nil
		case a.Kind == "pauses":
			return &modules.Proposal{Expects: time.Hour, Predicts: map[string]string{}, Do: forever}, nil
		case a.Kind == "tries":
			return &modules.Proposal{Message: "not yet"}, nil
		}
		return &modules.Proposal{Waits: true, Do: forever}, nil
	})
}

// The first interrupt ends what only waits; that has not ended then, fails nobody, and is done again by whoever goes
// on. What changes something comes to its end.
func TestInterruptLeavesWaits(t *testing.T) {
	tests := []struct {
		name, task    string
		first, second []string
		message       string
	}{
		{"waits", "watch: {kind: waits}", []string{"w h1 unknown", "w h2 unknown"}, []string{"w h1 ok well", "w h2 ok well", "b h1 ok x", "b h2 ok x"}, `h1, h2 in task "w", which waited,`},
		{"pauses", "watch: {kind: pauses}", []string{"w h1 unknown", "w h2 unknown"}, []string{"w h1 ok well", "w h2 ok well", "b h1 ok x", "b h2 ok x"}, `in task "w", which waited,`},
		{"tries again", `watch: {kind: tries}, register: r, until: eq .r.msg "well", retries: 9, delay: 60`, []string{"w h1 unknown", "w h2 unknown"},
			[]string{"w h1 ok well", "w h2 ok well", "b h1 ok x", "b h2 ok x"}, `in task "w", which waited,`},
		{"in a loop", `watch: {kind: waits, item: "{{ .item }}"}, loop: [quick, slow]`, []string{"w h1 unknown", "w h2 unknown"},
			[]string{"w h1 ok All items completed", "w h2 ok All items completed", "b h1 ok x", "b h2 ok x"}, `in task "w", which waited,`},
		{"acts", "watch: {kind: acts}", []string{"w h1 changed", "w h2 changed"}, []string{"b h1 ok x", "b h2 ok x"}, `h1, h2 after task "w"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := &notebook{}
			life := func(well bool, past *Past, drain chan struct{}) (Outcome, *records) {
				plan, problems := compileFiles(t, `-- site.yml --
- hosts: h1,h2
  gather_facts: false
  tasks:
    - block:
        - {name: w, `+tt.task+`}
        - {name: b, say: x}
      rescue:
        - {name: c, say: x}
      always:
        - {name: d, say: x, when: false}
`, func(in *Inputs) { in.Modules = NewSet(append(testModules().All(), watching(well))...) })
				require.NoError(t, problems.Err())
				got := &records{}
				var mu sync.Mutex
				started := 0
				sink := event.Tee{got, sinkFunc(func(r event.Record) {
					mu.Lock()
					defer mu.Unlock()
					if _, ok := r.Event.(event.TaskStarted); ok && drain != nil {
						if started++; started == 2 {
							time.AfterFunc(20*time.Millisecond, func() { close(drain) })
						}
					}
				})}
				out, err := plan.Run(t.Context(), Options{Connect: &machines{}, Events: sink, Forks: 5, Record: rec, Past: past, RunID: "r1", Resume: "pegbook runs resume r1", Drain: drain})
				require.NoError(t, err)
				return out, got
			}
			out, got := life(false, nil, make(chan struct{}))
			assert.Equal(t, 130, out.ExitCode())
			var ended []string
			for _, line := range got.done() {
				line, _, _ = strings.Cut(line, " left after ")
				ended = append(ended, line)
			}
			assert.ElementsMatch(t, tt.first, ended)
			assert.Contains(t, out.Message, tt.message)
			assert.Contains(t, out.Message, "; to go on: pegbook runs resume r1")
			assert.Zero(t, out.Recap["h1"].Failed)
			past, err := NewPast(slices.Values(rec.entries))
			require.NoError(t, err)
			out, got = life(true, past, nil)
			assert.Zero(t, out.ExitCode(), out.Message)
			assert.ElementsMatch(t, append(tt.second, "d h1 skipped", "d h2 skipped"), got.done())
		})
	}
}
