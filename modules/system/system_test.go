package system

import (
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

func TestAllAreListedDocumentedAndTheirExamplesRead(t *testing.T) {
	var names []string
	for _, m := range All() {
		names = append(names, m.Name)
		modtest.Documented(t, m)
		var tasks []map[string]yaml.Node
		if err := yaml.Unmarshal([]byte(modtest.Example(m)), &tasks); err != nil {
			t.Errorf("%s: its example is no list of tasks: %v", m.Name, err)
			continue
		}
		for _, task := range tasks {
			node, ok := task[m.Name]
			if !ok || node.Kind != yaml.MappingNode {
				continue
			}
			for i := 0; i < len(node.Content); i += 2 {
				if _, ok := m.Args.Lookup(node.Content[i].Value); !ok {
					t.Errorf("%s: its example gives %s, which is no argument", m.Name, node.Content[i].Value)
				}
			}
		}
	}
	if !slices.IsSortedFunc(names, strings.Compare) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("modules are not in order, or one is there twice: %v", names)
	}
}

// once runs a task that must succeed.
func once(t *testing.T, m *modules.Module, args string, host *modtest.Machine, setup modtest.Setup) modtest.Result {
	t.Helper()
	r := modtest.Converge(t, m, args, host, setup)
	if r.Err != nil {
		t.Fatalf("%s: %v", m.Name, r.Err)
	}
	return r
}

// equal compares what a test got with what it wants.
func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is\n  %v\nwant\n  %v", what, got, want)
	}
}

// commands are the lines of the scripts that a machine was given, without the scripts' heads.
func commands(host *modtest.Machine) string {
	var lines []string
	for _, cmd := range host.Runs() {
		if cmd.ReadOnly || len(cmd.Argv) < 3 {
			continue
		}
		_, body, _ := strings.Cut(cmd.Argv[2], "\n")
		lines = append(lines, body)
	}
	return strings.Join(lines, "\n")
}

func TestWordsReachTheCommandAsTheyAre(t *testing.T) {
	for _, word := range []string{"plain", "", "it's", "a b", "$(reboot)", "`x`", "a\nb", `\`, "*", "-n", "~", "#"} {
		back := unquote(t, quote(word))
		if len(back) != 1 || back[0] != word {
			t.Errorf("%q becomes %q, which a shell reads as %q", word, quote(word), back)
		}
	}
}
