package runner

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
)

// A module whose change was cut off is told so, with the mark of the first proposal: that one saw how things were
// before anything was changed.
func TestAModuleIsToldThatItsChangeWasCutOff(t *testing.T) {
	var told []string
	swap := modules.Define("swap", "Replace what is there.", func(_ context.Context, call *modules.Call, _ struct{}) (*modules.Proposal, error) {
		mark := "none"
		if call.Begun != nil {
			mark = call.Begun.Mark
		}
		told = append(told, mark)
		return &modules.Proposal{Mark: fmt.Sprint("m", len(told)), Diff: []modules.Diff{{Subject: "it"}}, Do: func(ctx context.Context, h modules.Host) error {
			_, err := h.Run(ctx, modules.Command{Argv: []string{"swap"}})
			return err
		}}, nil
	})
	plan, problems := compileFiles(t, `-- site.yml --
- hosts: h1
  gather_facts: false
  tasks: [{name: swapped, swap: }, {name: again, swap: }]
-- hosts.yml --
all: {hosts: {h1: }}
`, func(in *Inputs) { in.Modules = NewSet(swap) })
	require.NoError(t, problems.Err())
	s := newSite()
	s.plan = plan
	for range 2 {
		s.killAct, s.before = 1, true
		s.life(t, "", 1)
		require.True(t, s.dead)
	}
	s.killAct = 0
	out, _ := s.life(t, "", 1)
	assert.Equal(t, 0, out.ExitCode(), out.Message)
	assert.Equal(t, []string{"none", "m1", "m1", "none"}, told)
}
