package system

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

// kernelHost has a kernel whose parameters sysctl sets, and a table of mounts that mount changes.
func kernelHost(t *testing.T) *modtest.Machine {
	t.Helper()
	m := accountHost(t)
	accountRun := m.OnRun
	m.Write("/proc/sys/vm/swappiness", "60\n").Write("/proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n").Write("/proc/sys/vm/max_map_count", "65530\n")
	m.Write("/etc/fstab", "/dev/sda1 / ext4 defaults 0 1\n")
	m.Write("/proc/self/mountinfo", "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n30 22 8:17 / /data rw - xfs /dev/sdb1 rw\n31 22 8:1 /srv/a /mnt/with\\040space rw - ext4 /dev/sda1 rw\n")
	m.Mkdir("/data", "/mnt/with space")
	m.OnRun = func(ctx context.Context, cmd modules.Command) (modules.Output, error) {
		_, body, _ := strings.Cut(cmd.Argv[2], "\n")
		for _, line := range lines(body) {
			words := unquote(t, line)
			switch words[0] {
			case "sysctl":
				setKernel(m, words)
			case "mount", "umount", "rmdir":
				setMounts(m, words)
			case "hostname", "hostnamectl":
				m.Write("/proc/sys/kernel/hostname", words[len(words)-1]+"\n")
				if slices.Contains(words, "--static") {
					m.Write("/etc/hostname", words[len(words)-1]+"\n")
				}
			case "/bin/sh", "mkdir":
			default:
				return accountRun(ctx, cmd)
			}
		}
		return modules.Output{}, nil
	}
	return m
}

func setKernel(m *modtest.Machine, words []string) {
	last := words[len(words)-1]
	text := last
	if strings.HasPrefix(last, "/") {
		text = m.Content(last)
	}
	for _, line := range lines(text) {
		if name, value, ok := setting(line); ok {
			m.Write(procPath(name), value+"\n")
		}
	}
}

func setMounts(m *modtest.Machine, words []string) {
	const table = "/proc/self/mountinfo"
	at := words[len(words)-1]
	switch words[0] {
	case "mount":
		source := words[len(words)-2]
		for _, line := range lines(m.Content("/etc/fstab")) {
			if f := strings.Fields(line); f[1] == at {
				source = f[0]
			}
		}
		m.Write(table, m.Content(table)+fmt.Sprintf("40 22 8:33 / %s rw - ext4 %s rw\n", at, source)).Mkdir(at)
	case "umount":
		m.Write(table, unlines(slices.DeleteFunc(lines(m.Content(table)), func(line string) bool { return strings.Fields(line)[4] == at })))
	case "rmdir":
		m.Remove(at)
	}
}

func TestSysctl(t *testing.T) {
	cases := []struct{ name, args, command, notes string }{
		{"new", `{"name": "vm.max_map_count", "value": 655300, "sysctl_file": "/etc/sysctl.d/60.conf"}`, "sysctl -q -p /etc/sysctl.d/60.conf",
			"/etc/sysctl.d/60.conf is written; vm.max_map_count 65530 → 655300"},
		{"in the kernel by itself", `{"name": "vm.swappiness", "value": "1", "sysctl_set": true, "reload": false}`, "sysctl -q -w vm.swappiness=1",
			"/etc/sysctl.conf is written; vm.swappiness 60 → 1"},
		{"the kernel has it", `{"name": "net.ipv4.tcp_rmem", "value": "4096 131072 6291456"}`, "sysctl -q -p /etc/sysctl.conf", "/etc/sysctl.conf is written"},
		{"in the file alone", `{"name": "vm.swappiness", "value": "1", "reload": false}`, "", "/etc/sysctl.conf is written"},
		{"the kernel has it not", `{"name": "vm.none", "value": "1", "ignoreerrors": true}`, "sysctl -q -e -p /etc/sysctl.conf", "/etc/sysctl.conf is written"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			host := kernelHost(t)
			host.Mkdir("/etc/sysctl.d")
			r := once(t, Sysctl(), c.args, host, modtest.Setup{ActTrips: 3})
			equal(t, "command", commands(host), c.command)
			equal(t, "differences", strings.Join(r.DiffNotes(), "; "), c.notes)
		})
	}
	modtest.Errors(t, Sysctl(), []modtest.ErrorCase{
		{Name: "unknown", Args: `{"name": "vm.none", "value": "1"}`, Host: kernelHost(t), Want: "the kernel has no parameter vm.none"},
		{Name: "no value", Args: `{"name": "vm.swappiness"}`, Host: kernelHost(t), Want: "no name or no value"},
	})
	equal(t, "path", procPath("net.ipv4.conf.eth0/100.forwarding"), "/proc/sys/net/ipv4/conf/eth0.100/forwarding")
	equal(t, "path", procPath("net/ipv4/ip_forward"), "/proc/sys/net/ipv4/ip_forward")
}

