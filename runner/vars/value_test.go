package vars

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/diag"
)

// Plain scalars have the types that Ansible gives them.
func TestPlainScalars(t *testing.T) {
	for text, want := range map[string]string{
		"yes": "true", "No": "false", "ON": "true", "off": "false", "true": "true", "FALSE": "false", "y": `"y"`, "n": `"n"`, "yEs": `"yEs"`,
		"~": "null", "null": "null", "Null": "null", "": "null", "none": `"none"`,
		"0": "0", "5": "5", "-5": "-5", "+5": "5", "1_000": "1000", "0644": "420", "0x1F": "31", "0b101": "5", "08": `"08"`, "0o17": `"0o17"`, "-0": "0",
		"9223372036854775807": "9223372036854775807",
		"1.5":                 "1.5", "1.": "1.0", ".5": "0.5", "-1.5": "-1.5", "2.0": "2.0", "1.5e+3": "1500.0", "1e3": `"1e3"`, "12e45678": `"12e45678"`, ".": `"."`,
		"1.2.3": `"1.2.3"`, "10.0.0.1": `"10.0.0.1"`, "22:30": `"22:30"`, "127.0.0.1:34601": `"127.0.0.1:34601"`, "2024-01-02": `"2024-01-02"`, "-": `"-"`, "+": `"+"`,
		".inf": `"+Inf"`, "-.inf": `"-Inf"`, ".nan": `"NaN"`, "_1": `"_1"`, "=": `"="`,
	} {
		v, err := plainScalar(text)
		require.NoError(t, err)
		assert.Equal(t, want, string(Data{v}.JSON()), "%q", text)
	}
	_, err := plainScalar("18446744073709551615")
	assert.EqualError(t, err, "the number 18446744073709551615 does not fit into 64 bits")
}

func TestValues(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"quoted scalars are text", `{a: "yes", b: '5', c: "null"}`, `{"a":"yes","b":"5","c":"null"}`},
		{"blocks are text", "a: |\n  5\nb: >-\n  x\n  y\n", `{"a":"5\n","b":"x y"}`},
		{"keys are text", `{80: a, yes: b, 1.5: c}`, `{"1.5":"c","80":"a","yes":"b"}`},
		{"anchors and aliases", "a: &x {k: [1]}\nb: *x\nc: [*x]", `{"a":{"k":[1]},"b":{"k":[1]},"c":[{"k":[1]}]}`},
		{"merge keys", "base: &b {k: 1, l: 2}\nother: &o {l: 3, m: 4}\nc: {<<: *b, k: 9}\nd:\n  <<: [*b, *o]\n", `{"base":{"k":1,"l":2},"c":{"k":9,"l":2},"d":{"k":1,"l":2,"m":4},"other":{"l":3,"m":4}}`},
		{"a quoted << is a key", `{"<<": 1}`, `{"<<":1}`},
		{"tags", `{a: !!str 5, b: !!int "7", c: !!float 1, d: !!bool "yes", e: !!binary aGk=, f: !!null ""}`, `{"a":"5","b":7,"c":1.0,"d":true,"e":"hi","f":null}`},
		{"unsafe is not expanded", `{a: !unsafe "{{ .x }}", b: !unsafe [ "{{ .y }}", 5 ], c: !unsafe {d: "{{ .z }}"}}`, `{"a":"{{ .x }}","b":["{{ .y }}",5],"c":{"d":"{{ .z }}"}}`},
		{"templates in lists and mappings", "n: 3\nv: ['{{ .n }}', {k: 'a{{ .n }}'}]", `{"n":3,"v":[3,{"k":"a3"}]}`},
		{"omitted entries disappear", "v: {a: '{{ .omit }}', b: 1, c: ['{{ default .omit .q }}', 2]}", `{"v":{"b":1,"c":[2]}}`},
	} {
		var problems diag.List
		s := NewScope(nil).With(PlayVars, InventoryValues(nodeOf(t, c.text), "vars.yml", &diag.List{}))
		v := FromNode(nodeOf(t, c.text), "vars.yml", &problems)
		require.Empty(t, problems, c.name)
		assert.Equal(t, c.want, show(v.Resolve(s)), c.name)
	}
}

