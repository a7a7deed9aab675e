package pegasus_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/pegasus"
	"github.com/pegbook/pegbook/lab/zookeeper"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// server is one simulated process of a test.
type server struct {
	c    *cluster
	name string // role and number: meta1
	addr netip.AddrPort
	dir  string

	kill context.CancelFunc
	term chan os.Signal
	done chan struct{}
	out  *buffer
	code int
}

// buffer is output that can be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// cluster is a whole simulated cluster on 127.0.40.x and up.
type cluster struct {
	t        *testing.T
	dir      string
	template string
	scale    string
	version  string
	zk       string
	metas    []*server
	replicas []*server
	all      map[string]*server
}

// shape is a cluster to boot. Clusters run at the same time, each in its block
// of ten addresses.
type shape struct {
	net, block      int // 0 to 29 and 1 to 24
	metas, replicas int
	scale           string
	edit            func(config string) string
	// mortal servers are given up after the template's times. Others never are: a
	// machine so busy that a beacon comes late must not kill what the test needs.
	mortal  bool
	via     func(zookeeper string) string // what the servers are told to go through
	version string                        // "" is 2.5.0
}

func boot(t *testing.T, s shape) *cluster {
	t.Helper()
	t.Parallel()
	host := func(i int) string { return fmt.Sprintf("127.0.%d.%d", 40+s.net, 10*s.block+i) }
	raw, err := os.ReadFile("package/config.ini")
	require.NoError(t, err)
	c := &cluster{t: t, dir: t.TempDir(), template: string(raw), scale: s.scale, version: cmp.Or(s.version, "2.5.0"), all: map[string]*server{}}
	tick := 50 * time.Millisecond
	if !s.mortal {
		c.template, tick = patient(t, c.template), 500*time.Millisecond
	}
	if s.edit != nil {
		c.template = s.edit(c.template)
	}
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "libdsn_replica_server.so"), nil, 0o644))
	zk, err := zookeeper.Listen(t.Context(), zookeeper.Options{Addr: host(0) + ":0", Tick: tick})
	require.NoError(t, err)
	c.zk = zk.Addr()
	if s.via != nil {
		c.zk = s.via(c.zk)
	}
	ctx, stop := context.WithCancel(context.Background())
	zkDone := make(chan error, 1)
	go func() { zkDone <- zk.Serve(ctx) }()
	t.Cleanup(func() {
		for _, p := range c.all {
			p.crash()
		}
		stop()
		<-zkDone
	})
	for i := 1; i <= s.metas; i++ {
		c.metas = append(c.metas, c.add("meta", i, host(i)+":34601"))
	}
	for i := 1; i <= s.replicas; i++ {
		c.replicas = append(c.replicas, c.add("replica", i, host(3+i)+":34801"))
	}
	for _, p := range c.all {
		p.start()
	}
	return c
}

// patient is a configuration whose servers wait long for each other.
func patient(t *testing.T, config string) string {
	for _, line := range []string{"fd_lease_seconds = 20", "fd_grace_seconds = 22", "prepare_timeout_ms_for_secondaries = 3000",
		"timeout_ms = 10000"} {
		require.Contains(t, config, line+"\n")
		config = strings.Replace(config, line+"\n", line+"000\n", 1)
	}
	return config
}

func (c *cluster) add(role string, i int, addr string) *server {
	s := &server{c: c, name: fmt.Sprintf("%s%d", role, i), addr: netip.MustParseAddrPort(addr)}
	s.dir = filepath.Join(c.dir, s.name)
	c.all[s.name] = s
	return s
}

func (s *server) role() string { return strings.TrimRight(s.name, "0123456789") }

func (s *server) start() {
	c := s.c
	var list []string
	for _, m := range c.metas {
		list = append(list, m.addr.String())
	}
	require.NoError(c.t, os.MkdirAll(s.dir, 0o755))
	config := strings.NewReplacer("%{cluster.name}", "test", "%{meta.server.list}", strings.Join(list, ","),
		"%{zk.server.list}", c.zk, "%{app.dir}", s.dir+"/app", "%{slog.dir}", s.dir+"/slog", "%{home.dir}", s.dir,
		"%{data.dirs}", "ssd1:"+s.dir+"/ssd1,ssd2:"+s.dir+"/ssd2").Replace(c.template)
	if s.role() == "replica" {
		config = strings.Replace(config, "  ports = 34801\n", fmt.Sprintf("  ports = %d\n", s.addr.Port()), 1)
	}
	path := filepath.Join(s.dir, "config.ini")
	require.NoError(c.t, os.WriteFile(path, []byte(config), 0o644))
	ctx, kill := context.WithCancel(context.Background())
	s.kill, s.term, s.done, s.out = kill, make(chan os.Signal, 1), make(chan struct{}), &buffer{}
	env := map[string]string{"LD_LIBRARY_PATH": c.dir, pegasus.ScaleEnv: c.scale, pegasus.AddressEnv: s.addr.Addr().String()}
	go func() {
		defer close(s.done)
		s.code = pegasus.Run(ctx, pegasus.Options{Args: []string{path, "-app_list", s.role()}, Out: s.out, Err: s.out,
			Env: func(k string) string { return env[k] }, Version: pegasus.Version{Number: c.version, Commit: "abc"}, Signals: s.term})
	}()
}

// crash is kill -9.
func (s *server) crash() {
	s.kill()
	<-s.done
}

// stop is SIGTERM.
func (s *server) stop() {
	s.term <- os.Interrupt
	<-s.done
}

var (
	errNoAnswer  = errors.New("no answer")
	errNoPrimary = errors.New("no primary")
)

