package render

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
)

// Plain writes a line for each thing that happens, for pipes, files and CI.
type Plain struct {
	w io.Writer
	o Options
	p paint
	// heading is the play, batch and task the last lines stood under, at where the task is written: two
	// tasks of one name are two.
	heading string
	at      diag.Position
	source  *Source
	pointed diag.Position // the place shown last
	// progress is when progress was shown last, by task and host.
	progress map[runKey]time.Time
}

// NewPlain makes a sink that writes plain lines to w.
func NewPlain(w io.Writer, o Options) *Plain {
	return &Plain{w: w, o: o, p: paint{o.Color}, source: NewSource(o.Secrets), progress: map[runKey]time.Time{}}
}

// Record shows one record.
func (r *Plain) Record(rec event.Record) {
	switch e := rec.Event.(type) {
	case event.RunStarted:
		r.started(e)
	case event.PlayStarted:
		r.heading = ""
		fmt.Fprintf(r.w, "\n%s  (%s)\n", r.p.in(bold, "PLAY "+Clean(e.Play, false)), HowMany(len(e.Hosts), "host"))
	case event.BatchStarted:
		r.heading = ""
		if e.Batches > 1 {
			fmt.Fprintf(r.w, "\n%s  %s\n", r.p.in(bold, fmt.Sprintf("BATCH %d of %d", e.Batch, e.Batches)), Names(e.Hosts))
		}
	case event.TaskDone:
		r.done(e)
	case event.Noted:
		r.noted(rec.Time, e)
	case event.Included:
		fmt.Fprintf(r.w, "  included %s for %s\n", Clean(e.File, false), Names(e.Hosts))
	case event.GateWaiting, event.GateAnswered, event.GuardChecked, event.RunPaused, event.RunContinued:
		if lines := controlLines(r.p, r.o, e); len(lines) > 0 {
			r.heading = ""
			fmt.Fprintf(r.w, "\n%s\n", strings.Join(lines, "\n"))
		}
	case event.Lock:
		if line := lockLine(r.p, e, r.o.Verbosity); line != "" {
			fmt.Fprintf(r.w, "  %s\n", line)
		}
	case event.Problem:
		Diagnostic(r.w, e.Diagnostic, r.source, r.p.on)
	case event.RunDone:
		recap(r.w, r.p, e)
	}
}

func (r *Plain) started(e event.RunStarted) {
	fmt.Fprintf(r.w, "%s %s%s\n", r.p.in(bold, "RUN"), e.Playbook, r.p.mode(e))
}

// mode says in what way a run is another one than most.
func (p paint) mode(e event.RunStarted) string {
	mode := ""
	if e.RollsBack != "" {
		mode = p.in(blue, "  takes back run "+Clean(e.RollsBack, false))
	}
	if e.Check {
		mode += p.in(blue, "  check mode: nothing is changed")
	}
	return mode
}

// progressEvery is how often the progress of a task on a host is shown: logs are read afterwards.
const progressEvery = 15 * time.Second

// noted shows what a task says: notes where the run is verbose, progress always, but not each line of it.
func (r *Plain) noted(at time.Time, e event.Noted) {
	text := Clean(e.Text, false)
	switch {
	case e.Phase == "" && r.o.Verbosity == 0:
		return
	case e.Phase != "":
		key := runKey{e.Batch, e.Task, e.Host}
		if last, shown := r.progress[key]; shown && at.Sub(last) < progressEvery && r.o.Verbosity < 3 {
			return
		}
		r.progress[key] = at
		text += "  (" + millis(e.ElapsedMS)
		if e.ExpectsMS > 0 {
			text += " of about " + millis(e.ElapsedMS+e.ExpectsMS)
		}
		text += ")"
	}
	r.under(e.Play, e.Batch, e.Task, false)
	fmt.Fprintf(r.w, "  %s %s: %s\n", r.p.in(gray, "…"), e.Host, text)
}

// under writes the task's heading when the lines before stood under another.
func (r *Plain) under(play string, batch int, task string, handler bool) {
	heading := fmt.Sprintf("%s\x00%d\x00%s\x00%t", play, batch, task, handler)
	if r.heading == heading {
		return
	}
	r.heading, r.at = heading, diag.Position{}
	word := "TASK"
	if handler {
		word = "HANDLER"
	}
	fmt.Fprintf(r.w, "\n%s %s\n", r.p.in(bold, word), Clean(task, false))
}

func (r *Plain) done(e event.TaskDone) {
	delete(r.progress, runKey{e.Batch, e.Task, e.Host})
	if r.at != (diag.Position{}) && r.at != e.At {
		r.heading = ""
	}
	r.under(e.Play, e.Batch, e.Task, e.Handler)
	r.at = e.At
	for _, line := range taskLines(r.p, r.o, e) {
		fmt.Fprintln(r.w, line)
	}
	for _, line := range pointer(r.p, r.source, e, &r.pointed) {
		fmt.Fprintln(r.w, line)
	}
}

