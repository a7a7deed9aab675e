package builtin

import (
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

// change carries a task out and gives what it has kept of before.
func change(t *testing.T, m *modules.Module, args string, host modules.Host, setup modtest.Setup) any {
	t.Helper()
	p, err := modtest.Propose(t, m, args, host, setup)
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

// back puts back what a task has changed, and requires that there is nothing left to do then.
func back(t *testing.T, m *modules.Module, args string, before any, host modules.Host, setup modtest.Setup) *modules.Proposal {
	t.Helper()
	p, err := modtest.Restore(t, m, args, before, host, setup)
	if err != nil {
		t.Fatal(err)
	}
	if p.Do == nil {
		return p
	}
	if err := p.Do(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	if again, err := modtest.Restore(t, m, args, before, host, setup); err != nil || len(again.Diff) > 0 && !strings.Contains(args, "restarted") {
		t.Errorf("once more it proposes %v, %v", again.Diff, err)
	}
	return p
}

func TestInstallPkgIsTakenBack(t *testing.T) {
	host := machine().Mkdir("/opt")
	first := change(t, InstallPkg(), installArgs("1.0", ""), host, packages())
	host.Remove("/opt/p/current").Link("/opt/p/current", "releases/1.0")
	link := host.File("/opt/p/current")
	second := change(t, InstallPkg(), installArgs("2.0", `, "owner": "app"`), host, packages())
	equal(t, "link", host.File("/opt/p/current").Target, "releases/2.0")

	p := back(t, InstallPkg(), installArgs("2.0", `, "owner": "app"`), second, host, packages())
	now := host.File("/opt/p/current")
	equal(t, "link that was there before", now.Target, link.Target)
	equal(t, "its owner", now.UID, link.UID)
	equal(t, "message", p.Message, "release 2.0 stays installed")
	equal(t, "differences", len(back(t, InstallPkg(), installArgs("2.0", ""), nil, host, packages()).Diff), 0)

	back(t, InstallPkg(), installArgs("1.0", ""), first, host, packages())
	equal(t, "link where there was none", host.File("/opt/p/current").Kind, modules.Missing)
	equal(t, "release", host.File("/opt/p/releases/1.0").Kind, modules.Directory)
}

func TestInstallPkgCannotGoBackToAReleaseThatIsGone(t *testing.T) {
	host := machine().Mkdir("/opt")
	change(t, InstallPkg(), installArgs("1.0", ""), host, packages())
	before := change(t, InstallPkg(), installArgs("2.0", ""), host, packages())
	host.Remove("/opt/p/releases/1.0")
	_, err := modtest.Restore(t, InstallPkg(), installArgs("2.0", ""), before, host, packages())
	if err == nil || !strings.Contains(err.Error(), "release 1.0, which was the current one, is not in /opt/p/releases any more; install it again") {
		t.Errorf("error is %v", err)
	}
	equal(t, "link", host.File("/opt/p/current").Target, "releases/2.0")
}

func TestSeveralTasksAreAboutOneThing(t *testing.T) {
	about := func(m *modules.Module, args string) string { return m.About([]byte(args)) }
	equal(t, "package", about(InstallPkg(), installArgs("1.0", "")), about(InstallPkg(), `{"dest": "/opt/p/", "version": "2.0"}`))
	equal(t, "unit", about(Systemd(), `{"name": "x"}`), about(Service(), `{"name": "x.service", "state": "started"}`))
	equal(t, "units of users", about(Systemd(), `{"name": "x", "scope": "user"}`), "")
	equal(t, "units read again", about(Systemd(), `{"daemon_reload": true}`), "")
}

func TestUnitsAreTakenBack(t *testing.T) {
	type unit struct{ state, enabled, load string }
	cases := []struct {
		name, args  string
		was         unit
		since       func(*systemd) // what happens between
		later       bool
		want, verbs string // verbs of the way back
	}{
		{name: "started and enabled", args: `{"name": "x", "state": "started", "enabled": true}`, was: unit{"inactive", "disabled", "loaded"}, want: "inactive disabled", verbs: "disable,stop"},
		{name: "enabled alone", args: `{"name": "x", "state": "started", "enabled": true}`, was: unit{"active", "disabled", "loaded"}, want: "active disabled", verbs: "disable"},
		{name: "stopped and disabled", args: `{"name": "x", "state": "stopped", "enabled": false}`, was: unit{"active", "enabled", "loaded"}, want: "active enabled", verbs: "enable,start"},
		{name: "restarted what ran", args: `{"name": "x", "state": "restarted"}`, was: unit{"active", "enabled", "loaded"}, want: "active enabled", verbs: "restart"},
		{name: "restarted what did not run", args: `{"name": "x", "state": "restarted"}`, was: unit{"inactive", "enabled", "loaded"}, want: "inactive enabled", verbs: "stop"},
		{name: "masked", args: `{"name": "x", "masked": true, "state": "stopped"}`, was: unit{"active", "disabled", "loaded"}, want: "active disabled", verbs: "unmask,start"},
		{name: "unmasked and started", args: `{"name": "x", "masked": false, "state": "started"}`, was: unit{"inactive", "masked", "masked"}, want: "inactive masked", verbs: "stop,mask"},
		{name: "somebody has stopped it already", args: `{"name": "x", "state": "started"}`, was: unit{"inactive", "disabled", "loaded"},
			since: func(s *systemd) { s.state = "inactive" }, want: "inactive disabled"},
		{name: "its file is gone, and it runs", args: `{"name": "x", "state": "started", "enabled": true}`, was: unit{"inactive", "disabled", "loaded"},
			since: func(s *systemd) { s.load, s.enabled, s.linked = "not-found", "", true }, want: "inactive disabled", verbs: "disable,stop"},
		{name: "its file is gone, and it stands still", args: `{"name": "x", "state": "started", "enabled": true}`, was: unit{"inactive", "disabled", "loaded"},
			since: func(s *systemd) { s.load, s.enabled, s.state = "not-found", "", "inactive" }, want: "inactive "},
		{name: "a later task starts it", args: `{"name": "x", "state": "stopped"}`, was: unit{"active", "enabled", "loaded"}, later: true,
			since: func(s *systemd) { s.state = "active" }, want: "inactive enabled", verbs: "stop"},
	}
	for _, c := range cases {
		for _, m := range []*modules.Module{Systemd(), Service()} {
			t.Run(m.Name+" "+c.name, func(t *testing.T) {
				s := newSystemd(c.was.state, c.was.enabled)
				s.load = c.was.load
				before := change(t, m, c.args, s.Machine, modtest.Setup{})
				if c.since != nil {
					c.since(s)
				}
				s.verbs = nil
				back(t, m, c.args, before, s.Machine, modtest.Setup{Later: c.later})
				equal(t, "verbs", strings.Join(s.verbs, ","), c.verbs)
				equal(t, "unit", s.state+" "+s.enabled, c.want)
			})
		}
	}
}

// A unit that ran before and whose file is gone cannot be started, and one that the run has not touched is left alone.
func TestUnitsThatCannotBeTakenBack(t *testing.T) {
	s := newSystemd("active", "enabled")
	before := change(t, Systemd(), `{"name": "x", "state": "stopped"}`, s.Machine, modtest.Setup{})
	s.load = "not-found"
	if _, err := modtest.Restore(t, Systemd(), `{"name": "x", "state": "stopped"}`, before, s.Machine, modtest.Setup{}); err == nil || !strings.Contains(err.Error(), "there is no unit x.service on the host") {
		t.Errorf("error is %v", err)
	}
	s = newSystemd("inactive", "disabled")
	p := back(t, Systemd(), `{"name": "x", "state": "started", "enabled": true, "masked": true}`, nil, s.Machine, modtest.Setup{})
	equal(t, "differences", len(p.Diff), 0)
	p = back(t, Systemd(), `{"name": "x", "state": "restarted", "enabled": true}`, nil, s.Machine, modtest.Setup{})
	equal(t, "restarted all the same", strings.Join(s.verbs, ","), "restart")
	equal(t, "differences", len(p.Diff), 1)
}
