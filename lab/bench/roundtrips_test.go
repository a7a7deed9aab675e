package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/builtin"
	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/connect"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
)

// TestRoundTrips counts what tasks cost on a warm connection to a real sshd: one round trip where there is
// nothing to change, at most two where there is. It is what a distant host's tasks take, times the delay.
func TestRoundTrips(t *testing.T) {
	s := testSite(t)
	big := filepath.Join(s.dir, "big")
	require.NoError(t, randomFile(big, 4<<20))
	src, err := s.write("greeting.tmpl", "hello {{ .inventory_hostname }}\n")
	require.NoError(t, err)
	c := &counting{Pool: connect.NewPool(connect.Options{})}
	defer c.Close()
	s.carryOut(t, c, "file: {path: WORK, state: directory}")
	for _, task := range []struct {
		name, yaml string
	}{
		{"directory", "file: {path: WORK/d/e/f, state: directory, mode: '0750'}"},
		{"attributes", "file: {path: WORK/d/e, mode: '0700', owner: root, group: root}"},
		{"link", "file: {path: WORK/l, src: d/e, state: link}"},
		{"small file", "copy: {content: some text, dest: WORK/small, mode: '0600'}"},
		{"file into a directory", "copy: {src: " + src + ", dest: WORK/d/}"},
		{"large file", "copy: {src: " + big + ", dest: WORK/big}"},
		{"template", "template: {src: " + src + ", dest: WORK/greeting, mode: '0644'}"},
		{"render_config", "render_config: {src: " + src + ", dest: WORK/a.conf, format: template, syntax: none}"},
		{"command", "command: /bin/true\n      changed_when: false"},
		{"shell", "shell: 'echo \"$HOME\" >/dev/null'\n      changed_when: false"},
		{"command with creates", "command: {argv: [touch, WORK/made], creates: WORK/made}"},
		{"look", "stat: {path: WORK/big}"},
		{"wait for a path", "wait_for: {path: WORK/big}"},
		{"removal", "file: {path: WORK/d, state: absent}"},
	} {
		t.Run(task.name, func(t *testing.T) {
			first := c.count(func() { s.carryOut(t, c, task.yaml) })
			assert.LessOrEqual(t, first, 2, "round trips of the first run")
			var status event.Status
			again := c.count(func() { status = s.carryOut(t, c, task.yaml) })
			assert.Equal(t, 1, again, "round trips of the second run")
			assert.Equal(t, event.OK, status, "status of the second run")
		})
	}
}

// TestLoopRoundTrips counts what a loop costs: its items ask together, and change together.
func TestLoopRoundTrips(t *testing.T) {
	s := testSite(t)
	c := &counting{Pool: connect.NewPool(connect.Options{})}
	defer c.Close()
	s.carryOut(t, c, "file: {path: WORK, state: directory}")
	for _, task := range []string{
		"file: {path: 'WORK/d{{ .item }}', state: directory, mode: '0750'}",
		"copy: {content: '{{ .item }}', dest: 'WORK/f{{ .item }}'}",
		"stat: {path: 'WORK/f{{ .item }}'}",
	} {
		t.Run(task, func(t *testing.T) {
			looped := task + "\n      loop: '{{ untilStep 0 1000 1 }}'"
			assert.LessOrEqual(t, c.count(func() { s.carryOut(t, c, looped) }), 2, "round trips of the first run")
			var status event.Status
			assert.Equal(t, 1, c.count(func() { status = s.carryOut(t, c, looped) }), "round trips of the second run")
			assert.Equal(t, event.OK, status)
		})
	}
}

// testSite is a site of the test's own.
func testSite(t *testing.T) *site {
	t.Helper()
	if _, err := os.Stat("/usr/sbin/sshd"); err != nil {
		t.Skip("there is no sshd on this machine; install openssh-server")
	}
	if out, err := exec.Command("unshare", "-m", "true").CombinedOutput(); err != nil {
		t.Skipf("starting sshd apart from root's shell files needs root: %s", out)
	}
	s, err := openSite(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.close()) })
	return s
}

// counting is a pool of one host that tells how many round trips something took.
type counting struct {
	*connect.Pool
	mu      sync.Mutex // guards address
	address connect.Address
}

// Open implements runner.Connector.
func (c *counting) Open(ctx context.Context, a connect.Address, b connect.Become) (modules.Host, error) {
	c.mu.Lock()
	c.address = a
	c.mu.Unlock()
	return c.Pool.Open(ctx, a, b)
}

func (c *counting) count(f func()) int {
	c.mu.Lock()
	a := c.address
	c.mu.Unlock()
	before := c.RoundTrips(a)
	f()
	return c.RoundTrips(a) - before
}

// statuses keeps the last task's status.
type statuses struct {
	mu   sync.Mutex // guards last, said
	last event.Status
	said string
}

// Record implements event.Sink.
func (s *statuses) Record(r event.Record) {
	if done, ok := r.Event.(event.TaskDone); ok {
		s.mu.Lock()
		s.last, s.said = done.Status, done.Msg
		s.mu.Unlock()
	}
}

// carryOut runs a playbook of one task on one host.
func (s *site) carryOut(t *testing.T, c runner.Connector, task string) event.Status {
	t.Helper()
	inv, err := s.inventory(1)
	require.NoError(t, err)
	task = strings.ReplaceAll(task, "WORK", filepath.Join(s.work, "trips"))
	path, err := s.write("trips.yml", fmt.Sprintf("- hosts: all\n  gather_facts: false\n  tasks:\n    - %s\n", task))
	require.NoError(t, err)
	hosts, problems := inventory.Load(t.Context(), inventory.Options{Sources: []string{inv}})
	require.NoError(t, problems.Err())
	book, problems := playbook.Parse(path, playbook.Options{})
	require.NoError(t, problems.Err())
	plan, problems := runner.Compile(runner.Inputs{Playbooks: []*playbook.Playbook{book}, Inventory: hosts, Modules: runner.NewSet(builtin.All()...)})
	require.NoError(t, problems.Err())
	var got statuses
	outcome, err := plan.Run(t.Context(), runner.Options{Connect: c, Events: &got})
	require.NoError(t, err)
	require.Zero(t, outcome.ExitCode(), got.said)
	return got.last
}

// A line carries everything, in order, no faster than it says.
func TestDelayLine(t *testing.T) {
	const each, size = 30 * time.Millisecond, 1 << 20
	echo, err := newDelayLine("127.0.0.1:0", "", 0)
	require.NoError(t, err)
	defer echo.close()
	go func() {
		for {
			c, err := echo.listener.Accept()
			if err != nil {
				return
			}
			go func() { echo.carry(c, c) }()
		}
	}()
	line, err := newDelayLine("127.0.0.1:0", echo.listener.Addr().String(), 2*each)
	require.NoError(t, err)
	defer line.close()
	go func() { _ = line.serve() }()

	conn, err := net.Dial("tcp", line.listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	sent := slices.Repeat([]byte("0123456789abcdef"), size/16)
	began := time.Now()
	go func() { _, _ = conn.Write(sent) }()
	got := make([]byte, size)
	_, err = io.ReadFull(conn, got)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, time.Since(began), 2*each)
	assert.Equal(t, sent, got)
}
