package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/internal/graph"
)

// Gates are how a run's gates are answered, besides by CommandApprove.
type Gates struct {
	// Yes approves all of them.
	Yes bool
	// Ask asks at the terminal, until it is answered or ctx is done; nil: there is none.
	Ask func(ctx context.Context, g event.GateWaiting) (approved bool, by string, err error)
	// Wait is how long a gate that nobody can be asked about waits for CommandApprove; 0 fails it at once.
	Wait time.Duration
}

// gateState is a gate that a batch has come to. It belongs to the walking goroutine, but for the channels.
type gateState struct {
	event    event.GateWaiting
	answers  chan gateAnswer // takes one without a reader
	answered bool
	done     chan struct{} // closed when it waits no longer
	got      gateAnswer    // why, once done is closed
}

// gateAnswer is why a gate waits no longer.
type gateAnswer struct {
	approved bool
	by       string
	late     bool  // nobody has answered in time
	gone     bool  // the run ends for another reason
	recalled bool  // approved before the run was gone on with
	err      error // nobody can be asked
}

// gateRun is a gate whose turn has come for the hosts of a lane.
type gateRun struct {
	*rowRun
	state *gateState
	first bool // of the lanes of the batch
	got   gateAnswer
}

// gate asks for an approval, once for the batch: where its conditions hold on one of the hosts, whose variables
// the message is made of.
func (rr *rowRun) gate() *graph.Graph[node] {
	rr.who = slices.Clone(rr.who)
	for i, p := range rr.who {
		not, err := firstFalse(rr.row.when, rr.scope(p.host))
		if err != nil {
			return rr.refuse(err)
		}
		if not.IsZero() {
			rr.who[0], rr.who[i] = rr.who[i], rr.who[0]
			return rr.await()
		}
	}
	rr.passBy()
	return nil
}

// passBy skips the gate.
func (rr *rowRun) passBy() {
	st := rr.alone()
	not, _ := firstFalse(rr.row.when, rr.scope(st.p.host))
	st.skip(not, rr.scope(st.p.host), st.res)
	told := rr.gatePlace() + " passed"
	if rr.lane.free { // another host may have to wait there
		told += " by " + st.p.Name
	}
	if rr.r.decided(told, new(bool)) {
		st.recalled = &keptStep{}
	} else {
		rr.r.jot(told, true)
	}
	st.settle()
}

// gatePlace is the place of the gate's answer in what the run remembers: who approved.
func (rr *rowRun) gatePlace() string { return rr.where() + " gate" }

// alone is the step that stands for all hosts of the row.
func (rr *rowRun) alone() *step {
	return &step{rowRun: rr, p: rr.who[0], alone: true, res: &result{status: event.OK}}
}

func (rr *rowRun) await() *graph.Graph[node] {
	g := &gateRun{rowRun: rr, state: rr.lane.lists.gates[rr.row]}
	if g.state == nil {
		message, err := rr.gateMessage()
		if err != nil {
			return rr.refuse(err)
		}
		g.first = true
		g.state = &gateState{answers: make(chan gateAnswer, 1), done: make(chan struct{}), event: event.GateWaiting{Play: rr.lane.name, Batch: rr.lane.batch,
			Task: rr.name, Hosts: rr.hostsOfGate(), Message: message, Next: rr.next(), At: rr.row.task.At}}
		if rr.r.opts.Commands != nil {
			g.state.event.Approve = "pegbook runs approve " + rr.r.opts.RunID
		}
		rr.lane.lists.keepGate(rr.row, g.state)
		rr.r.waiting = append(rr.r.waiting, g.state)
		if !rr.r.decided(rr.gatePlace(), new(string)) { // it is going to be shown
			rr.lane.tell(rr.r)
		}
	}
	next := &graph.Graph[node]{}
	next.AddWaiting(g)
	return next
}

func (l *lists) keepGate(w *row, g *gateState) {
	if l.gates == nil {
		l.gates = map[*row]*gateState{}
	}
	l.gates[w] = g
}

func (rr *rowRun) gateMessage() (string, error) {
	v := rr.row.task.Gate.Message
	if v.IsZero() {
		return "Go on?", nil
	}
	d, err := v.Resolve(rr.scope(rr.who[0].host))
	if err == nil && d.IsUnknown() {
		return v.Raw(), nil // check mode cannot know it
	}
	return d.Text(), err
}

// hostsOfGate are those that go no further before the gate is open.
func (rr *rowRun) hostsOfGate() []string {
	var names []string
	for _, p := range rr.who {
		names = append(names, p.Name)
	}
	return names
}

// work waits for an answer.
func (g *gateRun) work(ctx context.Context) {
	if !g.first {
		select {
		case <-g.state.done:
			g.got = g.state.got
			return
		case <-g.r.halting:
		case <-g.r.opts.Drain:
		case <-ctx.Done():
		}
		g.got = gateAnswer{gone: true}
		return
	}
	if g.r.decided(g.gatePlace(), &g.got.by) && g.got.by != "" {
		g.got.approved, g.got.recalled = true, true
		return
	}
	if g.got = g.r.askGate(ctx, g.state); g.got.approved {
		g.r.decide(g.gatePlace(), g.got.by, false) //nolint:errcheck // the run ends then; see unfit
	}
}

