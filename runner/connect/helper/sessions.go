package helper

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// grace is how long a session has between being asked to end and being ended.
const grace = time.Second

// endSession ends every process of a session: first it is asked (SIGTERM), then it is not.
func endSession(sid int) {
	deadline := time.Now().Add(grace)
	for signal, pause := syscall.SIGTERM, time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		left := 0
		for _, pid := range members(sid) {
			// What may not be signalled (a setuid child) cannot be waited for either.
			if err := syscall.Kill(pid, signal); err == nil {
				left++
			}
		}
		if left == 0 || time.Now().After(deadline.Add(grace)) {
			return
		}
		if signal == syscall.SIGTERM {
			signal = 0 // asked once; from here on it is only looked whether they are there
		}
		if time.Now().After(deadline) {
			signal = syscall.SIGKILL
		}
		time.Sleep(pause)
	}
}

// members are the living processes of a session.
func members(sid int) []int {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	found, err := proc.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var pids []int
	for _, name := range found {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		if session, alive := parseStat(stat); alive && session == sid {
			pids = append(pids, pid)
		}
	}
	return pids
}

// parseStat reads a process's session from its stat, where the program's own name may hold anything.
func parseStat(stat []byte) (session int, alive bool) {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, false
	}
	fields := bytes.Fields(stat[i+1:]) // state, parent, group, session
	if len(fields) < 4 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return 0, false
	}
	session, err := strconv.Atoi(string(fields[3]))
	return session, err == nil
}

// guardScript waits until the helper is gone, which is when its input ends, and kills the sessions that
// stand in the register then. The shell is the cheapest process there is: a guard of our own would take
// longer to start than most commands run.
const guardScript = `trap "" HUP INT TERM; l=" "
while read -r s; do :; done
while read -r s; do
case $s in ?*) l="$l$s ";; esac
done <&3
[ "$l" = " " ] && exit
for n in 1 2 3; do
for f in /proc/[0-9]*/stat; do
{ read -r line <"$f"; } 2>/dev/null || continue
p=${f#/proc/}; set -- ${line##*) }
case $l in *" $4 "*) kill -KILL "${p%/stat}" 2>/dev/null;; esac
done
done`

// guard is the process that survives the helper by a moment. What it has to know stands in a register, a
// file without a name: to enter a command costs a write that wakes nobody.
type guard struct {
	mu       sync.Mutex // guards the rest
	register *os.File   // a line of slotLen bytes a session, blank where there is none
	free     []int      // lines that are
	lines    int
	tell     *os.File // the guard's input; nil while it does not run
	failed   bool     // without a guard everything works but this one protection
}

// slotLen is a line of the register: the largest number a process can have, and its end.
const slotLen = 8

// watch enters a session; the function it gives takes it off again. The guard itself is started by the
// first session that lives for a moment: most end before, and cost nothing.
func (g *guard) watch(sid int) (forget func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	slot := g.enter(sid)
	if slot < 0 {
		return func() {}
	}
	var timer *time.Timer
	if g.tell == nil {
		timer = time.AfterFunc(guardAfter, g.start)
	}
	return func() {
		if timer != nil {
			timer.Stop()
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.write(slot, "") {
			g.free = append(g.free, slot)
		}
	}
}

func (g *guard) enter(sid int) int {
	if g.register == nil && !g.failed {
		var err error
		g.register, err = nameless()
		g.failed = err != nil
	}
	if g.failed {
		return -1
	}
	slot := g.lines
	if n := len(g.free); n > 0 {
		slot, g.free = g.free[n-1], g.free[:n-1]
	} else {
		g.lines++
	}
	if !g.write(slot, strconv.Itoa(sid)) {
		return -1
	}
	return slot
}

func (g *guard) write(slot int, text string) bool {
	line := []byte("       \n")
	copy(line, text)
	_, err := g.register.WriteAt(line, int64(slot)*slotLen)
	return err == nil
}

// nameless makes a file that nobody else can open, in memory where the kernel has such files.
func nameless() (*os.File, error) {
	number, name := uintptr(319), []byte("pegbook\x00")
	if runtime.GOARCH == "arm64" {
		number = 279
	}
	const closeOnExec = 1
	fd, _, errno := syscall.Syscall(number, uintptr(unsafe.Pointer(&name[0])), closeOnExec, 0)
	if errno == 0 {
		return os.NewFile(fd, "register"), nil
	}
	file, err := os.CreateTemp("", "pegbook-")
	if err != nil {
		return nil, err
	}
	return file, os.Remove(file.Name())
}

func (g *guard) start() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tell != nil || g.failed {
		return
	}
	input, tell, err := os.Pipe()
	if err != nil {
		g.failed = true
		return
	}
	defer input.Close()
	cmd := exec.Command("/bin/sh", "-c", guardScript, "pegbook-guard")
	cmd.Stdin = input
	cmd.ExtraFiles = []*os.File{g.register}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if cmd.Start() != nil {
		tell.Close()
		g.failed = true
		return
	}
	go func() { _ = cmd.Wait() }()
	g.tell = tell
}

// close lets the guard go.
func (g *guard) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed = true
	if g.tell != nil {
		g.tell.Close()
	}
	if g.register != nil {
		g.register.Close()
	}
}
