package fake

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// answer is a server's reply; the caller holds Mu.
func (c *Cluster) answer(addr string, node *Node, in *wire.Incoming) []byte {
	if req, ok := in.Request.(*wire.CommandRequest); ok {
		return in.Reply(wire.OK, &wire.CommandResponse{Text: c.command(addr, node, req)})
	}
	if node != nil {
		return c.replica(node, in)
	}
	if addr != c.Leader {
		return c.standby(in)
	}
	return c.leader(in)
}

func (c *Cluster) standby(in *wire.Incoming) []byte {
	switch in.Request.(type) {
	case *wire.ClusterInfoRequest:
		return in.Reply(wire.OK, &wire.ClusterInfoResponse{Err: wire.ForwardToOthers})
	case *wire.QueryConfigRequest:
		leader, _ := wire.ParseAddress(c.Leader)
		return in.Reply(wire.OK, &wire.QueryConfigResponse{Err: wire.ForwardToOthers, Partitions: []wire.PartitionConfig{{Primary: leader}}})
	case *wire.ListNodesRequest:
		return in.Reply(wire.OK, &wire.ListNodesResponse{Err: wire.ForwardToOthers})
	case *wire.ListAppsRequest:
		return in.Reply(wire.OK, &wire.ListAppsResponse{Err: wire.ForwardToOthers})
	case *wire.ControlMetaRequest:
		return in.Reply(wire.OK, &wire.ControlMetaResponse{Err: wire.ForwardToOthers})
	case *wire.ProposeRequest:
		return in.Reply(wire.OK, &wire.ProposeResponse{Err: wire.InvalidParameters})
	case *wire.RecallAppRequest:
		return in.Reply(wire.OK, &wire.RecallAppResponse{Err: wire.AppNotExist})
	case *wire.CreateAppRequest:
		return in.Reply(wire.OK, &wire.CreateAppResponse{Err: wire.ForwardToOthers})
	}
	return in.Reply(wire.HandlerNotFound, nil)
}

func (c *Cluster) leader(in *wire.Incoming) []byte {
	if answer := c.backups(in); answer != nil {
		return answer
	}
	switch req := in.Request.(type) {
	case *wire.ClusterInfoRequest:
		level := c.Level.String()
		if c.Freezed {
			level = "freezed"
		}
		reply := &wire.ClusterInfoResponse{Err: wire.OK, Keys: []string{"meta_servers", "primary_meta_server", "zookeeper_root", "balance_operation_count"},
			Values: []string{strings.Join(c.Metas, ","), c.Leader, "/pegasus/fake", c.Operations()}}
		if !c.Unsaid {
			reply.Keys, reply.Values = append(reply.Keys, "meta_function_level"), append(reply.Values, level)
		}
		if c.from("2.2") {
			reply.Keys, reply.Values = append(reply.Keys, "cluster_name"), append(reply.Values, "fake")
		}
		return in.Reply(wire.OK, reply)
	case *wire.ListNodesRequest:
		return in.Reply(wire.OK, c.listNodes())
	case *wire.ListAppsRequest:
		if c.Recovering {
			return in.Reply(wire.OK, &wire.ListAppsResponse{Err: wire.UnderRecovery})
		}
		reply := &wire.ListAppsResponse{Err: wire.OK}
		for _, t := range c.Tables {
			if c.NoTables {
				break
			}
			if req.Status == wire.AppAny || req.Status == t.Status {
				reply.Apps = append(reply.Apps, t.AppInfo)
			}
		}
		return in.Reply(wire.OK, reply)
	case *wire.QueryConfigRequest:
		return in.Reply(wire.OK, c.queryConfig(req.AppName))
	case *wire.ControlMetaRequest:
		old := c.Level
		if req.Level != wire.LevelQuery {
			c.Level = req.Level
			c.Stuck = false
			c.LevelSets++
			if clear(c.queue); c.OnLevel != nil {
				c.OnLevel()
			}
		}
		return in.Reply(wire.OK, &wire.ControlMetaResponse{Err: wire.OK, OldLevel: old})
	case *wire.ProposeRequest:
		return in.Reply(wire.OK, &wire.ProposeResponse{Err: c.propose(req)})
	}
	return c.tables(in)
}

