package zookeeper

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/require"
)

// cutter dials for the Go client and can cut what it dialled.
type cutter struct {
	mu   sync.Mutex // guards the rest
	addr string
	open []net.Conn
	down bool
}

func (c *cutter) dial(_, _ string, timeout time.Duration) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return nil, net.ErrClosed
	}
	nc, err := net.DialTimeout("tcp", c.addr, timeout)
	if err == nil {
		c.open = append(c.open, nc)
	}
	return nc, err
}

func (c *cutter) set(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
	for _, nc := range c.open {
		nc.Close()
	}
}

func cuttable(t *testing.T, addr string) (*zk.Conn, <-chan zk.Event, *cutter) {
	t.Helper()
	cut := &cutter{addr: addr}
	c, events, err := zk.Connect([]string{"127.0.50.10:1"}, 2*time.Second, zk.WithDialer(cut.dial), zk.WithLogger(quiet{}))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	waitState(t, events, zk.StateHasSession)
	return c, events, cut
}

func waitState(t *testing.T, events <-chan zk.Event, want zk.State) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case e := <-events:
			if e.State == want {
				return
			}
		case <-deadline:
			t.Fatalf("the client did not come to state %v", want)
		}
	}
}

// onBoth runs a test against our server and, where it is installed, a real one.
func onBoth(t *testing.T, run func(t *testing.T, addr string)) {
	t.Run("ours", func(t *testing.T) { run(t, start(t, Options{}).Addr()) })
	t.Run("real", func(t *testing.T) { run(t, real(t)) })
}

func TestReconnectKeepsSessionAndWatches(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		c, events, cut := cuttable(t, addr)
		other := dial(t, addr)
		acl := zk.WorldACL(zk.PermAll)
		for _, p := range []string{"/data", "/gone", "/kids"} {
			_, err := c.Create(p, nil, 0, acl)
			require.NoError(t, err)
		}
		_, err := c.Create("/mine", nil, zk.FlagEphemeral, acl)
		require.NoError(t, err)
		_, _, data, _ := c.GetW("/data")
		_, _, gone, _ := c.GetW("/gone")
		_, _, kids, _ := c.ChildrenW("/kids")
		_, _, born, _ := c.ExistsW("/born")
		_, _, later, _ := c.ExistsW("/later")
		id := c.SessionID()

		cut.set(true)
		waitState(t, events, zk.StateDisconnected)
		_, err = other.Set("/data", []byte("x"), -1)
		require.NoError(t, err)
		require.NoError(t, other.Delete("/gone", -1))
		_, err = other.Create("/kids/one", nil, 0, acl)
		require.NoError(t, err)
		_, err = other.Create("/born", nil, 0, acl)
		require.NoError(t, err)
		cut.set(false)
		waitState(t, events, zk.StateHasSession)

		require.Equal(t, id, c.SessionID())
		for want, ch := range map[zk.EventType]<-chan zk.Event{
			zk.EventNodeDataChanged: data, zk.EventNodeDeleted: gone, zk.EventNodeChildrenChanged: kids, zk.EventNodeCreated: born,
		} {
			select {
			case e := <-ch:
				require.Equal(t, want, e.Type)
			case <-time.After(3 * time.Second):
				t.Fatalf("no event %v", want)
			}
		}
		require.Empty(t, later)
		_, err = other.Create("/later", nil, 0, acl)
		require.NoError(t, err)
		require.Equal(t, zk.EventNodeCreated, (<-later).Type)
		ok, _, err := other.Exists("/mine")
		require.NoError(t, err)
		require.True(t, ok, "the ephemeral node outlives a short cut")
	})
}

func TestSessionExpires(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		c, events, cut := cuttable(t, addr)
		other := dial(t, addr)
		_, err := c.Create("/mine", nil, zk.FlagEphemeral, zk.WorldACL(zk.PermAll))
		require.NoError(t, err)
		_, _, gone, err := other.ExistsW("/mine")
		require.NoError(t, err)
		began := time.Now()
		cut.set(true)
		select {
		case e := <-gone:
			require.Equal(t, zk.EventNodeDeleted, e.Type)
			// The last sign of life is at most a third of the timeout older than the cut.
			require.Greater(t, time.Since(began), 1200*time.Millisecond)
		case <-time.After(10 * time.Second):
			t.Fatal("the ephemeral node of a silent session is still there")
		}
		cut.set(false)
		waitState(t, events, zk.StateExpired)
	})
}

