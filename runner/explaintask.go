package runner

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/runner/connect"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// DependsOnHost stands for what a keyword says, where it says different things for different hosts.
const DependsOnHost = "depends on the host"

// outlook is a task on one host, before the run.
type outlook struct {
	host   string
	scope  *vars.Scope
	runs   Runs
	reason string
	values []event.Value
	items  int // of its loop; -1: not known
}

// row explains one task.
func (e *explainer) row(lanes []*lane, r *row) TaskExplanation {
	x := TaskExplanation{RowNode: e.plan.rowNode(r), Register: r.task.Register}
	if r.kind == flushRow {
		return x
	}
	var all []outlook
	for _, l := range lanes {
		rr := e.open(l, r, l.players)
		who := l.players
		if once, err := rr.once(rr.scope(who[0].host)); err == nil && once {
			x.Once = append(x.Once, who[0].Name)
			who = who[:1]
		}
		for _, p := range who {
			o := e.outlook(rr, p)
			if o.runs == RunsYes && rescues(r.in) {
				o.runs, o.reason = RunsLater, "after a failure in its block"
			}
			all = append(all, o)
		}
	}
	x.Verdicts = verdicts(all)
	e.keywords(&x, r, all)
	if r.kind == includeRow {
		x.Include = e.includes(lanes, r, all)
	}
	said := fmt.Sprintf("of task %q at %s", x.Name, place(r.task.At))
	for _, o := range all {
		e.learn(r, said, o, lanes, len(x.Once) > 0)
	}
	return x
}

// rescues says whether a section stands in a rescue section.
func rescues(s *section) bool {
	for ; s != nil; s = s.outer {
		if s.part == rescue {
			return true
		}
	}
	return false
}

// outlook judges a task on one host.
func (e *explainer) outlook(rr *rowRun, p *player) outlook {
	o := outlook{host: p.Name, scope: rr.scope(p.host), runs: RunsYes, items: -1}
	if rr.row.task.Loop.IsZero() {
		e.judge(&o, rr.row, o.scope)
		return o
	}
	st := &step{rowRun: rr, p: p}
	d, err := rr.row.task.Loop.Resolve(o.scope)
	items, isList := d.List()
	if err != nil || !isList {
		s := o.scope.With(vars.LoopVars, vars.ValuesOf(map[string]vars.Data{st.loopVar(): vars.Unknown(nil)}))
		e.judge(&o, rr.row, s)
		return o
	}
	o.items = len(items)
	if len(items) == 0 {
		o.runs, o.reason = RunsNo, "loop: the list is empty"
		return o
	}
	e.judgeItems(&o, st, items)
	return o
}

// judgeItems sums up what the condition says of the items: a task that runs for one runs.
func (e *explainer) judgeItems(o *outlook, st *step, items []vars.Data) {
	if len(st.row.when) == 0 {
		return
	}
	count := map[Runs]int{}
	var last outlook
	for i := range items {
		last = outlook{host: o.host, runs: RunsYes}
		e.judge(&last, st.row, o.scope.With(vars.LoopVars, st.itemVars(items, i)))
		if count[last.runs]++; last.runs == RunsYes && !usesItem(st.row, st.loopVar()) {
			return
		}
	}
	switch {
	case count[RunsYes] == len(items):
	case count[RunsNo] == len(items), count[RunsLater] == len(items):
		o.runs, o.reason, o.values = last.runs, last.reason, last.values
	case count[RunsYes] > 0:
		o.reason = fmt.Sprintf("for %d of %d items", count[RunsYes], len(items))
	default:
		o.runs, o.reason = RunsLater, last.reason
	}
}

func usesItem(r *row, name string) bool {
	return slices.ContainsFunc(r.when, func(e vars.Expr) bool {
		return slices.ContainsFunc(e.Refs(), func(ref vars.Ref) bool { return ref.Path[0] == name })
	})
}

// judge says whether the conditions hold, as far as that can be told.
func (e *explainer) judge(o *outlook, r *row, s *vars.Scope) {
	for _, c := range r.when {
		ok, err := c.Bool(s)
		switch waits := e.waits(o.host, c, s, err); {
		case waits != "":
			if o.runs == RunsYes { // a later condition may still be false
				o.runs, o.reason = RunsLater, "when: "+shortText(c.String())+waits
			}
		case err != nil:
			o.runs, o.reason = RunsYes, "fails: "+err.Error()
			return
		case !ok:
			o.runs = RunsNo
			o.reason, o.values = e.whyOf("when", "is", s, c)
			return
		}
	}
}

