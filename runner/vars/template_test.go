package vars

import (
	"bytes"
	"maps"
	"strings"
	"testing"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/diag"
)

func render(t testing.TB, s *Scope, text string) (string, error) {
	t.Helper()
	tmpl, problems := ParseTemplate("t.tmpl", text, [2]string{})
	require.Empty(t, problems, text)
	return tmpl.Render(s)
}

// What both pegbook and text/template must print, in the same way.
var commonTemplates = []string{
	``, `plain`, `{{ .s }}`, `a{{ .n }}b`, `{{ .t }} {{ .f }}`, `{{- .s -}} x`, "a \n {{- .s }}\n{{ .n -}} \n b", `{{/* comment */}}x`,
	`{{ if .t }}yes{{ else }}no{{ end }}`, `{{ if .f }}yes{{ else if .n }}n{{ else }}no{{ end }}`, `{{ if .e }}x{{ end }}`,
	`{{ with .m }}{{ .k }}{{ $.s }}{{ end }}`, `{{ with .e }}x{{ else with .s }}{{ . }}{{ end }}`, `{{ with $x := .s }}{{ $x }}{{ . }}{{ end }}`,
	`{{ range .l }}<{{ . }}>{{ end }}`, `{{ range $i, $e := .l }}{{ $i }}{{ $e }} {{ end }}`, `{{ range $e := .l }}{{ $e }}{{ end }}`,
	`{{ range .none }}x{{ else }}empty{{ end }}`, `{{ range $k, $v := .m }}{{ $k }}={{ $v }};{{ end }}`, `{{ range 3 }}{{ . }}{{ end }}`,
	`{{ range .l }}{{ if eq . "b" }}{{ continue }}{{ end }}{{ . }}{{ end }}`, `{{ range .l }}{{ if eq . "b" }}{{ break }}{{ end }}{{ . }}{{ end }}`,
	`{{ range .l }}{{ range $.l }}{{ . }}{{ break }}{{ end }}{{ . }}{{ end }}`,
	`{{ $x := 1 }}{{ range .l }}{{ $x = add $x 1 }}{{ end }}{{ $x }}`, `{{ $x := "a" }}{{ if .t }}{{ $x := "b" }}{{ $x }}{{ end }}{{ $x }}`,
	`{{ $i := 7 }}{{ $e := "" }}{{ range $i, $e = .l }}{{ end }}{{ $i }}{{ $e }}`,
	`{{ define "x" }}[{{ . }}]{{ end }}{{ template "x" .s }}{{ template "x" .n }}`, `{{ block "b" .m }}{{ .k }}{{ end }}`,
	`{{ define "f" }}{{ if . }}{{ first . }}{{ template "f" (rest .) }}{{ end }}{{ end }}{{ template "f" .l }}`,
	`{{ define "d" }}{{ $y := .k }}{{ $y }}{{ $.k }}{{ end }}{{ template "d" .m }}`,
	`{{ .s | upper | quote }}`, `{{ "x" | printf "%s-%s" .s }}`, `{{ printf "%d" (add .n 1) }}`, `{{ (index .l 1) }}`, `{{ len .l }}`, `{{ not .t }}`,
	`{{ and .t .s }} {{ or .f .s }} {{ and .f .s }}`, `{{ eq .s "text" }} {{ ne .n 3 }} {{ lt .n 4 }} {{ eq .n 1 2 3 }}`, `{{ slice .s 1 3 }}`,
	`{{ "{{" }} {{ ` + "`raw`" + ` }}`, `{{ .m.k }}{{ (dict "a" "b").a }}`, `{{ join "," .l }}`, `{{ range until 2 }}{{ . }}{{ end }}`, `{{ $.m.k }}`,
	"{{ range .l -}}\n  - {{ . }}\n{{ end -}}\nend\n", `{{ if and .t (eq .s "text") (not .f) }}ok{{ end }}`, `{{ true }} {{ 1.5 }} {{ 0x10 }} {{ 1_000 }}`,
	`{{ template "undefined-is-fine-when-defined-later" }}{{ define "undefined-is-fine-when-defined-later" }}z{{ end }}`,
}

const commonVars = `
s: text
n: 3
t: true
f: false
e: ""
l: [a, b, c]
none: []
m: {k: v, z: y}
`

