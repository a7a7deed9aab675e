package runner

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/internal/graph"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// opening is a row whose turn comes for the hosts of a lane.
type opening struct {
	lane *lane
	row  *row
}

// unfold opens the row into a step for every host that takes part, and a closing behind them.
func (o *opening) unfold(ctx context.Context, r *run) *graph.Graph[node] {
	l, w := o.lane, o.row
	if w.kind == blockEndRow {
		for _, p := range l.players {
			p.leave(w.block, w.in)
			p.leaveRole(w.ends, w.in)
		}
		l.guard(r, w)
		return nil
	}
	force := l.ForceHandlers || r.plan.in.ForceHandlers
	if l.over || *l.ended || r.over && !force {
		return nil
	}
	var who []*player
	for _, p := range l.players {
		if p.active(w.in) || (w.kind == flushRow || w.handler != nil) && p.handles(w.in, force) {
			who = append(who, p)
		}
	}
	if w.handler != nil && w.handler.Task == w.task {
		who = slices.DeleteFunc(who, func(p *player) bool { return !p.take(w.handler) })
	}
	if w.handler == nil {
		who = slices.DeleteFunc(who, func(p *player) bool { return p.had(w.frame.role) || p.quit(w.frame.role) })
	}
	if len(who) == 0 {
		return nil
	}
	rr := r.open(l, w, who)
	switch w.kind {
	case flushRow:
		return rr.flush()
	case metaRow:
		return rr.meta(ctx)
	case gateRow:
		return rr.gate()
	}
	if r.opts.Step != nil && !r.unasked && w.asks() {
		g := &graph.Graph[node]{}
		g.AddWork(&asking{rowRun: rr})
		return g
	}
	return rr.steps()
}

// take takes a notification off the player; false when there was none.
func (p *player) take(h *handler) bool {
	had := p.notified[h]
	delete(p.notified, h)
	return had
}

func (r *run) open(l *lane, w *row, who []*player) *rowRun {
	rr := &rowRun{r: r, row: w, lane: l, world: &world{r: r, row: w, dir: w.frame.play.Dir}, who: who, public: slices.Clip(l.public)}
	if r.recording() {
		rr.used = &uses{}
		rr.world.used = rr.used
	}
	rr.magic = []*vars.Values{l.magic, l.hostLists(r), w.magicOf()}
	rr.name = rr.title()
	return rr
}

// title is the row's name as shown, rendered for its first host.
func (rr *rowRun) title() string {
	t := rr.row.task
	name := plainName(t)
	switch v := t.Name; {
	case v.IsZero():
	case v.Templated():
		name = displayName(v, rr.scope(rr.who[0].host))
	default:
		name = displayName(v, nil)
	}
	return roleName(rr.row.frame.role, name)
}

// plainName is what a task without a name is called.
func plainName(t *playbook.Task) string {
	if t.Gate != nil {
		return "gate"
	}
	if t.Include == nil {
		return firstOf(t.Meta, t.Module)
	}
	if t.Include.RoleName.IsZero() {
		return "include_tasks"
	}
	return "include_role"
}

// hostLists are the magic lists of the play's and the batch's hosts that are still there. They are made
// anew when a host has left or come back.
func (l *lane) hostLists(r *run) *vars.Values {
	if l.lists.vars != nil && l.lists.moves == r.moves {
		return l.lists.vars
	}
	play, batch := []string{}, []string{}
	for _, in := range l.playRun.all {
		p := l.playRun.players[in.Name]
		if h := r.stateOf(in); h.lost == notLost && (p == nil || !p.ended) {
			play = append(play, in.Name)
		}
	}
	play = append(play, l.playRun.late...)
	for _, p := range l.all {
		if p.lost == notLost && !p.ended {
			batch = append(batch, p.Name)
		}
	}
	hosts := vars.Of(batch)
	l.lists.moves = r.moves
	l.lists.vars = vars.ValuesOf(map[string]vars.Data{"ansible_play_hosts": vars.Of(play), "ansible_play_batch": hosts, "play_hosts": hosts})
	if len(l.playRun.late) > 0 {
		all := append(namesOf(l.playRun.all), l.playRun.late...)
		l.lists.vars = l.lists.vars.With("ansible_play_hosts_all", vars.Literal(vars.Of(all)))
	}
	return l.lists.vars
}

