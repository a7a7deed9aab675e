package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/modules/overlay"
)

func TestModulesThatNeedNoHost(t *testing.T) {
	setup := modtest.Setup{Vars: map[string]string{"name": "x1", "empty": ""}, Files: map[string]string{"v.yml": "a: 1"}, Verbosity: 1}
	cases := []struct {
		name    string
		module  *modules.Module
		args    string
		message string
		output  string
	}{
		{"debug msg", Debug(), `{"msg": "hello"}`, "hello", `{"msg":"hello"}`},
		{"debug list", Debug(), `{"msg": ["a", 1]}`, `["a", 1]`, `{"msg":["a",1]}`},
		{"debug mapping", Debug(), `{"msg": {"a:b":[1,"x,\"y"]}}`, `{"a:b": [1, "x,\"y"]}`, `{"msg":{"a:b":[1,"x,\"y"]}}`},
		{"debug nothing", Debug(), `{}`, "Hello world!", `{"msg":"Hello world!"}`},
		{"debug var", Debug(), `{"var": "name"}`, "name: x1", `{"name":"x1"}`},
		{"debug var with a dot", Debug(), `{"var": ".name"}`, ".name: x1", `{".name":"x1"}`},
		{"debug expression", Debug(), `{"var": "len .name"}`, "len .name: 2", `{"len .name":2}`},
		{"debug undefined", Debug(), `{"var": "none"}`, "none: VARIABLE IS NOT DEFINED!", `{"none":"VARIABLE IS NOT DEFINED!"}`},
		{"debug verbosity reached", Debug(), `{"msg": "x", "verbosity": 1}`, "x", `{"msg":"x"}`},
		{"assert", Assert(), `{"that": ["eq .name \"x1\"", "true"]}`, "All assertions passed", "null"},
		{"assert one", Assert(), `{"that": "true", "success_msg": "fine"}`, "fine", "null"},
		{"assert quiet", Assert(), `{"that": "true", "quiet": true}`, "", "null"},
		{"set_fact", SetFact(), `{"a": "yes", "b": [1]}`, "", `{"ansible_facts":{"a":"yes","b":[1]}}`},
		{"include_vars", IncludeVars(), `{"file": "v.yml"}`, "", `{"ansible_included_var_files":["v.yml"]}`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			host := machine()
			r := once(t, c.module, c.args, host, setup)
			equal(t, "message", r.Message, c.message)
			equal(t, "output", string(r.Output), c.output)
			equal(t, "round trips", host.Trips(), 0)
		})
	}
}

func TestDebugSkipsBelowItsVerbosity(t *testing.T) {
	r := once(t, Debug(), `{"msg": "x", "verbosity": 2}`, machine(), modtest.Setup{Verbosity: 1})
	if !r.Skip || r.Proposal.Output != nil {
		t.Errorf("proposal is %+v", r.Proposal)
	}
}

func TestFactsAndTheirRanks(t *testing.T) {
	r := once(t, SetFact(), `{"a": 1, "cacheable": "yes"}`, machine(), modtest.Setup{})
	equal(t, "rank", r.FactRank, modules.RankBoth)
	equal(t, "facts", len(r.Facts), 1)
	r = once(t, SetFact(), `{"a": 1}`, machine(), modtest.Setup{})
	equal(t, "rank", r.FactRank, modules.RankSet)
	r = once(t, IncludeVars(), `{"file": "v.yml", "name": "v"}`, machine(), modtest.Setup{Files: map[string]string{"v.yml": "a: 1"}})
	if len(r.VarFiles) != 1 || r.VarFiles[0].Under != "v" || r.VarFiles[0].Source.Name() != "v.yml" {
		t.Errorf("files are %+v", r.VarFiles)
	}
}

