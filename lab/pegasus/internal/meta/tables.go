package meta

import (
	"context"
	"fmt"
	"maps"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// CreateOptions describe a table to make.
type CreateOptions struct {
	Name                 string
	Partitions, Replicas int32
	IfAbsent             bool // an equal table that exists is success
	Type                 string
	Stateful             bool
	Envs                 map[string]string
}

// maxPartitions and maxReplicas bound what a client may ask for; the real
// server allows five replicas (max_allowed_replica_count).
const (
	maxPartitions = 20_000
	maxReplicas   = 5
)

// Create makes a table, or finds the equal one that is there. It answers when
// the table is available; meanwhile it is CREATING.
func (s *State) Create(ctx context.Context, o CreateOptions) (id int32, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.effectiveLevel() <= Freezed {
		return 0, "ERR_STATE_FREEZED"
	}
	if o.Partitions <= 0 || o.Partitions > maxPartitions || o.Replicas < 1 || o.Replicas > maxReplicas || int(o.Replicas) > len(s.liveNodes()) {
		return 0, "ERR_INVALID_PARAMETERS"
	}
	if t := s.byName(o.Name); t != nil {
		switch {
		case !o.IfAbsent:
			return 0, "ERR_APP_EXIST"
		case t.Table.Partitions != o.Partitions || t.Replicas != o.Replicas || !maps.Equal(t.Envs, o.Envs):
			return 0, "ERR_INVALID_PARAMETERS"
		}
		return t.ID, OK
	}
	if busy := s.missing(o.Name); busy != "ERR_OBJECT_NOT_FOUND" {
		return 0, busy
	}
	s.lastID++
	nt := s.newTable(s.lastID, o.Name, o.Partitions, o.Replicas, maps.Clone(o.Envs))
	nt.Type, nt.Stateful, nt.Status = o.Type, o.Stateful, Creating
	return nt.ID, s.make(ctx, nt)
}

// make stores a table that is CREATING, and opens it. It is called and returns
// with mu held.
func (s *State) make(ctx context.Context, nt Table) string {
	parts := emptyPartitions(nt)
	s.adopt(nt, parts)
	s.mu.Unlock()
	err := s.Store.Create(ctx, nt, parts)
	s.mu.Lock()
	if err != nil {
		delete(s.tables, nt.ID)
		return "ERR_ZOOKEEPER_OPERATION"
	}
	return s.stage(ctx, s.tables[nt.ID], Available)
}

// stage waits as long as changes of a table take and then gives it its status.
// It is called and returns with mu held.
func (s *State) stage(ctx context.Context, t *table, to int32) string {
	s.mu.Unlock()
	sleep(ctx, s.Config.Scaled(s.Config.Sim().DDL))
	s.mu.Lock()
	next := t.snapshot()
	next.Status = to
	if err := s.setTable(ctx, next); err != nil {
		return "ERR_ZOOKEEPER_OPERATION"
	}
	was := t.Status
	s.turn(t, next)
	s.Log('I', "server_state.cpp:322:transition_staging_state()", "app(%s(%d)) transfer from app_status::%s to app_status::%s",
		t.Name, t.ID, statusText(was), statusText(to))
	return OK
}

// setTable writes a table without mu; it is called and returns with mu held.
func (s *State) setTable(ctx context.Context, t Table) error {
	s.mu.Unlock()
	defer s.mu.Lock()
	return s.Store.SetTable(ctx, t)
}

func statusText(status int32) string {
	return map[int32]string{Available: "AS_AVAILABLE", Creating: "AS_CREATING", Dropping: "AS_DROPPING", Dropped: "AS_DROPPED",
		Recalling: "AS_RECALLING"}[status]
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// missing is why there is no available table of a name.
func (s *State) missing(name string) string {
	for _, t := range s.tables {
		if t.Name != name {
			continue
		}
		switch t.Status {
		case Creating, Recalling:
			return "ERR_BUSY_CREATING"
		case Dropping:
			return "ERR_BUSY_DROPPING"
		}
	}
	return "ERR_OBJECT_NOT_FOUND"
}

// Drop marks a table dropped and takes its members away; their data stays on
// disk until the table expires. Meanwhile it is DROPPING.
func (s *State) Drop(ctx context.Context, name string, ifPresent bool, reserve time.Duration) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.byName(name)
	if t == nil {
		busy := s.missing(name)
		switch {
		case busy != "ERR_OBJECT_NOT_FOUND":
			return busy
		case ifPresent:
			return OK
		}
		return "ERR_APP_NOT_EXIST"
	}
	if reserve <= 0 {
		reserve = s.Config.HoldDropped
	}
	gone := t.snapshot()
	gone.Status, gone.DroppedAt = Dropping, s.Now().Unix()
	gone.Expire = s.Now().Add(reserve).Unix()
	return s.retire(ctx, t, gone)
}

func (s *State) retire(ctx context.Context, t *table, gone Table) string {
	s.turn(t, gone) // nothing may happen to it from here on
	if err := s.setTable(ctx, gone); err != nil {
		return "ERR_ZOOKEEPER_OPERATION"
	}
	all := make([]peer.Config, 0, len(t.parts))
	for _, p := range t.parts {
		next := p.Config.Clone()
		next.Ballot++
		for _, a := range append(next.Secondaries, next.Primary) { // primary last: it is revived first
			if a.IsValid() {
				next.LastDrops = append(peer.Without(next.LastDrops, a), a)
				p.forget(a)
				p.dropped = append(p.dropped, drop{a, time.Now(), p.Ballot})
			}
		}
		next.Primary, next.Secondaries, p.queue = peer.Addr{}, []peer.Addr{}, nil
		p.Config = next // its table is not available, so it weighs nothing
		all = append(all, next)
	}
	if err := s.setPartitions(ctx, all); err != nil {
		return "ERR_ZOOKEEPER_OPERATION"
	}
	return s.stage(ctx, t, Dropped)
}

// setPartitions writes partitions without mu; it is called and returns with mu
// held.
func (s *State) setPartitions(ctx context.Context, all []peer.Config) error {
	s.mu.Unlock()
	defer s.mu.Lock()
	var writes errgroup.Group
	writes.SetLimit(storeWrites)
	for _, c := range all {
		writes.Go(func() error { return s.Store.SetPartition(ctx, c) })
	}
	return writes.Wait()
}

// Recall brings a dropped table back, under a new name unless that is "".
func (s *State) Recall(ctx context.Context, id int32, name string) (Table, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[id]
	switch {
	case t == nil:
		return Table{}, "ERR_APP_NOT_EXIST"
	case t.Status == Creating || t.Status == Recalling:
		return Table{}, "ERR_BUSY_CREATING"
	case t.Status == Dropping:
		return Table{}, "ERR_BUSY_DROPPING"
	case t.Status != Dropped:
		return Table{}, "ERR_APP_EXIST"
	case t.Expire <= s.Now().Unix():
		return Table{}, "ERR_APP_NOT_EXIST"
	}
	back := t.snapshot()
	if name != "" {
		back.Name = name
	}
	if s.byName(back.Name) != nil {
		return Table{}, "ERR_INVALID_PARAMETERS"
	}
	back.Status = Recalling // times stay, as in the real server
	s.turn(t, back)
	for _, p := range t.parts {
		p.Ballot++
	}
	if err := s.setTable(ctx, back); err != nil {
		return Table{}, "ERR_ZOOKEEPER_OPERATION"
	}
	code := s.stage(ctx, t, Available)
	return t.snapshot(), code
}

// SetReplicas changes how many members a table's partitions are to have, and
// tells how many there were to be. The guardian does the rest.
func (s *State) SetReplicas(ctx context.Context, name string, count int32) (before int32, code, hint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.byName(name)
	switch {
	case s.effectiveLevel() <= Freezed:
		return 0, "ERR_STATE_FREEZED", "current meta function level is freezed, since there are too few alive nodes"
	case count < 1 || count > maxReplicas || int(count) > len(s.liveNodes()):
		return 0, "ERR_INVALID_PARAMETERS", fmt.Sprintf("requested replica count(%d) is invalid: it is to be within [1, %d], "+
			"and not more than the alive nodes(%d)", count, maxReplicas, len(s.liveNodes()))
	case t == nil:
		return 0, "ERR_APP_NOT_EXIST", fmt.Sprintf("failed to set max_replica_count: app_name=%s does not exist", name)
	case t.Replicas == count:
		return count, OK, ""
	}
	for _, p := range t.parts {
		if p.syncing {
			return t.Replicas, "ERR_STATE_FREEZED", fmt.Sprintf("partition %s is being changed, try again", p.PID)
		}
	}
	before = t.Replicas
	all := make([]peer.Config, 0, len(t.parts))
	for _, p := range t.parts {
		p.syncing = true
		next := p.Config.Clone()
		next.Ballot++
		next.MaxReplicas = count
		all = append(all, next)
	}
	err := s.setPartitions(ctx, all)
	next := t.snapshot()
	next.Replicas = count
	if err == nil {
		err = s.setTable(ctx, next)
	}
	for i, p := range t.parts {
		p.syncing = false
		if err == nil {
			p.Config = all[i]
			s.weigh(p)
		}
	}
	if err != nil {
		return before, "ERR_ZOOKEEPER_OPERATION", ""
	}
	s.turn(t, next)
	return before, OK, ""
}

// Rename gives a table another name.
func (s *State) Rename(ctx context.Context, from, to string) (code, hint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.byName(from)
	switch {
	case t == nil:
		return "ERR_APP_NOT_EXIST", fmt.Sprintf("ERROR: app(%s) not exist!", from)
	case s.byName(to) != nil:
		return "ERR_INVALID_PARAMETERS", fmt.Sprintf("ERROR: app(%s) already exist!", to)
	}
	next := t.snapshot()
	next.Name = to
	if err := s.setTable(ctx, next); err != nil {
		return "ERR_ZOOKEEPER_OPERATION", ""
	}
	s.turn(t, next)
	return OK, ""
}
