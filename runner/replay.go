package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/vars"
)

// To go on with a run is to walk its plan again from the beginning: a step whose end is in the record takes its
// result from there, and all that follows from results (variables, handlers, includes, hosts that are lost) follows
// as it did. Recalled steps are neither shown nor written down again.

// unlikeError says why a run cannot be gone on with.
func unlikeError(format string, args ...any) error {
	return fmt.Errorf(format+"; what has run must stay as it was: undo that, or run the playbook anew, which finds what is done", args...)
}

// refuseToGoOn ends the walk because what has run is not as it was; the first reason is told.
func (r *run) refuseToGoOn(err error) {
	if r.unlike == nil {
		r.unlike = err
	}
}

// Fits finds what keeps the run of a past from being gone on with by this plan, as far as that can be told
// beforehand.
func (p *Plan) Fits(past *Past) error {
	return p.newRun(Options{Past: past, Now: time.Now}).fits()
}

// fits finds what has changed since the run in what it has done already, as far as that can be told before it is
// gone on with: tasks that stand in the playbook itself, and files.
func (r *run) fits() error {
	past := r.opts.Past
	if past == nil || past.fit {
		return nil
	}
	if r.opts.Check {
		return fmt.Errorf("a run in check mode cannot be gone on with: what it would have changed was in memory only; begin it anew")
	}
	if len(past.Undecided()) > 0 && past.InFlight == InFlightRefuse {
		return fmt.Errorf("steps were under way when the run ended; say what becomes of them")
	}
	if past.OnlyFailed && len(past.lost) == 0 {
		return fmt.Errorf("the run has lost no host, so there is none to go on with under --only-failed; leave it out to go on with all")
	}
	if err := past.hasBatch(); err != nil {
		return err
	}
	rows := r.plan.places()
	ended := past.ended()
	for _, s := range ended {
		key := s.key
		_, row, _ := strings.Cut(key.place, ":")
		_, row, _ = strings.Cut(row, ":")
		if strings.ContainsAny(row, "!>") {
			continue // what handlers and includes are is known when the run gets there
		}
		w := rows[playOf(key.place)+":"+row]
		if w == nil {
			return unlikeError("task %q has run on %s and is no longer where it was in the playbook", s.task, key.host)
		}
		if err := r.sameTask(w, s.pastStep, key.host); err != nil {
			return err
		}
	}
	if err := r.sameFiles(ended); err != nil {
		return err
	}
	past.fit = true
	return nil
}

// hasBatch refuses a batch that the play in which the run ended does not have: all of the play would count as done.
func (p *Past) hasBatch() error {
	var was cutHosts
	if p.FromBatch <= 1 {
		return nil
	}
	if raw, ok := p.decided[playOf(p.last)]; ok {
		if err := json.Unmarshal(raw, &was); err != nil {
			return err
		}
	}
	switch n := len(was.Batches); {
	case p.FromBatch <= n:
		return nil
	case n <= 1:
		return fmt.Errorf("there is no batch %d: the play in which the run ended has no batches (serial)", p.FromBatch)
	default:
		return fmt.Errorf("there is no batch %d: the play in which the run ended has %d batches", p.FromBatch, n)
	}
}

// endedStep is a step that has ended, with where it stands.
type endedStep struct {
	key stepKey
	*pastStep
}

// ended are the steps that have ended, in the order in which they did.
func (p *Past) ended() []endedStep {
	all := make([]endedStep, 0, len(p.steps))
	for key, s := range p.steps {
		if s.done != nil {
			all = append(all, endedStep{key, s})
		}
	}
	slices.SortFunc(all, func(a, b endedStep) int { return a.turn - b.turn })
	return all
}

// places are the rows of the plan by where they stand.
func (p *Plan) places() map[string]*row {
	all := map[string]*row{}
	var add func(play string, rows strand)
	add = func(play string, rows strand) {
		for _, e := range rows {
			for _, side := range e.parallel {
				add(play, side)
			}
			if e.row != nil && e.row.kind != blockEndRow {
				all[play+":"+e.row.place] = e.row
			}
		}
	}
	for _, b := range p.playbooks {
		for _, pl := range b.plays {
			add(pl.place, pl.rows)
		}
	}
	return all
}

func (r *run) sameTask(w *row, s *pastStep, host string) error {
	if r.digest(w) == s.done.Task {
		return nil
	}
	now := plainName(w.task)
	if w.task.At.File != "" {
		now += " (" + w.task.At.String() + ")"
	}
	return unlikeError("task %q has run on %s; in its place the playbook now has another task, or has changed it: %s", s.task, host, now)
}

