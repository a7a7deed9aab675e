package meta

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/pegasus/internal/config"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// shelf is a Store in memory.
type shelf struct {
	mu     sync.Mutex // guards parts
	tables map[int32]Table
	parts  map[peer.GPID]peer.Config
}

func (s *shelf) Load(context.Context) ([]Table, map[int32][]peer.Config, error) {
	var tables []Table
	parts := map[int32][]peer.Config{}
	for id, t := range s.tables {
		tables = append(tables, t)
		for i := range t.Partitions {
			parts[id] = append(parts[id], s.parts[peer.GPID{App: id, Pidx: i}])
		}
	}
	return tables, parts, nil
}

func (s *shelf) Create(_ context.Context, t Table, parts []peer.Config) error {
	s.tables[t.ID] = t
	for _, c := range parts {
		s.parts[c.PID] = c
	}
	return nil
}

func (s *shelf) SetTable(_ context.Context, t Table) error { s.tables[t.ID] = t; return nil }

func (s *shelf) SetPartition(_ context.Context, c peer.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts[c.PID] = c
	return nil
}

func (s *shelf) Policies(context.Context) ([]Policy, error) { return nil, nil }

func (s *shelf) SetPolicy(context.Context, Policy) error { return nil }

// sent is what the leader asked replica servers for.
type sent struct {
	to   peer.Addr
	kind peer.Change
	node peer.Addr
}

type bench struct {
	*State
	t     *testing.T
	store *shelf
	out   []sent
}

func n(i int) peer.Addr { return netip.MustParseAddrPort(fmt.Sprintf("10.0.0.%d:34801", i)) }

// newBench is a leader with live nodes 1..nodes and one table of one partition
// whose members are 1 (primary), 2 and 3.
func newBench(t *testing.T, nodes int, text string) *bench {
	path := filepath.Join(t.TempDir(), "config.ini")
	require.NoError(t, os.WriteFile(path, []byte("[meta_server]\n"+text+"\n"), 0o644))
	c, err := config.Load(path, "")
	require.NoError(t, err)
	b := &bench{t: t, store: &shelf{tables: map[int32]Table{}, parts: map[peer.GPID]peer.Config{}}}
	b.store.tables[1] = Table{Status: Available, Name: "temp", ID: 1, Partitions: 1, Replicas: 3, Envs: map[string]string{}}
	b.store.parts[peer.GPID{App: 1}] = peer.Config{PID: peer.GPID{App: 1}, Ballot: 3, MaxReplicas: 3, Primary: n(1), Secondaries: []peer.Addr{n(2), n(3)}}
	b.State, err = Open(t.Context(), Options{Config: c, Self: n(9), Store: b.store, Now: time.Now, Log: func(byte, string, string, ...any) {},
		Send: func(to peer.Addr, p peer.Proposal) { b.out = append(b.out, sent{to, p.Type, p.Node}) }})
	require.NoError(t, err)
	for i := 1; i <= nodes; i++ {
		require.True(t, b.Beacon(peer.Beacon{From: n(i), Start: 1}))
	}
	return b
}

// run makes one cycle and returns what it sent.
func (b *bench) run() []sent {
	b.out = nil
	b.cycle(b.t.Context())
	return b.out
}

func (b *bench) config() peer.Config {
	_, parts, _ := b.Partitions("temp", nil)
	return parts[0]
}

func (b *bench) update(kind peer.Change, node peer.Addr) string {
	return b.Update(b.t.Context(), peer.Update{Config: b.config(), Type: kind, Node: node, From: n(1)}).Err
}

func TestQueueOfProposals(t *testing.T) {
	b := newBench(t, 5, "add_secondary_enable_flow_control = true")
	g := peer.GPID{App: 1}
	move := []Action{{Target: n(1), Node: n(1), Type: 5}, {Target: n(2), Node: n(2), Type: 2}}
	require.Equal(t, "ERR_INVALID_PARAMETERS", b.Propose(peer.GPID{App: 7}, move, false), "no such table")
	require.Equal(t, OK, b.Propose(g, move, false))
	require.Equal(t, "ERR_INVALID_PARAMETERS", b.Propose(g, move, false), "one is pending")
	require.Equal(t, []sent{{n(1), peer.DowngradeToSecondary, n(1)}}, b.run())
	require.Equal(t, []sent{{n(1), peer.DowngradeToSecondary, n(1)}}, b.run(), "it is sent again until it is done")
	b.out = nil
	require.Equal(t, OK, b.update(peer.DowngradeToSecondary, n(1)))
	require.Equal(t, []sent{{n(2), peer.UpgradeToPrimary, n(2)}}, b.out, "the next step does not wait for the cycle")
	require.Equal(t, OK, b.update(peer.UpgradeToPrimary, n(2)))
	require.Equal(t, n(2), b.config().Primary)
	require.Equal(t, int64(5), b.config().Ballot)
	require.Empty(t, b.run(), "all is well")
}

