// Command cmd is the helper as it is sent to managed hosts. It is started by the bootstrap script of
// package connect and by nobody else: helper MARK SECONDS, where MARK is what its first output must
// begin with, and SECONDS how long it lives without hearing from the control node.
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
)

func main() { os.Exit(run()) }

func run() int {
	if len(os.Args) != 3 {
		_, _ = io.WriteString(os.Stderr, "this program is started by pegbook, not by hand\n")
		return 1
	}
	// Two: one that hashes or unpacks must not keep a cancel waiting, and more threads only cost the host.
	runtime.GOMAXPROCS(2)
	debug.SetMemoryLimit(256 << 20)
	seconds, err := strconv.Atoi(os.Args[2])
	if err != nil || seconds < 0 {
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	defer stop()
	// A connection that is gone shows in the input's end; writing to it must not kill us before the
	// commands have ended. Caught, not ignored: commands would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if _, err := io.WriteString(os.Stdout, os.Args[1]+"hello\n"); err != nil {
		return 1
	}
	if err := helper.Serve(ctx, os.Stdin, os.Stdout, time.Duration(seconds)*time.Second); err != nil {
		return 1
	}
	return 0
}
