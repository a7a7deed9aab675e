package render

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
)

// Live is the view on a terminal: one line a finished task, failures in full, and below them a region
// that is redrawn: the play, the batch, how long, and what runs where and what it waits for.
type Live struct {
	o    Options
	p    paint
	size func() (width, height int)
	now  func() time.Time

	mu    sync.Mutex // guards everything below
	w     io.Writer
	drawn int // lines of the region on the screen
	out   bytes.Buffer
	begun time.Time
	play  string
	batch event.BatchStarted
	// playBegun and batchBegun are when the running ones began.
	playBegun, batchBegun time.Time
	steps                 int
	ended                 int
	tasks                 []*taskView // of the running batch, in the order they began
	running               map[runKey]*running
	counts                map[string][]modules.Count // what is left on hosts of the running batch
	source                *Source
	pointed               diag.Position // the place shown last
	asked                 int           // gates that wait: somebody may be typing below the last line
	pausedBy              string        // who has paused the run; "" while it goes on
	stop                  chan struct{}
	stopped               sync.WaitGroup
}

type runKey struct {
	batch      int
	task, host string
}

type running struct {
	since time.Time
	// phase takes the place of the task's name where it tells what is left; note is what it waits for.
	phase, note string
	// expects is how long it is expected to take; 0 where nobody can tell.
	expects time.Duration
}

// taskView is one task in a batch: how it ended on the hosts that are done with it.
type taskView struct {
	batch   int
	name    string
	handler bool
	began   time.Time
	last    time.Time
	active  int
	counts  map[event.Status]int
	hosts   map[event.Status][]string
	lines   []string // diffs and messages of hosts, shown below the task's line
}

// redraw is how often the region changes at most; faster is only flicker.
const redraw = 100 * time.Millisecond

// NewLive makes a live view on a terminal. size gives its width and height in characters. Close it to
// leave the terminal tidy.
func NewLive(w io.Writer, o Options, size func() (width, height int)) *Live {
	l := &Live{o: o, p: paint{o.Color}, size: size, now: time.Now, w: w, running: map[runKey]*running{}, counts: map[string][]modules.Count{}, source: NewSource(o.Secrets), stop: make(chan struct{})}
	l.begun = l.now()
	l.stopped.Go(l.tick)
	return l
}

func (l *Live) tick() {
	ticker := time.NewTicker(redraw)
	defer ticker.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-ticker.C:
			l.mu.Lock()
			l.draw(true)
			l.mu.Unlock()
		}
	}
}

// Close ends the redrawing and leaves the cursor below the last line.
func (l *Live) Close() error {
	select {
	case <-l.stop:
		return nil
	default:
	}
	close(l.stop)
	l.stopped.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draw(false)
	return nil
}

// Aside lets f write to the terminal, or read from it: the region is taken away meanwhile and nothing
// else is drawn.
func (l *Live) Aside(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draw(false)
	f()
}

// Record takes one record; the screen follows at the next redraw.
func (l *Live) Record(rec event.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e := rec.Event.(type) {
	case event.RunStarted:
		l.steps = e.Steps
		l.say("%s %s%s", l.p.in(bold, "RUN"), e.Playbook, l.p.mode(e))
	case event.PlayStarted:
		l.flush(true)
		l.play, l.batch, l.playBegun = Clean(e.Play, false), event.BatchStarted{}, l.now()
		clear(l.counts)
		l.say("%s  (%s)", l.p.in(bold, "PLAY "+l.play), HowMany(len(e.Hosts), "host"))
	case event.BatchStarted:
		l.flush(true)
		l.batch, l.batchBegun = e, l.now()
		for _, host := range e.Hosts {
			delete(l.counts, host)
		}
		if e.Batches > 1 {
			l.say("  %s  %s", l.p.in(bold, fmt.Sprintf("batch %d of %d", e.Batch, e.Batches)), Names(e.Hosts))
		}
	case event.TaskStarted:
		l.started(e)
	case event.Noted:
		l.noted(e)
	case event.TaskDone:
		l.done(e)
	case event.GateWaiting:
		l.flush(true)
		l.control(e)
		l.asked++
	case event.GateAnswered:
		l.asked--
		l.control(e)
	case event.GuardChecked:
		l.control(e)
	case event.RunContinued:
		l.pausedBy = ""
		l.control(e)
	case event.RunPaused:
		l.flush(true)
		l.control(e)
		l.pausedBy = e.By
	case event.Lock:
		if line := lockLine(l.p, e, l.o.Verbosity); line != "" {
			l.say("  %s", line)
		}
	case event.Problem:
		var b bytes.Buffer
		Diagnostic(&b, e.Diagnostic, l.source, l.p.on)
		l.out.Write(b.Bytes())
	case event.RunDone:
		l.flush(true)
		recap(&l.out, l.p, e)
	}
}

