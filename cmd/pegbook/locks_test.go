package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/sshhost"
	"github.com/pegbook/pegbook/lab/zookeeper/zktest"
	"github.com/pegbook/pegbook/modules/zksession"
)

// TestLocks is about runs that want the same lock; each test has one of its own.
func TestLocks(t *testing.T) {
	s := newLockSite(t)
	for name, test := range map[string]func(*lockSite){
		"race": runsRace, "paused": pausedControlNode, "taken away": hostRefusesAnOlderHolder, "killed": killedHolder,
	} {
		t.Run(name, func(t *testing.T) {
			own := *s
			own.t, own.log, own.lock = t, filepath.Join(t.TempDir(), "log"), "/pegbook/locks/"+strings.ReplaceAll(name, " ", "-")
			test(&own)
		})
	}
}

// lockSite is a host behind SSH, a real ZooKeeper, and a playbook that writes a line to the host's log with each
// task. Runs are processes of their own.
type lockSite struct {
	t         *testing.T
	dir       string
	zookeeper string
	log, lock string // of the test
}

func newLockSite(t *testing.T) *lockSite {
	t.Helper()
	dir := t.TempDir()
	s := &lockSite{t: t, dir: dir, zookeeper: zktest.Start(t, "127.0.78.5", 200*time.Millisecond)}
	hostKey, err := sshhost.OpenKey(filepath.Join(dir, "host_key"))
	require.NoError(t, err)
	clientKey, err := sshhost.OpenKey(filepath.Join(dir, "key"))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	h, err := sshhost.Listen(ctx, sshhost.Options{Addr: "127.0.78.6:0", Home: filepath.Join(dir, "home"), HostKey: hostKey, ClientKey: clientKey})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- h.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	_, port, err := net.SplitHostPort(h.Addr())
	require.NoError(t, err)
	s.file("known_hosts", hostKey.KnownHost(h.Addr())+"\n", 0o600)
	s.file("hosts.yml", fmt.Sprintf(`all:
  hosts:
    h1: {ansible_host: 127.0.78.6, ansible_port: %s, ansible_ssh_private_key_file: %s/key, ansible_ssh_known_hosts_file: %s/known_hosts,
         ansible_ssh_config_file: none, ansible_remote_tmp: %s/home/tmp}
`, port, dir, dir, dir), 0o600)
	s.file("book.yml", `- hosts: h1
  gather_facts: false
  lock: {zookeeper: "{{ .servers }}", path: "{{ .lock }}", timeout: "{{ .timeout | default 1 }}"}
  tasks:
    - command: sh -c 'echo {{ .me }} {{ .item }} >>{{ .log }}; sleep {{ .nap | default 0 }}; echo {{ .me }} {{ .item }} >>{{ .log }}'
      loop: '{{ until (int .tasks) }}'
`, 0o600)
	return s
}

func (s *lockSite) file(name, text string, mode os.FileMode) {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(filepath.Join(s.dir, name), []byte(text), mode))
}

// lockRun is a run that has been started.
type lockRun struct {
	*exec.Cmd
	out  bytes.Buffer
	done chan int
}

// start starts a run that is called me and writes two lines for each of so many items.
func (s *lockSite) start(me string, tasks int, args ...string) *lockRun {
	s.t.Helper()
	args = append([]string{"run", filepath.Join(s.dir, "book.yml"), "-i", filepath.Join(s.dir, "hosts.yml"),
		"-e", "me=" + me, "-e", "tasks=" + strconv.Itoa(tasks), "-e", "log=" + s.log, "-e", "servers=" + s.zookeeper, "-e", "lock=" + s.lock}, args...)
	r := &lockRun{Cmd: exec.Command("pegbook", args...), done: make(chan int, 1)}
	r.Env = append(os.Environ(), "PEGBOOK_HOME="+filepath.Join(s.dir, "runs"), "NO_COLOR=1")
	r.Stdout, r.Stderr = &r.out, &r.out
	require.NoError(s.t, r.Start())
	s.t.Cleanup(func() { _ = r.Process.Kill() })
	go func() {
		_ = r.Wait()
		r.done <- r.ProcessState.ExitCode()
	}()
	return r
}

func (r *lockRun) wait(t *testing.T) int {
	t.Helper()
	select {
	case code := <-r.done:
		return code
	case <-time.After(time.Minute):
		_ = r.Process.Kill()
		<-r.done
		require.Fail(t, "the run does not end", r.out.String())
		return -1
	}
}

// lines are who wrote the lines of the host's log, in order.
func (s *lockSite) lines() []string {
	text, err := os.ReadFile(s.log)
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(s.t, err)
	var who []string
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, " ")
		who = append(who, name)
	}
	return who
}

func (s *lockSite) wrote(me string) int {
	n := 0
	for _, who := range s.lines() {
		if who == me {
			n++
		}
	}
	return n
}

func (s *lockSite) untilWrote(me string, lines int) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.wrote(me) >= lines }, 30*time.Second, 2*time.Millisecond, "%s never wrote %d lines", me, lines)
}

