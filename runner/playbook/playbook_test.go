package playbook

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

var update = flag.Bool("update", false, "write the trees anew")

// memory gives the files of an archive.
func memory(a *txtar.Archive) Memory {
	m := Memory{}
	for _, f := range a.Files {
		m[f.Name] = string(f.Data)
	}
	return m
}

func archives(t *testing.T, dir string) map[string]*txtar.Archive {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	out := map[string]*txtar.Archive{}
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		require.NoError(t, err)
		out[path] = a
	}
	return out
}

// wanted is a comment such as: # want "7: a task has no module". The text is part of the diagnostic behind
// its column, with the hint in brackets.
var wanted = regexp.MustCompile("# want ((?:(?:\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`)\\s*)+)")

var quoted = regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`")

// TestDiagnostics reads playbooks with mistakes. Every line that is wrong says what is to be said of it,
// and nothing else may be said.
func TestDiagnostics(t *testing.T) {
	for path, a := range archives(t, "diagnostics") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			_, problems := Parse("site.yml", Options{Files: memory(a), RolesPath: []string{"shared"}})
			said := map[string][]string{}
			for _, d := range problems {
				line := fmt.Sprintf("%d: %s", d.Column, d.Problem)
				if d.Hint != "" {
					line += " (" + d.Hint + ")"
				}
				if d.Warning {
					line += " [warning]"
				}
				key := fmt.Sprintf("%s:%d", d.File, d.Line)
				said[key] = append(said[key], line)
			}
			for _, f := range a.Files {
				for i, line := range strings.Split(string(f.Data), "\n") {
					expect(t, said, fmt.Sprintf("%s:%d", f.Name, i+1), line)
				}
			}
			assert.Empty(t, said, "said, but not wanted")
		})
	}
}

// expect takes what a line wants out of what was said of it.
func expect(t *testing.T, said map[string][]string, key, line string) {
	t.Helper()
	m := wanted.FindStringSubmatch(line)
	if m == nil {
		return
	}
	for _, q := range quoted.FindAllString(m[1], -1) {
		text, err := strconv.Unquote(q)
		require.NoError(t, err, key)
		i := slices.IndexFunc(said[key], func(s string) bool { return strings.HasPrefix(s, text) || strings.Contains(s, " "+text) })
		if i < 0 {
			t.Errorf("%s: wanted %q, said %q", key, text, said[key])
			continue
		}
		said[key] = slices.Delete(said[key], i, i+1)
	}
	if len(said[key]) == 0 {
		delete(said, key)
	}
}

// TestTrees reads good playbooks and compares everything that was read with the last file of the archive.
func TestTrees(t *testing.T) {
	for path, a := range archives(t, "trees") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			var extra diag.List
			book, problems := Parse("site.yml", Options{
				Files: memory(a),
				Extra: vars.ValuesOf(map[string]vars.Data{"site": vars.Of("prague")}),
			})
			require.Empty(t, problems.Error())
			require.Empty(t, extra)
			var out strings.Builder
			for _, play := range book.Plays {
				tree{&out, map[any]bool{}}.dump("play", reflect.ValueOf(play), 0)
			}
			last := &a.Files[len(a.Files)-1]
			require.Equal(t, "tree", last.Name)
			if *update {
				last.Data = []byte(out.String())
				require.NoError(t, os.WriteFile(path, txtar.Format(a), 0o600))
			}
			assert.Equal(t, string(last.Data), out.String())
		})
	}
}

// tree writes everything that is given in a parsed thing, one field a line.
type tree struct {
	out  *strings.Builder
	seen map[any]bool // roles that were written before
}

func (w tree) line(depth int, format string, args ...any) {
	fmt.Fprintf(w.out, "%s%s\n", strings.Repeat("  ", depth), fmt.Sprintf(format, args...))
}

func (w tree) dump(name string, v reflect.Value, depth int) {
	switch x := v.Interface().(type) {
	case vars.Value:
		if !x.IsZero() {
			w.line(depth, "%s: %s", name, written(x))
		}
		return
	case vars.Expr:
		w.line(depth, "%s: %s", name, x)
		return
	case *vars.Values:
		if x.Len() > 0 {
			w.line(depth, "%s: {%s}", name, values(x))
		}
		return
	case diag.Position:
		return
	case time.Duration:
		if x != 0 {
			w.line(depth, "%s: %s", name, x)
		}
		return
	case *Role:
		if x != nil && w.seen[x] {
			w.line(depth, "%s: %s, as above", name, x.Name)
			return
		}
		w.seen[x] = true
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			w.dump(name, v.Elem(), depth)
		}
	case reflect.Struct:
		at := ""
		if f := v.FieldByName("At"); f.IsValid() {
			p := f.Interface().(diag.Position)
			at = fmt.Sprintf(" (%s)", p)
		}
		w.line(depth, "%s%s", name, at)
		w.fields(v, depth+1)
	case reflect.Slice:
		for i := range v.Len() {
			w.dump(fmt.Sprintf("%s[%d]", name, i), v.Index(i), depth)
		}
	default:
		if !v.IsZero() {
			w.line(depth, "%s: %v", name, v)
		}
	}
}

func (w tree) fields(v reflect.Value, depth int) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch {
		case f.Name == "Keywords":
			w.fields(v.Field(i), depth)
		case f.Anonymous && f.Type == reflect.TypeFor[*Task]():
			w.fields(v.Field(i).Elem(), depth)
		case f.Name == "Apply" && reflect.DeepEqual(v.Field(i).Interface(), Keywords{}):
		case f.Name == "LoopControl" && reflect.DeepEqual(v.Field(i).Interface(), LoopControl{}):
		case f.IsExported():
			w.dump(strings.ToLower(f.Name), v.Field(i), depth)
		}
	}
}

func written(v vars.Value) string {
	switch {
	case v.Items() != nil:
		var out []string
		for _, item := range v.Items() {
			out = append(out, written(item))
		}
		return "[" + strings.Join(out, ", ") + "]"
	case v.Fields() != nil:
		var out []string
		for _, f := range v.Fields() {
			out = append(out, f.Name+": "+written(f.Value))
		}
		return "{" + strings.Join(out, ", ") + "}"
	}
	if d, static := v.Static(); static {
		return string(d.JSON())
	}
	return v.Raw()
}

func values(vs *vars.Values) string {
	var out []string
	for _, name := range vs.Names() {
		v, _ := vs.Get(name)
		out = append(out, name+": "+written(v))
	}
	return strings.Join(out, ", ")
}
