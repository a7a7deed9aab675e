package fake

import (
	"slices"
	"strconv"

	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// backups answers what concerns backups and recovery; nil for anything else.
func (c *Cluster) backups(in *wire.Incoming) []byte {
	switch in.Request.(type) {
	case *wire.StartBackupRequest, *wire.QueryBackupRequest:
		if !c.from("2.3") {
			return in.Reply(wire.HandlerNotFound, nil)
		}
	}
	switch req := in.Request.(type) {
	case *wire.StartBackupRequest:
		return in.Reply(wire.OK, c.startBackup(req))
	case *wire.QueryBackupRequest:
		return in.Reply(wire.OK, c.queryBackup(req))
	case *wire.AddBackupPolicyRequest:
		c.Policies = append(c.Policies, wire.BackupPolicy{Name: req.Name, Provider: req.Provider, Interval: strconv.FormatInt(req.Interval, 10),
			AppIDs: req.AppIDs, Keep: req.Keep, StartTime: req.StartTime})
		return in.Reply(wire.OK, &wire.AddBackupPolicyResponse{Err: wire.OK})
	case *wire.ModifyBackupPolicyRequest:
		return in.Reply(wire.OK, c.modifyPolicy(req))
	case *wire.QueryBackupPolicyRequest:
		reply := &wire.QueryBackupPolicyResponse{Err: wire.OK}
		for _, p := range c.Policies {
			if slices.Contains(req.Names, p.Name) {
				reply.Policies = append(reply.Policies, p)
				reply.Backups = append(reply.Backups, []wire.PolicyBackup{{ID: 11, StartMS: 1, EndMS: 2}})
			}
		}
		if len(reply.Policies) == 0 {
			reply.Err = wire.InvalidParameters
		}
		return in.Reply(wire.OK, reply)
	case *wire.RestoreRequest:
		t := c.addTable(req.NewName, 4, 3)
		c.restoring = 0
		return in.Reply(wire.OK, &wire.CreateAppResponse{Err: wire.OK, AppID: t.ID})
	case *wire.QueryRestoreRequest:
		c.restoring = min(c.restoring+250, wire.RestoreDone)
		return in.Reply(wire.OK, &wire.QueryRestoreResponse{Err: wire.OK, Statuses: []wire.ErrorCode{wire.OK, wire.OK}, Progress: []int32{wire.RestoreDone, c.restoring}})
	case *wire.RecoveryRequest:
		c.Recovering = false
		return in.Reply(wire.OK, &wire.RecoveryResponse{Err: wire.OK, Hint: "nothing was lost"})
	}
	return nil
}

func (c *Cluster) startBackup(req *wire.StartBackupRequest) *wire.StartBackupResponse {
	if req.Provider != "local" {
		return &wire.StartBackupResponse{Err: wire.InvalidParameters, Hint: "invalid backup_provider_type " + req.Provider}
	}
	id := int64(1000 + len(c.Backups))
	c.Backups = append(c.Backups, wire.Backup{ID: id, AppName: "table1", Provider: req.Provider, Path: "/backup", StartMS: 1})
	return &wire.StartBackupResponse{Err: wire.OK, ID: &id}
}

// queryBackup ends a backup the second time it is asked about by its id.
func (c *Cluster) queryBackup(req *wire.QueryBackupRequest) *wire.QueryBackupResponse {
	reply := &wire.QueryBackupResponse{Err: wire.OK}
	for i := range c.Backups {
		b := &c.Backups[i]
		if req.ID != nil && b.ID != *req.ID {
			continue
		}
		reply.Backups = append(reply.Backups, *b)
		if req.ID != nil {
			b.EndMS, b.Failed = 2, c.BackupsFail
		}
	}
	if len(reply.Backups) == 0 {
		return &wire.QueryBackupResponse{Err: wire.InvalidParameters, Hint: "backup not found"}
	}
	return reply
}

func (c *Cluster) modifyPolicy(req *wire.ModifyBackupPolicyRequest) *wire.ModifyBackupPolicyResponse {
	for i := range c.Policies {
		p := &c.Policies[i]
		if p.Name != req.Name {
			continue
		}
		p.AppIDs = slices.DeleteFunc(append(slices.Clone(p.AppIDs), req.Add...), func(id int32) bool { return slices.Contains(req.Remove, id) })
		if req.Interval != nil {
			p.Interval = strconv.FormatInt(*req.Interval, 10)
		}
		if req.Keep != nil {
			p.Keep = *req.Keep
		}
		if req.Disable != nil {
			p.Disabled = *req.Disable
		}
		return &wire.ModifyBackupPolicyResponse{Err: wire.OK}
	}
	return &wire.ModifyBackupPolicyResponse{Err: wire.InvalidParameters, Hint: "no such policy"}
}
