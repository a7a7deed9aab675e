package system

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/modules/overlay"
)

// aptFake is a machine's apt: what is installed, and what the package lists have. It speaks as apt-get and
// dpkg do; the words were recorded on Debian 12.
type aptFake struct {
	*modtest.Machine
	t         *testing.T
	installed map[string]string
	lists     map[string]string
	fresh     map[string]string // what fetching the lists adds
	auto      map[string]bool
	fetched   int64 // when the lists were
	held      string
	locked    int // how many more calls find the lock taken
	broken    bool
	debs      map[string]string
}

func newAptFake(t *testing.T) *aptFake {
	a := &aptFake{Machine: modtest.NewMachine("host1"), t: t, fetched: 1000,
		installed: map[string]string{"lib": "1.0", "tool": "1.0-1", "old": "0.9"},
		lists:     map[string]string{"lib": "1.0", "tool": "1.2-1", "server": "2.0", "new": "3.1"},
		fresh:     map[string]string{"fresh": "1.0", "lib": "1.1"},
		auto:      map[string]bool{}, debs: map[string]string{"/srv/x.deb": "x 1.0"}}
	a.Write("/usr/bin/apt-get", "")
	a.Machine.OnRun = a.run
	return a
}

func (a *aptFake) run(_ context.Context, cmd modules.Command) (modules.Output, error) {
	if cmd.Argv[0] == "apt-cache" {
		return modules.Output{Stdout: []byte("server\nservant\n")}, nil
	}
	if cmd.ReadOnly && strings.HasPrefix(cmd.Argv[2], "exec 2>") {
		return a.probe(cmd.Argv[4:]), nil
	}
	_, body, _ := strings.Cut(cmd.Argv[2], "\n")
	words := unquote(a.t, body)
	simulated := slices.Contains(words, "--simulate")
	if !simulated && a.locked > 0 {
		a.locked--
		return modules.Output{ExitCode: 100, Stderr: []byte("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 42 (apt)\n")}, nil
	}
	i := slices.IndexFunc(words, func(w string) bool {
		return slices.Contains([]string{"install", "remove", "update", "upgrade", "dist-upgrade", "autoremove", "autoclean", "clean", "manual"}, w)
	})
	return a.get(words[i], words[i+1:], words, simulated), nil
}

func (a *aptFake) probe(args []string) modules.Output {
	var b strings.Builder
	say := func(name string) {
		if version, ok := a.installed[name]; ok {
			fmt.Fprintf(&b, "package %s ii  %s\n", name, version)
		}
	}
	for i, name := range args {
		if name == "--" {
			for _, file := range args[i+1:] {
				deb := a.debs[file]
				if deb == "" {
					deb = "-"
				}
				fmt.Fprintf(&b, "deb %s %s\n", deb, file)
				name, _, _ := strings.Cut(a.debs[file], " ")
				say(name)
			}
			break
		}
		say(name)
		if a.auto[name] {
			fmt.Fprintf(&b, "auto %s\n", name)
		}
	}
	fmt.Fprintf(&b, "stamp %d\nnow 5000\n", a.fetched)
	if a.broken {
		b.WriteString("interrupted /var/lib/dpkg/updates/0001\n")
	}
	return modules.Output{Stdout: []byte(b.String())}
}

func (a *aptFake) get(verb string, names, words []string, simulated bool) modules.Output {
	var said strings.Builder
	change := func(name, version string) {
		before, there := a.installed[name]
		switch {
		case version == "" && there:
			fmt.Fprintf(&said, "Remv %s [%s]\n", name, before)
		case version != "" && there:
			fmt.Fprintf(&said, "Inst %s [%s] (%s Repository:1 [all])\n", name, before, version)
		case version != "":
			fmt.Fprintf(&said, "Inst %s (%s Repository:1 [all])\n", name, version)
		}
		if !simulated && version == "" {
			delete(a.installed, name)
		} else if !simulated {
			a.installed[name] = version
		}
	}
	failed := func(format string, args ...any) modules.Output {
		return modules.Output{ExitCode: 100, Stderr: fmt.Appendf(nil, "E: "+format+"\n", args...)}
	}
	switch verb {
	case "update":
		a.fetched = 5000
		for name, version := range a.fresh {
			a.lists[name] = version
		}
	case "manual":
		a.auto = map[string]bool{}
	case "upgrade":
		for _, name := range []string{"lib", "tool"} {
			if a.installed[name] != a.lists[name] {
				change(name, a.lists[name])
			}
		}
	case "remove":
		for _, name := range names {
			change(name, "")
		}
	case "install":
		for _, text := range names {
			if deb, ok := a.debs[text]; ok {
				name, version, _ := strings.Cut(deb, " ")
				change(name, version)
				continue
			}
			name, version, pinned := strings.Cut(text, "=")
			have, ok := a.lists[name]
			switch {
			case !ok:
				return failed("Unable to locate package %s", name)
			case name == a.held && !slices.Contains(words, "--allow-change-held-packages"):
				return failed("Held packages were changed and -y was used without --allow-change-held-packages.")
			case pinned && version != have && version != strings.TrimRight(have, "0123456789-")+"*":
				return failed("Version '%s' for '%s' was not found", version, name)
			}
			if name == "server" {
				change("lib", a.lists["lib"])
			}
			if a.installed[name] != have {
				change(name, have)
			}
		}
	}
	return modules.Output{Stdout: []byte(said.String()), Ended: time.Unix(5000, 0)}
}

