package pegasus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// drain works until the plan is empty.
func drain(ctx context.Context, call *modules.Call, host modules.Host, args drainArgs, step drainStep, out *drainOutput) error {
	ctx, cancel := context.WithTimeoutCause(ctx, args.Timeout, timeoutCause(args.Timeout, "moving the "+step.what+" of "+args.Node))
	defer cancel()
	s, err := open(call, host, args.clusterArgs)
	if err != nil {
		return err
	}
	defer s.Close()
	started := time.Now()
	defer func() { out.Seconds = time.Since(started).Round(100 * time.Millisecond).Seconds() }()
	d := newDrainer(s, args, step, out)
	doubt := args.patience()
	progress := &progress{call: call, phase: step.what + " leave", usual: args.expects()}
	left, lastly := 0, ""
	for {
		left, err = d.round(ctx)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%w%s; left: %s", context.Cause(ctx), lastly, d.queue.left())
		case doubt.ends(err):
			return err
		case err != nil:
			call.Note("looking again: %v", err)
			lastly = ": " + err.Error()
		default:
			progress.left("", d.counts(left)...)
			lastly = ""
		}
		if err == nil && left == 0 {
			return nil
		}
		if err := pause(ctx, args.between()); err != nil {
			return fmt.Errorf("%w%s; left: %s", err, lastly, d.queue.left())
		}
	}
}

// between is the time between two looks: a second, so that the meta server hardly notices, and less where its
// rounds are short.
func (a drainArgs) between() time.Duration { return min(time.Second, a.Round/4+time.Millisecond) }

// expects is how long a step is going to take: proposals wait for the meta server's next round, in which all of
// them are carried out, and a look shows that they were.
func (a drainArgs) expects() time.Duration { return a.Round + a.between() }

// planError is a view of the cluster in which a step cannot go on. A meta server that has just taken
// over shows one for a moment: it calls nodes dead that it has not heard yet.
type planError struct{ error }

// Unwrap gives the reason.
func (e planError) Unwrap() error { return e.error }

// patience is how long a plan's errors are looked over.
type patience struct {
	limit time.Duration
	since time.Time
}

// patience is three rounds; less than a few seconds would be less than a busy machine takes.
func (a drainArgs) patience() *patience { return &patience{limit: max(3*a.Round, 5*time.Second)} }

// ends says whether an error is final: any but a plan's, and a plan's that stays.
func (p *patience) ends(err error) bool {
	var plan planError
	switch {
	case err == nil:
		p.since = time.Time{}
	case !errors.As(err, &plan):
		return true
	case p.since.IsZero():
		p.since = time.Now()
	default:
		return time.Since(p.since) > p.limit
	}
	return false
}

// watcher looks at a cluster as often as a step on one node needs it: at everything to begin with, before
// something is done and at the end, and in between at the tables alone that have a replica on the node.
type watcher struct {
	s      *session
	node   string
	seen   *client.View
	tables map[int32]string // those that were ever listed
	looks  int              // since everything was looked at
}

// wholeLook is which look at the latest takes in everything again.
const wholeLook = 10

// look gives the view, and whether it is a whole one.
func (w *watcher) look(ctx context.Context) (v *client.View, whole bool, err error) {
	if w.looks++; w.seen == nil || w.looks >= wholeLook {
		v, err = w.whole(ctx)
		return v, true, err
	}
	node, ok := w.seen.Node(w.node)
	if !ok {
		v, err = w.whole(ctx)
		return v, true, err
	}
	v, err = w.s.Again(ctx, w.seen, func(t *client.TableView) bool { return t.Has(node.Node.Address) })
	if err == nil {
		w.seen = v
	}
	return v, false, err
}

// whole looks at everything. A table that was listed once and is not there any more makes a planError: a meta
// server that lists nothing would make every node look empty.
func (w *watcher) whole(ctx context.Context) (*client.View, error) {
	v, err := w.s.View(ctx)
	if err != nil {
		return nil, err
	}
	w.seen, w.looks = nil, 0
	if len(w.tables) > 0 && len(v.Tables) == 0 {
		return nil, planError{fmt.Errorf("the meta server lists no table any more, and listed %s before", plural(len(w.tables), "table"))}
	}
	if w.tables == nil {
		w.tables = map[int32]string{}
	}
	for i := range v.Tables {
		w.tables[v.Tables[i].ID] = v.Tables[i].Name
	}
	w.seen = v
	return v, nil
}

// drainer is a step at work on one node.
type drainer struct {
	step  drainStep
	node  string
	watch *watcher
	queue *queue
	hold  *hold
}

func newDrainer(s *session, args drainArgs, step drainStep, out *drainOutput) *drainer {
	return &drainer{step: step, node: args.Node, watch: &watcher{s: s, node: args.Node},
		queue: &queue{s: s, round: args.Round, out: out, asked: map[wire.GPID]time.Time{}},
		hold:  &hold{s: s, level: wire.LevelSteady.String(), want: step.needs, guarded: true}}
}

