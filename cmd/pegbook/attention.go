package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// errInterrupted ends a verb that somebody has interrupted before it had begun anything.
var errInterrupted = errors.New("interrupted; nothing was begun")

// attention is who hears of interrupts: the verb that has asked to, and before that the program, which then ends.
type attention struct {
	mu    sync.Mutex     // guards heard
	heard chan os.Signal // nil: no verb has asked
}

// attend listens for interrupts until end: the context that it gives is done by one of which no verb wants to hear.
func (a *app) attend(ctx context.Context, interrupts <-chan os.Signal) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		for {
			select {
			case s, ok := <-interrupts:
				if !ok {
					return
				}
				if !a.attention.passOn(s, cancel) {
					signal.Reset(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP) // what does not heed the context ends with the next
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}

// passOn gives an interrupt to the verb that hears; false: there was none, and the program ends. Who begins to hear
// meanwhile finds the program ended already.
func (at *attention) passOn(s os.Signal, end context.CancelCauseFunc) bool {
	at.mu.Lock()
	defer at.mu.Unlock()
	if at.heard == nil {
		end(errInterrupted)
		return false
	}
	select {
	case at.heard <- s:
	default: // there are enough
	}
	return true
}

// hear gives the interrupts from now on to the verb. Those before have ended its context.
func (a *app) hear() <-chan os.Signal {
	a.attention.mu.Lock()
	defer a.attention.mu.Unlock()
	if a.attention.heard == nil {
		a.attention.heard = make(chan os.Signal, 4)
	}
	return a.attention.heard
}

// hearFirst is hear, and the error of an interrupt that came before.
func (a *app) hearFirst(ctx context.Context) error {
	a.hear()
	return context.Cause(ctx)
}

// typed reads what is typed at a terminal. It comes back as well when ctx is done; the terminal is then as it was,
// and the reader ends with the program.
func typed(ctx context.Context, file *os.File, read func() (string, error)) (string, error) {
	before, err := term.GetState(int(file.Fd()))
	if err != nil {
		return "", err
	}
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		text, err := read()
		got <- answer{text, err}
	}()
	select {
	case g := <-got:
		return g.text, g.err
	case <-ctx.Done():
		return "", errors.Join(context.Cause(ctx), term.Restore(int(file.Fd()), before))
	}
}

// readSecret reads a line that is not shown.
func readSecret(ctx context.Context, file *os.File) (string, error) {
	return typed(ctx, file, func() (string, error) {
		text, err := term.ReadPassword(int(file.Fd()))
		return string(text), err
	})
}

// audience is where a run is shown. When nobody reads it any more, gone is closed.
type audience struct {
	io.Writer
	once sync.Once
	gone chan struct{}
}

func (o *audience) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	if errors.Is(err, syscall.EPIPE) {
		o.once.Do(func() { close(o.gone) })
		return len(b), nil // it is told by gone, once
	}
	return n, err
}

// outlivesReaders keeps the kernel from ending pegbook when the reader of its output goes, until end.
func outlivesReaders() (end func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGPIPE)
	return func() { signal.Stop(c) }
}
