package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/lab/traffic"
	"github.com/pegbook/pegbook/runner/event"
)

// labVersion asks for a package of the lab.
func labVersion(number string) []string { return []string{"-e", "lab_version=" + number} }

// TestPlaybooksDoWhatTheyPredict carries a cluster through its life: deployed, updated under load both ways,
// and rebuilt. Each time the dry run before names exactly the tasks that change something.
func TestPlaybooksDoWhatTheyPredict(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	t.Parallel()
	s := startLab(t, lab.Options{Metas: 3, Replicas: 4, Collectors: 1, Address: "20"})
	s.testDeploy()
	s.testUpdate()
	s.testSimpleUpdate()
	s.testRebuild()
}

func (s *labSite) testDeploy() {
	t := s.t
	dry := s.run(0, "deploy", "--check", "--diff")
	real := s.run(0, "deploy")
	real.sameAs(dry)
	assert.Equal(t, []string{
		// Nothing runs yet of which a dry run could say that it will be well.
		"meta1: the cluster is healthy: every replica server is alive",
		"meta1: the cluster is healthy: every table is healthy and every replica server alive",
	}, dry.with(event.Unknown))
	processes := s.processes()
	require.Len(t, processes, 8)
	for name, p := range processes {
		assert.Equal(t, "2.4.0", p.Version, name)
	}
	table, err := s.client().Partitions(t.Context(), "temp")
	require.NoError(t, err)
	assert.NotEmpty(t, table)

	assert.Empty(t, s.run(0, "deploy").with(event.Changed), "the second run changes nothing")
	again := s.run(0, "deploy", "--check")
	assert.Empty(t, again.with(event.Changed))
	assert.Empty(t, again.with(event.Unknown))
	assert.Empty(t, s.restarted(processes))
}

// unknownInUpdate is what a dry run of an update cannot know: a process that is not there yet.
const unknownInUpdate = "it is a new process in the right version"

func (s *labSite) testUpdate() {
	t := s.t
	require.NoError(t, s.client().SetLevel(t.Context(), 500))
	settings, before := s.settings(), s.processes()
	leader, err := s.client().Leader(t.Context())
	require.NoError(t, err)

	dry := s.run(0, "rolling-update", append(labVersion("2.5.0"), "--check")...)
	assert.Equal(t, settings, s.settings())
	assert.Empty(t, s.restarted(before))
	load, err := traffic.Start(t.Context(), traffic.Options{Metas: s.metas()})
	require.NoError(t, err)
	began := time.Now()
	real := s.run(0, "rolling-update", labVersion("2.5.0")...)
	took := time.Since(began)
	saw := load.Stop(t.Context())
	t.Logf("updated in %s\n%s", took.Round(time.Millisecond), saw)

	assert.Zero(t, saw.Failures, "%s", saw)
	assert.Zero(t, saw.LostWrites, "%s", saw)
	assert.Greater(t, saw.Operations, 1000)
	real.sameAs(dry)
	assert.Equal(t, real.hosts(unknownInUpdate, event.OK), dry.hosts(unknownInUpdate, event.Unknown))
	assert.Len(t, dry.with(event.Unknown), 8)
	assert.Equal(t, settings, s.settings(), "level lively and the configuration's settings are back")
	for name, p := range s.processes() {
		assert.Equal(t, "2.5.0", p.Version, name)
		assert.NotEqual(t, before[name].PID, p.PID, name)
	}
	s.requireOrder(real, leader)
	requirePrepared(t, real)
	requireCountdown(t, real, "replica1", "replica2", "replica3", "replica4")
	s.run(0, "rolling-update", append(labVersion("2.5.0"), "--tags", "checks")...)
}

// requirePrepared: packages and configurations are on all hosts, sent to them side by side, before the first server
// is touched.
func requirePrepared(t *testing.T, real *bookRun) {
	t.Helper()
	const play = "put release and configuration in place everywhere"
	began, ended, most := 0, 0, 0
	last, first := -1, -1
	for i, e := range real.all() {
		sends := strings.HasPrefix(e.Task, "pegasus : release ") && e.Play == play
		switch {
		case e.Event == "task_started" && sends:
			began++
			most = max(most, began-ended)
		case e.Event == "task_done" && sends:
			ended++
		}
		if e.Play == play && e.Event == "task_done" {
			last = i
		}
		if touches := e.Module == "daemon" || e.Module == "pegasus_settings" || e.Module == "migrate_primaries"; touches && e.Status == event.Changed && first < 0 {
			first = i
		}
	}
	assert.Equal(t, 8, ended, "hosts that a package was sent to")
	assert.Equal(t, 8, most, "hosts that a package was sent to side by side")
	require.Positive(t, first)
	assert.Less(t, last, first, "all hosts are prepared before anything is changed at a server or at the cluster")
}

