package vars

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/diag"
)

// benchVars is about what a host of a real inventory has.
func benchScope(b *testing.B) *Scope {
	var text strings.Builder
	for i := range 60 {
		fmt.Fprintf(&text, "var_%d: value %d\n", i, i)
	}
	text.WriteString("port: 34801\nrole: replica\nmetas: [10.0.0.1:34601, 10.0.0.2:34601, 10.0.0.3:34601]\ndirs: [{name: ssd1, path: /d1}, {name: ssd2, path: /d2}]\nurl: 'http://{{ .role }}:{{ .port }}'\n")
	return NewScope(nil).With(HostInventory, valuesOf(b, text.String())).
		With(PlayVars, valuesOf(b, "cluster: {name: demo, id: 7}")).
		With(TaskVars, valuesOf(b, "x: 1")).
		With(SetFact, ValuesOf(map[string]Data{"result": Of(map[string]any{"rc": 0, "stdout": "ok", "changed": true})})).
		With(Magic, ValuesOf(map[string]Data{"inventory_hostname": Of("replica-1")}))
}

func BenchmarkScopeWith(b *testing.B) {
	s, vs := benchScope(b), valuesOf(b, "item: 1")
	b.ReportAllocs()
	for b.Loop() {
		s.With(LoopVars, vs)
	}
}

func BenchmarkScopeLookup(b *testing.B) {
	s := benchScope(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, _ := s.Lookup("var_33"); !ok {
			b.Fatal("not there")
		}
	}
}

// A new scope a task: the variable's own template is resolved once in it.
func BenchmarkTemplatedVariableInNewScope(b *testing.B) {
	s, vs := benchScope(b), valuesOf(b, "item: 1")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.With(LoopVars, vs).Lookup("url"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExpression(b *testing.B) {
	s := benchScope(b)
	for _, text := range []string{`true`, `eq .role "meta"`, `and (eq .role "replica") (gt .port 1000) (not (contains "err" .result.stdout))`} {
		var problems diag.List
		e := ParseExpr(text, diag.Position{}, &problems)
		require.Empty(b, problems)
		b.Run(text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Bool(s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchTemplate() string {
	block := `[{{ .cluster.name }}.{{ .role }}]
port = {{ .port }}
host = {{ .inventory_hostname }}
meta_servers = {{ join "," .metas }}
{{ range .dirs }}data_dir = {{ .name }}:{{ .path }}
{{ end }}{{ if eq .role "replica" }}threads = {{ add .port 1 }}
{{ else }}threads = 1
{{ end }}url = {{ .url }}
# a comment line of the kind that configuration files are full of, without any action
`
	return strings.Repeat(block, 1700/len(block)+1)
}

func BenchmarkTemplate1700Bytes(b *testing.B) {
	s := benchScope(b)
	text := benchTemplate()
	tmpl, problems := ParseTemplate("t", text, [2]string{})
	require.Empty(b, problems)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := tmpl.Render(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseTemplate1700Bytes(b *testing.B) {
	text := benchTemplate()
	for b.Loop() {
		if _, problems := ParseTemplate("t", text, [2]string{}); problems != nil {
			b.Fatal(problems)
		}
	}
}

// Going over 10,000 hosts resolves one variable of each and copies nothing.
func BenchmarkRangeOver10000Hosts(b *testing.B) {
	w := &inMemory{hosts: map[string]*Scope{}}
	common := valuesOf(b, "port: 34801\naddr: '{{ .inventory_hostname }}:{{ .port }}'")
	for i := range 10_000 {
		name := fmt.Sprintf("h%05d", i)
		w.hosts[name] = NewScope(w).With(HostInventory, common).With(Magic, ValuesOf(map[string]Data{"inventory_hostname": Of(name)}))
	}
	tmpl, problems := ParseTemplate("t", `{{ range .hostvars }}{{ .addr }},{{ end }}`, [2]string{})
	require.Empty(b, problems)
	for b.Loop() {
		if _, err := tmpl.Render(NewScope(w)); err != nil {
			b.Fatal(err)
		}
	}
}
