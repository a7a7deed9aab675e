package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/machines"
	"github.com/pegbook/pegbook/runner/event"
)

// testFaults breaks things while a task runs.
func (s *site) testFaults(t *testing.T) {
	t.Run("link cut", s.testCut)
	t.Run("helper killed", s.testHelperKilled)
	t.Run("timeout", s.testTimeout)
	t.Run("interrupt once", s.testInterruptOnce)
	t.Run("interrupt twice", s.testInterruptTwice)
	t.Run("disk full", s.testDiskFull)
	t.Run("pegbook killed", s.testPegbookKilled)
	t.Run("start fails", s.testStartFails)
}

// awaitProcess waits until a machine has a process with text in its command line.
func (s *site) awaitProcess(t *testing.T, m machines.Machine, text string) {
	t.Helper()
	require.Eventually(t, func() bool {
		found, err := s.Processes(m, text)
		return err == nil && len(found) > 0
	}, 30*time.Second, 20*time.Millisecond, "no process %q on %s", text, m.Name)
}

// testCut takes two machines off the network, one running a command and one taking a large file.
func (s *site) testCut(t *testing.T) {
	working, taking := s.List[0], s.List[1]
	large := s.write(t, "large", "")
	require.NoError(t, os.Truncate(large, 256<<20))
	s.on(t, taking, "rm -rf /srv/taking; mkdir /srv/taking; echo old >/srv/taking/file")
	inventory := s.names(t, "ansible_ssh_common_args: -o ServerAliveInterval=1",
		name{"working", working, []string{"mode: work"}}, name{"taking", taking, []string{"mode: take"}}, name{"other", s.List[2], []string{"mode: none"}})
	r := s.begin(t, "-i", inventory, "-e", "large="+large, s.tasks(t, `
- name: command
  shell: sleep 7001; echo never
  when: eq .mode "work"
- name: file
  copy: {src: "{{ .large }}", dest: /srv/taking/file}
  when: eq .mode "take"
- name: after
  command: echo after
`))
	s.awaitProcess(t, working, "sleep 7001")
	require.NoError(t, s.Cut(t.Context(), working, true))
	defer func() { require.NoError(t, s.Cut(t.Context(), working, false)) }()
	r.until(`"task":"command"`, `"unreachable"`)
	require.Eventually(t, func() bool { return s.on(t, taking, "ls -A /srv/taking | wc -l") != "1" }, 30*time.Second, 10*time.Millisecond)
	require.NoError(t, s.Cut(t.Context(), taking, true))
	cutAt := time.Now()
	defer func() { require.NoError(t, s.Cut(t.Context(), taking, false)) }()
	res := r.wait()
	require.Less(t, time.Since(cutAt), 10*time.Second, "a dead link is noticed after three unanswered keepalives")

	require.Equal(t, 4, res.code, res.bad())
	require.Equal(t, event.Unreachable, res.task(t, "command", "working").Status)
	require.Equal(t, event.Unreachable, res.task(t, "file", "taking").Status)
	require.Equal(t, event.Changed, res.task(t, "after", "other").Status, "a host that is well goes on")
	require.Equal(t, 1, res.done.Recap["working"].Unreachable)
	require.Equal(t, 1, res.done.Recap["taking"].Unreachable)
	require.Contains(t, res.task(t, "command", "working").Msg, "no longer answers")

	require.NoError(t, s.Cut(t.Context(), working, false))
	require.NoError(t, s.Cut(t.Context(), taking, false))
	s.gone(t, working, "sleep 7001")
	s.gone(t, working, "helper-")
	s.gone(t, taking, "helper-")
	require.Equal(t, "old", s.on(t, taking, "cat /srv/taking/file"), "no half-written file")

	inventory = s.names(t, "", name{"taking", taking, []string{"mode: take"}})
	again := s.book(t, "-i", inventory, "-e", "large="+large, s.tasks(t, `
- name: file
  copy: {src: "{{ .large }}", dest: /srv/taking/file}
`)).ok(t)
	require.Equal(t, event.Changed, again.task(t, "file", "taking").Status)
	require.Equal(t, "file 268435456", s.on(t, taking, "cd /srv/taking; ls -A | tr '\\n' ' '; stat -c %s file"), "what the broken run left is used up")
}

func (s *site) testHelperKilled(t *testing.T) {
	m := s.List[0]
	r := s.begin(t, "-i", s.hosts(t, "", m), s.tasks(t, "- name: long\n  shell: sleep 7002; echo never\n- name: after\n  ping: {}"))
	s.awaitProcess(t, m, "sleep 7002")
	time.Sleep(time.Second) // the helper tells its guard of a command after a moment only
	s.on(t, m, "pkill -KILL '^helper-'")
	res := r.wait()
	require.Equal(t, 4, res.code, res.bad())
	require.Equal(t, event.Unreachable, res.task(t, "long", m.Name).Status)
	require.Contains(t, res.task(t, "long", m.Name).Msg, "the helper on the host ended")
	require.Len(t, res.tasks, 1)
	s.gone(t, m, "sleep 7002")
}

func (s *site) testTimeout(t *testing.T) {
	m := s.List[0]
	res := s.book(t, "-i", s.hosts(t, "", m), s.tasks(t, `
- name: endless
  shell: trap "" TERM; sleep 7003 & sleep 7003
  timeout: 1
`))
	require.Equal(t, 2, res.code)
	e := res.task(t, "endless", m.Name)
	require.Equal(t, event.Failed, e.Status)
	require.Contains(t, e.Msg, "timeout of 1s")
	require.Equal(t, event.Counts{Failed: 1}, res.done.Recap[m.Name])
	require.Less(t, res.took, 10*time.Second)
	s.gone(t, m, "sleep 7003")
}

