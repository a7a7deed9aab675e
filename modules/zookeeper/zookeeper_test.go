package zookeeper

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	lab "github.com/pegbook/pegbook/lab/zookeeper"
	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/modules/overlay"
	"github.com/pegbook/pegbook/modules/zksession"
)

// server starts a ZooKeeper of the lab.
func server(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := lab.Listen(ctx, lab.Options{Addr: "127.0.30.1:0", Tick: 200 * time.Millisecond})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return s.Addr()
}

func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

func machine() *modtest.Machine {
	m := modtest.NewMachine("control")
	m.OnDial = dial
	return m
}

func session(t *testing.T, addr string) *zk.Conn {
	t.Helper()
	conn, closed, err := zksession.Connect(t.Context(), zksession.Options{Dial: dial, Servers: []string{addr}, Wait: 10 * time.Second})
	require.NoError(t, err)
	t.Cleanup(closed)
	return conn
}

var anyTrips = modtest.Setup{Trips: 100, ActTrips: -1}

func TestNodeComesAndGoes(t *testing.T) {
	addr := server(t)
	conn := session(t, addr)
	host := machine()
	r := modtest.Converge(t, nodeModule(), `{"servers": "`+addr+`", "path": "/pegasus/onebox/lock", "value": "x"}`, host, anyTrips)
	require.NoError(t, r.Err)
	value, _, err := conn.Get("/pegasus/onebox/lock")
	require.NoError(t, err)
	assert.Equal(t, "x", string(value))

	r = modtest.Converge(t, nodeModule(), `{"servers": ["`+addr+`"], "path": "/pegasus/onebox", "state": "absent", "recursive": true}`, host, anyTrips)
	require.NoError(t, r.Err)
	assert.Equal(t, "2", r.Get("nodes"))
	exists, _, err := conn.Exists("/pegasus/onebox")
	require.NoError(t, err)
	assert.False(t, exists)
	exists, _, err = conn.Exists("/pegasus")
	require.NoError(t, err)
	assert.True(t, exists, "the parent stays")
}

func TestRemovalIsRefused(t *testing.T) {
	addr := server(t)
	conn := session(t, addr)
	for _, p := range []string{"/pegasus", "/pegasus/a", "/pegasus/a/b"} {
		_, err := conn.Create(p, nil, 0, zk.WorldACL(zk.PermAll))
		require.NoError(t, err)
	}
	propose := func(args string) error {
		p, err := nodeModule().Propose(t.Context(), &modules.Call{Host: machine(), Note: t.Logf}, []byte(args))
		if err == nil && p.Do != nil {
			err = p.Do(t.Context(), machine())
		}
		return err
	}
	for args, want := range map[string]string{
		`"path": "/"`:                               "never removed",
		`"path": "/", "force": true`:                "never removed",
		`"path": "/zookeeper/quota", "force": true`: "never removed",
		`"path": "/pegasus", "recursive": true`:     "directly below the root",
		`"path": "/pegasus/a"`:                      "1 nodes below",
		`"path": "pegasus/a"`:                       "from the root",
		`"path": "/pegasus/../x/y"`:                 "from the root",
	} {
		assert.ErrorContains(t, propose(`{"servers": "`+addr+`", "state": "absent", `+args+`}`), want, args)
	}
	_, err := conn.Create("/pegasus/a/b/lock", nil, zk.FlagEphemeral, zk.WorldACL(zk.PermAll))
	require.NoError(t, err)
	absent := `{"servers": "` + addr + `", "state": "absent", "recursive": true, "timeout": "2s", "path": "/pegasus/a"`
	assert.ErrorContains(t, propose(absent+`}`), "a running process holds /pegasus/a/b/lock")
	exists, _, err := conn.Exists("/pegasus/a/b")
	require.NoError(t, err)
	assert.True(t, exists, "nothing was removed")
	go func() {
		time.Sleep(300 * time.Millisecond)
		_ = conn.Delete("/pegasus/a/b/lock", -1)
	}()
	assert.NoError(t, propose(absent+`}`), "it waits for the process to end")
}

