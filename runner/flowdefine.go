package runner

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/internal/flow"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// def is a definition on its way into a state.
type def struct{ flow.Definition }

// definition begins a definition by a row that may not be done.
func definition(name string, r *row, why string) def {
	return def{flow.Definition{Name: name, At: r.task.At, Maybe: true, Why: why}}
}

// quiet is a definition whose absence is not told.
func (d def) quiet() flow.Definition {
	d.Silent = true
	return d.Definition
}

// defines are the variables that a row sets on its hosts by name, whatever else it does.
func (r *row) defines() []string {
	var names []string
	if r.task.Register != "" {
		names = append(names, r.task.Register)
	}
	for _, f := range r.freeNames() {
		names = append(names, f.Name)
	}
	return names
}

// freeNames are the variables that a module's task names as it likes (set_fact).
func (r *row) freeNames() []vars.Field {
	if r.kind != taskRow || r.module == nil || !setsFacts(r.module) {
		return nil
	}
	var names []vars.Field
	for _, f := range r.task.Args.Fields() {
		if arg, ok := r.module.Args.Lookup(f.Name); ok && arg.Rest {
			names = append(names, f)
		}
	}
	return names
}

// setsFacts says whether a module sets the variables that its free arguments name. add_host's are those of
// another host.
func setsFacts(m *modules.Module) bool {
	for _, a := range m.Args {
		if a.Rest {
			return shortName(m.Name) != "add_host"
		}
	}
	return false
}

// define lets the hosts of a kind have what a row defines.
func (a *analysis) define(r *row, k *kind, does truth) {
	if r.left && a.reached(k) != no {
		a.defineLeft(r, k)
		return
	}
	if a.reached(k) == no {
		return
	}
	conditions := conditionsOf(r)
	for _, s := range a.around {
		conditions = append(conditions, conditionsOf(s.row)...)
	}
	switch r.kind {
	case metaRow:
		a.defineMeta(r, k, does)
		return
	case flushRow, blockEndRow, specRow, gateRow:
		return
	case taskRow, includeRow:
	}
	if name := r.task.Register; name != "" {
		k.state.Define(flow.Definition{Name: name, At: r.task.At, Value: vars.Literal(outcome(r)), Result: true,
			Skipped: does != yes, Why: "its when may be false", Conditions: conditions})
	}
	if r.kind == includeRow {
		return
	}
	a.defineFacts(r, k, does, conditions)
	if does != no && len(a.blocks) > 0 && shortName(r.module.Name) == "fail" && does == yes {
		for _, b := range a.blocks {
			if b.part == rescue {
				b.ends[k] = true
			}
		}
	}
	a.guard(r, does)
}

// defineLeft is for a row that tags leave out: others that are left out have what it defines.
func (a *analysis) defineLeft(r *row, k *kind) {
	for _, name := range r.defines() {
		if k.state.Get(name) == nil {
			k.state.Define(flow.Definition{Name: name, At: r.task.At, Maybe: true, Why: "tags leave that task out"})
		}
	}
	if r.module != nil && shortName(r.module.Name) == "setup" && k.facts == no {
		k.facts = unknown
	}
}

func conditionsOf(r *row) []string {
	var all []string
	for _, e := range r.when {
		all = append(all, e.String())
	}
	return all
}

func (a *analysis) defineFacts(r *row, k *kind, does truth, conditions []string) {
	maybe := does != yes
	why := "its when may be false"
	if a.emptyLoopOf(r, k) {
		maybe, why = true, "its loop is empty"
	}
	s := a.scopeOf(k, r)
	elsewhere := !r.keys.nearest(func(k *playbook.Keywords) vars.Value { return k.DelegateFacts }).IsZero()
	for _, f := range r.freeNames() {
		value := vars.Literal(vars.Unknown(nil))
		if d, errs := f.Sample(s); len(errs) == 0 && !maybe && r.task.Loop.IsZero() && !elsewhere {
			value = vars.Literal(d)
		}
		d := flow.Definition{Name: f.Name, At: f.At, Maybe: maybe, Why: why, Conditions: conditions, Value: value}
		k.state.Define(d)
		if !elsewhere {
			continue
		}
		for _, other := range a.kinds {
			if other.state.Get(f.Name) == nil {
				d.Maybe, d.Silent = true, true
				other.state.Define(d)
			}
		}
	}
	switch shortName(r.module.Name) {
	case "setup":
		if does == yes {
			k.facts = yes
		} else if k.facts == no {
			k.facts = unknown
		}
	case "include_vars":
		a.defineFiles(r, k, s, maybe, conditions)
	}
}

