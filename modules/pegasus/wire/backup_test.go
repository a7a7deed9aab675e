package wire

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestBackupMessagesRoundTrip has no recorded exchange to compare with: the layouts are those of the
// servers' interface definitions (facts/pegasus.md §5.7).
func TestBackupMessagesRoundTrip(t *testing.T) {
	five, keep, yes, text := int64(5), int32(3), true, "/backup"
	for _, want := range []Message{
		&AddBackupPolicyRequest{Provider: "local", Name: "daily", AppIDs: []int32{1, 2}, Interval: 86400, Keep: 3, StartTime: "03:00"},
		&ModifyBackupPolicyRequest{Name: "daily", Add: []int32{3}, Interval: &five, Keep: &keep, Disable: &yes, StartTime: &text},
		&QueryBackupPolicyRequest{Names: []string{"daily"}, Count: 2},
		&QueryBackupPolicyResponse{Err: OK, Policies: []BackupPolicy{{Name: "daily", Provider: "local", Interval: "86400", AppIDs: []int32{1}, Keep: 3, StartTime: "03:00", Disabled: true}},
			Backups: [][]PolicyBackup{{{ID: 7, StartMS: 1, EndMS: 2, AppIDs: []int32{1}}, {ID: 8, AppIDs: []int32{}}}}, Hint: &text},
		&StartBackupRequest{Provider: "hdfs", AppID: 2, Path: &text},
		&StartBackupResponse{Err: InvalidState, Hint: "busy", ID: &five},
		&QueryBackupRequest{AppID: 2, ID: &five},
		&QueryBackupResponse{Err: OK, Backups: []Backup{{ID: 5, AppName: "temp", Provider: "hdfs", Path: "/b", StartMS: 1, EndMS: 2, Failed: true}}},
		&RestoreRequest{Cluster: "c", Policy: "daily", Timestamp: 7, AppName: "temp", AppID: 2, NewName: "again", Provider: "hdfs", SkipBad: true, Path: &text},
		&QueryRestoreRequest{AppID: 9},
		&QueryRestoreResponse{Err: OK, Statuses: []ErrorCode{OK, Busy}, Progress: []int32{1000, 250}},
		&RecoveryRequest{Nodes: []Address{1<<32 | 5<<16 | 1}, SkipBad: true, SkipLost: true, HostPorts: []HostPort{{Host: "r1", Port: 34801, Kind: 1}}},
		&RecoveryResponse{Err: OK, Hint: "nothing lost"},
	} {
		out := &coder{}
		out.structure(want)
		require.NoError(t, out.err)
		got := emptyOf(want)
		in := &coder{decoding: true, in: bytes.Clone(out.out)}
		in.structure(got)
		require.NoError(t, in.err)
		assert.Empty(t, in.in, "%T", want)
		assert.Equal(t, want, got)
	}
}

func emptyOf(m Message) Message {
	if req, ok := m.(Request); ok {
		return newRequest(req.Code())
	}
	for _, code := range []Code{CodeAddBackupPolicy, CodeModifyBackupPolicy, CodeQueryBackupPolicy, CodeStartBackup, CodeQueryBackup, CodeQueryRestore, CodeRecovery} {
		reply := newRequest(code).newReply()
		if typeName(reply) == typeName(m) {
			return reply
		}
	}
	return nil
}

func typeName(m Message) string { return fmt.Sprintf("%T", m) }
