package fake

import (
	"fmt"
	"slices"

	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

const onlyMovePrimary = "meta.lb.only_move_primary"

// Operations is what the balancer would do next, as the leader tells it at every level.
func (c *Cluster) Operations() string {
	primaries, copies := 0, 0
	if p, to := c.unevenPrimary(); p != nil && to != 0 {
		primaries = 1
	} else if p, _, _ := c.unevenSecondary(); p != nil {
		copies = 1
	}
	return fmt.Sprintf("move_pri=%d,copy_pri=0,copy_sec=%d,total=%d", primaries, copies, primaries+copies)
}

// balance does one move a round.
func (c *Cluster) balance() {
	if p, to := c.unevenPrimary(); p != nil {
		c.node(p.Primary).Replicas[p.PID] = wire.ReplicaSecondary
		p.Secondaries[slices.Index(p.Secondaries, to)] = p.Primary
		c.node(to).Replicas[p.PID] = wire.ReplicaPrimary
		p.Primary = to
		p.Ballot++
		return
	}
	if p, from, to := c.unevenSecondary(); p != nil {
		delete(c.node(from).Replicas, p.PID)
		c.node(to).Replicas[p.PID] = wire.ReplicaSecondary
		p.Secondaries[slices.Index(p.Secondaries, from)] = to
		p.Ballot++
	}
}

// count is how many replicas of a kind a node has.
func (c *Cluster) count(n *Node, primaries bool) int {
	held := 0
	for _, status := range n.Replicas {
		if !primaries || status == wire.ReplicaPrimary {
			held++
		}
	}
	return held
}

// unevenPrimary finds a partition whose primary should move to one of its secondaries.
func (c *Cluster) unevenPrimary() (*wire.PartitionConfig, wire.Address) {
	for _, t := range c.Tables {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			from := c.node(p.Primary)
			if from == nil {
				continue
			}
			for _, to := range p.Secondaries {
				if c.count(from, true) > c.count(c.node(to), true)+1 {
					return p, to
				}
			}
		}
	}
	return nil, 0
}

// unevenSecondary finds a secondary that should be copied to another node.
func (c *Cluster) unevenSecondary() (p *wire.PartitionConfig, from, to wire.Address) {
	if c.Settings[onlyMovePrimary] == "true" {
		return nil, 0, 0
	}
	for _, t := range c.Tables {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			for _, from := range p.Secondaries {
				for _, n := range c.Nodes {
					free := n.Alive && n.Addr != p.Primary && !slices.Contains(p.Secondaries, n.Addr)
					if free && c.count(c.node(from), false) > c.count(n, false)+1 {
						return p, from, n.Addr
					}
				}
			}
		}
	}
	return nil, 0, 0
}
