package plugins

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

// open opens the test's own program as a plugin that behaves as how says.
func open(t *testing.T, how string, o Options) (*Plugin, error) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	t.Setenv(behaviour, how)
	p, err := Open(t.Context(), File{Path: self, Env: []string{behaviour}}, o)
	if err == nil {
		t.Cleanup(func() { require.NoError(t, p.Close()) })
	}
	return p, err
}

func mustOpen(t *testing.T, o Options) *Plugin {
	t.Helper()
	p, err := open(t, "", o)
	require.NoError(t, err)
	return p
}

// act uses the plugin's module on a host in memory.
func act(ctx context.Context, p *Plugin, how string) (*modules.Proposal, error) {
	host := modtest.NewMachine("host1")
	call := &modules.Call{Host: host, Hostname: "host1", Note: func(string, ...any) {}}
	args, err := json.Marshal(map[string]string{"how": how})
	if err != nil {
		return nil, err
	}
	return p.Modules()[0].Propose(ctx, call, args)
}

func TestPluginThatCannotBeUsedIsNamed(t *testing.T) {
	for _, c := range []struct{ how, want string }{
		{"dies at once", "ended before it had begun to serve (exit status 3); its last words: cannot find libfoo.so"},
		{"never serves", "has not begun to serve within 1s"},
		{"answers nonsense", `answers nonsense instead of a plugin's first line: "Hello, I am a web server on port 80"`},
		{"greets without end", "answers nonsense"},
		{"speaks version 9", "speaks version 9 of the plugin protocol; this pegbook speaks version 1"},
		{"listens for everybody", "listens on tcp 127.0.0.1:1 and not on a Unix socket"},
		{"is no gRPC", `unsupported plugin protocol "netrpc"`},
		{"two of a name", `describes itself wrongly: "Not A Name" is no name of a module`},
	} {
		t.Run(c.how, func(t *testing.T) {
			began := time.Now()
			_, err := open(t, c.how, Options{Start: time.Second})
			var e *Error
			require.ErrorAs(t, err, &e)
			require.ErrorContains(t, err, "plugin plugins")
			require.ErrorContains(t, err, c.want)
			require.Less(t, time.Since(began), 4*time.Second)
		})
	}
}

func TestPluginThatDiesFailsItsTaskAndServesTheNext(t *testing.T) {
	p := mustOpen(t, Options{})
	for _, c := range []struct{ how, want string }{
		{"die", "plugin plugins: died (exit status 7); its last words: fatal: disk on fire"},
		{"crash", "plugin plugins: died (exit status 2); its last words: panic: nobody catches me"},
	} {
		_, err := act(t.Context(), p, c.how)
		require.EqualError(t, err, c.want)
		proposal, err := act(t.Context(), p, "well")
		require.NoError(t, err)
		require.Equal(t, "well", proposal.Message)
	}
	proposal, err := act(t.Context(), p, "do and die")
	require.NoError(t, err)
	err = proposal.Do(t.Context(), modtest.NewMachine("host1"))
	require.ErrorContains(t, err, "plugin plugins: died (exit status 7)")
}

func TestPluginThatDiedBeforeATaskDoesNotFailIt(t *testing.T) {
	p := mustOpen(t, Options{})
	for i := range 10 {
		_, err := act(t.Context(), p, "well")
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(p.PID(), syscall.SIGKILL))
		time.Sleep(time.Duration(i) * 300 * time.Microsecond) // what is known of it by then differs
		proposal, err := act(t.Context(), p, "well")
		require.NoError(t, err)
		require.Equal(t, "well", proposal.Message)
	}
}

func TestStartThatHangsIsGivenUpWithItsTask(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	t.Setenv(behaviour, "never serves")
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("that is enough")
	time.AfterFunc(100*time.Millisecond, func() { cancel(enough) })
	began := time.Now()
	_, err = Open(ctx, File{Path: self, Env: []string{behaviour}}, Options{})
	require.ErrorIs(t, err, enough)
	require.Less(t, time.Since(began), 3*time.Second)
}

