package vars

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/diag"
)

func TestLayers(t *testing.T) {
	layers := []Layer{RoleDefaults, HostInventory, Facts, PlayVars, PlayVarsFiles, RoleVars, BlockVars, TaskVars, IncludeVars, SetFact, RoleParams, IncludeParams, ExtraVars, Magic}
	// Pushed in any order, the higher layer wins.
	for shift := range layers {
		s := NewScope(nil)
		for i := range layers {
			l := layers[(i*5+shift)%len(layers)]
			s = s.With(l, valuesOf(t, fmt.Sprintf("v: %d", l)))
		}
		assert.Equal(t, "22", show(first2(s.Lookup("v"))))
	}
	s := NewScope(nil)
	for _, l := range layers {
		s = s.With(l, valuesOf(t, fmt.Sprintf("v: %d", l)))
		got, _, err := s.Lookup("v")
		assert.Equal(t, fmt.Sprint(int(l)), show(got, err))
		at, _, _ := s.Origin("v")
		assert.Equal(t, l, at)
	}
}

func first2(d Data, _ bool, err error) (Data, error) { return d, err }

func TestSameLayerLaterWins(t *testing.T) {
	outer := NewScope(nil).With(BlockVars, valuesOf(t, "v: outer\nonly_outer: x"))
	inner := outer.With(BlockVars, valuesOf(t, "v: inner")).With(TaskVars, valuesOf(t, "w: task"))
	for expr, want := range map[string]string{".v": `"inner"`, ".only_outer": `"x"`, ".w": `"task"`} {
		assert.Equal(t, want, show(evaluate(t, inner, expr)))
	}
	assert.Equal(t, `"outer"`, show(evaluate(t, outer, ".v")), "With must not change the scope it is called on")
	assert.Equal(t, []string{"omit", "only_outer", "v", "w"}, inner.Names())
	_, ok, err := inner.Lookup("nope")
	assert.False(t, ok)
	assert.NoError(t, err)
	_, at, ok := inner.Origin("w")
	assert.True(t, ok)
	assert.Equal(t, "vars.yml:1:4", at.String())
	_, _, ok = inner.Origin("nope")
	assert.False(t, ok)
	assert.Same(t, outer, outer.With(TaskVars, nil))
}

// The chain of VAR-9: a variable follows what it refers to, a stored value does not.
func TestVariablesAreLazy(t *testing.T) {
	s := NewScope(nil).With(HostInventory, valuesOf(t, "greeting: hello {{ .who }}\nwho: one")).
		With(PlayVars, valuesOf(t, "later: '{{ .not_yet }}!'\nchain: '{{ .greeting }} / {{ .later }}'"))
	_, err := evaluate(t, s, ".chain")
	assert.EqualError(t, err, `vars.yml:1:12: variable "not_yet" is not defined in {{ .not_yet }}, reached through chain → later (choose from chain, greeting, later, omit, who)`)
	assert.ErrorIs(t, err, ErrUndefined)
	now := s.With(SetFact, ValuesOf(map[string]Data{"not_yet": Of("now")}))
	frozen, err := evaluate(t, now, ".later")
	require.NoError(t, err)
	changed := now.With(SetFact, ValuesOf(map[string]Data{"not_yet": Of("changed"), "frozen": frozen}))
	var problems diag.List
	text := FromText("{{ .later }} {{ .frozen }} {{ .chain }}", diag.Position{}, &problems)
	assert.Equal(t, `"changed! now! hello one / changed!"`, show(text.Resolve(changed)))
}

func TestLiteralsAreNotExpanded(t *testing.T) {
	s := NewScope(nil).With(SetFact, ValuesOf(map[string]Data{"out": Of("{{ .secret }}"), "secret": Of("x")}))
	assert.Equal(t, `"{{ .secret }}"`, show(evaluate(t, s, ".out")))
	assert.False(t, Literal(Of("{{ .x }}")).Templated())
}

func TestCycles(t *testing.T) {
	s := scopeOf(t, "a: 'x{{ .b }}'\nb: ['{{ .c.d }}']\nc: {d: '{{ .a }}'}\nself: '{{ .self }}'\nok: '{{ default 1 .self2 }}'\nself2: '{{ .gone }}'")
	_, err := evaluate(t, s, ".b")
	assert.EqualError(t, err, "vars.yml:2:4: variable is defined by itself: b → c → a → b (give one of them a value that does not use the others)")
	assert.ErrorIs(t, err, ErrCycle)
	_, err = evaluate(t, s, ".self")
	assert.ErrorContains(t, err, "self → self")
	_, err = evaluate(t, s, "default 1 .self")
	assert.ErrorIs(t, err, ErrCycle, "a cycle is a mistake, not an undefined variable")
	assert.Equal(t, "1", show(evaluate(t, s, ".ok")))
}

