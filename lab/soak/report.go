package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
)

// report is the table for programs.
type report struct {
	Seed  uint64  `json:"seed"`
	Scale float64 `json:"scale"`
	Lanes int     `json:"lanes"`
	Date  string  `json:"date"`
	Took  string  `json:"took"`
	// Pegbook is the version of the program that did the updates.
	Pegbook string `json:"pegbook"`
	// Load is the machine's load average as the report was written.
	Load      string     `json:"load"`
	Runs      []*row     `json:"runs"`
	Long      []*series  `json:"long_living"`
	InProcess *inProcess `json:"in_process,omitempty"`

	rows []*row
}

// sum is what became of all runs with a fault.
type sum struct {
	what                                  string
	runs, again, violations, failed, lost int
	operations                            int
	outcomes                              map[string]int
	stall                                 float64
	least                                 int
}

// sums adds the rows up by their faults, in the order of the faults.
func (r *report) sums() []*sum {
	by, names := map[string]*sum{}, []string{}
	for _, row := range r.rows {
		s := by[row.Fault]
		if s == nil {
			s = &sum{what: row.What, outcomes: map[string]int{}, least: 99}
			by[row.Fault] = s
			names = append(names, row.Fault)
		}
		s.runs++
		s.again += row.Disturbed
		s.violations += len(row.wrong)
		s.failed += row.saw.Failures
		s.lost += row.saw.LostWrites
		s.operations += row.saw.Operations
		s.outcomes[row.outcome()]++
		s.stall = max(s.stall, row.saw.LongestStallMS)
		if row.seen.Looks > 0 {
			s.least = min(s.least, row.seen.Least)
		}
	}
	order := map[string]int{}
	for i, f := range faults() {
		order[f.name] = i
	}
	slices.SortFunc(names, func(a, b string) int { return order[a] - order[b] })
	list := make([]*sum, 0, len(names))
	for _, name := range names {
		list = append(list, by[name])
	}
	return list
}

func headings() []string {
	return []string{"fault", "runs", "exit codes", "played again", "violations", "operations", "failed", "lost writes", "longest stall", "least copies"}
}

func (s *sum) columns() []string {
	var outcomes []string
	for what, n := range s.outcomes {
		outcomes = append(outcomes, fmt.Sprintf("%d × %s", n, what))
	}
	slices.Sort(outcomes)
	return []string{s.what, fmt.Sprint(s.runs), strings.Join(outcomes, "; "), fmt.Sprint(s.again), fmt.Sprint(s.violations), fmt.Sprint(s.operations), fmt.Sprint(s.failed), fmt.Sprint(s.lost),
		fmt.Sprintf("%.0f ms", s.stall), fmt.Sprint(s.least)}
}

// all is every fault together.
func (r *report) all() *sum {
	all := &sum{what: "all", outcomes: map[string]int{}, least: 99}
	for _, s := range r.sums() {
		all.runs += s.runs
		all.again += s.again
		all.violations += s.violations
		all.operations += s.operations
		all.failed += s.failed
		all.lost += s.lost
		all.stall, all.least = max(all.stall, s.stall), min(all.least, s.least)
	}
	return all
}

// table is the report for people.
func (r *report) table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(cells []string) { fmt.Fprintln(w, strings.Join(cells, "\t")) } //nolint:errcheck // into memory
	line(headings())
	for _, s := range append(r.sums(), r.all()) {
		line(s.columns())
	}
	_ = w.Flush() // into memory
	b.WriteString("\n")
	w = tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line(leakHeadings())
	for _, l := range r.leaks() {
		line(l.columns())
	}
	_ = w.Flush() // into memory
	return b.String()
}

// circumstances are what one must know to read the tables.
func (r *report) circumstances() string {
	return fmt.Sprintf("seed %d, %d runs, %d clusters side by side, in %s; load average in the end %s; %s", r.Seed, len(r.rows), r.Lanes, r.Took, r.Load, r.Pegbook)
}

// markdown is the report for documents.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", r.circumstances())
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	rule := func(n int) { line(strings.Split(strings.Repeat("---,", n-1)+"---", ",")) }
	line(headings())
	rule(len(headings()))
	for _, s := range append(r.sums(), r.all()) {
		line(s.columns())
	}
	b.WriteString("\n")
	line(leakHeadings())
	rule(len(leakHeadings()))
	for _, l := range r.leaks() {
		line(l.columns())
	}
	var odd []string
	for _, row := range r.rows {
		for _, wrong := range row.wrong {
			odd = append(odd, fmt.Sprintf("| %d | %s | %s |", row.Number, row.Fault, strings.ReplaceAll(firstLine(wrong), "|", "\\|")))
		}
	}
	if len(odd) > 0 {
		fmt.Fprintf(&b, "\n| run | fault | not as it must be |\n| --- | --- | --- |\n%s\n", strings.Join(odd, "\n"))
	}
	return b.String()
}

// leaks are all that was measured, run after run.
func (r *report) leaks() []leak {
	var all []leak
	for _, s := range r.Long {
		all = append(all, s.leaks()...)
	}
	if r.InProcess != nil {
		all = append(all, r.InProcess.leaks()...)
	}
	return all
}

// finish prints the report and writes its files. It is an error when anything was wrong.
func (r *report) finish(o options) error {
	slices.SortFunc(r.rows, func(a, b *row) int { return a.Number - b.Number })
	r.Runs = r.rows
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		r.Load = strings.TrimSpace(string(load))
	}
	if says, err := exec.Command(o.Pegbook, "--version").Output(); err == nil {
		r.Pegbook = strings.TrimSpace(string(says))
	}
	fmt.Printf("\n%s\n%s\n", r.table(), r.circumstances())
	if o.markdown != "" {
		if err := os.WriteFile(o.markdown, []byte(r.markdown()), 0o600); err != nil {
			return err
		}
	}
	if o.json != "" {
		raw, err := json.MarshalIndent(r, "", "  ")
		if err == nil {
			err = os.WriteFile(o.json, append(raw, '\n'), 0o600)
		}
		if err != nil {
			return err
		}
	}
	return r.verdict(o)
}

// verdict is what was wrong, with the command that plays it again.
func (r *report) verdict(o options) error {
	var wrong []string
	for _, row := range r.rows {
		if len(row.wrong) > 0 {
			wrong = append(wrong, fmt.Sprintf("run %d (%s): %s\n  again: %s", row.Number, row.Fault, row.wrong[0], o.again(row.Number)))
		}
	}
	for _, l := range r.leaks() {
		if l.leaks() {
			wrong = append(wrong, fmt.Sprintf("%s: %s grow by %s a run", l.Of, l.What, l.unit(l.Slope)))
		}
	}
	if r.InProcess != nil {
		wrong = append(wrong, r.InProcess.Wrong...)
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%d violations\n%s", len(wrong), strings.Join(wrong, "\n"))
}