// round looks once and proposes what is due: never on what was seen under another leader, never without
// having read level and settings back, and never to another meta server than the one that they were read from.
func (d *drainer) round(ctx context.Context) (left int, err error) {
	if changed, err := d.hold.keep(ctx); err != nil {
		return 0, err
	} else if changed {
		d.queue.forget()
		d.watch.seen = nil
	}
	v, whole, err := d.watch.look(ctx)
	if err != nil {
		return 0, err
	}
	moves, err := d.plan(v)
	if !whole && (err != nil || len(moves) == 0 || d.queue.due(moves)) {
		if v, err = d.watch.whole(ctx); err != nil {
			return 0, err
		}
		moves, err = d.plan(v)
	}
	if err != nil {
		return 0, err
	}
	d.queue.waitFor(moves)
	if !d.queue.due(moves) {
		return len(moves), nil
	}
	changed, err := d.hold.confirm(ctx)
	if err != nil {
		return len(moves), err
	}
	if changed {
		// What was seen may have been another leader's view; the next round looks again.
		d.queue.forget()
		d.watch.seen = nil
		return len(moves), nil
	}
	return len(moves), d.queue.propose(ctx, d.hold.leader, moves)
}

// counts are what is left to do on the node, and what else it has.
func (d *drainer) counts(left int) []modules.Count {
	primaries, secondaries := 0, 0
	if d.watch.seen != nil {
		if node, ok := d.watch.seen.Node(d.node); ok {
			primaries, secondaries = d.watch.seen.Holding(node.Node.Address)
		}
	}
	if d.step.what == countPrimaries {
		primaries = left // a partition that waits for its new primary counts until that is there
	} else {
		secondaries = left
	}
	return []modules.Count{{Name: countPrimaries, Left: primaries}, {Name: countSecondaries, Left: secondaries}}
}

func (d *drainer) plan(v *client.View) ([]move, error) {
	node, err := findNode(v, d.node)
	if err != nil {
		return nil, planError{err}
	}
	moves, err := d.step.plan(v, node)
	if err != nil {
		return nil, planError{err}
	}
	return moves, nil
}

// queue is what a step has asked the meta server for. Each partition has one queue there: while it
// holds something a proposal is refused, and what turns out not to fit when its turn comes is dropped
// without a word.
type queue struct {
	s       *session
	round   time.Duration
	out     *drainOutput
	asked   map[wire.GPID]time.Time // accepted proposals
	refused time.Time               // since when proposals have been refused
	pending []wire.GPID
}

func (q *queue) forget() {
	clear(q.asked)
	q.refused = time.Time{}
}

func (q *queue) waitFor(moves []move) {
	q.pending = q.pending[:0]
	for i := range moves {
		q.pending = append(q.pending, moves[i].pid)
	}
}

func (q *queue) left() string {
	var texts []string
	for _, pid := range q.pending {
		texts = append(texts, pid.String())
	}
	if len(texts) > 8 {
		texts = append(texts[:8], fmt.Sprintf("and %d more", len(q.pending)-8))
	}
	return strings.Join(texts, ", ")
}

// isDue says whether a move is to be proposed now: it has not been yet, or two rounds have not carried it out.
func (q *queue) isDue(m *move) bool {
	at, asked := q.asked[m.pid]
	return len(m.actions) > 0 && (!asked || time.Since(at) >= q.round*5/2) // one without actions is only waited for
}

func (q *queue) due(moves []move) bool {
	return slices.ContainsFunc(moves, func(m move) bool { return q.isDue(&m) })
}

// propose sends what is due, many at a time. When the meta server refuses for three rounds because something
// is stuck in its queues, they are emptied once.
func (q *queue) propose(ctx context.Context, leader string, moves []move) error {
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(16)
	var mu sync.Mutex // guards q and refused
	refused := false
	for i := range moves {
		m := &moves[i]
		if !q.isDue(m) {
			continue
		}
		group.Go(func() error {
			err := q.s.ProposeTo(within, leader, m.pid, m.actions...)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				q.accepted(m)
			case refusedParameters(err):
				refused = true
			case unsure(err):
				// Whether it arrived shows in the next look.
			default:
				return err
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return q.unstick(ctx, refused)
}

func (q *queue) accepted(m *move) {
	if !slices.Contains(q.out.Partitions, m.pid.String()) {
		q.out.Partitions = append(q.out.Partitions, m.pid.String())
	}
	q.out.Proposals++
	q.asked[m.pid] = time.Now()
}

func unsure(err error) bool {
	var silent *client.NoAnswerError
	return errors.As(err, &silent)
}

func (q *queue) unstick(ctx context.Context, refused bool) error {
	switch {
	case !refused:
		q.refused = time.Time{}
	case q.refused.IsZero():
		q.refused = time.Now()
	case time.Since(q.refused) > 3*q.round:
		q.s.note("proposals have been refused for %s, emptying the meta server's queues", time.Since(q.refused).Round(time.Second))
		level, err := q.s.Level(ctx)
		if err != nil {
			return err
		}
		if err := q.s.SetLevel(ctx, min(level, wire.LevelSteady)); err != nil {
			return err
		}
		q.forget()
	}
	return nil
}
