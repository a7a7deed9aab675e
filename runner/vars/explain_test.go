package vars

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/diag"
)

func TestExplainNamesTheSmallestPartThatDecided(t *testing.T) {
	s := scopeOf(t, `
role: replica
ports: [1, 2]
result: {rc: 3, stdout: ""}
main: '{{ eq .role "meta" }}'
`).With(SetFact, ValuesOf(map[string]Data{"seen": Of(true)}))
	tests := []struct{ expr, want string }{
		{`eq .role "meta"`, `eq .role "meta" is false: .role = "replica" (play vars, line 2)`},
		{`and .seen (eq .role "meta")`, `eq .role "meta" is false: .role = "replica" (play vars, line 2)`},
		{`and (eq .role "meta") .nowhere`, `eq .role "meta" is false: .role = "replica" (play vars, line 2)`},
		{`or (eq .role "meta") (gt .result.rc 3)`, `or (eq .role "meta") (gt .result.rc 3) is false: .role = "replica" (play vars, line 2); .result.rc = 3 (play vars, line 4)`},
		{`or (eq .role "meta") (eq .result.rc 3)`, `eq .result.rc 3 is true: .result.rc = 3 (play vars, line 4)`},
		{`and .seen (or .main (and .seen (empty .ports)))`, `or .main (and .seen (empty .ports)) is false: .main = false (play vars, line 5); .seen = true (set_fact or register, line 0); .ports = [1,2] (play vars, line 3)`},
		{`and .seen (eq .role "replica")`, `and .seen (eq .role "replica") is true: .seen = true (set_fact or register, line 0); .role = "replica" (play vars, line 2)`},
		{`(and .seen (not .seen))`, `not .seen is false: .seen = true (set_fact or register, line 0)`},
		{`eq .role "meta" | and .seen`, `eq .role "meta" is false: .role = "replica" (play vars, line 2)`},
		{`defined "nowhere.at"`, `defined "nowhere.at" is false: .nowhere.at is not there`},
		{`and (gt .result.rc 1) (lt .result.rc 3) (eq .result.rc 4)`, `lt .result.rc 3 is false: .result.rc = 3 (play vars, line 4)`},
		{`false`, `false is false`},
	}
	for _, tt := range tests {
		t.Run(tt.expr, func(t *testing.T) {
			var problems diag.List
			e := ParseExpr(tt.expr, diag.Position{File: "expr", Line: 1, Column: 1}, &problems)
			require.Empty(t, problems)
			assert.Equal(t, tt.want, reasonText(e.Explain(s)))
		})
	}
}

func reasonText(r Reason) string {
	text := fmt.Sprintf("%s is %t", r.Part, r.Holds)
	var values []string
	for _, v := range r.Values {
		if !v.Known {
			values = append(values, v.Name+" is not there")
			continue
		}
		values = append(values, fmt.Sprintf("%s = %s (%s, line %d)", v.Name, v.Value.JSON(), v.Layer, v.At.Line))
	}
	if len(values) > 0 {
		text += ": " + strings.Join(values, "; ")
	}
	return text
}

func TestExplainOfWhatCannotBeEvaluatedSaysWhatItReads(t *testing.T) {
	var problems diag.List
	e := ParseExpr(`eq .nowhere 1`, diag.Position{File: "expr", Line: 1, Column: 1}, &problems)
	require.Empty(t, problems)
	assert.Equal(t, "eq .nowhere 1 is false: .nowhere is not there", reasonText(e.Explain(scopeOf(t, `a: 1`))))
}

func TestExplainOfOtherHostsNamesThem(t *testing.T) {
	s := NewScope(&inMemory{hosts: map[string]*Scope{"h1": scopeOf(t, `a: 1`)}})
	var problems diag.List
	e := ParseExpr(`empty .hostvars`, diag.Position{File: "expr", Line: 1, Column: 1}, &problems)
	require.Empty(t, problems)
	assert.Equal(t, `empty .hostvars is false: .hostvars = ["h1"] (magic, line 0)`, reasonText(e.Explain(s)))
}