func (s *site) testInterruptOnce(t *testing.T) {
	m := s.List[0]
	r := s.begin(t, "-i", s.hosts(t, "", m), s.tasks(t, "- name: in flight\n  command: sleep 2.7004\n- name: never\n  command: touch /srv/never"))
	s.awaitProcess(t, m, "sleep 2.7004")
	r.interrupts <- syscall.SIGINT
	res := r.wait()
	require.Equal(t, 130, res.code)
	require.Equal(t, []string{m.Name + ": in flight"}, res.with(event.Changed), "the step in flight ends in its own time")
	require.Len(t, res.tasks, 1)
	require.Contains(t, res.done.Message, "in flight")
	require.Contains(t, res.stderr, "interrupted")
	require.Equal(t, "no", s.on(t, m, "test -e /srv/never || echo no"))
}

func (s *site) testInterruptTwice(t *testing.T) {
	m := s.List[0]
	r := s.begin(t, "-i", s.hosts(t, "", m), s.tasks(t, "- name: in flight\n  shell: sleep 7005; echo never"))
	s.awaitProcess(t, m, "sleep 7005")
	r.interrupts <- syscall.SIGINT
	r.interrupts <- syscall.SIGINT
	began := time.Now()
	res := r.wait()
	require.Less(t, time.Since(began), 8*time.Second)
	require.Equal(t, 130, res.code)
	require.Equal(t, event.Failed, res.task(t, "in flight", m.Name).Status)
	s.gone(t, m, "sleep 7005")
}

func (s *site) testDiskFull(t *testing.T) {
	m := s.List[0]
	s.on(t, m, "mkdir -p /mnt/full; mountpoint -q /mnt/full || mount -t tmpfs -o size=1m,mode=755 tmpfs /mnt/full; echo old >/mnt/full/file")
	large := s.write(t, "four-megabytes", strings.Repeat("0123456789abcdef", 1<<18))
	archive := s.write(t, "dir/inside", strings.Repeat("x", 1<<16))
	res := s.book(t, "-i", s.hosts(t, "", m), "-e", "large="+large, "-e", "archive="+archive, s.tasks(t, `
- name: large file
  copy: {src: "{{ .large }}", dest: /mnt/full/file}
  ignore_errors: true
- name: small text
  copy: {content: '{{ repeat 2000000 "x" }}', dest: /mnt/full/file}
  ignore_errors: true
- name: command
  shell: head -c 4000000 /dev/zero >/mnt/full/other
`))
	require.Equal(t, 2, res.code)
	for _, task := range []string{"large file", "small text"} {
		e := res.task(t, task, m.Name)
		require.Equal(t, event.Failed, e.Status)
		require.Contains(t, strings.ToLower(e.Msg), "no space")
	}
	require.Equal(t, event.Counts{Failed: 1, OK: 2, Ignored: 2}, res.done.Recap[m.Name])
	require.Equal(t, "file\nother", s.on(t, m, "ls -A /mnt/full"), "what was not finished is not left behind")
	require.Equal(t, "old", s.on(t, m, "cat /mnt/full/file"))
}

// testPegbookKilled ends pegbook itself, as a crash or a closed laptop does.
func (s *site) testPegbookKilled(t *testing.T) {
	m := s.List[0]
	book := s.tasks(t, "- name: long\n  shell: sleep 7006; touch /srv/never")
	// Scripts find the test binary as pegbook on their PATH (TestMain), and so does this.
	cmd := exec.Command("pegbook", "run", "-i", s.hosts(t, "", m), book)
	require.NoError(t, cmd.Start())
	s.awaitProcess(t, m, "sleep 7006")
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	s.gone(t, m, "sleep 7006")
	s.gone(t, m, "helper-")
	require.Equal(t, "no", s.on(t, m, "test -e /srv/never || echo no"))
}

// testStartFails starts what does not stay up: the message has its last words.
func (s *site) testStartFails(t *testing.T) {
	m := s.List[0]
	res := s.book(t, "-i", s.hosts(t, "", m), s.tasks(t, `
- name: unit of our own
  copy: {dest: /etc/systemd/system/pegbook-broken.service, content: "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo unit is broken; exit 3'\n"}
- name: unit
  systemd: {name: pegbook-broken, state: started, daemon_reload: true}
  ignore_errors: true
- name: daemon
  daemon: {name: pegbook-failing, exec: [/bin/sh, -c, "echo daemon is broken; exit 4"], run_dir: /srv/failing}
  ignore_errors: true
- name: detached
  daemon: {name: pegbook-failing-too, manager: detached, exec: [/bin/sh, -c, "echo process is broken; exit 5"], run_dir: /srv/failing}
  ignore_errors: true
- name: neither
  daemon: {name: pegbook-none, exec: [/no/such/program], run_dir: /srv/failing}
`))
	require.Equal(t, 2, res.code)
	for task, says := range map[string]string{"unit": "unit is broken", "daemon": "daemon is broken", "detached": "process is broken", "neither": "/no/such/program"} {
		e := res.task(t, task, m.Name)
		require.Equal(t, event.Failed, e.Status, task)
		require.Contains(t, e.Msg, says)
	}
	require.Equal(t, "inactive", strings.ReplaceAll(s.on(t, m, "systemctl is-active pegbook-failing || true"), "failed", "inactive"))
}
