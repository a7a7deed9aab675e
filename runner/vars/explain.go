package vars

import (
	"strings"
	"text/template/parse"

	"github.com/pegbook/pegbook/runner/diag"
)

// Reason is why a condition came out as it did.
type Reason struct {
	// Part is the smallest part of the condition that decided: of a false and, the first argument that is
	// false, of a true or, the first that is true; else the whole condition.
	Part string
	// Holds is whether the condition is true.
	Holds bool
	// Values are the variables that Part reads, in the order in which it names them, each once.
	Values []Reading
}

// Reading is a variable, or a field of one, as an expression reads it.
type Reading struct {
	// Name is the path as written, with the dot before it: .result.rc.
	Name string `json:"name"`
	// Value is what it holds, if Known. Of .hostvars and whole hosts it is the names.
	Value Data
	// Known is false where the variable is not defined, or its value cannot be had.
	Known bool
	// Layer is where the variable comes from, At where it is written, as far as known; both zero where no layer
	// defines it.
	Layer Layer
	At    diag.Position
}

// Explain says why the condition has the value that it has in a scope. It evaluates the condition again, so
// it is for conditions that somebody asks about. Of a condition that cannot be evaluated it says what it
// reads.
func (e Expr) Explain(s *Scope) Reason {
	part, holds := e, false
	if d, err := e.Eval(s); err == nil {
		holds = truth(d.v)
		part = e.decisive(s, holds)
	}
	r := Reason{Part: shorten(part.String()), Holds: holds}
	seen := map[string]bool{}
	for _, ref := range part.Refs() {
		name := "." + strings.Join(ref.Path, ".")
		if !seen[name] {
			seen[name] = true
			r.Values = append(r.Values, s.reading(name, ref.Path))
		}
	}
	return r
}

// decisive is the smallest part that gave the expression its truth.
func (e Expr) decisive(s *Scope, outcome bool) Expr {
	name, args := logic(e.String())
	if name != "and" && name != "or" || outcome != (name == "or") {
		return e // all arguments together decided
	}
	for _, text := range args {
		var problems diag.List
		arg := ParseExpr(text, e.Position(), &problems)
		if problems.Failed() {
			return e
		}
		d, err := arg.Eval(s)
		if err != nil {
			return e
		}
		if truth(d.v) == outcome {
			return arg.decisive(s, outcome)
		}
	}
	return e
}

// logic takes apart an expression that is one call: the function and its arguments, each as an expression.
func logic(text string) (name string, args []string) {
	if !strings.Contains(text, "and") && !strings.Contains(text, "or") {
		return "", nil // most conditions: nothing to take apart
	}
	trees, err := parseTrees(bareStart+text+bareEnd, plainDelims())
	if err != nil || trees[""] == nil || len(trees[""].Root.Nodes) != 1 {
		return "", nil
	}
	action, ok := trees[""].Root.Nodes[0].(*parse.ActionNode)
	if !ok {
		return "", nil
	}
	cmds := action.Pipe.Cmds
	last := cmds[len(cmds)-1]
	function, ok := last.Args[0].(*parse.IdentifierNode)
	if !ok {
		if pipe, ok := last.Args[0].(*parse.PipeNode); ok && len(cmds) == 1 && len(last.Args) == 1 {
			return logic(pipe.String())
		}
		return "", nil
	}
	for _, arg := range last.Args[1:] {
		args = append(args, arg.String())
	}
	if len(cmds) > 1 {
		before := make([]string, len(cmds)-1)
		for i, cmd := range cmds[:len(cmds)-1] {
			before[i] = cmd.String()
		}
		args = append(args, strings.Join(before, " | "))
	}
	return function.Ident, args
}

// reading looks a path up without gathering more than it names.
func (s *Scope) reading(name string, path []string) Reading {
	r := Reading{Name: name}
	r.Layer, r.At, _ = s.Origin(path[0])
	f := &frame{scope: s}
	v := any(s)
	for _, field := range path {
		next, ok, err := f.get(v, field)
		if err != nil || !ok {
			return r
		}
		v = next
	}
	if l, ok := v.(lazy); ok {
		r.Value, r.Known = Of(l.keys()), true // whole hosts are no value to show
		return r
	}
	r.Value, r.Known = Data{v}, true
	return r
}

// String names the layer as people do.
func (l Layer) String() string {
	switch l {
	case RoleDefaults:
		return "role defaults"
	case HostInventory:
		return "inventory"
	case Facts:
		return "facts"
	case PlayVars:
		return "play vars"
	case PlayVarsFiles:
		return "vars_files"
	case RoleVars:
		return "role vars"
	case BlockVars:
		return "block vars"
	case TaskVars:
		return "task vars"
	case IncludeVars:
		return "include_vars"
	case SetFact:
		return "set_fact or register"
	case RoleParams:
		return "role parameters"
	case LoopVars:
		return "loop or include parameters"
	case ExtraVars:
		return "extra vars"
	case Magic:
		return "magic"
	}
	return "variables"
}
