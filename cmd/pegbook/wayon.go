package main

import (
	"fmt"
	"slices"

	"github.com/pegbook/pegbook/runner/journal"
	"github.com/pegbook/pegbook/runner/render"
)

// showResumption says how a run is gone on with: what has to be decided first, or the command that does it.
func (a *app) showResumption(r *journal.Run, s *journal.Standing) {
	fmt.Fprintf(cleaned{a.out}, "\nit remembers %s; ", render.HowMany(s.Remembers, "step"))
	if slices.ContainsFunc(s.InFlight, func(in journal.InFlight) bool { return in.Acting }) {
		if past, _, err := pastOf(r); err == nil { // else resume says what is wrong
			if err := undecided(r, past); err != nil {
				fmt.Fprintln(cleaned{a.out}, err)
				return
			}
		}
	}
	fmt.Fprintf(cleaned{a.out}, "to go on: pegbook runs resume %s\n", r.Run)
}
