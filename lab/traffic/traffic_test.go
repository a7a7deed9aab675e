package traffic

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// cluster is a meta server and a replica server in one: it leads, and is the primary of the only
// partition of table temp.
type cluster struct {
	listener net.Listener
	addr     wire.Address
	wg       sync.WaitGroup

	mu     sync.Mutex // guards the rest
	values map[string][]byte
	conns  map[net.Conn]bool
	// refuse is what data requests are answered with instead; forget acknowledges writes and drops them;
	// mute answers no data request.
	refuse       wire.ErrorCode
	forget, mute bool
}

func start(t *testing.T) *cluster {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.50.30:0")
	require.NoError(t, err)
	addr, err := wire.ParseAddress(listener.Addr().String())
	require.NoError(t, err)
	c := &cluster{listener: listener, addr: addr, values: map[string][]byte{}, conns: map[net.Conn]bool{}}
	c.wg.Go(func() {
		for {
			nc, err := listener.Accept()
			if err != nil {
				return
			}
			c.set(func() { c.conns[nc] = true })
			c.wg.Go(func() { c.serve(nc) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		c.set(func() {
			for nc := range c.conns {
				nc.Close()
			}
		})
		c.wg.Wait()
	})
	return c
}

func (c *cluster) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *cluster) serve(nc net.Conn) {
	defer nc.Close()
	for r := bufio.NewReader(nc); ; {
		in, err := wire.ReadIncoming(r, c.addr)
		if err != nil {
			return
		}
		if reply := c.answer(in); reply != nil {
			if _, err := nc.Write(reply); err != nil {
				return
			}
		}
	}
}

func (c *cluster) answer(in *wire.Incoming) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch req := in.Request.(type) {
	case *wire.ClusterInfoRequest:
		return in.Reply(wire.OK, &wire.ClusterInfoResponse{
			Err: wire.OK, Keys: []string{"primary_meta_server"}, Values: []string{c.addr.String()},
		})
	case *wire.QueryConfigRequest:
		if req.AppName != "temp" {
			return in.Reply(wire.OK, &wire.QueryConfigResponse{Err: wire.ObjectNotFound})
		}
		return in.Reply(wire.OK, &wire.QueryConfigResponse{
			Err: wire.OK, AppID: 2, PartitionCount: 1, Stateful: true,
			Partitions: []wire.PartitionConfig{{PID: wire.GPID{App: 2}, Ballot: 3, MaxReplicaCount: 3, Primary: c.addr}},
		})
	}
	switch {
	case c.mute:
		return nil
	case c.refuse != "":
		return in.Reply(c.refuse, nil)
	}
	switch req := in.Request.(type) {
	case *wire.GetRequest:
		value, ok := c.values[string(req.Key.Bytes())]
		if !ok {
			return in.Reply(wire.OK, &wire.GetResponse{Error: 1})
		}
		return in.Reply(wire.OK, &wire.GetResponse{Value: value})
	case *wire.PutRequest:
		if !c.forget {
			c.values[string(req.Key.Bytes())] = req.Value
		}
		return in.Reply(wire.OK, &wire.UpdateResponse{})
	case *wire.RemoveRequest:
		delete(c.values, string(req.Key.Bytes()))
		return in.Reply(wire.OK, &wire.UpdateResponse{})
	}
	return in.Reply(wire.HandlerNotFound, nil)
}

func load(t *testing.T, c *cluster, o Options) *Load {
	t.Helper()
	o.Metas = []string{c.listener.Addr().String()}
	l, err := Start(t.Context(), o)
	require.NoError(t, err)
	return l
}

func TestCalmClusterHasNoFailures(t *testing.T) {
	c := start(t)
	goroutines := runtime.NumGoroutine()
	l := load(t, c, Options{Workers: 4, Rate: 1000})
	require.Eventually(t, func() bool { return l.Summary().Operations >= 400 }, 10*time.Second, 5*time.Millisecond)
	s := l.Stop(context.Background())
	require.Zero(t, s.Failures+s.LostWrites, "%s", s)
	require.InDelta(t, s.Reads, s.Writes, 5)
	require.Equal(t, s.Operations, s.Reads+s.Writes)
	require.Less(t, float64(s.Operations)/float64(s.TookMS)*1000, 1200.0, "the rate is kept")
	require.LessOrEqual(t, s.P50MS, s.P95MS)
	require.LessOrEqual(t, s.P95MS, s.P99MS)
	require.LessOrEqual(t, s.P99MS, s.LongestStallMS)
	c.set(func() { require.Empty(t, c.values, "the keys are removed") })
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > goroutines+1; time.Sleep(5 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "goroutines are left: %d, %d before", runtime.NumGoroutine(), goroutines)
	}
}

