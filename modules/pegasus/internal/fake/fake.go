// Package fake is a small Pegasus cluster in memory, for tests of the client and the modules: meta
// servers of which one leads, replica servers, and rounds in which proposals are carried out. Its
// connections are pipes; nothing listens.
package fake

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// Cluster is the cluster. Lock Mu to look at it or change it.
type Cluster struct {
	Mu sync.Mutex
	// Metas are addresses; Leader is one of them, or empty.
	Metas  []string
	Leader string
	// Dead servers refuse connections, Mute ones take requests and never answer.
	Dead, Mute map[string]bool
	// Named gives nodes host names, as 2.6 does, and makes remote commands answer in JSON.
	Named bool
	// NoHTTP lets replica servers answer no counters over HTTP.
	NoHTTP bool
	// Stuck refuses every proposal until the level is set.
	Stuck bool
	// Idle makes the leader take proposals and carry none out.
	Idle bool
	// Balances makes the leader spread replicas evenly while the level is lively.
	Balances bool
	// Freezed makes the effective level freezed.
	Freezed bool

	// Release is whose answers are given, such as "1.12"; empty is 2.5. From 2.6 on nodes have names.
	Release string
	// NoTables makes the leader list no table, Partial leave one partition of each out, Unsaid not say its level.
	NoTables, Partial, Unsaid bool
	// Counters is what replica servers answer for their counters, over HTTP too; empty: what is so.
	Counters string
	// OnPropose and OnLevel are called before a proposal is taken and after a level was set. Mu is held.
	OnPropose, OnLevel func()
	// Asked counts requests by their code, and pages by their path.
	Asked map[string]int

	// Recovering is a leader that waits to be recovered.
	Recovering bool
	// Backups are those of single tables; BackupsFail lets them fail.
	Backups     []wire.Backup
	BackupsFail bool
	Policies    []wire.BackupPolicy

	Level    wire.Level
	Settings map[string]string
	Nodes    []*Node
	Tables   []*Table
	// Commands are all remote commands received, "addr command arguments".
	Commands []string
	// Proposals counts those accepted, and LevelSets how often the level was set.
	LevelSets int
	Proposals int
	// Problems are requests that would make a real server abort.
	Problems []string

	t         testing.TB
	restoring int32
	queue     map[wire.GPID][]wire.ProposalAction
}

// Node is a replica server.
type Node struct {
	Addr    wire.Address
	Alive   bool
	Started string
	Version string
	// Replicas are those in its memory; Closing are on their way out.
	Replicas map[wire.GPID]wire.ReplicaStatus
	Closing  int
	// Rates are its limits of copying, by their commands.
	Rates map[string]string
}

// Table is a table.
type Table struct {
	wire.AppInfo
	Partitions []wire.PartitionConfig
	Data       map[string][]byte
}

// Meta and Replica give the addresses of the cluster's servers, counted from 1.
func Meta(i int) string    { return fmt.Sprintf("10.9.0.%d:34601", i) }
func Replica(i int) string { return fmt.Sprintf("10.9.1.%d:34801", i) }

// New makes a cluster and runs it, one round each given time, until the test ends.
func New(t testing.TB, metas, replicas int, round time.Duration) *Cluster {
	c := &Cluster{t: t, Level: wire.LevelSteady, Dead: map[string]bool{}, Mute: map[string]bool{}, Asked: map[string]int{}, queue: map[wire.GPID][]wire.ProposalAction{}}
	for i := range metas {
		c.Metas = append(c.Metas, Meta(i+1))
	}
	c.Leader = c.Metas[0]
	c.reset()
	for i := range replicas {
		addr, err := wire.ParseAddress(Replica(i + 1))
		if err != nil {
			t.Fatal(err)
		}
		c.Nodes = append(c.Nodes, &Node{Addr: addr, Alive: true, Started: "2026-01-01 10:00:00", Version: "2.5.0", Replicas: map[wire.GPID]wire.ReplicaStatus{},
			Rates: map[string]string{"nfs.max_copy_rate_megabytes_per_disk": "500", "nfs.max_send_rate_megabytes_per_disk": "500"}})
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ticker := time.NewTicker(round); ; {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				c.round()
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if len(c.Problems) > 0 {
			t.Errorf("a real server would have aborted: %v", c.Problems)
		}
	})
	return c
}

