package runner

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
)

// FuzzCompile hands to Compile whatever could be read of a playbook, errors or not: it must end, and give
// a plan only when nothing was wrong.
func FuzzCompile(f *testing.F) {
	for _, text := range []string{
		"- hosts: all\n  tasks:\n    - debug: {msg: hi}\n      wen: true\n    - comand: ls\n      notify: nobody\n",
		"- hosts: all\n  serial: x\n  tasks:\n    - block: [{debug: }]\n      rescu: []\n    - meta: flush\n    - include_tasks: '{{ .x }}'\n",
		"- hosts: all\n  handlers: [{name: a, debug: {msg: b}, listen: c}]\n  tasks:\n    - {debug: {msg: x}, command: ls, loop: 5, register: r}\n    - import_tasks: no.yml\n",
		"- tasks: []\n- hosts: ['all:!h1', '~h[']\n  roles: [r]\n  requires: {g: \">=2\"}\n- import_playbook: no.yml\n",
		"- hosts: all\n  id: a\n  needs: [b]\n  strategy: free\n  tasks:\n    - {block: [{ping: }], parallel: true, always: [{fail: }]}\n",
	} {
		f.Add(text)
	}
	hosts := filepath.Join(f.TempDir(), "hosts.yml")
	require.NoError(f, os.WriteFile(hosts, []byte(threeHosts), 0o600))
	inv, problems := inventory.Load(f.Context(), inventory.Options{Sources: []string{hosts}})
	require.NoError(f, problems.Err())
	f.Fuzz(func(t *testing.T, text string) {
		book, problems := playbook.Parse("site.yml", playbook.Options{Files: playbook.Memory{"site.yml": text}})
		plan, found := Compile(Inputs{Playbooks: []*playbook.Playbook{book}, Inventory: inv, Modules: testModules(), Incomplete: problems.Failed()})
		require.Equal(t, problems.Failed() || found.Failed(), plan == nil)
	})
}
