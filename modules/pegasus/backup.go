package pegasus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

func backupModule() *modules.Module {
	return modules.Define("pegasus_backup", `Back a Pegasus table up, once

Has the meta server make a backup of one table and waits until it is made. Each run makes another one. The
provider is a section of the servers' configuration ([block_service.NAME]) that says where backups go. The
servers have this since 2.3; before, use a policy (pegasus_backup_policy).

A backup of the table that is being made already is waited for instead of asking for a second one. The result
has backup, the id that pegasus_restore takes as timestamp, and table_id.

    - pegasus_backup:
        meta_servers: 10.0.0.1:34601,10.0.0.2:34601
        table: temp
        provider: hdfs_zjy
      register: made`, proposeBackup)
}

type backupArgs struct {
	MetaServers []string      `arg:"meta_servers,required" doc:"the cluster's meta servers, ip:port each; a list, or one text with commas"`
	Timeout     time.Duration `arg:"timeout" default:"12h" doc:"how long the backup may take"`
	Table       string        `arg:"table,required" doc:"the table"`
	Provider    string        `arg:"provider,required" doc:"where to: a block service of the servers' configuration"`
	Path        string        `arg:"path" doc:"folder there; the configuration's own when not given"`
	Poll        time.Duration `arg:"poll" default:"10s" doc:"time between two looks"`
}

func (a backupArgs) cluster() clusterArgs {
	return clusterArgs{MetaServers: a.MetaServers, Timeout: a.Timeout}
}

type backupOutput struct {
	TableID int32   `json:"table_id"`
	Backup  int64   `json:"backup"`
	Path    string  `json:"path"`
	Seconds float64 `json:"seconds"`
}

func proposeBackup(ctx context.Context, call *modules.Call, args backupArgs) (*modules.Proposal, error) {
	s, err := open(call, call.Host, args.cluster())
	if err != nil {
		return nil, err
	}
	defer s.Close()
	app, err := s.findApp(ctx, args.Table)
	if err != nil {
		return nil, s.unpredicted(err)
	}
	out := &backupOutput{TableID: app.ID, Path: args.Path}
	return &modules.Proposal{
		Output: out,
		Once:   true, // each makes another one
		Diff:   []modules.Diff{{Subject: "table " + args.Table, Note: "a backup to " + args.Provider}},
		Do:     func(ctx context.Context, host modules.Host) error { return backup(ctx, call, host, args, out) },
	}, nil
}

func backup(ctx context.Context, call *modules.Call, host modules.Host, args backupArgs, out *backupOutput) error {
	ctx, cancel := context.WithTimeoutCause(ctx, args.Timeout, timeoutCause(args.Timeout, "the backup of "+args.Table))
	defer cancel()
	s, err := open(call, host, args.cluster())
	if err != nil {
		return err
	}
	defer s.Close()
	started := time.Now()
	if out.Backup, err = s.startBackup(ctx, args, out.TableID); err != nil {
		return err
	}
	progress := &progress{call: s.call, phase: "backup is made"}
	for {
		b, err := s.backup(ctx, out.TableID, out.Backup)
		switch {
		case err != nil:
			return err
		case b.Failed:
			return fmt.Errorf("backup %d of table %s failed; the servers' logs say why", b.ID, args.Table)
		case b.EndMS > 0:
			out.Path, out.Seconds = b.Path, time.Since(started).Round(100*time.Millisecond).Seconds()
			return nil
		}
		progress.left(fmt.Sprintf("backup %d of table %s", b.ID, args.Table))
		if err := pause(ctx, args.Poll); err != nil {
			return fmt.Errorf("%w; the meta server goes on making backup %d", err, out.Backup)
		}
	}
}

