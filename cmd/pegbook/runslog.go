package main

import (
	"bufio"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/journal"
	"github.com/pegbook/pegbook/runner/render"
)

func newRunsLogCmd(a *app) *cobra.Command {
	var asJSON, diff bool
	var verbosity int
	cmd := &cobra.Command{
		Use:   "log [RUN]",
		Short: "Show again what a run showed (the last one without RUN)",
		Long: `Show again what a run showed: the last one where no RUN is named. -v and --diff show more than the run did itself, as
far as it was asked to keep it (both sides of a file only where it ran with --diff).`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeRuns,
		RunE: func(_ *cobra.Command, args []string) error {
			_, run, err := openRun(oneRun(args))
			if err != nil {
				return err
			}
			w := bufio.NewWriter(a.out)
			var sink event.Sink = render.NewPlain(w, render.Options{Verbosity: verbosity, Diff: diff, Color: color(a.out), Secrets: a.secrets})
			if asJSON {
				sink = event.NewLines(w)
			}
			found, err := run.Events(func(r event.Record) error {
				sink.Record(r)
				return nil
			})
			return errors.Join(err, w.Flush(), a.reading(found))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&asJSON, "json", false, "one JSON object a line, as run --json has it")
	f.BoolVarP(&diff, "diff", "D", false, "show what changed in files")
	f.CountVarP(&verbosity, "verbose", "v", "show more; may be repeated")
	return cmd
}

// reading tells what was found wrong with a journal. What is torn is no error.
func (a *app) reading(found journal.Reading) error {
	if found.Torn != nil {
		fmt.Fprintf(a.err, "pegbook: %v\n", found.Torn)
	}
	var errs []error
	for _, d := range found.Damage {
		errs = append(errs, d)
	}
	return errors.Join(errs...)
}