func ask[R wire.Reply](to netip.AddrPort, q wire.AdminRequest[R], into R) error {
	return exchange(to, wire.EncodeAdmin(7, time.Second, q), into)
}

// askBriefly is for servers that are not expected to answer.
func askBriefly[R wire.Reply](to netip.AddrPort, q wire.AdminRequest[R], into R) error {
	return exchangeWithin(500*time.Millisecond, to, wire.EncodeAdmin(7, time.Second, q), into)
}

func exchange(to netip.AddrPort, frame []byte, into wire.Reply) error {
	return exchangeWithin(patience, to, frame, into)
}

func exchangeWithin(limit time.Duration, to netip.AddrPort, frame []byte, into wire.Reply) error {
	conn, err := net.DialTimeout("tcp", to.String(), limit)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(limit))
	if _, err := conn.Write(frame); err != nil {
		return err
	}
	a, err := wire.ReadAnswer(bufio.NewReader(conn))
	if err != nil {
		return errNoAnswer
	}
	if a.Err != wire.OK {
		return errors.New(string(a.Err))
	}
	return a.Decode(into)
}

// leader waits for the meta that answers as leader.
func (c *cluster) leader() *server {
	c.t.Helper()
	var found *server
	c.until("a meta leads", func() bool {
		for _, m := range c.metas {
			var r wire.ClusterInfoResponse
			if ask(m.addr, &wire.ClusterInfoRequest{}, &r) == nil && r.Err == wire.OK {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

func (c *cluster) until(what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	for name, s := range c.all {
		c.t.Logf("%s: %s", name, tail(s))
	}
	c.t.Fatalf("not reached in a minute: %s", what)
}

func tail(s *server) string {
	raw, _ := os.ReadFile(filepath.Join(s.dir, "app/log/log.1.txt"))
	lines := strings.Split(string(raw), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

func (c *cluster) command(to *server, name string, args ...string) string {
	c.t.Helper()
	var r wire.CommandResponse
	require.NoError(c.t, ask(to.addr, &wire.CommandRequest{Command: name, Arguments: args}, &r))
	return r.Text
}

func (c *cluster) config(table string) *wire.QueryConfigResponse {
	var r wire.QueryConfigResponse
	if err := ask(c.leader().addr, &wire.QueryConfigRequest{AppName: table}, &r); err != nil {
		return &wire.QueryConfigResponse{}
	}
	return &r
}

// tables are those of the template.
func tables() []string { return []string{"stat", "temp"} }

func (c *cluster) healthy() bool {
	for _, t := range tables() {
		r := c.config(t)
		if len(r.Partitions) == 0 {
			return false
		}
		for _, p := range r.Partitions {
			if p.Primary == 0 || len(p.Secondaries) != 2 {
				return false
			}
		}
	}
	return true
}

// counts are a node's primaries and secondaries in the meta's view.
func (c *cluster) counts(s *server) (primaries, secondaries int) {
	a := wire.AddressOf(s.addr)
	for _, t := range tables() {
		for _, p := range c.config(t).Partitions {
			if p.Primary == a {
				primaries++
			}
			for _, x := range p.Secondaries {
				if x == a {
					secondaries++
				}
			}
		}
	}
	return primaries, secondaries
}

func (c *cluster) nodes() map[string]wire.NodeStatus {
	var r wire.ListNodesResponse
	out := map[string]wire.NodeStatus{}
	if ask(c.leader().addr, &wire.ListNodesRequest{}, &r) == nil {
		for _, n := range r.Nodes {
			out[n.Node.String()] = n.Status
		}
	}
	return out
}

// pegasusKey spreads over partitions by its number.
func pegasusKey(t *testing.T, i int) wire.Key {
	k, err := wire.NewKey(fmt.Appendf(nil, "key%d", i), nil)
	require.NoError(t, err)
	return k
}

// put writes a key through whoever is primary.
func (c *cluster) put(i int, value string) error {
	r := c.config("temp")
	if len(r.Partitions) == 0 {
		return errNoPrimary
	}
	table := wire.Table{ID: r.AppID, PartitionCount: r.PartitionCount}
	q := &wire.PutRequest{Key: pegasusKey(c.t, i), Value: []byte(value)}
	pid := table.Partition(q.Key)
	if r.Partitions[pid.Index].Primary == 0 {
		return errNoPrimary
	}
	frame, err := wire.EncodeData(1, patience, table, q)
	require.NoError(c.t, err)
	var u wire.UpdateResponse
	if err := exchange(netip.MustParseAddrPort(r.Partitions[pid.Index].Primary.String()), frame, &u); err != nil {
		return err
	}
	if u.Error != 0 {
		return fmt.Errorf("store says %d", u.Error)
	}
	return nil
}

func (c *cluster) get(i int) (string, error) { return c.getFrom("temp", i) }

func (c *cluster) getFrom(name string, i int) (string, error) {
	r := c.config(name)
	if len(r.Partitions) == 0 {
		return "", errNoPrimary
	}
	table := wire.Table{ID: r.AppID, PartitionCount: r.PartitionCount}
	q := &wire.GetRequest{Key: pegasusKey(c.t, i)}
	frame, err := wire.EncodeData(1, patience, table, q)
	require.NoError(c.t, err)
	primary := r.Partitions[table.Partition(q.Key).Index].Primary
	if primary == 0 {
		return "", errNoPrimary
	}
	var g wire.GetResponse
	if err := exchange(netip.MustParseAddrPort(primary.String()), frame, &g); err != nil {
		return "", err
	}
	return string(g.Value), nil
}
