package helper

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// A job is a folder of its own below the user's, called like the job. It holds
//
//	command   what to run, until it runs: it may hold secrets
//	process   who attends to the job: process id and start time. Whoever makes this file runs the job,
//	          so that a job which is started twice runs once, also when nobody hears that it has begun
//	result    how it ended
const (
	commandFile = "command"
	processFile = "process"
	resultFile  = "result"
	// jobStart is how long a job may take to begin.
	jobStart = 10 * time.Second
	// jobTaken is how long a job that nobody has taken over may lie there.
	jobTaken = time.Hour
	// jobKept is how long an ended job that nobody asks for is kept.
	jobKept = 7 * 24 * time.Hour
)

// job does what a request wants of a job, and gives its state.
func (s *server) job(ctx context.Context, j *wire.JobRequest) (*wire.JobState, *wire.Error) {
	if !jobName(j.ID) {
		return nil, protocol("a job without a name")
	}
	root := s.jobs()
	dir := filepath.Join(root, j.ID)
	state, err := readJob(dir)
	switch {
	case err != nil:
	case j.Act == wire.ForgetJob && state.Known:
		err = os.RemoveAll(dir)
	case j.Act == wire.StartJob && !state.Known:
		if err = privateFolder(root); err == nil {
			sweepJobs(root)
			err = startJob(ctx, dir, j)
		}
		// Another process may have taken the job over meanwhile, for somebody whose connection was lost: then it runs.
		if begun, found := readJob(dir); err == nil || found == nil && begun.Known {
			state, err = begun, found
		}
	}
	if err != nil {
		return nil, refuse("job", dir, err)
	}
	return state, nil
}

// jobName says whether a job may be called so: the name is that of a folder.
func jobName(name string) bool {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
	}
	return name != "" && len(name) < 200 && name[0] != '.' && strings.IndexFunc(name, func(r rune) bool { return !plain(r) }) < 0
}

// jobs is the folder of the user's jobs. A user without a home has it in a folder of its own.
func (s *server) jobs() string {
	if home := s.home(); home != "/" {
		return filepath.Join(home, ".pegbook", "async")
	}
	return "/var/tmp/pegbook-" + strconv.Itoa(os.Getuid()) + "/async"
}

// privateFolder makes a folder, and the one it stands in, that nobody else can enter.
func privateFolder(dir string) error {
	for _, path := range []string{filepath.Dir(dir), dir} {
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(stat.Uid) != os.Getuid() {
			return &wire.Error{Kind: wire.Permission, Op: "keep jobs in", Path: path, Text: "it does not belong to the user"}
		}
	}
	return os.Chmod(dir, 0o700)
}

// sweepJobs forgets jobs that nobody asks for any more: those that ended long ago or are lost, and those that nobody has
// taken over, whose command lies there.
func sweepJobs(root string) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return // the next start tries again
	}
	for _, e := range entries {
		dir := filepath.Join(root, e.Name())
		state, err := readJob(dir)
		info, gone := os.Stat(dir) // what was last made or removed in it is the result, or the command
		if err != nil || gone != nil || state.Running {
			continue
		}
		if age := time.Since(info.ModTime()); age > jobKept || !state.Known && age > jobTaken {
			_ = os.RemoveAll(dir)
		}
	}
}

// readJob is how a job stands. One that was never begun is not known.
func readJob(dir string) (*wire.JobState, error) {
	process, err := os.ReadFile(filepath.Join(dir, processFile))
	if errors.Is(err, fs.ErrNotExist) {
		return &wire.JobState{Path: dir}, nil
	}
	if err != nil {
		return nil, err
	}
	// Asked in this order: a job that ends in between has left its result.
	running := alive(string(process))
	result, err := os.ReadFile(filepath.Join(dir, resultFile))
	if errors.Is(err, fs.ErrNotExist) {
		return &wire.JobState{Known: true, Running: running, Path: dir}, nil
	}
	if err != nil {
		return nil, err
	}
	state, err := wire.ParseJobState(result)
	if err != nil {
		return nil, err
	}
	state.Path = dir
	return state, nil
}

// alive says whether a process still runs: its id alone may be another's by now.
func alive(process string) bool {
	pid, _, _ := strings.Cut(process, " ")
	return pid != "" && identity(pid) == process
}

// identity is a process's id with the time it started; "" when there is none.
func identity(pid string) string {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return ""
	}
	// The program's name may hold anything; what counts stands behind its last parenthesis.
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	fields := strings.Fields(rest)
	const state, started = 0, 19
	if len(fields) <= started || fields[state] == "Z" {
		return ""
	}
	return pid + " " + fields[started]
}

