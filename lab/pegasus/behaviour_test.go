package pegasus_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// fast is ten to fifty times production speed: quick, and slow enough that a
// busy machine does not miss a beacon.
const fast = "0.03"

func booted(t *testing.T, s shape) *cluster {
	c := boot(t, s)
	c.until("all partitions are healthy", c.healthy)
	return c
}

func TestBootsAndServes(t *testing.T) {
	c := booted(t, shape{block: 1, metas: 3, replicas: 5, scale: fast})
	for i := range 20 {
		require.NoError(t, c.put(i, "v"))
	}
	v, err := c.get(3)
	require.NoError(t, err)
	require.Equal(t, "v", v)
	require.Len(t, c.nodes(), 5)
	log, err := os.ReadFile(filepath.Join(c.leader().dir, "app/log/log.1.txt"))
	require.NoError(t, err)
	require.Contains(t, string(log), "got the primary lock")
	require.Contains(t, string(log), "start meta_service succeed")
	log, err = os.ReadFile(filepath.Join(c.replicas[0].dir, "app/log/log.1.txt"))
	require.NoError(t, err)
	require.Contains(t, string(log), "load replicas succeed, replica_count = 0")
	require.Contains(t, string(log), "=== service_node=[replica], primary_address=["+c.replicas[0].addr.String()+"] ===")
}

func TestLeaderChangeForgetsFlags(t *testing.T) {
	for _, end := range []struct {
		block int
		name  string
		how   func(*cluster, *server)
	}{
		{22, "SIGTERM", func(_ *cluster, s *server) { s.stop() }},
		{23, "kill -9", func(_ *cluster, s *server) { s.crash() }},
		{24, "sim.failover", func(c *cluster, s *server) { c.command(s, "sim.failover") }},
	} {
		t.Run(end.name, func(t *testing.T) {
			c := booted(t, shape{block: end.block, metas: 3, replicas: 3, scale: fast, mortal: true})
			old := c.leader()
			const flag = "meta.lb.assign_delay_ms"
			require.Equal(t, "OK", c.command(old, flag, "3600000"))
			require.Equal(t, "3600000", c.command(old, flag))
			end.how(c, old)
			var now *server
			c.until("another meta leads", func() bool { now = c.leader(); return now != old })
			require.Equal(t, "600000", c.command(now, flag))
			for _, m := range c.metas {
				if m != now && m != old {
					require.Equal(t, "unknown command '"+flag+"'", c.command(m, flag))
				}
			}
			c.until("partitions are as before", c.healthy)
			c.until("writes go on", func() bool { return c.put(1, "after") == nil })
		})
	}
}

// move proposes move_pri for every partition whose primary is on s.
func (c *cluster) move(s *server) {
	from := wire.AddressOf(s.addr)
	for _, t := range tables() {
		for _, p := range c.config(t).Partitions {
			if p.Primary != from {
				continue
			}
			to := p.Secondaries[int(p.PID.Index)%len(p.Secondaries)]
			c.propose(p.PID, action(from, from, wire.DowngradeToSecondary), action(to, to, wire.UpgradeToPrimary))
		}
	}
}

// primariesMoved tells whether s has no primary, and every partition has one: a
// move in the middle takes no proposal.
func (c *cluster) primariesMoved(s *server) bool {
	p, _ := c.counts(s)
	return p == 0 && c.healthy()
}

// downgrade proposes that every secondary on s becomes inactive.
func (c *cluster) downgrade(s *server) {
	node := wire.AddressOf(s.addr)
	for _, t := range tables() {
		for _, p := range c.config(t).Partitions {
			for _, x := range p.Secondaries {
				if x == node {
					require.Equal(c.t, wire.OK, c.propose(p.PID, action(p.Primary, node, wire.DowngradeToInactive)))
				}
			}
		}
	}
}

func action(target, node wire.Address, kind wire.ConfigType) wire.ProposalAction {
	return wire.ProposalAction{Target: wire.Node{Address: target}, Node: wire.Node{Address: node}, Type: kind}
}

func (c *cluster) propose(pid wire.GPID, actions ...wire.ProposalAction) wire.ErrorCode {
	c.t.Helper()
	var r wire.ProposeResponse
	require.NoError(c.t, ask(c.leader().addr, &wire.ProposeRequest{PID: pid, Actions: actions}, &r))
	return r.Err
}

const addMax = "meta.lb.add_secondary_max_count_for_one_node"

