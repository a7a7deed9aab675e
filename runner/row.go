package runner

import (
	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// row is one task in its place in a play, for all hosts. It is immutable.
type row struct {
	kind     rowKind
	task     *playbook.Task
	module   *modules.Module // of taskRow and includeRow with free arguments; nil for others
	handler  *handler        // the handler that the row runs, else nil
	facts    bool            // the row that gathers facts
	in       *section        // where a failure goes
	keys     *keys           // the keywords around the task, its own included
	frame    *frame          // what the task stands in
	when     []vars.Expr     // outermost first
	layers   []layered       // variables of roles, blocks and the task
	block    *block          // of blockEnd
	ends     *playbook.Role  // the role that ends with the block of blockEnd
	defaults []field         // module_defaults, merged
	place    string          // where it stands in its play (see place.go)
	left     bool            // tags or --start-at-task leave it out
}

type rowKind uint8

const (
	taskRow    rowKind = iota
	includeRow         // include_tasks, include_role
	metaRow
	specRow     // what checks a role's arguments
	flushRow    // handlers that were notified
	gateRow     // waits for an approval
	blockEndRow // the end of a block, where a failure passes on outwards
)

// layered is variables with their place in the order of precedence.
type layered struct {
	layer vars.Layer
	vars  *vars.Values
}

// field is an argument as written.
type field struct {
	name  string
	value vars.Value
}

// strand is rows that follow one another.
type strand []element

// element is a row, or strands that run side by side.
type element struct {
	row      *row
	parallel []strand
}

// block is a block of the playbook in its place.
type block struct {
	rescue, always bool // which sections it has
}

// section is a part of a block. nil is outside of all blocks.
type section struct {
	block *block
	part  part
	outer *section
}

type part uint8

const (
	body part = iota
	rescue
	always
)

// keys are the keywords around a task, innermost first. nil is none.
type keys struct {
	*playbook.Keywords
	outer *keys
	play  bool // the play's own
}

// nearest gives the keyword of the innermost that has one; the zero Value when none has.
func (k *keys) nearest(get func(*playbook.Keywords) vars.Value) vars.Value {
	for ; k != nil; k = k.outer {
		if v := get(k.Keywords); !v.IsZero() {
			return v
		}
	}
	return vars.Value{}
}

// outermost lists the keywords, outermost first.
func (k *keys) outermost() []*playbook.Keywords {
	if k == nil {
		return nil
	}
	return append(k.outer.outermost(), k.Keywords)
}

// whens are the conditions that apply, outermost first.
func (k *keys) whens() []vars.Expr {
	var all []vars.Expr
	for _, kw := range k.outermost() {
		all = append(all, kw.When...)
	}
	return all
}

// defaultsFor merges module_defaults, inner ones over outer ones.
func (k *keys) defaultsFor(m *modules.Module) []field {
	var all []field
	for _, kw := range k.outermost() {
		for _, d := range kw.Defaults {
			if m == nil || shortName(d.Module) != m.Name {
				continue
			}
			for _, f := range d.Args.Fields() {
				all = setField(all, m.Args, f.Name, f.Value)
			}
		}
	}
	return all
}

// setField gives fields in which the argument name, under whatever alias, has another value.
func setField(fields []field, schema modules.Schema, name string, v vars.Value) []field {
	same := func(a, b string) bool {
		x, xOK := schema.Lookup(a)
		y, yOK := schema.Lookup(b)
		return a == b || (xOK && yOK && !x.Rest && x.Name == y.Name)
	}
	for i := range fields {
		if same(fields[i].name, name) {
			out := append([]field(nil), fields...)
			out[i] = field{name, v}
			return out
		}
	}
	return append(fields[:len(fields):len(fields)], field{name, v})
}
