package pegasus

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/internal/fake"
)

// reports is the progress that was told.
type reports struct {
	on func(p modules.Progress) // is called with each, where it is set

	mu  sync.Mutex
	all []modules.Progress
}

func (r *reports) add(p modules.Progress) {
	if r.on != nil {
		r.on(p)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, p)
}

// count is what each report says of a count, in order.
func (r *reports) count(name string) (left []int, of int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.all {
		for _, c := range p.Counts {
			if c.Name == name {
				left, of = append(left, c.Left), c.Of
			}
		}
	}
	return left, of
}

// watched runs a task and gives the progress that it tells.
func (b *bed) watched(m *modules.Module, args string, on func(modules.Progress)) *reports {
	b.t.Helper()
	r := &reports{on: on}
	p, err := m.Propose(b.t.Context(), &modules.Call{Host: b.host, Note: b.notes.add, Report: r.add}, b.arguments(args))
	require.NoError(b.t, err)
	require.NotNil(b.t, p.Do)
	require.NoError(b.t, p.Do(b.t.Context(), b.host))
	return r
}

func isCountdown(t *testing.T, r *reports, name string, from int) {
	t.Helper()
	left, of := r.count(name)
	require.NotEmpty(t, left, name)
	assert.Equal(t, from, of, name)
	assert.Equal(t, from, left[0], name)
	assert.Zero(t, left[len(left)-1], name)
	for i := range left[1:] {
		assert.LessOrEqual(t, left[i+1], left[i], name)
	}
}

// TestProgressCountsDown: each step of a drain tells what is left, from all to none.
func TestProgressCountsDown(t *testing.T) {
	b := heldBed(t, 8, 4)
	primaries, secondaries := b.holding(2)
	require.Positive(t, primaries)
	isCountdown(t, b.watched(migrateModule(), node(2), nil), "primaries", primaries)
	isCountdown(t, b.watched(downgradeModule(), node(2), nil), "secondaries", primaries+secondaries)
	isCountdown(t, b.watched(closeModule(), node(2), nil), "open replicas", primaries+secondaries)
}

// TestProgressOfHealing: unhealthy partitions and servers that are down.
func TestProgressOfHealing(t *testing.T) {
	b := newBed(t, 4)
	b.locked(func() { b.Nodes[4].Alive = false })
	r := b.watched(waitHealthyModule(), `{"system": "pegasus", "nodes": ["`+fake.Replica(5)+`"]}`, func(modules.Progress) {
		b.locked(func() { b.Nodes[4].Alive = true })
	})
	isCountdown(t, r, "servers down", 1)
	assert.Equal(t, "waits for pegasus", r.all[0].Phase)
	assert.Contains(t, r.all[0].Detail, fake.Replica(5))
	assert.Positive(t, r.all[0].Expects)
}
