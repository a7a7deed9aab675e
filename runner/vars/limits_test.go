package vars

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/diag"
)

// What would take all memory or time ends with an error at its place.
func TestBounds(t *testing.T) {
	loop := func(n, body string) string { return `{{ range until ` + n + ` }}` + body + `{{ end }}` }
	for _, tt := range []struct{ name, text, want string }{
		{"loops over a list in loops", "{{ $l := until 1000000 }}{{ range $l }}{{ range $l }}{{ end }}{{ end }}", "does too much work"},
		{"a list that doubles", `{{ $l := list 1 }}` + loop("60", `{{ $l = concat $l $l }}`), "the list grows beyond 1000000 elements"},
		{"a text that doubles", `{{ $s := "x" }}` + loop("60", `{{ $s = print $s $s }}`), "the value is larger than 64 MiB"},
		{"a mapping that shares itself", `{{ $d := dict }}` + loop("60", `{{ $d = dict "a" $d "b" $d }}`) + `{{ $d }}`, "the value is larger than 64 MiB"},
		{"merged", `{{ $d := dict }}` + loop("60", `{{ $d = dict "a" $d "b" $d }}`) + `{{ $d = merge $d $d }}`, "the value is larger than 64 MiB"},
		{"nested without end", `{{ $l := list }}` + loop("100000", `{{ $l = list $l }}`) + `{{ toJson $l }}`, "nested more than 1000 deep"},
		{"repeat", `{{ repeat 1000000000 "x" }}`, "1000000000 times the text is too much"},
		{"until", `{{ until 1000000000 }}`, "a list of more than 1000000 numbers"},
		{"untilStep", `{{ untilStep 0 1000000000000 1 }}`, "a list of more than 1000000 numbers"},
		{"seq", `{{ seq 0 1 1000000000 }}`, "a list of more than 1000000 numbers"},
		{"range over a number", `{{ range 1000000000 }}{{ end }}`, "at most 1000000 numbers"},
		{"join", `{{ join (repeat 10000 "x") (until 100000) }}`, "the text would be longer than 64 MiB"},
		{"replace", `{{ replace "" (repeat 10000 "x") (repeat 10000 "y") }}`, "the text would be longer than 64 MiB"},
		{"regexReplaceAll", `{{ regexReplaceAll "" (repeat 10000 "x") (repeat 10000 "y") }}`, "the text would be longer than 64 MiB"},
		{"groups", `{{ regexReplaceAll ".*" (repeat 1000000 "x") (repeat 100 "${0}") }}`, "the text would be longer than 64 MiB"},
		{"regular expression", `{{ regexMatch (repeat 100000 "(a?){900}") (repeat 10000 "a") }}`, "does too much work"},
		{"splitList", `{{ splitList "" (repeat 2000000 "x") }}`, "more than 1000000 parts"},
		{"regexFindAll", `{{ regexFindAll "" (repeat 2000000 "x") -1 }}`, "it fits in more than 1000000 places"},
		{"indent", `{{ indent 1000 (repeat 1000000 "\n") }}`, "the text would be longer than 64 MiB"},
		{"wrapWith", `{{ wrapWith 1 (repeat 10000 "x") (repeat 10000 "a ") }}`, "the text would be longer than 64 MiB"},
		{"printf, width", `{{ printf "%999999d" 1 }}`, "a width in the format is greater than 1000"},
		{"printf, many", `{{ printf (repeat 10000 "%[1]s") (repeat 10000 "x") }}`, "the text would be longer than 64 MiB"},
		{"recursion", `{{ define "x" }}{{ template "x" }}{{ end }}{{ template "x" }}`, `template "x" calls itself more than 100 times`},
		{"output", loop("1000000", `{{ $.long }}`), "the text grows beyond 64 MiB"},
		{"through variables", "{{ .v0 }}", "the value is larger than 64 MiB"},
		{"random", `{{ randAlphaNum 100000000 }}`, "outside 0 to 4096"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tmpl, problems := ParseTemplate("t", tt.text, [2]string{})
			require.Empty(t, problems)
			start := time.Now()
			_, err := tmpl.Render(hugeScope(t))
			require.ErrorContains(t, err, tt.want)
			assert.Positive(t, asError(t, err).Line)
			assert.Less(t, time.Since(start), time.Minute)
		})
	}
}

