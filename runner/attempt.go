package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/vars"
)

// attempts does the task until it need not be tried again.
func (st *step) attempts(ctx context.Context, s *vars.Scope, res *result) {
	x, err := st.prepare(s)
	if err != nil {
		res.fail(err)
		return
	}
	res.delegatedTo, x.noLog = x.delegatedTo, res.noLog
	again, err := st.retrying(s)
	if err != nil {
		res.fail(err)
		return
	}
	x.item = res.at
	for n := 1 + st.triedBefore(res); ; n++ {
		x.attempt = n
		st.attempt(ctx, s, x, res)
		if !again.any || res.taken || st.left {
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
			st.exhaust(s, again, res)
			return
		}
		if err := st.retried(n, res); err != nil {
			res.fail(err)
			return
		}
		st.settleAfter(ctx)
		st.note(event.Noted{Attempt: n, Text: fmt.Sprintf("trying again in %s, %d retries left", again.delay, again.retries-n+1)})
		if !st.sleeps(ctx, again.delay) {
			return
		}
	}
}

// exhaust fails a task whose last attempt was not enough either.
func (st *step) exhaust(s *vars.Scope, a again, res *result) {
	if not, err := firstFalse(st.row.task.Until, st.withResult(s, res)); err == nil && !not.IsZero() {
		st.r.because(res, "until", st.withResult(s, res), not)
	}
	if res.status != event.Failed {
		res.status = event.Failed
		res.msg = firstOf(res.msg, fmt.Sprintf("the condition of until was still false after %d attempts", res.attempts))
	}
	res.attempts = max(a.retries, 1)
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

// attempt does the task once and judges the outcome.
func (st *step) attempt(ctx context.Context, s *vars.Scope, x *prepared, res *result) {
	res.renew(x)
	if x.timeout == 0 && st.looking != nil {
		x.timeout = st.looking.pr.guard.Timeout
	}
	ctx, done := context.WithCancel(ctx) // a proposal is worth something as long as the context it was made in
	defer done()
	if x.timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, x.timeout, fmt.Errorf("task %q took longer than its timeout of %s", st.name, x.timeout))
		defer stop()
	}
	if x.async != nil {
		var stop context.CancelFunc
		ctx, stop = st.goesOn(ctx, x)
		defer stop()
	}
	over := st.layer(x)
	host := modules.Host(x.host)
	switch {
	case over != nil:
		host = over.look()
	case st.looking != nil:
		host = &onlooker{x.host, st.row.module.Name}
	}
	if p := st.propose(ctx, s, x, host, res); p != nil {
		st.conclude(x, p, st.do(ctx, x, over, p, res), res)
	}
	if res.failed() && ctx.Err() != nil {
		if st.heard != nil {
			st.heard.set(func(h *heard) { h.late = true })
		}
		res.status, res.msg = event.Failed, context.Cause(ctx).Error()
		delete(res.fields, "unreachable")
		return
	}
	if !res.taken && !st.left {
		st.judge(s, res)
	}
}

// renew makes the result that of a new attempt.
func (r *result) renew(x *prepared) {
	*r = result{status: event.OK, noLog: r.noLog, looped: r.looped, item: r.item, label: r.label, delegatedTo: x.delegatedTo, sides: x.diff, attempts: r.attempts, at: r.at, acted: r.acted}
}

// layer is check mode's layer above the task's host; nil where the task is not in check mode.
func (st *step) layer(x *prepared) *layeredHost {
	if !x.check {
		return nil
	}
	return st.r.overlayOf(x.on, x.host)
}

