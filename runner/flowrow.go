package runner

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// look is one row as the hosts of a kind meet it.
type look struct {
	*analysis
	r *row
	k *kind
	s *vars.Scope
	// sure: these hosts do the task, and nothing takes its failure.
	sure bool
	// asked are variables that a condition around asks about; conditions are those conditions.
	asked      map[string]bool
	conditions []string
	own        string // what the task registers, where its result is judged
	seen       map[seenUse]bool
	touched    map[string]bool // variables that the value just looked at uses, at whatever remove
	// only: the task is not reached, so only what nothing defines anywhere is looked for.
	only bool
}

// row looks at a row on all kinds of hosts, then lets them have what it defines.
func (a *analysis) row(r *row) {
	if r.task.Meta != "" && r.kind != metaRow {
		return // a flush of handlers
	}
	truths := make([]truth, len(a.who))
	for i, k := range a.who {
		truths[i] = a.lookAt(r, k)
	}
	a.tellMissing()
	for i, k := range a.who {
		a.define(r, k, truths[i])
	}
	for _, b := range a.blocks {
		if b.part != body {
			continue
		}
		for _, k := range a.who {
			if _, begun := b.first[k]; !begun {
				b.first[k] = k.state.Mark()
			}
		}
	}
	if r.kind == includeRow && r.task.Include.Content == nil {
		a.bring(r, truths)
	}
}

// lookAt finds what is wrong with a row on a kind of hosts, and says whether they do the task.
func (a *analysis) lookAt(r *row, k *kind) truth {
	k.including = inclusionOf{truth: no, known: true}
	l := &look{analysis: a, r: r, k: k, asked: map[string]bool{}, seen: map[seenUse]bool{}}
	l.s = a.scopeOf(k, r)
	reached := a.reached(k)
	for _, s := range a.around {
		l.ask(s.row.when)
	}
	l.ask(r.when)
	if a.unread != nil {
		l.only = true
		l.everything(l.s)
		return unknown
	}
	if reached == no || r.left {
		l.only = true
		l.everything(l.s)
		return no
	}
	does := l.conditionsHold()
	if does == no {
		l.only = true
		l.everything(l.s)
		return no
	}
	if reached == unknown {
		does = unknown
	}
	l.sure = does == yes && !a.inRescued() && !a.inRescue() && !a.handlers && !l.ignored() && !k.nobody
	k.including.truth = does
	l.work()
	return does
}

// ask notes what conditions ask about: whoever stands under them has it, or does without.
func (l *look) ask(when []vars.Expr) {
	for _, e := range when {
		l.conditions = append(l.conditions, e.String())
		for _, u := range e.Uses() {
			if u.Optional {
				l.asked[strings.Join(u.Path, ".")] = true
				l.asked[u.Path[0]] = true
			} else if len(u.Path) == 1 || isVerdict(u.Path[1]) {
				l.asked[u.Path[0]+" verdict"] = true
			}
		}
	}
}

// isVerdict says whether a field says how a task ended, which every result has.
func isVerdict(field string) bool {
	return slices.Contains([]string{"changed", "failed", "skipped", "skip_reason", "unreachable", "msg", "results", "attempts"}, field)
}

// conditionsHold evaluates when. What stands behind a false one is not evaluated.
func (l *look) conditionsHold() truth {
	got := yes
	items, loop := l.loopItems(l.s)
	s := l.s
	if !l.r.task.Loop.IsZero() {
		if loop == no {
			l.sure = false
		}
		s = s.With(vars.LoopVars, l.loopScope(items))
		defer func(before *vars.Scope) { l.s = before }(l.s)
		l.s = s
	}
	l.sure = loop != no && !l.inRescued() && !l.inRescue() && !l.handlers && !l.ignored() && !l.k.nobody && l.reached(l.k) == yes
	for _, e := range l.r.when {
		l.names(e.Uses())
		d, errs := e.Sample(s)
		l.tell(errs)
		switch {
		case len(errs) > 0 || d.IsUnknown():
			got, l.sure = unknown, false
			continue
		case d.Kind() != "boolean":
			if _, err := e.Bool(s); err != nil {
				l.tell([]error{err})
			}
			got, l.sure = unknown, false
			continue
		}
		if holds, err := d.Bool(); err == nil && !holds {
			return no
		}
	}
	return got
}

