package runner

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/vars"
)

// WayBack is what becomes of something that a run has changed when the run is taken back.
type WayBack string

// Ways.
const (
	// BackPut is put back as it was before.
	BackPut WayBack = "put_back"
	// BackStays stays as the run left it.
	BackStays WayBack = "stays"
	// BackNot cannot be put back; the task does what the playbook says, or fails where it could have been put back.
	BackNot WayBack = "cannot"
)

// Back is something that a run has changed, and what becomes of it.
type Back struct {
	Host   string  `json:"host"`
	Task   string  `json:"task"`
	Module string  `json:"module"`
	Way    WayBack `json:"way"`
	// What is what is put back or stays, or why it cannot be.
	What string `json:"what"`
	// Refused says that the run which takes it back will fail there, but for Undo.Force.
	Refused bool `json:"refused,omitempty"`
}

// Back says what taking a run back would put back, what would stay, and what cannot be put back and why, in the order
// of hosts and tasks. It looks at the hosts and changes nothing.
func (p *Plan) Back(ctx context.Context, o Options) ([]Back, error) {
	r := p.newRun(o)
	if err := r.fitsUndo(); err != nil {
		return nil, err
	}
	byHost := map[string][]*undone{}
	for _, key := range slices.SortedFunc(maps.Keys(o.Undo.steps), compareKeys) {
		s := o.Undo.steps[key]
		byHost[firstOf(s.On, s.host)] = append(byHost[firstOf(s.On, s.host)], s)
	}
	names, rows := slices.Sorted(maps.Keys(byHost)), r.plan.places()
	found := make([][]Back, len(names))
	places := make(chan struct{}, max(1, min(o.Forks, 200)))
	var all sync.WaitGroup
	for i, name := range names {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			for _, s := range byHost[name] {
				found[i] = append(found[i], r.backOf(ctx, s, rows)...)
			}
		})
	}
	all.Wait()
	o.Undo.hosts = map[string]*keptOn{} // the run that takes it back asks them again
	return distinct(slices.Concat(found...)), ctx.Err()
}

// distinct leaves out what was listed of the same host before: what a step puts back may belong to a later one as well.
func distinct(all []Back) []Back {
	seen := map[[2]string]bool{}
	return slices.DeleteFunc(all, func(b Back) bool {
		key := [2]string{b.Host, b.What}
		had := seen[key] && b.Way == BackPut
		seen[key] = true
		return had
	})
}

// backOf says what becomes of what one step has changed.
func (r *run) backOf(ctx context.Context, s *undone, rows map[string]*row) []Back {
	one := func(way WayBack, what string, refused bool) []Back {
		return []Back{{Host: firstOf(s.On, s.host), Task: s.task, Module: s.Module, Way: way, What: what, Refused: refused}}
	}
	m, ok := r.plan.in.Modules.Lookup(s.Module)
	switch {
	case s.Reads:
		return nil
	case !ok || !m.Keeps && m.Restore == nil:
		return one(BackNot, byHand(m, s), false)
	case m.Restore != nil && s.Before == nil && len(s.Stays) > 0:
		return one(BackStays, strings.Join(s.Stays, ", "), false)
	}
	var rest []Back
	if m.Restore != nil && (s.Before != nil || !m.Keeps) {
		before := s.Before
		if f := r.opts.Undo.things[thing{firstOf(s.On, s.host), s.About}]; f != nil {
			before = f.before
		}
		rest = one(BackPut, strings.TrimPrefix(s.About+": "+facts(before), ": "), false)
	}
	if m.Restore != nil && (!m.Keeps || !s.Files) {
		return rest
	}
	b, err := r.backingOf(ctx, s, rows)
	p := &modules.Proposal{}
	if err == nil {
		err = b.propose(ctx, s.name(), p)
	}
	var refused *NotPutBackError
	if err != nil && !errors.As(err, &refused) {
		return one(BackNot, err.Error(), true)
	}
	var all []Back
	for _, d := range b.diff {
		all = append(all, one(BackPut, d.Subject+" "+d.Note, false)...)
	}
	for _, note := range b.notes {
		all = append(all, one(BackStays, note, false)...)
	}
	for _, problem := range b.problems {
		all = append(all, one(BackNot, problem, !r.opts.Undo.Force)...)
	}
	return append(all, rest...)
}

// byHand says what a step has changed that cannot be put back, and how that is put back by hand.
func byHand(m *modules.Module, s *undone) string {
	if m == nil || m.ByHand == "" {
		return doneAgain
	}
	return firstOf(strings.Join(s.Did, ", "), "what it changed") + "; by hand: " + m.ByHand
}

// doneAgain says what becomes of a task of which nothing is known of before.
const doneAgain = "nothing is known of before; the task does what the playbook says"

// Again says whether nothing can be said of how to put it back, and the task is done again.
func (b Back) Again() bool { return b.Way == BackNot && b.What == doneAgain }

// facts are the fields of what a module has kept of before, for people.
func facts(before json.RawMessage) string {
	fields := map[string]json.RawMessage{}
	if json.Unmarshal(before, &fields) != nil || len(fields) == 0 {
		return "as it was"
	}
	var words []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		words = append(words, name+" "+firstOf(strings.Trim(string(fields[name]), `"`), "none"))
	}
	return strings.Join(words, ", ")
}

// backingOf opens the host that a step has worked on.
func (r *run) backingOf(ctx context.Context, s *undone, rows map[string]*row) (*backing, error) {
	x := &prepared{on: r.hostOrAddress(firstOf(s.On, s.host))}
	play := playOf(s.place)
	_, row, _ := strings.Cut(s.place, "::")
	var k *keys
	if w := rows[play+":"+row]; w != nil {
		k = w.keys
	}
	var err error
	if x.address, x.become, err = r.plan.in.Defaults.address(x.on, r.scopeIn(play, x.on), k); err != nil {
		return nil, err
	}
	x.become.User = s.As
	r.secrets.Add(x.address.Password, x.become.Password)
	x.host = &lazyHost{name: x.on.Name, open: func(ctx context.Context) (modules.Host, error) {
		return r.opts.Connect.Open(ctx, x.address, x.become)
	}}
	b := &backing{undo: r.opts.Undo, did: s, host: x.host}
	if b.kept, err = r.opts.Undo.keptBy(ctx, x, r.opts.Undo.Run); err == nil {
		b.stays = b.kept.stays
	}
	return b, err
}

// scopeIn is what names mean on a host in a play, before anything has run.
func (r *run) scopeIn(place string, on *inventory.Host) *vars.Scope {
	for _, b := range r.plan.playbooks {
		for _, pl := range b.plays {
			if pl.place == place {
				all := []*inventory.Host{on}
				return (&playRun{play: pl, all: all, magic: playMagic(pl, all, r.opts.Undo)}).confirmScope(r)
			}
		}
	}
	return r.plan.playScope(r.plan.playbooks[0].plays[0].Play)
}

// leftOver are steps that have changed something and that the way back has not come to.
func (u *Undo) leftOver(p *Plan) []string {
	if u == nil {
		return nil
	}
	var all []string
	for _, key := range slices.SortedFunc(maps.Keys(u.steps), compareKeys) {
		s := u.steps[key]
		_, met := u.met.Load(key)
		_, recalled := u.met.Load(undoKey{key.place, key.host, -1})
		if !met && !recalled && u.restorable(p, s) {
			all = append(all, s.task+" on "+s.host)
		}
	}
	return slices.Compact(all)
}
