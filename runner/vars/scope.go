package vars

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vault"
)

// Layer is where a variable stands in the order of precedence; a higher layer hides a lower one. The
// numbers are the rows of ansible-semantics VAR-3.
type Layer int

// Layers, lowest first.
const (
	RoleDefaults  Layer = 1
	HostInventory Layer = 10 // inventory, group_vars, host_vars: already merged by package inventory
	Facts         Layer = 11
	PlayVars      Layer = 12
	PlayVarsFiles Layer = 13
	RoleVars      Layer = 14
	BlockVars     Layer = 15 // pushed once a block, outermost first
	TaskVars      Layer = 16
	IncludeVars   Layer = 17
	SetFact       Layer = 18 // also register
	RoleParams    Layer = 19
	IncludeParams Layer = 20
	LoopVars      Layer = 20 // pushed after IncludeParams
	ExtraVars     Layer = 21
	Magic         Layer = 22
)

// World is what a scope can reach beyond its own variables. The runner provides it. Methods are called
// while templates are evaluated, from several goroutines.
type World interface {
	// HostScope is the scope in which another host's variables resolve (hostvars): inventory variables,
	// facts, set_fact and register. False when there is no such host. It is asked for every use, so it
	// should keep what it made while that host's variables stay the same.
	HostScope(host string) (*Scope, bool)
	// HostNames are all hosts of the inventory, for ranging over hostvars.
	HostNames() []string
	// Select gives the names of the hosts that a pattern selects.
	Select(pattern string) ([]string, error)
	// ReadFile reads a file of the control node by a name relative to the playbook or role (lookup_file).
	// A file that is encrypted is opened.
	ReadFile(name string) ([]byte, error)
	// Keyring is the passwords that open encrypted values; nil for none.
	Keyring() *vault.Keyring
}

// Scope is what names mean for one host at one moment. It is immutable: With gives a new one that
// shares everything else, so making one costs next to nothing however many variables there are. A
// scope remembers what it has resolved. It may be used from several goroutines.
type Scope struct {
	world  World
	layers []layered // highest first
	steady bool      // only what comes out the same each time
	watch  *watch
	// tracked is told which variables are used; nil: nobody wants to know.
	tracked *Uses

	mu       sync.Mutex
	resolved map[string]any // guarded by mu; values of templates only
	// unsteady holds, of the resolved, those that would come out otherwise if they were resolved again.
	unsteady map[string]*unsteadyUse // guarded by mu
}

type layered struct {
	layer Layer
	vs    *Values
}

// NewScope makes an empty scope. w may be nil where there are no other hosts and files.
func NewScope(w World) *Scope { return &Scope{world: w} }

// With gives a scope in which the variables of vs stand at a layer, above others of the same layer.
func (s *Scope) With(layer Layer, vs *Values) *Scope {
	if vs.Len() == 0 {
		return s
	}
	at := 0
	for at < len(s.layers) && s.layers[at].layer > layer {
		at++
	}
	layers := make([]layered, 0, len(s.layers)+1)
	layers = append(layers, s.layers[:at]...)
	layers = append(layers, layered{layer, vs})
	layers = append(layers, s.layers[at:]...)
	return &Scope{world: s.world, layers: layers, watch: s.watch, tracked: s.tracked, steady: s.steady}
}

// watch is a variable that somebody wants to know the use of.
type watch struct {
	name string
	seen *atomic.Bool
}

// Watch gives a scope that sets seen when the variable is used in it, or in those made of it: by its name, or
// maybe through .hostvars or hostvar.
func (s *Scope) Watch(name string, seen *atomic.Bool) *Scope {
	return &Scope{world: s.world, layers: s.layers, watch: &watch{name, seen}, tracked: s.tracked, steady: s.steady}
}

// uses tells the watch of a variable that is looked up.
func (s *Scope) uses(name string) {
	if s.watch != nil && (name == s.watch.name || name == "hostvars") {
		s.watch.seen.Store(true)
	}
}

