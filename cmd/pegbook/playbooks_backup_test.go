package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
	"github.com/pegbook/pegbook/runner/event"
)

// TestPlaybooksBackUpAndRestore backs tables of one cluster up and makes tables of that: there, and on another
// cluster with hosts of its own, which sees the same folder of backups.
func TestPlaybooksBackUpAndRestore(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	t.Parallel()
	folder := t.TempDir()
	here := startLab(t, lab.Options{Metas: 2, Replicas: 3, Collectors: -1, Address: "100"})
	here.more = append(here.more, "-e", "backup_provider=shared backup_poll=300ms", "-e", "config_template="+here.withBackups(folder))
	here.run(0, "deploy")
	here.write("temp", 20)
	args := here.testBackup()
	here.testBackupPolicy()
	here.testRestoreHere(args)

	there := startLab(t, lab.Options{Metas: 2, Replicas: 3, Collectors: -1, Address: "120"})
	there.more = append(there.more, "-e", "cluster_name=elsewhere backup_provider=shared backup_poll=300ms", "-e", "config_template="+there.withBackups(folder))
	there.run(0, "deploy")
	there.run(0, "restore-table", append(args, "-e", "restore_as=from_there restore_cluster=lab")...)
	there.requireWritten("from_there", 20)
}

// withBackups is the shipped template with a place for backups.
func (s *labSite) withBackups(folder string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "playbooks", "roles", "pegasus", "templates", "config.ini"))
	require.NoError(s.t, err)
	return s.file("backups.ini", string(text)+"\n[block_service.shared]\ntype = local_service\nargs = "+folder+"\n")
}

func numbered(t *testing.T, i int) (wire.Key, []byte) {
	t.Helper()
	key, err := wire.NewKey(fmt.Append(nil, "key ", i), []byte("of the test"))
	require.NoError(t, err)
	return key, fmt.Append(nil, "value ", i)
}

func (s *labSite) write(table string, n int) {
	s.t.Helper()
	writeNumbered(s.t, s.client(), table, n)
}

func (s *labSite) requireWritten(table string, n int) {
	s.t.Helper()
	requireNumbered(s.t, s.client(), table, n)
}

func writeNumbered(t *testing.T, c *client.Client, table string, n int) {
	t.Helper()
	data := c.Data(table)
	for i := range n {
		key, value := numbered(t, i)
		require.NoError(t, data.Put(t.Context(), key, value))
	}
}

func requireNumbered(t *testing.T, c *client.Client, table string, n int) {
	t.Helper()
	data := c.Data(table)
	for i := range n {
		key, want := numbered(t, i)
		got, err := data.Get(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
}

// testBackup backs all tables up and gives the arguments with which the run says that temp is restored.
func (s *labSite) testBackup() []string {
	t := s.t
	refused := s.run(2, "backup", "-e", "backup_provider=")
	assert.Contains(t, refused.says(), "say where backups go")
	unknown := s.run(2, "backup", "-e", "{backup_tables: [temp, tomp]}")
	assert.Contains(t, unknown.says(), "there is no table tomp; there are ")
	assert.Empty(t, append(refused.with(event.Changed), unknown.with(event.Changed)...))
	nowhere := s.run(2, "backup", "-e", "backup_provider=nowhere")
	assert.Contains(t, nowhere.says(), "No backup was made")

	settings, before := s.settings(), s.processes()
	dry := s.run(0, "backup", "--check")
	real := s.run(0, "backup")
	real.sameAs(dry)
	assert.Equal(t, settings, s.settings())
	assert.Empty(t, s.restarted(before))
	assert.Contains(t, real.shown(), " of stat (table ")
	line := regexp.MustCompile(`(?m)of temp .*\n? *restore-table.yml (.*) -e restore_as=NEW_NAME`).FindStringSubmatch(real.shown())
	require.NotEmpty(t, line, real.shown())
	return strings.Fields(line[1])
}

func (s *labSite) testBackupPolicy() {
	t := s.t
	args := []string{"-e", "backup_policy=every_day backup_start_time=03:00", "-e", "{backup_tables: [temp]}"}
	dry := s.run(0, "backup", append(args, "--check")...)
	s.run(0, "backup", args...).sameAs(dry)
	assert.Empty(t, s.run(0, "backup", args...).with(event.Changed), "it is in force")
	assert.NotEmpty(t, s.run(0, "backup", append(args, "-e", "backup_policy_state=disabled")...).with(event.Changed))
}

func (s *labSite) testRestoreHere(args []string) {
	t := s.t
	over := s.run(2, "restore-table", args...)
	assert.Contains(t, over.says(), "nothing is restored over a table")
	assert.Contains(t, s.run(2, "restore-table").says(), "say which backup")
	again := append(args, "-e", "restore_as=again")
	dry := s.run(0, "restore-table", append(again, "--check")...)
	s.run(0, "restore-table", again...).sameAs(dry)
	s.requireWritten("again", 20)
	lost := s.run(2, "restore-table", append(args, "-e", "restore_as=lost restore_backup=1")...)
	assert.Contains(t, lost.says(), "No setting was changed")
}
