package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/machines"
	"github.com/pegbook/pegbook/runner/event"
)

// site is a set of machines and a folder for inventories and playbooks.
type site struct {
	*machines.Machines
	dir string
}

// machinesNets are the first and last third byte of the machines' addresses; tests that run at the same
// time take different ones.
const (
	machinesNet     = 40
	lastMachinesNet = 49
)

// startSite starts machines; they are gone when the test is over, however it ends.
func startSite(t *testing.T, count int) *site {
	t.Helper()
	return startSiteIn(t, machines.Options{Count: count}, machinesNet, lastMachinesNet)
}

// startSiteIn starts machines in the first of some nets that is free.
func startSiteIn(t *testing.T, o machines.Options, first, last int) *site {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("hosts with systemd need root (network namespaces, overlay mounts): run the tests as root")
	}
	var m *machines.Machines
	err := machines.ErrInUse
	for n := first; n <= last && errors.Is(err, machines.ErrInUse); n++ {
		o.Dir, o.Net = filepath.Join("/var/tmp", fmt.Sprintf("pegbook-machines-%d", n)), n
		m, err = machines.Start(t.Context(), o)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Stop()) })
	return &site{Machines: m, dir: t.TempDir()}
}

// write puts a file into the site's folder and gives its path.
func (s *site) write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	return path
}

// hosts writes an inventory of machines, with variables for all of them ("name: value" lines in YAML) over
// the usual ones.
func (s *site) hosts(t *testing.T, vars string, list ...machines.Machine) string {
	t.Helper()
	var names []name
	for _, m := range list {
		names = append(names, name{m.Name, m, nil})
	}
	return s.names(t, vars, names...)
}

// name is a machine under a name of its own, with variables of its own.
type name struct {
	name string
	on   machines.Machine
	vars []string // "name: value"
}

// names writes an inventory of names.
func (s *site) names(t *testing.T, vars string, list ...name) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "all:\n  vars:\n")
	for _, line := range s.connection() {
		if name, _, _ := strings.Cut(line, ":"); !strings.Contains(vars, name+":") {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	for line := range strings.Lines(vars) {
		fmt.Fprintf(&b, "    %s\n", strings.TrimSpace(line))
	}
	b.WriteString("  hosts:\n")
	for _, n := range list {
		fmt.Fprintf(&b, "    %s:\n      ansible_host: %s\n", n.name, n.on.Address)
		for _, v := range n.vars {
			fmt.Fprintf(&b, "      %s\n", v)
		}
	}
	return s.write(t, strings.ReplaceAll(t.Name(), "/", "-")+".inventory.yml", b.String())
}

// tasks writes a playbook of tasks (a list in YAML) on all hosts without facts.
func (s *site) tasks(t *testing.T, tasks string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("- name: play\n  hosts: all\n  gather_facts: false\n  tasks:\n")
	for line := range strings.Lines(strings.Trim(tasks, "\n")) {
		b.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
	}
	return s.write(t, strings.ReplaceAll(t.Name(), "/", "-")+".yml", b.String())
}

// connection is how the machines are reached, a line for each variable.
func (s *site) connection() []string {
	return []string{
		"ansible_user: root",
		"ansible_ssh_private_key_file: " + s.KeyFile,
		"ansible_ssh_known_hosts_file: " + s.KnownHosts,
		"ansible_ssh_config_file: none",
	}
}

// on runs a shell script on a machine past SSH.
func (s *site) on(t *testing.T, m machines.Machine, script string) string {
	t.Helper()
	out, err := s.Run(t.Context(), m, "/bin/sh", "-ec", script)
	require.NoError(t, err)
	return strings.TrimSpace(out)
}

// gone waits until no process of a machine has text in its command line. That ends within moments, or
// not at all; what is left is named.
func (s *site) gone(t *testing.T, m machines.Machine, text string) {
	t.Helper()
	var left []string
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		var err error
		if left, err = s.Processes(m, text); err == nil && len(left) == 0 {
			return
		}
	}
	require.Empty(t, left, "processes left on %s", m.Name)
}

