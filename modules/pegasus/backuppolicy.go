package pegasus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

func backupPolicyModule() *modules.Module {
	return modules.Define("pegasus_backup_policy", `Have Pegasus back tables up again and again

Makes a backup policy, or brings one to what is asked for: its tables, how often, from when on a day, how many
backups are kept, and whether it is in force. The servers have no way to delete a policy, so that
state disabled is the end of one; its backups stay. The provider of a policy cannot be changed either.

    - pegasus_backup_policy:
        meta_servers: 10.0.0.1:34601,10.0.0.2:34601
        name: every_day
        provider: hdfs_zjy
        tables: [temp, stat]
        interval: 24h
        start_time: "03:00"
        keep: 7`, proposePolicy)
}

type policyArgs struct {
	clusterArgs
	Name      string        `arg:"name,required" doc:"the policy"`
	State     string        `arg:"state" default:"enabled" choices:"enabled,disabled" doc:"whether it is in force"`
	Provider  string        `arg:"provider" doc:"where to: a block service of the servers' configuration; needed for a new policy"`
	Tables    []string      `arg:"tables" doc:"the tables, exactly these; left alone when not given"`
	Interval  time.Duration `arg:"interval" default:"24h" doc:"time between two backups"`
	StartTime string        `arg:"start_time" default:"00:00" doc:"when on a day the first one begins, HH:MM"`
	Keep      int           `arg:"keep" default:"3" min:"1" doc:"how many backups are kept"`
}

// policyOutput is the policy as it was, and its newest backups.
type policyOutput struct {
	Exists  bool    `json:"existed"`
	Backups []int64 `json:"backups"`
}

func proposePolicy(ctx context.Context, call *modules.Call, args policyArgs) (*modules.Proposal, error) {
	s, err := open(call, call.Host, args.clusterArgs)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	ids, err := s.tableIDs(ctx, args.Tables)
	if err != nil {
		return nil, err
	}
	now, backups, err := s.policy(ctx, args.Name)
	if err != nil {
		return nil, s.unpredicted(err)
	}
	out := &policyOutput{Exists: now != nil, Backups: backups}
	p := &modules.Proposal{Output: out}
	if now == nil {
		return args.make(call, p, ids)
	}
	if args.Provider != "" && args.Provider != now.Provider {
		return nil, fmt.Errorf("policy %s backs up to %s; the servers cannot change that: make another policy and disable this one", args.Name, now.Provider)
	}
	change := args.change(now, ids, p)
	if len(p.Diff) > 0 {
		p.Do = func(ctx context.Context, host modules.Host) error { return modifyPolicy(ctx, call, host, args, change) }
	}
	return p, nil
}

func (a policyArgs) make(call *modules.Call, p *modules.Proposal, ids []int32) (*modules.Proposal, error) {
	switch {
	case a.Provider == "":
		return nil, &modules.ArgumentError{Arg: "provider", Problem: "provider is needed to make policy " + a.Name}
	case len(ids) == 0:
		return nil, &modules.ArgumentError{Arg: "tables", Problem: "tables are needed to make policy " + a.Name}
	}
	p.Diff = []modules.Diff{{Subject: "backup policy " + a.Name, Note: fmt.Sprintf("new: %s every %s to %s", strings.Join(a.Tables, ", "), a.Interval, a.Provider)}}
	p.Do = func(ctx context.Context, host modules.Host) error {
		s, err := open(call, host, a.clusterArgs)
		if err != nil {
			return err
		}
		defer s.Close()
		reply, err := client.Order(ctx, s.Client, &wire.AddBackupPolicyRequest{Provider: a.Provider, Name: a.Name, AppIDs: ids,
			Interval: int64(a.Interval.Seconds()), Keep: int32(a.Keep), StartTime: a.StartTime})
		if err != nil {
			if reply != nil && reply.Hint != "" {
				err = fmt.Errorf("%w: %s", err, reply.Hint)
			}
			return s.unlessThere(ctx, a.Name, err)
		}
		if a.State == "disabled" {
			disabled := true
			_, err = client.Order(ctx, s.Client, &wire.ModifyBackupPolicyRequest{Name: a.Name, Disable: &disabled})
		}
		return err
	}
	return p, nil
}

