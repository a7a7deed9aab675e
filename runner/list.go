package runner

import (
	"slices"

	"github.com/pegbook/pegbook/runner/diag"
)

// PlayGraph is a play as the run will go through it.
type PlayGraph struct {
	Playbook string        `json:"playbook"`
	Play     string        `json:"play"`
	At       diag.Position `json:"at"`
	Strategy string        `json:"strategy"`
	Hosts    []string      `json:"hosts"`
	// Patterns are what selects the hosts; Tags the play's own.
	Patterns []string `json:"patterns"`
	Tags     []string `json:"tags,omitempty"`
	// Batches are the hosts of each batch; one batch goes through all rows before the next.
	Batches [][]string `json:"batches"`
	// After are the plays, counted from 0 within the playbook, that end before this one starts.
	After []int     `json:"after"`
	Rows  []RowNode `json:"rows"`
	// Guard is what is looked at before each batch and while it runs; nil for nothing.
	Guard *GuardNode `json:"guard,omitempty"`
	// Lock is what the play holds; empty: none, or none that is known before the run.
	Lock string `json:"lock,omitempty"`
	// Handlers are what a flush may run.
	Handlers []string `json:"handlers,omitempty"`
}

// RowNode is a task in its place. Rows follow one another, those of a parallel block side by side.
type RowNode struct {
	// Kind is task, facts (that are gathered), include, meta, gate, flush (of handlers) or parallel.
	Kind   string        `json:"kind"`
	Name   string        `json:"name,omitempty"`
	Module string        `json:"module,omitempty"`
	At     diag.Position `json:"at,omitzero"`
	// Section is rescue or always for what stands in one, body in the block of one; Depth how many blocks are around.
	Section string      `json:"section,omitempty"`
	Depth   int         `json:"depth,omitempty"`
	Tags    []string    `json:"tags,omitempty"`
	Sides   [][]RowNode `json:"sides,omitempty"`
}

// GuardNode is a play's guard.
type GuardNode struct {
	Rows []RowNode `json:"rows"`
	// Hosts are those that are looked at, where they are not those of the batch.
	Hosts []string `json:"hosts,omitempty" secrets:"shown"`
	// EveryS is how many seconds lie between two looks while a batch runs.
	EveryS float64 `json:"every_s"`
	// OnBreach is pause or fail.
	OnBreach string `json:"on_breach"`
}

func (p *Plan) guardNode(pl *play) *GuardNode {
	if pl.guard == nil {
		return nil
	}
	g := &GuardNode{Rows: []RowNode{}, EveryS: pl.guard.Interval.Seconds(), OnBreach: "pause"}
	if pl.guard.Fails {
		g.OnBreach = "fail"
	}
	for _, r := range pl.guard.rows {
		g.Rows = append(g.Rows, p.rowNode(r))
	}
	if !pl.guard.Hosts.IsZero() {
		hosts, _ := p.guardHosts(pl.Play, p.in.Inventory) // told when the plan was made
		g.Hosts = namesOf(hosts)
	}
	return g
}

// Graph gives the plan, play by play.
func (p *Plan) Graph() []PlayGraph {
	var all []PlayGraph
	for _, b := range p.playbooks {
		for _, pl := range b.plays {
			all = append(all, p.graphOf(b, pl))
		}
	}
	return all
}

func (p *Plan) graphOf(b *book, pl *play) PlayGraph {
	s := p.playScope(pl.Play)
	g := PlayGraph{Playbook: b.path, Play: pl.name, At: pl.At, Strategy: firstOf(pl.Strategy, "linear"), Hosts: namesOf(pl.hosts),
		After: append([]int{}, pl.needs...), Rows: p.rowNodes(pl.rows), Batches: [][]string{}, Patterns: patternsOf(pl.Play, s), Guard: p.guardNode(pl)}
	if tags, err := tagsOf(pl.keys, s); err == nil {
		g.Tags = tags
	}
	g.Lock = pl.lockName()
	cut, err := batches(pl.hosts, pl.Serial, s)
	if err == nil {
		for _, hosts := range cut {
			g.Batches = append(g.Batches, namesOf(hosts))
		}
	}
	for _, h := range pl.handlers {
		g.Handlers = append(g.Handlers, roleName(h.Role, h.name))
	}
	return g
}

func (p *Plan) rowNodes(rows strand) []RowNode {
	nodes := []RowNode{}
	rows.each(func(r *row) { nodes = append(nodes, p.rowNode(r)) }, func(sides []strand) {
		n := RowNode{Kind: "parallel"}
		for _, side := range sides {
			n.Sides = append(n.Sides, p.rowNodes(side))
		}
		nodes = append(nodes, n)
	})
	return nodes
}

// each goes over what people see of a strand: rows, and strands that run side by side.
func (rows strand) each(one func(*row), parallel func([]strand)) {
	for _, e := range rows {
		switch {
		case e.parallel != nil:
			parallel(e.parallel)
		case e.row.kind != blockEndRow:
			one(e.row)
		}
	}
}

func (p *Plan) rowNode(r *row) RowNode {
	s := p.playScope(r.frame.play.Play)
	name := firstOf(displayName(r.task.Name, s), plainName(r.task))
	n := RowNode{Kind: "task", Name: roleName(r.frame.role, name), Module: r.task.Module, At: r.task.At}
	switch r.kind {
	case taskRow:
		if r.facts {
			n.Kind = "facts"
		}
	case includeRow:
		n.Kind = "include"
	case metaRow:
		n.Kind = "meta"
	case flushRow:
		n.Kind, n.Name = "flush", ""
	case gateRow:
		n.Kind = "gate"
	case blockEndRow, specRow:
	}
	if tags, err := tagsOf(r.keys, s); err == nil {
		n.Tags = tags
	}
	for sec := r.in; sec != nil; sec = sec.outer {
		n.Depth++
		if n.Section == "" && (sec.part != body || sec == r.in && (sec.block.rescue || sec.block.always)) {
			n.Section = [...]string{"body", "rescue", "always"}[sec.part]
		}
	}
	return n
}

// Hosts lists every host of a play, in the order of the plays, each once.
func (p *Plan) Hosts() []string {
	var names []string
	seen := map[string]bool{}
	for _, b := range p.playbooks {
		for _, pl := range b.plays {
			for _, h := range pl.hosts {
				if !seen[h.Name] {
					seen[h.Name] = true
					names = append(names, h.Name)
				}
			}
		}
	}
	return names
}

// Tags lists the tags of all tasks, sorted.
func (p *Plan) Tags() []string {
	var tags []string
	var walk func([]RowNode)
	walk = func(rows []RowNode) {
		for _, n := range rows {
			tags = append(tags, n.Tags...)
			for _, side := range n.Sides {
				walk(side)
			}
		}
	}
	for _, g := range p.Graph() {
		walk(g.Rows)
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}

// Size is how much there is in a plan: plays, tasks (handlers and what static includes bring in counted,
// each where it stands) and hosts.
type Size struct {
	Plays int `json:"plays"`
	Tasks int `json:"tasks"`
	Hosts int `json:"hosts"`
}

// Size counts.
func (p *Plan) Size() Size {
	size := Size{Hosts: len(p.Hosts()), Tasks: p.tasks}
	for _, b := range p.playbooks {
		size.Plays += len(b.plays)
	}
	return size
}
