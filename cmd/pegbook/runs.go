package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner/journal"
	"github.com/pegbook/pegbook/runner/render"
)

func newRunsCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "What was run and what is running: list, show, compare, remove, resume, take back and steer runs",
		Long: `What was run. Every run keeps a journal in a folder of its own below $PEGBOOK_HOME/runs (default ~/.pegbook/runs):
what it was started with, what happened, and where each host stands. It can be read while the run goes on.

A run is named by its id, by a beginning of it that no other run has, or by the word last.`,
	}
	cmd.AddCommand(
		newRunsListCmd(a),
		newRunsShowCmd(a),
		newRunsLogCmd(a),
		newRunsDiffCmd(a),
		newRunsRmCmd(a),
		newRunsResumeCmd(a),
		newRunsRollbackCmd(a),
	)
	cmd.AddCommand(newRunsControlCmds(a)...)
	return cmd
}

// openRun opens a run that a person has named; "" is the last one.
func openRun(name string) (*journal.Home, *journal.Run, error) {
	home, err := openHome()
	if err != nil {
		return nil, nil, err
	}
	if name == "" {
		name = "last"
	}
	id, err := home.Find(name)
	if err != nil {
		return nil, nil, err
	}
	run, err := home.Open(id)
	return home, run, err
}

// oneRun is the optional RUN of a verb.
func oneRun(args []string) string { return strings.Join(args, "") }

// completeRuns offers the runs that there are, newest first.
func completeRuns(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	home, err := openHome()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	runs, _ := home.List() //nolint:errcheck // what cannot be read is not offered
	var names []string
	for i := len(runs) - 1; i >= 0; i-- {
		r := runs[i]
		names = append(names, fmt.Sprintf("%s\t%s, %s", r.Run, r.State, strings.Join(r.Playbooks, " ")))
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// runJSON is a run as --json shows it.
type runJSON struct {
	journal.Meta
	State  journal.State `json:"state"`
	Bytes  int64         `json:"bytes"`
	Folder string        `json:"folder"`
}

func asJSON(r *journal.Run) runJSON {
	m := r.Meta
	m.Sealed = nil
	return runJSON{Meta: m, State: r.State, Bytes: r.Bytes, Folder: r.Dir()}
}

func newRunsListCmd(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the runs that are kept, the newest last",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			home, err := openHome()
			if err != nil {
				return err
			}
			runs, err := home.List()
			if asJSON {
				return errors.Join(a.listRunsJSON(runs), err)
			}
			return errors.Join(a.listRuns(runs), err)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func (a *app) listRunsJSON(runs []*journal.Run) error {
	out := make([]runJSON, len(runs))
	for i, r := range runs {
		out[i] = asJSON(r)
	}
	return writeJSON(a.out, out)
}

func (a *app) listRuns(runs []*journal.Run) error {
	if len(runs) == 0 {
		fmt.Fprintln(a.err, "no run is kept yet")
		return nil
	}
	width := len("RUN")
	for _, r := range runs {
		width = max(width, len(r.Run))
	}
	fmt.Fprintf(cleaned{a.out}, "%-*s  %-11s  %-16s  %7s  %s\n", width, "RUN", "STATE", "STARTED", "TOOK", "WHAT")
	for _, r := range runs {
		fmt.Fprintf(cleaned{a.out}, "%-*s  %-11s  %-16s  %7s  %s\n", width, r.Run, r.State, r.Started().Local().Format("2006-01-02 15:04"), took(r), what(r))
	}
	return nil
}

// took is how long a run has gone on.
func took(r *journal.Run) string {
	switch d := r.Took(); {
	case r.State == journal.Running:
		return render.Duration(time.Since(r.Started()))
	case d > 0:
		return render.Duration(d)
	}
	return "-"
}

// what is what a run did, in a few words.
func what(r *journal.Run) string {
	words := render.Clean(strings.Join(r.Playbooks, " "), false)
	if len(r.Limit) > 0 {
		words += " -l " + render.Clean(strings.Join(r.Limit, ","), false)
	}
	if r.Check {
		words += " (check)"
	}
	if r.RollsBack != "" {
		words += " (takes back " + r.RollsBack + ")"
	}
	if n := len(r.Sessions); n > 1 {
		words += fmt.Sprintf(" (resumed %s)", times(n-1))
	}
	if end := r.Last().End; end != nil && end.Hosts > 0 {
		words += fmt.Sprintf("  %s, %d changed", render.HowMany(end.Hosts, "host"), end.Changed)
		if end.Lost > 0 {
			words += fmt.Sprintf(", %d lost", end.Lost)
		}
	}
	return words
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
