// Package replica is a replica server's mind: the replicas it has on disk and
// in memory, the beacons that keep its lease, and what it does for the meta
// (facts/pegasus.md §8). Replication is PacificA with the batches left out: one
// write of a partition at a time, on all members or, after the prepare time-out,
// on those that remain.
package replica

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/pegbook/pegbook/lab/pegasus/internal/config"
	"github.com/pegbook/pegbook/lab/pegasus/internal/meta"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// Options are what a Stub is made of.
type Options struct {
	Config *config.Config
	Self   peer.Addr
	Start  time.Time
	Client *peer.Client
	Send   func(to peer.Addr, datagram []byte) // a beacon; must not block
	Log    meta.Logger
	Abort  func(why string) // the process dies as by an assertion
	Names  func() string    // since 2.6: this server's host name; nil before
	// Version is the release's number, which is written beside the data.
	Version string
	Rate    func() int64 // megabytes a second at which replicas are copied here
}

// Stub is a replica server. Safe for concurrent use.
type Stub struct {
	Options

	learning chan struct{} // bounds replicas learned at a time

	mu       sync.Mutex // guards all below
	replicas map[peer.GPID]*replica
	closed   map[peer.GPID]*closedReplica
	busy     map[peer.GPID]bool // being closed
	opening  int
	closing  int
	ready    bool
	leader   int // index into Config.Metas of whom we beacon
	acked    time.Time
	online   bool // has a lease
	syncNow  chan struct{}
}

// closedReplica is a replica that is on disk only.
type closedReplica struct {
	disk   *disk
	stored peer.Stored
}

// New makes a stub that holds nothing yet.
func New(o Options) *Stub {
	s := &Stub{Options: o,
		learning: make(chan struct{}, max(1, o.Config.LearnAtOnce)),
		replicas: map[peer.GPID]*replica{},
		closed:   map[peer.GPID]*closedReplica{},
		busy:     map[peer.GPID]bool{},
		syncNow:  make(chan struct{}, 1),
	}
	return s
}

// Load opens what is on the disks; it takes as long as it is told to.
func (s *Stub) Load(ctx context.Context) error {
	begin := time.Now()
	s.Log('I', "replica_stub.cpp:630:initialize()", "start to load replicas")
	found, err := scan(s.Config.DataDirs)
	if err != nil {
		return err
	}
	if why := s.refuses(found); why != "" {
		s.Abort("replica_stub.cpp:655:initialize(): " + why)
		return errors.New(why)
	}
	s.mu.Lock()
	s.opening = len(found)
	s.mu.Unlock()
	sleep(ctx, s.Config.Scaled(s.Config.Sim().LoadTotal+time.Duration(len(found))*s.Config.Sim().LoadReplica))
	for pid, d := range found {
		r, err := s.open(pid, d)
		if err != nil {
			s.Log('E', "replica_stub.cpp:660:initialize()", "load replica %s: %v", pid, err)
		}
		s.mu.Lock()
		if err == nil {
			s.replicas[pid] = r
		}
		s.opening--
		s.mu.Unlock()
	}
	s.mu.Lock()
	s.ready = true
	n := len(s.replicas)
	if n > 0 {
		s.wrote()
	}
	s.mu.Unlock()
	s.Log('I', "replica_stub.cpp:694:initialize()", "load replicas succeed, replica_count = %d, time_used = %d ms",
		n, time.Since(begin).Milliseconds())
	return ctx.Err()
}

func (s *Stub) open(pid peer.GPID, d *disk) (*replica, error) {
	t, ballot, data, decree, err := d.open()
	if err != nil {
		d.close()
		return nil, err
	}
	return newReplica(pid, t, d, ballot, data, decree), nil
}

// Run sends beacons, keeps the lease and asks for its partitions until ctx is
// done. Call it after Load.
func (s *Stub) Run(ctx context.Context) {
	c := s.Config
	beacon := time.NewTicker(max(c.Scaled(c.Beacon), 5*time.Millisecond))
	defer beacon.Stop()
	lease := time.NewTimer(c.Scaled(c.Lease))
	defer lease.Stop()
	sync := time.NewTicker(max(c.Scaled(c.ConfigSync), 5*time.Millisecond))
	defer sync.Stop()
	group := time.NewTicker(max(c.Scaled(c.GroupCheck), 5*time.Millisecond))
	defer group.Stop()
	s.beacon()
	for {
		select {
		case <-ctx.Done():
			s.shut()
			return
		case <-beacon.C:
			s.beacon()
			s.closeInactive(ctx)
		case <-lease.C:
			lease.Reset(s.checkLease())
		case <-s.syncNow:
			go s.sync(ctx)
		case <-sync.C:
			go s.sync(ctx)
		case <-group.C:
			s.checkGroups(ctx)
		}
	}
}

