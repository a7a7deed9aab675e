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
	for name, text := range map[string]string{"inventory.yml": inv.String(), "play.yml": play.String(),
		"a.tmpl": "host = {{ .inventory_hostname }}\n" + strings.Repeat("key = value\n", 80)} {
		require.NoError(b, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	all, problems := inventory.Load(inventory.Options{Sources: []string{filepath.Join(dir, "inventory.yml")}})
	require.NoError(b, problems.Err())
	book, problems := playbook.Parse(filepath.Join(dir, "play.yml"), playbook.Options{})
	require.NoError(b, problems.Err())
	memory := &machines{hosts: map[string]modules.Host{}}
	for i := range hosts {
		m := modtest.NewMachine(fmt.Sprintf("host%d", i))
		m.OnRun = func(context.Context, modules.Command) (modules.Output, error) { return modules.Output{}, nil }
		memory.hosts[m.Name()] = m
	}
	run := func() {
		plan, problems := Compile(Inputs{Playbooks: []*playbook.Playbook{book}, Inventory: all, Modules: NewSet(builtin.All()...)})
		require.NoError(b, problems.Err())
		outcome, err := plan.Run(b.Context(), Options{Connect: memory, Events: render.NewPlain(io.Discard, render.Options{})})
		require.NoError(b, err)
		require.Zero(b, outcome.ExitCode())
	}
	run()
	b.ReportAllocs()
	before := processorTime(b)
	for b.Loop() {
		run()
	}
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N*hosts*rounds*4), "cpu-µs/task")
}

// processorTime is what this process has used: unlike the clock's it does not grow with the load of others.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