// sameFiles finds files of the control node that were used by steps which are not done again, and are different now.
func (r *run) sameFiles(ended []endedStep) error {
	past := r.opts.Past
	latest := map[string]string{} // path → digest as the run saw the file last
	seen := map[int]bool{}
	for _, id := range slices.Sorted(maps.Keys(past.used)) {
		if u := past.used[id]; u.What != "var" {
			latest[u.name] = u.SHA256
		}
	}
	for _, s := range ended {
		key := s.key
		for _, id := range s.done.Uses {
			u := past.used[id]
			if seen[id] || u.What == "var" || u.What == "" {
				continue
			}
			seen[id] = true
			now, err := r.inputs.file(u.name)
			if err != nil {
				return unlikeError("task %q has run on %s with the %s %s, which cannot be read now: %w", s.task, key.host, u.What, u.name, err)
			}
			if now.sha != u.SHA256 && now.sha != latest[u.name] {
				return unlikeError("task %q has run on %s with the %s %s, which has changed since", s.task, key.host, u.What, u.name)
			}
		}
	}
	return nil
}

// knows says whether something of a play or batch has been done.
func (p *Past) knows(place string) bool { return p != nil && p.plays[place] }

// known gives what the record has of a step that has ended, and checks that it is that of the same task with the
// same variables. nil: the step is to be done.
func (st *step) known() (*pastStep, error) {
	if st.r.recording() {
		st.used = &uses{}
	}
	past := st.r.opts.Past
	if past == nil {
		return nil, nil
	}
	key := stepKey{st.where(), st.p.Name}
	if was, ok := past.alone[key.place]; ok && st.alone {
		key = was
	}
	s := past.steps[key]
	if s == nil || s.done == nil {
		st.before = s
		return nil, nil
	}
	if err := st.r.sameTask(st.row, s, key.host); err != nil {
		return nil, err
	}
	if err := st.sameVariables(past, s); err != nil {
		return nil, err
	}
	st.recalled = s.done
	if u := st.r.opts.Undo; u != nil {
		u.met.Store(undoKey{unbatched(key.place), key.host, -1}, true)
	}
	return s, nil
}

func (st *step) sameVariables(past *Past, s *pastStep) error {
	var scope *vars.Scope
	for _, id := range s.done.Uses {
		u := past.used[id]
		if u.What != "var" {
			continue
		}
		if scope == nil {
			scope = st.rowRun.scope(st.p.host)
		}
		if !st.r.inputs.defines(scope, u) {
			where := ""
			if u.At != "" {
				where = " (" + u.At + ")"
			}
			return unlikeError("task %q has run on %s with the variable %s%s, which has changed since", s.task, st.p.Name, u.name, where)
		}
	}
	return nil
}

// defines says whether a variable is still written as it was when it was used.
func (in *inputs) defines(s *vars.Scope, u usedInput) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, d := range s.Definitions(u.name) {
		if in.value(d.Value) == u.SHA256 {
			return true
		}
	}
	return false
}

// standsForAll is the player whose step stands for all of the row: the one that did so already, else the first.
func (rr *rowRun) standsForAll() *player {
	if past := rr.r.opts.Past; past != nil {
		if was, ok := past.alone[rr.where()]; ok {
			for _, p := range rr.who {
				if p.Name == was.host {
					return p
				}
			}
		}
	}
	return rr.who[0]
}

// spared says whether a host takes no further part because of how the run is to be gone on with.
func (r *run) spared(rr *rowRun, p *player) bool {
	past := r.opts.Past
	if past == nil {
		return false
	}
	if _, lost := past.lost[p.Name]; past.OnlyFailed && !lost {
		if r.leftOut == nil {
			r.leftOut = map[string]bool{}
		}
		r.leftOut[p.Name] = true
		return true
	}
	return rr.lane.batch < past.FromBatch && rr.lane.play.place == playOf(past.last)
}

// remembers makes the step's result again, and what came of it.
func (st *step) remembers() error {
	res, err := st.recall(&st.recalled.kept)
	if err != nil {
		return fmt.Errorf("%w: what task %q came to on %s: %w", errRemembered, st.name, st.p.Name, err)
	}
	st.res = res
	for _, item := range res.items {
		st.register(item)
	}
	st.register(res)
	return nil
}

// scope is what names mean to the step on a host. What it uses of its own host's is kept: that another one, which
// the task is delegated to, is reached otherwise is no reason not to go on.
func (st *step) scope(h *host) *vars.Scope {
	if h != st.p.host {
		return st.rowRun.scope(h)
	}
	return st.rowRun.scope(h).Track(st.used.track())
}

