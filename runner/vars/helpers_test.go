package vars

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vault"
)

// node is the top value of a YAML text.
func nodeOf(t testing.TB, text string) *yaml.Node {
	t.Helper()
	var doc yaml.Node
	require.NoError(t, yaml.Unmarshal([]byte(text), &doc))
	if len(doc.Content) == 0 {
		return nil
	}
	return doc.Content[0]
}

// valuesOf compiles variables that must have no problem.
func valuesOf(t testing.TB, text string) *Values {
	t.Helper()
	var problems diag.List
	vs := ValuesFromNode(nodeOf(t, text), "vars.yml", &problems)
	require.Empty(t, problems)
	return vs
}

func scopeOf(t testing.TB, text string) *Scope {
	t.Helper()
	return NewScope(nil).With(PlayVars, valuesOf(t, text))
}

// evaluate gives the value of a bare expression.
func evaluate(t testing.TB, s *Scope, expr string) (Data, error) {
	t.Helper()
	var problems diag.List
	e := ParseExpr(expr, diag.Position{File: "expr", Line: 1, Column: 1}, &problems)
	require.Empty(t, problems, expr)
	return e.Eval(s)
}

func show(d Data, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	return string(d.JSON())
}

// inMemory is a World of a few hosts and files.
type inMemory struct {
	hosts map[string]*Scope
	files map[string]string
	keys  *vault.Keyring
}

func (w *inMemory) Keyring() *vault.Keyring { return w.keys }

func (w *inMemory) HostScope(host string) (*Scope, bool) { s, ok := w.hosts[host]; return s, ok }

func (w *inMemory) HostNames() []string {
	names := []string{}
	for n := range w.hosts {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (w *inMemory) Select(pattern string) ([]string, error) {
	switch pattern {
	case "all":
		return w.HostNames(), nil
	case "none":
		return nil, nil
	}
	return nil, fmt.Errorf("pattern %q is not understood", pattern)
}

func (w *inMemory) ReadFile(name string) ([]byte, error) {
	text, ok := w.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

// cluster is a World whose hosts have variables of their own over the common ones.
func cluster(t testing.TB, common string, hosts map[string]string) *inMemory {
	t.Helper()
	w := &inMemory{hosts: map[string]*Scope{}, files: map[string]string{}}
	for name, text := range hosts {
		vs := valuesOf(t, common).Over(valuesOf(t, text))
		w.hosts[name] = NewScope(w).With(HostInventory, vs).
			With(Magic, ValuesOf(map[string]Data{"inventory_hostname": Of(name)}))
	}
	return w
}

func asError(t testing.TB, err error) *Error {
	t.Helper()
	var e *Error
	require.True(t, errors.As(err, &e), "%v", err)
	return e
}
