package vars

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/diag"
)

// placeOf is where the failing field stands in a text: the one that is not there is called .nope.
func placeOf(t *testing.T, file, text string) diag.Position {
	t.Helper()
	i := strings.Index(text, ".nope")
	require.GreaterOrEqual(t, i, 0)
	line := strings.Count(text[:i], "\n") + 1
	return diag.Position{File: file, Line: line, Column: 1 + utf8.RuneCountInString(text[strings.LastIndexByte(text[:i], '\n')+1:i])}
}

const placeVars = `m: {k: v, list: [1, 2], "ü": 1}
n: [a, b]
`

// The place of an error is that of the failing field, however the scalar is written.
func TestPlaceInYAML(t *testing.T) {
	for name, text := range map[string]string{
		"plain":                         "x: a {{ .nope }} b",
		"plain over lines":              "x: a b\n  c {{ .m.k }} d\n  e {{ .nope }} f",
		"plain in a list":               "x:\n  - one\n  - two {{ .nope }}",
		"single quotes":                 "x: 'it''s {{ .m.k }} it''s {{ .nope }}'",
		"single quotes over lines":      "x: 'a\n\n   it''s b\n   {{ .nope }} c'",
		"double quotes":                 `x: "say \"{{ .m.k }}\" and \"{{ .nope }}\""`,
		"double quotes with a text":     `x: "{{ printf \"%s\" .nope }}"`,
		"escapes for white space":       `x: "a\tb\n\n{{ .m.k }}\r\n\t{{ .nope }}"`,
		"escapes by number":             `x: "\x41\u00e9\U0001F600 \e\0 {{ .nope }}"`,
		"escaped names of white space":  `x: "a\_b\N\L\P {{ .nope }}"`,
		"double quotes over lines":      "x: \"a b\n  c \\\n  d\n\n  {{ .m.k }}\n  {{ .nope }}\"",
		"literal":                       "x: |\n  a\n   b {{ .m.k }}\n\n  {{ .nope }} c\n",
		"literal with a comment":        "x: |-   # comment\n  a\n  {{ .nope }}\n",
		"literal with an indentation":   "x: |2+\n    a {{ .m.k }}\n   {{ .nope }} c\n",
		"literal with tabs":             "x: |\n  a\n  \t{{ .nope }} c\n",
		"folded":                        "x: >\n  a {{ .m.k }}\n  b\n\n    c\n  d {{ .nope }} e\n",
		"folded and stripped":           "x: >-\n  {{ .m.k }}\n  {{ .nope }}\n",
		"in a flow mapping":             `x: {a: [1, "é {{ .nope }}"], b: 2}`,
		"behind a tag and an anchor":    "x: !!str &a \"b {{ .nope }}\"",
		"behind an anchor, as a block":  "x: &a |\n  b\n  {{ .nope }}\n",
		"letters of several bytes":      "x: \"äöü 日本 {{ .m.k }} 😀 {{ .nope }}\"",
		"behind a mark of other braces": "x: \"}} { {{ .nope }}\"",
		"several fields":                "x: \"{{ .m.k }}{{ .m.nope }}\"",
		"argument":                      "x: \"{{ upper (printf \\\"%s\\\" .nope) }}\"",
		"pipeline":                      "x: \"{{ .nope | upper }}\"",
		"action over lines":             "x: |\n  {{ printf \"%s %s\"\n       .m.k\n       .nope }}\n",
		"trimmed":                       "x: |\n  a\n  {{- .m.k -}}\n    b\n  {{- .nope -}}\n",
		"in if":                         "x: |\n  {{ if .m.k }}\n  {{ .nope }}{{ end }}\n",
		"condition":                     "x: |\n  {{ if false }}{{ else if .nope }}{{ end }}\n",
		"in range":                      "x: |\n  {{ range .n }}\n  {{ $.nope }}{{ end }}\n",
		"variable":                      "x: |\n  {{ $v := .m }}\n  {{ $v.nope }}\n",
		"dot of with":                   "x: |\n  {{ with .m }}{{ .k }} {{ .nope }}{{ end }}\n",
		"a key, an index":               "x: \"{{ (index .m.list 0) }} {{ (index .m \\\"k\\\").nope }}\"",
		"comment before":                "x: |\n  {{/* a {{ b }} */}}\n  {{ .nope }}\n",
		"Windows line ends":             "x: |\r\n  a {{ .m.k }}\r\n  {{ .nope }}\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f.yml")
			text := "# first\n" + placeVars + text + "\n"
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			var problems diag.List
			vs, err := ReadFile(path, nil, &problems)
			require.NoError(t, err)
			require.Empty(t, problems)
			x, ok := vs.Get("x")
			require.True(t, ok)
			_, err = x.Resolve(NewScope(nil).With(PlayVars, vs))
			require.Error(t, err)
			assert.Equal(t, placeOf(t, path, text).String(), asError(t, err).Position.String(), "%s\n%v", text, err)
			var refs []string
			for _, r := range x.Refs() {
				if r.Path[0] == "nope" {
					refs = append(refs, r.At.String())
				}
			}
			if len(refs) > 0 {
				assert.Equal(t, placeOf(t, path, text).String(), refs[0], "the reference")
			}
		})
	}
}

