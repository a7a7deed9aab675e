package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/connect"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/journal"
	"github.com/pegbook/pegbook/runner/render"
)

// rollbackOptions are how to take a run back.
type rollbackOptions struct {
	check, diff bool
	yes, force  bool
	forks       int
	verbosity   int
	asJSON      bool
	lockWait    time.Duration
}

func newRunsRollbackCmd(a *app) *cobra.Command {
	var o rollbackOptions
	cmd := &cobra.Command{
		Use:   "rollback RUN",
		Short: "Take a run back: put back what was there before it",
		Long: `Take a run back: put back what was there before it. It is a run of its own, of the same command: the same playbook is
carried out, the batches of each play in reverse order, and tasks that keep what was there before (install_pkg,
render_config, template, copy, file, systemd and others) put it back where that run changed something, and do nothing
where it did not. All other tasks do what the playbook says: they check, drain, restart and wait. Batches in which that
run changed nothing are left out, and so are plays that it had not come to, but for those with the tag rollback.

What can be put back, what stays and what cannot be put back is listed first, and it is asked whether to go on.`,
		Example: `  pegbook runs rollback last --check
  pegbook runs rollback 20260301-101500-4711 --yes`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.rollback(cmd, o, args[0])
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.check, "check", "C", false, "change nothing; say what would change")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask whether to take it back; gates are answered as that run was started")
	f.BoolVar(&o.force, "force", false, "put back also what somebody else has changed since, and pass over what cannot be put back")
	f.IntVarP(&o.forks, "forks", "f", 0, "how many hosts are worked on at a time (default: as that run was started)")
	f.BoolVarP(&o.diff, "diff", "D", false, "show what changes in files")
	f.BoolVar(&o.asJSON, "json", false, "one JSON object a line on stdout instead of text")
	f.CountVarP(&o.verbosity, "verbose", "v", "show more; may be repeated")
	f.DurationVar(&o.lockWait, "lock-wait", 0, "wait so long for a lock that another run has")
	return cmd
}

// rollback takes a run back.
func (a *app) rollback(cmd *cobra.Command, o rollbackOptions, name string) error {
	switch {
	case o.forks < 0:
		return errors.New("--forks counts from 1")
	case name == "":
		return errors.New("which run? pegbook runs list shows them")
	}
	home, run, err := a.runToTakeBack(name)
	if err != nil {
		return err
	}
	if err := irreversible(run); err != nil {
		return err
	}
	past, _, err := pastOf(run)
	if err != nil {
		return err
	}
	undo, err := undoOf(home, run.Run, o.force)
	if err != nil {
		return err
	}
	started, paths, err := a.startedWith(run)
	if err != nil {
		return err
	}
	o.over(started)
	plan, err := a.planAgain(cmd.Context(), started, paths, past)
	if err != nil {
		return err
	}
	if err := a.mayTakeBack(cmd.Context(), o, run, plan, undo, started); err != nil {
		return err
	}
	private, err := run.Private()
	if err != nil {
		return err
	}
	if err := a.hearFirst(cmd.Context()); err != nil {
		return err
	}
	started.undo = undo
	kept, err := a.keep(cmd, home, *started, plan, beginning{paths: paths, private: private, rollsBack: run.Run, forced: o.force})
	if err != nil {
		return err
	}
	defer a.prune(home)
	return a.carryOut(cmd.Context(), *started, plan, kept)
}

// irreversible says why a run cannot be taken back.
func irreversible(r *journal.Run) error {
	switch {
	case r.Check:
		return fmt.Errorf("run %s was a dry run and has changed nothing", r.Run)
	case r.Live:
		return fmt.Errorf("run %s is still %s; end it with pegbook runs abort %s first", r.Run, r.State, r.Run)
	}
	return nil
}

