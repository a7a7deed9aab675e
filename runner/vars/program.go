package vars

import (
	"errors"

	"github.com/pegbook/pegbook/runner/diag"
)

// program is a compiled text.
type program struct {
	src    *source
	delims [2]string
	body   []statement
	// single is set when the text is exactly one action: its value keeps its type.
	single expression
	named  map[string]*routine
	slots  int
	refs   []use
	// lib is what compiles templates that this one looks up.
	lib map[string]*function
}

// routine is the body of a {{define}}.
type routine struct {
	body  []statement
	slots int
}

// expression is a part of a template that has a value.
type expression interface {
	eval(f *frame) (any, error)
}

// statement is a part of a template that prints.
type statement interface {
	run(f *frame) error
}

// frame is one evaluation of a program or routine.
type frame struct {
	scope *Scope
	prog  *program
	root  any // $
	dot   any
	slots []any
	trail *trail
	out   []byte
	depth int
	probe *probe // of a sample, else nil
	// start is the trail of an evaluation that begins here.
	start struct {
		trail
		evaluation
	}
}

func newFrame(p *program, s *Scope, t *trail) *frame {
	f := &frame{scope: s, prog: p, root: s, dot: s, trail: t}
	if t == nil {
		f.trail = &f.start.trail
		f.trail.evaluation = &f.start.evaluation
		f.trail.evaluation.steady = s.steady
	}
	return f
}

// run gives the program's value in a scope.
func (p *program) run(s *Scope, t *trail) (any, error) {
	if t.isSample() {
		return p.sampleWithin(s, t)
	}
	f := newFrame(p, s, t)
	if p.slots > 0 {
		f.slots = make([]any, p.slots)
	}
	if p.single != nil {
		v, err := p.single.eval(f)
		if err != nil {
			return nil, err
		}
		if v, err = f.plain(v); err != nil {
			return nil, err
		}
		return v, f.bounded(v, p.src.shift)
	}
	if err := runAll(f, p.body); err != nil {
		return nil, err
	}
	return string(f.out), nil
}

// use is a Ref whose place is not worked out yet.
type use struct {
	path                  []string
	off                   int
	optional, conditional bool
}

// references gives the variables that the program uses with their places.
func (p *program) references() []Ref {
	if len(p.refs) == 0 {
		return nil
	}
	place := p.src.placer()
	out := make([]Ref, len(p.refs))
	for i, u := range p.refs {
		out[i] = Ref{Path: u.path, At: place(u.off), Optional: u.optional, Conditional: u.conditional}
	}
	return out
}

// position is where a byte of the program's text is written.
func (p *program) position(off int) diag.Position { return p.src.position(off) }

// fail makes an error at a byte of the template.
func (f *frame) fail(off int, cause error, hint, problem string) *Error {
	if f.trail.isSample() && errors.Is(cause, ErrUnknown) {
		// It is told nobody, and there may be many: its place would take reading the file.
		return &Error{Diagnostic: diag.Diagnostic{Problem: problem}, cause: ErrUnknown}
	}
	return &Error{
		Diagnostic: diag.Diagnostic{Position: f.prog.position(off), Problem: problem, Hint: hint},
		Expression: f.prog.src.expression(off, f.prog.delims),
		cause:      cause,
	}
}
