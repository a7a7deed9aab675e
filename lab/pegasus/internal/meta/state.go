// Package meta is the leader's mind: tables, partitions, who is alive, which
// flags are set, and the guardian that cures partitions every few seconds
// (facts/pegasus.md §8). A State lives as long as one leadership and keeps only
// tables and partitions in its Store; flags, the function level, proposals and
// the stability record die with it, as they do in a real meta server.
package meta

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"time"

	"github.com/pegbook/pegbook/lab/pegasus/internal/config"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
	"github.com/pegbook/pegbook/lab/pegasus/internal/release"
)

// Function levels (facts/pegasus.md §8.4).
const (
	Freezed   int32 = 300
	Steady    int32 = 400
	Lively    int32 = 500
	OnlyQuery int32 = 10000
)

// Table statuses (facts/pegasus.md §5.7).
const (
	Available int32 = 1
	Creating  int32 = 2
	Dropping  int32 = 4
	Dropped   int32 = 6
	Recalling int32 = 7
)

// OK is the name of no error. Errors are the names that go over the wire.
const OK = "ERR_OK"

// Table is a table as kept in ZooKeeper; times are unix seconds.
type Table struct {
	Status     int32             `json:"status"`
	Type       string            `json:"app_type"`
	Name       string            `json:"app_name"`
	ID         int32             `json:"app_id"`
	Partitions int32             `json:"partition_count"`
	Envs       map[string]string `json:"envs"`
	Stateful   bool              `json:"is_stateful"`
	Replicas   int32             `json:"max_replica_count"`
	Expire     int64             `json:"expire_second"`
	Created    int64             `json:"create_second"`
	DroppedAt  int64             `json:"drop_second"`
	Init       int32             `json:"init_partition_count"`
}

// Store keeps tables and partitions beyond a leadership.
// Each call is durable when it returns nil.
type Store interface {
	Load(ctx context.Context) ([]Table, map[int32][]peer.Config, error)
	Create(ctx context.Context, t Table, parts []peer.Config) error
	SetTable(ctx context.Context, t Table) error
	SetPartition(ctx context.Context, c peer.Config) error
	Policies(ctx context.Context) ([]Policy, error)
	SetPolicy(ctx context.Context, p Policy) error
}

// Logger takes one line of the server's log; level is one of D I W E F.
type Logger func(level byte, place, format string, args ...any)

// Options are what a State is made of. Send must not block; Now is the clock of
// tables' life, time.Now outside of tests.
type Options struct {
	Config  *config.Config
	Release release.Release
	Self    peer.Addr
	Store   Store
	Send    func(to peer.Addr, p peer.Proposal)
	// Backup has a primary write its contents, Inventory asks a replica server for
	// all that it holds.
	Backup    func(ctx context.Context, to peer.Addr, q peer.BackupRequest) error
	Inventory func(ctx context.Context, of peer.Addr) (peer.Inventory, error)
	Log       Logger
	// Dead is told of each node that is called dead; nil does without.
	Dead func(peer.Addr)
	Now  func() time.Time
}

// State is one leadership. Safe for concurrent use.
type State struct {
	Options
	life context.Context //nolint:containedctx // the leadership: work that goes on behind an answer ends with it

	mu        sync.Mutex // guards all below
	tables    map[int32]*table
	nodes     map[peer.Addr]*node
	stability map[peer.Addr]*stability
	lastID    int32
	level     int32
	flags     flags
	moves     operationCount
	load      tally
	live      []peer.Addr // see liveNodes; nil when it is to be made anew

	recovering bool // there are no tables yet, and they are to come from replica servers
	policies   map[string]*Policy
	backups    []*Backup
	restores   map[int32]*restoring
}

type table struct {
	Table
	parts []*partition
}

type partition struct {
	peer.Config
	queue   []action // pending proposals, own or the guardian's
	dropped []drop   // oldest first
	syncing bool     // a change is being written to the store
	weight  share    // what it adds to the tally
	last    change   // by a replica server
}

// action is one step of a proposal.
type action struct {
	target, node peer.Addr
	kind         peer.Change
	unnamed      bool // a client gave no host name, or another
}

// drop remembers when a member left, to re-add it first.
type drop struct {
	node   peer.Addr
	at     time.Time
	ballot int64
}

type node struct {
	addr   peer.Addr
	alive  bool
	heard  time.Time
	host   string
	stored map[peer.GPID]peer.Stored
}

// stability is the record of restarts that can get a node ignored.
type stability struct {
	start    int64
	restarts int
}

