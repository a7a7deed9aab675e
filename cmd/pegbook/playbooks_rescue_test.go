package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/runner/event"
)

// TestPlaybooksPutSettingsBack has adding, balancing and leaving go wrong half-way: settings, level and copy rate are
// as before, the message says what to do, and that works.
func TestPlaybooksPutSettingsBack(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	t.Parallel()
	s := startLab(t, lab.Options{Metas: 2, Replicas: 5, Collectors: -1, Address: "160"})
	s.more = append(s.more, "-e", "{balance_settle: 2s, balance_interval: 300ms, balance_checks: 2}")
	all := s.more
	s.more = append([]string{"-i", s.without("replica5")}, all[2:]...)
	s.run(0, "deploy")
	require.NoError(t, s.client().SetLevel(t.Context(), 500))
	s.more = all
	s.testAddingFails()
	s.testBalancingFails()
	s.testBalancingInterrupted()
	s.testLeavingFails()
	s.testLeavingInterrupted()
}

// fault tells hosts to misbehave, or with no settings to behave again.
func (s *labSite) fault(hosts []string, settings ...string) {
	s.t.Helper()
	require.NoError(s.t, lab.Fault(s.state.Dir, hosts, settings))
}

// requireCalm requires that nothing is left of an operation.
func (s *labSite) requireCalm() {
	s.t.Helper()
	require.Equal(s.t, calm, s.settings())
	for name, want := range map[string]string{"meta.lb.assign_secondary_black_list": "", "meta.lb.only_move_primary": "false"} {
		value, err := s.client().Setting(s.t.Context(), name)
		require.NoError(s.t, err)
		require.Equal(s.t, want, value, name)
	}
	running := s.processes()
	for _, h := range s.state.Hosts {
		if _, ok := running[h.Name+" replica"]; !ok {
			continue
		}
		rate, err := s.client().Command(s.t.Context(), h.IP+":34801", "nfs.max_copy_rate_megabytes_per_disk")
		require.NoError(s.t, err)
		require.NotEqual(s.t, "100", rate.Text, h.Name)
	}
}

func (s *labSite) untilHealthy() {
	s.t.Helper()
	s.until("the cluster is healthy again", func() bool {
		report, err := lab.Status(s.t.Context(), s.state.Dir)
		return err == nil && report.Cluster != nil && len(report.Cluster.Missing) == 0
	})
}

func (s *labSite) testAddingFails() {
	t := s.t
	before := s.processes()
	s.fault([]string{"replica5"}, "crash_at_start")
	r := s.run(2, "add-node", "--limit", "replica5")
	assert.Contains(t, r.says(), "replica5: ")
	assert.Contains(t, r.says(), "Mend what is wrong\nand run this again")
	assert.Empty(t, s.restarted(before))
	s.requireCalm()
	s.fault([]string{"replica5"})
	s.run(0, "add-node", "--limit", "replica5")
	assert.Equal(t, []string{"replica5 replica"}, s.restarted(before))
	s.requireCalm()
}

func (s *labSite) testBalancingFails() {
	r := s.run(2, "rebalance", "-e", "{balance_always: true, balance_settle: 20s, balance_timeout: 2s}")
	assert.NotEmpty(s.t, r.hosts("replicas are copied at 100 MB/s at most", event.Changed))
	assert.Contains(s.t, r.says(), "The copy rate and the level are as before.")
	assert.Contains(s.t, r.says(), "run this again")
	s.requireCalm()
}

// testBalancingInterrupted puts back without being told what the run was.
func (s *labSite) testBalancingInterrupted() {
	r := s.begin("rebalance", "-e", "{only_primaries: true, balance_always: true, balance_settle: 20s, balance_timeout: 40s}")
	s.until("only primaries are moved", func() bool {
		value, err := s.client().Setting(s.t.Context(), "meta.lb.only_move_primary")
		return err == nil && value == "true"
	})
	r.keys <- os.Interrupt
	r.keys <- os.Interrupt
	r.wait(130)
	s.run(0, "rebalance", "--tags", "restore", "-e", "level_after=lively")
	s.requireCalm()
}

// testLeavingFails has no other server that takes the replicas of the one that leaves.
func (s *labSite) testLeavingFails() {
	t := s.t
	before := s.processes()
	s.fault([]string{"replica1", "replica2", "replica3", "replica4"}, "learning_fails=all")
	r := s.run(2, "offline-node", "--limit", "replica5", "-e", "offline_timeout=4s")
	assert.Contains(t, r.says(), `replica5: task "every table is healthy and every replica server alive" failed`)
	assert.Contains(t, r.says(), "The settings are as before; a server that still runs gets replicas again.")
	assert.Empty(t, s.restarted(before))
	assert.Empty(t, s.missing(before))
	s.requireCalm()
	s.fault(nil)
	s.untilHealthy()
}

func (s *labSite) testLeavingInterrupted() {
	r := s.begin("offline-node", "--limit", "replica5")
	r.until(func(e bookEvent) bool {
		return e.Task == "pegasus : those that leave get no replicas, and theirs are made elsewhere at once" && e.Status == event.Changed
	})
	r.keys <- os.Interrupt
	r.wait(130)
	s.run(0, "offline-node", "--limit", "replica5", "--tags", "restore", "-e", "level_after=lively")
	s.requireCalm()
	s.untilHealthy()
}