func TestNonsenseIsAcceptedAndDropped(t *testing.T) {
	b := newBench(t, 5, "")
	g := peer.GPID{App: 1}
	require.Equal(t, OK, b.Propose(g, []Action{{Target: n(77), Node: n(77), Type: 5}}, false))
	require.Empty(t, b.run())
	require.Equal(t, OK, b.Propose(g, []Action{{Node: n(3), Type: 6}}, false), "the queue is empty again; the target is filled in")
	require.Equal(t, []sent{{n(1), peer.DowngradeToInactive, n(3)}}, b.run())
}

func TestControlClearsQueues(t *testing.T) {
	b := newBench(t, 5, "")
	g := peer.GPID{App: 1}
	require.Equal(t, OK, b.Propose(g, []Action{{Target: n(1), Node: n(3), Type: 6}}, false))
	require.Equal(t, Steady, b.Control(OnlyQuery))
	require.Equal(t, "ERR_INVALID_PARAMETERS", b.Propose(g, []Action{{Target: n(1), Node: n(3), Type: 6}}, false))
	require.Equal(t, Steady, b.Control(Steady))
	require.Empty(t, b.run())
	require.Equal(t, Steady, b.Control(12345), "any number is stored")
	require.Equal(t, int32(12345), b.Control(OnlyQuery))
}

func TestDroppedMemberIsReAddedUnlessFlowControlHoldsIt(t *testing.T) {
	for _, c := range []struct {
		name, flow string
		want       []sent
	}{
		{"on", "true", nil},
		{"off", "false", []sent{{n(1), peer.AddSecondary, n(3)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 5, "add_secondary_enable_flow_control = "+c.flow)
			reply, ok := b.Command("meta.lb.add_secondary_max_count_for_one_node", []string{"0"})
			require.True(t, ok)
			require.Equal(t, "OK", reply)
			require.Equal(t, OK, b.update(peer.DowngradeToInactive, n(3)))
			require.Equal(t, c.want, b.run())
			require.Equal(t, "ERR_INVALID_PARAMETERS", b.Propose(peer.GPID{App: 1}, []Action{{Target: n(1), Node: n(2), Type: 6}}, false), "the cure is queued either way")
		})
	}
}

func TestFlowControlHoldsEvenPartitionsWithoutSecondaries(t *testing.T) {
	b := newBench(t, 5, "add_secondary_enable_flow_control = true")
	b.Command("meta.lb.add_secondary_max_count_for_one_node", []string{"0"})
	require.Equal(t, OK, b.update(peer.DowngradeToInactive, n(3)))
	require.Equal(t, OK, b.update(peer.DowngradeToInactive, n(2)))
	b.State.mu.Lock()
	b.enqueue(b.State.tables[1].parts[0], nil)
	b.State.mu.Unlock()
	require.Empty(t, b.run())
	b.Command("meta.lb.add_secondary_max_count_for_one_node", []string{"1"})
	require.Equal(t, []sent{{n(1), peer.AddSecondary, n(2)}}, b.run())
}

func TestAssignDelayAndBlackList(t *testing.T) {
	b := newBench(t, 5, "")
	require.Equal(t, OK, b.update(peer.DowngradeToInactive, n(3)))
	b.setAlive(b.nodes[n(3)], false)
	b.Control(Steady)
	require.Empty(t, b.run(), "its node is expected back")
	reply, _ := b.Command("meta.lb.assign_secondary_black_list", []string{n(3).String()})
	require.Equal(t, "set ok", reply)
	require.Len(t, b.run(), 1)
	require.Contains(t, []peer.Addr{n(4), n(5)}, b.out[0].node)
	reply, _ = b.Command("meta.lb.assign_secondary_black_list", nil)
	require.Equal(t, "get ok: 10.0.0.3:34801", reply)
	reply, _ = b.Command("meta.lb.assign_secondary_black_list", []string{"x"})
	require.Equal(t, "invalid arguments", reply)
}