func TestPlaceInConditions(t *testing.T) {
	for name, text := range map[string]string{
		"plain":         `x: eq .m.k .nope`,
		"single quotes": `x: 'or (eq .m.k "it''s") .nope | not'`,
		"double quotes": `x: "or (ne .m.k \"v\") .nope"`,
		"folded":        "x: >-\n  and\n    (eq .m.k \"v\")\n    .nope\n",
		"literal":       "x: |\n  and (eq .m.k \"v\")\n    .nope\n",
		"over lines":    "x: and (eq .m.k \"v\")\n  .nope",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f.yml")
			text := placeVars + text + "\n"
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			root := nodeOf(t, text)
			var problems diag.List
			e := ExprFromNode(root.Content[len(root.Content)-1], path, &problems)
			require.Empty(t, problems)
			_, err := e.Eval(scopeOf(t, placeVars))
			require.Error(t, err)
			assert.Equal(t, placeOf(t, path, text).String(), asError(t, err).Position.String(), "%s\n%v", text, err)
		})
	}
}

func TestPlaceInTemplateFiles(t *testing.T) {
	for name, text := range map[string]string{
		"first line":            "{{ .nope }}",
		"later line":            "a\nb\n  {{ .m.k }} ü {{ .nope }}\n",
		"field":                 "{{ .m.k }}\n{{ .m.nope }}",
		"range":                 "{{ range $i, $e := .n -}}\n{{ $i }} {{ $e }}\n  {{- $.m.nope }}\n{{ end }}",
		"element of a range":    "{{ range .n }}\n{{ .nope }}{{ end }}",
		"else of a range":       "{{ range .m.none | default list }}\n{{ else }}\n {{ .nope }}{{ end }}",
		"with":                  "{{ with .m }}{{ .k }}\n\t{{ .nope }}{{ end }}",
		"else with":             "{{ with false }}x{{ else with .m }}\n{{ .nope }}{{ end }}",
		"define":                "{{ define \"x\" }}\n  {{ .k }} {{ .nope }}\n{{ end }}\n{{ template \"x\" .m }}",
		"define behind its use": "{{ template \"x\" .m }}\n{{ define \"x\" }}\n  {{ .nope }}{{ end }}",
		"template in template":  "{{ define \"a\" }}{{ template \"b\" . }}{{ end }}{{ define \"b\" }}\n {{ .nope }}{{ end }}\n{{ template \"a\" .m }}",
		"block":                 "{{ block \"x\" .m }}\n  {{ .nope }}{{ end }}",
		"argument of template":  "{{ define \"x\" }}{{ end }}\n{{ template \"x\" .m.nope }}",
		"variable":              "{{ $v := .m }}{{ $w := $v }}\n{{ $w.nope }}",
		"variable set":          "{{ $v := 1 }}\n{{ $v = .m.nope }}",
		"comment":               "{{/* one\ntwo {{ .x }} */ -}}\n  {{ .nope }}",
		"trimmed":               "a  {{- /* x */ -}}  b\n  {{- .m.k -}}  \n\n {{- .nope }}",
		"raw string":            "{{ printf `a\nb %s` .m.k }}\n{{ .nope }}",
		"text in the action":    "{{ printf \"}} %s\" .nope }}",
		"Windows line ends":     "a\r\n{{ .m.k }}\r\n {{ .nope }}\r\n",
		"break and continue":    "{{ range .n }}{{ if eq . \"a\" }}{{ continue }}{{ end }}\n{{ $.m.nope }}{{ break }}{{ end }}",
	} {
		t.Run(name, func(t *testing.T) {
			check := func(text string, delims [2]string) {
				tmpl, problems := ParseTemplate("t.tmpl", text, delims)
				require.Empty(t, problems, text)
				_, err := tmpl.Render(scopeOf(t, placeVars))
				require.Error(t, err, text)
				assert.Equal(t, placeOf(t, "t.tmpl", text).String(), asError(t, err).Position.String(), "%s\n%v", text, err)
			}
			check(text, [2]string{})
			check(strings.NewReplacer("{{", "<%=", "}}", "%>").Replace(text), [2]string{"<%=", "%>"})
		})
	}
}

// The same template, whose every other part works, gives what text/template gives.
func TestTemplateFilesAgreeWithGo(t *testing.T) {
	for _, tt := range [][2]string{
		{"{{ define \"x\" }}<{{ .k }}>{{ end }}{{ template \"x\" .m }}{{ with .m }}{{ template \"x\" . }}{{ end }}", "<v><v>"},
		{"{{ range $i, $e := .n }}{{ if $i }}, {{ end }}{{ $e }}{{ end }}", "a, b"},
		{"{{ range .none | default list }}x{{ else }}empty{{ end }}", "empty"},
		{"a  {{- 1 -}}  b {{- /* c */ -}} d", "a1bd"},
		{"{{ block \"b\" .n }}{{ len . }}{{ end }}", "2"},
		{"{{ with $x := .m.k }}{{ $x }}{{ else }}no{{ end }}", "v"},
		{"{{ $v := 1 }}{{ range .n }}{{ $v = add $v 1 }}{{ end }}{{ $v }}", "3"},
		{"{{ range 3 }}{{ . }}{{ if eq . 1 }}{{ break }}{{ end }}{{ end }}", "01"},
	} {
		tmpl, problems := ParseTemplate("t.tmpl", tt[0], [2]string{})
		require.Empty(t, problems)
		got, err := tmpl.Render(scopeOf(t, placeVars))
		require.NoError(t, err)
		assert.Equal(t, tt[1], got, tt[0])
	}
}
