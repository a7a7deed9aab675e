package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/event"
)

// testJobs lets commands go on by themselves on a host whose systemd ends what a session leaves behind.
func (s *site) testJobs(t *testing.T) {
	m := s.List[0]
	s.on(t, m, `
for user in pbleaves pbstays; do
  useradd --create-home --shell /bin/bash $user
  mkdir -m 700 /home/$user/.ssh
  cp /root/.ssh/authorized_keys /home/$user/.ssh/
  chown -R $user: /home/$user/.ssh
  echo "$user ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/$user
done
chmod 440 /etc/sudoers.d/pb*
mkdir -p /etc/systemd/logind.conf.d
printf '[Login]\nKillUserProcesses=yes\n' >/etc/systemd/logind.conf.d/pegbook-test.conf
systemctl restart systemd-logind
loginctl enable-linger pbstays
`)
	if s.on(t, m, "loginctl show-user pbstays --property=Linger --value 2>/dev/null || true") != "yes" {
		t.Skip("the machine's logind keeps no sessions; install libpam-systemd")
	}

	defer s.on(t, m, "rm /etc/systemd/logind.conf.d/pegbook-test.conf; systemctl restart systemd-logind")

	// The session is gone when the first run ends; the job is asked for in a second one.
	for _, c := range []struct {
		name, user, become string
		lost               bool
	}{
		{"root by become", "pbleaves", "become: true", false},
		{"a user that lingers", "pbstays", "", false},
		{"a user that does not", "pbleaves", "", true},
		{"root by login", "root", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inventory := s.names(t, "ansible_user: "+c.user, name{"h", m, nil})
			book := func(task string) string { return s.tasks(t, strings.ReplaceAll(task, "BECOME", c.become)) }
			r := s.book(t, "-i", inventory, book("- name: start\n  shell: sleep 3; echo done\n  async: 60\n  poll: 0\n  BECOME")).ok(t)
			var started struct {
				Job string `json:"ansible_job_id"`
			}
			require.NoError(t, json.Unmarshal(r.task(t, "start", "h").Result, &started))
			require.NotEmpty(t, started.Job)
			r = s.book(t, "-i", inventory, book("- name: end\n  async_status: {jid: "+started.Job+"}\n  register: job\n  until: eq .job.finished 1\n  retries: 20\n  delay: 0.5\n  BECOME"))
			if c.lost {
				require.Equal(t, 2, r.code)
				require.Contains(t, r.task(t, "end", "h").Msg, "without a result")
				return
			}
			require.Equal(t, []string{"h: end"}, r.ok(t).with(event.Changed))
		})
	}

	// Whoever waits for a job whose connection is cut finds it again.
	t.Run("cut while waiting", func(t *testing.T) {
		inventory := s.names(t, "ansible_user: pbleaves", name{"h", m, nil})
		run := s.begin(t, "-i", inventory, s.tasks(t, "- name: work\n  shell: echo once >>/root/ran; sleep 6; echo done\n  async: 60\n  poll: 1\n  become: true"))
		run.until("job_started")
		s.on(t, m, "pkill -KILL -u pbleaves sshd")
		run.until("noted", "looking for job")
		r := run.wait().ok(t)
		require.Equal(t, []string{"h: work"}, r.with(event.Changed))
		require.Equal(t, "once", s.on(t, m, "cat /root/ran"))
	})
}