func TestTasksWaitForOneStart(t *testing.T) {
	p := mustOpen(t, Options{Start: time.Second})
	t.Setenv(behaviour, "never serves")
	_, err := act(t.Context(), p, "die")
	require.Error(t, err)
	began := time.Now()
	var all sync.WaitGroup
	errs := make(chan error, 20)
	for range cap(errs) {
		all.Go(func() {
			_, err := act(t.Context(), p, "well")
			errs <- err
		})
	}
	all.Wait()
	require.Less(t, time.Since(began), 5*time.Second)
	for range cap(errs) {
		require.ErrorContains(t, <-errs, "has not begun to serve within 1s")
	}
}

func TestPluginIsGivenNoOpenFilesAndLeavesNoCores(t *testing.T) {
	f, err := os.Open("/etc/passwd")
	require.NoError(t, err)
	defer f.Close()
	left, err := syscall.Dup(int(f.Fd())) // as a shell's exec 9< leaves it
	require.NoError(t, err)
	defer syscall.Close(left)
	proposal, err := act(t.Context(), mustOpen(t, Options{}), "files")
	require.NoError(t, err)
	require.NotContains(t, proposal.Message, "/etc/passwd")
	require.Contains(t, proposal.Message, "cores up to 0 ")
}

func TestBugInAModuleFailsItsTaskAlone(t *testing.T) {
	p := mustOpen(t, Options{})
	pid := p.PID()
	_, err := act(t.Context(), p, "panic")
	require.ErrorContains(t, err, "bug in the plugin: proposing is too hard")
	_, err = act(t.Context(), p, "fail")
	require.EqualError(t, err, "cannot do this")
	require.Equal(t, pid, p.PID())
}

func TestPluginThatHangsIsGivenUp(t *testing.T) {
	p := mustOpen(t, Options{Silence: 300 * time.Millisecond})
	began := time.Now()
	_, err := act(t.Context(), p, "hang")
	require.ErrorContains(t, err, "plugin plugins: has said nothing for 300ms")
	require.Less(t, time.Since(began), 5*time.Second)
	_, err = act(t.Context(), p, "well")
	require.NoError(t, err)
}

func TestCancelledTaskEndsPromptly(t *testing.T) {
	p := mustOpen(t, Options{})
	for _, how := range []string{"wait", "hang"} { // one that listens, one that does not
		ctx, cancel := context.WithCancelCause(t.Context())
		enough := errors.New("that is enough")
		time.AfterFunc(50*time.Millisecond, func() { cancel(enough) })
		began := time.Now()
		_, err := act(ctx, p, how)
		require.ErrorIs(t, err, enough, how)
		require.Less(t, time.Since(began), 3*time.Second, how)
	}
}

func TestFloodIsBounded(t *testing.T) {
	p := mustOpen(t, Options{})
	_, err := act(t.Context(), p, "flood") // 40 MB
	require.NoError(t, err)
	require.LessOrEqual(t, len(p.now.launch.said()), maxWords)
}

func TestPluginSeesNothingOfPegbooksEnvironment(t *testing.T) {
	t.Setenv("VAULT_PASSWORD", "s3cret")
	p := mustOpen(t, Options{})
	proposal, err := act(t.Context(), p, "environment")
	require.NoError(t, err)
	require.NotContains(t, proposal.Message, "s3cret")
	require.Contains(t, proposal.Message, "PATH=/usr/local/sbin:")
}

func TestAnswersThatAreNone(t *testing.T) {
	p := mustOpen(t, Options{})
	proposal, err := act(t.Context(), p, "nothing")
	require.NoError(t, err)
	require.Nil(t, proposal)
}

func TestAllHostsShareOneProcess(t *testing.T) {
	p := mustOpen(t, Options{})
	pid := p.PID()
	var all sync.WaitGroup
	errs := make(chan error, 100)
	for range 100 {
		all.Go(func() {
			_, err := act(t.Context(), p, "look")
			errs <- err
		})
	}
	all.Wait()
	for range 100 {
		require.NoError(t, <-errs)
	}
	require.Equal(t, pid, p.PID())
}

