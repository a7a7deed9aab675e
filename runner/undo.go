package runner

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/vars"
)

// To take a run back is to walk its plan again, with the batches of each play in reverse order. A step whose module can
// put back what was there before (modules.Module.Keeps, Restore) does that where the run has changed something, and
// nothing where it has not; all other steps do what the playbook says: checks, drains, restarts, waits, gates. So what
// kept the hosts safe on the way there keeps them safe on the way back, and what depends on a step (handlers, conditions
// on what changed) follows from its result as ever.
//
// What was there before lies on the hosts (modules.Change.Keep) and in the run's record (modules.Proposal.Before).

// Undo is a run to take back. It is used by one run.
type Undo struct {
	// Run is its id.
	Run string
	// Force takes back what somebody else has changed since, and passes over what cannot be put back.
	Force bool

	steps   map[undoKey]*undone
	plays   map[string]cutHosts        // plays that had begun
	changed map[string]map[string]bool // play → hosts that it changed something on, or for
	stays   map[string][]string        // host → folders that stay
	things  map[thing]*found

	mu    sync.Mutex // guards hosts, and owed of things
	hosts map[string]*keptOn
	met   sync.Map // undoKey → true: steps of the run that were come to; an item of -1 is all of them
}

// id is the run that is taken back; "" for none.
func (u *Undo) id() string {
	if u == nil {
		return ""
	}
	return u.Run
}

// undoKey is a step, or an item of it, whatever batch the host was in.
type undoKey struct {
	place, host string
	item        int
}

// thing is what several steps may be about (modules.Module.About), and the host that has it.
type thing struct{ on, about string }

// found is what a run has done about a thing.
type found struct {
	before json.RawMessage // of the first step that found something to keep
	steps  []undoKey       // that have changed it, in their order
	// owed says that a step has left it to a later one, which the run had not come to, to put it back.
	owed bool
}

// undone is what the run that is taken back has done in a step.
type undone struct {
	undoKey
	acting
	task string
	undoneEnd
}

// undoneEnd is how a step ended.
type undoneEnd struct {
	digest  string // of the task; "" where it has not ended
	changed bool   // it has made its changes
}

// NewUndo reads the entries of a run that is to be taken back.
func NewUndo(run string, entries []Entry) (*Undo, error) {
	u := &Undo{Run: run, steps: map[undoKey]*undone{}, plays: map[string]cutHosts{}, changed: map[string]map[string]bool{}, stays: map[string][]string{}, things: map[thing]*found{}, hosts: map[string]*keptOn{}}
	ends := map[undoKey]undoneEnd{}
	for i, e := range entries {
		if err := u.take(e, ends); err != nil {
			return nil, fmt.Errorf("entry %d of the run: %w", i+1, err)
		}
	}
	for key, s := range u.steps {
		s.undoneEnd = ends[undoKey{place: key.place, host: key.host}]
	}
	return u, nil
}

func (u *Undo) take(e Entry, ends map[undoKey]undoneEnd) error {
	switch e.Kind {
	case EntryDecided:
		var cut cutHosts
		if isPlayPlace(e.Place) && json.Unmarshal(e.State, &cut) == nil {
			u.plays[e.Place] = cut
		}
	case EntryActing:
		var a acting
		if err := json.Unmarshal(e.State, &a); err != nil {
			return err
		}
		if a.Changes {
			u.act(e, a)
		}
	case EntryDone:
		var k keptStep
		if e.Item == 0 && json.Unmarshal(e.State, &k) == nil {
			ends[undoKey{place: unbatched(e.Place), host: e.Host}] = undoneEnd{k.Task, k.Status == event.Changed}
		}
	}
	return nil
}

// act takes in that a step has begun to change something. Of one that began several times, what was there before the
// first time counts.
func (u *Undo) act(e Entry, a acting) {
	play := playOf(e.Place)
	if u.changed[play] == nil {
		u.changed[play] = map[string]bool{}
	}
	if !a.Reads {
		u.changed[play][e.Host] = true
	}
	on := firstOf(a.On, e.Host)
	u.stays[on] = append(u.stays[on], a.Stays...)
	items := a.Items
	if items == nil {
		items = []int{e.Item}
	}
	for _, item := range items {
		key := undoKey{unbatched(e.Place), e.Host, item}
		if u.steps[key] == nil {
			u.steps[key] = &undone{undoKey: key, acting: a, task: e.Task}
			u.find(thing{on, a.About}, key, a.Before)
		}
	}
}