// unlessThere is err, but nil where the answer was lost and the policy has been made.
func (s *session) unlessThere(ctx context.Context, name string, err error) error {
	var silent *client.NoAnswerError
	if !errors.As(err, &silent) || !silent.Sent {
		return err
	}
	if now, _, readErr := s.policy(ctx, name); readErr == nil && now != nil {
		return nil
	}
	return err
}

// change is what must be modified, and tells it in p.
func (a policyArgs) change(now *wire.BackupPolicy, ids []int32, p *modules.Proposal) *wire.ModifyBackupPolicyRequest {
	req := &wire.ModifyBackupPolicyRequest{Name: a.Name}
	say := func(what string, from, to any) {
		p.Diff = append(p.Diff, modules.Diff{Subject: "backup policy " + a.Name, Note: fmt.Sprintf("%s: %v → %v", what, from, to)})
	}
	if a.Tables != nil {
		for _, id := range ids {
			if !slices.Contains(now.AppIDs, id) {
				req.Add = append(req.Add, id)
			}
		}
		for _, id := range now.AppIDs {
			if !slices.Contains(ids, id) {
				req.Remove = append(req.Remove, id)
			}
		}
		if len(req.Add)+len(req.Remove) > 0 {
			say("tables", now.AppIDs, ids)
		}
	}
	if seconds := int64(a.Interval.Seconds()); now.Interval != strconv.FormatInt(seconds, 10) {
		req.Interval = &seconds
		say("interval", now.Interval, seconds)
	}
	if keep := int32(a.Keep); now.Keep != keep {
		req.Keep = &keep
		say("keep", now.Keep, keep)
	}
	if now.StartTime != a.StartTime {
		req.StartTime = &a.StartTime
		say("start_time", now.StartTime, a.StartTime)
	}
	if disable := a.State == "disabled"; now.Disabled != disable {
		req.Disable = &disable
		say("disabled", now.Disabled, disable)
	}
	return req
}

func modifyPolicy(ctx context.Context, call *modules.Call, host modules.Host, args policyArgs, req *wire.ModifyBackupPolicyRequest) error {
	s, err := open(call, host, args.clusterArgs)
	if err != nil {
		return err
	}
	defer s.Close()
	reply, err := retried(ctx, func() (*wire.ModifyBackupPolicyResponse, error) { return client.Order(ctx, s.Client, req) })
	if err != nil && reply != nil && reply.Hint != "" {
		err = fmt.Errorf("%w: %s", err, reply.Hint)
	}
	return err
}

// policy reads a policy with the ids of its backups; nil when there is none.
func (s *session) policy(ctx context.Context, name string) (*wire.BackupPolicy, []int64, error) {
	const newest = 10
	reply, err := client.Read(ctx, s.Client, &wire.QueryBackupPolicyRequest{Names: []string{name}, Count: newest})
	var refused *client.ServerError
	if errors.As(err, &refused) && (refused.Err == wire.InvalidParameters || refused.Err == wire.ObjectNotFound) {
		return nil, []int64{}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for i := range reply.Policies {
		if reply.Policies[i].Name != name {
			continue
		}
		ids := []int64{}
		if i < len(reply.Backups) {
			for _, b := range reply.Backups[i] {
				ids = append(ids, b.ID)
			}
		}
		return &reply.Policies[i], ids, nil
	}
	return nil, []int64{}, nil
}

func (s *session) tableIDs(ctx context.Context, names []string) ([]int32, error) {
	var ids []int32
	for _, name := range names {
		app, err := s.findApp(ctx, name)
		if err != nil {
			return nil, s.unpredicted(err)
		}
		ids = append(ids, app.ID)
	}
	slices.Sort(ids)
	return ids, nil
}
