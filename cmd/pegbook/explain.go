package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/render"
)

// explain prints what --explain asks for.
func (a *app) explain(plan *runner.Plan, o runOptions) error {
	x := plan.Explain(runner.Options{Check: o.check, Diff: o.diff, Forks: o.forks})
	if o.asJSON {
		return writeJSON(a.out, x)
	}
	for i, p := range x.Plays {
		(&explainer{w: a.out, play: p, limit: strings.Join(x.Limit, ",")}).print(i, x.Plays)
	}
	return nil
}

// explainer prints one play.
type explainer struct {
	w     io.Writer
	play  runner.PlayExplanation
	limit string
	// way is how the tasks above connect and become: only a change of it is worth a word.
	way string
}

// line writes a line. What it tells comes from files that others may have written.
func (e *explainer) line(depth int, format string, args ...any) {
	fmt.Fprintf(e.w, "%s%s\n", strings.Repeat("  ", depth), render.Clean(fmt.Sprintf(format, args...), false))
}

func (e *explainer) print(number int, all []runner.PlayExplanation) {
	p := e.play
	first := slices.IndexFunc(all, func(other runner.PlayExplanation) bool { return other.Playbook == p.Playbook })
	e.line(0, "%d. play %s  %s  (%s%s)", number+1, p.Play, where(p.At.File, p.At.Line), p.Strategy, startsAfter(first, number, p.After))
	e.hosts()
	if p.Guard != nil {
		e.line(1, "%s", guardText(*p.Guard))
		for _, r := range p.Guard.Rows {
			e.line(2, "- %s%s  %s", r.Name, inBrackets(r.Module, r.Name), where(r.At.File, r.At.Line))
		}
	}
	if p.Lock != "" {
		e.line(1, "lock: %s", p.Lock)
	}
	e.tasks(p.Tasks, 2)
	for _, h := range p.Handlers {
		by := "nothing notifies it"
		if len(h.By) > 0 {
			by = "runs where one of these changed something: " + strings.Join(h.By, ", ")
		}
		e.line(2, "handler %s%s: %s", h.Name, inBrackets(h.Module, h.Name), by)
	}
	e.left()
}

func (e *explainer) hosts() {
	p := e.play
	pattern := strings.Join(p.Pattern, ",")
	switch {
	case p.Undecided != "":
		e.line(1, "hosts: %s", p.Undecided)
	case len(p.Hosts) == 0:
		e.line(1, "hosts: none of the pattern %s", pattern)
	default:
		order := ""
		if p.Order != "" {
			order = ", order " + p.Order
		}
		e.line(1, "hosts: %s selects %s%s", pattern, render.Names(p.Hosts), order)
	}
	if len(p.Outside) > 0 {
		e.line(1, "left out by --limit %s: %s", e.limit, render.Names(p.Outside))
	}
	if len(p.Batches) < 2 {
		return
	}
	const shown = 6
	e.line(1, "batches: %d, one after the other", len(p.Batches))
	for i, batch := range p.Batches {
		if i == shown && len(p.Batches) > shown+1 {
			e.line(2, "… and %d more, the last one of %s", len(p.Batches)-shown, render.HowMany(len(p.Batches[len(p.Batches)-1]), "host"))
			return
		}
		e.line(2, "%d: %s", i+1, render.Names(batch))
	}
}

func (e *explainer) tasks(tasks []runner.TaskExplanation, depth int) {
	for _, t := range tasks {
		e.task(t, depth+t.Depth)
	}
}

func (e *explainer) task(t runner.TaskExplanation, depth int) {
	switch t.Kind {
	case "flush":
		if len(e.play.Handlers) > 0 {
			e.line(depth, "(handlers that were notified)")
		}
		return
	case "parallel":
		e.line(depth, "side by side:")
		for _, side := range t.Sides {
			e.tasks(side, depth+1)
		}
		return
	}
	section := ""
	if t.Section == "rescue" || t.Section == "always" {
		section = t.Section + ": "
	}
	what := t.Module
	if t.Kind != "task" {
		what = t.Kind
	}
	e.line(depth, "- %s%s%s  %s", section, t.Name, inBrackets(what, t.Name), where(t.At.File, t.At.Line))
	for _, v := range t.Verdicts {
		e.line(depth+2, "%s", e.verdict(v, len(t.Once) > 0))
	}
	if notes := e.notes(t); len(notes) > 0 {
		e.line(depth+2, "%s", strings.Join(notes, "; "))
	}
	for _, in := range t.Include {
		e.include(in, depth+2)
	}
}

func (e *explainer) include(in runner.InclusionExplanation, depth int) {
	what := in.Later
	if what == "" || in.File != "" {
		what = strings.TrimSuffix("brings in "+in.File+"; "+in.Later, "; ")
	}
	e.line(depth, "on %s %s", e.names(in.Hosts, false), what)
	e.tasks(in.Tasks, depth)
}

func (e *explainer) verdict(v runner.Verdict, once bool) string {
	text := map[runner.Runs]string{runner.RunsYes: "runs on ", runner.RunsNo: "skipped on ", runner.RunsLater: "decided in the run on "}[v.Runs] + e.names(v.Hosts, once)
	if reason := render.Reason(event.Why{Reason: v.Reason, Values: v.Values}); reason != "" {
		text += "  " + reason
	}
	return text
}

// names are hosts of the play: few by name, many by number.
func (e *explainer) names(hosts []string, once bool) string {
	switch {
	case once:
		return render.Names(hosts) + " for all of its batch"
	case len(hosts) == len(e.play.Hosts) && len(hosts) > 1:
		return fmt.Sprintf("all %d hosts", len(hosts))
	}
	return render.Names(hosts)
}

func (e *explainer) notes(t runner.TaskExplanation) []string {
	var notes []string
	add := func(what, value string) {
		if value != "" {
			notes = append(notes, strings.TrimSpace(what+" "+value))
		}
	}
	add("loop:", t.Loop)
	add("delegated to", t.Delegated)
	add("at a time:", t.Throttle)
	add("check_mode:", t.CheckMode)
	if way := way(t); way != "" && way != e.way {
		e.way = way
		notes = append(notes, way)
	}
	add("registers", t.Register)
	add("notifies", strings.Join(t.Notifies, ", "))
	add("tags:", strings.Join(t.Tags, ", "))
	return notes
}

// way is how hosts are reached for a task; "" where it does not run.
func way(t runner.TaskExplanation) string {
	connect, become := t.Connect, ""
	if connect == runner.DependsOnHost {
		connect = "connection and user depend on the host"
	}
	if t.Become != "" {
		become = ", becomes " + t.Become
	}
	if t.Become == runner.DependsOnHost {
		become = ", whom it becomes depends on the host"
	}
	return connect + become
}

func (e *explainer) left() {
	const shown = 20
	for i, l := range e.play.Left {
		if i == shown {
			e.line(2, "… and %d more tasks are left out", len(e.play.Left)-shown)
			return
		}
		tags := ""
		if len(l.Tags) > 0 {
			tags = " (tags: " + strings.Join(l.Tags, ", ") + ")"
		}
		e.line(2, "left out: %s  %s  it %s%s", l.Name, where(l.At.File, l.At.Line), l.Reason, tags)
	}
}

func inBrackets(what, name string) string {
	if what == "" || what == name {
		return ""
	}
	return "  [" + what + "]"
}

func where(file string, line int) string { return fmt.Sprintf("%s:%d", file, line) }
