package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/lab/traffic"
	"github.com/pegbook/pegbook/lab/zookeeper"
	"github.com/pegbook/pegbook/runner/event"
)

// TestPlaybooksMoveToAnotherZooKeeper under load, back, and not where something is in the way.
func TestPlaybooksMoveToAnotherZooKeeper(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	t.Parallel()
	s := startLab(t, lab.Options{Metas: 3, Replicas: 3, Collectors: -1, Address: "140", Scale: 0.1})
	s.run(0, "deploy")
	require.NoError(t, s.client().SetLevel(t.Context(), 500))
	s.write("temp", 20)
	to, _ := s.anotherZooKeeper()
	s.testMoveIsRefused(to)
	s.testMoveGoesBack()
	s.testMove(to)
	s.testMoveInterrupted()
}

// anotherZooKeeper starts one for as long as the test takes, or until it is ended.
func (s *labSite) anotherZooKeeper() (addr string, end func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	server, err := zookeeper.Listen(ctx, zookeeper.Options{Addr: s.state.Hosts[0].IP + ":0"})
	require.NoError(s.t, err)
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		assert.NoError(s.t, <-done)
	})
	return server.Addr(), cancel
}

// configured are the lists of ZooKeeper servers in the meta servers' configurations.
func (s *labSite) configured() []string {
	s.t.Helper()
	var all []string
	for _, h := range s.state.Hosts {
		if h.Group != "meta_server" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(h.Home, "pegasus/current/bin/meta.ini"))
		require.NoError(s.t, err)
		_, list, _ := strings.Cut(string(text), "hosts_list = ")
		list, _, _ = strings.Cut(list, "\n")
		all = append(all, list)
	}
	return all
}

func (s *labSite) testMoveIsRefused(to string) {
	t := s.t
	before := s.processes()
	for name, c := range map[string]struct {
		says string
		args []string
	}{
		"nowhere":       {"say where to", nil},
		"where it is":   {"say where to", []string{"-e", "new_zk_server_list=" + s.state.ZooKeeper}},
		"not all":       {"there is no --limit", []string{"-e", "new_zk_server_list=" + to, "--limit", "meta1"}},
		"no ZooKeeper":  {"connection refused", []string{"-e", "zookeeper_timeout=1s new_zk_server_list=" + s.state.Hosts[0].IP + ":1"}},
		"other changes": {"change-config.yml", []string{"-e", "new_zk_server_list=" + to, "-e", s.faulty("no_fault")}},
	} {
		r := s.run(2, "migrate-zookeeper", c.args...)
		assert.Contains(t, r.says(), c.says, name)
		if name != "other changes" {
			assert.Empty(t, r.with(event.Changed), name)
		}
	}
	assert.Empty(t, s.restarted(before))
}

// testMoveGoesBack where the new ZooKeeper is lost on the way: the standby meta servers are down by then.
func (s *labSite) testMoveGoesBack() {
	t := s.t
	to, end := s.anotherZooKeeper()
	r := s.begin("migrate-zookeeper", "-e", "new_zk_server_list="+to)
	r.until(func(e bookEvent) bool { return e.Task == "pegasus : the level is blind" && e.Status == event.Changed })
	end()
	r.wait(2)
	assert.Contains(t, r.says(), "ZooKeeper's nodes are copied\" failed")
	assert.NotEmpty(t, r.hosts("meta server is stopped", event.Changed))
	assert.Contains(t, r.says(), "as before, and the level is as before")
	assert.Contains(t, r.says(), "-e accept_target=true")
	assert.Len(t, s.processes(), 6)
	assert.Equal(t, calm, s.settings())
	for _, list := range s.configured() {
		assert.Equal(t, s.state.ZooKeeper, list)
	}
}

func (s *labSite) testMove(to string) {
	t := s.t
	before := s.processes()
	conn, _, err := zk.Connect([]string{to}, 10*time.Second, zk.WithLogInfo(false))
	require.NoError(t, err)
	defer conn.Close()
	for _, node := range []string{"/pegasus", "/pegasus/lab", "/pegasus/lab/left"} {
		_, err := conn.Create(node, nil, 0, zk.WorldACL(zk.PermAll))
		require.NoError(t, err)
	}
	there := s.run(2, "migrate-zookeeper", "-e", "new_zk_server_list="+to)
	assert.Contains(t, there.says(), "has /pegasus/lab already")
	args := []string{"-e", "new_zk_server_list=" + to, "-e", "accept_target=true"}
	dry := s.run(0, "migrate-zookeeper", append(args, "--check")...)
	assert.Empty(t, s.restarted(before))
	assert.Equal(t, calm, s.settings())

	load, err := traffic.Start(t.Context(), traffic.Options{Metas: s.metas()})
	require.NoError(t, err)
	real := s.run(0, "migrate-zookeeper", args...)
	saw := load.Stop(t.Context())
	t.Logf("%s", saw)
	assert.Zero(t, saw.Failures, "%s", saw)
	assert.Zero(t, saw.LostWrites, "%s", saw)
	real.sameAs(dry)
	assert.Equal(t, []string{"meta1 meta", "meta2 meta", "meta3 meta"}, s.restarted(before))
	assert.Equal(t, calm, s.settings())
	s.requireWritten("temp", 20)
	assert.Contains(t, real.shown(), "Write zk_server_list: "+to+" into the inventory")

	s.more = append(s.more, "-e", "zk_server_list="+to)
	before = s.processes()
	assert.Empty(t, s.run(0, "status").with(event.Changed))
	s.run(0, "deploy", "--limit", "meta_server")
	assert.Empty(t, s.restarted(before), "the inventory says what runs")
}

// testMoveInterrupted kills the run when nothing leads, and does what the documentation says.
func (s *labSite) testMoveInterrupted() {
	t := s.t
	to, _ := s.anotherZooKeeper()
	args := []string{"-e", "new_zk_server_list=" + to}
	r := s.begin("migrate-zookeeper", args...)
	r.until(func(e bookEvent) bool { return e.Task == "pegasus : the copy is the same" && e.Event == "task_done" })
	r.keys <- os.Interrupt
	r.wait(130)
	s.run(0, "migrate-zookeeper", append(args, "--tags", "restore", "-e", "level_after=lively")...)
	assert.Len(t, s.processes(), 6)
	assert.Equal(t, calm, s.settings())
	lists := s.configured()
	assert.Equal(t, []string{lists[0], lists[0], lists[0]}, lists, "all or none")
	s.requireWritten("temp", 20)
}