func (l *Live) say(format string, args ...any) {
	fmt.Fprintf(&l.out, format+"\n", args...)
}

// control shows how the run is steered.
func (l *Live) control(e event.Event) {
	for _, line := range controlLines(l.p, l.o, e) {
		l.say("%s", line)
	}
}

func (l *Live) view(batch int, name string, handler bool) *taskView {
	for _, t := range slices.Backward(l.tasks) {
		if t.batch == batch && t.name == name && t.handler == handler {
			return t
		}
	}
	t := &taskView{batch: batch, name: name, handler: handler, began: l.now(), counts: map[event.Status]int{}, hosts: map[event.Status][]string{}}
	l.tasks = append(l.tasks, t)
	return t
}

func (l *Live) started(e event.TaskStarted) {
	l.flush(false)
	t := l.view(e.Batch, e.Task, e.Handler)
	t.active++
	l.running[runKey{e.Batch, e.Task, e.Host}] = &running{since: l.now()}
}

func (l *Live) noted(e event.Noted) {
	r := l.running[runKey{e.Batch, e.Task, e.Host}]
	if r == nil {
		return
	}
	if e.ExpectsMS > 0 {
		r.expects = l.now().Sub(r.since) + time.Duration(e.ExpectsMS*float64(time.Millisecond))
	}
	switch {
	case e.Phase != "":
		r.phase, r.note = Clean(e.Phase, false), Clean(e.Detail, false)
		l.counts[e.Host] = merged(l.counts[e.Host], e.Counts)
	case e.ExpectsMS > 0:
		r.note = ""
	default:
		r.note = Clean(e.Text, false)
	}
}

// merged are counts with newer ones in the place of those of the same name.
func merged(counts, newer []modules.Count) []modules.Count {
	counts = slices.Clone(counts)
	for _, c := range newer {
		i := slices.IndexFunc(counts, func(have modules.Count) bool { return have.Name == c.Name })
		switch {
		case i < 0:
			counts = append(counts, c)
		default:
			c.Of = max(c.Of, counts[i].Of)
			counts[i] = c
		}
	}
	return counts
}

func (l *Live) done(e event.TaskDone) {
	l.ended++
	key := runKey{e.Batch, e.Task, e.Host}
	t := l.view(e.Batch, e.Task, e.Handler)
	if l.running[key] != nil {
		delete(l.running, key)
		t.active--
	}
	t.last = l.now()
	t.counts[e.Status]++
	t.hosts[e.Status] = append(t.hosts[e.Status], e.Host)
	bad := e.Status == event.Failed || e.Status == event.Unreachable || e.Status == event.Unknown
	if bad || l.o.Verbosity > 0 || (l.o.Diff && len(e.Diff) > 0) {
		t.lines = append(t.lines, taskLines(l.p, l.o, e)...)
		t.lines = append(t.lines, pointer(l.p, l.source, e, &l.pointed)...)
	}
}

// flush writes the lines of tasks that no host is busy with any more. A task may still come to further
// hosts, so the newest stays until something else begins, or until all is to be written.
func (l *Live) flush(all bool) {
	keep := l.tasks[:0]
	for _, t := range l.tasks {
		if t.active > 0 || (len(t.counts) == 0 && !all) {
			keep = append(keep, t)
			continue
		}
		l.summary(t)
	}
	l.tasks = keep
}