// turns is how often the writer of the log's lines changes: each run that had the lock wrote all its lines in one go.
func turns(who []string) int {
	n := 0
	for i := range who {
		if i == 0 || who[i] != who[i-1] {
			n++
		}
	}
	return n
}

// rounds is how often chance is given: more under make e2e.
func rounds(few int) int {
	if n, err := strconv.Atoi(os.Getenv("PEGBOOK_LOCK_ROUNDS")); err == nil {
		return n
	}
	return few
}

// Two runs that start at once: one of them has the lock and the other is refused, or waits. Nobody changes anything
// without it.
func runsRace(s *lockSite) {
	t := s.t
	refused, waited, both := 0, 0, 0
	for i := range rounds(12) {
		var args []string
		if i%2 == 1 {
			args = []string{"--lock-wait", "1m"}
		}
		names := []string{fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)}
		runs := []*lockRun{s.start(names[0], 3, args...), s.start(names[1], 3, args...)}
		for j, r := range runs {
			switch code := r.wait(t); code {
			case 0:
				require.Equal(t, 6, s.wrote(names[j]), "%s", &r.out)
			case 1:
				refused++
				require.Contains(t, r.out.String(), "is held by")
				require.Zero(t, s.wrote(names[j]), "the loser changed something")
				require.Empty(t, args)
			default:
				require.Fail(t, "it ended otherwise", "code %d: %s", code, &r.out)
			}
		}
		if args != nil {
			waited++
		}
		writers := map[string]bool{}
		for _, who := range s.lines() {
			writers[who] = true
		}
		if turns(s.lines()) != len(writers) {
			both++
		}
	}
	assert.Zero(t, both, "lines of two runs are mixed")
	t.Logf("%d rounds of two processes: %d refused, %d rounds waited, %d times two holders", rounds(12), refused, waited, both)
}

// A control node stands still, another takes over, and the first wakes up: it changes nothing any more.
func pausedControlNode(s *lockSite) {
	t := s.t
	byItself, byHost := 0, 0
	for i := range rounds(3) {
		old, young := fmt.Sprintf("old%d", i), fmt.Sprintf("new%d", i)
		a := s.start(old, 3000, "-e", "nap=0")
		s.untilWrote(old, 4)
		time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
		require.NoError(t, a.Process.Signal(syscall.SIGSTOP))
		b := s.start(young, 20, "--lock-wait", "1m")
		require.Zero(t, b.wait(t), "%s", &b.out)
		before := s.wrote(old)
		require.NoError(t, a.Process.Signal(syscall.SIGCONT))
		require.Equal(t, 5, a.wait(t), "%s", &a.out)
		require.Equal(t, before, s.wrote(old), "the run that woke up changed something")
		if strings.Contains(a.out.String(), "refuses changes under the lock") {
			byHost++
		} else {
			require.Contains(t, a.out.String(), "is lost")
			byItself++
		}
	}
	t.Logf("%d control nodes stood still and woke up: %d stopped by themselves, %d refused by the host, 0 changes", rounds(3), byItself, byHost)
}

// The lock is taken away while the run believes for a long time that it has it: the host knows better.
func hostRefusesAnOlderHolder(s *lockSite) {
	t := s.t
	a := s.start("old", 3000, "-e", "timeout=4m", "-e", "nap=0")
	s.untilWrote("old", 4)
	conn, closed, err := zksession.Connect(t.Context(), zksession.Options{Dial: (&net.Dialer{}).DialContext, Servers: []string{s.zookeeper}, Wait: 10 * time.Second})
	require.NoError(t, err)
	defer closed()
	removeHolder(t, conn, s.lock)
	b := s.start("new", 20)
	require.Zero(t, b.wait(t), "%s", &b.out)
	require.Equal(t, 5, a.wait(t), "%s", &a.out)
	assert.Contains(t, a.out.String(), "h1 refuses changes under the lock "+s.lock+": it was taken over by")
	assert.Contains(t, a.out.String(), "nothing more was started")
	assert.Equal(t, 2, turns(s.lines()), "lines of both are mixed")
}

func removeHolder(t *testing.T, conn *zk.Conn, lock string) {
	t.Helper()
	nodes, _, err := conn.Children(lock)
	require.NoError(t, err)
	require.Len(t, nodes, 1)
	require.NoError(t, conn.Delete(path.Join(lock, nodes[0]), -1))
}

// A control node that is killed leaves the lock to others when its session ends.
func killedHolder(s *lockSite) {
	t := s.t
	a := s.start("old", 3000, "-e", "nap=0")
	s.untilWrote("old", 4)
	require.NoError(t, a.Process.Kill())
	killed := time.Now()
	a.wait(t)
	b := s.start("new", 5, "--lock-wait", "1m")
	require.Zero(t, b.wait(t), "%s", &b.out)
	assert.Equal(t, 2, turns(s.lines()))
	t.Logf("the lock was free and the next run done %s after its holder was killed (session timeout 1 s)", time.Since(killed).Round(time.Millisecond))
}