func TestDryRunSeesItsOwnChanges(t *testing.T) {
	addr := server(t)
	layer := overlay.New(machine(), nil)
	step := func(args string) *modules.Proposal {
		p, err := nodeModule().Propose(t.Context(), &modules.Call{Host: layer.Look(), Note: t.Logf}, []byte(`{"servers": "`+addr+`", `+args+`}`))
		require.NoError(t, err)
		layer.Predict(p.Predicts)
		return p
	}
	assert.Len(t, step(`"path": "/a/b/c"`).Diff, 1)
	assert.Empty(t, step(`"path": "/a/b/c"`).Diff)
	assert.Empty(t, step(`"path": "/a/x", "state": "absent"`).Diff)
}

func TestNoServer(t *testing.T) {
	started := time.Now()
	_, err := nodeModule().Propose(t.Context(), &modules.Call{Host: machine(), Note: t.Logf},
		[]byte(`{"servers": "127.0.30.1:1", "path": "/a", "timeout": "2s"}`))
	assert.ErrorContains(t, err, "127.0.30.1:1")
	assert.ErrorContains(t, err, "refused")
	assert.Less(t, time.Since(started), 5*time.Second)
}

// words answers four-letter words like a server of an ensemble.
func words(t *testing.T, answers map[string]string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.30.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			word := make([]byte, 4)
			_, _ = conn.Read(word)
			_, _ = conn.Write([]byte(answers[string(word)]))
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

func TestHealth(t *testing.T) {
	mode := func(m string) map[string]string {
		return map[string]string{"srvr": "Zookeeper version: 3.8.0\nLatency min/avg/max: 0/0/0\nMode: " + m + "\nNode count: 5\n"}
	}
	leader := mode("leader")
	leader["mntr"] = "zk_server_state\tleader\nzk_synced_followers\t2\n"
	behind := mode("leader")
	behind["mntr"] = "zk_synced_followers\t1.0\n"
	down := map[string]string{"srvr": "This ZooKeeper instance is not currently serving requests\n"}
	for name, c := range map[string]struct {
		servers []map[string]string
		want    string
	}{
		"whole":      {[]map[string]string{leader, mode("follower"), mode("follower")}, ""},
		"alone":      {[]map[string]string{mode("standalone")}, ""},
		"alone of 2": {[]map[string]string{leader, mode("standalone")}, "stands alone"},
		"two lead":   {[]map[string]string{leader, leader, mode("follower")}, "more than one server leads"},
		"none leads": {[]map[string]string{mode("follower"), mode("follower")}, "no server leads"},
		"behind":     {[]map[string]string{behind, mode("follower"), mode("follower")}, "1 of 2 followers"},
		"no quorum":  {[]map[string]string{leader, mode("follower"), down}, "serves no requests"},
	} {
		t.Run(name, func(t *testing.T) {
			var addrs []string
			for _, answers := range c.servers {
				addrs = append(addrs, words(t, answers))
			}
			missing := strings.Join(Missing(t.Context(), dial, addrs), "; ")
			if c.want == "" {
				assert.Empty(t, missing)
			} else {
				assert.Contains(t, missing, c.want)
			}
		})
	}
	assert.NotEmpty(t, Missing(t.Context(), dial, nil), "no servers are not healthy")
	assert.Contains(t, strings.Join(Missing(t.Context(), dial, []string{"127.0.30.1:1"}), ""), "127.0.30.1:1 does not answer")
	assert.Empty(t, Missing(t.Context(), dial, []string{server(t)}), "the lab's server")
}

// TestSessionInsteadOfWords: a server that refuses the words is asked for a session.
func TestSessionInsteadOfWords(t *testing.T) {
	real := server(t)
	mute := words(t, map[string]string{"srvr": "srvr is not executed because it is not in the whitelist.\n"})
	dials := 0
	through := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials++; dials == 1 {
			return dial(ctx, network, mute)
		}
		return dial(ctx, network, real)
	}
	assert.Empty(t, Missing(t.Context(), through, []string{mute}))
	assert.Equal(t, 2, dials)
}
