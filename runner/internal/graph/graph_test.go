package graph

import (
	"context"
	"errors"
	"math/rand"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// item is a node of a test: what it unfolds into, and what must have ended before it.
type item struct {
	name  int
	inner *Graph[*item]
	items []*item // of inner
	after []*item
	ended bool
}

type recorder struct {
	t       *testing.T
	mu      sync.Mutex // guards running, most, order
	running int
	most    int
	order   []int
	work    func()
}

func (r *recorder) Work(_ context.Context, it *item) {
	r.mu.Lock()
	r.running++
	r.most = max(r.most, r.running)
	r.mu.Unlock()
	if r.work != nil {
		r.work()
	}
	r.mu.Lock()
	r.running--
	r.mu.Unlock()
}

func (r *recorder) Unfold(_ context.Context, it *item) *Graph[*item] {
	for _, before := range it.after {
		assert.True(r.t, before.endedWhole(), "node %d went before %d had ended", it.name, before.name)
	}
	assert.False(r.t, it.ended, "node %d twice", it.name)
	it.ended = true
	r.order = append(r.order, it.name)
	return it.inner
}

func (it *item) endedWhole() bool {
	return it.ended && !slices.ContainsFunc(it.items, func(in *item) bool { return !in.endedWhole() })
}

// random makes a graph of n nodes with random edges, some of which unfold.
func random(rnd *rand.Rand, n, depth int, next *int, all *[]*item) *Graph[*item] {
	g := &Graph[*item]{}
	var items []*item
	for i := range n {
		it := &item{name: *next}
		*next++
		var after []ID
		for j := range i {
			if rnd.Intn(4) == 0 {
				after = append(after, ID(j))
				it.after = append(it.after, items[j])
			}
		}
		if depth > 0 && rnd.Intn(5) == 0 {
			from := len(*all)
			it.inner = random(rnd, rnd.Intn(5), depth-1, next, all)
			it.items = slices.Clone((*all)[from:])
		}
		if rnd.Intn(2) == 0 {
			g.Add(it, after...)
		} else {
			g.AddWork(it, after...)
		}
		items = append(items, it)
		*all = append(*all, it)
	}
	return g
}

func TestRandomGraphsKeepOrderLimitAndOnce(t *testing.T) {
	for seed := range int64(60) {
		rnd := rand.New(rand.NewSource(seed))
		var next int
		var all []*item
		g := random(rnd, 1+rnd.Intn(40), 2, &next, &all)
		slots := 1 + rnd.Intn(6)
		r := &recorder{t: t}
		require.NoError(t, Walk(t.Context(), g, Limits{Slots: slots}, r))
		assert.Len(t, r.order, next, "seed %d", seed)
		assert.LessOrEqual(t, r.most, slots, "seed %d", seed)
		for _, it := range all {
			assert.True(t, it.ended, "seed %d: node %d was left out", seed, it.name)
		}
	}
}

func TestOneSlotHasOneOrder(t *testing.T) {
	orders := map[int64][]int{}
	for range 3 {
		for seed := range int64(20) {
			var next int
			var all []*item
			g := random(rand.New(rand.NewSource(seed)), 30, 2, &next, &all)
			r := &recorder{t: t}
			require.NoError(t, Walk(t.Context(), g, Limits{}, r))
			if orders[seed] == nil {
				orders[seed] = r.order
			}
			assert.Equal(t, orders[seed], r.order, "seed %d", seed)
		}
	}
}

func TestUnfoldedStandsInItsNodesPlace(t *testing.T) {
	inner := &Graph[*item]{}
	a := inner.AddWork(&item{name: 10})
	inner.AddWork(&item{name: 11}, a)
	g := &Graph[*item]{}
	first := g.Add(&item{name: 1, inner: inner})
	g.AddWork(&item{name: 2})
	g.Add(&item{name: 3}, first)
	r := &recorder{t: t}
	require.NoError(t, Walk(t.Context(), g, Limits{Slots: 1}, r))
	assert.Equal(t, []int{1, 10, 11, 3, 2}, r.order)
}

func TestDrainLetsWorkEndAndStartsNothing(t *testing.T) {
	g := &Graph[*item]{}
	g.AddWork(&item{name: 2}, g.AddWork(&item{name: 1}))
	drain := make(chan struct{})
	r := &recorder{t: t, work: func() { close(drain) }}
	err := Walk(t.Context(), g, Limits{Drain: drain}, r)
	require.ErrorIs(t, err, ErrDrained)
	assert.Equal(t, []int{1}, r.order)
}

func TestCancelGivesTheCause(t *testing.T) {
	cause := errors.New("second interrupt")
	ctx, cancel := context.WithCancelCause(t.Context())
	g := &Graph[*item]{}
	g.AddWork(&item{name: 2}, g.AddWork(&item{name: 1}))
	r := &recorder{t: t, work: func() { cancel(cause) }}
	require.ErrorIs(t, Walk(ctx, g, Limits{}, r), cause)
	assert.Equal(t, []int{1}, r.order)
}

func TestEdgeToLaterNodePanics(t *testing.T) {
	g := &Graph[*item]{}
	assert.Panics(t, func() { g.Add(&item{}, 0) })
}

func TestDrainAtTheVeryEndIsNoInterruption(t *testing.T) {
	g := &Graph[*item]{}
	g.AddWork(&item{name: 1})
	drain := make(chan struct{})
	r := &recorder{t: t, work: func() { close(drain) }}
	require.NoError(t, Walk(t.Context(), g, Limits{Drain: drain}, r))
}

func TestWaitingTakesNoSlot(t *testing.T) {
	g := &Graph[*item]{}
	g.AddWaiting(&item{name: 1})
	g.AddWork(&item{name: 2})
	var both sync.WaitGroup // neither ends before both are at it
	both.Add(2)
	r := &recorder{t: t, work: func() { both.Done(); both.Wait() }}
	require.NoError(t, Walk(t.Context(), g, Limits{Slots: 1}, r))
	assert.ElementsMatch(t, []int{1, 2}, r.order)
}

func TestHoldStartsNothingUntilACallEndsIt(t *testing.T) {
	g := &Graph[*item]{}
	g.AddWork(&item{name: 2}, g.AddWork(&item{name: 1}))
	calls := make(chan func())
	hold, quiet := false, 0
	limits := Limits{Calls: calls, Hold: func() bool { return hold }}
	r := &recorder{t: t, work: func() {
		if quiet == 0 {
			calls <- func() { hold = true }
		}
	}}
	limits.Held = func() {
		quiet++
		assert.Equal(t, []int{1}, r.order, "what was under way has ended and nothing else has begun")
		if quiet == 1 {
			go func() { calls <- func() { hold = false } }()
		}
	}
	require.NoError(t, Walk(t.Context(), g, limits, r))
	assert.Equal(t, []int{1, 2}, r.order)
	assert.Positive(t, quiet)
}

func TestHaltLetsWorkEndAndGivesItsError(t *testing.T) {
	g := &Graph[*item]{}
	g.AddWork(&item{name: 2}, g.AddWork(&item{name: 1}))
	calls := make(chan func())
	var halt error
	r := &recorder{t: t, work: func() { calls <- func() { halt = errors.New("enough") } }}
	require.EqualError(t, Walk(t.Context(), g, Limits{Calls: calls, Halt: func() error { return halt }}, r), "enough")
	assert.Equal(t, []int{1}, r.order)
}

func TestNothingStartsBehindANodeThatHalts(t *testing.T) {
	for name, add := range map[string]func(g *Graph[*item]) ID{
		"fold":     func(g *Graph[*item]) ID { return g.Add(&item{name: 1}) },
		"recalled": func(g *Graph[*item]) ID { return g.AddRecalled(&item{name: 1}, 1) },
	} {
		g := &Graph[*item]{}
		g.AddWork(&item{name: 2}, add(g))
		g.AddWork(&item{name: 3})
		r := &recorder{t: t}
		halt := func() error {
			if len(r.order) > 0 {
				return errors.New("enough")
			}
			return nil
		}
		require.EqualError(t, Walk(t.Context(), g, Limits{Halt: halt}, r), "enough", name)
		assert.Equal(t, []int{1}, r.order, name)
		assert.Zero(t, r.most, "%s: work has begun", name)
	}
}

func TestRecalledGoInTheirTurnsBeforeAnyWork(t *testing.T) {
	g := &Graph[*item]{}
	g.AddWork(&item{name: 1})
	second := g.AddRecalled(&item{name: 2}, 20)
	g.AddRecalled(&item{name: 3}, 10)
	g.Add(&item{name: 4}, second)
	g.AddRecalled(&item{name: 5}, 5, second) // its turn was earlier, but it is ready only now
	r := &recorder{t: t}
	require.NoError(t, Walk(t.Context(), g, Limits{Slots: 1}, r))
	assert.Equal(t, []int{3, 2, 4, 5, 1}, r.order)
}
