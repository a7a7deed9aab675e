package meta

import "github.com/pegbook/pegbook/lab/pegasus/internal/peer"

// tally is how much every node has to do. It is kept up to date by each change
// instead of being counted anew for each sick partition, which is what a large
// cluster's meta was busy with when a node died.
type tally struct {
	primaries map[peer.Addr]int // those promised included, so that a cycle which places many spreads them
	members   map[peer.Addr]int // likewise
}

func newTally() tally {
	return tally{primaries: map[peer.Addr]int{}, members: map[peer.Addr]int{}}
}

// share is what one partition adds to the tally.
type share struct {
	primary peer.Addr
	members []peer.Addr
}

func (t *tally) add(x share, by int) {
	if x.primary.IsValid() {
		t.primaries[x.primary] += by
	}
	for _, a := range x.members {
		t.members[a] += by
	}
}

// share is what p adds while its table is available.
func (p *partition) share() share {
	x := share{primary: p.Primary, members: append(make([]peer.Addr, 0, len(p.Secondaries)+2), p.Secondaries...)}
	if p.Primary.IsValid() {
		x.members = append(x.members, p.Primary)
	}
	if len(p.queue) > 0 {
		next := p.queue[0].node
		if !x.primary.IsValid() {
			x.primary = next
		}
		if !p.IsMember(next) {
			x.members = append(x.members, next)
		}
	}
	return x
}

// weigh counts p anew; whatever changes a partition's members, its queue or its
// table's status ends with it.
func (s *State) weigh(p *partition) {
	s.load.add(p.weight, -1)
	p.weight = share{}
	if t := s.tables[p.PID.App]; t != nil && t.Status == Available {
		p.weight = p.share()
		s.load.add(p.weight, 1)
	}
}

// enqueue replaces what is pending for p.
func (s *State) enqueue(p *partition, queue []action) {
	if len(queue) == 0 && len(p.queue) == 0 {
		return
	}
	p.queue = queue
	s.weigh(p)
}

// turn gives a table a new state, which its partitions count by.
func (s *State) turn(t *table, next Table) {
	was := t.Status
	t.Table = next
	if was == next.Status {
		return
	}
	for _, p := range t.parts {
		s.weigh(p)
	}
}

// setAlive is the only place where a node comes to life or dies.
func (s *State) setAlive(n *node, alive bool) {
	n.alive, s.live = alive, nil
}

// liveNodes are the nodes alive in the order of their addresses. The caller
// must not change the list.
func (s *State) liveNodes() []peer.Addr {
	if s.live == nil {
		s.live = []peer.Addr{}
		for _, n := range s.sortedNodes() {
			if n.alive {
				s.live = append(s.live, n.addr)
			}
		}
	}
	return s.live
}
