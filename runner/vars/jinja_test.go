package vars

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/diag"
)

// What a hint says to write is accepted.
func TestHintsForJinjaAreExpressions(t *testing.T) {
	for _, text := range []string{
		"foo", "foo['a-b'].c", "foo[-1]", "hostvars[inventory_hostname].ip", "x == 'y' and not z", "x is not defined", "r is failed or r is skipped",
		"x in ['a', 'b']", "'a' not in x", "x | default('a')", "x|default('a', true)", "x | d(omit)", "x | trim | lower == 'a'", "x | join(', ')", "x | replace('a', 'b')",
		"x | regex_replace('^a', 'b')", "x | regex_search('a')", "'a' if x else 'b'", "x * 2 + 1 - 3 // 4 % 5", "a ~ '-' ~ b", "x is match('a.*')", "v is version('1.2', '>=')",
		"x is string or x is mapping", "x.startswith('a')", "x.split(',')[0]", "lookup('env', 'HOME')", "{'a': 1}", "range(3)", "range(1, 3)", "x | to_json", "x | to_nice_yaml",
		"x | from_json", "x | b64encode", "x | basename", "x | dirname", "x | quote", "x | unique | sort", "x | combine({'a': 1})", "x | union(y)", "x | hash('sha256')",
		"x | ternary('a', 'b')", "x.keys()", "x.get('a', 1)", "x is divisibleby(3)", "x is none", "x | int / 2", "-x", "x | indent(4)", "x | urlencode", "x is search('\\d')",
	} {
		var problems diag.List
		ParseExpr(text, diag.Position{File: "p.yml", Line: 1, Column: 1}, &problems)
		require.Len(t, problems, 1, text)
		here, ok := strings.CutPrefix(problems[0].Hint, "write ")
		require.True(t, ok, "%s: the hint is %q", text, problems[0].Hint)
		var again diag.List
		ParseExpr(here, diag.Position{}, &again)
		assert.Empty(t, again, "%s became %s", text, here)
	}
}

func TestTemplatesRefuseJinjaStatements(t *testing.T) {
	_, problems := ParseTemplate("a.conf", "x\n{% if a == 1 %}\ny\n{% endif %}\n", [2]string{})
	require.Len(t, problems, 1)
	assert.Equal(t, `a.conf:2:1: a Jinja statement in "{% if a == 1 %}" (write {{ if eq .a 1 }} … {{ end }})`, problems[0].Error())
	_, problems = ParseTemplate("a.conf", "{% if a %}[[ .x ]]", [2]string{"[[", "]]"})
	assert.Empty(t, problems, "another program's template")
	_, problems = ParseTemplate("a.sh", "printf '{%s}' {{ .x }}", [2]string{})
	assert.Empty(t, problems)
}