// find takes in that a step has changed a thing.
func (u *Undo) find(what thing, key undoKey, before json.RawMessage) {
	if what.about == "" {
		return
	}
	f := u.things[what]
	if f == nil {
		f = &found{}
		u.things[what] = f
	}
	f.steps = append(f.steps, key)
	if f.before == nil {
		f.before = before
	}
}

// comes says whether steps that have changed a thing are still to be come to. Handlers and rescues do not count: who
// knows whether they run this time.
func (u *Undo) comes(f *found, but undoKey) bool {
	return slices.ContainsFunc(f.steps, func(key undoKey) bool {
		_, met := u.met.Load(key)
		_, recalled := u.met.Load(undoKey{key.place, key.host, -1})
		return key != but && !met && !recalled && isSure(key.place)
	})
}

// isSure says whether a row at a place is come to whatever the rows before it do.
func isSure(place string) bool {
	return !strings.Contains(place, "!") && !slices.ContainsFunc(blocksOf(place), func(b blockAt) bool { return b.section == 'r' })
}

// isPlayPlace says whether a place is that of a play.
func isPlayPlace(place string) bool {
	book, play, ok := strings.Cut(place, ".")
	return ok && strings.Trim(book, "0123456789") == "" && play != "" && strings.Trim(play, "0123456789") == ""
}

// unbatched is a place without the number of the batch: each host is in one batch of a play.
func unbatched(place string) string {
	play, rest, _ := strings.Cut(place, ":")
	_, row, _ := strings.Cut(rest, ":")
	return play + "::" + row
}

// name is under which name a host keeps what was there before a step.
func (k undoKey) name() string {
	sum := sha256.Sum256([]byte(k.place + "\x00" + k.host + "\x00" + strconv.Itoa(k.item)))
	return hex.EncodeToString(sum[:10])
}

// undoTag lets a play be run when a run is taken back that had not come to it.
const undoTag = "rollback"

// cut gives a play's hosts and batches when a run is taken back: those in which that has changed something, the last
// first. A play that it had begun and not changed anything in has all of them; one that it had not begun has none.
func (u *Undo) cut(place string, name func(string) *inventory.Host) ([]*inventory.Host, [][]*inventory.Host) {
	was := u.plays[place]
	var all []*inventory.Host
	var cut [][]*inventory.Host
	changed := u.changed[place]
	rest := was.Hosts
	for _, n := range was.Batches {
		n = min(n, len(rest))
		batch := rest[:n]
		rest = rest[n:]
		if len(changed) > 0 && !slices.ContainsFunc(batch, func(host string) bool { return changed[host] }) {
			continue
		}
		in := make([]*inventory.Host, len(batch))
		for i, host := range batch {
			in[i] = name(host)
		}
		cut = append(cut, in)
	}
	slices.Reverse(cut)
	for _, batch := range cut {
		all = append(all, batch...)
	}
	return all, cut
}

// leftOut says whether a play is left out because the run that is taken back had not come to it.
func (u *Undo) leftOut(pr *playRun, s *vars.Scope) bool {
	if _, begun := u.plays[pr.place]; begun {
		return false
	}
	for _, v := range pr.Play.Tags {
		if tags, err := texts(v, s); err == nil && slices.Contains(splitTags(tags), undoTag) {
			return false
		}
	}
	return true
}

// fitsUndo finds what keeps a run from being taken back by this plan: tasks that have changed something and are not
// what they were.
func (r *run) fitsUndo() error {
	u := r.opts.Undo
	if u == nil {
		return nil
	}
	rows := r.plan.places()
	for _, key := range slices.SortedFunc(maps.Keys(u.steps), compareKeys) {
		s := u.steps[key]
		_, row, _ := strings.Cut(key.place, "::")
		if !u.restorable(r.plan, s) || strings.ContainsAny(row, "!>") {
			continue
		}
		w := rows[playOf(key.place)+":"+row]
		if w == nil || s.digest != "" && r.digest(w) != s.digest {
			return fmt.Errorf("task %q has changed %s in run %s, and is no longer the same task in the playbook; undo that, and take the run back with the playbook that it was run with",
				s.task, key.host, u.Run)
		}
	}
	return nil
}

func compareKeys(a, b undoKey) int {
	return cmp.Or(strings.Compare(a.place, b.place), strings.Compare(a.host, b.host), a.item-b.item)
}

// restorable says whether what a step has done can be put back, as far as its module goes.
func (u *Undo) restorable(p *Plan, s *undone) bool {
	m, ok := p.in.Modules.Lookup(s.Module)
	return ok && (m.Keeps || m.Restore != nil)
}