// lists are the magic lists as last made; the lanes of a batch share them.
type lists struct {
	moves int
	vars  *vars.Values
	// places are those that throttle leaves to hosts which do not go in step, by task.
	places map[*playbook.Task]chan struct{}
	// gates are those that the batch has come to.
	gates map[*row]*gateState
	told  bool // that the batch has begun
}

// place gives the places for a task of a batch whose hosts do not go in step.
func (l *lists) place(t *playbook.Task, throttle int) chan struct{} {
	if l.places == nil {
		l.places = map[*playbook.Task]chan struct{}{}
	}
	if l.places[t] == nil {
		l.places[t] = make(chan struct{}, throttle)
	}
	return l.places[t]
}

// steps gives a step for every host; with run_once for the first, and throttled where that is asked.
func (rr *rowRun) steps() *graph.Graph[node] {
	s := rr.scope(rr.who[0].host)
	who := rr.who
	once, err := rr.once(s)
	if err != nil {
		return rr.refuse(err)
	}
	if once {
		who = []*player{rr.standsForAll()}
	}
	throttle, err := rr.throttle(s)
	if err != nil {
		return rr.refuse(err)
	}
	g := &graph.Graph[node]{}
	ids := make([]graph.ID, 0, len(who))
	var live []graph.ID
	for _, p := range who {
		st := &step{rowRun: rr, p: p, alone: once, forced: p.lost != notLost}
		known, err := st.known()
		switch {
		case err != nil:
			rr.r.refuseToGoOn(err)
			return nil
		case known == nil && rr.r.spared(rr, p):
			p.end()
			continue
		case known != nil:
			rr.done = append(rr.done, st)
			rr.r.inside[p] = rr
			ids = append(ids, g.AddRecalled(st, known.turn))
			continue
		}
		rr.lane.tell(rr.r)
		var after []graph.ID
		if throttle > 0 && len(live) >= throttle && !once {
			after = []graph.ID{live[len(live)-throttle]}
		}
		if throttle > 0 && rr.lane.free {
			st.place = rr.lane.lists.place(rr.row.task, throttle)
		}
		rr.done = append(rr.done, st)
		rr.r.inside[p] = rr
		live = append(live, g.AddWork(st, after...))
	}
	ids = append(ids, live...)
	g.Add(&closing{rr}, ids...)
	return g
}

func (rr *rowRun) once(s *vars.Scope) (bool, error) {
	if rr.row.module != nil && rr.row.module.Name == "add_host" {
		return true, nil
	}
	if rr.lane.free {
		return false, nil
	}
	return flag(rr.row.keys, s, "run_once", func(k *playbook.Keywords) vars.Value { return k.RunOnce })
}

func (rr *rowRun) throttle(s *vars.Scope) (int, error) {
	d, err := keyword(rr.row.keys, s, func(k *playbook.Keywords) vars.Value { return k.Throttle })
	if err != nil || d.Kind() == "null" {
		return 0, err
	}
	n, err := d.Int()
	if err != nil {
		return 0, fmt.Errorf("throttle: %w", err)
	}
	return int(n), nil
}

// refuse fails the row on all its hosts because of a keyword that counts for all of them.
func (rr *rowRun) refuse(err error) *graph.Graph[node] {
	for _, p := range rr.who {
		res := &result{}
		res.fail(err)
		(&step{rowRun: rr, p: p, res: res}).settle()
	}
	rr.spread()
	rr.lane.guard(rr.r, rr.row)
	return nil
}

// unfold takes the step's result, once it is written down.
func (st *step) unfold(context.Context, *run) *graph.Graph[node] {
	if st.recalled != nil {
		if err := st.remembers(); err != nil {
			st.r.refuseToGoOn(err)
			return nil
		}
	}
	switch {
	case st.left:
		st.leave()
	case st.takeEnd():
		st.settle()
	}
	return nil
}

