package runner

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
)

// unit is a module whose tasks are about a unit, and leave it to a later one to put that back.
func unit() *modules.Module {
	type args struct {
		Name  string `arg:"name,required" doc:"Its name."`
		State string `arg:"state,required" doc:"Its state."`
	}
	does := func(what, name string) *modules.Proposal {
		return &modules.Proposal{Before: json.RawMessage(`{}`), Diff: []modules.Diff{{Subject: name}}, Do: func(ctx context.Context, h modules.Host) error {
			_, err := h.Run(ctx, modules.Command{Argv: []string{what, name}})
			return err
		}}
	}
	m := modules.Define("unit", "A unit.", func(_ context.Context, _ *modules.Call, a args) (*modules.Proposal, error) {
		return does(a.State, a.Name), nil
	})
	modules.Restoring(m, func(_ context.Context, call *modules.Call, a args, before *struct{}) (*modules.Proposal, error) {
		if before == nil || call.Later {
			return &modules.Proposal{}, nil
		}
		return does("restored", a.Name), nil
	})
	modules.About(m, func(a args) string { return a.Name })
	return m
}

// A run that is taken back is killed, in the middle of a loop, too, and gone on with: what an item has left to a later
// task is put back there.
func TestWhatWasLeftToALaterTaskIsPutBackAfterAKill(t *testing.T) {
	plan, problems := compileFiles(t, `-- site.yml --
- hosts: h1
  gather_facts: false
  tasks:
    - {name: stop, unit: {name: "{{ .item }}", state: stopped}, loop: [a, b]}
    - {name: start, unit: {name: "{{ .item }}", state: started}, loop: [a, b]}
-- hosts.yml --
all: {hosts: {h1: }}
`, func(in *Inputs) { in.Modules = NewSet(unit()) })
	require.NoError(t, problems.Err())
	forward := newSite()
	forward.plan = plan
	forward.life(t, "", 1)
	require.Equal(t, []string{"run stopped a", "run stopped b", "run started a", "run started b"}, forward.changes["h1"])
	whole := newSite()
	whole.plan, whole.undo = plan, forward.entries
	whole.life(t, "", 1)
	want := []string{"run restored a", "run restored b"}
	require.Equal(t, want, whole.changes["h1"])
	acts := slices.IndexFunc(whole.entries, func(e Entry) bool { return e.Kind == EntryActing })
	require.Positive(t, acts)
	for n := range whole.entries {
		s := newSite()
		s.plan, s.undo, s.entries = plan, forward.entries, slices.Clone(whole.entries[:n+1])
		out, _ := s.life(t, "", 1)
		assert.Equal(t, 0, out.ExitCode(), "after %s: %s", brief(whole.entries[n]), out.Message)
		assert.Empty(t, out.Message, "after %s", brief(whole.entries[n]))
		if n < acts {
			assert.Equal(t, want, s.changes["h1"], "after %s", brief(whole.entries[n]))
		}
	}
}
