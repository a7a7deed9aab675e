package runner

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/builtin"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
)

// What the explanation says before a run is what the run then does.
func TestExplanationAgreesWithTheRun(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"hosts.yml": `
all:
  children:
    meta: {hosts: {m1: , m2: }, vars: {role: meta}}
    replica: {hosts: {r1: {rank: 1}, r2: {rank: 2}, r3: {rank: 3}}, vars: {role: replica, parts: [a, b]}}
`,
		"more.yml": `
- {name: in more, debug: {msg: x}, when: gt (.rank | default 0) 1}
`,
		"site.yml": `
- hosts: all
  serial: 2
  gather_facts: false
  vars: {wanted: '{{ eq .role "meta" }}'}
  tasks:
    - {name: metas, debug: {msg: x}, when: .wanted}
    - {name: ranks, debug: {msg: x}, when: [eq .role "replica", lt .rank 3]}
    - {name: loop, debug: {msg: x}, loop: '{{ .parts | default list }}', when: eq .item "b"}
    - {name: no item, debug: {msg: x}, loop: [1, 2], when: gt .item 2}
    - {name: first, debug: {msg: go}, register: r, run_once: true}
    - {name: then, debug: {msg: x}, when: eq .r.msg "go"}
    - {name: set, set_fact: {chosen: true}, when: eq .role "meta"}
    - {name: chosen, debug: {msg: x}, when: .chosen | default false}
    - {name: or so, debug: {msg: x}, when: or .wanted .r.changed}
    - include_tasks: more.yml
      when: eq .role "replica"
    - name: guarded
      block:
        - {name: fine, debug: {msg: x}}
      rescue:
        - {name: rescued, debug: {msg: x}}
      when: eq .role "meta"
`} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	inv, problems := inventory.Load(t.Context(), inventory.Options{Sources: []string{filepath.Join(dir, "hosts.yml")}})
	require.NoError(t, problems.Err())
	book, problems := playbook.Parse(filepath.Join(dir, "site.yml"), playbook.Options{})
	require.NoError(t, problems.Err())
	plan, problems := Compile(Inputs{Playbooks: []*playbook.Playbook{book}, Inventory: inv, Modules: NewSet(builtin.All()...)})
	require.NoError(t, problems.Err())

	explained := plan.Explain(Options{})
	seen := &records{}
	hosts := &machines{hosts: map[string]modules.Host{}}
	_, err := plan.Run(t.Context(), Options{Connect: hosts, Events: seen})
	require.NoError(t, err)
	ran := map[string]map[string]bool{}
	for _, e := range seen.events {
		if d, ok := e.(event.TaskDone); ok {
			if ran[d.Task] == nil {
				ran[d.Task] = map[string]bool{}
			}
			ran[d.Task][d.Host] = d.Status != event.Skipped
		}
	}
	decided := 0
	var check func([]TaskExplanation)
	check = func(tasks []TaskExplanation) {
		for _, task := range tasks {
			for _, v := range task.Verdicts {
				for _, host := range v.Hosts {
					did := ran[task.Name][host]
					switch {
					case task.Kind != "task" || v.Runs == RunsLater:
					case v.Runs == RunsYes:
						decided++
						assert.True(t, did, "%s on %s was to run", task.Name, host)
					default:
						decided++
						assert.False(t, did, "%s on %s was to be skipped", task.Name, host)
					}
				}
			}
			for _, in := range task.Include {
				check(in.Tasks)
			}
		}
	}
	require.Len(t, explained.Plays, 1)
	check(explained.Plays[0].Tasks)
	assert.Equal(t, [][]string{{"m1", "m2"}, {"r1", "r2"}, {"r3"}}, explained.Plays[0].Batches)
	assert.Greater(t, decided, 30)
}
