package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func newRunsRmCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rm RUN...",
		Short: "Remove runs; one that goes on is refused",
		Long: `Remove runs with all that is kept of them. A run that goes on is refused.

Runs are also removed by themselves, oldest first, when a run ends and there are more than $PEGBOOK_KEEP_RUNS
says: a number of runs, an age in days, a size, or several of these with spaces between (default "500 90d 2GiB"; all
keeps everything). A run that goes on, or that could be gone on with, is never removed by itself.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeRuns,
		RunE: func(_ *cobra.Command, args []string) error {
			home, err := openHome()
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range args {
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
		},
	}
}
