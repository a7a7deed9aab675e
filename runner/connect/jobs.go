package connect

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// StartJob implements modules.Jobs.
func (h *host) StartJob(ctx context.Context, job modules.Job) (modules.JobState, error) {
	env, err := environment(job.Command.Env)
	if err != nil {
		return modules.JobState{}, err
	}
	c := job.Command
	return h.askJob(ctx, &wire.JobRequest{Act: wire.StartJob, ID: job.ID, Limit: job.Limit.Nanoseconds(),
		Command: wire.Command{Argv: c.Argv, Dir: c.Dir, Env: env, Stdin: c.Stdin, MaxOutput: c.MaxOutput}}, len(c.Stdin))
}

// Job implements modules.Jobs.
func (h *host) Job(ctx context.Context, id string) (modules.JobState, error) {
	state, err := h.askJob(ctx, &wire.JobRequest{Act: wire.AskJob, ID: id}, 0)
	if err == nil && state.Path == "" {
		err = &modules.FileError{Op: "find job", Path: id, Kind: fs.ErrNotExist, Text: fmt.Sprintf("there is no job %s of this user on %s", id, h.name)}
	}
	return state, err
}

// ForgetJob implements modules.Jobs.
func (h *host) ForgetJob(ctx context.Context, id string) (modules.JobState, error) {
	return h.askJob(ctx, &wire.JobRequest{Act: wire.ForgetJob, ID: id}, 0)
}

func (h *host) askJob(ctx context.Context, j *wire.JobRequest, size int) (modules.JobState, error) {
	m := h.mux
	if h.jobs != nil {
		var err error
		if m, err = h.jobs(ctx); err != nil {
			return modules.JobState{}, err
		}
	}
	begin := wire.Begin(256 + size)
	if j.Act == wire.StartJob {
		var err error
		if begin, err = h.begin(ctx, 256+size); err != nil {
			return modules.JobState{}, err
		}
	}
	answer, err := m.call(ctx, wire.AppendJob(begin, j), nil, 2*maxJobOutput+room)
	if err != nil {
		return modules.JobState{}, h.broken(err)
	}
	s, err := wire.ParseJobState(answer)
	if err != nil {
		return modules.JobState{}, h.refused(err)
	}
	state := modules.JobState{ID: j.ID, Argv: s.Argv, Running: s.Running, Finished: s.Finished, TimedOut: s.TimedOut}
	if s.Known {
		state.Path = s.Path
	}
	if s.Finished && !s.TimedOut {
		state.Output, state.Err = h.output(s.Argv, s.Result)
	}
	return state, nil
}

// maxJobOutput is how much of each of a job's outputs is taken.
const maxJobOutput = 32 << 20
