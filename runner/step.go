package runner

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// rowRun is a row whose turn has come, for the players that take part.
type rowRun struct {
	r      *run
	row    *row
	lane   *lane
	world  *world
	name   string
	public []layered      // of roles that were included for the whole play
	magic  []*vars.Values // of the play, the batch and the row
	who    []*player
	done   []*step
	failed bool // somebody failed for good
	fatal  bool // somebody failed under any_errors_fatal
	ran    bool // a step did something
	// looking is the look of a guard that the row belongs to; nil for the play's own rows.
	looking *round
	used    *uses // of all steps

	templates templates
}

// step is a row on one host.
type step struct {
	*rowRun
	p     *player
	alone bool          // run_once: the step stands for all hosts of the row
	place chan struct{} // taken while the step is done, where throttle says so; else nil
	res   *result
	began time.Time
	told  told
	heard *heard // of a guard's task; else nil

	forced   bool                        // its host was lost when its turn came
	used     *uses                       // nil: nobody keeps it
	recalled *keptStep                   // of a step that is not done again
	before   *pastStep                   // of one that had begun; else nil
	entry    *Entry                      // its end, to be written down
	kept     bool                        // it has been
	cut      bool                        // the loop did not come to its end
	flying   bool                        // it has begun what must not simply be done twice, and that has not ended
	left     bool                        // it was left while it waited
	unkept   bool                        // it was left because the record cannot be written
	after    []func(ctx context.Context) // what is to be done once the end is written down
}

// work carries the step out. It runs on a goroutine of its own.
func (st *step) work(ctx context.Context) {
	if st.place != nil {
		if !st.takePlace(ctx) {
			return
		}
		defer func() { <-st.place }()
	}
	st.began = time.Now()
	st.r.stream.Emit(event.TaskStarted{Play: st.lane.play.name, Batch: st.lane.batch, Task: st.name, Host: st.p.Name, Handler: st.row.handler != nil})
	st.res = st.safely(ctx)
	st.res.took = time.Since(st.began)
	if st.left {
		return // for whoever goes on it has not ended
	}
	st.notifications()
	st.register(st.res)
	st.written(ctx)
	if len(st.after) > 0 {
		st.endNow()
		st.settleAfter(ctx)
	}
}

// safely does the step; a module's panic fails the task, so that the run can still end in good order on
// all hosts.
func (st *step) safely(ctx context.Context) (res *result) {
	defer func() {
		if bug := recover(); bug != nil {
			res = &result{}
			res.fail(fmt.Errorf("bug in %s: %v\n%s", firstOf(st.row.task.Module, "the runner"), bug, debug.Stack()))
		}
	}()
	if st.row.task.Loop.IsZero() {
		return st.once(ctx, st.scope(st.p.host), nil)
	}
	return st.loop(ctx)
}

// register stores the result and what the task learned on its host. Items of a loop have stored theirs.
func (st *step) register(res *result) {
	if st.looking != nil {
		st.looking.keep(st, res)
		return
	}
	for _, l := range res.learned {
		if l.host == nil {
			l.host = st.p.host
		}
		l.host.setVars(l.layer, l.vars)
	}
	if name := st.row.task.Register; name != "" {
		st.p.setVars(vars.SetFact, vars.ValuesOf(map[string]vars.Data{name: res.data()}))
	}
}

// notifications resolves the names that the task notifies, for each item of a loop; a task that changed
// notifies those of all its items. The nearest notify counts: a task's own, or else its block's.
func (st *step) notifications() {
	if st.res.status != event.Changed {
		return
	}
	k := st.row.keys
	for k != nil && len(k.Notify) == 0 {
		k = k.outer
	}
	if k == nil {
		return
	}
	for _, v := range k.Notify {
		if err := st.notification(v); err != nil {
			st.res.fail(fmt.Errorf("notify: %w", err))
			return
		}
	}
}

func (st *step) notification(v vars.Value) error {
	scopes := []*vars.Scope{st.scope(st.p.host)}
	if v.Templated() && st.res.items != nil {
		base := scopes[0]
		scopes = nil
		for _, item := range st.res.items {
			scopes = append(scopes, base.With(vars.LoopVars, vars.ValuesOf(map[string]vars.Data{st.loopVar(): item.item})))
		}
	}
	for _, s := range scopes {
		names, err := texts(v, s)
		if err != nil {
			return err
		}
		st.res.notify = append(st.res.notify, names...)
	}
	return nil
}

// once does the task for one item, or for the host where there is no loop: condition, arguments,
// attempts.
func (st *step) once(ctx context.Context, s *vars.Scope, it *item) *result {
	start := time.Now()
	res := &result{status: event.OK}
	if it != nil {
		res.looped, res.item, res.at = true, it.value, it.index+1
	}
	st.try(ctx, s, res)
	st.seal(s, res, it)
	res.took = time.Since(start)
	return res
}

// seal ends the result of an item, or of the task.
func (st *step) seal(s *vars.Scope, res *result, it *item) {
	if res.status == event.Unknown && st.row.kind == taskRow {
		st.obscure(res)
	}
	st.verdict(s, res)
	if it != nil {
		st.itemFields(res, it)
	}
}

// obscure makes the variables that a task would set unknown, where check mode cannot tell whether it
// sets them and to what: a later use of one is unknown then, too, and no failure.
func (st *step) obscure(res *result) {
	args, err := st.row.arguments()
	if err != nil {
		return // found when the plan was made
	}
	names := map[string]vars.Data{}
	for _, a := range args {
		if a.known && a.arg.Rest {
			names[a.name] = vars.Unknown(nil)
		}
	}
	if len(names) > 0 {
		res.learned = append(res.learned, learned{layer: vars.SetFact, vars: vars.ValuesOf(names)})
	}
}

func (st *step) try(ctx context.Context, s *vars.Scope, res *result) {
	switch {
	case !st.wanted(s, res):
	case st.row.kind == specRow:
		st.validate(s, res)
	case st.row.kind == includeRow:
		st.include(s, res)
	default:
		st.attempts(ctx, s, res)
	}
}

// wanted says whether there is anything to do; where not, the result says why.
func (st *step) wanted(s *vars.Scope, res *result) bool {
	var err error
	if res.noLog, err = flag(st.row.keys, s, "no_log", func(k *playbook.Keywords) vars.Value { return k.NoLog }); err != nil {
		res.noLog = true
		res.fail(err)
		return false
	}
	if st.takesBack() && (st.r.opts.Undo.did(st.undoKey(res.at)) || st.owes(s)) {
		return true // it was wanted when it was done
	}
	not, err := firstFalse(st.row.when, s)
	if err != nil {
		res.fail(err)
		return false
	}
	if !not.IsZero() {
		st.skip(not, s, res)
		return false
	}
	return true
}
