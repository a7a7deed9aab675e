package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"

	"google.golang.org/grpc"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins/wire"
)

// Notifier is told what happens in a run, where a file that --notify gives names it below plugin. It is a plain value;
// make one with [DefineNotifier].
type Notifier struct {
	Name string
	// Doc is the manual page: the first line a title, then an empty line, the explanation, and as an indented example
	// a file that names the notifier.
	Doc string
	// Options are what such a file may say.
	Options modules.Schema
	// Begin makes it listen to a run. Options are a JSON object whose names are those of Options; an error about one
	// of them is a *modules.ArgumentError. ctx ends when the run needs it no longer.
	Begin func(ctx context.Context, run Run, options json.RawMessage) (*Listener, error)
}

// Run is the run that a notifier is to be told of.
type Run struct {
	ID string
	// Check says that it is a dry run, which changes nothing.
	Check bool
	// File is the absolute path of the file that names the notifier.
	File string
	// Problem tells pegbook that something could not be passed on, which people are then told, with the end of the run
	// at the latest. It never fails the run, and may be called from any goroutine.
	Problem func(err error)
}

// Listener takes events.
type Listener struct {
	// Kinds are those that it wants; none: all.
	Kinds []string
	// Tell takes the next event. It is called for one at a time, in order. An error is as one that Run.Problem is told:
	// the next event comes all the same.
	Tell func(ctx context.Context, e Event) error
	// End is called after the last event and returns when everything is passed on; nil: it is. pegbook waits for that
	// a few seconds only.
	End func(ctx context.Context) error
}

// DefineNotifier makes a notifier from a function over a struct of options, as modules.Define makes a module.
func DefineNotifier[A any](name, doc string, begin func(ctx context.Context, run Run, options A) (*Listener, error)) *Notifier {
	schema := modules.SchemaOf[A]()
	return &Notifier{Name: name, Doc: doc, Options: schema,
		Begin: func(ctx context.Context, run Run, raw json.RawMessage) (*Listener, error) {
			var options A
			if err := schema.Decode(raw, &options); err != nil {
				return nil, err
			}
			return begin(ctx, run, options)
		}}
}

// Title is the first line of the manual page.
func (n *Notifier) Title() string { return firstLine(n.Doc) }

// Notify lets a notifier listen.
func (s *server) Notify(stream grpc.BidiStreamingServer[wire.Told, wire.Heard]) (err error) {
	h := &hearing{stream: stream}
	defer func() {
		if bug := recover(); bug != nil {
			fmt.Fprintf(os.Stderr, bugPrefix+"%v\n%s", bug, debug.Stack())
			err = fmt.Errorf(bugPrefix+"%v", bug)
		}
	}()
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	q := first.GetBegin()
	n := s.notifiers[q.GetNotifier()]
	if n == nil {
		return h.send(&wire.Heard{Body: &wire.Heard_Failed{Failed: &wire.Error{Message: fmt.Sprintf("the plugin has no notifier %q", q.GetNotifier())}}})
	}
	l, err := n.Begin(stream.Context(), Run{ID: q.Run, Check: q.Check, File: q.File, Problem: h.problem}, q.Options)
	if err != nil {
		return h.send(&wire.Heard{Body: &wire.Heard_Failed{Failed: errorToWire(err)}})
	}
	if err := h.send(&wire.Heard{Body: &wire.Heard_Ready{Ready: &wire.Ready{Kinds: l.Kinds}}}); err != nil {
		return err
	}
	return h.listen(l)
}

// hearing is a notifier's side of the stream.
type hearing struct {
	stream grpc.BidiStreamingServer[wire.Told, wire.Heard]
	mu     sync.Mutex // guards Send
}

func (h *hearing) send(m *wire.Heard) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stream.Send(m)
}

func (h *hearing) problem(err error) {
	_ = h.send(&wire.Heard{Body: &wire.Heard_Problem{Problem: errorToWire(err)}}) // where the stream has ended nobody listens
}

// listen passes events on until pegbook has no more.
func (h *hearing) listen(l *Listener) error {
	for {
		m, err := h.stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		e, err := ParseEvent(m.GetEvent().GetLine())
		if err == nil {
			err = l.Tell(h.stream.Context(), e)
		}
		if err != nil {
			h.problem(err)
		}
	}
	if l.End == nil {
		return nil
	}
	if err := l.End(h.stream.Context()); err != nil {
		h.problem(err)
	}
	return nil
}