func (s *Stub) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.replicas {
		r.mu.Lock()
		r.disk.close()
		r.status = Failed
		r.mu.Unlock()
	}
}

// beacon tells the meta believed to lead that this node lives. When the last
// beacon was not answered it tries the next meta.
func (s *Stub) beacon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Config.Sim().LoseHeartbeats || len(s.Config.Metas) == 0 {
		return
	}
	if time.Since(s.acked) > 2*s.Config.Scaled(s.Config.Beacon)-time.Millisecond {
		s.leader = (s.leader + 1) % len(s.Config.Metas)
	}
	s.sendBeacon()
}

func (s *Stub) sendBeacon() {
	b := peer.Beacon{From: s.Self, Start: s.Start.UnixMilli(), Sent: time.Now().UnixNano()}
	if s.Names != nil {
		b.Host = s.Names()
	}
	raw, err := json.Marshal(b)
	if err == nil {
		s.Send(s.Config.Metas[s.leader], raw)
	}
}

// Acked takes a meta's answer to a beacon.
func (s *Stub) Acked(a peer.BeaconAck) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Config.Sim().LoseHeartbeats {
		return
	}
	if !a.Master {
		s.follow(a)
		return
	}
	if !a.Allowed {
		s.Log('W', "failure_detector.cpp:440:end_ping_internal()", "beacon to %s is not allowed", a.From)
		return
	}
	if sent := time.Unix(0, a.Sent); sent.After(s.acked) {
		s.acked = sent
	}
	moved := s.Config.Metas[s.leader] != a.From
	s.point(a.From)
	if !s.online || moved {
		s.online = true
		s.Log('I', "replica_stub.cpp:1447:on_meta_server_connected()", "meta server connected")
		s.askSync()
	}
}

// follow switches to the leader a standby names, and says so at once.
func (s *Stub) follow(a peer.BeaconAck) {
	if a.Leader.IsValid() && a.Leader != a.From && s.Config.Metas[s.leader] != a.Leader {
		s.Log('I', "failure_detector.cpp:185:switch_master()", "switch master successfully, from[%s], to[%s]", a.From, a.Leader)
		s.point(a.Leader)
		s.sendBeacon()
	}
}

func (s *Stub) point(a peer.Addr) {
	for i, m := range s.Config.Metas {
		if m == a {
			s.leader = i
		}
	}
}

func (s *Stub) askSync() {
	select {
	case s.syncNow <- struct{}{}:
	default:
	}
}

// checkLease stops serving when no meta has answered for the lease: another
// node may be primary by now. It tells when to look again.
func (s *Stub) checkLease() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	lease := s.Config.Scaled(s.Config.Lease)
	if left := lease - time.Since(s.acked); left > 0 {
		return left
	}
	again := max(s.Config.Scaled(s.Config.CheckInterval)/2, 5*time.Millisecond)
	if !s.online {
		return again
	}
	s.online = false
	s.Log('W', "replica_stub.cpp:1640:on_meta_server_disconnected()", "meta server disconnected")
	for _, r := range s.replicas {
		r.mu.Lock()
		if r.status == Primary || r.status == Secondary {
			r.become(Inactive)
			r.fresh = true
		}
		r.mu.Unlock()
	}
	return again
}

// leased tells whether this node may serve.
func (s *Stub) leased() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.online
}

func (s *Stub) leaderAddr() peer.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Config.Metas[s.leader]
}

func (s *Stub) find(pid peer.GPID) *replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replicas[pid]
}

// Ready tells whether loading is over.
func (s *Stub) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

// Counts are the live counters of the server.
func (s *Stub) Counts() (serving, opening, closing int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.replicas), s.opening, s.closing
}

// Learning is the number of replicas that are being copied.
func (s *Stub) Learning() int { return len(s.learning) }

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
