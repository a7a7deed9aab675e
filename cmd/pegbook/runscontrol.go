package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner/journal"
)

// newRunsControlCmds are the verbs that steer a running run from another terminal.
func newRunsControlCmds(a *app) []*cobra.Command {
	steer := func(use, short, long string) (*cobra.Command, *controlRequest) {
		request := &controlRequest{Do: strings.Fields(use)[0]}
		cmd := &cobra.Command{
			Use: use, Short: short, Long: long, Args: cobra.MaximumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.askRunning(cmd.Context(), strings.Join(args[:min(1, len(args))], ""), *request)
			},
		}
		return cmd, request
	}
	pause, _ := steer("pause [RUN]", "Let a running run start nothing more until it is told to continue",
		"Let a running run start nothing more. What is under way goes on to its end; then the run waits, with its process, for pegbook runs continue.")
	proceed, _ := steer("continue [RUN]", "Let a paused run go on", "Let a run go on that pegbook runs pause has paused.")
	approve, gate := steer("approve [RUN [GATE]]", "Open the gate at which a running run waits",
		"Open the gate at which a running run waits. Where several wait, name one by its task.")
	approve.Args = cobra.MaximumNArgs(2)
	approve.PreRun = func(_ *cobra.Command, args []string) {
		if len(args) > 1 {
			gate.Gate = args[1]
		}
	}
	abort, end := steer("abort [RUN]", "End a running run, as an interrupt does",
		"End a running run as an interrupt (Ctrl-C) does: nothing more is started, what changes something goes on to its end, and what only waits is left. With --now it is cancelled.")
	abort.Flags().BoolVar(&end.Now, "now", false, "cancel what is under way, as the second interrupt does")
	all := []*cobra.Command{pause, proceed, approve, abort}
	for _, cmd := range all {
		cmd.Long += "\n\nRUN may be left out where only one run is under way."
		cmd.ValidArgsFunction = completeRunning
	}
	return all
}

// askRunning asks a run that a person has named, or the only one under way, and prints the answer.
func (a *app) askRunning(ctx context.Context, name string, request controlRequest) error {
	run, err := namedOrRunning(ctx, name)
	if err != nil {
		return err
	}
	text, err := askRun(ctx, run.Dir(), request)
	if errors.Is(err, errNotUnderWay) {
		return notUnderWay(run)
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", run.Run, err)
	}
	fmt.Fprintf(cleaned{a.out}, "run %s: %s\n", run.Run, text)
	return nil
}

// notUnderWay says how a run has ended that nobody can steer any more.
func notUnderWay(run *journal.Run) error {
	what := "is " + string(run.State)
	switch {
	case run.Live:
		what = "is about to begin or to end; try again"
	case run.State == journal.Crashed:
		what = "is not under way: its process has gone"
	}
	if run.Resumable() {
		what += "; pegbook runs resume " + run.Run + " goes on with it"
	}
	return fmt.Errorf("run %s %s", run.Run, what)
}

// namedOrRunning is the run that a person has named, or without a name the only one under way.
func namedOrRunning(ctx context.Context, name string) (*journal.Run, error) {
	if name != "" {
		_, run, err := openRun(name)
		return run, err
	}
	running, err := allRunning(ctx)
	switch {
	case err != nil:
		return nil, err
	case len(running) == 0:
		return nil, errors.New("no run is under way; pegbook runs list shows those there were")
	case len(running) > 1:
		return nil, fmt.Errorf("several runs are under way, so name one: %s", strings.Join(namesOfRuns(running), ", "))
	}
	return running[0], nil
}

func namesOfRuns(runs []*journal.Run) []string {
	var names []string
	for _, r := range runs {
		names = append(names, r.Run)
	}
	return names
}

// allRunning are the runs that can be steered.
func allRunning(ctx context.Context) ([]*journal.Run, error) {
	home, err := openHome()
	if err != nil {
		return nil, err
	}
	runs, _ := home.List() //nolint:errcheck // what cannot be read is not under way
	return slices.DeleteFunc(runs, func(r *journal.Run) bool { return !listens(ctx, r.Dir()) }), nil
}

// completeRunning offers the runs that are under way.
func completeRunning(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	running, err := allRunning(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return namesOfRuns(running), cobra.ShellCompDirectiveNoFileComp
}
