package builtin

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/runner/connect"
)

// thisMachine is the control node through the real helper.
func thisMachine(t *testing.T) modules.Host {
	t.Helper()
	pool := connect.NewPool(connect.Options{})
	t.Cleanup(func() { pool.Close() })
	host, err := pool.Open(t.Context(), connect.Address{Name: "control", Connection: "local"}, connect.Become{})
	if err != nil {
		t.Fatal(err)
	}
	return host
}

// perform runs a task on a real host and gives its proposal, output filled in.
func perform(t *testing.T, m *modules.Module, args string, host modules.Host, setup modtest.Setup) (modtest.Result, error) {
	t.Helper()
	p, err := modtest.Propose(t, m, args, host, setup)
	if err != nil {
		return modtest.Result{}, err
	}
	if p.Do != nil {
		err = p.Do(t.Context(), host)
	}
	raw, jsonErr := json.Marshal(p.Output)
	if jsonErr != nil {
		t.Fatal(jsonErr)
	}
	return modtest.Result{Proposal: p, Output: raw}, err
}

func TestFactsOfThisMachine(t *testing.T) {
	if _, err := os.Stat("/proc/net/fib_trie"); err != nil {
		t.Skip("needs Linux's /proc")
	}
	r, err := perform(t, Setup(), `{}`, thisMachine(t), modtest.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	machineName := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	for fact, want := range map[string]string{"nodename": strconv.Quote(name), "architecture": strconv.Quote(machineName),
		"user_uid": strconv.Itoa(os.Getuid()), "system": `"Linux"`} {
		equal(t, fact, string(r.Facts["ansible_"+fact]), want)
	}
	if offset, err := strconv.ParseFloat(string(r.Facts["ansible_clock_offset"]), 64); err != nil || offset < -0.5 || offset > 0.5 {
		t.Errorf("this machine's clock is %s s ahead of its own", r.Facts["ansible_clock_offset"])
	}
	for _, fact := range []string{"memtotal_mb", "processor_vcpus", "distribution", "os_family", "interfaces", "mounts", "date_time", "default_ipv4", "kernel", "fqdn"} {
		if value := string(r.Facts["ansible_"+fact]); value == "" || value == "0" || value == `""` || value == "null" {
			t.Errorf("ansible_%s is %q", fact, value)
		}
	}
}

func TestCommandsAndPackagesOnThisMachine(t *testing.T) {
	host := thisMachine(t)
	dir := t.TempDir()
	r, err := perform(t, Command(), `{"argv": ["cat", "-"], "stdin": "two\nlines", "chdir": "`+dir+`"}`, host, modtest.Setup{})
	if err != nil || r.Get("stdout_lines") != `["two","lines"]` || r.Get("rc") != "0" {
		t.Errorf("cat gives %s, %v", r.Output, err)
	}
	r, err = perform(t, Shell(), `{"cmd": "echo out; echo err >&2; exit 3"}`, host, modtest.Setup{})
	if err == nil || r.Get("rc") != "3" || r.Get("stderr") != `"err"` || r.Get("stdout") != `"out"` {
		t.Errorf("the shell gives %s, %v", r.Output, err)
	}
	args := func(version, more string) string {
		return `{"dest": "` + dir + `/p", "version": "` + version + `", "src": "` + version + `.tar.gz"` + more + `}`
	}
	for _, version := range []string{"1.0", "2.0"} {
		if _, err := perform(t, InstallPkg(), args(version, ""), host, packages()); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(filepath.Join(dir, "p/current/bin/lib.so"))
	if err != nil || string(content) != "program 2.0" {
		t.Errorf("current holds %q, %v", content, err)
	}
	if r, err = perform(t, InstallPkg(), args("2.0", ""), host, packages()); err != nil || len(r.Diff) != 0 {
		t.Errorf("a second run does %v, %v", r.DiffNotes(), err)
	}
	if r, err = perform(t, InstallPkg(), args("3.0", `, "keep": 1`), host, packages()); err != nil || r.Get("removed") == "[]" {
		t.Errorf("with keep 1 it gives %s, %v", r.Output, err)
	}
	left, err := filepath.Glob(dir + "/p/releases/*")
	if err != nil || strings.Join(left, ",") != dir+"/p/releases/3.0" {
		t.Errorf("what is left is %v, %v", left, err)
	}
}

// What install_pkg costs, counted on a real connection.
func TestRoundTripsOfInstallPkg(t *testing.T) {
	pool := connect.NewPool(connect.Options{})
	t.Cleanup(func() { pool.Close() })
	address := connect.Address{Name: "control", Connection: "local"}
	host, err := pool.Open(t.Context(), address, connect.Become{})
	if err != nil {
		t.Fatal(err)
	}
	dest := t.TempDir() + "/p"
	for _, step := range []struct {
		name, version, more string
		trips               int
	}{
		{"install", "1.0", `, "src": "1.0.tar.gz"`, 2},
		{"all there", "1.0", `, "src": "1.0.tar.gz"`, 1},
		{"put there", "2.0", `, "src": "2.0.tar.gz", "activate": false`, 2},
		{"activate", "2.0", `, "src": "2.0.tar.gz"`, 2},
		{"active", "2.0", `, "src": "2.0.tar.gz"`, 1},
		{"a third", "3.0", `, "src": "3.0.tar.gz"`, 2},
		{"one too many", "4.0", `, "src": "4.0.tar.gz"`, 4}, // the host's processes, and what they run from
		{"back without a package", "3.0", "", 2},
	} {
		before := pool.RoundTrips(address)
		args := `{"dest": "` + dest + `", "version": "` + step.version + `"` + step.more + `}`
		if _, err := perform(t, InstallPkg(), args, host, packages()); err != nil {
			t.Fatal(err)
		}
		if n := pool.RoundTrips(address) - before; n != step.trips {
			t.Errorf("%s takes %d round trips, not %d", step.name, n, step.trips)
		}
	}
}
