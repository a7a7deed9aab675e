package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/internal/graph"
)

// Command is what somebody asks of a running run from outside of it.
type Command struct {
	// Word is what is asked.
	Word CommandWord
	// Gate names the task of the gate to approve; "" is the one that waits.
	Gate string
	// By is who asks, for the record.
	By string
	// Answer is told once what became of it: an error is a refusal. It must not block.
	Answer func(text string, err error)
}

// CommandWord is a kind of command.
type CommandWord string

// Commands. Pause starts nothing more and lets what is under way end; the run then waits for Continue, or for its
// end. Approve answers a gate.
const (
	CommandPause    CommandWord = "pause"
	CommandContinue CommandWord = "continue"
	CommandApprove  CommandWord = "approve"
)

// control is how a run is steered. It belongs to the walking goroutine, but for calls, ended and halting.
type control struct {
	calls chan func()   // to be made on the walking goroutine
	ended chan struct{} // closed when nobody makes them any more
	// halting is closed when nothing more is to start for good: what waits for somebody need not wait.
	halting chan struct{}
	halted  *halt
	hold    *hold
	waiting []*gateState   // gates that nobody has answered
	beside  sync.WaitGroup // what goes on beside the walk
}

// halt is why a run starts nothing more, for good.
type halt struct {
	paused, failed, interrupted bool
	message                     string
}

// Error is the reason.
func (h *halt) Error() string { return h.message }

// hold is a pause that somebody asked for.
type hold struct {
	by    string
	since time.Time
	quiet bool // nothing is under way any more
}

func newControl() control {
	return control{calls: make(chan func()), ended: make(chan struct{}), halting: make(chan struct{})}
}

// steered lets the run be steered, until end: then what goes on beside the walk has ended as well.
func (r *run) steered(ctx context.Context) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	if r.opts.Commands != nil {
		r.beside.Go(func() { r.obey(ctx) })
	}
	return ctx, func() {
		close(r.ended)
		cancel()
		r.beside.Wait()
	}
}

// interrupted says whether the run was told to stop, when its walk ended with an error.
func (r *run) interrupted(stopped error) bool {
	var h *halt
	if errors.As(stopped, &h) {
		return h.interrupted
	}
	return stopped != nil || r.halted != nil && r.halted.interrupted
}

// resumption is the command that goes on with a run that has paused.
func (r *run) resumption() string {
	if r.opts.Check {
		return ""
	}
	return r.opts.Resume
}

// limits bound a walk, and let it be steered.
func (r *run) limits() graph.Limits {
	return graph.Limits{Slots: r.opts.Forks, Drain: r.opts.Drain, Calls: r.calls, Held: r.quiet,
		Hold: func() bool { return r.hold != nil },
		Halt: func() error {
			r.watchLocks()
			if err := r.unfit(); err != nil || r.halted == nil {
				return err
			}
			return r.halted
		}}
}

// call makes f run on the walking goroutine and returns when it has; false when the run is over or ctx is done.
func (r *run) call(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	select {
	case r.calls <- func() { f(); close(done) }:
		<-done
		return true
	case <-r.ended:
	case <-ctx.Done():
	}
	return false
}

// halt starts nothing more, for good: what is under way goes on to its end. The first reason counts.
func (r *run) halt(h halt) {
	if r.halted == nil {
		r.halted = &h
		close(r.halting)
	}
}

// obey takes commands until the run is over.
func (r *run) obey(ctx context.Context) {
	for {
		select {
		case c := <-r.opts.Commands:
			if !r.call(ctx, func() { c.Answer(r.command(c)) }) {
				c.Answer("", errors.New("the run is over"))
			}
		case <-r.ended:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (r *run) command(c Command) (string, error) {
	switch c.Word {
	case CommandPause:
		return r.pause(c.By)
	case CommandContinue:
		return r.unpause(c.By)
	case CommandApprove:
		return r.approve(c)
	}
	return "", fmt.Errorf("a run knows no %q", c.Word)
}

func (r *run) pause(by string) (string, error) {
	if r.halted != nil {
		return "", fmt.Errorf("the run is ending: %s", r.halted.message)
	}
	if r.hold != nil {
		return "", fmt.Errorf("the run is paused already, by %s", r.hold.by)
	}
	r.hold = &hold{by: by, since: r.opts.Now()}
	return "nothing more is started; what is under way goes on to its end", nil
}

func (r *run) unpause(by string) (string, error) {
	if r.hold == nil {
		return "", errors.New("the run is not paused")
	}
	if r.hold.quiet {
		r.stream.Emit(event.RunContinued{By: by, PausedMS: milliseconds(r.opts.Now().Sub(r.hold.since))})
	}
	r.hold = nil
	return "the run goes on", nil
}

// quiet is when nothing is under way any more in a run that is being paused.
func (r *run) quiet() {
	if r.hold.quiet {
		return
	}
	r.hold.quiet = true
	r.stream.Emit(event.RunPaused{Reason: "as asked", By: r.hold.by, GoOn: "pegbook runs continue " + r.opts.RunID})
}

// approve answers a gate.
func (r *run) approve(c Command) (string, error) {
	var open, named []string
	for _, g := range r.waiting {
		if g.answered {
			continue
		}
		open = append(open, g.event.Task)
	}
	for _, name := range open {
		if c.Gate == "" || name == c.Gate || strings.HasSuffix(name, " : "+c.Gate) {
			named = append(named, name)
		}
	}
	switch {
	case len(open) == 0:
		return "", errors.New("no gate waits for an approval")
	case len(named) == 0:
		return "", fmt.Errorf("no gate %q waits; those that wait are: %s", c.Gate, strings.Join(open, ", "))
	case len(named) > 1:
		return "", fmt.Errorf("several gates wait: name one of %s", strings.Join(named, ", "))
	}
	i := slices.IndexFunc(r.waiting, func(g *gateState) bool { return !g.answered && g.event.Task == named[0] })
	g := r.waiting[i]
	g.answered = true
	g.answers <- gateAnswer{approved: true, by: c.By}
	return fmt.Sprintf("gate %q is open; next: %s", g.event.Task, g.event.Next), nil
}
