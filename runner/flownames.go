package runner

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/internal/flow"
	"github.com/pegbook/pegbook/runner/vars"
)

// seenUse is a variable's value that has been looked into, so that cycles end and nothing is looked at twice.
type seenUse struct {
	value vars.Value
	loose bool
}

// names looks whether the hosts have the variables that something uses.
func (l *look) names(uses []vars.Use) {
	l.touched = map[string]bool{}
	for _, u := range uses {
		l.use(u, nil, false)
	}
}

// use looks at one use of a variable, reached through others. loose: it may well be undefined, as nobody
// may ask for it.
func (l *look) use(u vars.Use, through []string, loose bool) {
	name := u.Path[0]
	l.touched[name] = true
	optional := u.Optional || l.asked[name]
	v, layer, ok := l.s.Written(name)
	switch {
	case !ok:
		l.absent(u, through, optional, loose)
		return
	case name == l.own:
	case layer == vars.SetFact || layer == vars.IncludeVars:
		l.gained(u, layer, optional || u.Conditional || loose)
	case layer == vars.Facts:
		l.fact(u, optional)
	}
	if len(u.Path) > 1 && len(through) == 0 && !optional {
		l.field(u, v)
	}
	if !v.Templated() || optional && u.Optional {
		return
	}
	seen := seenUse{v, loose || u.Conditional || optional}
	if l.seen[seen] || l.seen[seenUse{v, false}] {
		l.touchAll(v, 0)
		return
	}
	l.seen[seen] = true
	through = append(slices.Clip(through), name)
	for _, inner := range v.Uses() {
		l.use(inner, through, seen.loose)
	}
}

// field looks at a field of what a task will have registered, or of a magic variable, where the condition of which it is
// a part may keep it from being evaluated.
func (l *look) field(u vars.Use, v vars.Value) {
	if u.Conditional && !l.only && !v.Templated() {
		_, err := u.Resolve(l.s)
		var e *vars.Error
		if errors.As(err, &e) && errors.Is(err, vars.ErrUndefined) {
			perhaps := *e
			perhaps.Perhaps = true
			l.tell([]error{&perhaps})
		}
	}
	d, static := v.Static()
	if name := u.Path[1]; static && d.Kind() == "unknown" && (l.isResult(u.Path[0]) || u.Path[0] == l.own) && !slices.Contains(resultFields(), name) {
		if near := nearName(name, resultFields(), 2); near != "" && !l.told[u.At()] {
			l.told[u.At()] = true
			l.problems.Warn(u.At(), fmt.Sprintf("did you mean %q?", near), "results rarely have a field %q", name)
		}
	}
}

// isResult says whether a variable holds a task's result.
func (l *look) isResult(name string) bool {
	d := l.k.state.Get(name)
	return name == "ansible_failed_result" || d != nil && d.Result
}

// resultFields are what results have, whatever the module.
func resultFields() []string {
	return []string{"ansible_facts", "attempts", "changed", "cmd", "content", "dest", "diff", "failed", "msg", "path", "rc", "results", "skipped",
		"skip_reason", "start", "stat", "state", "status", "stderr", "stderr_lines", "stdout", "stdout_lines", "unreachable", "url"}
}

// touchAll notes what a value uses that has been looked at already.
func (l *look) touchAll(v vars.Value, depth int) {
	for _, u := range v.Uses() {
		if l.touched[u.Path[0]] || depth > 20 {
			continue
		}
		l.touched[u.Path[0]] = true
		if inner, _, ok := l.s.Written(u.Path[0]); ok {
			l.touchAll(inner, depth+1)
		}
	}
}