// Open loads what the store holds, making the default tables of the config
// when it holds nothing.
func Open(ctx context.Context, o Options) (*State, error) {
	s := &State{
		Options:   o,
		life:      ctx,
		policies:  map[string]*Policy{},
		restores:  map[int32]*restoring{},
		tables:    map[int32]*table{},
		nodes:     map[peer.Addr]*node{},
		stability: map[peer.Addr]*stability{},
		level:     levelOf(o.Config.LevelOnStart),
		flags:     defaultFlags(o.Config),
		load:      newTally(),
	}
	tables, parts, err := o.Store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("load tables: %w", err)
	}
	for _, t := range tables {
		s.adopt(finished(t), parts[t.ID])
	}
	policies, err := o.Store.Policies(ctx)
	if err != nil {
		return nil, fmt.Errorf("load backup policies: %w", err)
	}
	for _, p := range policies {
		s.policies[p.Name] = &p
	}
	if o.Config.Recover {
		if len(tables) > 0 {
			return nil, ErrNotEmpty
		}
		s.recovering = true
		return s, nil
	}
	if len(tables) == 0 {
		for _, t := range o.Config.Tables {
			if err := s.createDefault(ctx, t); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// finished is a table whose change the last leader did not live to finish: a
// new one goes on with it.
func finished(t Table) Table {
	switch t.Status {
	case Creating, Recalling:
		t.Status = Available
	case Dropping:
		t.Status = Dropped
	}
	return t
}

func (s *State) adopt(t Table, parts []peer.Config) {
	tb := &table{Table: t}
	for _, c := range parts {
		p := &partition{Config: c}
		for _, d := range c.LastDrops {
			p.dropped = append(p.dropped, drop{node: d, at: time.Now(), ballot: c.Ballot})
		}
		tb.parts = append(tb.parts, p)
		if t.Status == Available {
			s.adoptNodes(c)
		}
	}
	s.tables[t.ID] = tb
	for _, p := range tb.parts {
		s.weigh(p)
	}
	s.lastID = max(s.lastID, t.ID)
}

// adoptNodes believes every member alive until its grace is over: a new leader
// has heard no beacon yet and must not drop the whole cluster. Nodes that are
// members nowhere it has never heard of; so a dead one leaves the list when the
// leader changes.
func (s *State) adoptNodes(c peer.Config) {
	for _, a := range append([]peer.Addr{c.Primary}, c.Secondaries...) {
		if a.IsValid() && s.nodes[a] == nil {
			s.nodes[a] = &node{addr: a, heard: time.Now()}
			s.setAlive(s.nodes[a], true)
		}
	}
}

func (s *State) createDefault(ctx context.Context, t config.Table) error {
	s.lastID++
	nt := s.newTable(s.lastID, t.Name, int32(t.Partitions), int32(t.Replicas), nil)
	nt.Init = -1 // default tables have none
	parts := emptyPartitions(nt)
	if err := s.Store.Create(ctx, nt, parts); err != nil {
		return fmt.Errorf("create table %s: %w", t.Name, err)
	}
	s.adopt(nt, parts)
	s.Log('I', "server_state.cpp:322:transition_staging_state()",
		"app(%s(%d)) transfer from app_status::AS_CREATING to app_status::AS_AVAILABLE", nt.Name, nt.ID)
	return nil
}

func (s *State) newTable(id int32, name string, partitions, replicas int32, envs map[string]string) Table {
	if envs == nil {
		envs = map[string]string{}
	}
	return Table{Status: Available, Type: "pegasus", Name: name, ID: id, Partitions: partitions, Envs: envs,
		Stateful: true, Replicas: replicas, Created: s.Now().Unix(), Init: partitions}
}

func emptyPartitions(t Table) []peer.Config {
	parts := make([]peer.Config, t.Partitions)
	for i := range parts {
		parts[i] = peer.Config{PID: peer.GPID{App: t.ID, Pidx: int32(i)}, MaxReplicas: t.Replicas,
			Secondaries: []peer.Addr{}, LastDrops: []peer.Addr{}}
	}
	return parts
}

// Run detects failures and cures partitions until ctx is done.
func (s *State) Run(ctx context.Context) {
	check := time.NewTicker(max(s.Config.Scaled(s.Config.CheckInterval)/2, 5*time.Millisecond))
	defer check.Stop()
	cure := time.NewTicker(max(s.Config.Scaled(s.Config.BalanceInterval), 5*time.Millisecond))
	defer cure.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-check.C:
			s.detect(ctx)
		case <-cure.C:
			s.cycle(ctx)
		}
	}
}

// find returns a partition of an available table, nil when there is none.
func (s *State) find(g peer.GPID) (*table, *partition) {
	t := s.tables[g.App]
	if t == nil || t.Status != Available || g.Pidx < 0 || int(g.Pidx) >= len(t.parts) {
		return nil, nil
	}
	return t, t.parts[g.Pidx]
}

func (s *State) byName(name string) *table {
	for _, t := range s.tables {
		if t.Name == name && t.Status == Available {
			return t
		}
	}
	return nil
}

func (s *State) sortedTables() []*table {
	out := make([]*table, 0, len(s.tables))
	for _, t := range s.tables {
		out = append(out, t)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

func (s *State) sortedNodes() []*node {
	out := make([]*node, 0, len(s.nodes))
	for _, n := range s.nodes {
		out = append(out, n)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].addr.Compare(out[j].addr) < 0 })
	return out
}

// host is the name of a node; one that has told none is known by its address.
func (s *State) host(a peer.Addr) string {
	if n := s.nodes[a]; n != nil && n.host != "" {
		return n.host
	}
	return a.Addr().String()
}

// Host is the name of a node.
func (s *State) Host(a peer.Addr) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.host(a)
}

func (s *State) alive(a peer.Addr) bool { return s.nodes[a] != nil && s.nodes[a].alive }

// propose sends one action to its target.
func (s *State) propose(t *table, p *partition, a action) {
	s.Log('I', "server_state.cpp:1390:send_proposal()", "send proposal %s of %s to %s, node = %s, ballot = %d",
		a.kind, p.PID, a.target, a.node, p.Ballot)
	o := peer.Proposal{Table: t.brief(), Config: p.Config.Clone(), Type: a.kind, Node: a.node}
	if !a.unnamed {
		o.Host = s.host(a.node)
	}
	if a.kind == peer.AssignPrimary {
		_, o.Restore = s.awaitsRestore(t, p)
	}
	s.Send(a.target, o)
}

func (t *table) brief() peer.Table {
	return peer.Table{ID: t.ID, Name: t.Name, Partitions: t.Table.Partitions, Replicas: t.Replicas, Envs: t.Envs}
}