func TestTemplatesPrintWhatGoPrints(t *testing.T) {
	data := map[string]any{"s": "text", "n": 3, "t": true, "f": false, "e": "", "l": []any{"a", "b", "c"}, "none": []any{}, "m": map[string]any{"k": "v", "z": "y"}}
	funcs := template.FuncMap(maps.Clone(sprig.GenericFuncMap()))
	delete(funcs, "slice") // pegbook's also cuts texts, as Go's does
	for _, text := range commonTemplates {
		var want bytes.Buffer
		require.NoError(t, template.Must(template.New("").Funcs(funcs).Parse(text)).Execute(&want, data), text)
		got, err := render(t, scopeOf(t, commonVars), text)
		require.NoError(t, err, text)
		assert.Equal(t, want.String(), got, text)
	}
}

func TestOneActionKeepsItsType(t *testing.T) {
	s := scopeOf(t, `
i: 5
b: true
l: [1, 2]
d: {k: 1}
n: ~
f: 2.0
whole: ["{{ .i }}", "{{ .b }}", "{{ .l }}", "{{ .d }}", "{{ .n }}", "{{.f}}", "{{- .i -}}", '{{ if .b }}{{ .i }}{{ end }}']
around: ["{{ .i }} ", "a{{ .b }}", "{{ .l }}x", "{{ .d }}{{ .n }}", " {{ .f }}"]
computed: ["{{ add .i 1 }}", "{{ gt .i 3 }}", "{{ append .l 3 }}", '{{ int "7" }}', "{{ $x := 5 }}"]
mapping: {"{{ not_a_template_key": "{{ .i }}"}
`)
	for name, want := range map[string]string{
		"whole":    `[5,true,[1,2],{"k":1},null,2.0,5,"5"]`,
		"around":   `["5 ","atrue","[1, 2]x","{\"k\": 1}"," 2.0"]`,
		"computed": `[6,true,[1,2,3],7,""]`,
		"mapping":  `{"{{ not_a_template_key":5}`,
	} {
		d, ok, err := s.Lookup(name)
		require.True(t, ok)
		assert.Equal(t, want, show(d, err), name)
	}
}

func TestTemplateFileIsText(t *testing.T) {
	got, err := render(t, scopeOf(t, "n: 5"), "{{ .n }}")
	require.NoError(t, err)
	assert.Equal(t, "5", got)
}

func TestDelims(t *testing.T) {
	tmpl, problems := ParseTemplate("t", "{{ .x }} <% .x %>", [2]string{"<%", "%>"})
	require.Empty(t, problems)
	got, err := tmpl.Render(scopeOf(t, "x: 1"))
	require.NoError(t, err)
	assert.Equal(t, "{{ .x }} 1", got)
}

func TestTemplateErrors(t *testing.T) {
	s := scopeOf(t, "cluster_name: c\nm: {port: 1}\nl: [1]\nloop_a: '{{ .loop_b }}'\nloop_b: '{{ .loop_a }}'\nomitted: '{{ .omit }}'")
	for _, c := range []struct{ text, want string }{
		{"a\nb {{ .cluster_nam }}", `t.tmpl:2:6: variable "cluster_nam" is not defined in {{ .cluster_nam }} (did you mean "cluster_name"?)`},
		{"{{ .m.prt }}", `t.tmpl:1:6: field "prt" is not there in {{ .m.prt }} (did you mean "port"?)`},
		{"{{ .m.port.x }}", `t.tmpl:1:11: the integer 1 has no field "x" in {{ .m.port.x }}`},
		{"{{ $.m.prt }}", `t.tmpl:1:7: field "prt" is not there in {{ $.m.prt }} (did you mean "port"?)`},
		{"{{ $x := .m }}{{ $x.a.b }}", `t.tmpl:1:20: field "a" is not there in {{ $x.a.b }} (choose from port)`},
		{"{{ (index .l 0).x }}", `t.tmpl:1:16: the integer 1 has no field "x" in {{ (index .l 0).x }}`},
		{"{{ .l.x }}", `t.tmpl:1:6: a list has no field "x" in {{ .l.x }} (go over it with range, or take one element with index)`},
		{"{{ range .l }}{{ .x }}{{ end }}", `t.tmpl:1:18: the integer 1 has no field "x" in {{ .x }}`},
		{"{{ range .m.port.x }}{{ end }}", `t.tmpl:1:17: the integer 1 has no field "x" in {{ range .m.port.x }}`},
		{"{{ range .cluster_name }}{{ end }}", `t.tmpl:1:10: range cannot go over the string "c" (range takes a list, a mapping or a whole number)`},
		{"{{ range 99999999 }}{{ end }}", `t.tmpl:1:10: range goes over at most 1000000 numbers`},
		{"é {{ .nö }}", `t.tmpl:1:6: variable "nö" is not defined in {{ .nö }} (choose from cluster_name, l, loop_a, loop_b, m, omit, omitted)`},
		{"{{ .loop_a }}", `vars.yml:4:9: variable is defined by itself: loop_a → loop_b → loop_a (give one of them a value that does not use the others)`},
		{"x{{ .omitted }}", `t.tmpl:1:5: omit is no value to compute with (give omit as the whole value, or as the fallback of default)`},
		{`{{ define "r" }}{{ template "r" }}{{ end }}{{ template "r" }}`, `t.tmpl:1:29: template "r" calls itself more than 100 times`},
		{"{{ . }}", `t.tmpl:1:1: the dot stands for all variables here: name one of them`},
	} {
		_, err := render(t, s, c.text)
		require.Error(t, err, c.text)
		assert.Equal(t, c.want, err.Error(), c.text)
	}
}

