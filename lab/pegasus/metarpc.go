package pegasus

import (
	"context"
	"net/netip"
	"time"

	"github.com/pegbook/pegbook/lab/pegasus/internal/meta"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
	"github.com/pegbook/pegbook/lab/pegasus/internal/release"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

func (m *metaRole) answer(ctx context.Context, in *wire.Incoming) []byte {
	s, activating, leader := m.view()
	if s != nil {
		m.p.toldRequest(in)
		reply := m.serve(ctx, s, in)
		if reply == nil {
			return in.Reply(wire.HandlerNotFound, nil)
		}
		return in.Reply(wire.OK, reply)
	}
	return m.refuse(in, activating, leader)
}

// refuse is how a meta answers that does not lead. Some requests look the table
// up before they ask who leads, and a standby has no tables.
func (m *metaRole) refuse(in *wire.Incoming, activating bool, leader peer.Addr) []byte {
	switch in.Request.(type) {
	case *wire.ProposeRequest:
		return in.Reply(wire.OK, &wire.ProposeResponse{Err: wire.InvalidParameters})
	case *wire.DiagnoseRequest:
		return in.Reply(wire.OK, &wire.DiagnoseResponse{Err: wire.InvalidParameters})
	case *wire.RecallAppRequest:
		return in.Reply(wire.OK, &wire.RecallAppResponse{Err: wire.AppNotExist, Info: appInfo(meta.Table{Init: -1})})
	}
	if !knownToMeta(in) {
		return in.Reply(wire.HandlerNotFound, nil)
	}
	code := wire.ForwardToOthers
	if activating {
		code = wire.ServiceNotActive
	} else if leader.IsValid() {
		if b := in.ForwardReply(address(leader)); b != nil {
			return b
		}
	}
	if _, ok := in.Request.(*wire.QueryConfigRequest); ok && !activating {
		return in.Reply(wire.OK, &wire.QueryConfigResponse{Err: code,
			Partitions: []wire.PartitionConfig{{Primary: address(leader)}}})
	}
	return in.Reply(wire.OK, withError(in, code))
}

func withError(in *wire.Incoming, code wire.ErrorCode) wire.Reply {
	switch in.Request.(type) {
	case *wire.ClusterInfoRequest:
		return &wire.ClusterInfoResponse{Err: code}
	case *wire.ListNodesRequest:
		return &wire.ListNodesResponse{Err: code}
	case *wire.ListAppsRequest:
		return &wire.ListAppsResponse{Err: code}
	case *wire.QueryConfigRequest:
		return &wire.QueryConfigResponse{Err: code}
	case *wire.ControlMetaRequest:
		return &wire.ControlMetaResponse{Err: code}
	case *wire.CreateAppRequest:
		return &wire.CreateAppResponse{Err: code}
	case *wire.DropAppRequest:
		return &wire.DropAppResponse{Err: code}
	case *wire.RenameAppRequest:
		return &wire.RenameAppResponse{Err: code}
	case *wire.UpdateAppEnvRequest:
		return &wire.UpdateAppEnvResponse{Err: code}
	case *wire.MaxReplicaCountRequest:
		return &wire.MaxReplicaCountResponse{Err: code}
	case *wire.SetMaxReplicaCountRequest:
		return &wire.SetMaxReplicaCountResponse{Err: code}
	case *wire.ProposeRequest:
		return &wire.ProposeResponse{Err: code}
	case *wire.DiagnoseRequest:
		return &wire.DiagnoseResponse{Err: code}
	case *wire.RecallAppRequest:
		return &wire.RecallAppResponse{Err: code, Info: appInfo(meta.Table{Init: -1})}
	}
	return withBackupError(in, code)
}

func withBackupError(in *wire.Incoming, code wire.ErrorCode) wire.Reply {
	switch in.Request.(type) {
	case *wire.AddBackupPolicyRequest:
		return &wire.AddBackupPolicyResponse{Err: code}
	case *wire.ModifyBackupPolicyRequest:
		return &wire.ModifyBackupPolicyResponse{Err: code}
	case *wire.QueryBackupPolicyRequest:
		return &wire.QueryBackupPolicyResponse{Err: code}
	case *wire.StartBackupRequest:
		return &wire.StartBackupResponse{Err: code}
	case *wire.QueryBackupRequest:
		return &wire.QueryBackupResponse{Err: code}
	case *wire.QueryRestoreRequest:
		return &wire.QueryRestoreResponse{Err: code}
	case *wire.RecoveryRequest:
		return &wire.RecoveryResponse{Err: code}
	}
	return &wire.CreateAppResponse{Err: code}
}

// serve is the leader's answer; nil when a meta has no such procedure.
func (m *metaRole) serve(ctx context.Context, s *meta.State, in *wire.Incoming) wire.Reply {
	if q, ok := in.Request.(*wire.RecoveryRequest); ok {
		return recoverTables(ctx, s, q)
	}
	if s.UnderRecovery() && knownToMeta(in) {
		return withError(in, wire.UnderRecovery)
	}
	switch q := in.Request.(type) {
	case *wire.ClusterInfoRequest:
		return m.clusterInfo(s)
	case *wire.ListNodesRequest:
		return m.listNodes(s, q)
	case *wire.ListAppsRequest:
		r := &wire.ListAppsResponse{Err: wire.OK}
		for _, t := range s.Tables(int32(q.Status)) {
			r.Apps = append(r.Apps, appInfo(t))
		}
		return r
	case *wire.QueryConfigRequest:
		return m.queryConfig(s, q)
	case *wire.ControlMetaRequest:
		return &wire.ControlMetaResponse{Err: wire.OK, OldLevel: wire.Level(s.Control(int32(q.Level)))}
	case *wire.ProposeRequest:
		return m.proposed(s, q)
	case *wire.DiagnoseRequest:
		return diagnose(s, q)
	case *wire.MaxReplicaCountRequest:
		t, _, code := s.Partitions(q.AppName, nil)
		if code != meta.OK {
			return &wire.MaxReplicaCountResponse{Err: wire.AppNotExist}
		}
		return &wire.MaxReplicaCountResponse{Err: wire.OK, MaxReplicaCount: t.Replicas}
	}
	if r := backups(ctx, s, in); r != nil {
		return r
	}
	return ddl(ctx, s, in)
}

// knownToMeta is a procedure that a meta has and that is answered by an error
// before the leader is ready.
func knownToMeta(in *wire.Incoming) bool {
	switch in.Request.(type) {
	case *wire.ClusterInfoRequest, *wire.ListNodesRequest, *wire.ListAppsRequest, *wire.QueryConfigRequest,
		*wire.ControlMetaRequest, *wire.CreateAppRequest, *wire.DropAppRequest, *wire.RenameAppRequest,
		*wire.UpdateAppEnvRequest, *wire.MaxReplicaCountRequest, *wire.SetMaxReplicaCountRequest, *wire.AddBackupPolicyRequest, *wire.ModifyBackupPolicyRequest,
		*wire.QueryBackupPolicyRequest, *wire.StartBackupRequest, *wire.QueryBackupRequest, *wire.RestoreRequest,
		*wire.QueryRestoreRequest, *wire.RecoveryRequest, *wire.ProposeRequest, *wire.DiagnoseRequest, *wire.RecallAppRequest:
		return true
	}
	return false
}

// ddl is the requests that change tables.
func ddl(ctx context.Context, s *meta.State, in *wire.Incoming) wire.Reply {
	switch q := in.Request.(type) {
	case *wire.SetMaxReplicaCountRequest:
		before, code, hint := s.SetReplicas(ctx, q.AppName, q.MaxReplicaCount)
		return &wire.SetMaxReplicaCountResponse{Err: wire.ErrorCode(code), Before: before, Hint: hint}
	case *wire.CreateAppRequest:
		o := q.Options
		id, code := s.Create(ctx, meta.CreateOptions{Name: q.AppName, Partitions: o.PartitionCount, Replicas: o.ReplicaCount,
			IfAbsent: o.SuccessIfExist, Type: o.Type, Stateful: o.Stateful, Envs: o.Envs})
		return &wire.CreateAppResponse{Err: wire.ErrorCode(code), AppID: id}
	case *wire.DropAppRequest:
		var reserve time.Duration
		if n := q.Options.ReserveSeconds; n != nil {
			reserve = time.Duration(*n) * time.Second
		}
		return &wire.DropAppResponse{Err: wire.ErrorCode(s.Drop(ctx, q.AppName, q.Options.SuccessIfNotExist, reserve))}
	case *wire.RecallAppRequest:
		t, code := s.Recall(ctx, q.AppID, q.NewName)
		if code != meta.OK {
			t.Init = -1
		}
		return &wire.RecallAppResponse{Err: wire.ErrorCode(code), Info: appInfo(t)}
	case *wire.RenameAppRequest:
		code, hint := s.Rename(ctx, q.OldName, q.NewName)
		return &wire.RenameAppResponse{Err: wire.ErrorCode(code), Hint: hint}
	case *wire.UpdateAppEnvRequest:
		c := meta.EnvChange{Table: q.AppName, Op: int32(q.Op), Keys: q.Keys, Values: q.Values}
		if q.ClearPrefix != nil {
			c.Prefix = *q.ClearPrefix
		}
		code, hint := s.ChangeEnvs(ctx, c)
		return &wire.UpdateAppEnvResponse{Err: wire.ErrorCode(code), Hint: hint}
	}
	return nil
}

func (m *metaRole) clusterInfo(s *meta.State) wire.Reply {
	r := &wire.ClusterInfoResponse{Err: wire.OK}
	for _, row := range s.ClusterInfo() {
		switch {
		case row.Key == "cluster_name" && m.p.release() < release.R22:
			continue
		case row.Key == "balance_operation_count" && m.p.release() >= release.R26:
			row.Value = operationsJSON(row.Value)
		}
		r.Keys = append(r.Keys, row.Key)
		r.Values = append(r.Values, row.Value)
	}
	return r
}

func (m *metaRole) listNodes(s *meta.State, q *wire.ListNodesRequest) wire.Reply {
	r := &wire.ListNodesResponse{Err: wire.OK}
	for _, n := range s.Nodes() {
		status := wire.NodeUnalive
		if n.Alive {
			status = wire.NodeAlive
		}
		if q.Status == wire.NodeAny || q.Status == status {
			r.Nodes = append(r.Nodes, wire.NodeInfo{Status: status, Node: wire.Node{Address: address(n.Addr), HostPort: m.hostPort(s, n.Addr)}})
		}
	}
	return r
}

// hostPort is a node by its host name, which there is since 2.6.
func (m *metaRole) hostPort(s *meta.State, a peer.Addr) *wire.HostPort {
	if m.p.release() < release.R26 {
		return nil
	}
	if !a.IsValid() {
		return &wire.HostPort{}
	}
	return &wire.HostPort{Host: s.Host(a), Port: a.Port(), Kind: 1}
}

func (m *metaRole) hostPorts(s *meta.State, list []peer.Addr) []wire.HostPort {
	var out []wire.HostPort
	for _, a := range list {
		if h := m.hostPort(s, a); h != nil {
			out = append(out, *h)
		}
	}
	return out
}

func (m *metaRole) queryConfig(s *meta.State, q *wire.QueryConfigRequest) wire.Reply {
	t, parts, code := s.Partitions(q.AppName, q.Indices)
	r := &wire.QueryConfigResponse{Err: wire.ErrorCode(code), AppID: t.ID, PartitionCount: t.Partitions, Stateful: t.Stateful}
	for _, c := range parts {
		w := partitionConfig(c)
		w.HPPrimary, w.HPSecondaries, w.HPLastDrops = m.hostPort(s, c.Primary), m.hostPorts(s, c.Secondaries), m.hostPorts(s, c.LastDrops)
		r.Partitions = append(r.Partitions, w)
	}
	return r
}

func (m *metaRole) proposed(s *meta.State, q *wire.ProposeRequest) wire.Reply {
	var actions []meta.Action
	for _, a := range q.Actions {
		actions = append(actions, meta.Action{Target: addrPort(a.Target.Address), Node: addrPort(a.Node.Address), Type: int32(a.Type),
			Unnamed: !m.names(s, a.Node)})
	}
	force := q.Force != nil && *q.Force
	code := s.Propose(peer.GPID{App: q.PID.App, Pidx: q.PID.Index}, actions, force)
	return &wire.ProposeResponse{Err: wire.ErrorCode(code)}
}

// names tells whether a client gave the host name that the node has. A release
// before 2.6 does not look.
func (m *metaRole) names(s *meta.State, n wire.Node) bool {
	want := m.hostPort(s, addrPort(n.Address))
	return want == nil || n.HostPort != nil && *n.HostPort == *want
}

func diagnose(s *meta.State, q *wire.DiagnoseRequest) wire.Reply {
	lost, code := s.Diagnose(q.PID.App, q.PID.Index)
	r := &wire.DiagnoseResponse{Err: wire.ErrorCode(code)}
	for _, c := range lost {
		d := wire.DiagnosedPartition{Config: partitionConfig(c), Reason: "all replicas are lost"}
		for _, a := range c.LastDrops {
			d.Dropped = append(d.Dropped, wire.DiagnosedNode{Node: wire.Node{Address: address(a)}})
		}
		r.Partitions = append(r.Partitions, d)
	}
	return r
}

func appInfo(t meta.Table) wire.AppInfo {
	no := false
	return wire.AppInfo{Status: wire.AppStatus(t.Status), Type: t.Type, Name: t.Name, ID: t.ID, PartitionCount: t.Partitions,
		Envs: t.Envs, Stateful: t.Stateful, MaxReplicaCount: t.Replicas, ExpireSecond: t.Expire, CreateSecond: t.Created,
		DropSecond: t.DroppedAt, Duplicating: &no, InitPartitionCount: t.Init, BulkLoading: &no}
}

func partitionConfig(c peer.Config) wire.PartitionConfig {
	return wire.PartitionConfig{PID: wire.GPID{App: c.PID.App, Index: c.PID.Pidx}, Ballot: c.Ballot, MaxReplicaCount: c.MaxReplicas,
		Primary: address(c.Primary), Secondaries: addresses(c.Secondaries), LastDrops: addresses(c.LastDrops),
		LastCommittedDecree: c.Committed, Flags: c.Flags}
}

func address(a peer.Addr) wire.Address { return wire.AddressOf(a) }

func addresses(list []peer.Addr) []wire.Address {
	out := make([]wire.Address, 0, len(list))
	for _, a := range list {
		out = append(out, address(a))
	}
	return out
}

// addrPort is the zero Addr for the wire's "none".
func addrPort(a wire.Address) peer.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return peer.Addr{}
	}
	return ap
}
