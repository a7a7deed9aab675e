package vars

import (
	"errors"
	"fmt"
)

type constant struct{ v any }

func (e constant) eval(*frame) (any, error) { return e.v, nil }

type dotExpression struct{}

func (dotExpression) eval(f *frame) (any, error) { return f.dot, nil }

type rootExpression struct{}

func (rootExpression) eval(f *frame) (any, error) { return f.root, nil }

type scopeExpression struct{}

func (scopeExpression) eval(f *frame) (any, error) { return f.scope, nil }

type slotExpression int

func (e slotExpression) eval(f *frame) (any, error) { return f.slots[e], nil }

type setExpression struct {
	slot  int
	value expression
}

func (e setExpression) eval(f *frame) (any, error) {
	v, err := e.value.eval(f)
	if err != nil {
		v = &unknown{} // only a sample goes on
	}
	f.slots[e.slot] = v
	return v, err
}

// logicExpression is and, or: the first argument that decides, or the last one.
type logicExpression struct {
	or   bool
	off  int
	args []expression
}

func (e logicExpression) eval(f *frame) (v any, err error) {
	for i, a := range e.args {
		yes := false
		if v, err = a.eval(f); err == nil {
			yes, err = f.decide(v, e.off)
		}
		if err != nil && f.probe != nil && errors.Is(err, ErrUnknown) {
			return nil, e.sample(f, e.args[i+1:], err)
		}
		if err != nil {
			return nil, err
		}
		if yes == e.or {
			return v, nil
		}
	}
	return v, nil
}

// sample looks at what may be evaluated behind an argument that is unknown.
func (e logicExpression) sample(f *frame, rest []expression, unsure error) error {
	return f.perhaps(unsure, func() error {
		for _, a := range rest {
			if _, err := a.eval(f); err != nil {
				f.probe.note(err)
			}
		}
		return nil
	})
}

type defaultExpression struct{ value, fallback expression }

func (e defaultExpression) eval(f *frame) (any, error) {
	v, err := e.value.eval(f)
	if err != nil || !isUndefined(v) {
		return v, err
	}
	return e.fallback.eval(f)
}

type coalesceExpression struct {
	args []expression
	off  int
}

func (e coalesceExpression) eval(f *frame) (any, error) {
	for _, a := range e.args {
		v, err := a.eval(f)
		if err != nil {
			return nil, err
		}
		if yes, err := f.decide(v, e.off); yes || err != nil {
			return v, err
		}
	}
	return nil, nil
}

type emptyExpression struct {
	arg expression
	off int
}

func (e emptyExpression) eval(f *frame) (any, error) {
	v, err := e.arg.eval(f)
	if err != nil {
		return nil, err
	}
	yes, err := f.decide(v, e.off)
	return !yes, err
}

type definedExpression struct{ arg expression }

func (e definedExpression) eval(f *frame) (any, error) {
	v, err := e.arg.eval(f)
	return !isUndefined(v), err
}

// definedPathExpression is defined with a path that is computed.
type definedPathExpression struct {
	arg expression
	off int
}

func (e definedPathExpression) eval(f *frame) (any, error) {
	v, err := e.arg.eval(f)
	if err != nil {
		return nil, err
	}
	text, ok := v.(string)
	path := splitPath(text)
	if !ok || path == nil {
		return nil, f.fail(e.off, nil, `give a path such as "a.b"`, describe(v)+" is no variable path")
	}
	got, err := fieldExpression{base: scopeExpression{}, path: path, off: e.off, lenient: true}.eval(f)
	return !isUndefined(got), err
}

// callExpression calls a function whose arguments are all needed.
type callExpression struct {
	fn      *function
	args    []expression
	offs    []int
	off     int
	lenient bool
}

