package runner

import (
	"maps"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// universe is every variable that something can define, for some host at some moment of the run, and what is used.
type universe struct {
	known map[string]origin
	// used are names that something uses; optional are those uses that may be undefined.
	used     map[string]bool
	grouped  map[string]bool // names that something takes of .groups
	optional map[string][]vars.Use
	looked   map[vars.Value]bool
	counted  map[vars.Value]bool
	exprs    map[vars.Expr]bool
	// facts are the names of facts that are known; nil when they are not. factual are the used names that only
	// facts can be.
	facts, factual map[string]bool
	sorted         []string
	keywords       map[*playbook.Keywords]bool // that have been looked at
	settings       []keywordSetting
	// open: variables may come from where nothing can be known before the run; joins: so may hosts and groups.
	open, joins bool
	// joined are groups that tasks make; anyGroup: others may come to be.
	joined   []string
	anyGroup bool
	unread   *playbook.Unread // as of the compiler
}

// origin is how a variable comes to be; of several, the first found.
type origin struct {
	at   diag.Position
	how  string
	host string // a host whose inventory has it, if that is all
}

func (u *universe) add(name string, at diag.Position, how string) {
	if name == "" {
		return
	}
	if have, ok := u.known[name]; ok && have.host == "" {
		return
	}
	u.known[name], u.sorted = origin{at: at, how: how}, nil
}

func (u *universe) values(vs *vars.Values, how string) {
	for _, name := range vs.Names() {
		v, _ := vs.Get(name)
		u.add(name, v.Position(), how)
		u.value(v)
	}
}

// defines says whether something defines a variable by its name.
func (u *universe) defines(name string) bool {
	_, ok := u.known[name]
	return ok || u.facts[name] || slices.Contains(connectionNames(), name)
}

// often says whether a variable that may be undefined is used at more than one place: then it is meant.
func (u *universe) often(name string) bool {
	uses := u.optional[name]
	for _, other := range uses {
		if other.At() != uses[0].At() {
			return true
		}
	}
	return false
}

// has says whether a variable may be defined. Facts are not known before the run.
func (u *universe) has(name string) bool {
	_, ok := u.known[name]
	return ok || strings.HasPrefix(name, "ansible_") || u.unread != nil && (name == "item" || u.unread.MayDefine(name))
}

func (u *universe) names() []string {
	if u.sorted == nil {
		u.sorted = slices.Sorted(maps.Keys(u.known))
	}
	return u.sorted
}

// value collects what a value uses, once.
func (u *universe) value(v vars.Value) {
	if v.Templated() && !u.counted[v] {
		u.counted[v] = true
		u.uses(v.Uses())
	}
}

// expr collects what a condition uses, once.
func (u *universe) expr(e vars.Expr) {
	if !u.exprs[e] {
		u.exprs[e] = true
		u.uses(e.Uses())
	}
}

func (u *universe) uses(uses []vars.Use) {
	for _, x := range uses {
		name := x.Path[0]
		u.used[name] = true
		if x.Optional {
			u.optional[name] = append(u.optional[name], x)
		}
		if name == "groups" && len(x.Path) > 1 {
			u.grouped[x.Path[1]] = true
		}
		if name == "hostvars" && len(x.Path) > 2 {
			u.used[x.Path[2]] = true
		}
	}
}

// everything collects what there is.
func (a *analysis) everything() *universe {
	u := &universe{known: map[string]origin{}, used: map[string]bool{}, grouped: map[string]bool{}, optional: map[string][]vars.Use{}, factual: map[string]bool{}, looked: map[vars.Value]bool{},
		counted: map[vars.Value]bool{}, exprs: map[vars.Expr]bool{}, keywords: map[*playbook.Keywords]bool{}, settings: a.settings, unread: a.unread}
	for _, name := range modules.MagicNames() {
		u.add(name, diag.Position{}, "a magic variable")
	}
	for _, h := range a.inv.Hosts() {
		u.host(h.Name, h.Vars)
	}
	if local, ok := a.inv.Host("localhost"); ok {
		u.host(local.Name, local.Vars)
	}
	u.values(a.plan.in.Extra, "an extra variable")
	for _, b := range a.plan.playbooks {
		for _, p := range b.plays {
			u.play(p)
			for _, v := range slices.Concat(p.looks, p.trace, p.later) {
				if v.kind == atRow {
					u.row(v.row, a.expressions)
				}
			}
		}
	}
	if u.joins {
		for _, name := range a.inv.FileNames() {
			u.add(name, diag.Position{}, "a variable of hosts or groups that are not in the inventory yet")
		}
	}
	for _, names := range a.plan.apart {
		for _, name := range names {
			u.add(name, diag.Position{}, "a variable beside another playbook")
		}
	}
	if m, ok := a.plan.in.Modules.Lookup("setup"); ok && len(m.Facts) > 0 {
		u.facts = map[string]bool{}
		for _, name := range m.Facts {
			u.facts[name] = true
		}
	}
	return u
}

// host adds a host's variables. Those of groups come with every host of the group.
func (u *universe) host(name string, vs *vars.Values) {
	for _, n := range vs.Names() {
		v, _ := vs.Get(n)
		if u.looked[v] {
			continue
		}
		u.looked[v] = true
		u.value(v)
		if _, ok := u.known[n]; !ok {
			u.known[n] = origin{at: v.Position(), how: "a variable of the inventory", host: name}
		}
	}
}

func (u *universe) play(p *play) {
	u.values(p.Vars, "a variable of another play")
	u.values(p.answers, "asked for by another play")
	for _, l := range p.layers {
		u.values(l.vars, "a variable of a role")
	}
	for _, f := range p.VarsFiles {
		u.values(f.Values, "a variable of another play's vars_files")
		u.open = u.open || f.Values == nil
		for _, n := range f.Names {
			u.value(n)
		}
	}
	for _, v := range []vars.Value{p.Serial, p.Play.Hosts, p.MaxFailPercentage} {
		u.value(v)
	}
	if p.Confirm != nil {
		u.value(p.Confirm.Message)
		u.value(p.Confirm.Value)
	}
	if p.guard != nil {
		u.value(p.guard.Hosts)
	}
	for _, v := range p.Lock.Values() {
		u.value(v)
	}
}

func (u *universe) row(r *row, parse func(vars.Value) []vars.Expr) {
	for _, l := range r.layers {
		u.values(l.vars, "a variable of a role, block or task")
	}
	t := r.task
	u.add(t.Register, t.At, "registered")
	if !t.Loop.IsZero() {
		u.add(firstOf(t.LoopControl.Var, "item"), t.At, "a loop's variable")
	}
	u.add(t.LoopControl.Index, t.At, "a loop's variable")
	u.rowUses(r)
	u.bareUses(r, parse)
	if t.Gate != nil {
		u.value(t.Gate.Message)
	}
	if t.Include != nil {
		u.values(t.Include.Apply.Vars, "a variable of an include")
	}
	if t.Spec != nil {
		for _, o := range t.Spec.Options {
			u.used[o.Name] = true
		}
	}
	if t.Meta == "refresh_inventory" {
		u.joins, u.anyGroup = true, true
	}
	if r.module == nil {
		return
	}
	switch shortName(r.module.Name) {
	case "include_vars":
		u.open = u.open || r.task.Args.Templated()
	case "add_host", "group_by":
		u.joins = true
		u.join(r)
	}
	for _, a := range r.module.Args {
		if !a.Rest {
			continue
		}
		u.open = u.open || r.task.Args.Fields() == nil && r.task.Args.Templated()
		for _, f := range r.task.Args.Fields() {
			u.add(f.Name, f.At, "set by a task")
		}
	}
}

// join notes the groups that a task makes.
func (u *universe) join(r *row) {
	args, err := r.arguments()
	if err != nil {
		return
	}
	for _, a := range args {
		if !a.known || a.arg.Rest {
			continue
		}
		d, static := a.value.Static()
		u.anyGroup = u.anyGroup || !static
		list, isList := d.List()
		if !isList {
			list = []vars.Data{d}
		}
		for _, item := range list {
			u.joined = append(u.joined, splitTags([]string{item.Text()})...)
		}
	}
}

// groups are the groups that there are or may come to be; which hosts are in them is not known.
func (u *universe) groups(inv *inventory.Inventory) vars.Data {
	if u.anyGroup {
		return vars.Unknown(nil)
	}
	all := map[string]vars.Data{}
	for _, name := range append(u.joined, inv.Groups()...) {
		all[name] = vars.UnknownList(vars.Unknown(nil))
	}
	return vars.Of(all)
}

// rowUses collects what a row uses.
func (u *universe) rowUses(r *row) {
	t := r.task
	for _, list := range [][]vars.Expr{r.when, t.Until, t.ChangedWhen, t.FailedWhen} {
		for _, e := range list {
			u.expr(e)
		}
	}
	for _, v := range []vars.Value{t.Args, t.Loop, t.Retries, t.Delay, t.Name, t.LoopControl.Label} {
		u.value(v)
	}
	if t.Include != nil {
		u.value(t.Include.File)
		u.value(t.Include.RoleName)
	}
	for _, f := range r.defaults {
		u.value(f.value)
	}
	for k := r.keys; k != nil && !u.keywords[k.Keywords]; k = k.outer {
		u.keywords[k.Keywords] = true
		for _, v := range slices.Concat(k.Environment, k.Notify, k.Tags) {
			u.value(v)
		}
		for _, s := range u.settings {
			u.value(s.get(k.Keywords))
		}
	}
}

// bareUses collects what arguments of expressions use.
func (u *universe) bareUses(r *row, parse func(vars.Value) []vars.Expr) {
	if r.module == nil {
		return
	}
	args, err := r.arguments()
	if err != nil {
		return
	}
	for _, a := range args {
		if a.known && (a.arg.Type == modules.TypeExpr || a.arg.Elem == modules.TypeExpr) {
			for _, e := range parse(a.value) {
				u.expr(e)
			}
		}
	}
}

// factNames are the names that something uses and only facts can have, with unknown values.
func (u *universe) factNames() *vars.Values {
	names := map[string]vars.Data{}
	for name := range u.used {
		if _, defined := u.known[name]; !defined && strings.HasPrefix(name, "ansible_") {
			u.factual[name] = true
			names[name] = vars.Unknown(nil)
		}
	}
	for name := range u.facts {
		names[name] = vars.Unknown(nil)
	}
	return vars.ValuesOf(names)
}

// keywordSetting is a keyword that a template may give, with what its values may be.
type keywordSetting struct {
	name string
	kind string // boolean, whole, duration, text
	get  func(*playbook.Keywords) vars.Value
}

func keywordSettings() []keywordSetting {
	return []keywordSetting{
		{"become", "boolean", func(k *playbook.Keywords) vars.Value { return k.Become }},
		{"become_user", "text", func(k *playbook.Keywords) vars.Value { return k.BecomeUser }},
		{"become_method", "text", func(k *playbook.Keywords) vars.Value { return k.BecomeMethod }},
		{"connection", "text", func(k *playbook.Keywords) vars.Value { return k.Connection }},
		{"remote_user", "text", func(k *playbook.Keywords) vars.Value { return k.RemoteUser }},
		{"port", "whole", func(k *playbook.Keywords) vars.Value { return k.Port }},
		{"check_mode", "boolean", func(k *playbook.Keywords) vars.Value { return k.CheckMode }},
		{"diff", "boolean", func(k *playbook.Keywords) vars.Value { return k.Diff }},
		{"no_log", "boolean", func(k *playbook.Keywords) vars.Value { return k.NoLog }},
		{"run_once", "boolean", func(k *playbook.Keywords) vars.Value { return k.RunOnce }},
		{"ignore_errors", "boolean", func(k *playbook.Keywords) vars.Value { return k.IgnoreErrors }},
		{"ignore_unreachable", "boolean", func(k *playbook.Keywords) vars.Value { return k.IgnoreUnreachable }},
		{"any_errors_fatal", "boolean", func(k *playbook.Keywords) vars.Value { return k.AnyErrorsFatal }},
		{"throttle", "whole", func(k *playbook.Keywords) vars.Value { return k.Throttle }},
		{"timeout", "duration", func(k *playbook.Keywords) vars.Value { return k.Timeout }},
		{"delegate_to", "text", func(k *playbook.Keywords) vars.Value { return k.DelegateTo }},
		{"delegate_facts", "boolean", func(k *playbook.Keywords) vars.Value { return k.DelegateFacts }},
	}
}
