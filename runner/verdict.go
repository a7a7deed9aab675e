package runner

import (
	"errors"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

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
			st.r.because(res, "failed_when", st.withResult(s, res), t.FailedWhen...)
		case res.changed:
			res.status = event.Changed
		default:
			res.status = event.OK
		}
	}
	if len(t.ChangedWhen) > 0 {
		not, err := firstFalse(t.ChangedWhen, st.withResult(s, res))
		if err != nil {
			res.fail(err)
			return
		}
		if st.r.opts.Verbosity > 0 && res.changed != not.IsZero() {
			st.overruled(s, not, res)
		}
		res.changed = not.IsZero()
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

// overruled notes that changed_when says otherwise than the module.
func (st *step) overruled(s *vars.Scope, not vars.Expr, res *result) {
	deciding := st.row.task.ChangedWhen
	if !not.IsZero() {
		deciding = []vars.Expr{not}
	}
	st.r.because(res, "changed_when", st.withResult(s, res), deciding...)
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
