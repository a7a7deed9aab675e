package replica

import (
	"context"
	"sync"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/lab/pegasus/internal/meta"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// Statuses of a replica (facts/pegasus.md §5.7).
const (
	Inactive  int32 = 1
	Failed    int32 = 2
	Primary   int32 = 3
	Secondary int32 = 4
	Potential int32 = 5
)

// replica is one member, or former member, of a partition's group.
type replica struct {
	pid   peer.GPID
	write chan struct{} // holds a token while a write or a change of roles runs

	mu       sync.Mutex // guards all below
	table    peer.Table
	disk     *disk
	status   int32
	fresh    bool // inactive, but only until the meta has been asked
	taught   bool // potential, and as good as a member: the meta may have recorded it as one
	since    time.Time
	config   peer.Config
	data     map[string]record
	decree   int64
	learners map[peer.Addr]bool
}

func newReplica(pid peer.GPID, t peer.Table, d *disk, ballot int64, data map[string]record, decree int64) *replica {
	return &replica{pid: pid, write: make(chan struct{}, 1), table: t, disk: d, status: Inactive, fresh: true,
		since: time.Now(), config: peer.Config{PID: pid, Ballot: ballot}, data: data, decree: decree,
		learners: map[peer.Addr]bool{}}
}

// become changes the role; the caller holds mu.
func (r *replica) become(status int32) {
	if r.status != status {
		r.status, r.since = status, time.Now()
	}
}

// adopt takes a newer configuration and the role it gives; the caller holds mu.
func (r *replica) adopt(c peer.Config, self peer.Addr) error {
	if c.Ballot < r.config.Ballot {
		return nil
	}
	r.config = c.Clone()
	r.fresh, r.taught = false, false
	switch {
	case c.Primary == self:
		r.become(Primary)
	case c.IsSecondary(self):
		r.become(Secondary)
	default:
		r.become(Inactive)
	}
	return r.disk.setBallot(c.Ballot)
}

// lock takes the write token; false when ctx was done first.
func (r *replica) lock(ctx context.Context) bool {
	select {
	case r.write <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *replica) unlock() { <-r.write }

func (r *replica) view() (status int32, c peer.Config, t peer.Table) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status, r.config.Clone(), r.table
}

// Value is the answer to a read.
type Value struct {
	Found  bool
	Value  []byte
	Expire int32
}

// Get reads a key here; only a primary with a lease answers.
func (s *Stub) Get(pid peer.GPID, key []byte) (Value, string) {
	r := s.find(pid)
	if r == nil {
		return Value{}, "ERR_OBJECT_NOT_FOUND"
	}
	leased := s.leased()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status != Primary || !leased {
		return Value{}, "ERR_INVALID_STATE"
	}
	rec, ok := r.data[string(key)]
	if !ok || rec.expire > 0 && rec.expire <= Epoch(time.Now()) {
		return Value{}, meta.OK
	}
	return Value{Found: true, Value: rec.value, Expire: rec.expire}, meta.OK
}

// Epoch counts seconds as the store does, from 2016-01-01.
func Epoch(t time.Time) int32 { return int32(t.Unix() - 1451606400) }

// Write carries a write out on all members. ctx ends the wait for writes before
// it; once begun it is not given up, as in the real server.
func (s *Stub) Write(ctx, life context.Context, pid peer.GPID, op peer.Op) (decree int64, code string) {
	r := s.find(pid)
	if r == nil {
		return 0, "ERR_OBJECT_NOT_FOUND"
	}
	if status, _, _ := r.view(); status != Primary || !s.leased() {
		return 0, "ERR_INVALID_STATE"
	}
	if !r.lock(ctx) {
		return 0, "ERR_TIMEOUT"
	}
	defer r.unlock()
	return s.replicate(life, r, op)
}

// replicate runs with the write token held.
func (s *Stub) replicate(ctx context.Context, r *replica, op peer.Op) (int64, string) {
	for {
		status, c, t := r.view()
		if status != Primary || !s.leased() {
			return 0, "ERR_INVALID_STATE"
		}
		if c.Replicas() < min(s.Config.MinReplicas2PC, int(t.Replicas)) {
			return 0, "ERR_NOT_ENOUGH_MEMBER"
		}
		r.mu.Lock()
		decree := r.decree + 1
		r.mu.Unlock()
		failed := s.prepareAll(ctx, c, decree, op)
		if len(failed) == 0 {
			return decree, s.commit(ctx, r, decree, op)
		}
		for _, a := range failed {
			s.Log('W', "replica_2pc.cpp:540:on_prepare_reply()", "%s@%s: prepare to %s failed, remove it", r.pid, s.Self, a)
			if s.change(ctx, r, peer.DowngradeToInactive, a) {
				continue
			}
			if _, now, _ := r.view(); now.Ballot > c.Ballot { // the meta had changed the group, and we did not know
				break
			}
			return 0, "ERR_TIMEOUT"
		}
	}
}

// errDiskFull is the system's error of a write to a full disk.
var errDiskFull = syscall.ENOSPC

// commit writes on the primary. One that cannot write fails: its replica is
// closed here and another server leads (facts/pegasus.md §8.6).
func (s *Stub) commit(ctx context.Context, r *replica, decree int64, op peer.Op) string {
	code := "ERR_FILE_OPERATION_FAILED"
	if !s.Config.Sim().DiskFull {
		code = r.commit(decree, op)
	}
	if code == "ERR_FILE_OPERATION_FAILED" {
		s.Log('E', "replica.cpp:590:handle_local_failure()", "%s@%s: %v", r.pid, s.Self, errDiskFull)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.replicas[r.pid] == r {
			s.beginClose(ctx, r)
		}
	}
	return code
}

func (r *replica) commit(decree int64, op peer.Op) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status == Failed {
		return "ERR_INVALID_STATE"
	}
	if err := r.disk.append(decree, op); err != nil {
		return "ERR_FILE_OPERATION_FAILED"
	}
	apply(r.data, op)
	r.decree = decree
	return meta.OK
}

