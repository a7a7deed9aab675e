package runner

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
)

// Between the proof that a server may be stopped and its stop a run may be dead for hours: whoever goes on with it has it
// proved again, however far it had come in preparing the stop, and no more once the stop has begun.
func TestWhatWasProvedIsProvedAgainUntilSomethingCountsOnIt(t *testing.T) {
	proofs, may := 0, true
	proves := modules.Define("prove", "Prove.", func(context.Context, *modules.Call, struct{}) (*modules.Proposal, error) {
		if proofs++; !may {
			return nil, assert.AnError
		}
		return &modules.Proposal{}, nil
	})
	proves.Proves = true
	acts := func(name string) *modules.Module {
		return modules.Define(name, "Act.", func(context.Context, *modules.Call, struct{}) (*modules.Proposal, error) {
			return &modules.Proposal{Diff: []modules.Diff{{Subject: name}}, Do: func(ctx context.Context, h modules.Host) error {
				_, err := h.Run(ctx, modules.Command{Argv: []string{name}})
				return err
			}}, nil
		})
	}
	prepares, stops := acts("prepare"), acts("stop")
	prepares.Prepares = true
	plan, problems := compileFiles(t, `-- site.yml --
- hosts: h1
  gather_facts: false
  tasks: [{name: proof, prove: }, {name: ready, prepare: }, {name: down, stop: }]
-- hosts.yml --
all: {hosts: {h1: }}
`, func(in *Inputs) { in.Modules = NewSet(proves, prepares, stops) })
	require.NoError(t, problems.Err())
	whole := newSite()
	whole.plan = plan
	whole.life(t, "", 1)
	require.Equal(t, []string{"run prepare", "run stop"}, whole.changes["h1"])
	proved, counted := false, false
	for n, e := range whole.entries {
		s := newSite()
		s.plan, s.entries = plan, slices.Clone(whole.entries[:n+1])
		proved = proved || e.Kind == EntryDone && e.Task == "proof"
		counted = counted || e.Kind == EntryActing && e.Task == "down"
		proofs, may = 0, true
		out, _ := s.life(t, "", 1)
		assert.Equal(t, 0, out.ExitCode(), "after %s: %s", brief(e), out.Message)
		assert.Equal(t, !counted, proofs == 1, "after %s", brief(e))
		if !proved || counted {
			continue
		}
		s = newSite()
		s.plan, s.entries = plan, slices.Clone(whole.entries[:n+1])
		may = false
		out, _ = s.life(t, "", 1)
		assert.Equal(t, 2, out.ExitCode(), "after %s", brief(e))
		assert.NotContains(t, s.changes["h1"], "run stop", "after %s", brief(e))
	}
	require.True(t, counted)
}
