package vars

import (
	"errors"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
)

// placed fails when an error or problem of a text does not stand inside it.
func checkPlaces(t *testing.T, text string, problems diag.List, err error) {
	lines := strings.Split(text, "\n")
	check := func(at diag.Position, what string) {
		if at.File == "fuzz" && (at.Line < 1 || at.Line > len(lines) || at.Column < 1 || at.Column > len(lines[at.Line-1])+1) {
			t.Fatalf("%s is at %v, outside %q", what, at, text)
		}
	}
	for _, p := range problems {
		if p.Problem == "" || strings.Contains(p.Problem, "\n") {
			t.Fatalf("a problem must be one line: %q", p.Problem)
		}
		check(p.Position, p.Problem)
	}
	var e *Error
	if err != nil && !errors.As(err, &e) {
		t.Fatalf("not an *Error: %v", err)
	}
	if err != nil {
		check(e.Position, e.Problem)
	}
}

func fuzzScope(t testing.TB) *Scope {
	w := cluster(t, "self: '{{ .inventory_hostname }}'", map[string]string{"h1": "port: 1", "h2": "port: 2"})
	return w.hosts["h1"].With(PlayVars, valuesOf(t, functionVars)).With(SetFact, ValuesOf(map[string]Data{"u": Unknown(nil)}))
}

// Rendering must not panic, hang, or answer differently the second time.
func FuzzTemplate(f *testing.F) {
	for _, text := range commonTemplates {
		f.Add(text)
	}
	for _, c := range functionCases {
		f.Add("x{{ " + c[0] + " }}")
	}
	for _, text := range []string{"{{ now }}", `{{ $l := list 1 }}{{ range until 60 }}{{ $l = concat $l $l }}{{ end }}`, `{{ define "x" }}{{ template "x" . }}{{ end }}{{ template "x" }}`,
		`{{ repeat 1000000000 "x" }}`, `{{ until 1000000000 }}`, `{{ printf "%999999d" 1 }}`, `{{ regexReplaceAll "" (repeat 9999 "x") (repeat 9999 "y") }}`} {
		f.Add(text)
	}
	s := fuzzScope(f).Steady() // in which all is the same the second time
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1000 || strings.Count(text, "range") > 2 || strings.Contains(text, "wrap") {
			t.Skip() // loops in loops and wrapping at width 1 take their time honestly
		}
		tmpl, problems := ParseTemplate("fuzz", text, [2]string{})
		checkPlaces(t, text, problems, nil)
		if tmpl == nil {
			if len(problems) == 0 {
				t.Fatal("neither a template nor a problem")
			}
			return
		}
		for _, r := range tmpl.Refs() {
			if len(r.Path) == 0 {
				t.Fatal("a reference to nothing")
			}
		}
		got, err := tmpl.Render(s)
		checkPlaces(t, text, nil, err)
		again, err2 := tmpl.Render(s)
		if got != again || (err == nil) != (err2 == nil) {
			t.Fatalf("%q then %q", got, again)
		}
	})
}

func FuzzExpression(f *testing.F) {
	for _, c := range functionCases {
		f.Add(c[0])
	}
	s := fuzzScope(f)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 500 || strings.Contains(text, "wrap") {
			t.Skip()
		}
		var problems diag.List
		e := ParseExpr(text, diag.Position{File: "fuzz", Line: 1, Column: 1}, &problems)
		checkPlaces(t, text, problems, nil)
		if problems != nil {
			return
		}
		d, err := e.Eval(s)
		checkPlaces(t, text, nil, err)
		if err == nil && !d.IsUnknown() && !d.IsOmit() {
			if _, err := FromJSON(d.JSON()); err != nil {
				t.Fatalf("%s is no JSON: %v", d.JSON(), err)
			}
		}
	})
}

func FuzzExtra(f *testing.F) {
	for _, arg := range []string{"a=1", `a='b c' d="e"`, `{"a": [1]}`, "a: 1", "x={{ .y }}", "@", `a=\`, "a={{"} {
		f.Add(arg)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		if strings.HasPrefix(arg, "@") {
			t.Skip() // would read files of this machine
		}
		vs, problems := ParseExtra(arg, nil)
		if vs == nil {
			t.Fatal("no values")
		}
		for _, name := range vs.Names() {
			if !problems.Failed() && !IsName(name) {
				t.Fatalf("%q is no name", name)
			}
		}
	})
}

func FuzzYAML(f *testing.F) {
	for _, text := range []string{"a: 1", "a: &x [1, *x]", "a: {<<: [{b: 1}]}", "- yes\n- 0644\n- |\n  {{ .five }}", "a: !unsafe '{{'", "a: {{ .x }}", "? {a: b}\n: c", "a: !!binary aGk="} {
		f.Add(text)
	}
	s := fuzzScope(f)
	f.Fuzz(func(t *testing.T, text string) {
		var doc yaml.Node
		if len(text) > 2000 || yaml.Unmarshal([]byte(text), &doc) != nil {
			t.Skip()
		}
		var problems diag.List
		v := FromNode(&doc, "", &problems)
		if problems != nil {
			return
		}
		d, err := v.Resolve(s)
		checkPlaces(t, text, nil, err)
		if static, ok := v.Static(); ok && (err != nil || string(static.JSON()) != string(d.JSON())) {
			t.Fatal("a static value resolves to something else")
		}
	})
}
