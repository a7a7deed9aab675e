package lock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	lab "github.com/pegbook/pegbook/lab/zookeeper"
	"github.com/pegbook/pegbook/lab/zookeeper/zktest"
	"github.com/pegbook/pegbook/modules/zksession"
)

const tick = 200 * time.Millisecond

// session is the shortest that the servers give with their tick.
const session = 5 * tick

func ours(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := lab.Listen(ctx, lab.Options{Addr: "127.0.78.1:0", Tick: tick})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s.Addr()
}

// onBoth runs a test against the lab's server and a real one.
func onBoth(t *testing.T, run func(t *testing.T, addr string)) {
	t.Run("lab", func(t *testing.T) { run(t, ours(t)) })
	t.Run("real", func(t *testing.T) { run(t, realServer(t)) })
}

// shared is the one real ZooKeeper of this test run; a JVM takes seconds to start.
var shared = struct {
	addr string
	stop func()
}{stop: func() {}}

func realServer(t *testing.T) string {
	t.Helper()
	if testing.Short() || !zktest.Installed() {
		t.Skip("needs Debian's zookeeper, and starts a JVM")
	}
	if shared.addr == "" {
		dir, err := os.MkdirTemp("", "pegbook-zookeeper-")
		require.NoError(t, err)
		addr, stop, err := zktest.Run(dir, "127.0.78.2", tick)
		require.NoError(t, err)
		shared.addr, shared.stop = addr, func() { stop(); os.RemoveAll(dir) }
	}
	return shared.addr
}

// way is how a client reaches the server; it can be cut, or fall silent.
type way struct {
	mu     sync.Mutex // guards the rest
	down   bool
	silent bool // nothing gets through, and nothing breaks
	lose   func(sent []byte) bool
	open   []net.Conn
}

func (w *way) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return nil, errors.New("the way is cut")
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	w.open = append(w.open, c)
	return &wayConn{c, w}, nil
}

type wayConn struct {
	net.Conn
	way *way
}

// Read holds back what comes while the way is silent.
func (c *wayConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for c.way.isSilent() && err == nil {
		time.Sleep(10 * time.Millisecond)
	}
	return n, err
}

// Write drops the connection after the request whose answer is to be lost.
func (c *wayConn) Write(p []byte) (int, error) {
	for c.way.isSilent() {
		time.Sleep(10 * time.Millisecond)
	}
	c.way.mu.Lock()
	lose := c.way.lose
	c.way.mu.Unlock()
	n, err := c.Conn.Write(p)
	if lose != nil && lose(p) {
		time.Sleep(50 * time.Millisecond) // the server takes it in
		c.Conn.Close()
	}
	return n, err
}

func (w *way) isSilent() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.silent
}

func (w *way) set(down, silent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down, w.silent = down, silent
	if down {
		for _, c := range w.open {
			c.Close()
		}
		w.open = nil
	}
}

func lockAt(addr string, w *way) *ZooKeeper {
	return &ZooKeeper{Servers: []string{addr}, Path: "/pegbook/locks/c1", Timeout: session, Dial: w.dial}
}

func who(name string) Holder {
	return Holder{User: name, Host: "control1", PID: 1, Run: "run-" + name, Since: time.Now()}
}

// direct is a session of the test's own.
func direct(t *testing.T, addr string) *zk.Conn {
	t.Helper()
	conn, closed, err := zksession.Connect(t.Context(), zksession.Options{Dial: (&net.Dialer{}).DialContext, Servers: []string{addr}, Wait: 10 * time.Second})
	require.NoError(t, err)
	t.Cleanup(closed)
	return conn
}

func TestOneHolderAtATime(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		first, err := lockAt(addr, &way{}).Take(t.Context(), who("alice"), Wait{})
		require.NoError(t, err)
		second := lockAt(addr, &way{})
		_, err = second.Take(t.Context(), who("bob"), Wait{})
		var other *HeldError
		require.ErrorAs(t, err, &other)
		assert.Equal(t, "alice", other.Holder.User)
		assert.Contains(t, err.Error(), "is held by alice@control1, pid 1, run run-alice")
		state, err := second.Ask(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "run-alice", state.Holder.Run)

		told := make(chan State, 10)
		got := make(chan Held, 1)
		go func() {
			h, err := second.Take(context.Background(), who("bob"), Wait{Limit: time.Minute, Told: func(s State) { told <- s }})
			assert.NoError(t, err)
			got <- h
		}()
		assert.Equal(t, "alice", (<-told).Holder.User)
		require.NoError(t, first.Ready(t.Context()))
		require.NoError(t, first.Release())
		next := <-got
		assert.Greater(t, next.Token(), first.Token())
		require.NoError(t, next.Ready(t.Context()))
		require.NoError(t, next.Release())
		state, err = second.Ask(t.Context())
		require.NoError(t, err)
		assert.False(t, state.Held)
		children, _, err := direct(t, addr).Children("/pegbook/locks/c1")
		require.NoError(t, err)
		assert.Empty(t, children, "nothing is left behind")
	})
}