// settleAfter does what has waited until the step's end, or an item's, was written down.
func (st *step) settleAfter(ctx context.Context) {
	after := st.after
	st.after = nil
	for _, f := range after {
		f(ctx)
	}
}

// plan of hosts as it is written down when a play begins.
type cutHosts struct {
	Hosts   []string `json:"hosts"`
	Batches []int    `json:"batches"` // their sizes
}

// cut gives a play's hosts and batches: those it began with, where it has begun.
func (r *run) cut(pr *playRun, hosts []*inventory.Host, s *vars.Scope) ([]*inventory.Host, [][]*inventory.Host, error) {
	var was cutHosts
	if r.decided(pr.place, &was) {
		hosts = nil
		for _, name := range was.Hosts {
			hosts = append(hosts, r.hostOrAddress(name))
		}
		var cut [][]*inventory.Host
		rest := hosts
		for _, n := range was.Batches {
			n = min(n, len(rest))
			cut, rest = append(cut, rest[:n:n]), rest[n:]
		}
		return hosts, cut, nil
	}
	cut, err := r.batches(pr, &hosts, s)
	if err != nil {
		return nil, nil, err
	}
	was = cutHosts{Hosts: namesOf(hosts), Batches: []int{}}
	for _, b := range cut {
		was.Batches = append(was.Batches, len(b))
	}
	return hosts, cut, r.decide(pr.place, was, false)
}

// batches cuts a play's hosts into batches, or gives those of the run that is taken back.
func (r *run) batches(pr *playRun, hosts *[]*inventory.Host, s *vars.Scope) ([][]*inventory.Host, error) {
	if u := r.opts.Undo; u != nil {
		if _, begun := u.plays[pr.place]; begun {
			var cut [][]*inventory.Host
			*hosts, cut = u.cut(pr.place, r.hostOrAddress)
			return cut, nil
		}
	}
	return batches(*hosts, pr.Serial, s)
}

// tell tells that the play has begun, once.
func (pr *playRun) tell(r *run) {
	if !pr.told {
		pr.told = true
		r.stream.Emit(event.PlayStarted{Play: pr.name, Hosts: namesOf(pr.all), Batches: len(pr.batches)})
	}
}

// tell tells that the batch has begun, once.
func (l *lane) tell(r *run) {
	l.playRun.tell(r)
	if !l.lists.told {
		l.lists.told = true
		r.stream.Emit(event.BatchStarted{Play: l.name, Batch: l.batch, Batches: len(l.batches), Hosts: namesOf(l.batches[l.batch-1])})
	}
}

// resumedFrom names the run that this one goes on with.
func (r *run) resumedFrom() string {
	if r.opts.Past == nil {
		return ""
	}
	return r.opts.RunID
}

// stopped says why a run did not come to its end, and how to go on.
func (r *run) stopped(out *Outcome, why error) {
	out.Interrupted = r.interrupted(why)
	switch {
	case r.unlike != nil:
		out.Interrupted, out.Broken, out.Message = false, true, r.unlike.Error()
		return // going on would end the same way
	case r.notKept() != nil && (why != nil || out.Interrupted):
		out.Interrupted, out.Message = true, "stopped"+strings.TrimPrefix(r.whereabouts(), ": stopped")+": "+r.notKept().Error()
	case out.Interrupted && out.Message == "":
		out.Message = "interrupted" + r.whereabouts()
	case out.Paused:
		out.Message = "paused: " + out.Message + r.goOn(true)
		r.stream.Emit(event.RunPaused{Reason: r.halted.message, GoOn: r.resumption()})
		return
	}
	if out.ExitCode() == 0 && len(r.leftOut) > 0 {
		// They are as the run left them: it has not come to its end.
		reason := "--only-failed has left out " + someNames(slices.Sorted(maps.Keys(r.leftOut))) + ", where there is more to do"
		out.Paused, out.Message = true, "paused: "+reason+r.goOn(true)
		r.stream.Emit(event.RunPaused{Reason: reason, GoOn: r.resumption()})
		return
	}
	if out.ExitCode() == 0 {
		if left := r.opts.Undo.leftOver(r.plan); len(left) > 0 {
			out.Message = "not put back, since the way back has not led there: " + shortList(left)
		}
		return
	}
	goOn := r.goOn(out.Interrupted || r.halted != nil)
	if out.Message == "" {
		goOn = strings.TrimPrefix(goOn, "; ")
	}
	out.Message += goOn
}