// drain is the documented preparation of a restart.
func (c *cluster) drain(s *server) {
	lead := c.leader()
	require.Equal(c.t, "OK", c.command(lead, "meta.lb.assign_delay_ms", "3600000"))
	require.Equal(c.t, "OK", c.command(lead, addMax, "0"))
	c.move(s)
	c.until("no primaries on "+s.name, func() bool { return c.primariesMoved(s) })
	c.downgrade(s)
	c.until("no replicas on "+s.name, func() bool { p, q := c.counts(s); return p+q == 0 })
}

func (c *cluster) liveCount(s *server, which string) string {
	return httpGet(c.t, s.addr, "/perfCounter?name=replica*eon.replica_stub*"+which+"replica(Count)")
}

func TestDrainedRestartFailsNoWrite(t *testing.T) {
	c := booted(t, shape{block: 3, metas: 3, replicas: 5, scale: fast})
	s := c.replicas[2]
	stop := c.writeAllTheTime()
	c.drain(s)
	require.Contains(t, c.liveCount(s, ""), `"value":"`, "inactive replicas are still open")
	require.NotContains(t, c.liveCount(s, ""), `"value":"0.00"`)
	require.Equal(t, "ERR_OK", c.command(s, "replica.kill_partition"))
	require.Contains(t, c.liveCount(s, ""), `"value":"0.00"`)
	c.until("replicas are closed", func() bool { return strings.Contains(c.liveCount(s, "closing."), `"value":"0.00"`) })
	s.stop()
	require.Equal(t, 0, s.code)
	require.Contains(t, s.out.String(), "got signal id: 15\ndsn exit with code 0\n")
	s.start()
	c.until("the node answers", func() bool {
		var r wire.CommandResponse
		return ask(s.addr, &wire.CommandRequest{Command: "server-info"}, &r) == nil
	})
	require.Equal(t, "OK", c.command(c.leader(), addMax, "100"))
	c.until("all partitions are healthy", c.healthy)
	p, q := c.counts(s)
	require.Zero(t, p)
	require.NotZero(t, q, "the node got its secondaries back")
	writes, failures := stop()
	require.NotZero(t, writes)
	require.Empty(t, failures)
}

// moved is what a server answers, or does not, when its partition has moved; a
// client then asks the meta again. Any other answer is a write that failed.
func moved(err error) bool {
	return errors.Is(err, errNoPrimary) || err.Error() == "ERR_INVALID_STATE" || err.Error() == "ERR_OBJECT_NOT_FOUND"
}

// writeAllTheTime writes until the function it returns is called, refreshing
// its view of the cluster before each write as a client does on errors.
func (c *cluster) writeAllTheTime() func() (writes int, failures []string) {
	quit, done := make(chan struct{}), make(chan struct{})
	var n int
	var failed []string
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-quit:
				return
			case <-time.After(5 * time.Millisecond):
			}
			n++
			err := c.put(i%64, fmt.Sprint(i))
			for end := time.Now().Add(time.Minute); err != nil && moved(err) && time.Now().Before(end); {
				time.Sleep(5 * time.Millisecond)
				err = c.put(i%64, fmt.Sprint(i))
			}
			if err != nil {
				failed = append(failed, err.Error())
			}
		}
	}()
	return func() (int, []string) {
		close(quit)
		<-done
		return n, failed
	}
}

func TestUndrainedKillFailsWrites(t *testing.T) {
	c := booted(t, shape{block: 4, metas: 3, replicas: 5, scale: "0.05", mortal: true})
	s := c.replicas[0]
	stop := c.writeAllTheTime()
	s.crash()
	c.until("the node is UNALIVE", func() bool { return c.nodes()[s.addr.String()] == wire.NodeUnalive })
	c.until("every partition has a primary elsewhere", func() bool {
		for _, table := range tables() {
			for _, p := range c.config(table).Partitions {
				if p.Primary == 0 || p.Primary == wire.AddressOf(s.addr) {
					return false
				}
			}
		}
		return true
	})
	_, failures := stop()
	require.NotEmpty(t, failures, "clients must notice")
	require.NoError(t, c.put(1, "again"))
	p, _ := c.counts(s)
	require.Zero(t, p)
	s.start()
	c.until("all partitions are healthy", c.healthy)
}