func (l *Live) summary(t *taskView) {
	if len(t.counts) == 0 {
		return
	}
	var parts []string
	for _, s := range []event.Status{event.OK, event.Changed, event.Skipped, event.Unknown, event.Failed, event.Unreachable} {
		n := t.counts[s]
		if n == 0 {
			continue
		}
		text := fmt.Sprintf("%d %s", n, s)
		if n <= 3 && s != event.OK && s != event.Skipped {
			text = fmt.Sprintf("%s %s", s, strings.Join(t.hosts[s], " "))
		}
		parts = append(parts, l.p.status(s, text))
	}
	name := Clean(t.name, false)
	if t.handler {
		name = "handler " + name
	}
	l.say("    %s  %s  %s", name, strings.Join(parts, ", "), l.p.in(gray, Duration(t.last.Sub(t.began))))
	for _, line := range t.lines {
		l.say("    %s", line)
	}
}

// draw writes what is new above the region and the region again. region false leaves it away.
func (l *Live) draw(region bool) {
	var screen bytes.Buffer
	if l.drawn > 0 {
		fmt.Fprintf(&screen, "\x1b[%dA\r\x1b[J", l.drawn)
	}
	screen.Write(l.out.Bytes())
	l.out.Reset()
	var lines []string
	if region && l.asked == 0 {
		lines = l.region()
	}
	for _, line := range lines {
		screen.WriteString(line)
		screen.WriteByte('\n')
	}
	l.drawn = len(lines)
	_, _ = l.w.Write(screen.Bytes()) // a terminal that has gone ends the run by its signal, not by us
}

func (l *Live) region() []string {
	width, height := l.size()
	head := "── " + l.play
	if l.batch.Batches > 1 {
		head += fmt.Sprintf(" · batch %d of %d%s", l.batch.Batch, l.batch.Batches, l.turn())
	}
	head += " · " + Duration(l.now().Sub(l.begun).Truncate(redraw)) + l.ahead()
	if l.steps > 0 {
		head += fmt.Sprintf(" · %d of %d steps", min(l.ended, l.steps), l.steps)
	}
	if l.pausedBy != "" {
		head += " · paused by " + Clean(l.pausedBy, false)
	}
	lines := []string{l.p.in(cyan, cut(head, width))}
	keys := make([]runKey, 0, len(l.running))
	for key := range l.running {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b runKey) int {
		if c := l.running[a].since.Compare(l.running[b].since); c != 0 {
			return c
		}
		return strings.Compare(a.host+a.task, b.host+b.task)
	})
	room := max(1, min(12, height-4))
	for i, key := range keys {
		if i == room {
			lines = append(lines, fmt.Sprintf("   … and %d more", len(keys)-room))
			break
		}
		line := l.line(key)
		lines = append(lines, cut(line, width))
	}
	return lines
}

// line is what a host is at: the phase, for how long, and what is left.
func (l *Live) line(key runKey) string {
	r := l.running[key]
	what := Clean(key.task, false)
	if r.phase != "" {
		what = r.phase
	}
	line := fmt.Sprintf("   %s  %s  %s", key.host, what, Duration(l.now().Sub(r.since).Truncate(redraw)))
	if r.expects > 0 {
		line += " of about " + Duration(r.expects.Truncate(redraw))
	}
	for _, more := range []string{Clean(modules.JoinCounts(l.counts[key.host]), false), r.note} {
		if more != "" {
			line += "  " + more
		}
	}
	return line
}

// turn is how long the batch has been at work, and how long it takes if it takes as long as those before.
func (l *Live) turn() string {
	text := Duration(l.now().Sub(l.batchBegun).Truncate(redraw))
	if each := l.each(); each > 0 {
		text += " of about " + Duration(each.Round(time.Second))
	}
	return " (" + text + ")"
}

// each is how long a batch of the play has taken so far; 0 in the first one.
func (l *Live) each() time.Duration {
	before := l.batch.Batch - 1
	if before < 1 {
		return 0
	}
	return l.batchBegun.Sub(l.playBegun) / time.Duration(before)
}

// ahead is how long the batches of the play that are to come will take if they take as long as those before.
func (l *Live) ahead() string {
	left := l.batch.Batches - l.batch.Batch
	if left < 1 || l.each() == 0 {
		return ""
	}
	return fmt.Sprintf(" · %d more of them in about %s", left, Duration((l.each() * time.Duration(left)).Round(time.Second)))
}

// cut shortens a line so that it never wraps: a wrapped line would break the redrawing.
func cut(line string, width int) string {
	runes := []rune(line)
	if width <= 1 || len(runes) < width {
		return line
	}
	return string(runes[:width-2]) + "…"
}
