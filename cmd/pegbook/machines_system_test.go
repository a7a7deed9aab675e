package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/machines"
	"github.com/pegbook/pegbook/runner/event"
)

// makeRepository makes packages on a machine and leaves them as its only repository: a machine under test
// reaches no other.
const makeRepository = `mkdir -p /srv/repo /srv/debs /srv/build; cd /srv/build
package() { # name version dependencies
  d=$1_$2_all; mkdir -p $d/DEBIAN $d/lib/systemd/system $d/usr/share/$1; echo $2 >$d/usr/share/$1/version
  printf '%s\n' "Package: $1" "Version: $2" 'Architecture: all' 'Maintainer: Nobody <nobody@example.org>' ${3:+"Depends: $3"} 'Description: for a test' >$d/DEBIAN/control
  [ $1 != pegbook-hello ] || printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n' >$d/lib/systemd/system/$1.service
  dpkg-deb --build $d >/dev/null
}
package pegbook-lib 1.0; package pegbook-lib 2.0; package pegbook-hello 1.0 pegbook-lib; package pegbook-hello 1.1 pegbook-lib; package pegbook-file 2.0
mv pegbook-file*.deb /srv/debs; mv *.deb /srv/repo; cd /srv/repo
for f in *.deb; do dpkg-deb -f $f; echo "Filename: ./$f"; echo "Size: $(stat -c %s $f)"; echo "SHA256: $(sha256sum $f | cut -d' ' -f1)"; echo; done >Packages
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*; echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list
rm -rf /var/lib/apt/lists/* /var/lib/apt/periodic/*; touch -d @0 /var/lib/apt/lists`

func TestMachinesSystem(t *testing.T) {
	s := startSiteIn(t, machines.Options{Count: 2}, 54, 57)
	for _, m := range s.List {
		s.on(t, m, makeRepository)
	}
	inventory := s.hosts(t, "", s.List...)
	book := func(name string, more ...string) *result {
		return s.book(t, append([]string{"-i", inventory, filepath.Join("testdata", "machines", name)}, more...)...)
	}
	dry := book("system.yml", "--check")
	require.Zero(t, dry.code, dry.stderr+dry.bad())
	first := book("system.yml").ok(t)
	for _, line := range dry.with(event.Unknown) {
		require.Contains(t, line, "service of the package", "what a dry run cannot know")
	}
	require.ElementsMatch(t, withoutServices(first.with(event.Changed)), withoutServices(dry.with(event.Changed)))
	require.Empty(t, first.with(event.Unknown))

	m := s.List[0]
	for script, want := range map[string]string{
		"id pbapp": "uid=3002(pbapp) gid=3001(pbapp) groups=3001(pbapp),4(adm),50(staff)",
		"getent passwd pbapp | cut -d: -f5-; stat -c '%U:%G %a' /home/pbapp /home/pbapp/mine /home/pbapp/.ssh /home/pbapp/.ssh/authorized_keys /home/pbapp/.ssh/id_ed25519": "An application's user:/home/pbapp:/bin/bash\n" +
			"pbapp:pbapp 755\npbapp:pbapp 600\npbapp:pbapp 700\npbapp:pbapp 600\npbapp:pbapp 600",
		"getent shadow pbapp | cut -d: -f2,5,8 | cut -c1-12":                                 "$6$pegbook$1",
		"getent shadow pbapp | cut -d: -f5,8":                                                "90:47482",
		"ssh-keygen -y -P 'open sesame' -f /home/pbapp/.ssh/id_ed25519 | cut -c1-11":         "ssh-ed25519",
		"stat -c %U /srv/homes/pbother; id -nG pbother":                                      "pbother\npbother pbapp",
		"su pbapp -c 'ulimit -n'":                                                            "9000",
		"sysctl -n net.core.somaxconn; cat /etc/sysctl.d/60-pbapp.conf":                      "4000\nnet.core.somaxconn=4000",
		"findmnt -no FSTYPE,OPTIONS /mnt/pbapp | grep -c 'tmpfs.*noexec.*size=1024k'":        "1",
		"grep -c '^tmpfs /mnt/pbapp tmpfs size=1m,noexec 0 0$' /etc/fstab":                   "1",
		"cat /etc/cron.d/pbapp":                                                              "#Ansible: pbapp\n@daily pbapp /bin/true",
		"hostname; cat /etc/hostname":                                                        m.Name + ".example.org\n" + m.Name + ".example.org",
		"dpkg-query -W -f '${Package} ${Version}\\n' pegbook-hello pegbook-lib pegbook-file": "pegbook-file 2.0\npegbook-hello 1.1\npegbook-lib 1.0",
		"systemctl is-active pegbook-hello":                                                  "active",
	} {
		require.Equal(t, want, s.on(t, m, script), script)
	}
	require.NotContains(t, first.stderr+strings.Join(first.with(event.Changed), ""), "open sesame")

	for _, again := range []*result{book("system.yml").ok(t), book("system.yml", "--check").ok(t)} {
		require.Empty(t, again.with(event.Changed), "a second run changes nothing")
		require.Empty(t, again.with(event.Unknown))
	}
	dry = book("system-undo.yml", "--check").ok(t)
	undone := book("system-undo.yml").ok(t)
	requireSame(t, dry, undone)
	require.Len(t, undone.with(event.Changed), 10*len(s.List))
	require.Empty(t, book("system-undo.yml", "--skip-tags", "there").ok(t).with(event.Changed))
	require.Equal(t, "gone", s.on(t, m, "id pbapp 2>/dev/null || test -e /home/pbapp || test -e /mnt/pbapp || test -e /etc/cron.d/pbapp || echo gone"))
	require.Equal(t, "2", s.on(t, m, "grep -c . /etc/fstab /etc/sysctl.d/60-pbapp.conf | wc -l"))
	s.testTakenBack(t)
}

// withoutServices leaves out what a dry run cannot know: a service that a package is still to bring.
func withoutServices(lines []string) []string {
	var rest []string
	for _, line := range lines {
		if !strings.HasSuffix(line, "service of the package") {
			rest = append(rest, line)
		}
	}
	return rest
}
