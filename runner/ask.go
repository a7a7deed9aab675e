package runner

import (
	"context"

	"github.com/pegbook/pegbook/runner/internal/graph"
)

// Leave is the answer to whether a task is to be done (--step).
type Leave int

// Answers. LeaveAll does the task and asks no more.
const (
	LeaveNot Leave = iota
	LeaveOne
	LeaveAll
)

// asking is a row whose turn has come, and for which somebody is asked first. Handlers and what the runner
// does itself are not asked about.
type asking struct {
	*rowRun
	leave Leave
	err   error
}

func (w *row) asks() bool {
	return w.handler == nil && (w.kind == taskRow || w.kind == includeRow || w.kind == specRow)
}

func (a *asking) work(ctx context.Context) {
	name := a.name
	if a.lane.free {
		name += " on " + a.who[0].Name
	}
	a.leave, a.err = a.r.opts.Step(ctx, name)
}

func (a *asking) unfold(context.Context, *run) *graph.Graph[node] {
	switch {
	case a.err != nil:
		a.r.refused = true
		a.r.end("nobody answered whether to go on: " + a.err.Error())
		return nil
	case a.leave == LeaveNot:
		return nil
	case a.leave == LeaveAll:
		a.r.unasked = true
	}
	return a.steps()
}
