// Command cmd is the helper as it is sent to managed hosts. It is started by the bootstrap script of
// package connect and by nobody else: helper MARK SECONDS, where MARK is what its first output must
// begin with, and SECONDS how long it lives without hearing from the control node. A helper starts itself
// once more for each job, to stay with it: helper job FOLDER.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/runner/connect/helper"
	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

func main() { os.Exit(run()) }

func run() int {
	if len(os.Args) != 3 {
		_, _ = io.WriteString(os.Stderr, "this program is started by pegbook, not by hand\n")
		return 1
	}
	// One thread at work: handing requests from one to another would cost the host more than most of them.
	// A goroutine that hashes or unpacks is interrupted every 10 ms, so a cancel does not wait for it.
	runtime.GOMAXPROCS(1)
	debug.SetMemoryLimit(256 << 20)
	if os.Args[1] == "job" {
		return attend(os.Args[2])
	}
	seconds, err := strconv.Atoi(os.Args[2])
	if err != nil || seconds < 0 {
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	defer stop()
	// A connection that is gone shows in the input's end; writing to it must not kill us before the
	// commands have ended. Caught, not ignored: commands would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if _, err := io.WriteString(os.Stdout, os.Args[1]+"hello "+wire.Fingerprint()+"\n"); err != nil {
		return 1
	}
	in, out := pollable(syscall.Stdin, "stdin"), pollable(syscall.Stdout, "stdout")
	if err := helper.Serve(ctx, in, out, time.Duration(seconds)*time.Second); err != nil {
		return 1
	}
	return 0
}

// attend stays with a job. Whoever started it reads one line and may be gone by then.
func attend(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if err := helper.Attend(ctx, dir, os.Stdout); err != nil {
		_, _ = io.WriteString(os.Stdout, err.Error()+"\n")
		return 1
	}
	return 0
}

// pollable makes waiting for a pipe or socket cost no thread.
func pollable(fd int, name string) *os.File {
	_ = syscall.SetNonblock(fd, true) // what cannot be is waited for the old way
	return os.NewFile(uintptr(fd), name)
}
