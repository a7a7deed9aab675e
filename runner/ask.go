package runner

import (
	"context"
	"strings"

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
	past := a.r.opts.Past
	switch {
	case a.r.decided(a.question(), &a.leave):
		return
	case past != nil && past.unasked: // of plays side by side the one with that answer may come later now
		a.leave = LeaveAll
		return
	}
	name := a.name
	if a.lane.free {
		name += " on " + a.who[0].Name
	}
	if a.leave, a.err = a.r.opts.Step(ctx, name); a.err == nil {
		a.err = a.r.decide(a.question(), a.leave, false)
	}
}

// stepQuestion stands behind the place of a row, and before the host where hosts are asked for one by one.
const stepQuestion = " step"

func isStepQuestion(place string) bool { return strings.Contains(place, stepQuestion) }

// question is its place in the record.
func (a *asking) question() string {
	place := a.where() + stepQuestion
	if a.lane.free {
		place += " " + a.who[0].Name
	}
	return place
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
