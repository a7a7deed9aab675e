package pegasus

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules/pegasus/internal/fake"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

const quickBackup = `{"table": "table1", "provider": "local", "poll": "10ms"}`

func TestBackup(t *testing.T) {
	b := newBed(t, 4)
	out, changed, err := b.do(backupModule(), quickBackup)
	require.NoError(t, err)
	assert.True(t, changed)
	assert.Contains(t, out, `"table_id":1,"backup":1000,"path":"/backup"`)
}

func TestBackupThatIsBeingMadeIsWaitedFor(t *testing.T) {
	b := newBed(t, 4)
	b.locked(func() { b.Backups = []wire.Backup{{ID: 7, AppName: "table1", Path: "/other", StartMS: 1}} })
	out, _, err := b.do(backupModule(), quickBackup)
	require.NoError(t, err)
	assert.Contains(t, out, `"backup":7`)
	b.locked(func() { assert.Len(t, b.Backups, 1) })
}

func TestBackupFails(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"the servers fail", quickBackup, "backup 1000 of table table1 failed"},
		{"a provider that they do not have", `{"table": "table1", "provider": "hdfs"}`, "invalid backup_provider_type hdfs"},
		{"a table that is not there", `{"table": "table9", "provider": "local"}`, "there is no table table9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, 4)
			b.locked(func() { b.BackupsFail = true })
			_, _, err := b.do(backupModule(), tt.args)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestBackupPolicy(t *testing.T) {
	b := newBed(t, 4, 4)
	policy := `{"name": "daily", "provider": "local", "tables": ["table1"], "interval": "24h", "start_time": "03:00", "keep": 3`
	b.converge(backupPolicyModule(), policy+`}`, false)
	_, changed, err := b.do(backupPolicyModule(), `{"name": "daily", "tables": ["table2"], "start_time": "03:00", "interval": "1h", "state": "disabled"}`)
	require.NoError(t, err)
	assert.True(t, changed)
	b.locked(func() {
		assert.Equal(t, []wire.BackupPolicy{{Name: "daily", Provider: "local", Interval: "3600", AppIDs: []int32{2}, Keep: 3, StartTime: "03:00", Disabled: true}}, b.Policies)
	})
	_, _, err = b.do(backupPolicyModule(), `{"name": "daily", "provider": "hdfs"}`)
	require.ErrorContains(t, err, "make another policy")
	_, _, err = b.do(backupPolicyModule(), `{"name": "weekly"}`)
	require.ErrorContains(t, err, "provider is needed")
}

func TestRestore(t *testing.T) {
	b := newBed(t, 4)
	args := `{"cluster": "old", "table": "table1", "table_id": 1, "timestamp": "1000", "new_name": "again", "provider": "local", "poll": "10ms"}`
	_, changed, err := b.do(restoreModule(), args)
	require.NoError(t, err)
	assert.True(t, changed)
	_, changed, err = b.do(restoreModule(), args)
	require.NoError(t, err)
	assert.False(t, changed, "a table is never restored over")
	_, _, err = b.do(restoreModule(), `{"cluster": "old", "table": "table1", "table_id": 1, "timestamp": "yesterday", "new_name": "again", "provider": "local"}`)
	require.ErrorContains(t, err, `"yesterday" is no id of a backup`)
}

func TestRecover(t *testing.T) {
	b := newBed(t, 4)
	args := `{"nodes": ["` + fake.Replica(1) + `"], "tables": ["table1"]}`
	out, changed, err := b.do(recoverModule(), args)
	require.NoError(t, err)
	assert.False(t, changed, "a meta server that answers has its tables")
	assert.JSONEq(t, `{"recovered": false, "hint": "", "tables": ["table1"]}`, out)
	b.locked(func() { b.Recovering = true })
	out, changed, err = b.do(recoverModule(), args)
	require.NoError(t, err)
	assert.True(t, changed)
	assert.JSONEq(t, `{"recovered": true, "hint": "nothing was lost", "tables": ["table1"]}`, out)
	_, _, err = b.do(recoverModule(), `{"nodes": ["`+fake.Replica(1)+`"], "tables": ["table1", "lost"]}`)
	require.ErrorContains(t, err, "not there: tables lost")
}
