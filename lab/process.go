package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Variables that every process of a lab's host inherits. They tell `lab down` and `lab status` whose a
// process is, however it was started and wherever it went.
const (
	envDir  = "PEGBOOK_LAB_DIR"
	envHost = "PEGBOOK_LAB_HOST"
)

// identity tells a process from a later one with the same number.
type identity struct {
	PID int `json:"pid"`
	// Start is when it started, in clock ticks since Boot.
	Start uint64 `json:"start"`
	Boot  string `json:"boot"`
}

// identify is the identity of a running process; an error when there is none with that number.
func identify(pid int) (identity, error) {
	s, err := readStat(pid)
	if err != nil {
		return identity{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return identity{pid, s.start, strings.TrimSpace(string(boot))}, err
}

func (id identity) alive() bool {
	now, err := identify(id.PID)
	return err == nil && now == id
}

// signal sends a signal to the process with this identity, and to no other.
func (id identity) signal(s os.Signal) error {
	p, err := os.FindProcess(id.PID) // a handle: the number cannot be given to another process now
	if err != nil {
		return err
	}
	defer p.Release() //nolint:errcheck // there is nothing to do about it
	if !id.alive() {
		return os.ErrProcessDone
	}
	return p.Signal(s)
}

// stat is what /proc/PID/stat says of a process.
type stat struct {
	parent int
	tty    int
	start  uint64
}

var errGone = errors.New("there is no such process")

func readStat(pid int) (stat, error) {
	p, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, errGone
	}
	// The name in brackets may hold anything; the fields are behind its end.
	fields := strings.Fields(string(p[bytes.LastIndexByte(p, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return stat{}, errGone
	}
	var s stat
	if s.parent, err = strconv.Atoi(fields[1]); err != nil {
		return stat{}, err
	}
	if s.tty, err = strconv.Atoi(fields[4]); err != nil {
		return stat{}, err
	}
	s.start, err = strconv.ParseUint(fields[19], 10, 64)
	return s, err
}

// running is a process that belongs to a lab.
type running struct {
	identity
	host string // "" when it is not known
	exe  string
	args []string
}

// processes finds every process of the lab in dir, which has no symbolic links in it: one whose program
// lies below, that has inherited our mark, or that sits below the hosts' folders without a terminal.
// This process and those it was started from are never among them.
func processes(dir string) ([]running, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	own := ancestors()
	var list []running
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || slices.Contains(own, pid) {
			continue
		}
		if r, ok := inspect(pid, dir); ok {
			list = append(list, r)
		}
	}
	return list, nil
}

func ancestors() []int {
	var list []int
	for pid := os.Getpid(); pid > 1; {
		list = append(list, pid)
		s, err := readStat(pid)
		if err != nil {
			break
		}
		pid = s.parent
	}
	return list
}

func inspect(pid int, dir string) (running, bool) {
	id, err := identify(pid)
	if err != nil {
		return running{}, false
	}
	proc := fmt.Sprintf("/proc/%d/", pid)
	exe, _ := os.Readlink(proc + "exe") // of another user's process we may read nothing: it is not ours
	exe = strings.TrimSuffix(exe, " (deleted)")
	cwd, _ := os.Readlink(proc + "cwd")
	environ, _ := os.ReadFile(proc + "environ")
	args, _ := os.ReadFile(proc + "cmdline")
	r := running{identity: id, exe: exe, args: strings.Split(strings.TrimRight(string(args), "\x00"), "\x00")}
	marked := false
	for pair := range strings.SplitSeq(string(environ), "\x00") {
		switch name, value, _ := strings.Cut(pair, "="); name {
		case envDir:
			marked = value == dir
		case envHost:
			r.host = value
		}
	}
	if !marked {
		r.host = ""
	}
	for _, path := range []string{exe, cwd} {
		if r.host == "" {
			r.host = hostOf(dir, path)
		}
	}
	s, err := readStat(pid)
	detached := err == nil && s.tty == 0 && below(filepath.Join(dir, "hosts"), cwd)
	return r, marked || below(dir, exe) || detached
}

func below(dir, path string) bool { return strings.HasPrefix(path, dir+"/") }

// hostOf is the host in whose folder a path lies.
func hostOf(dir, path string) string {
	rest, ok := strings.CutPrefix(path, filepath.Join(dir, "hosts")+"/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// uptime is how long a process has been running.
func (id identity) uptime() time.Duration {
	p, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0
	}
	word, _, _ := strings.Cut(string(p), " ")
	up, err := strconv.ParseFloat(word, 64)
	if err != nil {
		return 0
	}
	const ticksPerSecond = 100 // USER_HZ, the same on every Linux that Go runs on
	return time.Duration((up - float64(id.Start)/ticksPerSecond) * float64(time.Second)).Round(10 * time.Millisecond)
}