// gained looks at a use of what the hosts have got while running, and may lack.
func (l *look) gained(u vars.Use, layer vars.Layer, loose bool) {
	name := u.Path[0]
	state := &l.k.state
	if layer == vars.IncludeVars {
		state = &l.k.read
	}
	d := state.Get(name)
	if d == nil || l.only || l.handlers || loose || l.guarded[name] || d.Silent {
		return
	}
	if d.Maybe && !l.s.Under(layer, name) && !l.underSame(d) {
		at := u.At()
		if !l.told[at] {
			l.told[at] = true
			l.problems.Warn(at, fmt.Sprintf("give it a default, or ask defined %q", name), "variable %q may not be defined here: it is set at %s, and %s", name, d.At, d.Why)
		}
		return
	}
	if d.Skipped && len(u.Path) > 1 && !isVerdict(u.Path[1]) && !l.asked[name+" verdict"] && !l.underSame(d) {
		at := u.At()
		if !l.told[at] {
			l.told[at] = true
			l.problems.Warn(at, fmt.Sprintf("ask for it only where not (skipped .%s)", name), "%s may not be there: the task that registers it at %s may be skipped, as %s", "."+strings.Join(u.Path, "."), d.At, d.Why)
		}
	}
}

// underSame says whether the task stands under the conditions that a definition stood under.
func (l *look) underSame(d *flow.Definition) bool {
	if len(d.Conditions) == 0 {
		return false
	}
	for _, c := range d.Conditions {
		if !slices.Contains(l.conditions, c) {
			return false
		}
	}
	return true
}

// fact looks at a use of a fact: one that is like a known one and is none is misspelt.
func (l *look) fact(u vars.Use, optional bool) {
	others := slices.Concat(modules.MagicNames(), modules.MagicFacts(), connectionNames())
	if l.all.facts == nil || l.all.facts[u.Path[0]] || slices.Contains(others, u.Path[0]) || optional && l.all.often(u.Path[0]) {
		return
	}
	near := nearOne(u.Path[0], slices.AppendSeq(others, maps.Keys(l.all.facts)))
	if near == "" {
		return
	}
	at := u.At()
	if !l.told[at] {
		l.told[at] = true
		l.problems.Warn(at, fmt.Sprintf("did you mean %q?", near), "no fact is known as %q", u.Path[0])
	}
}

// absent looks at a use of a variable that the hosts do not have.
func (l *look) absent(u vars.Use, through []string, optional, loose bool) {
	name := u.Path[0]
	if optional {
		if u.Optional && !l.all.defines(name) {
			l.misspelt(u)
		}
		return
	}
	if l.guarded[name] {
		return
	}
	nowhere := !l.all.has(name)
	if l.only && !nowhere {
		return
	}
	at := u.At()
	if l.told[at] && !l.pending.has(at) {
		return
	}
	m := l.pending.of(at)
	m.name, m.through, m.nowhere = name, through, nowhere
	m.loose = m.loose || loose || u.Conditional
	if !l.only {
		m.hosts = append(m.hosts, namesOf(l.k.hosts)...)
		m.sure = m.sure || l.sure
	}
	m.ignored = l.ignored() || l.emptyLoop()
	m.names = l.s.Names()
	m.row = l.r
	l.told[at] = true
}

func (l *look) emptyLoop() bool {
	_, filled := l.loopItems(l.s)
	return filled == no
}

// misspelt warns of a variable that may be undefined, is nowhere defined, and is but a letter away from one
// that is.
func (l *look) misspelt(u vars.Use) {
	near := nearOne(u.Path[0], slices.Concat(l.all.names(), slices.Sorted(maps.Keys(l.all.facts)), modules.MagicFacts()))
	if near == "" || l.all.often(u.Path[0]) {
		return
	}
	at := u.At()
	if !l.told[at] {
		l.told[at] = true
		l.problems.Warn(at, fmt.Sprintf("did you mean %q?", near), "nothing defines the variable %q", u.Path[0])
	}
}

// missing is a variable that hosts lack at one place.
type missing struct {
	at      diag.Position
	name    string
	through []string
	hosts   []string
	names   []string
	row     *row
	// nowhere: nothing defines it for any host at any time.
	nowhere bool
	// sure: some of the hosts do the task, and its failure counts. ignored: it does not.
	sure, loose, ignored bool
}

