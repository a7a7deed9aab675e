package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/runner/event"
)

// calm are the settings of a cluster that nobody works on.
const calm = "lively 600000 20 true"

// TestPlaybooksFail lets everything go wrong that a person at a real cluster has to get out of again. The
// cluster is the smallest: two meta servers, three replica servers, and the collector on a meta server.
func TestPlaybooksFail(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	t.Parallel()
	s := startLab(t, lab.Options{Metas: 2, Replicas: 3, Collectors: -1, Address: "40", Scale: 0.1})
	s.testWrongVariables()
	s.testWithoutCollector()
	// One after the other all of this restarts servers more often than a meta server puts up with.
	s.more = append(s.more, "-e", "max_quick_restarts=0", "-i", s.file("collector.yml", "collector: {hosts: {meta1: {}}}\n"))
	s.run(0, "deploy")
	require.Len(t, s.processes(), 6, "meta1 serves two roles")
	require.NoError(t, s.client().SetLevel(t.Context(), 500))
	require.Equal(t, calm, s.settings())

	s.testSimpleOnThree()
	s.testCrashingReplica()
	s.testUnhealthyDuring()
	s.testUnhealthyBefore()
	s.testInterrupt()
	s.testHooks()
	s.testGateAndGuard()
	s.testLostHost()
	s.testCrashingMeta()
}

// testWrongVariables has nothing deployed yet: a host's folder tells whether anything was touched.
func (s *labSite) testWrongVariables() {
	t := s.t
	without := s.file("without.yml", "")
	text, err := os.ReadFile(s.state.Inventory)
	require.NoError(t, err)
	text = []byte(strings.Replace(string(text), "zk_server_list:", "zk_server_lost:", 1))
	require.NoError(t, os.WriteFile(without, text, 0o600))
	for _, c := range []struct {
		name, says string
		code       int
		args       []string
	}{
		{"a name for an address", "IPv4 addresses only", 2, []string{"-e", "address=meta1.example"}},
		{"a name in a list", "with IPv4 addresses and no names", 2, []string{"-e", "zk_server_list=zk1:2181 lock_path="}},
		{"a name that is nobody's, for the lock", "zk1:2181: lookup zk1: no such host", 1, []string{"-e", "zk_server_list=zk1:2181"}},
		{"no list", "zk_server_list", 1, []string{"-i", without}},
		{"a folder twice", "data_dirs has a folder twice", 2, []string{"-e", "data_dirs=a:/x/y,b:/x/y"}},
		{"a name twice", "data_dirs has a name twice", 2, []string{"-e", "data_dirs=a:/x/y,a:/x/z"}},
		{"no disk", "is its disk mounted", 2, []string{"-e", "data_dirs=a:/nowhere/pegasus"}},
		{"a list without this server", "lacks this meta server", 2, []string{"-e", "meta_server_list=127.0.0.1:34601"}},
		{"a marker without a value", "%{no.such.thing}", 1, []string{"-e", "config_template=" + s.file("c.ini", "[a]\nb = %{no.such.thing}\n")}},
		{"no ZooKeeper", s.state.Hosts[0].IP + ":1", 2, []string{"-e", "zk_server_list=" + s.state.Hosts[0].IP + ":1 zookeeper_timeout=1s lock_path="}},
	} {
		more := s.more
		if c.name == "no list" {
			s.more = nil
		}
		r := s.run(c.code, "deploy", c.args...)
		s.more = more
		assert.Contains(t, r.says(), c.says, c.name)
		assert.Empty(t, r.with(event.Changed), c.name)
	}
	assert.Empty(t, s.run(2, "rebuild", "--confirm", "lab", "-e", "data_dirs=a:/x/y,b:/x/y").with(event.Changed))
	for _, h := range s.state.Hosts {
		assert.NoDirExists(t, filepath.Join(h.Home, "pegasus"), h.Name)
	}
}

// testWithoutCollector deploys and updates a cluster whose inventory has no such group.
func (s *labSite) testWithoutCollector() {
	s.run(0, "deploy")
	require.Len(s.t, s.processes(), 5)
	s.run(0, "rolling-update", "--limit", "meta_server", "--check")
}