func TestLocksAreHeldByOneClient(t *testing.T) {
	s := start(t, Options{})
	var held, most, total int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 4 {
		c := dial(t, s.Addr())
		wg.Go(func() {
			for range 10 {
				l := zk.NewLock(c, "/lock", zk.WorldACL(zk.PermAll))
				if l.Lock() != nil {
					return
				}
				mu.Lock()
				held++
				total++
				most = max(most, held)
				mu.Unlock()
				time.Sleep(time.Millisecond)
				mu.Lock()
				held--
				mu.Unlock()
				l.Unlock() //nolint:errcheck // the next Lock would hang
			}
		})
	}
	wg.Wait()
	require.Equal(t, []int{40, 1}, []int{total, most})
}

func TestSnapshotSurvivesRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "zookeeper.json")
	first, stop := startStoppable(t, Options{Snapshot: file})
	c, events, cut := cuttable(t, first.Addr())
	_, err := c.Create("/kept", []byte("x"), 0, zk.WorldACL(zk.PermAll))
	require.NoError(t, err)
	_, err = c.Create("/kept/mine-", nil, zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll))
	require.NoError(t, err)
	_, before, err := c.Children("/kept")
	require.NoError(t, err)
	id := c.SessionID()
	stop()
	waitState(t, events, zk.StateDisconnected)

	second := start(t, Options{Snapshot: file})
	cut.mu.Lock()
	cut.addr = second.Addr()
	cut.mu.Unlock()
	waitState(t, events, zk.StateHasSession)
	require.Equal(t, id, c.SessionID(), "the session goes on")
	names, after, err := c.Children("/kept")
	require.NoError(t, err)
	require.Equal(t, []string{"mine-0000000000"}, names)
	require.Equal(t, before, after)
	c.Close()
	other := dial(t, second.Addr())
	require.Eventually(t, func() bool {
		names, _, err := other.Children("/kept")
		return err == nil && len(names) == 0
	}, 5*time.Second, 20*time.Millisecond, "a session's end removes what it had made before the restart")
}

func TestBadSnapshotIsRefused(t *testing.T) {
	for name, content := range map[string]string{"not JSON": "{", "no root": "{}"} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "zookeeper.json")
			require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
			_, err := Listen(t.Context(), Options{Addr: "127.0.50.10:0", Snapshot: file})
			require.ErrorContains(t, err, "remove it to start empty")
		})
	}
}

func TestFourLetterWords(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		dial(t, addr)
		require.Equal(t, "imok", ask(addr, "ruok"))
		require.Equal(t, "rw", ask(addr, "isro"))
		for word, parts := range map[string][]string{
			"srvr": {"Zookeeper version: 3.8", "Connections: ", "Mode: standalone", "Node count: "},
			"stat": {"Clients:", "Mode: standalone", "Zxid: 0x"},
			"mntr": {"zk_version\t3.8", "zk_server_state\tstandalone", "zk_znode_count\t", "zk_num_alive_connections\t", "zk_outstanding_requests\t0"},
			"conf": {"clientPort=" + addr[strings.LastIndexByte(addr, ':')+1:], "tickTime=200", "maxSessionTimeout=4000"},
		} {
			answer := ask(addr, word)
			for _, part := range parts {
				require.Contains(t, answer, part)
			}
		}
		ok := zk.FLWRuok([]string{addr}, time.Second)
		require.Equal(t, []bool{true}, ok)
	})
}

// FuzzRequest feeds the decoder what a hostile client may send.
func FuzzRequest(f *testing.F) {
	f.Add(op(1, opCreate, createBody("/a", 1)).b)
	f.Add(op(1, opMulti, func(e *encoder) {
		partHeader(e, opCreate, false, -1)
		createBody("/a", 2)(e)
		partHeader(e, opDelete, false, -1)
		deleteBody("/a")(e)
		partHeader(e, opError, true, -1)
	}).b)
	f.Add(op(-8, opSetWatches, func(e *encoder) { e.long(3); e.strings([]string{"/a"}); e.strings(nil); e.strings([]string{"/b"}) }).b)
	f.Add(op(3, opGetData, pathWatch("/a")).b)
	f.Fuzz(func(t *testing.T, p []byte) {
		decodeConnect(p) //nolint:errcheck // must only not panic
		r, err := decodeRequest(p)
		if err != nil {
			return
		}
		tree := newTree()
		x := &txn{tree: tree, zxid: 1, session: 1}
		before := len(tree.nodes)
		for _, part := range append(r.parts, r) {
			switch part.op {
			case opCreate, opCreate2, opCreateContainer, opDelete, opSetData, opSetACL, opCheck:
				x.apply(part, &encoder{})
			}
		}
		x.rollback()
		if len(tree.nodes) != before || len(tree.nodes["/"].children) != 1 || tree.nodes["/"].stats() != newTree().nodes["/"].stats() {
			t.Fatalf("rollback left %d nodes, root %+v", len(tree.nodes), tree.nodes["/"].stats())
		}
	})
}
