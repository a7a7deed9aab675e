package jinja

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestExpression(t *testing.T) {
	for _, c := range [][2]string{
		{"foo", ".foo"},
		{"foo.bar", ".foo.bar"},
		{"foo['bar']", ".foo.bar"},
		{"foo['a-b'].c", `(index .foo "a-b").c`},
		{"foo[0]", "index .foo 0"},
		{"foo.0", "index .foo 0"},
		{"foo[-1]", "last .foo"},
		{"hostvars[inventory_hostname].ip", "(index .hostvars .inventory_hostname).ip"},
		{"groups['web'][0]", "index .groups.web 0"},
		{"x == 'y'", `eq .x "y"`},
		{`x != "y"`, `ne .x "y"`},
		{"x >= 3", "ge .x 3"},
		{"x < -1", "lt .x -1"},
		{"a and b", "and .a .b"},
		{"a and b and not c", "and .a .b (not .c)"},
		{"a == 1 or b == 2", "or (eq .a 1) (eq .b 2)"},
		{"(a or b) and c", "and (or .a .b) .c"},
		{"not x", "not .x"},
		{"not x.y == 1", "not (eq .x.y 1)"},
		{"x is defined", `defined "x"`},
		{"x.y is not defined", `not (defined "x.y")`},
		{"x is undefined", `not (defined "x")`},
		{"x is defined and x == 'a'", `and (defined "x") (eq .x "a")`},
		{"r is failed", "failed .r"},
		{"r is not changed", "not (changed .r)"},
		{"r is success", "succeeded .r"},
		{"x in list", "has .x .list"},
		{"'a' not in x", `not (has "a" .x)`},
		{"x in ['a', 'b']", `has .x (list "a" "b")`},
		{"'ok' in r.stdout", `contains "ok" .r.stdout`},
		{"'a' in 'abc'", `contains "a" "abc"`},
		{"x | default('a')", `.x | default "a"`},
		{"x|default('a')", `.x | default "a"`},
		{"x | d(omit)", ".x | default .omit"},
		{"x | default('a', true)", `coalesce .x "a"`},
		{"x | default(3) == 4", "eq (default 3 .x) 4"},
		{"x | int > 3", "gt (int .x) 3"},
		{"x | length == 0", "eq (len .x) 0"},
		{"x | trim | lower", ".x | trim | lower"},
		{"x | join(', ')", `.x | join ", "`},
		{"x | bool", ".x | bool"},
		{"x | replace('a', 'b')", `.x | replace "a" "b"`},
		{"x | regex_replace('^a', 'b')", `regexReplaceAll "^a" .x "b"`},
		{"'a' if x else 'b'", `ternary "a" "b" .x`},
		{"x + 1", "add .x 1"},
		{"x * 2 + 1", "add (mul .x 2) 1"},
		{"a ~ '-' ~ b", `printf "%v%v" (printf "%v%v" .a "-") .b`},
		{"'a' + b", `printf "%v%v" "a" .b`},
		{"x % 2 == 0", "eq (mod .x 2) 0"},
		{"x is match('ab.*')", `search "^ab.*" .x`},
		{"x is search('ab')", `search "ab" .x`},
		{"v is version('1.2', '>=')", `version_compare .v ">=" "1.2"`},
		{"x is string", `kindIs "string" .x`},
		{"x.startswith('a')", `hasPrefix "a" .x`},
		{"x.split(',')[0]", `index (splitList "," .x) 0`},
		{"lookup('env', 'HOME')", `lookup_env "HOME"`},
		{"ansible.builtin.x", ".ansible.builtin.x"},
		{"{'a': 1, 'b': x}", `dict "a" 1 "b" .x`},
		{"range(3) | list", "until 3"},
		{`x == "it's"`, `eq .x "it's"`},
		{`x is search('\d+')`, "search `\\d+` .x"},
		{"True", "true"},
		{".x == 1 and .y.z in list", "and (eq .x 1) (has .y.z .list)"},
	} {
		got, ok := Expression(c[0])
		assert.True(t, ok, c[0])
		assert.Equal(t, c[1], got, c[0])
	}
}

func TestWhatHasNoCounterpartIsNotTranslated(t *testing.T) {
	for _, text := range []string{
		"", "eq .x 1", ".x", "true", "a b", "eq .x 1 and .y", "x |", "x ==", "x | selectattr('a') | list", "x | map(attribute='a')", "x[1:3]", "f(x)", "a < b < c",
		"x is foo", "none", "x == None", "'unclosed", "(x", "x | default(value='a')", "{{ x }}", "x.y(", "{% if x %}", "defined \"x\"", "-", "x ** 2",
	} {
		got, ok := Expression(text)
		assert.False(t, ok, "%q became %q", text, got)
	}
}

func TestText(t *testing.T) {
	for _, c := range [][2]string{
		{"{{ foo.bar }}", "{{ .foo.bar }}"},
		{"a {{ x }}-{{- y | default('b') -}} c", `a {{ .x }}-{{- .y | default "b" -}} c`},
		{"{{ '}}' }}", `{{ "}}" }}`},
	} {
		got, ok := Text(c[0])
		assert.True(t, ok, c[0])
		assert.Equal(t, c[1], got)
	}
	for _, text := range []string{"no action", "{{ x", "{{ .x }}", "{{ x }} {{ f(y) }}"} {
		_, ok := Text(text)
		assert.False(t, ok, text)
	}
}

func TestStatement(t *testing.T) {
	for _, c := range [][2]string{
		{"if x == 1", "if eq .x 1"}, {"elif y", "else if .y"}, {" else ", "else"}, {"endif", "end"}, {"- endfor -", "end"},
		{"for h in groups['web']", "range $h := .groups.web"}, {"for k, v in m", "range $k, $v := .m"}, {"set a = b + 1", "$a := add .b 1"},
	} {
		got, ok := Statement(c[0])
		assert.True(t, ok, c[0])
		assert.Equal(t, c[1], got)
	}
	for _, text := range []string{"macro a()", "for x", "set a", "if", "include 'a'"} {
		_, ok := Statement(text)
		assert.False(t, ok, text)
	}
}

func FuzzExpression(f *testing.F) {
	f.Add("a and (b | default('c')) is not defined")
	f.Add("x[-1].y(1, 'z')['w'] ~ {1: [2]}")
	f.Fuzz(func(t *testing.T, text string) {
		Expression(text)
		Text(text)
		Statement(text)
	})
}
