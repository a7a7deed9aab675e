package meta

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// Beacon takes a sign of life. It answers whether the node is allowed: a node
// that restarted too often in too short a time is not (facts/pegasus.md §8.7).
func (s *State) Beacon(b peer.Beacon) (allowed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.Config.WhiteList) > 0 && !slices.Contains(s.Config.WhiteList, b.From.String()) || !s.stable(b) {
		return false
	}
	n := s.nodes[b.From]
	if n == nil {
		n = &node{addr: b.From}
		s.nodes[b.From] = n
	}
	n.heard, n.host = time.Now(), b.Host
	if !n.alive {
		s.setAlive(n, true)
		s.Log('I', "failure_detector.cpp:198:report()", "worker connected: %s", b.From)
	}
	return true
}

func (s *State) stable(b peer.Beacon) bool {
	st := s.stability[b.From]
	if st == nil {
		s.stability[b.From] = &stability{start: b.Start}
		return true
	}
	steady := s.Config.Scaled(s.Config.StableRunning)
	switch {
	case b.Start > st.start:
		if time.Duration(b.Start-st.start)*time.Millisecond < steady {
			st.restarts++
			s.Log('W', "meta_server_failure_detector.cpp:245:update_stability_stat()",
				"%s encounter an unstable restart, total_count(%d)", b.From, st.restarts)
		} else {
			st.restarts = 0
		}
		st.start = b.Start
	case st.restarts > 0 && time.Since(time.UnixMilli(st.start)) >= steady:
		st.restarts = 0
	}
	return st.restarts < s.Config.MaxUnstableRestart
}

// storeWrites bounds the writes to the store that one loss of a node causes at
// the same time.
const storeWrites = 32

// detect declares nodes dead that were silent for the grace period, and has
// their partitions go on without them.
func (s *State) detect(ctx context.Context) {
	s.mu.Lock()
	grace := s.Config.Scaled(s.Config.Grace)
	var dead []*partition
	for _, n := range s.nodes {
		if n.alive && time.Since(n.heard) > grace {
			s.setAlive(n, false)
			s.Log('W', "failure_detector.cpp:284:check_all_records()", "worker %s disconnected", n.addr)
			if s.Dead != nil {
				s.Dead(n.addr)
			}
			s.abandonSecondaries(n.addr)
		}
	}
	for _, t := range s.tables {
		for _, p := range t.parts {
			if t.Status == Available && p.Primary.IsValid() && !p.syncing && !s.alive(p.Primary) {
				dead = append(dead, p)
			}
		}
	}
	s.mu.Unlock()
	var all errgroup.Group // the store takes several writes at a time, as the real one
	all.SetLimit(storeWrites)
	for _, p := range dead {
		all.Go(func() error { s.dethrone(ctx, p); return nil })
	}
	_ = all.Wait()
}

// abandonSecondaries asks primaries to go on without a dead secondary. It is
// asked once; a primary that misses it finds out by itself when it writes.
func (s *State) abandonSecondaries(dead peer.Addr) {
	for _, t := range s.tables {
		for _, p := range t.parts {
			if t.Status == Available && p.IsSecondary(dead) && s.alive(p.Primary) {
				s.propose(t, p, action{target: p.Primary, node: dead, kind: peer.DowngradeToInactive})
			}
		}
	}
}

// dethrone records that a partition has lost its primary, then lets the
// guardian choose another one at once.
func (s *State) dethrone(ctx context.Context, p *partition) {
	s.mu.Lock()
	if p.syncing || !p.Primary.IsValid() || s.alive(p.Primary) {
		s.mu.Unlock()
		return
	}
	next := changed(p.Config, peer.DowngradeToInactive, p.Primary)
	err := s.record(ctx, p, next, p.Primary)
	defer s.mu.Unlock()
	if err == nil {
		s.react(p)
	}
}

// record writes a change to the store and applies it. It is called and returns
// with mu held, but gives it up while writing; syncing keeps others away from p.
func (s *State) record(ctx context.Context, p *partition, next peer.Config, left peer.Addr) error {
	p.syncing = true
	s.mu.Unlock()
	err := s.Store.SetPartition(ctx, next)
	s.mu.Lock()
	p.syncing = false
	if err != nil {
		s.Log('E', "server_state.cpp:1500:on_update_configuration_on_remote_reply()", "write %s: %v", next.PID, err)
		return err
	}
	was := p.Config
	p.Config = next
	s.weigh(p)
	if left.IsValid() && !next.IsMember(left) {
		p.forget(left)
		p.dropped = append(p.dropped, drop{left, time.Now(), was.Ballot})
	}
	for _, a := range append([]peer.Addr{next.Primary}, next.Secondaries...) {
		p.forget(a)
	}
	s.Log('I', "server_state.cpp:1478:update_configuration_locally()", "%s: ballot %d -> %d, primary %s -> %s, secondaries %v",
		next.PID, was.Ballot, next.Ballot, was.Primary, next.Primary, next.Secondaries)
	return nil
}

func (p *partition) forget(a peer.Addr) {
	kept := p.dropped[:0]
	for _, d := range p.dropped {
		if d.node != a {
			kept = append(kept, d)
		}
	}
	p.dropped = kept
}

// changed is c after a change; the ballot counts every one.
func changed(c peer.Config, kind peer.Change, node peer.Addr) peer.Config {
	next := c.Clone()
	next.Ballot++
	next.LastDrops = peer.Without(next.LastDrops, node)
	switch kind {
	case peer.AssignPrimary, peer.UpgradeToPrimary:
		if old := next.Primary; old.IsValid() && old != node {
			next.LastDrops = append(peer.Without(next.LastDrops, old), old)
		}
		next.Primary = node
		next.Secondaries = peer.Without(next.Secondaries, node)
	case peer.UpgradeToSecondary:
		next.Secondaries = append(peer.Without(next.Secondaries, node), node)
	case peer.DowngradeToSecondary:
		next.Primary = peer.Addr{}
		next.Secondaries = append(peer.Without(next.Secondaries, node), node)
	case peer.DowngradeToInactive, peer.Remove:
		if next.Primary == node {
			next.Primary = peer.Addr{}
		}
		next.Secondaries = peer.Without(next.Secondaries, node)
		next.LastDrops = append(next.LastDrops, node)
	case peer.ForceUpdateBallot:
	}
	return next
}