// undoOf reads what a run has done, to take it back.
func undoOf(home *journal.Home, id string, force bool) (*runner.Undo, error) {
	run, err := home.Open(id)
	if err != nil {
		return nil, fmt.Errorf("the run that is taken back: %w", err)
	}
	var entries []runner.Entry
	reading, err := run.Entries(func(e runner.Entry) error {
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(reading.Damage) > 0 {
		return nil, reading.Damage[0]
	}
	undo, err := runner.NewUndo(id, entries)
	if err != nil {
		return nil, err
	}
	undo.Force = force
	return undo, nil
}

// over lays how to take a run back over how it was started.
func (o *rollbackOptions) over(started *runOptions) {
	started.lockWait = max(started.lockWait, o.lockWait)
	if o.forks > 0 {
		started.forks = o.forks
	}
	started.check = o.check
	started.verbosity = max(started.verbosity, o.verbosity)
	started.diff = started.diff || o.diff
	started.asJSON = started.asJSON || o.asJSON
}

// mayTakeBack lists what becomes of what the run has changed, and asks whether to go on.
func (a *app) mayTakeBack(ctx context.Context, o rollbackOptions, run *journal.Run, plan *runner.Plan, undo *runner.Undo, started *runOptions) error {
	pool := connect.NewPool(connect.Options{Ask: a.ask(func(f func()) { f() })})
	back, err := plan.Back(ctx, runner.Options{Connect: pool, Undo: undo, Forks: started.forks, Now: time.Now})
	if err = errors.Join(err, pool.Close()); err != nil {
		return err
	}
	if started.asJSON {
		a.listBackJSON(run, back)
	} else {
		a.listBack(run, back)
	}
	refused := 0
	for _, b := range back {
		if b.Refused {
			refused++
		}
	}
	switch {
	case len(back) == 0:
		return fmt.Errorf("run %s has changed nothing that there would be to take back", run.Run)
	case o.check || o.yes:
		return nil
	}
	file, ok := terminal(a.in)
	if !ok {
		return errors.New("there is no terminal to ask whether to take it back; look at the list above, then add --yes (or --check for a dry run)")
	}
	if refused > 0 {
		fmt.Fprintln(a.err, "Tasks that cannot put back what they should will fail; --force passes over them.")
	}
	fmt.Fprintf(a.err, "Take run %s back? [y/N] ", run.Run)
	line, err := typed(ctx, file, func() (string, error) { return bufio.NewReader(file).ReadString('\n') })
	if answer := strings.ToLower(strings.TrimSpace(line)); err != nil || answer != "y" && answer != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}

func (a *app) listBackJSON(run *journal.Run, back []runner.Back) {
	e := event.Rollback{Of: run.Run, Back: []event.Back{}}
	for _, b := range back {
		e.Back = append(e.Back, event.Back{Host: b.Host, Task: b.Task, Module: b.Module, Way: string(b.Way), What: b.What, Refused: b.Refused})
	}
	event.NewStream(event.NewLines(a.out), time.Now, a.secrets).Emit(e)
}

// listBack lists what becomes of what a run has changed, hosts of which the same is true together.
func (a *app) listBack(run *journal.Run, back []runner.Back) {
	fmt.Fprintf(a.out, "run %s (%s, %s) is to be taken back\n", run.Run, render.Clean(strings.Join(run.Playbooks, " "), false), run.State)
	var hosts []string
	of := map[string][]string{}
	for _, b := range back {
		if !slices.Contains(hosts, b.Host) {
			hosts = append(hosts, b.Host)
		}
	}
	var order []string
	for _, host := range hosts {
		text := backText(host, back)
		if of[text] == nil {
			order = append(order, text)
		}
		of[text] = append(of[text], host)
	}
	for _, text := range order {
		fmt.Fprintf(a.out, "\n%s:\n%s", strings.Join(of[text], ", "), a.secrets.Text(text))
	}
	fmt.Fprintln(a.out)
}

// backText is what becomes of what was changed on a host.
func backText(host string, back []runner.Back) string {
	var b strings.Builder
	var done []string
	for _, x := range back {
		switch {
		case x.Host != host:
		case x.Again():
			if task := render.Clean(x.Task, false); !slices.Contains(done, task) {
				done = append(done, task)
			}
		default:
			words := map[runner.WayBack]string{runner.BackPut: "put back", runner.BackStays: "stays", runner.BackNot: "CANNOT"}[x.Way]
			fmt.Fprintf(&b, "  %-8s  %s  (%s)\n", words, render.Clean(x.What, false), render.Clean(x.Task, false))
		}
	}
	if len(done) > 0 {
		fmt.Fprintf(&b, "  %-8s  %s\n", "again", "cannot be put back, and done as the playbook says: "+strings.Join(done, "; "))
	}
	return b.String()
}
