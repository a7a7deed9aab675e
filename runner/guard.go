package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/internal/graph"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// A guard's tasks are rows like others, but for three things: they run beside the walk, without a slot; what they
// ask of a host cannot change it; and what they register is seen by the tasks of the same look only, so that
// nothing else of the run hangs on when somebody looked.

// guard is a compiled guard.
type guard struct {
	*playbook.Guard
	rows []*row
}

// compileGuard compiles a play's guard. Tags do not apply to it.
func (c *compiler) compileGuard(f *frame, p *playbook.Play) *guard {
	if p.Guard == nil {
		return nil
	}
	g := &guard{Guard: p.Guard}
	for _, t := range p.Guard.Tasks {
		r := c.taskRow(f, t)
		if r == nil {
			continue
		}
		if r.module != nil && r.module.Runs {
			c.problems.Add(t.ModuleAt, "look with wait_healthy, wait_for, uri, stat, assert or another module that only reads",
				"module %s runs what may change its host, and a guard only looks", r.module.Name)
		}
		g.rows = append(g.rows, r)
	}
	if !p.Guard.Hosts.IsZero() {
		_, problems := c.plan.guardHosts(p, c.plan.in.Inventory)
		c.problems.Append(problems)
	}
	return g
}

// guardHosts are those that a guard's own hosts select.
func (p *Plan) guardHosts(pl *playbook.Play, inv *inventory.Inventory) ([]*inventory.Host, diag.List) {
	g := pl.Guard
	patterns, err := texts(g.Hosts, p.playScope(pl))
	if errors.Is(err, vars.ErrUnknown) {
		return nil, nil
	}
	if err != nil {
		return nil, diagnosed(err, g.Hosts.Position())
	}
	return selectPatterns(inv, patterns, g.Hosts.Position())
}

// watch looks at a guard for a batch of a play.
type watch struct {
	r     *run
	pr    *playRun
	batch int
}

// round is one look: every task of the guard on every host.
type round struct {
	*watch
	when string
	rows []*rowRun

	mu       sync.Mutex // guards the fields below
	kept     map[string]*vars.Values
	findings []event.Finding
	checks   int
}

// guardPlaces is how many hosts a guard looks at at a time.
const guardPlaces = 16

// guarding is the look before a batch.
type guarding struct {
	*watch
	done event.GuardChecked
}

func (g *guarding) work(ctx context.Context) { g.done = g.look(ctx, "before") }

func (g *guarding) unfold(context.Context, *run) *graph.Graph[node] {
	g.judge(g.done)
	return nil
}

// watched says whether a batch is to be looked at: where tags leave nothing to do, nothing is at risk.
func (pr *playRun) watched() bool { return pr.guard != nil && countRows(pr.rows) > 0 }

// past says whether a batch had ended well when the run was gone on with. It is at risk no more, and what it was
// guarded against may be what the run was stopped for later.
func (r *run) past(pr *playRun, batch int) bool {
	var well bool
	return r.decided(guardPlace(pr, batch), &well) && well
}

// pass notes that a batch has ended well.
func (r *run) pass(pr *playRun, batch int) {
	if !r.past(pr, batch) {
		r.jot(guardPlace(pr, batch), true)
	}
}

func guardPlace(pr *playRun, batch int) string { return batchPlace(pr.place, batch) + " guard" }

// during looks again and again while a batch runs, until the function that it gives is called.
func (w *watch) during(ctx context.Context) (end func()) {
	ctx, end = context.WithCancel(ctx)
	w.r.beside.Go(func() {
		for pause(ctx, w.pr.guard.Interval) == nil {
			done := w.look(ctx, "during")
			if ctx.Err() != nil || !w.r.call(ctx, func() { w.judge(done) }) {
				return
			}
		}
	})
	return end
}

// look looks once, and once more when that found nothing out: a connection that broke a moment ago is no reason
// to stop.
func (w *watch) look(ctx context.Context, when string) event.GuardChecked {
	done := w.lookOnce(ctx, when)
	if done.Outcome == event.Inconclusive && !w.r.opts.Check && pause(ctx, time.Second) == nil {
		done = w.lookOnce(ctx, when)
	}
	return done
}