func TestApt(t *testing.T) {
	cases := []struct{ name, args, notes string }{
		{"there", `{"name": ["lib", "tool"]}`, ""},
		{"new, with what it needs", `{"name": ["lib", "server"]}`, "package lib 1.0 is installed again; package server 2.0 is installed"},
		{"newest", `{"name": "tool", "state": "latest"}`, "package tool 1.0-1 → 1.2-1"},
		{"there in a version", `{"name": "tool=1.0-*"}`, ""},
		{"there in a version or later", `{"pkg": "tool>=0.9"}`, ""},
		{"another version", `{"name": "tool=1.2-1"}`, "package tool 1.0-1 → 1.2-1"},
		{"a later version", `{"name": "tool>=1.1"}`, "package tool 1.0-1 → 1.2-1"},
		{"separated by commas", `{"name": "lib, new"}`, "package new 3.1 is installed"},
		{"only upgraded", `{"name": ["new", "tool"], "only_upgrade": true, "state": "latest"}`, "package tool 1.0-1 → 1.2-1"},
		{"removed", `{"name": ["old", "none"], "state": "absent"}`, "package old 0.9 is removed"},
		{"all upgraded", `{"upgrade": "yes"}`, "package tool 1.0-1 → 1.2-1"},
		{"all upgraded by a star", `{"name": "*", "state": "latest"}`, "package tool 1.0-1 → 1.2-1"},
		{"a file", `{"deb": "/srv/x.deb"}`, "package x 1.0 is installed"},
		{"lists are new enough", `{"name": "lib", "update_cache": true, "cache_valid_time": 86400}`, ""},
		{"lists that are not", `{"name": "lib", "update_cache": true}`, ""},
		{"a package of new lists", `{"name": "fresh", "update_cache": true}`, "package fresh is installed as the new package lists have it"},
		{"lists alone", `{"cache_valid_time": 600}`, "package lists are fetched"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := once(t, Apt(), c.args, newAptFake(t).Machine, modtest.Setup{Trips: 2, ActTrips: 6})
			equal(t, "differences", strings.Join(r.DiffNotes(), "; "), c.notes)
		})
	}
}

func TestAptMarksWhatIsWanted(t *testing.T) {
	a := newAptFake(t)
	a.auto["lib"] = true
	r := once(t, Apt(), `{"name": "lib"}`, a.Machine, modtest.Setup{Trips: 2})
	equal(t, "differences", strings.Join(r.DiffNotes(), "; "), "package lib is marked as wanted by itself")
	equal(t, "command", commands(a.Machine), "apt-mark manual lib")
}

