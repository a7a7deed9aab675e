package pegasus_test

import (
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// patience is how long a client of a real cluster waits for the meta.
const patience = 5 * time.Second

// sick counts the partitions of a table that are not whole, and tells how long
// the leader took to answer.
func (c *cluster) sick(table string, want int) (sick int, took time.Duration) {
	c.t.Helper()
	began := time.Now()
	var r wire.QueryConfigResponse
	for {
		err := exchangeWithin(patience, c.metas[0].addr, wire.EncodeAdmin(7, patience, &wire.QueryConfigRequest{AppName: table}), &r)
		if err == nil && r.Err == wire.OK && len(r.Partitions) == want {
			break
		}
		require.Less(c.t, time.Since(began), patience, "the meta answers nothing: %v, %v", err, r.Err)
		time.Sleep(20 * time.Millisecond) // the table is on its way
	}
	for _, p := range r.Partitions {
		if p.Primary == 0 || len(p.Secondaries) != 2 {
			sick++
		}
	}
	return sick, time.Since(began)
}

// makeLarge makes a table and waits until it is whole.
func (c *cluster) makeLarge(partitions int) {
	c.t.Helper()
	c.until("nodes are there", func() bool { return len(c.nodes()) == len(c.replicas) })
	c.command(c.leader(), "meta.lb.add_secondary_max_count_for_one_node", "1000")
	began := time.Now()
	var made wire.CreateAppResponse
	require.NoError(c.t, exchangeWithin(time.Minute, c.leader().addr, wire.EncodeAdmin(7, time.Minute, &wire.CreateAppRequest{AppName: "large",
		Options: wire.CreateAppOptions{PartitionCount: int32(partitions), ReplicaCount: 3, Type: "pegasus", Stateful: true}}), &made))
	require.Equal(c.t, wire.OK, made.Err)
	for left := partitions; left > 0; time.Sleep(50 * time.Millisecond) {
		require.Less(c.t, time.Since(began), 3*time.Minute, "%d partitions are left", left)
		left, _ = c.sick("large", partitions)
	}
	c.t.Logf("%d partitions on %d nodes are whole after %s", partitions, len(c.replicas), time.Since(began).Round(10*time.Millisecond))
}

func TestLargeClusterLosesANode(t *testing.T) {
	const partitions = 200 // what the guardian does with 1,000 is tested beside it
	c := boot(t, shape{net: 23, block: 1, metas: 1, replicas: 20, scale: "0.1", mortal: true})
	c.makeLarge(partitions)
	c.loseNode(partitions)
}

// loseNode kills a server of a cluster with the table large, and asks the meta
// all the time until the partitions are whole without it.
func (c *cluster) loseNode(partitions int) {
	t := c.t
	c.command(c.leader(), "meta.lb.assign_delay_ms", "1")
	c.replicas[3].crash()
	began, worst, asked, fell := time.Now(), time.Duration(0), 0, 0
	for left := 0; left > 0 || fell == 0; asked++ {
		require.Less(t, time.Since(began), 2*time.Minute, "%d partitions are left", left)
		var took time.Duration
		left, took = c.sick("large", partitions)
		worst, fell = max(worst, took), max(fell, left)
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("%d partitions were hurt and are whole after %s; %d questions meanwhile, the slowest answered in %s",
		fell, time.Since(began).Round(10*time.Millisecond), asked, worst.Round(time.Millisecond))
	for _, p := range c.config("large").Partitions {
		require.NotEqual(t, wire.AddressOf(c.replicas[3].addr), p.Primary)
		require.NotContains(t, p.Secondaries, wire.AddressOf(c.replicas[3].addr))
	}
}

// TestThousandPartitionsOnTwentyNodes prints what a large cluster takes at idle
// in the lab's time, ten times production's. It is for people:
// PEGASUS_SIM_SIZE=1 go test -run Thousand ./lab/pegasus -v
func TestThousandPartitionsOnTwentyNodes(t *testing.T) {
	if os.Getenv("PEGASUS_SIM_SIZE") == "" {
		t.Skip("a measurement: PEGASUS_SIM_SIZE=1 runs it")
	}
	c := boot(t, shape{net: 23, block: 4, metas: 1, replicas: 20, scale: "0.1", mortal: true})
	c.makeLarge(1000)
	defer c.loseNode(1000)
	before := used(t)
	time.Sleep(15 * time.Second)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("idle: %.2f cores, %d MB for 21 servers in one process", (used(t)-before).Seconds()/15, m.Sys>>20)
}

func used(t testing.TB) time.Duration {
	var r syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