func (a *analysis) emptyLoopOf(r *row, k *kind) bool {
	if r.task.Loop.IsZero() {
		return false
	}
	d, errs := r.task.Loop.Sample(a.scopeOf(k, r))
	items, ok := d.List()
	return len(errs) == 0 && ok && len(items) == 0
}

// defineFiles gives the variables of include_vars.
func (a *analysis) defineFiles(r *row, k *kind, s *vars.Scope, maybe bool, conditions []string) {
	args, err := r.arguments()
	if err != nil {
		return
	}
	var under string
	var files []string
	sure := !maybe
	for _, arg := range args {
		if !arg.known {
			continue
		}
		names, known := a.meant(arg.value, k, func(h *inventory.Host) *vars.Scope {
			if h == nil {
				return s
			}
			return a.scopeFor(k, r, h)
		})
		switch {
		case arg.arg.Name == "name" && len(names) == 1:
			under = names[0]
		case arg.arg.File == "":
		case !known:
			sure = false
			files = globbed(arg.value, r.varsFolders()...)
		default:
			sure = sure && len(names) == 1
			for _, name := range names {
				if path, err := r.find(arg.arg.File, name); err == nil {
					files = append(files, path)
				}
			}
		}
	}
	for _, path := range files {
		vs := a.valuesLike(path)
		if sure {
			vs = a.valuesIn(path)
		}
		if under != "" {
			vs = (*vars.Values)(nil).With(under, vs.Mapping())
		}
		for _, name := range vs.Names() {
			v, _ := vs.Get(name)
			k.read.Define(flow.Definition{Name: name, At: v.Position(), Maybe: !sure, Why: "which file is included is not known", Conditions: conditions, Value: v})
		}
	}
}

// varsFolders are where include_vars looks.
func (r *row) varsFolders() []string {
	var dirs []string
	for _, dir := range r.folders() {
		dirs = append(dirs, filepath.Join(dir, "vars"), dir)
	}
	return dirs
}

// defineMeta is for what a meta task changes.
func (a *analysis) defineMeta(r *row, k *kind, does truth) {
	switch r.task.Meta {
	case "end_play", "end_host", "end_batch":
		if does == yes && a.reached(k) == yes {
			k.ended = true
		}
		a.guard(r, does)
	case "clear_facts":
		if does != no && k.facts == yes {
			k.facts = unknown
		}
	}
}

// guard takes it that what a task insists on is so behind it: an assert, or a fail or end of the play with a when
// that asks for a variable.
func (a *analysis) guard(r *row, does truth) {
	var asks []vars.Expr
	if r.task.Meta != "" {
		asks = r.when
	} else {
		switch shortName(r.module.Name) {
		case "fail":
			asks = r.when
		case "assert":
			if does == no {
				return
			}
			args, err := r.arguments()
			if err != nil {
				return
			}
			for _, arg := range args {
				if arg.known && arg.arg.Elem == modules.TypeExpr {
					asks = append(asks, a.expressions(arg.value)...)
				}
			}
		}
	}
	for _, e := range asks {
		for _, u := range e.Uses() {
			if u.Optional {
				a.guarded[u.Path[0]] = true
			}
		}
	}
}

// outcome is what is known of a task's result before it is done: which fields it may have.
func outcome(r *row) vars.Data {
	one := outcomeOfItem(r)
	if r.task.Loop.IsZero() || one.Kind() != "mapping" {
		return one
	}
	all := map[string]vars.Data{"results": vars.UnknownList(one)}
	for _, name := range []string{"changed", "failed", "msg", "skip_reason", "skipped", "skipped_reason", "unreachable"} {
		all[name] = vars.Unknown(nil)
	}
	return vars.Of(all)
}

