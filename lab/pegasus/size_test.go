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

// TestThousandPartitionsOnTwentyNodes prints what a large cluster takes at idle
// in the lab's time, ten times production's. It is for people:
// PEGASUS_SIM_SIZE=1 go test -run Thousand ./lab/pegasus -v
func TestThousandPartitionsOnTwentyNodes(t *testing.T) {
	if os.Getenv("PEGASUS_SIM_SIZE") == "" {
		t.Skip("a measurement: PEGASUS_SIM_SIZE=1 runs it")
	}
	c := boot(t, shape{net: 23, block: 1, metas: 3, replicas: 20, scale: "0.1"})
	c.until("nodes are there", func() bool { return len(c.nodes()) == 20 })
	lead, began := c.leader().addr, time.Now()
	var made wire.CreateAppResponse
	_ = ask(lead, &wire.CreateAppRequest{AppName: "large", // the answer may take longer than the client waits
		Options: wire.CreateAppOptions{PartitionCount: 1000, ReplicaCount: 3, Type: "pegasus", Stateful: true}}, &made)
	for healthy := 0; healthy < 1000; time.Sleep(200 * time.Millisecond) {
		require.Less(t, time.Since(began), 3*time.Minute)
		healthy = 0
		for _, p := range c.config("large").Partitions {
			if p.Primary != 0 && len(p.Secondaries) == 2 {
				healthy++
			}
		}
	}
	t.Logf("1000 partitions healthy after %s", time.Since(began).Round(time.Second))
	before := used(t)
	time.Sleep(15 * time.Second)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("idle: %.2f cores, %d MB for 23 servers in one process", (used(t)-before).Seconds()/15, m.Sys>>20)
}

func used(t *testing.T) time.Duration {
	var r syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