func TestErrorsOfModulesThatNeedNoHost(t *testing.T) {
	modtest.Errors(t, Debug(), []modtest.ErrorCase{{Name: "both", Args: `{"msg": "a", "var": "b"}`, Want: "exclude each other"}})
	modtest.Errors(t, Fail(), []modtest.ErrorCase{
		{Name: "message", Args: `{"msg": "no good"}`, Want: "no good"}, {Name: "none", Args: `{}`, Want: "Failed as requested from task"}})
	modtest.Errors(t, Assert(), []modtest.ErrorCase{
		{Name: "false", Args: `{"that": ["true", "false", "none"]}`, Want: "false does not hold"},
		{Name: "message", Args: `{"that": "false", "fail_msg": "too few"}`, Want: "too few"},
		{Name: "alias", Args: `{"that": "false", "msg": "too few"}`, Want: "too few"},
		{Name: "no boolean", Args: `{"that": "\"yes\""}`, Want: `is "yes", not true or false`},
		{Name: "nothing", Args: `{}`, Want: "argument that is missing"},
	})
	modtest.Errors(t, SetFact(), []modtest.ErrorCase{
		{Name: "nothing", Args: `{}`, Want: "no variable was given"}, {Name: "bad name", Args: `{"a-b": 1}`, Want: "cannot be a variable's name"}})
	modtest.Errors(t, IncludeVars(), []modtest.ErrorCase{{Name: "no file", Args: `{"file": "none.yml"}`, Want: "no file none.yml in vars"}})
	modtest.Errors(t, Pause(), []modtest.ErrorCase{
		{Name: "no time", Args: `{"prompt": "sure?"}`, Want: "gate waits for a person"}, {Name: "negative", Args: `{"seconds": -1}`, Want: "at least 0"},
		{Name: "twice", Args: `{"seconds": 1, "minutes": 1}`, Want: "twice"}})
	modtest.Errors(t, Ping(), []modtest.ErrorCase{{Name: "crash", Args: `{"data": "crash"}`, Want: "crash"}})
}

func TestPing(t *testing.T) {
	host := machine()
	r := once(t, Ping(), `{}`, host, modtest.Setup{})
	equal(t, "output", string(r.Output), `{"ping":"pong"}`)
	if host.Trips() == 0 {
		t.Error("it did not contact the host")
	}
}

func TestPauseWaitsAndEndsWhenCancelled(t *testing.T) {
	host := machine()
	started := time.Now()
	once(t, Pause(), `{"seconds": 0.2, "prompt": "a moment"}`, host, modtest.Setup{})
	if took := time.Since(started); took < 200*time.Millisecond || took > 350*time.Millisecond {
		t.Errorf("it took %s: once in the real run, and not in check mode", took)
	}
	p, err := modtest.Propose(t, Pause(), `{"minutes": 5}`, host, modtest.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
	if err := p.Do(ctx, host); !errors.Is(err, why) {
		t.Errorf("error is %v", err)
	}
}

func TestWaitForPaths(t *testing.T) {
	host := func() *modtest.Machine { return machine().Write("/srv/f", "started\nready in 5 ms\n") }
	cases := []struct{ name, args, groups string }{
		{"there", `{"path": "/srv/f"}`, ""},
		{"gone", `{"path": "/srv/none", "state": "absent"}`, ""},
		{"text", `{"path": "/srv/f", "search_regex": "^ready in (\\d+)"}`, `["5"]`},
		{"text gone", `{"path": "/srv/f", "search_regex": "^failed", "state": "absent"}`, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := once(t, WaitFor(), c.args, host(), modtest.Setup{})
			if r.Do != nil || r.Unknown {
				t.Error("there is something to wait for")
			}
			equal(t, "match_groups", r.Get("match_groups"), c.groups)
		})
	}
	short := `"timeout": 0.05, "sleep": 0.01`
	modtest.Errors(t, WaitFor(), []modtest.ErrorCase{
		{Name: "never there", Args: `{"path": "/srv/none", ` + short + `}`, Host: host(), Want: "waited 50ms for /srv/none to be started: it is not there"},
		{Name: "never gone", Args: `{"path": "/srv/f", "state": "absent", ` + short + `}`, Host: host(), Want: "it is still there"},
		{Name: "text never there", Args: `{"path": "/srv/f", "search_regex": "xyz", ` + short + `}`, Host: host(), Want: "the text is not in it"},
		{Name: "own words", Args: `{"path": "/srv/none", "msg": "no luck", ` + short + `}`, Host: host(), Want: "no luck (it is not there"},
		{Name: "closed", Args: `{"port": 1, ` + short + `}`, Want: "connection refused"},
		{Name: "nothing", Args: `{}`, Want: "a port or a path"},
		{Name: "both", Args: `{"port": 1, "path": "/x"}`, Want: "a port or a path"},
		{Name: "bad expression", Args: `{"path": "/x", "search_regex": "("}`, Want: "missing closing )"},
		{Name: "cut connection", Args: `{"port": 1}`, Host: cut(), Want: "cannot be reached"},
	})
}

