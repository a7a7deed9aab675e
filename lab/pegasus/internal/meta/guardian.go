package meta

import (
	"context"
	"time"

	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// cycle looks at every partition once: the guardian, then the balancer.
func (s *State) cycle(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if level := s.effectiveLevel(); level <= Freezed {
		s.Log('I', "server_state.cpp:2485:check_all_partitions()",
			"service is in level(%s), don't do any cure or balancer actions", "fl_"+levelName(level))
		return
	}
	var adds []pendingAdd
	healthy := true
	for _, t := range s.sortedTables() {
		if t.Status != Available {
			continue
		}
		for _, p := range t.parts {
			if p.syncing {
				healthy = false
				continue
			}
			a, ill := s.diagnose(t, p)
			healthy = healthy && !ill
			switch {
			case !ill || a.kind == peer.Invalid:
			case isAdd(a.kind):
				adds = append(adds, pendingAdd{t, p, a})
			default:
				s.propose(t, p, a)
			}
		}
	}
	s.addSecondaries(adds)
	s.runPolicies(ctx)
	s.balance(healthy)
}

type pendingAdd struct {
	t *table
	p *partition
	a action
}

// addSecondaries sends what flow control lets through, a cap for each node and
// cycle, partitions without any secondary first.
func (s *State) addSecondaries(adds []pendingAdd) {
	running := map[peer.Addr]int64{}
	for _, urgent := range []bool{true, false} {
		for _, x := range adds {
			if urgent != (len(x.p.Secondaries) == 0) {
				continue
			}
			if s.flags.flowControl && running[x.a.node] >= s.flags.addMax {
				s.Log('I', "server_state.cpp:2560:check_all_partitions()",
					"do not send %s proposal for gpid(%s) for flow control reason, target = %s, node = %s", x.a.kind, x.p.PID, x.a.target, x.a.node)
				continue
			}
			running[x.a.node]++
			s.propose(x.t, x.p, x.a)
		}
	}
}

// diagnose decides the next action for a partition. ill without an action means
// that nothing can be done yet.
func (s *State) diagnose(t *table, p *partition) (a action, ill bool) {
	if a, ok := s.pending(p); ok {
		return a, true
	}
	switch {
	case !p.Primary.IsValid():
		if wait, _ := s.awaitsRestore(t, p); wait {
			return action{}, true
		}
		a = s.missingPrimary(p)
	case len(p.Secondaries)+1 < int(p.MaxReplicas):
		if p.Replicas() >= 2 && s.Config.Sim().TwoCopies.Has(p.PID.String()) {
			return action{}, true
		}
		a = s.missingSecondary(p)
	case len(p.Secondaries) >= int(p.MaxReplicas):
		a = s.redundantSecondary(p)
	default:
		return action{}, false
	}
	if a.kind != peer.Invalid {
		s.enqueue(p, []action{a})
	}
	return a, true
}

// pending is the front of the queue while it makes sense; a queue whose front
// does not is dropped without telling anybody.
func (s *State) pending(p *partition) (action, bool) {
	if len(p.queue) == 0 {
		return action{}, false
	}
	a := p.queue[0]
	if why := s.invalid(p, a); why != "" {
		s.Log('I', "partition_guardian.cpp:200:from_proposals()",
			"proposal action(%s) for gpid(%s) is invalid, clear all proposal actions: %s", a.kind, p.PID, why)
		s.enqueue(p, nil)
		return action{}, false
	}
	return a, true
}

func (s *State) invalid(p *partition, a action) string {
	switch {
	case !a.target.IsValid():
		return "action target is invalid"
	case !a.node.IsValid():
		return "action node is invalid"
	case !s.alive(a.target):
		return "action target is not alive"
	case !s.alive(a.node):
		return "action node is not alive"
	}
	fits := false
	switch a.kind {
	case peer.AssignPrimary:
		fits = a.node == a.target && !p.Primary.IsValid() && !p.IsSecondary(a.node)
	case peer.UpgradeToPrimary:
		fits = a.node == a.target && !p.Primary.IsValid() && p.IsSecondary(a.node)
	case peer.AddSecondary, peer.AddSecondaryForLB:
		fits = a.target == p.Primary && !p.IsMember(a.node)
	case peer.DowngradeToInactive, peer.Remove:
		fits = a.target == p.Primary && p.IsMember(a.node)
	case peer.DowngradeToSecondary:
		fits = a.target == a.node && p.Primary == a.node
	}
	if !fits {
		return "action is out of date"
	}
	return ""
}

func (s *State) missingPrimary(p *partition) action {
	var best peer.Addr
	switch {
	case len(p.Secondaries) > 0:
		best = s.fewest(s.load.primaries, p.Secondaries)
		return choose(best, peer.UpgradeToPrimary)
	case len(p.LastDrops) == 0: // a new partition may go anywhere
		best = s.fewest(s.load.primaries, s.liveNodes())
	default:
		best = s.revive(p)
	}
	return choose(best, peer.AssignPrimary)
}

func choose(a peer.Addr, kind peer.Change) action {
	if !a.IsValid() {
		return action{}
	}
	return action{target: a, node: a, kind: kind}
}

// revive picks the best survivor of a partition that lost all its members. It
// waits for the last two to be back, since either may have the last write.
func (s *State) revive(p *partition) peer.Addr {
	last := p.LastDrops[max(0, len(p.LastDrops)-2):]
	var best peer.Addr
	var ballot, decree int64 = -1, -1
	for _, a := range last {
		n := s.nodes[a]
		if n == nil || !n.alive {
			return peer.Addr{}
		}
		b, d, known := p.remembered(n)
		if known && (b > ballot || b == ballot && d >= decree) {
			best, ballot, decree = a, b, d
		}
	}
	return best
}

func (p *partition) remembered(n *node) (ballot, decree int64, known bool) {
	if r, ok := n.stored[p.PID]; ok {
		return r.Ballot, r.Decree, true
	}
	if n.stored != nil {
		return 0, 0, false // it has reported, and not this one
	}
	for _, d := range p.dropped {
		if d.node == n.addr {
			return d.ballot, 0, true
		}
	}
	return 0, 0, false
}

// missingSecondary re-adds the member that left last. Only when that has taken
// too long, or was never there, does any other node get a copy.
func (s *State) missingSecondary(p *partition) action {
	if !s.alive(p.Primary) {
		return action{}
	}
	var node peer.Addr
	if s.emergency(p) {
		for i := len(p.dropped) - 1; i >= 0 && !node.IsValid(); i-- {
			if d := p.dropped[i].node; s.alive(d) && !p.IsMember(d) && !s.flags.blackList[d] {
				node = d
			}
		}
		if !node.IsValid() {
			node = s.fewest(s.load.members, s.candidates(p))
		}
	} else if d := p.dropped[len(p.dropped)-1].node; s.alive(d) {
		node = d
	}
	if !node.IsValid() {
		return action{}
	}
	return action{target: p.Primary, node: node, kind: peer.AddSecondary}
}

func (s *State) emergency(p *partition) bool {
	if int(p.MaxReplicas) > s.Config.MinReplicas2PC && p.Replicas() < s.Config.MinReplicas2PC {
		return true
	}
	if len(p.dropped) == 0 {
		return true
	}
	last := p.dropped[len(p.dropped)-1]
	delay := s.Config.Scaled(time.Duration(s.flags.assignDelayMS) * time.Millisecond)
	return time.Since(last.at) > delay || s.flags.blackList[last.node]
}

func (s *State) redundantSecondary(p *partition) action {
	counts := s.load.members
	var worst peer.Addr
	for _, a := range p.Secondaries {
		if !worst.IsValid() || counts[a] > counts[worst] {
			worst = a
		}
	}
	return action{target: p.Primary, node: worst, kind: peer.Remove}
}

func (s *State) candidates(p *partition) []peer.Addr {
	var out []peer.Addr
	for _, a := range s.liveNodes() {
		if !p.IsMember(a) && !s.flags.blackList[a] {
			out = append(out, a)
		}
	}
	return out
}

// fewest is the live one of choices with the smallest count.
func (s *State) fewest(counts map[peer.Addr]int, choices []peer.Addr) peer.Addr {
	var best peer.Addr
	for _, a := range choices {
		if s.alive(a) && (!best.IsValid() || counts[a] < counts[best]) {
			best = a
		}
	}
	return best
}
