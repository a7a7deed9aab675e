package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
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

	templates templates
}

// step is a row on one host.
type step struct {
	*rowRun
	p     *player
	alone bool // run_once: the step stands for all hosts of the row
	res   *result
}

// work carries the step out. It runs on a goroutine of its own.
func (st *step) work(ctx context.Context) {
	start := time.Now()
	st.r.stream.Emit(event.TaskStarted{Play: st.lane.play.name, Batch: st.lane.batch, Task: st.name, Host: st.p.Name, Handler: st.row.handler != nil})
	st.res = st.safely(ctx)
	st.res.took = time.Since(start)
	st.notifications()
	st.register(st.res)
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
		res.looped, res.item = true, it.value
	}
	st.try(ctx, s, res)
	if res.status == event.Unknown && st.row.kind == taskRow {
		st.obscure(res)
	}
	st.verdict(s, res)
	if it != nil {
		st.itemFields(res, it)
	}
	res.took = time.Since(start)
	return res
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
	var err error
	if res.noLog, err = flag(st.row.keys, s, "no_log", func(k *playbook.Keywords) vars.Value { return k.NoLog }); err != nil {
		res.noLog = true
		res.fail(err)
		return
	}
	ok, err := holds(st.row.when, s)
	if err != nil {
		res.fail(err)
		return
	}
	if !ok {
		res.status = event.Skipped
		res.set("skip_reason", vars.Of("Conditional result was False"))
		return
	}
	if st.row.kind == includeRow {
		st.include(s, res)
		return
	}
	st.attempts(ctx, s, res)
}

