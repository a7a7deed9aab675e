package runner

import (
	"path"
	"slices"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// frame is what blocks stand in. It is immutable.
type frame struct {
	play    *play
	section *section
	keys    *keys
	layers  []layered
	role    *playbook.Role
	handler *handler // the blocks are the content of a handler that includes
	depth   int      // how many includes are around
	place   string   // where it stands in its play (see place.go)
}

// with gives the frame inside a block, which is number i of its list.
func (f *frame) with(b *playbook.Block, i int) *frame {
	in := *f
	in.place = numbered(f.place, i)
	in.keys = &keys{Keywords: &b.Keywords, outer: f.keys}
	if b.Role != nil {
		in.role = b.Role
		in.layers = append(slices.Clip(in.layers), roleScope(b.Role)...)
	}
	if b.Task == nil && b.Vars.Len() > 0 {
		in.layers = append(slices.Clip(in.layers), layered{vars.BlockVars, b.Vars})
	}
	return &in
}

// inside gives the frame of one of a block's sections.
func (f *frame) inside(b *block, p part) *frame {
	in := *f
	in.section = &section{block: b, part: p, outer: f.section}
	in.place += p.letter()
	return &in
}

// roleLayers are what a role gives to the whole play.
func roleLayers(r *playbook.Role) []layered {
	return []layered{{vars.RoleDefaults, r.Defaults}, {vars.RoleVars, r.Vars}}
}

// roleScope is what tasks of a role see: its callers' variables and its own above them.
func roleScope(r *playbook.Role) []layered {
	var all []layered
	for _, caller := range slices.Backward(r.Parents) {
		all = append(all, roleLayers(caller)...)
		all = append(all, layered{vars.RoleParams, caller.Params})
	}
	return append(append(all, roleLayers(r)...), layered{vars.RoleParams, r.Params})
}

// strand compiles blocks that follow one another.
func (c *compiler) strand(f *frame, blocks []*playbook.Block) strand {
	var rows strand
	for i, b := range blocks {
		rows = append(rows, c.block(f, b, i)...)
	}
	return rows
}

func (c *compiler) block(f *frame, b *playbook.Block, i int) strand {
	in := f.with(b, i)
	if b.Task != nil {
		r := c.row(in, b.Task)
		if r == nil {
			return nil
		}
		return strand{{row: r}}
	}
	at := &block{rescue: len(b.Rescue) > 0, always: len(b.Always) > 0}
	c.note(visit{kind: enterBody, block: at})
	rows := c.body(in.inside(at, body), b)
	c.note(visit{kind: enterRescue, block: at})
	rows = append(rows, c.strand(in.inside(at, rescue), b.Rescue)...)
	c.note(visit{kind: enterAlways, block: at})
	rows = append(rows, c.strand(in.inside(at, always), b.Always)...)
	c.note(visit{kind: leaveBlock, block: at})
	if len(rows) == 0 {
		return nil
	}
	return append(rows, element{row: &row{kind: blockEndRow, block: at, ends: b.Role, in: f.section, frame: f}})
}

func (c *compiler) body(f *frame, b *playbook.Block) strand {
	if !b.Parallel {
		return c.strand(f, b.Body)
	}
	var sides []strand
	for i, inner := range b.Body {
		if rows := c.block(f, inner, i); len(rows) > 0 {
			sides = append(sides, rows)
		}
	}
	if len(sides) == 0 {
		return nil
	}
	return strand{{parallel: sides}}
}

// row compiles a task; nil when tags leave it out or something is wrong with it.
func (c *compiler) row(f *frame, t *playbook.Task) *row {
	r := c.taskRow(f, t)
	if r == nil {
		return nil
	}
	if reason := c.leaves(r); reason != "" {
		r.left = true
		c.left = append(c.left, leftOut{r, reason})
		return nil
	}
	return r
}

// leaves says why a run does not come to a row; "" where it does.
func (c *compiler) leaves(r *row) string {
	switch {
	case !c.selected(r):
		return c.plan.tags.why()
	case !c.passed(r):
		return "stands before the task of --start-at-task"
	}
	return ""
}

func (c *compiler) taskRow(f *frame, t *playbook.Task) *row {
	r := &row{task: t, frame: f, in: f.section, keys: &keys{Keywords: &t.Keywords, outer: f.keys}, handler: f.handler, place: f.place}
	r.when = r.keys.whens()
	r.layers = f.layers
	if t.Vars.Len() > 0 {
		r.layers = append(slices.Clip(r.layers), layered{vars.TaskVars, t.Vars})
	}
	switch {
	case t.Meta == "flush_handlers":
		r.kind = flushRow
	case t.Meta != "":
		r.kind = metaRow
	case t.Gate != nil:
		r.kind = gateRow
	case t.Include != nil:
		r.kind = includeRow
	case t.Spec != nil:
		r.kind = specRow
	case t.Module == "" && c.plan.in.Incomplete:
		return nil // told when it was read
	default:
		m, ok := c.plan.in.Modules.Lookup(t.Module)
		if !ok {
			c.problems.Add(t.ModuleAt, firstOf(diag.DidYouMean(t.Module, c.plan.in.Modules.Names()), "pegbook modules lists them"), "there is no module %q", t.Module)
			c.lose(t)
			return nil
		}
		r.module = m
		r.defaults = r.keys.defaultsFor(m)
	}
	c.check(r)
	return r
}

// handlerRow compiles a handler, which is number i of its play; tags do not apply to it. in is where its failure
// goes.
func (c *compiler) handlerRow(f *frame, h *handler, i int, in *section) *row {
	hf := *f
	hf.place = numbered(f.place, i)
	hf.section, hf.handler, hf.keys, hf.layers, hf.role = in, h, f.play.keys, nil, h.Role
	if h.Role != nil {
		hf.layers = roleScope(h.Role)
	}
	return c.taskRow(&hf, h.Task)
}

func (c *compiler) selected(r *row) bool {
	if r.handler != nil {
		return true
	}
	tags, err := tagsOf(r.keys, c.plan.playScope(r.frame.play.Play))
	if err != nil {
		c.blame(err, r.task.At)
		return false
	}
	return c.plan.tags.selects(tags)
}

// passed says whether the run has come to the task of StartAt.
func (c *compiler) passed(r *row) bool {
	if c.started {
		return true
	}
	for sec := r.in; sec != nil; sec = sec.outer {
		if sec.part == rescue {
			return false // nobody gets there without a failure before it
		}
	}
	name := displayName(r.task.Name, c.plan.playScope(r.frame.play.Play))
	for _, shown := range []string{name, roleName(r.frame.role, name)} {
		if match, err := path.Match(c.plan.in.StartAt, shown); shown == c.plan.in.StartAt || err == nil && match {
			c.started = true
		}
	}
	return c.started
}

// roleName is a task's name as shown.
func roleName(r *playbook.Role, name string) string {
	if r == nil {
		return name
	}
	return r.Name + " : " + name
}

// factsRow is the row that gathers a play's facts; nil when the play does not.
func (c *compiler) factsRow(f *frame, p *playbook.Play) *row {
	if p.Facts != nil && !*p.Facts {
		return nil
	}
	m, ok := c.plan.in.Modules.Lookup("setup")
	if !ok {
		if p.Facts != nil {
			c.problems.Add(p.At, "write gather_facts: false", "facts are gathered by the module setup, which is not there")
		}
		return nil
	}
	t := &playbook.Task{At: p.At, Dir: p.Dir, Module: "setup", Name: vars.Literal(vars.Of("Gathering Facts"))}
	if len(p.Tags) == 0 {
		t.Tags = []vars.Value{vars.Literal(vars.Of("always"))}
	}
	r := &row{task: t, module: m, facts: true, frame: f, keys: &keys{Keywords: &t.Keywords, outer: f.keys}, place: "facts"}
	r.when = r.keys.whens()
	r.defaults = r.keys.defaultsFor(m)
	if !p.GatherSubset.IsZero() {
		r.defaults = setField(r.defaults, m.Args, "gather_subset", p.GatherSubset)
	}
	if !c.selected(r) {
		return nil
	}
	return r
}
