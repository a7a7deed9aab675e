package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pegbook/pegbook/lab/traffic"
)

// row is what became of a scenario.
type row struct {
	name, fault string
	code        int
	took        time.Duration
	saw         traffic.Summary
	least       int
	which       string // which partition had so few, and when
	// settings are those after the run, wanted those before it, after those when everything was mended.
	settings, wanted, after string
	says, lastWord          string
	spoke                   bool
	nodes                   []node
	wrong                   []string
}

// maxOwn is how long pegbook itself may take for a replica server, waiting aside.
const maxOwn = time.Second

// judge compares with what must become of it.
func (r *row) judge(sc scenario, o options) {
	wrong := func(format string, args ...any) { r.wrong = append(r.wrong, fmt.Sprintf(format, args...)) }
	w := sc.want
	if !slices.Contains(w.codes, r.code) {
		wrong("exit code %d instead of %v: %s", r.code, w.codes, r.says)
	}
	if !w.failed && r.saw.Failures > 0 {
		wrong("%d operations failed: %s", r.saw.Failures, r.saw)
	}
	if r.saw.LostWrites > 0 {
		wrong("%d acknowledged writes were lost: %s", r.saw.LostWrites, r.saw)
	}
	if stall := time.Duration(r.saw.LongestStallMS * float64(time.Millisecond)); w.stall > 0 && stall >= w.stall {
		wrong("an operation took %s", stall)
	}
	if r.least < w.least {
		wrong("%d live copies of %s", r.least, r.which)
	}
	if r.settings != r.wanted {
		wrong("the settings were %q and are %q after it", r.wanted, r.settings)
	}
	if r.after != r.wanted {
		wrong("the settings were %q and are %q when all is mended", r.wanted, r.after)
	}
	if !r.spoke {
		wrong("the run ended without a recap, or without a word: %s", r.says)
	}
	for _, text := range w.says {
		if !strings.Contains(r.says, text) {
			wrong("nobody is told %q: %s", text, r.says)
		}
	}
	if own := r.own(); sc.name == "ha" && own >= maxOwn {
		wrong("pegbook itself took %s for a replica server", own)
	}
}

// own is the most that pegbook itself took for a replica server.
func (r *row) own() time.Duration {
	var most time.Duration
	for _, n := range r.nodes {
		most = max(most, n.own())
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

// columns are the cells of the table.
func (r *row) columns() []string {
	return []string{
		r.fault, r.outcome(), fmt.Sprint(r.code), r.took.Round(time.Second).String(), fmt.Sprint(r.saw.Operations), fmt.Sprint(r.saw.Failures),
		fmt.Sprint(r.saw.LostWrites), fmt.Sprintf("%.0f ms", r.saw.LongestStallMS), fmt.Sprint(r.least), r.back(), r.own().Round(time.Millisecond).String(),
	}
}

// line is a scenario as it ends.
func (r *row) line() string {
	text := fmt.Sprintf("%-20s %s", r.name, strings.Join(r.columns()[1:], " | "))
	if r.lastWord != "" {
		text += "\n    last words: " + r.lastWord
	}
	return text
}

// table is all of them.
func table(rows []row) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(cells []string) { fmt.Fprintln(w, strings.Join(cells, "\t")) } //nolint:errcheck // into memory
	line([]string{"fault", "outcome", "exit", "took", "operations", "failed", "lost writes", "longest stall", "least copies", "settings", "pegbook's own time a node"})
	for i := range rows {
		line(rows[i].columns())
	}
	_ = w.Flush() // into memory
	return b.String()
}
