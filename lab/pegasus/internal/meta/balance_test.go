package meta

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// shares are the primaries and all members of each live node.
func (l *large) shares() (primaries, members map[peer.Addr]int) {
	primaries, members = map[peer.Addr]int{}, map[peer.Addr]int{}
	for _, a := range l.liveNodes() {
		primaries[a], members[a] = l.load.primaries[a], l.load.members[a]
	}
	return primaries, members
}

func spread(counts map[peer.Addr]int) int {
	least, most := 1<<30, 0
	for _, n := range counts {
		least, most = min(least, n), max(most, n)
	}
	return most - least
}

// rounds lets the balancer work until it finds nothing more to do.
func (l *large) rounds(t *testing.T) (copies, moves int) {
	for quiet, n := 0, 0; quiet < 3; n++ {
		require.Less(t, n, 500, "it never ends: %s", l.operations("detail"))
		l.cycle(l.ctx)
		for _, p := range l.sent {
			if p.Type == peer.AddSecondaryForLB {
				copies++
			} else if p.Type == peer.DowngradeToSecondary {
				moves++
			}
		}
		quiet++
		if len(l.sent) > 0 || l.moves.total() > 0 {
			quiet = 0
		}
		l.obey()
		l.report()
	}
	return copies, moves
}

func TestBalancerFillsANewNode(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(l *large)
		check func(t *testing.T, l *large, copies int)
	}{
		{"with copies of primaries and secondaries", func(*large) {}, func(t *testing.T, l *large, copies int) {
			primaries, members := l.shares()
			require.LessOrEqual(t, spread(primaries), 1, primaries)
			require.LessOrEqual(t, spread(members), 1, members)
			require.GreaterOrEqual(t, copies, members[n(6)])
		}},
		{"secondaries are copied also when primaries may only be moved", func(l *large) { l.Command("meta.lb.only_move_primary", []string{"true"}) },
			func(t *testing.T, l *large, copies int) {
				primaries, members := l.shares()
				require.LessOrEqual(t, spread(primaries), 1, primaries)
				require.LessOrEqual(t, spread(members), 1, members)
				require.Positive(t, copies)
			}},
		{"primaries alone", func(l *large) { l.Command("meta.lb.only_primary_balancer", []string{"true"}) }, func(t *testing.T, l *large, copies int) {
			primaries, members := l.shares()
			require.LessOrEqual(t, spread(primaries), 1, primaries)
			require.Equal(t, copies, members[n(6)])
			require.Equal(t, members[n(6)], primaries[n(6)], "it has nothing but primaries")
		}},
		{"primaries alone, by moves: nothing to do", func(l *large) {
			l.Command("meta.lb.only_primary_balancer", []string{"true"})
			l.Command("meta.lb.only_move_primary", []string{"true"})
		}, func(t *testing.T, l *large, copies int) {
			require.Zero(t, copies)
			require.Zero(t, l.load.members[n(6)])
		}},
		{"not at steady", func(l *large) { l.Control(Steady) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLarge(t, 5, 25, "")
			l.Control(Lively)
			c.setup(l)
			l.cycle(l.ctx)
			require.Equal(t, "total=0", l.operations("total"), "it is even")
			require.True(t, l.Beacon(peer.Beacon{From: n(6), Start: 1}))
			l.report()
			if c.check == nil {
				l.cycle(l.ctx)
				require.Empty(t, l.sent)
				require.Equal(t, "copy_pri=4", l.operations("copy_pri"), "it knows")
				require.NotEqual(t, "copy_sec=0", l.operations("copy_sec"))
				return
			}
			copies, _ := l.rounds(t)
			c.check(t, l, copies)
			require.Zero(t, l.sick())
		})
	}
}

func TestBalancerMovesPrimariesWithoutCopying(t *testing.T) {
	l := newLarge(t, 5, 25, "")
	for i := range int32(25) { // node 1 gives all its primaries away
		_, p := l.find(peer.GPID{App: 1, Pidx: i})
		if p.Primary == n(1) {
			next := changed(p.Config, peer.DowngradeToSecondary, n(1))
			p.Config = changed(next, peer.UpgradeToPrimary, p.Secondaries[0])
			l.weigh(p)
		}
	}
	l.Control(Lively)
	copies, moves := l.rounds(t)
	require.Zero(t, copies)
	require.GreaterOrEqual(t, moves, 5)
	primaries, _ := l.shares()
	require.Zero(t, spread(primaries), primaries)
}

func TestBalancerFindsNothingUntilItIsInformed(t *testing.T) {
	l := newLarge(t, 5, 25, "")
	require.True(t, l.Beacon(peer.Beacon{From: n(6), Start: 1}))
	l.cycle(l.ctx)
	require.NotEqual(t, "total=0", l.operations("total"))
	l.State.nodes[n(2)].stored = nil
	l.cycle(l.ctx)
	require.Equal(t, "total=0", l.operations("total"), "a zero that says nothing")
	l.report()
	l.die(n(3))
	l.Control(Lively)
	l.cycle(l.ctx)
	require.Equal(t, "total=0", l.operations("total"), "the last count stays while not all is well")
}

func TestDeadNodesAreForgottenWithTheirLeader(t *testing.T) {
	l := newLarge(t, 5, 25, "")
	l.die(n(2))
	l.obey()
	l.Command("meta.lb.assign_delay_ms", []string{"1"})
	for range 3 {
		time.Sleep(2 * time.Millisecond) // the assign delay
		l.cycle(l.ctx)
		l.obey()
	}
	require.Zero(t, l.sick())
	require.Contains(t, l.Nodes(), Node{n(2), false}, "listed as long as this meta leads")
	next, err := Open(t.Context(), l.Options)
	require.NoError(t, err)
	require.Len(t, next.Nodes(), 4)
}
