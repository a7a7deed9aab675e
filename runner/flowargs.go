package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// keywords looks at the keywords around the task that templates give.
func (l *look) keywords() {
	for _, s := range l.settings {
		v := l.r.keys.nearest(s.get)
		if v.IsZero() || s.name == "delegate_to" || !v.Templated() {
			continue
		}
		if d := l.value(v); !d.IsUnknown() && !d.IsOmit() {
			if wrong := s.wrong(d); wrong != "" {
				l.problem(v.Position(), l.definedAt(v), "%s is %s, which is %s", s.name, d.JSON(), wrong)
			}
		}
	}
	for _, kw := range l.r.keys.outermost() {
		for _, v := range kw.Environment {
			l.value(v)
		}
	}
	for _, v := range []vars.Value{l.r.task.Retries, l.r.task.Delay} {
		if d := l.value(v); v.Templated() && !d.IsUnknown() {
			if _, err := modules.ParseDuration(d.Text()); err != nil {
				l.problem(v.Position(), l.definedAt(v), "%s is no number", d.JSON())
			}
		}
	}
	l.delegation()
}

// wrong says what is wrong with a keyword's value; "" when nothing is.
func (s keywordSetting) wrong(d vars.Data) string {
	switch s.kind {
	case "boolean":
		if _, err := modules.ParseBool(d.Text()); err != nil {
			return "neither true nor false"
		}
	case "whole":
		if _, err := strconv.Atoi(d.Text()); err != nil {
			return "no whole number"
		}
	case "duration":
		if _, err := modules.ParseDuration(d.Text()); err != nil {
			return "no number of seconds"
		}
	case "text":
		if k := d.Kind(); k == "list" || k == "mapping" {
			return "no text"
		}
	}
	return ""
}

// delegation looks whether the host that a task is delegated to is there.
func (l *look) delegation() {
	v := l.r.keys.nearest(func(k *playbook.Keywords) vars.Value { return k.DelegateTo })
	if v.IsZero() {
		return
	}
	d := l.value(v)
	if l.only && v.Templated() || l.dynamic || d.IsUnknown() || d.IsOmit() || d.Text() == "" {
		return
	}
	name := d.Text()
	if _, ok := l.inv.Host(name); ok || net.ParseIP(name) != nil || l.told[v.Position()] {
		return
	}
	l.told[v.Position()] = true
	l.problems.Warn(v.Position(), didYouMean(name, namesOf(l.inv.Hosts())), "delegate_to: the inventory has no host %q; it is taken for an address", name)
}

// arguments looks at the task's arguments.
func (l *look) arguments() {
	if l.r.task.Include != nil {
		return // its name is looked at by include
	}
	if l.r.module == nil {
		return
	}
	args, err := l.r.arguments()
	if err != nil {
		return // told by checkArgs
	}
	known := map[string]vars.Data{}
	for _, a := range args {
		if !a.known {
			continue
		}
		name := a.arg.Name
		if a.arg.Rest {
			name = a.name
		}
		known[name] = l.argument(a)
	}
	l.files(args, known)
}

// argument looks at one argument, and gives its value as far as it is known.
func (l *look) argument(a argument) vars.Data {
	if a.arg.Type == modules.TypeExpr || a.arg.Elem == modules.TypeExpr {
		l.bareArgument(a)
		return vars.Unknown(nil)
	}
	d := l.value(a.value)
	anyText := a.arg.Type == modules.TypeString && len(a.arg.Choices) == 0
	if l.only || !a.value.Templated() || a.arg.Rest || !restrictive(a.arg) || anyText && a.value.MakesText() {
		return d
	}
	switch {
	case d.IsOmit():
	case !d.IsUnknown():
		l.fits(a, d, nil)
	case l.k.many() && !l.k.nobody && !l.told[a.value.Position()]:
		l.forEachHost(a)
	}
	return d
}

// bareArgument looks at an argument of expressions. One alone (debug's var) may be undefined.
func (l *look) bareArgument(a argument) {
	alone := a.arg.Type == modules.TypeExpr
	for _, e := range l.expressions(a.value) {
		uses := e.Uses()
		if !alone {
			l.names(uses)
			if !l.only {
				_, errs := e.Sample(l.s)
				l.tell(errs)
			}
			continue
		}
		for _, u := range uses {
			if _, _, ok := l.s.Written(u.Path[0]); ok || l.all.open {
				continue
			}
			at := u.At()
			if !l.all.has(u.Path[0]) && !l.told[at] {
				l.told[at] = true
				l.problems.Warn(at, diag.DidYouMean(u.Path[0], l.s.Names()), "nothing defines the variable %q", u.Path[0])
			}
		}
	}
}

