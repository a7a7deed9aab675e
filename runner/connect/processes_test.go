package connect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// tree is a command that has children of three kinds: in its own process group, in another, and one
// that ignores being asked to end. Their numbers are in the file.
func tree(file string) modules.Command {
	return modules.Command{Argv: []string{"sh", "-c", `sleep 1011 & echo $! >>"$1"; timeout 1012 sleep 1012 & echo $! >>"$1";
sh -c 'trap "" TERM; echo $$ >>"$1"; while :; do sleep 1; done' sh "$1" & sleep 0.2; echo done >>"$1"; wait`, "sh", file}}
}

// treePIDs waits until the tree is up.
func treePIDs(t testing.TB, file string) []int {
	t.Helper()
	var words []string
	waitFor(t, "the tree of processes", func() bool {
		content, _ := os.ReadFile(file)
		words = strings.Fields(string(content))
		return len(words) == 4
	})
	var pids []int
	for _, w := range words {
		if pid, err := strconv.Atoi(w); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return len(rest) > 0 && rest[0] != 'Z'
}

func allGone(t testing.TB, pids []int) {
	t.Helper()
	waitFor(t, fmt.Sprintf("the end of %v", pids), func() bool {
		for _, pid := range pids {
			if running(pid) {
				return false
			}
		}
		return true
	})
}

func testCancel(t *testing.T, s *subject) {
	h, file := s.open(t), filepath.Join(s.folder(t), "pids")
	cause := errors.New("the task took too long")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		treePIDs(t, file)
		cancel(cause)
	}()
	_, err := h.Run(ctx, tree(file))
	if !errors.Is(err, cause) {
		t.Errorf("cancelled: %v", err)
	}
	for _, pid := range treePIDs(t, file) {
		if running(pid) {
			t.Errorf("process %d runs on after Run has returned", pid)
		}
	}
	if out := run(t, h, "echo", "alive"); out != "alive\n" {
		t.Errorf("after a cancel: %q", out)
	}
}

func testLeftBehind(t *testing.T, s *subject) {
	h := s.open(t)
	began := time.Now()
	pid, err := strconv.Atoi(strings.TrimSpace(run(t, h, "sh", "-c", "sleep 1013 & echo $!")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("a child that holds the output open keeps Run for %s", took)
	}
	if !running(pid) {
		t.Error("what a command left in the background has ended with it")
	}
}

func testDetach(t *testing.T, s *subject) {
	dir := s.folder(t)
	h, log := s.open(t), filepath.Join(dir, "log")
	out, err := h.Run(t.Context(), modules.Command{Argv: []string{"sh", "-c", "echo started; exec sleep 1014"}, Detach: true, Log: log})
	if err != nil || out.PID == 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	defer func() { _ = syscall.Kill(out.PID, syscall.SIGKILL) }()
	s.pool.Reset(s.address)
	time.Sleep(300 * time.Millisecond)
	if !running(out.PID) {
		t.Error("it ended with its connection")
	}
	if content, err := os.ReadFile(log); string(content) != "started\n" {
		t.Errorf("log: %q, %v", content, err)
	}
	if _, err := s.open(t).Run(t.Context(), modules.Command{Argv: []string{"/no/such"}, Detach: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing program: %v", err)
	}
}

func testCut(t *testing.T, s *subject) {
	h, file := s.open(t), filepath.Join(s.folder(t), "pids")
	failed := make(chan error, 1)
	go func() {
		_, err := h.Run(t.Context(), tree(file))
		failed <- err
	}()
	pids := treePIDs(t, file)
	s.pool.Reset(s.address)
	var gone *modules.UnreachableError
	if err := <-failed; !errors.As(err, &gone) || gone.Host != s.address.Name {
		t.Errorf("a task in flight: %v", err)
	}
	allGone(t, pids)
	if _, err := h.Look(t.Context(), modules.Query{Path: "/"}); !errors.As(err, &gone) {
		t.Errorf("the old host: %v", err)
	}
	if out := run(t, s.open(t), "echo", "again"); out != "again\n" {
		t.Errorf("after dialling anew: %q", out)
	}
}

func testHelperKilled(t *testing.T, s *subject) {
	if !s.remote {
		t.Skip("the helper is this process")
	}
	h, file := s.open(t), filepath.Join(s.folder(t), "pids")
	failed := make(chan error, 1)
	go func() {
		_, err := h.Run(t.Context(), tree(file))
		failed <- err
	}()
	pids := treePIDs(t, file)
	time.Sleep(200 * time.Millisecond) // the guard hears of a command when it has run for a moment
	parent := strings.Fields(run(t, h, "sh", "-c", "echo $PPID"))[0]
	helper, _ := strconv.Atoi(parent)
	if err := syscall.Kill(helper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var gone *modules.UnreachableError
	if err := <-failed; !errors.As(err, &gone) {
		t.Errorf("a task in flight: %v", err)
	}
	allGone(t, pids)
	if out := run(t, s.open(t), "echo", "again"); out != "again\n" {
		t.Errorf("with a new helper: %q", out)
	}
}

// A command that has only just begun ends with the helper too; where a longer one has run before it, with
// all that it has started.
func testYoungKilled(t *testing.T, s *subject) {
	if !s.remote {
		t.Skip("the helper is this process")
	}
	for _, c := range []struct{ name, before, script string }{
		{"alone", "", `echo $$ >"$1.new"; mv "$1.new" "$1"; exec sleep 1016`},
		{"with children", "sleep 0.4; ", `sleep 1017 & echo $$ $! >"$1.new"; mv "$1.new" "$1"; wait`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, file := s.open(t), filepath.Join(s.folder(t), "pids")
			helper, err := strconv.Atoi(strings.TrimSpace(run(t, h, "sh", "-c", c.before+"echo $PPID")))
			if err != nil {
				t.Fatal(err)
			}
			failed := make(chan error, 1)
			go func() {
				_, err := h.Run(t.Context(), modules.Command{Argv: []string{"sh", "-c", c.script, "sh", file}})
				failed <- err
			}()
			var pids []int
			for deadline := time.Now().Add(10 * time.Second); len(pids) == 0 && time.Now().Before(deadline); {
				content, _ := os.ReadFile(file)
				for _, w := range strings.Fields(string(content)) {
					pid, _ := strconv.Atoi(w)
					pids = append(pids, pid)
				}
			}
			if err := syscall.Kill(helper, syscall.SIGKILL); err != nil || len(pids) == 0 {
				t.Fatalf("processes %v: %v", pids, err)
			}
			var gone *modules.UnreachableError
			if err := <-failed; !errors.As(err, &gone) {
				t.Errorf("a task in flight: %v", err)
			}
			allGone(t, pids)
		})
	}
}
