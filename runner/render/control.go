package render

import (
	"fmt"
	"strings"

	"github.com/pegbook/pegbook/runner/event"
)

// controlLines show how a run is steered: its gates, guards and pauses. Both renderers use it. What goes without
// saying has no lines.
func controlLines(p paint, o Options, e event.Event) []string {
	switch e := e.(type) {
	case event.GateWaiting:
		lines := []string{p.in(bold+";"+yellow, "GATE "+Clean(e.Task, false)) + "  " + Names(e.Hosts)}
		for line := range strings.SplitSeq(strings.TrimRight(e.Message, "\n"), "\n") {
			lines = append(lines, "  "+Clean(line, false))
		}
		lines = append(lines, "  next: "+Clean(e.Next, false))
		if e.Approve != "" {
			lines = append(lines, p.in(gray, "  to approve from another terminal: "+e.Approve))
		}
		return lines
	case event.GateAnswered:
		if !e.Approved {
			return []string{p.in(yellow, strings.TrimSuffix(fmt.Sprintf("  gate %s: not approved by %s", Clean(e.Task, false), Clean(e.By, false)), " by "))}
		}
		return []string{p.in(green, fmt.Sprintf("  gate %s: approved by %s", Clean(e.Task, false), Clean(e.By, false)))}
	case event.GuardChecked:
		return guardLines(p, o, e)
	case event.RunPaused:
		if e.By == "" {
			return nil // the last line of the run says it
		}
		return []string{p.in(yellow, fmt.Sprintf("PAUSED by %s: nothing is under way any more", Clean(e.By, false))), "  to go on: " + Clean(e.GoOn, false)}
	case event.RunContinued:
		return []string{p.in(green, fmt.Sprintf("CONTINUED by %s after %s", Clean(e.By, false), millis(e.PausedMS)))}
	}
	return nil
}

func guardLines(p paint, o Options, e event.GuardChecked) []string {
	if e.Outcome == event.Passed {
		if o.Verbosity == 0 {
			return nil
		}
		return []string{p.in(gray, fmt.Sprintf("  guard %s batch %d: passed (%s)  %s", e.When, e.Batch, HowMany(e.Checks, "look"), millis(e.TookMS)))}
	}
	color := red
	if e.Outcome == event.Inconclusive {
		color = yellow
	}
	lines := []string{p.in(color, fmt.Sprintf("GUARD %s %s batch %d", e.Outcome, e.When, e.Batch))}
	for _, f := range e.Findings {
		msg := strings.ReplaceAll(Clean(strings.TrimSpace(f.Msg), true), "\n", "\n      ")
		lines = append(lines, fmt.Sprintf("  %s  %s  %s  %s", p.in(color, fmt.Sprintf("%-12s", f.Outcome)), f.Host, Clean(f.Task, false), msg))
	}
	return lines
}
