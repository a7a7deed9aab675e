package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// process is one process of a host, as /proc shows it.
type process struct {
	pid   int
	alive bool
	start uint64 // clock ticks after boot: with pid and boot this is one process and no other
	exe   string // empty where only root or its user may see it
	argv  []string
}

// errEnded is a program that has ended while it should run.
var errEnded = errors.New("it ended right after it was started")

// processQueries ask for what /proc knows about a process, below a folder or link of it.
func processQueries(dir string) []modules.Query {
	return []modules.Query{
		{Path: dir + "/stat", Content: 4096},
		{Path: dir + "/exe"},
		{Path: dir + "/cmdline", Content: 256 << 10},
	}
}

const bootID = "/proc/sys/kernel/random/boot_id"

// readProcess reads the answers to processQueries.
func readProcess(pid int, files []modules.File) process {
	p := process{pid: pid, exe: files[1].Target}
	p.start, p.alive = parseStat(string(files[0].Content))
	if line := strings.TrimSuffix(string(files[2].Content), "\x00"); line != "" {
		p.argv = strings.Split(line, "\x00")
	}
	return p
}

// parseStat reads a process's start from /proc/PID/stat; false: there is none, or it is only waiting to
// be collected by its parent. The second field is the program's name in parentheses and may hold any
// character, so what counts begins behind the last one.
func parseStat(stat string) (start uint64, alive bool) {
	i := strings.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, false
	}
	fields := strings.Fields(stat[i+1:])
	const startField = 22 - 3 // the 22nd field; the first of these is the third
	if len(fields) <= startField {
		return 0, false
	}
	start, err := strconv.ParseUint(fields[startField], 10, 64)
	dead := fields[0] == "Z" || fields[0] == "X" || fields[0] == "x"
	return start, err == nil && !dead
}

// lookProcess looks at one process, and which boot the host is in.
func lookProcess(ctx context.Context, host modules.Host, pid int) (process, string, error) {
	queries := append(processQueries("/proc/"+strconv.Itoa(pid)), modules.Query{Path: bootID, Content: 64})
	files, err := host.Look(ctx, queries...)
	if err != nil {
		return process{}, "", err
	}
	return readProcess(pid, files), strings.TrimSpace(string(files[3].Content)), nil
}

// sight is what one look at a host says about a daemon.
type sight struct {
	process
	running  bool
	identity string
	record   record
	boot     string
	systemd  bool // it is PID 1 and the task acts as root
	chdir    modules.File
	program  modules.File
	unit     modules.File
	starts   []time.Time // when the daemon module has started it, oldest first
}

// look reads everything about the daemon in one round trip. The link NAME.proc makes that possible: it
// leads to the process's folder in /proc, whose number is not known before.
func (d *daemon) look(ctx context.Context, host modules.Host) (sight, error) {
	queries := append(processQueries(d.file("proc")),
		modules.Query{Path: d.file("proc")},
		modules.Query{Path: d.file("json"), Content: 64 << 10},
		modules.Query{Path: bootID, Content: 64},
		modules.Query{Path: "/run/systemd/system"},
		modules.Query{Path: "/proc/self", Follow: true},
		modules.Query{Path: orRoot(d.Chdir), Follow: true},
		modules.Query{Path: orRoot(d.program()), Follow: true},
		modules.Query{Path: unitDir + d.Name + ".service", Content: 64 << 10},
		modules.Query{Path: d.file("starts"), Content: 64 << 10},
	)
	f, err := host.Look(ctx, queries...)
	if err != nil {
		return sight{}, err
	}
	pid, _ := strconv.Atoi(path.Base(f[3].Target))
	s := sight{process: readProcess(pid, f), boot: strings.TrimSpace(string(f[5].Content)),
		systemd: f[6].Kind == modules.Directory && f[7].Kind == modules.Directory && f[7].UID == 0,
		chdir:   f[8], program: f[9], unit: f[10], starts: readStarts(string(f[11].Content))}
	if len(f[4].Content) > 0 {
		if err := json.Unmarshal(f[4].Content, &s.record); err != nil {
			return sight{}, fmt.Errorf("%s is damaged: %w; remove it when %s does not run", d.file("json"), err, d.Name)
		}
	}
	s.recognise(d.Exec)
	return s, nil
}

func orRoot(p string) string {
	if p == "" {
		return "/"
	}
	return p
}