func (w *watch) lookOnce(ctx context.Context, when string) event.GuardChecked {
	start := time.Now()
	rd := &round{watch: w, when: when, kept: map[string]*vars.Values{}}
	done := event.GuardChecked{Play: w.pr.name, Batch: w.batch, When: when, Outcome: event.Passed}
	if !w.r.call(ctx, rd.open) {
		return done
	}
	rd.all(ctx)
	if rd.checks == 0 || ctx.Err() != nil {
		return done
	}
	done.Checks, done.Findings, done.TookMS = rd.checks, rd.findings, milliseconds(time.Since(start))
	for _, f := range rd.findings {
		if f.Outcome == event.Breached || done.Outcome == event.Passed {
			done.Outcome = f.Outcome
		}
	}
	const shown = 20
	slices.SortStableFunc(done.Findings, func(a, b event.Finding) int { return cmp.Compare(a.Outcome, b.Outcome) }) // failed first
	done.Findings = done.Findings[:min(len(done.Findings), shown)]
	w.r.stream.Emit(done)
	return done
}

// open finds, on the walking goroutine, who is looked at.
func (rd *round) open() {
	r, pr := rd.r, rd.pr
	if r.hold != nil || r.halted != nil || r.over || pr.over {
		return
	}
	hosts := pr.batches[rd.batch-1]
	l := &lane{playRun: pr, batch: rd.batch, lists: &lists{}}
	for _, h := range hosts {
		l.all = append(l.all, &player{host: r.stateOf(h)})
		l.addresses = append(l.addresses, addressOf(h))
	}
	if !pr.guard.Hosts.IsZero() {
		hosts, _ = r.plan.guardHosts(pr.Play, r.inventory())
	}
	for _, h := range hosts {
		if p := (&player{host: r.stateOf(h)}); p.lost == notLost {
			l.players = append(l.players, p)
		}
	}
	if len(l.players) == 0 {
		return
	}
	for _, w := range pr.guard.rows {
		rr := r.open(l, w, l.players)
		rr.looking = rd
		rd.rows = append(rd.rows, rr)
	}
}

// all does the tasks one after the other, each on all hosts at a time. A host on which one did not pass is
// looked at no further.
func (rd *round) all(ctx context.Context) {
	out := map[*player]bool{}
	for _, rr := range rd.rows {
		var who []*player
		for _, p := range rr.who {
			if !out[p] {
				who = append(who, p)
			}
		}
		if len(who) == 0 || ctx.Err() != nil {
			return
		}
		once, err := rr.once(rr.scope(who[0].host))
		if err != nil {
			rd.find(&step{rowRun: rr, p: who[0]}, event.Breached, err.Error())
			return
		}
		doing := who
		if once {
			doing = who[:1]
		}
		for p := range rd.side(ctx, rr, doing) {
			out[p] = true
		}
		if once {
			if out[who[0]] {
				return
			}
			rd.share(who)
		}
	}
}

// share gives what a task with run_once registered to all hosts.
func (rd *round) share(who []*player) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	for _, p := range who[1:] {
		rd.kept[p.Name] = rd.kept[p.Name].Over(rd.kept[who[0].Name])
	}
}

// side does a task on several hosts at a time and gives those on which it did not pass.
func (rd *round) side(ctx context.Context, rr *rowRun, who []*player) map[*player]bool {
	places := make(chan struct{}, guardPlaces)
	var all sync.WaitGroup
	var mu sync.Mutex // guards bad
	bad := map[*player]bool{}
	for _, p := range who {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			if !rd.check(ctx, &step{rowRun: rr, p: p}) {
				mu.Lock()
				defer mu.Unlock()
				bad[p] = true
			}
		})
	}
	all.Wait()
	return bad
}

// check does a task on a host and says whether it passed.
func (rd *round) check(ctx context.Context, st *step) bool {
	st.heard = &heard{}
	st.res = st.safely(ctx)
	st.register(st.res)
	outcome := st.outcome()
	if st.res.status != event.Skipped { // nothing was looked at
		rd.find(st, outcome, st.finding())
	}
	return outcome == event.Passed
}

func (rd *round) find(st *step, outcome event.Outcome, msg string) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	rd.checks++
	if outcome != event.Passed {
		rd.findings = append(rd.findings, event.Finding{Task: st.name, Host: st.p.Name, Outcome: outcome, Msg: msg, At: st.row.task.At})
	}
}

// keep keeps what a task registered or set, for the tasks of this look.
func (rd *round) keep(st *step, res *result) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	kept := rd.kept[st.p.Name]
	for _, l := range res.learned {
		if l.host == nil {
			kept = kept.Over(l.vars)
		}
	}
	if name := st.row.task.Register; name != "" {
		kept = kept.Over(vars.ValuesOf(map[string]vars.Data{name: res.data()}))
	}
	rd.kept[st.p.Name] = kept
}

func (rd *round) keptOf(host string) *vars.Values {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	return rd.kept[host]
}

