package inventory

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/diag"
)

func TestSelect(t *testing.T) {
	unpack(t, `
-- inventory.yml --
all:
  children:
    other: {hosts: {web-lone: , o1: }}
    webfarm: {hosts: {a1: , a2: , a3: }}
    db: {hosts: {db01: , a2: }}
    dual: {hosts: {b1: , b2: }}
    empty:
  hosts:
    dual:
    h.example.com:
    "fe80::1":
`)
	inv, problems := Load(t.Context(), Options{Sources: []string{"inventory.yml"}})
	require.NoError(t, problems.Err())
	everything := "dual h.example.com fe80::1 web-lone o1 a1 a2 a3 db01 b1 b2"
	for _, test := range []struct{ pattern, want, said string }{
		{"all", everything, ""},
		{"*", everything, ""},
		{"webfarm", "a1 a2 a3", ""},
		{"db:webfarm", "db01 a2 a1 a3", ""},
		{"webfarm,db", "a1 a2 a3 db01", ""},
		{"webfarm:&db", "a2", ""},
		{"&db:webfarm", "a2", ""},
		{"webfarm:!a2:!a3", "a1", ""},
		{"!webfarm:!dual:!db", "dual h.example.com fe80::1 web-lone o1", ""},
		{"all:!all", "", ""},
		{"web*", "a1 a2 a3 web-lone", ""},
		{"a?", "a1 a2 a3", ""},
		{"*.com", "h.example.com", ""},
		{"[ao]1", "o1 a1", ""},
		{"[!a]1", "o1 b1", ""},
		{"b[12]", "", `f:1:1: no host or group is called b (did you mean "db"?)`},
		{"dual", "dual", ""},
		{"fe80::1", "fe80::1", ""},
		{"~(web|db)0[12]", "db01", ""},
		{"~a", everything, ""},
		{"~b", "b1 b2", ""},
		{"~.*b01", "db01", ""},
		{"all,!~a[0-9]", "dual h.example.com fe80::1 web-lone o1 db01 b1 b2", ""},
		{"webfarm[0]", "a1", ""},
		{"webfarm[-1]", "a3", ""},
		{"webfarm[-4]", "", `f:1:1: no host is at "webfarm[-4]" (webfarm has 3, counted from 0)`},
		{"webfarm[3]", "", `f:1:1: no host is at "webfarm[3]" (webfarm has 3, counted from 0)`},
		{"webfarm[1:]", "a2 a3", ""},
		{"webfarm[0:1]", "a1 a2", ""},
		{"webfarm[1:9]", "a2 a3", ""},
		{"webfarm[7:9]", "", ""},
		{"webfarm[1:2]:&db", "a2", ""},
		{"empty", "", ""},
		{"empty[3]", "", ""},
		{"webfarn:db", "db01 a2", `f:1:1: no host or group is called webfarn (did you mean "webfarm"?)`},
		{"~(", "", "f:1:1: \"~(\" is no pattern: missing closing ): `^(?:()` (regular expressions are those of Go (RE2): what they cannot say, & and ! can)"},
		{"", "", ""},
		{"!", everything, ""},
	} {
		t.Run(test.pattern, func(t *testing.T) {
			hosts, problems := inv.Select(test.pattern, diag.Position{File: "f", Line: 1, Column: 1})
			assert.Equal(t, test.want, strings.Join(hostNames(hosts), " "))
			assert.Equal(t, test.said, problems.Error())
		})
	}
}

func TestSelectAllReadsFiles(t *testing.T) {
	unpack(t, `
-- inventory.yml --
web: {hosts: {w1: , w2: , w3: }}
-- retry --
w3

web[0]
`)
	inv, problems := Load(t.Context(), Options{Sources: []string{"inventory.yml"}})
	require.NoError(t, problems.Err())
	hosts, problems := inv.SelectAll([]string{"@retry", "w2:!w1"}, diag.Position{})
	require.Empty(t, problems)
	assert.Equal(t, []string{"w3", "w2"}, hostNames(hosts))

	hosts, problems = inv.SelectAll([]string{"@gone"}, diag.Position{})
	assert.Empty(t, hosts)
	assert.Equal(t, "the file of hosts gone cannot be read: no such file or directory (@ is followed by a file with a host or pattern on each line)", problems.Error())
}

// FuzzInventory reads any text as an inventory of each kind: none may crash the reader, and every host
// that it gives can be selected.
func FuzzInventory(f *testing.F) {
	f.Add("all:\n  hosts:\n    web[01:03]: {a: 1}\n  children: {g: {hosts: h, vars: {x: y}}}\n", "all:!web*[0]")
	f.Add("h1 a=1 b='c d'\n[g:children]\nx\n[g:vars]\nl=[1, {'a': (1,)}]\n", "~h:&g[1:2]")
	f.Add(`{"web": {"hosts": ["w1"], "children": ["web2"]}}`, "@x,[a-z]?")
	f.Fuzz(func(t *testing.T, text, pattern string) {
		var problems diag.List
		s := newSources(&problems)
		s.readYAML(t.Context(), "f", []byte(text))
		s.readINI("f", text)
		if n, err := fromJSON([]byte(text)); err == nil {
			for _, e := range pairs(n) {
				s.scriptGroup("f", e)
			}
		}
		inv := s.build()
		if len(inv.Hosts()) != len(s.hosts) {
			t.Fatalf("%d hosts, but %d in all", len(s.hosts), len(inv.Hosts()))
		}
		inv.Select(pattern, diag.Position{})
	})
}