// cut is a machine whose connection is gone.
func cut() *modtest.Machine {
	host := machine()
	host.OnDial = func(context.Context, string, string) (net.Conn, error) {
		return nil, &modules.UnreachableError{Host: "host1", Err: errors.New("broken pipe")}
	}
	return host
}

func TestWaitForAPort(t *testing.T) {
	host := machine()
	var address string
	tries := 0
	host.OnDial = func(_ context.Context, _, addr string) (net.Conn, error) {
		address = addr
		if tries++; tries < 5 {
			return nil, errors.New("dial tcp: connect: connection refused")
		}
		near, far := net.Pipe()
		go func() { far.Write([]byte("SSH-2.0-x\r\n")); far.Close() }()
		return near, nil
	}
	r := once(t, WaitFor(), `{"port": 22, "host": "10.0.0.1", "sleep": 0.01, "search_regex": "SSH-([0-9.]+)"}`, host, modtest.Setup{ActTrips: -1})
	equal(t, "address", address, "10.0.0.1:22")
	equal(t, "match_groups", r.Get("match_groups"), `["2.0"]`)
	if !r.Unknown || !strings.Contains(r.Notes, "connection refused") {
		t.Errorf("unknown in check mode: %v; notes: %s", r.Unknown, r.Notes)
	}
	r = once(t, WaitFor(), `{"port": 22, "state": "stopped"}`, machine(), modtest.Setup{})
	equal(t, "elapsed", r.Get("elapsed"), "0")
}

