package runner

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/connect"
)

// remembering is a host that has kept something of every run.
type remembering struct {
	modules.Host
	kept connect.Kept
}

func (r remembering) Kept(context.Context, string) (*connect.Kept, error) { return &r.kept, nil }

// Run is readlink: one of the paths is not there.
func (r remembering) Run(_ context.Context, cmd modules.Command) (modules.Output, error) {
	out := modules.Output{Stdout: []byte("/data" + cmd.Argv[3] + "\n"), ExitCode: 1}
	return out, &modules.ExitError{Argv: cmd.Argv, Output: out}
}

func (r remembering) Look(_ context.Context, queries ...modules.Query) ([]modules.File, error) {
	return make([]modules.File, len(queries)), nil
}

// TestAHostIsAskedAgainWhatItKeeps when it could not be asked at first: the next step may reach it.
func TestAHostIsAskedAgainWhatItKeeps(t *testing.T) {
	gone := errors.New("gone")
	h := &lazyHost{open: func(context.Context) (modules.Host, error) { return nil, gone }}
	var k keptOn
	require.ErrorIs(t, k.read(t.Context(), h, "r1", nil), gone)
	h.open = func(context.Context) (modules.Host, error) {
		return remembering{kept: connect.Kept{Known: true}}, nil
	}
	require.NoError(t, k.read(t.Context(), h, "r1", []string{"/opt/1", "/opt/2", "/opt/1"}))
	assert.True(t, k.known)
	assert.Equal(t, []string{"/opt/1", "/opt/2", "/data/opt/1"}, k.stays, "where links lead is known of what is there")
}

// TestWhatAHostCouldNotWriteDownIsTold: a step that has changed something and of which nothing, or not all, is kept
// must not look as if there were nothing to put back.
func TestWhatAHostCouldNotWriteDownIsTold(t *testing.T) {
	const place, host = "0.0:1:2", "h1"
	step := undoKey{unbatched(place), host, 0}.name()
	for _, tt := range []struct {
		name    string
		kept    connect.Kept
		status  string
		problem string
	}{
		{"a record", connect.Kept{Known: true, Recorded: []string{step}}, "changed", ""},
		{"a part of a record", connect.Kept{Known: true, Recorded: []string{step}, Damaged: []string{step}}, "changed", "is not whole"},
		{"no record of a change that was made", connect.Kept{Known: true}, "changed", "has no record"},
		{"no record of a change that had only begun", connect.Kept{Known: true}, "", ""},
		{"no record of a change that failed", connect.Kept{Known: true}, "failed", ""},
		{"nothing of the run", connect.Kept{}, "changed", "not kept on the host any more"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			entries := []Entry{{Kind: EntryActing, Place: place, Host: host, State: json.RawMessage(`{"changes":true,"module":"copy"}`)}}
			if tt.status != "" {
				entries = append(entries, Entry{Kind: EntryDone, Place: place, Host: host, State: json.RawMessage(`{"s":"` + tt.status + `","d":"1"}`)})
			}
			u, err := NewUndo("r1", entries)
			require.NoError(t, err)
			var k keptOn
			k.takeAll(&tt.kept)
			b := &backing{undo: u, did: u.steps[undoKey{unbatched(place), host, 0}], host: remembering{}, kept: &k}
			err = b.propose(t.Context(), step, &modules.Proposal{})
			if tt.problem == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.problem)
		})
	}
}