// holds says whether all conditions are true; it stops at the first that is not.
func holds(conditions []vars.Expr, s *vars.Scope) (bool, error) {
	for _, c := range conditions {
		ok, err := c.Bool(s)
		if err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// verdict decides whether a failure is ignored, and whether it is fatal for all hosts.
func (st *step) verdict(s *vars.Scope, res *result) {
	if !res.failed() {
		return
	}
	get, what := func(k *playbook.Keywords) vars.Value { return k.IgnoreErrors }, "ignore_errors"
	if res.status == event.Unreachable {
		get, what = func(k *playbook.Keywords) vars.Value { return k.IgnoreUnreachable }, "ignore_unreachable"
	}
	ignored, err := flag(st.row.keys, s, what, get)
	if err != nil {
		res.msg += "; " + err.Error()
	}
	res.ignored = ignored && err == nil
	fatal, err := flag(st.row.keys, s, "any_errors_fatal", func(k *playbook.Keywords) vars.Value { return k.AnyErrorsFatal })
	res.fatal = fatal && err == nil
}

// attempts does the task until it need not be tried again.
func (st *step) attempts(ctx context.Context, s *vars.Scope, res *result) {
	x, err := st.prepare(s)
	if err != nil {
		res.fail(err)
		return
	}
	res.delegatedTo, res.secrets = x.delegatedTo, x.secrets
	again, err := st.retrying(s)
	if err != nil {
		res.fail(err)
		return
	}
	for n := 1; ; n++ {
		st.attempt(ctx, s, x, res)
		if !again.any {
			return
		}
		res.attempts = n
		done, err := st.enough(s, res)
		switch {
		case err != nil:
			res.fail(err)
			return
		case done || res.status == event.Unreachable || res.status == event.Unknown || ctx.Err() != nil:
			return
		case n > again.retries:
			res.attempts = max(again.retries, 1)
			if res.status != event.Failed {
				res.status = event.Failed
				res.msg = firstOf(res.msg, fmt.Sprintf("the condition of until was still false after %d attempts", n))
			}
			return
		}
		st.r.stream.Emit(event.Noted{Play: st.lane.play.name, Batch: st.lane.batch, Task: st.name, Host: st.p.Name, Attempt: n,
			Text: fmt.Sprintf("trying again in %s, %d retries left", again.delay, again.retries-n+1)})
		if pause(ctx, again.delay) != nil {
			return
		}
	}
}

// again is how a task is tried again.
type again struct {
	any     bool
	retries int
	delay   time.Duration
}

func (st *step) retrying(s *vars.Scope) (again, error) {
	t := st.row.task
	a := again{any: len(t.Until) > 0 || !t.Retries.IsZero(), retries: 3, delay: 5 * time.Second}
	if !a.any {
		return a, nil
	}
	if !t.Retries.IsZero() {
		d, err := t.Retries.Resolve(s)
		if err != nil {
			return a, err
		}
		n, err := d.Int()
		if err != nil {
			return a, fmt.Errorf("retries: %w", err)
		}
		a.retries = int(n)
	}
	if t.Delay.IsZero() {
		return a, nil
	}
	d, err := t.Delay.Resolve(s)
	if err != nil {
		return a, err
	}
	if a.delay, err = modules.ParseDuration(d.Text()); err != nil {
		return a, fmt.Errorf("delay: %q is no duration", d.Text())
	}
	return a, nil
}

// enough says whether the attempt just made was the last needed.
func (st *step) enough(s *vars.Scope, res *result) (bool, error) {
	if len(st.row.task.Until) == 0 {
		return res.status != event.Failed, nil
	}
	return holds(st.row.task.Until, st.withResult(s, res))
}

// withResult gives the scope in which the registered name holds the result of this attempt.
func (st *step) withResult(s *vars.Scope, res *result) *vars.Scope {
	if st.row.task.Register == "" {
		return s
	}
	return s.With(vars.SetFact, vars.ValuesOf(map[string]vars.Data{st.row.task.Register: res.data()}))
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// prepared is a task ready to be done: everything that attempts share.
type prepared struct {
	rendered
	delegatedTo   string
	on            *inventory.Host // where it is done
	host          *lazyHost
	check, diff   bool
	delegateFacts bool
	timeout       time.Duration
}

func (st *step) prepare(s *vars.Scope) (*prepared, error) {
	x := &prepared{on: st.p.Host}
	var err error
	if x.rendered, err = st.row.render(s); err != nil {
		return nil, err
	}
	there := s
	d, err := keyword(st.row.keys, s, func(k *playbook.Keywords) vars.Value { return k.DelegateTo })
	if err != nil {
		return nil, err
	}
	if name := d.Text(); name != "" {
		x.delegatedTo = name
		x.on = st.r.hostOrAddress(name)
		there = st.scope(st.r.stateOf(x.on))
	}
	if err := st.modes(s, x); err != nil {
		return nil, err
	}
	env, err := environment(st.row.keys, s)
	if err != nil {
		return nil, err
	}
	address, become, err := st.r.plan.in.Defaults.address(x.on, there, st.row.keys)
	if err != nil {
		return nil, err
	}
	for _, secret := range []string{address.Password, become.Password} {
		if secret != "" {
			x.secrets = append(x.secrets, secret)
		}
	}
	x.host = &lazyHost{name: x.on.Name, env: env, open: func(ctx context.Context) (modules.Host, error) {
		return st.r.opts.Connect.Open(ctx, address, become)
	}}
	return x, nil
}

func (st *step) modes(s *vars.Scope, x *prepared) error {
	x.check, x.diff = st.r.opts.Check, st.r.opts.Diff
	for _, m := range []struct {
		to   *bool
		what string
		get  func(*playbook.Keywords) vars.Value
	}{
		{&x.check, "check_mode", func(k *playbook.Keywords) vars.Value { return k.CheckMode }},
		{&x.diff, "diff", func(k *playbook.Keywords) vars.Value { return k.Diff }},
		{&x.delegateFacts, "delegate_facts", func(k *playbook.Keywords) vars.Value { return k.DelegateFacts }},
	} {
		if st.row.keys.nearest(m.get).IsZero() {
			continue
		}
		var err error
		if *m.to, err = flag(st.row.keys, s, m.what, m.get); err != nil {
			return err
		}
	}
	d, err := keyword(st.row.keys, s, func(k *playbook.Keywords) vars.Value { return k.Timeout })
	if err != nil || d.Kind() == "null" {
		return err
	}
	if x.timeout, err = modules.ParseDuration(d.Text()); err != nil {
		return fmt.Errorf("timeout: %q is no number of seconds", d.Text())
	}
	return nil
}

// environment merges the environment keywords, inner ones over outer ones.
func environment(k *keys, s *vars.Scope) (map[string]string, error) {
	var env map[string]string
	for _, kw := range k.outermost() {
		for _, v := range kw.Environment {
			d, err := v.Resolve(s)
			if err != nil {
				return nil, err
			}
			more := map[string]string{}
			layers, isList := d.List()
			if !isList {
				layers = []vars.Data{d}
			}
			for _, layer := range layers {
				for _, name := range layer.Keys() {
					value, _ := layer.Get(name)
					more[name] = value.Text()
				}
			}
			if env == nil {
				env = map[string]string{}
			}
			maps.Copy(env, more)
		}
	}
	return env, nil
}

// attempt does the task once and judges the outcome.
func (st *step) attempt(ctx context.Context, s *vars.Scope, x *prepared, res *result) {
	*res = result{status: event.OK, noLog: res.noLog, looped: res.looped, item: res.item, delegatedTo: x.delegatedTo, secrets: x.secrets, sides: x.diff, attempts: res.attempts}
	if x.timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, x.timeout, fmt.Errorf("task %q took longer than its timeout of %s", st.name, x.timeout))
		defer stop()
	}
	st.propose(ctx, s, x, res)
	if res.failed() && ctx.Err() != nil {
		res.status, res.msg = event.Failed, context.Cause(ctx).Error()
		delete(res.fields, "unreachable")
		return
	}
	st.judge(s, res)
}

func (st *step) propose(ctx context.Context, s *vars.Scope, x *prepared, res *result) {
	host := modules.Host(x.host)
	var over *layeredHost
	if x.check {
		over = st.r.overlayOf(x.on, x.host)
		host = over.look()
	}
	proposal, err := st.row.module.Propose(ctx, st.call(s, x, host), x.json)
	if err != nil {
		res.fail(err)
		return
	}
	if proposal == nil {
		return
	}
	res.msg, res.diff, res.changed = proposal.Message, proposal.Diff, len(proposal.Diff) > 0
	if proposal.Skip {
		res.status = event.Skipped
		res.set("skip_reason", vars.Of(proposal.Message))
		return
	}
	if res.changed {
		res.status = event.Changed
	}
	err = st.do(ctx, x, over, proposal)
	var gone *modules.UnreachableError
	if !errors.As(err, &gone) { // else the output is of something that did not happen
		st.absorb(x, proposal, res)
	}
	switch {
	case err == nil:
	case x.check && proposal.Waits:
		res.status, res.changed, res.opaque = event.Unknown, false, true
		res.msg = firstOf(res.msg, "waits for what is not so yet")
	case x.check && errors.Is(err, modules.ErrUnpredicted):
		st.unpredicted(res)
	default:
		changed := res.changed
		res.fail(err)
		var exit *modules.ExitError
		res.changed = changed && errors.As(err, &exit) // the command did run
	}
}

// do carries a proposal out: on the host, or in check mode on the layer above it.
func (st *step) do(ctx context.Context, x *prepared, over *layeredHost, p *modules.Proposal) error {
	switch {
	case !x.check && p.Do == nil:
		return nil
	case !x.check:
		defer st.r.acted(x.on)
		return p.Do(ctx, x.host)
	case p.Waits:
		over.predict(p.Predicts)
		return modules.ErrUnpredicted
	case p.Predicts != nil:
		over.predict(p.Predicts)
		return nil
	case p.Do == nil:
		return nil
	}
	return p.Do(ctx, over.act())
}

// unpredicted is a task of check mode whose output cannot be known: it would change its host as far as
// its diff says so, unless that verdict hangs on the output.
func (st *step) unpredicted(res *result) {
	t := st.row.task
	res.opaque = true
	if len(res.diff) == 0 || !constant(t.ChangedWhen) || len(t.FailedWhen)+len(t.Until) > 0 {
		res.status, res.changed = event.Unknown, false
		res.msg = firstOf(res.msg, unpredictable)
	}
}

const unpredictable = "does not run in check mode, so it cannot be known (check_mode: false runs what only reads)"

// judge applies changed_when and failed_when. A result that is skipped, unknown or raised is not judged.
func (st *step) judge(s *vars.Scope, res *result) {
	var raised *modules.ArgumentError
	if res.status == event.Skipped || res.status == event.Unknown || res.status == event.Unreachable || errors.As(res.err, &raised) {
		return
	}
	t := st.row.task
	if len(t.FailedWhen) > 0 {
		failed, err := holds(t.FailedWhen, st.withResult(s, res))
		if err != nil {
			res.fail(err)
			return
		}
		res.set("failed_when_result", vars.Of(failed))
		switch {
		case failed:
			res.status = event.Failed
			res.msg = firstOf(res.msg, "failed_when is true")
		case res.changed:
			res.status = event.Changed
		default:
			res.status = event.OK
		}
	}
	if len(t.ChangedWhen) > 0 {
		changed, err := holds(t.ChangedWhen, st.withResult(s, res))
		if err != nil {
			res.fail(err)
			return
		}
		res.changed = changed
	}
	switch {
	case res.status == event.Failed:
	case res.changed:
		res.status = event.Changed
	case res.opaque:
		res.status = event.Unknown // it did not run: not known to be ok
		res.msg = firstOf(res.msg, unpredictable)
	default:
		res.status = event.OK
	}
}

// constant says whether conditions depend on no variable at all.
func constant(conditions []vars.Expr) bool {
	for _, c := range conditions {
		if len(c.Refs()) > 0 {
			return false
		}
	}
	return true
}