func TestWithoutFlowControlDrainNeverEnds(t *testing.T) {
	c := booted(t, shape{block: 5, metas: 1, replicas: 5, scale: fast, edit: func(s string) string {
		return strings.Replace(s, "add_secondary_enable_flow_control = true\n", "", 1)
	}})
	s := c.replicas[1]
	lead := c.leader()
	require.Equal(t, "false", c.command(lead, "meta.lb.add_secondary_enable_flow_control"))
	require.Equal(t, "OK", c.command(lead, addMax, "0"))
	c.move(s)
	c.until("no primaries", func() bool { return c.primariesMoved(s) })
	node, ballots, back := wire.AddressOf(s.addr), map[wire.GPID]int64{}, map[wire.GPID]bool{}
	look := func(f func(p wire.PartitionConfig)) {
		for _, table := range tables() {
			for _, p := range c.config(table).Partitions {
				if slices.Contains(p.Secondaries, node) {
					f(p)
				}
			}
		}
	}
	look(func(p wire.PartitionConfig) { ballots[p.PID] = p.Ballot })
	require.NotEmpty(t, ballots)
	c.downgrade(s)
	c.until("every replica that left came back", func() bool {
		look(func(p wire.PartitionConfig) { back[p.PID] = back[p.PID] || p.Ballot >= ballots[p.PID]+2 })
		return len(back) == len(ballots) && !slices.Contains(slices.Collect(maps.Values(back)), false)
	})
}

func TestThreeNodesFreeze(t *testing.T) {
	c := booted(t, shape{block: 6, metas: 1, replicas: 3, scale: fast, mortal: true})
	s := c.replicas[0]
	s.crash()
	c.until("the level is freezed", func() bool { return c.info("meta_function_level") == "freezed" })
	var control wire.ControlMetaResponse
	require.NoError(t, ask(c.leader().addr, &wire.ControlMetaRequest{Level: wire.LevelQuery}, &control))
	require.Equal(t, wire.LevelSteady, control.OldLevel, "the stored level is steady")
	var create wire.CreateAppResponse
	require.NoError(t, ask(c.leader().addr, &wire.CreateAppRequest{AppName: "t",
		Options: wire.CreateAppOptions{PartitionCount: 4, ReplicaCount: 3, Type: "pegasus", Stateful: true}}, &create))
	require.Equal(t, wire.StateFreezed, create.Err)
	time.Sleep(time.Second) // three cycles in which nothing may happen
	lost := 0
	for _, table := range tables() {
		for _, p := range c.config(table).Partitions {
			if p.Primary == 0 {
				lost++
			}
		}
	}
	require.NotZero(t, lost, "nobody took over the primaries")
	require.JSONEq(t, `{"update_status":"ERR_OK"}`, httpGet(t, c.leader().addr, "/updateConfig?min_live_node_count_for_unfreeze=2"))
	c.until("the primaries are taken over", func() bool { return c.put(0, "x") == nil && c.info("meta_function_level") == "steady" })
}

func (c *cluster) info(key string) string {
	var r wire.ClusterInfoResponse
	if err := ask(c.leader().addr, &wire.ClusterInfoRequest{}, &r); err != nil {
		return err.Error()
	}
	v, _ := r.Value(key)
	return v
}

func TestRestartWithinGraceKeepsDataAndConfig(t *testing.T) {
	c := booted(t, shape{block: 7, metas: 1, replicas: 3, scale: fast})
	for i := range 10 {
		require.NoError(t, c.put(i, fmt.Sprint("value", i)))
	}
	for _, s := range c.replicas {
		s.stop()
	}
	for _, s := range c.replicas {
		s.start()
	}
	c.until("all partitions serve again", func() bool {
		for i := range 10 {
			if c.put(100+i, "x") != nil {
				return false
			}
		}
		return true
	})
	for i := range 10 {
		v, err := c.get(i)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("value", i), v)
	}
	c.until("all partitions are healthy", c.healthy)
}

func TestNodeThatRestartsTooOftenIsIgnored(t *testing.T) {
	c := booted(t, shape{block: 8, metas: 1, replicas: 4, scale: fast, mortal: true})
	s := c.replicas[3]
	for range 5 {
		s.crash()
		s.start()
		c.until("loaded", func() bool {
			var r wire.CommandResponse
			return ask(s.addr, &wire.CommandRequest{Command: "server-info"}, &r) == nil
		})
		time.Sleep(200 * time.Millisecond) // a beacon
	}
	c.until("the node is UNALIVE though it runs", func() bool { return c.nodes()[s.addr.String()] == wire.NodeUnalive })
}