func TestValueProblems(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"a: 1\nb: 2\na: 3", `f.yml:3:1: "a" is given twice (it is also in line 1)`},
		{"a: {{ .x }}", `f.yml:1:4: a value that begins with {{ must stand in quotes (write key: "{{ … }}")`},
		{"a: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  00", `f.yml:3: the encrypted text is damaged: it has no salt, HMAC and ciphertext`},
		{"a: !custom 1", `f.yml:1:4: the tag !custom means nothing here (take the tag away)`},
		{"a: !custom [1]", `f.yml:1:4: the tag !custom means nothing here (take the tag away)`},
		{"a: !!int x", `f.yml:1:4: "x" is not of type integer`},
		{"a: !!binary '?'", `f.yml:1:4: the value is no base64: illegal base64 data at input byte 0`},
		{"? [a]\n: 1", `f.yml:1:3: the key of a mapping must be a text (a template must stand in quotes: "{{ … }}")`},
		{"a: &x [*x]", `f.yml:1:8: the alias *x stands inside its own anchor`},
		{"a: {<<: 5}", `f.yml:1:9: << merges mappings only (write <<: *anchor or <<: [*a, *b])`},
		{"a: 99999999999999999999", `f.yml:1:4: the number 99999999999999999999 does not fit into 64 bits (write it in quotes to keep it as text)`},
		{"my-var: 1", `f.yml:1:1: "my-var" cannot be used as a variable's name (use letters, digits and _, and no digit first)`},
		{"[1]", `f.yml:1:1: variables must be a mapping, not a list (write name: value lines)`},
		{"text", `f.yml:1:1: variables must be a mapping, not a string (write name: value lines)`},
	} {
		var problems diag.List
		ValuesFromNode(nodeOf(t, c.text), "f.yml", &problems)
		require.Len(t, problems, 1, c.text)
		assert.Equal(t, c.want, problems[0].Error(), c.text)
	}
}

func TestInventoryNamesAreWarnedAbout(t *testing.T) {
	var problems diag.List
	vs := InventoryValues(nodeOf(t, "my-var: 1"), "f.yml", &problems)
	require.Len(t, problems, 1)
	assert.False(t, problems.Failed())
	assert.Equal(t, []string{"my-var"}, vs.Names())
}

// Aliases of aliases would fill the memory when they are written out.
func TestAliasBombIsRefused(t *testing.T) {
	text := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 9; i++ {
		prev, this := string(rune('0'+i-1)), string(rune('0'+i))
		text += "a" + this + ": &a" + this + " [" + strings.TrimSuffix(strings.Repeat("*a"+prev+",", 10), ",") + "]\n"
	}
	var problems diag.List
	FromNode(nodeOf(t, text), "f.yml", &problems)
	require.NotEmpty(t, problems)
	assert.Contains(t, problems[0].Error(), "when its aliases are written out")
}

// The column of a mistake is that of the very name, however the scalar is quoted and folded.
func TestPositionsInFiles(t *testing.T) {
	const file = `plain: text {{ .bad1 }}
single: 'it''s {{ .bad2 }}'
double: "tab\t\"q\" {{ .bad3 }} é"
literal: |
  first
    second {{ .bad4 }}
indented:
  deep:
    folded: >-
      one
      two

      three {{ .bad5 }}
wrapped: one
  two {{ .bad6 }}
"key": &anchor "x
  y {{ .bad7.z }}"
list:
- {a: "{{ .bad8 }}"}
- !!str "{{ .bad9 }}"
header: |2-  # comment {{ .bad10 }}
  x {{ .bad10 }}
`
	path := filepath.Join(t.TempDir(), "vars.yml")
	require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
	var problems diag.List
	vs, err := ReadFile(path, nil, &problems)
	require.NoError(t, err)
	require.Empty(t, problems)
	lines := strings.Split(file, "\n")
	seen := 0
	for _, name := range vs.Names() {
		v, _ := vs.Get(name)
		for _, r := range v.Refs() {
			seen++
			line := []rune(lines[r.At.Line-1])
			assert.True(t, strings.HasPrefix(string(line[r.At.Column-1:]), "."+r.Path[0]), "%s: %v is not at %v", name, r.Path, r.At)
			assert.NotContains(t, string(line), "comment")
		}
		if name != "list" && name != "indented" {
			_, err := v.Resolve(NewScope(nil))
			assert.Equal(t, v.Refs()[0].At, asError(t, err).Position, name)
		}
	}
	assert.Equal(t, 10, seen)
}

// Without the file, the start of a plain or quoted scalar on one line is enough.
func TestPositionsWithoutFile(t *testing.T) {
	for text, want := range map[string]string{
		"a: x {{ .bad }}": "gone.yml:1:9", "a: 'x {{ .bad }}'": "gone.yml:1:10", "a: |\n  x\n  y {{ .bad }}": "gone.yml:3",
	} {
		var problems diag.List
		v := FromNode(nodeOf(t, text), "gone.yml", &problems)
		_, err := v.Resolve(NewScope(nil))
		assert.Equal(t, want, asError(t, err).Position.String(), text)
	}
}

