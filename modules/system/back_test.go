package system

import (
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

// change carries a task out and gives what it has kept of before.
func change(t *testing.T, m *modules.Module, args string, host modules.Host) any {
	t.Helper()
	p, err := modtest.Propose(t, m, args, host, modtest.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Do == nil {
		t.Fatalf("%s %s changes nothing", m.Name, args)
	}
	if err := p.Do(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	return p.Before
}

// back puts back what a task has changed.
func back(t *testing.T, m *modules.Module, args string, before any, host modules.Host) *modules.Proposal {
	t.Helper()
	p, err := modtest.Restore(t, m, args, before, host, modtest.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Do != nil {
		if err := p.Do(t.Context(), host); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func TestJobsOfCrontabsAreTakenBack(t *testing.T) {
	const tab = "A=\"1\"\n#Ansible: first\n1 * * * * /bin/first\n#Ansible: job\n2 * * * * /bin/old\n3 * * * * /bin/last\n"
	for _, c := range []struct{ name, before, args string }{
		{"another command", tab, `{"name": "job", "user": "pegasus", "job": "/bin/new"}`},
		{"removed", tab, `{"name": "job", "user": "pegasus", "state": "absent"}`},
		{"removed at the end", strings.TrimSuffix(tab, "3 * * * * /bin/last\n"), `{"name": "job", "user": "pegasus", "state": "absent"}`},
		{"new", tab, `{"name": "new", "user": "pegasus", "job": "/bin/new"}`},
		{"the first of all", "", `{"name": "new", "user": "pegasus", "job": "/bin/new"}`},
		{"given a mark", tab, `{"name": "mine", "user": "pegasus", "minute": "3", "job": "/bin/last"}`},
		{"variable", tab, `{"name": "A", "user": "pegasus", "env": true, "job": "2"}`},
		{"new variable", tab, `{"name": "B", "user": "pegasus", "env": true, "job": "2"}`},
		{"variable that goes", tab, `{"name": "A", "user": "pegasus", "env": true, "state": "absent"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := cronHost(t)
			if c.before != "" {
				host.Write("/var/spool/cron/pegasus", c.before)
			}
			before := change(t, Cron(), c.args, host)
			if host.Content("/var/spool/cron/pegasus") == c.before {
				t.Fatal("nothing was changed")
			}
			back(t, Cron(), c.args, before, host)
			if c.before == "" {
				equal(t, "crontab", host.File("/var/spool/cron/pegasus").Kind, modules.Missing)
			} else {
				equal(t, "crontab", host.Content("/var/spool/cron/pegasus"), c.before)
			}
			equal(t, "differences of once more", len(back(t, Cron(), c.args, before, host).Diff), 0)
		})
	}
}

// Jobs that somebody else has added since stay, and so does a crontab that the run has not changed.
func TestOtherJobsOfACrontabStay(t *testing.T) {
	host := cronHost(t).Write("/var/spool/cron/pegasus", "#Ansible: job\n2 * * * * /bin/old\n")
	args := `{"name": "job", "user": "pegasus", "job": "/bin/new"}`
	before := change(t, Cron(), args, host)
	host.Write("/var/spool/cron/pegasus", host.Content("/var/spool/cron/pegasus")+"5 * * * * /bin/else\n")
	equal(t, "differences where nothing was changed", len(back(t, Cron(), args, nil, host).Diff), 0)
	back(t, Cron(), args, before, host)
	equal(t, "crontab", host.Content("/var/spool/cron/pegasus"), "#Ansible: job\n2 * * * * /bin/old\n5 * * * * /bin/else\n")
	equal(t, "what several tasks are about", Cron().About([]byte(args)), "job job of pegasus")
}

func TestParametersAreTakenBack(t *testing.T) {
	host := kernelHost(t).Mkdir("/etc/sysctl.d")
	was := strings.TrimSpace(host.Content("/proc/sys/vm/swappiness"))
	args := `{"name": "vm.swappiness", "value": "7", "sysctl_file": "/etc/sysctl.d/60.conf"}`
	before := change(t, Sysctl(), args, host)
	host.Write("/proc/sys/vm/swappiness", "7\n")
	done := len(host.Runs())
	p := back(t, Sysctl(), args, before, host)
	equal(t, "differences", strings.Join(modtest.Result{Proposal: p}.DiffNotes(), "; "), "vm.swappiness 7 → "+was+", as before")
	_, command, _ := strings.Cut(host.Runs()[done].Argv[2], "\n")
	equal(t, "command", command, "sysctl -q -w vm.swappiness="+was)
	host.Write("/proc/sys/vm/swappiness", was+"\n")
	equal(t, "differences of once more", len(back(t, Sysctl(), args, before, host).Diff), 0)
	equal(t, "differences where nothing was changed", len(back(t, Sysctl(), args, nil, host).Diff), 0)
}

func TestMountsAreTakenBack(t *testing.T) {
	for _, c := range []struct{ name, args, table, fstab, command string }{
		{name: "mounted", args: `{"path": "/data2", "src": "/dev/sdc1", "fstype": "ext4", "state": "mounted"}`,
			table: "90 1 8:1 / /data2 rw,relatime - ext4 /dev/sdc1 rw\n", command: "umount -- /data2\nrmdir -- /data2"},
		{name: "unmounted, in fstab", args: `{"path": "/data", "state": "unmounted"}`, fstab: "/dev/sdb1 /data xfs defaults 0 0\n", table: "-",
			command: "mkdir -p -- /data\nmount /data"},
		{name: "unmounted, of nobody's fstab", args: `{"path": "/data", "state": "unmounted"}`, table: "-", command: "mkdir -p -- /data\nmount -t xfs -o rw,rw /dev/sdb1 /data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := kernelHost(t)
			if c.fstab != "" {
				host.Write("/etc/fstab", c.fstab)
			}
			mounts := host.Content("/proc/self/mountinfo")
			before := change(t, Mount(), c.args, host)
			now := mounts + c.table
			if c.table == "-" {
				now = ""
				for line := range strings.Lines(mounts) {
					if !strings.Contains(line, " /data ") {
						now += line
					}
				}
			}
			host.Write("/proc/self/mountinfo", now)
			done := len(host.Runs())
			back(t, Mount(), c.args, before, host)
			_, command, _ := strings.Cut(host.Runs()[done].Argv[2], "\n")
			equal(t, "command", command, c.command)
			host.Write("/proc/self/mountinfo", mounts)
			equal(t, "differences once it is back", len(back(t, Mount(), c.args, before, host).Diff), 0)
			equal(t, "differences where nothing was changed", len(back(t, Mount(), c.args, nil, host).Diff), 0)
		})
	}
	equal(t, "options to clear", strings.Join(cleared("rw,noexec,nosuid,relatime", "rw,nosuid,relatime"), ","), "exec")
}

func TestNamesAreTakenBack(t *testing.T) {
	host := kernelHost(t).Write("/etc/hostname", "old\n").Write("/proc/sys/kernel/hostname", "old\n").Mkdir("/run/systemd/system").Write("/etc/machine-info", "PRETTY_HOSTNAME=\"The old one\"\n")
	before := change(t, Hostname(), `{"name": "new"}`, host)
	host.Write("/etc/hostname", "new\n").Write("/proc/sys/kernel/hostname", "new\n").Write("/etc/machine-info", "PRETTY_HOSTNAME=new\n")
	done := len(host.Runs())
	p := back(t, Hostname(), `{"name": "new"}`, before, host)
	_, command, _ := strings.Cut(host.Runs()[done].Argv[2], "\n")
	equal(t, "command", command, "hostnamectl --static set-hostname old\nhostnamectl --pretty set-hostname 'The old one'\nhostnamectl --transient set-hostname old")
	equal(t, "fact", string(p.Facts["ansible_hostname"]), `"old"`)

	host = kernelHost(t).Write("/proc/sys/kernel/hostname", "old\n")
	before = change(t, Hostname(), `{"name": "new", "use": "generic"}`, host)
	host.Write("/proc/sys/kernel/hostname", "new\n")
	equal(t, "file", host.Content("/etc/hostname"), "new\n")
	back(t, Hostname(), `{"name": "new", "use": "generic"}`, before, host)
	equal(t, "file where there was none", host.File("/etc/hostname").Kind, modules.Missing)
	host.Write("/proc/sys/kernel/hostname", "old\n")
	p = back(t, Hostname(), `{"name": "new", "use": "generic"}`, before, host)
	equal(t, "differences of once more", len(p.Diff), 0)
}