func TestMounts(t *testing.T) {
	cases := []struct{ name, args, command, notes, fstab string }{
		{"mounted", `{"path": "/data2/", "src": "/dev/sdc1", "fstype": "ext4", "state": "mounted"}`, "mkdir -p -- /data2\nmount /data2",
			"/etc/fstab content differs; /data2 is mounted from /dev/sdc1", "/dev/sda1 / ext4 defaults 0 1\n/dev/sdc1 /data2 ext4 defaults 0 0\n"},
		{"mounted before", `{"path": "/data", "src": "/dev/sdb1", "fstype": "xfs", "state": "mounted"}`,
			"/bin/sh -c 'mount -o remount /data 2>/dev/null || { umount -- /data && mount /data; }'",
			"/etc/fstab content differs; /data is mounted again", "/dev/sda1 / ext4 defaults 0 1\n/dev/sdb1 /data xfs defaults 0 0\n"},
		{"unmounted", `{"path": "/data", "state": "unmounted"}`, "umount -- /data", "/data is unmounted", "/dev/sda1 / ext4 defaults 0 1\n"},
		{"unmounted before", `{"path": "/none", "state": "unmounted"}`, "", "", "/dev/sda1 / ext4 defaults 0 1\n"},
		{"absent before", `{"path": "/data", "state": "absent"}`, "", "", "/dev/sda1 / ext4 defaults 0 1\n"},
		{"ephemeral", `{"path": "/data2", "src": "tmpfs", "fstype": "tmpfs", "opts": "size=1m", "state": "ephemeral"}`,
			"mkdir -p -- /data2\nmount -t tmpfs -o size=1m tmpfs /data2", "/data2 is mounted from tmpfs", "/dev/sda1 / ext4 defaults 0 1\n"},
		{"bind", `{"path": "/mnt/with space", "src": "/srv/a", "fstype": "none", "opts": "bind", "state": "ephemeral"}`,
			"/bin/sh -c 'mount -o remount,bind '\\''/mnt/with space'\\'' 2>/dev/null || { umount -- '\\''/mnt/with space'\\'' && mount -t none -o bind /srv/a '\\''/mnt/with space'\\''; }'",
			"/mnt/with space is mounted again", "/dev/sda1 / ext4 defaults 0 1\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			host := kernelHost(t)
			r := once(t, Mount(), c.args, host, modtest.Setup{ActTrips: 3, Repeats: strings.Contains(c.args, "ephemeral")})
			equal(t, "command", commands(host), c.command)
			equal(t, "differences", strings.Join(r.DiffNotes(), "; "), c.notes)
			equal(t, "fstab", host.Content("/etc/fstab"), c.fstab)
		})
	}
	host := kernelHost(t).Write("/etc/fstab", "/dev/sdb1 /data xfs defaults 0 0\n")
	r := once(t, Mount(), `{"path": "/data", "state": "absent"}`, host, modtest.Setup{ActTrips: 3})
	equal(t, "differences", strings.Join(r.DiffNotes(), "; "), "/etc/fstab content differs; /data is unmounted; /data the folder is removed")
	equal(t, "folder", host.File("/data").Kind, modules.Missing)
	modtest.Errors(t, Mount(), []modtest.ErrorCase{
		{Name: "another source", Args: `{"path": "/data", "src": "/dev/sdc1", "fstype": "xfs", "state": "ephemeral"}`, Host: kernelHost(t), Want: "/data is mounted from /dev/sdb1, not /dev/sdc1"},
		{Name: "no source", Args: `{"path": "/data", "state": "mounted"}`, Want: "needs src and fstype"},
		{Name: "no path", Args: `{"path": "data", "state": "unmounted"}`, Want: "absolute path"},
	})
}