func TestAptErrors(t *testing.T) {
	broken := newAptFake(t)
	broken.broken = true
	held := newAptFake(t)
	held.held = "tool"
	locked := newAptFake(t)
	locked.locked = 1 << 30
	modtest.Errors(t, Apt(), []modtest.ErrorCase{
		{Name: "unknown", Args: `{"name": "servr"}`, Host: newAptFake(t).Machine, Want: "there is no package servr; did you mean server?"},
		{Name: "unknown among known", Args: `{"name": ["lib", "zzzzz"]}`, Host: newAptFake(t).Machine, Want: "there is no package zzzzz; is the name right"},
		{Name: "no such version", Args: `{"name": "tool=9"}`, Host: newAptFake(t).Machine, Want: "package tool: Version '9' for 'tool' was not found; apt-cache policy tool"},
		{Name: "no later version", Args: `{"name": "tool>=2"}`, Host: newAptFake(t).Machine, Want: "package tool is there in version 1.2-1, not tool>=2"},
		{Name: "held", Args: `{"name": "tool", "state": "latest"}`, Host: held.Machine, Want: "allow_change_held_packages: true changes it"},
		{Name: "interrupted", Args: `{"name": "lib"}`, Host: broken.Machine, Want: "dpkg was interrupted before"},
		{Name: "locked", Args: `{"name": "new", "lock_timeout": 0}`, Host: locked.Machine, Want: "It is held by process 42 (apt)"},
		{Name: "pattern", Args: `{"name": "lib*"}`, Host: newAptFake(t).Machine, Want: "patterns are for state: absent"},
		{Name: "no package", Args: `{"deb": "/srv/none.deb"}`, Host: newAptFake(t).Machine, Want: "/srv/none.deb is no Debian package"},
		{Name: "address", Args: `{"deb": "https://example.org/x.deb"}`, Want: "get_url fetches from an address"},
		{Name: "two things", Args: `{"name": "a", "upgrade": "yes"}`, Want: "exclude each other"},
		{Name: "nothing", Args: `{}`, Want: "there is nothing to do"},
	})
}

func TestAptWaitsForTheLock(t *testing.T) {
	a := newAptFake(t)
	a.locked = 1
	p, err := modtest.Propose(t, Apt(), `{"name": "new", "lock_timeout": 30}`, a.Machine, modtest.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Do(t.Context(), a.Machine); err != nil {
		t.Fatal(err)
	}
	equal(t, "installed", a.installed["new"], "3.1")
}

// What new lists would bring is not known before they are fetched, and a real run then says what it was.
func TestNewestOfListsToFetch(t *testing.T) {
	a := newAptFake(t)
	const args = `{"name": "lib", "state": "latest", "update_cache": true}`
	layer := overlay.New(a.Machine, nil)
	p, err := modtest.Propose(t, Apt(), args, layer.Look(), modtest.Setup{})
	if err != nil || len(p.Diff) > 0 || p.Predicts != nil {
		t.Fatalf("proposal is %+v, %v", p, err)
	}
	if err := p.Do(t.Context(), layer.Act()); !errors.Is(err, modules.ErrUnpredicted) {
		t.Errorf("check mode says %v", err)
	}
	if p, err = modtest.Propose(t, Apt(), args, a.Machine, modtest.Setup{}); err != nil {
		t.Fatal(err)
	}
	if err := p.Do(t.Context(), a.Machine); err != nil {
		t.Fatal(err)
	}
	equal(t, "differences", strings.Join(modtest.Result{Proposal: p}.DiffNotes(), "; "), "package lib 1.0 → 1.1")
}

// A dry run that installs a package and removes it again knows both.
func TestCheckModeSeesNewPackages(t *testing.T) {
	a := newAptFake(t)
	layer := overlay.New(a.Machine, nil)
	for _, task := range []struct{ args, notes string }{
		{`{"name": "new"}`, "package new 3.1 is installed"}, {`{"name": "new", "state": "latest"}`, ""}, {`{"name": "new=3.*"}`, ""},
		{`{"name": "new", "state": "absent"}`, "package new 3.1 is removed"}, {`{"name": "new", "state": "absent"}`, ""},
	} {
		p, err := modtest.Propose(t, Package(), strings.Replace(task.args, `"name"`, `"use": "apt", "name"`, 1), layer.Look(), modtest.Setup{})
		if err != nil {
			t.Fatalf("%s: %v", task.args, err)
		}
		equal(t, task.args, strings.Join(modtest.Result{Proposal: p}.DiffNotes(), "; "), task.notes)
		layer.Predict(p.Predicts)
	}
}

func TestPackageFindsTheManager(t *testing.T) {
	r := once(t, Package(), `{"name": "new", "state": "installed"}`, newAptFake(t).Machine, modtest.Setup{Trips: 3, ActTrips: 4})
	equal(t, "differences", strings.Join(r.DiffNotes(), "; "), "package new 3.1 is installed")
	modtest.Errors(t, Package(), []modtest.ErrorCase{{Name: "none", Args: `{"name": "a"}`, Want: "none of apt-get, dnf and yum"}})
}
