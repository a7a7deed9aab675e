package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/machines"
	"github.com/pegbook/pegbook/runner/event"
)

// sudoPassword is of the user pbasked; it must turn up nowhere.
const sudoPassword = "s3cret-0f-asked"

// logins prepares a machine: users, file systems and servers that make trouble.
func (s *site) logins(t *testing.T, m machines.Machine) {
	t.Helper()
	s.on(t, m, `
for user in pbplain pbasked pbfree pbnoisy pbbarred; do
  useradd --create-home --shell /bin/bash $user
  mkdir -m 700 /home/$user/.ssh
  cp /root/.ssh/authorized_keys /home/$user/.ssh/
  chown -R $user: /home/$user/.ssh
done
usermod --shell /usr/sbin/nologin pbbarred
echo pbasked:`+sudoPassword+` | chpasswd
echo 'pbasked ALL=(ALL) ALL' >/etc/sudoers.d/pegbook-test
echo 'pbfree ALL=(ALL) NOPASSWD: ALL' >>/etc/sudoers.d/pegbook-test
chmod 440 /etc/sudoers.d/pegbook-test
{ echo 'echo Welcome to this machine.'; echo 'printf "no line break, pegbook/error mkdir"'; echo 'echo Mind the step >&2'; } >/home/pbnoisy/.bashrc
mkdir -p /mnt/small /mnt/noexec
mount -t tmpfs -o size=1m,mode=755 tmpfs /mnt/small
mount -t tmpfs -o size=64m,mode=755,noexec tmpfs /mnt/noexec
systemd-run --quiet --unit=pegbook-sshd-startups --property=KillMode=process /usr/sbin/sshd -D -p 2201 -o MaxStartups=3:100:3 -o PidFile=none
systemd-run --quiet --unit=pegbook-sshd-sessions --property=KillMode=process /usr/sbin/sshd -D -p 2202 -o MaxSessions=2 -o PidFile=none
`)
}

