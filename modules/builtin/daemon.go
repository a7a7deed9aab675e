package builtin

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// Daemon runs a long-running program.
func Daemon() *modules.Module {
	return modules.Define("daemon", `Keep a long-running program started, stopped or up to date

Where systemd is PID 1 and the task acts as root, the program is a unit whose file this module writes.
Elsewhere it is started in a session of its own, and run_dir keeps its pid file and what is known about
it: a process counts as this daemon only while its pid, start time and boot are the recorded ones, so a
number that the kernel has given to another process is never taken for it, and never signalled.

started starts it when it does not run, and leaves it alone when it does. restarted always restarts.
converged starts it, or restarts it when identity is another than when it was started: give it what a
running process must be in step with, such as the package's version and the configuration's checksum.
stopped sends stop_signal and waits; a process that is still there after stop_timeout fails the task, or
is killed where kill says so.

A program that ends within wait has failed to start; the error holds the end of its log.

Some clusters ignore a server that is restarted too often: max_quick_restarts refuses, before anything is
stopped, the restart that would be one too many of those that followed each other within quick_restart.
NAME.starts in run_dir keeps when this module has started the program; what others start it does not know.

    - name: replica server
      daemon:
        name: pegasus-replica
        exec: [./pegasus_server, config.ini, -app_list, replica]
        chdir: /home/work/app/pegasus/current/bin
        run_dir: /home/work/app/pegasus/run
        environment:
          LD_LIBRARY_PATH: /home/work/app/pegasus/current/bin
        limits: {nofile: "65536", core: unlimited}
        state: converged
        identity: "{{ .package.version }} {{ .config.checksum }}"`, proposeDaemon)
}

type daemonArgs struct {
	Name        string            `arg:"name,required" doc:"the daemon's name, of its unit and of its files in run_dir"`
	State       string            `arg:"state" default:"started" choices:"started,stopped,restarted,converged" doc:"what should be, or what should happen"`
	Exec        []string          `arg:"exec" doc:"the program and its arguments; a relative program lies in chdir; not needed to stop"`
	Chdir       string            `arg:"chdir,path" doc:"the folder it runs in"`
	RunDir      string            `arg:"run_dir,path,required" doc:"folder of NAME.pid, NAME.json and the link NAME.proc; made when it is not there"`
	Log         string            `arg:"log,path" doc:"file that its output is added to; NAME.log in run_dir when not given"`
	Environment map[string]string `arg:"environment" doc:"added to its environment; under systemd it stands in the unit's file, so no secrets there"`
	Limits      map[string]string `arg:"limits" doc:"limits by name: nofile, core, memlock, stack; a number or unlimited"`
	User        string            `arg:"user" doc:"user of the unit; without systemd use become_user"`
	Identity    string            `arg:"identity" doc:"what the running process is in step with, for converged"`
	StopSignal  string            `arg:"stop_signal" default:"TERM" doc:"what asks it to stop"`
	StopTimeout time.Duration     `arg:"stop_timeout" default:"30" doc:"how long it may take to stop"`
	Kill        bool              `arg:"kill" doc:"whether it is killed after stop_timeout, instead of failing the task"`
	Wait        time.Duration     `arg:"wait" default:"2" doc:"how long it must stay up to count as started"`
	Manager     string            `arg:"manager" default:"auto" choices:"auto,systemd,detached" doc:"who looks after the process"`
	MaxQuick    int               `arg:"max_quick_restarts" default:"0" min:"0" doc:"how many restarts in a row may each follow the start before within quick_restart; 0 is no limit"`
	Quick       time.Duration     `arg:"quick_restart" default:"10m" doc:"how soon after a start a restart is a quick one"`
	Enabled     *bool             `arg:"enabled" doc:"whether it starts with the machine; only under systemd"`
}

// daemonState is what daemon registers.
type daemonState struct {
	Name        string `json:"name"`
	State       string `json:"state"` // running or stopped
	Manager     string `json:"manager"`
	PID         int    `json:"pid"`
	StartedAt   string `json:"started_at,omitempty"`
	PreviousPID int    `json:"previous_pid"`
	Identity    string `json:"identity"`
	Log         string `json:"log"`
}