// waits says which variables that only the run will know keep a condition from being decided; "" where none
// does.
func (e *explainer) waits(host string, c vars.Expr, s *vars.Scope, err error) string {
	var on []string
	undefined := errors.Is(err, vars.ErrUndefined)
	for _, ref := range c.Refs() {
		root, path := ref.Path[0], "."+strings.Join(ref.Path, ".")
		by, later := e.later[host][root]
		_, _, defined := s.Origin(root)
		fact := root == "ansible_facts" || strings.HasPrefix(root, "ansible_") && !defined
		switch {
		case later && (errors.Is(err, vars.ErrUnknown) || ref.Optional && e.maybe[host][root]):
			path += ", " + by
		case root == "hostvars" && errors.Is(err, vars.ErrUnknown):
		case fact && (undefined || ref.Optional):
			path += ", a fact of the host"
		default:
			continue
		}
		if !slices.Contains(on, path) {
			on = append(on, path)
		}
	}
	switch {
	case len(on) > 0:
		return " (" + strings.Join(on, "; ") + ")"
	case errors.Is(err, vars.ErrUnknown):
		return " (" + err.Error() + ")"
	}
	return ""
}

// shortText is an expression on one line, cut where it is long.
func shortText(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > 80 {
		return string(runes[:79]) + "…"
	}
	return text
}

// learn notes which variables the task would set on its host, or on all of the batch.
func (e *explainer) learn(r *row, said string, o outlook, lanes []*lane, once bool) {
	by := map[string]string{}
	if name := r.task.Register; name != "" {
		by[name] = "the result " + said
	}
	if r.module != nil && o.runs != RunsNo {
		args, err := r.arguments()
		for _, a := range args {
			if err == nil && a.known && a.arg.Rest {
				by[a.name] = "set by the module " + r.module.Name + " " + said
			}
		}
	}
	if len(by) == 0 {
		return
	}
	unknown := map[string]vars.Data{}
	for name := range by {
		unknown[name] = vars.Unknown(nil)
	}
	for _, name := range whoLearns(o.host, lanes, once) {
		h, ok := e.host(name)
		if !ok {
			continue
		}
		h.setVars(vars.SetFact, vars.ValuesOf(unknown))
		if e.later[name] == nil {
			e.later[name], e.maybe[name] = map[string]string{}, map[string]bool{}
		}
		for variable, text := range by {
			e.later[name][variable] = text
			e.maybe[name][variable] = o.runs == RunsLater && variable != r.task.Register
		}
	}
}

// whoLearns are the hosts that get what a task learns on one: that host, or all of its batch.
func whoLearns(host string, lanes []*lane, once bool) []string {
	for _, l := range lanes {
		if !once || !slices.ContainsFunc(l.players, func(p *player) bool { return p.Name == host }) {
			continue
		}
		var names []string
		for _, p := range l.players {
			names = append(names, p.Name)
		}
		return names
	}
	return []string{host}
}

// verdicts groups hosts by what becomes of a task on them.
func verdicts(all []outlook) []Verdict {
	var groups []Verdict
	place := map[string]int{}
	for _, o := range all {
		key := string(o.runs) + "\x00" + o.reason
		at, ok := place[key]
		if !ok {
			at = len(groups)
			place[key] = at
			groups = append(groups, Verdict{Runs: o.runs, Reason: o.reason, Values: o.values})
		}
		g := &groups[at]
		g.Hosts = append(g.Hosts, o.host)
		g.Values = slices.DeleteFunc(slices.Clone(g.Values), func(v event.Value) bool {
			return !slices.ContainsFunc(o.values, func(w event.Value) bool {
				return v.Name == w.Name && string(v.Value) == string(w.Value) && v.From == w.From
			})
		})
	}
	return groups
}

// keywords notes what the task's keywords say.
func (e *explainer) keywords(x *TaskExplanation, r *row, all []outlook) {
	value := func(what string, get func(*playbook.Keywords) vars.Value) string {
		if r.keys.nearest(get).IsZero() {
			return ""
		}
		return same(all, func(o outlook) (string, error) {
			d, err := keyword(r.keys, o.scope, get)
			if err == nil && d.IsUnknown() {
				err = vars.ErrUnknown
			}
			return d.Text(), err
		})
	}
	x.Delegated = value("delegate_to", func(k *playbook.Keywords) vars.Value { return k.DelegateTo })
	x.CheckMode = value("check_mode", func(k *playbook.Keywords) vars.Value { return k.CheckMode })
	x.Throttle = value("throttle", func(k *playbook.Keywords) vars.Value { return k.Throttle })
	if r.kind == taskRow {
		x.Connect = same(all, func(o outlook) (string, error) { return e.way(r, o, connectsAs) })
		x.Become = same(all, func(o outlook) (string, error) { return e.way(r, o, becomes) })
	}
	if !r.task.Loop.IsZero() {
		x.Loop = loopText(all)
	}
	k := r.keys
	for k != nil && len(k.Notify) == 0 {
		k = k.outer
	}
	if k == nil || len(all) == 0 {
		return
	}
	for _, v := range k.Notify {
		if names, err := texts(v, all[0].scope); err == nil {
			x.Notifies = append(x.Notifies, names...)
		} else {
			x.Notifies = append(x.Notifies, v.Raw())
		}
	}
}