// Stack is a scope in the making. The zero Stack is empty. It is not for use by several goroutines.
type Stack struct{ layers []layered }

// Push lays the variables of vs at a layer, above others of the same layer.
func (b *Stack) Push(layer Layer, vs *Values) {
	if vs.Len() == 0 {
		return
	}
	if b.layers == nil {
		b.layers = make([]layered, 0, 16) // a task's scope in a role has about a dozen
	}
	at := 0
	for at < len(b.layers) && b.layers[at].layer > layer {
		at++
	}
	b.layers = slices.Insert(b.layers, at, layered{layer, vs})
}

// Clone is a copy that grows by itself.
func (b *Stack) Clone() Stack {
	return Stack{append(make([]layered, 0, len(b.layers)+8), b.layers...)}
}

// Scope gives the scope as it stands; what is pushed later does not reach it. w may be nil, as for NewScope.
func (b *Stack) Scope(w World) *Scope { return &Scope{world: w, layers: slices.Clone(b.layers)} }

// Steady gives the same scope for what must come out the same each time: using a function that gives something
// else at each call (now, uuidv4, …) is an error in it, also in the variables that are used.
func (s *Scope) Steady() *Scope {
	return &Scope{world: s.world, layers: s.layers, watch: s.watch, tracked: s.tracked, steady: true}
}

// Lookup resolves a variable. False: no layer defines it.
func (s *Scope) Lookup(name string) (Data, bool, error) {
	v, ok, err := s.lookup(name, nil)
	if l, isLazy := v.(lazy); isLazy && err == nil {
		v, err = (&frame{scope: s}).gather(l)
	}
	return Data{v}, ok, err
}

