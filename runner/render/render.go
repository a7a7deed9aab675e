// Package render turns a run's events into text for people: plain lines for a pipe, a live view for a
// terminal. Both are event sinks that own their writer; nothing else writes to it while they run.
package render

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/secret"
)

// Options say how a run is shown.
type Options struct {
	// Verbosity 1 (-v) shows results, 2 also what was skipped because of which expression, 3 positions.
	Verbosity int
	// Diff shows what changed in files (--diff).
	Diff bool
	// Color uses ANSI colours. Nothing is told by colour alone.
	Color bool
	// Secrets are masked in lines of the user's files; in events they have been already.
	Secrets *secret.Set
}

// paint is the colours in use; the zero value paints nothing.
type paint struct{ on bool }

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
	cyan   = "36"
	gray   = "90"
	bold   = "1"
)

func (p paint) in(code, text string) string {
	if !p.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p paint) status(s event.Status, text string) string {
	switch s {
	case event.OK:
		return p.in(green, text)
	case event.Changed:
		return p.in(yellow, text)
	case event.Skipped:
		return p.in(cyan, text)
	case event.Failed, event.Unreachable:
		return p.in(red, text)
	case event.Unknown:
		return p.in(blue, text)
	}
	return text
}

// Duration is a time span in the shortest form that still tells: 8ms, 1.2s, 3m05s, 2h04m.
func Duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

func millis(ms float64) string { return Duration(time.Duration(ms * float64(time.Millisecond))) }

// Clean makes text from a host safe to show: control characters, which could move the cursor or forge
// lines, become visible escapes. Tabs stay; newlines stay where multi-line text is shown.
func Clean(text string, multiline bool) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, isControl) {
		return text
	}
	var b strings.Builder
	for _, r := range text { // a byte that is no text comes as U+FFFD: a terminal may take it for a control character
		switch {
		case r == '\n' && multiline, r == '\t':
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(" ⏎ ")
		case isControl(r):
			b.WriteString(written(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isControl says whether a character acts on how text is shown: control characters, and those that have no shape of
// their own, such as what turns the direction of text and so makes a line read as another one.
func isControl(r rune) bool {
	return r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

// written is how a control character is shown.
func written(r rune) string {
	if r < 0x100 {
		return fmt.Sprintf("\\x%02x", r)
	}
	return fmt.Sprintf("\\u%04x", r)
}

// recap writes the closing table: one line a host, or, for many hosts, those that are not all well and a
// sum of the rest.
func recap(w io.Writer, p paint, done event.RunDone) {
	hosts := make([]string, 0, len(done.Recap))
	width := 0
	for host := range done.Recap {
		hosts = append(hosts, host)
		width = max(width, len(host))
	}
	slices.Sort(hosts)
	fmt.Fprintf(w, "\n%s\n", p.in(bold, "RECAP"))
	var quiet event.Counts
	folded := 0
	for _, host := range hosts {
		c := done.Recap[host]
		if len(hosts) > foldAbove && c.Failed == 0 && c.Unreachable == 0 && c.Unknown == 0 {
			folded++
			quiet.OK, quiet.Changed, quiet.Skipped = quiet.OK+c.OK, quiet.Changed+c.Changed, quiet.Skipped+c.Skipped
			quiet.Rescued, quiet.Ignored = quiet.Rescued+c.Rescued, quiet.Ignored+c.Ignored
			continue
		}
		fmt.Fprintf(w, "  %-*s  %s\n", width, host, counts(p, c))
	}
	if folded > 0 {
		fmt.Fprintf(w, "  %d hosts without failure, together: %s\n", folded, counts(p, quiet))
	}
	if done.Message != "" {
		fmt.Fprintf(w, "%s\n", Clean(done.Message, true))
	}
	fmt.Fprintf(w, "%s in %s\n", ended(p, done.ExitCode), millis(done.TookMS))
}

// foldAbove is how many hosts a recap lists one by one; people read no longer table.
const foldAbove = 40

func ended(p paint, code int) string {
	switch code {
	case 0:
		return p.in(green, "done")
	case 2:
		return p.in(red, "failed (exit 2: a host failed)")
	case 4:
		return p.in(red, "failed (exit 4: a host was unreachable)")
	case 5:
		return p.in(yellow, "paused (exit 5)")
	case 130:
		return p.in(yellow, "interrupted (exit 130)")
	}
	return p.in(red, fmt.Sprintf("ended with exit %d", code))
}

// Counts is a host's line of the recap, without its name.
func Counts(c event.Counts) string { return counts(paint{}, c) }

func counts(p paint, c event.Counts) string {
	var parts []string
	add := func(s event.Status, name string, n int, always bool) {
		text := fmt.Sprintf("%s=%d", name, n)
		switch {
		case n > 0:
			parts = append(parts, p.status(s, text))
		case always:
			parts = append(parts, text)
		}
	}
	add(event.OK, "ok", c.OK, true)
	add(event.Changed, "changed", c.Changed, true)
	add(event.Unreachable, "unreachable", c.Unreachable, true)
	add(event.Failed, "failed", c.Failed, true)
	add(event.Skipped, "skipped", c.Skipped, false)
	add(event.OK, "rescued", c.Rescued, false)
	add(event.Failed, "ignored", c.Ignored, false)
	add(event.Unknown, "unknown", c.Unknown, false)
	return strings.Join(parts, " ")
}
