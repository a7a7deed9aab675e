package pegasus_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// tell writes the control file of a server, nothing taking it away.
func (s *server) tell(settings string) {
	path := filepath.Join(s.dir, "app/faults")
	if settings == "" {
		require.NoError(s.c.t, os.Remove(path))
		return
	}
	require.NoError(s.c.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(s.c.t, os.WriteFile(path, []byte(settings), 0o644))
}

func TestControlFileChangesTheLeader(t *testing.T) {
	c := booted(t, shape{net: 20, block: 1, metas: 3, replicas: 3, scale: fast})
	old := c.leader()
	old.tell("resign")
	c.until("another leads", func() bool { return c.leader() != old })
	c.leader().tell("resign")
	c.until("the third leads", func() bool { return c.leader() != old })
	require.Contains(t, c.command(old, "sim.fault"), "resign=true")
	old.tell("")
	c.until("the first may lead again", func() bool { return c.command(old, "sim.fault") == "" })
	require.True(t, c.healthy())
}

func TestHungServerAnswersOnlyTheSimulator(t *testing.T) {
	c := booted(t, shape{net: 20, block: 2, metas: 3, replicas: 3, scale: fast})
	m := c.metas[0]
	m.tell("hung")
	c.until("it answers nothing", func() bool {
		var r wire.ClusterInfoResponse
		return askBriefly(m.addr, &wire.ClusterInfoRequest{}, &r) != nil
	})
	require.Equal(t, "hung=true", c.command(m, "sim.fault"))
	m.tell("")
	c.until("it answers", func() bool {
		var r wire.ClusterInfoResponse
		return ask(m.addr, &wire.ClusterInfoRequest{}, &r) == nil
	})
}

func TestPartitionsStayAtTwoCopies(t *testing.T) {
	c := booted(t, shape{net: 20, block: 3, metas: 1, replicas: 5, scale: fast})
	count := func() int { return 1 + len(c.config("temp").Partitions[3].Secondaries) }
	for _, fault := range []struct {
		setting string
		servers []*server
	}{{"two_copies=2.3", c.metas}, {"learning_fails=2.3", c.replicas}} {
		for _, s := range fault.servers {
			s.tell(fault.setting)
		}
		c.until("it is known", func() bool { return c.command(fault.servers[0], "sim.fault") != "" })
		c.downgrade(c.at(c.config("temp").Partitions[3].Secondaries[0]))
		c.until("two copies", func() bool { return count() == 2 })
		c.until("all others are healthy", func() bool {
			for _, name := range tables() {
				for _, p := range c.config(name).Partitions {
					if len(p.Secondaries) != 2 && (name != "temp" || p.PID.Index != 3) {
						return false
					}
				}
			}
			return true
		})
		require.Equal(t, 2, count(), fault.setting)
		for _, s := range fault.servers {
			s.tell("")
		}
		c.until("healthy: "+fault.setting, c.healthy)
	}
}

func TestFullDiskMovesPrimariesAway(t *testing.T) {
	c := booted(t, shape{net: 20, block: 4, metas: 1, replicas: 5, scale: fast})
	s := c.at(c.config("temp").Partitions[0].Primary)
	s.tell("disk_full")
	c.until("it is known", func() bool { return c.command(s, "sim.fault") != "" })
	c.until("writes go on elsewhere", func() bool {
		for i := range 32 {
			if c.put(i, "v") != nil {
				return false
			}
		}
		return c.config("temp").Partitions[0].Primary != wire.AddressOf(s.addr)
	})
	s.tell("")
	c.until("healthy", c.healthy)
}

func TestServerThatDoesNotComeUp(t *testing.T) {
	c := booted(t, shape{net: 20, block: 5, metas: 1, replicas: 3, scale: fast, mortal: true})
	s := c.replicas[0]
	s.stop()
	s.tell("crash_at_start")
	s.start()
	<-s.done
	require.Equal(t, 134, s.code)
	require.Contains(t, s.out.String(), "crash_at_start")
	s.tell("load_ms = 60000")
	s.start()
	c.until("it is UNALIVE while it loads", func() bool { return c.nodes()[s.addr.String()] == wire.NodeUnalive })
	c.until("it serves", c.healthy)
}