// record is what is kept about a started process, in run_dir/NAME.json.
type record struct {
	PID       int      `json:"pid"`
	Start     uint64   `json:"start"` // clock ticks after boot, as in /proc/PID/stat
	Boot      string   `json:"boot"`
	Exe       string   `json:"exe"`
	Argv      []string `json:"argv"`
	Identity  string   `json:"identity"`
	StartedAt string   `json:"started_at"`
}

// daemon is one daemon at work.
type daemon struct {
	daemonArgs
	manager manager
	starts  []time.Time // when it was started before, oldest first
	note    func(string, ...any)
	out     *daemonState
}

// manager is who starts and stops the process.
type manager interface {
	// start starts the program, which does not run, and gives its process id.
	start(ctx context.Context, host modules.Host, d *daemon) (pid int, err error)
	// stop ends the process and returns when it is gone.
	stop(ctx context.Context, host modules.Host, d *daemon, p process) error
}

func proposeDaemon(ctx context.Context, call *modules.Call, args daemonArgs) (*modules.Proposal, error) {
	if err := args.check(); err != nil {
		return nil, err
	}
	if args.Log == "" {
		args.Log = args.file("log")
	}
	d := &daemon{daemonArgs: args, note: call.Note}
	seen, err := d.look(ctx, call.Host)
	if err != nil {
		return nil, err
	}
	d.out = &daemonState{Name: args.Name, Log: args.Log, Manager: "detached", PID: seen.pid, PreviousPID: seen.pid,
		Identity: seen.identity, StartedAt: seen.record.StartedAt, State: stateName(seen.running)}
	p := &modules.Proposal{Output: d.out}
	var sd *systemdManager
	if args.Manager == "systemd" || args.Manager == "auto" && seen.systemd {
		d.out.Manager = "systemd"
		if sd, err = newSystemdManager(ctx, call.Host, d, &seen); err != nil {
			return nil, err
		}
		d.manager = sd
	} else {
		if args.User != "" {
			return nil, &modules.ArgumentError{Arg: "user", Problem: "user is for units of systemd, which does not look after this daemon", Hint: "use become_user"}
		}
		d.manager = detached{}
	}
	// Only now: systemd knows better than the record whether its unit runs.
	seen.predict(call.Host, d)
	d.out.PID, d.out.PreviousPID, d.out.Identity, d.out.State = seen.pid, seen.pid, seen.identity, stateName(seen.running)
	p.Mark = seen.mark()
	steps := d.decide(seen, p)
	if d.madeBefore(call.Begun, seen, p) {
		steps = d.settles(seen, p)
	}
	if err := d.tooQuick(seen, steps, time.Now()); err != nil {
		return nil, err
	}
	d.starts = seen.starts
	if sd != nil {
		sd.propose(call.Host, p)
	}
	if len(p.Diff) == 0 {
		return p, nil
	}
	if steps.start {
		if err := seen.startable(args); err != nil {
			return nil, err
		}
	}
	d.predicts(p, steps, seen)
	p.Expects = d.expects(steps)
	p.Do = func(ctx context.Context, host modules.Host) error { return d.do(ctx, host, seen.process, steps, sd) }
	return p, nil
}

func stateName(running bool) string {
	if running {
		return "running"
	}
	return "stopped"
}

// file is one of the daemon's files in run_dir.
func (a daemonArgs) file(suffix string) string { return path.Join(a.RunDir, a.Name+"."+suffix) }

// key is where check mode remembers something about the daemon.
func (a daemonArgs) key(what string) string { return "daemon/" + a.RunDir + "/" + a.Name + "/" + what }

// limitLetters are the letters that ulimit knows limits by, and limitNames systemd's names.
func limitLetters() map[string]string {
	return map[string]string{"nofile": "n", "core": "c", "memlock": "l", "stack": "s"}
}

