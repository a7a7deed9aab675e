package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/schema"
)

// compiledSchemas are the schemas as a validator of somebody else reads them.
func compiledSchemas(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	out := map[string]*jsonschema.Schema{}
	for _, kind := range schema.Kinds() {
		text, err := schemaText(kind, moduleSet().All(), nil)
		require.NoError(t, err)
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		require.NoError(t, err)
		c := jsonschema.NewCompiler()
		require.NoError(t, c.AddResource(kind+".json", doc))
		compiled, err := c.Compile(kind + ".json")
		require.NoError(t, err)
		out[kind] = compiled
	}
	return out
}

// plainJSON is YAML as an editor sees it: without tags, dates as text.
func plainJSON(t *testing.T, text string) any {
	t.Helper()
	var v any
	require.NoError(t, yaml.Unmarshal([]byte(text), &v))
	raw, err := json.Marshal(jsonable(v))
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	require.NoError(t, err)
	return doc
}

func jsonable(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			v[key] = jsonable(value)
		}
	case map[any]any:
		out := map[string]any{}
		for key, value := range v {
			out[fmt.Sprint(key)] = jsonable(value)
		}
		return out
	case []any:
		for i, value := range v {
			v[i] = jsonable(value)
		}
	case time.Time:
		return v.Format(time.DateOnly)
	}
	return v
}

// kindOf says what kind of file a path is, by where it stands; "" for one that no schema is of.
func kindOf(path string, text []byte) string {
	dir, name := filepath.Split(path)
	in := func(folder string) bool { return strings.Contains(dir, "/"+folder+"/") }
	switch {
	case in("group_vars") || in("host_vars") || in("defaults") || in("vars"):
		return "vars"
	case in("tasks") || in("handlers"):
		return "tasks"
	case in("meta") || in("files") || in("templates") || in("library"):
		return ""
	case strings.HasPrefix(name, "inventory") || strings.HasPrefix(name, "hosts") || in("inventories") || in("inventory"):
		return "inventory"
	}
	var list []map[string]any
	switch {
	case yaml.Unmarshal(text, &list) != nil && bytes.Contains(text, []byte("hosts:")):
		return "inventory"
	case len(list) == 0:
		return "vars"
	case list[0]["hosts"] == nil && list[0]["import_playbook"] == nil && list[0]["ansible.builtin.import_playbook"] == nil:
		return "tasks"
	}
	return "playbook"
}

func yamlFiles(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	require.NoError(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if ext := filepath.Ext(path); err == nil && !d.IsDir() && (ext == ".yml" || ext == ".yaml") {
			out = append(out, path)
		}
		return err
	}))
	return out
}

func TestSchemasFitTheExampleOfEveryKeyword(t *testing.T) {
	text, err := schemaText("playbook", moduleSet().All(), nil)
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("playbook.json", doc))
	for _, k := range playbook.KeywordDocs() {
		if k.Refused != "" {
			continue
		}
		one, err := c.Compile("playbook.json#/$defs/keyword-" + k.Name)
		require.NoError(t, err)
		example, ok := plainJSON(t, k.Example).(map[string]any)
		require.True(t, ok, k.Name)
		if err := one.Validate(example[k.Name]); err != nil {
			t.Errorf("%s: %v", k.Example, err)
		}
	}
}

func TestSchemasFitEveryShippedFile(t *testing.T) {
	schemas := compiledSchemas(t)
	for _, root := range []string{"../../playbooks", "../../inventories"} {
		for _, path := range yamlFiles(t, root) {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			kind := kindOf(path, text)
			if err := schemas[kind].Validate(plainJSON(t, string(text))); err != nil {
				t.Errorf("%s is no %s: %v", path, kind, err)
			}
		}
	}
}

