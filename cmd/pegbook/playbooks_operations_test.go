package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/lab/traffic"
	"github.com/pegbook/pegbook/runner/event"
)

// TestPlaybooksOperate does to a cluster of four replica servers what operators do between two updates: they look,
// restart one server, add one, spread the replicas, and take the server out again.
func TestPlaybooksOperate(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	t.Parallel()
	s := startLab(t, lab.Options{Metas: 3, Replicas: 5, Collectors: 1, Address: "60"})
	s.more = append(s.more, "-e", "{balance_settle: 2s, balance_interval: 300ms, balance_checks: 2}")
	all := s.more
	s.more = append([]string{"-i", s.without("replica5")}, all[2:]...)
	s.run(0, "deploy")
	s.testStatus()
	s.testPreflight()
	s.testRestartNode()
	s.more = all
	s.testAddNode()
	s.testRebalance()
	s.testOfflineNode()
}

// without is the lab's inventory without a host.
func (s *labSite) without(host string) string {
	s.t.Helper()
	text, err := os.ReadFile(s.state.Inventory)
	require.NoError(s.t, err)
	line := regexp.MustCompile(`(?m)^\s*` + host + `:.*\n`)
	require.Len(s.t, line.FindAll(text, -1), 1)
	return s.file("without-"+host+".yml", line.ReplaceAllString(string(text), ""))
}

// shown is what debug tasks showed.
func (b *bookRun) shown() string {
	var text strings.Builder
	for _, e := range b.all() {
		if e.Event == "task_done" && e.Module == "debug" {
			text.WriteString(e.Msg + "\n")
		}
	}
	return text.String()
}

func (s *labSite) testStatus() {
	t := s.t
	r := s.run(0, "status")
	assert.Empty(t, r.with(event.Changed))
	assert.Contains(t, r.shown(), "127.")
	assert.Regexp(t, `(?m)^healthy$`, r.shown())
	// A meta server's host that is not there does not hide the cluster.
	lost := s.file("lost.yml", "meta_server: {hosts: {meta1: {ansible_port: 1}}}\n")
	assert.Regexp(t, `(?m)^healthy$`, s.run(0, "status", "-i", lost).shown())
	for name, p := range s.processes() {
		if strings.HasSuffix(name, " replica") {
			assert.Contains(t, r.shown(), p.Version, name)
		}
	}
}

func (s *labSite) testPreflight() {
	t := s.t
	r := s.run(0, "preflight", labVersion("2.5.0")...)
	assert.Empty(t, r.with(event.Changed))
	assert.Contains(t, r.shown(), "UDP")
	bad := s.file("bad.yml", `replica_server:
  hosts:
    replica2: {data_dirs: "ssd2:/nowhere/a,ssd9:/nowhere/b"}
    replica3: {cluster_name: other}
`)
	says := s.run(2, "preflight", "-i", bad, "-e", "lab_version=2.4.0 package_sha256=abc disk_free_percent=101 package_version=2.3.0").says()
	for _, part := range []string{"version: 2.3.0 is older than 2.4.0", "not abc", "the folder /nowhere is not there", "the disks of replica2 are not those of replica1",
		"data_dirs is ssd2:/nowhere/a", "zk_server_list are other", "replica1: ", "less than disk_free_percent, 101"} {
		assert.Contains(t, says, part, "all of it at once")
	}
	few := s.run(2, "preflight", "-e", "mode=simple min_live_nodes=4")
	assert.Contains(t, few.says(), "freeze: ")
	s.run(0, "preflight", "-e", "mode=simple min_live_nodes=4", "-e", "{accept_findings: [freeze]}")
}

func (s *labSite) testRestartNode() {
	t := s.t
	refused := s.run(2, "restart-node")
	assert.Contains(t, refused.says(), "say which replica servers")
	assert.Empty(t, refused.with(event.Changed))
	settings, before := s.settings(), s.processes()
	// The inventory's package is another one than what runs: that is no business of this playbook.
	args := append(labVersion("2.5.0"), "-e", "node=replica2,replica4")
	dry := s.run(0, "restart-node", append(args, "--check")...)
	assert.Empty(t, s.restarted(before))
	load, err := traffic.Start(t.Context(), traffic.Options{Metas: s.metas()})
	require.NoError(t, err)
	real := s.run(0, "restart-node", args...)
	saw := load.Stop(t.Context())
	assert.Zero(t, saw.Failures, "%s", saw)
	assert.Zero(t, saw.LostWrites, "%s", saw)
	real.sameAs(dry)
	assert.Equal(t, real.hosts(unknownInUpdate, event.OK), dry.hosts(unknownInUpdate, event.Unknown))
	assert.Len(t, dry.with(event.Unknown), 2)
	assert.Equal(t, []string{"replica2 replica", "replica4 replica"}, s.restarted(before))
	assert.Equal(t, "2.4.0", s.processes()["replica2 replica"].Version)
	assert.Equal(t, settings, s.settings())
}