// What cannot be mounted does not stay in fstab, where it could keep the machine from starting.
func TestFstabIsPutBackWhenMountingFails(t *testing.T) {
	host := kernelHost(t)
	host.OnRun = func(_ context.Context, cmd modules.Command) (modules.Output, error) {
		if strings.Contains(cmd.Argv[2], "mount /data2") {
			return modules.Output{ExitCode: 32, Stderr: []byte("mount: /data2: special device /dev/none does not exist.\n")}, nil
		}
		return modules.Output{}, nil
	}
	p, err := modtest.Propose(t, Mount(), `{"path": "/data2", "src": "/dev/none", "fstype": "ext4", "state": "mounted"}`, host, modtest.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Do(t.Context(), host)
	if err == nil || !strings.Contains(err.Error(), "special device /dev/none does not exist") {
		t.Errorf("error is %v", err)
	}
	equal(t, "fstab", host.Content("/etc/fstab"), "/dev/sda1 / ext4 defaults 0 1\n")
}

func TestHostname(t *testing.T) {
	host := kernelHost(t).Write("/etc/hostname", "old\n").Write("/proc/sys/kernel/hostname", "old\n").Mkdir("/run/systemd/system")
	r := once(t, Hostname(), `{"name": "replica1.example.org"}`, host, modtest.Setup{})
	equal(t, "differences", strings.Join(r.DiffNotes(), "; "), "/etc/hostname name old → replica1.example.org; hostname old → replica1.example.org")
	equal(t, "command", commands(host), "hostnamectl --pretty --static set-hostname replica1.example.org\nhostnamectl --transient set-hostname replica1.example.org")
	equal(t, "fact", string(r.Facts["ansible_hostname"]), `"replica1"`)
	equal(t, "fact", string(r.Facts["ansible_domain"]), `"example.org"`)

	host = kernelHost(t).Write("/etc/sysconfig/network", "NETWORKING=yes\nHOSTNAME=old\n").Write("/proc/sys/kernel/hostname", "old\n")
	once(t, Hostname(), `{"name": "new", "use": "redhat"}`, host, modtest.Setup{ActTrips: 3})
	equal(t, "file", host.Content("/etc/sysconfig/network"), "NETWORKING=yes\nHOSTNAME=new\n")
	modtest.Errors(t, Hostname(), []modtest.ErrorCase{{Name: "a space", Args: `{"name": "a b"}`, Want: "no name of a machine"}})
}

// cronHost has crontab for two users.
func cronHost(t *testing.T) *modtest.Machine {
	t.Helper()
	m := accountHost(t)
	m.OnRun = func(_ context.Context, cmd modules.Command) (modules.Output, error) {
		user := cmd.Argv[4]
		if user == "" {
			user = "root"
		}
		file := "/var/spool/cron/" + user
		if !cmd.ReadOnly {
			if strings.HasSuffix(cmd.Argv[2], "-r; fi") {
				m.Remove(file)
				return modules.Output{}, nil
			}
			m.Write(file, string(cmd.Stdin))
			return modules.Output{}, nil
		}
		switch {
		case user == "nobody2" || user == "app2":
			return modules.Output{ExitCode: 1, Stdout: []byte(user + "\n"), Stderr: []byte("crontab:  user `" + user + "' unknown\n")}, nil
		case m.File(file).Kind == modules.Missing:
			return modules.Output{ExitCode: 1, Stdout: []byte(user + "\n"), Stderr: []byte("no crontab for " + user + "\n")}, nil
		}
		return modules.Output{Stdout: []byte(user + "\n" + m.Content(file))}, nil
	}
	return m
}

func TestCrontabs(t *testing.T) {
	host := cronHost(t)
	job := `{"name": "job", "user": "old", "minute": "5", "job": "/bin/job 50%"}`
	r := once(t, Cron(), job, host, modtest.Setup{})
	equal(t, "differences", strings.Join(r.DiffNotes(), "; "), "crontab of old crontab differs")
	equal(t, "crontab", host.Content("/var/spool/cron/old"), "#Ansible: job\n5 * * * * /bin/job 50%\n")
	equal(t, "jobs", r.Get("jobs"), `["job"]`)
	host.Write("/var/spool/cron/old", "# DO NOT EDIT THIS FILE - edit the master and reinstall.\n# (/tmp/x installed on Mon)\n# (Cron version x)\n"+host.Content("/var/spool/cron/old"))
	equal(t, "differences of the same again", len(once(t, Cron(), job, host, modtest.Setup{}).Diff), 0)
	once(t, Cron(), `{"name": "job", "user": "old", "state": "absent"}`, host, modtest.Setup{})
	equal(t, "crontab", host.Content("/var/spool/cron/old"), "")
	modtest.Errors(t, Cron(), []modtest.ErrorCase{
		{Name: "no user", Args: `{"name": "a", "job": "b", "user": "nobody2"}`, Host: cronHost(t), Want: "there is no user nobody2"},
		{Name: "no job", Args: `{"name": "a"}`, Want: "argument job is missing"},
		{Name: "two times", Args: `{"name": "a", "job": "b", "hour": "1", "special_time": "daily"}`, Want: "exclude each other"},
		{Name: "no cron", Args: `{"name": "a", "job": "b"}`, Want: "install cron"},
		{Name: "lines", Args: `{"name": "a", "job": "b\nc"}`, Want: "line break"},
		{Name: "no variable", Args: `{"name": "A", "job": "b", "env": true, "insertafter": "B", "cron_file": "x", "user": "root"}`, Want: "has no variable B"},
	})
}

func TestAuthorizedKeyErrors(t *testing.T) {
	modtest.Errors(t, AuthorizedKey(), []modtest.ErrorCase{
		{Name: "no user", Args: `{"user": "none", "key": "ssh-ed25519 AAAA x"}`, Host: accountHost(t), Want: "there is no user none"},
		{Name: "no key", Args: `{"user": "old", "key": "nonsense"}`, Host: accountHost(t), Want: `"nonsense" is no public key`},
		{Name: "an address", Args: `{"user": "old", "key": "https://example.org/me.keys"}`, Host: accountHost(t), Want: "is an address"},
	})
	host := accountHost(t)
	once(t, AuthorizedKey(), `{"user": "old", "key": ["ssh-ed25519 AAAA x", "ssh-ed25519 BBBB y"]}`, host, modtest.Setup{})
	f := host.File("/home/old/.ssh/authorized_keys")
	equal(t, "owner and mode", fmt.Sprintf("%d:%d %04o", f.UID, f.GID, f.Mode), "1000:1000 0600")
	equal(t, "folder", fmt.Sprintf("%04o", host.File("/home/old/.ssh").Mode), "0700")
}

// dpkg itself says how versions compare.
func TestVersionsCompareAsDpkgDoes(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("dpkg is what versions are compared with, and is not here")
	}
	versions := []string{"1.0", "1.0-1", "1.0~rc1", "1.0~", "1:0.9", "0:1.0", "1.0a", "1.0+b1", "1.00", "1.10", "1.9", "2", "1.0-1ubuntu1", "1.0-1~bpo12+1", ""}
	for _, a := range versions {
		for _, b := range versions {
			want := 0
			if exec.Command("dpkg", "--compare-versions", a, "lt-nl", b).Run() == nil {
				want = -1
			} else if exec.Command("dpkg", "--compare-versions", a, "gt-nl", b).Run() == nil {
				want = 1
			}
			if got := compareVersions(a, b); got != want && a != "" && b != "" {
				t.Errorf("%q and %q compare as %d, dpkg says %d", a, b, got, want)
			}
		}
	}
}
