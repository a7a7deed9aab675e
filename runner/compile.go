package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// Inputs are what to run.
type Inputs struct {
	// Playbooks run one after the other; a later one only when all before it went well. They share facts
	// and lost hosts.
	Playbooks []*playbook.Playbook
	Inventory *inventory.Inventory
	// Sources are the inventory's sources, to be named in the record of the run.
	Sources []string
	Modules Set
	// Limit narrows every play to the hosts that these patterns select; none does not.
	Limit []string
	// Tags and SkipTags choose tasks; each may hold several, separated by commas.
	Tags, SkipTags []string
	// StartAt passes over every task before the first of this name (exact, with or without its role, or
	// a shell pattern); "" starts at the beginning.
	StartAt string
	// Extra are the -e variables, the later ones already over the earlier.
	Extra *vars.Values
	// Files is how files are read that are included while running.
	Files playbook.Options
	// Defaults are how hosts are reached where neither variables nor keywords say.
	Defaults ConnectionDefaults
	// ForceHandlers runs handlers that were notified on failed hosts, too, in every play.
	ForceHandlers bool
	// Answered is what sources of plugins have answered for the inventory; it is kept, for Past.Answered to give.
	Answered json.RawMessage
	// Reload reads the inventory anew (meta: refresh_inventory); nil refuses playbooks that ask for it. answered is what
	// sources have answered when a run that is gone on with did so, nil asks them. It gives what they have answered.
	Reload func(ctx context.Context, answered json.RawMessage) (*inventory.Inventory, json.RawMessage, diag.List)
	// Incomplete says that reading the playbooks found errors: Compile then looks for what else is wrong
	// in what could be read, so that a user sees it all at once. It makes no plan, and does not complain
	// of what may be missing because it could not be read.
	Incomplete bool
	// OpenAll tries the passwords on every encrypted value, not only on those that the run comes to use.
	OpenAll bool

	answers map[*playbook.Play]*vars.Values // to vars_prompt; nil before they were asked
	private []string                        // answers that must not be shown
	given   []string                        // answers to all questions
}

// Plan is a compiled run. It is immutable and may be run several times.
type Plan struct {
	in        Inputs
	tags      selector
	limit     map[string]bool // nil: no limit
	playbooks []*book
	tasks     int  // that were checked
	gated     bool // a gate is among them
	// apart are the folders of playbooks that have group_vars or host_vars of their own, besides the first
	// playbook's folder, with the names of the variables in them.
	apart map[string][]string
}

// lookBeside finds group_vars and host_vars beside a playbook.
func (p *Plan) lookBeside(dir string) diag.List {
	if _, looked := p.apart[dir]; looked || p.in.Inventory == nil {
		return nil
	}
	if p.apart == nil {
		p.apart = map[string][]string{}
	}
	p.apart[dir] = nil
	inv, problems := p.in.Inventory.Beside(dir)
	if inv != p.in.Inventory {
		p.apart[dir] = inv.FileNames()
	}
	return problems
}

// book is a compiled playbook.
type book struct {
	path  string
	plays []*play
}

// play is a compiled play.
type play struct {
	*playbook.Play
	name     string
	place    string // where it stands in the plan (see place.go)
	keys     *keys
	layers   []layered // of the roles that the whole play sees
	answers  *vars.Values
	rows     strand
	handlers handlers
	hosts    []*inventory.Host // as the inventory stands at the start
	needs    []int             // plays of the playbook that come before
	notifies map[string]bool   // names of handlers that are notified, while the plan is made
	trace    []visit           // the rows in the order in which hosts come to them
	later    []visit           // those of handlers
	left     []leftOut
	guard    *guard    // nil for none
	looks    []visit   // the rows of the guard
	lock     *lockSpec // where it is known before the run
}

// leftOut is a task that the run does not come to, and why.
type leftOut struct {
	row    *row
	reason string
}