func TestMisbehaviour(t *testing.T) {
	c := booted(t, shape{block: 9, metas: 2, replicas: 4, scale: fast})
	s := c.replicas[0]

	require.Equal(t, "OK", c.command(s, "sim.fault", "closing_never_ends"))
	require.Equal(t, "ERR_OK", c.command(s, "replica.kill_partition"))
	time.Sleep(500 * time.Millisecond)
	require.NotContains(t, c.liveCount(s, "closing."), `"value":"0.00"`)
	require.Equal(t, "OK", c.command(s, "sim.fault", "closing_never_ends=false"))
	c.until("healthy again", c.healthy)

	pid := c.config("temp").Partitions[0]
	primary := c.at(pid.Primary)
	require.Equal(t, "OK", c.command(primary, "sim.fault", "stuck_partitions=2.0"))
	require.Equal(t, wire.OK, c.propose(pid.PID, action(pid.Primary, pid.Secondaries[0], wire.DowngradeToInactive)))
	require.Equal(t, wire.InvalidParameters, c.propose(pid.PID, action(pid.Primary, pid.Secondaries[0], wire.DowngradeToInactive)), "one is pending")
	time.Sleep(time.Second)
	require.Len(t, c.config("temp").Partitions[0].Secondaries, 2)

	require.Equal(t, "OK", c.command(primary, "sim.fault", "hung"))
	var r wire.CommandResponse
	require.ErrorIs(t, askBriefly(primary.addr, &wire.CommandRequest{Command: "server-info"}, &r), errNoAnswer)
}

func TestServerWithoutHeartbeatsIsGivenUp(t *testing.T) {
	c := booted(t, shape{net: 23, block: 7, metas: 2, replicas: 4, scale: fast, mortal: true})
	s := c.replicas[0]
	require.Equal(t, "OK", c.command(s, "sim.fault", "lose_heartbeats=true"))
	c.until("UNALIVE", func() bool { return c.nodes()[s.addr.String()] == wire.NodeUnalive })
	require.Equal(t, "OK", c.command(s, "sim.fault", "clear"))
	c.until("healthy again", c.healthy)
}

func (c *cluster) at(a wire.Address) *server {
	for _, s := range c.all {
		if s.addr.String() == a.String() {
			return s
		}
	}
	c.t.Fatalf("no server at %s", a)
	return nil
}

func TestRecallOfATableThatWasNeverHealthyKillsReplicas(t *testing.T) {
	c := booted(t, shape{block: 10, metas: 1, replicas: 4, scale: "0.1"})
	lead := c.leader().addr
	var create wire.CreateAppResponse
	require.NoError(t, ask(lead, &wire.CreateAppRequest{AppName: "young",
		Options: wire.CreateAppOptions{PartitionCount: 8, ReplicaCount: 3, Type: "pegasus", Stateful: true}}, &create))
	require.Equal(t, wire.OK, create.Err)
	var drop wire.DropAppResponse
	require.NoError(t, ask(lead, &wire.DropAppRequest{AppName: "young"}, &drop))
	require.Equal(t, wire.OK, drop.Err)
	var recall wire.RecallAppResponse
	require.NoError(t, ask(lead, &wire.RecallAppRequest{AppID: create.AppID}, &recall))
	require.Equal(t, wire.OK, recall.Err)
	c.until("replica servers aborted", func() bool {
		n := 0
		for _, s := range c.replicas {
			if strings.Contains(s.out.String(), "HAZARD") {
				n++
			}
		}
		return n > 0
	})
}

func TestDropAndRecallOfAHealthyTableKeepsData(t *testing.T) {
	c := booted(t, shape{block: 11, metas: 1, replicas: 4, scale: fast})
	require.NoError(t, c.put(5, "kept"))
	lead := c.leader().addr
	var drop wire.DropAppResponse
	require.NoError(t, ask(lead, &wire.DropAppRequest{AppName: "temp"}, &drop))
	require.Equal(t, wire.OK, drop.Err)
	require.Equal(t, wire.ObjectNotFound, c.config("temp").Err)
	var recall wire.RecallAppResponse
	require.NoError(t, ask(lead, &wire.RecallAppRequest{AppID: 2}, &recall))
	require.Equal(t, wire.OK, recall.Err)
	c.until("all partitions are healthy", c.healthy)
	v, err := c.get(5)
	require.NoError(t, err)
	require.Equal(t, "kept", v)
}

