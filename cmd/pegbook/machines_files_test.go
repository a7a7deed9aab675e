package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/event"
)

// testFiles tries the modules that read, edit, fetch and pack files.
func (s *site) testFiles(t *testing.T) {
	list := s.List[2:4]
	for _, m := range list {
		s.on(t, m, `mkdir -p /srv/served; cd /srv/served; echo served >served.txt; sha256sum served.txt >SHA256SUMS
echo '{"port": 4280}' >answer.json; touch -d '1 hour ago' *
systemd-run --quiet --unit=pegbook-served /usr/bin/python3 -m http.server --bind 127.0.0.1 --directory /srv/served 4280
bash -c "until exec 3<>/dev/tcp/127.0.0.1/4280; do sleep 0.1; done" 2>/dev/null`)
	}
	fetched := filepath.Join(s.dir, "fetched")
	inventory := s.hosts(t, "fetched: "+fetched, list...)
	book := func(more ...string) *result {
		return s.book(t, append([]string{"-i", inventory, filepath.Join("testdata", "machines", "files.yml")}, more...)...)
	}

	dry := book("--check").ok(t)
	require.NoDirExists(t, fetched, "check mode writes nothing here either")
	first := book().ok(t)
	require.Empty(t, first.with(event.Unknown))
	m := list[0]
	for _, e := range first.tasks {
		if d := dry.task(t, e.Task, e.Host); d.Status != event.Unknown && d.Status != event.Skipped {
			require.Equal(t, e.Status, d.Status, "%s: check mode says what the run does", e.Task)
		}
	}

	require.Equal(t, "[one]\nport = 11\n[two]\nhost = "+m.Name+"\nport = 22\n# end", s.on(t, m, "cat /srv/files/app.ini"))
	require.Equal(t, "first\n# BEGIN ANSIBLE MANAGED BLOCK\na\nb\n# END ANSIBLE MANAGED BLOCK", s.on(t, m, "cat /srv/files/new/f"))
	require.Equal(t, "600 daemon", s.on(t, m, "stat -c '%a %U' /srv/files/new/f"))
	require.Equal(t, "served\nserved\n640", s.on(t, m, "cd /srv/files; cat served.txt tree/served.txt; stat -c %a served.txt"))
	require.Equal(t, "a.log\nb.log\nsub/\nsub/c.log", s.on(t, m, "tar tzf /srv/files/logs.tar.gz"))
	require.Equal(t, "once gone", s.on(t, m, "xz -dc /srv/files/new/once.xz; test -e /srv/files/new/once || echo ' gone'"))
	require.Equal(t, "1", s.on(t, m, "ls /srv/files/app.ini.*~ | wc -l"))
	require.Equal(t, "app.ini", s.on(t, m, "readlink /srv/files/link"))
	require.Equal(t, "", s.on(t, m, "ls -d /root/.cache/pegbook/script-* /srv/files/*.d /srv/files/new/.*candidate 2>/dev/null || true"))
	for name, content := range map[string]string{m.Name + "/srv/files/tree/a.log": "text of a.log\n", m.Name + ".ini": "[one]\nport = 11\n"} {
		got, err := os.ReadFile(filepath.Join(fetched, name))
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(got), content), "%s: %s", name, got)
	}

	again := book("--skip-tags", "text").ok(t)
	for _, line := range again.with(event.Changed) {
		require.True(t, strings.HasSuffix(line, "always"), "the second run changes nothing, but: %s", line)
	}
}

// testRawPasswords becomes another user, who is asked for a password, without a helper on the host.
func (s *site) testRawPasswords(t *testing.T) {
	m := s.List[3]
	s.on(t, m, `useradd --create-home --shell /bin/sh pbraw; echo pbraw:`+sudoPassword+` | chpasswd; install -d -m 700 -o pbraw /home/pbraw/.ssh
install -o pbraw -m 600 /root/.ssh/authorized_keys /home/pbraw/.ssh/; echo 'pbraw ALL=(ALL) ALL' >/etc/sudoers.d/pegbook-raw`)
	r := s.book(t, "-i", s.names(t, "ansible_user: pbraw",
		name{"right", m, []string{"ansible_become_password: " + sudoPassword}}, name{"wrong", m, []string{"ansible_become_password: nonsense"}},
		name{"none", m, nil}), s.tasks(t, `
- {name: raw, raw: "id -un; cat; echo -n end", become: true}
`))
	require.Equal(t, 2, r.code, r.bad())
	require.Contains(t, string(r.task(t, "raw", "right").Result), `"stdout":"root\nend"`)
	require.Contains(t, r.task(t, "raw", "wrong").Msg, "the password is wrong")
	require.Equal(t, event.Failed, r.task(t, "raw", "none").Status)
	require.NotContains(t, r.stderr+string(r.task(t, "raw", "right").Result)+r.bad(), sudoPassword)
	require.Equal(t, "", s.on(t, m, "ls -A /home/pbraw/.cache 2>/dev/null || true"), "nothing of pegbook's is on the host")
}
