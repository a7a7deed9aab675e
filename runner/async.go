package runner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/vars"
)

const (
	// defaultPoll is how long is waited between two looks at a job.
	defaultPoll = 15 * time.Second
	// lostContact is how long a job's host is tried again after its last answer.
	lostContact = 10 * time.Minute
)

// async is a task under async: with a command of its own on the host that command goes on as a job there,
// whatever becomes of the connection; other work is done by the control node within the limit.
type async struct {
	limit time.Duration
	poll  time.Duration // 0: go on with the next task
	job   string        // the job's name; "" where the work is the control node's
}

// readAsync reads the task's async and poll; nil where it has none.
func (st *step) readAsync(s *vars.Scope) (*async, error) {
	t := st.row.task
	if t.Async.IsZero() {
		return nil, nil
	}
	limit, err := wholeSeconds(t.Async, s, "async")
	if err != nil || limit == 0 {
		return nil, err
	}
	a := &async{limit: limit, poll: defaultPoll}
	if !t.Poll.IsZero() {
		if a.poll, err = wholeSeconds(t.Poll, s, "poll"); err != nil {
			return nil, err
		}
	}
	if st.row.module.Runs {
		return a, nil
	}
	if a.poll == 0 {
		return nil, fmt.Errorf("%s with poll: 0: %s", st.row.module.Name, cannotDetach)
	}
	return a, nil
}

const cannotDetach = "this module's work is done from the control node, so it cannot go on by itself"

func wholeSeconds(v vars.Value, s *vars.Scope, what string) (time.Duration, error) {
	d, err := v.Resolve(s)
	if err != nil {
		return 0, err
	}
	n, err := d.Int()
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s takes a number of seconds, not %s", what, d.Text())
	}
	return time.Duration(n) * time.Second, nil
}

// goesOn prepares an attempt of a task under async: its command is to be a job, or its work gets a limit.
func (st *step) goesOn(ctx context.Context, x *prepared) (context.Context, context.CancelFunc) {
	x.job = nil
	switch {
	case !st.row.module.Runs:
		return context.WithTimeoutCause(ctx, x.async.limit, x.async.late())
	case !x.check:
		job := *x.async
		job.job = st.jobName(x)
		x.job = &jobHost{lazyHost: x.host, st: st, async: &job}
	}
	return ctx, func() {}
}

// jobName names the job of an attempt by the run and by where in it the job is started: whoever goes on with the
// run can tell it again.
func (st *step) jobName(x *prepared) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d\x00%d", st.where(), st.p.Name, x.item, x.attempt))
	return "j" + firstOf(st.r.opts.RunID, "run") + "." + hex.EncodeToString(sum[:6])
}

// jobHost is a host on which the task's command runs as a job.
type jobHost struct {
	*lazyHost
	st    *step
	async *async
	state modules.JobState // as last seen
}

// Run starts the command as a job and, but for poll: 0, waits for its end. Lost connections are made anew to
// find the job again.
func (j *jobHost) Run(ctx context.Context, cmd modules.Command) (modules.Output, error) {
	if cmd.ReadOnly {
		return j.lazyHost.Run(ctx, cmd)
	}
	job := modules.Job{ID: j.async.job, Limit: j.async.limit, Command: cmd}
	began := time.Now()
	err := j.insist(ctx, began, func() (err error) {
		j.state, err = j.StartJob(ctx, job)
		return err
	})
	if err != nil {
		return modules.Output{}, err
	}
	st := j.st
	st.r.stream.Emit(event.JobStarted{Play: st.lane.play.name, Batch: st.lane.batch, Task: st.name, Host: st.p.Name, DelegatedTo: j.delegatedTo(), Job: job.ID, LimitS: j.async.limit.Seconds()})
	if j.async.poll == 0 {
		return modules.Output{}, modules.ErrStarted
	}
	return j.follow(ctx, began)
}

func (j *jobHost) delegatedTo() string {
	if j.name == j.st.p.Name {
		return ""
	}
	return j.name
}

// follow looks at the job until it has ended; it is forgotten once its result is written down.
func (j *jobHost) follow(ctx context.Context, began time.Time) (modules.Output, error) {
	for heard := began; j.state.Running; heard = time.Now() {
		// The host ends the job at its limit; a moment later it has written that down.
		left := time.Until(began.Add(j.async.limit + 2*time.Second))
		if left <= 0 {
			return modules.Output{}, j.async.late()
		}
		if err := pause(ctx, min(j.async.poll, left)); err != nil {
			return modules.Output{}, err
		}
		err := j.insist(ctx, heard, func() (err error) {
			j.state, err = j.Job(ctx, j.async.job)
			return err
		})
		if err != nil {
			return modules.Output{}, err
		}
	}
	state := j.state
	if !state.Finished {
		return modules.Output{}, lostJob(state)
	}
	j.st.after = append(j.st.after, j.forget)
	if state.TimedOut {
		return modules.Output{}, j.async.late()
	}
	return state.Output, state.Err
}

// forget lets the host forget the job. Its result has been written down by then, so that nobody looks for the job
// any more.
func (j *jobHost) forget(ctx context.Context) {
	err := j.insist(ctx, time.Now(), func() error {
		_, err := j.ForgetJob(ctx, j.async.job)
		return err
	})
	if err != nil {
		j.st.r.stream.Emit(event.Noted{Play: j.st.lane.play.name, Batch: j.st.lane.batch, Task: j.st.name, Host: j.st.p.Name,
			Text: fmt.Sprintf("what job %s has left on the host is still there: %v", j.async.job, err)})
	}
}

// late is work that was not done within the limit.
func (a *async) late() error {
	return fmt.Errorf("async task did not complete within the requested time - %ds", int(a.limit.Seconds()))
}

// lostJob says that nobody knows how a job ended.
func lostJob(state modules.JobState) error {
	return fmt.Errorf("job %s is gone from the host without a result: the host was restarted, or its systemd ends what a user leaves behind (KillUserProcesses; loginctl enable-linger USER allows it)", state.ID)
}

// insist asks the host about the job; where the connection is lost it is made anew until the host has not
// answered for too long.
func (j *jobHost) insist(ctx context.Context, heard time.Time, ask func() error) error {
	for wait := time.Second; ; wait = min(2*wait, 15*time.Second) {
		err := ask()
		var gone *modules.UnreachableError
		if !errors.As(err, &gone) || time.Since(heard) > min(lostContact, max(j.async.limit, time.Minute)) {
			return err
		}
		if j.state.ID == "" && !j.opened() {
			return err // it was never reached: there is no job to look for
		}
		j.drop()
		j.st.r.stream.Emit(event.Noted{Play: j.st.lane.play.name, Batch: j.st.lane.batch, Task: j.st.name, Host: j.st.p.Name,
			Text: fmt.Sprintf("the connection is lost (%v); looking for job %s again", gone.Err, j.async.job)})
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// told says of a result what the job did, and whether there is an output besides: not of one that goes on, or
// that did not come to its end.
func (j *jobHost) told(res *result) bool {
	if j == nil || j.state.ID == "" {
		return true // there was nothing to run
	}
	done := 0
	if j.state.Finished {
		done = 1
	}
	res.set("started", vars.Of(1))
	res.set("finished", vars.Of(done))
	res.set("ansible_job_id", vars.Of(j.async.job))
	if j.async.poll == 0 {
		res.set("results_file", vars.Of(j.state.Path))
		return false
	}
	return j.state.Finished && !j.state.TimedOut
}