// What a schema refuses, pegbook refuses: each file of a case fits, or the case does not load.
func TestSchemasFitEveryCaseThatLoads(t *testing.T) {
	schemas := compiledSchemas(t)
	fit := 0
	for _, path := range yamlFiles(t, "testdata/conformance") {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		kind := kindOf(path, text)
		var v any
		if kind == "" || bytes.HasPrefix(text, []byte("$ANSIBLE_VAULT")) || yaml.Unmarshal(text, &v) != nil {
			continue
		}
		wrong := schemas[kind].Validate(plainJSON(t, string(text)))
		if wrong == nil {
			fit++
			continue
		}
		folders := strings.Split(path, string(filepath.Separator))
		c := readCase(t, filepath.Join(folders[:4]...))
		home := t.TempDir()
		work := filepath.Join(home, "case")
		require.NoError(t, os.CopyFS(work, os.DirFS(c.dir)))
		if code, _, _ := c.pegbook(t, home, work); code != 1 {
			t.Errorf("%s is no %s, and pegbook takes it (exit code %d): %v", path, kind, code, wrong)
		}
	}
	require.Greater(t, fit, 200)
}

// Each of these is one mistake that the schema and pegbook validate must both find.
func TestSchemasRefuseMistakes(t *testing.T) {
	schemas := compiledSchemas(t)
	inPlay := func(text string) string { return "- hosts: all\n  " + strings.ReplaceAll(text, "\n", "\n  ") + "\n" }
	task := func(text string) string { return inPlay("tasks:\n  - " + strings.ReplaceAll(text, "\n", "\n    ")) }
	for name, text := range map[string]string{
		"a misspelt keyword of a play":      inPlay("serail: 1"),
		"a task's keyword on a play":        inPlay("when: true"),
		"a play's keyword on a task":        task("ping:\nserial: 1"),
		"no hosts":                          "- tasks: []\n",
		"an unknown strategy":               inPlay("strategy: fast"),
		"an unknown order":                  inPlay("order: random"),
		"serial that is no number":          inPlay("serial: many"),
		"a switch that is no boolean":       inPlay("become: perhaps"),
		"a switch that takes no template":   inPlay(`force_handlers: "{{ .a }}"`),
		"tasks that are a mapping":          inPlay("tasks: {ping: }"),
		"a task that is text":               inPlay("tasks: [ping]"),
		"a task without a module":           task("name: a"),
		"a task with two modules":           task("ping:\ncommand: ls"),
		"an unknown module":                 task("comand: ls"),
		"an unknown module in long form":    task("ansible.builtin.comand: ls"),
		"an unknown argument":               task("file: {pth: /a}"),
		"an unknown argument in long form":  task("ansible.builtin.file: {pth: /a}"),
		"a missing argument":                task("file: {state: directory}"),
		"a choice that is none":             task("file: {path: /a, state: folder}"),
		"a relative path":                   task("file: {path: a}"),
		"a number that is none":             task("wait_for: {port: many}"),
		"a port beyond all ports":           task("wait_for: {port: 70000}"),
		"a negative duration":               task("wait_for: {port: 80, timeout: -1}"),
		"an argument that is no boolean":    task("service: {name: a, enabled: perhaps}"),
		"an argument that is no list":       task("assert: {that: {a: b}}"),
		"text for a module with a mapping":  task("ping: hello"),
		"a condition with braces":           task(`ping:` + "\n" + `when: "{{ .a }}"`),
		"a condition that is a mapping":     task("ping:\nwhen: {a: b}"),
		"a loop that is a mapping":          task("ping:\nloop: {a: b}"),
		"with_items":                        task("ping:\nwith_items: [a]"),
		"a register that is no name":        task("ping:\nregister: a-b"),
		"an unknown key of loop_control":    task("ping:\nloop: [a]\nloop_control: {var: a}"),
		"retries that are no number":        task("ping:\nretries: many"),
		"an unknown word of meta":           task("meta: flush_handler"),
		"listen on a task":                  task("ping:\nlisten: a"),
		"a block with a loop":               task("block: [{ping: }]\nloop: [a]"),
		"a rescue without a block":          task("rescue: [{ping: }]"),
		"a wrong task in a rescue":          task("block: [{ping: }]\nrescue: [{pnig: }]"),
		"an import with a loop":             task("import_tasks: a.yml\nloop: [a]"),
		"an unknown key of include_role":    task("include_role: {nam: a}"),
		"apply of what it does not take":    task("include_tasks: {file: a.yml, apply: {loop: [a]}}"),
		"a keyword that an include refuses": task("include_tasks: a.yml\nbecome: true"),
		"variables that are a list":         inPlay("vars: [a]"),
		"a name that is none":               inPlay("vars: {a-b: 1}"),
		"defaults of an unknown module":     inPlay("module_defaults: {comand: {}}"),
		"defaults of an unknown argument":   inPlay("module_defaults: {file: {pth: /a}}"),
		"a wrong handler":                   inPlay("handlers: [{name: a, pnig: }]"),
		"a requirement without a number":    inPlay("requires: {all: many}"),
		"confirm without a value":           inPlay("confirm: {message: a}"),
		"a keyword of Ansible's only":       inPlay("collections: [a]"),
		"a playbook that is a mapping":      "hosts: all\n",
		"an empty playbook":                 "[]\n",
	} {
		t.Run(name, func(t *testing.T) {
			require.Error(t, schemas["playbook"].Validate(plainJSON(t, text)), "the schema takes it:\n%s", text)
			path := filepath.Join(t.TempDir(), "site.yml")
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(path), "a.yml"), []byte("- ping:\n"), 0o600))
			var said bytes.Buffer
			code := run(t.Context(), []string{"validate", path, "-i", "h1,"}, streams{in: nil, out: &said, err: &said}, nil)
			require.Equal(t, 1, code, "pegbook takes it:\n%s%s", text, said.String())
		})
	}
}