// reset is what a meta server has in its memory when it starts to lead.
func (c *Cluster) reset() {
	c.Level = wire.LevelSteady
	clear(c.queue)
	c.Settings = map[string]string{"meta.lb.assign_delay_ms": "600000", "meta.lb.add_secondary_max_count_for_one_node": "20",
		"meta.lb.add_secondary_enable_flow_control": "true", "meta.lb.assign_secondary_black_list": "",
		onlyMovePrimary: "false"}
}

// Failover makes another meta server lead.
func (c *Cluster) Failover(to string) {
	c.Mu.Lock()
	defer c.Mu.Unlock()
	c.Leader = to
	c.reset()
}

// AddTable makes a healthy table, its replicas spread over the nodes.
func (c *Cluster) AddTable(name string, partitions, replicas int) {
	c.Mu.Lock()
	defer c.Mu.Unlock()
	c.addTable(name, partitions, replicas)
	c.assign()
}

func (c *Cluster) addTable(name string, partitions, replicas int) *Table {
	t := &Table{Data: map[string][]byte{}, AppInfo: wire.AppInfo{Status: wire.AppAvailable, Type: "pegasus", Name: name, ID: int32(len(c.Tables) + 1),
		PartitionCount: int32(partitions), Envs: map[string]string{}, Stateful: true, MaxReplicaCount: int32(replicas), CreateSecond: 1700000000}}
	for i := range partitions {
		t.Partitions = append(t.Partitions, wire.PartitionConfig{PID: wire.GPID{App: t.ID, Index: int32(i)}, MaxReplicaCount: int32(replicas)})
	}
	c.Tables = append(c.Tables, t)
	return t
}

// assign gives partitions that never had a replica theirs.
func (c *Cluster) assign() {
	for _, t := range c.Tables {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			if p.Ballot > 0 || t.Status != wire.AppAvailable {
				continue
			}
			p.Ballot = 3
			for j := range int(p.MaxReplicaCount) {
				n := c.Nodes[(i+j)%len(c.Nodes)]
				if j == 0 {
					p.Primary = n.Addr
					n.Replicas[p.PID] = wire.ReplicaPrimary
				} else {
					p.Secondaries = append(p.Secondaries, n.Addr)
					n.Replicas[p.PID] = wire.ReplicaSecondary
				}
			}
		}
	}
}

func (c *Cluster) node(addr wire.Address) *Node {
	for _, n := range c.Nodes {
		if n.Addr == addr {
			return n
		}
	}
	return nil
}

// round carries proposals out and gives partitions back what they lack.
func (c *Cluster) round() {
	c.Mu.Lock()
	defer c.Mu.Unlock()
	if c.Leader == "" || c.Freezed || c.Idle {
		return
	}
	c.assign()
	held := c.Settings["meta.lb.add_secondary_enable_flow_control"] == "true" && c.Settings["meta.lb.add_secondary_max_count_for_one_node"] == "0"
	for _, t := range c.Tables {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			actions := c.queue[p.PID]
			delete(c.queue, p.PID)
			for _, a := range actions {
				c.carryOut(p, a)
			}
			if !held && len(actions) == 0 && len(p.Secondaries) < int(p.MaxReplicaCount)-1 && len(p.LastDrops) > 0 {
				back := p.LastDrops[len(p.LastDrops)-1]
				if n := c.node(back); n != nil && n.Alive {
					p.LastDrops = p.LastDrops[:len(p.LastDrops)-1]
					p.Secondaries = append(p.Secondaries, back)
					n.Replicas[p.PID] = wire.ReplicaSecondary
					p.Ballot++
				}
			}
		}
	}
	if c.Balances && c.Level == wire.LevelLively {
		c.balance()
	}
	for _, n := range c.Nodes {
		n.Closing = max(0, n.Closing-2)
	}
}

func (c *Cluster) carryOut(p *wire.PartitionConfig, a wire.ProposalAction) {
	node, target := a.Node.Address, a.Target.Address
	member := slices.Contains(p.Secondaries, node)
	drop := func() {
		p.Secondaries = slices.DeleteFunc(p.Secondaries, func(x wire.Address) bool { return x == node })
	}
	switch {
	case c.node(node) == nil || c.node(target) == nil:
		return
	case a.Type == wire.DowngradeToSecondary && target == p.Primary && node == target:
		p.Primary = 0
		p.Secondaries = append(p.Secondaries, node)
		c.node(node).Replicas[p.PID] = wire.ReplicaSecondary
	case a.Type == wire.UpgradeToPrimary && p.Primary == 0 && member:
		drop()
		p.Primary = node
		c.node(node).Replicas[p.PID] = wire.ReplicaPrimary
	case a.Type == wire.DowngradeToInactive && target == p.Primary && member:
		drop()
		p.LastDrops = append(p.LastDrops, node)
		c.node(node).Replicas[p.PID] = wire.ReplicaInactive
	case (a.Type == wire.AddSecondary || a.Type == wire.AddSecondaryForLB) && target == p.Primary && !member:
		p.Secondaries = append(p.Secondaries, node)
		c.node(node).Replicas[p.PID] = wire.ReplicaSecondary
	default:
		return
	}
	p.Ballot++
}