// ignored says whether a failure of the task is ignored, or may be.
func (l *look) ignored() bool {
	v := l.r.keys.nearest(func(k *playbook.Keywords) vars.Value { return k.IgnoreErrors })
	d, static := v.Static()
	if v.IsZero() {
		return false
	}
	if b, err := modules.ParseBool(d.Text()); static && err == nil {
		return b
	}
	return true
}

// maxItems bounds the items of a loop that are looked at one by one.
const maxItems = 64

// work looks at everything that the task evaluates, for each item of its loop as far as these are known.
func (l *look) work() {
	if l.r.task.Loop.IsZero() {
		l.everything(l.s)
		l.include(l.s)
		return
	}
	items, filled := l.loopItems(l.s)
	l.loopKeyword()
	if name := l.r.task.Register; name != "" && l.k.state.Get(name) != nil {
		l.s = l.s.With(vars.SetFact, unknowns([]string{name})) // the result of the item before
	}
	if filled == no {
		l.sure = false
	}
	if len(items) == 0 || len(items) > maxItems {
		s := l.s.With(vars.LoopVars, l.loopScope(items))
		l.everything(s)
		l.include(s)
		return
	}
	for i := range items {
		s := l.s.With(vars.LoopVars, itemValues(l.r, items, i))
		l.everything(s)
		l.include(s)
	}
}

// loopKeyword looks at loop itself.
func (l *look) loopKeyword() {
	loop := l.r.task.Loop
	l.names(loop.Uses())
	d, errs := loop.Sample(l.s)
	l.tell(errs)
	if kind := d.Kind(); len(errs) == 0 && kind != "list" && kind != "unknown" {
		l.problem(loop.Position(), "write a list, or a template that gives one", "loop takes a list, not a %s", kind)
	}
}

// loopItems gives the items of the loop, and whether there are any.
func (l *look) loopItems(s *vars.Scope) ([]vars.Data, truth) {
	loop := l.r.task.Loop
	if loop.IsZero() {
		return nil, yes
	}
	d, errs := loop.Sample(s)
	items, ok := d.List()
	switch {
	case len(errs) > 0 || !ok:
		return nil, unknown
	case len(items) == 0:
		return nil, no
	}
	return items, yes
}

// loopScope are the variables of any item: a field that some item has may be used.
func (l *look) loopScope(items []vars.Data) *vars.Values {
	item := vars.Unknown(nil)
	if len(items) > 0 {
		item = common(items)
	} else if d, errs := l.r.task.Loop.Sample(l.s); len(errs) == 0 {
		if elem, ok := d.Elem(); ok {
			item = elem
		}
	}
	return itemValues(l.r, []vars.Data{item}, 0)
}

// common is the shape of items: their fields together where all are mappings.
func common(items []vars.Data) vars.Data {
	fields := map[string]vars.Data{}
	for _, item := range items {
		if item.Kind() != "mapping" {
			return vars.Unknown(nil)
		}
		for _, key := range item.Keys() {
			fields[key] = vars.Unknown(nil)
		}
	}
	return vars.Of(fields)
}

// itemValues are a loop's variables at an item.
func itemValues(r *row, items []vars.Data, i int) *vars.Values {
	lc := r.task.LoopControl
	name := firstOf(lc.Var, "item")
	all := map[string]vars.Data{name: items[i], "ansible_loop_var": vars.Of(name)}
	if lc.Index != "" {
		all[lc.Index] = vars.Of(i)
		all["ansible_index_var"] = vars.Of(lc.Index)
	}
	if lc.Extended {
		all["ansible_loop"] = extended(items, i)
	}
	return vars.ValuesOf(all)
}

