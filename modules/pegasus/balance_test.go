package pegasus

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules/pegasus/internal/fake"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

const quickBalance = `"settle": "50ms", "interval": "60ms", "checks": 3`

// crowd puts all primaries on as few nodes as possible.
func (b *bed) crowd() {
	b.locked(func() {
		b.Balances = true
		for _, t := range b.Tables {
			for i := range t.Partitions {
				p := &t.Partitions[i]
				members := append([]wire.Address{p.Primary}, p.Secondaries...)
				p.Primary, p.Secondaries = members[0], nil
				for _, a := range members {
					if a < p.Primary {
						p.Primary = a
					}
				}
				for _, n := range b.Nodes {
					delete(n.Replicas, p.PID)
				}
				for _, a := range members {
					if a != p.Primary {
						p.Secondaries = append(p.Secondaries, a)
					}
					for _, n := range b.Nodes {
						if n.Addr == a {
							n.Replicas[p.PID] = wire.ReplicaSecondary
						}
					}
				}
				for _, n := range b.Nodes {
					if n.Addr == p.Primary {
						n.Replicas[p.PID] = wire.ReplicaPrimary
					}
				}
			}
		}
	})
}

func TestBalanceEndsEvenAndSteady(t *testing.T) {
	b := newBed(t, 10)
	b.crowd()
	raw, changed, err := b.do(balanceModule(), `{"only_primaries": true, `+quickBalance+`}`)
	require.NoError(t, err)
	assert.True(t, changed)
	var out balanceOutput
	require.NoError(t, json.Unmarshal([]byte(raw), &out))
	for _, n := range out.Nodes {
		assert.InDelta(t, 2, n.Primaries, 1, n.Address)
	}
	b.locked(func() {
		assert.Equal(t, wire.LevelSteady, b.Level)
		assert.Equal(t, "false", b.Settings[settingOnlyPrimary])
	})
	_, changed, err = b.do(balanceModule(), `{"only_primaries": true, `+quickBalance+`}`)
	require.NoError(t, err)
	assert.False(t, changed, "what is even already is left alone")
}

func TestBalanceGoesOnUnderAnotherLeader(t *testing.T) {
	b := newBed(t, 20)
	b.crowd()
	time.AfterFunc(120*time.Millisecond, func() { b.Failover(fake.Meta(2)) })
	_, _, err := b.do(balanceModule(), `{`+quickBalance+`}`)
	require.NoError(t, err)
	b.locked(func() {
		assert.Equal(t, "move_pri=0", b.Operations()[:10])
		assert.Equal(t, wire.LevelSteady, b.Level)
	})
}

func TestBalanceStopsWhenANodeDies(t *testing.T) {
	b := newBed(t, 20)
	b.crowd()
	time.AfterFunc(100*time.Millisecond, func() { b.locked(func() { b.Nodes[1].Alive = false }) })
	_, _, err := b.do(balanceModule(), `{"timeout": "30s", `+quickBalance+`}`)
	require.ErrorContains(t, err, "is UNALIVE")
	b.locked(func() { assert.Equal(t, wire.LevelSteady, b.Level, "a balancer must not be left running") })
}

func TestBalanceCancelledPutsTheLevelBack(t *testing.T) {
	b := newBed(t, 20)
	b.crowd()
	p, err := b.propose(b.host, balanceModule(), `{`+quickBalance+`}`)
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { cancel(errors.New("interrupted")) })
	require.ErrorContains(t, p.Do(ctx, b.host), "interrupted")
	b.locked(func() { assert.Equal(t, wire.LevelSteady, b.Level) })
}