// notifier is a notifier of the plugin as pegbook uses it. Its listener's Tell blocks while the plugin takes nothing.
func (p *Plugin) notifier(w *wire.Notifier) *Notifier {
	n := &Notifier{Name: w.Name, Doc: w.Doc, Options: schemaFromWire(w.Options)}
	n.Begin = func(ctx context.Context, run Run, options json.RawMessage) (*Listener, error) {
		now, err := p.process(ctx)
		if err != nil {
			return nil, err
		}
		stream, err := now.Notify(ctx)
		if err != nil {
			return nil, p.blame(ctx, now, err)
		}
		t := &telling{plugin: p, stream: stream, over: make(chan struct{}), blame: func(err error) error { return p.blame(ctx, now, err) }}
		begin := &wire.Begin{Notifier: n.Name, Options: options, File: run.File, Run: run.ID, Check: run.Check}
		if err := stream.Send(&wire.Told{Body: &wire.Told_Begin{Begin: begin}}); err != nil && !errors.Is(err, io.EOF) {
			return nil, p.blame(ctx, now, err)
		}
		kinds, err := t.ready(run.Problem)
		if err != nil {
			return nil, err
		}
		go t.hear(run.Problem)
		return &Listener{Kinds: kinds, Tell: t.tell, End: t.end}, nil
	}
	return n
}

// telling is pegbook's side of the stream.
type telling struct {
	plugin *Plugin
	stream grpc.BidiStreamingClient[wire.Told, wire.Heard]
	// blame says what has become of the process. It goes by the context of the run: that of the stream ends with it.
	blame func(err error) error
	over  chan struct{} // closed when the stream has ended
	err   error         // why it has, once over is closed; nil: as it should
}

// ready waits for the kinds that the notifier wants. What it cannot do may be told before.
func (t *telling) ready(problem func(error)) ([]string, error) {
	m, err := t.stream.Recv()
	for err == nil && m.GetProblem() != nil {
		t.passOn(m, problem)
		m, err = t.stream.Recv()
	}
	switch {
	case errors.Is(err, io.EOF):
		return nil, t.nonsense("it ended before it had begun to listen")
	case err != nil:
		return nil, t.blame(err)
	case m.GetFailed() != nil:
		return nil, t.plugin.told(m.GetFailed())
	case m.GetReady() == nil:
		return nil, t.nonsense("it does not say whether it listens")
	case len(m.GetReady().Kinds) > maxKinds:
		return nil, t.nonsense(fmt.Sprintf("it wants %d kinds of events", len(m.GetReady().Kinds)))
	}
	return m.GetReady().Kinds, nil
}

// maxKinds bounds the kinds of events that a notifier wants.
const maxKinds = 1000

func (t *telling) nonsense(what string) error {
	return &Error{Plugin: t.plugin.name, Path: t.plugin.file.Path, Problem: "answers nonsense: " + what, Err: errNonsense}
}

// hear passes on what the notifier says until the stream ends.
func (t *telling) hear(problem func(error)) {
	defer close(t.over)
	for {
		m, err := t.stream.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.err = t.blame(err)
			return
		}
		t.passOn(m, problem)
	}
}

// passOn tells of a problem of the notifier.
func (t *telling) passOn(m *wire.Heard, problem func(error)) {
	e := m.GetProblem()
	if e == nil || problem == nil {
		return
	}
	e.Message = shortened(e.Message)
	problem(t.plugin.told(e))
}

// tell sends an event.
func (t *telling) tell(_ context.Context, e Event) error {
	err := t.stream.Send(&wire.Told{Body: &wire.Told_Event{Event: &wire.Event{Kind: e.Kind, Line: e.Line}}})
	if err == nil {
		return nil
	}
	<-t.over // a stream that cannot be sent to has ended
	if t.err == nil {
		return t.nonsense("it has ended before the run")
	}
	return t.err
}

// end waits until the notifier has passed everything on.
func (t *telling) end(ctx context.Context) error {
	if err := t.stream.CloseSend(); err != nil {
		return t.blame(err)
	}
	select {
	case <-t.over:
		return t.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
