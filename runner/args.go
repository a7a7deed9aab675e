package runner

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/secret"
	"github.com/pegbook/pegbook/runner/vars"
)

// argument is one argument as a task writes it, with what the module says of it.
type argument struct {
	field
	arg   modules.Arg
	known bool // the module has such an argument
	at    diag.Position
}

// arguments are a task's: those of module_defaults below its own. A scalar or list is the free-form
// argument. The error says that the module takes none.
func (r *row) arguments() ([]argument, error) {
	fields := r.defaults
	schema := r.module.Args
	at := map[string]diag.Position{}
	own, err := r.ownArgs()
	if err != nil {
		return nil, err
	}
	for _, f := range own {
		fields = setField(fields, schema, f.Name, f.Value)
		at[f.Name] = f.At
	}
	args := make([]argument, len(fields))
	for i, f := range fields {
		arg, ok := schema.Lookup(f.name)
		args[i] = argument{field: f, arg: arg, known: ok, at: at[f.name]}
	}
	return args, nil
}

func (r *row) ownArgs() ([]vars.Field, error) {
	v := r.task.Args
	if v.IsZero() {
		return nil, nil
	}
	if d, ok := v.Static(); ok && d.Kind() == "null" {
		return nil, nil
	}
	free, hasFree := r.module.Args.Free()
	fields := v.Fields()
	if fields == nil {
		if d, ok := v.Static(); ok && d.Kind() == "mapping" {
			return nil, nil // {}
		}
		if !hasFree {
			return nil, &modules.ArgumentError{Problem: fmt.Sprintf("module %s takes its arguments as a mapping", r.module.Name)}
		}
		return []vars.Field{{Name: free.Name, At: v.Position(), Value: v}}, nil
	}
	out := make([]vars.Field, len(fields))
	for i, f := range fields {
		if f.Name == playbook.FreeForm {
			if !hasFree {
				return nil, &modules.ArgumentError{Problem: fmt.Sprintf("module %s takes its arguments as a mapping", r.module.Name)}
			}
			f.Name = free.Name
		}
		out[i] = f
	}
	return out, nil
}

// rendered are arguments ready for a module, and the scope in which it evaluates more.
type rendered struct {
	json  json.RawMessage
	scope *vars.Scope
}

// volatileArg is the argument by which a task of a module that has it allows values that come out otherwise each
// time.
const volatileArg = "volatile"

// steady gives the scope in which a task's arguments, templates and expressions are evaluated.
func (r *row) steady(s *vars.Scope, args []argument) (*vars.Scope, error) {
	arg, ok := r.module.Args.Lookup(volatileArg)
	if !ok {
		return s, nil
	}
	for _, a := range args {
		if !a.known || a.arg.Name != arg.Name {
			continue
		}
		d, err := a.value.Resolve(s)
		if err != nil || d.IsUnknown() {
			return s, err
		}
		if yes, err := modules.ParseBool(d.Text()); yes || err != nil {
			return s, nil // what is no boolean is the module's to refuse
		}
	}
	return s.Steady(), nil
}

// render resolves the arguments for a host; those that must not be shown become secrets. An argument that is
// omit is left out. It gives the scope in which the task is to be evaluated as well.
func (r *row) render(s *vars.Scope, secrets *secret.Set) (rendered, error) {
	args, err := r.arguments()
	if err != nil {
		return rendered{}, err
	}
	if s, err = r.steady(s, args); err != nil {
		return rendered{}, err
	}
	out := rendered{scope: s}
	values := make(map[string]json.RawMessage, len(args))
	for _, a := range args {
		if a.known && (a.arg.Type == modules.TypeExpr || a.arg.Elem == modules.TypeExpr) {
			if values[a.name], err = bare(a.value); err != nil {
				return rendered{}, err
			}
			continue
		}
		d, err := a.value.Resolve(s)
		if err != nil {
			return rendered{}, err
		}
		if d.IsOmit() {
			continue
		}
		if d.IsUnknown() {
			return rendered{}, fmt.Errorf("argument %s: %w", a.name, vars.ErrUnknown)
		}
		values[a.name] = d.JSON()
		if a.known && a.arg.Secret {
			secrets.Add(d.Texts()...)
		}
	}
	out.json, err = json.Marshal(values)
	return out, err
}

// bare gives an argument of expressions as written: the module evaluates them itself.
func bare(v vars.Value) (json.RawMessage, error) {
	items := v.Items()
	if items == nil {
		return json.Marshal(expressionText(v))
	}
	list := make([]string, len(items))
	for i, item := range items {
		list[i] = expressionText(item)
	}
	return json.Marshal(list)
}

func expressionText(v vars.Value) string {
	if text := v.Raw(); text != "" {
		return text
	}
	d, _ := v.Static()
	return d.Text()
}

// diagnosed gives an error as diagnostics: with its own position, or else at the one given.
func diagnosed(err error, at diag.Position) diag.List {
	var list diag.List
	if errors.As(err, &list) {
		return list
	}
	var located *vars.Error
	if errors.As(err, &located) {
		d := located.Diagnostic
		d.Problem = located.Summary()
		return diag.List{d}
	}
	var one diag.Diagnostic
	if errors.As(err, &one) {
		return diag.List{one}
	}
	return diag.List{{Position: at, Problem: err.Error()}}
}

func eventProblem(d diag.Diagnostic) event.Problem { return event.NewProblem(d) }

// keyword resolves the nearest keyword in a scope, stepping outwards over values that are omit; null
// data when there is none.
func keyword(k *keys, s *vars.Scope, get func(*playbook.Keywords) vars.Value) (vars.Data, error) {
	for ; k != nil; k = k.outer {
		v := get(k.Keywords)
		if v.IsZero() {
			continue
		}
		d, err := v.Resolve(s)
		if err != nil {
			return vars.Of(nil), err
		}
		if !d.IsOmit() {
			return d, nil
		}
	}
	return vars.Of(nil), nil
}

// flag resolves a keyword that is true or false; false without one.
func flag(k *keys, s *vars.Scope, what string, get func(*playbook.Keywords) vars.Value) (bool, error) {
	d, err := keyword(k, s, get)
	if err != nil || d.Kind() == "null" {
		return false, err
	}
	b, err := modules.ParseBool(d.Text())
	if err != nil {
		return false, fmt.Errorf("%s is %s, which is neither true nor false", what, d.JSON())
	}
	return b, nil
}