// startJob starts the process that attends to a job, and returns when it has taken the job over.
func startJob(ctx context.Context, dir string, j *wire.JobRequest) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := writePrivate(filepath.Join(dir, commandFile), wire.AppendJob(nil, j)); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, jobStart)
	defer stop()
	self := "/proc/" + strconv.Itoa(os.Getpid()) + "/exe"
	if scope := scopeFor(j.ID); scope != nil {
		if beginJob(ctx, append(scope, self, "job", dir)) == nil {
			return nil
		}
	}
	return beginJob(ctx, []string{self, "job", dir})
}

// writePrivate writes a file that only its user can read, so that nobody sees half of it.
func writePrivate(path string, content []byte) error {
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// beginJob runs a command line that is to take a job over, which it shows by writing "begun".
func beginJob(ctx context.Context, argv []string) error {
	path, err := lookPath(argv[0], os.Environ(), "/")
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	ours, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ours.Close()
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{Dir: "/", Env: os.Environ(),
		Files: []uintptr{null.Fd(), theirs.Fd(), null.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true}})
	theirs.Close()
	if err != nil {
		return err
	}
	// While we live, it would stay a zombie.
	go func() { _, _ = wait(pid, 0) }()
	stop := context.AfterFunc(ctx, func() { ours.Close() })
	defer stop()
	line, err := bufio.NewReader(ours).ReadString('\n')
	if err == nil && line == "begun\n" {
		return nil
	}
	return errors.New("the process that is to attend to it did not begin; " + strings.TrimSpace(line))
}

// scopeFor is the start of a command line that takes a process out of the login session, where that is
// needed and can be had: systemd may end what a session leaves behind (KillUserProcesses). It needs root, or
// a user whose services outlive sessions (loginctl enable-linger).
func scopeFor(id string) []string {
	group, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || !strings.Contains(string(group), "/session-") {
		return nil
	}
	argv := []string{"systemd-run", "--scope", "--quiet", "--collect", "--unit=pegbook-" + id}
	uid := strconv.Itoa(os.Getuid())
	if uid == "0" {
		return append(argv, "--slice=system.slice")
	}
	name := (&names{}).user(os.Getuid())
	if _, err := os.Stat("/var/lib/systemd/linger/" + name); err != nil {
		return nil
	}
	return append([]string{"env", "XDG_RUNTIME_DIR=/run/user/" + uid}, append(argv, "--user")...)
}

// Attend takes over the job in a folder, says so to ready, runs the job to its end or its limit, and leaves
// the result in the folder. When ctx is done it ends the job and leaves none.
func Attend(ctx context.Context, dir string, ready io.WriteCloser) error {
	text, err := os.ReadFile(filepath.Join(dir, commandFile))
	if err != nil {
		return err
	}
	if len(text) == 0 {
		return io.ErrUnexpectedEOF
	}
	j, err := wire.ParseJob(text[1:])
	if err != nil {
		return err
	}
	err = takeOver(dir)
	if err == nil || errors.Is(err, fs.ErrExist) {
		// Nobody needs it any more. It may have gone: of two that were started one has removed it.
		_ = os.Remove(filepath.Join(dir, commandFile))
	}
	if err != nil {
		return err
	}
	// The job is known from here on. Whoever started it may have lost its connection, and asks for it later.
	_, _ = io.WriteString(ready, "begun\n")
	ready.Close()
	state := carryOut(ctx, j)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return writePrivate(filepath.Join(dir, resultFile), wire.AppendJobState(nil, state))
}

// takeOver makes this process the one that runs a job, if none does yet.
func takeOver(dir string) error {
	me := strconv.Itoa(os.Getpid())
	// A link is made by one alone, with the file's content. Each has a file of its own: what another writes to it
	// after the link would be in the job's, too.
	mine := filepath.Join(dir, processFile+"."+me)
	if err := os.WriteFile(mine, []byte(identity(me)), 0o600); err != nil {
		return err
	}
	defer os.Remove(mine)
	return os.Link(mine, filepath.Join(dir, processFile))
}

// carryOut runs a job's command.
func carryOut(ctx context.Context, j *wire.JobRequest) *wire.JobState {
	ctx, stop := context.WithTimeout(ctx, time.Duration(j.Limit))
	defer stop()
	s := &server{names: &names{}, guard: &guard{}}
	defer s.guard.close()
	b := newBody(func(int) {}, func(int64) {})
	output, refusal := s.run(ctx, &j.Command, b)
	state := &wire.JobState{Known: true, Finished: true, Argv: j.Command.Argv}
	switch {
	case ctx.Err() != nil:
		state.TimedOut = true
	case refusal != nil:
		state.Result = wire.AppendError(nil, refusal)
	default:
		state.Result = wire.AppendOutput(nil, output)
	}
	return state
}