func TestCycleThroughOtherHosts(t *testing.T) {
	w := cluster(t, "", map[string]string{"h1": "a: '{{ .hostvars.h2.b }}'", "h2": "b: '{{ hostvar \"h1\" \"a\" }}'"})
	_, err := evaluate(t, w.hosts["h1"], ".a")
	assert.ErrorIs(t, err, ErrCycle)
	assert.ErrorContains(t, err, "a → b → a")
	_, err = evaluate(t, w.hosts["h1"], ".hostvars.h1.a")
	assert.ErrorIs(t, err, ErrCycle)
}

// freshWorld makes a new scope for every use, as a World may.
type freshWorld struct{ *inMemory }

func (w freshWorld) HostScope(host string) (*Scope, bool) {
	s, ok := w.hosts[host]
	if !ok {
		return nil, false
	}
	return &Scope{world: w, layers: s.layers}, true
}

func TestCycleThroughFreshScopes(t *testing.T) {
	w := freshWorld{cluster(t, "", map[string]string{"h1": "a: '{{ .hostvars.h1.a }}'"})}
	s, _ := w.HostScope("h1")
	_, err := evaluate(t, s, ".a")
	assert.ErrorIs(t, err, ErrCycle)
}

func TestHostvars(t *testing.T) {
	w := cluster(t, "label: '{{ .inventory_hostname }}-label'\nleader: '{{ if eq .inventory_hostname \"h1\" }}me{{ else }}{{ .hostvars.h1.leader }}{{ end }}'",
		map[string]string{"h1": "port: 1", "h2": "port: 2"})
	s := w.hosts["h1"].With(PlayVars, valuesOf(t, "only_play: p\nlabel: play"))
	for expr, want := range map[string]string{
		".hostvars.h2.label": `"h2-label"`, ".hostvars.h1.label": `"h1-label"`, ".label": `"play"`, `default "not there" .hostvars.h2.only_play`: `"not there"`,
		`defined .hostvars.nosuch`: "false", ".hostvars.h2.leader": `"me"`, `index .hostvars "h2" "port"`: "2", `len .hostvars`: "2",
	} {
		assert.Equal(t, want, show(evaluate(t, s, expr)), expr)
	}
	for text, want := range map[string]string{
		`{{ range $h, $v := .hostvars }}{{ $h }}={{ $v.port }} {{ end }}`:                   "h1=1 h2=2 ",
		`{{ range .hostvars }}{{ .label }} {{ end }}`:                                       "h1-label h2-label ",
		`{{ range $name := hosts_in "all" }}{{ (index $.hostvars $name).port }} {{ end }}`:  "1 2 ",
		`{{ with .hostvars.h2 }}{{ .port }}{{ end }}{{ $h := .hostvars.h1 }}{{ $h.label }}`: "2h1-label",
		`{{ range $k, $v := .hostvars.h2 }}{{ $k }} {{ end }}`:                              "inventory_hostname label leader port ",
	} {
		got, err := render(t, s, text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	_, err := evaluate(t, NewScope(nil), ".hostvars.h1")
	assert.ErrorIs(t, err, ErrUndefined)
	_, err = evaluate(t, NewScope(nil), `hosts_in "all"`)
	assert.ErrorContains(t, err, "other hosts and files cannot be reached here")
}

// countingWorld counts the hosts that were asked for.
type countingWorld struct {
	*inMemory
	asked int
}

func (w *countingWorld) HostScope(host string) (*Scope, bool) {
	w.asked++
	return w.inMemory.HostScope(host)
}

func TestOnlyHostsThatAreUsedAreResolved(t *testing.T) {
	hosts := map[string]string{}
	for i := range 100 {
		hosts[fmt.Sprintf("h%d", i)] = "p: '{{ .undefined_for_all }}'\nq: 1"
	}
	w := &countingWorld{inMemory: cluster(t, "", hosts)}
	s := NewScope(w)
	assert.Equal(t, "1", show(evaluate(t, s, ".hostvars.h7.q")))
	assert.Equal(t, 1, w.asked)
}

func TestResolvedOnce(t *testing.T) {
	w := cluster(t, "", map[string]string{"h1": ""})
	w.files["f"] = "1"
	s := NewScope(w).With(PlayVars, valuesOf(t, `v: '{{ lookup_file "f" }}'`))
	assert.Equal(t, `"1"`, show(evaluate(t, s, ".v")))
	w.files["f"] = "2"
	assert.Equal(t, `"1"`, show(evaluate(t, s, ".v")), "a scope remembers what it has resolved")
	assert.Equal(t, `"2"`, show(evaluate(t, s.With(TaskVars, valuesOf(t, "x: 1")), ".v")), "another scope does not")
}

// A host's scope lives as long as its own variables stay; other hosts' may change meanwhile.
func TestOtherHostsAreNotRememberedInAHostsScope(t *testing.T) {
	w := cluster(t, "own: '{{ upper .inventory_hostname }}'", map[string]string{"h1": "leader: '{{ .hostvars.h2.fact }}'\nvia: '{{ .leader }}!'\nfile: '{{ lookup_file \"f\" }}'", "h2": "fact: old"})
	w.files["f"] = "old"
	task := func() *Scope { return NewScope(w) }
	for _, want := range []string{"old", "new"} {
		w.hosts["h2"] = w.hosts["h2"].With(SetFact, ValuesOf(map[string]Data{"fact": Of(want)}))
		w.files["f"] = want
		assert.Equal(t, `"`+want+`!"`, show(evaluate(t, task(), ".hostvars.h1.via")))
		assert.Equal(t, `"`+want+`"`, show(evaluate(t, task(), `hostvar "h1" "leader"`)))
		assert.Equal(t, `"`+want+`"`, show(evaluate(t, task(), ".hostvars.h1.file")))
		assert.Equal(t, `"H1"`, show(evaluate(t, task(), ".hostvars.h1.own")))
	}
	assert.Equal(t, []string{"own"}, slices.Collect(maps.Keys(w.hosts["h1"].resolved)))
}

func TestScopeFromSeveralGoroutines(t *testing.T) {
	s := scopeOf(t, "a: '{{ .b }}'\nb: '{{ .c }}'\nc: '{{ list 1 2 }}'")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				assert.Equal(t, "[1,2]", show(first2(s.Lookup("a"))))
			}
		})
	}
	wg.Wait()
}

