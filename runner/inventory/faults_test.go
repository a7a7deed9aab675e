package inventory

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// said are the problems of an inventory, a line each, warnings marked.
func said(t *testing.T, ctx context.Context, o Options) string {
	t.Helper()
	_, problems := Load(ctx, o)
	var lines []string
	for _, d := range problems {
		line := d.Error()
		if d.Warning {
			line += " [warning]"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestFaultsSayWhereAndWhatToWrite(t *testing.T) {
	for _, test := range []struct{ name, file, text, want string }{
		{"misspelt key", "h.yml", "all:\n  childern:\n    web:\n", `h.yml:2:3: a group has hosts, vars and children, not "childern" (did you mean "children"?)`},
		{"foreign key", "h.yml", "web:\n  ports: {a: 1}\n  hosts: {h: }\n", `h.yml:2:3: "ports" in group "web" is passed over (put groups below children:, variables below vars:) [warning]`},
		{"foreign scalar", "h.yml", "web:\n  x: 1\n  hosts: {h: }\n", `h.yml:2:3: "x" in group "web" is passed over (put variables below vars:, hosts below hosts:) [warning]`},
		{"hosts as a list", "h.yml", "web:\n  hosts:\n    - h1\n    - h2\n", `h.yml:3:5: hosts must be a mapping, not a list (write each name with a colon behind it and no dash before it: h1:)`},
		{"key twice", "h.yml", "web:\n  hosts: {h: }\nweb:\n  hosts: {i: }\n", `h.yml:3:1: "web" stands twice in this mapping, first on line 1 (keep one of them)`},
		{"a tab", "h.yml", "web:\n\thosts: {h: }\n", `h.yml:2:1: a tab in the indentation (indent with spaces)`},
		{"template as a name", "h.yml", "web:\n  hosts:\n    \"{{ .name }}\":\n", `h.yml:3:5: "{{ .name }}": the name of a host cannot be a template (write the name itself, or a range such as web[01:20]; variables can be used in ansible_host)`},
		{"number as a group", "h.yml", "1: {hosts: {h: }}\n", `h.yml:1:1: the name of a group must be text, not 1 (put it in quotes)`},
		{"odd names of groups", "h.yml", "a-b: {hosts: {h: }}\nc.d:\n", `h.yml:1:1: names of groups with other characters: a-b, c.d (letters, digits and _ are safe; others can be taken for part of a pattern, and .groups.NAME cannot name them) [warning]`},
		{"name that is none", "h.yml", "web:\n  vars: {my-port: 1}\n  hosts: {h: }\n", `h.yml:2:10: "my-port" cannot be used as a variable's name (use letters, digits and _, and no digit first) [warning]`},
		{"circle", "h.yml", "a: {children: {b: }}\nb: {children: {c: }}\nc: {children: {a: }}\n", "h.yml:3:16: the group \"a\" would be below itself: c → a → b → c (take one of them out of the other's children)"},
		{"all as a child", "h.yml", "a: {children: {all: }, hosts: {h: }}\n", `h.yml:1:16: all is above every group and cannot be a child of "a" (name the groups that are meant)`},
		{"empty", "h.yml", "---\n", `h.yml: the inventory is empty (write all:, hosts: below it, and the names of hosts with a colon behind each)`},
		{"no host", "h.yml", "web: {vars: {a: 1}}\n", `h.yml: the inventory has no host (only localhost can be worked on) [warning]`},
		{"child not defined", "h", "[web:children]\nfrontned\n[frontend]\nh\n", `h:2:1: the child "frontned" of group "web" is not defined (did you mean "frontend"?)`},
		{"child nowhere", "h", "[web:children]\nxyz\n[frontend]\nh\n", `h:2:1: the child "xyz" of group "web" is not defined (write [xyz], with the names of its hosts below it)`},
		{"colon behind a host", "h", "h1:\nh2\n", `h:1:1: "h1:" ends in a colon, which a port must follow (write h1; in a YAML inventory (.yml) a colon stands behind names)`},
		{"YAML read as INI", "h", "---\nh1\n", `h:1:1: --- begins a YAML file, and this one is read as INI (end the file's name in .yml)`},
		{"not UTF-8", "h", "# caf\xe9\nh1 a=1 b=caf\xe9\n", `h:2:13: the line is not UTF-8 (save the file as UTF-8)`},
		{"step of nothing", "h", "h[1:3:0]\n", `h:1:1: "h[1:3:0]": the step of a range is a positive number, not "0" (ranges are [1:9], [01:99], [a:z] or [0:100:10])`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			require.NoError(t, os.WriteFile(test.file, []byte(test.text), 0o600))
			assert.Equal(t, test.want, said(t, t.Context(), Options{Sources: []string{test.file}}))
		})
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	unpack(t, "-- dir/README.md --\nx\n-- dir/hosts.ini --\nh\n-- h.yml --\nweb: {hosts: {h: }}\n-- group_vars/web/x.yml --\na: 1\n-- group_vars/web.yml --\na: 2\n-- group_vars/README --\nno data, and nobody's\n-- host_vars/gone.yml --\na: [\n")
	require.NoError(t, os.Symlink("nowhere", "dangling"))
	require.NoError(t, os.Symlink("nowhere", "host_vars/h.yml"))
	assert.Equal(t, strings.Join([]string{
		`dangling: there is no inventory "dangling" (write "dangling," if it is the name of a host)`,
		`dir: there is no inventory file in the directory (files like hosts or hosts.yml are read; .ini, .cfg, .txt, .md, .bak and hidden ones are passed over)`,
		`group_vars/web.yml: the file is not read: web comes first (put both into one folder web/) [warning]`,
		`host_vars/gone.yml:1:1: a quote or bracket that opens here is not closed (close it; a value that begins with a quote or {{ is quoted whole: "{{ .name }}/file")`,
		`host_vars/h.yml: the file cannot be read: no such file or directory`,
	}, "\n"), said(t, t.Context(), Options{Sources: []string{"dangling", "dir", "h.yml"}}))
}

func TestScriptsThatFail(t *testing.T) {
	unpack(t, `
-- slow --
#!/bin/sh
echo asking the cloud >&2
sleep 60
-- trace --
#!/bin/sh
printf 'one\ntwo\nthree\nfour\n\n' >&2; exit 4
-- silent --
#!/bin/sh
-- numbers --
#!/bin/sh
echo '{"g": [1], "h": {"children": [["x"]]}, "_meta": {"hostvars": {}}}'
-- ghost --
#!/bin/sh
echo '{"g": ["a"], "_meta": {"hostvars": {"a": [], "b": {"x": 1}}}}'
-- hosts --
#!/bin/sh
[ "$1" = --list ] && echo '{"g": ["a", "b", "c"]}' && exit
[ "$2" = b ] && echo no such machine >&2 && exit 1
echo '{}'
`)
	for name, want := range map[string]string{
		"slow":    "slow: slow --list: took longer than 300ms: asking the cloud (run it by hand to see what it says)",
		"trace":   "trace: trace --list: exit status 4: two / three / four (run it by hand to see what it says)",
		"silent":  "silent: silent --list printed no inventory: nothing (a script prints one JSON object)",
		"numbers": "numbers: a list of names holds what is no name: \"1\" (names of hosts and groups are texts)\nnumbers: a list of names holds what is no name: a list (names of hosts and groups are texts)",
		"ghost":   "ghost: the variables of \"a\" must be an object (the script prints an object of variables for each host)\nghost: _meta has variables of \"b\", which is in no group (name it in the hosts of a group) [warning]",
		"hosts":   "hosts: hosts --host b: exit status 1: no such machine (run it by hand to see what it says)",
	} {
		t.Run(name, func(t *testing.T) {
			limit := 20 * time.Second
			if name == "slow" {
				limit = 300 * time.Millisecond
			}
			assert.Equal(t, want, said(t, t.Context(), Options{Sources: []string{name}, ScriptLimit: limit}))
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, stop)
		start := time.Now()
		assert.Contains(t, said(t, ctx, Options{Sources: []string{"slow"}}), "context canceled")
		assert.Less(t, time.Since(start), 20*time.Second)
	})
}

func TestHostsAreAskedForSideBySide(t *testing.T) {
	unpack(t, `
-- script --
#!/bin/sh
[ "$1" = --list ] && echo '{"g": ["h1", "h2", "h3", "h4", "h5", "h6", "h7", "h8"]}' && exit
touch "$0.$2"
while [ "$(ls "$0".h* | wc -l)" -lt 8 ]; do sleep 0.05; done
echo "{\"me\": \"$2\"}"
`)
	inv, problems := Load(t.Context(), Options{Sources: []string{"script"}, ScriptLimit: time.Minute})
	require.NoError(t, problems.Err())
	assert.Equal(t, `h8 [g] me="h8"`, describe(inv.Hosts()[7]))
}
