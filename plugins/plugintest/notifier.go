package plugintest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/plugins"
)

// notifier holds a notifier to the contract.
func (s Suite) notifier(ctx context.Context, n *plugins.Notifier) {
	p := part{kind: kindNotifier, name: n.Name, doc: n.Doc, options: n.Options,
		use: func(ctx context.Context, folder string, options json.RawMessage) error {
			_, err := n.Begin(ctx, plugins.Run{ID: "refused", File: filepath.Join(folder, "notify.yml"), Problem: func(error) {}}, options)
			return err
		}}
	tried := false
	for _, u := range s.described(ctx, p) {
		t := telling{Suite: s, use: u, notifier: n}
		tried = t.all(ctx) || tried
	}
	s.tried(p, tried)
}

// telling is a use of a notifier.
type telling struct {
	Suite
	use
	notifier *plugins.Notifier
}

// all makes the checks of one use. False: they show nothing, good or bad.
func (u telling) all(ctx context.Context) bool {
	_, servers := ledTo(u.use.options, "")
	works, tried := u.works(ctx)
	if works && u.c.Error == "" {
		u.check(ctx, u.part, u.name+": it takes every kind of event that it wants, and kinds and fields that come later", u.kinds)
		u.order(ctx)
	}
	if works && servers > 0 {
		u.check(ctx, u.part, u.name+": servers that refuse are told as a problem, without secrets", u.refuses)
		u.cancelled(ctx)
	}
	u.check(ctx, u.part, u.name+": secrets stay secret, whatever comes of them", u.allSecrets)
	return tried
}

// ear is a notifier that listens.
type ear struct {
	telling
	t        *trial
	folder   string
	listener *plugins.Listener

	mu       sync.Mutex // guards problems
	problems []error
	told     chan struct{} // closed with the first problem
}

// begin makes the notifier listen; servers that it names are e.
func (u telling) begin(ctx context.Context, t *trial, options json.RawMessage, e *endpoint) (*ear, error) {
	if e != nil {
		options, _ = ledTo(u.guarded(options), e.address)
	}
	h := &ear{telling: u, t: t, folder: u.folder(t), told: make(chan struct{})}
	run := plugins.Run{ID: "20260301-101500-4711", File: filepath.Join(h.folder, "notify.yml"), Problem: h.problem}
	var err error
	if h.listener, err = u.notifier.Begin(ctx, run, options); err != nil {
		shows(t, "its error", err.Error(), u.secrets())
	}
	shows(t, "what it writes to its output", u.wordsOf(), u.secrets())
	return h, err
}

func (h *ear) problem(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.problems) == 0 {
		close(h.told)
	}
	h.problems = append(h.problems, err)
}

// wrong is what it has told of, and err.
func (h *ear) wrong(err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return errors.Join(append(slices.Clone(h.problems), err)...)
}

// wants says whether an event of a kind is told at all.
func (h *ear) wants(kind string) bool {
	return len(h.listener.Kinds) == 0 || slices.Contains(h.listener.Kinds, kind)
}

// tell tells of events, as far as they are wanted, and of the end.
func (h *ear) tell(ctx context.Context, events ...plugins.Event) error {
	ctx, stop := context.WithTimeoutCause(ctx, answerLimit, fmt.Errorf("it has not passed everything on within %s", answerLimit))
	defer stop()
	for _, e := range events {
		if !h.wants(e.Kind) {
			continue
		}
		if err := h.listener.Tell(ctx, e); err != nil {
			return h.heard(err)
		}
	}
	return h.heard(h.listener.End(ctx))
}

// heard is what has gone wrong, all of which was shown.
func (h *ear) heard(err error) error {
	err = h.wrong(err)
	if err != nil {
		shows(h.t, "a problem that it tells", err.Error(), h.secrets())
	}
	shows(h.t, "what it writes to its output", h.wordsOf(), h.secrets())
	return err
}

// ending are the events of a run that fails.
func (u telling) ending() []plugins.Event {
	return slices.DeleteFunc(u.Events("tried"), func(e plugins.Event) bool {
		return !slices.Contains([]string{plugins.RunStarted, plugins.TaskDone, plugins.RunDone}, e.Kind)
	})
}

// answered gives a server that takes everything, where the use is an example: those of a case are asked.
func (u telling) answered(t *trial, delay time.Duration) *endpoint {
	if !u.example {
		return nil
	}
	return answering(t, delay)
}