func (s *labSite) testAddNode() {
	t := s.t
	settings, before := s.settings(), s.processes()
	newer := s.run(2, "add-node", append(labVersion("2.5.0"), "--limit", "replica5")...)
	assert.Contains(t, newer.says(), "the cluster runs 2.4.0")
	assert.Empty(t, newer.with(event.Changed))

	dry := s.run(0, "add-node", "--limit", "replica5", "--check")
	assert.Equal(t, []string{"replica5: install, and start the new servers: every replica server is alive"}, dry.with(event.Unknown))
	real := s.run(0, "add-node", "--limit", "replica5")
	real.sameAs(dry)
	assert.Equal(t, []string{"replica5 replica"}, s.restarted(before), "only the new one")
	assert.Equal(t, settings, s.settings())
	assert.NotEmpty(t, real.hosts("replicas are spread evenly", event.Changed))
}

func (s *labSite) testRebalance() {
	t := s.t
	settings := s.settings()
	args := []string{"-e", "only_primaries=true"}
	dry := s.run(0, "rebalance", append(args, "--check")...)
	real := s.run(0, "rebalance", args...)
	real.sameAs(dry)
	assert.Empty(t, real.hosts("replicas are copied at 100 MB/s at most", event.Changed))
	s.run(0, "rebalance")
	assert.Empty(t, s.run(0, "rebalance", "--check", "-e", "only_primaries=true").hosts("replicas are spread evenly", event.Changed), "nothing is left to move")
	assert.Equal(t, settings, s.settings())
}

func (s *labSite) testOfflineNode() {
	t := s.t
	before, settings := s.processes(), s.settings()
	few := s.run(2, "offline-node", "-e", "node=replica1,replica2,replica3")
	assert.Contains(t, few.says(), "add servers first")
	assert.Empty(t, few.with(event.Changed))
	assert.Contains(t, s.run(2, "offline-node", "--limit", "replica5", "-e", "restart_metas=true").says(), "name the servers with -e node=")

	args := []string{"-e", "node=replica4,replica5", "-e", "restart_metas=true"}
	dry := s.run(0, "offline-node", append(args, "--check")...)
	assert.Empty(t, s.restarted(before))
	load, err := traffic.Start(t.Context(), traffic.Options{Metas: s.metas()})
	require.NoError(t, err)
	real := s.run(0, "offline-node", args...)
	saw := load.Stop(t.Context())
	assert.Zero(t, saw.Failures, "%s", saw)
	assert.Zero(t, saw.LostWrites, "%s", saw)
	real.sameAs(dry)
	assert.ElementsMatch(t, []string{"replica4 replica", "replica5 replica"}, s.missing(before))
	assert.Equal(t, []string{"meta1 meta", "meta2 meta", "meta3 meta"}, s.restarted(before))
	assert.Equal(t, settings, s.settings())
	list, err := s.client().Setting(t.Context(), "meta.lb.assign_secondary_black_list")
	require.NoError(t, err)
	assert.Empty(t, list)
	assert.Contains(t, real.shown(), "Take the servers that have left out of the inventory")
}

// TestPlaybooksChangeAndGoBack changes the configuration of a cluster and takes an update of it back.
func TestPlaybooksChangeAndGoBack(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	t.Parallel()
	s := startLab(t, lab.Options{Metas: 2, Replicas: 3, Collectors: 1, Address: "80"})
	s.run(0, "deploy")
	s.testChangeConfig()
	s.testRollback()
}

