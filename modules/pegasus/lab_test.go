package pegasus_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	lab "github.com/pegbook/pegbook/lab/pegasus"
	"github.com/pegbook/pegbook/lab/zookeeper"
	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/modules/pegasus"
)

// simulated is a cluster of simulated servers in this process, on 127.0.30.x.
type simulated struct {
	t        *testing.T
	dir      string
	zk       string
	host     *modtest.Machine
	metas    []*process
	replicas []*process
}

// process is one simulated server.
type process struct {
	name, addr string
	kill       context.CancelFunc
	term       chan os.Signal
	done       chan struct{}
	out        lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// scale is how long the simulated servers' times are, compared with production.
const scale = 0.1

func simulate(t *testing.T) *simulated {
	t.Helper()
	s := &simulated{t: t, dir: t.TempDir(), host: modtest.NewMachine("lab")}
	s.host.OnDial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "libdsn_replica_server.so"), nil, 0o644))
	zk, err := zookeeper.Listen(t.Context(), zookeeper.Options{Addr: "127.0.30.10:0", Tick: 50 * time.Millisecond})
	require.NoError(t, err)
	s.zk = zk.Addr()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- zk.Serve(ctx) }()
	t.Cleanup(func() {
		for _, p := range append(s.metas, s.replicas...) {
			p.kill()
			<-p.done
			assert.NotContains(t, p.out.String(), "HAZARD", "%s was sent what aborts a real server", p.name)
		}
		stop()
		<-done
	})
	for i := 1; i <= 3; i++ {
		s.metas = append(s.metas, &process{name: fmt.Sprintf("meta%d", i), addr: fmt.Sprintf("127.0.30.%d:34601", 10+i)})
	}
	for i := 1; i <= 5; i++ {
		s.replicas = append(s.replicas, &process{name: fmt.Sprintf("replica%d", i), addr: fmt.Sprintf("127.0.30.%d:34801", 20+i)})
	}
	for _, p := range append(s.metas, s.replicas...) {
		s.start(p)
	}
	return s
}

func (s *simulated) start(p *process) {
	s.t.Helper()
	raw, err := os.ReadFile("../../lab/pegasus/package/config.ini")
	require.NoError(s.t, err)
	dir := filepath.Join(s.dir, p.name)
	require.NoError(s.t, os.MkdirAll(dir, 0o755))
	config := strings.NewReplacer("%{cluster.name}", "test", "%{meta.server.list}", s.metaList(), "%{zk.server.list}", s.zk,
		"%{app.dir}", dir+"/app", "%{slog.dir}", dir+"/slog", "%{home.dir}", dir, "%{data.dirs}", "ssd1:"+dir+"/ssd1").Replace(string(raw))
	path := filepath.Join(dir, "config.ini")
	require.NoError(s.t, os.WriteFile(path, []byte(config), 0o644))
	ip, _, _ := strings.Cut(p.addr, ":")
	env := map[string]string{"LD_LIBRARY_PATH": s.dir, lab.ScaleEnv: fmt.Sprint(scale), lab.AddressEnv: ip}
	ctx, kill := context.WithCancel(context.Background())
	term, done := make(chan os.Signal, 1), make(chan struct{})
	p.kill, p.term, p.done = kill, term, done
	go func() {
		defer close(done)
		lab.Run(ctx, lab.Options{Args: []string{path, "-app_list", strings.TrimRight(p.name, "0123456789")}, Out: &p.out, Err: &p.out,
			Env: func(k string) string { return env[k] }, Version: lab.Version{Number: "2.5.0", Commit: "abc"}, Signals: term})
	}()
}

func (p *process) stop() {
	p.term <- os.Interrupt
	<-p.done
}

func (s *simulated) metaList() string {
	var list []string
	for _, m := range s.metas {
		list = append(list, m.addr)
	}
	return strings.Join(list, ",")
}

