package plugins

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownGroup puts a plugin into a process group of its own, out of reach of the terminal's Ctrl-C, and has the
// kernel end it when pegbook ends, however that happens.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// closeOnExec keeps from a plugin the files that whoever started pegbook has left open. Pegbook opens its own so.
func closeOnExec() {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range open {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

// keepCoresOff sees to it that no core file of a plugin holds the secrets that it was given.
func keepCoresOff(pid int) { _ = unix.Prlimit(pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil) } // it may have ended

// killMarked ends what a plugin has started and what has left its process group since: their environment says it.
func killMarked(mark string) {
	for range 3 { // a process may start another one meanwhile
		if !killMarkedOnce([]byte(mark)) {
			return
		}
	}
}

func killMarkedOnce(mark []byte) (any bool) {
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return false
	}
	for _, path := range all {
		env, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(env, mark) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
			any = true
		}
	}
	return any
}
