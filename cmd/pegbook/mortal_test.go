package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"
)

// dieAtEvent says at which of its events, from 1, a pegbook that is called mortalName kills itself, and dieAfter how
// long after it; without that the event does not come about.
const (
	dieAtEvent = "DIE_AT_EVENT"
	dieAfter   = "DIE_AFTER"
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
	if text := os.Getenv(dieAfter); text != "" {
		if out.after, err = time.ParseDuration(text); err != nil {
			panic(err)
		}
	}
	os.Exit(run(context.Background(), os.Args[1:], streams{in: os.Stdin, out: out, err: os.Stderr}, signals()))
}

// mortal counts lines, which are events, and kills the process before one of them, or a time after it.
type mortal struct {
	io.Writer
	at, seen int
	after    time.Duration
}

func (m *mortal) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if !isBoundary(line) {
			continue
		}
		if m.seen++; m.seen == m.at && m.after > 0 {
			time.AfterFunc(m.after, die)
		} else if m.seen == m.at {
			die()
		}
	}
	return m.Writer.Write(p)
}

func die() {
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		panic(err)
	}
	select {}
}

// isBoundary leaves out what comes as often as time allows.
func isBoundary(line []byte) bool { return !bytes.Contains(line, []byte(`"event":"noted"`)) }