func (a daemonArgs) check() error {
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]*$`).MatchString(a.Name) {
		return &modules.ArgumentError{Arg: "name", Problem: fmt.Sprintf("name is %q", a.Name), Hint: "use letters, digits and . _ @ -"}
	}
	if a.State != "stopped" && (len(a.Exec) == 0 || a.Exec[0] == "") {
		return &modules.ArgumentError{Arg: "exec", Problem: "exec is missing", Hint: "write the program and its arguments as a list"}
	}
	if a.State == "converged" && a.Identity == "" {
		return &modules.ArgumentError{Arg: "identity", Problem: "state: converged needs an identity", Hint: "give what the process must be in step with"}
	}
	if !regexp.MustCompile(`^[A-Z0-9]+$`).MatchString(strings.TrimPrefix(a.StopSignal, "SIG")) {
		return &modules.ArgumentError{Arg: "stop_signal", Problem: fmt.Sprintf("stop_signal is %q", a.StopSignal), Hint: "write a name such as TERM"}
	}
	letters := limitLetters()
	for _, name := range slices.Sorted(maps.Keys(a.Limits)) {
		if letters[name] == "" {
			return &modules.ArgumentError{Arg: "limits", Problem: fmt.Sprintf("there is no limit %q", name),
				Hint: "the limits are " + strings.Join(slices.Sorted(maps.Keys(letters)), ", ")}
		}
		if !regexp.MustCompile(`^(\d+|unlimited)$`).MatchString(a.Limits[name]) {
			return &modules.ArgumentError{Arg: "limits", Problem: fmt.Sprintf("limit %s is %q", name, a.Limits[name]), Hint: "write a number or unlimited"}
		}
	}
	return nil
}

// steps is what Do has to do.
type steps struct {
	stop, start bool
	// settle is what is left of a start that was cut off: the process runs, and is to be written down and watched.
	settle bool
}

// mark tells one process from any other, and from none.
func (s sight) mark() string {
	if !s.running {
		return "none"
	}
	return fmt.Sprintf("%d %d %s", s.pid, s.start, s.boot)
}

// madeBefore says whether what runs was started by an attempt that was cut off: it is not what ran before that.
func (d *daemon) madeBefore(b *modules.Begun, s sight, p *modules.Proposal) bool {
	return b != nil && b.Mark != "" && d.State != "stopped" && s.running && b.Mark != p.Mark
}

// settles decides what is left to do for a process that an attempt which was cut off has started.
func (d *daemon) settles(s sight, p *modules.Proposal) steps {
	p.Diff = nil
	if s.record.PID == s.pid && s.identity == d.Identity {
		return steps{}
	}
	p.Diff = append(p.Diff, modules.Diff{Subject: d.Name, Note: fmt.Sprintf("was started before the run ended, pid %d, and is written down", s.pid)})
	return steps{settle: true}
}

// decide compares what is with what should be.
func (d *daemon) decide(s sight, p *modules.Proposal) steps {
	differs := func(note string) { p.Diff = append(p.Diff, modules.Diff{Subject: d.Name, Note: note}) }
	switch {
	case d.State == "stopped" && s.running:
		differs(fmt.Sprintf("is stopped, pid %d", s.pid))
		return steps{stop: true}
	case d.State == "stopped":
		return steps{}
	case !s.running:
		differs("is started")
		return steps{start: true}
	case d.State == "restarted":
		differs(fmt.Sprintf("is restarted, pid %d", s.pid))
		return steps{stop: true, start: true}
	case d.State == "converged" && s.identity != d.Identity:
		p.Diff = append(p.Diff, modules.Diff{Subject: d.Name, Before: s.identity, After: d.Identity,
			Note: fmt.Sprintf("is restarted, pid %d, because its identity differs", s.pid)})
		return steps{stop: true, start: true}
	}
	return steps{}
}

// usualStop is how long a process takes to end that has not much to put away.
const usualStop = time.Second

// expects is how long the steps will take. A start is over once the process has stayed up.
func (d *daemon) expects(s steps) (expected time.Duration) {
	if s.stop {
		expected += usualStop
	}
	if s.start {
		expected += d.Wait
	}
	return expected
}

// predicts says what check mode remembers in place of running Do.
func (d *daemon) predicts(p *modules.Proposal, s steps, seen sight) {
	p.Predicts = map[string]string{}
	switch {
	case s.start:
		p.Predicts[d.key("state")] = "running"
		p.Predicts[d.key("identity")] = d.Identity
	case s.stop:
		p.Predicts[d.key("state")] = "stopped"
	default:
		p.Predicts[d.key("state")] = stateName(seen.running)
		p.Predicts[d.key("identity")] = seen.identity
	}
	if d.out.Manager == "systemd" {
		active := map[string]string{"running": "active", "stopped": "inactive"}[p.Predicts[d.key("state")]]
		p.Predicts["systemd/"+d.Name+".service/active"] = active
		if d.State != "stopped" {
			p.Predicts[d.key("unit")] = d.unitText()
		}
	}
}

func (d *daemon) do(ctx context.Context, host modules.Host, old process, s steps, sd *systemdManager) error {
	if sd != nil {
		if err := sd.prepare(ctx, host); err != nil {
			return err
		}
	}
	if s.stop {
		d.note("stops %s, pid %d", d.Name, old.pid)
		if err := d.manager.stop(ctx, host, d, old); err != nil {
			return err
		}
		d.out.PID, d.out.State, d.out.Identity, d.out.StartedAt = 0, "stopped", "", ""
		if !s.start {
			return host.Apply(ctx, modules.Change{Kind: modules.Remove, Path: d.file("json")},
				modules.Change{Kind: modules.Remove, Path: d.file("proc")}, modules.Change{Kind: modules.Remove, Path: d.file("pid")})
		}
	}
	switch {
	case s.start:
		return d.start(ctx, host)
	case s.settle:
		return d.settle(ctx, host, old)
	}
	return nil
}

// settle writes down a process that runs already, and watches it.
func (d *daemon) settle(ctx context.Context, host modules.Host, running process) error {
	p, boot, err := lookProcess(ctx, host, running.pid)
	if err == nil && (!p.alive || p.start != running.start) {
		err = errEnded
	}
	if err == nil {
		err = d.write(ctx, host, p, boot)
	}
	if err == nil {
		err = d.watch(ctx, host, p)
	}
	if err != nil {
		return &ServiceError{Name: d.Name, Err: err}
	}
	return nil
}

// start starts the program, writes down which process it is, and watches it for a while.
func (d *daemon) start(ctx context.Context, host modules.Host) error {
	logged, err := d.makeRoom(ctx, host)
	if err != nil {
		return err
	}
	d.note("starts %s", d.Name)
	pid, err := d.manager.start(ctx, host, d)
	if err != nil {
		return d.explain(ctx, host, logged, err)
	}
	p, boot, err := lookProcess(ctx, host, pid)
	if err == nil && !p.alive {
		err = errEnded
	}
	if err == nil {
		err = d.write(ctx, host, p, boot)
	}
	if err == nil {
		err = d.watch(ctx, host, p)
	}
	if err != nil {
		return d.explain(ctx, host, logged, err)
	}
	return nil
}

// makeRoom makes the folders that are needed and gives the log's length.
func (d *daemon) makeRoom(ctx context.Context, host modules.Host) (int64, error) {
	err := host.Apply(ctx, modules.Change{Kind: modules.MakeDirectory, Path: d.RunDir},
		modules.Change{Kind: modules.MakeDirectory, Path: path.Dir(d.Log)})
	if err != nil {
		return 0, err
	}
	files, err := host.Look(ctx, modules.Query{Path: d.Log, Follow: true})
	if err != nil {
		return 0, err
	}
	return files[0].Size, nil
}

// write keeps the record of a process that has just been started.
func (d *daemon) write(ctx context.Context, host modules.Host, p process, boot string) error {
	r := record{PID: p.pid, Start: p.start, Boot: boot, Exe: p.exe, Argv: d.Exec, Identity: d.Identity,
		StartedAt: time.Now().UTC().Format(time.RFC3339)}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	d.out.PID, d.out.State, d.out.Identity, d.out.StartedAt = p.pid, "running", d.Identity, r.StartedAt
	pid := strconv.Itoa(p.pid)
	return host.Apply(ctx,
		modules.Change{Kind: modules.MakeLink, Path: d.file("proc"), Target: "/proc/" + pid},
		modules.Change{Kind: modules.WriteFile, Path: d.file("pid"), Content: modules.Bytes(d.file("pid"), []byte(pid+"\n"))},
		modules.Change{Kind: modules.WriteFile, Path: d.file("starts"), Content: modules.Bytes(d.file("starts"), keptStarts(append(d.starts, time.Now())))},
		modules.Change{Kind: modules.WriteFile, Path: d.file("json"), Content: modules.Bytes(d.file("json"), append(raw, '\n'))})
}

// watch sees that the process stays up.
func (d *daemon) watch(ctx context.Context, host modules.Host, started process) error {
	until := time.Now().Add(d.Wait)
	for {
		left := time.Until(until)
		if left > 0 {
			if err := sleep(ctx, min(left, max(d.Wait/8, 100*time.Millisecond))); err != nil {
				return err
			}
		}
		p, _, err := lookProcess(ctx, host, started.pid)
		if err != nil {
			return err
		}
		if !p.alive || p.start != started.start {
			return errEnded
		}
		if left <= 0 {
			return nil
		}
		d.note("watches %s, pid %d, for another %s", d.Name, p.pid, left.Round(time.Second))
	}
}

// maxTail bounds how much of a log is read to explain a failure, and maxTailLines how much is shown.
const (
	maxTail      = 64 << 10
	maxTailLines = 20
)

// explain adds what a program has logged since it was started to why it failed.
func (d *daemon) explain(ctx context.Context, host modules.Host, from int64, cause error) error {
	if ctx.Err() != nil {
		return cause
	}
	out, err := host.Run(ctx, modules.Command{ReadOnly: true, MaxOutput: maxTail,
		Argv: []string{"tail", "-c", fmt.Sprintf("+%d", from+1), d.Log}})
	if err != nil {
		return &ServiceError{Name: d.Name, Err: cause}
	}
	said := lines(strings.TrimSpace(string(out.Stdout)))
	if len(said) > maxTailLines {
		said = said[len(said)-maxTailLines:]
	}
	return &ServiceError{Name: d.Name, Log: strings.Join(said, "\n"), Err: fmt.Errorf("%w; its log is %s", cause, d.Log)}
}

// startable finds what would keep the program from starting, before anything is stopped for it.
func (s sight) startable(a daemonArgs) error {
	if a.Chdir != "" && s.chdir.Kind != modules.Directory {
		return &modules.FileError{Op: "start " + a.Name + " in", Path: a.Chdir, Kind: fs.ErrNotExist, Text: "there is no such folder; install the package first"}
	}
	if program := a.program(); program != "" {
		switch {
		case s.program.Kind == modules.Missing:
			return &modules.FileError{Op: "start " + a.Name + " with", Path: program, Kind: fs.ErrNotExist, Text: "there is no such program; install the package first"}
		case s.program.Kind != modules.Regular || s.program.Mode&0o111 == 0:
			return &modules.FileError{Op: "start " + a.Name + " with", Path: program, Kind: fs.ErrPermission, Text: "this is no program; its mode has no x"}
		}
	}
	return nil
}

// program is the program's absolute path; empty where PATH decides.
func (a daemonArgs) program() string {
	switch {
	case len(a.Exec) == 0 || !strings.Contains(a.Exec[0], "/"):
		return ""
	case path.IsAbs(a.Exec[0]):
		return a.Exec[0]
	case a.Chdir == "":
		return ""
	}
	return path.Join(a.Chdir, a.Exec[0])
}