// propose asks the module what there is to do. nil: nothing, and the result says why.
func (st *step) propose(ctx context.Context, s *vars.Scope, x *prepared, host modules.Host, res *result) *modules.Proposal {
	x.refuted.Store(nil)
	proposal, err := st.proposal(ctx, x, host)
	if err != nil {
		st.r.refusedByHost(err)
		res.fail(err)
		if e := x.refuted.Load(); e != nil {
			st.r.because(res, st.row.module.Name, s, *e)
		}
		return nil
	}
	if proposal == nil {
		st.changedBefore(x, res)
		return nil
	}
	res.expects = proposal.Expects
	res.msg, res.diff, res.changed = proposal.Message, proposal.Diff, len(proposal.Diff) > 0
	if proposal.Skip && !st.made(x, res) {
		res.status = event.Skipped
		res.set("skip_reason", vars.Of(proposal.Message))
		return nil
	}
	if !res.changed {
		st.changedBefore(x, res)
	}
	if res.changed {
		res.status = event.Changed
	}
	return proposal
}

// proposal is what the module proposes, or, where a run is taken back, what puts back what was there before.
func (st *step) proposal(ctx context.Context, x *prepared, host modules.Host) (*modules.Proposal, error) {
	if st.takesBack() {
		return st.putBack(ctx, x, host)
	}
	return st.row.module.Propose(ctx, st.call(x, host), x.json)
}

// changedBefore makes the result that of a change which was made before the run ended and its result was lost.
func (st *step) changedBefore(x *prepared, res *result) {
	if st.made(x, res) {
		res.changed, res.status, res.acted = true, event.Changed, true
		st.note(event.Noted{Text: "the change was made before the run ended"})
	}
}

// conclude takes in how carrying a proposal out ended.
func (st *step) conclude(x *prepared, proposal *modules.Proposal, err error, res *result) {
	st.r.refusedByHost(err)
	if len(proposal.Diff) > len(res.diff) { // what showed itself on the way
		res.diff, res.changed, res.status = proposal.Diff, true, event.Changed
	}
	var gone *modules.UnreachableError
	if !errors.As(err, &gone) && x.job.told(res) { // else the output is of something that did not happen
		st.absorb(x, proposal, res)
	}
	switch {
	case err == nil, errors.Is(err, modules.ErrStarted):
	case errors.Is(err, errTaken):
		res.msg, res.taken = "taken as done: it was under way when the run ended", true
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

// do carries a proposal out: on the host, there as a job under async, or in check mode on the layer above it.
func (st *step) do(ctx context.Context, x *prepared, over *layeredHost, p *modules.Proposal, res *result) error {
	switch {
	case st.looking != nil:
		return st.observe(ctx, x, p)
	case !x.check && p.Do == nil:
		return nil
	case !x.check:
		if err := st.mayAct(ctx, x); err != nil {
			return err
		}
		if err := st.acts(x, p, res); err != nil {
			return err
		}
		defer st.r.acted(x.on)
		st.expect(p.Expects)
		switch {
		case x.job != nil:
			return p.Do(ctx, x.job)
		case x.onlyWaits(p):
			return st.wait(ctx, x, p)
		}
		return p.Do(ctx, x.host)
	case p.Waits:
		over.predict(p.Predicts)
		return modules.ErrUnpredicted
	case p.Predicts != nil:
		over.predict(p.Predicts)
		return over.act().Apply(ctx, p.Leaves...)
	case p.Do == nil:
		return nil
	}
	return p.Do(ctx, over.act())
}

// expect tells whoever watches how long this is going to take.
func (st *step) expect(d time.Duration) {
	if d >= time.Second {
		st.r.stream.Emit(event.Noted{Play: st.lane.name, Batch: st.lane.batch, Task: st.name, Host: st.p.Name,
			Text: "takes about " + d.Round(time.Second).String(), ExpectsMS: milliseconds(d)})
	}
}

// note tells whoever watches what the task is doing or waiting for; of a guard's, only the last is kept.
func (st *step) note(n event.Noted) {
	if st.heard != nil {
		st.heard.set(func(h *heard) { h.text = n.Text })
		return
	}
	n.Play, n.Batch, n.Task, n.Host = st.lane.play.name, st.lane.batch, st.name, st.p.Name
	st.r.stream.Emit(n)
}