func TestOmit(t *testing.T) {
	s := scopeOf(t, "a: '{{ default .omit .nope }}'")
	d, _, err := s.Lookup("a")
	require.NoError(t, err)
	assert.True(t, d.IsOmit())
	assert.True(t, Omit().IsOmit())
	assert.False(t, Of(nil).IsOmit())
}

func TestOver(t *testing.T) {
	base, top := valuesOf(t, "a: 1\nb: 2"), valuesOf(t, "c: 3\na: 4")
	got := base.Over(top)
	assert.Equal(t, []string{"a", "b", "c"}, got.Names())
	v, _ := got.Get("a")
	assert.Equal(t, "4", show(v.Resolve(NewScope(nil))))
	assert.Equal(t, []string{"a", "b"}, base.Names())
	many := base
	for i := range 50 {
		many = many.With(fmt.Sprintf("v%d", i), Literal(Of(i)))
	}
	assert.Equal(t, 52, many.Len())
	v, ok := many.Get("v49")
	assert.True(t, ok)
	assert.Equal(t, "49", show(v.Resolve(NewScope(nil))))
	_, ok = many.Get("v50")
	assert.False(t, ok)
}

func TestValuesAsOneMapping(t *testing.T) {
	m := valuesOf(t, "b: '{{ .x }}'\na: [1]").Mapping()
	require.Len(t, m.Fields(), 2)
	assert.Equal(t, "b", m.Fields()[0].Name)
	assert.Equal(t, `{"a":[1],"b":5}`, show(m.Resolve(scopeOf(t, "x: 5"))))
	assert.True(t, m.Templated())
	static := valuesOf(t, "a: 1").With("z", Value{}).Mapping()
	assert.False(t, static.Templated())
	assert.Equal(t, `{"a":1,"z":null}`, show(static.Resolve(NewScope(nil))))
	assert.Equal(t, `{}`, show((*Values)(nil).Mapping().Resolve(NewScope(nil))))
}

