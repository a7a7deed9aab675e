// Package flow follows which variables a host has got at a point of a run: surely, or only maybe. It knows
// nothing of playbooks; whoever goes through one tells it what is defined and where ways part and meet.
package flow

import (
	"maps"
	"slices"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

// Definition is a variable that a host has got while running.
type Definition struct {
	Name string
	At   diag.Position
	// Maybe is set where the host may be without it.
	Maybe bool
	// Silent is set where being without it is nothing to tell a user of.
	Silent bool
	// Result is set on what a task registers; Skipped where that may be the result of a skipped task, which has none of
	// the module's fields.
	Result, Skipped bool
	// Why says why it is Maybe or Skipped, as part of a sentence.
	Why string
	// Conditions are those that the definition stands under, as written: who stands under the same has it.
	Conditions []string
	// Value is what is known of it; vars.Unknown where nothing is.
	Value vars.Value
}

// State is the variables of one host, or of hosts that are alike. The zero value has none.
type State struct {
	defs map[string]*Definition
	log  []change
	vars *vars.Values
}

type change struct {
	name          string
	before, after *Definition
}

// Clone gives a state that changes by itself from here on.
func (s *State) Clone() State {
	return State{defs: maps.Clone(s.defs), log: slices.Clone(s.log), vars: s.vars}
}

// Get gives a variable's definition; nil when it has none yet.
func (s *State) Get(name string) *Definition { return s.defs[name] }

// Values are all variables that are there, surely or maybe.
func (s *State) Values() *vars.Values { return s.vars }

// Define adds a variable. One that was there surely stays so when it may only be defined anew.
func (s *State) Define(d Definition) {
	if before := s.defs[d.Name]; before != nil && !before.Maybe && d.Maybe {
		d.Maybe, d.Value = false, vars.Literal(vars.Unknown(nil))
	}
	s.set(d.Name, &d)
}

func (s *State) set(name string, d *Definition) {
	if s.defs == nil {
		s.defs = map[string]*Definition{}
	}
	s.log = append(s.log, change{name, s.defs[name], d})
	s.defs[name] = d
	value := d.Value
	if d.Maybe || value.IsZero() {
		value = vars.Literal(vars.Unknown(nil))
	}
	s.vars = s.vars.With(name, value)
}

// Mark is a point in what has happened so far.
func (s *State) Mark() int { return len(s.log) }

// Doubt makes what was defined between two marks only maybe defined, unless it was there before.
func (s *State) Doubt(from, to int, why string) {
	for _, c := range s.log[from:to] {
		now := s.defs[c.name]
		if now.Maybe || c.before != nil && !c.before.Maybe {
			continue
		}
		doubted := *now
		doubted.Maybe, doubted.Why = true, why
		s.set(c.name, &doubted)
	}
}

// Trust makes what was defined between two marks, and doubted since, sure again, where ok says so.
func (s *State) Trust(from, to int, ok func(name string) bool) {
	for _, c := range s.log[from:to] {
		if now := s.defs[c.name]; now.Maybe && !c.after.Maybe && ok(c.name) {
			sure := *now
			sure.Maybe, sure.Value = false, c.after.Value
			s.set(c.name, &sure)
		}
	}
}

// Sure says whether a variable was surely defined between two marks.
func (s *State) Sure(from, to int, name string) bool {
	for _, c := range s.log[from:to] {
		if c.name == name && !c.after.Maybe {
			return true
		}
	}
	return false
}
