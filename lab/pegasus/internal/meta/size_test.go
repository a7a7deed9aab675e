package meta

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/pegasus/internal/config"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// large is a leader with many partitions whose replica servers do at once what
// they are told, as far as the meta can see.
type large struct {
	*State
	ctx   context.Context
	nodes []peer.Addr
	sent  []peer.Proposal
	to    []peer.Addr
}

// newLarge has partitions spread over nodes, all healthy.
func newLarge(tb testing.TB, nodes, partitions int, text string) *large {
	path := filepath.Join(tb.TempDir(), "config.ini")
	require.NoError(tb, os.WriteFile(path, []byte("[meta_server]\n"+text+"\n"), 0o644))
	c, err := config.Load(path, "")
	require.NoError(tb, err)
	l := &large{ctx: tb.Context()}
	for i := range nodes {
		l.nodes = append(l.nodes, n(i+1))
	}
	store := &shelf{tables: map[int32]Table{}, parts: map[peer.GPID]peer.Config{}}
	store.tables[1] = Table{Status: Available, Name: "large", ID: 1, Partitions: int32(partitions), Replicas: 3, Envs: map[string]string{}}
	for i := range partitions {
		g := peer.GPID{App: 1, Pidx: int32(i)}
		next := i + 1 + i/nodes%(nodes-2)
		store.parts[g] = peer.Config{PID: g, Ballot: 3, MaxReplicas: 3, Primary: l.nodes[i%nodes],
			Secondaries: []peer.Addr{l.nodes[next%nodes], l.nodes[(next+1)%nodes]}}
	}
	l.State, err = Open(l.ctx, Options{Config: c, Self: n(200), Store: store, Now: time.Now, Log: func(byte, string, string, ...any) {},
		Send: func(to peer.Addr, p peer.Proposal) { l.to, l.sent = append(l.to, to), append(l.sent, p) }})
	require.NoError(tb, err)
	for _, a := range l.nodes {
		require.True(tb, l.Beacon(peer.Beacon{From: a, Start: 1}))
	}
	l.report()
	return l
}

// report has every node tell what it has.
func (l *large) report() {
	for _, a := range l.liveNodes() {
		q := peer.ConfigSync{Node: a}
		for _, x := range l.ConfigSync(q).Serve {
			q.Stored = append(q.Stored, peer.Stored{PID: x.Config.PID, Ballot: x.Config.Ballot})
		}
		l.ConfigSync(q)
	}
}

// obey has the replica servers carry out what was sent.
func (l *large) obey() (done int) {
	for len(l.sent) > 0 {
		p := l.sent[0]
		l.to, l.sent = l.to[1:], l.sent[1:]
		kind := p.Type
		if isAdd(kind) {
			kind = peer.UpgradeToSecondary
		}
		_, now := l.find(p.Config.PID)
		if l.Update(l.ctx, peer.Update{Config: now.Config.Clone(), Type: kind, Node: p.Node}).Err == OK {
			done++
		}
	}
	return done
}

func (l *large) sick() (sick int) {
	_, parts, _ := l.Partitions("large", nil)
	for _, p := range parts {
		if p.Replicas() < 3 || !p.Primary.IsValid() {
			sick++
		}
	}
	return sick
}

// die has a node fall silent until the meta notices.
func (l *large) die(a peer.Addr) {
	l.State.nodes[a].heard = time.Time{}
	l.detect(l.ctx)
}

func TestThousandPartitionsAreCured(t *testing.T) {
	l := newLarge(t, 20, 1000, "")
	require.Zero(t, l.sick())
	lost := l.load.members[n(4)]
	l.die(n(4))
	l.obey()
	require.Equal(t, lost, l.sick(), "each lost one of its three")
	l.Command("meta.lb.assign_delay_ms", []string{"1"})
	time.Sleep(2 * time.Millisecond) // the assign delay
	for cycles := 0; l.sick() > 0; cycles++ {
		require.Less(t, cycles, 10)
		l.cycle(l.ctx)
		l.obey()
	}
	require.Zero(t, l.load.members[n(4)])
	least, most := 1<<30, 0
	for _, a := range l.liveNodes() {
		least, most = min(least, l.load.members[a]), max(most, l.load.members[a])
	}
	require.LessOrEqual(t, most-least, lost, "what it had is spread over the others")
	requireTally(t, l.State)
}

// requireTally counts everything from the beginning.
func requireTally(t *testing.T, s *State) {
	t.Helper()
	want := newTally()
	for _, tb := range s.tables {
		for _, p := range tb.parts {
			if tb.Status == Available {
				want.add(p.share(), 1)
			}
		}
	}
	zero := func(_ peer.Addr, n int) bool { return n == 0 }
	maps.DeleteFunc(s.load.primaries, zero)
	maps.DeleteFunc(s.load.members, zero)
	require.Equal(t, want.primaries, s.load.primaries)
	require.Equal(t, want.members, s.load.members)
}

func TestTallyHoldsThroughTheLifeOfTables(t *testing.T) {
	l := newLarge(t, 6, 30, "replica_assign_delay_ms_for_dropouts = 1")
	check := func(what string) {
		t.Log(what)
		requireTally(t, l.State)
	}
	require.NoError(t, l.Config.SetFaults("ddl_ms=0"))
	_, code := l.Create(l.ctx, CreateOptions{Name: "more", Partitions: 8, Replicas: 3, Type: "pegasus", Stateful: true})
	require.Equal(t, OK, code)
	for range 4 {
		l.cycle(l.ctx)
		check("a cycle")
		l.obey()
		check("its proposals")
	}
	require.Equal(t, OK, l.Propose(peer.GPID{App: 1}, []Action{{Node: l.nodes[5], Type: int32(peer.AddSecondary)}}, false))
	check("a proposal")
	l.Control(Steady)
	check("no proposal")
	require.Equal(t, OK, l.Drop(l.ctx, "more", false, time.Hour))
	check("dropped")
	_, code = l.Recall(l.ctx, 2, "")
	require.Equal(t, OK, code)
	check("recalled")
	l.die(l.nodes[2])
	check("a node dead")
	l.obey()
	l.cycle(l.ctx)
	check("its partitions on their way")
}

func BenchmarkGuardian(b *testing.B) {
	for _, size := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("partitions=%d/healthy", size), func(b *testing.B) {
			l := newLarge(b, 20, size, "")
			for b.Loop() {
				l.cycle(l.ctx)
			}
		})
		b.Run(fmt.Sprintf("partitions=%d/node dead", size), func(b *testing.B) {
			l := newLarge(b, 20, size, "replica_assign_delay_ms_for_dropouts = 1")
			l.die(n(4))
			l.obey()
			time.Sleep(2 * time.Millisecond)
			for b.Loop() {
				l.sent, l.to = nil, nil
				l.Control(Steady)
				l.cycle(l.ctx)
			}
			require.NotEmpty(b, l.sent)
		})
	}
}
