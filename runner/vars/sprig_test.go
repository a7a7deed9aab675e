package vars

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// otherwise are the functions of sprig that mean something else here, or of which something is an error that
// sprig lets pass; docs/expressions.md says so for each.
func otherwise() map[string]string {
	return map[string]string{
		"default": "fills in for what is undefined only",
		"set":     "gives a changed copy", "unset": "gives a changed copy", "merge": "gives a changed copy", "mergeOverwrite": "gives a changed copy",
		"keys": "sorts them", "values": "sorts them by key", "uniq": "compares numbers by value",
		"typeOf": "names kinds", "typeIs": "names kinds",
		"semver": "gives a mapping", "duration": "takes numbers of every kind",
		"unixEpoch": "gives a number", "toDate": "gives text, in UTC", "date": "stays in the zone of the moment", "htmlDate": "stays in the zone of the moment",
		"dateInZone": "takes text", "htmlDateInZone": "takes text", "dateModify": "gives text",
	}
}

// Every function of sprig's text functions is there with the same result, there with another meaning that the manual
// names, or refused with what to do instead.
func TestEveryFunctionOfSprig(t *testing.T) {
	manual, err := os.ReadFile("../../docs/expressions.md")
	require.NoError(t, err)
	compared := compareWithSprig(t)
	for name := range sprig.TxtFuncMap() {
		fn := library()[name]
		main := name // the name that this one is another name of
		if fn != nil {
			if same, ok := strings.CutPrefix(fn.Doc, "The same as "); ok {
				main = strings.TrimSuffix(same, ".")
			}
		}
		why := otherwise()[main]
		switch {
		case fn == nil:
			assert.NotEmpty(t, refusedFunctions()[name], "sprig's %s is neither there nor refused", name)
		case fn.unsteady || why != "":
			assert.True(t, strings.Contains(string(manual), "`"+main+"`") || strings.Contains(string(manual), "`"+main+" "), "the manual does not name %s, which %s", main, why)
		case name == "fail": // fails there and here
		default:
			assert.True(t, compared[name] || compared[main], "no case compares %s with sprig's", name)
		}
	}
}

// compareWithSprig evaluates the cases of functions with sprig as well. It gives the names of the functions that
// were compared and agree.
func compareWithSprig(t *testing.T) map[string]bool {
	agree := map[string]bool{}
	for _, c := range functionCases {
		name := firstWord(strings.TrimLeft(c[0], "("))
		fn := library()[name]
		if fn == nil || sprig.TxtFuncMap()[name] == nil || otherwise()[name] != "" || fn.unsteady || strings.HasPrefix(c[1], "error: ") || strings.Contains(c[0], "92233720368547758") { // where sprig never ends
			continue
		}
		theirs, err := template.New("").Option("missingkey=error").Funcs(sprig.TxtFuncMap()).Parse("{{ " + c[0] + " }}")
		if err != nil {
			continue // the case uses a function that sprig has not
		}
		var out bytes.Buffer
		data := goData(t) // made anew, since sprig changes it
		if err := theirs.Execute(&out, data); err != nil {
			continue // what sprig takes in other types only, or fails on
		}
		ours, problems := ParseTemplate("t", "{{ "+c[0]+" }}", [2]string{})
		require.Empty(t, problems, c[0])
		got, err := ours.Render(functionScope(t))
		require.NoError(t, err, c[0])
		if sameText(got, out.String()) {
			agree[name] = true
			continue
		}
		t.Errorf("%s gives %q, and with sprig %q", c[0], got, out.String())
	}
	return agree
}

// goData is the variables of the cases as Go's templates know them.
func goData(t *testing.T) map[string]any {
	data := map[string]any{}
	for _, name := range []string{"five", "zero", "ratio", "empty", "null", "yes", "no", "l", "m"} {
		d, ok, err := functionScope(t).Lookup(name)
		require.True(t, ok && err == nil)
		data[name] = plainGo(d.v)
	}
	return data
}

// sameText compares what is printed; lists and mappings, which Go prints in its own way, by their letters.
func sameText(a, b string) bool {
	letters := strings.NewReplacer("map[", "", "[", "", "]", "", "{", "", "}", "", "\"", "", ",", "", ":", "", " ", "", ".0", "", "<nil>", "", "<no value>", "", "null", "")
	return a == b || letters.Replace(a) == letters.Replace(b)
}

// plainGo is a value as Go's templates know it: whole numbers are int.
func plainGo(v any) any {
	switch v := v.(type) {
	case int64:
		return int(v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = plainGo(e)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = plainGo(e)
		}
		return out
	}
	return v
}
