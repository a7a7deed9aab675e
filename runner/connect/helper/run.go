package helper

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
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
	// guardAfter is how long the first command must run before the guard is started. Most end before.
	guardAfter = 100 * time.Millisecond
)

// errRunning is a process that has not ended yet.
var errRunning = errors.New("still running")

func (s *server) run(ctx context.Context, c *wire.Command, b *body) (*wire.Output, *wire.Error) {
	if len(c.Argv) == 0 || c.Argv[0] == "" || c.Stream < 0 {
		return nil, protocol("a command without a program")
	}
	dir := c.Dir
	if dir == "" {
		dir = s.home()
	}
	env := environment(c.Env, dir)
	path, err := lookPath(c.Argv[0], env, dir)
	if err != nil {
		return nil, refuse("run", c.Argv[0], err)
	}
	attr := &syscall.ProcAttr{Dir: dir, Env: env, Sys: &syscall.SysProcAttr{Setsid: true}}
	var out *wire.Output
	if c.Detach {
		out, err = detach(path, c, attr)
	} else {
		out, err = s.attend(ctx, path, c, attr, b)
	}
	if err == nil {
		return out, nil
	}
	// Starting a program says what went wrong and not with what: it may have been the directory.
	if info, statErr := os.Stat(dir); statErr != nil {
		return nil, refuse("change directory to", dir, statErr)
	} else if !info.IsDir() {
		return nil, refuse("change directory to", dir, syscall.ENOTDIR)
	}
	return nil, refuse("run", c.Argv[0], err)
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
func detach(path string, c *wire.Command, attr *syscall.ProcAttr) (*wire.Output, error) {
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
	attr.Files = []uintptr{null.Fd(), log.Fd(), log.Fd()}
	started := time.Now()
	pid, err := syscall.ForkExec(path, c.Argv, attr)
	if err != nil {
		return nil, err
	}
	// Nobody asks for its end, but while we live it would stay a zombie.
	go func() { _, _ = wait(pid, 0) }()
	return &wire.Output{PID: pid, Started: started.UnixNano(), Ended: time.Now().UnixNano()}, nil
}

// attend starts a command and stays with it to its end.
func (s *server) attend(ctx context.Context, path string, c *wire.Command, attr *syscall.ProcAttr, b *body) (*wire.Output, error) {
	p, err := openPipes(c)
	if err != nil {
		return nil, err
	}
	defer p.close()
	attr.Files = p.theirs()
	// Should we be killed, the command goes with us at once, and what it has started a moment later by the
	// guard. (The kernel sends it when the thread ends that started it; no thread of ours does before us.)
	attr.Sys.Pdeathsig = syscall.SIGKILL
	out := &wire.Output{Started: time.Now().UnixNano()}
	pid, err := syscall.ForkExec(path, c.Argv, attr)
	p.closeTheirs()
	if err != nil {
		return nil, err
	}
	forget := s.guard.watch(pid)
	defer forget()
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		endSession(pid)
		close(ended)
	})
	p.feed(c, b)
	status, err := p.follow(ctx, pid)
	out.Ended = time.Now().UnixNano()
	if !stop() {
		<-ended
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	// A signal that ended it counts as its number, negative.
	if out.ExitCode = status.ExitStatus(); status.Signaled() {
		out.ExitCode = -int(status.Signal())
	}
	out.Stdout, out.Stderr = p.kept[0].bytes(), p.kept[1].bytes()
	out.Truncated = p.kept[0].truncated() || p.kept[1].truncated()
	return out, nil
}

// wait is wait4, which signals interrupt.
func wait(pid, options int) (status syscall.WaitStatus, err error) {
	for {
		got, err := syscall.Wait4(pid, &status, options, nil)
		switch {
		case err == syscall.EINTR: //nolint:errorlint // wait4 gives the number itself
		case err != nil:
			return status, err
		case got == 0:
			return status, errRunning
		default:
			return status, nil
		}
	}
}
