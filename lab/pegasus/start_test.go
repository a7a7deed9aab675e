package pegasus_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/pegasus"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// killed is the exit code of a process that still ran when it was ended.
const killed = 137

// program runs one process in the foreground with a config until it ends, or is
// killed because its output so far is enough.
func program(t *testing.T, config string, enough func(out string) bool, args ...string) (code int, out string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "libdsn_replica_server.so"), nil, 0o644))
	path := filepath.Join(dir, "config.ini")
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(config, "DIR", dir)), 0o644))
	for i := range args {
		args[i] = strings.Replace(args[i], "CONFIG", path, 1)
	}
	env := map[string]string{"LD_LIBRARY_PATH": "/nonexistent:" + dir, pegasus.ScaleEnv: "0.01", pegasus.AddressEnv: "127.0.40.252"}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	b := &buffer{}
	ended := make(chan int, 1)
	go func() {
		ended <- pegasus.Run(ctx, pegasus.Options{Args: args, Out: b, Err: b, Env: func(k string) string { return env[k] },
			Version: pegasus.Version{Number: "2.5.0", Commit: "abc"}})
	}()
	for {
		select {
		case code = <-ended:
			return code, b.String()
		case <-time.After(10 * time.Millisecond):
			if enough(b.String()) {
				stop()
			}
		}
	}
}

const minimal = "[core]\ndata_dir = DIR/app\n[meta_server]\nserver_list = 127.0.40.253:34601\n"

func TestStartWithBadConfig(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.40.252:34801")
	require.NoError(t, err)
	defer busy.Close()
	for _, c := range []struct {
		name, config string
		args         []string
		code         int
		says         string
	}{
		{"no arguments", minimal, nil, 1, "invalid options for dsn_run"},
		{"version", minimal, []string{"-v"}, 0, "Pegasus Server 2.5.0 (abc) Release\n"},
		{"missing file", minimal, []string{"nosuch.ini", "-app_list", "meta"}, 255, "ERROR: cannot open file nosuch.ini in "},
		{"empty file", "", []string{"CONFIG", "-app_list", "meta"}, 255, "run the system failed\ndsn exit with code -1\n"},
		{"garbage", "this is not an ini\n", []string{"CONFIG", "-app_list", "meta"}, 255, "(line 1): this is not an ini"},
		{"unknown role", minimal, []string{"CONFIG", "-app_list", "nosuchapp"}, 134, ""},
		{"port in use", minimal, []string{"CONFIG", "-app_list", "replica"}, 134, "error = Address already in use"},
		{"no server_list", "[core]\ndata_dir = DIR/app\n", []string{"CONFIG", "-app_list", "collector"}, 134, "no meta server specified"},
		{"malformed server_list", strings.Replace(minimal, ":34601", "", 1), []string{"CONFIG", "-app_list", "collector"}, 134,
			"invalid address '127.0.40.253' specified in config [meta_server].server_list"},
		{"data_dirs twice", minimal + "[replication]\ndata_dirs = a:/tmp/x,a:/tmp/y\n", []string{"CONFIG", "-app_list", "collector"}, 134, "dup in config"},
		{"lease not below grace", minimal + "[replication]\nfd_lease_seconds = 30\nfd_grace_seconds = 22\n",
			[]string{"CONFIG", "-app_list", "collector"}, 134, "grace_seconds > lease_seconds"},
		{"told to crash", minimal + "[simulator]\ncrash_at_start = true\n", []string{"CONFIG", "-app_list", "collector"}, 134, "crash_at_start"},
		{"bad number is taken for the default", minimal + "[replication]\nlb_interval_ms = abc\n",
			[]string{"CONFIG", "-app_list", "collector"}, killed, ""},
		{"one-box role with an index", minimal, []string{"CONFIG", "-app_list", "collector@1"}, killed, ""},
		{"ZooKeeper cannot be reached", minimal + "[zookeeper]\nhosts_list = 127.0.40.254:1\ntimeout_ms = 5000\n", []string{"CONFIG", "-app_list", "meta"}, killed,
			"init meta_state_service failed, err = ERR_TIMEOUT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			began := time.Now()
			code, out := program(t, c.config, func(out string) bool {
				return c.code == killed && time.Since(began) > 400*time.Millisecond && strings.Contains(out, c.says)
			}, c.args...)
			require.Equal(t, c.code, code, out)
			require.Contains(t, out, c.says)
		})
	}
}

func TestNeedsItsLibraryPath(t *testing.T) {
	b := &buffer{}
	code := pegasus.Run(t.Context(), pegasus.Options{Args: []string{"-v"}, Out: b, Err: b, Env: func(string) string { return "" }})
	require.Equal(t, 127, code)
	require.Contains(t, b.String(), "error while loading shared libraries: libdsn_replica_server.so: cannot open shared object file")
}

func TestPackagedVersion(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "VERSION"), []byte("Pegasus Server 2.5.1 (0123abc) linux-x86_64 release\n"), 0o644))
	require.Equal(t, pegasus.Version{Number: "2.5.1", Commit: "0123abc"}, pegasus.PackagedVersion(filepath.Join(dir, "bin", "pegasus_server")))
	require.Equal(t, "2.5.0", pegasus.PackagedVersion(filepath.Join(dir, "else", "bin", "pegasus_server")).Number)
}

