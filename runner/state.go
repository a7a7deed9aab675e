package runner

import (
	"slices"
	"sync"

	"github.com/pegbook/pegbook/modules/overlay"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// host is a managed host in a run. Its variables may be read and set from any goroutine; everything
// else belongs to the walking one.
type host struct {
	*inventory.Host
	lost   loss
	counts event.Counts
	seen   bool          // has had a result
	moves  *int          // of the run: counts hosts that leave or come back
	cause  string        // the place of what may make it lost
	told   func(h *host) // is told when it is lost or comes back

	mu      sync.Mutex      // guards the fields below
	in      *inventory.Host // the host as the inventory stands; the embedded one is that of the beginning
	facts   *vars.Values
	read    *vars.Values // include_vars
	set     *vars.Values // set_fact and register
	magic   *vars.Values // nil: to be made anew
	overlay *overlay.Overlay
	scope   *vars.Scope // as hostvars sees the host; nil: to be made anew
	scopeOf scopeKey    // what scope was made with
	changes int         // of the variables
}

// scopeKey is what a host's scope hangs on besides the host's variables.
type scopeKey struct {
	inv *inventory.Inventory
	dir string // of the playbook whose play asks
}

// loss is why a host takes no further part in a run.
type loss uint8

const (
	notLost     loss = iota
	lostFailed       // a task failed on it
	lostStopped      // it was stopped because of others; counts as neither
	lostUnreachable
)

// lose takes the host out of the run, or with notLost back into it.
func (h *host) lose(as loss) {
	was := h.lost
	h.lost = as
	*h.moves++
	if h.told != nil && (was == notLost) != (as == notLost) {
		h.told(h)
	}
}

// setVars sets variables of the host, over those of the same names.
func (h *host) setVars(layer vars.Layer, vs *vars.Values) {
	if vs.Len() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.scope = nil
	h.changes++
	switch layer {
	case vars.Facts:
		h.facts, h.magic = h.facts.Over(vs), nil
	case vars.IncludeVars:
		h.read = h.read.Over(vs)
	default:
		h.set = h.set.Over(vs)
	}
}

func (h *host) clearFacts() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.facts, h.magic, h.scope = nil, nil, nil
	h.changes++
}

// player is a host in a play. It belongs to the walking goroutine.
type player struct {
	*host
	ended    bool // meta: end_host, or a play or batch that ended
	blocks   map[*block]state
	notified map[*handler]bool
	dropped  bool // a forced handler failed: no more handlers
	as       loss // what the failure that is passing outwards makes of the host
	// roles are how far the host got with roles that run once, by what tells these apart.
	roles map[string]stage
	// left are the roles that the host has left with meta: end_role, until their end.
	left map[*playbook.Role]bool
}

// quit says whether the host has left a role, or one that brought it in.
func (p *player) quit(role *playbook.Role) bool {
	if len(p.left) == 0 || role == nil {
		return false
	}
	return p.left[role] || slices.ContainsFunc(role.Parents, func(r *playbook.Role) bool { return p.left[r] })
}

// quits lets the host leave a role.
func (p *player) quits(role *playbook.Role) {
	if p.left == nil {
		p.left = map[*playbook.Role]bool{}
	}
	p.left[role] = true
}

// stage is how far a host got with a role that runs once.
type stage uint8

const (
	begun stage = iota + 1 // a task of it did something
	ended
)

// does notes that a task of a role did something on the host.
func (p *player) does(role *playbook.Role) {
	if role == nil || role.Once == "" || p.roles[role.Once] == ended {
		return
	}
	if p.roles == nil {
		p.roles = map[string]stage{}
	}
	p.roles[role.Once] = begun
}

// leaveRole notes that a role has come to its end in a section: neither it nor its like run again, unless
// all their tasks were skipped.
func (p *player) leaveRole(role *playbook.Role, in *section) {
	delete(p.left, role)
	if role != nil && p.roles[role.Once] == begun && p.active(in) {
		p.roles[role.Once] = ended
	}
}

// had says whether the host has been through a role that runs once.
func (p *player) had(role *playbook.Role) bool { return role != nil && p.roles[role.Once] == ended }

// end takes the player out of the play.
func (p *player) end() {
	p.ended = true
	*p.moves++
}

// state is where a player stands with a block.
type state uint8

const (
	normal   state = iota
	rescuing       // the body failed and the rescue section takes it
	failing        // failed; always is still to come
	broken         // always failed
)

// active says whether the player's way leads through a section.
func (p *player) active(s *section) bool {
	if p.lost != notLost || p.ended {
		return false
	}
	for ; s != nil; s = s.outer {
		st := p.blocks[s.block]
		switch {
		case s.part == body && st != normal, s.part == rescue && st != rescuing, s.part == always && st == broken:
			return false
		}
	}
	return true
}

// handles says whether the player runs handlers of a flush in a section; force is force_handlers.
func (p *player) handles(s *section, force bool) bool {
	if p.active(s) {
		return true
	}
	return force && !p.ended && !p.dropped && (p.lost == lostFailed || p.lost == lostStopped)
}

// rescuable says whether a section somewhere around takes a failure.
func rescuable(s *section) bool {
	for ; s != nil; s = s.outer {
		if s.part == body && s.block.rescue {
			return true
		}
	}
	return false
}

// fail moves the player on from a failure in a section: into rescue or always, or out of the play as
// lost to the loss given.
func (p *player) fail(s *section, as loss) {
	if p.lost != notLost {
		p.dropped = true
		return
	}
	if p.blocks == nil {
		p.blocks = map[*block]state{}
	}
	p.as = as
	for ; s != nil; s = s.outer {
		switch {
		case s.part == body && s.block.rescue:
			p.blocks[s.block] = rescuing
			return
		case s.part == always:
			p.blocks[s.block] = broken
		case s.block.always:
			p.blocks[s.block] = failing
			return
		}
	}
	p.lose(as)
}

// leave ends a block for the player; a failure that is still there passes on outwards.
func (p *player) leave(b *block, outer *section) {
	st := p.blocks[b]
	delete(p.blocks, b)
	if st == failing && p.lost == notLost && !p.ended {
		p.fail(outer, p.as)
	}
}
