package builtin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pegbook/pegbook/modules"
)

// AsyncStatus asks after a job.
func AsyncStatus() *modules.Module {
	return modules.Define("async_status", `Ask after a job, or forget it

A task with async and poll: 0 starts a job on its host and goes on; this tells how the job stands. It must run
on the same host, and as the same user, as the task that started the job. Once the job has finished the result
is that of its command, and the task fails if the command failed. A job is kept until it is forgotten
(mode: cleanup), or for a week after its end.

    - name: build the index
      command: /opt/app/bin/index --all
      async: 3600
      poll: 0
      register: building

    - name: the index is built
      async_status:
        jid: "{{ .building.ansible_job_id }}"
      register: index
      until: eq .index.finished 1
      retries: 120
      delay: 30`, proposeAsyncStatus)
}

type asyncStatusArgs struct {
	JID  string `arg:"jid,required" doc:"the job, ansible_job_id of the task that started it"`
	Mode string `arg:"mode" default:"status" choices:"status,cleanup" doc:"status asks; cleanup forgets the job, which goes on if it still runs"`
}

// jobStatus is what async_status registers.
type jobStatus struct {
	Job         string `json:"ansible_job_id"`
	Started     int    `json:"started"`
	Finished    int    `json:"finished"`
	ResultsFile string `json:"results_file,omitempty"`
	Erased      string `json:"erased,omitempty"`
	*ran               // of a job that has finished
}

func proposeAsyncStatus(ctx context.Context, call *modules.Call, args asyncStatusArgs) (*modules.Proposal, error) {
	state, err := call.Jobs.Job(ctx, args.JID)
	if errors.Is(err, fs.ErrNotExist) && args.Mode == "cleanup" {
		return &modules.Proposal{Output: &jobStatus{Job: args.JID}, Message: "there is no such job any more"}, nil
	}
	if err != nil {
		return nil, err
	}
	out := &jobStatus{Job: args.JID, Started: 1, ResultsFile: state.Path}
	if args.Mode == "cleanup" {
		out.Erased = state.Path
		return &modules.Proposal{Output: out, Predicts: map[string]string{}, Do: func(ctx context.Context, _ modules.Host) error {
			_, err := call.Jobs.ForgetJob(ctx, args.JID)
			return err
		}}, nil
	}
	p := &modules.Proposal{Output: out}
	if state.Running {
		return p, nil
	}
	out.Finished = 1
	p.Diff = []modules.Diff{{Subject: args.JID, Note: "has run"}}
	p.Do = func(context.Context, modules.Host) error { return jobEnded(state, out) }
	return p, nil
}

// jobEnded is how a job ended.
func jobEnded(state modules.JobState, out *jobStatus) error {
	switch {
	case state.TimedOut:
		return fmt.Errorf("job %s took longer than its async seconds, and was ended", state.ID)
	case !state.Finished:
		return fmt.Errorf("job %s is gone from the host without a result: the host was restarted, or its systemd ends what a user leaves behind", state.ID)
	}
	var exit *modules.ExitError
	if state.Err != nil && !errors.As(state.Err, &exit) {
		return state.Err
	}
	out.ran = &ran{Cmd: state.Argv}
	out.fill(state.Output, true)
	return state.Err
}
