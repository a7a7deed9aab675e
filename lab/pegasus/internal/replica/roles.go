package replica

import (
	"context"
	"fmt"
	"time"

	"github.com/pegbook/pegbook/lab/pegasus/internal/meta"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// Propose takes an order of the meta. It is carried out behind the answer.
func (s *Stub) Propose(ctx context.Context, p peer.Proposal) peer.Reply {
	if s.Ready() && !s.Config.Sim().Stuck.Has(p.Config.PID.String()) {
		go s.obey(ctx, p)
	}
	return peer.Reply{Err: meta.OK}
}

func (s *Stub) obey(ctx context.Context, p peer.Proposal) {
	if s.Names != nil && p.Node == s.Self && p.Host != s.Names() || s.Names != nil && p.Host == "" {
		s.Abort(fmt.Sprintf("replica_config.cpp:240:on_config_proposal(): assertion expression: "+
			"HAZARD: [proposal.hp_node == %s] a proposal for %s that names the node %q", s.Names(), p.Config.PID, p.Host))
		return
	}
	switch p.Type {
	case peer.AssignPrimary:
		s.assignPrimary(ctx, p)
	case peer.UpgradeToPrimary:
		if r := s.find(p.Config.PID); r != nil {
			s.promote(ctx, r, p)
		}
	case peer.AddSecondary, peer.AddSecondaryForLB:
		s.addSecondary(ctx, p)
	case peer.DowngradeToSecondary, peer.DowngradeToInactive, peer.Remove:
		s.demote(ctx, p)
	default:
		s.Log('W', "replica_config.cpp:90:on_config_proposal()", "%s: unknown proposal %s", p.Config.PID, p.Type)
	}
}

func (s *Stub) assignPrimary(ctx context.Context, p peer.Proposal) {
	r, err := s.openOrCreate(p.Table, p.Config.PID, p.Config.Ballot == 0)
	if err != nil {
		s.Log('E', "replica_stub.cpp:1900:open_replica()", "%s: %v", p.Config.PID, err)
		return
	}
	if r == nil {
		s.Abort(fmt.Sprintf("replica_stub.cpp:1876:open_replica(): assertion expression: "+
			"HAZARD: cannot load replica(%s.%s), ballot = %d, but it does not existed", p.Config.PID, p.Table.Name, p.Config.Ballot))
		return
	}
	if p.Restore != "" {
		if err := r.restore(p.Restore); err != nil {
			s.Log('E', "replica_restore.cpp:400:restore_checkpoint()", "%s: %v", p.Config.PID, err)
			return
		}
	}
	s.promote(ctx, r, p)
}

func (s *Stub) promote(ctx context.Context, r *replica, p peer.Proposal) {
	if !r.lock(ctx) {
		return
	}
	defer r.unlock()
	r.mu.Lock()
	already := r.status == Primary || r.status == Failed || r.status == Potential && !r.taught
	r.table = p.Table
	r.mu.Unlock()
	if already {
		return
	}
	reply := s.update(ctx, peer.Update{Config: p.Config, Type: p.Type, Node: s.Self, From: s.Self})
	// The answer to an earlier try may have been lost: what counts is who leads.
	if reply.Err == meta.OK || reply.Config.Primary == s.Self {
		s.settle(ctx, r, reply.Config)
	}
}

// settle adopts a configuration the meta has recorded, and tells the group.
func (s *Stub) settle(ctx context.Context, r *replica, c peer.Config) {
	r.mu.Lock()
	if err := r.adopt(c, s.Self); err != nil {
		s.Log('E', "replica_config.cpp:800:update_local_configuration()", "%s: %v", r.pid, err)
	}
	isPrimary, t := r.status == Primary, r.table
	r.mu.Unlock()
	s.Log('I', "replica_config.cpp:820:update_local_configuration()", "%s@%s: ballot = %d, primary = %s, secondaries = %v",
		r.pid, s.Self, c.Ballot, c.Primary, c.Secondaries)
	if !isPrimary {
		return
	}
	for _, a := range c.Secondaries {
		go s.groupCheck(ctx, r, a, peer.GroupCheck{Table: t, Config: c})
	}
}

// checkGroups has every primary here look at its secondaries: one that lost its
// replica leaves the group even when nobody writes.
func (s *Stub) checkGroups(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.replicas {
		status, c, t := r.view()
		for _, a := range c.Secondaries {
			if status == Primary {
				go s.groupCheck(ctx, r, a, peer.GroupCheck{Table: t, Config: c})
			}
		}
	}
}

// groupCheck has a secondary adopt the configuration. One that refuses or
// cannot be reached leaves the group.
func (s *Stub) groupCheck(ctx context.Context, r *replica, to peer.Addr, g peer.GroupCheck) {
	if reply, err := ask(ctx, s, to, "group_check", g); err == nil && reply.Err == meta.OK {
		return
	}
	if ctx.Err() != nil || !r.lock(ctx) {
		return
	}
	defer r.unlock()
	if status, c, _ := r.view(); status == Primary && c.IsSecondary(to) && c.Ballot == g.Config.Ballot {
		s.change(ctx, r, peer.DowngradeToInactive, to)
	}
}

// GroupCheck is the secondary's side.
func (s *Stub) GroupCheck(_ context.Context, g peer.GroupCheck) peer.Reply {
	r := s.find(g.Config.PID)
	if r == nil {
		return peer.Reply{Err: "ERR_OBJECT_NOT_FOUND"}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status == Failed || g.Config.Ballot < r.config.Ballot {
		return peer.Reply{Err: "ERR_INVALID_VERSION"}
	}
	r.table = g.Table
	if err := r.adopt(g.Config, s.Self); err != nil {
		return peer.Reply{Err: "ERR_FILE_OPERATION_FAILED"}
	}
	return peer.Reply{Err: meta.OK}
}

// demote has this primary take a member, perhaps itself, out of the group.
func (s *Stub) demote(ctx context.Context, p peer.Proposal) {
	r := s.find(p.Config.PID)
	if r == nil || !r.lock(ctx) {
		return
	}
	defer r.unlock()
	r.catchUp(p.Config, s.Self)
	if status, c, _ := r.view(); status == Primary && c.IsMember(p.Node) && c.Ballot == p.Config.Ballot {
		s.change(ctx, r, p.Type, p.Node)
	}
}

// catchUp has a primary take a newer configuration that still has it as primary.
func (r *replica) catchUp(c peer.Config, self peer.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status == Primary && c.Primary == self && c.Ballot > r.config.Ballot {
		r.config = c.Clone()
	}
}

// change records a change of this primary's group with the meta and adopts it.
// It insists until the meta takes it or the group has moved on without us; the
// caller holds the write token, so writes wait as long.
func (s *Stub) change(ctx context.Context, r *replica, kind peer.Change, node peer.Addr) bool {
	_, c, _ := r.view()
	reply := s.update(ctx, peer.Update{Config: c, Type: kind, Node: node, From: s.Self})
	if reply.Err != meta.OK {
		if reply.Config.Ballot > c.Ballot {
			s.settle(ctx, r, reply.Config)
		}
		return false
	}
	s.settle(ctx, r, reply.Config)
	return true
}

// update calls the leader. A leader that is away, busy or freezed is asked
// again; any other error is final.
func (s *Stub) update(ctx context.Context, u peer.Update) peer.UpdateReply {
	for ctx.Err() == nil {
		short, stop := context.WithTimeout(ctx, s.Config.Scaled(10*time.Second)+time.Second)
		reply, err := peer.Call[peer.Update, peer.UpdateReply](short, s.Client, s.leaderAddr(), "update_config", u)
		stop()
		pause := s.Config.Scaled(time.Second)
		switch {
		case err == nil && reply.Err == "ERR_IO_PENDING":
			pause = s.Config.Scaled(50 * time.Millisecond)
		case err == nil && reply.Err != "ERR_STATE_FREEZED" && reply.Err != "ERR_FORWARD_TO_OTHERS" &&
			reply.Err != "ERR_SERVICE_NOT_ACTIVE" && reply.Err != "ERR_ZOOKEEPER_OPERATION":
			return reply
		case !s.leased():
			return peer.UpdateReply{Err: "ERR_TIMEOUT"}
		}
		sleep(ctx, max(pause, time.Millisecond))
	}
	return peer.UpdateReply{Err: "ERR_TIMEOUT"}
}

// addSecondary has node learn this primary's state and join the group.
func (s *Stub) addSecondary(ctx context.Context, p peer.Proposal) {
	r := s.find(p.Config.PID)
	if r == nil {
		return
	}
	r.catchUp(p.Config, s.Self)
	r.mu.Lock()
	skip := r.status != Primary || r.config.IsMember(p.Node) || r.learners[p.Node]
	if !skip {
		r.learners[p.Node] = true
	}
	c, t := r.config.Clone(), r.table
	r.mu.Unlock()
	if skip {
		return
	}
	defer func() {
		r.mu.Lock()
		delete(r.learners, p.Node)
		r.mu.Unlock()
	}()
	short, stop := context.WithTimeout(ctx, s.Config.Scaled(30*s.copying()+time.Minute)+time.Second)
	defer stop()
	reply, err := peer.Call[peer.Assignment, peer.Reply](short, s.Client, p.Node, "add_learner", peer.Assignment{Table: t, Config: c})
	if err != nil || reply.Err != meta.OK || !r.lock(ctx) {
		return
	}
	defer r.unlock()
	s.teach(ctx, r, p.Node)
}

// teach runs with the write token held, so that the learner misses no write
// between the copy and its first prepare.
func (s *Stub) teach(ctx context.Context, r *replica, node peer.Addr) {
	r.mu.Lock()
	if r.status != Primary || r.config.IsMember(node) || int(r.config.Replicas()) > int(r.table.Replicas) {
		r.mu.Unlock()
		return
	}
	lesson := peer.Lesson{Decree: r.decree, Ballot: r.config.Ballot, PID: r.pid, Ops: contents(r.data)}
	r.mu.Unlock()
	short, stop := context.WithTimeout(ctx, s.Config.Scaled(10*time.Second)+time.Second)
	defer stop()
	reply, err := peer.Call[peer.Lesson, peer.Reply](short, s.Client, node, "learn", lesson)
	if err == nil && reply.Err == meta.OK {
		s.change(ctx, r, peer.UpgradeToSecondary, node)
	}
}

// AddLearner is the learner's side: it makes the replica and takes the time
// that copying takes.
func (s *Stub) AddLearner(ctx context.Context, a peer.Assignment) peer.Reply {
	s.mu.Lock()
	refused := !s.ready || !s.online || s.busy[a.Config.PID] || s.Config.Sim().LearningFails.Has(a.Config.PID.String())
	s.mu.Unlock()
	if refused {
		return peer.Reply{Err: "ERR_INVALID_STATE"}
	}
	r, err := s.openOrCreate(a.Table, a.Config.PID, true)
	if err != nil {
		s.Log('E', "replica_learn.cpp:120:on_add_learner()", "%s: %v", a.Config.PID, err)
		return peer.Reply{Err: "ERR_FILE_OPERATION_FAILED"}
	}
	r.mu.Lock()
	r.table = a.Table
	wrong := r.status == Primary || r.status == Secondary || r.status == Failed
	if !wrong {
		r.become(Potential)
		r.taught = false
	}
	r.mu.Unlock()
	if wrong {
		return peer.Reply{Err: "ERR_INVALID_STATE"}
	}
	select {
	case s.learning <- struct{}{}:
	case <-ctx.Done():
		return peer.Reply{Err: "ERR_TIMEOUT"}
	}
	defer func() { <-s.learning }()
	sleep(ctx, s.Config.Scaled(s.copying()))
	return peer.Reply{Err: meta.OK}
}

// copying is how long one replica takes to come here, by its size and the rate.
func (s *Stub) copying() time.Duration {
	sim := s.Config.Sim()
	return sim.Learn + time.Duration(sim.ReplicaMB)*time.Second/time.Duration(max(1, s.Rate()))
}

// Learn takes the primary's state.
func (s *Stub) Learn(_ context.Context, l peer.Lesson) peer.Reply {
	r := s.find(l.PID)
	if r == nil {
		return peer.Reply{Err: "ERR_OBJECT_NOT_FOUND"}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status != Potential {
		return peer.Reply{Err: "ERR_INVALID_STATE"}
	}
	if s.Config.Sim().DiskFull {
		return peer.Reply{Err: "ERR_FILE_OPERATION_FAILED"}
	}
	if err := r.disk.replace(l.Decree, l.Ops); err != nil {
		return peer.Reply{Err: "ERR_FILE_OPERATION_FAILED"}
	}
	r.data = map[string]record{}
	for _, op := range l.Ops {
		apply(r.data, op)
	}
	r.decree, r.taught = l.Decree, true
	return peer.Reply{Err: meta.OK}
}