// A waiting run is woken by the one before it alone, in the order in which they came.
func TestWaitingIsInOrder(t *testing.T) {
	addr := ours(t)
	first, err := lockAt(addr, &way{}).Take(t.Context(), who("first"), Wait{})
	require.NoError(t, err)
	conn := direct(t, addr)
	order := make(chan string, 10)
	var all sync.WaitGroup
	for i := range 5 {
		all.Go(func() {
			h, err := lockAt(addr, &way{}).Take(context.Background(), who(fmt.Sprint(i)), Wait{Limit: time.Minute})
			if assert.NoError(t, err) {
				order <- fmt.Sprint(i)
				assert.NoError(t, h.Release())
			}
		})
		require.Eventually(t, func() bool {
			children, _, err := conn.Children("/pegbook/locks/c1")
			return err == nil && len(children) == i+2
		}, 10*time.Second, 5*time.Millisecond)
	}
	require.NoError(t, first.Release())
	all.Wait()
	close(order)
	var came []string
	for name := range order {
		came = append(came, name)
	}
	assert.Equal(t, "0 1 2 3 4", strings.Join(came, " "))
}

// The session of a holder that hears nothing expires at the server; the holder says that it has lost the lock as
// soon as it can know, and says nothing else before.
func TestSessionExpires(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		w := &way{}
		held, err := lockAt(addr, w).Take(t.Context(), who("alice"), Wait{})
		require.NoError(t, err)
		w.set(false, true)
		// Another run takes over when the server has given the session up.
		next, err := lockAt(addr, &way{}).Take(t.Context(), who("bob"), Wait{Limit: 20 * time.Second})
		require.NoError(t, err)
		assert.Greater(t, next.Token(), held.Token())
		ready := make(chan error, 1)
		go func() { ready <- held.Ready(context.Background()) }()
		select {
		case err := <-ready:
			require.Error(t, err, "while nothing is heard, the lock is not said to be held")
		case <-time.After(session / 2):
		}
		w.set(false, false)
		select {
		case <-held.Lost():
		case <-time.After(20 * time.Second):
			t.Fatal("the loss was not noticed")
		}
		var lost *LostError
		require.ErrorAs(t, held.Err(), &lost)
		require.ErrorAs(t, held.Ready(t.Context()), &lost)
		require.NoError(t, held.Release())
		require.NoError(t, next.Ready(t.Context()), "giving back what is lost takes nothing from others")
		require.NoError(t, next.Release())
	})
}

// A connection that breaks and comes back within the session's time costs nothing.
func TestConnectionIsCutAndComesBack(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		w := &way{}
		l := lockAt(addr, w)
		l.Timeout = 4 * session // the longest that the servers give: the client's library rests a second before it dials again
		held, err := l.Take(t.Context(), who("alice"), Wait{})
		require.NoError(t, err)
		for range 3 {
			w.set(true, false)
			time.Sleep(50 * time.Millisecond)
			w.set(false, false)
			require.NoError(t, held.Ready(t.Context()))
		}
		assert.NoError(t, held.Err())
		_, err = lockAt(addr, &way{}).Take(t.Context(), who("bob"), Wait{})
		var other *HeldError
		require.ErrorAs(t, err, &other)
		require.NoError(t, held.Release())
	})
}

// A connection that stays cut is a lock that is lost, although nobody can say so.
func TestConnectionStaysCut(t *testing.T) {
	w := &way{}
	held, err := lockAt(ours(t), w).Take(t.Context(), who("alice"), Wait{})
	require.NoError(t, err)
	w.set(true, false)
	began := time.Now()
	// What was checked a moment ago is still so: the server keeps the session for its whole timeout.
	require.NoError(t, held.Ready(t.Context()))
	time.Sleep(session / 2)
	require.Error(t, held.Ready(t.Context()))
	<-held.Lost()
	assert.Greater(t, time.Since(began), session)
	require.NoError(t, held.Release())
}

