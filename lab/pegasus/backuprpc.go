package pegasus

import (
	"context"
	"strconv"

	"github.com/pegbook/pegbook/lab/pegasus/internal/meta"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// backups is the requests about backups, restores and recovery; nil for others.
func backups(ctx context.Context, s *meta.State, in *wire.Incoming) wire.Reply {
	switch q := in.Request.(type) {
	case *wire.AddBackupPolicyRequest:
		code, hint := s.AddPolicy(ctx, meta.Policy{Name: q.Name, Provider: q.Provider, Apps: q.AppIDs, Interval: q.Interval,
			Keep: q.Keep, StartTime: q.StartTime})
		return &wire.AddBackupPolicyResponse{Err: wire.ErrorCode(code), Hint: hint}
	case *wire.ModifyBackupPolicyRequest:
		code, hint := s.ModifyPolicy(ctx, meta.PolicyChange{Name: q.Name, Add: q.Add, Remove: q.Remove, Interval: q.Interval,
			Keep: q.Keep, Disable: q.Disable, StartTime: q.StartTime})
		return &wire.ModifyBackupPolicyResponse{Err: wire.ErrorCode(code), Hint: hint}
	case *wire.QueryBackupPolicyRequest:
		return queryPolicies(s, q)
	case *wire.StartBackupRequest:
		id, code, hint := s.StartBackup(q.Provider, q.AppID, q.Path)
		r := &wire.StartBackupResponse{Err: wire.ErrorCode(code), Hint: hint}
		if code == meta.OK {
			r.ID = &id
		}
		return r
	case *wire.QueryBackupRequest:
		list, code, hint := s.Backups(q.AppID, q.ID)
		r := &wire.QueryBackupResponse{Err: wire.ErrorCode(code), Hint: hint}
		for _, b := range list {
			r.Backups = append(r.Backups, wire.Backup{ID: b.ID, AppName: b.AppName, Provider: b.Provider, Path: b.Path,
				StartMS: b.StartMS, EndMS: b.EndMS, Failed: b.Failed})
		}
		return r
	case *wire.RestoreRequest:
		id, code := s.StartRestore(ctx, meta.Restore{Cluster: q.Cluster, Policy: q.Policy, ID: q.Timestamp, AppName: q.AppName,
			App: q.AppID, NewName: q.NewName, Provider: q.Provider, SkipBad: q.SkipBad, Path: q.Path})
		return &wire.CreateAppResponse{Err: wire.ErrorCode(code), AppID: id}
	case *wire.QueryRestoreRequest:
		statuses, progress, code := s.RestoreStatus(q.AppID)
		r := &wire.QueryRestoreResponse{Err: wire.ErrorCode(code), Progress: progress}
		for _, e := range statuses {
			r.Statuses = append(r.Statuses, wire.ErrorCode(e))
		}
		return r
	}
	return nil
}

func queryPolicies(s *meta.State, q *wire.QueryBackupPolicyRequest) wire.Reply {
	list, code, hint := s.Policies(q.Names, q.Count)
	r := &wire.QueryBackupPolicyResponse{Err: wire.ErrorCode(code)}
	if hint != "" {
		r.Hint = &hint
	}
	for _, p := range list {
		r.Policies = append(r.Policies, wire.BackupPolicy{Name: p.Name, Provider: p.Provider,
			Interval: strconv.FormatInt(p.Interval, 10), AppIDs: p.Apps, Keep: p.Keep, StartTime: p.StartTime, Disabled: p.Disabled})
		var made []wire.PolicyBackup
		for _, b := range p.Backups {
			made = append(made, wire.PolicyBackup{ID: b.ID, StartMS: b.StartMS, EndMS: b.EndMS, AppIDs: b.Apps})
		}
		r.Backups = append(r.Backups, made)
	}
	return r
}

func recoverTables(ctx context.Context, s *meta.State, q *wire.RecoveryRequest) wire.Reply {
	r := meta.RecoveryRequest{SkipBad: q.SkipBad, SkipLost: q.SkipLost}
	for _, a := range q.Nodes {
		r.Nodes = append(r.Nodes, addrPort(a))
	}
	code, hint := s.Recover(ctx, r)
	return &wire.RecoveryResponse{Err: wire.ErrorCode(code), Hint: hint}
}
