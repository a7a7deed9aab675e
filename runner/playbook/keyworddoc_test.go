package playbook

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryKeywordIsDocumented(t *testing.T) {
	for _, d := range KeywordDocs() {
		assert.NotEmpty(t, d.Doc, d.Name)
		assert.NotEmpty(t, d.On, d.Name)
		if d.Refused != "" {
			continue
		}
		assert.NotEmpty(t, d.Takes, d.Name)
		assert.NotEmpty(t, d.Example, d.Name)
		assert.True(t, strings.HasPrefix(d.Example, d.Name+":"), "%s: the example is %q", d.Name, d.Example)
		assert.True(t, strings.HasSuffix(d.Doc, "."), "%s: %q is no sentence", d.Name, d.Doc)
	}
	table := keywordTable()
	for name := range keywordDocs() {
		assert.Contains(t, table, name, "a keyword that is documented and does not exist")
	}
}

// exampleIn is a playbook with a keyword's example on one of its levels.
func exampleIn(d KeywordDoc, on Level) string {
	lines := func(indent string) string { return indent + strings.ReplaceAll(d.Example, "\n", "\n"+indent) }
	has := func(key string) bool { return strings.HasPrefix(d.Example, key+":") }
	unless := func(key, text string) string {
		if has(key) {
			return ""
		}
		return text
	}
	head := "- hosts: all\n"
	switch on {
	case LevelPlay:
		if has("needs") {
			return "- {hosts: all, id: meta}\n- hosts: all\n" + lines("  ")
		}
		return "- " + strings.TrimLeft(unless("hosts", "hosts: all\n")+lines("  "), " ")
	case LevelImportPlaybook:
		return "- " + strings.TrimLeft(unless("import_playbook", "import_playbook: base.yml\n")+lines("  "), " ")
	case LevelRole:
		return head + "  roles:\n    - " + strings.TrimLeft(unless("role", "role: pegasus\n")+lines("      "), " ")
	case LevelBlock:
		return head + "  tasks:\n    - " + strings.TrimLeft(unless("block", "block: [{ping: }]\n")+lines("      "), " ")
	case LevelHandler:
		return head + "  handlers:\n    - " + strings.TrimLeft(unless("name", "name: h\n")+doing(d, "      ")+lines("      "), " ")
	case LevelInclude:
		text := "include_tasks: install.yml\n"
		if has("include_role") || has("include_tasks") {
			text = ""
		}
		return head + "  tasks:\n    - " + strings.TrimLeft(text+lines("      "), " ")
	case LevelImport:
		text := "import_tasks: install.yml\n"
		if has("import_role") || has("import_tasks") {
			text = ""
		}
		return head + "  tasks:\n    - " + strings.TrimLeft(text+lines("      "), " ")
	case LevelApply:
		return head + "  tasks:\n    - include_tasks:\n        file: install.yml\n        apply:\n" + lines("          ")
	case LevelTask:
	}
	return head + "  tasks:\n    - " + strings.TrimLeft(doing(d, "      ")+lines("      "), " ")
}

// doing is a module for the tasks of examples that do not bring their own.
func doing(d KeywordDoc, indent string) string {
	if slices.Contains([]string{"local_action", "meta", "gate"}, d.Name) {
		return ""
	}
	return indent + "command: /bin/true\n"
}

func TestEveryExampleIsAccepted(t *testing.T) {
	dir := t.TempDir()
	for path, text := range map[string]string{
		"install.yml": "- ping:\n", "base.yml": "- {hosts: all}\n", "common.yml": "a: 1\n", "other.yml": "a: 1\n",
		"roles/pegasus/tasks/main.yml": "- ping:\n", "roles/pegasus/tasks/stop.yml": "- ping:\n", "roles/common/tasks/main.yml": "- ping:\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, path), []byte(text), 0o600))
	}
	for _, d := range KeywordDocs() {
		if d.Refused != "" {
			continue
		}
		for _, on := range d.On {
			t.Run(d.Name+" on "+string(on), func(t *testing.T) {
				path := filepath.Join(dir, "site.yml")
				text := exampleIn(d, on) + "\n"
				require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
				_, problems := Parse(path, Options{})
				var wrong []string
				for _, p := range problems {
					if !p.Warning {
						wrong = append(wrong, p.Error())
					}
				}
				assert.Empty(t, wrong, text)
			})
		}
	}
}
