package connect

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// stream is a command line running in a shell, on a host or here: Read is its output, Write its input.
// Close ends the connection to it, not necessarily the program.
type stream interface {
	io.ReadWriteCloser
	Stderr() io.Reader
	// Ended waits, no longer than a moment, for the program's exit code; false is none.
	Ended() (code int, ok bool)
}

// opener starts a command line.
type opener func(ctx context.Context, line string) (stream, error)

// starter brings helpers to life through an opener.
type starter struct {
	name     string // of the host
	folder   string
	binaries *binaries
	every    time.Duration // between two keepalives
	trips    *atomic.Int64
}

// start makes a helper run for a user. The error is *modules.UnreachableError or *BecomeError.
func (s *starter) start(ctx context.Context, open opener, b Become) (*mux, error) {
	list, err := s.binaries.all()
	if err != nil {
		return nil, &modules.UnreachableError{Host: s.name, Err: err}
	}
	var nonce [8]byte
	_, _ = rand.Read(nonce[:])
	mark := "pegbook/" + hex.EncodeToString(nonce[:]) + ":"
	// Four keepalives may go missing before the helper gives us up.
	silence := max(1, int(4*s.every/time.Second))
	line, err := b.line(mark, s.folder, silence, list)
	if err != nil {
		return nil, s.becomeError(b, err.Error(), "")
	}
	st, err := open(ctx, line)
	if err != nil {
		hint := ""
		if known := (*hintError)(nil); errors.As(err, &known) {
			hint = known.hint
		}
		return nil, s.unreachable(ctx, err, hint)
	}
	t := &talk{stream: st, mark: mark, become: b, list: list, out: bufio.NewReaderSize(st, 4<<10), over: make(chan struct{})}
	go t.listen()
	err = t.within(ctx)
	switch {
	case errors.Is(err, errDeaf):
		return nil, s.unreachable(ctx, fmt.Errorf("the helper does not start: %w", context.Cause(ctx)), "")
	case err != nil:
		defer st.Close()
		return nil, s.failed(ctx, t, err)
	}
	m := newMux(t.out, st, s.trips, func() { st.Close() })
	m.keepAlive(s.every)
	return m, nil
}

// talk is the conversation before the helper speaks frames.
type talk struct {
	stream stream
	mark   string
	become Become
	list   map[string]binary
	out    *bufio.Reader
	noise  tail
	over   chan struct{} // closed when the error output has ended

	mu     sync.Mutex // guards the rest
	stderr tail
	asked  int
	spoken bool // the script runs: who asks for a password from now on is not the method
}

var errWrongPassword = errors.New("the password is wrong")

// hintError is a problem with what to do about it.
type hintError struct {
	problem error
	hint    string
}

func (e *hintError) Error() string { return e.problem.Error() }
func (e *hintError) Unwrap() error { return e.problem }

// errDeaf is a host that has said nothing until the time was up, and does not take notice that we go, either.
var errDeaf = errors.New("the host does not hear")

// farewell is how long a host has to take notice that its channel is closed.
const farewell = time.Second

// within is hello, as long as ctx lasts. Closing the channel ends what waits for the host only when the host answers: on
// a link that is dead it waits on, until the connection ends.
func (t *talk) within(ctx context.Context) error {
	abandon := context.AfterFunc(ctx, func() { t.stream.Close() })
	heard := make(chan error, 1)
	go func() { heard <- t.hello() }()
	var err error
	select {
	case err = <-heard:
	case <-ctx.Done():
		select {
		case err = <-heard:
		case <-time.After(farewell):
			return errDeaf
		}
	}
	if !abandon() && err == nil {
		err = context.Cause(ctx)
	}
	return err
}

// hello answers the script until the helper is there.
func (t *talk) hello() error {
	for sent := false; ; sent = true {
		w, err := hear(t.out, t.mark, &t.noise)
		if err != nil {
			return err
		}
		t.mu.Lock()
		t.spoken = true
		t.mu.Unlock()
		switch {
		case w.verb == "hello" && w.rest == wire.Fingerprint():
			return nil
		case w.verb == "hello":
			return &hintError{fmt.Errorf("the helper that is built into this pegbook speaks another wire (%s) than pegbook itself (%s)",
				or(w.rest, "an older one"), wire.Fingerprint()), "run go generate ./runner/connect and build pegbook again"}
		case w.verb == "need" && !sent:
			if err := t.upload(w.rest); err != nil {
				return err
			}
		case w.verb == "error":
			problem, hint := explain(w.rest)
			return &hintError{problem, hint}
		default:
			return fmt.Errorf("the helper said %q", w.verb)
		}
	}
}

func (t *talk) upload(need string) error {
	how, arch, _ := strings.Cut(need, " ")
	b := t.list["amd64"]
	if arch == "aarch64" || arch == "arm64" {
		b = t.list["arm64"]
	}
	read := b.packed
	if how == "plain" {
		read = b.unpacked
	}
	content, err := read()
	if err != nil {
		return err
	}
	// A script that gives up in the middle says why; reading that is more use than the broken pipe.
	_, _ = t.stream.Write(content)
	return nil
}

// listen reads the error output to its end, and answers the question for the password in it.
func (t *talk) listen() {
	defer close(t.over)
	prompt := t.become.prompt(t.mark)
	buffer := make([]byte, 1<<10)
	for {
		n, err := t.stream.Stderr().Read(buffer)
		t.mu.Lock()
		t.stderr.add(buffer[:n])
		question := !t.spoken && t.become.User != "" && t.become.Password != "" && strings.HasSuffix(strings.TrimSpace(string(t.stderr.kept)), prompt)
		if question {
			t.asked++
			t.stderr.kept = t.stderr.kept[:0]
		}
		wrong := t.asked > 1
		t.mu.Unlock()
		if wrong {
			t.stream.Close()
			return
		}
		if question {
			_, _ = io.WriteString(t.stream, t.become.Password+"\n")
		}
		if err != nil {
			return
		}
	}
}

func (s *starter) unreachable(ctx context.Context, err error, hint string) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return &modules.UnreachableError{Host: s.name, Err: err, Hint: hint}
}

func (s *starter) becomeError(b Become, problem, hint string) error {
	return &BecomeError{Host: s.name, User: b.User, Method: b.method(), Err: errors.New(problem), Hint: hint}
}

// failed says why no helper came.
func (s *starter) failed(ctx context.Context, t *talk, err error) error {
	var known *hintError
	if errors.As(err, &known) {
		return s.unreachable(ctx, known.problem, known.hint)
	}
	code, ended := t.stream.Ended()
	if ended {
		select {
		case <-t.over:
		case <-time.After(time.Second):
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asked > 1 {
		return s.becomeError(t.become, errWrongPassword.Error(), "")
	}
	text := t.stderr.last()
	if text == "" {
		text = t.noise.last()
	}
	switch {
	case !ended || context.Cause(ctx) != nil:
		return s.unreachable(ctx, fmt.Errorf("the helper does not start: %w", err), "")
	case code == 126 && strings.Contains(text, "helper-"):
		return s.unreachable(ctx, fmt.Errorf("the helper may not be executed: %s", text),
			"the file system is mounted noexec, perhaps; set ansible_remote_tmp to a folder of that user where programs may run")
	case t.become.User != "":
		problem, hint := t.become.diagnose(or(strings.TrimSpace(string(t.stderr.kept)), text))
		return s.becomeError(t.become, problem, hint)
	}
	return s.unreachable(ctx, fmt.Errorf("the login shell ended with code %d: %s", code, text),
		"the login user needs a shell that runs commands; try: ssh HOST /bin/sh -c true")
}
