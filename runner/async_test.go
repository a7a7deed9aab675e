package runner

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/runner/event"
)

// keeper is a host whose jobs end after so many looks, and whose connection breaks at some of the calls.
type keeper struct {
	*modtest.Machine
	looks  int
	breaks map[int]bool // by the number of the call, from 1
	ends   modules.JobState

	mu     sync.Mutex // guards the rest
	calls  int
	starts map[string]int
	gone   []string
}

var _ modules.Jobs = (*keeper)(nil)

func (k *keeper) call() error {
	if k.calls++; k.breaks[k.calls] {
		return &modules.UnreachableError{Host: k.Name(), Err: errors.New("broken pipe")}
	}
	return nil
}

// StartJob starts the job even where the answer is lost.
func (k *keeper) StartJob(_ context.Context, job modules.Job) (modules.JobState, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.starts[job.ID]++
	return modules.JobState{ID: job.ID, Running: true, Path: "/jobs/" + job.ID}, k.call()
}

func (k *keeper) Job(_ context.Context, id string) (modules.JobState, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.call(); err != nil {
		return modules.JobState{}, err
	}
	if k.looks--; k.looks >= 0 {
		return modules.JobState{ID: id, Running: true}, nil
	}
	state := k.ends
	state.ID = id
	return state, nil
}

func (k *keeper) ForgetJob(_ context.Context, id string) (modules.JobState, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gone = append(k.gone, id)
	return modules.JobState{}, k.call()
}

// goOn runs tasks on a keeper; what "sh" runs goes on by itself.
func goOn(t *testing.T, k *keeper, tasks string) ran {
	t.Helper()
	k.Machine, k.starts = modtest.NewMachine("h1"), map[string]int{}
	return runFiles(t, "-- site.yml --\n- hosts: h1\n  gather_facts: false\n  tasks:\n"+tasks, func(in *Inputs, o *Options) {
		sh, _ := in.Modules.Lookup("sh")
		again := *sh
		again.Name, again.Runs = "job", true
		say, _ := in.Modules.Lookup("say")
		sleep, _ := in.Modules.Lookup("sleep")
		in.Modules = NewSet(&again, say, sleep)
		o.RunID = "r1"
		o.Connect = &machines{hosts: map[string]modules.Host{"h1": k}}
	})
}

func TestJobIsFoundAgain(t *testing.T) {
	const task = "    - {name: work, job: build, async: 60, poll: 1, register: r}\n    - {say: '{{ .r.stdout }} {{ .r.finished }}'}\n"
	well := modules.JobState{Finished: true, Output: modules.Output{Stdout: []byte("built")}}
	for _, c := range []struct {
		name   string
		k      *keeper
		starts int
		want   []string
	}{
		{"nothing breaks", &keeper{ends: well}, 1, []string{"work h1 changed", "say h1 ok built 1"}},
		{"the start's answer is lost", &keeper{ends: well, breaks: map[int]bool{1: true}}, 2, []string{"work h1 changed", "say h1 ok built 1"}},
		{"looks break", &keeper{ends: well, looks: 1, breaks: map[int]bool{2: true, 4: true}}, 1, []string{"work h1 changed", "say h1 ok built 1"}},
		{"too long", &keeper{ends: modules.JobState{Finished: true, TimedOut: true}}, 1, []string{"work h1 failed async task did not complete within the requested time - 60s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := goOn(t, c.k, task)
			assert.Equal(t, c.want, r.done())
			require.Len(t, c.k.starts, 1)
			for id, n := range c.k.starts {
				assert.Equal(t, c.starts, n)
				assert.Equal(t, []string{id}, c.k.gone)
			}
		})
	}
}

func TestLostJobSaysSo(t *testing.T) {
	r := goOn(t, &keeper{}, "    - {name: work, job: build, async: 60, poll: 1}\n")
	require.Len(t, r.done(), 1)
	assert.Contains(t, r.done()[0], "is gone from the host without a result")
}

// The name of a job follows from the run's and the task's place: the same run gives the same names, and each
// start in it another.
func TestJobNamesAreStable(t *testing.T) {
	k := &keeper{}
	var ids []string
	for _, e := range goOn(t, k, "    - {name: work, job: build, async: 60, poll: 0, loop: [a, b], register: r}\n    - {name: more, job: build, async: 60, poll: 0}\n").events {
		if j, ok := e.(event.JobStarted); ok {
			ids = append(ids, j.Job)
			assert.Regexp(t, `^jr1\.[0-9a-f]{12}$`, j.Job)
		}
	}
	assert.Len(t, ids, 3)
	assert.Len(t, k.starts, 3)
	assert.NotEqual(t, ids[0], ids[1])
	assert.NotEqual(t, ids[1], ids[2])
}

func TestAsyncLimitsOtherModules(t *testing.T) {
	begun := time.Now()
	r := goOn(t, &keeper{}, "    - {name: wait, sleep: {}, async: 1}\n")
	assert.Equal(t, []string{"wait h1 failed async task did not complete within the requested time - 1s"}, r.done())
	assert.Less(t, time.Since(begun), 5*time.Second)
}