func TestOperationsAreTriedAgainUntilTheirTimeIsUp(t *testing.T) {
	for name, trouble := range map[string]func(*cluster){
		"not primary":     func(c *cluster) { c.refuse = wire.InvalidState },
		"replica is gone": func(c *cluster) { c.refuse = wire.ObjectNotFound },
		"no answer":       func(c *cluster) { c.mute = true },
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			l := load(t, c, Options{Workers: 2})
			c.set(func() { trouble(c) })
			time.Sleep(400 * time.Millisecond)
			during := l.Summary()
			require.Greater(t, during.LongestStallMS, 300.0, "a stall shows while it lasts")
			c.set(func() { c.refuse, c.mute = "", false })
			require.Eventually(t, func() bool { return l.Summary().Operations > during.Operations+10 }, 5*time.Second, 10*time.Millisecond)
			s := l.Stop(context.Background())
			require.Zero(t, s.Failures, "%s", s)
			require.Greater(t, s.LongestStallMS, 350.0)
		})
	}
}

func TestFailuresAreCountedAndTold(t *testing.T) {
	c := start(t)
	l := load(t, c, Options{Workers: 2, Timeout: 200 * time.Millisecond})
	c.set(func() { c.refuse = wire.InvalidState })
	require.Eventually(t, func() bool { return l.Summary().Failures >= 4 }, 5*time.Second, 10*time.Millisecond)
	s := l.Stop(context.Background())
	require.Equal(t, s.Failures, s.FailedReads+s.FailedWrites)
	require.Contains(t, s.Problems[0].What, "ERR_INVALID_STATE")
	require.LessOrEqual(t, len(s.Problems), maxProblems)
	require.Zero(t, s.LostWrites)
	text, err := json.Marshal(s)
	require.NoError(t, err)
	require.Contains(t, string(text), `"longest_stall_ms":`)
	require.Greater(t, s.LongestStallMS, 190.0)
}

func TestLostWritesAreFound(t *testing.T) {
	c := start(t)
	l := load(t, c, Options{Workers: 1})
	require.Eventually(t, func() bool { return l.Summary().Operations > 2*2*keysEach }, 10*time.Second, 5*time.Millisecond)
	require.Zero(t, l.Summary().LostWrites)
	c.set(func() { c.forget = true })
	require.Eventually(t, func() bool { return l.Summary().LostWrites > 3 }, 5*time.Second, 5*time.Millisecond)
	require.Contains(t, l.Stop(context.Background()).String(), "was acknowledged")
}

func TestStartRefuses(t *testing.T) {
	c := start(t)
	_, err := Start(t.Context(), Options{Metas: []string{c.listener.Addr().String()}, Table: "none"})
	require.ErrorContains(t, err, "table none")
	_, err = Start(t.Context(), Options{Metas: []string{c.listener.Addr().String()}, Rate: -1})
	require.ErrorContains(t, err, "must be above 0")
	_, err = Start(t.Context(), Options{})
	require.Error(t, err)
}

func TestPercentiles(t *testing.T) {
	tally := newTally()
	for i := 1; i <= 100; i++ {
		tally.add(outcome{kind: read, took: time.Duration(i) * time.Millisecond})
	}
	s := tally.summary(0)
	require.InEpsilon(t, 50, s.P50MS, 0.05)
	require.InEpsilon(t, 95, s.P95MS, 0.05)
	require.InEpsilon(t, 99, s.P99MS, 0.05)
	require.Equal(t, 100.0, s.LongestStallMS)
	require.Equal(t, 5000.0, tally.summary(5*time.Second).LongestStallMS)
}
