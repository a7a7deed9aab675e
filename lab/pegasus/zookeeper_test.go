package pegasus_test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// gate stands before ZooKeeper. Closed it is what a quorum is that elects: it
// ends all connections, and whoever comes is sent away.
type gate struct {
	mu     sync.Mutex // guards all below
	closed bool
	away   int // connections that were turned away
	open   map[net.Conn]bool
}

func newGate(t *testing.T) (*gate, func(to string) string) {
	g := &gate{open: map[net.Conn]bool{}}
	return g, func(to string) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { l.Close(); g.shut(true) })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go g.pass(c, to)
			}
		}()
		return l.Addr().String()
	}
}

func (g *gate) pass(c net.Conn, to string) {
	s, err := net.Dial("tcp", to)
	if err != nil || !g.admit(c, s) {
		c.Close()
		return
	}
	go func() { _, _ = io.Copy(s, c); s.Close() }()
	_, _ = io.Copy(c, s)
	c.Close()
}

func (g *gate) admit(both ...net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		g.away++
	}
	for _, c := range both {
		if g.closed {
			c.Close()
		} else {
			g.open[c] = true
		}
	}
	return !g.closed
}

func (g *gate) shut(closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed, g.away = closed, 0
	for c := range g.open {
		c.Close()
	}
	clear(g.open)
}

// While ZooKeeper elects, sessions live on, and so do those who lead by them:
// flags, which die with a leadership, stay.
func TestLeaderOutlivesAnElectionOfZooKeeper(t *testing.T) {
	g, via := newGate(t)
	c := booted(t, shape{net: 24, block: 1, metas: 3, replicas: 3, scale: fast, via: via})
	old := c.leader()
	const flag = "meta.lb.assign_delay_ms"
	require.Equal(t, "OK", c.command(old, flag, "3600000"))
	stop := c.writeAllTheTime()
	p := c.config("temp").Partitions[0]
	g.shut(true)
	require.Equal(t, wire.OK, c.propose(p.PID, action(p.Primary, p.Primary, wire.DowngradeToSecondary), action(p.Secondaries[0], p.Secondaries[0], wire.UpgradeToPrimary)))
	time.Sleep(1500 * time.Millisecond)
	require.Equal(t, p.Primary, c.config("temp").Partitions[0].Primary, "nothing can be recorded")
	g.mu.Lock()
	away := g.away
	g.mu.Unlock()
	require.Greater(t, away, 15, "who tries once a second leaves a partition without a primary for that long after the election")
	g.shut(false)
	c.until("the move is done", func() bool { return c.config("temp").Partitions[0].Primary == p.Secondaries[0] && c.healthy() })
	require.Equal(t, old, c.leader())
	require.Equal(t, "3600000", c.command(old, flag))
	_, failures := stop()
	require.Empty(t, failures)
	for range 3 { // each time the standbys have to find their own lock nodes again
		g.shut(true)
		time.Sleep(200 * time.Millisecond)
		g.shut(false)
		c.until("ZooKeeper is written to", func() bool { // it keeps tables' settings
			var r wire.UpdateAppEnvResponse
			return ask(old.addr, &wire.UpdateAppEnvRequest{AppName: "stat", Op: wire.EnvSet, Keys: []string{"default_ttl"}, Values: []string{"1"}}, &r) == nil && r.Err == wire.OK
		})
	}
	old.stop()
	c.until("another leads: there is no lock node that nobody answers for", func() bool { return c.leader() != old })
}