// A scalar that is not where it was when it was read gets a guessed place, not a wrong line.
func TestPositionsInChangedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vars.yml")
	require.NoError(t, os.WriteFile(path, []byte("other: text\n"), 0o600))
	var problems diag.List
	v := FromNode(nodeOf(t, "a: {k: 'x {{ .bad }}'}"), path, &problems)
	_, err := v.Resolve(NewScope(nil))
	assert.Equal(t, diag.Position{File: path, Line: 1, Column: 14}, asError(t, err).Position)
}

func TestExprFromNode(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`false`, "false"}, {`yes`, "true"}, {`eq 1 1`, "true"}, {`"eq 1 2"`, "false"}, {"|\n  eq 1\n    1\n", "true"},
		{`5`, `error: e.yml:1:1: the condition "5" gives the integer 5, and must give true or false (compare it, or write not (empty …))`},
		{`"true"`, "true"},
	} {
		var problems diag.List
		e := ExprFromNode(nodeOf(t, c.text), "e.yml", &problems)
		require.Empty(t, problems, c.text)
		b, err := e.Bool(NewScope(nil))
		assert.Equal(t, c.want, show(Of(b), err), c.text)
	}
	for text, want := range map[string]string{
		"{{ .x }}": `e.yml:1:1: a condition must be an expression (an expression is written without {{ }})`,
		"[1]":      `e.yml:1:1: a condition must be an expression (write an expression, such as: eq .role "meta")`,
	} {
		var problems diag.List
		ExprFromNode(nodeOf(t, text), "e.yml", &problems)
		require.Len(t, problems, 1)
		assert.Equal(t, want, problems[0].Error())
	}
	var problems diag.List
	assert.True(t, ExprFromNode(nodeOf(t, "null"), "e.yml", &problems).IsZero())
	assert.True(t, ExprFromNode(nil, "e.yml", &problems).IsZero())
}

func TestZeroValues(t *testing.T) {
	var v Value
	assert.True(t, v.IsZero())
	d, ok := v.Static()
	assert.True(t, ok)
	assert.Equal(t, "null", d.Kind())
	assert.Equal(t, "null", show(v.Resolve(NewScope(nil))))
	assert.Empty(t, v.Raw())
	assert.Nil(t, v.Items())
	assert.Nil(t, v.Fields())
	assert.Nil(t, v.Refs())
	assert.Equal(t, diag.Position{}, v.Position())
	var vs *Values
	assert.Zero(t, vs.Len())
	assert.Nil(t, vs.Names())
	assert.Equal(t, 1, vs.With("a", Literal(Of(1))).Len())
	assert.Equal(t, 0, vs.Over(nil).Len())
}

func TestData(t *testing.T) {
	type named struct {
		A int      `json:"a"`
		B []string `json:"b,omitempty"`
	}
	type status string
	for _, c := range []struct {
		v    any
		want string
		kind string
	}{
		{nil, "null", "null"}, {true, "true", "boolean"}, {7, "7", "integer"}, {uint8(7), "7", "integer"}, {uint64(math.MaxUint64), "1.8446744073709552e+19", "float"},
		{1.0, "1.0", "float"}, {float32(0.5), "0.5", "float"}, {1e21, "1e+21", "float"}, {0.00001, "1e-05", "float"}, {"a<b>&\"\n", `"a<b>&\"\n"`, "string"}, {status("ok"), `"ok"`, "string"},
		{[]string{"a"}, `["a"]`, "list"}, {[]any{1, []any{}}, `[1,[]]`, "list"}, {map[string]any{"b": 1, "a": nil}, `{"a":null,"b":1}`, "mapping"},
		{named{A: 1}, `{"a":1}`, "mapping"}, {&named{A: 1, B: []string{"x"}}, `{"a":1,"b":["x"]}`, "mapping"}, {json.RawMessage(`{"x": 1.0}`), `{"x":1.0}`, "mapping"},
		{map[string]string{"a": "b"}, `{"a":"b"}`, "mapping"}, {[]Data{Of(1)}, "[1]", "list"}, {map[string]Data{"a": Of(2)}, `{"a":2}`, "mapping"}, {Of("x"), `"x"`, "string"},
	} {
		d := Of(c.v)
		assert.Equal(t, c.want, string(d.JSON()))
		assert.Equal(t, c.kind, d.Kind())
		again, err := FromJSON(d.JSON())
		require.NoError(t, err)
		assert.Equal(t, d, again, "a value must survive JSON")
	}
	assert.Panics(t, func() { Of(func() {}) })
	_, err := FromJSON([]byte("1 2"))
	assert.Error(t, err)
	big, err := FromJSON([]byte("99999999999999999999"))
	require.NoError(t, err)
	assert.Equal(t, "float", big.Kind())
}