func TestLifeOfAStartingMeta(t *testing.T) {
	// Slow starts: 1 s deaf, then 1 s without handlers.
	c := boot(t, shape{block: 16, metas: 1, replicas: 0, scale: "0.1", edit: func(s string) string { return s + "[simulator]\nstart_ms = 20000\n" }})
	m := c.metas[0].addr
	var seen []string
	c.until("it leads", func() bool {
		var r wire.ClusterInfoResponse
		state := "refused"
		if err := askBriefly(m, &wire.ClusterInfoRequest{}, &r); err == nil {
			state = string(r.Err)
		} else if !strings.Contains(err.Error(), "refused") {
			state = err.Error()
		}
		if len(seen) == 0 || seen[len(seen)-1] != state {
			seen = append(seen, state)
		}
		return state == "ERR_OK"
	})
	order := strings.Join(seen, " ")
	require.Contains(t, order, "no answer ERR_HANDLER_NOT_FOUND")
	require.True(t, strings.HasSuffix(order, "ERR_OK"), order)
}

func TestPipelinedAndSplitRequests(t *testing.T) {
	c := boot(t, shape{block: 17, metas: 1, replicas: 0, scale: fast})
	lead := c.leader()
	conn, err := net.Dial("tcp", lead.addr.String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	one := wire.EncodeAdmin(11, time.Second, &wire.ClusterInfoRequest{})
	two := wire.EncodeAdmin(12, time.Second, &wire.ListNodesRequest{})
	for _, b := range append(append([]byte{}, one...), two...) {
		_, err := conn.Write([]byte{b})
		require.NoError(t, err)
	}
	seqs := map[int32]bool{}
	r := bufio.NewReader(conn)
	for range 2 {
		a, err := wire.ReadAnswer(r)
		require.NoError(t, err)
		seqs[a.Seq] = true
	}
	require.Equal(t, map[int32]bool{11: true, 12: true}, seqs)
}

func TestWrongMagicIsClosedAtOnce(t *testing.T) {
	c := boot(t, shape{block: 18, metas: 1, replicas: 0, scale: fast})
	lead := c.leader()
	for _, text := range []string{"QUIT\r\n", "\x00\x00\x00\x00\x00"} {
		conn, err := net.Dial("tcp", lead.addr.String())
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(2*time.Second)))
		_, err = conn.Write([]byte(text))
		require.NoError(t, err)
		n, err := conn.Read(make([]byte, 1))
		require.Zero(t, n)
		require.Error(t, err)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	require.Equal(t, lead, c.leader(), "it still serves")
}

func TestHalfMadeTreeStopsEveryStart(t *testing.T) {
	c := boot(t, shape{block: 19, metas: 0, replicas: 0, scale: fast})
	conn, _, err := zk.Connect([]string{c.zk}, time.Second, zk.WithLogInfo(false))
	require.NoError(t, err)
	defer conn.Close()
	for _, n := range [][2]string{{"/pegasus", ""}, {"/pegasus/test", ""}, {"/pegasus/test/apps", "lock"}} {
		_, err := conn.Create(n[0], []byte(n[1]), 0, zk.WorldACL(zk.PermAll))
		require.NoError(t, err)
	}
	m := c.add("meta", 1, "127.0.40.251:34601")
	c.metas = append(c.metas, m)
	m.start()
	select {
	case <-m.done:
	case <-time.After(10 * time.Second):
		t.Fatal("it runs on")
	}
	require.Equal(t, 134, m.code)
	require.Contains(t, m.out.String(), "invalid transaction state(lock)")
}

// TestWithRealZooKeeper boots a cluster on Debian's ZooKeeper and has its
// leader fail over; it is skipped where the package is not installed.
func TestWithRealZooKeeper(t *testing.T) {
	if _, err := os.Stat("/usr/share/java/zookeeper.jar"); err != nil {
		t.Skip("package zookeeper is not installed")
	}
	dir := t.TempDir()
	config := fmt.Sprintf("tickTime=250\ndataDir=%s\nclientPort=22482\nclientPortAddress=127.0.40.250\nadmin.enableServer=false\n", dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "zoo.cfg"), []byte(config), 0o644))
	java := exec.Command("java", "-Xmx96m", "-cp", "/usr/share/java/zookeeper.jar:/usr/share/java/*",
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", filepath.Join(dir, "zoo.cfg"))
	require.NoError(t, java.Start())
	t.Cleanup(func() {
		_ = java.Process.Kill() // nothing is worth keeping
		_ = java.Wait()
	})
	c := booted(t, shape{block: 20, metas: 3, replicas: 3, scale: "0.05", edit: func(s string) string {
		return strings.ReplaceAll(s, "%{zk.server.list}", "127.0.40.250:22482")
	}})
	require.NoError(t, c.put(1, "x"))
	old := c.leader()
	old.crash()
	c.until("another meta leads", func() bool { return c.leader() != old })
	// The session outlasted the scaled lease, so servers stopped serving for a while.
	c.until("the value is there", func() bool { v, err := c.get(1); return err == nil && v == "x" })
}
