package replica

import (
	"context"
	"time"

	"github.com/pegbook/pegbook/lab/pegasus/internal/meta"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// sync reports to the leader what is stored and takes up what it is told to
// serve. A secondary that was downgraded learns of it only here.
func (s *Stub) sync(ctx context.Context) {
	if !s.leased() {
		return
	}
	q, before := s.report()
	short, stop := context.WithTimeout(ctx, s.Config.Scaled(10*time.Second)+time.Second)
	defer stop()
	reply, err := peer.Call[peer.ConfigSync, peer.ConfigSyncReply](short, s.Client, s.leaderAddr(), "config_sync", q)
	if err != nil || reply.Err != meta.OK {
		s.Log('W', "replica_stub.cpp:1464:on_node_query_reply()", "query node partitions replied, err = %s %v", reply.Err, err)
		return
	}
	s.Log('I', "replica_stub.cpp:1504:on_node_query_reply()",
		"process query node partitions response for resp.err = ERR_OK, partitions_count(%d), gc_replicas_count(%d)",
		len(reply.Serve), len(reply.Garbage))
	served := map[peer.GPID]bool{}
	for _, a := range reply.Serve {
		served[a.Config.PID] = true
		s.serve(ctx, a)
	}
	for pid, ballot := range before {
		if !served[pid] {
			s.retire(pid, ballot)
		}
	}
	for _, pid := range reply.Garbage {
		s.discard(pid)
	}
}

// report lists what is stored, with the ballots at this time: a replica whose
// ballot has changed when the answer comes is left alone.
func (s *Stub) report() (q peer.ConfigSync, ballots map[peer.GPID]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q.Node, ballots = s.Self, map[peer.GPID]int64{}
	for pid, r := range s.replicas {
		r.mu.Lock()
		ballots[pid] = r.config.Ballot
		if r.status != Potential {
			q.Stored = append(q.Stored, peer.Stored{PID: pid, Ballot: r.config.Ballot, Decree: r.decree})
		}
		r.mu.Unlock()
	}
	for _, c := range s.closed {
		q.Stored = append(q.Stored, c.stored)
	}
	return q, ballots
}

// serve makes one replica agree with what the meta has recorded.
func (s *Stub) serve(ctx context.Context, a peer.Assignment) {
	r := s.find(a.Config.PID)
	leads := a.Config.Primary == s.Self
	if r == nil {
		if leads { // a missing secondary is for its primary to notice
			s.leave(ctx, a.Config)
		}
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.table = a.Table
	newer := a.Config.Ballot > r.config.Ballot
	switch {
	case r.status == Primary && leads && newer: // only a number of replicas changes without it
		r.config = a.Config.Clone()
	case r.status == Primary || r.status == Failed || r.status == Potential && !r.taught:
	case r.status == Inactive && r.fresh && leads:
		go s.promote(ctx, r, peer.Proposal{Table: a.Table, Config: a.Config, Type: peer.ForceUpdateBallot, Node: s.Self})
	case newer || r.fresh:
		if err := r.adopt(a.Config, s.Self); err != nil {
			s.Log('E', "replica_config.cpp:800:update_local_configuration()", "%s: %v", r.pid, err)
		}
	case r.status == Inactive && leads && a.Config.Ballot == r.config.Ballot:
		s.leave(ctx, a.Config) // it has given up, which the meta does not know
	}
}

// leave has the meta take this server out of a group.
func (s *Stub) leave(ctx context.Context, c peer.Config) {
	s.Log('I', "replica_stub.cpp:1580:remove_replica_on_meta_server()", "%s is not served here, remove it", c.PID)
	go s.update(ctx, peer.Update{Config: c, Type: peer.DowngradeToInactive, Node: s.Self, From: s.Self})
}

// retire makes a replica inactive that the meta does not count any more.
func (s *Stub) retire(pid peer.GPID, ballot int64) {
	r := s.find(pid)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.config.Ballot != ballot {
		return
	}
	switch r.status {
	case Primary, Secondary:
		r.become(Inactive)
	case Potential:
		if time.Since(r.since) > s.Config.Scaled(s.Config.ConfigSync+s.Config.Sim().Learn) {
			r.become(Inactive)
		}
	}
	r.fresh = false
}

// discard sets a dropped table's replica aside.
func (s *Stub) discard(pid peer.GPID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var d *disk
	if r := s.replicas[pid]; r != nil {
		r.mu.Lock()
		r.become(Failed)
		d = r.disk
		r.mu.Unlock()
		delete(s.replicas, pid)
	} else if c := s.closed[pid]; c != nil {
		d = c.disk
		delete(s.closed, pid)
	}
	if d == nil {
		return
	}
	if err := d.trash(); err != nil {
		s.Log('E', "replica_stub.cpp:2050:gc_replica()", "%s: %v", pid, err)
	}
}

// openOrCreate finds a replica in memory or on disk. A missing one is made when
// create is set, else the result is nil.
func (s *Stub) openOrCreate(t peer.Table, pid peer.GPID, create bool) (*replica, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.replicas[pid]; r != nil {
		return r, nil
	}
	var d *disk
	if c := s.closed[pid]; c != nil {
		d = c.disk
	} else if create {
		if s.Config.Sim().DiskFull {
			return nil, errDiskFull
		}
		d = place(s.Config.DataDirs, s.usedDisks(), pid)
		d.version = s.Version
		if err := d.create(t); err != nil {
			return nil, err
		}
	} else {
		return nil, nil
	}
	r, err := s.open(pid, d)
	if err != nil {
		return nil, err
	}
	r.fresh = false
	delete(s.closed, pid)
	s.replicas[pid] = r
	s.wrote()
	return r, nil
}

func (s *Stub) usedDisks() map[string]int {
	used := map[string]int{}
	for _, r := range s.replicas {
		used[r.disk.tag]++
	}
	for _, c := range s.closed {
		used[c.disk.tag]++
	}
	return used
}

// closeInactive closes replicas that have been out of their group for long.
func (s *Stub) closeInactive(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.replicas {
		r.mu.Lock()
		old := r.status == Inactive && !r.fresh && time.Since(r.since) > s.Config.Scaled(s.Config.GCMemory)
		r.mu.Unlock()
		if old {
			s.beginClose(ctx, r)
		}
	}
}

// Kill closes the replicas of a table, of a partition, or all (facts/pegasus.md
// §8.6). app and pidx -1 mean any; the answer is the server's.
func (s *Stub) Kill(ctx context.Context, app, pidx int32) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := app < 0
	for _, r := range s.replicas {
		if (app < 0 || r.pid.App == app) && (pidx < 0 || r.pid.Pidx == pidx) {
			found = true
			s.beginClose(ctx, r)
		}
	}
	if !found {
		return "ERR_OBJECT_NOT_FOUND"
	}
	return meta.OK
}

// beginClose takes a replica out of memory; the caller holds mu. A primary
// tells the meta, since nobody else would find out before the lease is over.
func (s *Stub) beginClose(ctx context.Context, r *replica) {
	r.mu.Lock()
	wasPrimary, c := r.status == Primary, r.config.Clone()
	stored := peer.Stored{PID: r.pid, Ballot: r.config.Ballot, Decree: r.decree}
	r.become(Failed)
	r.mu.Unlock()
	delete(s.replicas, r.pid)
	s.busy[r.pid] = true
	s.closing++
	s.Log('I', "replica_stub.cpp:2120:begin_close_replica()", "%s@%s: start to close replica", r.pid, s.Self)
	if wasPrimary {
		go s.update(ctx, peer.Update{Config: c, Type: peer.DowngradeToInactive, Node: s.Self, From: s.Self})
	}
	go s.endClose(ctx, r, stored)
}

func (s *Stub) endClose(ctx context.Context, r *replica, stored peer.Stored) {
	sleep(ctx, s.Config.Scaled(s.Config.Sim().Close))
	for s.Config.Sim().ClosingNeverEnds && ctx.Err() == nil {
		sleep(ctx, max(s.Config.Scaled(time.Second), time.Millisecond))
	}
	r.mu.Lock()
	r.disk.close()
	r.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, r.pid)
	s.closing--
	s.closed[r.pid] = &closedReplica{disk: r.disk, stored: stored}
	s.Log('I', "replica_stub.cpp:2190:close_replica()", "%s@%s: finish to close replica", r.pid, s.Self)
}
