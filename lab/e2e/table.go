package main

import (
	"fmt"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pegbook/pegbook/lab/stage"
	"github.com/pegbook/pegbook/lab/traffic"
)

// row is what became of a scenario.
type row struct {
	name, fault string
	code        int
	took        time.Duration
	// forecast is how long pegbook expected it to take; 0 where it was not asked.
	forecast time.Duration
	saw      traffic.Summary
	seen     stage.Seen
	// settings are those after the run, wanted those before it, after those when everything was mended.
	settings, wanted, after string
	says, lastWord          string
	spoke                   bool
	nodes                   []stage.Node
	wrong                   []string
}

const (
	// maxOwn is how long pegbook itself may take for a replica server, waiting aside.
	maxOwn = time.Second
	// maxAstray is how far the duration may be from the forecast, as a part of it.
	maxAstray = 0.3
)

// judge compares with what must become of it.
func (r *row) judge(sc scenario, gap time.Duration) {
	w := sc.want[0]
	for _, other := range sc.want {
		if other.code == r.code {
			w = other
		}
	}
	if r.code != w.code {
		r.mark("exit code %d instead of %d: %s", r.code, w.code, r.says)
	}
	r.judgeClients(w)
	r.judgeSettings()
	if r.seen.Least < w.least {
		r.mark("%d live copies of %s", r.seen.Least, r.seen.Which)
	}
	if r.seen.Gap > gap {
		r.mark("nobody counted copies for %s", r.seen.Gap)
	}
	if !r.spoke {
		r.mark("the run ended without a recap, or without a word: %s", r.says)
	}
	for _, text := range w.says {
		if !strings.Contains(r.says, text) {
			r.mark("nobody is told %q: %s", text, r.says)
		}
	}
	if own := r.own(); sc.name == "ha" && own >= maxOwn {
		r.mark("pegbook itself took %s for a replica server", own)
	}
	if sc.forecast && math.Abs(r.astray()) > maxAstray {
		r.mark("the forecast was %s, and it took %s", r.forecast, r.took)
	}
}

func (r *row) mark(format string, args ...any) {
	r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
}

func (r *row) judgeClients(w want) {
	if !w.failed && r.saw.Failures > 0 {
		r.mark("%d operations failed: %s", r.saw.Failures, r.saw)
	}
	if r.saw.LostWrites > 0 {
		r.mark("%d acknowledged writes were lost: %s", r.saw.LostWrites, r.saw)
	}
	if stall := time.Duration(r.saw.LongestStallMS * float64(time.Millisecond)); w.stall > 0 && stall >= w.stall {
		r.mark("an operation took %s", stall)
	}
}

func (r *row) judgeSettings() {
	if r.settings != r.wanted {
		r.mark("the settings were %q and are %q after it", r.wanted, r.settings)
	}
	if r.after != r.wanted {
		r.mark("the settings were %q and are %q when all is mended", r.wanted, r.after)
	}
}

// astray is how far the duration was from the forecast, as a part of it.
func (r *row) astray() float64 {
	if r.forecast <= 0 {
		return math.Inf(1)
	}
	return r.took.Seconds()/r.forecast.Seconds() - 1
}

// own is the most that pegbook itself took for a replica server.
func (r *row) own() time.Duration {
	var most time.Duration
	for _, n := range r.nodes {
		most = max(most, n.Own())
	}
	return most
}

// outcome is how the run ended in a word.
func (r *row) outcome() string {
	switch {
	case len(r.wrong) > 0:
		return "WRONG"
	case r.code == 0:
		return "finished"
	}
	return "stopped, said so"
}

// back says whether the settings were put back.
func (r *row) back() string {
	if r.settings == r.wanted {
		return "as before"
	}
	return r.settings
}

// line is a scenario as it ends.
func (r *row) line() string {
	text := fmt.Sprintf("%-20s %s", r.name, strings.Join(r.columns()[1:], " | "))
	if len(r.nodes) > 0 {
		text += "\n    pegbook's own time in each replica server's turn:"
		for _, n := range r.nodes {
			text += fmt.Sprintf(" %s %d of %d ms", n.Host, n.Own().Milliseconds(), n.Took.Milliseconds())
		}
	}
	if r.lastWord != "" {
		text += "\n    last words: " + r.lastWord
	}
	return text
}

// headings are those of columns.
func headings() []string {
	return []string{"fault", "outcome", "exit", "took", "operations", "failed", "lost writes", "longest stall", "least copies", "settings", "pegbook's own time a node", "forecast"}
}

// columns are the cells of the table.
func (r *row) columns() []string {
	forecast := "-"
	if r.forecast > 0 {
		forecast = fmt.Sprintf("%s (%+.0f %%)", r.forecast.Round(time.Second), 100*r.astray())
	}
	return []string{
		r.fault, r.outcome(), fmt.Sprint(r.code), r.took.Round(time.Second).String(), fmt.Sprint(r.saw.Operations), fmt.Sprint(r.saw.Failures),
		fmt.Sprint(r.saw.LostWrites), fmt.Sprintf("%.0f ms", r.saw.LongestStallMS), fmt.Sprint(r.seen.Least), r.back(), r.own().Round(time.Millisecond).String(), forecast,
	}
}

// table is all of them.
func table(rows []row) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(cells []string) { fmt.Fprintln(w, strings.Join(cells, "\t")) } //nolint:errcheck // into memory
	line(headings())
	for i := range rows {
		line(rows[i].columns())
	}
	_ = w.Flush() // into memory
	return b.String()
}