// TestPlaybooksTakeBack has an update fail at the last replica server, and takes the run back.
func TestPlaybooksTakeBack(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	t.Parallel()
	s := startLab(t, lab.Options{Metas: 2, Replicas: 3, Collectors: -1, Address: "85"})
	s.more = append(s.more, "-e", "max_quick_restarts=0")
	s.run(0, "deploy")
	require.NoError(t, s.client().SetLevel(t.Context(), 500))
	settings, before := s.settings(), s.processes()
	s.fault([]string{"replica3"}, "crash_at_start")
	failed := s.run(2, "rolling-update", labVersion("2.5.0")...)
	run := failed.all()[0].Run
	assert.Contains(t, failed.says(), "pegbook runs rollback "+run)
	assert.Equal(t, []string{"replica3 replica"}, s.missing(before))
	assert.Equal(t, []string{"replica1 replica", "replica2 replica"}, s.restarted(before))
	s.fault([]string{"replica3"})

	dry := s.takeBack(0, run, "--check")
	load, err := traffic.Start(t.Context(), traffic.Options{Metas: s.metas()})
	require.NoError(t, err)
	real := s.takeBack(0, run, "--yes")
	saw := load.Stop(t.Context())
	t.Logf("%s", saw)
	assert.Zero(t, saw.Failures, "%s", saw)
	assert.Zero(t, saw.LostWrites, "%s", saw)
	assert.Greater(t, saw.Operations, 500)
	real.within(dry)
	assert.Equal(t, []string{"replica3", "replica2", "replica1"}, real.hosts("replica server: restarted", event.Changed), "the last first")
	assert.Equal(t, []string{"replica2", "replica1"}, real.hosts("it serves nothing, and the others can do without it", event.OK), "the one that is down has nothing to drain")
	assert.Equal(t, settings, s.settings())
	for name, p := range s.processes() {
		assert.Equal(t, "2.4.0", p.Version, name)
		assert.Equal(t, strings.HasSuffix(name, "meta"), p.PID == before[name].PID, "%s: the run had not come to the meta servers", name)
	}
	assert.Empty(t, s.run(0, "rolling-update", append(labVersion("2.4.0"), "--tags", "checks")...).with(event.Changed))
}

// within requires that a dry run called changed nothing that the real run did not change, and called unknown what else
// that changed: what is done to a cluster hangs on a server that is down at first.
func (b *bookRun) within(dry *bookRun) {
	b.t.Helper()
	changed, predicted, unknown := b.with(event.Changed), dry.with(event.Changed), dry.with(event.Unknown)
	require.NotEmpty(b.t, predicted)
	require.Subset(b.t, changed, predicted)
	for _, task := range changed {
		require.True(b.t, slices.Contains(predicted, task) || slices.Contains(unknown, task), "%s was not predicted", task)
	}
}

// takeBack takes a run back; the exit code is code.
func (s *labSite) takeBack(code int, run string, args ...string) *bookRun {
	s.t.Helper()
	return s.start(append([]string{"runs", "rollback", run, "--json"}, args...)).wait(code)
}

func (s *labSite) testChangeConfig() {
	t := s.t
	settings, before := s.settings(), s.processes()
	assert.Empty(t, s.run(0, "change-config").with(event.Changed), "nothing has changed")
	assert.Empty(t, s.restarted(before))
	assert.Contains(t, s.run(2, "change-config", labVersion("2.5.0")...).says(), "use rolling-update.yml")
	other := s.run(2, "change-config", "-e", "data_dirs=ssd2:"+t.TempDir()+"/a/b disks_must_exist=false")
	assert.Contains(t, other.says(), "-e accept_data_dirs=true")
	assert.Empty(t, other.with(event.Changed))

	args := []string{"-e", s.faulty("no_fault"), "-e", "{update_roles: [replica, collector]}"}
	dry := s.run(0, "change-config", append(args, "--check")...)
	assert.Empty(t, s.restarted(before))
	real := s.run(0, "change-config", args...)
	real.sameAs(dry)
	assert.Equal(t, []string{"collector1 collector", "replica1 replica", "replica2 replica", "replica3 replica"}, s.restarted(before))
	assert.Equal(t, settings, s.settings())
	before = s.processes()
	assert.Empty(t, s.run(0, "change-config", args...).with(event.Changed), "they run with it")
	s.run(0, "change-config", args[:2]...)
	assert.Equal(t, []string{"meta1 meta", "meta2 meta"}, s.restarted(before), "those that were left out")
}

func (s *labSite) testRollback() {
	t := s.t
	assert.Contains(t, s.run(2, "rollback").says(), "name one that all hosts have")
	// An update that got as far as one replica server.
	s.run(0, "rolling-update", append(labVersion("2.5.0"), "--limit", "replica1")...)
	s.run(0, "rolling-update", append(labVersion("2.5.0"), "--limit", "all:!replica1", "--check")...)
	settings, before := s.settings(), s.processes()
	require.Equal(t, "2.5.0", before["replica1 replica"].Version)
	// The arguments of the update name a package that is not the one to go back to.
	update := append(labVersion("2.5.0"), "-e", "package="+s.state.Packages[1].File+" package_sha256="+s.state.Packages[1].SHA256)
	dry := s.run(0, "rollback", append(update, "-e", "to_release=2.4.0-0000000-glibc2.36-release", "--check")...)
	assert.Empty(t, s.restarted(before))
	real := s.run(0, "rollback", update...)
	real.sameAs(dry)
	assert.Equal(t, []string{"replica1 replica"}, s.restarted(before))
	assert.Equal(t, "2.4.0", s.processes()["replica1 replica"].Version)
	assert.Equal(t, settings, s.settings())
}