func TestFreezeStopsEverythingButQuestions(t *testing.T) {
	b := newBench(t, 3, "")
	b.setAlive(b.nodes[n(3)], false)
	require.Equal(t, "ERR_STATE_FREEZED", b.update(peer.DowngradeToInactive, n(3)))
	_, code := b.Create(t.Context(), CreateOptions{Name: "x", Partitions: 1, Replicas: 1})
	require.Equal(t, "ERR_STATE_FREEZED", code)
	require.Equal(t, OK, b.Propose(peer.GPID{App: 1}, []Action{{Target: n(1), Node: n(2), Type: 6}}, false))
	require.Empty(t, b.run())
	b.SetMinLiveNodes(2)
	require.Len(t, b.run(), 1)
}

func TestUpdatesWithAnOldBallotAreRefused(t *testing.T) {
	b := newBench(t, 5, "")
	old := b.config()
	require.Equal(t, OK, b.update(peer.DowngradeToInactive, n(3)))
	r := b.Update(t.Context(), peer.Update{Config: old, Type: peer.DowngradeToInactive, Node: n(2), From: n(1)})
	require.Equal(t, "ERR_INVALID_VERSION", r.Err)
	require.Equal(t, int64(4), r.Config.Ballot, "the answer tells the present one")
}

func TestRepeatedUpdateIsAnsweredAsTheFirst(t *testing.T) {
	b := newBench(t, 5, "")
	ask := peer.Update{Config: b.config(), Type: peer.DowngradeToInactive, Node: n(3), From: n(1)}
	require.Equal(t, OK, b.Update(t.Context(), ask).Err)
	r := b.Update(t.Context(), ask)
	require.Equal(t, OK, r.Err, "the first answer may be lost")
	require.Equal(t, int64(4), r.Config.Ballot)
	require.Equal(t, OK, b.update(peer.DowngradeToInactive, n(2)))
	require.Equal(t, "ERR_INVALID_VERSION", b.Update(t.Context(), ask).Err, "the group has moved on")
}

func TestUnstableNodeIsRefusedUntilItHasRunLong(t *testing.T) {
	b := newBench(t, 3, "stable_rs_min_running_seconds = 600\nmax_succssive_unstable_restart = 5")
	start := time.Now().Add(-time.Hour).UnixMilli()
	b.stability[n(1)].start = start
	for i := range 4 {
		start += 1000
		require.True(t, b.Beacon(peer.Beacon{From: n(1), Start: start}), i)
	}
	// The fifth quick restart, an hour ago: it has run long since.
	start += 1000
	require.False(t, b.Beacon(peer.Beacon{From: n(1), Start: start}))
	require.True(t, b.Beacon(peer.Beacon{From: n(1), Start: start}), "stable again")
}

func TestNewLeaderKnowsNeitherFlagsNorWhoIsDead(t *testing.T) {
	b := newBench(t, 3, "")
	b.Command("meta.lb.assign_delay_ms", []string{"5"})
	next, err := Open(t.Context(), b.Options)
	require.NoError(t, err)
	reply, _ := next.Command("meta.lb.assign_delay_ms", nil)
	require.Equal(t, "300000", reply)
	require.Equal(t, []Node{{n(1), true}, {n(2), true}, {n(3), true}}, next.Nodes())
}

func TestAnswersOfFlags(t *testing.T) {
	b := newBench(t, 3, "")
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"meta.lb.assign_delay_ms", []string{"0"}, "ERR: invalid arguments"},
		{"meta.lb.assign_delay_ms", []string{"abc"}, "ERR: invalid arguments"},
		{"meta.lb.assign_delay_ms", []string{"default"}, "ERR: invalid arguments"},
		{"meta.lb.assign_delay_ms", []string{"DEFAULT"}, "OK"},
		{"meta.lb.add_secondary_enable_flow_control", []string{"True"}, "ERR: invalid arguments"},
		{"meta.lb.add_secondary_enable_flow_control", nil, "false"},
		{"meta.lb.get_balance_operation_count", nil, "total=0"},
		{"meta.lb.get_balance_operation_count", []string{"detail"}, "move_pri=0,copy_pri=0,copy_sec=0,total=0"},
		{"meta.lb.get_balance_operation_count", []string{"x"}, "ERR: invalid arguments"},
		{"meta.lb.ignored_app_list", nil, "invalid arguments"},
		{"meta.lb.ignored_app_list", []string{"set", "1,2"}, "set ok"},
		{"meta.lb.ignored_app_list", []string{"get"}, "ignored_app_id_list: 1,2\x00"},
	} {
		got, ok := b.Command(c.name, c.args)
		require.True(t, ok)
		require.Equal(t, c.want, got, "%s %v", c.name, c.args)
	}
}
