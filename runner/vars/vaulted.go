package vars

import (
	"errors"
	"strings"
	"sync/atomic"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vault"
)

// vaultKey is what JSON has in place of the tag !vault.
const vaultKey = "__ansible_vault"

// sealed is a value that is encrypted in the file (!vault). It is opened when it is first used: that costs some
// milliseconds, and most runs use few of them.
type sealed struct {
	text  string
	plain atomic.Pointer[string]
}

// sealed reads a value with the tag !vault.
func (r *nodeReader) sealed(n *yaml.Node) Value {
	text := strings.TrimSpace(n.Value)
	out := Value{&node{at: r.at(n), sealed: &sealed{text: text}, size: 1}}
	if n.Kind != yaml.ScalarNode || !vault.Sealed([]byte(text)) {
		r.problems.Add(r.at(n), "pegbook vault encrypt-string makes such a value", "!vault stands before a text that is not encrypted")
		return out
	}
	if _, err := vault.ID([]byte(text)); err != nil {
		r.problems.Add(sealedAt(r.at(n), scalarForm(n.Style), err), "", "%v", err)
	}
	return out
}

// sealedAt is the line of an encrypted value that an error is about.
func sealedAt(at diag.Position, how form, err error) diag.Position {
	var damaged *vault.FormatError
	if how == formBlock && errors.As(err, &damaged) {
		at.Line += damaged.Line
		at.Column = 0
	}
	return at
}

// sealedJSON is a value that JSON has encrypted: {"__ansible_vault": "…"}.
func (r *nodeReader) sealedJSON(n *yaml.Node) (Value, bool) {
	if len(n.Content) != 2 || n.Content[0].Value != vaultKey || n.Content[1].Kind != yaml.ScalarNode {
		return Value{}, false
	}
	return r.sealed(n.Content[1]), true
}

// unseal opens an encrypted value with the passwords of the run.
func (v Value) unseal(s *Scope) (any, error) {
	if known := v.n.sealed.plain.Load(); known != nil {
		return *known, nil
	}
	keys := s.keyring()
	plain, err := v.n.sealed.open(keys)
	if err != nil {
		return nil, &Error{cause: err, Diagnostic: v.unsealProblem(err)}
	}
	keys.Secrets().Add(plain)
	v.n.sealed.plain.Store(&plain)
	return plain, nil
}

func (v Value) unsealProblem(err error) diag.Diagnostic {
	problem := err.Error()
	var wrong *vault.PasswordError
	if errors.As(err, &wrong) {
		problem = "the value " + problem
	}
	return diag.Diagnostic{Position: v.n.at, Problem: problem, Hint: vault.Hint(err)}
}

func (e *sealed) open(keys *vault.Keyring) (string, error) {
	plain, err := keys.Open([]byte(e.text))
	return string(plain), err
}

// keyring is the passwords of the run; nil where there is no world.
func (s *Scope) keyring() *vault.Keyring {
	if s == nil || s.world == nil {
		return nil
	}
	return s.world.Keyring()
}

// Sealed says whether any part of the value is encrypted in its file (!vault).
func (v Value) Sealed() bool {
	if v.n == nil || v.n.static {
		return false
	}
	for _, item := range v.n.items {
		if item.Sealed() {
			return true
		}
	}
	for _, f := range v.n.fields {
		if f.Sealed() {
			return true
		}
	}
	return v.n.sealed != nil
}

// Locked tries to open everything in the value that is encrypted and gives a problem for each part that no
// password fits.
func (v Value) Locked(keys *vault.Keyring, problems *diag.List) {
	if v.n == nil || v.n.static {
		return
	}
	if v.n.sealed != nil {
		if _, err := v.n.sealed.open(keys); err != nil {
			*problems = append(*problems, v.unsealProblem(err))
		}
	}
	for _, item := range v.n.items {
		item.Locked(keys, problems)
	}
	for _, f := range v.n.fields {
		f.Locked(keys, problems)
	}
}