func (e *callExpression) eval(f *frame) (any, error) {
	args := make([]any, len(e.args))
	var failed error
	size := 0
	for i, a := range e.args {
		v, err := a.eval(f)
		if err == nil {
			args[i], err = e.argument(f, v, e.offs[i], &size)
		}
		if err != nil && !f.passes(err) {
			return nil, err
		}
		if err != nil {
			failed = err
		}
	}
	if failed != nil {
		return nil, failed
	}
	if err := f.spend(e.work(args)+size/bytesPerWork, e.off); err != nil {
		return nil, err
	}
	if e.fn.unsteady {
		if err := f.trail.waver(&unsteadyUse{f.prog, e.off, e.fn.Name}); err != nil {
			return nil, err
		}
	}
	v, err := e.fn.call(&call{frame: f, off: e.off}, args)
	if err == nil {
		return v, e.given(f, v)
	}
	if e.lenient && errors.Is(err, ErrUndefined) {
		return undefined{}, nil
	}
	return nil, e.failure(f, err)
}

// argument makes a value fit to be given to the function. size is that of all arguments together.
func (e *callExpression) argument(f *frame, v any, off int, size *int) (any, error) {
	if _, isUnknown := v.(*unknown); e.fn.lazy || e.fn.carries && isUnknown {
		return v, nil
	}
	v, err := f.known(v, off)
	if err != nil || e.fn.carries && !e.fn.deep {
		return v, err
	}
	if *size += measure(v, maxOutput-*size, 0); *size > maxOutput {
		return nil, f.tooLarge(off)
	}
	if !e.fn.carries && hasUnknown(v) {
		return nil, f.partly(off)
	}
	return v, nil
}

// work is what a call costs, but for what its arguments take as text.
func (e *callExpression) work(args []any) int {
	work := callWork
	for _, a := range args {
		work += shallow(a)
	}
	if e.fn.cost != nil {
		work += e.fn.cost(args)
	}
	return work
}

// given checks what the function gives. Its size counts as work.
func (e *callExpression) given(f *frame, v any) error {
	work := 0
	switch v := v.(type) {
	case string:
		if len(v) > maxOutput {
			return f.fail(e.off, errTooMuch, "", fmt.Sprintf("the text grows beyond %d MiB", maxOutput>>20))
		}
		work += len(v) / bytesPerWork
	case []any:
		if len(v) > maxIterations {
			return f.fail(e.off, errTooMuch, "", fmt.Sprintf("the list grows beyond %d elements", maxIterations))
		}
		work += len(v)
	case map[string]any:
		if len(v) > maxIterations {
			return f.fail(e.off, errTooMuch, "", fmt.Sprintf("the mapping grows beyond %d entries", maxIterations))
		}
		work += 4 * len(v)
	}
	return f.spend(work, e.off)
}

// failure places a function's error, unless it is about another template and has a place.
func (e *callExpression) failure(f *frame, err error) error {
	var placed *Error
	if errors.As(err, &placed) {
		return err
	}
	hint := "usage: " + e.fn.Usage
	var arg *argumentError
	if errors.As(err, &arg) {
		off := e.off
		if arg.index < len(e.offs) {
			off = e.offs[arg.index]
		}
		return f.fail(off, err, hint, fmt.Sprintf("%s: %s", e.fn.Name, arg.problem))
	}
	return f.fail(e.off, err, hint, fmt.Sprintf("%s: %v", e.fn.Name, err))
}

// known gives an argument in full and refuses what check mode does not know.
func (f *frame) known(v any, off int) (any, error) {
	v, err := f.plain(v)
	if err != nil {
		return nil, err
	}
	switch v.(type) {
	case *unknown:
		return nil, f.fail(off, ErrUnknown, "", "the value is "+unknownText)
	case omitted:
		return nil, f.fail(off, nil, "give omit as the whole value, or as the fallback of default", "omit is no value to compute with")
	}
	return v, nil
}

func (f *frame) partly(off int) error {
	return f.fail(off, ErrUnknown, "", "a part of the value is "+unknownText)
}

// decide is truth for a condition: a value of which nothing is known decides nothing.
func (f *frame) decide(v any, off int) (bool, error) {
	if u, ok := v.(*unknown); ok && len(u.fields) == 0 {
		return false, f.fail(off, ErrUnknown, "", "the value is "+unknownText)
	}
	return truth(v), nil
}

// truth is Go templates' truth: false are false, 0, "", null and what is empty.
func truth(v any) bool {
	switch v := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	case lazy:
		return len(v.keys()) > 0
	}
	return true
}
