// Package diag is where things stand in a user's files and what is wrong there.
//
// A reader collects every problem of a file instead of stopping at the first. A diagnostic is data:
// showing it, with its source line and in colour, is package render's work.
package diag

import (
	"fmt"
	"slices"
	"strings"
)

// Position is a place in a file. Line and Column count from 1; 0 means the file as a whole. The zero
// Position is no place.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String is file:line:column, as far as known.
func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Diagnostic is one problem in a user's file.
type Diagnostic struct {
	Position
	// Problem says what is wrong: lower case, one line, no full stop.
	Problem string `json:"message"`
	// Hint says what to write instead; may be empty.
	Hint string `json:"hint,omitempty"`
	// Warning marks what does not keep a run from starting. Events say it as their severity.
	Warning bool `json:"-"`
}

// Error is the diagnostic on one line: position, problem, hint in brackets.
func (d Diagnostic) Error() string {
	text := d.Problem
	if where := d.Position.String(); where != "" {
		text = where + ": " + text
	}
	if d.Hint != "" {
		text += " (" + d.Hint + ")"
	}
	return text
}

// List is every problem found. The zero value is ready to use. A List is an error when it holds one.
type List []Diagnostic

// Add adds a problem.
func (l *List) Add(at Position, hint, format string, args ...any) {
	*l = append(*l, Diagnostic{Position: at, Problem: fmt.Sprintf(format, args...), Hint: hint})
}

// Warn adds a warning.
func (l *List) Warn(at Position, hint, format string, args ...any) {
	*l = append(*l, Diagnostic{Position: at, Problem: fmt.Sprintf(format, args...), Hint: hint, Warning: true})
}

// Append adds the problems of other.
func (l *List) Append(other List) { *l = append(*l, other...) }

// Failed says whether there is a problem that is more than a warning.
func (l List) Failed() bool {
	return slices.ContainsFunc(l, func(d Diagnostic) bool { return !d.Warning })
}

// Err is the list as an error, or nil when nothing in it failed.
func (l List) Err() error {
	if !l.Failed() {
		return nil
	}
	return l
}

// Error is one line a problem.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, d := range l {
		lines[i] = d.Error()
	}
	return strings.Join(lines, "\n")
}

// Sort orders the list by file, line and column and drops repetitions.
func (l *List) Sort() {
	slices.SortStableFunc(*l, func(a, b Diagnostic) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	*l = slices.Compact(*l)
}

// Nearest gives the candidate most like name, for "did you mean"; empty when none is near. Names of up
// to three letters must be one edit away, longer ones two or a third of their length.
func Nearest(name string, candidates []string) string {
	limit := max(1, min(len(name)/3+1, 3))
	best, distance := "", limit+1
	for _, c := range candidates {
		if d := edits(strings.ToLower(name), strings.ToLower(c), distance); d < distance {
			best, distance = c, d
		}
	}
	return best
}

// DidYouMean is the usual hint for a name that does not exist: the nearest one, or else the choices
// when there are few.
func DidYouMean(name string, candidates []string) string {
	if near := Nearest(name, candidates); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(candidates) == 0 || len(candidates) > 12 {
		return ""
	}
	return "choose from " + strings.Join(candidates, ", ")
}

// edits is the Damerau-Levenshtein distance (insert, delete, change, swap neighbours), or limit when
// it is not below that.
func edits(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], limit)
}

// Slip says whether one name becomes the other by one slip of the pen: a letter added, dropped, changed, or
// swapped with its neighbour. Where they differ in digits alone they are two names.
func Slip(a, b string) bool {
	if !oneEdit(a, b) {
		return false
	}
	digits := func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}
	return strings.Map(digits, a) != strings.Map(digits, b)
}

// oneEdit says whether edits(a, b) is 1, without its table: what is left between the common beginning and the
// common end is one letter more, less or other, or two swapped.
func oneEdit(a, b string) bool {
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for a != "" && b != "" && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	switch {
	case len(a)+len(b) == 1, len(a) == 1 && len(b) == 1:
		return true
	case len(a) == 2 && len(b) == 2:
		return a[0] == b[1] && a[1] == b[0]
	}
	return false
}
