package meta

import (
	"slices"

	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// copiesAtOnce bounds the copies that one round of the balancer sends to a node.
const copiesAtOnce = 2

// operations are what the balancer would do, as balance_operation_count shows.
type operationCount struct{ movePri, copyPri, copySec int }

func (o operationCount) total() int { return o.movePri + o.copyPri + o.copySec }

// balance evens primaries out, by moves and where these do not do by copies,
// and then all replicas by copies, when all is healthy. Below lively it only
// counts what it would do; while anything is unhealthy the last count stays.
// A round with moves makes no copies: the next one sees what is left.
func (s *State) balance(healthy bool) {
	if !healthy {
		return
	}
	s.moves = operationCount{}
	s.each(s.movePrimaries)
	if s.moves.movePri > 0 || s.flags.onlyMove {
		return
	}
	s.each(s.copyPrimaries)
	if s.moves.copyPri > 0 || s.flags.onlyPrimary {
		return
	}
	s.copySecondaries()
}

// each has f balance every table that may be.
func (s *State) each(f func(t *table)) {
	for _, t := range s.sortedTables() {
		if t.Status == Available && !slices.Contains(s.flags.ignored, t.ID) {
			f(t)
		}
	}
}

// carryOut queues an operation at lively.
func (s *State) carryOut(p *partition, actions ...action) {
	if s.effectiveLevel() >= Lively {
		s.enqueue(p, actions)
	}
}

func (s *State) movePrimaries(t *table) {
	counts := t.primaries()
	for _, p := range t.parts {
		to := s.fewest(counts, p.Secondaries)
		if !to.IsValid() || counts[p.Primary]-counts[to] < 2 || len(p.queue) > 0 {
			continue
		}
		s.moves.movePri++
		counts[p.Primary]--
		counts[to]++
		s.carryOut(p, action{target: p.Primary, node: p.Primary, kind: peer.DowngradeToSecondary}, action{target: to, node: to, kind: peer.UpgradeToPrimary})
	}
}

// copyPrimaries gives nodes primaries of which they have no secondary: the
// replica is copied first. The member that is one too many is removed later.
func (s *State) copyPrimaries(t *table) {
	counts, copies := t.primaries(), map[peer.Addr]int{}
	live := s.liveNodes()
	for _, p := range t.parts {
		to := s.fewest(counts, s.candidates(p))
		if !to.IsValid() || counts[p.Primary]-counts[to] < 2 || counts[p.Primary] <= len(t.parts)/max(1, len(live)) ||
			copies[to] >= copiesAtOnce || len(p.queue) > 0 {
			continue
		}
		s.moves.copyPri++
		counts[p.Primary]--
		counts[to]++
		copies[to]++
		s.carryOut(p, action{target: p.Primary, node: to, kind: peer.AddSecondaryForLB},
			action{target: p.Primary, node: p.Primary, kind: peer.DowngradeToSecondary}, action{target: to, node: to, kind: peer.UpgradeToPrimary})
	}
}

// copySecondaries evens out how many replicas the nodes have.
func (s *State) copySecondaries() {
	counts, copies := s.members(), map[peer.Addr]int{}
	s.each(func(t *table) {
		for _, p := range t.parts {
			to := s.fewest(counts, s.candidates(p))
			var from peer.Addr
			for _, a := range p.Secondaries {
				if !from.IsValid() || counts[a] > counts[from] {
					from = a
				}
			}
			if !to.IsValid() || !from.IsValid() || counts[from]-counts[to] < 2 || copies[to] >= copiesAtOnce || len(p.queue) > 0 {
				continue
			}
			s.moves.copySec++
			counts[from]--
			counts[to]++
			copies[to]++
			s.carryOut(p, action{target: p.Primary, node: to, kind: peer.AddSecondaryForLB}, action{target: p.Primary, node: from, kind: peer.DowngradeToInactive})
		}
	})
}
