package builtin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// Daemon keeps a long-running program of a host in a state.
func Daemon() *modules.Module {
	return modules.Define("daemon", `Start, stop and restart a long-running program

For programs that stay in the foreground and know nothing of being a service. Where systemd is PID 1 and the
task acts as root, the program becomes the unit NAME.service. Elsewhere it is started in a session of its
own that outlives the connection, and known by its process id together with its start time, so that no
other process is ever taken for it.

started starts it when it does not run; a running one is left alone, whatever changed. converged also
restarts one that was started with another exec, environment, limits or identity. restarted always restarts
it. stopped sends stop_signal and waits until it is gone; after stop_timeout it fails, or kills it when kill is set.

A program that does not stay up for stay_up fails the task, with the last lines of its log.

    - name: meta server runs
      daemon:
        name: pegasus-meta
        exec: [./pegasus_server, config.ini, -app_list, meta]
        chdir: /home/work/pegasus/current/bin
        environment: {LD_LIBRARY_PATH: /home/work/pegasus/current/bin}
        log: /home/work/app/pegasus/meta/result
        run_dir: /home/work/pegasus/run

Registered: running, pid, previous_pid, manager (systemd or detached).`, proposeDaemon)
}

type daemonArgs struct {
	Name        string            `arg:"name,required" doc:"name of the daemon on its host: letters, digits, - and _"`
	State       string            `arg:"state" default:"started" choices:"started,stopped,restarted,converged" doc:"what it should be"`
	Exec        []string          `arg:"exec" doc:"program and arguments; a program without a leading / is relative to chdir. Not needed for stopped"`
	Chdir       string            `arg:"chdir,path" doc:"folder it runs in; / when not given"`
	Environment map[string]string `arg:"environment" doc:"variables added to its environment"`
	Log         string            `arg:"log,path" doc:"file that its output is appended to; nowhere when not given"`
	Nofile      int               `arg:"nofile" doc:"limit of open files; 0 leaves the system's"`
	Core        bool              `arg:"core" doc:"whether it may leave core files of any size"`
	User        string            `arg:"user" doc:"user that a systemd unit runs as; a detached daemon runs as the task's user"`
	Manager     string            `arg:"manager" default:"auto" choices:"auto,systemd,detached" doc:"what keeps it; auto is systemd for root where systemd is PID 1"`
	RunDir      string            `arg:"run_dir,path" default:"/var/lib/pegbook" doc:"folder for what is known about the daemon; a user who is not root needs one to write to"`
	Identity    string            `arg:"identity" doc:"text that stands for what it runs, such as a version and a checksum; see converged"`
	StopSignal  string            `arg:"stop_signal" default:"TERM" doc:"signal that ends it"`
	StopTimeout time.Duration     `arg:"stop_timeout" default:"60" doc:"how long it may take to end"`
	Kill        bool              `arg:"kill" doc:"whether it is killed (SIGKILL) after stop_timeout; without it the task fails"`
	StayUp      time.Duration     `arg:"stay_up" default:"1" doc:"how long it must run to count as started"`
}

// daemonState is what a daemon task registers.
type daemonState struct {
	Name        string `json:"name"`
	Manager     string `json:"manager"`
	Running     bool   `json:"running"`
	PID         int    `json:"pid,omitempty"`
	PreviousPID int    `json:"previous_pid,omitempty"`
}

// daemon is one task's view of its daemon.
type daemon struct {
	args    daemonArgs
	program string // absolute path of exec's program
	// identity is a digest of everything that converged compares.
	identity string
	found    daemonFound
}

// daemonFound is how things stand on the host.
type daemonFound struct {
	systemd  bool
	running  bool
	pid      int
	start    string // start time in the kernel's ticks: with pid it names one process for ever
	identity string
	unit     string // the unit file's content
	enabled  bool
}

func proposeDaemon(ctx context.Context, call *modules.Call, args daemonArgs) (*modules.Proposal, error) {
	d, err := newDaemon(args)
	if err != nil {
		return nil, err
	}
	if err := d.look(ctx, call.Host); err != nil {
		return nil, err
	}
	return d.proposal(call), nil
}

func newDaemon(args daemonArgs) (*daemon, error) {
	d := &daemon{args: args}
	for _, r := range args.Name {
		if !strings.ContainsRune("-_@.", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return nil, &modules.ArgumentError{Arg: "name", Problem: fmt.Sprintf("name is %q", args.Name), Hint: "use letters, digits, - and _"}
		}
	}
	if d.args.Chdir == "" {
		d.args.Chdir = "/"
	}
	if args.State == "stopped" {
		return d, nil
	}
	if len(args.Exec) == 0 {
		return nil, &modules.ArgumentError{Arg: "exec", Problem: "exec is missing", Hint: "say which program is to run, with its arguments"}
	}
	d.program = args.Exec[0]
	if !path.IsAbs(d.program) {
		d.program = path.Join(d.args.Chdir, d.program)
	}
	definition, err := json.Marshal([]any{args.Identity, args.Exec, args.Chdir, args.Environment, args.Nofile, args.Core, args.User, args.Log})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(definition)
	d.identity = hex.EncodeToString(sum[:])
	return d, nil
}

func (d *daemon) file(ending string) string { return path.Join(d.args.RunDir, d.args.Name+ending) }
func (d *daemon) unitName() string          { return d.args.Name + ".service" }
func (d *daemon) unitFile() string          { return "/etc/systemd/system/" + d.unitName() }