// FuzzRange expands any name: what it gives is bounded, and as many names as the ranges say.
func FuzzRange(f *testing.F) {
	for _, name := range []string{"web[1:3]", "a[01:10:3]b[a:c]", "[::1]:22", "h:22", "x[1:", "[z:A]", "fe80::[0:f]", "h[:5]", "[1:2][3:4][5:6]", "h[1:99999999]"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, port := splitPort(text)
		if port != "" && !strings.HasSuffix(text, ":"+port) {
			t.Fatalf("%q has no port %q", text, port)
		}
		names, err := expand(name)
		if err != nil {
			return
		}
		if len(names) == 0 || len(names) > maxRange {
			t.Fatalf("%q gives %d names", name, len(names))
		}
		for _, one := range names {
			if strings.ContainsAny(one, "[]") || one == "" {
				t.Fatalf("%q gives %q", name, one)
			}
		}
	})
}

// FuzzPattern selects with any pattern: every host that it gives is one of the inventory, once.
func FuzzPattern(f *testing.F) {
	for _, pattern := range []string{"all:!web*[0]", "~h:&g[1:2]", "@x,[a-z]?", "g[-1]", "fe80::1,!g", "h1:22", "[]a]*", "[!^-]", "g[1-2]", "&:!"} {
		f.Add(pattern)
	}
	var problems diag.List
	s := newSources(&problems)
	s.readYAML(context.Background(), "f", []byte("g: {hosts: {\"h[1:5]\": , \"fe80::1\": }}\nk: {children: {g: }, hosts: {\"a-b.c\": , localhost: }}\n"))
	inv := s.build()
	f.Fuzz(func(t *testing.T, pattern string) {
		hosts, _ := inv.Select(pattern, diag.Position{})
		met := map[string]bool{}
		for _, h := range hosts {
			if known, ok := inv.Host(h.Name); met[h.Name] || !ok || known != h {
				t.Fatalf("%q gives %q", pattern, h.Name)
			}
			met[h.Name] = true
		}
	})
}

// FuzzINI reads any text as INI: every value that is a literal is data, and every problem has its line.
func FuzzINI(f *testing.F) {
	f.Add("h1 a=1 b='c d' e=\"[1, (2,), {'k': None}]\" # x\n[g:children]\nx\n[x]\n[g:vars]\nl=r'\\n' \"b\", 1_0\n")
	f.Add("[a:children]\nb\n[b:children]\na\n[1:2]x\n[::1]:22 p='\\x41\\u00e9\\101'\n")
	f.Add("h a=\\\nb:\n---\n[g\n[g:x]\n=1\n")
	f.Fuzz(func(t *testing.T, text string) {
		var problems diag.List
		s := newSources(&problems)
		s.readINI("f", text)
		s.build()
		for _, d := range problems {
			if d.Line == 0 && !d.Warning {
				t.Fatalf("%v has no line", d)
			}
		}
	})
}

func BenchmarkLoad10000Hosts(b *testing.B) {
	dir := b.TempDir()
	var text strings.Builder
	text.WriteString("all:\n  vars: {cluster: onebox}\n  children:\n")
	for g := range 100 {
		name := string(rune('a'+g/26)) + string(rune('a'+g%26))
		text.WriteString("    rack_" + name + ":\n      vars: {rack: " + name + "}\n      hosts:\n")
		for h := range 100 {
			ip := string(rune('0'+h/10)) + string(rune('0'+h%10))
			text.WriteString("        host-" + name + "-" + ip + ":\n          ansible_host: 10.0.1." + ip + "\n          ansible_port: 22\n          disks: [/data1, /data2]\n")
		}
	}
	path := dir + "/hosts.yml"
	require.NoError(b, os.WriteFile(path, []byte(text.String()), 0o600))
	require.NoError(b, os.Mkdir(dir+"/group_vars", 0o750))
	var vars strings.Builder
	for i := range 100 {
		vars.WriteString("setting_" + string(rune('a'+i/10)) + string(rune('a'+i%10)) + ": \"{{ .cluster }}\"\n")
	}
	require.NoError(b, os.WriteFile(dir+"/group_vars/all.yml", []byte(vars.String()), 0o600))
	for b.Loop() {
		inv, problems := Load(b.Context(), Options{Sources: []string{path}})
		if problems.Failed() || len(inv.Hosts()) != 10_000 {
			b.Fatal(len(inv.Hosts()), problems)
		}
	}
}
