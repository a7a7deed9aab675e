package meta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// Backup is one backup of one table, asked for once. It lives in memory: a
// leader change forgets it, as in the real server. EndMS is 0 while it runs.
type Backup struct {
	ID             int64
	App            int32
	AppName        string
	Provider, Path string
	StartMS, EndMS int64
	Failed         bool
}

// StartBackup begins to back a table up.
func (s *State) StartBackup(provider string, app int32, path *string) (id int64, code, hint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[app]
	_, known := s.Config.BlockService(provider)
	switch {
	case s.Config.NoBackups:
		return 0, "ERR_SERVICE_NOT_ACTIVE", "cold_backup_disabled"
	case !known:
		return 0, "ERR_INVALID_PARAMETERS", "invalid backup_provider_type " + provider
	case t == nil || t.Status != Available:
		return 0, "ERR_INVALID_STATE", fmt.Sprintf("backup failed: app %d is not available", app)
	}
	for _, b := range s.backups {
		if b.App == app && b.EndMS == 0 && !b.Failed {
			return 0, "ERR_INVALID_STATE", fmt.Sprintf("backup failed: app %d is under backup", app)
		}
	}
	b := &Backup{ID: s.Now().UnixMilli(), App: app, AppName: t.Name, Provider: provider, StartMS: s.Now().UnixMilli()}
	if path != nil {
		b.Path = *path
	}
	s.backups = append(s.backups, b)
	go s.runBackup(s.life, b, s.backupDir(provider, path, "", app, b.ID))
	return b.ID, OK, fmt.Sprintf("Backing up app %s to path %s", t.Name, b.Path)
}

func (s *State) runBackup(ctx context.Context, b *Backup, dir string) {
	err := s.backupTable(ctx, b.App, dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	b.Failed = err != nil
	b.EndMS = s.Now().UnixMilli()
	if err != nil {
		s.Log('E', "backup_engine.cpp:210:on_backup_reply()", "backup %d of app %d: %v", b.ID, b.App, err)
	}
}

// Backups are those of a table, or the one with an id.
func (s *State) Backups(app int32, id *int64) (list []Backup, code, hint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.backups {
		if b.App == app && (id == nil || b.ID == *id) {
			list = append(list, *b)
		}
	}
	if len(list) == 0 {
		return nil, "ERR_INVALID_PARAMETERS", "Backup not found, please check app_id or backup_id."
	}
	return list, OK, fmt.Sprintf("There are %d available backups for app %d.", len(list), app)
}

// backupDir is where a backup of a table lies: PROVIDER'S ROOT[/PATH]/CLUSTER/[POLICY/]ID/APP.
func (s *State) backupDir(provider string, path *string, policy string, app int32, id int64) string {
	root, _ := s.Config.BlockService(provider)
	if path != nil {
		root = filepath.Join(root, *path)
	}
	return filepath.Join(root, s.Config.BackupRoot, policy, strconv.FormatInt(id, 10), strconv.Itoa(int(app)))
}

// backupFile names the table's description in a backup.
const backupFile = "app_metadata"

// backupTable has the primaries of a table write their data, each when its
// share of the time has passed.
func (s *State) backupTable(ctx context.Context, app int32, dir string) error {
	t, parts, ok := s.partitionsOf(app)
	if !ok {
		return errors.New("the table is not available")
	}
	share := s.Config.Scaled(s.Config.Sim().Backup) / time.Duration(max(1, len(parts)))
	for i := range parts {
		sleep(ctx, share)
		_, now, _ := s.partitionsOf(app)
		if s.Config.Sim().BackupFails || ctx.Err() != nil || i >= len(now) {
			return errors.New("ERR_FS_INTERNAL")
		}
		if err := s.Backup(ctx, now[i].Primary, peer.BackupRequest{PID: now[i].PID, Dir: dir}); err != nil {
			return fmt.Errorf("partition %s: %w", now[i].PID, err)
		}
	}
	raw, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, backupFile), raw, 0o644)
}

// Restore is what a table is to be made of.
type Restore struct {
	Cluster, Policy string
	ID              int64
	AppName         string
	App             int32
	NewName         string
	Provider        string
	SkipBad         bool
	Path            *string
}

// restoring is the restore of one table; like backups it is in memory, and what
// it needs after a leader change is in the table's environment.
type restoring struct {
	dir   string
	began time.Time
	skip  bool
}

