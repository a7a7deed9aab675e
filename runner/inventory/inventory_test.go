package inventory

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

// unpack writes the files of an archive and makes its folder the working directory. Files that begin with
// #! become executable.
func unpack(t *testing.T, archive string) {
	t.Helper()
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(archive)).Files {
		path := filepath.Join(dir, f.Name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
		mode := os.FileMode(0o600)
		if strings.HasPrefix(string(f.Data), "#!") {
			mode = 0o700
		}
		require.NoError(t, os.WriteFile(path, f.Data, mode))
	}
	t.Chdir(dir)
}

// described is every host with its groups and variables, a line each, in inventory order.
func described(inv *Inventory) string {
	var out strings.Builder
	for _, h := range inv.Hosts() {
		out.WriteString(describe(h) + "\n")
	}
	return out.String()
}

func describe(h *Host) string {
	scope := vars.NewScope(nil).With(vars.HostInventory, h.Vars)
	line := fmt.Sprintf("%s %v", h.Name, h.Groups)
	for _, name := range slices.Sorted(slices.Values(h.Vars.Names())) {
		d, _, err := scope.Lookup(name)
		line += fmt.Sprintf(" %s=%s", name, d.JSON())
		if err != nil {
			line += " " + err.Error()
		}
	}
	return line
}

