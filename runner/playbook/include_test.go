package playbook

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// parsed reads a playbook that is good.
func parsed(t *testing.T, files Memory) *Playbook {
	t.Helper()
	book, problems := Parse("site.yml", Options{Files: files})
	require.Empty(t, problems.Error())
	return book
}

func names(blocks []*Block) []string {
	var out []string
	for _, b := range blocks {
		if b.Task != nil {
			out = append(out, b.Task.Name.Raw())
			continue
		}
		out = append(out, names(b.Body)...)
	}
	return out
}

func TestIncludesFoundDuringTheRun(t *testing.T) {
	files := Memory{
		"site.yml": `
- hosts: all
  tasks:
    - include_tasks: deep/first.yml
    - include_role: {name: "{{ .r }}", tasks_from: extra}
`,
		"deep/first.yml":          `[{include_tasks: "{{ .f }}"}]`,
		"deep/beside.yml":         `[{name: beside, ping: }]`,
		"above.yml":               `[{name: above, ping: }]`,
		"broken.yml":              `[{name: broken}]`,
		"roles/r/tasks/extra.yml": `[{name: extra, include_tasks: "{{ .f }}"}]`,
		"roles/r/tasks/own.yml":   `[{name: own, ping: }]`,
	}
	play := parsed(t, files).Plays[0]
	inner := play.Tasks[0].Task.Include.Content.Blocks[0].Task
	o := Options{Files: files}

	for _, test := range []struct{ name, want string }{
		{"beside.yml", "beside"},
		{"above.yml", "above"},
		{"gone.yml", `deep/first.yml:1:2: there is no file "gone.yml" to include (searched deep/gone.yml, gone.yml)`},
		{"broken.yml", "broken.yml:1:2: the task has no module (add the module as a key: command: /bin/true)"},
	} {
		content, problems := ParseInclude(inner, test.name, o)
		if problems.Failed() {
			assert.Equal(t, test.want, problems.Error())
			continue
		}
		assert.Equal(t, test.want, strings.Join(names(content.Blocks), " "))
	}

	role := play.Tasks[1].Task
	content, problems := ParseRole(role, "r", role.Include, o)
	require.Empty(t, problems.Error())
	assert.Equal(t, []string{"extra"}, names(content.Blocks))
	own, problems := ParseInclude(content.Blocks[0].Body[0].Task, "own.yml", o)
	require.Empty(t, problems.Error())
	assert.Equal(t, []string{"own"}, names(own.Blocks))
	assert.Same(t, content.Role, own.Role)

	_, problems = ParseRole(role, "gone", role.Include, o)
	assert.Equal(t, `site.yml:5:7: there is no role "gone" (searched roles/gone, gone)`, problems.Error())
}

// Files that include each other are legal: what is not expanded is read in the run.
func TestIncludesThatIncludeEachOtherEnd(t *testing.T) {
	book := parsed(t, Memory{
		"site.yml":               `[{hosts: all, tasks: [{include_tasks: a.yml}, {include_role: {name: r}}]}]`,
		"a.yml":                  `[{include_tasks: b.yml}, {include_tasks: b.yml}]`,
		"b.yml":                  `[{include_tasks: a.yml}, {import_tasks: c.yml}]`,
		"c.yml":                  `[{include_tasks: b.yml}]`,
		"roles/r/tasks/main.yml": `[{include_role: {name: s}}]`,
		"roles/s/tasks/main.yml": `[{import_role: {name: r}}]`,
	})
	a := book.Plays[0].Tasks[0].Task.Include.Content
	b := a.Blocks[0].Task.Include.Content
	require.NotNil(t, b)
	assert.Same(t, b, a.Blocks[1].Task.Include.Content, "the same file is read once")
	assert.Nil(t, b.Blocks[0].Task.Include.Content)
}

