package helper

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

const (
	defaultOutput = 1 << 20
	maxOutput     = maxAnswer / 4
	// lingering is how long output is still read after the command itself has ended: a process it left
	// behind may hold the other end open for ever.
	lingering = 200 * time.Millisecond
	// guardAfter is when a running command is told to the guard. Most end before, and cost nothing.
	guardAfter = 30 * time.Millisecond
)

func (s *server) run(ctx context.Context, c *wire.Command, b *body) (*wire.Output, *wire.Error) {
	if len(c.Argv) == 0 || c.Argv[0] == "" || c.Stream < 0 {
		return nil, protocol("a command without a program")
	}
	dir := c.Dir
	if dir == "" {
		dir = s.home()
	}
	if info, err := os.Stat(dir); err != nil {
		return nil, refuse("change directory to", dir, err)
	} else if !info.IsDir() {
		return nil, refuse("change directory to", dir, syscall.ENOTDIR)
	}
	env := environment(c.Env, dir)
	path, err := lookPath(c.Argv[0], env, dir)
	if err != nil {
		return nil, refuse("run", c.Argv[0], err)
	}
	attr := &os.ProcAttr{Dir: dir, Env: env, Sys: &syscall.SysProcAttr{Setsid: true}}
	var out *wire.Output
	if c.Detach {
		out, err = detach(path, c, attr)
	} else {
		out, err = s.attend(ctx, path, c, attr, b)
	}
	if err != nil {
		return nil, refuse("run", c.Argv[0], err)
	}
	return out, nil
}

// home is where commands run that name no directory.
func (s *server) home() string {
	if home := os.Getenv("HOME"); filepath.IsAbs(home) {
		if _, err := os.Stat(home); err == nil {
			return home
		}
	}
	return "/"
}

// environment is the user's, with what a command adds.
func environment(add []string, dir string) []string {
	own := os.Environ()
	env := make([]string, 0, len(own)+len(add)+1)
	replaced := map[string]bool{"PWD": true, "OLDPWD": true, "_": true}
	for _, kv := range add {
		name, _, _ := strings.Cut(kv, "=")
		replaced[name] = true
	}
	for _, kv := range own {
		if name, _, _ := strings.Cut(kv, "="); !replaced[name] {
			env = append(env, kv)
		}
	}
	return append(append(env, "PWD="+dir), add...)
}

// lookPath finds a program as a shell would, in the PATH that the command will have.
func lookPath(name string, env []string, dir string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, nil
	}
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			search = value
		}
	}
	for folder := range strings.SplitSeq(search, ":") {
		path := filepath.Join(folder, name)
		if !filepath.IsAbs(path) {
			continue // an empty or relative part of PATH runs whatever lies in the working directory
		}
		if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", &wire.Error{Kind: wire.NotExist, Op: "run", Path: name, Text: "no such program in " + search}
}

// detach starts a command that stays when the helper goes.
func detach(path string, c *wire.Command, attr *os.ProcAttr) (*wire.Output, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	log := null
	if c.Log != "" {
		log, err = os.OpenFile(c.Log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			return nil, refuse("open log", c.Log, err)
		}
		defer log.Close()
	}
	attr.Files = []*os.File{null, log, log}
	started := time.Now()
	process, err := os.StartProcess(path, c.Argv, attr)
	if err != nil {
		return nil, err
	}
	// Nobody waits for its end, but while we live it would stay a zombie.
	go func() { _, _ = process.Wait() }()
	return &wire.Output{PID: process.Pid, Started: started.UnixNano(), Ended: time.Now().UnixNano()}, nil
}