func (r *run) askGate(ctx context.Context, g *gateState) gateAnswer {
	o := r.opts.Gates
	r.stream.Emit(g.event)
	switch {
	case r.opts.Check:
		return gateAnswer{approved: true, by: "check mode"}
	case o.Yes:
		return gateAnswer{approved: true, by: "--yes"}
	case o.Ask == nil && o.Wait <= 0:
		return gateAnswer{err: errors.New("somebody has to approve, and there is no terminal to ask on: with --yes all gates are open, with --wait-for-approval they wait for pegbook runs approve")}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var late <-chan time.Time
	asked := make(chan gateAnswer, 1)
	if o.Ask != nil {
		go func() {
			approved, by, err := o.Ask(ctx, g.event)
			asked <- gateAnswer{approved: approved, by: by, err: err}
		}()
		defer func() { stop(); <-asked }()
	} else {
		timer := time.NewTimer(o.Wait)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case a := <-asked:
		asked <- a // for the one who waits for it to end
		return a
	case a := <-g.answers:
		return a
	case <-late:
		return gateAnswer{late: true}
	case <-r.halting:
	case <-r.opts.Drain:
	case <-ctx.Done():
	}
	return gateAnswer{gone: true}
}

// unfold lets the hosts go on behind an open gate. Behind one that stays closed the run waits for another day.
func (g *gateRun) unfold(context.Context, *run) *graph.Graph[node] {
	got := g.got
	if g.first {
		g.state.got = got
		g.r.answered(g.state)
	}
	switch {
	case got.err != nil && g.first:
		g.fail(got.err)
	case got.approved:
		if g.first {
			g.open(got)
		}
	case got.late:
		g.r.halt(halt{paused: true, message: fmt.Sprintf("nobody has approved at gate %q within %s", g.name, g.r.opts.Gates.Wait)})
	case got.by != "":
		g.r.halt(halt{paused: true, message: fmt.Sprintf("%s did not approve at gate %q", got.by, g.name)})
	default:
		g.r.halt(halt{interrupted: true})
	}
	return nil
}

// answered takes a gate that has been answered, or is not to be, off those that wait.
func (r *run) answered(g *gateState) {
	close(g.done)
	r.waiting = slices.DeleteFunc(r.waiting, func(other *gateState) bool { return other == g })
	if g.got.recalled {
		return
	}
	r.stream.Emit(event.GateAnswered{Play: g.event.Play, Batch: g.event.Batch, Task: g.event.Task, Approved: g.got.approved, By: g.got.by})
}

// fail is a gate that nobody can open: it fails as a task does that stands for all hosts.
func (g *gateRun) fail(err error) {
	st := g.alone()
	st.res.fail(err)
	st.settle()
	g.spread()
	g.lane.guard(g.r, g.row)
}

func (g *gateRun) open(a gateAnswer) {
	st := g.alone()
	st.res.msg = "approved by " + a.by
	if a.recalled {
		st.recalled = &keptStep{} // it has been told
	}
	st.settle()
}

// next says what comes behind a row: the task after it, or the next batch or play, with its hosts.
func (rr *rowRun) next() string {
	here, found := rr.lane.hostNames(), false
	var after *row
	rr.lane.play.rows.flat(func(w *row) {
		if found && after == nil && w.visible() {
			after = w
		}
		found = found || w == rr.row
	})
	switch {
	case !found:
		return "the tasks behind it on " + here
	case after != nil:
		return fmt.Sprintf("task %q on %s", rr.r.plan.rowNode(after).Name, here) + rr.lane.batchesToCome()
	case rr.lane.batch < len(rr.lane.batches):
		return fmt.Sprintf("batch %d of %d: %s", rr.lane.batch+1, len(rr.lane.batches), someNames(namesOf(rr.lane.batches[rr.lane.batch])))
	}
	return rr.r.plan.playsBehind(rr.lane.play)
}

func (l *lane) hostNames() string {
	var names []string
	for _, p := range l.all {
		if p.lost == notLost && !p.ended {
			names = append(names, p.Name)
		}
	}
	return someNames(names)
}

// batchesToCome says how many batches come behind the lane's.
func (l *lane) batchesToCome() string {
	switch n := len(l.batches) - l.batch; n {
	case 0:
		return ""
	case 1:
		return ", then the last batch: " + someNames(namesOf(l.batches[l.batch]))
	default:
		return fmt.Sprintf(", then %d more batches", n)
	}
}

// playsBehind names the play behind one, as the run will come to it.
func (p *Plan) playsBehind(pl *play) string {
	found := false
	for _, b := range p.playbooks {
		for _, other := range b.plays {
			if found && len(other.hosts) > 0 && countRows(other.rows) > 0 {
				return fmt.Sprintf("play %q on %s", other.name, someNames(namesOf(other.hosts)))
			}
			found = found || other == pl
		}
	}
	return "the end of the run"
}

// someNames are names, not too many of them.
func someNames(names []string) string {
	const shown = 5
	if len(names) <= shown+1 {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:shown], ", ") + fmt.Sprintf(" and %d more", len(names)-shown)
}

// flat goes over the rows of a strand, those side by side one strand after the other.
func (rows strand) flat(do func(*row)) {
	for _, e := range rows {
		for _, side := range e.parallel {
			side.flat(do)
		}
		if e.row != nil {
			do(e.row)
		}
	}
}

// visible says whether a row is something that people would call a task.
func (w *row) visible() bool {
	return w.kind == taskRow || w.kind == includeRow || w.kind == gateRow
}

// SureGates are the gates that the run comes to whatever its tasks find, as far as that can be told before it.
func (p *Plan) SureGates(o Options) []diag.Position {
	if !p.gated {
		return nil
	}
	var sure []diag.Position
	var walk func([]TaskExplanation)
	walk = func(tasks []TaskExplanation) {
		for _, t := range tasks {
			if t.Kind == "gate" && slices.ContainsFunc(t.Verdicts, func(v Verdict) bool { return v.Runs == RunsYes }) {
				sure = append(sure, t.At)
			}
			for _, side := range t.Sides {
				walk(side)
			}
			for _, in := range t.Include {
				walk(in.Tasks)
			}
		}
	}
	for _, play := range p.Explain(o).Plays {
		walk(play.Tasks)
	}
	return sure
}
