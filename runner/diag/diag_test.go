package diag

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPositionString(t *testing.T) {
	for want, p := range map[string]Position{"": {}, "a.yml": {File: "a.yml"}, "a.yml:3": {File: "a.yml", Line: 3}, "a.yml:3:7": {File: "a.yml", Line: 3, Column: 7}} {
		assert.Equal(t, want, p.String())
	}
}

func TestDiagnosticIsOneLine(t *testing.T) {
	at := Position{File: "site.yml", Line: 8, Column: 19}
	for want, d := range map[string]Diagnostic{
		`site.yml:8:19: module directory takes no argument "pth" (did you mean "path"?)`: {Position: at, Problem: `module directory takes no argument "pth"`, Hint: `did you mean "path"?`},
		"site.yml:8:19: wrong": {Position: at, Problem: "wrong"},
		"wrong (do right)":     {Problem: "wrong", Hint: "do right"},
	} {
		assert.Equal(t, want, d.Error())
	}
}

func TestListCollects(t *testing.T) {
	var l List
	assert.NoError(t, l.Err())
	l.Warn(Position{File: "b"}, "", "old %s", "word")
	assert.False(t, l.Failed())
	assert.NoError(t, l.Err(), "warnings alone keep nothing from starting")
	l.Append(List{{Problem: "from elsewhere", Warning: true}})
	l.Add(Position{File: "a", Line: 2}, "do right", "wrong %d", 5)
	assert.True(t, l.Failed())
	err := l.Err()
	require.Error(t, err)
	var back List
	require.True(t, errors.As(err, &back))
	assert.Len(t, back, 3)
	assert.Equal(t, "b: old word\nfrom elsewhere\na:2: wrong 5 (do right)", err.Error())
}

func TestSortOrdersAndDropsRepetitions(t *testing.T) {
	at := func(file string, line, column int) Diagnostic {
		return Diagnostic{Position: Position{File: file, Line: line, Column: column}, Problem: "p"}
	}
	l := List{at("b", 1, 1), at("a", 10, 1), at("a", 2, 5), at("a", 2, 1), at("b", 1, 1), at("a", 10, 1)}
	l.Sort()
	assert.Equal(t, List{at("a", 2, 1), at("a", 2, 5), at("a", 10, 1), at("b", 1, 1)}, l)
}

func TestSortKeepsTheOrderAtOnePlace(t *testing.T) {
	l := List{{Problem: "first"}, {Problem: "second"}, {Problem: "another"}}
	l.Sort()
	assert.Equal(t, List{{Problem: "first"}, {Problem: "second"}, {Problem: "another"}}, l)
}

func TestJSON(t *testing.T) {
	raw, err := json.Marshal(Diagnostic{Position: Position{File: "a", Line: 2, Column: 3}, Problem: "p", Hint: "h"})
	require.NoError(t, err)
	assert.JSONEq(t, `{"file":"a","line":2,"column":3,"message":"p","hint":"h"}`, string(raw))
}

func TestNearest(t *testing.T) {
	for _, c := range []struct {
		name       string
		candidates []string
		want       string
	}{
		{"pth", []string{"path", "mode"}, "path"},
		{"modle", []string{"mode", "module"}, "mode"},
		{"Path", []string{"path"}, "path"},
		{"cluster_nmae", []string{"cluster_name", "cluster"}, "cluster_name"},
		{"ab", []string{"cd"}, ""},
		{"abc", []string{"xyz", "abcdef"}, ""},
		{"inventory_hostnam", []string{"inventory_hostname", "inventory_dir"}, "inventory_hostname"},
		{"x", nil, ""},
		{"", []string{"a"}, "a"},
		{"recieve", []string{"receive"}, "receive"},
	} {
		assert.Equal(t, c.want, Nearest(c.name, c.candidates), c.name)
	}
}

func TestDidYouMean(t *testing.T) {
	assert.Equal(t, `did you mean "path"?`, DidYouMean("pth", []string{"mode", "path"}))
	assert.Equal(t, "choose from mode, owner", DidYouMean("content", []string{"mode", "owner"}))
	assert.Empty(t, DidYouMean("content", nil))
	assert.Empty(t, DidYouMean("zzzzzz", []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"}), "too many to list")
}

// The distance is that of the textbook, worked out without the bound and the two rows.
func FuzzEdits(f *testing.F) {
	f.Add("kitten", "sitting")
	f.Add("ab", "ba")
	f.Add("", "abc")
	f.Fuzz(func(t *testing.T, a, b string) {
		if len(a) > 12 || len(b) > 12 {
			t.Skip()
		}
		want := distance(a, b)
		for limit := 1; limit < 16; limit++ {
			if got := edits(a, b, limit); got != min(want, limit) {
				t.Fatalf("%q and %q are %d apart, not %d (limit %d)", a, b, want, got, limit)
			}
		}
		if edits(b, a, 100) != want {
			t.Fatal("the distance depends on the direction")
		}
		if oneEdit(a, b) != (want == 1) {
			t.Fatalf("%q and %q are %d apart", a, b, want)
		}
	})
}

func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		for j := range d[i] {
			switch {
			case i == 0:
				d[i][j] = j
			case j == 0:
				d[i][j] = i
			case a[i-1] == b[j-1]:
				d[i][j] = d[i-1][j-1]
			default:
				d[i][j] = 1 + min(d[i-1][j-1], d[i-1][j], d[i][j-1])
				if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
					d[i][j] = min(d[i][j], d[i-2][j-2]+1)
				}
			}
		}
	}
	return d[len(a)][len(b)]
}
