package vars

import (
	"errors"
	"fmt"
)

// errBreak and errContinue leave the statements of a loop; they never leave runAll of a program, as the
// parser allows them in loops only.
var (
	errBreak    = errors.New("break")
	errContinue = errors.New("continue")
)

func runAll(f *frame, body []statement) error {
	for _, s := range body {
		if err := s.run(f); err != nil && !f.passes(err) {
			return err
		}
	}
	return nil
}

type textStatement string

func (s textStatement) run(f *frame) error { f.out = append(f.out, s...); return nil }

type jumpStatement struct{ to error }

func (s jumpStatement) run(*frame) error { return s.to }

// printStatement is {{ value }}.
type printStatement struct {
	value expression
	off   int
}

func (s printStatement) run(f *frame) error {
	v, err := s.value.eval(f)
	if err != nil {
		return err
	}
	if text, ok := v.(string); ok {
		return f.print(text, s.off)
	}
	if v, err = f.known(v, s.off); err != nil {
		return err
	}
	if err := f.bounded(v, s.off); err != nil {
		return err
	}
	if hasUnknown(v) {
		return f.partly(s.off)
	}
	return f.print(textOf(v), s.off)
}

// print adds to the output. It keeps a loop that prints without end from filling the memory.
func (f *frame) print(text string, off int) error {
	if len(f.out)+len(text) > maxOutput {
		return f.fail(off, errTooMuch, "", fmt.Sprintf("the text grows beyond %d MiB", maxOutput>>20))
	}
	f.out = append(f.out, text...)
	return f.spend(len(text)/bytesPerWork, off)
}

// quietStatement is {{ $x := value }}.
type quietStatement struct{ value expression }

func (s quietStatement) run(f *frame) error {
	_, err := s.value.eval(f)
	return err
}

// ifStatement is if and with.
type ifStatement struct {
	cond            expression
	off             int
	with            bool
	then, otherwise []statement
}

func (s ifStatement) run(f *frame) error {
	v, err := s.cond.eval(f)
	yes := false
	if err == nil {
		yes, err = f.decide(v, s.off)
	}
	if err != nil && f.probe != nil && errors.Is(err, ErrUnknown) {
		return s.sample(f, err)
	}
	if err != nil {
		return err
	}
	if !yes {
		return runAll(f, s.otherwise)
	}
	if s.with {
		defer func(dot any) { f.dot = dot }(f.dot)
		f.dot = v
	}
	return runAll(f, s.then)
}

// sample goes through both ways when nobody knows which one it will be.
func (s ifStatement) sample(f *frame, unsure error) error {
	return f.perhaps(unsure, func() error {
		dot := f.dot
		if s.with {
			f.dot = &unknown{}
		}
		err := runAll(f, s.then)
		f.dot = dot
		if err != nil {
			return err
		}
		return runAll(f, s.otherwise)
	})
}

// rangeStatement is range; key and value are slots or -1.
type rangeStatement struct {
	over            expression
	off             int
	key, value      int
	body, otherwise []statement
}

func (s rangeStatement) run(f *frame) error {
	v, err := s.over.eval(f)
	if err != nil {
		return err
	}
	defer func(dot any) { f.dot = dot }(f.dot)
	dot := f.dot
	n, err := s.each(f, v)
	if errors.Is(err, errBreak) {
		return nil
	}
	if n == 0 && err == nil {
		f.dot = dot
		return runAll(f, s.otherwise)
	}
	return err
}

func (s rangeStatement) each(f *frame, v any) (n int, err error) {
	switch v := v.(type) {
	case nil:
		return 0, nil
	case []any:
		for i, e := range v {
			if err := s.once(f, int64(i), e); err != nil {
				return n + 1, err
			}
			n++
		}
		return n, nil
	case int64:
		if v > maxIterations {
			return 1, f.fail(s.off, nil, "", fmt.Sprintf("range goes over at most %d numbers", maxIterations))
		}
		for i := range max(v, 0) {
			if err := s.once(f, i, i); err != nil {
				return n + 1, err
			}
			n++
		}
		return n, nil
	}
	return s.eachKey(f, v)
}

func (s rangeStatement) eachKey(f *frame, v any) (n int, err error) {
	var keys []string
	switch m := v.(type) {
	case map[string]any:
		keys = sortedKeys(m)
	case lazy:
		keys = m.keys()
	case *unknown:
		if f.probe != nil && m.elem != nil {
			if err := s.once(f, &unknown{}, m.elem); err != nil {
				return 1, err
			}
		}
		return 1, f.fail(s.off, ErrUnknown, "", "the value is "+unknownText)
	default:
		return 1, f.fail(s.off, nil, "range takes a list, a mapping or a whole number", "range cannot go over "+describe(v))
	}
	for _, k := range keys {
		e, _, err := f.get(v, k)
		if err == nil {
			err = s.once(f, k, e)
		}
		if err != nil {
			return n + 1, err
		}
		n++
	}
	return n, nil
}

func (s rangeStatement) once(f *frame, key, value any) error {
	if err := f.spend(iterationWork, s.off); err != nil {
		return err
	}
	if s.key >= 0 {
		f.slots[s.key] = key
	}
	if s.value >= 0 {
		f.slots[s.value] = value
	}
	f.dot = value
	err := runAll(f, s.body)
	if errors.Is(err, errContinue) {
		return nil
	}
	return err
}

// templateStatement is {{ template "name" dot }}.
type templateStatement struct {
	name string
	dot  expression
	off  int
}

func (s templateStatement) run(f *frame) error {
	if f.depth >= maxDepth {
		return f.fail(s.off, nil, "", fmt.Sprintf("template %q calls itself more than %d times", s.name, maxDepth))
	}
	if err := f.spend(callWork, s.off); err != nil {
		return err
	}
	inner := *f
	inner.depth++
	inner.dot, inner.root = nil, nil
	if s.dot != nil {
		v, err := s.dot.eval(f)
		if err != nil {
			return err
		}
		inner.dot, inner.root = v, v
	}
	r := f.prog.named[s.name]
	inner.slots = make([]any, r.slots)
	err := runAll(&inner, r.body)
	f.out = inner.out
	return err
}