// do runs a task; a changing one must have nothing to do the second time.
func (s *simulated) do(name, args string) (out string, diffs int, err error) {
	s.t.Helper()
	all := map[string]json.RawMessage{}
	require.NoError(s.t, json.Unmarshal([]byte(args), &all))
	if name != "pegasus_server" {
		all["meta_servers"], _ = json.Marshal(s.metaList())
	}
	if all["timeout"] == nil {
		all["timeout"] = json.RawMessage(`"40s"`)
	}
	raw, _ := json.Marshal(all)
	for _, m := range pegasus.All() {
		if m.Name != name {
			continue
		}
		started := time.Now()
		p, err := m.Propose(s.t.Context(), &modules.Call{Host: s.host, Note: s.t.Logf}, raw)
		if err != nil {
			return "", 0, err
		}
		if p.Do != nil {
			err = p.Do(s.t.Context(), s.host)
		}
		raw, jsonErr := json.Marshal(p.Output)
		require.NoError(s.t, jsonErr)
		s.t.Logf("%s took %s: %d differences", name, time.Since(started).Round(time.Millisecond), len(p.Diff))
		return string(raw), len(p.Diff), err
	}
	s.t.Fatalf("there is no module %s", name)
	return "", 0, nil
}

func (s *simulated) must(name, args string) string {
	s.t.Helper()
	out, _, err := s.do(name, args)
	require.NoError(s.t, err, name)
	return out
}

// TestRollingUpdateOfTheSimulation carries one replica server and the leading meta server through a rolling
// update, with a failover in the middle.
func TestRollingUpdateOfTheSimulation(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	t.Parallel()
	s := simulate(t)
	var nodes []string
	for _, r := range s.replicas {
		nodes = append(nodes, r.addr)
	}
	list, _ := json.Marshal(nodes)
	healthy := fmt.Sprintf(`{"system": "pegasus", "nodes": %s}`, list)
	s.must("wait_healthy", healthy)
	s.must("pegasus_shell", `{"cmd": "create canary -p 8 -r 3"}`)
	s.must("wait_healthy", healthy)

	node := fmt.Sprintf(`{"node": %q, "round": "%.1fs"}`, nodes[0], 10*scale)
	const hold = `{"level": "steady", "settings": {"assign_delay_ms": 3600000, "add_secondary_max_count_for_one_node": 0, "add_secondary_enable_flow_control": true}}`
	s.must("pegasus_settings", hold)
	for _, step := range []string{"migrate_primaries", "downgrade_secondaries", "close_replicas"} {
		_, diffs, err := s.do(step, node)
		require.NoError(t, err, step)
		assert.Positive(t, diffs, step)
		_, diffs, err = s.do(step, node)
		require.NoError(t, err, step)
		assert.Zero(t, diffs, "%s again", step)
	}
	var before struct{ Started string }
	require.NoError(t, json.Unmarshal([]byte(s.must("pegasus_server", fmt.Sprintf(`{"address": %q}`, nodes[0]))), &before))
	s.replicas[0].stop()
	time.Sleep(time.Second) // start times are whole seconds
	s.start(s.replicas[0])
	s.must("pegasus_server", fmt.Sprintf(`{"address": %q, "started_after": %q, "version": "2.5.0", "loaded": true}`, nodes[0], before.Started))
	s.must("pegasus_settings", `{"settings": {"add_secondary_max_count_for_one_node": 100}}`)
	s.must("wait_healthy", healthy)

	var leading struct{ Leader string }
	require.NoError(t, json.Unmarshal([]byte(s.must("pegasus_settings", `{}`)), &leading))
	for _, m := range s.metas {
		if m.addr == leading.Leader {
			m.stop()
			s.start(m)
		}
	}
	s.must("wait_healthy", healthy)
	out, diffs, err := s.do("pegasus_settings", hold)
	require.NoError(t, err)
	assert.Positive(t, diffs, "a new leader has forgotten")
	assert.NotContains(t, out, leading.Leader)
	assert.Contains(t, s.must("pegasus_shell", `{"cmd": "nodes -d"}`), `"alive_node_count    : 5"`)
}
