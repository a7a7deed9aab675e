package meta

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

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
		return Table{}, nil, "ERR_OBJECT_NOT_FOUND"
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
		{"primary_replica_count_stddev", fmt.Sprintf("%.2f", s.deviation(s.primaries("")))},
		{"total_replica_count_stddev", fmt.Sprintf("%.2f", s.deviation(s.replicas()))},
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
				p.queue = nil
			}
		}
	}
	return old
}

// Action is one step of a proposal as a client sends it.
type Action struct {
	Target, Node peer.Addr
	Type         int32
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
		queue = append(queue, action{a.Target, a.Node, peer.Change(a.Type)})
	}
	if force {
		s.force(t, p, queue)
		return OK
	}
	p.queue = queue
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

// CreateOptions describe a table to make.
type CreateOptions struct {
	Name                 string
	Partitions, Replicas int32
	IfAbsent             bool // an equal table that exists is success
	Type                 string
	Stateful             bool
	Envs                 map[string]string
}

// Create makes a table, or finds the equal one that is there.
func (s *State) Create(ctx context.Context, o CreateOptions) (id int32, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.effectiveLevel() <= Freezed {
		return 0, "ERR_STATE_FREEZED"
	}
	if o.Partitions <= 0 || o.Replicas < 1 || int(o.Replicas) > len(s.liveNodes()) {
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
	s.lastID++
	nt := s.newTable(s.lastID, o.Name, o.Partitions, o.Replicas, maps.Clone(o.Envs))
	nt.Type, nt.Stateful = o.Type, o.Stateful
	parts := emptyPartitions(nt)
	if err := s.Store.Create(ctx, nt, parts); err != nil {
		return 0, "ERR_ZOOKEEPER_OPERATION"
	}
	s.adopt(nt, parts)
	return nt.ID, OK
}

// Drop marks a table dropped and takes its members away; their data stays on
// disk until the table expires.
func (s *State) Drop(ctx context.Context, name string, ifPresent bool, reserve time.Duration) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.byName(name)
	if t == nil {
		if ifPresent {
			return OK
		}
		return "ERR_APP_NOT_EXIST"
	}
	if reserve <= 0 {
		reserve = s.Config.HoldDropped
	}
	gone := t.snapshot()
	gone.Status, gone.DroppedAt = Dropped, s.Now().Unix()
	gone.Expire = s.Now().Add(reserve).Unix()
	return s.retire(ctx, t, gone)
}

func (s *State) retire(ctx context.Context, t *table, gone Table) string {
	if err := s.Store.SetTable(ctx, gone); err != nil {
		return "ERR_ZOOKEEPER_OPERATION"
	}
	t.Table = gone
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
		if err := s.Store.SetPartition(ctx, next); err != nil {
			return "ERR_ZOOKEEPER_OPERATION"
		}
		p.Config = next
	}
	return OK
}

// Recall brings a dropped table back, under a new name unless that is "".
func (s *State) Recall(ctx context.Context, id int32, name string) (Table, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[id]
	switch {
	case t == nil:
		return Table{}, "ERR_APP_NOT_EXIST"
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
	back.Status = Available // times stay, as in the real server
	if err := s.Store.SetTable(ctx, back); err != nil {
		return Table{}, "ERR_ZOOKEEPER_OPERATION"
	}
	t.Table = back
	for _, p := range t.parts {
		p.Ballot++
	}
	return t.snapshot(), OK
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
	if err := s.Store.SetTable(ctx, next); err != nil {
		return "ERR_ZOOKEEPER_OPERATION", ""
	}
	t.Table = next
	return OK, ""
}

// Operations on a table's environment (facts/pegasus.md §5.7).
const (
	EnvSet   int32 = 1
	EnvDel   int32 = 2
	EnvClear int32 = 3
)

// EnvChange is one change of a table's environment.
type EnvChange struct {
	Table        string
	Op           int32
	Keys, Values []string
	Prefix       string // EnvClear: only keys "prefix.…"; "" means all
}

// ChangeEnvs carries c out.
func (s *State) ChangeEnvs(ctx context.Context, c EnvChange) (code, hint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.byName(c.Table)
	if t == nil {
		return "ERR_INVALID_PARAMETERS", "invalid app name"
	}
	next := t.snapshot()
	switch c.Op {
	case EnvSet:
		if len(c.Keys) != len(c.Values) || len(c.Keys) == 0 {
			return "ERR_INVALID_PARAMETERS", ""
		}
		for i, k := range c.Keys {
			if hint := badEnv(k, c.Values[i]); hint != "" {
				return "ERR_INVALID_PARAMETERS", hint
			}
			next.Envs[k] = c.Values[i]
		}
	case EnvDel:
		hint = removed(next.Envs, c.Keys)
	case EnvClear:
		hint = cleared(next.Envs, c.Prefix)
	default:
		return "ERR_INVALID_PARAMETERS", "recv a invalid update_app_env request with op = APP_ENV_OP_INVALID"
	}
	if err := s.Store.SetTable(ctx, next); err != nil {
		return "ERR_ZOOKEEPER_OPERATION", ""
	}
	t.Table = next
	return OK, hint
}

// badEnv is why a table cannot have an environment value, "" if it can.
func badEnv(key, value string) string {
	switch key {
	case "replica.slow_query_threshold":
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < 20 {
			return "Slow query threshold must be >= 20ms"
		}
	case "default_ttl", "rocksdb.usage_scenario", "rocksdb.allow_ingest_behind", "replica.deny_client_request",
		"replica.write_throttling", "replica.write_throttling_by_size", "replica.read_throttling",
		"replica.rocksdb_iteration_threshold_time_ms", "rocksdb.checkpoint.reserve_min_count",
		"rocksdb.checkpoint.reserve_time_seconds", "rocksdb.block_cache_enabled", "business.info",
		"manual_compact.disabled", "manual_compact.max_concurrent_running_count",
		"manual_compact.once.trigger_time", "manual_compact.once.target_level",
		"manual_compact.once.bottommost_level_compaction", "manual_compact.periodic.trigger_time",
		"manual_compact.periodic.target_level", "manual_compact.periodic.bottommost_level_compaction",
		"user_specified_compaction", "validate_partition_hash", "replica.split.validate_partition_hash":
	default:
		return fmt.Sprintf("app_env \"%s\" is not supported", key)
	}
	return ""
}

func removed(envs map[string]string, keys []string) string {
	var gone []string
	for _, k := range keys {
		if _, ok := envs[k]; ok {
			delete(envs, k)
			gone = append(gone, k)
		}
	}
	return listed(gone)
}

func cleared(envs map[string]string, prefix string) string {
	var gone []string
	for _, k := range slices.Sorted(maps.Keys(envs)) {
		if prefix == "" || strings.HasPrefix(k, prefix+".") {
			delete(envs, k)
			gone = append(gone, k)
		}
	}
	return listed(gone)
}

func listed(keys []string) string {
	if len(keys) == 0 {
		return "no key need to delete"
	}
	return "deleted keys:\n    " + strings.Join(keys, "\n    ")
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