func (s *labSite) testSimpleOnThree() {
	t := s.t
	before := s.processes()
	refused := s.run(2, "rolling-update", "-e", "mode=simple")
	assert.Contains(t, refused.says(), "accept_outage=true")
	assert.Contains(t, s.run(2, "rolling-update", "-e", "mode=easy").says(), "-e mode=ha or -e mode=simple")
	assert.Empty(t, s.restarted(before))
	s.run(0, "rolling-update", "-e", "mode=simple accept_outage=true", "--limit", "replica2")
	assert.Equal(t, []string{"replica2 replica"}, s.restarted(before))
	assert.Equal(t, calm, s.settings())
}

// faulty is a configuration in which the simulated server is told to misbehave.
func (s *labSite) faulty(how string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "playbooks", "roles", "pegasus", "templates", "config.ini"))
	require.NoError(s.t, err)
	return "config_template=" + s.file("faulty.ini", string(text)+"\n[simulator]\n"+how+" = true\n")
}

// testCrashingReplica updates to a configuration with which servers do not come up: the first is the last.
func (s *labSite) testCrashingReplica() {
	t := s.t
	before := s.processes()
	args := append(labVersion("2.5.0"), "-e", s.faulty("crash_at_start"))
	r := s.run(2, "rolling-update", args...)
	assert.Equal(t, []string{"replica1 replica"}, s.missing(before))
	assert.Empty(t, s.restarted(before))
	assert.Equal(t, calm, s.settings())
	says := r.says()
	for _, part := range []string{`replica1: task "replica server: restarted" failed`, "app/pegasus/replica/result", "settings are as before",
		"no other host is touched", "playbooks/deploy.yml -i " + s.state.Inventory + " -i ", ".yml --limit replica1, with the -e of this run", "run the same command again.\n",
		"What is where now:\n  level lively; add_secondary_enable_flow_control true; add_secondary_max_count_for_one_node 20; ", "assign_delay_ms 600000;"} {
		assert.Contains(t, says, part)
	}

	again := s.run(2, "rolling-update", args...)
	assert.Contains(t, again.says(), "the replica server of replica1 is not running")
	assert.Empty(t, again.with(event.Changed))

	// What the message says: back to the old release on this host, or on with a better configuration.
	s.run(0, "deploy", "--limit", "replica1")
	assert.Equal(t, "2.4.0", s.processes()["replica1 replica"].Version)
	before = s.processes()
	s.run(0, "rolling-update", append(labVersion("2.5.0"), "--limit", "replica1:meta1")...)
	assert.Equal(t, []string{"meta1 collector", "meta1 meta", "replica1 replica"}, s.restarted(before))
	assert.Equal(t, calm, s.settings())
}

// testUnhealthyDuring updates to a configuration with which a server starts and is lost to the meta server soon.
func (s *labSite) testUnhealthyDuring() {
	t := s.t
	before := s.processes()
	args := append(labVersion("2.5.0"), "-e", "healthy_stable=3s healthy_timeout=6s")
	r := s.run(2, "rolling-update", append(args, "-e", s.faulty("lose_heartbeats"))...)
	assert.Equal(t, []string{"replica1 replica"}, s.restarted(before), "no other one is touched")
	assert.Contains(t, r.says(), s.state.Hosts[2].IP+":34801")
	assert.Equal(t, calm, s.settings())
	before = s.processes()
	assert.Empty(t, s.run(2, "rolling-update", args...).with(event.Changed))
	alone := append(labVersion("2.5.0"), "--limit", "replica1", "-e", "mode=simple check_health=false accept_outage=true")
	often := s.run(2, "rolling-update", append(alone, "-e", "max_quick_restarts=4 quick_restart=10m")...)
	assert.Contains(t, often.says(), "which max_quick_restarts forbids; wait until ")
	assert.Empty(t, s.restarted(before))
	s.run(0, "rolling-update", alone...)
	assert.Equal(t, []string{"replica1 replica"}, s.restarted(before))
	assert.Equal(t, calm, s.settings())
}