// compiler collects what is wrong while a plan is made.
type compiler struct {
	plan     *Plan
	problems diag.List
	play     *play
	handlers handlers            // every handler that the play can come to have
	open     bool                // the play may get handlers that cannot be known before the run
	unread   *playbook.Unread    // what errors keep from being known; nil where there are none
	started  bool                // the task of StartAt has been found, or none was given
	rows     []*row              // every row that was checked
	trace    []visit             // rows and what they stand in, in order
	within   []*playbook.Content // includes being checked
	left     []leftOut           // tasks of the play being compiled
}

// Compile checks everything that can be checked before the run and makes the plan. It contacts no host.
// The list holds every problem and warning; the plan is nil when the list has Failed, or the
// playbooks are Incomplete.
func Compile(in Inputs) (*Plan, diag.List) {
	c := &compiler{plan: &Plan{in: in, tags: newSelector(in.Tags, in.SkipTags)}, started: in.StartAt == "" || in.Incomplete, unread: unreadOf(in)}
	c.limit()
	for _, pb := range in.Playbooks {
		b := &book{path: pb.Path}
		for i, p := range pb.Plays {
			b.plays = append(b.plays, c.compilePlay(p, playPlace(len(c.plan.playbooks), i)))
		}
		if !in.Incomplete {
			c.order(b)
		}
		c.plan.playbooks = append(c.plan.playbooks, b)
	}
	if !c.started {
		c.problems.Add(diag.Position{}, "pegbook run --list-tasks lists them", "--start-at-task: no task is called %q", in.StartAt)
	}
	c.checkConnections()
	c.checkVault()
	if c.unread == nil || !c.unread.All {
		c.checkFlow()
	}
	if !c.problems.Failed() && !in.Incomplete {
		c.findLocks()
	}
	c.problems.Sort()
	c.plan.tasks = c.tasks()
	c.plan.gated = slices.ContainsFunc(c.rows, func(r *row) bool { return r.kind == gateRow })
	if c.problems.Failed() || in.Incomplete {
		return nil, c.problems
	}
	return c.plan, c.problems
}

// unreadOf is what errors in the playbooks' files keep from being known; nil where there are none.
func unreadOf(in Inputs) *playbook.Unread {
	if !in.Incomplete {
		return nil
	}
	u := &playbook.Unread{}
	for _, pb := range in.Playbooks {
		u.Merge(pb.Unread)
	}
	return u
}

// lose is for a task of which only its text is known.
func (c *compiler) lose(t *playbook.Task) {
	if c.unread == nil {
		c.unread = &playbook.Unread{}
	}
	c.unread.All = c.unread.All || playbook.BringsIn(t.Module)
	c.unread.Add(t.At.File, c.plan.in.Files)
}

// tasks counts what was checked, whether or not tags select it.
func (c *compiler) tasks() int {
	n := 0
	for _, r := range c.rows {
		if r.kind != blockEndRow {
			n++
		}
	}
	return n
}

func (c *compiler) limit() {
	if len(c.plan.in.Limit) == 0 {
		return
	}
	hosts, problems := c.plan.in.Inventory.SelectAll(c.plan.in.Limit, diag.Position{})
	c.problems.Append(problems)
	if len(hosts) == 0 && !problems.Failed() {
		c.problems.Add(diag.Position{}, "pegbook inventory list shows the hosts", "--limit %s leaves no host", strings.Join(c.plan.in.Limit, ","))
	}
	c.plan.limit = map[string]bool{}
	for _, h := range hosts {
		c.plan.limit[h.Name] = true
	}
}