// testLogins tries who may log in and who may not, side by side: the trouble of one host is no other's.
func (s *site) testLogins(t *testing.T) {
	m, cut := s.List[0], s.List[1]
	s.logins(t, m)
	require.NoError(t, s.Cut(t.Context(), cut, true))
	defer func() { require.NoError(t, s.Cut(t.Context(), cut, false)) }()

	otherKey, emptyHosts := filepath.Join(s.dir, "other"), filepath.Join(s.dir, "no-hosts")
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", otherKey).CombinedOutput()
	require.NoError(t, err, "%s", out)
	public, err := os.ReadFile(otherKey + ".pub")
	require.NoError(t, err)
	fields := strings.Fields(string(public))
	changed := s.write(t, "changed-hosts", fmt.Sprintf("# two hosts\n%s %s %s\n", m.Address, fields[0], fields[1]))
	hostKey := s.on(t, m, "ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub")
	fingerprint := strings.Fields(hostKey)[1]

	tests := []struct {
		name
		status event.Status
		says   []string
	}{
		{name{"plain", m, []string{"ansible_user: pbplain"}}, event.Changed, nil},
		{name{"noisy", m, []string{"ansible_user: pbnoisy"}}, event.Changed, nil},
		{name{"free", m, []string{"ansible_user: pbfree", "ansible_become: true"}}, event.Changed, nil},
		{name{"asked", m, []string{"ansible_user: pbasked", "ansible_become: true", "ansible_become_password: " + sudoPassword}}, event.Changed, nil},
		{name{"wrong", m, []string{"ansible_user: pbasked", "ansible_become: true", "ansible_become_password: nonsense"}},
			event.Failed, []string{"the password is wrong"}},
		{name{"unasked", m, []string{"ansible_user: pbasked", "ansible_become: true"}},
			event.Failed, []string{"a password is needed", "--ask-become-pass", "ansible_become_password"}},
		{name{"sudoless", m, []string{"ansible_user: pbplain", "ansible_become: true", "ansible_become_password: x"}}, event.Failed, []string{"become root"}},
		{name{"nobodys", m, []string{"ansible_become: true", "ansible_become_user: nobody-knows"}}, event.Failed, []string{"nobody-knows"}},
		{name{"barred", m, []string{"ansible_user: pbbarred"}}, event.Unreachable, []string{"login shell"}},
		{name{"cut", cut, []string{"ansible_timeout: 3"}}, event.Unreachable, []string{cut.Address}},
		{name{"closed", m, []string{"ansible_port: 2299", "ansible_ssh_retries: -1"}}, event.Unreachable, []string{"refused", "port 2299"}},
		{name{"key", m, []string{"ansible_ssh_private_key_file: " + otherKey}}, event.Unreachable,
			[]string{"unable to authenticate", "ansible_ssh_private_key_file"}},
		{name{"changed", m, []string{"ansible_ssh_known_hosts_file: " + changed}}, event.Unreachable,
			[]string{"has changed", changed + ":2", fingerprint, "ssh-keygen -R"}},
		{name{"unknown", m, []string{"ansible_ssh_known_hosts_file: " + emptyHosts}}, event.Unreachable,
			[]string{"is not known", fingerprint, "--accept-new-host-keys", "ssh-keyscan -t ed25519 " + m.Address + " >> " + emptyHosts}},
		{name{"noroom", m, []string{"ansible_remote_tmp: /mnt/small"}}, event.Unreachable, []string{"no room", "ansible_remote_tmp"}},
		{name{"noexec", m, []string{"ansible_remote_tmp: /mnt/noexec"}}, event.Unreachable, []string{"noexec", "ansible_remote_tmp"}},
	}
	var list []name
	for _, tt := range tests {
		list = append(list, tt.name)
	}
	book := s.tasks(t, `
- name: who am I
  command: id -un
- name: it may not do everything
  copy: {content: x, dest: "/etc/pegbook-{{ .inventory_hostname }}"}
`)
	all := s.book(t, "-i", s.names(t, "", list...), book)
	require.Equal(t, 2, all.code, "a host failed, whatever else was unreachable")
	require.Less(t, all.took, 25*time.Second)
	require.NotContains(t, all.stderr, sudoPassword)
	for _, tt := range tests {
		t.Run(tt.name.name, func(t *testing.T) {
			e, counts := all.task(t, "who am I", tt.name.name), all.done.Recap[tt.name.name]
			require.Equal(t, tt.status, e.Status, e.Msg)
			for _, text := range tt.says {
				require.Contains(t, e.Msg, text)
			}
			switch tt.status {
			case event.Unreachable:
				require.Equal(t, event.Counts{Unreachable: 1}, counts)
			case event.Failed:
				require.Equal(t, event.Counts{Failed: 1}, counts)
			default:
				require.NotZero(t, counts.Changed)
			}
			require.NotContains(t, string(e.Result)+e.Msg, sudoPassword)
		})
	}
	forbidden := all.task(t, "it may not do everything", "plain")
	require.Equal(t, event.Failed, forbidden.Status)
	require.Contains(t, strings.ToLower(forbidden.Msg), "permission denied")
	require.Contains(t, string(all.task(t, "who am I", "asked").Result), `"stdout":"root"`)
	require.Empty(t, s.on(t, m, "ls -A /mnt/small/*"), "no half-written helper")

	t.Run("a new key is accepted when asked to", func(t *testing.T) {
		ping := s.tasks(t, "- ping: {}")
		inventory := s.names(t, "", name{"new", m, []string{"ansible_ssh_known_hosts_file: " + emptyHosts}})
		s.book(t, "-i", inventory, "--accept-new-host-keys", ping).ok(t)
		s.book(t, "-i", inventory, ping).ok(t)
	})
	t.Run("the password is in no argument", func(t *testing.T) {
		list := []name{{"asked", m, []string{"ansible_user: pbasked", "ansible_become: true", "ansible_become_password: " + sudoPassword}}}
		r := s.begin(t, "-i", s.names(t, "", list...), s.tasks(t, "- name: long\n  command: sleep 3.0701"))
		require.Eventually(t, func() bool {
			found, err := s.Processes(m, "sleep 3.0701")
			return err == nil && len(found) > 0
		}, 30*time.Second, 20*time.Millisecond)
		found, err := s.Processes(m, sudoPassword)
		require.NoError(t, err)
		require.Empty(t, found)
		r.wait().ok(t)
	})
	t.Run("MaxStartups", func(t *testing.T) {
		var list []name
		for i := range 20 {
			list = append(list, name{fmt.Sprintf("same%d", i), m, nil})
		}
		inventory := s.names(t, "ansible_port: 2201\nansible_ssh_known_hosts_file: "+emptyHosts, list...)
		r := s.book(t, "-i", inventory, "--accept-new-host-keys", s.tasks(t, "- name: hello\n  command: echo hello")).ok(t)
		require.Len(t, r.with(event.Changed), 20)
	})
	t.Run("MaxSessions", func(t *testing.T) {
		inventory := s.names(t, "ansible_port: 2202\nansible_ssh_known_hosts_file: "+emptyHosts, name{"few", m, nil})
		r := s.book(t, "-i", inventory, "--accept-new-host-keys", s.tasks(t, `
- {name: one, command: id -un}
- {name: two, command: id -un, become: true, become_user: pbplain}
- {name: three, command: id -un, become: true, become_user: pbfree}
`))
		// What the first connection does not take goes over a second one.
		require.Equal(t, []string{"few: one", "few: three", "few: two"}, slices.Sorted(slices.Values(r.ok(t).with(event.Changed))))
	})
}
