package runner

import (
	"slices"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/internal/flow"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// visit is a step of the way that hosts take through a play, as a plan is made: a row, or that they come
// to a part of a block or to what an include brings.
type visit struct {
	kind    visitKind
	row     *row
	block   *block
	content *playbook.Content
}

type visitKind uint8

const (
	atRow visitKind = iota
	enterBody
	enterRescue
	enterAlways
	leaveBlock
	enterContent
	leaveContent
)

// note keeps where the compiler is.
func (c *compiler) note(v visit) { c.trace = append(c.trace, v) }

// analysis follows the hosts through the plays before they run: which variables each has at each task, and what
// the task's templates give there, as far as that is known. Hosts that do not differ in what matters
// (see kind) go together, so that a thousand hosts cost what the few kinds of them do.
type analysis struct {
	*compiler
	inv    *inventory.Inventory
	kinds  []*kind
	of     map[string]*kind // by host name
	all    *universe
	later  *vars.Values // what hosts may have when they join groups; nil when none can
	failed *vars.Values // what rescues set
	beside *vars.Values // what the files beside the playbook of the play define, where it stands apart
	facts  *vars.Values // the names of facts that something uses; their values are unknown
	magic  *vars.Values

	play    *play
	playing *vars.Values // its magic variables
	who     []*kind      // of the play
	public  []layered
	around  []surrounding
	blocks  []*openBlock
	guarded map[string]bool // variables that the play has asked about and would have ended without
	told    map[diag.Position]bool
	pending missings
	exprs   map[vars.Value]vars.Expr
	texts   map[string]*templateFile
	budget  int // evaluations for single hosts that are left
	depth   int
	// magics are the magic variables of rows, which those of one file share.
	magics   map[magicKey]*vars.Values
	settings []keywordSetting
	// dynamic: hosts and groups may join while the plays run.
	dynamic  bool
	fit      map[checkedValue]bool
	settable map[string]bool // variables that roles have defaults for
	// handlers: what is gone through runs when it is notified, nobody knows when.
	handlers bool
}

// maxSingle bounds the evaluations for single hosts of a kind; what lies beyond is left to the run.
const maxSingle = 20_000

// surrounding is what the content of an include stands in.
type surrounding struct {
	row   *row
	truth map[*kind]truth // whether hosts get there
	loop  *vars.Values
	left  bool
}

// openBlock is a block that is being gone through.
type openBlock struct {
	*block
	part  part
	marks map[*kind][]int // where body, rescue and always begin
	first map[*kind]int   // where the body's first task ends
	ends  map[*kind]bool  // the rescue surely fails
}

// checkFlow finds what is wrong with variables and with what templates make of them.
func (c *compiler) checkFlow() {
	a := &analysis{compiler: c, inv: c.plan.in.Inventory, told: map[diag.Position]bool{}, exprs: map[vars.Value]vars.Expr{},
		texts: map[string]*templateFile{}, budget: maxSingle, magics: map[magicKey]*vars.Values{}, settings: keywordSettings(), fit: map[checkedValue]bool{}}
	for _, d := range c.problems {
		if d.Position != (diag.Position{}) {
			a.told[d.Position] = true
		}
	}
	a.all = a.everything()
	if a.dynamic = a.all.joins; a.dynamic {
		a.later = unknowns(a.inv.FileNames())
	}
	a.magic = a.runMagic()
	a.facts, a.failed = a.all.factNames(), failedTask()
	a.divide()
	for _, b := range c.plan.playbooks {
		for _, p := range b.plays {
			a.goThrough(p)
		}
	}
	if a.unread == nil {
		a.checkSpelling()
	}
}

func (a *analysis) goThrough(p *play) {
	a.play, a.public, a.guarded = p, nil, map[string]bool{}
	a.beside = unknowns(a.plan.apart[p.Dir])
	a.playing = a.playMagic()
	a.who = a.present(p)
	for _, k := range a.who {
		k.begin()
	}
	a.announceHandlers(p)
	a.checkPlayKeywords(p)
	a.walkGuard(p)
	a.walk(p.trace)
	a.handlers = true
	a.walk(p.later)
	a.handlers = false
}

// walkGuard goes through the play's guard on the hosts that are looked at. What its tasks register stays there.
func (a *analysis) walkGuard(p *play) {
	if p.guard == nil {
		return
	}
	who := a.who
	defer func() { a.who = who }()
	if !p.guard.Hosts.IsZero() {
		a.who = nil
		hosts, _ := a.plan.guardHosts(p.Play, a.inv)
		for _, h := range hosts {
			if k := a.of[h.Name]; k != nil && !slices.Contains(a.who, k) {
				k.begin()
				a.who = append(a.who, k)
			}
		}
	}
	before := make([]flow.State, len(a.who))
	for i, k := range a.who {
		before[i] = k.state.Clone()
	}
	a.walk(p.looks)
	for i, k := range a.who {
		k.state = before[i]
		k.begin()
	}
}

// announceHandlers lets tasks use what handlers register: whether these have run is not known.
func (a *analysis) announceHandlers(p *play) {
	for _, v := range p.later {
		if v.kind != atRow {
			continue
		}
		for _, name := range v.row.defines() {
			for _, k := range a.who {
				if k.state.Get(name) == nil {
					k.state.Define(definition(name, v.row, "a handler sets it").quiet())
				}
			}
		}
	}
}

func (a *analysis) walk(trace []visit) {
	for i := 0; i < len(trace); i++ {
		v := trace[i]
		switch v.kind {
		case atRow:
			a.row(v.row)
		case enterContent:
			a.enter(v.row, v.content)
		case leaveContent:
			a.leave(v.row, v.content)
		case enterBody:
			a.blocks = append(a.blocks, &openBlock{block: v.block, marks: map[*kind][]int{}, first: map[*kind]int{}, ends: map[*kind]bool{}})
			a.mark(body)
		case enterRescue:
			a.mark(rescue)
			a.doubtBody()
		case enterAlways:
			a.mark(always)
		case leaveBlock:
			a.mark(always)
			a.meet()
			a.blocks = a.blocks[:len(a.blocks)-1]
		}
	}
}

func (a *analysis) innermost() *openBlock { return a.blocks[len(a.blocks)-1] }

func (a *analysis) mark(p part) {
	b := a.innermost()
	b.part = p
	for _, k := range a.who {
		b.marks[k] = append(b.marks[k], k.state.Mark())
	}
}

// doubtBody is where a rescue or always begins: the body may have failed at any of its tasks, so only the
// first has surely begun.
func (a *analysis) doubtBody() {
	b := a.innermost()
	if !b.rescue && !b.always {
		return
	}
	for _, k := range a.who {
		k.state.Doubt(max(b.marks[k][0], b.first[k]), b.marks[k][1], "a task before it in the block may have failed")
	}
}

// meet is the end of a block: who comes out of it has gone through all of the body, or through the rescue.
func (a *analysis) meet() {
	b := a.innermost()
	if !b.rescue && !b.always {
		return
	}
	for _, k := range a.who {
		m := b.marks[k] // body, rescue, always, end
		sure := func(name string) bool {
			return !b.rescue || b.ends[k] || k.state.Sure(m[1], m[2], name)
		}
		body := [2]int{m[0], m[1]}
		if b.rescue && !b.ends[k] {
			k.state.Doubt(m[1], m[2], "only the block's rescue defines it")
		}
		k.state.Trust(body[0], body[1], sure)
	}
}

// inRescued says whether a failure here is taken by a rescue.
func (a *analysis) inRescued() bool {
	return slices.ContainsFunc(a.blocks, func(b *openBlock) bool { return b.rescue && b.part == body })
}

func (a *analysis) inRescue() bool {
	return slices.ContainsFunc(a.blocks, func(b *openBlock) bool { return b.part == rescue })
}

// enter comes to what an include brings.
func (a *analysis) enter(r *row, _ *playbook.Content) {
	s := surrounding{row: r, truth: map[*kind]truth{}, left: r.left}
	for _, k := range a.who {
		s.truth[k] = k.including.truth
		s.loop = k.including.loop
		k.marks = append(k.marks, k.state.Mark())
	}
	a.around = append(a.around, s)
}

// leave comes to the end of it: what it defined is there only where the include was done.
func (a *analysis) leave(r *row, content *playbook.Content) {
	s := a.around[len(a.around)-1]
	a.around = a.around[:len(a.around)-1]
	for _, k := range a.who {
		from := k.marks[len(k.marks)-1]
		k.marks = k.marks[:len(k.marks)-1]
		if s.truth[k] != yes {
			k.state.Doubt(from, k.state.Mark(), "its include has a condition")
		}
	}
	if role := content.Role; role != nil && r.task.Include.Public {
		a.public = append(a.public, roleLayers(role)...)
	}
}

// truth is whether something is so: it may hang on what only the run knows.
type truth uint8

const (
	unknown truth = iota
	yes
	no
)

// reached says whether the hosts of a kind get to where the analysis is.
func (a *analysis) reached(k *kind) truth {
	got := yes
	if k.ended {
		return no
	}
	for _, s := range a.around {
		switch s.truth[k] {
		case no:
			return no
		case unknown:
			got = unknown
		case yes:
		}
	}
	return got
}
