package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/event"
)

// prepareBack makes what the playbook back.yml is going to change. The unit's process shows which file it has read.
const prepareBack = `useradd --create-home pbrun; useradd --create-home --shell /bin/sh pbback
install -d -m 700 -o pbback /home/pbback/.ssh; install -o pbback -m 600 /root/.ssh/authorized_keys /home/pbback/.ssh/
echo 'pbback ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/pbback
mkdir -p /srv/back/old/sub /srv/back/tree/sub /srv/back/pkg/releases/1.0; cd /srv/back
for f in secret app.conf lines old/one old/sub/two tree/one tree/sub/two script cycle /home/pbrun/mine /home/pbback/mine; do echo old >$f; done
printf 'one\ntwo' >lines; printf '[server]\nport = 1\n' >server.ini; ln -s somewhere link; ln -s releases/1.0 pkg/current
chown daemon:games secret; chmod 4604 secret; chown pbrun: script /home/pbrun/mine pkg/releases/1.0; chmod 4750 script; chown -h pbrun: link pkg/current
chown -R daemon: old; chmod 1777 old/sub; chmod 640 tree/one; chown pbback: /home/pbback/mine; chmod 640 /home/pbrun/mine /home/pbback/mine
unit() { printf '[Service]\nExecStart=%s\n[Install]\nWantedBy=multi-user.target\n' "$2" >/etc/systemd/system/$1.service; }
unit pbb-there '/bin/sleep 86004'; chmod 640 /etc/systemd/system/pbb-there.service
unit pbb-cycle '/bin/sh -c "cp /srv/back/cycle /run/cycle; exec sleep 86005"'
for u in off on masked mask; do unit pbb-$u '/bin/sleep 86006'; done
mv /etc/systemd/system/pbb-mask*.service /usr/lib/systemd/system/
systemctl daemon-reload; systemctl --quiet enable --now pbb-there pbb-cycle pbb-on pbb-mask; systemctl --quiet mask pbb-masked
printf '#Ansible: gone\n1 * * * * pbrun /bin/true\n' >/etc/cron.d/pbgone; chmod 600 /etc/cron.d/pbgone
mkdir -p /mnt/pbgoes /mnt/pbother /mnt/pbloose; touch /etc/fstab
printf 'tmpfs /mnt/pbgoes tmpfs size=2m 0 0\ntmpfs /mnt/pbother tmpfs size=1m 0 0\n# the end\n' >>/etc/fstab
mount /mnt/pbgoes; mount /mnt/pbother; mount -t tmpfs -o size=3m,nosuid tmpfs /mnt/pbloose`

// snapshotBack is all that the playbook changes: kinds, modes, owners, links and contents of files, and states of units.
const snapshotBack = `cd /; find srv/back home/pbrun home/pbback etc/systemd/system -not -path '*/.cache*' -not -path 'srv/back/pkg/releases*' -not -path '*/.uploads' -printf '%p %y %m %U:%G %l\n' | sort
find srv/back home/pbrun/mine home/pbback/mine etc/systemd/system -type f -not -path 'srv/back/pkg/releases*' -exec sha256sum {} + | sort -k 2
for u in new there cycle off on masked mask; do echo $u $(systemctl is-active pbb-$u) $(systemctl is-enabled pbb-$u 2>&1); done
ps -eo args | grep '[s]leep 8600' | sort; cat /run/cycle; readlink srv/back/pkg/current
find etc/cron.d etc/sysctl.d etc/fstab etc/hostname etc/machine-info -printf '%p %m %U:%G\n' 2>/dev/null | sort
cat etc/fstab etc/cron.d/pb* etc/hostname etc/machine-info 2>/dev/null || true; grep -E "/mnt/pb|new-disk" /proc/mounts | sort; hostname; cat /proc/sys/net/core/somaxconn`

// testTakenBack changes what can be put back, and takes the run back.
func (s *site) testTakenBack(t *testing.T) {
	list := s.List[:2]
	var before []string
	for _, m := range list {
		s.on(t, m, prepareBack)
		before = append(before, s.on(t, m, snapshotBack))
	}
	archive := filepath.Join(s.dir, "back.tar.gz")
	s.write(t, "back/three", "three\n")
	out, err := exec.Command("tar", "czf", archive, "-C", s.dir, "back").CombinedOutput()
	require.NoError(t, err, "%s", out)
	inventory := s.hosts(t, "ansible_user: pbback\narchive: "+archive, list...)
	first := s.book(t, "-i", inventory, filepath.Join("testdata", "machines", "back.yml")).ok(t)
	require.Empty(t, first.with(event.OK))
	for i, m := range list {
		require.NotEqual(t, before[i], s.on(t, m, snapshotBack))
	}
	back := ranBook(t, "runs", "rollback", first.run, "--yes")
	require.Equal(t, 0, <-back.code, "%s", back)
	for i, m := range list {
		require.Equal(t, before[i], s.on(t, m, snapshotBack))
	}
}
