// Package graph is nodes, the edges between them, and a walk that keeps to the edges. It knows nothing
// of what a node is for.
//
// A node is work, which runs on a goroutine of its own and takes one of a bounded number of slots, or
// waiting, which is work without a slot, or a fold, which has no work. When a node's own part has ended it
// may unfold into a further graph; the node has ended when all of that has. So only what is being walked
// is in memory.
//
// # Guarantees
//
// Every node is visited at most once, after every node it was added behind has ended. One goroutine
// schedules and unfolds. Of the nodes that are ready the earliest added goes first (what a node unfolds
// into stands in the node's place), so with one slot there is exactly one order.
package graph

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
)

// ID is a node of a graph, as Add and AddWork give it.
type ID int

// Graph is nodes in the order they were added. The zero value is empty and ready to use. A graph is
// walked once and not changed after that has begun.
type Graph[T any] struct {
	nodes []node[T]
}

type node[T any] struct {
	item T
	next []ID
	wait int // how many nodes it still waits for
	kind kind
	turn int // of recalled
}

type kind uint8

const (
	fold kind = iota
	work
	waiting
	recalled
)

// Add adds a fold behind the nodes given, which must be of this graph.
func (g *Graph[T]) Add(item T, after ...ID) ID { return g.add(item, fold, after) }

// AddWork adds work behind the nodes given.
func (g *Graph[T]) AddWork(item T, after ...ID) ID { return g.add(item, work, after) }

// AddWaiting adds work that takes no slot, because it hardly does anything but wait.
func (g *Graph[T]) AddWaiting(item T, after ...ID) ID { return g.add(item, waiting, after) }

// AddRecalled adds a fold that stands for work which was done in an earlier walk of the same graph. Of those that
// are ready the one of the lowest turn goes first, behind every other fold and before any work. So a walk in which
// the turns count as the earlier one ended its work goes the same way, up to where the other one stopped.
func (g *Graph[T]) AddRecalled(item T, turn int, after ...ID) ID {
	id := g.add(item, recalled, after)
	g.nodes[id].turn = turn
	return id
}

func (g *Graph[T]) add(item T, kind kind, after []ID) ID {
	id := ID(len(g.nodes))
	for _, before := range after {
		if before < 0 || before >= id {
			panic(fmt.Sprintf("graph: edge from node %d, which is not yet added", before))
		}
		g.nodes[before].next = append(g.nodes[before].next, id)
	}
	g.nodes = append(g.nodes, node[T]{item: item, wait: len(after), kind: kind})
	return id
}

// Len is how many nodes there are.
func (g *Graph[T]) Len() int { return len(g.nodes) }

// Visitor is what a walk does with a node.
type Visitor[T any] interface {
	// Work does a work node's part. It is called on a goroutine of its own.
	Work(ctx context.Context, item T)
	// Unfold is called on the walking goroutine, when a work node's Work has returned or a fold's turn
	// has come. The graph it gives, nil for none, is walked before the node counts as ended.
	Unfold(ctx context.Context, item T) *Graph[T]
}

// Limits bound a walk.
type Limits struct {
	// Slots is how many work nodes run at a time; less than 1 means 1.
	Slots int
	// Drain, when closed, lets what runs end and starts nothing more. nil never does.
	Drain <-chan struct{}
	// Calls are made on the walking goroutine, between nodes: how others get at what belongs to it. nil: none.
	Calls <-chan func()
	// Hold, asked on the walking goroutine, says whether to start nothing more for now; only Calls can change
	// the answer. Held is called, perhaps more than once, while it holds and no work is under way but waiting.
	Hold func() bool
	Held func()
	// Halt, asked on the walking goroutine, gives the error with which to end the walk: what runs goes on to
	// its end and nothing more starts. nil goes on.
	Halt func() error
}

// ErrDrained says that a walk ended early because it was told to start nothing more.
var ErrDrained = errors.New("told to start nothing more")

// Walk visits every node. It returns when all have ended; or, when ctx is done or the walk drained or
// halted, as soon as the work that runs has returned. The error is then ctx's cause, ErrDrained or Halt's.
func Walk[T any](ctx context.Context, g *Graph[T], limits Limits, v Visitor[T]) error {
	w := &walk[T]{visitor: v, limits: limits, slots: max(1, limits.Slots), begun: make(chan ready[T]), ended: make(chan ready[T])}
	defer close(w.begun)
	w.enter(g, nil, 0)
	done, drain := ctx.Done(), limits.Drain
	var stop error
	for {
		if stop == nil {
			stop = w.stopped(ctx, drain)
		}
		held := stop == nil && w.held()
		if stop == nil && !held {
			stop = w.start(ctx)
		}
		if w.running == 0 && !held {
			if errors.Is(stop, ErrDrained) && w.left() == 0 {
				return nil // there was nothing more to start
			}
			return stop
		}
		select {
		case r := <-w.ended:
			w.running--
			if r.in.graph.nodes[r.id].kind == work {
				w.busy--
			}
			w.unfold(ctx, r)
		case call := <-limits.Calls:
			call()
		case <-done:
			done, stop = nil, context.Cause(ctx)
		case <-drain:
			drain = nil
			if stop == nil {
				stop = ErrDrained
			}
		}
	}
}

func (w *walk[T]) stopped(ctx context.Context, drain <-chan struct{}) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := w.halted(); err != nil {
		return err
	}
	select {
	case <-drain:
		return ErrDrained
	default:
		return nil
	}
}

func (w *walk[T]) halted() error {
	if w.limits.Halt == nil {
		return nil
	}
	return w.limits.Halt()
}