// Plain is the value where nothing but passwords is needed to know it, and whether any part of it was encrypted. An
// error says that a template is in it, or, as a diag.Diagnostic, that no password opens it.
func (v Value) Plain(keys *vault.Keyring) (d Data, sealed bool, err error) {
	plain, sealed, err := v.plain(keys)
	return Data{plain}, sealed, err
}

func (v Value) plain(keys *vault.Keyring) (any, bool, error) {
	switch {
	case v.n == nil:
		return nil, false, nil
	case v.n.static:
		return v.n.data, false, nil
	case v.n.sealed != nil:
		text, err := v.n.sealed.open(keys)
		if err != nil {
			return nil, true, v.unsealProblem(err)
		}
		return text, true, nil
	case v.n.prog != nil:
		return nil, false, errTemplate
	}
	return v.plainParts(keys)
}

// plainParts is plain for lists and mappings.
func (v Value) plainParts(keys *vault.Keyring) (any, bool, error) {
	sealed := false
	part := func(p Value) (any, error) {
		d, was, err := p.plain(keys)
		sealed = sealed || was
		return d, err
	}
	if v.n.kind == kindList {
		list := make([]any, len(v.n.items))
		for i, item := range v.n.items {
			d, err := part(item)
			if err != nil {
				return nil, sealed, err
			}
			list[i] = d
		}
		return list, sealed, nil
	}
	m := make(map[string]any, len(v.n.fields))
	for _, f := range v.n.fields {
		d, err := part(f.Value)
		if err != nil {
			return nil, sealed, err
		}
		m[f.Name] = d
	}
	return m, sealed, nil
}

var errTemplate = errors.New("a template is known in a run only")

// Secret gives the variables of an encrypted file: the same ones, whose texts and longer numbers are secrets of
// the run. Those of templates are once they are resolved.
func (vs *Values) Secret(keys *vault.Keyring) *Values {
	var entries []entry
	for e := range vs.all() {
		entries = append(entries, entry{e.name, e.value.secret(keys)})
	}
	return newValues(entries)
}

func (v Value) secret(keys *vault.Keyring) Value {
	n := *v.n
	switch {
	case n.static:
		learn(keys, n.data)
		return v
	case n.prog != nil:
		// What only passes another value on, such as a list of hosts, tells nothing of the file.
		if n.prog.single == nil || strings.ContainsAny(n.raw, "\"`") {
			n.secret = keys
		}
	}
	n.items, n.fields = make([]Value, len(v.n.items)), make([]Field, len(v.n.fields))
	for i, item := range v.n.items {
		n.items[i] = item.secret(keys)
	}
	for i, f := range v.n.fields {
		f.Value = f.Value.secret(keys)
		n.fields[i] = f
	}
	return Value{&n}
}

// leastNumber is how many digits a number needs to be a secret: shorter ones are ports, counts and sizes, which
// stand everywhere.
const leastNumber = 4

// learn makes the texts and longer numbers of a value secrets of the run.
func learn(keys *vault.Keyring, v any) {
	switch v := v.(type) {
	case string:
		keys.Secrets().Add(v)
	case int64, float64:
		if text := textOf(v); len(text) >= leastNumber {
			keys.Secrets().Add(text)
		}
	case []any:
		for _, e := range v {
			learn(keys, e)
		}
	case map[string]any:
		for _, e := range v {
			learn(keys, e)
		}
	}
}

// OpenFile gives the content of a file that was read, decrypted where it is encrypted. False, and a problem: no
// password opens it.
func OpenFile(path string, raw []byte, keys *vault.Keyring, problems *diag.List) (text []byte, encrypted, ok bool) {
	if !vault.Sealed(raw) {
		return raw, false, true
	}
	plain, err := keys.Open(raw)
	if err == nil {
		return plain, true, true
	}
	at := diag.Position{File: path, Line: 1, Column: 1}
	var damaged *vault.FormatError
	if errors.As(err, &damaged) {
		at.Line = damaged.Line
		problems.Add(at, "", "%v", err)
		return nil, true, false
	}
	problems.Add(at, vault.Hint(err), "the file %v", err)
	return nil, true, false
}