// The answer to the making of the node, or to the counting of the token, is lost: there is one node all the same.
func TestAnswersAreLost(t *testing.T) {
	const create, multi = 1, 14
	for name, op := range map[string]byte{"create": create, "multi": multi} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, addr string) {
				var losses atomic.Int32
				w := &way{lose: func(sent []byte) bool {
					// length, xid, operation
					hit := len(sent) > 12 && sent[11] == op && (op != create || strings.Contains(string(sent), queued)) && losses.Add(1) == 1
					return hit
				}}
				held, err := lockAt(addr, w).Take(t.Context(), who("alice"), Wait{})
				require.NoError(t, err)
				require.GreaterOrEqual(t, losses.Load(), int32(1), "the test lost no answer")
				children, _, err := direct(t, addr).Children("/pegbook/locks/c1")
				require.NoError(t, err)
				assert.Len(t, children, 1)
				require.NoError(t, held.Ready(t.Context()))
				require.NoError(t, held.Release())
			})
		})
	}
}

// Who takes the node away takes the lock away: that is how an operator gets rid of a holder.
func TestNodeIsRemoved(t *testing.T) {
	addr := ours(t)
	held, err := lockAt(addr, &way{}).Take(t.Context(), who("alice"), Wait{})
	require.NoError(t, err)
	conn := direct(t, addr)
	children, _, err := conn.Children("/pegbook/locks/c1")
	require.NoError(t, err)
	require.NoError(t, conn.Delete(path.Join("/pegbook/locks/c1", children[0]), -1))
	select {
	case <-held.Lost():
	case <-time.After(10 * time.Second):
		t.Fatal("the loss was not noticed")
	}
	assert.ErrorContains(t, held.Err(), "was removed")
}

// Whatever stands in the lock's node, tokens grow; a ZooKeeper that has lost everything goes on by its clock.
func TestTokensGrow(t *testing.T) {
	addr := ours(t)
	conn := direct(t, addr)
	var last uint64
	for _, content := range []string{"", "", "rubbish", `{"token":`, `{"token":99999999999999}`, ""} {
		if content != "" {
			_, err := conn.Set("/pegbook/locks/c1", []byte(content), -1)
			require.NoError(t, err)
		}
		held, err := lockAt(addr, &way{}).Take(t.Context(), who("alice"), Wait{})
		require.NoError(t, err)
		assert.Greater(t, held.Token(), last, "after %q", content)
		last = held.Token()
		require.NoError(t, held.Release())
	}
}

// With a user of its own the lock's nodes are that user's to change; who waits sees who has it.
func TestAuth(t *testing.T) {
	addr := realServer(t)
	l := lockAt(addr, &way{})
	l.Auth, l.Path = "pegbook:secret", "/pegbook/locks/secret"
	held, err := l.Take(t.Context(), who("alice"), Wait{})
	require.NoError(t, err)
	conn := direct(t, addr)
	children, _, err := conn.Children(l.Path)
	require.NoError(t, err)
	require.ErrorIs(t, conn.Delete(path.Join(l.Path, children[0]), -1), zk.ErrNoAuth)
	other := lockAt(addr, &way{})
	other.Path = l.Path
	_, err = other.Take(t.Context(), who("bob"), Wait{})
	require.ErrorContains(t, err, "auth")
	state, err := other.Ask(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "alice", state.Holder.User)
	require.NoError(t, held.Release())
}

// Two runs race a hundred times: never two holders, and each holder's token is larger than those before.
func TestTwoRace(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		const rounds = 100
		var holders, both, won [2]atomic.Int32
		var last atomic.Uint64
		var all sync.WaitGroup
		for i := range 2 {
			all.Go(func() {
				for range rounds {
					held, err := lockAt(addr, &way{}).Take(context.Background(), who(fmt.Sprint(i)), Wait{Limit: time.Minute})
					if !assert.NoError(t, err) {
						return
					}
					if holders[0].Add(1) > 1 {
						both[0].Add(1)
					}
					assert.Greater(t, held.Token(), last.Swap(held.Token()))
					won[i].Add(1)
					holders[0].Add(-1)
					assert.NoError(t, held.Release())
				}
			})
		}
		all.Wait()
		assert.Zero(t, both[0].Load())
		t.Logf("%d rounds of two runs: %d and %d times taken, %d times by both", rounds, won[0].Load(), won[1].Load(), both[0].Load())
	})
}