// held says whether nothing more is to start for now, and tells when all is quiet.
func (w *walk[T]) held() bool {
	if w.limits.Hold == nil || !w.limits.Hold() || w.running+w.left() == 0 {
		return false
	}
	if w.busy == 0 {
		w.limits.Held()
	}
	return true
}

type walk[T any] struct {
	visitor      Visitor[T]
	limits       Limits
	slots        int
	busy         int      // slots that are taken
	running      int      // nodes whose work is under way, that without a slot included
	workers      int      // goroutines that do work, or wait for some
	folds, works queue[T] // waiting stands among the folds: it takes no slot
	past         turns[T]
	begun, ended chan ready[T]
}

// frame is a graph being walked, standing in the place of a node of another frame.
type frame[T any] struct {
	graph *Graph[T]
	outer *frame[T]
	at    ID   // the node of outer
	place []ID // the nodes from the outermost graph down to here
	left  int  // nodes that have not ended
}

type ready[T any] struct {
	in *frame[T]
	id ID
}

// enter puts a graph in a node's place. An empty graph has ended already.
func (w *walk[T]) enter(g *Graph[T], outer *frame[T], at ID) bool {
	if g == nil || len(g.nodes) == 0 {
		return false
	}
	f := &frame[T]{graph: g, outer: outer, at: at, left: len(g.nodes)}
	if outer != nil {
		f.place = append(append(make([]ID, 0, len(outer.place)+1), outer.place...), at)
	}
	for id := range g.nodes {
		if g.nodes[id].wait == 0 {
			w.push(f, ID(id))
		}
	}
	return true
}

func (w *walk[T]) push(f *frame[T], id ID) {
	switch f.graph.nodes[id].kind {
	case work:
		heap.Push(&w.works, ready[T]{f, id})
	case recalled:
		heap.Push(&w.past, ready[T]{f, id})
	default:
		heap.Push(&w.folds, ready[T]{f, id})
	}
}

// left is how many nodes are ready.
func (w *walk[T]) left() int { return w.folds.Len() + w.past.Len() + w.works.Len() }

// start unfolds every fold that is ready, those of the past last, and then fills the slots. What it unfolds may halt
// the walk: nothing starts behind that.
func (w *walk[T]) start(ctx context.Context) error {
	for {
		if err := w.halted(); err != nil {
			return err
		}
		switch {
		case w.folds.Len() > 0:
			r := heap.Pop(&w.folds).(ready[T])
			if r.in.graph.nodes[r.id].kind == waiting {
				w.begin(ctx, r)
				continue
			}
			w.unfold(ctx, r)
			if ctx.Err() != nil {
				return nil
			}
		case w.past.Len() > 0:
			w.unfold(ctx, heap.Pop(&w.past).(ready[T]))
		case w.works.Len() > 0 && w.busy < w.slots:
			w.busy++
			w.begin(ctx, heap.Pop(&w.works).(ready[T]))
		default:
			return nil
		}
	}
}

// begin hands work to a goroutine that waits for some, or to a new one: one that has worked has a stack
// that is large enough.
func (w *walk[T]) begin(ctx context.Context, r ready[T]) {
	w.running++
	if w.running > w.workers {
		w.workers++
		go w.serve(ctx)
	}
	w.begun <- r
}

// serve does work until there is none left.
func (w *walk[T]) serve(ctx context.Context) {
	for r := range w.begun {
		w.visitor.Work(ctx, r.in.graph.nodes[r.id].item)
		w.ended <- r
	}
}

func (w *walk[T]) unfold(ctx context.Context, r ready[T]) {
	inner := w.visitor.Unfold(ctx, r.in.graph.nodes[r.id].item)
	if !w.enter(inner, r.in, r.id) {
		w.end(r)
	}
}

// end marks a node as ended, and the nodes around it whose last part it was.
func (w *walk[T]) end(r ready[T]) {
	for f, id := r.in, r.id; ; f, id = f.outer, f.at {
		n := &f.graph.nodes[id]
		for _, next := range n.next {
			f.graph.nodes[next].wait--
			if f.graph.nodes[next].wait == 0 {
				w.push(f, next)
			}
		}
		var none T
		n.item, n.next = none, nil // what has ended need not stay in memory
		f.left--
		if f.left > 0 || f.outer == nil {
			return
		}
	}
}

// turns is a heap of recalled nodes by their turn.
type turns[T any] struct{ queue[T] }

func (t turns[T]) Less(i, j int) bool { return t.turn(i) < t.turn(j) }

func (t turns[T]) turn(i int) int {
	r := t.queue[i]
	return r.in.graph.nodes[r.id].turn
}

// queue is a heap of ready nodes by their place.
type queue[T any] []ready[T]

func (q queue[T]) Len() int           { return len(q) }
func (q queue[T]) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q queue[T]) Less(i, j int) bool { return q[i].before(q[j]) }
func (q *queue[T]) Push(x any)        { *q = append(*q, x.(ready[T])) }

func (q *queue[T]) Pop() any {
	last := len(*q) - 1
	r := (*q)[last]
	(*q)[last] = ready[T]{}
	*q = (*q)[:last]
	return r
}

func (r ready[T]) before(other ready[T]) bool {
	if r.in == other.in {
		return r.id < other.id
	}
	for i := 0; ; i++ {
		a, aOK := r.step(i)
		b, bOK := other.step(i)
		switch {
		case !aOK || !bOK:
			return !aOK && bOK
		case a != b:
			return a < b
		}
	}
}

func (r ready[T]) step(i int) (ID, bool) {
	switch {
	case i < len(r.in.place):
		return r.in.place[i], true
	case i == len(r.in.place):
		return r.id, true
	}
	return 0, false
}
