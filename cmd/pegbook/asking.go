package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
)

// asker asks at the terminal while a run goes on. Questions come one after the other.
type asker struct {
	*app
	file  *os.File // nil: there is no terminal
	aside func(f func())
	// apart says that the run is not shown on a terminal, so that a question must say all by itself.
	apart bool
	drain <-chan struct{}
	one   chan struct{} // holds a token while nobody asks
}

func (a *app) newAsker(v view, drain <-chan struct{}) *asker {
	q := &asker{app: a, aside: v.aside, apart: !v.terminal, drain: drain, one: make(chan struct{}, 1)}
	if file, ok := terminal(a.in); ok {
		q.file = file
	}
	q.one <- struct{}{}
	return q
}

// turn waits until nobody else asks.
func (q *asker) turn(ctx context.Context) (end func(), err error) {
	select {
	case <-q.one:
		return func() { q.one <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// line reads what is typed next. It reads only when a line is there, so that a question which is answered elsewhere
// leaves no reader behind.
func (q *asker) line(ctx context.Context) (string, error) {
	var text strings.Builder
	buffer := make([]byte, 4096)
	for {
		ready, err := readable(q.file, 100*time.Millisecond)
		if err != nil {
			return "", err
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-q.drain:
			return "", errors.New("interrupted")
		default:
		}
		if !ready {
			continue
		}
		n, err := q.file.Read(buffer)
		text.Write(buffer[:n])
		if strings.HasSuffix(text.String(), "\n") {
			return strings.TrimSpace(text.String()), nil
		}
		if err == nil && n == 0 {
			err = io.EOF
		}
		if errors.Is(err, io.EOF) {
			return "", errors.New("nobody answered: the input has ended")
		}
		if err != nil {
			return "", err
		}
	}
}

// forget drops what was typed before a question was there.
func (q *asker) forget() {
	buffer := make([]byte, 4096)
	for {
		ready, err := readable(q.file, 0)
		if err != nil || !ready {
			return
		}
		if n, err := q.file.Read(buffer); n == 0 || err != nil {
			return
		}
	}
}

func readable(f *os.File, wait time.Duration) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(wait.Milliseconds()))
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return n > 0, err
}

// say writes to the terminal beside the view.
func (q *asker) say(format string, args ...any) {
	q.aside(func() { fmt.Fprintf(cleaned{q.err}, format, args...) })
}

// gates says how gates are answered.
func (q *asker) gates(o runOptions) runner.Gates {
	g := runner.Gates{Yes: o.yes, Wait: o.wait}
	if q.file != nil && o.wait == 0 {
		g.Ask = q.gate
	}
	return g
}

func (q *asker) gate(ctx context.Context, g event.GateWaiting) (bool, string, error) {
	end, err := q.turn(ctx)
	if err != nil {
		return false, "", err
	}
	defer end()
	q.forget()
	if q.apart {
		q.say("gate %s (%s)\n  %s\n  next: %s\n", g.Task, strings.Join(g.Hosts, ", "), strings.ReplaceAll(g.Message, "\n", "\n  "), g.Next)
	}
	for {
		q.say("Approve %s? (y)es/(n)o: ", g.Task)
		answer, err := q.line(ctx)
		if err != nil {
			q.say("\n")
			return false, "", err
		}
		switch strings.ToLower(answer) {
		case "y", "yes":
			return true, userName(), nil
		case "n", "no":
			return false, userName(), nil
		}
	}
}

// userName is who sits at the terminal.
func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("user %d", os.Getuid())
}

// confirm asks for the value that a destroying play names.
func (q *asker) confirm(o runOptions) func(ctx context.Context, message, value string) error {
	return func(ctx context.Context, message, value string) error {
		switch {
		case slices.Contains(o.confirm, value):
			return nil
		case len(o.confirm) > 0:
			return fmt.Errorf("%s\n--confirm: %q is not %q; the play was not begun", message, strings.Join(o.confirm, ", "), value)
		case q.file == nil && o.yes:
			return fmt.Errorf("%s\n--yes does not answer this: run it again with --confirm %s", message, quoted(value))
		case q.file == nil:
			return fmt.Errorf("%s\nThis must be confirmed: run it again with --confirm %s", message, quoted(value))
		}
		end, err := q.turn(ctx)
		if err != nil {
			return err
		}
		defer end()
		var given string
		q.aside(func() {
			q.forget()
			fmt.Fprintf(cleaned{q.err}, "%s\nType %q to go on: ", message, value)
			given, err = q.line(ctx)
		})
		if err != nil {
			return fmt.Errorf("%w; the play was not begun", err)
		}
		if given != value {
			return fmt.Errorf("%q is not %q; the play was not begun", given, value)
		}
		return nil
	}
}

// step asks before each task under --step; nil without.
func (q *asker) step(o runOptions) func(ctx context.Context, task string) (runner.Leave, error) {
	if !o.step {
		return nil
	}
	return func(ctx context.Context, task string) (leave runner.Leave, err error) {
		end, err := q.turn(ctx)
		if err != nil {
			return runner.LeaveNot, err
		}
		defer end()
		var line string
		q.aside(func() {
			fmt.Fprintf(cleaned{q.err}, "Perform task: %s (N)o/(y)es/(c)ontinue: ", task)
			line, err = q.line(ctx)
		})
		switch strings.ToLower(line) {
		case "y", "yes":
			leave = runner.LeaveOne
		case "c", "continue":
			leave = runner.LeaveAll
		}
		return leave, err
	}
}

// canAnswer refuses a run that would ask somebody where there is nobody.
func (a *app) canAnswer(plan *runner.Plan, o runOptions) error {
	if _, ok := terminal(a.in); ok {
		return nil
	}
	if o.step {
		return errors.New("--step: there is no terminal to ask on")
	}
	if o.check || o.yes || o.wait > 0 {
		return nil
	}
	var problems diag.List
	for _, at := range plan.SureGates(runner.Options{Forks: o.forks}) {
		problems.Add(at, "--yes opens all gates; --wait-for-approval lets them wait for pegbook runs approve", "somebody has to approve here, and there is no terminal to ask on")
	}
	return problems.Err()
}