// Dial connects to a server of the cluster.
func (c *Cluster) Dial(_ context.Context, network, addr string) (net.Conn, error) {
	c.Mu.Lock()
	defer c.Mu.Unlock()
	parsed, err := wire.ParseAddress(addr)
	node := c.node(parsed)
	if err != nil || c.Dead[addr] || !slices.Contains(c.Metas, addr) && node == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("connect %s: connection refused", addr)}
	}
	near, far := net.Pipe()
	go c.serve(addr, node, far)
	return near, nil
}

func (c *Cluster) serve(addr string, node *Node, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	self, _ := wire.ParseAddress(addr)
	for r := bufio.NewReader(conn); ; {
		rpc, err := wire.Sniff(r)
		if err != nil {
			return
		}
		if !rpc {
			c.serveHTTP(node, r, conn)
			return
		}
		in, err := wire.ReadIncoming(r, self)
		if err == nil && node == nil && in.PID.App > 0 {
			err = &wire.FrameError{Problem: "a table in a request to a meta server", Fatal: true}
		}
		var bad *wire.FrameError
		if errors.As(err, &bad) {
			c.Mu.Lock()
			c.Problems = append(c.Problems, bad.Problem)
			c.Mu.Unlock()
		}
		if err != nil {
			return
		}
		c.Mu.Lock()
		c.Asked[string(in.Code)]++
		dead, mute := c.Dead[addr], c.Mute[addr]
		var answer []byte
		if !dead && !mute {
			answer = c.answer(addr, node, in)
		}
		c.Mu.Unlock()
		if dead {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

func (c *Cluster) serveHTTP(node *Node, r *bufio.Reader, conn net.Conn) {
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	c.Mu.Lock()
	c.Asked[req.URL.Path]++
	status, body := c.page(node, req)
	c.Mu.Unlock()
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d x\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
}

func (c *Cluster) page(node *Node, req *http.Request) (status int, body string) {
	started, version := "2026-01-01 09:00:00", "2.5.0"
	if node != nil {
		started, version = node.Started, node.Version
	}
	switch {
	case req.URL.Path == "/recentStartTime":
		return 200, fmt.Sprintf(`{"RecentStartTime":%q}`+"\n", started)
	case req.URL.Path == "/version":
		return 200, fmt.Sprintf(`{"Version":%q,"GitCommit":"abc"}`+"\n", version)
	case req.URL.Path == "/metrics" && node != nil && !c.NoHTTP && c.from("2.6"):
		return 200, fmt.Sprintf(`{"entities":[{"type":"server","metrics":[{"name":"total_replicas","value":%d},{"name":"opening_replicas","value":0},{"name":"closing_replicas","value":%d}]}]}`,
			len(node.Replicas), node.Closing)
	case req.URL.Path == "/perfCounter" && node != nil && !c.NoHTTP && !c.from("2.6"):
		name := strings.TrimPrefix(req.URL.Query().Get("name"), "replica*eon.replica_stub*")
		value, ok := map[string]int{"replica(Count)": len(node.Replicas), "opening.replica(Count)": 0, "closing.replica(Count)": node.Closing}[name]
		if !ok {
			return 200, "{}\n"
		}
		text := fmt.Sprintf("%d.00", value)
		if c.Counters != "" {
			text = c.Counters
		}
		return 200, fmt.Sprintf(`{"name":%q,"value":%q,"type":"NUMBER","description":""}`+"\n", name, text)
	}
	return 404, "service not found"
}

// from says whether the cluster's release is that one or a later one.
func (c *Cluster) from(release string) bool {
	number := func(text string) (n int) {
		if text == "" {
			text = "2.5"
		}
		var major, minor int
		_, _ = fmt.Sscanf(text, "%d.%d", &major, &minor)
		return major*100 + minor
	}
	return number(c.Release) >= number(release)
}