func TestSchemasOfInventoriesAndVariablesRefuseMistakes(t *testing.T) {
	schemas := compiledSchemas(t)
	for name, c := range map[string]struct{ kind, text string }{
		"hosts as a list":                 {"inventory", "all: {hosts: [a, b]}\n"},
		"a group that is text":            {"inventory", "all: {children: {web: h1}}\n"},
		"a misspelt key of a group":       {"inventory", "all: {host: {a: }}\n"},
		"variables of a host as a list":   {"inventory", "all: {hosts: {a: [1]}}\n"},
		"a port that is no number":        {"inventory", "all: {hosts: {a: {ansible_port: ssh}}}\n"},
		"an unknown connection":           {"inventory", "all: {vars: {ansible_connection: winrm}}\n"},
		"a plugin that is no name":        {"inventory", "plugin: {name: aws_ec2}\n"},
		"an inventory that is a list":     {"inventory", "- a\n"},
		"a priority that is no number":    {"inventory", "web: {vars: {ansible_group_priority: high}}\n"},
		"variables that are a list":       {"vars", "- a\n"},
		"a variable with a dash":          {"vars", "a-b: 1\n"},
		"whether to become, perhaps":      {"vars", "ansible_become: perhaps\n"},
		"a play in a file of tasks":       {"tasks", "- hosts: all\n"},
		"a wrong argument in a file":      {"tasks", "- file: {pth: /a}\n"},
		"a wrong task in a block's block": {"tasks", "- block: [{block: [{pnig: }]}]\n"},
	} {
		require.Error(t, schemas[c.kind].Validate(plainJSON(t, c.text)), name)
	}
	for _, c := range []struct{ kind, text string }{
		{"inventory", "web:\n  hosts:\n    \"web[01:20]\":\n    h2: {ansible_host: 10.0.0.1, ansible_port: \"{{ .p }}\"}\n  children: {db: , dc: {vars: }}\n"},
		{"inventory", "plugin: aws_ec2\nregions: [eu]\n"},
		{"vars", "ansible_become: yes\nansible_port: 22\na: {b: [1, {c: d}]}\n"},
		{"tasks", "- {name: restart, listen: [a], systemd: {name: a, state: restarted}}\n- block: [{ping: }]\n  rescue: [{ping: }]\n- import_tasks: a.yml\n"},
		{"tasks", ""},
	} {
		require.NoError(t, schemas[c.kind].Validate(plainJSON(t, c.text)), c.text)
	}
}