func (c *compiler) compilePlay(p *playbook.Play, place string) *play {
	cp := &play{Play: p, place: place, notifies: map[string]bool{}, keys: &keys{Keywords: &p.Keywords, play: true}, answers: c.plan.in.answersTo(p)}
	c.play, c.open, c.left = cp, c.unread != nil && c.unread.All, nil
	c.problems.Append(c.plan.lookBeside(p.Dir))
	s := c.plan.playScope(p)
	cp.name = displayName(p.Name, s)
	cp.hosts = c.hosts(p, s)
	if cp.name == "" {
		cp.name = strings.Join(patternsOf(p, s), ",")
	}
	c.require(p)
	c.checkPlay(p, s)
	c.checkDefaults(p)
	for _, role := range slices.Concat(p.Imported, p.Roles) {
		cp.layers = append(cp.layers, roleLayers(role)...)
	}
	f := &frame{play: cp, keys: cp.keys, place: "handlers"}
	cp.guard = c.compileGuard(f, p)
	cp.looks, c.trace = c.trace, nil
	for _, h := range p.Handlers {
		cp.handlers = append(cp.handlers, &handler{Handler: h, name: displayName(h.Name, s)})
	}
	c.handlers = append(slices.Clone(cp.handlers), c.laterHandlers(p, s)...)
	for i, h := range cp.handlers {
		c.handlerRow(f, h, i, nil)
	}
	cp.later, c.trace = c.trace, nil
	if facts := c.factsRow(f, p); facts != nil {
		c.note(visit{kind: atRow, row: facts})
		cp.rows = append(cp.rows, element{row: facts})
	}
	for i, part := range [][]*playbook.Block{p.PreTasks, p.Tasks, p.PostTasks} {
		f := &frame{play: cp, keys: cp.keys, place: []string{"pre", "tasks", "post"}[i]}
		cp.rows = append(cp.rows, c.strand(f, part)...)
		cp.rows = append(cp.rows, element{row: &row{kind: flushRow, task: &playbook.Task{Meta: "flush_handlers"}, frame: f, keys: cp.keys, place: f.place}})
	}
	cp.trace, c.trace = c.trace, nil
	if c.unread == nil {
		c.checkHandlers()
	}
	cp.left = c.left
	return cp
}

// hosts selects the play's hosts, within the limit and in the play's order.
func (c *compiler) hosts(p *playbook.Play, s *vars.Scope) []*inventory.Host {
	hosts, problems := c.plan.selectHosts(p, c.plan.in.Inventory, s)
	c.problems.Append(problems)
	return hosts
}

// order finds which plays a play waits for.
func (c *compiler) order(b *book) {
	ids := map[string]int{}
	for i, p := range b.plays {
		switch {
		case p.Needs == nil && i > 0:
			p.needs = []int{i - 1}
		case p.Needs != nil:
			for _, id := range p.Needs {
				before, ok := ids[id]
				if !ok {
					c.problems.Add(p.At, "needs names the id of plays that stand before", "no play before this one has the id %q", id)
					continue
				}
				p.needs = append(p.needs, before)
			}
		}
		if p.ID != "" {
			ids[p.ID] = i
		}
	}
}

func (c *compiler) require(p *playbook.Play) {
	for _, r := range p.Requires {
		hosts, ok := c.plan.in.Inventory.Group(r.Group)
		if !ok && !compare(0, r.Op, r.Count) {
			c.problems.Add(r.At, diag.DidYouMean(r.Group, c.plan.in.Inventory.Groups()), "the inventory has no group %q; the play requires %s %d hosts in it", r.Group, r.Op, r.Count)
			continue
		}
		if !compare(len(hosts), r.Op, r.Count) {
			c.problems.Add(r.At, "change the inventory, or what the play requires", "group %s has %d hosts; the play requires %s %d", r.Group, len(hosts), r.Op, r.Count)
		}
	}
}

func compare(n int, op string, m int) bool {
	switch op {
	case ">=":
		return n >= m
	case "<=":
		return n <= m
	case ">":
		return n > m
	case "<":
		return n < m
	case "!=":
		return n != m
	case "==":
		return n == m
	}
	panic(fmt.Sprintf("runner: comparison %q", op))
}

// displayName is a name as shown: rendered where that is possible, else as written.
func displayName(v vars.Value, s *vars.Scope) string {
	if v.IsZero() {
		return ""
	}
	if d, ok := v.Static(); ok {
		return d.Text()
	}
	if d, err := v.Resolve(s); err == nil {
		return d.Text()
	}
	return v.Raw()
}
