package helper

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
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

// guardScript keeps a list of sessions, told on its input, and kills those on it when the input ends
// without warning. The shell is the cheapest process there is: a guard of our own would take longer to
// start than most commands run.
const guardScript = `trap "" HUP INT TERM; l=" "
while read -r op s; do
case $op in
+) l="$l$s ";;
-) l="${l%% $s *} ${l#* $s }";;
esac
done
[ "$l" = " " ] && exit
for n in 1 2 3; do
for f in /proc/[0-9]*/stat; do
{ read -r line <"$f"; } 2>/dev/null || continue
p=${f#/proc/}; set -- ${line##*) }
case $l in *" $4 "*) kill -KILL "${p%/stat}" 2>/dev/null;; esac
done
done`

// guard is the process that survives the helper by a moment.
type guard struct {
	mu     sync.Mutex // guards the rest
	tell   *os.File
	failed bool
}

// watch tells the guard of a session once it has lived for a moment; the function it gives takes the
// session off the list again.
func (g *guard) watch(sid int) (forget func()) {
	var mu sync.Mutex
	var told, over bool
	timer := time.AfterFunc(guardAfter, func() {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			told = g.say("+ " + strconv.Itoa(sid) + "\n")
		}
	})
	return func() {
		timer.Stop()
		mu.Lock()
		defer mu.Unlock()
		over = true
		if told {
			g.say("- " + strconv.Itoa(sid) + "\n")
		}
	}
}

func (g *guard) say(line string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed {
		return false
	}
	if g.tell == nil {
		if err := g.start(); err != nil {
			// Without a guard everything works but this one protection.
			g.failed = true
			return false
		}
	}
	_, err := g.tell.WriteString(line)
	return err == nil
}

func (g *guard) start() error {
	input, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	defer input.Close()
	cmd := exec.Command("/bin/sh", "-c", guardScript, "pegbook-guard")
	cmd.Stdin = input
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, tell.Close())
	}
	go func() { _ = cmd.Wait() }()
	g.tell = tell
	return nil
}

// close lets the guard go.
func (g *guard) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed = true
	if g.tell != nil {
		g.tell.Close()
	}
}
