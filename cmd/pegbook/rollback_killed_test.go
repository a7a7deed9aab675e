package main

import (
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mortalBook is pegbook in a process of its own, which is killed at the event or a time after it, if it comes so far.
func mortalBook(t *testing.T, random *rand.Rand, events int, args ...string) (b *bookRun, dead bool) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	b = &bookRun{t: t}
	cmd := exec.CommandContext(t.Context(), exe, append(args, "--json")...)
	cmd.Args[0] = mortalName
	cmd.Stdout, cmd.Stderr = b, lockedErr{b}
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", dieAtEvent, 1+random.Intn(events)))
	if random.Intn(3) > 0 { // a task takes about as long
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%v", dieAfter, time.Duration(1+random.Intn(1500))*time.Microsecond))
	}
	_ = cmd.Run() // how it ended is seen below
	require.NotNil(t, cmd.ProcessState, "it was not started")
	return b, cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
}

// TestARunThatIsTakenBackIsKilled takes runs of random playbooks back, some of which were killed, too, with processes
// that are killed at events and between them, and goes on with what was killed: every byte, mode and owner is as before,
// and nothing else is left.
func TestARunThatIsTakenBackIsKilled(t *testing.T) {
	var kills, compared atomic.Int32
	t.Run("seeds", func(t *testing.T) {
		for seed := range seeds(t) {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				random := rand.New(rand.NewSource(1000 + seed))
				dir := t.TempDir()
				randomBook(t, random, dir)
				before := tree(t, filepath.Join(dir, "trees"))
				run, events := mortalForth(t, random, dir, seed%3 == 0)
				if events == 0 {
					return
				}
				kills.Add(takeBackKilled(t, random, run, events))
				text, err := os.ReadFile(filepath.Join(dir, "site.yml"))
				require.NoError(t, err)
				require.Equal(t, before, tree(t, filepath.Join(dir, "trees")), "%s", text)
				compared.Add(1)
			})
		}
	})
	t.Logf("%d kills of %d runs", kills.Load(), compared.Load())
	assert.GreaterOrEqual(t, kills.Load(), 2*compared.Load())
	assert.GreaterOrEqual(t, compared.Load(), int32(8))
}

// mortalForth has the random playbook run, and gives how many events the dry run of taking that back has; 0 where it
// has changed nothing, or has removed a directory and made it again, which is refused.
func mortalForth(t *testing.T, random *rand.Rand, dir string, mayDie bool) (run string, events int) {
	t.Helper()
	args := []string{"run", filepath.Join(dir, "site.yml"), "-i", filepath.Join(dir, "hosts")}
	if mayDie {
		forth, _ := mortalBook(t, random, 30, args...)
		run = forth.id()
	} else {
		run = ranBook(t, args...).id()
	}
	if run == "" {
		return "", 0 // it was killed before it began
	}
	dry := ranBook(t, "runs", "rollback", run, "--check")
	if <-dry.code == 1 || strings.Contains(dry.says(), "is there again") {
		return "", 0
	}
	return run, len(dry.all())
}

// takeBackKilled takes a run back with processes of which the first ones are killed, and gives how many were.
func takeBackKilled(t *testing.T, random *rand.Rand, run string, events int) (kills int32) {
	t.Helper()
	anew := []string{"runs", "rollback", run, "--yes"}
	args := anew
	for range 4 {
		b, dead := mortalBook(t, random, max(3, events), args...)
		if b.exitCode() == 0 {
			return kills // before it was killed
		}
		if !dead {
			require.Contains(t, b.says(), "has come to its end", "%v", args) // it was killed after that
			return kills
		}
		kills++
		if id := b.id(); id != "" {
			args = []string{"runs", "resume", id}
		} // else it may not have begun
		events -= len(b.all())
	}
	last := ranBook(t, args...)
	if code := <-last.code; code != 0 {
		require.Contains(t, last.says(), "has come to its end", "%v", args) // it was killed after that
	}
	return kills
}

// seeds are those of the random playbooks that are killed: PEGBOOK_TEST_SEEDS of them.
func seeds(t *testing.T) int64 {
	t.Helper()
	text := os.Getenv("PEGBOOK_TEST_SEEDS")
	if text == "" {
		return 14
	}
	n, err := strconv.ParseInt(text, 10, 64)
	require.NoError(t, err)
	return n
}

// exitCode is with what a run said that it ended; -1 where it did not say so.
func (b *bookRun) exitCode() int {
	for _, e := range b.all() {
		if e.Event == "run_done" {
			return e.ExitCode
		}
	}
	return -1
}
