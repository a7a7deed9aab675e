package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/event"
)

// testModules tries every module that belongs to no system once on hosts with systemd.
func (s *site) testModules(t *testing.T) {
	list := s.List[:2]
	for _, m := range list {
		s.on(t, m, "useradd --create-home --shell /bin/sh pbworker")
	}
	archive := filepath.Join(s.dir, "packed.tar.gz")
	s.write(t, "packed/three", "three\n")
	out, err := exec.Command("tar", "czf", archive, "-C", s.dir, "packed").CombinedOutput()
	require.NoError(t, err, "%s", out)
	inventory := s.hosts(t, "archive: "+archive, list...)
	book := func(name string, more ...string) *result {
		return s.book(t, append([]string{"-i", inventory, filepath.Join("testdata", "machines", name)}, more...)...)
	}

	dry := book("modules.yml", "--check")
	first := book("modules.yml").ok(t)
	require.Equal(t, 1, first.done.Recap[list[0].Name].Rescued)
	require.Empty(t, first.with(event.Unknown))
	require.Zero(t, dry.code, dry.bad())
	requireSame(t, dry, first)

	m := list[0]
	require.Equal(t, "active", s.on(t, m, "systemctl is-active pegbook-small pegbook-unit pegbook-listener | uniq"))
	require.Equal(t, "enabled", s.on(t, m, "systemctl is-enabled pegbook-small pegbook-unit | uniq"))
	for _, d := range []struct{ pid, nofile, user string }{
		{"systemctl show --value --property=MainPID pegbook-unit", "4096", "pbworker"},
		{"cat /srv/modules/run/pegbook-alone.pid", "4097", "root"},
	} {
		pid := s.on(t, m, d.pid)
		require.Equal(t, d.user, s.on(t, m, "stat -c %U /proc/"+pid))
		require.Contains(t, s.on(t, m, "grep 'Max open files' /proc/"+pid+"/limits"), d.nofile)
		require.Contains(t, s.on(t, m, "tr '\\0' '\\n' </proc/"+pid+"/environ"), "KEY=a b")
	}
	require.Equal(t, "host = "+m.Name+"\naddress = "+m.Address+"\nport = 4242", s.on(t, m, "cat /srv/modules/app.conf"))
	require.Equal(t, "two\nthree\nthree", s.on(t, m, "cd /srv/modules; cat tree/sub/two packed/three pkg/current/three"))
	require.Equal(t, "604 755 pbworker", s.on(t, m, "cd /srv/modules; echo $(stat -c %a tree/sub/two tree/sub) $(stat -c %U packed/three)"))

	again := book("modules.yml", "-e", "again=true").ok(t)
	for _, line := range again.with(event.Changed) {
		require.True(t, strings.HasSuffix(line, "always"), "the second run changes nothing, but: %s", line)
	}
	book("undo.yml").ok(t)
	s.gone(t, m, "sleep 8600")
	require.Equal(t, "gone", s.on(t, m, "test -e /srv/modules || echo gone"))
}
