package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/journal"
	"github.com/pegbook/pegbook/runner/render"
)

// resumeOptions are how to go on with a run.
type resumeOptions struct {
	inFlight   string
	fromBatch  int
	onlyFailed bool
	forks      int
	verbosity  int
	diff       bool
	asJSON     bool
	confirm    []string
	yes        bool
	wait       time.Duration
	lockWait   time.Duration
	waitsSo    bool // lockWait was given
}

func newRunsResumeCmd(a *app) *cobra.Command {
	var o resumeOptions
	cmd := &cobra.Command{
		Use:   "resume [RUN]",
		Short: "Go on with a run that did not come to its end",
		Long: `Go on with a run that did not come to its end: it was killed or interrupted, a host failed, it was paused.
Without RUN it is the newest that can be gone on with.

What has been done is not done again: results, facts, registered variables and pending handlers are as they were.
A host that was lost begins again with the task that failed on it; where that was in a block whose rescue or always
has run, with the block. Playbook, inventory, variables and files may be different in what has not run yet, to mend
what failed; not in what has. The arguments are those that the run was started with: where one of them was wrong
(-e, --limit), run the command again with the right one, which finds what is done. How gates and confirmations are
answered, and how long is waited for a lock, may be said anew; what was answered already is not asked again.

A task that was under way when the run ended is proposed again, which finds what is done. For commands and others of
which nobody can tell whether they came to their end, --in-flight says what becomes of them.`,
		Example: `  pegbook runs resume
  pegbook runs resume 20260301-101500-4711 --in-flight rerun`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.waitsSo = cmd.Flags().Changed("lock-wait")
			return a.resume(cmd, o, oneRun(args))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.inFlight, "in-flight", "", "what becomes of commands that were under way: rerun, skip (take them as done) or fail")
	f.IntVar(&o.fromBatch, "from-batch", 0, "take the batches before this one as done, in the play in which the run ended")
	f.BoolVar(&o.onlyFailed, "only-failed", false, "go on only with the hosts that were lost")
	f.IntVarP(&o.forks, "forks", "f", 0, "how many hosts are worked on at a time (default: as the run was started)")
	f.BoolVarP(&o.diff, "diff", "D", false, "show what changes in files")
	f.BoolVar(&o.asJSON, "json", false, "one JSON object a line on stdout instead of text")
	f.CountVarP(&o.verbosity, "verbose", "v", "show more; may be repeated")
	answerFlags(f, &o.confirm, &o.yes, &o.wait)
	f.DurationVar(&o.lockWait, "lock-wait", 0, "wait so long for a lock that another run has (default: as the run was started, a minute at least)")
	return cmd
}

// recallGC is the garbage collector's percentage while a run is gone on with: 1,000 hosts with 100 tasks take 0.4 GB
// instead of 0.2, and 2.3 seconds of processor time instead of 2.7.
const recallGC = 400

// argumentsStay answers a flag of pegbook run that somebody gives to resume.
const argumentsStay = "a run is gone on with by the arguments that it was started with; where one was wrong, run the command again with the right one: what is done is found so"

func (o *resumeOptions) validate() error {
	choices := []string{string(runner.InFlightRerun), string(runner.InFlightSkip), string(runner.InFlightFail)}
	if o.inFlight != "" && !slices.Contains(choices, o.inFlight) {
		return fmt.Errorf("--in-flight %s: choose from %s", o.inFlight, strings.Join(choices, ", "))
	}
	if o.fromBatch < 0 || o.forks < 0 {
		return errors.New("--from-batch and --forks count from 1")
	}
	return nil
}

// resume goes on with a run.
func (a *app) resume(cmd *cobra.Command, o resumeOptions, name string) error {
	if err := o.validate(); err != nil {
		return err
	}
	// What is recalled of a large run stays: looking for garbage among it is a fifth of the time.
	defer debug.SetGCPercent(debug.SetGCPercent(recallGC))
	home, run, err := resumable(name)
	if err != nil {
		return err
	}
	past, read, err := pastOf(run)
	if err != nil {
		return err
	}
	past.InFlight, past.OnlyFailed, past.FromBatch = runner.InFlight(o.inFlight), o.onlyFailed, o.fromBatch
	if err := undecided(run, past); err != nil {
		return err
	}
	started, paths, err := a.startedWith(run)
	if err != nil {
		return err
	}
	o.over(started)
	a.tellResumed(run, past)
	plan, err := a.planAgain(cmd.Context(), started, paths, past)
	if err == nil {
		err = plan.Fits(past)
	}
	if err != nil {
		return err
	}
	started.past = past
	if run.RollsBack != "" {
		if started.undo, err = undoOf(home, run.RollsBack, run.Forced); err != nil {
			return err
		}
	}
	if err := a.hearFirst(cmd.Context()); err != nil {
		return err
	}
	kept, torn, err := home.Resume(run.Run, a.session(cmd, time.Now()))
	if err != nil {
		return err
	}
	if !kept.Follows(read) {
		return errors.Join(fmt.Errorf("somebody else has gone on with run %s; look at it with pegbook runs show", run.Run), kept.Close())
	}
	for _, t := range torn {
		fmt.Fprintln(a.err, "pegbook: "+t.Error())
	}
	defer a.prune(home)
	return a.carryOut(cmd.Context(), *started, plan, kept)
}

