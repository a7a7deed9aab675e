package main

import (
	"errors"
	"fmt"
	"slices"
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

// runToTakeBack opens the run that is to be taken back. The last one is the last that has changed something: a dry run
// is nothing to take back, and one that took another back hardly what is meant.
func (a *app) runToTakeBack(name string) (*journal.Home, *journal.Run, error) {
	if name != "last" {
		return openRun(name)
	}
	home, err := openHome()
	if err != nil {
		return nil, nil, err
	}
	names, err := home.Names()
	if err != nil {
		return nil, nil, err
	}
	for _, name := range slices.Backward(names) {
		run, err := home.Open(name)
		if err != nil {
			return nil, nil, fmt.Errorf("run %s: %w; name the run that is to be taken back", name, err)
		}
		acted, err := run.Acted()
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("run %s: %w; name the run that is to be taken back", name, err)
		case !acted || run.RollsBack != "":
			continue
		}
		if by, err := run.TakenBackBy(); by != "" || err != nil {
			return nil, nil, errors.Join(err, fmt.Errorf("the last run that has changed something is %s, which %s has taken back; name the run that is to be taken back", name, by))
		}
		fmt.Fprintf(cleaned{a.err}, "The last run that has changed something: %s\n", a.calls(run))
		return home, run, nil
	}
	return nil, nil, errors.New("no run that is kept has changed something; pegbook runs list shows those there are")
}

// calls is a run as it is told which one is meant.
func (a *app) calls(r *journal.Run) string {
	return fmt.Sprintf("%s: %s, begun %s, %s", r.Run, whatRuns(r), r.Started().Local().Format("2006-01-02 15:04"), r.State)
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
	State journal.State `json:"state"`
	// Live says that a process carries it on; Resumable that it can be gone on with.
	Live      bool           `json:"live"`
	Resumable bool           `json:"resumable"`
	Waits     []journal.Wait `json:"waits,omitempty"`
	Bytes     int64          `json:"bytes"`
	Folder    string         `json:"folder"`
}

func asJSON(r *journal.Run) runJSON {
	m := r.Meta
	m.Sealed = nil
	return runJSON{Meta: m, State: r.State, Live: r.Live, Resumable: r.Resumable(), Waits: r.Waits, Bytes: r.Bytes, Folder: r.Dir()}
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
			return errors.Join(a.listRuns(runs), a.tellOld(runs), err)
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

// oldAge is how long ago a run was carried on that hardly anybody will go on with any more.
const oldAge = 30 * 24 * time.Hour

// tellOld tells how many runs are old that could be gone on with, which none is removed of by itself.
func (a *app) tellOld(runs []*journal.Run) error {
	var n int
	var bytes int64
	for _, r := range runs {
		if r.Resumable() && time.Since(r.Active()) > oldAge {
			n, bytes = n+1, bytes+r.Bytes
		}
	}
	if n == 0 {
		return nil
	}
	_, err := fmt.Fprintf(a.err, "%s that could be gone on with (%d KiB): the last was more than 30 days ago. pegbook runs rm --failed --older 30d removes them; %s=90d, say, does so by itself\n",
		render.HowMany(n, "run"), bytes>>10, keepFailed)
	return err
}

// took is how long a run has gone on.
func took(r *journal.Run) string {
	switch d := r.Took(); {
	case r.Live:
		return render.Duration(time.Since(r.Started()))
	case d > 0:
		return render.Duration(d)
	}
	return "-"
}

// whatRuns is a run's playbooks, and the hosts that it is limited to.
func whatRuns(r *journal.Run) string {
	words := render.Clean(strings.Join(r.Playbooks, " "), false)
	if len(r.Limit) > 0 {
		words += " -l " + render.Clean(strings.Join(r.Limit, ","), false)
	}
	return words
}

// what is what a run did, in a few words.
func what(r *journal.Run) string {
	words := whatRuns(r)
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
	for _, w := range r.Waits {
		words += "  " + waitWords(w)
	}
	return words
}

// waitWords says what a run waits for.
func waitWords(w journal.Wait) string {
	switch w.For {
	case journal.WaitGate:
		return fmt.Sprintf("waits at gate %q", render.Clean(w.Task, false))
	case journal.WaitLock:
		words := "waits for lock " + render.Clean(w.Lock, false)
		if w.By != "" {
			words += ", which " + render.Clean(w.By, false) + " has"
		}
		return words
	}
	if w.By == "" {
		return "paused: " + render.Clean(w.Message, false)
	}
	return "paused by " + render.Clean(w.By, false)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