// The cases are named by the rule they show; expectations were recorded from Ansible.
func TestLoad(t *testing.T) {
	for _, test := range []struct {
		name, files string
		sources     []string
		want        string
	}{
		{"INV-3 ranges", `
-- inventory.yml --
all:
  hosts:
    web[01:03]: {kind: web}
    db-[a:c]:
    r[1:5:2]:
    x[1:2]-[a:b]:
    z[:2]:
    last:2222:
    "[::1]:22":
`, nil, `
web01 [ungrouped] kind="web"
web02 [ungrouped] kind="web"
web03 [ungrouped] kind="web"
db-a [ungrouped]
db-b [ungrouped]
db-c [ungrouped]
r1 [ungrouped]
r3 [ungrouped]
r5 [ungrouped]
x1-a [ungrouped]
x1-b [ungrouped]
x2-a [ungrouped]
x2-b [ungrouped]
z0 [ungrouped]
z1 [ungrouped]
z2 [ungrouped]
last [ungrouped] ansible_port=2222
::1 [ungrouped] ansible_port=22
`},
		{"INV-4 order", `
-- inventory.yml --
all:
  hosts:
    lonely:
  children:
    zebra:
      children:
        inner:
          hosts:
            h3:
            h1:
    apple:
      hosts:
        h2:
        h1:
`, nil, `
lonely [ungrouped]
h2 [apple]
h1 [apple inner zebra]
h3 [inner zebra]
`},
		{"VAR-5 depth, priority, name", `
-- inventory.yml --
all:
  vars: {v: all, w: all, x: all}
  children:
    parent:
      vars: {v: parent, ansible_group_priority: 100}
      children:
        child:
          vars: {v: child}
          hosts: {h1: }
    alpha:
      vars: {w: alpha, x: alpha, ansible_group_priority: 10}
      hosts: {h1: }
    beta:
      vars: {w: beta}
      hosts: {h1: , h2: }
    gamma:
      vars: {x: gamma, w: gamma}
      hosts: {h2: }
`, nil, `
h1 [alpha beta child parent] v="child" w="alpha" x="alpha"
h2 [beta gamma] v="all" w="gamma" x="gamma"
`},
		{"VAR-5 depth is the longest path", `
-- inventory.yml --
all:
  children:
    aaa:
      children:
        aaa_child:
          children:
            deep: {}
    deep:
      vars: {v: deep}
      hosts: {h1: }
    zzz:
      vars: {v: zzz}
      hosts: {h1: }
`, nil, "\nh1 [aaa aaa_child deep zzz] v=\"deep\"\n"},
		{"VAR-3 rows 2 to 10", `
-- inv/hosts.yml --
all:
  vars: {v1: 2, v2: 2, v3: 2, v4: 2, v5: 2, v6: 2, v7: 2, v8: 2, v9: 2}
  children:
    web:
      vars: {v2: 3, v3: 3, v4: 3, v5: 3, v6: 3, v7: 3, v8: 3, v9: 3}
      hosts:
        h1: {v7: 8, v8: 8, v9: 8}
-- inv/group_vars/all.yml --
{v3: 4, v4: 4, v5: 4, v6: 4, v7: 4, v8: 4, v9: 4}
-- group_vars/all/a.yml --
{v4: 5, v5: 5, v6: 5, v7: 5, v8: 5, v9: 0}
-- group_vars/all/b --
{v9: 5}
-- group_vars/all/sub/c.json --
{"v9": 5}
-- group_vars/all/.hidden --
{v9: hidden}
-- inv/group_vars/web --
{v5: 6, v6: 6, v7: 6, v8: 6, v9: 6}
-- inv/group_vars/web.yml --
{v5: not the first that exists}
-- group_vars/web.yaml --
{v6: 7, v7: 7, v8: 7, v9: 7}
-- inv/host_vars/h1.yml --
{v8: 9, v9: 9}
-- host_vars/h1.json --
{"v9": 10}
`, []string{"inv/hosts.yml"}, "\nh1 [web] v1=2 v2=3 v3=4 v4=5 v5=6 v6=7 v7=8 v8=9 v9=10\n"},
		{"INV-6 several sources", `
-- first.yml --
web:
  vars: {gv: first}
  hosts:
    h1: {hv: first, only_first: yes}
-- dir/group_vars/web.yml --
fromdir: "yes"
-- dir/10-a.yml --
web:
  vars: {gv: dir-a}
  hosts:
    h1: {hv: dir-a}
    h3:
-- dir/20/b --
[web]
h2
h1 hv=dir-b
[web:vars]
gv=dir-b
-- dir/ignored.ini --
nonsense
-- dir/README.md --
nonsense
`, []string{"first.yml", "dir"}, `
h1 [web] fromdir="yes" gv="dir-b" hv="dir-b" only_first=true
h3 [web] fromdir="yes" gv="dir-b"
h2 [web] fromdir="yes" gv="dir-b"
`},
		{"INV-7 scripts", `
-- with_meta --
#!/bin/sh
echo '{"web": {"hosts": ["w1", "w2"], "vars": {"gv": 1.5}, "children": ["sub"]}, "sub": ["s1"],'
echo '"_meta": {"hostvars": {"w1": {"hv": 1, "list": ["\ud83d\ude00", null, true, 1e3]}}}}'
-- without_meta --
#!/bin/sh
if [ "$1" = --list ]; then echo '{"db": {"hosts": ["d1"]}, "alone": {"v": 1}}'; else echo "{\"asked\": \"$1 $2\"}"; fi
`, []string{"with_meta", "without_meta"}, `
w1 [web] gv=1.5 hv=1 list=["😀",null,true,1000.0]
w2 [web] gv=1.5
d1 [db] asked="--host d1"
alone [alone] asked="--host alone" v=1
s1 [sub web] gv=1.5
`},
		{"INV-1 lists", `
-- group_vars/all.yml --
v: 1
`, []string{"h2,h1,"}, "\nh2 [ungrouped] v=1\nh1 [ungrouped] v=1\n"},
		{"INV-2 strings and empty groups", `
-- inventory.yml --
ungrouped: {hosts: u}
web:
  children: inner
inner:
  hosts: h1
empty:
`, nil, "\nu [ungrouped]\nh1 [inner web]\n"},
		{"INI", `
-- hosts --
# a comment
loose ansible_host=10.0.0.1 text="a b" # behind
[web]
web[1:2]:22 n=1 f=1.5 s='x' t=True y=true l="[1, 'a', {'k': None}]" o=0755 h=0x10 tuple="(1,)" a=b=c
[all:vars]
path = "/srv/a b"
open = { not a literal
empty =
[site:children]
web
[site:vars]
where=here
ansible_group_priority=3
`, []string{"hosts"}, `
loose [ungrouped] ansible_host="10.0.0.1" empty="" open="{ not a literal" path="/srv/a b" text="a b"
web1 [site web] a="b=c" ansible_port=22 empty="" f=1.5 h=16 l=[1,"a",{"k":null}] n=1 o="0755" open="{ not a literal" path="/srv/a b" s="x" t=true tuple=[1] where="here" y="true"
web2 [site web] a="b=c" ansible_port=22 empty="" f=1.5 h=16 l=[1,"a",{"k":null}] n=1 o="0755" open="{ not a literal" path="/srv/a b" s="x" t=true tuple=[1] where="here" y="true"
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			unpack(t, test.files)
			if test.sources == nil {
				test.sources = []string{"inventory.yml"}
			}
			inv, problems := Load(t.Context(), Options{Sources: test.sources, PlaybookDir: "."})
			require.NoError(t, problems.Err())
			assert.Equal(t, strings.TrimPrefix(test.want, "\n"), described(inv))
		})
	}
}

func TestProblems(t *testing.T) {
	unpack(t, `
-- bad.yml --
all:
  hosts: [a]
  vars: text
  host: {}
  children:
    web: [a]
    loop: {children: {loop2: {children: {loop: }}}}
  vars2:
web:
  hosts:
    1: {}
    "h[1:": {}
    "h[3:1]": {}
    "h[01:100]": {}
    "h[1:9999999]": {}
    h1: text
    h2:99999: {}
  vars: {ansible_group_priority: high, v: "{{ .x | nosuch }}"}
-- broken.yml --
all:
  hosts:
    h1:
   h2:
-- list.yml --
- a
-- plugin.yml --
plugin: aws_ec2
-- empty.yml --
-- bad.ini --
[web
h1 novalue "open
h2 novalue
[web:kinder]
[nowhere:vars]
x=1
just text
[a:children]
b c
a
-- bad.json --
{"web": {"hosts": {"h1": {"x": 1}}}
-- script --
#!/bin/sh
echo no idea >&2; exit 3
-- text --
#!/bin/sh
echo hello
-- group_vars/web.yml --
- a
-- host_vars/nobody.yml --
x: "{{ .open"
-- both.yml --
web: {hosts: {both: }}
both:
-- unseen.yml --
web: {hosts: {"h\e2J": }}
"g\u202e": {hosts: {"\u2066h\u2069": }}
`)
	require.NoError(t, os.WriteFile("plain.sh", []byte("#!/bin/sh\n"), 0o600))
	_, problems := Load(t.Context(), Options{Sources: []string{
		"bad.yml", "broken.yml", "list.yml", "plugin.yml", "empty.yml", "bad.ini", "bad.json", "script", "text", "plain.sh",
		"gone.yml", "both.yml", "unseen.yml",
	}})
	var said []string
	for _, d := range problems {
		line := strings.ReplaceAll(d.Error(), absolute("."), "DIR")
		if d.Warning {
			line += " [warning]"
		}
		said = append(said, line)
	}
	assert.Equal(t, strings.Split(strings.TrimSpace(`
bad.ini:1:1: "[web" is no section (write [group], [group:vars] or [group:children], without spaces)
bad.ini:2:1: a quote is not closed (close it, or put a quote that is meant in other quotes)
bad.ini:3:4: "novalue" is no variable (write name=value, without spaces around =)
bad.ini:4:1: a section has vars or children, not "kinder" (choose from vars, children)
bad.ini:5:1: variables for the group "nowhere", which is not defined (choose from a, all, loop, loop2, ungrouped, web)
bad.ini:7:1: "just text" is no variable (write name=value)
bad.ini:9:1: "b c" is no name of a group (write one group a line)
bad.ini:10:1: the group "a" would be below itself: a → a (take one of them out of the other's children)
bad.json:1:1: a quote or bracket that opens here is not closed (close it; a value that begins with a quote or {{ is quoted whole: "{{ .name }}/file")
bad.yml:2:10: hosts must be a mapping, not a list (write each name with a colon behind it and no dash before it: a:)
bad.yml:3:9: the variables of "all" must be a mapping (write name: value lines below it)
bad.yml:4:3: a group has hosts, vars and children, not "host" (did you mean "hosts"?)
bad.yml:6:10: the group "web" must be a mapping (write hosts:, vars: or children: below it)
bad.yml:7:23: the group "loop2" would be below itself: loop → loop2 → loop (take one of them out of the other's children)
bad.yml:8:3: a group has hosts, vars and children, not "vars2" (did you mean "vars"?)
bad.yml:11:5: the name of a host must be text, not 1 (put it in quotes)
bad.yml:12:5: "h[1:": a bracket is not closed (ranges are [1:9], [01:99], [a:z] or [0:100:10])
bad.yml:13:5: "h[3:1]": the range from 3 to 1 is empty (ranges are [1:9], [01:99], [a:z] or [0:100:10])
bad.yml:14:5: "h[01:100]": with a leading zero both ends need the same width, not "01" and "100" (ranges are [1:9], [01:99], [a:z] or [0:100:10])
bad.yml:15:5: "h[1:9999999]": more than 100000 hosts (ranges are [1:9], [01:99], [a:z] or [0:100:10])
bad.yml:16:9: the variables of "h1" must be a mapping (write name: value lines below it)
bad.yml:17:5: "h2:99999": 99999 is no port (ports are numbers up to 65535)
bad.yml:18:34: ansible_group_priority must be a whole number, not "high"
bad.yml:18:52: no function is called "nosuch" (a variable is written .nosuch; the nearest function is nospace)
both.yml:2:1: "both" is both a host and a group (a plain pattern means the host, one behind & or ! the group) [warning]
broken.yml:4:4: this line does not fit the lines above it (entries of one mapping or list begin in the same column)
empty.yml: the inventory is empty (write all:, hosts: below it, and the names of hosts with a colon behind each)
gone.yml: there is no inventory "gone.yml" (write "gone.yml," if it is the name of a host)
group_vars/web.yml:1:1: variables must be a mapping, not a list (write name: value lines)
host_vars/nobody.yml:1:8: unclosed action in "{{ .open" (every {{ needs its }}, every if, range and with its {{ end }})
list.yml:1:1: an inventory is a mapping of groups (begin with all:, and hosts: and children: below it)
plain.sh: the script is not executable (chmod +x plain.sh)
plugin.yml:1:1: there is no inventory plugin "aws_ec2" (use a script that prints JSON)
script: script --list: exit status 3: no idea (run it by hand to see what it says)
text: text --list printed no inventory: invalid character 'h' looking for beginning of value (a script prints one JSON object)
unseen.yml:1:15: the host "h\x1b2J" holds a character that cannot be seen (names are letters, digits and marks)
unseen.yml:2:1: the group "g\u202e" holds a character that cannot be seen (names are letters, digits and marks)
unseen.yml:2:21: the host "\u2066h\u2069" holds a character that cannot be seen (names are letters, digits and marks)
`), "\n"), said)
}

// Files on some disks are all executable; what is no program is read as data.
func TestExecutableDataIsRead(t *testing.T) {
	unpack(t, "-- hosts --\n[web]\nh1\n-- hosts.yml --\nweb: {hosts: {h2: }}\n")
	require.NoError(t, os.Chmod("hosts", 0o700))
	require.NoError(t, os.Chmod("hosts.yml", 0o700))
	inv, problems := Load(t.Context(), Options{Sources: []string{"hosts", "hosts.yml"}})
	require.NoError(t, problems.Err())
	assert.Equal(t, "h1 [web]\nh2 [web]\n", described(inv))
}

func TestImplicitLocalhost(t *testing.T) {
	unpack(t, `
-- inventory.yml --
all:
  vars: {from_all: 1}
  children:
    web:
      vars: {from_web: 1}
      hosts: {w1: }
-- group_vars/all.yml --
file_all: 1
-- host_vars/localhost.yml --
own: 1
-- named.yml --
local: {hosts: {127.0.0.1: }}
`)
	inv, problems := Load(t.Context(), Options{Sources: []string{"inventory.yml"}})
	require.Empty(t, problems.Error())
	local, ok := inv.Host("localhost")
	require.True(t, ok)
	assert.True(t, local.Implicit)
	assert.Equal(t, `localhost [] ansible_connection="local" file_all=1 from_all=1 own=1`, describe(local))
	v6, ok := inv.Host("::1")
	require.True(t, ok)
	assert.Equal(t, "::1", v6.Name)
	hosts, problems := inv.Select("localhost,w1", diag.Position{})
	require.Empty(t, problems)
	assert.Equal(t, []string{"localhost", "w1"}, hostNames(hosts))
	assert.Equal(t, []string{"w1"}, hostNames(inv.Hosts()))

	inv, problems = Load(t.Context(), Options{Sources: []string{"named.yml"}})
	require.Empty(t, problems.Error())
	local, ok = inv.Host("localhost")
	require.True(t, ok)
	assert.Equal(t, "127.0.0.1 [local] file_all=1", describe(local))

	inv, problems = Load(t.Context(), Options{})
	require.Empty(t, problems)
	assert.Empty(t, inv.Hosts())
	_, ok = inv.Host("localhost")
	assert.True(t, ok)
	_, ok = inv.Host("other")
	assert.False(t, ok)
}

func hostNames(hosts []*Host) []string {
	out := []string{}
	for _, h := range hosts {
		out = append(out, h.Name)
	}
	return out
}

func TestWith(t *testing.T) {
	unpack(t, `
-- dir/inventory.yml --
web: {hosts: {w1: {a: 1}}, vars: {g: 1}}
-- dir/host_vars/new.yml --
file: 1
`)
	before, problems := Load(t.Context(), Options{Sources: []string{"dir"}})
	require.Empty(t, problems.Error())
	w1 := Addition{Host: "w1", Groups: []string{"fresh"}, Vars: vars.ValuesOf(map[string]vars.Data{"a": vars.Of(2)})}
	inv := before.With(Addition{Host: "new", Groups: []string{"web", "fresh"}, Vars: vars.ValuesOf(map[string]vars.Data{"own": vars.Of(2)})}, w1)
	inv = inv.With(Addition{Host: "loose"})
	assert.Equal(t, []bool{false, true, false, true}, []bool{before.Has(w1), inv.Has(w1), before.Has(Addition{Host: "loose"}), inv.Has(Addition{Host: "loose"})})
	assert.Equal(t, "loose [ungrouped]\nw1 [fresh web] a=2 g=1\nnew [fresh web] file=1 g=1 own=2\n", described(inv))
	assert.Equal(t, []string{"all", "ungrouped", "web", "fresh"}, inv.Groups())
	assert.Equal(t, []string{"ungrouped", "web", "fresh"}, inv.Children("all"))
	assert.Equal(t, "w1 [web] a=1 g=1\n", described(before), "the inventory before is as it was")

	dir := absolute("dir")
	assert.Equal(t, []string{dir, filepath.Join(dir, "inventory.yml"), "", ""},
		[]string{inv.Dir("w1"), inv.File("w1"), inv.Dir("new"), inv.File("new")})
}

func TestAdditionsPutGroupsBelowOthers(t *testing.T) {
	unpack(t, "-- hosts --\n[inner]\nw1\n[outer:children]\ninner\n")
	before, problems := Load(t.Context(), Options{Sources: []string{"hosts"}})
	require.Empty(t, problems.Error())
	a := Addition{Host: "w1", Groups: []string{"fresh"}, Parents: []string{"above", "all"}}
	inv := before.With(a)
	assert.Equal(t, []bool{false, true}, []bool{before.Has(a), inv.Has(a)})
	assert.Equal(t, []string{"fresh"}, inv.Children("above"))
	hosts, ok := inv.Group("above")
	assert.True(t, ok && len(hosts) == 1 && hosts[0].Name == "w1")
	assert.Empty(t, before.Circle(a))
	assert.Equal(t, []string{"inner", "outer", "inner"}, before.Circle(Addition{Host: "w1", Groups: []string{"outer"}, Parents: []string{"inner"}}))
	assert.Equal(t, []string{"x", "x"}, before.Circle(Addition{Host: "w1", Groups: []string{"x"}, Parents: []string{"x"}}))
}