func TestHazardsKillTheServer(t *testing.T) {
	c := booted(t, shape{block: 12, metas: 3, replicas: 3, scale: fast})
	var standbys []*server
	for _, m := range c.metas {
		if m != c.leader() {
			standbys = append(standbys, m)
		}
	}
	conn, err := net.Dial("tcp", standbys[0].addr.String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /meta/cluster HTTP/1.1\r\n\r\n")
	require.NoError(t, err)
	raw, _ := io.ReadAll(conn)
	require.Empty(t, raw)
	<-standbys[0].done
	require.Equal(t, 134, standbys[0].code)
	require.Contains(t, standbys[0].out.String(), "HAZARD: ")

	key := pegasusKey(t, 1)
	frame, err := wire.EncodeData(1, time.Second, wire.Table{ID: 2, PartitionCount: 8}, &wire.GetRequest{Key: key})
	require.NoError(t, err)
	require.Error(t, exchange(standbys[1].addr, frame, &wire.GetResponse{}))
	<-standbys[1].done
	require.Equal(t, 134, standbys[1].code)
	require.True(t, c.healthy(), "the leader is not affected")
}

// httpGet is the body of an answer.
func httpGet(t *testing.T, to netip.AddrPort, path string) string {
	t.Helper()
	conn, err := net.Dial("tcp", to.String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	raw, err := io.ReadAll(conn)
	require.NoError(t, err)
	_, body, ok := strings.Cut(string(raw), "\r\n\r\n")
	require.True(t, ok, "%q", raw)
	return body
}

func TestWholeClusterDownForLongComesBackWithItsData(t *testing.T) {
	c := booted(t, shape{block: 13, metas: 2, replicas: 3, scale: fast, mortal: true})
	for i := range 10 {
		c.until("a write", func() bool { return c.put(i, fmt.Sprint("value", i)) == nil })
	}
	for _, s := range c.replicas {
		s.crash()
	}
	// Until then the meta may take the servers that come back for the ones that left.
	c.until("all are UNALIVE and lead nothing", c.lost)
	for _, s := range c.replicas {
		s.start()
	}
	c.until("all partitions are healthy", c.healthy)
	for i := range 10 {
		var v string
		c.until("a read", func() bool {
			var err error
			v, err = c.get(i)
			return err == nil
		})
		require.Equal(t, fmt.Sprint("value", i), v)
	}
}

// lost tells whether the leader has given up every server, and its primaries. A
// meta that has just lost the lead lists no servers, which tells nothing.
func (c *cluster) lost() bool {
	nodes := c.nodes()
	for _, status := range nodes {
		if status == wire.NodeAlive {
			return false
		}
	}
	for _, t := range tables() {
		r := c.config(t)
		if len(r.Partitions) == 0 {
			return false
		}
		for _, p := range r.Partitions {
			if p.Primary != 0 {
				return false
			}
		}
	}
	return len(nodes) == len(c.replicas)
}

func TestLivelyBalancesPrimaries(t *testing.T) {
	c := booted(t, shape{block: 14, metas: 1, replicas: 3, scale: fast})
	s := c.replicas[0]
	c.move(s)
	c.until("no primaries", func() bool { return c.primariesMoved(s) })
	require.Contains(t, c.command(c.leader(), "meta.lb.get_balance_operation_count"), "total=")
	time.Sleep(time.Second)
	p, _ := c.counts(s)
	require.Zero(t, p, "steady moves nothing")
	var r wire.ControlMetaResponse
	require.NoError(t, ask(c.leader().addr, &wire.ControlMetaRequest{Level: wire.LevelLively}, &r))
	c.until("primaries are spread", func() bool { p, _ := c.counts(s); return p >= 3 })
	c.until("healthy", c.healthy)
}

func TestRebuildNeedsBothDisksAndZooKeeperCleaned(t *testing.T) {
	c := booted(t, shape{block: 15, metas: 1, replicas: 3, scale: fast})
	c.until("a write", func() bool { return c.put(1, "x") == nil })
	for _, s := range c.replicas {
		s.crash()
		require.NoError(t, os.RemoveAll(filepath.Join(s.dir, "ssd1")))
		require.NoError(t, os.RemoveAll(filepath.Join(s.dir, "ssd2")))
		s.start()
	}
	c.until("all nodes are back", func() bool {
		alive := 0
		for _, status := range c.nodes() {
			if status == wire.NodeAlive {
				alive++
			}
		}
		return alive == 3
	})
	time.Sleep(2 * time.Second)
	require.False(t, c.healthy(), "the tables are there, their data is not")
	require.Error(t, c.put(1, "y"))
}