// resumable opens the run named, or the newest that can be gone on with.
func resumable(name string) (*journal.Home, *journal.Run, error) {
	if name != "" {
		home, run, err := openRun(name)
		if err != nil {
			return nil, nil, err
		}
		return home, run, refusal(run)
	}
	home, err := openHome()
	if err != nil {
		return nil, nil, err
	}
	runs, err := home.List()
	var refused *journal.Run // the newest of those that never began
	for _, run := range slices.Backward(runs) {
		switch {
		case refusal(run) != nil:
		case begun(run):
			return home, run, nil
		case refused == nil:
			refused = run
		}
	}
	if refused != nil {
		return home, refused, nil
	}
	return nil, nil, errors.Join(errors.New("there is no run to go on with; pegbook runs list shows which there are"), err)
}

// begun says whether a run got to work: one that another run's lock has kept out, say, hides no run that is to be gone
// on with.
func begun(r *journal.Run) bool {
	return slices.ContainsFunc(r.Sessions, func(s journal.Session) bool {
		return s.End == nil || s.End.ExitCode != 1 || s.End.Hosts > 0
	})
}

// refusal says why a run cannot be gone on with.
func refusal(r *journal.Run) error {
	switch {
	case r.Resumable():
		by, err := r.TakenBackBy()
		if by != "" {
			err = fmt.Errorf("run %s was taken back by run %s: what it had done is undone, so it can but begin anew", r.Run, by)
		}
		return err
	case r.Live:
		return carriedOn(r)
	case r.Check:
		return fmt.Errorf("run %s was a dry run: what it would have changed was in memory only, so it can but begin anew", r.Run)
	case r.State == journal.Done:
		return fmt.Errorf("run %s has come to its end; there is nothing to go on with", r.Run)
	}
	return fmt.Errorf("run %s is %s", r.Run, r.State)
}

// carriedOn says that a run is carried on by its own process, and what lets that go on where it waits.
func carriedOn(r *journal.Run) error {
	words := fmt.Sprintf("run %s is %s: process %d on %s carries it on", r.Run, r.State, r.Last().PID, r.Last().Host)
	for _, w := range r.Waits {
		words += ", and " + waitWords(w)
		if w.GoOn != "" {
			words += " (to go on: " + w.GoOn + ")"
		}
	}
	return errors.New(words)
}

// pastOf reads what a run remembers. Entries are opened while those before them are taken in: of a large run there
// are some hundred thousand.
func pastOf(r *journal.Run) (*runner.Past, journal.Reading, error) {
	read := make(chan []runner.Entry, 8)
	var reading journal.Reading
	var wrong error
	go func() {
		defer close(read)
		reading, wrong = readEntries(r, read)
	}()
	past, err := runner.NewPast(func(yield func(runner.Entry) bool) {
		for some := range read {
			for _, e := range some {
				if !yield(e) {
					return
				}
			}
		}
	})
	for range read { //nolint:revive // what is not wanted any more is read to its end
	}
	if wrong != nil {
		return nil, reading, keyLost(r, wrong)
	}
	if len(reading.Damage) > 0 {
		return nil, reading, reading.Damage[0]
	}
	return past, reading, err
}

// keyLost says what can be done about a run that is sealed with a key which is not there any more.
func keyLost(r *journal.Run, err error) error {
	if !errors.Is(err, journal.ErrSealed) {
		return err
	}
	return fmt.Errorf("run %s cannot be opened: %w. Put the key back that was in %s when it ran; where that is lost, begin it again, which finds what is done: %s",
		r.Run, err, filepath.Dir(filepath.Dir(r.Dir())), render.Clean(commandLine(r.Sessions[0].Argv), false))
}

// tellResumed says which run is gone on with, for who has named none.
func (a *app) tellResumed(r *journal.Run, past *runner.Past) {
	fmt.Fprintf(cleaned{a.err}, "Resuming %s; %s remembered\n", a.calls(r), render.HowMany(past.Remembered(), "step"))
}

