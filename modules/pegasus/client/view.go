package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// View is a cluster as its leader sees it.
type View struct {
	Nodes []wire.NodeInfo
	// Tables are those that the leader lists and that are not dropped, by id.
	Tables []TableView
}

// TableView is a table with all its partitions; a table that is not available has none.
type TableView struct {
	wire.AppInfo
	Partitions []wire.PartitionConfig
}

// View reads the nodes, the tables and every partition of the available ones from the leader.
func (c *Client) View(ctx context.Context) (*View, error) {
	if _, err := c.Leader(ctx); err != nil { // once, and not by each of the readings below
		return nil, err
	}
	v := &View{}
	var apps []wire.AppInfo
	group, within := errgroup.WithContext(ctx)
	group.Go(func() (err error) { v.Nodes, err = c.Nodes(within); return err })
	group.Go(func() (err error) { apps, err = c.Apps(within); return err })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, app := range apps {
		if app.Status != wire.AppDropped {
			v.Tables = append(v.Tables, TableView{AppInfo: app})
		}
	}
	if err := c.readPartitions(ctx, v, func(*TableView) bool { return true }); err != nil {
		return nil, err
	}
	return v, nil
}

// Again reads the partitions of some tables of a view once more, and nothing else: one request for each of
// them. Nodes and other tables are as they were. It is for looking at what has been seen whole before, and
// proves no end: a table may have been made since.
func (c *Client) Again(ctx context.Context, v *View, watched func(t *TableView) bool) (*View, error) {
	now := &View{Nodes: v.Nodes, Tables: slices.Clone(v.Tables)}
	if err := c.readPartitions(ctx, now, watched); err != nil {
		return nil, err
	}
	return now, nil
}

func (c *Client) readPartitions(ctx context.Context, v *View, watched func(t *TableView) bool) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i := range v.Tables {
		table := &v.Tables[i]
		if table.Status != wire.AppAvailable || !watched(table) {
			continue
		}
		group.Go(func() (err error) {
			table.Partitions, err = c.Partitions(ctx, table.Name)
			var refused *ServerError
			if errors.As(err, &refused) && refused.Err == wire.ObjectNotFound {
				// Dropped since it was listed.
				table.Status, err = wire.AppDropping, nil
			}
			return err
		})
	}
	return group.Wait()
}

// Nodes lists the replica servers, by address.
func (c *Client) Nodes(ctx context.Context) ([]wire.NodeInfo, error) {
	reply, err := Read(ctx, c, &wire.ListNodesRequest{Status: wire.NodeAny})
	if err != nil {
		return nil, err
	}
	for _, n := range reply.Nodes {
		if n.Node.Address == 0 {
			return nil, fmt.Errorf("node %s has no IPv4 address; pegbook knows nodes by theirs", n.Node)
		}
	}
	slices.SortFunc(reply.Nodes, func(a, b wire.NodeInfo) int { return strings.Compare(a.Node.String(), b.Node.String()) })
	return reply.Nodes, nil
}

// Apps lists the tables in every state, by id.
func (c *Client) Apps(ctx context.Context) ([]wire.AppInfo, error) {
	reply, err := Read(ctx, c, &wire.ListAppsRequest{Status: wire.AppAny})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(reply.Apps, func(a, b wire.AppInfo) int { return int(a.ID) - int(b.ID) })
	return reply.Apps, nil
}