func TestChangedFileIsRefusedWithBothSums(t *testing.T) {
	path := filepath.Join(t.TempDir(), "motd")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755))
	want := strings.Repeat("ab", 32)
	_, err := Open(t.Context(), File{Path: path, SHA256: want}, Options{})
	var changed *ChangedError
	require.ErrorAs(t, err, &changed)
	require.Equal(t, &ChangedError{Path: path, Want: want, Got: "a8076d3d28d21e02012b20eaf7dbf75409a6277134439025f282e368e3305abf"}, changed)
}

func TestWhatIsRunIsWhatWasHashed(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	program, err := os.ReadFile(self)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "motd.bin")
	require.NoError(t, os.WriteFile(path, program, 0o755))
	p, err := Open(t.Context(), File{Path: path}, Options{})
	require.NoError(t, err)
	defer p.Close()
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\nexit 1\n"), 0o755))
	_, err = act(t.Context(), p, "die")
	require.Error(t, err)
	_, err = act(t.Context(), p, "well") // a new process, of the same program
	require.NoError(t, err)
}

func TestFilesThatAreNoPlugins(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"plain": 0o644, "everybodys": 0o777} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o600))
		require.NoError(t, os.Chmod(path, mode))
	}
	for path, want := range map[string]string{dir: "is no program", dir + "/plain": "is no program", dir + "/everybodys": "can be changed by everybody", dir + "/none": "no such file"} {
		_, err := Open(t.Context(), File{Path: path}, Options{})
		require.ErrorContains(t, err, want)
	}
}

// gone waits for the end of a process.
func gone(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(state), ") Z ")
	}, 5*time.Second, 10*time.Millisecond, "process %d lives on", pid)
}

// family is a process and those that its environment tells: what it has started, wherever that is now.
func family(t *testing.T, pid int) []int {
	t.Helper()
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	require.NoError(t, err)
	mark := regexp.MustCompile("PLUGIN_UNIX_SOCKET_DIR=[^\x00]+").Find(env)
	require.NotEmpty(t, mark)
	var all []int
	require.Eventually(t, func() bool {
		all = nil
		paths, err := filepath.Glob("/proc/[0-9]*/environ")
		require.NoError(t, err)
		for _, path := range paths {
			if env, err := os.ReadFile(path); err == nil && bytes.Contains(env, mark) {
				n, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
				require.NoError(t, err)
				all = append(all, n)
			}
		}
		return len(all) == 3
	}, 5*time.Second, 10*time.Millisecond)
	return all
}

func TestCloseEndsThePluginAndItsChildren(t *testing.T) {
	p, err := open(t, "has children", Options{})
	require.NoError(t, err)
	all := family(t, p.PID())
	require.NoError(t, p.Close())
	for _, pid := range all {
		gone(t, pid)
	}
	_, err = act(t.Context(), p, "well")
	require.ErrorContains(t, err, "was closed")
}

func TestFrozenPluginIsEndedWithPegbook(t *testing.T) {
	p := mustOpen(t, Options{})
	pid := p.PID()
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	began := time.Now()
	require.NoError(t, p.Close())
	require.Less(t, time.Since(began), 3*time.Second)
	gone(t, pid)
}

func TestNoPluginOutlivesAKilledPegbook(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	temp, err := os.MkdirTemp("/tmp", "sweep") // a short name, and nobody else's: every pegbook sweeps
	require.NoError(t, err)
	defer os.RemoveAll(temp)
	t.Setenv("TMPDIR", temp)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), behaviour+"=pegbook")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err, line)
	all := family(t, pid)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	for _, pid := range all {
		gone(t, pid)
	}
	// What it has left is taken away by the next one.
	left := func() []string {
		paths, err := filepath.Glob(filepath.Join(temp, fmt.Sprintf("%s%d-*", socketPrefix, cmd.Process.Pid)))
		require.NoError(t, err)
		return paths
	}
	require.Len(t, left(), 1)
	mustOpen(t, Options{})
	require.Empty(t, left())
}
