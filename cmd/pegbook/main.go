// Command pegbook runs playbooks on clusters: it parses, connects the parts, shows what happens, and
// decides exit codes. Everything else is the library's.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, signals()))
}

// signals gives the interrupts of a person at the terminal, or of a supervisor, and that the terminal has gone. Under
// nohup it may go.
func signals() <-chan os.Signal {
	c := make(chan os.Signal, 2)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(c, syscall.SIGHUP)
	}
	return c
}
