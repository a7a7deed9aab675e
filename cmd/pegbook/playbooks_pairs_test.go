package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/lab/traffic"
	"github.com/pegbook/pegbook/runner/event"
)

// TestPlaybooksTwoServersOnAHost has two replica servers, with disks of their own, on two hosts out of three.
func TestPlaybooksTwoServersOnAHost(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	t.Parallel()
	s := startLab(t, lab.Options{Metas: 2, Replicas: 3, Collectors: -1, Address: "180"})
	var seconds []string
	pairs := "replica_server:\n  hosts:\n"
	for _, h := range s.state.Hosts[2:4] {
		for _, disk := range []string{"ssd1", "ssd2", "ssd3"} {
			require.NoError(t, os.MkdirAll(filepath.Join(h.Home, "b", disk), 0o755))
		}
		pairs += "    " + h.Name + "b: {ansible_host: " + h.IP + ", replica_port: 34802, instance: -b, lab_home: " + h.Home + "/b}\n"
		seconds = append(seconds, h.IP+":34802")
	}
	s.more = append(s.more, "-i", s.file("pairs.yml", pairs))
	s.testSharing()
	s.run(0, "deploy")
	assert.Empty(t, s.run(0, "deploy").with(event.Changed))
	nodes, err := s.client().Nodes(t.Context())
	require.NoError(t, err)
	require.Len(t, nodes, 5)
	s.testUpdatePairs(seconds)
}

// testSharing gives two servers of a host what only one of them can have: it is said once, and nothing runs.
func (s *labSite) testSharing() {
	t := s.t
	for name, c := range map[string]struct{ second, says string }{
		"a port":    {"replica_port: 34801", ":34801 (replica_port): replica1 replica1b"},
		"a folder":  {"data_dirs: 'ssd2:{{ .lab_dir }}/hosts/replica1/ssd2/pegasus,ssd3:{{ .lab_home }}/ssd3/pegasus'", "ssd2/pegasus of "},
		"a process": {`instance: ""`, "(instance): replica1 replica1b"},
	} {
		r := s.run(2, "deploy", "-i", s.file("sharing.yml", "replica_server: {hosts: {replica1b: {"+c.second+"}}}\n"))
		assert.Contains(t, r.says(), "two servers would share", name)
		assert.Contains(t, r.says(), c.says, name)
		assert.Empty(t, r.with(event.Changed), name)
	}
}

func (s *labSite) testUpdatePairs(seconds []string) {
	t := s.t
	started := func(addr string) string {
		at, err := s.client().StartTime(t.Context(), addr)
		require.NoError(t, err)
		return at
	}
	other, before := started(seconds[1]), started(seconds[0])
	dry := s.run(0, "restart-node", "--limit", "replica1b", "--check")
	load, err := traffic.Start(t.Context(), traffic.Options{Metas: s.metas()})
	require.NoError(t, err)
	real := s.run(0, "restart-node", "--limit", "replica1b")
	s.run(0, "rolling-update", append(labVersion("2.5.0"), "--limit", "replica2,replica2b")...)
	saw := load.Stop(t.Context())
	assert.Zero(t, saw.Failures, "%s", saw)
	assert.Zero(t, saw.LostWrites, "%s", saw)
	real.sameAs(dry)
	assert.NotEqual(t, before, started(seconds[0]))
	assert.NotEqual(t, other, started(seconds[1]))
	version, err := s.client().HTTPVersion(t.Context(), seconds[1])
	require.NoError(t, err)
	assert.Contains(t, version, "2.5.0")
	version, err = s.client().HTTPVersion(t.Context(), seconds[0])
	require.NoError(t, err)
	assert.Contains(t, version, "2.4.0", "only what was named")
}

// TestInventoriesFitThePlaybooks validates what is there to be copied.
func TestInventoriesFitThePlaybooks(t *testing.T) {
	inventories, err := filepath.Glob(filepath.Join("..", "..", "inventories", "*.yml"))
	require.NoError(t, err)
	require.Len(t, inventories, 3)
	for _, inventory := range inventories {
		for _, book := range []string{"deploy", "rolling-update", "preflight"} {
			var out, errs bytes.Buffer
			code := run(t.Context(), []string{"validate", "-i", inventory, filepath.Join("..", "..", "playbooks", book+".yml")},
				streams{in: strings.NewReader(""), out: &out, err: &errs}, nil)
			assert.Zero(t, code, "%s\n%s%s", inventory, &out, &errs)
			assert.True(t, strings.HasPrefix(out.String(), "ok: "), "%s: neither errors nor warnings: %s", inventory, &out)
		}
	}
}