// Names lists every variable that is defined, sorted.
func (s *Scope) Names() []string {
	names := map[string]bool{"omit": true}
	if s.world != nil {
		names["hostvars"] = true
	}
	for _, l := range s.layers {
		for e := range l.vs.all() {
			names[e.name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// written is Names without what every scope has.
func (s *Scope) written() []string {
	return slices.DeleteFunc(s.Names(), func(n string) bool {
		_, ok := s.value(n)
		return !ok
	})
}

// Definition is one of the places that give a variable.
type Definition struct {
	Layer Layer
	Value Value
}

// Definitions are all that define a variable, the one that counts first, then those that it hides, nearest
// first.
func (s *Scope) Definitions(name string) []Definition {
	var all []Definition
	for _, l := range s.layers {
		if v, ok := l.vs.Get(name); ok {
			all = append(all, Definition{l.layer, v})
		}
	}
	return all
}

// Origin says which layer a variable comes from and where it is written. False: not defined.
func (s *Scope) Origin(name string) (Layer, diag.Position, bool) {
	for _, l := range s.layers {
		if v, ok := l.vs.Get(name); ok {
			return l.layer, v.Position(), true
		}
	}
	if name == "omit" || name == "hostvars" && s.world != nil {
		return Magic, diag.Position{}, true
	}
	return 0, diag.Position{}, false
}

func (s *Scope) value(name string) (Value, bool) {
	for _, l := range s.layers {
		if v, ok := l.vs.Get(name); ok {
			return v, true
		}
	}
	return Value{}, false
}

// trail is the variables that are being resolved, innermost first. It finds cycles. A nil trail is its start.
type trail struct {
	scope  *Scope
	name   string // "" where the way leads to another host
	depth  int
	before *trail
	// foreign is set beyond the scope where the resolving began; volatile when more than the scope's own
	// variables was used. A foreign scope outlives the task, other hosts' variables and files change: so
	// what is both is not remembered.
	foreign, volatile bool
	// evaluation is shared by all trails of one.
	evaluation *evaluation
}

// isSample says whether a value is only sampled.
func (t *trail) isSample() bool { return t != nil && t.evaluation.sample }

func (t *trail) next(s *Scope, name string) *trail {
	n := &trail{scope: s, name: name, before: t, depth: 1}
	if t != nil {
		n.depth, n.foreign, n.evaluation = t.depth+1, t.foreign, t.evaluation
	} else {
		n.evaluation = &evaluation{steady: s != nil && s.steady}
	}
	return n
}

// touch notes that what is being resolved uses more than its scope's variables.
func (t *trail) touch() {
	for ; t != nil; t = t.before {
		t.volatile = true
	}
}

// abroad is the way to another host's variables.
func (t *trail) abroad() *trail {
	t.touch()
	n := t.next(nil, "")
	n.foreign = true
	return n
}

// maxTrail bounds chains of variables. A cycle through other hosts' scopes may show only by its length,
// when the World makes a new scope for each use.
const maxTrail = 100

func (s *Scope) lookup(name string, t *trail) (any, bool, error) {
	s.uses(name)
	v, ok := s.value(name)
	if !ok {
		return s.builtin(name)
	}
	s.tracked.add(name, v)
	if d, static := v.Static(); static {
		return d.v, true, nil
	}
	s.mu.Lock()
	known, ok := s.resolved[name]
	unsteady := s.unsteady[name]
	s.mu.Unlock()
	if ok {
		return known, true, t.waver(unsteady)
	}
	next := t.next(s, name)
	before := next.evaluation.unsteady
	next.evaluation.unsteady = nil
	if err := next.cycle(v); err != nil {
		return nil, true, err
	}
	got, err := v.resolve(s, next)
	if err != nil {
		return nil, true, through(err, name)
	}
	unsteady = next.evaluation.unsteady
	next.evaluation.unsteady = before
	if err := t.waver(unsteady); err != nil {
		return nil, true, err
	}
	if !next.foreign || !next.volatile {
		s.remember(name, got, unsteady)
	}
	return got, true, nil
}

// waver notes that what is being evaluated would come out otherwise the next time. Where that must not be, it is
// an error.
func (t *trail) waver(by *unsteadyUse) error {
	if t == nil || by == nil {
		return nil
	}
	if t.evaluation.steady {
		return by.fail()
	}
	if t.evaluation.unsteady == nil {
		t.evaluation.unsteady = by
	}
	return nil
}

func (s *Scope) remember(name string, v any, unsteady *unsteadyUse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if unsteady != nil {
		if s.unsteady == nil {
			s.unsteady = map[string]*unsteadyUse{}
		}
		s.unsteady[name] = unsteady
	}
	if s.resolved == nil {
		s.resolved = map[string]any{}
	}
	s.resolved[name] = v
}

// builtin gives the variables that every scope has.
func (s *Scope) builtin(name string) (any, bool, error) {
	switch {
	case name == "omit":
		return omitted{}, true, nil
	case name == "hostvars" && s.world != nil:
		return hostvars{s.world}, true, nil
	}
	return nil, false, nil
}

// cycle is the error when the innermost variable is being resolved already.
func (t *trail) cycle(v Value) error {
	names := []string{t.name}
	for b := t.before; b != nil; b = b.before {
		if b.name == "" {
			continue
		}
		names = append(names, b.name)
		if b.name == t.name && (b.scope == t.scope || t.depth >= maxTrail) {
			slices.Reverse(names)
			return &Error{cause: ErrCycle, Diagnostic: diag.Diagnostic{
				Position: v.Position(),
				Problem:  "variable is " + ErrCycle.Error() + ": " + strings.Join(names, " → "),
				Hint:     "give one of them a value that does not use the others",
			}}
		}
	}
	if t.depth >= maxTrail {
		return &Error{cause: ErrCycle, Diagnostic: diag.Diagnostic{
			Position: v.Position(),
			Problem:  fmt.Sprintf("variable %q is reached through more than %d others", t.name, maxTrail),
		}}
	}
	return nil
}
