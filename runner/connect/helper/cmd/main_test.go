package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// attends names the folder of the job that this program attends to in place of running tests.
const attends = "PEGBOOK_TEST_ATTENDS"

func TestMain(m *testing.M) {
	if dir := os.Getenv(attends); dir != "" {
		os.Exit(attend(dir))
	}
	os.Exit(m.Run())
}

// started is the folder of a job that somebody has just asked for.
func started(t *testing.T, argv ...string) string {
	t.Helper()
	dir := t.TempDir()
	command(t, dir, argv...)
	return dir
}

func command(t *testing.T, dir string, argv ...string) {
	t.Helper()
	request := wire.AppendJob(nil, &wire.JobRequest{Act: wire.StartJob, ID: "job", Limit: int64(time.Minute), Command: wire.Command{Argv: argv, MaxOutput: 1000}})
	require.NoError(t, os.WriteFile(filepath.Join(dir, "command"), request, 0o600))
}

// attendant is a process that attends to the job in a folder and says to whom that it has begun.
func attendant(t *testing.T, dir string, to *os.File) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), attends+"="+dir)
	if to != nil {
		cmd.Stdout = to
	}
	return cmd
}

func files(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// TestAJobRunsWhenWhoeverStartedItIsGone closes the pipe that an attendant says "begun" into: a connection that is lost
// in the moment in which a job begins must not lose the job.
func TestAJobRunsWhenWhoeverStartedItIsGone(t *testing.T) {
	dir := started(t, "sh", "-c", "echo done")
	ours, theirs, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, ours.Close())
	defer theirs.Close()
	require.NoError(t, attendant(t, dir, theirs).Run())
	text, err := os.ReadFile(filepath.Join(dir, "result"))
	require.NoError(t, err)
	state, err := wire.ParseJobState(text)
	require.NoError(t, err)
	require.True(t, state.Finished)
	require.Equal(t, "process result", files(t, dir))
}

// TestAJobThatIsStartedTwiceKnowsWhoRunsIt starts a job as one does who has heard nothing of the first start.
func TestAJobThatIsStartedTwiceKnowsWhoRunsIt(t *testing.T) {
	ran, stop := filepath.Join(t.TempDir(), "ran"), filepath.Join(t.TempDir(), "stop")
	script := "echo $PPID >>" + ran + "; while ! [ -e " + stop + " ]; do sleep 0.01; done"
	dir := started(t, "sh", "-c", script)
	const times = 8
	var all sync.WaitGroup
	for range times {
		cmd := attendant(t, dir, nil)
		all.Go(func() { _ = cmd.Run() }) // all but one fail
	}
	require.Eventually(t, func() bool { text, err := os.ReadFile(ran); return err == nil && len(text) > 0 }, 10*time.Second, 5*time.Millisecond)
	// One more, when the job has been running for a while.
	command(t, dir, "sh", "-c", script)
	require.Error(t, attendant(t, dir, nil).Run())
	text, err := os.ReadFile(ran)
	require.NoError(t, err)
	process, err := os.ReadFile(filepath.Join(dir, "process"))
	require.NoError(t, err)
	require.Equal(t, strings.TrimSpace(string(text)), strings.Fields(string(process))[0], "the job names the process that runs it, the only one")
	require.NoError(t, os.WriteFile(stop, nil, 0o600))
	all.Wait()
	require.Equal(t, "process result", files(t, dir), "and its command, which may hold a secret, is nowhere")
}