// settle counts the result, tells of it, and moves the host on.
func (st *step) settle() {
	res := st.res
	st.ran = true
	if res.status != event.Skipped && res.status != event.Unreachable {
		st.p.does(st.row.frame.role)
	}
	if st.alone {
		st.share()
	}
	notified := st.notify()
	if notified != nil {
		res.fail(notified)
	}
	rescued := res.lost() && res.status == event.Failed && !st.plainFailure() && rescuable(st.row.in) && st.p.lost == notLost
	if st.recalled == nil {
		st.tell(rescued)
	}
	st.count(rescued)
	if res.lost() {
		st.p.cause = st.where()
	}
	if res.status == event.Unreachable && !res.ignored {
		st.p.lose(lostUnreachable)
		st.failed = true
		st.fatal = st.fatal || res.fatal || st.alone
		return
	}
	if !res.lost() {
		return
	}
	st.failed = true
	st.fatal = st.fatal || res.fatal || st.alone
	if rescued {
		st.remember()
	}
	st.p.fail(st.row.in, lostFailed)
}

// plainFailure is a failure that counts as failed even where a rescue takes it: that of an include whose
// file is not there.
func (st *step) plainFailure() bool { return st.row.kind == includeRow && st.res.missing }

// share gives what a run_once step learned to the other hosts of the batch.
func (st *step) share() {
	for _, p := range st.who {
		if p == st.p {
			continue
		}
		all := append([]*result{st.res}, st.res.items...)
		for _, res := range all {
			for _, l := range res.learned {
				if l.host == nil {
					p.setVars(l.layer, l.vars)
				}
			}
		}
		if name := st.row.task.Register; name != "" {
			p.setVars(vars.SetFact, vars.ValuesOf(map[string]vars.Data{name: st.res.data()}))
		}
	}
}

// notify queues the handlers that the task notified, for its host; also where run_once lets it stand for all.
func (st *step) notify() error {
	for _, name := range st.res.notify {
		found := st.lane.handlers.notified(name)
		if len(found) == 0 {
			return fmt.Errorf("no handler is called %q%s", name, hint(diag.DidYouMean(name, st.lane.handlers.names())))
		}
		for _, h := range found {
			if st.p.notified == nil {
				st.p.notified = map[*handler]bool{}
			}
			st.p.notified[h] = true
		}
	}
	return nil
}