func TestSyntaxProblems(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"{{ .a", `t.tmpl:1:4: unclosed action in "{{ .a" (every {{ needs its }}, every if, range and with its {{ end }})`},
		{"x\n{{ if .a }}\n{{ .b }}", `t.tmpl:2:4: unexpected EOF in "{{ if .a }}" (every {{ needs its }}, every if, range and with its {{ end }})`},
		{"{{ .a }} {{ 'text' }}", `t.tmpl:1:13: malformed character constant: 'text' in "{{ 'text' }}" (write {{ "text" }})`},
		{"{{ eq .a 'x' }}", `t.tmpl:1:10: 'x' is no text (texts stand in double quotes: "text")`},
		{"{{ .a }}\n{{ .b == 1 }}", `t.tmpl:2:4: unexpected "=" in operand in "{{ .b == 1 }}" (write {{ eq .b 1 }})`},
		{"{{ name }}", `t.tmpl:1:4: no function is called "name" (write {{ .name }})`},
		{"{{ .name | dict2items }}", `t.tmpl:1:12: no function is called "dict2items" (loop over keys MAPPING: the item is a key, and index .mapping .item its value)`},
		{"{{ foo | defalt 1 }}", `t.tmpl:1:10: no function is called "defalt" (a variable is written .defalt; the nearest function is default)`},
		{"{{ encryptAES }}", `t.tmpl:1:4: no function is called "encryptAES" (encrypt values with pegbook vault encrypt-string)`},
		{`{{ env "HOME" }}`, `t.tmpl:1:4: no function is called "env" (use lookup_env)`},
		{"{{ .a .b }}", `t.tmpl:1:7: .a is no function and takes no argument (only a function takes arguments; use printf or join to put values together)`},
		{"{{ .a | .b }}", `t.tmpl:1:4: .b is no function and takes no argument (only a function takes arguments; use printf or join to put values together)`},
		{"{{ upper }}", `t.tmpl:1:4: upper takes 1 argument, not 0 (usage: upper TEXT)`},
		{"{{ eq 1 }}", `t.tmpl:1:4: eq takes at least 2 arguments, not 1 (usage: eq A B…)`},
		{"{{ .a[0] }}", `t.tmpl:1:4: bad character U+005B '[' in "{{ .a[0] }}" (write {{ index .a 0 }})`},
		{"{{ $x }}", `t.tmpl:1:4: undefined variable "$x" in "{{ $x }}" ($ names stand for what {{ $name := … }} declares; a variable of the host is written .name)`},
		{`{{ template "nope" }}`, `t.tmpl:1:13: no template is defined as "nope"`},
		{`{{ defined "a..b" }}`, `t.tmpl:1:12: "a..b" is no variable path (write the path as "a.b")`},
		{"{{ 99999999999999999999 }}", `t.tmpl:1:4: integer overflow: "99999999999999999999" in "{{ 99999999999999999999 }}" (templates are Go templates: {{ .name }}, {{ function .name 1 }})`},
		{"{{ 9223372036854775808 }}", `t.tmpl:1:4: the number 9223372036854775808 cannot be held`},
		{"{{ $ = 1 }}", `t.tmpl:1:4: $ cannot be assigned to (choose another name)`},
		{"{{ end }}", `t.tmpl:1:4: unexpected {{end}} in "{{ end }}" (templates are Go templates: {{ .name }}, {{ function .name 1 }})`},
	} {
		_, problems := ParseTemplate("t.tmpl", c.text, [2]string{})
		if strings.HasPrefix(c.text, "{{ foo") {
			require.Len(t, problems, 2) // foo is no function either
			problems = problems[:1]
		}
		require.Len(t, problems, 1, c.text)
		assert.Equal(t, c.want, problems[0].Error(), c.text)
	}
}