// expressions parses an argument of expressions, once.
func (a *analysis) expressions(v vars.Value) []vars.Expr {
	items := v.Items()
	if items == nil {
		items = []vars.Value{v}
	}
	list := make([]vars.Expr, 0, len(items))
	for _, item := range items {
		e, ok := a.exprs[item]
		if !ok {
			var ignored diag.List // reported with the arguments
			e = vars.ParseExpr(expressionText(item), item.Position(), &ignored)
			a.exprs[item] = e
		}
		if !e.IsZero() {
			list = append(list, e)
		}
	}
	return list
}

// restrictive says whether there are texts that do not fit the argument.
func restrictive(a modules.Arg) bool {
	if len(a.Choices) > 0 || a.Min != "" || a.Max != "" {
		return true
	}
	t := a.Type
	if t == modules.TypeMap {
		return true
	}
	if t == modules.TypeList {
		t = a.Elem
	}
	switch t {
	case modules.TypeBool, modules.TypeInt, modules.TypeFloat, modules.TypeMode, modules.TypeDuration, modules.TypePath:
		return true
	case modules.TypeString, modules.TypeExpr, modules.TypeAny, modules.TypeList, modules.TypeMap, "":
	}
	return t == modules.TypeString && a.Type == modules.TypeString
}

// fits checks a value that a template gives for an argument; h is the host it is for, nil for all of the kind.
func (l *look) fits(a argument, d vars.Data, h *inventory.Host) bool {
	if d.Kind() == "null" {
		return true
	}
	err := a.arg.Check(json.RawMessage(d.JSON()))
	if err == nil {
		return true
	}
	at := a.value.Position()
	var wrong *modules.ArgumentError
	if !errors.As(err, &wrong) || l.told[at] {
		return false
	}
	hosts := namesOf(l.k.hosts)
	if h != nil {
		hosts = []string{h.Name}
	}
	problem := fmt.Sprintf("module %s: %s", l.r.module.Name, wrong.Problem)
	if len(hosts) < l.hostsOfPlay() {
		problem += " on " + hostList(hosts)
	}
	if where := l.definedFor(a.value, h); where != "" {
		problem += ", " + where
	}
	hint := wrong.Hint
	if near := diag.Nearest(d.Text(), a.arg.Choices); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	l.problem(at, hint, "%s", problem)
	return false
}

// forEachHost checks an argument whose value differs among the hosts of the kind, once for each value.
func (l *look) forEachHost(a argument) {
	path := a.arg.Type == modules.TypePath
	if path && strings.HasPrefix(a.value.Raw(), "/") || a.arg.Type == modules.TypeString && len(a.arg.Choices) == 0 {
		return
	}
	if name, ok := l.soleVariable(a.value); ok {
		l.eachValue(a, name)
		return
	}
	single := l.touched["inventory_hostname"] || l.touched["inventory_hostname_short"]
	one := single // of a path only the beginning counts, which a host's name hardly is: one host stands for all
	single = single && !path
	var names []string
	for name := range l.touched {
		if l.k.varies[name] {
			names = append(names, name)
		}
	}
	if len(names) == 0 && !one {
		return
	}
	slices.Sort(names)
	done := map[string]bool{}
	for _, h := range l.k.hosts {
		key := ""
		if single {
			key = h.Name
		}
		for _, name := range names {
			v, _ := h.Vars.Get(name)
			d, _ := v.Static()
			key += "\x00" + v.Raw() + d.Text()
		}
		if done[key] || l.budget == 0 {
			continue
		}
		done[key] = true
		l.budget--
		d, errs := a.value.Sample(l.scopeFor(l.k, l.r, h))
		if len(errs) == 0 && !d.IsUnknown() && !d.IsOmit() && !l.fits(a, d, h) {
			return
		}
	}
}