// missing lists servers that ran before and do not now.
func (s *labSite) missing(before map[string]lab.Process) []string {
	s.t.Helper()
	now := s.processes()
	list := []string{}
	for name := range before {
		if _, ok := now[name]; !ok {
			list = append(list, name)
		}
	}
	return list
}

func (s *labSite) testUnhealthyBefore() {
	t := s.t
	before := s.processes()
	require.NoError(t, syscall.Kill(before["replica3 replica"].PID, syscall.SIGKILL))
	s.until("the cluster lacks a server", func() bool {
		report, err := lab.Status(t.Context(), s.state.Dir)
		return err == nil && report.Cluster != nil && report.Cluster.Alive == 2
	})
	settings := s.settings()
	// The other servers run, so it is the cluster's health that is in the way.
	r := s.run(2, "rolling-update", append(labVersion("2.5.0"), "--limit", "!replica3")...)
	assert.Contains(t, r.says(), "frozen")
	assert.Empty(t, r.with(event.Changed))
	assert.Equal(t, []string{"replica3 replica"}, s.missing(before))
	assert.Equal(t, settings, s.settings())

	s.run(0, "deploy", append(labVersion("2.5.0"), "--limit", "replica3")...)
	assert.Equal(t, []string{"replica3 replica"}, s.restarted(before))
}

func (s *labSite) until(what string, is func() bool) {
	s.t.Helper()
	require.Eventually(s.t, is, time.Minute, 50*time.Millisecond, what)
}

// testInterrupt stops an update in the middle of draining, and then does what it says.
func (s *labSite) testInterrupt() {
	t := s.t
	before := s.processes()
	r := s.begin("rolling-update", labVersion("2.5.0")...)
	r.until(func(e bookEvent) bool {
		return e.Task == "pegasus : secondaries are taken out of service" && e.Status == event.Changed
	})
	r.keys <- os.Interrupt
	r.wait(130)
	events := r.all()
	done := events[len(events)-1]
	assert.Equal(t, "run_done", done.Event)
	assert.Equal(t, 130, done.ExitCode)
	assert.NotEmpty(t, done.Recap)
	assert.Contains(t, done.Message, "replica1")
	assert.Empty(t, s.restarted(before))
	assert.Equal(t, "steady 3600000 0 true", s.settings())

	blocked := s.run(2, "rolling-update", append(labVersion("2.5.0"), "--tags", "checks")...)
	assert.Contains(t, blocked.says(), "--tags restore")
	s.run(0, "rolling-update", "--tags", "restore", "-e", "level_after=lively")
	assert.Equal(t, calm, s.settings())
	s.until("the cluster is healthy again", func() bool {
		report, err := lab.Status(t.Context(), s.state.Dir)
		return err == nil && report.Cluster != nil && len(report.Cluster.Missing) == 0
	})
}

// testHooks has a site's tasks before and after a host, and one of them fail.
func (s *labSite) testHooks() {
	t := s.t
	told := filepath.Join(t.TempDir(), "told")
	hook := func(what string) string {
		return s.file(what+".yml", fmt.Sprintf("- name: %[1]s\n  shell: echo %[1]s {{ .inventory_hostname }} {{ .process }} >> %[2]s\n  delegate_to: localhost\n", what, told))
	}
	args := append(labVersion("2.5.0"), "--limit", "replica2,meta1", "-e", "hook_before_host="+hook("before"))
	before := s.processes()
	s.run(0, "rolling-update", append(args, "-e", "hook_after_host="+hook("after"))...)
	text, err := os.ReadFile(told)
	require.NoError(t, err)
	assert.Equal(t, "before replica2 replica\nafter replica2 replica\nbefore meta1 meta\nafter meta1 meta\nbefore meta1 collector\nafter meta1 collector\n", string(text))
	assert.Equal(t, []string{"meta1 collector", "meta1 meta", "replica2 replica"}, s.restarted(before))
	before = s.processes()

	broken := s.file("broken.yml", "- name: ask the change calendar\n  fail: {msg: no changes today}\n")
	r := s.run(2, "rolling-update", append(args, "-e", "hook_before_host="+broken)...)
	assert.Contains(t, r.says(), "no changes today")
	assert.Empty(t, s.restarted(before))
	assert.Equal(t, calm, s.settings())
}