func TestParseExtra(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "more.yml")
	require.NoError(t, os.WriteFile(file, []byte("n: 6\nfrom_file: true\n"), 0o600))
	jsonFile := filepath.Join(dir, "more.json")
	require.NoError(t, os.WriteFile(jsonFile, []byte(`{"j": [1, {"k": "{{ .x }}"}]}`), 0o600))
	for _, c := range []struct{ arg, want string }{
		{`flag=false n=5`, `{"flag":"false","n":"5"}`},
		{`{"jflag": false, "jn": 5, "list": [1, 2]}`, `{"jflag":false,"jn":5,"list":[1,2]}`},
		{`@` + file, `{"from_file":true,"n":6}`},
		{`@` + jsonFile, `{"j":[1,{"k":"X"}]}`},
		{`who='{{ .x }}'`, `{"who":"X"}`},
		{`who={{ .x }} b=2`, `{"b":"2","who":"X"}`},
		{`who={{ upper "a b" }}`, `{"who":"A B"}`},
		{`a="b c" d='e "f"' g=h\ i j=`, `{"a":"b c","d":"e \"f\"","g":"h i","j":""}`},
		{`a="say \"x\" \n"`, `{"a":"say \"x\" \\n"}`},
		{`a=b=c`, `{"a":"b=c"}`},
		{`a: 1`, `{"a":1}`},
		{`{a: yes}`, `{"a":true}`},
		{`a=1 a=2`, `{"a":"2"}`},
		{``, `{}`},
	} {
		vs, problems := ParseExtra(c.arg, nil)
		require.Empty(t, problems, c.arg)
		s := NewScope(nil).With(ExtraVars, vs).With(PlayVars, valuesOf(t, "x: X"))
		got := map[string]Data{}
		for _, name := range vs.Names() {
			d, _, err := s.Lookup(name)
			require.NoError(t, err)
			got[name] = d
		}
		assert.Equal(t, c.want, string(Of(got).JSON()), c.arg)
	}
}

func TestExtraProblems(t *testing.T) {
	for _, c := range []struct{ arg, want string }{
		{`novalue`, `-e:1:1: "novalue" is no name=value (write name=value pairs, a YAML or JSON mapping, or @file)`},
		{`a=1 b-c=2`, `-e:1:5: "b-c" cannot be used as a variable's name (use letters, digits and _, and no digit first)`},
		{`a='x`, `-e:1:1: a quote is not closed (write name=value pairs, a YAML or JSON mapping, or @file)`},
		{`a={{ x`, `-e:1:1: a {{ is not closed (write name=value pairs, a YAML or JSON mapping, or @file)`},
		{`[1]`, `-e:1:1: variables must be a mapping, not a list (write name: value lines)`},
		{`{a: `, `-e:1:1: a quote or bracket that opens here is not closed`},
		{`@no-such-file`, `-e: no-such-file cannot be read: no such file or directory (give @ and the name of a YAML or JSON file)`},
		{`x=1 a={{ nofunc }}`, `-e:1:10: no function is called "nofunc" (write {{ .nofunc }})`},
	} {
		_, problems := ParseExtra(c.arg, nil)
		require.Len(t, problems, 1, c.arg)
		assert.True(t, strings.HasPrefix(problems[0].Error(), c.want), "%s: %v", c.arg, problems[0])
	}
}

func TestReadFileProblems(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.yml")
	for text, want := range map[string]string{
		"a: [":                              "1:1: a quote or bracket that opens here is not closed",
		"a: 1\na: 2":                        "2:1: \"a\" stands twice in this mapping, first on line 1",
		"a: 1\nb:\n- {":                     "3:1: a quote or bracket that opens here is not closed",
		"$ANSIBLE_VAULT;1.1;AES256\n3131\n": "2:1: the encrypted text is damaged: it has no salt, HMAC and ciphertext",
		"a: 1\n---\nb: 2\n":                 "2:1: a second document begins here",
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		var problems diag.List
		_, err := ReadFile(path, nil, &problems)
		require.NoError(t, err)
		require.Len(t, problems, 1, text)
		assert.True(t, strings.HasPrefix(strings.TrimPrefix(problems[0].Error(), path+":"), want), "%q: %v", text, problems[0])
	}
	require.NoError(t, os.WriteFile(path, []byte("# nothing\n"), 0o600))
	var problems diag.List
	vs, err := ReadFile(path, nil, &problems)
	require.NoError(t, err)
	assert.Empty(t, problems)
	assert.Zero(t, vs.Len())
	_, err = ReadFile(path+".no", nil, &problems)
	assert.ErrorIs(t, err, os.ErrNotExist)
}
