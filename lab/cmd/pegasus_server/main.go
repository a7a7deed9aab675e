// Command pegasus_server is the simulated server of lab/pegasus under the real
// one's name and command line.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/pegbook/pegbook/lab/pegasus"
)

func main() {
	// Only SIGTERM is handled: INT, QUIT and HUP kill the real server, too.
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	exe, err := os.Executable()
	if err != nil {
		exe = os.Args[0]
	}
	os.Exit(pegasus.Run(context.Background(), pegasus.Options{
		Args: os.Args[1:], Env: os.Getenv, Out: os.Stdout, Err: os.Stderr,
		Version: pegasus.PackagedVersion(exe), Signals: term,
	}))
}