// everything looks at what the task evaluates besides its conditions and its loop.
func (l *look) everything(s *vars.Scope) {
	before := l.s
	l.s = s
	defer func() { l.s = before }()
	if l.only {
		if !l.r.task.Loop.IsZero() {
			l.s = l.s.With(vars.LoopVars, l.loopScope(nil))
		}
		for _, e := range l.r.when {
			l.names(e.Uses())
		}
		l.names(l.r.task.Loop.Uses())
	}
	if l.r.kind == specRow {
		l.required()
		return
	}
	if l.r.task.Gate != nil {
		l.value(l.r.task.Gate.Message)
	}
	l.keywords()
	l.arguments()
	l.verdicts()
}

// verdicts looks at what is judged when the task has been done: its own result is there.
func (l *look) verdicts() {
	t := l.r.task
	before := l.s
	defer func() { l.s, l.own = before, "" }()
	if t.Register != "" {
		l.own = t.Register
		l.s = l.s.With(vars.SetFact, vars.ValuesOf(map[string]vars.Data{t.Register: outcomeOfItem(l.r)}))
	}
	for _, list := range [][]vars.Expr{t.Until, t.ChangedWhen, t.FailedWhen} {
		for _, e := range list {
			l.names(e.Uses())
			if l.only {
				continue
			}
			d, errs := e.Sample(l.s)
			l.tell(errs)
			if len(errs) == 0 && !d.IsUnknown() && d.Kind() != "boolean" {
				if _, err := e.Bool(l.s); err != nil {
					l.tell([]error{err})
				}
			}
		}
	}
	if label := t.LoopControl.Label; !label.IsZero() {
		l.value(label)
	}
	for k := l.r.keys; k != nil; k = k.outer {
		if len(k.Notify) == 0 {
			continue
		}
		for _, v := range k.Notify {
			l.value(v)
		}
		break
	}
}

// value looks at a value of which nothing is asked but that it can be had.
func (l *look) value(v vars.Value) vars.Data {
	if !v.Templated() {
		d, _ := v.Static()
		return d
	}
	l.names(v.Uses())
	if l.only {
		return vars.Unknown(nil)
	}
	d, errs := v.Sample(l.s)
	l.tell(errs)
	if len(errs) > 0 {
		return vars.Unknown(nil)
	}
	return d
}

// tell reports what an evaluation found.
func (l *look) tell(errs []error) {
	for _, err := range errs {
		var e *vars.Error
		if !errors.As(err, &e) || l.told[e.Position] {
			continue
		}
		if errors.Is(err, vars.ErrUndefined) && l.optional(e) {
			continue
		}
		l.told[e.Position] = true
		d := e.Diagnostic
		d.Problem = e.Summary()
		d.Warning = !l.sure || e.Perhaps
		d.Problem += l.onHosts()
		l.problems.Append(diag.List{d})
	}
}

// optional says whether something undefined is what a condition around asks about.
func (l *look) optional(e *vars.Error) bool {
	for path := range l.asked {
		name, field, _ := strings.Cut(path, ".")
		if field == "" && strings.Contains(e.Problem, strconv.Quote(name)) || field != "" && strings.Contains(e.Expression, "."+path) {
			return true
		}
	}
	return false
}

// onHosts says which hosts a diagnostic is about, when these are not all of the play.
func (l *look) onHosts() string {
	if len(l.who) < 2 || l.k.nobody {
		return ""
	}
	return " on " + hostList(namesOf(l.k.hosts))
}

// problem reports what is wrong here: a warning where the task may not be done at all, or its failure does not count.
func (l *look) problem(at diag.Position, hint, format string, args ...any) {
	if l.told[at] {
		return
	}
	l.told[at] = true
	if l.sure {
		l.problems.Add(at, hint, format, args...)
		return
	}
	l.problems.Warn(at, hint, format, args...)
}

// hostList names hosts, not too many of them.
func hostList(names []string) string {
	const shown = 5
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:shown], ", ") + " and " + plural(len(names)-shown, "other")
}
