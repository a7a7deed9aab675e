package runner

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/builtin"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
)

// loopRun is what a run of one looped task left.
type loopRun struct {
	machine *modtest.Machine
	done    event.TaskDone
	state   map[string]string
	items   []string
}

// runLoop runs tasks on one machine in memory; together false does items one by one.
func runLoop(t *testing.T, tasks string, machine *modtest.Machine, together bool, o Options) loopRun {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "site.yml"), []byte("- hosts: all\n  gather_facts: false\n  vars: {base: /srv}\n  tasks:\n"+tasks), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "hosts.yml"), []byte("all: {hosts: {h1: }}\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "before.tmpl"), []byte(`{{ .item }} after {{ .r.item | default "none" }}`), 0o600))
	inv, problems := inventory.Load(t.Context(), inventory.Options{Sources: []string{filepath.Join(dir, "hosts.yml")}})
	require.NoError(t, problems.Err())
	book, problems := playbook.Parse(filepath.Join(dir, "site.yml"), playbook.Options{})
	require.NoError(t, problems.Err())
	all := builtin.All()
	if !together {
		for _, m := range all {
			m.Gathers = false
		}
	}
	plan, problems := Compile(Inputs{Playbooks: []*playbook.Playbook{book}, Inventory: inv, Modules: NewSet(all...)})
	require.NoError(t, problems.Err())
	r := loopRun{machine: machine}
	seen := &records{}
	o.Connect, o.Events = &machines{hosts: map[string]modules.Host{"h1": r.machine}}, seen
	_, err := plan.Run(t.Context(), o)
	require.NoError(t, err)
	r.state = r.machine.Snapshot()
	for _, e := range seen.events {
		if d, ok := e.(event.TaskDone); ok {
			r.done = d
		}
	}
	for _, i := range r.done.Items {
		r.items = append(r.items, fmt.Sprintf("%s %s %s %s %v %s", i.Item, i.Label, i.Status, i.Msg, i.Diff, i.Result))
	}
	return r
}

func loopOver(task string, items []string) string {
	return fmt.Sprintf("    - %s\n      loop: [%s]\n", task, strings.Join(items, ", "))
}

func TestLoopTakesOneRoundTripToLookAndOneToAct(t *testing.T) {
	items := make([]string, 1000)
	for i := range items {
		items[i] = fmt.Sprintf("n%d", i)
	}
	tests := []struct {
		name, task  string
		first, next int
	}{
		{"stat", `stat: {path: "/srv/{{ .item }}"}`, 1, 1},
		{"directories", `file: {path: "/srv/{{ .item }}", state: directory}`, 2, 1},
		{"files in a folder", `copy: {content: "{{ .item }}", dest: "/srv/{{ .item }}"}`, 2, 1},
		{"templates", `template: {src: before.tmpl, dest: "/srv/{{ .item }}"}`, 2, 1},
		{"registered", "stat: {path: \"/srv/{{ .item }}\"}\n      register: r\n      failed_when: .r.stat.exists", 1, 1},
		{"skipped in part", "stat: {path: \"/srv/{{ .item }}\"}\n      when: ne .item \"n7\"", 1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			machine := modtest.NewMachine("h1").Mkdir("/srv")
			r := runLoop(t, loopOver(tt.task, items), machine, true, Options{})
			require.Len(t, r.done.Items, len(items))
			first := machine.Trips()
			assert.Equal(t, tt.first, first, "round trips of the first run")
			runLoop(t, loopOver(tt.task, items), machine, true, Options{})
			assert.Equal(t, tt.next, machine.Trips()-first, "round trips of the second run")
		})
	}
}

// Done together, items of a loop end as they do one after the other: what each says, and what the host is like.
func TestLoopTogetherEndsAsOneByOne(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	names := []string{"/srv/a", "/srv/a/b", "/srv/a/b/c", "/srv/d", "/srv/d/e", "/srv/link", "/srv/link/x", "/srv/file", "/srv/file/y"}
	pick := func(n int) []string {
		var items []string
		for range n {
			items = append(items, names[random.IntN(len(names))])
		}
		return items
	}
	machine := func() *modtest.Machine {
		return modtest.NewMachine("h1").Mkdir("/srv/a").Write("/srv/file", "text").Write("/srv/d/e", "old").Chmod("/srv/d/e", 0o600, "root")
	}
	tasks := []string{
		`file: {path: "{{ .item }}", state: directory, mode: "0750"}`,
		`file: {path: "{{ .item }}", state: absent}`,
		`file: {path: "{{ .item }}", mode: "0640"}`,
		`file: {path: /srv/a, state: directory, recurse: true, mode: "0700"}`,
		`copy: {content: "{{ .item }}", dest: "{{ .item }}"}`,
		`copy: {content: same, dest: "{{ .item }}", backup: true}`,
		`copy: {src: /srv/file, dest: "{{ .item }}", remote_src: true}`,
		`lineinfile: {path: /srv/file, line: "{{ .item }}"}`,
		`lineinfile: {path: "{{ .item }}", line: more, create: true}`,
		`stat: {path: "{{ .item }}"}`,
		`find: {paths: [/srv], recurse: true, patterns: ["{{ base .item }}"]}`,
		`template: {src: before.tmpl, dest: "{{ .item }}"}`,
		"template: {src: before.tmpl, dest: \"{{ .item }}\"}\n      register: r",
		"copy: {content: \"{{ .r.item | default \\\"none\\\" }}\", dest: \"{{ .item }}\"}\n      register: r",
		"stat: {path: \"{{ .item }}\"}\n      register: r\n      failed_when: not .r.stat.exists\n      changed_when: .r.stat.isdir",
		"stat: {path: \"{{ .item }}\"}\n      when: ne .item \"/srv/d\"\n      loop_control: {label: \"{{ base .item }}\", index_var: n, extended: true}",
		"copy: {content: \"{{ .item }}\", dest: \"{{ .item }}\", validate: \"true %s\"}",
	}
	for _, check := range []bool{false, true} {
		for _, task := range tasks {
			for range 12 {
				items := pick(1 + random.IntN(8))
				o := Options{Check: check, Diff: true}
				want := runLoop(t, loopOver(task, items), machine(), false, o)
				have := runLoop(t, loopOver(task, items), machine(), true, o)
				name := fmt.Sprintf("check %t, %s over %v", check, task, items)
				require.Equal(t, clean(want), clean(have), name)
			}
		}
	}
}

// clean is a run without what differs between two runs of the same.
func clean(r loopRun) []string {
	times := regexp.MustCompile(`"(mtime|atime|ctime|start|end|delta|took_ms|dev)":[^,}]*|\d{8}T\d{6}[.\d]*Z|/tmp/[^ "]*`)
	all := []string{string(r.done.Status), r.done.Msg}
	for _, i := range r.items {
		all = append(all, times.ReplaceAllString(i, ""))
	}
	for _, p := range slices.Sorted(maps.Keys(r.state)) {
		all = append(all, times.ReplaceAllString(p+" "+r.state[p], ""))
	}
	return all
}
