package vars

import (
	"errors"
	"strings"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vault"
)

// Value is a value as a user wrote it: a scalar, list or mapping whose texts may be templates, with
// its place in the file. Templates are parsed once, when the file is read. The zero Value is not
// given. A Value is immutable and safe to resolve from several goroutines.
type Value struct{ n *node }

// node is a compiled value. A list or mapping without templates has data too, so that it is made once.
type node struct {
	at     diag.Position
	kind   nodeKind
	static bool
	data   any // when static
	raw    string
	prog   *program // of a template
	sealed *sealed  // of a value that is encrypted in the file
	// secret is set for a template that stands in an encrypted file: what it gives is a secret as well.
	secret *vault.Keyring
	items  []Value
	fields []Field
	size   int // how many nodes it has when every alias is written out
}

type nodeKind uint8

const (
	kindScalar nodeKind = iota
	kindList
	kindMapping
)

// Field is one entry of a mapping.
type Field struct {
	Name string
	At   diag.Position // of the key
	Value
}

// Ref is a variable that a template or expression uses.
type Ref struct {
	// Path is the name and the fields behind it: ["result", "stdout"].
	Path []string
	At   diag.Position
	// Optional is set where the variable may be undefined: an argument of defined, default, coalesce or
	// empty, or where the same text asks defined about it.
	Optional bool
	// Conditional is set where an if, with, range, and, or, or default may keep the variable from being
	// used at all.
	Conditional bool
}

// Literal is data that is never expanded, such as a registered result.
func Literal(d Data) Value { return Value{&node{static: true, data: d.v}} }

// FromText compiles one text, such as an extra variable's, as FromNode compiles a string.
func FromText(text string, at diag.Position, problems *diag.List) Value {
	return textValue(text, at, formText, problems)
}

func textValue(text string, at diag.Position, how form, problems *diag.List) Value {
	n := &node{at: at, raw: text, size: 1}
	src := &source{text: text, at: at, form: how}
	if !refuseStatements(src, problems) && strings.Contains(text, "{{") {
		n.prog = compile(src, plainDelims(), problems)
	}
	if n.prog == nil {
		n.static, n.data = true, text
	}
	return Value{n}
}

func plainDelims() [2]string { return [2]string{"{{", "}}"} }

// IsZero says whether the value was not given at all.
func (v Value) IsZero() bool { return v.n == nil }

// Position is where the value stands.
func (v Value) Position() diag.Position {
	if v.n == nil {
		return diag.Position{}
	}
	return v.n.at
}

// Raw is the text as written, for a scalar; "" for others.
func (v Value) Raw() string {
	if v.n == nil {
		return ""
	}
	return v.n.raw
}

// Templated says whether any part of the value is known in the run only: because it depends on variables, or is
// encrypted.
func (v Value) Templated() bool { return v.n != nil && !v.n.static }

// MakesText says whether the value is a template whose result is always text: one that is more than a
// single action.
func (v Value) MakesText() bool { return v.n != nil && v.n.prog != nil && v.n.prog.single == nil }

// Static is the value when it is not Templated; false otherwise. A value that was not given is null.
func (v Value) Static() (Data, bool) {
	if v.n == nil {
		return Data{}, true
	}
	return Data{v.n.data}, v.n.static
}

// Items are the elements of a value written as a list; nil for others.
func (v Value) Items() []Value {
	if v.n == nil {
		return nil
	}
	return v.n.items
}

// Fields are the entries of a value written as a mapping, in file order; nil for others.
func (v Value) Fields() []Field {
	if v.n == nil {
		return nil
	}
	return v.n.fields
}

// IsList and IsMapping say how the value is written, also when it is empty.
func (v Value) IsList() bool { return v.n != nil && v.n.kind == kindList }

// IsMapping says whether the value is written as a mapping, also an empty one.
func (v Value) IsMapping() bool { return v.n != nil && v.n.kind == kindMapping }

func (v Value) kindName() string {
	switch {
	case v.IsList():
		return "list"
	case v.IsMapping():
		return "mapping"
	case v.n.prog != nil:
		return "template"
	case v.n.sealed != nil:
		return "encrypted value"
	}
	return kindOf(v.n.data)
}

// Refs are the variables that a value uses, in order of appearance.
func (v Value) Refs() []Ref {
	if v.n == nil || v.n.static {
		return nil
	}
	if v.n.prog != nil {
		return v.n.prog.references()
	}
	var refs []Ref
	for _, item := range v.n.items {
		refs = append(refs, item.Refs()...)
	}
	for _, f := range v.n.fields {
		refs = append(refs, f.Refs()...)
	}
	return refs
}

// Resolve gives the value in a scope; list elements and mapping entries that resolve to Omit are left
// out. Errors are *Error with the position of the failing expression.
func (v Value) Resolve(s *Scope) (Data, error) {
	got, err := v.resolve(s, nil)
	return Data{got}, err
}

func (v Value) resolve(s *Scope, t *trail) (any, error) {
	switch {
	case v.n == nil:
		return nil, nil
	case v.n.static:
		return v.n.data, nil
	case v.n.prog != nil:
		got, err := v.n.prog.run(s, t)
		if err != nil {
			return nil, v.placed(err)
		}
		if text, ok := got.(string); ok && v.n.secret != nil {
			v.n.secret.Secrets().Add(text)
		}
		return got, nil
	case v.n.sealed != nil:
		return v.unseal(s)
	case v.n.kind == kindList:
		return v.resolveList(s, t)
	}
	return v.resolveMapping(s, t)
}

// placed makes sure that an error has a position.
func (v Value) placed(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return &Error{Diagnostic: diag.Diagnostic{Position: v.n.at, Problem: err.Error()}, Expression: shorten(v.n.raw), cause: err}
}

func (v Value) resolveList(s *Scope, t *trail) (any, error) {
	out := make([]any, 0, len(v.n.items))
	for _, item := range v.n.items {
		e, err := item.resolve(s, t)
		if err != nil {
			return nil, err
		}
		if !(Data{e}).IsOmit() {
			out = append(out, e)
		}
	}
	return out, nil
}

func (v Value) resolveMapping(s *Scope, t *trail) (any, error) {
	out := make(map[string]any, len(v.n.fields))
	for _, f := range v.n.fields {
		e, err := f.resolve(s, t)
		if err != nil {
			return nil, err
		}
		if !(Data{e}).IsOmit() {
			out[f.Name] = e
		}
	}
	return out, nil
}
