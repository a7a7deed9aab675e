package runner

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/builtin"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/render"
)

// BenchmarkRun is what the control node spends on a task and host, all but the connection: 20 tasks
// (5 directories, 5 templates, 10 commands) that change nothing, on 50 hosts in memory.
func BenchmarkRun(b *testing.B) {
	const hosts, rounds = 50, 5
	dir := b.TempDir()
	var inv, play strings.Builder
	inv.WriteString("all:\n  vars: {ansible_user: admin, ansible_port: 2222, ansible_ssh_private_key_file: /none}\n  hosts:\n")
	for i := range hosts {
		fmt.Fprintf(&inv, "    host%d:\n", i)
	}
	play.WriteString("- hosts: all\n  gather_facts: false\n  tasks:\n")
	for i := range rounds {
		fmt.Fprintf(&play, "    - name: directory %[1]d\n      file: {path: '/tmp/{{ .inventory_hostname }}/%[1]d', state: directory, mode: '0755'}\n"+
			"    - name: file %[1]d\n      template: {src: a.tmpl, dest: '/tmp/{{ .inventory_hostname }}/%[1]d/f', mode: '0644'}\n", i)
		for range 2 {
			fmt.Fprintf(&play, "    - name: command %d\n      command: /bin/true\n      changed_when: false\n", i)
		}
	}
	require.NoError(b, os.WriteFile(filepath.Join(dir, "a.tmpl"), []byte("host = {{ .inventory_hostname }}\n"+strings.Repeat("key = value\n", 80)), 0o600))
	plan := compiled(b, dir, inv.String(), play.String())
	memory := &machines{hosts: map[string]modules.Host{}}
	for i := range hosts {
		m := modtest.NewMachine(fmt.Sprintf("host%d", i))
		m.OnRun = func(context.Context, modules.Command) (modules.Output, error) { return modules.Output{}, nil }
		memory.hosts[m.Name()] = m
	}
	measure(b, hosts*rounds*4, func() { carryOut(b, plan, Options{Connect: memory}) })
}

// BenchmarkSkip is what a task costs on a host where its condition is false: 100 tasks on 100 hosts that
// nothing ever connects to.
func BenchmarkSkip(b *testing.B) {
	const hosts, tasks = 100, 100
	plan := skipping(b, hosts, tasks)
	nobody := &machines{hosts: map[string]modules.Host{}}
	measure(b, hosts*tasks, func() { carryOut(b, plan, Options{Connect: nobody}) })
}

// TestSkippingCostsLittle counts allocations, which unlike times are the same on a busy machine: 26 for a
// task and host take about 11 µs.
func TestSkippingCostsLittle(t *testing.T) {
	const hosts, tasks, most = 20, 50, 32
	plan := skipping(t, hosts, tasks)
	nobody := &machines{hosts: map[string]modules.Host{}}
	count := testing.AllocsPerRun(5, func() { carryOut(t, plan, Options{Connect: nobody}) })
	require.Less(t, count/(hosts*tasks), float64(most))
}

// skipping makes the plan of tasks that no host is to do.
func skipping(t testing.TB, hosts, tasks int) *Plan {
	var inv, play strings.Builder
	inv.WriteString("all:\n  vars: {role: replica, ansible_user: admin}\n  hosts:\n")
	for i := range hosts {
		fmt.Fprintf(&inv, "    host%d:\n", i)
	}
	play.WriteString("- hosts: all\n  gather_facts: false\n  vars: {wanted: meta}\n  tasks:\n")
	for i := range tasks {
		fmt.Fprintf(&play, "    - name: task %d\n      command: '/bin/echo {{ .inventory_hostname }}'\n      when: eq .role .wanted\n", i)
	}
	return compiled(t, t.TempDir(), inv.String(), play.String())
}

// compiled makes the plan of one inventory and one playbook.
func compiled(b testing.TB, dir, inv, play string) *Plan {
	for name, text := range map[string]string{"inventory.yml": inv, "play.yml": play} {
		require.NoError(b, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	all, problems := inventory.Load(b.Context(), inventory.Options{Sources: []string{filepath.Join(dir, "inventory.yml")}})
	require.NoError(b, problems.Err())
	book, problems := playbook.Parse(filepath.Join(dir, "play.yml"), playbook.Options{})
	require.NoError(b, problems.Err())
	plan, problems := Compile(Inputs{Playbooks: []*playbook.Playbook{book}, Inventory: all, Modules: NewSet(builtin.All()...)})
	require.NoError(b, problems.Err())
	return plan
}

func carryOut(b testing.TB, plan *Plan, o Options) {
	o.Events = render.NewPlain(io.Discard, render.Options{})
	outcome, err := plan.Run(b.Context(), o)
	require.NoError(b, err)
	require.Zero(b, outcome.ExitCode())
}

// measure runs a run again and again and reports what a task on a host costs.
func measure(b *testing.B, tasks int, run func()) {
	run()
	b.ReportAllocs()
	before := processorTime(b)
	for b.Loop() {
		run()
	}
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N*tasks), "cpu-µs/task")
}

// processorTime is what this process has used: unlike the clock's it does not grow with the load of others.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
