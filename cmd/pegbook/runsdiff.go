package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner/journal"
	"github.com/pegbook/pegbook/runner/render"
)

func newRunsDiffCmd(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff A [B]",
		Short: "Show in what two runs differ: inputs, and how tasks ended on hosts (B is the last one when left out)",
		Long: `Show in what two runs differ: what they were started with, which files have changed between them, and which tasks ended
otherwise on which hosts. Without B it is the last run. The exit code is 0 whether they differ or not.`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeRuns,
		RunE: func(_ *cobra.Command, args []string) error {
			_, first, err := openRun(args[0])
			if err != nil {
				return err
			}
			_, second, err := openRun(oneRun(args[1:]))
			if err != nil {
				return err
			}
			d, err := journal.Compare(first, second)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, d)
			}
			a.showDifference(d)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func (a *app) showDifference(d *journal.Difference) {
	fmt.Fprintf(cleaned{a.out}, "A %s\nB %s\n", d.A, d.B)
	if d.Same() {
		fmt.Fprintln(cleaned{a.out}, "\nno difference in what they were started with, nor in how tasks ended")
		return
	}
	if len(d.Settings) > 0 {
		fmt.Fprintln(cleaned{a.out}, "\nSTARTED WITH")
		for _, s := range d.Settings {
			fmt.Fprintf(cleaned{a.out}, "  %s: %s → %s\n", s.What, orNothing(s.A), orNothing(s.B))
		}
	}
	if len(d.Inputs) > 0 {
		fmt.Fprintln(cleaned{a.out}, "\nINPUTS")
		for _, in := range d.Inputs {
			fmt.Fprintf(cleaned{a.out}, "  %s %s: %s\n", in.What, render.Clean(in.Path, false), in.How)
		}
	}
	task := ""
	for i, o := range d.Outcomes {
		if i == 0 {
			fmt.Fprintln(cleaned{a.out}, "\nOUTCOMES")
		}
		if heading := o.Play + ": " + o.Task; heading != task {
			task = heading
			fmt.Fprintf(cleaned{a.out}, "  %s\n", render.Clean(heading, false))
		}
		fmt.Fprintf(cleaned{a.out}, "    %s: %s → %s%s\n", render.Names(o.Hosts), orNothing(string(o.A)), orNothing(string(o.B)), messageOf(o))
	}
}

func orNothing(s string) string {
	if s == "" {
		return "-"
	}
	return render.Clean(s, false)
}

func messageOf(o journal.OutcomeDifference) string {
	if o.Msg == "" {
		return ""
	}
	return "  (" + render.Clean(o.Msg, false) + ")"
}