// readEntries hands over what a run remembers, many entries at a time.
func readEntries(r *journal.Run, to chan<- []runner.Entry) (journal.Reading, error) {
	const many = 512
	some := make([]runner.Entry, 0, many)
	reading, err := r.Entries(func(e runner.Entry) error {
		if some = append(some, e); len(some) == many {
			to <- some
			some = make([]runner.Entry, 0, many)
		}
		return nil
	})
	to <- some
	return reading, err
}

// undecided refuses to go on while nobody has said what becomes of commands that were under way.
func undecided(r *journal.Run, past *runner.Past) error {
	flying := past.Undecided()
	if past.InFlight != runner.InFlightRefuse || len(flying) == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "run %s ended while these were under way, and nobody can tell whether they came to their end:\n", r.Run)
	for _, f := range flying {
		fmt.Fprintf(&b, "  %s on %s", render.Clean(f.Task, false), f.Host)
		if f.Item > 0 {
			fmt.Fprintf(&b, ", item %d of its loop", f.Item)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "look at the hosts, then choose:\n"+
		"  pegbook runs resume %[1]s --in-flight rerun   run them again\n"+
		"  pegbook runs resume %[1]s --in-flight skip    take them as done\n"+
		"  pegbook runs resume %[1]s --in-flight fail    take them as failed", r.Run)
	return errors.New(b.String())
}

// startedWith gives the options and playbooks that a run was started with, in its folder and with its settings.
func (a *app) startedWith(r *journal.Run) (*runOptions, []string, error) {
	private, err := r.Private()
	if err != nil {
		return nil, nil, keyLost(r, err)
	}
	if err := os.Chdir(r.Meta.Dir); err != nil {
		return nil, nil, fmt.Errorf("the run was started in a folder that is gone: %w", err)
	}
	for _, setting := range private.Env {
		if name, value, ok := strings.Cut(setting, "="); ok && name != "PEGBOOK_HOME" {
			if err := os.Setenv(name, value); err != nil {
				return nil, nil, err
			}
		}
	}
	o := &runOptions{selectOptions: selectOptions{inputs: &inputs{}}}
	cmd := runCommand(a, o)
	if len(private.Argv) == 0 {
		return nil, nil, fmt.Errorf("run %s does not say what it was started with", r.Run)
	}
	if err := cmd.ParseFlags(private.Argv[1:]); err != nil {
		return nil, nil, err
	}
	a.args, o.terms = private.Argv, private.Limit
	return o, cmd.Flags().Args(), o.validate()
}

// staleLock is how long a resumed run waits for a lock at least: one that was killed holds its lock until the lock's
// own end, which may be a session's timeout away.
const staleLock = time.Minute

// over lays how to go on over how the run was started.
func (o *resumeOptions) over(started *runOptions) {
	started.lockWait = max(started.lockWait, staleLock)
	if o.waitsSo {
		started.lockWait = o.lockWait
	}
	started.yes = started.yes || o.yes
	if o.wait > 0 {
		started.wait = o.wait
	}
	if len(o.confirm) > 0 {
		started.confirm = o.confirm
	}
	if o.forks > 0 {
		started.forks = o.forks
	}
	started.verbosity = max(started.verbosity, o.verbosity)
	started.diff = started.diff || o.diff
	started.asJSON = started.asJSON || o.asJSON
}

// planAgain makes the run's plan again, with the answers that were given.
func (a *app) planAgain(ctx context.Context, o *runOptions, paths []string, past *runner.Past) (*runner.Plan, error) {
	if err := a.askPasswords(ctx, &o.selectOptions); err != nil {
		return nil, err
	}
	if err := a.begin(ctx, o, paths); err != nil {
		return nil, err
	}
	o.heard = past.Answered()
	plan, err := a.compile(ctx, o.selectOptions, paths)
	if err != nil {
		return nil, a.jsonProblem(o.asJSON, err)
	}
	if err := a.warned(ready(o.listeners)); err != nil {
		return nil, a.jsonProblem(o.asJSON, err)
	}
	if answers, asked := past.Answers(); asked && len(answers) == len(plan.Questions()) {
		answered, problems := plan.Answered(answers)
		if err := problems.Err(); err != nil {
			return nil, a.jsonProblem(o.asJSON, err)
		}
		plan = answered
	} else if plan, err = a.answer(ctx, plan); err != nil {
		return nil, a.jsonProblem(o.asJSON, err)
	}
	return plan, nil
}