// startBackup asks for a backup and gives its id; that of one that is being made already, where there is one.
func (s *session) startBackup(ctx context.Context, args backupArgs, table int32) (int64, error) {
	running, err := s.runningBackup(ctx, table)
	if err != nil || running != 0 {
		return running, err
	}
	req := &wire.StartBackupRequest{Provider: args.Provider, AppID: table}
	if args.Path != "" {
		req.Path = &args.Path
	}
	reply, err := client.Order(ctx, s.Client, req)
	var silent *client.NoAnswerError
	if errors.As(err, &silent) && silent.Sent {
		// Nobody knows whether it has begun; the list of backups does.
		if running, err := s.runningBackup(ctx, table); err != nil || running != 0 {
			return running, err
		}
	}
	if err != nil {
		return 0, hinted(err, reply)
	}
	if reply.ID == nil {
		return 0, errors.New("the meta server began a backup and did not say its id")
	}
	return *reply.ID, nil
}

// hinted adds the words that the meta server puts beside its error.
func hinted(err error, reply *wire.StartBackupResponse) error {
	var refused *client.ServerError
	switch {
	case errors.As(err, &refused) && refused.Err == wire.HandlerNotFound:
		return fmt.Errorf("%w: the servers know backups of single tables since 2.3; use pegasus_backup_policy", err)
	case reply != nil && reply.Hint != "":
		return fmt.Errorf("%w: %s", err, reply.Hint)
	}
	return err
}

func (s *session) runningBackup(ctx context.Context, table int32) (int64, error) {
	reply, err := client.Read(ctx, s.Client, &wire.QueryBackupRequest{AppID: table})
	var refused *client.ServerError
	if errors.As(err, &refused) && refused.Err != wire.HandlerNotFound {
		return 0, nil // the table has no backup yet
	}
	if err != nil {
		return 0, hinted(err, nil)
	}
	for _, b := range reply.Backups {
		if b.EndMS == 0 && !b.Failed {
			return b.ID, nil
		}
	}
	return 0, nil
}

func (s *session) backup(ctx context.Context, table int32, id int64) (wire.Backup, error) {
	reply, err := client.Read(ctx, s.Client, &wire.QueryBackupRequest{AppID: table, ID: &id})
	if err != nil {
		return wire.Backup{}, err
	}
	for _, b := range reply.Backups {
		if b.ID == id {
			return b, nil
		}
	}
	return wire.Backup{}, fmt.Errorf("the meta server does not know backup %d any more: another one leads, and what was being made is lost", id)
}

func restoreModule() *modules.Module {
	return modules.Define("pegasus_restore", `Make a Pegasus table out of a backup

Has the meta server make a new table out of a backup of this or another cluster, and waits until every
partition is restored and the table is healthy. A table of the new name that is there already is left alone
when it is available: nothing is ever restored over a table.

    - pegasus_restore:
        meta_servers: 10.0.0.1:34601,10.0.0.2:34601
        cluster: my_cluster
        table: temp
        table_id: 2
        timestamp: 1742371200000
        new_name: temp_restored
        provider: hdfs_zjy`, proposeRestore)
}

type restoreArgs struct {
	MetaServers []string      `arg:"meta_servers,required" doc:"the cluster's meta servers, ip:port each; a list, or one text with commas"`
	Timeout     time.Duration `arg:"timeout" default:"12h" doc:"how long restoring may take"`
	Cluster     string        `arg:"cluster,required" doc:"name of the cluster that the backup was made of"`
	Policy      string        `arg:"policy" doc:"the policy that made it; empty for a backup of one table"`
	Timestamp   string        `arg:"timestamp,required" doc:"the backup's id"`
	Table       string        `arg:"table,required" doc:"the table as it was called then"`
	TableID     int           `arg:"table_id,required" min:"1" doc:"its id then"`
	NewName     string        `arg:"new_name,required" doc:"what the new table is called"`
	Provider    string        `arg:"provider,required" doc:"where the backup is: a block service of the servers' configuration"`
	Path        string        `arg:"path" doc:"folder there; the configuration's own when not given"`
	SkipBad     bool          `arg:"skip_bad_partitions" default:"false" doc:"leave partitions empty that cannot be restored"`
	Poll        time.Duration `arg:"poll" default:"10s" doc:"time between two looks"`
}

func (a restoreArgs) cluster() clusterArgs {
	return clusterArgs{MetaServers: a.MetaServers, Timeout: a.Timeout}
}

type restoreOutput struct {
	TableID int32   `json:"table_id"`
	Seconds float64 `json:"seconds"`
}