// attend starts a command and stays with it to its end.
func (s *server) attend(ctx context.Context, path string, c *wire.Command, attr *os.ProcAttr, b *body) (*wire.Output, error) {
	p, err := openPipes(c)
	if err != nil {
		return nil, err
	}
	defer p.close()
	attr.Files = p.theirs[:]
	out := &wire.Output{Started: time.Now().UnixNano()}
	process, err := os.StartProcess(path, c.Argv, attr)
	p.closeTheirs()
	if err != nil {
		return nil, err
	}
	forget := s.guard.watch(process.Pid)
	p.serve(c, b)
	state, err := await(ctx, process)
	out.Ended = time.Now().UnixNano()
	forget()
	p.drain()
	if err != nil {
		return nil, err
	}
	out.ExitCode = exitCode(state)
	out.Stdout, out.Stderr = p.stdout.bytes(), p.stderr.bytes()
	out.Truncated = p.stdout.truncated() || p.stderr.truncated()
	return out, nil
}

// await waits for a command's end, and brings it about when the request is cancelled.
func await(ctx context.Context, process *os.Process) (*os.ProcessState, error) {
	type end struct {
		state *os.ProcessState
		err   error
	}
	ended := make(chan end, 1)
	go func() {
		state, err := process.Wait()
		ended <- end{state, err}
	}()
	select {
	case e := <-ended:
		return e.state, e.err
	case <-ctx.Done():
	}
	endSession(process.Pid)
	select {
	case <-ended:
	case <-time.After(grace):
		// A setuid program that we may not signal: its input and output are closed, more we cannot do.
	}
	return nil, ctx.Err()
}

// exitCode is the code, or of a command that a signal ended the signal's number, negative.
func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return -int(status.Signal())
	}
	return state.ExitCode()
}

// pipes are a command's three streams: their ends and ours.
type pipes struct {
	theirs         [3]*os.File
	stdin          *os.File
	outs           [2]*os.File
	stdout, stderr *ends
	reading        sync.WaitGroup
	done           chan struct{}
}

func openPipes(c *wire.Command) (*pipes, error) {
	limit := c.MaxOutput
	if limit <= 0 {
		limit = defaultOutput
	}
	limit = min(limit, maxOutput)
	p := &pipes{stdout: &ends{limit: limit}, stderr: &ends{limit: limit}, done: make(chan struct{})}
	var err error
	if len(c.Stdin) == 0 && !c.Streamed {
		p.theirs[0], err = os.Open(os.DevNull)
	} else {
		p.theirs[0], p.stdin, err = os.Pipe()
	}
	for i := 0; i < 2 && err == nil; i++ {
		p.outs[i], p.theirs[1+i], err = os.Pipe()
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *pipes) closeTheirs() {
	for i, f := range p.theirs {
		if f != nil {
			f.Close()
			p.theirs[i] = nil
		}
	}
}

func (p *pipes) close() {
	p.closeTheirs()
	for _, f := range []*os.File{p.stdin, p.outs[0], p.outs[1]} {
		if f != nil {
			f.Close()
		}
	}
}

// serve starts to feed and to read.
func (p *pipes) serve(c *wire.Command, b *body) {
	if p.stdin != nil {
		go func() {
			// A command may end without reading its input: that is its right.
			if c.Streamed {
				_, _ = io.Copy(p.stdin, b.reader(c.Stream))
			} else {
				_, _ = p.stdin.Write(c.Stdin)
			}
			p.stdin.Close()
		}()
	}
	p.reading.Add(2)
	go p.read(p.outs[0], p.stdout)
	go p.read(p.outs[1], p.stderr)
	go func() {
		p.reading.Wait()
		close(p.done)
	}()
}

func (p *pipes) read(from *os.File, to *ends) {
	defer p.reading.Done()
	buffer := make([]byte, 8<<10)
	for {
		n, err := from.Read(buffer)
		to.write(buffer[:n])
		if err != nil {
			return
		}
		if n == len(buffer) && n < 64<<10 {
			buffer = make([]byte, 64<<10)
		}
	}
}

// drain waits for what the command has written, and no longer than a moment for what others write.
func (p *pipes) drain() {
	if p.stdin != nil {
		p.stdin.Close()
	}
	select {
	case <-p.done:
		return
	case <-time.After(lingering):
	}
	for _, f := range p.outs {
		if err := f.SetReadDeadline(time.Now()); errors.Is(err, os.ErrNoDeadline) {
			return
		}
	}
	<-p.done
}