func TestEveryProblemOfATextIsReported(t *testing.T) {
	_, problems := ParseTemplate("t.tmpl", "{{ foo }} {{ bar 1 }}\n{{ upper 1 2 }}", [2]string{})
	require.Len(t, problems, 3)
	assert.Equal(t, 2, problems[2].Line)
}

func TestOutputIsBounded(t *testing.T) {
	_, err := render(t, scopeOf(t, "x: '"+strings.Repeat("x", 1<<20)+"'"), `{{ range 100 }}{{ $.x }}{{ end }}`)
	require.ErrorContains(t, err, "the text grows beyond 64 MiB")
}

func TestReferences(t *testing.T) {
	text := `{{ .a.b }}{{ default 1 .c }}{{ if .d }}{{ .e }}{{ end }}{{ range .f }}{{ .not }}{{ $.g }}{{ end }}` +
		`{{ if defined "h.i" }}{{ .h.i.j }}{{ end }}{{ and .k .l }}{{ define "x" }}{{ .not2 }}{{ $.not3 }}{{ end }}{{ (.m).n }}`
	tmpl, problems := ParseTemplate("t", text, [2]string{})
	require.Empty(t, problems)
	var got []string
	for _, r := range tmpl.Refs() {
		at := strings.TrimLeft(text[r.At.Column-1:], `."`)
		assert.True(t, strings.HasPrefix(at, strings.Join(r.Path, ".")), "%v is not at %v", r.Path, r.At)
		text := strings.Join(r.Path, ".")
		if r.Optional {
			text += " optional"
		}
		if r.Conditional {
			text += " conditional"
		}
		got = append(got, text)
	}
	assert.Equal(t, []string{
		"a.b", "c optional", "d", "e conditional", "f", "g conditional", "h.i optional", "h.i.j optional conditional", "k", "l conditional", "m",
	}, got)
}

func TestExpressions(t *testing.T) {
	s := scopeOf(t, "role: meta\nflag: 'false'\nn: 0\nlist: []")
	for _, c := range []struct{ text, want string }{
		{`eq .role "meta"`, "true"},
		{`and (eq .role "meta") (not false)`, "true"},
		{"and\n  (eq .role \"meta\")\n  true", "true"},
		{`true`, "true"},
		{`.flag`, `the condition ".flag" gives the string "false", and must give true or false (compare it, or make it a boolean with bool)`},
		{`.n`, `the condition ".n" gives the integer 0, and must give true or false (compare it, or write not (empty …))`},
		{`.list`, `the condition ".list" gives a list, and must give true or false (compare it, or write not (empty …))`},
		{`.rle`, `variable "rle" is not defined in .rle (did you mean "role"?)`},
	} {
		var problems diag.List
		e := ParseExpr(c.text, diag.Position{File: "p.yml", Line: 3, Column: 9}, &problems)
		require.Empty(t, problems)
		got, err := e.Bool(s)
		if err != nil {
			assert.Equal(t, "p.yml:3:9: "+c.want, err.Error())
			continue
		}
		assert.Equal(t, c.want, map[bool]string{true: "true", false: "false"}[got], c.text)
	}
}

func TestExpressionProblems(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{{ .x }}`, `p.yml:3:9: unexpected "{" in command in "{{ .x }}" (this is an expression already: write it without {{ }})`},
		{`.x }}{{ .y`, `p.yml:3:9: ".x }}{{ .y" is not one expression (write one pipeline without {{ }})`},
		{` `, `p.yml:3:9: the expression is empty (write an expression, such as: eq .role "meta")`},
		{`role == "meta"`, `p.yml:3:9: "role == \"meta\"" is not an expression of pegbook (write eq .role "meta")`},
		{`a == f(b)`, `p.yml:3:9: "a == f(b)" is not an expression of pegbook (functions stand before their arguments: and (eq .a 1) (ne .b "x"))`},
		{`$x := 1`, `p.yml:3:9: "$x := 1" is not one expression (write one pipeline without {{ }})`},
		{`if .x`, `p.yml:3:9: unexpected EOF in "if .x" (every {{ needs its }}, every if, range and with its {{ end }})`},
	} {
		var problems diag.List
		ParseExpr(c.text, diag.Position{File: "p.yml", Line: 3, Column: 9}, &problems)
		require.Len(t, problems, 1, c.text)
		assert.Equal(t, c.want, problems[0].Error(), c.text)
	}
}