// recognise decides whether the process is the daemon.
func (s *sight) recognise(argv []string) {
	switch {
	case !s.alive:
	case s.record.PID == s.pid && s.record.Start == s.start && s.record.Boot == s.boot:
		s.running, s.identity = true, s.record.Identity
	case sameProgram(s.argv, argv):
		// Started, but the connection broke before it was written down: what it is in step with is unknown.
		s.running, s.record = true, record{}
	}
	if !s.running {
		s.process, s.record = process{}, record{}
	}
}

// sameProgram compares a process's arguments with exec. In front of a script's stands its interpreter.
func sameProgram(running, exec []string) bool {
	n := len(running) - len(exec)
	if n < 0 || len(exec) == 0 {
		return false
	}
	return path.Base(running[n]) == path.Base(exec[0]) && slices.Equal(running[n+1:], exec[1:])
}

// predict takes what an earlier task of a check-mode run would have left.
func (s *sight) predict(host modules.Host, d *daemon) {
	state, ok := host.Predicted(d.key("state"))
	if !ok {
		return
	}
	s.running = state == "running"
	s.identity, _ = host.Predicted(d.key("identity"))
	if !s.running {
		s.process, s.identity = process{}, ""
	}
}

// detached starts processes in sessions of their own.
type detached struct{}

// launch writes down its own process id, sets limits and becomes the program. That it writes first is
// what lets a later run find the process when the connection breaks right here. It is a constant; what
// comes from the task is in the arguments.
const launch = `set -e
link=$1 file=$2 limits=$3
shift 3
ln -sfn "/proc/$$" "$link"
echo "$$" >"$file"
for limit in $limits; do ulimit "-${limit%%=*}" "${limit#*=}"; done
exec "$@"`

func (detached) start(ctx context.Context, host modules.Host, d *daemon) (int, error) {
	letters := limitLetters()
	var limits []string
	for name, value := range d.Limits {
		limits = append(limits, letters[name]+"="+value)
	}
	slices.Sort(limits)
	argv := append([]string{"/bin/sh", "-c", launch, "sh", d.file("proc"), d.file("pid"), strings.Join(limits, " ")}, d.Exec...)
	out, err := host.Run(ctx, modules.Command{Argv: argv, Dir: d.Chdir, Env: d.Environment, Detach: true, Log: d.Log})
	return out.PID, err
}

func (detached) stop(ctx context.Context, host modules.Host, d *daemon, p process) error {
	if err := signal(ctx, host, p.pid, strings.TrimPrefix(d.StopSignal, "SIG")); err != nil {
		return err
	}
	gone, err := d.awaitEnd(ctx, host, p, d.StopTimeout)
	if err != nil || gone {
		return err
	}
	if !d.Kill {
		return fmt.Errorf("%s, pid %d, is still there %s after %s; kill: true would kill it", d.Name, p.pid, d.StopTimeout, d.StopSignal)
	}
	d.note("kills %s, pid %d", d.Name, p.pid)
	if err := signal(ctx, host, p.pid, "KILL"); err != nil {
		return err
	}
	const unkillable = 10 * time.Second
	if gone, err = d.awaitEnd(ctx, host, p, unkillable); err != nil || gone {
		return err
	}
	return fmt.Errorf("%s, pid %d, cannot even be killed; it hangs in the kernel, look at the host's disks", d.Name, p.pid)
}

// signal sends a signal. A process that is gone by now is no error.
func signal(ctx context.Context, host modules.Host, pid int, name string) error {
	// The shell's own kill: not every host has the program.
	_, err := host.Run(ctx, modules.Command{Argv: []string{"/bin/sh", "-c", `kill -s "$1" "$2"`, "sh", name, strconv.Itoa(pid)}})
	var exit *modules.ExitError
	if errors.As(err, &exit) && strings.Contains(strings.ToLower(string(exit.Stderr)), "no such process") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("signal pid %d: %w", pid, err)
	}
	return nil
}

// awaitEnd waits until a process is gone; false: it is still there.
func (d *daemon) awaitEnd(ctx context.Context, host modules.Host, p process, most time.Duration) (bool, error) {
	started := time.Now()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		now, _, err := lookProcess(ctx, host, p.pid)
		if err != nil {
			return false, err
		}
		if !now.alive || now.start != p.start {
			return true, nil
		}
		waited := time.Since(started)
		if waited >= most {
			return false, nil
		}
		if waited > time.Second {
			d.note("waits %s for %s, pid %d, to stop", waited.Round(time.Second), d.Name, p.pid)
		}
		if err := sleep(ctx, pause); err != nil {
			return false, err
		}
	}
}