func TestDataIsACopy(t *testing.T) {
	m := map[string]any{"l": []any{1}}
	d := Of(m)
	m["l"].([]any)[0] = 2
	m["x"] = 1
	assert.Equal(t, `{"l":[1]}`, string(d.JSON()))
}

func TestDataReaders(t *testing.T) {
	d := Of(map[string]any{"n": 5, "t": "7", "f": 2.0, "h": 2.5, "l": []any{1}, "b": true, "z": nil})
	get := func(k string) Data { v, _ := d.Get(k); return v }
	for k, want := range map[string]string{"n": "5", "t": "7", "f": "2"} {
		i, err := get(k).Int()
		assert.Equal(t, want, show(Of(i), err))
	}
	_, err := get("h").Int()
	assert.EqualError(t, err, "the float 2.5 is no whole number")
	_, err = get("n").Bool()
	assert.EqualError(t, err, "the integer 5 is no boolean")
	b, err := get("b").Bool()
	assert.True(t, b && err == nil)
	l, ok := get("l").List()
	assert.True(t, ok)
	assert.Equal(t, []Data{Of(1)}, l)
	_, ok = d.List()
	assert.False(t, ok)
	_, ok = get("n").Get("x")
	assert.False(t, ok)
	assert.Equal(t, []string{"b", "f", "h", "l", "n", "t", "z"}, d.Keys())
	assert.Equal(t, "", get("z").Text())
	assert.Equal(t, "2.0", get("f").Text())
	assert.Equal(t, "[1]", get("l").Text())
}

func TestUnknown(t *testing.T) {
	r := Unknown(map[string]Data{"changed": Of(true), "failed": Of(false)})
	assert.Equal(t, "unknown", r.Kind())
	assert.True(t, Of([]Data{Of(1), r}).IsUnknown())
	assert.Equal(t, `{"changed":true,"failed":false}`, string(r.JSON()))
	assert.Equal(t, `"unknown in check mode"`, string(Unknown(nil).JSON()))
	f, ok := r.Get("stdout")
	assert.True(t, ok && f.IsUnknown())
	s := NewScope(nil).With(SetFact, ValuesOf(map[string]Data{"r": r, "u": Unknown(nil), "l": Of([]Data{r})}))
	for _, c := range [][2]string{
		{`.r.changed`, "true"}, {`failed .r`, "false"}, {`changed .r`, "true"}, {`.r`, `{"changed":true,"failed":false}`}, {`index .l 0 "failed"`, "false"},
		{`len (append .l .r)`, "2"}, {`hasKey .r "changed"`, "true"}, {`not .r`, "false"},
	} {
		assert.Equal(t, c[1], show(evaluate(t, s, c[0])), c[0])
	}
	for _, expr := range []string{
		`.r.stdout`, `eq .r.stdout "x"`, `default "x" .r.stdout`, `defined .r.stdout`, `skipped .r`, `toJson .r`, `quote .r`, `eq .r .r`, `and .u true`, `not .u`, `empty .u`,
		`coalesce .u 1`, `len .r`, `first .u`, `concat .u`, `slice .u 1`, `dig "a" 1 .u`, `set .u "a" 1`, `dict .u 1`, `keys .r`, `hasKey .r "stdout"`, `index .r "stdout"`, `get .r "stdout"`, `join "," .l`, `has .r .l`, `bool .u`, `printf "%v" .l`,
	} {
		_, err := evaluate(t, s, expr)
		assert.ErrorIs(t, err, ErrUnknown, expr)
	}
	for _, text := range []string{`x{{ .r }}`, `x{{ .l }}`, `{{ range .r }}{{ end }}`, `{{ range .u.x }}{{ end }}`, `{{ if .u }}{{ end }}`, `{{ with .r.x }}{{ end }}`} {
		_, err := render(t, s, text)
		assert.ErrorIs(t, err, ErrUnknown, text)
	}
	_, err := evaluate(t, s, `.r.stdout`)
	assert.EqualError(t, err, "expr:1:3: .r.stdout is unknown in check mode")
}
