package replica

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pegbook/pegbook/lab/pegasus/internal/meta"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// Backup writes the contents of a partition to a backup's folder.
func (s *Stub) Backup(_ context.Context, q peer.BackupRequest) peer.Reply {
	r := s.find(q.PID)
	if r == nil {
		return peer.Reply{Err: "ERR_OBJECT_NOT_FOUND"}
	}
	r.mu.Lock()
	lesson := peer.Lesson{PID: q.PID, Decree: r.decree, Ops: contents(r.data)}
	primary := r.status == Primary
	r.mu.Unlock()
	if !primary {
		return peer.Reply{Err: "ERR_INVALID_STATE"}
	}
	raw, err := json.Marshal(lesson)
	if err == nil {
		err = os.MkdirAll(q.Dir, 0o755)
	}
	if err == nil {
		err = writeWhole(peer.BackupPath(q.Dir, q.PID.Pidx), raw)
	}
	if err != nil || s.Config.Sim().DiskFull || s.Config.Sim().BackupFails {
		s.Log('E', "replica_backup.cpp:140:on_cold_backup()", "%s: back up to %s: %v", q.PID, q.Dir, err)
		return peer.Reply{Err: "ERR_FS_INTERNAL"}
	}
	return peer.Reply{Err: meta.OK}
}

// restore gives a new replica the contents that a backup has of its partition.
// The table may have had another id then.
func (r *replica) restore(dir string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.decree > 0 {
		return nil
	}
	var l peer.Lesson
	if err := readJSON(peer.BackupPath(dir, r.pid.Pidx), &l); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := r.disk.replace(l.Decree, l.Ops); err != nil {
		return err
	}
	for _, op := range l.Ops {
		apply(r.data, op)
	}
	r.decree = l.Decree
	return nil
}

// Inventory is all that this server holds, in memory and on its disks.
func (s *Stub) Inventory(context.Context, peer.InventoryRequest) peer.Inventory {
	q, _ := s.report()
	out := peer.Inventory{Replicas: q.Stored}
	seen := map[int32]bool{}
	add := func(t peer.Table) {
		if !seen[t.ID] {
			seen[t.ID] = true
			out.Tables = append(out.Tables, t)
		}
	}
	for _, i := range s.Replicas() {
		add(i.Table)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.closed {
		var t peer.Table
		if readJSON(filepath.Join(c.disk.dir, ".app-info"), &t) == nil {
			add(t)
		}
	}
	return out
}