// result is what a run of pegbook gave.
type result struct {
	run    string
	code   int
	stderr string
	tasks  []event.TaskDone
	done   event.RunDone
	took   time.Duration
}

// book runs pegbook on a playbook and waits for its end.
func (s *site) book(t *testing.T, args ...string) *result {
	t.Helper()
	return s.begin(t, args...).wait()
}

// running is a run under way.
type running struct {
	t          *testing.T
	interrupts chan os.Signal
	out        records
	stderr     lockedBuffer
	code       chan int
	began      time.Time
}

// begin starts pegbook run with --json.
func (s *site) begin(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{t: t, interrupts: make(chan os.Signal, 2), code: make(chan int, 1), began: time.Now()}
	argv := append([]string{"run", "--json"}, args...)
	// A run that never ends is a failure, not a test that hangs.
	ctx, stop := context.WithTimeoutCause(t.Context(), 3*time.Minute, fmt.Errorf("the run did not end in 3 minutes"))
	go func() {
		defer stop()
		r.code <- run(ctx, argv, streams{in: strings.NewReader(""), out: &r.out, err: &r.stderr}, r.interrupts)
	}()
	return r
}

// until waits for a record that contains all of the texts.
func (r *running) until(texts ...string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		for line := range bytes.Lines(r.out.bytes()) {
			all := true
			for _, text := range texts {
				all = all && bytes.Contains(line, []byte(text))
			}
			if all {
				return true
			}
		}
		return false
	}, time.Minute, 20*time.Millisecond, "no record with %q", texts)
}

func (r *running) wait() *result {
	r.t.Helper()
	res := &result{code: <-r.code, stderr: r.stderr.String(), took: time.Since(r.began)}
	for line := range bytes.Lines(r.out.bytes()) {
		var kind struct {
			Event string `json:"event"`
			Run   string `json:"run"`
		}
		require.NoError(r.t, json.Unmarshal(line, &kind))
		res.run = cmp.Or(res.run, kind.Run)
		switch kind.Event {
		case "task_done":
			var e event.TaskDone
			require.NoError(r.t, json.Unmarshal(line, &e))
			res.tasks = append(res.tasks, e)
		case "run_done":
			require.NoError(r.t, json.Unmarshal(line, &res.done))
		}
	}
	if res.code != 1 {
		require.Equal(r.t, res.code, res.done.ExitCode, "run_done has the exit code of the process")
	}
	return res
}

// ok requires that the run had no failure.
func (r *result) ok(t *testing.T) *result {
	t.Helper()
	require.Zero(t, r.code, "%s\n%s", r.stderr, r.bad())
	return r
}

// bad is what went wrong, in lines.
func (r *result) bad() string {
	var b strings.Builder
	for _, e := range r.tasks {
		if e.Status == event.Failed || e.Status == event.Unreachable || e.Status == event.Unknown {
			fmt.Fprintf(&b, "%s on %s: %s: %s\n", e.Task, e.Host, e.Status, e.Msg)
			for _, item := range e.Items {
				fmt.Fprintf(&b, "  %s: %s: %s\n", item.Item, item.Status, item.Msg)
			}
		}
	}
	return b.String() + r.done.Message
}

// with are the tasks that ended in a status, as "host: task" lines in the order of the run's hosts.
func (r *result) with(status event.Status) []string {
	var list []string
	for _, e := range r.tasks {
		if e.Status == status {
			list = append(list, e.Host+": "+e.Task)
		}
	}
	return list
}

// task gives how a task ended on a host; "" is any host.
func (r *result) task(t *testing.T, name, host string) event.TaskDone {
	t.Helper()
	for _, e := range r.tasks {
		if e.Task == name && (host == "" || e.Host == host) {
			return e
		}
	}
	require.Fail(t, "no such task", "%s on %s; %s\n%s", name, host, r.stderr, r.bad())
	return event.TaskDone{}
}

// records is the JSON lines of a run that is being read while it is written.
type records = lockedBuffer

type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}

func (l *lockedBuffer) String() string { return string(l.bytes()) }