// outcomeOfItem is what is known of the result of one item, or of a task without a loop.
func outcomeOfItem(r *row) vars.Data {
	if r.module == nil || r.module.Output == nil || !r.task.Async.IsZero() {
		return vars.Unknown(nil)
	}
	fields := map[string]vars.Data{}
	for name, inner := range r.module.Output.Fields {
		fields[name] = shaped(inner)
	}
	for _, name := range []string{"attempts", "changed", "diff", "failed", "failed_when_result", "msg", "rc", "skip_reason", "skipped",
		"stderr", "stderr_lines", "stdout", "stdout_lines", "unreachable"} {
		fields[name] = vars.Unknown(nil)
	}
	if !r.task.Loop.IsZero() {
		lc := r.task.LoopControl
		for _, name := range []string{firstOf(lc.Var, "item"), firstOf(lc.Index, "ansible_index_var"), "ansible_index_var", "ansible_loop_var", "ansible_loop"} {
			fields[name] = vars.Unknown(nil)
		}
	}
	return vars.Of(fields)
}

// shaped is data of a shape, with everything in it unknown.
func shaped(s *modules.Shape) vars.Data {
	switch {
	case s == nil:
		return vars.Unknown(nil)
	case s.Fields != nil:
		fields := map[string]vars.Data{}
		for name, inner := range s.Fields {
			fields[name] = shaped(inner)
		}
		return vars.Of(fields)
	}
	return vars.UnknownList(shaped(s.Elem))
}

// bring goes through what an include brings whose name is known only for each kind of hosts, or may be any of some files.
func (a *analysis) bring(r *row, truths []truth) {
	in := r.task.Include
	name, isRole := in.File, !in.RoleName.IsZero()
	if isRole {
		name = in.RoleName
	}
	if !name.Templated() {
		return // it is not there, or includes itself
	}
	who := a.who
	defer func() { a.who = who }()
	for i, k := range who {
		if truths[i] == no || r.left {
			continue
		}
		a.who = []*kind{k}
		names, sure := k.including.names, k.including.known
		if !sure {
			names = a.candidateNames(r, name, isRole)
			k.including.truth = unknown
			if len(names) == 0 {
				a.all.open = true
			}
		}
		if len(names) > 1 {
			k.including.truth = unknown
		}
		for _, n := range names {
			a.bringOne(r, n, isRole, sure)
		}
	}
}

func (a *analysis) bringOne(r *row, name string, isRole, sure bool) {
	if a.depth > 8 {
		return
	}
	content, problems := a.brought(r, name, isRole)
	switch {
	case content == nil && sure:
		for _, d := range problems {
			if at := r.task.At; !a.told[at] {
				a.told[at] = true
				a.problems.Warn(at, d.Hint, "%s", d.Problem)
			}
		}
		return
	case content == nil || !sure && problems.Failed():
		return
	}
	c := a.plan.compilerFor(a.play, a.compiler.handlers)
	c.open = true
	c.strand(r.contentFrame(content, nil), content.Blocks)
	a.problems.Append(append(problems, c.problems...))
	for _, v := range c.trace {
		if v.kind == atRow {
			a.all.row(v.row, a.expressions)
		}
	}
	a.depth++
	a.enter(r, content)
	a.walk(c.trace)
	a.leave(r, content)
	a.depth--
}

// brought reads what an include brings.
func (a *analysis) brought(r *row, name string, isRole bool) (*playbook.Content, diag.List) {
	var content *playbook.Content
	read, found := playbook.ParseInclude(r.task, name, a.plan.in.Files)
	if isRole {
		read, found = playbook.ParseRole(r.task, name, r.task.Include, a.plan.in.Files)
	}
	content = read
	return content, found
}

// candidateNames are the names that an include with an unknown name may mean.
func (a *analysis) candidateNames(r *row, name vars.Value, isRole bool) []string {
	var dirs []string
	for _, dir := range r.folders() {
		if isRole {
			dirs = append(dirs, filepath.Join(dir, "roles"), filepath.Dir(dir))
		} else {
			dirs = append(dirs, filepath.Join(dir, "tasks"), dir)
		}
	}
	const most = 50
	paths := globbed(name, dirs...)
	if len(paths) > most {
		return nil
	}
	if isRole {
		for i, path := range paths {
			paths[i] = filepath.Base(path)
		}
	}
	return paths
}

var action = regexp.MustCompile(`\{\{.*?\}\}`)

// templateGlob is the pattern of the texts that a template can give; "" when that is any text.
func templateGlob(text string) string {
	pattern := action.ReplaceAllString(text, "*")
	if strings.Trim(pattern, "*/") == "" {
		return ""
	}
	return pattern
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