func TestWaitUntilDrained(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:8729 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:8729 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0100007F:8729 0100007F:C351 06 00000000:00000000 00:00000000 00000000     0        0 2 1
   3: 0100007F:1234 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 2 1
`
	host := machine().Write("/proc/net/tcp", table)
	modtest.Errors(t, WaitFor(), []modtest.ErrorCase{{Name: "one left", Host: host, Want: "1 connections are open",
		Args: `{"port": 34601, "state": "drained", "timeout": 0.05, "sleep": 0.01}`}})
	once(t, WaitFor(), `{"port": 34602, "state": "drained"}`, host, modtest.Setup{})
}

// systemd is a machine whose systemctl keeps units.
type systemd struct {
	*modtest.Machine
	state, enabled, load string
	fails                bool
	linked               bool // a link enables the unit, whose file is gone
	verbs                []string
}

func newSystemd(state, enabled string) *systemd {
	s := &systemd{Machine: machine(), state: state, enabled: enabled, load: "loaded"}
	s.OnRun = s.run
	return s
}

func (s *systemd) run(_ context.Context, cmd modules.Command) (modules.Output, error) {
	argv := cmd.Argv
	switch {
	case argv[0] == "journalctl":
		return modules.Output{Stdout: []byte("cannot bind port 53\n")}, nil
	case argv[0] == "systemctl" && argv[1] == "show":
		return modules.Output{Stdout: []byte("LoadState=" + s.load + "\nActiveState=" + s.state + "\nUnitFileState=" + s.enabled + "\n")}, nil
	case argv[0] == "/bin/sh" && cmd.ReadOnly && s.linked:
		return modules.Output{Stdout: []byte("/etc/systemd/system/multi-user.target.wants/x.service\n")}, nil
	case argv[0] == "/bin/sh" && cmd.ReadOnly:
	case argv[0] == "/bin/sh":
		for _, verb := range argv[6:] {
			s.verb(verb)
		}
	default:
		s.verb(strings.Join(argv[1:len(argv)-1], " "))
	}
	if s.fails {
		return modules.Output{ExitCode: 1, Stderr: []byte("Job for x.service failed.")}, nil
	}
	return modules.Output{}, nil
}

func (s *systemd) verb(verb string) {
	s.verbs = append(s.verbs, verb)
	switch verb {
	case "start", "restart", "reload":
		s.state, s.load = "active", "loaded"
	case "stop":
		s.state = "inactive"
	case "enable", "enable --force":
		s.enabled = "enabled"
	case "disable", "unmask":
		s.enabled, s.linked = "disabled", false
	case "mask":
		s.enabled = "masked"
	}
}

func TestSystemd(t *testing.T) {
	cases := []struct {
		name, args     string
		state, enabled string
		verbs          string
		repeats        bool
	}{
		{"starts", `{"name": "x", "state": "started"}`, "inactive", "disabled", "start", false},
		{"runs already", `{"name": "x", "state": "started", "enabled": true}`, "active", "enabled", "", false},
		{"starts and enables", `{"name": "x", "state": "started", "enabled": true}`, "failed", "disabled", "enable,start", false},
		{"stops and disables", `{"name": "x.service", "state": "stopped", "enabled": false}`, "active", "enabled", "disable,stop", false},
		{"restarts", `{"name": "x", "state": "restarted"}`, "active", "enabled", "restart", true},
		{"reloads", `{"name": "x", "state": "reloaded"}`, "active", "enabled", "reload", true},
		{"reload of what does not run", `{"name": "x", "state": "reloaded"}`, "inactive", "enabled", "start", true},
		{"masks", `{"name": "x", "masked": true, "state": "stopped"}`, "active", "enabled", "stop,mask", false},
		{"reloads units first", `{"name": "x", "state": "restarted", "daemon_reload": true}`, "active", "enabled", "daemon-reload,restart", true},
		{"no reload of units for nothing", `{"name": "x", "state": "started", "daemon_reload": true}`, "active", "enabled", "", false},
		{"forced", `{"name": "x", "enabled": true, "force": true}`, "active", "disabled", "enable --force", false},
	}
	for _, c := range cases {
		for _, m := range []*modules.Module{Systemd(), Service()} {
			t.Run(m.Name+" "+c.name, func(t *testing.T) {
				s := newSystemd(c.state, c.enabled)
				r := once(t, m, c.args, s.Machine, modtest.Setup{Repeats: c.repeats})
				equal(t, "verbs", strings.Join(s.verbs, ","), c.verbs)
				if r.Unknown {
					t.Error("check mode does not know the outcome")
				}
			})
		}
	}
}

func TestSystemdSeesAUnitThatCheckModeWrote(t *testing.T) {
	s := newSystemd("inactive", "")
	s.load = "not-found"
	s.Mkdir("/etc/systemd/system")
	layer := overlay.New(s.Machine, nil)
	args := `{"name": "x", "state": "started", "enabled": true}`
	if _, err := modtest.Propose(t, Systemd(), args, layer.Look(), modtest.Setup{}); err == nil {
		t.Fatal("a unit that is nowhere can be started")
	}
	path := "/etc/systemd/system/x.service"
	if err := layer.Act().Apply(t.Context(), modules.Change{Kind: modules.WriteFile, Path: path, Content: modules.Bytes(path, []byte("[Unit]"))}); err != nil {
		t.Fatal(err)
	}
	p, err := modtest.Propose(t, Systemd(), args, layer.Look(), modtest.Setup{})
	if err != nil || len(p.Diff) != 2 {
		t.Fatalf("proposal is %+v, %v", p, err)
	}
	layer.Predict(p.Predicts)
	if p, err = modtest.Propose(t, Systemd(), args, layer.Look(), modtest.Setup{}); err != nil || len(p.Diff) != 0 {
		t.Errorf("after its prediction it proposes %+v, %v", p, err)
	}
}

func TestSystemdErrors(t *testing.T) {
	failing := newSystemd("inactive", "enabled")
	failing.fails = true
	missing := newSystemd("inactive", "")
	missing.load = "not-found"
	modtest.Errors(t, Systemd(), []modtest.ErrorCase{
		{Name: "does not come up", Args: `{"name": "x", "state": "started"}`, Host: failing.Machine, Want: "its last words:\n  cannot bind port 53"},
		{Name: "no such unit", Args: `{"name": "x", "state": "started"}`, Host: missing.Machine, Want: "there is no unit x.service"},
		{Name: "no systemd", Args: `{"name": "x", "state": "started"}`, Want: "systemd does not run on the host"},
		{Name: "no name", Args: `{"state": "started"}`, Want: "no unit was named"},
	})
}

func TestSetup(t *testing.T) {
	host := machine().
		Write("/etc/os-release", "ID=debian\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n").
		Write("/etc/debian_version", "12.5\n").
		Write("/proc/cpuinfo", "processor\t: 0\nmodel name\t: Xeon\nphysical id\t: 0\ncpu cores\t: 2\n\nprocessor\t: 1\nmodel name\t: Xeon\nphysical id\t: 0\ncpu cores\t: 2\n").
		Write("/proc/meminfo", "MemTotal:        8388608 kB\nMemFree:         1048576 kB\nMemAvailable:    2097152 kB\n").
		Write("/proc/mounts", "/dev/sda1 / ext4 rw 0 0\nproc /proc proc rw 0 0\n/dev/sdb1 /srv/my\\040data xfs rw,noatime 0 0\n").
		Write("/proc/uptime", "1234.56 99.0\n").Write("/proc/1/comm", "init\n").
		Write("/proc/net/route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"+
			"eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\neth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n").
		Write("/proc/net/fib_trie", "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 192.168.1.0\n        /24 link UNICAST\n     |-- 192.168.1.7\n        /32 host LOCAL\n     |-- 192.168.1.255\n        /32 link BROADCAST\nLocal:\n     |-- 192.168.1.7\n        /32 host LOCAL\n").
		Write("/proc/net/if_inet6", "fe80000000000000020c29fffe123456 02 40 20 80     eth0\n00000000000000000000000000000001 01 80 10 80       lo\nfd000000000000000000000000000002 02 40 00 80     eth0\n").
		Write("/proc/net/ipv6_route", "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n").
		Write("/proc/cmdline", "quiet root=/dev/sda1\n").Write("/proc/loadavg", "1.50 1.00 0.50 1/2 3\n").
		Write("/etc/resolv.conf", "# x\nnameserver 10.0.0.1\nsearch example.org\noptions ndots:2 rotate\n")
	host.OnRun = func(context.Context, modules.Command) (modules.Output, error) {
		return modules.Output{Stdout: []byte(`machine x86_64
system Linux
kernel 6.1.0
node db1.example.org
fqdn db1.example.org
user_id pegasus
user_uid 1001
user_gid 1001
passwd pegasus:x:1001:1001:Peg:/home/pegasus:/bin/bash
date 1700000000 UTC +0000
utc 2023-11-14T22:13:20Z
local 2023-11-14T22:13:20
weekday 2 Tuesday
virt kvm
systemd 1
nic eth0 1500 up 00:0c:29:12:34:56
nic lo 65536 unknown 00:00:00:00:00:00
fs 1024 1000 600 100 40 /
fs 4096 2000 1600 0 0 /srv/my\040data
uuid 1111-2222 /dev/sda1
disk sda 4194304 512 1 0 A disk
part sda sda1 2048 2097152
dmi product_name A machine
dmi sys_vendor
hostkey ed25519 ssh-ed25519 AAAAC3 root@db1
pkg_mgr apt
selinux
fips 0
bits 64
fact mine eyJhIjogMX0=
fact other W01haW5dCktleSA9IHZhbHVlCg==
env HOME=/home/pegasus
`)}, nil
	}
	r := once(t, Setup(), `{}`, host, modtest.Setup{Trips: 2})
	equal(t, "rank", r.FactRank, modules.RankFound)
	want := map[string]string{
		"hostname": `"db1"`, "fqdn": `"db1.example.org"`, "domain": `"example.org"`, "architecture": `"x86_64"`, "kernel": `"6.1.0"`,
		"distribution": `"Debian"`, "distribution_version": `"12.5"`, "distribution_major_version": `"12"`, "distribution_release": `"bookworm"`,
		"os_family": `"Debian"`, "processor_vcpus": "2", "processor_cores": "2", "processor_count": "1", "memtotal_mb": "8192", "memfree_mb": "1024",
		"pkg_mgr": `"apt"`, "userspace_bits": `"64"`, "local": `{"mine":{"a":1},"other":{"Main":{"key":"value"}}}`, "product_name": `"A machine"`, "system_vendor": `"NA"`,
		"processor": `["0","Xeon","1","Xeon"]`, "ssh_host_key_ed25519_public": `"AAAAC3"`, "selinux": `{"status":"disabled"}`,
		"devices":      `{"sda":{"model":"A disk","removable":"0","rotational":"1","sectors":4194304,"sectorsize":512,"size":"2.00 GB","partitions":{"sda1":{"start":"2048","sectors":2097152,"sectorsize":512,"size":"1.00 GB"}}}}`,
		"memory_mb":    `{"real":{"total":8192,"used":7168,"free":1024},"nocache":{"free":1024,"used":7168},"swap":{"total":0,"free":0,"used":0,"cached":0}}`,
		"lo":           `{"device":"lo","active":true,"mtu":65536,"type":"loopback","ipv4":{"address":"127.0.0.1","broadcast":"","netmask":"255.0.0.0","network":"127.0.0.0","prefix":"8"},"ipv6":[{"address":"::1","prefix":"128","scope":"host"}]}`,
		"default_ipv6": `{"address":"fd00::2","prefix":"64","scope":"global","gateway":"fd00::1","interface":"eth0","macaddress":"00:0c:29:12:34:56","mtu":1500,"type":"ether"}`,
		"dns":          `{"nameservers":["10.0.0.1"],"search":["example.org"],"options":{"ndots":"2","rotate":true}}`, "cmdline": `{"quiet":true,"root":"/dev/sda1"}`,
		"loadavg": `{"15m":0.5,"1m":1.5,"5m":1}`, "lsb": `{"codename":"bookworm","description":"","id":"Debian","major_release":"12","release":"12"}`,
		"user_id": `"pegasus"`, "user_uid": "1001", "user_dir": `"/home/pegasus"`, "service_mgr": `"systemd"`, "uptime_seconds": "1234",
		"interfaces": `["eth0","lo"]`, "all_ipv4_addresses": `["192.168.1.7"]`, "all_ipv6_addresses": `["fe80::20c:29ff:fe12:3456","fd00::2"]`,
		"default_ipv4":        `{"address":"192.168.1.7","broadcast":"192.168.1.255","interface":"eth0","alias":"eth0","gateway":"192.168.1.1","netmask":"255.255.255.0","network":"192.168.1.0","prefix":"24","macaddress":"00:0c:29:12:34:56","mtu":1500,"type":"ether"}`,
		"virtualization_type": `"kvm"`, "virtualization_role": `"guest"`, "env": `{"HOME":"/home/pegasus"}`,
		"mounts": `[{"mount":"/","device":"/dev/sda1","fstype":"ext4","options":"rw","uuid":"1111-2222","size_total":1024000,"size_available":614400,"block_size":1024,"block_total":1000,"block_available":600,"block_used":400,"inode_total":100,"inode_available":40,"inode_used":60},` +
			`{"mount":"/srv/my data","device":"/dev/sdb1","fstype":"xfs","options":"rw,noatime","uuid":"N/A","size_total":8192000,"size_available":6553600,"block_size":4096,"block_total":2000,"block_available":1600,"block_used":400,"inode_total":0,"inode_available":0,"inode_used":0}]`,
	}
	for name, value := range want {
		equal(t, name, string(r.Facts["ansible_"+name]), value)
	}
	var date map[string]string
	if err := json.Unmarshal(r.Facts["ansible_date_time"], &date); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"epoch": "1700000000", "date": "2023-11-14", "hour": "22", "weekday": "Tuesday", "weekday_number": "2", "tz": "UTC"} {
		equal(t, "date_time."+name, date[name], value)
	}
	equal(t, "a fact in the output", r.Get("ansible_facts.ansible_hostname"), `"db1"`)

	r = once(t, Setup(), `{"filter": ["*ipv4", "ansible_hostname"]}`, host, modtest.Setup{Trips: 2})
	equal(t, "filtered facts", len(r.Facts), 2)
	r = once(t, Setup(), `{"gather_subset": ["!all", "network"]}`, host, modtest.Setup{Trips: 2})
	if r.Facts["ansible_memtotal_mb"] != nil || r.Facts["ansible_default_ipv4"] == nil || r.Facts["ansible_hostname"] == nil {
		t.Errorf("!all and network gives %d facts", len(r.Facts))
	}
	r = once(t, Setup(), `{"gather_subset": "!hardware"}`, host, modtest.Setup{Trips: 2})
	if r.Facts["ansible_memtotal_mb"] != nil || r.Facts["ansible_default_ipv4"] == nil {
		t.Errorf("!hardware gives %d facts", len(r.Facts))
	}
}

func TestJoins(t *testing.T) {
	host := func(vars string) string { return `{"host_name":"n1","groups":["a","b"],"host_vars":` + vars + `}` }
	cases := []struct {
		m                  *modules.Module
		args, join, output string
	}{
		{AddHost(), `{"hostname": "n1", "group": "a, b,a", "color": "blue"}`, host(`{"color":"blue"}`), `{"add_host":` + host(`{"color":"blue"}`) + `}`},
		{AddHost(), `{"host": "n1:2222", "groups": ["a", "b"]}`, host(`{"ansible_ssh_port":2222}`), `{"add_host":` + host(`{"ansible_ssh_port":2222}`) + `}`},
		{AddHost(), `{"name": "[fd00::1]:22"}`, `{"host_name":"fd00::1","groups":[],"host_vars":{"ansible_ssh_port":22}}`, ""},
		{AddHost(), `{"name": "fd00::22"}`, `{"host_name":"fd00::22","groups":[],"host_vars":{}}`, ""},
		{AddHost(), `{"name": "n1:x"}`, `{"host_name":"n1:x","groups":[],"host_vars":{}}`, ""},
		{GroupBy(), `{"key": "os_linux"}`, `{"host_name":"","groups":["os_linux"],"host_vars":{}}`, `{"add_group":"os_linux","parent_groups":["all"]}`},
		{GroupBy(), `{"key": "os linux", "parents": ["by system"]}`, `{"host_name":"","groups":["os-linux"],"parent_groups":["by-system"],"host_vars":{}}`,
			`{"add_group":"os-linux","parent_groups":["by-system"]}`},
	}
	for _, c := range cases {
		r := once(t, c.m, c.args, machine(), modtest.Setup{})
		raw, err := json.Marshal(r.Joins[0])
		if err != nil {
			t.Fatal(err)
		}
		equal(t, c.args+": join", string(raw), c.join)
		if c.output != "" {
			equal(t, c.args+": output", string(r.Output), c.output)
		}
	}
	modtest.Errors(t, AddHost(), []modtest.ErrorCase{{Name: "no name", Args: `{"name": ""}`, Want: "the host has no name"}})
	modtest.Errors(t, GroupBy(), []modtest.ErrorCase{{Name: "no group", Args: `{"key": ""}`, Want: "the group has no name"}})
}