// Partitions reads where a table's partitions are. Anything but all of them, each once and with the number
// of replicas that it should have, is an error: what was left out would pass for healthy.
func (c *Client) Partitions(ctx context.Context, table string) ([]wire.PartitionConfig, error) {
	reply, err := Read(ctx, c, &wire.QueryConfigRequest{AppName: table})
	if err != nil {
		return nil, err
	}
	if len(reply.Partitions) == 0 || len(reply.Partitions) != int(reply.PartitionCount) {
		return nil, fmt.Errorf("the meta server told of %d of the %d partitions of table %s", len(reply.Partitions), reply.PartitionCount, table)
	}
	slices.SortFunc(reply.Partitions, func(a, b wire.PartitionConfig) int { return a.PID.Compare(b.PID) })
	for i := range reply.Partitions {
		p := &reply.Partitions[i]
		if int(p.PID.Index) != i || p.PID.App != reply.AppID {
			return nil, fmt.Errorf("the meta server told of partition %s in the place of %d.%d, of table %s", p.PID, reply.AppID, i, table)
		}
		if p.MaxReplicaCount < 1 {
			return nil, fmt.Errorf("the meta server does not say how many replicas partition %s should have", p.PID)
		}
	}
	return reply.Partitions, nil
}

// ClusterInfo reads the leader's description of the cluster.
func (c *Client) ClusterInfo(ctx context.Context) (*wire.ClusterInfoResponse, error) {
	return Read(ctx, c, &wire.ClusterInfoRequest{})
}

// Level reads the function level that is set, which a freeze does not show in.
func (c *Client) Level(ctx context.Context) (wire.Level, error) {
	reply, err := Read(ctx, c, &wire.ControlMetaRequest{Level: wire.LevelQuery})
	if err != nil {
		return 0, err
	}
	return reply.OldLevel, nil
}

// SetLevel sets the function level. Steady and below also drop every pending proposal of every table.
func (c *Client) SetLevel(ctx context.Context, level wire.Level) error {
	_, err := Order(ctx, c, &wire.ControlMetaRequest{Level: level})
	var silent *NoAnswerError
	if errors.As(err, &silent) && silent.Sent {
		// Asking tells whether it arrived.
		if now, readErr := c.Level(ctx); readErr == nil && now == level {
			return nil
		}
	}
	return err
}

// Health counts the partitions of a table as the Pegasus shell does: Unhealthy includes the other two.
type Health struct {
	Partitions      int `json:"partition_count"`
	FullyHealthy    int `json:"fully_healthy"`
	Unhealthy       int `json:"unhealthy"`
	WriteUnhealthy  int `json:"write_unhealthy"`
	ReadUnhealthy   int `json:"read_unhealthy"`
	unhealthyDetail []string
}

// minWritable is how many replicas a partition needs to take writes, as the shell counts.
const minWritable = 2

// Replicas is how many replicas of a partition serve.
func Replicas(p *wire.PartitionConfig) int {
	n := len(p.Secondaries)
	if p.Primary != 0 {
		n++
	}
	return n
}

// Has says whether a node has a replica of the table.
func (t *TableView) Has(node wire.Address) bool {
	return slices.ContainsFunc(t.Partitions, func(p wire.PartitionConfig) bool {
		return p.Primary == node || slices.Contains(p.Secondaries, node)
	})
}

// Health is that of one table.
func (t *TableView) Health() Health {
	h := Health{Partitions: int(t.PartitionCount)}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		replicas := Replicas(p)
		if p.Primary != 0 && replicas >= int(p.MaxReplicaCount) {
			h.FullyHealthy++
			continue
		}
		h.Unhealthy++
		if p.Primary == 0 {
			h.ReadUnhealthy++
		}
		if p.Primary == 0 || replicas < minWritable {
			h.WriteUnhealthy++
		}
		what := fmt.Sprintf("%s %s has %d of %d replicas", t.Name, p.PID, replicas, p.MaxReplicaCount)
		if p.Primary == 0 {
			what += " and no primary"
		}
		h.unhealthyDetail = append(h.unhealthyDetail, what)
	}
	return h
}