// soleVariable is the variable of the inventory that a value consists of, where hosts of the kind have different ones.
func (l *look) soleVariable(v vars.Value) (string, bool) {
	uses := v.Uses()
	if len(uses) != 1 || len(uses[0].Path) != 1 || !l.k.varies[uses[0].Path[0]] {
		return "", false
	}
	name := uses[0].Path[0]
	text := strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(v.Raw()), "{{"), "}}"))
	_, layer, ok := l.s.Written(name)
	return name, ok && layer == vars.HostInventory && text == "."+name
}

// checkedValue is a variable whose values have been checked as an argument's.
type checkedValue struct {
	kind      *kind
	module    *modules.Module
	arg, name string
}

// eachValue checks the values that the hosts have of a variable. What fits once fits wherever else the same argument
// has it.
func (l *look) eachValue(a argument, name string) {
	key := checkedValue{l.k, l.r.module, a.arg.Name, name}
	if l.fit[key] {
		return
	}
	seen := map[string]bool{}
	for _, h := range l.k.hosts {
		v, _ := h.Vars.Get(name)
		d, static := v.Static()
		if !static || seen[d.Text()] {
			continue
		}
		seen[d.Text()] = true
		if !l.fits(a, d, h) {
			return
		}
	}
	l.fit[key] = true
}

// definedAt says where the variable is written that a template consists of; "" when it does more.
func (l *look) definedAt(v vars.Value) string { return l.definedFor(v, nil) }

func (l *look) definedFor(v vars.Value, h *inventory.Host) string {
	s := l.s
	if h != nil {
		s = l.scopeFor(l.k, l.r, h)
	}
	found := ""
	for range 10 {
		uses := v.Uses()
		if len(uses) != 1 || len(uses[0].Path) != 1 {
			return found
		}
		name := uses[0].Path[0]
		inner, _, ok := s.Written(name)
		if !ok || inner.Position() == (diag.Position{}) {
			return found
		}
		found = fmt.Sprintf("from %s, %s", name, inner.Position())
		if !inner.Templated() {
			return found
		}
		v = inner
	}
	return found
}

// include looks at the name of what is included, and keeps what it means for the hosts.
func (l *look) include(s *vars.Scope) {
	in := l.r.task.Include
	if in == nil {
		return
	}
	l.k.including.loop = nil
	if !l.r.task.Loop.IsZero() {
		items, _ := l.loopItems(l.s)
		l.k.including.loop = l.loopScope(items)
	}
	name := in.File
	if !in.RoleName.IsZero() {
		name = in.RoleName
	}
	if !name.Templated() {
		return
	}
	l.names(name.Uses())
	_, errs := name.Sample(s)
	l.tell(errs)
	names, known := l.meant(name, l.k, func(h *inventory.Host) *vars.Scope {
		if h == nil {
			return s
		}
		return l.withItem(s, h)
	})
	l.k.including.known = l.k.including.known && known
	for _, n := range names {
		if !slices.Contains(l.k.including.names, n) {
			l.k.including.names = append(l.k.including.names, n)
		}
	}
}

// withItem is the scope of a single host with the loop's variables of another scope.
func (l *look) withItem(s *vars.Scope, h *inventory.Host) *vars.Scope {
	single := l.scopeFor(l.k, l.r, h)
	item := firstOf(l.r.task.LoopControl.Var, "item")
	if d, ok, err := s.Lookup(item); ok && err == nil && !l.r.task.Loop.IsZero() {
		single = single.With(vars.LoopVars, vars.ValuesOf(map[string]vars.Data{item: d}))
	}
	return single
}

// meant are the texts that a template gives for the hosts of a kind, host by host where it must be. False: that is
// not known before the run. scope gives the scope of a host; nil is all of the kind.
func (a *analysis) meant(v vars.Value, k *kind, scope func(*inventory.Host) *vars.Scope) (texts []string, known bool) {
	d, errs := v.Sample(scope(nil))
	switch {
	case len(errs) > 0:
		return nil, false
	case !d.IsUnknown():
		return []string{d.Text()}, true
	case !k.many() || k.nobody:
		return nil, false
	}
	for _, h := range k.hosts {
		if a.budget == 0 {
			return nil, false
		}
		a.budget--
		d, errs := v.Sample(scope(h))
		if len(errs) > 0 || d.IsUnknown() {
			return nil, false
		}
		if text := d.Text(); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return texts, true
}

// didYouMean is the nearest name as a hint; "" when none is near.
func didYouMean(name string, candidates []string) string {
	if near := diag.Nearest(name, candidates); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}