func (c *Cluster) tables(in *wire.Incoming) []byte {
	switch req := in.Request.(type) {
	case *wire.CreateAppRequest:
		if t := c.table(req.AppName); t != nil {
			return in.Reply(wire.OK, &wire.CreateAppResponse{Err: wire.OK, AppID: t.ID})
		}
		t := c.addTable(req.AppName, int(req.Options.PartitionCount), int(req.Options.ReplicaCount))
		t.Envs = req.Options.Envs
		return in.Reply(wire.OK, &wire.CreateAppResponse{Err: wire.OK, AppID: t.ID})
	case *wire.DropAppRequest:
		if t := c.table(req.AppName); t != nil {
			t.Status = wire.AppDropped
		}
		return in.Reply(wire.OK, &wire.DropAppResponse{Err: wire.OK})
	case *wire.RecallAppRequest:
		for _, t := range c.Tables {
			if t.ID == req.AppID {
				t.Status = wire.AppAvailable
				if req.NewName != "" {
					t.Name = req.NewName
				}
				return in.Reply(wire.OK, &wire.RecallAppResponse{Err: wire.OK, Info: t.AppInfo})
			}
		}
		return in.Reply(wire.OK, &wire.RecallAppResponse{Err: wire.AppNotExist})
	case *wire.RenameAppRequest:
		c.table(req.OldName).Name = req.NewName
		return in.Reply(wire.OK, &wire.RenameAppResponse{Err: wire.OK})
	case *wire.UpdateAppEnvRequest:
		t := c.table(req.AppName)
		for i, key := range req.Keys {
			if req.Op == wire.EnvSet {
				t.Envs[key] = req.Values[i]
			} else {
				delete(t.Envs, key)
			}
		}
		return in.Reply(wire.OK, &wire.UpdateAppEnvResponse{Err: wire.OK})
	}
	return in.Reply(wire.HandlerNotFound, nil)
}

func (c *Cluster) table(name string) *Table {
	for _, t := range c.Tables {
		if t.Name == name && t.Status == wire.AppAvailable {
			return t
		}
	}
	return nil
}

func (c *Cluster) hostPort(a wire.Address) *wire.HostPort {
	if !c.Named || a == 0 {
		return nil
	}
	return &wire.HostPort{Host: fmt.Sprintf("r%d.example", a>>32&0xff), Port: 34801, Kind: 1}
}

func (c *Cluster) listNodes() *wire.ListNodesResponse {
	reply := &wire.ListNodesResponse{Err: wire.OK}
	for _, n := range c.Nodes {
		status := wire.NodeUnalive
		if n.Alive {
			status = wire.NodeAlive
		}
		reply.Nodes = append(reply.Nodes, wire.NodeInfo{Status: status, Node: wire.Node{Address: n.Addr, HostPort: c.hostPort(n.Addr)}})
	}
	return reply
}

func (c *Cluster) queryConfig(name string) *wire.QueryConfigResponse {
	t := c.table(name)
	if t == nil {
		return &wire.QueryConfigResponse{Err: wire.ObjectNotFound}
	}
	reply := &wire.QueryConfigResponse{Err: wire.OK, AppID: t.ID, PartitionCount: t.PartitionCount, Stateful: true}
	for _, p := range t.Partitions {
		p.Secondaries, p.LastDrops = slices.Clone(p.Secondaries), slices.Clone(p.LastDrops)
		p.HPPrimary = c.hostPort(p.Primary)
		reply.Partitions = append(reply.Partitions, p)
	}
	if c.Partial {
		reply.Partitions = reply.Partitions[1:]
	}
	return reply
}

func (c *Cluster) propose(req *wire.ProposeRequest) wire.ErrorCode {
	if c.OnPropose != nil {
		c.OnPropose()
	}
	if c.Stuck || len(c.queue[req.PID]) > 0 {
		return wire.InvalidParameters
	}
	for _, a := range req.Actions {
		if c.Named && (a.Node.HostPort == nil || a.Target.HostPort == nil) {
			c.Problems = append(c.Problems, "a proposal without host names")
		}
	}
	c.Proposals++
	c.queue[req.PID] = req.Actions
	return wire.OK
}

func (c *Cluster) replica(n *Node, in *wire.Incoming) []byte {
	switch req := in.Request.(type) {
	case *wire.QueryReplicaRequest:
		reply := &wire.QueryReplicaResponse{Err: wire.OK}
		for pid, status := range n.Replicas {
			reply.Replicas = append(reply.Replicas, wire.ReplicaInfo{PID: pid, Status: status, AppType: "pegasus"})
		}
		return in.Reply(wire.OK, reply)
	case *wire.GetRequest:
		if value, ok := c.data(n, in); !ok {
			return in.Reply(wire.InvalidState, nil)
		} else if v, ok := value[string(req.Key.Bytes())]; ok {
			return in.Reply(wire.OK, &wire.GetResponse{Value: v, PID: in.PID})
		}
		return in.Reply(wire.OK, &wire.GetResponse{Error: 1, PID: in.PID})
	case *wire.PutRequest:
		data, ok := c.data(n, in)
		if !ok {
			return in.Reply(wire.InvalidState, nil)
		}
		data[string(req.Key.Bytes())] = req.Value
		return in.Reply(wire.OK, &wire.UpdateResponse{PID: in.PID})
	case *wire.RemoveRequest:
		data, ok := c.data(n, in)
		if !ok {
			return in.Reply(wire.InvalidState, nil)
		}
		delete(data, string(req.Key.Bytes()))
		return in.Reply(wire.OK, &wire.UpdateResponse{PID: in.PID})
	}
	return in.Reply(wire.HandlerNotFound, nil)
}