func TestImportsThatMultiplyAreBounded(t *testing.T) {
	files := Memory{"site.yml": `[{hosts: all, tasks: [{import_tasks: "0.yml"}]}]`, "20.yml": `[{ping: }]`}
	for i := range 20 {
		files[fmt.Sprintf("%d.yml", i)] = fmt.Sprintf(`[{import_tasks: "%d.yml"}, {import_tasks: "%d.yml"}]`, i+1, i+1)
	}
	_, problems := Parse("site.yml", Options{Files: files})
	require.True(t, problems.Failed())
	assert.Contains(t, problems.Error(), "the imports bring in more than 50000 tasks")
}

func TestRolesRunOnce(t *testing.T) {
	files := Memory{
		"site.yml": `
- hosts: all
  roles: [a, a, {role: a, p: 1}, {role: a, p: 1}, {role: a, tags: t}, b, c, many, many]
`,
		"roles/a/tasks/main.yml":    `[{name: a, ping: }]`,
		"roles/b/meta/main.yml":     `dependencies: [common]`,
		"roles/c/meta/main.yml":     `{dependencies: [{role: common}, a]}`,
		"roles/common/tasks/m":      "",
		"roles/b/tasks/main.yml":    `[{name: b, ping: }]`,
		"roles/c/tasks/main.yml":    `[{name: c, ping: }]`,
		"roles/many/meta/main.yml":  `allow_duplicates: true`,
		"roles/many/tasks/main.yml": `[{name: many, ping: }]`,
	}
	files["roles/common/tasks/main.yml"] = `[{name: common, ping: }]`
	play := parsed(t, files).Plays[0]
	assert.Equal(t, []string{"a", "a", "a", "a", "a", "common", "b", "common", "a", "c", "many", "many"}, names(play.Tasks))
	assert.Equal(t, []string{"a", "a", "a", "common", "b", "c", "many", "many"}, firstUses(play.Tasks, map[string]bool{}))
}

// firstUses are the names of the tasks without those of roles that ran before, each role having one task.
func firstUses(blocks []*Block, met map[string]bool) []string {
	var all []string
	for _, b := range blocks {
		switch {
		case b.Task == nil:
			all = append(all, firstUses(b.Body, met)...)
		case !met[b.Task.Role.Once] || b.Task.Role.Once == "":
			met[b.Task.Role.Once] = true
			all = append(all, names([]*Block{b})...)
		}
	}
	return all
}

// FuzzParse reads any text as a playbook: no text may crash the reader, and one that it accepts holds
// tasks that say what they do.
func FuzzParse(f *testing.F) {
	for _, dir := range []string{"trees", "diagnostics"} {
		paths, _ := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
		for _, path := range paths {
			text, err := os.ReadFile(path)
			require.NoError(f, err)
			_, text2, _ := strings.Cut(string(text), "-- site.yml --\n")
			site, _, _ := strings.Cut(text2, "\n-- ")
			f.Add(site)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		book, problems := Parse("site.yml", Options{Files: Memory{"site.yml": text, "a.yml": text}})
		if problems.Failed() {
			return
		}
		for _, play := range book.Plays {
			check(t, play.Tasks)
		}
	})
}

func check(t *testing.T, blocks []*Block) {
	for _, b := range blocks {
		if b.Task == nil {
			check(t, b.Body)
			continue
		}
		if b.Task.Module == "" && b.Task.Meta == "" && b.Task.Include == nil {
			t.Errorf("%s: a task that does nothing was accepted", b.At)
		}
	}
}

func BenchmarkParse1000Tasks(b *testing.B) {
	var text strings.Builder
	text.WriteString("- hosts: all\n  tasks:\n")
	for i := range 1000 {
		fmt.Fprintf(&text, `    - name: "write file %d on {{ .inventory_hostname }}"
      copy: {dest: "{{ .dir }}/file%d", content: "{{ .content | upper }}", mode: "0644"}
      when: [eq .role "meta", not (eq .x %d)]
      register: r%d
      notify: restart
`, i, i, i, i)
	}
	text.WriteString("  handlers:\n    - {name: restart, ping: }\n")
	files := Memory{"site.yml": text.String()}
	for b.Loop() {
		if _, problems := Parse("site.yml", Options{Files: files}); problems.Failed() {
			b.Fatal(problems)
		}
	}
}