// same is what holds for all hosts on which the task may run.
func same(all []outlook, of func(outlook) (string, error)) string {
	text, seen := "", false
	for _, o := range all {
		if o.runs == RunsNo {
			continue
		}
		now, err := of(o)
		switch {
		case err != nil:
			now = "decided in the run"
		case seen && now != text:
			return DependsOnHost
		}
		text, seen = now, true
	}
	return text
}

// way is something of how a host is reached for a task.
func (e *explainer) way(r *row, o outlook, of func(connect.Address, connect.Become) string) (string, error) {
	h, ok := e.host(o.host)
	if !ok {
		return "", nil
	}
	address, become, err := e.plan.in.Defaults.address(h.Host, o.scope, r.keys)
	return of(address, become), err
}

func connectsAs(a connect.Address, _ connect.Become) string {
	way := firstOf(a.Connection, "ssh")
	if a.User != "" {
		way += " as " + a.User
	}
	return way
}

func becomes(_ connect.Address, b connect.Become) string { return b.User }

func loopText(all []outlook) string {
	least, most := -1, -1
	for _, o := range all {
		if o.items < 0 {
			if o.runs == RunsNo {
				continue
			}
			return "decided in the run"
		}
		if least < 0 || o.items < least {
			least = o.items
		}
		most = max(most, o.items)
	}
	switch {
	case most < 0:
		return ""
	case least == most:
		return fmt.Sprintf("%d items", most)
	}
	return fmt.Sprintf("%d to %d items", least, most)
}

// maxExplained is how deep includes are followed: one that includes itself ends by what only the run knows.
const maxExplained = 8

// includes explains what an include brings to its hosts, where its name is known before the run.
func (e *explainer) includes(lanes []*lane, r *row, all []outlook) []InclusionExplanation {
	var found []InclusionExplanation
	var contents []*playbook.Content
	for _, o := range all {
		if o.runs == RunsNo {
			continue
		}
		var later string
		content, err := e.brought(r, o)
		if err != nil {
			later = "decided in the run: " + notYet(r, err)
		}
		at := slices.IndexFunc(found, func(in InclusionExplanation) bool {
			return in.Later == later && (content == nil || in.File == content.Path)
		})
		if at < 0 {
			at = len(found)
			found, contents = append(found, InclusionExplanation{Later: later}), append(contents, content)
			if content != nil {
				found[at].File = content.Path
			}
		}
		found[at].Hosts = append(found[at].Hosts, o.host)
	}
	for i := range found {
		switch {
		case contents[i] == nil:
		case e.depth >= maxExplained:
			found[i].Later = "decided in the run: it stands in too many others"
		default:
			e.depth++
			found[i].Tasks = e.rows(partOf(lanes, found[i].Hosts), e.contentRows(r, contents[i]))
			e.depth--
		}
	}
	return found
}

// notYet says why the content is not known: the name as written, where only the run can tell it.
func notYet(r *row, err error) string {
	in := r.task.Include
	if name := firstOf(in.File.Raw(), in.RoleName.Raw()); errors.Is(err, vars.ErrUnknown) && name != "" {
		return name
	}
	return err.Error()
}

// brought is the content that an include brings to a host.
func (e *explainer) brought(r *row, o outlook) (*playbook.Content, error) {
	if r.task.Include.Content == nil && !r.task.Loop.IsZero() {
		return nil, errors.New("each item names its own")
	}
	st := &step{rowRun: &rowRun{r: e.run, row: r}}
	content, _, err := st.content(o.scope)
	return content, err
}

func (e *explainer) contentRows(r *row, content *playbook.Content) strand {
	c := e.plan.compilerFor(r.frame.play, nil)
	return c.strand(r.contentFrame(content, nil), content.Blocks)
}

// partOf gives the batches with some of their hosts.
func partOf(lanes []*lane, hosts []string) []*lane {
	in := map[string]bool{}
	for _, h := range hosts {
		in[h] = true
	}
	var parts []*lane
	for _, l := range lanes {
		players := slices.DeleteFunc(slices.Clone(l.players), func(p *player) bool { return !in[p.Name] })
		if len(players) > 0 {
			parts = append(parts, l.part(players))
		}
	}
	return parts
}