// StartRestore makes a table of a backup. Its partitions get their data, and
// so a primary, when the time that takes has passed.
func (s *State) StartRestore(ctx context.Context, r Restore) (id int32, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.effectiveLevel() <= Freezed {
		return 0, "ERR_STATE_FREEZED"
	}
	root, known := s.Config.BlockService(r.Provider)
	if !known {
		return 0, "ERR_INVALID_PARAMETERS"
	}
	if r.Path != nil {
		root = filepath.Join(root, *r.Path)
	}
	dir := filepath.Join(root, r.Cluster, r.Policy, strconv.FormatInt(r.ID, 10), strconv.Itoa(int(r.App)))
	raw, err := os.ReadFile(filepath.Join(dir, backupFile))
	var was Table
	if err != nil || json.Unmarshal(raw, &was) != nil {
		return 0, "ERR_OBJECT_NOT_FOUND"
	}
	name := was.Name
	if r.NewName != "" {
		name = r.NewName
	}
	if s.byName(name) != nil || s.missing(name) != "ERR_OBJECT_NOT_FOUND" {
		return 0, "ERR_INVALID_PARAMETERS"
	}
	s.lastID++
	nt := s.newTable(s.lastID, name, was.Partitions, was.Replicas, was.Envs)
	nt.Status = Creating
	nt.Envs["restore.dir"], nt.Envs["restore.skip_bad"] = dir, strconv.FormatBool(r.SkipBad)
	nt.Envs["restore.backup_id"], nt.Envs["restore.policy_name"] = strconv.FormatInt(r.ID, 10), r.Policy
	s.restores[nt.ID] = &restoring{dir: dir, began: time.Now(), skip: r.SkipBad}
	return nt.ID, s.make(ctx, nt)
}

// restoreOf is the restore that a table is in the middle of, nil for other
// tables. A new leader starts it again.
func (s *State) restoreOf(t *table) *restoring {
	dir := t.Envs["restore.dir"]
	if dir == "" {
		return nil
	}
	if s.restores[t.ID] == nil {
		s.restores[t.ID] = &restoring{dir: dir, began: time.Now(), skip: t.Envs["restore.skip_bad"] == "true"}
	}
	return s.restores[t.ID]
}

// restoreDone is the progress of a partition that has its data.
const restoreDone = 1000

// progress tells how far a partition is, and its error.
func (s *State) progress(t *table, p *partition, r *restoring) (int32, string) {
	part := int32(restoreDone * time.Since(r.began) / max(1, s.Config.Scaled(s.Config.Sim().Backup)))
	switch {
	case p.Primary.IsValid() || len(p.LastDrops) > 0:
		return restoreDone, OK
	case s.Config.Sim().BackupFails && part > restoreDone/2:
		return restoreDone / 2, "ERR_FS_INTERNAL"
	case part < restoreDone:
		return part, OK
	}
	if _, err := os.Stat(peer.BackupPath(r.dir, p.PID.Pidx)); err != nil {
		if r.skip {
			return restoreDone, "ERR_IGNORE_BAD_DATA"
		}
		return 0, "ERR_CORRUPTION"
	}
	return restoreDone - 1, OK
}

// RestoreStatus is how far the partitions of a table are that is restored.
func (s *State) RestoreStatus(id int32) (statuses []string, progress []int32, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[id]
	if t == nil || t.Status == Dropped || t.Status == Dropping {
		return nil, nil, "ERR_APP_NOT_EXIST"
	}
	r := s.restoreOf(t)
	for _, p := range t.parts {
		n, e := int32(restoreDone), OK
		if r != nil {
			n, e = s.progress(t, p, r)
		}
		statuses, progress = append(statuses, e), append(progress, n)
	}
	return statuses, progress, OK
}

// awaitsRestore tells whether a partition without members has to wait for its
// data before it may have a primary, and where that comes from.
func (s *State) awaitsRestore(t *table, p *partition) (wait bool, from string) {
	r := s.restoreOf(t)
	if r == nil || len(p.LastDrops) > 0 || p.Replicas() > 0 {
		return false, ""
	}
	n, e := s.progress(t, p, r)
	if n == restoreDone && e != OK { // bad data, to be left out
		return false, ""
	}
	return e != OK || n < restoreDone-1, r.dir
}
