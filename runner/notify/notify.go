// Package notify passes the events of a run on to somebody who may be slow, dead or wrong. A run never waits for them
// and never fails with them: what they do not take in time is dropped and counted, and said once.
package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pegbook/pegbook/runner/event"
)

// Listener takes events.
type Listener struct {
	// Kinds are those that it wants; none: all.
	Kinds []string
	// Tell takes an event as a line of JSON. It is called for one at a time.
	Tell func(ctx context.Context, kind string, line json.RawMessage) error
	// End is called after the last event and returns when all is passed on.
	End func(ctx context.Context) error
}

// Options say who listens. All fields but Flush and Blame are needed.
type Options struct {
	// Begin makes them listen. Until it has returned, events wait. problem may be told, at any time until End has
	// returned, of what could not be passed on.
	Begin func(ctx context.Context, problem func(error)) (*Listener, error)
	// Say tells people what went wrong: one line, at most twice in a run.
	Say func(text string)
	// Blame adds to what is said of a listener that did not come to its end in time who that is and what it said last;
	// nil adds nothing.
	Blame func(text string) string
	// Flush is how long what is left may take after the run's end; 0 is 5 s.
	Flush time.Duration
}

const (
	// maxEvents and maxBytes bound what waits. Events about single tasks are dropped from there on, the others, of which
	// there are few, from twice as much.
	maxEvents = 10_000
	maxBytes  = 16 << 20
	flush     = 5 * time.Second
)

// Queue is a run's events on their way to a listener. It is an event.Sink.
type Queue struct {
	o    Options
	end  context.CancelFunc
	done chan struct{} // closed when nothing is passed on any more

	mu      sync.Mutex // guards what follows
	wake    chan struct{}
	waiting []told
	bytes   int
	kinds   []string // once the listener has said them; nil: all
	closed  bool
	over    bool // nobody listens any more
	late    bool // it has not come to an end in time
	faults  int  // that the listener has told of
	dropped int
}

type told struct {
	kind string
	line json.RawMessage
}

var _ event.Sink = (*Queue)(nil)

// New begins to pass events on. Close ends it; ctx ends it at once.
func New(ctx context.Context, o Options) *Queue {
	if o.Flush == 0 {
		o.Flush = flush
	}
	if o.Blame == nil {
		o.Blame = func(text string) string { return text }
	}
	ctx, end := context.WithCancel(ctx)
	q := &Queue{o: o, end: end, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	go q.pass(ctx)
	return q
}

// Record takes an event. It never waits.
func (q *Queue) Record(r event.Record) {
	kind := r.Event.Kind()
	q.mu.Lock()
	unwanted := q.over || q.closed || !q.wants(kind)
	q.mu.Unlock()
	if unwanted {
		return
	}
	line, err := r.MarshalJSON()
	if err != nil {
		q.fault(err)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	most := 1
	if !ofTask(kind) {
		most = 2
	}
	if len(q.waiting) >= most*maxEvents || q.bytes+len(line) > most*maxBytes {
		q.dropped++
		return
	}
	q.waiting = append(q.waiting, told{kind, line})
	q.bytes += len(line)
	q.signal()
}

// ofTask says whether events of a kind are about single tasks on single hosts: there are many, and more to come.
func ofTask(kind string) bool {
	switch kind {
	case event.TaskStarted{}.Kind(), event.TaskDone{}.Kind(), event.Noted{}.Kind(), event.JobStarted{}.Kind(), event.Included{}.Kind():
		return true
	}
	return false
}

func (q *Queue) wants(kind string) bool { return q.kinds == nil || slices.Contains(q.kinds, kind) }

func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Close lets what waits be passed on, for a bounded time, and says what was not.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	q.signal()
	q.mu.Unlock()
	late := time.NewTimer(q.o.Flush)
	defer late.Stop()
	select {
	case <-q.done:
	case <-late.C:
		q.mu.Lock()
		q.late = true
		q.mu.Unlock()
		q.end()
		select { // who does not let go is left alone
		case <-q.done:
		case <-time.After(q.o.Flush / 10):
		}
	}
	q.end()
	q.sum()
}

// sum says what was not passed on.
func (q *Queue) sum() {
	q.mu.Lock()
	dropped, faults := q.dropped+len(q.waiting), q.faults
	over, late := q.over, q.late
	q.over = true
	q.mu.Unlock()
	switch {
	case dropped > 0 && late:
		q.o.Say(q.o.Blame(fmt.Sprintf("had not taken everything %s after the end of the run: %s of it were not passed on", q.o.Flush, count(dropped, "event"))))
	case dropped > 0:
		q.o.Say(fmt.Sprintf("%s of the run were not passed on", count(dropped, "event")))
	case late:
		q.o.Say(q.o.Blame(fmt.Sprintf("had not passed everything on %s after the end of the run", q.o.Flush)))
	case faults > 1 && !over:
		q.o.Say(fmt.Sprintf("%d more such problems", faults-1))
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// pass passes on what comes.
func (q *Queue) pass(ctx context.Context) {
	defer close(q.done)
	l, err := q.o.Begin(ctx, q.fault)
	if err != nil {
		q.stop(ctx, err)
		return
	}
	q.filter(l.Kinds)
	for {
		next, more := q.take(ctx)
		if !more {
			break
		}
		if err := l.Tell(ctx, next.kind, next.line); err != nil {
			q.mu.Lock()
			q.dropped++ // this one
			q.mu.Unlock()
			q.stop(ctx, err)
			return
		}
	}
	if ctx.Err() != nil {
		return
	}
	if err := l.End(ctx); err != nil {
		q.stop(ctx, err)
	}
}

// filter keeps to the kinds that are wanted.
func (q *Queue) filter(kinds []string) {
	if len(kinds) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.kinds = kinds
	q.waiting = slices.DeleteFunc(q.waiting, func(t told) bool { return !q.wants(t.kind) })
	q.bytes = 0
	for _, t := range q.waiting {
		q.bytes += len(t.line)
	}
}

// take waits for the next event. False: there is none any more.
func (q *Queue) take(ctx context.Context) (told, bool) {
	for {
		q.mu.Lock()
		if len(q.waiting) > 0 && ctx.Err() == nil {
			next := q.waiting[0]
			q.waiting[0] = told{}
			q.waiting = q.waiting[1:]
			q.bytes -= len(next.line)
			q.mu.Unlock()
			return next, true
		}
		closed := q.closed
		q.mu.Unlock()
		if closed || ctx.Err() != nil {
			return told{}, false
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
		}
	}
}

// stop is the end of a listener that nothing can be told any more.
func (q *Queue) stop(ctx context.Context, err error) {
	q.mu.Lock()
	q.over = true
	closed := q.closed
	q.mu.Unlock()
	switch {
	case ctx.Err() != nil: // the time is up: how much was left is said at the end
	case closed:
		q.o.Say(err.Error())
	default:
		q.o.Say(err.Error() + "; the run goes on without it")
	}
}

// fault takes in what a listener that goes on could not pass on: the first is said, the others are counted.
func (q *Queue) fault(err error) {
	q.mu.Lock()
	q.faults++
	first, over := q.faults == 1, q.over
	q.mu.Unlock()
	if first && !over {
		q.o.Say(err.Error())
	}
}