// requireCountdown: each replica server's turn tells what is left, down to nothing. What heals before the first look
// is not told of, so each count must be seen at some server.
func requireCountdown(t *testing.T, real *bookRun, hosts ...string) {
	t.Helper()
	names := []string{"primaries", "secondaries", "open replicas", "unhealthy partitions"}
	most := map[string]int{}
	for _, host := range hosts {
		left := map[string]int{}
		for _, e := range real.all() {
			if e.Event != "noted" || e.Host != host || e.Phase == "" {
				continue
			}
			for _, c := range e.Counts {
				most[c.Name], left[c.Name] = max(most[c.Name], c.Of), c.Left
			}
		}
		for _, name := range names {
			assert.Contains(t, left, name, host)
			assert.Zero(t, left[name], "%s of %s", name, host)
		}
	}
	for _, name := range names {
		assert.Positive(t, most[name], name)
	}
}

// requireOrder looks at the order in which servers were restarted.
func (s *labSite) requireOrder(real *bookRun, leader string) {
	t := s.t
	t.Helper()
	assert.Equal(t, []string{"replica1", "replica2", "replica3", "replica4"}, real.hosts("replica server: restarted", event.Changed))
	metas := real.hosts("meta server: restarted", event.Changed)
	require.Len(t, metas, 3)
	i := slices.IndexFunc(s.state.Hosts, func(h lab.Host) bool { return h.IP+":34601" == leader })
	assert.Equal(t, s.state.Hosts[i].Name, metas[2], "the leader is last")
	assert.Equal(t, metas, real.hosts("heartbeats settle", event.OK))
	assert.Equal(t, []string{"collector1"}, real.hosts("collector server: restarted", event.Changed))
	var roles []string
	for _, e := range real.all() {
		if e.Module == "daemon" && e.Status == event.Changed {
			roles = append(roles, e.Task)
		}
	}
	assert.Equal(t, []string{"pegasus : replica server: restarted", "pegasus : meta server: restarted", "pegasus : collector server: restarted"}, slices.Compact(roles))
}

// testSimpleUpdate goes back to the first package in the simple way.
func (s *labSite) testSimpleUpdate() {
	t := s.t
	settings := s.settings()
	args := append(labVersion("2.4.0"), "-e", "mode=simple")
	assert.Contains(t, s.run(2, "rolling-update", args...).says(), "version: 2.4.0 is older than 2.5.0")
	args = append(args, "-e", "{accept_findings: [version]}")
	dry := s.run(0, "rolling-update", append(args, "--check")...)
	real := s.run(0, "rolling-update", args...)
	real.sameAs(dry)
	assert.Equal(t, real.hosts(unknownInUpdate, event.OK), dry.hosts(unknownInUpdate, event.Unknown))
	assert.Empty(t, real.hosts("primaries move to other nodes", event.Changed))
	assert.Equal(t, settings, s.settings())
	for name, p := range s.processes() {
		assert.Equal(t, "2.4.0", p.Version, name)
	}
}

func (s *labSite) testRebuild() {
	t := s.t
	home := s.state.Hosts[3].Home // replica1
	for _, dir := range []string{"ssd1", "ssd2", "app/pegasus"} {
		require.NoError(t, os.WriteFile(filepath.Join(home, dir, "mine"), nil, 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(home, "ssd3/pegasus/theirs"), nil, 0o600))
	before := s.processes()

	refused := s.run(1, "rebuild")
	assert.Contains(t, refused.says(), "--confirm lab")
	assert.Empty(t, refused.with(event.Changed))
	assert.Contains(t, s.run(1, "rebuild", "--confirm", "lob").says(), `"lob" is not "lab"`)
	limited := s.run(2, "rebuild", "--confirm", "lab", "--limit", "replica1")
	assert.Contains(t, limited.says(), "takes no --limit")
	dry := s.run(0, "rebuild", "--check")
	assert.Empty(t, dry.with(event.Unknown))
	assert.Empty(t, s.restarted(before))

	real := s.run(0, "rebuild", "--confirm", "lab")
	real.sameAs(dry)
	assert.Len(t, s.restarted(before), 8)
	assert.NoFileExists(t, filepath.Join(home, "ssd3/pegasus/theirs"))
	for _, dir := range []string{"ssd1", "ssd2", "app/pegasus"} {
		assert.FileExists(t, filepath.Join(home, dir, "mine"))
	}
	assert.Empty(t, s.run(0, "deploy").with(event.Changed))
}