// look reads everything in one round trip; a unit's state, which only systemd knows, is asked for at
// the same time.
func (d *daemon) look(ctx context.Context, host modules.Host) error {
	const stat, content = 16 << 10, 64 << 10
	queries := []modules.Query{
		{Path: "/run/systemd/system"},
		{Path: "/proc/self", Follow: true},
		{Path: d.file(".identity"), Content: stat},
		{Path: d.file(".stat"), Content: stat},
		{Path: d.file(".proc") + "/stat", Content: stat},
		{Path: "/proc/sys/kernel/random/boot_id", Content: stat},
		{Path: d.unitFile(), Content: content},
		{Path: "/etc/systemd/system/multi-user.target.wants/" + d.unitName()},
	}
	if d.program != "" {
		queries = append(queries, modules.Query{Path: d.program, Follow: true})
	}
	files, err := host.Look(ctx, queries...)
	if err != nil {
		return err
	}
	if d.program != "" && files[8].Kind != modules.Regular {
		return fmt.Errorf("%s is not there (%s); install it first", d.program, files[8].Kind)
	}
	f := &d.found
	switch d.args.Manager {
	case "systemd":
		f.systemd = true
	case "auto":
		f.systemd = files[0].Kind == modules.Directory && files[1].UID == 0
	}
	f.identity = strings.TrimSpace(string(files[2].Content))
	f.unit, f.enabled = string(files[6].Content), files[7].Kind == modules.Symlink
	if unit, ok := host.Predicted(d.key() + "/unit"); ok {
		f.unit, f.enabled = unit, true
	}
	if predicted, ok := host.Predicted(d.key()); ok {
		f.running, f.identity, f.pid = predicted != "", predicted, 0 // whose id nobody can know
		return nil
	}
	if f.systemd {
		return d.lookUnit(ctx, host)
	}
	f.pid, f.start, f.running = d.alive(string(files[3].Content), string(files[4].Content), strings.TrimSpace(string(files[5].Content)))
	return nil
}

func (d *daemon) key() string { return "daemon/" + d.args.Name }

// alive compares what was written down at the start with the process that has the id now. A process id
// is used again; together with the start time and the boot it is not.
func (d *daemon) alive(recorded, now, boot string) (pid int, start string, ok bool) {
	line, bootThen, _ := strings.Cut(strings.TrimSpace(recorded), "\n")
	pid, start, _, known := procStat(line)
	_, startNow, state, runs := procStat(now)
	ok = known && runs && start == startNow && bootThen == boot && state != "Z" && state != "X"
	return pid, start, ok
}

// procStat reads /proc/PID/stat: id, start time in ticks since boot (field 22) and state (field 3). The
// program's name stands in brackets and may hold anything.
func procStat(line string) (pid int, start, state string, ok bool) {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return 0, "", "", false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line[:open]))
	fields := strings.Fields(line[end+1:])
	if err != nil || len(fields) < 20 {
		return 0, "", "", false
	}
	return pid, fields[19], fields[0], true
}

func (d *daemon) proposal(call *modules.Call) *modules.Proposal {
	f := d.found
	out := &daemonState{Name: d.args.Name, Running: f.running, PID: f.pid, Manager: "detached"}
	if f.systemd {
		out.Manager = "systemd"
	}
	if !f.running {
		out.PID = 0
	}
	p := &modules.Proposal{Output: out}
	if f.systemd && d.args.State != "stopped" {
		p.Diff = append(p.Diff, d.unitDiff()...)
	}
	stop, start := d.steps()
	switch {
	case stop && start:
		p.Diff = append(p.Diff, d.note("is restarted"))
	case stop:
		p.Diff = append(p.Diff, d.note("is stopped"))
	case start:
		p.Diff = append(p.Diff, d.note("is started"))
	}
	if len(p.Diff) == 0 {
		return p
	}
	p.Predicts = map[string]string{d.key(): d.identity}
	switch {
	case d.args.State == "stopped":
		p.Predicts[d.key()] = ""
	case !stop && !start:
		p.Predicts[d.key()] = f.identity
	}
	if f.systemd && d.args.State != "stopped" {
		p.Predicts[d.key()+"/unit"] = d.unit()
	}
	p.Do = func(ctx context.Context, host modules.Host) error {
		if f.running {
			out.PreviousPID = f.pid
		}
		manage := d.detached
		if f.systemd {
			manage = d.underSystemd
		}
		pid, err := manage(ctx, call, host, stop, start)
		out.Running, out.PID = pid != 0, pid
		return err
	}
	return p
}

func (d *daemon) note(text string) modules.Diff {
	return modules.Diff{Subject: "daemon " + d.args.Name, Note: text}
}

// steps says what is to be done: stop it, start it, both, or neither.
func (d *daemon) steps() (stop, start bool) {
	running := d.found.running
	switch d.args.State {
	case "stopped":
		return running, false
	case "restarted":
		return running, true
	case "converged":
		if running && d.found.identity != d.identity {
			return true, true
		}
	}
	return false, !running
}

// tail gives the last lines of the daemon's log, for the message about a start that failed.
func (d *daemon) tail(ctx context.Context, host modules.Host) string {
	if d.args.Log == "" {
		return "it has no log; give log: to see why"
	}
	out, err := host.Run(ctx, modules.Command{Argv: []string{"tail", "-n", "15", d.args.Log}, ReadOnly: true})
	text := strings.TrimSpace(string(out.Stdout))
	if err != nil || text == "" {
		return d.args.Log + " is empty"
	}
	return "the end of " + d.args.Log + ":\n" + text
}
