package vars

import (
	"errors"
	"slices"

	"github.com/pegbook/pegbook/runner/diag"
)

// Use is a Ref whose place is worked out when somebody asks for it, as that takes reading the file.
type Use struct {
	// Path, Optional and Conditional are those of Ref.
	Path                  []string
	Optional, Conditional bool

	prog *program
	off  int
}

// At is where the use stands.
func (u Use) At() diag.Position { return u.prog.position(u.off) }

// Resolve gives what the path holds in a scope, or the error that it gives there.
func (u Use) Resolve(s *Scope) (Data, error) {
	f := newFrame(u.prog, s, nil)
	f.trail.evaluation.sample = true
	v, err := fieldExpression{base: scopeExpression{}, path: u.Path, off: u.off}.eval(f)
	if _, isLazy := v.(lazy); isLazy {
		v = &unknown{} // all variables of a host, or all hosts: that they are there is enough
	}
	return Data{v}, err
}

// Uses are the variables that a value uses, in order of appearance.
func (v Value) Uses() []Use {
	switch {
	case v.n == nil || v.n.static:
		return nil
	case v.n.prog != nil:
		return v.n.prog.uses()
	}
	var all []Use
	for _, item := range v.n.items {
		all = append(all, item.Uses()...)
	}
	for _, f := range v.n.fields {
		all = append(all, f.Uses()...)
	}
	return all
}

// Uses are the variables that the expression uses.
func (e Expr) Uses() []Use { return e.v.Uses() }

// Uses are the variables that the template uses.
func (t *Template) Uses() []Use { return t.prog.uses() }

func (p *program) uses() []Use {
	if len(p.refs) == 0 {
		return nil
	}
	all := make([]Use, len(p.refs))
	for i, u := range p.refs {
		all[i] = Use{Path: u.path, Optional: u.optional, Conditional: u.conditional, prog: p, off: u.off}
	}
	return all
}

// Written gives a variable as it is written, with its layer. False: no layer defines it.
func (s *Scope) Written(name string) (Value, Layer, bool) {
	for _, l := range s.layers {
		if v, ok := l.vs.Get(name); ok {
			return v, l.layer, true
		}
	}
	if name == "omit" || name == "hostvars" && s.world != nil {
		return Literal(Unknown(nil)), Magic, true
	}
	return Value{}, 0, false
}

// Under says whether a layer below another has a variable, too.
func (s *Scope) Under(layer Layer, name string) bool {
	for _, l := range s.layers {
		if l.layer < layer {
			if _, ok := l.vs.Get(name); ok {
				return true
			}
		}
	}
	return false
}

// Sample is Resolve in a scope where much is unknown, for finding mistakes before a run: it goes on behind
// what is unknown, as far as that can still be evaluated, and gives every error but ErrUnknown. The data is unknown
// where any part of it is.
func (v Value) Sample(s *Scope) (Data, []error) {
	switch {
	case v.n == nil || v.n.static:
		d, _ := v.Static()
		return d, nil
	case v.n.prog != nil:
		return v.n.prog.sample(s, v)
	}
	var found []error
	for _, item := range v.n.items {
		_, errs := item.Sample(s)
		found = append(found, errs...)
	}
	for _, f := range v.n.fields {
		_, errs := f.Sample(s)
		found = append(found, errs...)
	}
	if len(found) > 0 {
		return Unknown(nil), found
	}
	d, err := v.Resolve(s)
	if err != nil {
		return v.outline(s), nil
	}
	return d, nil
}

// outline is a list or mapping of which parts are unknown.
func (v Value) outline(s *Scope) Data {
	switch {
	case v.IsMapping():
		out := map[string]any{}
		for _, f := range v.n.fields {
			d, _ := f.Sample(s)
			out[f.Name] = d.v
		}
		return Data{out}
	case v.IsList():
		out := make([]any, len(v.n.items))
		for i, item := range v.n.items {
			d, _ := item.Sample(s)
			out[i] = d.v
		}
		return Data{out}
	}
	return Unknown(nil)
}

// Sample is Eval as Value.Sample is Resolve.
func (e Expr) Sample(s *Scope) (Data, []error) { return e.v.Sample(s) }

// Sample renders the template as Value.Sample resolves.
func (t *Template) Sample(s *Scope) []error {
	_, found := t.prog.sample(s, Value{&node{at: t.prog.src.at}})
	return found
}

func (p *program) sample(s *Scope, v Value) (Data, []error) {
	f := newFrame(p, s, nil)
	f.trail.evaluation.sample = true
	got := f.sample()
	for i, err := range f.probe.found {
		f.probe.found[i] = v.placed(err)
	}
	if f.probe.blind || len(f.probe.found) > 0 {
		return Unknown(nil), f.probe.found
	}
	return Data{got}, nil
}

// sampleWithin samples what another sample has led to. Of several errors it gives one: whoever asks may well cope.
func (p *program) sampleWithin(s *Scope, t *trail) (any, error) {
	f := newFrame(p, s, t)
	got := f.sample()
	switch {
	case len(f.probe.found) > 0:
		return nil, f.probe.found[0]
	case f.probe.blind:
		return nil, ErrUnknown
	}
	return got, nil
}

// sample evaluates the frame's program with a probe.
func (f *frame) sample() (got any) {
	f.probe = &probe{}
	p := f.prog
	if p.slots > 0 {
		f.slots = make([]any, p.slots)
	}
	var err error
	if p.single != nil {
		if got, err = p.single.eval(f); err == nil {
			got, err = f.plain(got)
		}
	} else {
		err = runAll(f, p.body)
		got = string(f.out)
	}
	if err != nil {
		f.probe.note(err)
	}
	return got
}

// probe is what a sample finds.
type probe struct {
	found []error
	blind bool // something was unknown
	// unsure is how many conditions around are unknown: what fails there may never be evaluated.
	unsure int
}

// note keeps an error; what is unknown is none.
func (p *probe) note(err error) {
	if errors.Is(err, ErrUnknown) {
		p.blind = true
		return
	}
	if placed := (*Error)(nil); p.unsure > 0 && errors.As(err, &placed) {
		perhaps := *placed
		perhaps.Perhaps = true
		err = &perhaps
	}
	if !slices.ContainsFunc(p.found, func(have error) bool { return have.Error() == err.Error() }) {
		p.found = append(p.found, err)
	}
}

// perhaps samples what is evaluated only if something unknown is so, and gives the error that says it is unknown.
func (f *frame) perhaps(unsure error, what func() error) error {
	f.probe.unsure++
	defer func() { f.probe.unsure-- }()
	if err := what(); err != nil {
		return err
	}
	return unsure
}

// passes says whether a sample goes on behind an error.
func (f *frame) passes(err error) bool {
	if f.probe == nil || errors.Is(err, errTooMuch) || errors.Is(err, errBreak) || errors.Is(err, errContinue) {
		return false
	}
	f.probe.note(err)
	return true
}
