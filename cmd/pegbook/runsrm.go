package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner/journal"
)

// rmOptions say which runs are removed that nobody has named.
type rmOptions struct {
	failed bool
	older  string
}

func newRunsRmCmd(a *app) *cobra.Command {
	var o rmOptions
	cmd := &cobra.Command{
		Use:   "rm RUN... | --failed | --older AGE",
		Short: "Remove runs; one that goes on is refused",
		Long: `Remove runs with all that is kept of them. A run that goes on is refused.

Runs that came to their end, and dry runs, are also removed by themselves, oldest first, when a run ends and there are
more than $PEGBOOK_KEEP_RUNS says: a number of runs, an age in days, a size, or several of these with spaces between
(default "500 90d 2GiB"; all keeps everything). Runs that could be gone on with do not count there and stay, unless
$PEGBOOK_KEEP_FAILED, which is written like it, says how many of them are kept. A run that goes on is never removed.`,
		Example: `  pegbook runs rm 20260301-101500-4711
  pegbook runs rm --failed --older 30d`,
		ValidArgsFunction: completeRuns,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := o.validate(args); err != nil {
				return err
			}
			home, err := openHome()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return a.removeSome(home, o)
			}
			return a.removeNamed(home, args)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.failed, "failed", false, "all that could be gone on with: they failed, were interrupted or killed, or are paused")
	f.StringVar(&o.older, "older", "", "only those that nobody has carried on for this long (30d, 12h)")
	return cmd
}

func (o *rmOptions) validate(args []string) error {
	switch some := o.failed || o.older != ""; {
	case some && len(args) > 0:
		return errors.New("name runs, or say which with --failed and --older, not both")
	case !some && len(args) == 0:
		return errors.New("which runs? Name them, or write --failed or --older 30d; pegbook runs list shows them")
	}
	return nil
}

func (a *app) removeNamed(home *journal.Home, names []string) error {
	var errs []error
	for _, name := range names {
		id, err := home.Find(name)
		if err == nil {
			err = home.Remove(id)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(a.out, "removed %s\n", id)
	}
	return errors.Join(errs...)
}

// removeSome removes all runs that the options select, but for those that go on.
func (a *app) removeSome(home *journal.Home, o rmOptions) error {
	var age time.Duration
	if o.older != "" {
		var err error
		if age, err = journal.ParseAge(o.older); err != nil {
			return fmt.Errorf("--older: %w", err)
		}
	}
	runs, err := home.List()
	var names []string
	for _, r := range slices.DeleteFunc(runs, func(r *journal.Run) bool { return r.Live || o.failed && !r.Resumable() || time.Since(r.Active()) < age }) {
		names = append(names, r.Run)
	}
	if len(names) == 0 {
		fmt.Fprintln(a.err, "no run is like that; nothing was removed")
	}
	return errors.Join(a.removeNamed(home, names), err)
}