// Missing says what keeps the cluster from being healthy, one thing a line; none when it is. expected
// are the replica servers that must be alive. No table at all is something missing unless allowed.
func (v *View) Missing(expected []wire.Address, allowNoTables bool) []string {
	var missing []string
	for _, want := range expected {
		i := slices.IndexFunc(v.Nodes, func(n wire.NodeInfo) bool { return n.Node.Address == want })
		switch {
		case i < 0:
			missing = append(missing, fmt.Sprintf("node %s is not known", want))
		case v.Nodes[i].Status != wire.NodeAlive:
			missing = append(missing, fmt.Sprintf("node %s is %s", want, v.Nodes[i].Status))
		}
	}
	if len(v.Nodes) == 0 && !allowNoTables {
		missing = append(missing, "no replica server is known")
	}
	available := 0
	for i := range v.Tables {
		t := &v.Tables[i]
		if t.Status != wire.AppAvailable {
			if t.Status != wire.AppDropping {
				missing = append(missing, fmt.Sprintf("table %s is %s", t.Name, t.Status))
			}
			continue
		}
		available++
		h := t.Health()
		missing = append(missing, h.unhealthyDetail...)
		if h.FullyHealthy+h.Unhealthy != h.Partitions {
			missing = append(missing, fmt.Sprintf("table %s shows %d of %d partitions", t.Name, h.FullyHealthy+h.Unhealthy, h.Partitions))
		}
	}
	if available == 0 && !allowNoTables {
		missing = append(missing, "there is no table")
	}
	return missing
}

// Holding counts what a node has in the leader's view.
func (v *View) Holding(node wire.Address) (primaries, secondaries int) {
	for i := range v.Tables {
		for _, p := range v.Tables[i].Partitions {
			if p.Primary == node {
				primaries++
			}
			if slices.Contains(p.Secondaries, node) {
				secondaries++
			}
		}
	}
	return primaries, secondaries
}

// Node finds a node by its address or its host and port.
func (v *View) Node(name string) (wire.NodeInfo, bool) {
	for _, n := range v.Nodes {
		if n.Node.Address.String() == name || n.Node.HostPort != nil && n.Node.HostPort.String() == name {
			return n, true
		}
	}
	return wire.NodeInfo{}, false
}

// Named says whether the cluster knows its nodes by host and port as well, as servers do since 2.6.
func (v *View) Named() bool {
	return slices.ContainsFunc(v.Nodes, func(n wire.NodeInfo) bool { return n.Node.HostPort != nil })
}

// Actor gives a node in the form that a proposal needs. A replica server of 2.6 aborts on a proposal
// that lacks the name it knows itself by, so a node without one is refused where others have one.
func (v *View) Actor(addr wire.Address) (wire.Node, error) {
	for _, n := range v.Nodes {
		if n.Node.Address != addr {
			continue
		}
		if v.Named() && (n.Node.HostPort == nil || n.Node.HostPort.Kind != 1 || n.Node.HostPort.Host == "") {
			return wire.Node{}, fmt.Errorf("the meta server names no host for node %s; a proposal without it would make the node abort", addr)
		}
		return n.Node, nil
	}
	return wire.Node{}, fmt.Errorf("node %s is none of the cluster's", addr)
}

// Propose queues a change of a partition. It is carried out, or silently dropped, at the meta server's
// next round.
func (c *Client) Propose(ctx context.Context, pid wire.GPID, actions ...wire.ProposalAction) error {
	_, err := Order(ctx, c, &wire.ProposeRequest{PID: pid, Actions: actions})
	return err
}

// ProposeTo is Propose to this meta server and no other: what was read of its settings says nothing about
// those of the next one. A server that does not lead any more is a *NoAnswerError.
func (c *Client) ProposeTo(ctx context.Context, leader string, pid wire.GPID, actions ...wire.ProposalAction) error {
	_, err := ask(ctx, c, leader, &wire.ProposeRequest{PID: pid, Actions: actions})
	var silent *NoAnswerError
	switch {
	case err == nil || !c.lostLeader(ctx, leader, err):
		return err
	case errors.As(err, &silent):
	default:
		err = &NoAnswerError{Addr: leader, Err: fmt.Errorf("it does not lead any more: %w", err)}
	}
	c.forget(leader)
	return err
}
