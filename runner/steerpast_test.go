package runner

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/event"
)

// notebook keeps a run's entries.
type notebook struct {
	mu      sync.Mutex // guards entries
	entries []Entry
}

func (k *notebook) Err() error { return nil }

func (k *notebook) Keep(e Entry) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.entries = append(k.entries, e)
	return nil
}

// A run that goes on asks no gate again that was open, and looks at no guard of a batch that is past.
func TestGatesAndGuardsOfARunThatGoesOn(t *testing.T) {
	const text = `-- site.yml --
- name: web
  hosts: h1,h2
  gather_facts: false
  serial: 1
  confirm: {message: all is lost, value: prod}
  guard: [{name: well, probe: }]
  tasks:
    - {name: a, say: x}
    - {name: g, gate: , when: eq .inventory_hostname "h1"}
    - {name: b, fail: , when: bool .fails}
- name: later
  hosts: h1
  gather_facts: false
  tasks: [{name: c, gate: }, {name: d, say: y}]
`
	rec := &notebook{}
	asked, confirmed := 0, 0
	one := func(bad bool, past *Past, approves bool) (Outcome, *records) {
		g := newGuardModules()
		g.bad.Store(bad)
		got := &records{}
		plan, problems := compileFiles(t, text+"-- hosts.yml --\nall: {vars: {fails: false}, hosts: {h1: , h2: , h3: }}\n", func(in *Inputs) { in.Modules = g.set() })
		require.NoError(t, problems.Err())
		out, err := plan.Run(t.Context(), Options{Connect: &machines{}, Events: got, Forks: 1, Record: rec, Past: past, RunID: "r1", Resume: "pegbook runs resume r1",
			Confirm: func(context.Context, string, string) error { confirmed++; return nil },
			Gates: Gates{Ask: func(context.Context, event.GateWaiting) (bool, string, error) {
				asked++
				return approves || asked == 1, "alice", nil
			}}})
		require.NoError(t, err)
		return out, got
	}
	out, got := one(false, nil, false)
	assert.Equal(t, 5, out.ExitCode(), out.Message)
	assert.Contains(t, out.Message, "pegbook runs resume r1")
	assert.Equal(t, []string{"a h1 ok x", "g h1 ok approved by alice", "b h1 skipped", "a h2 ok x", "g h2 skipped", "b h2 skipped"}, got.done())
	assert.Equal(t, 2, asked)

	past, err := NewPast(slices.Values(rec.entries))
	require.NoError(t, err)
	out, got = one(true, past, true)
	assert.Equal(t, 0, out.ExitCode(), out.Message)
	assert.Equal(t, 3, asked, "only the gate that had not been opened")
	assert.Equal(t, 1, confirmed)
	assert.Equal(t, []string{"c h1 ok approved by alice", "d h1 ok y"}, got.done())
	assert.Len(t, of[event.GateWaiting](got), 1)
}

// Under strategy: free a gate is asked once, and hosts that it does not concern pass by: that takes its answer from
// nobody who goes on.
func TestAGateThatSomeHostsPassByIsNotAskedAgain(t *testing.T) {
	rec := &notebook{}
	asked := 0
	one := func(fails string, past *Past) Outcome {
		plan, problems := compileFiles(t, `-- site.yml --
- hosts: h1,h2
  gather_facts: false
  strategy: free
  tasks:
    - {name: g, gate: , when: eq .inventory_hostname "h1"}
    - {name: b, fail: , when: bool .fails}
-- hosts.yml --
all: {vars: {fails: `+fails+`}, hosts: {h1: , h2: , h3: }}
`, func(in *Inputs) { in.Modules = testModules() })
		require.NoError(t, problems.Err())
		out, err := plan.Run(t.Context(), Options{Connect: &machines{}, Events: &records{}, Forks: 1, Record: rec, Past: past, RunID: "r1",
			Gates: Gates{Ask: func(context.Context, event.GateWaiting) (bool, string, error) { asked++; return true, "alice", nil }}})
		require.NoError(t, err)
		return out
	}
	require.Equal(t, 2, one("true", nil).ExitCode())
	past, err := NewPast(slices.Values(rec.entries))
	require.NoError(t, err)
	out := one("false", past)
	assert.Equal(t, 0, out.ExitCode(), out.Message)
	assert.Equal(t, 1, asked)
}

// Whoever has answered that nobody is to be asked any more is not asked again, in whichever order plays that run side by
// side come to it.
func TestNobodyIsAskedAgainWhoWantedToBeAskedNoMore(t *testing.T) {
	past, err := NewPast(slices.Values([]Entry{{Kind: EntryDecided, Place: "0.1:1:tasks/0 step", State: []byte("2")}}))
	require.NoError(t, err)
	var asked []string
	r := runFiles(t, `-- site.yml --
- {id: one, hosts: h1, gather_facts: false, tasks: [{name: a, say: x}]}
- {needs: [one], hosts: h1, gather_facts: false, tasks: [{name: b, say: x}]}
`, func(_ *Inputs, o *Options) {
		o.Past = past
		o.Step = func(_ context.Context, task string) (Leave, error) { asked = append(asked, task); return LeaveNot, nil }
	})
	assert.Empty(t, asked)
	assert.Equal(t, []string{"a h1 ok x", "b h1 ok x"}, r.done())
}