// missings are collected over the kinds of hosts, so that one diagnostic names all that are concerned.
type missings struct {
	order []*missing
	at    map[diag.Position]*missing
}

func (m *missings) has(at diag.Position) bool { return m.at[at] != nil }

func (m *missings) of(at diag.Position) *missing {
	if m.at == nil {
		m.at = map[diag.Position]*missing{}
	}
	if m.at[at] == nil {
		m.at[at] = &missing{at: at}
		m.order = append(m.order, m.at[at])
	}
	return m.at[at]
}

// tellMissing reports what the row just looked at lacks.
func (a *analysis) tellMissing() {
	for _, m := range a.pending.order {
		a.tellOne(m)
	}
	a.pending = missings{}
}

func (a *analysis) tellOne(m *missing) {
	problem := diag.Diagnostic{Position: m.at}
	switch {
	case m.nowhere:
		problem.Problem = fmt.Sprintf("nothing defines the variable %q", m.name)
		problem.Hint = diag.DidYouMean(m.name, slices.Sorted(slices.Values(append(m.names, a.all.names()...))))
		problem.Warning = m.loose || m.ignored || a.all.open
		if m.name == "item" {
			problem.Problem, problem.Hint = "item is there only inside of a loop", "add a loop, or name the variable that is meant"
		}
	default:
		problem.Problem, problem.Hint = a.whyMissing(m)
		problem.Warning = m.loose || m.ignored || a.all.open || !m.sure
	}
	if len(m.through) > 0 {
		problem.Problem += fmt.Sprintf(", reached through %s from %s", strings.Join(m.through, " → "), m.row.task.At)
	}
	a.problems.Append(diag.List{problem})
}

// whyMissing explains that a variable is defined, but not for these hosts, or not yet.
func (a *analysis) whyMissing(m *missing) (problem, hint string) {
	where := ""
	if count := a.hostsOfPlay(); len(m.hosts) > 0 && len(m.hosts) < count {
		where = " for " + hostList(m.hosts)
	}
	d := a.all.known[m.name]
	switch {
	case m.name == "item":
		return "item is there only inside of a loop", "add a loop, or name the variable that is meant"
	case strings.HasPrefix(m.name, "ansible_") && a.all.factual[m.name]:
		return fmt.Sprintf("%s is a fact, and no facts have been gathered%s", m.name, where), "take gather_facts: false away, or add a setup task before"
	case d.host != "":
		return fmt.Sprintf("variable %q is not defined%s: the inventory has it for %s only, at %s", m.name, firstOf(where, " for the hosts of this play"), a.holders(m.name), d.at), ""
	}
	return fmt.Sprintf("variable %q is not defined here%s: it is %s at %s", m.name, where, d.how, d.at), diag.DidYouMean(m.name, slices.DeleteFunc(m.names, func(n string) bool { return n == m.name || nearOne(m.name, []string{n}) == "" }))
}

func (a *analysis) hostsOfPlay() int {
	n := 0
	for _, k := range a.who {
		n += len(k.hosts)
	}
	return n
}

// holders are the hosts whose inventory has a variable.
func (a *analysis) holders(name string) string {
	var hosts []string
	for _, h := range a.inv.Hosts() {
		if _, ok := h.Vars.Get(name); ok {
			hosts = append(hosts, h.Name)
		}
	}
	return hostList(hosts)
}

// nearOne gives the candidate that one slip makes of a name: a letter changed, dropped, doubled, or swapped
// with its neighbour. Digits are no slips: replica1 is not meant to be replica2.
func nearOne(name string, candidates []string) string { return nearName(name, candidates, 4) }

// nearName is nearOne for names of at least so many letters.
func nearName(name string, candidates []string, least int) string {
	if len(name) < least {
		return ""
	}
	for _, c := range candidates {
		if len(c) >= least && c != name && diag.Slip(name, c) {
			return c
		}
	}
	return ""
}
