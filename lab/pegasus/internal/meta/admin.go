package meta

import (
	"fmt"
	"maps"
	"math"
	"strings"

	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// Node is one row of list_nodes.
type Node struct {
	Addr  peer.Addr
	Alive bool
}

// Nodes lists every node ever heard of; one that died stays until the leader
// changes.
func (s *State) Nodes() []Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Node
	for _, n := range s.sortedNodes() {
		out = append(out, Node{n.addr, n.alive})
	}
	return out
}

// Tables lists tables by id; status 0 means all.
func (s *State) Tables(status int32) []Table {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Table{}
	for _, t := range s.sortedTables() {
		if status == 0 || t.Status == status {
			out = append(out, t.snapshot())
		}
	}
	return out
}

func (t *table) snapshot() Table {
	c := t.Table
	c.Envs = maps.Clone(c.Envs)
	return c
}

// Partitions is a table's configuration. indices "none valid" means all.
func (s *State) Partitions(name string, indices []int32) (Table, []peer.Config, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.byName(name)
	if t == nil {
		return Table{}, nil, s.missing(name)
	}
	var out []peer.Config
	for _, i := range indices {
		if i >= 0 && int(i) < len(t.parts) {
			out = append(out, t.parts[i].Config.Clone())
		}
	}
	if len(out) == 0 {
		for _, p := range t.parts {
			out = append(out, p.Config.Clone())
		}
	}
	return t.snapshot(), out, OK
}

// Pair is one row of cluster_info.
type Pair struct{ Key, Value string }

// ClusterInfo is the leader's summary in the order the server sends it.
func (s *State) ClusterInfo() []Pair {
	s.mu.Lock()
	defer s.mu.Unlock()
	metas := make([]string, 0, len(s.Config.Metas))
	for _, m := range s.Config.Metas {
		metas = append(metas, m.String())
	}
	return []Pair{
		{"meta_servers", strings.Join(metas, ",")},
		{"primary_meta_server", s.Self.String()},
		{"zookeeper_hosts", s.Config.ZooKeeper},
		{"zookeeper_root", s.Config.ClusterRoot},
		{"meta_function_level", levelName(s.effectiveLevel())},
		{"balance_operation_count", s.operations("detail")},
		{"primary_replica_count_stddev", fmt.Sprintf("%.2f", s.deviation(s.load.primaries))},
		{"total_replica_count_stddev", fmt.Sprintf("%.2f", s.deviation(s.load.members))},
		{"cluster_name", s.Config.ClusterName},
	}
}

func (s *State) deviation(counts map[peer.Addr]int) float64 {
	live := s.liveNodes()
	if len(live) == 0 {
		return 0
	}
	var sum, squares float64
	for _, a := range live {
		sum += float64(counts[a])
	}
	mean := sum / float64(len(live))
	for _, a := range live {
		squares += (float64(counts[a]) - mean) * (float64(counts[a]) - mean)
	}
	return math.Sqrt(squares / float64(len(live)))
}

// effectiveLevel is freezed when too few nodes live (facts/pegasus.md §8.3).
func (s *State) effectiveLevel() int32 {
	var alive int64
	for _, n := range s.nodes {
		if n.alive {
			alive++
		}
	}
	frozen := alive < s.flags.minLive || alive*100 < s.flags.livePercentage*int64(len(s.nodes))
	if frozen && s.level > Freezed {
		return Freezed
	}
	return s.level
}

func levelName(level int32) string {
	switch level {
	case 100:
		return "stopped"
	case 200:
		return "blind"
	case Freezed:
		return "freezed"
	case Steady:
		return "steady"
	case Lively:
		return "lively"
	}
	return "invalid"
}

func levelOf(name string) int32 {
	for _, l := range []int32{100, 200, Freezed, Lively} {
		if levelName(l) == strings.TrimPrefix(name, "fl_") {
			return l
		}
	}
	return Steady
}

// Control sets the level and returns the old one; OnlyQuery sets nothing. A
// level at or below steady drops all pending proposals.
func (s *State) Control(level int32) (old int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old = s.level
	if level == OnlyQuery {
		return old
	}
	s.level = level
	if level <= Steady {
		for _, t := range s.tables {
			for _, p := range t.parts {
				s.enqueue(p, nil)
			}
		}
	}
	return old
}

// Action is one step of a proposal as a client sends it.
type Action struct {
	Target, Node peer.Addr
	Type         int32
	Unnamed      bool // without the node's host name, or with another
}

// Propose queues a client's actions for the next cycle, or with Force sends
// them at once.
func (s *State) Propose(g peer.GPID, actions []Action, force bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, p := s.find(g)
	if p == nil || !force && len(p.queue) > 0 {
		return "ERR_INVALID_PARAMETERS"
	}
	var queue []action
	for _, a := range actions {
		if !a.Target.IsValid() {
			a.Target = p.Primary
		}
		if !a.Target.IsValid() {
			return "ERR_INVALID_PARAMETERS"
		}
		queue = append(queue, action{a.Target, a.Node, peer.Change(a.Type), a.Unnamed})
	}
	if force {
		s.force(t, p, queue)
		return OK
	}
	s.enqueue(p, queue)
	return OK
}

// force sends a client's actions past the queue. Of a pair that moves the
// primary only the promotion is sent: the real server sends both at the same
// time, the promotion wins, and the old primary ends up outside the group.
func (s *State) force(t *table, p *partition, actions []action) {
	if n := len(actions); n == 2 && actions[0].kind == peer.DowngradeToSecondary {
		actions = actions[1:]
	}
	for _, a := range actions {
		s.propose(t, p, a)
	}
}

// Diagnose lists partitions of a table that lost all members; app must exist.
func (s *State) Diagnose(app, pidx int32) ([]peer.Config, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[app]
	if t == nil || t.Status != Available || pidx < -1 || int(pidx) >= len(t.parts) {
		return nil, "ERR_INVALID_PARAMETERS"
	}
	var out []peer.Config
	for i, p := range t.parts {
		if (pidx < 0 || int(pidx) == i) && p.Replicas() == 0 && len(p.LastDrops) > 0 {
			out = append(out, p.Config.Clone())
		}
	}
	return out, OK
}
