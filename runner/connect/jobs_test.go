package connect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pegbook/pegbook/modules"
)

var jobNumber atomic.Int64

// startJob starts a command as a job of its own.
func startJob(t *testing.T, s *subject, limit time.Duration, argv ...string) (modules.Job, modules.JobState) {
	t.Helper()
	job := modules.Job{ID: fmt.Sprintf("test-%d-%d", os.Getpid(), jobNumber.Add(1)), Limit: limit,
		Command: modules.Command{Argv: argv, Env: map[string]string{"WORD": "quiet"}, Stdin: []byte("input")}}
	state, err := s.jobs(t).StartJob(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := s.jobsIn(context.WithoutCancel(t.Context()), t).ForgetJob(context.WithoutCancel(t.Context()), job.ID); err != nil {
			t.Error(err)
		}
	})
	return job, state
}

func (s *subject) jobs(t *testing.T) modules.Jobs { return s.jobsIn(t.Context(), t) }

func (s *subject) jobsIn(ctx context.Context, t *testing.T) modules.Jobs {
	t.Helper()
	h, err := s.pool.Open(ctx, s.address, s.become)
	if err != nil {
		t.Fatal(err)
	}
	return h.(modules.Jobs)
}

// jobEnds waits until a job does not run any more.
func jobEnds(t *testing.T, s *subject, id string) modules.JobState {
	t.Helper()
	var state modules.JobState
	waitFor(t, "the end of job "+id, func() bool {
		var err error
		if state, err = s.jobs(t).Job(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		return !state.Running
	})
	return state
}

// A job goes on when the connection goes, is found again by its name with its result, and runs once however
// often it is started.
func testJob(t *testing.T, s *subject) {
	file := filepath.Join(s.folder(t), "ran")
	job, state := startJob(t, s, time.Minute, "sh", "-c", `echo $PPID >>`+file+`; cat; echo "$WORD" >&2; sleep 1; exit 3`)
	if !state.Running || state.Finished || state.Path == "" {
		t.Errorf("as it starts: %+v", state)
	}
	waitFor(t, "the job", func() bool { text, err := os.ReadFile(file); return err == nil && len(text) > 0 })
	if s.remote {
		killHelper(t, s)
	}
	s.pool.Reset(s.address)
	state = jobEnds(t, s, job.ID)
	var exit *modules.ExitError
	if !state.Finished || !errors.As(state.Err, &exit) || exit.ExitCode != 3 || string(state.Output.Stdout) != "input" || string(state.Output.Stderr) != "quiet\n" {
		t.Errorf("as it ended: %+v", state)
	}
	again, err := s.jobs(t).StartJob(t.Context(), job)
	if err != nil || !again.Finished {
		t.Errorf("started once more: %+v, %v", again, err)
	}
	if ran, err := os.ReadFile(file); err != nil || strings.Count(string(ran), "\n") != 1 {
		t.Errorf("it ran %q, %v", ran, err)
	}
	info, err := os.Stat(state.Path)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if left, err := os.ReadDir(state.Path); err != nil || len(left) != 2 {
		t.Errorf("its folder holds %v, %v", left, err)
	}
	if gone, err := s.jobs(t).ForgetJob(t.Context(), job.ID); err != nil || gone.Path != state.Path {
		t.Errorf("forgotten: %+v, %v", gone, err)
	}
	if _, err := s.jobs(t).Job(t.Context(), job.ID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("asked for once forgotten: %v", err)
	}
}

func killHelper(t *testing.T, s *subject) {
	t.Helper()
	helper, err := strconv.Atoi(strings.Fields(run(t, s.open(t), "sh", "-c", "echo $PPID"))[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(helper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// A job is ended at its limit, with all that it started.
func testJobLimit(t *testing.T, s *subject) {
	file := filepath.Join(s.folder(t), "pids")
	job, _ := startJob(t, s, 2*time.Second, tree(file).Argv...)
	pids := treePIDs(t, file)
	if state := jobEnds(t, s, job.ID); !state.Finished || !state.TimedOut || state.Err != nil {
		t.Errorf("%+v", state)
	}
	allGone(t, pids)
}

// A job whose program is not there says so, and one whose attendant was killed is lost, not running.
func testJobFaults(t *testing.T, s *subject) {
	job, _ := startJob(t, s, time.Minute, "sleep", "1000")
	state, err := s.jobs(t).Job(t.Context(), job.ID)
	if err != nil {
		t.Fatal(err)
	}
	process, err := os.ReadFile(filepath.Join(state.Path, "process"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.Fields(string(process))[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if state := jobEnds(t, s, job.ID); state.Finished {
		t.Errorf("without its attendant: %+v", state)
	}
	none := modules.Job{ID: job.ID + "-none", Limit: time.Minute, Command: modules.Command{Argv: []string{"/no/such"}}}
	if _, err := s.jobs(t).StartJob(t.Context(), none); err != nil {
		t.Fatal(err)
	}
	if state := jobEnds(t, s, none.ID); !state.Finished || !errors.Is(state.Err, fs.ErrNotExist) {
		t.Errorf("without a program: %+v", state)
	}
	if _, err := s.jobs(t).ForgetJob(t.Context(), none.ID); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"", "../up", ".", "a b"} {
		if _, err := s.jobs(t).Job(t.Context(), id); err == nil {
			t.Errorf("a job may be called %q", id)
		}
	}
}

// A second connection takes what sshd's MaxSessions does not let onto the first.
func TestMoreSessionsThanAllowed(t *testing.T) {
	s := startSSHD(t, loopback+".14", 22240, "MaxSessions 1")
	pool := newPool(t, Options{})
	first, err := pool.Open(t.Context(), s.address, Become{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := pool.Open(t.Context(), s.address, Become{User: "nobody"})
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range []modules.Host{first, second, first} {
		if out := run(t, h, "id", "-un"); out != []string{"root\n", "nobody\n", "root\n"}[i] {
			t.Errorf("host %d is %q", i, out)
		}
	}
	pool.Reset(s.address)
	if _, err := second.Look(t.Context(), modules.Query{Path: "/"}); err == nil {
		t.Error("the second connection is not closed with the first")
	}
}

// A helper that was built for another wire is told from one that does not start.
func TestStaleHelper(t *testing.T) {
	for _, c := range []struct{ hello, says string }{{"hello", "an older one"}, {"hello 0ldw1re", "0ldw1re"}} {
		s := &starter{name: "h", folder: t.TempDir(), binaries: &binaries{files: embedded}, every: time.Second, trips: &atomic.Int64{}}
		_, err := s.start(t.Context(), func(ctx context.Context, line string) (stream, error) {
			mark := line[strings.Index(line, "pegbook/"):]
			mark = mark[:strings.IndexByte(mark, ' ')]
			return localOpen(ctx, "echo "+mark+c.hello+"; cat >/dev/null")
		}, Become{})
		wantText(t, err, c.says, "another wire", "go generate")
	}
}
