package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"strconv"
	"syscall"
)

// dieAtEvent says at which of its events, from 1, a pegbook that is called mortalName kills itself.
const (
	dieAtEvent = "DIE_AT_EVENT"
	mortalName = "pegbook-mortal"
)

// mortalMain is pegbook with --json that is killed by SIGKILL at an event: it is in the journal then, and what follows
// from it has not begun.
func mortalMain() {
	at, err := strconv.Atoi(os.Getenv(dieAtEvent))
	if err != nil {
		panic(err)
	}
	out := &mortal{Writer: os.Stdout, at: at}
	os.Exit(run(context.Background(), os.Args[1:], streams{in: os.Stdin, out: out, err: os.Stderr}, signals()))
}

// mortal counts lines, which are events, and kills the process before one of them.
type mortal struct {
	io.Writer
	at, seen int
}

func (m *mortal) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if !isBoundary(line) {
			continue
		}
		if m.seen++; m.seen == m.at {
			if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
				panic(err)
			}
			select {}
		}
	}
	return m.Writer.Write(p)
}

// isBoundary leaves out what comes as often as time allows.
func isBoundary(line []byte) bool { return !bytes.Contains(line, []byte(`"event":"noted"`)) }
