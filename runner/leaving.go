package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/event"
)

// A run that is told to end lets end what changes something. What only looks and lets time pass (a wait for health,
// a pause, the time between two attempts) would keep it for up to an hour, and nothing is lost when it is left: the
// step counts as one that has not ended, and is done again when the run is gone on with.

// errLeft ends a wait.
var errLeft = errors.New("the run ends")

// onlyWaits says whether carrying a proposal out only looks and lets time pass.
func (x *prepared) onlyWaits(p *modules.Proposal) bool {
	return len(p.Diff) == 0 && (p.Waits || p.Expects > 0) && !p.Once && x.job == nil
}

// wait carries out what only waits, until the run is told to end.
func (st *step) wait(ctx context.Context, x *prepared, p *modules.Proposal) error {
	ctx, stop := st.leavable(ctx)
	defer stop()
	err := p.Do(ctx, x.host)
	if err != nil && errors.Is(context.Cause(ctx), errLeft) {
		st.left = true
		return errLeft
	}
	return err
}

// sleeps lets time pass; false when the step is over before that.
func (st *step) sleeps(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	ctx, stop := st.leavable(ctx)
	defer stop()
	err := pause(ctx, d)
	st.left = st.left || errors.Is(err, errLeft)
	return err == nil
}

// leavable gives a context that ends, with errLeft, when the run is told to start nothing more.
func (st *step) leavable(ctx context.Context) (_ context.Context, stop func()) {
	ctx, end := context.WithCancelCause(ctx)
	if st.looking != nil {
		return ctx, func() { end(nil) } // a guard's look ends with its guard
	}
	go func() {
		select {
		case <-st.r.opts.Drain:
			end(errLeft)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { end(nil) }
}

// takePlace waits for a step that throttle makes wait for others. False: it is not to begin any more.
func (st *step) takePlace(ctx context.Context) bool {
	ctx, stop := st.leavable(ctx)
	defer stop()
	select {
	case st.place <- struct{}{}:
		if ctx.Err() == nil {
			return true
		}
		<-st.place
	case <-ctx.Done():
	}
	st.left = true
	return false
}

// leave takes a step that was left. Nobody knows how it would have ended.
func (st *step) leave() {
	st.r.halt(halt{interrupted: true})
	at := st.res
	if at == nil {
		return // it had not begun
	}
	st.res = &result{status: event.Unknown, noLog: at.noLog, took: at.took, delegatedTo: at.delegatedTo,
		msg: fmt.Sprintf("left after %s, as the run ends: it is waited for again when the run is gone on with", at.took.Round(time.Second))}
	if st.unkept {
		st.res.msg = "left before it changed anything, as what is done cannot be written down"
	}
	st.ran = true
	st.tell(false)
	st.count(false)
}

// stoodAt says where a host was when the run ended, whose last step was of the row.
func (rr *rowRun) stoodAt(p *player) string {
	for _, st := range rr.done {
		switch {
		case st.p != p || !st.left:
		case st.unkept:
			return fmt.Sprintf("before task %q", rr.name)
		default:
			return fmt.Sprintf("in task %q, which waited,", rr.name)
		}
	}
	return fmt.Sprintf("after task %q", rr.name)
}