// works tells it of a short run. Where it does not work, which is reported, tried says that it should.
func (u telling) works(ctx context.Context) (works, tried bool) {
	c := Check{Module: u.part.name, Name: u.name + ": it is told of a run"}
	c.Problem = trying(ctx, func(t *trial) {
		h, err := u.begin(t.Context(), t, u.use.options, u.answered(t, 0))
		if err == nil {
			u.known(t, h.listener.Kinds)
			err = h.tell(t.Context(), u.ending()...)
		}
		switch problem := u.misnamed(err); {
		case problem != "":
			t.Errorf("%s", problem)
		case u.c.Error != "" && (err == nil || !strings.Contains(err.Error(), u.c.Error)):
			t.Errorf("it ends with %s and should with an error that holds %q", outcome(err), u.c.Error)
		case u.c.Error == "" && err != nil && u.example:
			c.Skipped = fmt.Sprintf("it needs something that is not here (%v); describe cases", err)
		case u.c.Error == "" && err != nil:
			t.Errorf("it fails: %v", err)
		}
	})
	if c.Problem != "" {
		c.Skipped = ""
	}
	u.report(c)
	return c.Problem == "" && c.Skipped == "", c.Skipped == ""
}

// known looks at the kinds that it wants: one that is written wrongly never comes.
func (u telling) known(t *trial, kinds []string) {
	for _, kind := range kinds {
		if !slices.ContainsFunc(u.Events(""), func(e plugins.Event) bool { return e.Kind == kind }) {
			t.Errorf("it wants events of the kind %s, which there is not", kind)
		}
	}
}

// kinds tells it of each kind of event in a run of its own, so that whatever it says is about that kind.
func (u telling) kinds(t *trial) {
	e := u.answered(t, 0)
	all := u.Events("tried")
	for _, event := range u.Events("tried") {
		all = append(all, later(t, event))
	}
	all = append(all, later(t, plugins.Event{Kind: "moon_landed", Line: json.RawMessage(`{"seq":7,"time":"2026-03-01T10:15:00Z","event":"moon_landed"}`)}))
	for _, event := range all {
		h, err := u.begin(t.Context(), t, u.use.options, e)
		if err == nil {
			err = h.tell(t.Context(), event)
		}
		if err != nil {
			t.Errorf("told of an event %s it says: %v\nthe event is %s", event.Kind, err, event.Line)
			return
		}
	}
}

// later is an event as a later pegbook tells it: with more fields.
func later(t *trial, e plugins.Event) plugins.Event {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(e.Line, &fields); err != nil {
		t.Fatalf("event %s: %v", e.Kind, err)
	}
	fields["added_in_2030"] = json.RawMessage(`{"what":[1,{"a":null}]}`)
	raw, err := json.Marshal(fields)
	if err != nil {
		t.Fatalf("event %s: %v", e.Kind, err)
	}
	return plugins.Event{Kind: e.Kind, Line: raw}
}

var numbered = regexp.MustCompile(`pegbook-test-event-(\d+)-`)

// many are events with numbers in their texts: a run's beginning, some of each kind, its end.
func (u telling) many() []plugins.Event {
	const rounds = 8
	var all []plugins.Event
	for i := range rounds + 2 {
		for _, e := range u.Events(fmt.Sprintf("pegbook-test-event-%d-", i)) {
			first, last := e.Kind == plugins.RunStarted, e.Kind == plugins.RunDone
			if first && i == 0 || last && i == rounds+1 || !first && !last && i > 0 && i <= rounds {
				all = append(all, e)
			}
		}
	}
	return all
}

// order tells it of many events at once, with a server that is slow, and looks how they arrive.
func (u telling) order(ctx context.Context) {
	c := Check{Module: u.part.name, Name: u.name + ": it passes events on in order, and all of them before it says that it has"}
	c.Problem = trying(ctx, func(t *trial) {
		const slow = 8 * time.Millisecond
		events := u.many()
		all, _ := u.arrive(t, events, 0, true)
		if len(all) < 2 {
			c.Skipped = "what it passes on does not show the events to this test"
			return
		}
		once, late := u.arrive(t, events, slow, false)
		switch {
		case late > 0:
			t.Errorf("%d of %d events are passed on after End has said that all are", late, len(all))
		case !slices.IsSorted(once):
			t.Errorf("told of events in the order of their numbers it passes them on in the order %v", once)
		case !slices.Equal(all, once):
			t.Errorf("told of events one at a time it passes on %v, told of them at once %v", all, once)
		}
	})
	u.report(c)
}