// testGateAndGuard has somebody approve after the first server, and another one die before that.
func (s *labSite) testGateAndGuard() {
	t := s.t
	before := s.processes()
	r := s.begin("rolling-update", append(labVersion("2.5.0"), "--limit", "replica_server", "-e", "guard_cluster=true", "-e", "{approve_after: [first]}", "--wait-for-approval")...)
	r.until(func(e bookEvent) bool { return e.Event == "gate_waiting" })
	require.NoError(t, syscall.Kill(before["replica3 replica"].PID, syscall.SIGKILL))
	s.until("the cluster lacks a server", func() bool {
		report, err := lab.Status(t.Context(), s.state.Dir)
		return err == nil && report.Cluster != nil && report.Cluster.Alive == 2
	})
	var said strings.Builder
	code := run(t.Context(), []string{"runs", "approve", r.all()[0].Run}, streams{in: strings.NewReader(""), out: &said, err: &said}, nil)
	require.Zero(t, code, said.String())
	assert.Contains(t, said.String(), `gate "the first replica server is well" is open`)
	r.wait(5)
	assert.Contains(t, r.says(), "the guard of play replica servers does not hold (batch 2): task \"no other replica server is down, and no partition lacks two replicas\" on replica2: down: "+
		s.state.Hosts[4].IP+":34801")
	assert.Equal(t, []string{"replica1 replica"}, s.restarted(before), "the next server is not touched")
	assert.Equal(t, []string{"replica3 replica"}, s.missing(before))

	s.run(0, "deploy", append(labVersion("2.5.0"), "--limit", "replica3")...)
	s.run(0, "rolling-update", "--tags", "restore", "-e", "level_after=lively")
	assert.Equal(t, calm, s.settings())
}

// testLostHost loses the way to a host that has just been drained.
func (s *labSite) testLostHost() {
	t := s.t
	before := s.processes()
	lose := s.file("lose.yml", "- set_fact: {ansible_port: 1}\n- meta: reset_connection\n")
	hook := fmt.Sprintf(`{hook_before_host: '{{ ternary %q "" (eq .inventory_hostname "replica3") }}'}`, lose)
	r := s.run(2, "rolling-update", append(labVersion("2.5.0"), "--limit", "replica_server:!replica1", "-e", hook)...)
	assert.Equal(t, []string{"replica2", "replica3"}, r.hosts("replicas are closed, their memory on disk", event.Changed))
	assert.Contains(t, r.says(), "replica3 cannot be reached any more")
	assert.Contains(t, r.says(), "--limit 'replica_server:!replica1:!replica2' it leaves out what is done")
	assert.Regexp(t, "(?m)^  "+s.state.Hosts[4].IP+`:34801 +ALIVE .*  <- it stopped here$`, r.says())
	assert.Equal(t, []string{"replica2 replica"}, s.restarted(before))
	assert.Equal(t, calm, s.settings())
	s.until("the cluster is healthy again", func() bool {
		report, err := lab.Status(t.Context(), s.state.Dir)
		return err == nil && report.Cluster != nil && len(report.Cluster.Missing) == 0
	})
}

// testCrashingMeta fails in the play of the meta servers: their settings are put back there, too.
func (s *labSite) testCrashingMeta() {
	t := s.t
	before := s.processes()
	args := append(labVersion("2.5.0"), "-e", s.faulty("crash_at_start"), "-e", "{update_roles: [meta]}")
	r := s.run(2, "rolling-update", args...)
	missing := s.missing(before)
	require.Len(t, missing, 1)
	assert.Empty(t, s.restarted(before))
	assert.Contains(t, r.says(), `task "meta server: restarted" failed`)
	assert.Equal(t, calm, s.settings())
	host, _, _ := strings.Cut(missing[0], " ")
	s.run(0, "deploy", append(labVersion("2.5.0"), "--limit", host)...)
	assert.Empty(t, s.missing(before))
	s.run(0, "rolling-update", append(labVersion("2.5.0"), "--tags", "checks")...)
}