// hugeScope has variables that are small in the file.
func hugeScope(t *testing.T) *Scope {
	var text strings.Builder
	text.WriteString("long: " + strings.Repeat("x", 1000) + "\n")
	for i := range 50 {
		n := string(rune('0'+(i+1)/10)) + string(rune('0'+(i+1)%10))
		text.WriteString("v" + strings.TrimPrefix(string(rune('0'+i/10))+string(rune('0'+i%10)), "0") + ": ['{{ .v" + strings.TrimPrefix(n, "0") + " }}', '{{ .v" + strings.TrimPrefix(n, "0") + " }}']\n")
	}
	text.WriteString("v50: [end]\n")
	return scopeOf(t, text.String())
}

// The parser itself must not be led too deep.
func TestTextsThatAreTooDeep(t *testing.T) {
	const n = 1_000_000
	for _, tt := range []struct{ name, text, want string }{
		{"blocks", strings.Repeat("{{if 1}}", n), "blocks stand in one another more than 500 deep"},
		{"closed blocks", strings.Repeat("{{ with 1 }}", n) + strings.Repeat("{{ end }}", n), "blocks stand in one another more than 500 deep"},
		{"else if", "{{if 1}}" + strings.Repeat("{{else if 1}}", n) + "{{end}}", "blocks stand in one another more than 500 deep"},
		{"parentheses", "{{" + strings.Repeat("(", 60_000) + "1", "depth exceeded"},
		{"a pipeline", "{{1" + strings.Repeat("|len", n) + "}}", "the action is longer than 64 KiB"},
		{"not closed", "{{" + strings.Repeat("(", n), "the action is longer than 64 KiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, problems := ParseTemplate("t", tt.text, [2]string{})
			require.NotEmpty(t, problems)
			assert.Contains(t, problems[0].Problem, tt.want)
			assert.Less(t, len(problems[0].Problem), 300)
		})
	}
	many := strings.Repeat("{{ if 1 }}{{ else if 2 }}{{ range 1 }}{{ end }}{{ end }}", 2000)
	_, problems := ParseTemplate("t", many, [2]string{})
	assert.Empty(t, problems, "many blocks behind one another are no depth")
}

// What gives something else each time is an error where the same is wanted each time, however it is reached.
func TestSteadyScope(t *testing.T) {
	w := cluster(t, "id: '{{ uuidv4 }}'\nplain: x", map[string]string{"h1": "", "h2": ""})
	w.files["u.tmpl"] = "{{ now }}"
	s := w.hosts["h1"].With(PlayVars, valuesOf(t, "stamp: \"{{ now }}\"\nname: 'f-{{ .stamp }}'\nlist: [1, '{{ .name }}']"))
	for _, tt := range []struct{ text, want string }{
		{"{{ .plain }} {{ len .list }}", "vars.yml:1:12: now gives something else each time"},
		{"a\n {{ now }}", "t:2:5: now gives something else each time, so the task would change its host at each run (take the value once with set_fact, or give the task volatile: true)"},
		{"{{ .name }}", "vars.yml:1:12: now gives something else each time"},
		{"{{ .hostvars.h2.id }}", "uuidv4 gives something else each time"},
		{`{{ hostvar "h2" "id" }}`, "uuidv4 gives something else each time"},
		{`{{ lookup_template "u.tmpl" }}`, "u.tmpl:1:4: now gives something else each time"},
		{`{{ define "x" }}{{ randInt 0 5 }}{{ end }}{{ template "x" }}`, "randInt gives something else each time"},
		{`{{ if false }}{{ now }}{{ end }}{{ .plain }}`, ""},
		{`{{ date "2006" 0 }}{{ derivePassword 1 "pin" "a" "b" "c" }}`, ""},
	} {
		tmpl, problems := ParseTemplate("t", tt.text, [2]string{})
		require.Empty(t, problems)
		_, err := tmpl.Render(s)
		require.NoError(t, err, tt.text)
		for range 2 { // the second time from what the scopes remember
			_, err = tmpl.Render(s.Steady())
			if tt.want == "" {
				require.NoError(t, err, tt.text)
				continue
			}
			require.ErrorContains(t, err, tt.want)
			require.ErrorIs(t, err, ErrUnsteady)
		}
	}
	var problems diag.List
	e := ParseExpr(".stamp", diag.Position{File: "e", Line: 1, Column: 1}, &problems)
	first, err := e.Eval(s)
	require.NoError(t, err)
	again, err := e.Eval(s)
	require.NoError(t, err)
	assert.Equal(t, first, again, "one scope, one value")
}
