package main

import (
	"context"
	"errors"
	"fmt"
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
		"End a running run as an interrupt (Ctrl-C) does: nothing more is started, and what is under way goes on to its end. With --now it is cancelled.")
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
	home, err := openHome()
	if err != nil {
		return err
	}
	run := name
	if name == "" {
		run, err = theRunning(ctx, home)
	} else {
		run, err = home.Find(name)
	}
	if err != nil {
		return err
	}
	text, err := askRun(ctx, home.Dir(run), request)
	if errors.Is(err, errNotUnderWay) {
		return fmt.Errorf("run %s is not under way: its process has ended; pegbook runs show %s says how, and pegbook runs resume %s goes on with it", run, run, run)
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", run, err)
	}
	fmt.Fprintf(a.out, "run %s: %s\n", run, text)
	return nil
}

// theRunning is the run that is under way, where there is only one.
func theRunning(ctx context.Context, home *journal.Home) (string, error) {
	running, err := allRunning(ctx, home)
	switch {
	case err != nil:
		return "", err
	case len(running) == 0:
		return "", errors.New("no run is under way; pegbook runs list shows those there were")
	case len(running) > 1:
		return "", fmt.Errorf("several runs are under way, so name one: %s", strings.Join(running, ", "))
	}
	return running[0], nil
}

// allRunning are the runs under way. Only the newest are looked at: who goes by names alone means one of them.
func allRunning(ctx context.Context, home *journal.Home) ([]string, error) {
	names, err := home.Names()
	if err != nil {
		return nil, err
	}
	const looked = 200
	var running []string
	for _, name := range names[max(0, len(names)-looked):] {
		if listens(ctx, home.Dir(name)) {
			running = append(running, name)
		}
	}
	return running, nil
}

// completeRunning offers the runs that are under way.
func completeRunning(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	home, err := openHome()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	running, err := allRunning(cmd.Context(), home)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return running, cobra.ShellCompDirectiveNoFileComp
}
