package meta

import (
	"context"

	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// Update records a change that a replica server asks for. It is refused while
// the level is freezed or lower, when the server's view is out of date, or while
// another change of the partition is being written.
func (s *State) Update(ctx context.Context, u peer.Update) peer.UpdateReply {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, p := s.find(u.Config.PID)
	switch {
	case p == nil:
		return peer.UpdateReply{Err: "ERR_OBJECT_NOT_FOUND"}
	case s.effectiveLevel() <= Freezed:
		return peer.UpdateReply{Err: "ERR_STATE_FREEZED", Config: p.Config.Clone()}
	case p.repeats(u):
		return peer.UpdateReply{Err: OK, Config: p.Config.Clone()}
	case p.syncing:
		return peer.UpdateReply{Err: "ERR_IO_PENDING", Config: p.Config.Clone()}
	case u.Config.Ballot != p.Ballot || !sensible(p, u):
		return peer.UpdateReply{Err: "ERR_INVALID_VERSION", Config: p.Config.Clone()}
	}
	var left peer.Addr
	switch u.Type {
	case peer.DowngradeToInactive, peer.Remove:
		left = u.Node
	case peer.UpgradeToPrimary, peer.AssignPrimary:
		left = p.Primary
	}
	if err := s.record(ctx, p, changed(p.Config, u.Type, u.Node), left); err != nil {
		return peer.UpdateReply{Err: "ERR_ZOOKEEPER_OPERATION", Config: p.Config.Clone()}
	}
	p.last = change{u.Config.Ballot, u.Type, u.Node, u.From}
	s.confirm(p, u)
	s.react(p)
	return peer.UpdateReply{Err: OK, Config: p.Config.Clone()}
}

// change is what a replica server asked for last, and got.
type change struct {
	ballot     int64
	kind       peer.Change
	node, from peer.Addr
}

// repeats tells whether u is the change that p has just been through: its answer
// was lost, or came too late.
func (p *partition) repeats(u peer.Update) bool {
	return !p.syncing && p.Ballot == u.Config.Ballot+1 && p.last == change{u.Config.Ballot, u.Type, u.Node, u.From}
}

// sensible tells whether a change fits the present members.
func sensible(p *partition, u peer.Update) bool {
	switch u.Type {
	case peer.AssignPrimary:
		return !p.Primary.IsValid()
	case peer.UpgradeToPrimary:
		return p.IsSecondary(u.Node)
	case peer.UpgradeToSecondary:
		return p.Primary.IsValid() && !p.IsMember(u.Node) && len(p.Secondaries)+1 < int(p.MaxReplicas)+1
	case peer.DowngradeToSecondary, peer.ForceUpdateBallot:
		return p.Primary == u.Node
	case peer.DowngradeToInactive, peer.Remove:
		return p.IsMember(u.Node)
	}
	return false
}

// confirm takes the pending action that a change has fulfilled off the queue.
func (s *State) confirm(p *partition, u peer.Update) {
	if len(p.queue) == 0 || p.queue[0].node != u.Node {
		return
	}
	kind := p.queue[0].kind
	adding := kind == peer.AddSecondary || kind == peer.AddSecondaryForLB
	removing := kind == peer.DowngradeToInactive || kind == peer.Remove
	if kind == u.Type || adding && u.Type == peer.UpgradeToSecondary ||
		removing && (u.Type == peer.Remove || u.Type == peer.DowngradeToInactive) {
		s.enqueue(p, p.queue[1:])
	}
}

// react evaluates the next action right after a change was recorded. Adding a
// secondary waits for the cycle while flow control is on.
func (s *State) react(p *partition) {
	if s.effectiveLevel() <= Freezed {
		return
	}
	t := s.tables[p.PID.App]
	a, ill := s.diagnose(t, p)
	if !ill || a.kind == peer.Invalid {
		return
	}
	if s.flags.flowControl && isAdd(a.kind) {
		return
	}
	s.propose(t, p, a)
}

func isAdd(k peer.Change) bool { return k == peer.AddSecondary || k == peer.AddSecondaryForLB }

// ConfigSync answers a replica server's report with what it is to serve.
func (s *State) ConfigSync(q peer.ConfigSync) peer.ConfigSyncReply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[q.Node]; n != nil { // also under recovery: it is how lost partitions are judged later
		n.stored = map[peer.GPID]peer.Stored{}
		for _, r := range q.Stored {
			n.stored[r.PID] = r
		}
	}
	if s.recovering {
		return peer.ConfigSyncReply{Err: "ERR_UNDER_RECOVERY"}
	}
	reply := peer.ConfigSyncReply{Err: OK}
	for _, t := range s.tables {
		for _, p := range t.parts {
			if t.Status == Available && p.IsMember(q.Node) {
				reply.Serve = append(reply.Serve, peer.Assignment{Table: t.brief(), Config: p.Config.Clone()})
			}
		}
	}
	for _, r := range q.Stored {
		if t := s.tables[r.PID.App]; t == nil || t.Status == Dropped && t.Expire <= s.Now().Unix() {
			reply.Garbage = append(reply.Garbage, r.PID)
		}
	}
	return reply
}
