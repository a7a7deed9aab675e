package runner

import (
	"maps"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// names are the variables that something can define, for some host at some moment of the run.
type names struct {
	known map[string]bool
	// open: variables may come from where nothing can be known before the run.
	open bool
}

func (n *names) add(all ...string) {
	for _, name := range all {
		n.known[name] = true
	}
}

// has says whether a variable may be defined. Facts are not known before the run.
func (n *names) has(name string) bool { return n.known[name] || strings.HasPrefix(name, "ansible_") }

// magicNames are the magic variables that do not start with ansible_.
func magicNames() []string {
	return []string{"environment", "group_names", "groups", "hostvars", "inventory_dir", "inventory_file", "inventory_hostname",
		"inventory_hostname_short", "item", "omit", "play_hosts", "playbook_dir", "role_name", "role_names", "role_path"}
}

// checkNames finds variables that nothing in the playbooks and the inventory can define. What is defined
// for some host only, or only after some task, is left to the run.
func (c *compiler) checkNames() {
	n := &names{known: map[string]bool{}}
	n.add(magicNames()...)
	n.add(c.plan.in.Extra.Names()...)
	for _, h := range c.plan.in.Inventory.Hosts() {
		n.add(h.Vars.Names()...)
	}
	if local, ok := c.plan.in.Inventory.Host("localhost"); ok {
		n.add(local.Vars.Names()...)
	}
	n.add(c.plan.in.Inventory.FileNames()...)
	for _, b := range c.plan.playbooks {
		for _, p := range b.plays {
			n.play(p)
		}
	}
	for _, r := range c.rows {
		n.row(r)
	}
	if n.open {
		return
	}
	for _, r := range c.rows {
		c.checkRefs(r, n)
	}
}

func (n *names) play(p *play) {
	n.add(p.Vars.Names()...)
	n.add(p.answers.Names()...)
	for _, l := range p.layers {
		n.add(l.vars.Names()...)
	}
	for _, f := range p.VarsFiles {
		n.add(f.Values.Names()...)
		n.open = n.open || f.Values == nil
	}
}

func (n *names) row(r *row) {
	for _, l := range r.layers {
		n.add(l.vars.Names()...)
	}
	t := r.task
	n.add(t.Register, t.LoopControl.Var, t.LoopControl.Index)
	if t.Include != nil {
		n.add(t.Include.Apply.Vars.Names()...)
		n.open = n.open || t.Include.Content == nil
	}
	if r.module == nil {
		return
	}
	if shortName(r.module.Name) == "include_vars" {
		n.open = true
	}
	if !slices.ContainsFunc(r.module.Args, func(a modules.Arg) bool { return a.Rest }) {
		return
	}
	fields := t.Args.Fields()
	n.open = n.open || fields == nil && t.Args.Templated()
	for _, f := range fields {
		n.add(f.Name)
	}
}

// checkRefs looks at what a row uses.
func (c *compiler) checkRefs(r *row, n *names) {
	if r.kind == specRow {
		c.checkRequired(r, n)
	}
	asked := map[string]bool{}
	var refs []vars.Ref
	for _, e := range r.when {
		for _, ref := range e.Refs() {
			asked[ref.Path[0]] = asked[ref.Path[0]] || ref.Optional
		}
		refs = append(refs, e.Refs()...)
	}
	refs = append(refs, c.refsOf(r)...)
	for _, ref := range refs {
		name := ref.Path[0]
		if ref.Optional || ref.Conditional || asked[name] || n.has(name) {
			continue
		}
		c.problems.Add(ref.At, diag.DidYouMean(name, slices.Sorted(maps.Keys(n.known))), "nothing defines the variable %q", name)
	}
}

func (c *compiler) refsOf(r *row) []vars.Ref {
	t := r.task
	refs := slices.Concat(t.Loop.Refs(), t.Retries.Refs(), t.Delay.Refs())
	for _, list := range [][]vars.Expr{t.Until, t.ChangedWhen, t.FailedWhen} {
		for _, e := range list {
			refs = append(refs, e.Refs()...)
		}
	}
	for _, get := range []func(*playbook.Keywords) vars.Value{
		func(k *playbook.Keywords) vars.Value { return k.DelegateTo },
		func(k *playbook.Keywords) vars.Value { return k.IgnoreErrors },
		func(k *playbook.Keywords) vars.Value { return k.Timeout },
	} {
		refs = append(refs, r.keys.nearest(get).Refs()...)
	}
	if t.Include != nil {
		return append(refs, append(t.Include.File.Refs(), t.Include.RoleName.Refs()...)...)
	}
	if r.module == nil {
		return refs
	}
	args, err := r.arguments()
	if err != nil {
		return refs
	}
	for _, a := range args {
		refs = append(refs, argRefs(a)...)
	}
	return refs
}

// argRefs are the variables of an argument. One that is an expression by itself (debug's var) may well
// ask for what is not there.
func argRefs(a argument) []vars.Ref {
	if a.known && a.arg.Type == modules.TypeExpr {
		return nil
	}
	if !a.known || a.arg.Elem != modules.TypeExpr {
		return a.value.Refs()
	}
	items := a.value.Items()
	if items == nil {
		items = []vars.Value{a.value}
	}
	var refs []vars.Ref
	for _, item := range items {
		var ignored diag.List // reported with the arguments
		refs = append(refs, vars.ParseExpr(expressionText(item), item.Position(), &ignored).Refs()...)
	}
	return refs
}
