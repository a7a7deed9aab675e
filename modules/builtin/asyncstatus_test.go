package builtin

import (
	"context"
	"encoding/json"
	"io/fs"
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

// jobList is a host's jobs by name.
type jobList map[string]modules.JobState

func (l jobList) StartJob(_ context.Context, job modules.Job) (modules.JobState, error) {
	l[job.ID] = modules.JobState{ID: job.ID, Running: true, Path: "/jobs/" + job.ID}
	return l[job.ID], nil
}

func (l jobList) Job(_ context.Context, id string) (modules.JobState, error) {
	state, ok := l[id]
	if !ok {
		return state, &modules.FileError{Op: "find job", Path: id, Kind: fs.ErrNotExist, Text: "not there"}
	}
	return state, nil
}

func (l jobList) ForgetJob(ctx context.Context, id string) (modules.JobState, error) {
	if ctx.Err() != nil {
		return modules.JobState{}, context.Cause(ctx)
	}
	state := l[id]
	delete(l, id)
	return state, nil
}

func TestAsyncStatus(t *testing.T) {
	out := modules.Output{Stdout: []byte("built\n\n"), Stderr: []byte("slowly\n")}
	failed := out
	failed.ExitCode = 3
	jobs := jobList{
		"runs":   {ID: "runs", Running: true, Path: "/jobs/runs"},
		"well":   {ID: "well", Finished: true, Argv: []string{"build"}, Path: "/jobs/well", Output: out},
		"failed": {ID: "failed", Finished: true, Argv: []string{"build"}, Output: failed, Err: &modules.ExitError{Argv: []string{"build"}, Output: failed}},
		"late":   {ID: "late", Finished: true, TimedOut: true},
		"lost":   {ID: "lost"},
		"none":   {ID: "none", Finished: true, Err: &modules.FileError{Op: "run", Path: "/no/such", Kind: fs.ErrNotExist, Text: "no such program"}},
	}
	for _, c := range []struct {
		jid, finished, stdout, rc, err string
		changed                        bool
	}{
		{"runs", "0", "", "", "", false},
		{"well", "1", `"built"`, "0", "", true},
		{"failed", "1", `"built"`, "3", "code 3", true},
		{"late", "1", "", "", "longer than its async", true},
		{"lost", "1", "", "", "gone from the host", true},
		{"none", "1", "", "", "no such program", true},
		{"unheard", "", "", "", "not there", false},
	} {
		t.Run(c.jid, func(t *testing.T) {
			m := modtest.NewMachine("host1")
			p, err := modtest.Propose(t, AsyncStatus(), `{"jid": "`+c.jid+`"}`, m, modtest.Setup{Jobs: jobs})
			if err == nil && p.Do != nil {
				err = p.Do(t.Context(), m)
			}
			if err == nil != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if p == nil {
				return
			}
			raw, err := json.Marshal(p.Output)
			if err != nil {
				t.Fatal(err)
			}
			r := modtest.Result{Output: raw}
			if got := [...]string{r.Get("finished"), r.Get("stdout"), r.Get("rc")}; got != [...]string{c.finished, c.stdout, c.rc} || len(p.Diff) > 0 != c.changed {
				t.Errorf("%s", raw)
			}
		})
	}
}

func TestAsyncStatusForgets(t *testing.T) {
	jobs := jobList{"well": {ID: "well", Finished: true, Path: "/jobs/well"}}
	r := modtest.Converge(t, AsyncStatus(), `{"jid": "well", "mode": "cleanup"}`, modtest.NewMachine("host1"), modtest.Setup{Jobs: jobs})
	if len(jobs) > 0 || r.Get("erased") != `"/jobs/well"` {
		t.Errorf("%v, %s", jobs, r.Output)
	}
}