// heard is what a guard's task has said last, and what is known of its time.
type heard struct {
	mu    sync.Mutex // guards the fields below
	text  string
	waits bool // it had found that something is not so yet
	late  bool // its time was up
}

func (h *heard) set(do func(*heard)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do(h)
}

// outcome is what the task found out. One whose time was up has found something out only if it waited for what
// it had seen to be missing.
func (st *step) outcome() event.Outcome {
	res := st.res
	switch {
	case res.failed() && res.ignored:
		return event.Passed
	case res.status == event.Unknown, res.status == event.Unreachable:
		return event.Inconclusive
	case res.status == event.Failed && st.heard.late && !st.heard.waits:
		return event.Inconclusive
	case res.status == event.Failed, res.status == event.Changed:
		return event.Breached
	}
	return event.Passed
}

// finding says what the task found, for people.
func (st *step) finding() string {
	if st.res.noLog {
		return hidden
	}
	msg := st.res.msg
	for _, item := range st.res.items {
		if item.failed() && !item.ignored {
			msg = item.msg
			break
		}
	}
	if st.heard.late && st.heard.text != "" {
		msg = st.heard.text
	}
	return msg
}

// actsError is a guard's task that would not only look.
type actsError struct {
	module, what string
}

// Error says what it would do.
func (e *actsError) Error() string {
	return fmt.Sprintf("module %s would change %s, and a guard only looks", e.module, e.what)
}

// observe carries out what a guard's task proposes, which may wait but not act.
func (st *step) observe(ctx context.Context, x *prepared, p *modules.Proposal) error {
	switch {
	case len(p.Diff) > 0:
		return &actsError{st.row.module.Name, cmp.Or(p.Diff[0].Subject, "something")}
	case x.check && p.Waits:
		return modules.ErrUnpredicted
	case p.Do == nil || x.check:
		return nil
	}
	st.heard.set(func(h *heard) { h.waits = p.Waits })
	return p.Do(ctx, &onlooker{x.host, st.row.module.Name})
}

// onlooker is a host that can be looked at, and nothing else.
type onlooker struct {
	host   *lazyHost
	module string
}

var (
	_ modules.Host = (*onlooker)(nil)
	_ modules.Jobs = (*onlooker)(nil)
)

func (o *onlooker) Name() string { return o.host.Name() }

func (o *onlooker) Look(ctx context.Context, queries ...modules.Query) ([]modules.File, error) {
	return o.host.Look(ctx, queries...)
}

func (o *onlooker) Apply(_ context.Context, changes ...modules.Change) error {
	what := "files"
	if len(changes) > 0 {
		what = changes[0].Path
	}
	return &actsError{o.module, what}
}

func (o *onlooker) Run(ctx context.Context, cmd modules.Command) (modules.Output, error) {
	if !cmd.ReadOnly || cmd.Detach {
		return modules.Output{}, &actsError{o.module, "its host with " + strings.Join(cmd.Argv[:min(1, len(cmd.Argv))], "")}
	}
	return o.host.Run(ctx, cmd)
}

func (o *onlooker) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return o.host.Dial(ctx, network, addr)
}

func (o *onlooker) Predicted(key string) (string, bool) { return o.host.Predicted(key) }

func (o *onlooker) StartJob(context.Context, modules.Job) (modules.JobState, error) {
	return modules.JobState{}, &actsError{o.module, "its host with a job"}
}

func (o *onlooker) Job(ctx context.Context, id string) (modules.JobState, error) {
	return o.host.Job(ctx, id)
}

func (o *onlooker) ForgetJob(_ context.Context, id string) (modules.JobState, error) {
	return modules.JobState{}, &actsError{o.module, "job " + id}
}

// judge stops the run where a guard does not hold. It is called on the walking goroutine.
func (w *watch) judge(done event.GuardChecked) {
	if done.Outcome == event.Passed || w.r.opts.Check && done.Outcome == event.Inconclusive {
		return
	}
	f := done.Findings[0]
	what := "does not hold"
	if done.Outcome == event.Inconclusive {
		what = "cannot be told"
	}
	message := fmt.Sprintf("the guard of play %s %s (batch %d): task %q on %s: %s", w.pr.name, what, w.batch, f.Task, f.Host, f.Msg)
	if n := len(done.Findings) - 1; n > 0 {
		message += fmt.Sprintf(" (and %d more)", n)
	}
	fails := w.pr.guard.Fails && done.Outcome == event.Breached
	if fails {
		message += "; nothing more was started"
	}
	w.r.halt(halt{paused: !fails, failed: fails, message: message})
}