func (s *Stub) prepareAll(ctx context.Context, c peer.Config, decree int64, op peer.Op) []peer.Addr {
	var mu sync.Mutex // guards failed
	var failed []peer.Addr
	var all sync.WaitGroup
	for _, a := range c.Secondaries {
		all.Go(func() {
			if !s.prepare(ctx, a, peer.Prepare{Config: c, Decree: decree, Op: op}) {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, a)
			}
		})
	}
	all.Wait()
	return failed
}

// prepare keeps trying a secondary that cannot be reached until the time-out,
// which is what makes writes stall when a node dies; a refusal ends it at once.
func (s *Stub) prepare(ctx context.Context, to peer.Addr, p peer.Prepare) bool {
	reply, err := ask[peer.Prepare](ctx, s, to, "prepare", p)
	return err == nil && reply.Err == meta.OK
}

// patience is how long a server that does not answer is waited for at least: a
// server that is fast otherwise still is on a machine that is busy.
const patience = 500 * time.Millisecond

// ask asks another server until it answers: the prepare time-out long, and one
// that can be reached a while longer.
func ask[Q any](ctx context.Context, s *Stub, to peer.Addr, kind string, q Q) (peer.Reply, error) {
	limit := s.Config.Scaled(s.Config.PrepareTimeout)
	began := time.Now()
	ctx, stop := context.WithTimeout(ctx, max(limit, patience))
	defer stop()
	for {
		reply, err := peer.Call[Q, peer.Reply](ctx, s.Client, to, kind, q)
		if err == nil || ctx.Err() != nil || time.Since(began) > limit {
			return reply, err
		}
		sleep(ctx, s.Config.Scaled(100*time.Millisecond))
	}
}

// Prepare is the secondary's side of a write.
func (s *Stub) Prepare(_ context.Context, p peer.Prepare) peer.Reply {
	r := s.find(p.Config.PID)
	if r == nil {
		return peer.Reply{Err: "ERR_OBJECT_NOT_FOUND"}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case p.Config.Ballot < r.config.Ballot:
		return peer.Reply{Err: "ERR_INVALID_VERSION"}
	case r.status == Failed || !p.Config.IsSecondary(s.Self):
		return peer.Reply{Err: "ERR_INVALID_STATE"}
	case p.Decree > r.decree+1: // it has missed writes and must learn again
		return peer.Reply{Err: "ERR_INCONSISTENT_STATE"}
	}
	if p.Config.Ballot > r.config.Ballot || r.status != Secondary {
		if err := r.adopt(p.Config, s.Self); err != nil {
			return peer.Reply{Err: "ERR_FILE_OPERATION_FAILED"}
		}
	}
	if err := r.disk.append(p.Decree, p.Op); err != nil || s.Config.Sim().DiskFull {
		return peer.Reply{Err: "ERR_FILE_OPERATION_FAILED"}
	}
	apply(r.data, p.Op)
	r.decree = p.Decree
	return peer.Reply{Err: meta.OK}
}

// Info is one row of query_replica_info.
type Info struct {
	PID            peer.GPID
	Ballot, Decree int64
	Status         int32
	Table          peer.Table
	Tag            string
}

// Replicas lists what is in memory.
func (s *Stub) Replicas() []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Info, 0, len(s.replicas))
	for _, r := range s.replicas {
		r.mu.Lock()
		out = append(out, Info{r.pid, r.config.Ballot, r.decree, r.status, r.table, r.disk.tag})
		r.mu.Unlock()
	}
	return out
}
