package vars

import (
	"errors"
	"fmt"

	"github.com/pegbook/pegbook/runner/diag"
)

// undefined stands for a variable or field that does not exist, where the expression allows that.
type undefined struct{}

func isUndefined(v any) bool { return v == any(undefined{}) }

// lazy is a mapping whose fields are resolved one by one when they are asked for.
type lazy interface {
	keys() []string
	// field gives a field; false when there is none.
	field(name string, t *trail) (any, bool, error)
}

// hostvars is .hostvars: every host of the inventory.
type hostvars struct{ world World }

func (h hostvars) keys() []string { return h.world.HostNames() }

func (h hostvars) field(name string, _ *trail) (any, bool, error) {
	s, ok := h.world.HostScope(name)
	if !ok {
		return nil, false, nil
	}
	return hostView{s}, true, nil
}

// hostView is the variables of one host.
type hostView struct{ scope *Scope }

func (h hostView) keys() []string { return h.scope.written() }

func (h hostView) field(name string, t *trail) (any, bool, error) {
	return h.scope.lookup(name, t.abroad())
}

// plain gives a value without lazy parts.
func (f *frame) plain(v any) (any, error) {
	switch v := v.(type) {
	case lazy:
		return f.gather(v)
	case *Scope:
		return nil, errors.New("the dot stands for all variables here: name one of them")
	}
	return v, nil
}

func (f *frame) gather(l lazy) (any, error) {
	out := map[string]any{}
	for _, name := range l.keys() {
		v, ok, err := l.field(name, f.trail)
		if err != nil {
			return nil, err
		}
		if v, err = f.plain(v); err != nil {
			return nil, err
		}
		if ok {
			out[name] = v
		}
	}
	return out, nil
}

// get reaches for one field. false: the value has no such field, or is nothing that has fields.
func (f *frame) get(v any, name string) (any, bool, error) {
	switch v := v.(type) {
	case *Scope:
		return v.lookup(name, f.trail)
	case map[string]any:
		e, ok := v[name]
		return e, ok, nil
	case lazy:
		return v.field(name, f.trail)
	case *unknown:
		if e, ok := v.fields[name]; ok {
			return e, true, nil
		}
		return nil, false, ErrUnknown
	}
	return nil, false, nil
}

// fieldExpression is .a.b.c, or (…).a.
type fieldExpression struct {
	base    expression
	path    []string
	off     int // of the dot before the first name
	lenient bool
}

func (e fieldExpression) eval(f *frame) (any, error) {
	v, err := e.base.eval(f)
	if err != nil {
		return nil, err
	}
	if isUndefined(v) {
		return v, nil
	}
	for i, name := range e.path {
		next, ok, err := f.get(v, name)
		if err != nil {
			if e.lenient && errors.Is(err, ErrUndefined) {
				return undefined{}, nil
			}
			return nil, e.failure(f, i, err)
		}
		if !ok {
			if e.lenient {
				return undefined{}, nil
			}
			return nil, e.missing(f, i, v)
		}
		v = next
	}
	return v, nil
}

// offset is where the i-th name of the path begins, with its dot.
func (e fieldExpression) offset(i int) int {
	off := e.off
	for _, name := range e.path[:i] {
		off += len(name) + 1
	}
	return off
}

func (e fieldExpression) failure(f *frame, i int, err error) error {
	var placed *Error
	if errors.As(err, &placed) {
		return err
	}
	if errors.Is(err, ErrUnknown) {
		return f.fail(e.offset(i), ErrUnknown, "", fmt.Sprintf("%s is %s", e.upTo(i), unknownText))
	}
	return f.fail(e.offset(i), err, "", fmt.Sprintf("%s: %v", e.upTo(i), err))
}

// upTo is the path up to the i-th name, as written.
func (e fieldExpression) upTo(i int) string {
	text := ""
	for _, name := range e.path[:i+1] {
		text += "." + name
	}
	return text
}

// missing explains why the i-th name was not found in v.
func (e fieldExpression) missing(f *frame, i int, v any) error {
	name, off := e.path[i], e.offset(i)
	in := " in " + f.prog.src.expression(off, f.prog.delims)
	switch v := v.(type) {
	case *Scope:
		return f.fail(off, ErrUndefined, diag.DidYouMean(name, v.Names()), fmt.Sprintf("variable %q is not defined%s", name, in))
	case hostvars:
		return f.fail(off, ErrUndefined, diag.DidYouMean(name, v.keys()), fmt.Sprintf("no host is called %q%s", name, in))
	case hostView:
		return f.fail(off, ErrUndefined, diag.DidYouMean(name, v.keys()), fmt.Sprintf("variable %q is not defined for that host%s", name, in))
	case map[string]any:
		return f.fail(off, ErrUndefined, diag.DidYouMean(name, sortedKeys(v)), fmt.Sprintf("field %q is not there%s", name, in))
	case []any:
		hint := "go over it with range, or take one element with index"
		return f.fail(off, ErrUndefined, hint, fmt.Sprintf("a list has no field %q%s", name, in))
	}
	return f.fail(off, ErrUndefined, "", fmt.Sprintf("%s has no field %q%s", describe(v), name, in))
}

// indexExpression is index BASE KEY….
type indexExpression struct {
	base    expression
	keys    []expression
	offs    []int
	off     int
	lenient bool
}

func (e indexExpression) eval(f *frame) (any, error) {
	v, err := e.base.eval(f)
	if err != nil || isUndefined(v) {
		return v, err
	}
	for i, k := range e.keys {
		key, err := k.eval(f)
		if err == nil {
			key, err = f.known(key, e.offs[i])
		}
		if err == nil {
			v, err = e.element(f, v, key, e.offs[i])
		}
		if e.lenient && errors.Is(err, ErrUndefined) {
			return undefined{}, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (e indexExpression) element(f *frame, v, key any, off int) (any, error) {
	switch list := v.(type) {
	case []any:
		i, err := wholeNumber(key)
		if err != nil {
			return nil, f.fail(off, nil, "", "index of a list: "+err.Error())
		}
		if i < 0 || i >= int64(len(list)) {
			return nil, f.fail(off, ErrUndefined, "the first element is index 0", fmt.Sprintf("index %d is outside a list of %d", i, len(list)))
		}
		return list[i], nil
	case string, bool, int64, float64:
		return nil, f.fail(off, nil, "", "index takes a list or a mapping, not "+describe(v))
	}
	if u, ok := v.(*unknown); ok && u.elem != nil {
		return u.elem, nil
	}
	name := textOf(key)
	next, ok, err := f.get(v, name)
	if err == nil && ok {
		return next, nil
	}
	path := fieldExpression{path: []string{name}, off: off}
	if err != nil {
		return nil, path.failure(f, 0, err)
	}
	return nil, path.missing(f, 0, v)
}