// pointer shows the place in the user's files that a failure is about, once where several hosts fail at it.
func pointer(p paint, source *Source, e event.TaskDone, last *diag.Position) []string {
	var lines []string
	point := func(at diag.Position) {
		if at.Line == 0 || at == *last {
			return
		}
		*last = at
		for _, line := range excerpt(p, red, at, source, nil) {
			lines = append(lines, "      "+line)
		}
	}
	point(e.Wrong)
	for _, item := range e.Items {
		point(item.Wrong)
	}
	return lines
}

// taskLines shows a task's end on a host; both renderers use it.
func taskLines(p paint, o Options, e event.TaskDone) []string {
	host := e.Host
	if e.DelegatedTo != "" {
		host += " → " + e.DelegatedTo
	}
	line := fmt.Sprintf("  %s  %s", p.status(e.Status, fmt.Sprintf("%-11s", e.Status)), host)
	if e.TookMS >= 1 {
		line += p.in(gray, "  "+millis(e.TookMS))
	}
	if e.Attempts > 1 {
		line += fmt.Sprintf("  after %d attempts", e.Attempts)
	}
	line += verdict(e.Ignored, e.Rescued)
	if msg := shownMessage(o, e.Status, e.Msg, e.Module == "debug"); msg != "" {
		line += "  " + msg
	}
	if reason := Reason(e.Why); reason != "" {
		line += "  " + reason
	}
	lines := append([]string{line}, itemLines(p, o, e.Items)...)
	if o.Verbosity > 2 && e.At.File != "" {
		lines = append(lines, "      at "+e.At.String())
	}
	if o.Verbosity > 0 && len(e.Result) > 0 && len(e.Items) == 0 {
		lines = append(lines, "      "+Clean(string(e.Result), false))
	}
	return append(lines, diffLines(p, o, e.Diff)...)
}

func itemLines(p paint, o Options, items []event.Item) []string {
	var lines []string
	for _, item := range items {
		quiet := item.Status == event.OK || item.Status == event.Skipped
		if quiet && o.Verbosity == 0 {
			continue
		}
		label := item.Label
		if label == "" {
			label = string(item.Item)
		}
		line := fmt.Sprintf("    %s  %s%s", p.status(item.Status, fmt.Sprintf("%-9s", item.Status)), Clean(label, false), verdict(item.Ignored, false))
		if msg := shownMessage(o, item.Status, item.Msg, false); msg != "" {
			line += "  " + msg
		}
		if reason := Reason(item.Why); reason != "" {
			line += "  " + reason
		}
		lines = append(lines, line)
		lines = append(lines, diffLines(p, o, item.Diff)...)
	}
	return lines
}

func verdict(ignored, rescued bool) string {
	switch {
	case ignored:
		return "  (ignored)"
	case rescued:
		return "  (rescued)"
	}
	return ""
}

// shownMessage is the message to show: whole where something went wrong or the task is there to show it, and
// else as far as it is short or asked for.
func shownMessage(o Options, s event.Status, msg string, whole bool) string {
	if msg == "" {
		return ""
	}
	bad := s == event.Failed || s == event.Unreachable || s == event.Unknown || whole
	if !bad && o.Verbosity == 0 && len(msg) > 300 {
		msg = msg[:300] + "…"
	}
	if bad && strings.Contains(strings.TrimSpace(msg), "\n") {
		return "\n      " + strings.ReplaceAll(Clean(strings.TrimSpace(msg), true), "\n", "\n      ")
	}
	return Clean(msg, false)
}

// Reason is the condition that decided, with the values that it read and where they come from. Events
// carry it for what failed, and for all that was decided when the run is verbose.
func Reason(w event.Why) string {
	if w.Reason == "" {
		return ""
	}
	text := Clean(w.Reason, false)
	values := make([]string, len(w.Values))
	for i, v := range w.Values {
		values[i] = v.Name + " is not defined"
		if v.Value != nil {
			values[i] = v.Name + " = " + string(v.Value)
			if v.From != "" {
				values[i] += ", " + v.From
			}
		}
		values[i] = Clean(values[i], false)
	}
	if len(values) > 0 {
		text += " (" + strings.Join(values, "; ") + ")"
	}
	return text
}

// HowMany is a number with its noun: 1 host, 2 hosts.
func HowMany(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Names lists hosts, shortened when there are many.
func Names(hosts []string) string {
	if len(hosts) > 8 {
		return fmt.Sprintf("%s … %s (%d hosts)", strings.Join(hosts[:4], " "), hosts[len(hosts)-1], len(hosts))
	}
	return strings.Join(hosts, " ")
}