// arrive tells it of events, gently one run each or all at once, and gives the numbers of those that arrive, in
// order, and how many of them came after the end.
func (u telling) arrive(t *trial, events []plugins.Event, delay time.Duration, gently bool) (numbers []int, late int) {
	e := answering(t, delay)
	runs := [][]plugins.Event{events}
	if gently {
		runs = nil
		for _, event := range events {
			runs = append(runs, []plugins.Event{event})
		}
	}
	var folders []string
	for _, events := range runs {
		h, err := u.begin(t.Context(), t, u.use.options, e)
		if err == nil {
			err = h.tell(t.Context(), events...)
		}
		if err != nil {
			t.Fatalf("%v", err)
		}
		folders = append(folders, h.folder)
	}
	ended := time.Now()
	time.Sleep(12 * delay)
	for _, q := range e.requests() {
		if q.at.After(ended) {
			late++
		}
		numbers = append(numbers, numbersIn(q.text)...)
	}
	for _, dir := range folders {
		files := state(dir)
		for _, path := range slices.Sorted(maps.Keys(files)) {
			numbers = append(numbers, numbersIn(files[path])...)
		}
	}
	return ownNumbers(numbers), late
}

// ownNumbers are the numbers of the events themselves: that of the run's beginning may come again with each event, since
// it says which run it is, and of a number there is an event of each kind.
func ownNumbers(numbers []int) []int {
	begun := false
	return slices.Compact(slices.DeleteFunc(numbers, func(n int) bool {
		again := n == 0 && begun
		begun = begun || n == 0
		return again
	}))
}

// numbersIn are the numbers of events that a text shows. An event that shows its number several times counts once.
func numbersIn(text string) []int {
	var all []int
	for _, m := range numbered.FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(m[1])
		if err == nil && (len(all) == 0 || all[len(all)-1] != n) {
			all = append(all, n)
		}
	}
	return all
}

// refuses leads it to servers that are not there.
func (u telling) refuses(t *trial) {
	h, err := u.begin(t.Context(), t, u.use.options, refusing(t))
	if err != nil {
		return // that tells it, too
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- h.tell(ctx, u.ending()...) }()
	select {
	case <-h.told:
		cancel() // it may try again for longer than there is
		_ = h.heard(nil)
	case err := <-ended:
		if err == nil && len(u.ending()) > 0 {
			t.Errorf("its server refuses every connection, and it says nothing; return the error of Tell, or tell it Run.Problem")
		}
	}
}

// cancelled leads it to servers that never answer, lets another run be told meanwhile, and cancels.
func (u telling) cancelled(ctx context.Context) {
	c := Check{Module: u.part.name, Name: u.name + ": a server that hangs keeps no other run waiting, and a cancelled run ends"}
	c.Problem = trying(ctx, func(t *trial) {
		e := hanging(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if h, err := u.begin(ctx, t, u.use.options, e); err == nil {
				_ = h.tell(ctx, u.ending()...) // that it was cancelled
			}
		}()
		select {
		case <-e.touched:
			u.meanwhile(t)
		case <-ended:
			c.Skipped = "it connects to nothing that it names"
			return
		}
		cancel()
		<-ended
		if !e.letGo(patiently) {
			t.Errorf("%s after it was cancelled it still holds its connection; watch the context that Begin, Tell and End are given", patiently)
		}
	})
	u.report(c)
}

// meanwhile tells it of another run while one hangs.
func (u telling) meanwhile(t *trial) {
	ctx, stop := context.WithTimeout(t.Context(), patiently)
	defer stop()
	const sooner = 200 * time.Millisecond // the plugin's side may see the end of the time first
	began := time.Now()
	h, err := u.begin(ctx, t, u.use.options, answering(t, 0))
	if err == nil {
		err = h.tell(ctx, u.ending()...)
	}
	if time.Since(began) > patiently-sooner {
		t.Errorf("while the server of one run hangs, another run is not told of: %v", err)
	}
}

// allSecrets gives every secret option a value.
func (u telling) allSecrets(t *trial) {
	h, err := u.begin(t.Context(), t, u.allSecret(), refusing(t))
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		select {
		case <-h.told: // one problem tells as much as the next
			cancel()
		case <-ctx.Done():
		}
	}()
	_ = h.tell(ctx, u.ending()...)
}
