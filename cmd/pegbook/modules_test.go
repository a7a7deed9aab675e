package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// What the examples of the manual pages take for granted: variables, results of tasks before them, files, hosts, a
// handler.
const (
	exampleVars = `{"pegasus_version": "2.5.0", "package": {"changed": true, "version": "2.5.0"},
		"config": {"changed": false, "checksum": "1f"}, "mount_point": "/srv", "api_password": "x"}`
	exampleFiles = "pegasus.conf vars/pegasus-2.5.0.yml pegasus-server-2.5.0-0123abc-glibc2.17-release.tar.gz config.ini report.py prepare-disks.sh" +
		" agent.conf.tmpl tools.tar.gz"
	exampleHosts    = "meta_server: {hosts: {m1: , m2: }}\nreplica_server: {hosts: {r1: , r2: , r3: }}\n"
	exampleHandlers = "  handlers:\n  - name: restart\n    ping:\n"
)

// TestExamplesCompile compiles the example of every module's manual page as a user would who copies it.
func TestExamplesCompile(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("vars", 0o700))
	for _, name := range strings.Fields(exampleFiles) {
		require.NoError(t, os.WriteFile(name, nil, 0o600))
	}
	require.NoError(t, os.WriteFile("hosts.yml", []byte(exampleHosts), 0o600))
	set := moduleSet()
	inv, problems := inventory.Load(t.Context(), inventory.Options{Sources: []string{"hosts.yml"}})
	require.NoError(t, problems.Err())
	extra, problems := vars.ParseExtra(exampleVars, nil)
	require.NoError(t, problems.Err())
	for _, m := range set.All() {
		t.Run(m.Name, func(t *testing.T) {
			example := modtest.Example(m)
			require.Contains(t, example, m.Name+":")
			var text strings.Builder
			text.WriteString("- hosts: all\n  tasks:\n")
			for line := range strings.Lines(example) {
				text.WriteString("  " + line)
			}
			text.WriteString("\n" + exampleHandlers)
			files := playbook.Options{Files: playbook.Memory{"example.yml": text.String()}, Extra: extra}
			pb, problems := playbook.Parse("example.yml", files)
			require.NoError(t, problems.Err(), text.String())
			_, problems = runner.Compile(runner.Inputs{Playbooks: []*playbook.Playbook{pb}, Inventory: inv, Modules: set, Extra: extra, Files: files})
			require.NoError(t, problems.Err(), text.String())
		})
	}
}