func hint(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// remember sets what a rescue section can ask about the failure.
func (st *step) remember() {
	task := map[string]vars.Data{ // failedTask names the fields, too
		"name":   vars.Of(displayName(st.row.task.Name, st.scope(st.p.host))),
		"action": vars.Of(firstOf(st.row.task.Module, st.row.task.Meta, "include_tasks")),
	}
	failed := st.res
	st.p.setVars(vars.SetFact, vars.ValuesOf(map[string]vars.Data{
		"ansible_failed_task":   vars.Of(task),
		"ansible_failed_result": failed.data(),
	}))
}

// tell emits the task_done of the step; an include that went well tells of what it included instead.
func (st *step) tell(rescued bool) {
	res := st.res
	if st.row.kind == includeRow && res.status == event.OK && res.items == nil && st.row.task.Include.RoleName.IsZero() {
		return
	}
	done := event.TaskDone{
		Play: st.lane.name, Batch: st.lane.batch, Task: st.name, Host: st.p.Name, Status: res.status,
		Module: firstOf(st.row.task.Module, st.row.task.Meta), Handler: st.row.handler != nil,
		Ignored: res.failed() && res.ignored, Rescued: rescued, DelegatedTo: res.delegatedTo, Attempts: res.attempts,
		At: st.row.task.At, TookMS: milliseconds(res.took), ExpectsMS: milliseconds(res.expected()),
	}
	shown := st.shown(res)
	done.Msg, done.Diff, done.Why, done.Result, done.Wrong = shown.Msg, shown.Diff, shown.Why, shown.Result, shown.Wrong
	for i, item := range res.items {
		it := st.shownItem(item, res.noLog)
		if st.row.task.LoopControl.Index != "" && !item.noLog {
			it.Index = &i
		}
		done.Items = append(done.Items, it)
	}
	st.r.stream.Emit(done)
}

func (st *step) shownItem(res *result, noLog bool) event.Item {
	if noLog {
		res.noLog = true
	}
	it := st.shown(res)
	it.Item = shortItem(res.item).JSON()
	if res.noLog {
		it.Item = []byte(`"` + hidden + `"`)
	} else {
		it.Label = res.label
	}
	it.Status, it.Ignored, it.Attempts = res.status, res.failed() && res.ignored, res.attempts
	if it.Status == event.Unreachable {
		it.Status = event.Failed // unreachable is the host, once all its items have been tried
	}
	it.DelegatedTo, it.TookMS = res.delegatedTo, milliseconds(res.took)
	return it
}

// shortItem is an item as shown: of an item that is itself the result of a loop's item, that item is
// enough.
func shortItem(d vars.Data) vars.Data {
	name, ok := d.Get("ansible_loop_var")
	if !ok {
		return d
	}
	of, ok := d.Get(name.Text())
	if !ok {
		return d
	}
	return vars.Of(map[string]vars.Data{"result_of": of})
}

const (
	hidden   = "hidden by no_log"
	censored = `{"censored":"hidden by no_log"}`
)

// shown is what may be shown of a result.
func (st *step) shown(res *result) event.Item {
	if res.noLog {
		return event.Item{Msg: hidden, Result: []byte(censored)}
	}
	it := event.Item{Msg: res.msg, Diff: shownDiff(res.diff, res.sides), Wrong: res.wrong, Why: res.why}
	if res.items == nil {
		it.Result = res.json()
	} else {
		sum := *res
		sum.items = nil
		it.Result = sum.data().JSON()
	}
	return it
}

// count adds the result to its host's line of the recap.
func (st *step) count(rescued bool) {
	res, c := st.res, &st.p.counts
	st.p.seen = true
	if st.row.kind == includeRow && res.status == event.OK {
		return // each file that it brings in counts
	}
	if res.changed && (res.status == event.Changed || res.ignored) {
		c.Changed++
	}
	switch {
	case res.status == event.Skipped:
		c.Skipped++
	case res.status == event.Unknown:
		c.Unknown++
	case res.failed() && res.ignored:
		c.OK++
		c.Ignored++
	case res.status == event.Unreachable:
		c.Unreachable++
	case rescued:
		c.Rescued++
	case res.failed():
		c.Failed++
	default:
		c.OK++
	}
}

// closing is when a row has ended on all its hosts.
type closing struct{ *rowRun }

func (c *closing) unfold(context.Context, *run) *graph.Graph[node] {
	rr := c.rowRun
	rr.spread()
	rr.lane.guard(rr.r, rr.row)
	rr.join()
	if rr.row.kind == includeRow {
		return rr.bring()
	}
	rr.done = nil
	return nil
}

// spread lets a failure that is fatal for all reach the hosts that were spared: that of a run_once task,
// or one under any_errors_fatal.
func (rr *rowRun) spread() {
	if !rr.failed || rr.lane.free || !rr.fatal {
		return
	}
	for _, p := range rr.who {
		if p.lost == notLost && !p.ended && p.active(rr.row.in) {
			p.cause = rr.where()
			p.fail(rr.row.in, lostStopped)
		}
	}
}

// guard ends the run when more of the batch is lost than max_fail_percentage allows.
func (l *lane) guard(r *run, w *row) {
	v := w.frame.play.MaxFailPercentage
	if v.IsZero() || l.free || r.over {
		return
	}
	lost := 0
	for _, p := range l.all {
		if p.lost != notLost {
			lost++
		}
	}
	if lost == 0 {
		return
	}
	d, err := v.Resolve(r.plan.playScope(w.frame.play.Play))
	if err != nil {
		r.failPlay(err)
		return
	}
	limit, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(d.Text(), "%")), 64)
	if err != nil {
		r.failPlay(fmt.Errorf("max_fail_percentage: %q is no percentage", d.Text()))
		return
	}
	if percent := float64(lost) / float64(len(l.all)) * 100; percent > limit {
		for _, p := range l.all {
			p.end()
		}
		l.over = true
		r.end(fmt.Sprintf("play %s: %d of the batch's %d hosts are lost, more than max_fail_percentage %s, so nothing more was started", l.name, lost, len(l.all), d.Text()))
	}
}