func proposeRestore(ctx context.Context, call *modules.Call, args restoreArgs) (*modules.Proposal, error) {
	if _, err := strconv.ParseInt(args.Timestamp, 10, 64); err != nil {
		return nil, &modules.ArgumentError{Arg: "timestamp", Problem: fmt.Sprintf("timestamp: %q is no id of a backup", args.Timestamp), Hint: "it is a number, as pegasus_backup registers it"}
	}
	s, err := open(call, call.Host, args.cluster())
	if err != nil {
		return nil, err
	}
	defer s.Close()
	now, err := s.tableState(ctx, args.NewName)
	if err != nil {
		return nil, s.unpredicted(err)
	}
	out := &restoreOutput{}
	p := &modules.Proposal{Output: out}
	if now != nil && now.Status == wire.AppAvailable {
		out.TableID = now.ID
		p.Message = "there is a table " + args.NewName + " already"
		return p, nil
	}
	p.Diff = []modules.Diff{{Subject: "table " + args.NewName, Note: fmt.Sprintf("restored from backup %s of %s", args.Timestamp, args.Table)}}
	p.Do = func(ctx context.Context, host modules.Host) error { return restore(ctx, call, host, args, now, out) }
	return p, nil
}

func restore(ctx context.Context, call *modules.Call, host modules.Host, args restoreArgs, now *wire.AppInfo, out *restoreOutput) error {
	ctx, cancel := context.WithTimeoutCause(ctx, args.Timeout, timeoutCause(args.Timeout, "restoring "+args.NewName))
	defer cancel()
	s, err := open(call, host, args.cluster())
	if err != nil {
		return err
	}
	defer s.Close()
	started := time.Now()
	if now != nil {
		out.TableID = now.ID // an earlier run began it
	} else if out.TableID, err = s.startRestore(ctx, args); err != nil {
		return err
	}
	if err := s.untilRestored(ctx, args, out.TableID); err != nil {
		return err
	}
	out.Seconds = time.Since(started).Round(100 * time.Millisecond).Seconds()
	return s.tableReady(ctx, args.NewName)
}

func (s *session) startRestore(ctx context.Context, args restoreArgs) (int32, error) {
	id, err := strconv.ParseInt(args.Timestamp, 10, 64)
	if err != nil {
		return 0, err
	}
	req := &wire.RestoreRequest{Cluster: args.Cluster, Policy: args.Policy, Timestamp: id, AppName: args.Table, AppID: int32(args.TableID),
		NewName: args.NewName, Provider: args.Provider, SkipBad: args.SkipBad}
	if args.Path != "" {
		req.Path = &args.Path
	}
	reply, err := client.Order(ctx, s.Client, req)
	var silent *client.NoAnswerError
	if errors.As(err, &silent) && silent.Sent {
		if now, readErr := s.tableState(ctx, args.NewName); readErr == nil && now != nil {
			return now.ID, nil
		}
	}
	if err != nil {
		return 0, err
	}
	return reply.AppID, nil
}

func (s *session) untilRestored(ctx context.Context, args restoreArgs, table int32) error {
	progress := &progress{call: s.call, phase: "table " + args.NewName + " is restored"}
	for {
		reply, err := client.Read(ctx, s.Client, &wire.QueryRestoreRequest{AppID: table})
		if err != nil {
			return err
		}
		done := 0
		for i, progress := range reply.Progress {
			if i < len(reply.Statuses) && reply.Statuses[i] != wire.OK && progress < wire.RestoreDone && reply.Statuses[i] != wire.Busy {
				return fmt.Errorf("partition %d.%d could not be restored: %s", table, i, reply.Statuses[i])
			}
			if progress >= wire.RestoreDone {
				done++
			}
		}
		if done == len(reply.Progress) && done > 0 {
			return nil
		}
		progress.left("", modules.Count{Name: "partitions", Left: len(reply.Progress) - done})
		if err := pause(ctx, args.Poll); err != nil {
			return fmt.Errorf("%w; %d of %s were restored", err, done, plural(len(reply.Progress), "partition"))
		}
	}
}
