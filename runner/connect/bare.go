package connect

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// Bare runs a command line in the login shell of a user, without a helper: for hosts where none can run
// (raw). The line reads nothing. What it has started is not ended when ctx is; only the connection to it is.
func (p *Pool) Bare(ctx context.Context, a Address, b Become, cmd modules.Command) (modules.Output, error) {
	l, err := p.line(a)
	if err != nil {
		return modules.Output{}, err
	}
	line := strings.Join(cmd.Argv, " ")
	if l.local() && b.User == "" {
		h, err := l.open(ctx, b)
		if err != nil {
			return modules.Output{}, err
		}
		return h.Run(ctx, cmd)
	}
	mark := "pegbook-raw:"
	if line, err = b.command(mark, line); err != nil {
		return modules.Output{}, &BecomeError{Host: a.Name, User: b.User, Method: b.method(), Err: err}
	}
	open := opener(localOpen)
	if !l.local() {
		conn, err := l.connection(ctx)
		if err != nil {
			return modules.Output{}, l.unreachable(err)
		}
		open = conn.open
	}
	st, err := open(ctx, line)
	if err != nil {
		return modules.Output{}, l.unreachable(err)
	}
	defer st.Close()
	limit := cmd.MaxOutput
	if limit <= 0 {
		limit = 1 << 20
	}
	r := &bareRun{stream: st, become: b, prompt: b.prompt(mark), limit: limit}
	return r.run(ctx, l)
}

// command is a line that runs another as the user.
func (b Become) command(mark, line string) (string, error) {
	switch {
	case b.User == "":
		return line, nil
	case b.method() == "su":
		exe, flags := or(b.Exe, "su"), b.Flags
		if flags != "" {
			flags += " "
		}
		return quote(exe) + " - " + flags + quote(b.User) + " -s /bin/sh -c " + quote(line), nil
	}
	prefix, err := b.prefix(mark)
	return prefix + "/bin/sh -c " + quote(line), err
}

// bareRun is one command line at work.
type bareRun struct {
	stream stream
	become Become
	prompt string
	limit  int
	asked  int // how often the method has asked for the password
}

// errBroken is a connection that ended before the program did.
var errBroken = errors.New("the connection ended before the command did")

func (r *bareRun) run(ctx context.Context, l *line) (modules.Output, error) {
	started := time.Now()
	abandon := context.AfterFunc(ctx, func() { r.stream.Close() })
	defer abandon()
	if r.become.User == "" || r.become.Password == "" {
		r.endInput()
	}
	var stdout kept
	stdout.limit = r.limit
	stderr := kept{limit: r.limit}
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(&stdout, r.stream) })
	both.Go(func() { r.listen(&stderr) })
	both.Wait()
	code, known := r.stream.Ended()
	switch {
	case ctx.Err() != nil:
		return modules.Output{}, context.Cause(ctx)
	case r.asked > 1, r.asked == 1 && known && code != 0 && r.refused(stderr.content()):
		return modules.Output{}, &BecomeError{Host: l.address.Name, User: r.become.User, Method: r.become.method(), Err: errWrongPassword}
	case !known:
		return modules.Output{}, l.unreachable(errBroken)
	}
	return modules.Output{ExitCode: code, Stdout: stdout.content(), Stderr: stderr.content(), Truncated: stdout.lost || stderr.lost,
		Started: started, Ended: time.Now()}, nil
}

// refused says whether the method has not taken the password: it asked again, and found no more input.
func (r *bareRun) refused(stderr []byte) bool {
	if r.become.method() == "su" {
		return bytes.HasSuffix(bytes.TrimSpace(stderr), []byte("Authentication failure"))
	}
	return bytes.Contains(stderr, []byte(r.prompt))
}

// endInput tells the command that it has nothing to read.
func (r *bareRun) endInput() {
	switch st := r.stream.(type) {
	case interface{ CloseWrite() error }:
		_ = st.CloseWrite()
	case *process:
		_ = st.in.Close()
	}
}

// listen reads the error output, and answers the question for the password in it.
func (r *bareRun) listen(to *kept) {
	buffer := make([]byte, 4<<10)
	answered := false
	for {
		n, err := r.stream.Stderr().Read(buffer)
		_, _ = to.Write(buffer[:n])
		if r.become.User != "" && r.become.Password != "" && bytes.HasSuffix(bytes.TrimSpace(to.head), []byte(r.prompt)) {
			if r.asked++; r.asked > 1 {
				r.stream.Close()
				return
			}
			to.head = to.head[:0]
			_, _ = io.WriteString(r.stream, r.become.Password+"\n")
			answered = true
		}
		if answered {
			answered = false
			r.endInput()
		}
		if err != nil {
			return
		}
	}
}

// kept is the first and the last half of what is written to it.
type kept struct {
	limit      int
	head, tail []byte
	lost       bool
}

// Write implements io.Writer. It takes everything.
func (k *kept) Write(b []byte) (int, error) {
	n := len(b)
	if room := k.limit/2 - len(k.head); room > 0 && len(k.tail) == 0 {
		room = min(room, len(b))
		k.head = append(k.head, b[:room]...)
		b = b[room:]
	}
	k.tail = append(k.tail, b...)
	if over := len(k.tail) - k.limit/2; over > 0 {
		k.lost = true
		k.tail = append(k.tail[:0], k.tail[over:]...)
	}
	return n, nil
}

func (k *kept) content() []byte { return append(k.head, k.tail...) }
