package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/journal"
	"github.com/pegbook/pegbook/runner/render"
)

func newRunsShowCmd(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "show [RUN]",
		Short:             "Show what a run was started with and where each host stands (the last one without RUN)",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeRuns,
		RunE: func(_ *cobra.Command, args []string) error {
			_, run, err := openRun(oneRun(args))
			if err != nil {
				return err
			}
			s, err := run.Standing()
			if err != nil {
				return err
			}
			if run.Inputs, err = run.Used(); err != nil && !errors.Is(err, journal.ErrSealed) {
				return err
			}
			if asJSON {
				return errors.Join(a.showRunJSON(run, s), s.Err())
			}
			a.showRun(run, s)
			for _, t := range s.Torn {
				fmt.Fprintf(a.err, "pegbook: %v\n", t)
			}
			return s.Err()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func (a *app) showRunJSON(r *journal.Run, s *journal.Standing) error {
	return writeJSON(a.out, struct {
		runJSON
		Standing *journal.Standing `json:"standing"`
	}{asJSON(r), s})
}

func (a *app) showRun(r *journal.Run, s *journal.Standing) {
	fmt.Fprintf(cleaned{a.out}, "RUN %s  %s\n", r.Run, stateWords(r))
	a.showWaits(r)
	a.showStart(r)
	a.showHosts(s)
	if len(s.InFlight) > 0 {
		fmt.Fprintln(cleaned{a.out}, "\nIN FLIGHT")
		for _, in := range s.InFlight {
			fmt.Fprintf(cleaned{a.out}, "  %s  %s\n", in.Host, flightWords(in))
		}
	}
	if s.Message != "" {
		fmt.Fprintf(cleaned{a.out}, "\n%s\n", render.Clean(s.Message, true))
	}
	a.showWayOn(r, s)
}

func stateWords(r *journal.Run) string {
	words := string(r.State)
	if r.Check {
		words += ", check mode"
	}
	switch {
	case r.Live:
		words += " since " + render.Duration(time.Since(liveSince(r))) + fmt.Sprintf(" (process %d on %s)", r.Last().PID, r.Last().Host)
	case r.State == journal.Crashed:
		words += ": its process ended without saying so"
	case r.Took() > 0:
		words += " in " + render.Duration(r.Took())
	}
	return words
}

// showWaits shows what a run waits for, and what would end that.
func (a *app) showWaits(r *journal.Run) {
	for _, w := range r.Waits {
		words := waitWords(w)
		if w.For == journal.WaitGate {
			words += ": " + strings.ReplaceAll(render.Clean(w.Message, true), "\n", "\n             ")
		}
		fmt.Fprintf(cleaned{a.out}, "  %-9s  %s\n", "waiting", words)
		if w.GoOn != "" {
			fmt.Fprintf(cleaned{a.out}, "  %-9s  %s\n", "to go on", render.Clean(w.GoOn, false))
		}
	}
}

// liveSince is since when a live run is in its state.
func liveSince(r *journal.Run) time.Time {
	if r.State == journal.Paused && len(r.Waits) > 0 {
		return r.Waits[0].Since
	}
	return r.Last().Started
}

// showStart shows what the run was started with.
func (a *app) showStart(r *journal.Run) {
	for i, s := range r.Sessions {
		word := "started"
		if i > 0 {
			word = "resumed"
		}
		fmt.Fprintf(cleaned{a.out}, "  %-9s  %s by %s on %s, pegbook %s\n", word, s.Started.Local().Format("2006-01-02 15:04:05"), s.User, s.Host, s.Version)
		fmt.Fprintf(cleaned{a.out}, "  %-9s  %s\n", "command", render.Clean(commandLine(s.Argv), false))
	}
	if r.RollsBack != "" {
		fmt.Fprintf(cleaned{a.out}, "  %-9s  run %s\n", "undoes", r.RollsBack)
	}
	fmt.Fprintf(cleaned{a.out}, "  %-9s  %s\n", "in", r.Meta.Dir)
	fmt.Fprintf(cleaned{a.out}, "  %-9s  %.12s\n", "plan", r.Plan)
	for _, in := range r.Inputs {
		fmt.Fprintf(cleaned{a.out}, "  %-9s  %s  %.12s\n", in.What, render.Clean(in.Path, false), strings.TrimPrefix(in.Digest, "hmac:"))
	}
	fmt.Fprintf(cleaned{a.out}, "  %-9s  %s\n", "journal", r.Dir())
}

func commandLine(argv []string) string {
	words := make([]string, len(argv))
	for i, w := range argv {
		words[i] = quoted(w)
	}
	return strings.Join(words, " ")
}

// showAbove is how many hosts that are well are shown one by one.
const showAbove = 40

func (a *app) showHosts(s *journal.Standing) {
	if len(s.Hosts) == 0 {
		return
	}
	where := ""
	if s.Play != "" {
		where = "  (the last play that began: " + render.Clean(s.Play, false)
		if s.Batches > 1 {
			where += fmt.Sprintf(", batch %d of %d", s.Batch, s.Batches)
		}
		where += ")"
	}
	fmt.Fprintf(cleaned{a.out}, "\nHOSTS%s\n", where)
	width := 0
	for _, h := range s.Hosts {
		width = max(width, len(h.Host))
	}
	folded := map[string]int{}
	var order []string
	for _, h := range s.Hosts {
		if len(s.Hosts) <= showAbove || h.Lost {
			fmt.Fprintf(cleaned{a.out}, "  %-*s  %s  %s\n", width, h.Host, render.Counts(h.Counts), standsAt(h))
			continue
		}
		if folded[standsAt(h)]++; folded[standsAt(h)] == 1 {
			order = append(order, standsAt(h))
		}
	}
	for _, at := range order {
		fmt.Fprintf(cleaned{a.out}, "  %s: %s\n", render.HowMany(folded[at], "host"), at)
	}
}

// standsAt says which task ended last on a host.
func standsAt(h journal.HostStanding) string {
	switch {
	case h.Task == "":
		return "no task has ended"
	case h.Lost && h.Msg != "":
		return fmt.Sprintf("%s at %q: %s", h.Status, render.Clean(h.Task, false), render.Clean(h.Msg, false))
	case h.Status == event.Failed || h.Status == event.Unreachable:
		return fmt.Sprintf("%s at %q", h.Status, render.Clean(h.Task, false))
	}
	return fmt.Sprintf("after %q", render.Clean(h.Task, false))
}

func flightWords(in journal.InFlight) string {
	words := fmt.Sprintf("%q", render.Clean(in.Task, false))
	if !in.Since.IsZero() {
		words += " since " + in.Since.Local().Format("15:04:05")
	}
	switch {
	case in.Acting && in.Ended:
		return words + ", which had begun to change the host; how it ended was not kept"
	case in.Acting:
		return words + ", which had begun to change the host"
	}
	return words + ", which had changed nothing yet"
}

// showWayOn says what can be done now.
func (a *app) showWayOn(r *journal.Run, s *journal.Standing) {
	switch {
	case s.Sealed:
		fmt.Fprintf(cleaned{a.out}, "\nit cannot be gone on with: %v\n", journal.ErrSealed)
	case r.Resumable() && refusal(r) != nil:
		fmt.Fprintf(cleaned{a.out}, "\n%v\n", refusal(r))
	case r.Resumable():
		a.showResumption(r, s)
	}
}