// data is the table's values, if the node is the partition's primary.
func (c *Cluster) data(n *Node, in *wire.Incoming) (map[string][]byte, bool) {
	for _, t := range c.Tables {
		if t.ID == in.PID.App && int(in.PID.Index) < len(t.Partitions) && t.Partitions[in.PID.Index].Primary == n.Addr {
			return t.Data, true
		}
	}
	return nil, false
}

// command answers a remote command, as text or, in a named cluster, as JSON.
func (c *Cluster) command(addr string, node *Node, req *wire.CommandRequest) string {
	c.Commands = append(c.Commands, strings.Join(append([]string{addr, req.Command}, req.Arguments...), " "))
	unknown := "unknown command '" + req.Command + "'"
	switch {
	case req.Command == "server-info":
		if c.from("2.6") {
			return `{"build_type":"Release","git_SHA":"abc","start_time":"2026-01-01 09:00:00","version":"2.6.0"}`
		}
		version := "2.5.0"
		if c.Release != "" {
			version = c.Release + ".0"
		}
		return "Pegasus Server " + version + " (abc) Release, Started at 2026-01-01 09:00:00"
	case strings.HasPrefix(req.Command, "meta.lb."):
		if addr != c.Leader {
			return unknown
		}
		return c.setting(req)
	case node == nil:
		return unknown
	case req.Command == "server-stat":
		return "closing_replica_count=not_found, opening_replica_count=not_found, serving_replica_count=not_found"
	case strings.Contains(req.Command, "nfs."):
		return c.rate(node, req)
	case req.Command == "flush-log":
		return "Flush done."
	case req.Command == "replica.kill_partition" && len(req.Arguments) == 2:
		pid, err := wire.ParseGPID(strings.Join(req.Arguments, "."))
		if err != nil {
			return "ERR_INVALID_PARAMETERS"
		}
		status, ok := node.Replicas[pid]
		if !ok {
			return "ERR_OBJECT_NOT_FOUND"
		}
		if status == wire.ReplicaPrimary {
			c.Problems = append(c.Problems, "a primary was killed")
		}
		delete(node.Replicas, pid)
		node.Closing++
		return "ERR_OK"
	case req.Command == "perf-counters" && c.from("2.6"):
		return `{"result":"OK","timestamp":0,"timestamp_str":"1970-01-01 00:00:00","counters":[]}`
	case req.Command == "perf-counters" && c.Counters != "":
		return c.Counters
	case req.Command == "perf-counters":
		return fmt.Sprintf(`{"result":"OK","timestamp":%d,"timestamp_str":"x","counters":[{"name":"replica*eon.replica_stub*replica(Count)","type":"NUMBER","value":%d.0},`+
			`{"name":"replica*eon.replica_stub*opening.replica(Count)","type":"NUMBER","value":0.0},{"name":"replica*eon.replica_stub*closing.replica(Count)","type":"NUMBER","value":%d.0}]}`,
			time.Now().Unix(), len(node.Replicas), node.Closing)
	}
	return unknown
}

// rate answers for the limits of copying, by their names since 2.4.
func (c *Cluster) rate(node *Node, req *wire.CommandRequest) string {
	now, ok := node.Rates[req.Command]
	switch {
	case !ok:
		return "unknown command '" + req.Command + "'"
	case len(req.Arguments) == 0:
		return now
	}
	node.Rates[req.Command] = req.Arguments[0]
	return "OK"
}

func (c *Cluster) setting(req *wire.CommandRequest) string {
	now, ok := c.Settings[req.Command]
	if !ok {
		return "unknown command '" + req.Command + "'"
	}
	reply := func(text string, value ...string) string {
		if !c.Named && !c.from("2.6") {
			return text
		}
		m := map[string]string{"error": "ok"}
		if len(value) > 0 {
			m[req.Command] = value[0]
		}
		b, _ := json.MarshalIndent(m, "", "  ")
		return string(b)
	}
	switch {
	case len(req.Arguments) == 0 && strings.HasSuffix(req.Command, "_list"):
		return reply("get ok: "+now, now)
	case len(req.Arguments) == 0:
		return reply(now, now)
	case len(req.Arguments) > 1 || req.Arguments[0] == "abc":
		return "ERR: invalid arguments"
	}
	value := req.Arguments[0]
	if value == "DEFAULT" {
		value = "600000"
	}
	if strings.HasSuffix(req.Command, "_list") {
		if c.Settings[req.Command] = value; value == "clear" {
			c.Settings[req.Command] = ""
		}
		return reply(map[bool]string{true: "clear ok", false: "set ok"}[value == "clear"])
	}
	c.Settings[req.Command] = value
	return reply("OK")
}
