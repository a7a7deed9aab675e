package event

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/diag"
)

func TestParseReadsWhatMarshalWrites(t *testing.T) {
	one := 1
	for _, e := range []Event{
		RunStarted{Run: "r", Playbook: "a.yml", Inventory: []string{"i"}, Check: true, Steps: 3},
		TaskDone{Play: "p", Batch: 1, Task: "t", Host: "h", Status: Changed, Result: json.RawMessage(`{"a":1}`),
			Why: Why{Reason: "when"}, At: diag.Position{File: "a.yml", Line: 2, Column: 3},
			Items: []Item{{Item: json.RawMessage(`1`), Index: &one, Status: OK, Why: Why{FalseCondition: "x"}}}},
		NewProblem(diag.Diagnostic{Position: diag.Position{File: "a.yml", Line: 2, Column: 3}, Problem: "bad", Hint: "good"}),
		RunDone{Recap: map[string]Counts{"h": {OK: 1}}, ExitCode: 2},
	} {
		want := Record{Seq: 7, Time: time.Unix(1, 5).UTC(), Event: e}
		raw, err := want.MarshalJSON()
		require.NoError(t, err)
		got, err := Parse(raw)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

func TestParseKeepsWhatItDoesNotKnow(t *testing.T) {
	raw := `{"seq":1,"time":"2026-03-01T12:00:00Z","event":"moon_rose","phase":3}`
	got, err := Parse([]byte(raw))
	require.NoError(t, err)
	assert.Equal(t, Other{Event: "moon_rose", Raw: json.RawMessage(raw)}, got.Event)
	again, err := got.MarshalJSON()
	require.NoError(t, err)
	assert.JSONEq(t, raw, string(again))
}

// A journal is shown again from what Parse gives: a kind that it does not know would be left out.
func TestParseKnowsEveryKind(t *testing.T) {
	files, err := os.ReadDir(".")
	require.NoError(t, err)
	known := 0
	every := map[string]bool{}
	for _, e := range Every() {
		every[e.Kind()] = true
	}
	for _, file := range files {
		if strings.HasSuffix(file.Name(), "_test.go") || !strings.HasSuffix(file.Name(), ".go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file.Name(), nil, 0)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			fn, ok := n.(*ast.FuncDecl)
			if !ok || fn.Recv == nil || fn.Name.Name != "Kind" {
				return true
			}
			lit, ok := fn.Body.List[0].(*ast.ReturnStmt).Results[0].(*ast.BasicLit)
			if !ok {
				return true // Other's
			}
			known++
			e, err := parseEvent(strings.Trim(lit.Value, `"`), []byte("{}"))
			require.NoError(t, err)
			assert.Equal(t, strings.Trim(lit.Value, `"`), e.Kind())
			_, other := e.(Other)
			assert.False(t, other, "%s needs a line in parseEvent", lit.Value)
			assert.True(t, every[e.Kind()], "%s needs a place in Every", lit.Value)
			return true
		})
	}
	assert.Greater(t, known, 9)
}
