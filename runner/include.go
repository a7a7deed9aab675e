package runner

import (
	"fmt"
	"slices"

	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/internal/graph"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// inclusion is content that an include brings to a host, for one item of its loop.
type inclusion struct {
	content *playbook.Content
	item    *vars.Values // the loop's variables; nil without a loop
	name    string       // as the task names it
	key     string       // what must be equal for hosts to go through the content together
}

// maxDepth is how many includes may stand in one another. A file that includes itself until something is
// so takes a few; one that never stops would take the control node's memory.
const maxDepth = 200

// include finds what the task brings in. A file that is not there fails the host.
func (st *step) include(s *vars.Scope, res *result) {
	if st.row.frame.depth >= maxDepth {
		res.fail(fmt.Errorf("%s: %d includes stand in one another; give the one that includes itself a when that ends it, or use until", st.row.task.At, maxDepth))
		return
	}
	content, name, err := st.content(s)
	if err != nil {
		res.fail(err)
		res.missing = res.failed()
		return
	}
	in := inclusion{content: content, name: name, key: content.Path}
	if res.looped {
		all := map[string]vars.Data{}
		lc := st.row.task.LoopControl
		for _, name := range []string{st.loopVar(), lc.Index, "ansible_loop_var", "ansible_loop"} {
			if d, ok, err := s.Lookup(name); name != "" && ok && err == nil {
				all[name] = d
			}
		}
		in.item = vars.ValuesOf(all)
		in.key += "\x00" + string(res.item.JSON())
	}
	res.includes = []inclusion{in}
	res.set("include", vars.Of(content.Path))
}

func (st *step) content(s *vars.Scope) (*playbook.Content, string, error) {
	in := st.row.task.Include
	if in.Content != nil {
		return in.Content, "", nil
	}
	name, isRole := in.File, !in.RoleName.IsZero()
	if isRole {
		name = in.RoleName
	}
	d, err := name.Resolve(s)
	if err != nil {
		return nil, "", err
	}
	content, err := st.r.content(st.row, d.Text(), isRole)
	return content, d.Text(), err
}

// included is content by the task that names it and the name.
type included struct {
	task *playbook.Task
	name string
}

// content reads and checks what a name that was not known before the run brings in, once a run.
func (r *run) content(w *row, name string, isRole bool) (*playbook.Content, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := included{w.task, name}
	if c, ok := r.contents[key]; ok {
		return c, nil
	}
	read := func() (*playbook.Content, error) {
		if isRole {
			c, problems := playbook.ParseRole(w.task, name, w.task.Include, r.plan.in.Files)
			return c, problems.Err()
		}
		c, problems := playbook.ParseInclude(w.task, name, r.plan.in.Files)
		return c, problems.Err()
	}
	content, err := read()
	if err != nil {
		return nil, err
	}
	c := r.plan.compilerFor(w.frame.play, nil)
	c.open = true
	c.strand(w.contentFrame(content, nil), content.Blocks)
	if err := c.problems.Err(); err != nil {
		return nil, err
	}
	r.contents[key] = content
	return content, nil
}

// compilerFor makes a compiler for content that is brought into a play.
func (p *Plan) compilerFor(pl *play, hs handlers) *compiler {
	return &compiler{plan: p, play: pl, handlers: hs, started: true}
}

// contentFrame is what included content stands in: what is around the include, not the include's own
// keywords; its variables; and what apply gives.
func (w *row) contentFrame(content *playbook.Content, item *vars.Values) *frame {
	f := *w.frame
	f.section, f.handler = w.in, w.handler
	f.depth++
	if len(w.task.Vars.Names()) > 0 {
		f.layers = append(slices.Clip(f.layers), layered{vars.IncludeParams, w.task.Vars})
	}
	if item.Len() > 0 {
		f.layers = append(slices.Clip(f.layers), layered{vars.LoopVars, item})
	}
	apply := &w.task.Include.Apply
	f.keys = &keys{Keywords: apply, outer: f.keys}
	if apply.Vars.Len() > 0 {
		f.layers = append(slices.Clip(f.layers), layered{vars.BlockVars, apply.Vars})
	}
	if content.Role != nil {
		f.role = content.Role
	}
	return &f
}

// brought is an inclusion with the hosts that go through it.
type brought struct {
	inclusion
	nth int // of those alike on a host
	who []*player
	// told are the hosts that it has not been told of.
	told []string
}

// bring lets the hosts go through what the row included: hosts with the same file and item together,
// different ones one after the other.
func (rr *rowRun) bring() *graph.Graph[node] {
	all := rr.broughtIn()
	rr.done = nil
	g := &graph.Graph[node]{}
	var after []graph.ID
	for _, b := range all {
		rr.announce(b)
		rr.adopt(b.content)
		c := rr.r.plan.compilerFor(rr.lane.play, rr.lane.handlers)
		c.open = true
		f := rr.row.contentFrame(b.content, b.item)
		f.place = b.place(rr.row)
		rows := c.strand(f, b.content.Blocks)
		after = rr.lane.part(b.who).strand(g, rows, after)
	}
	return g
}

// broughtIn are the inclusions of all hosts, equal ones together. What is the same item again on a host goes with what
// is so on the others.
func (rr *rowRun) broughtIn() []*brought {
	type place struct {
		key     string
		content *playbook.Content
		nth     int
	}
	var all []*brought
	first := map[place]*brought{}
	for _, st := range rr.done {
		own := map[place]int{} // what this host has already
		for _, in := range st.res.includes {
			if st.p.lost != notLost || st.p.ended {
				continue
			}
			at := place{key: in.key, content: in.content}
			nth := own[at]
			own[at]++
			at.nth = nth
			b := first[at]
			if b == nil {
				b = &brought{inclusion: in, nth: nth}
				all = append(all, b)
				first[at] = b
			}
			b.who = append(b.who, st.p)
			if st.recalled == nil {
				b.told = append(b.told, st.p.Name)
			}
		}
	}
	return all
}

func (rr *rowRun) announce(b *brought) {
	for _, p := range b.who {
		p.seen = true
		p.counts.OK++
	}
	if len(b.told) > 0 {
		rr.r.stream.Emit(event.Included{File: b.content.Path, Hosts: b.told})
	}
}

// adopt makes the handlers of included content part of the play, and its role's variables where the role
// is public.
func (rr *rowRun) adopt(content *playbook.Content) {
	pr := rr.lane.playRun
	for _, h := range content.Handlers {
		if !slices.ContainsFunc(pr.handlers, func(have *handler) bool { return have.Handler == h }) {
			pr.handlers = append(slices.Clip(pr.handlers), &handler{Handler: h, name: displayName(h.Name, rr.r.plan.playScope(pr.Play))})
		}
	}
	if in := rr.row.task.Include; content.Role != nil && in.Public {
		pr.public = append(slices.Clip(pr.public), roleLayers(content.Role)...)
	}
}

// flush runs the handlers that were notified on the row's hosts, in the order of definition.
func (rr *rowRun) flush() *graph.Graph[node] {
	var who []*player
	for _, p := range rr.who {
		if len(p.notified) == 0 {
			continue
		}
		ok, err := holds(rr.row.when, rr.scope(p.host))
		if err != nil {
			res := &result{}
			res.fail(fmt.Errorf("when: %w", err))
			(&step{rowRun: rr, p: p, res: res}).settle()
			continue
		}
		if ok {
			who = append(who, p)
		}
	}
	if len(who) == 0 {
		return nil
	}
	c := rr.r.plan.compilerFor(rr.lane.play, rr.lane.handlers)
	c.open = true
	f := &frame{play: rr.lane.play, keys: rr.lane.play.keys, place: rr.row.place + "!"}
	g := &graph.Graph[node]{}
	var rows strand
	for i, h := range rr.lane.handlers {
		if r := c.handlerRow(f, h, i, rr.row.in); r != nil {
			rows = append(rows, element{row: r})
		}
	}
	rr.lane.part(who).strand(g, rows, nil)
	return g
}
