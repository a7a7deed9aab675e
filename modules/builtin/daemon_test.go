package builtin

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/modules/overlay"
)

// kernel is a machine that runs processes: files below /proc, and the few commands that daemon uses.
type kernel struct {
	*modtest.Machine
	next     int
	ticks    int
	dies     bool // a program that is started ends at once
	stubborn bool // a program ends only when it is killed
	signals  []string
	verbs    []string
	main     int // of the unit
	started  []modules.Command
}

const program = "/opt/app/bin/server"

func newKernel() *kernel {
	k := &kernel{Machine: machine().Write(program, "program").Chmod(program, 0o755, "").Mkdir("/run", "/etc/systemd/system", "/proc/self").
		Write(bootID, "boot-1\n"), next: 100, ticks: 5000}
	k.OnRun = k.run
	return k
}

// withSystemd makes it a machine that systemd has booted.
func (k *kernel) withSystemd() *kernel {
	k.Mkdir("/run/systemd/system")
	return k
}

// spawn makes a process.
func (k *kernel) spawn(argv []string) int {
	k.next++
	k.ticks += 100
	dir := "/proc/" + strconv.Itoa(k.next)
	if k.dies {
		return k.next
	}
	k.Write(dir+"/stat", fmt.Sprintf("%d (a ) name) S 1 %s%d 0 0", k.next, strings.Repeat("0 ", 17), k.ticks))
	k.Write(dir+"/cmdline", strings.Join(argv, "\x00")+"\x00").Link(dir+"/exe", program)
	return k.next
}

func (k *kernel) run(_ context.Context, cmd modules.Command) (modules.Output, error) {
	argv := cmd.Argv
	switch {
	case argv[0] == "tail":
		from, _ := strconv.Atoi(strings.TrimPrefix(argv[2], "+"))
		return modules.Output{Stdout: []byte(k.Content(argv[3])[from-1:])}, nil
	case argv[0] == "systemctl":
		return k.systemctl(argv[1:])
	case argv[2] == launch:
		k.started = append(k.started, cmd)
		pid := k.spawn(argv[7:])
		k.Link(argv[4], "/proc/"+strconv.Itoa(pid)).Write(argv[5], strconv.Itoa(pid)+"\n")
		k.Write(cmd.Log, k.Content(cmd.Log)+"starting\nport 34601 is in use\n")
		return modules.Output{PID: pid}, nil
	case strings.HasPrefix(argv[2], "kill"):
		k.signals = append(k.signals, argv[4])
		if !k.stubborn || argv[4] == "KILL" {
			k.Remove("/proc/" + argv[5])
		}
		return modules.Output{}, nil
	case argv[3] == "sh": // several verbs
		for _, verb := range argv[6:] {
			if _, err := k.systemctl(append(strings.Fields(verb), argv[4])); err != nil {
				return modules.Output{}, err
			}
		}
		return modules.Output{}, nil
	}
	return modules.Output{}, fmt.Errorf("unexpected command %q", argv)
}

func (k *kernel) systemctl(argv []string) (modules.Output, error) {
	if argv[0] == "show" {
		state := "inactive"
		if k.main != 0 {
			state = "active"
		}
		return modules.Output{Stdout: []byte(fmt.Sprintf("ActiveState=%s\nMainPID=%d\n", state, k.main))}, nil
	}
	k.verbs = append(k.verbs, argv[0])
	switch argv[0] {
	case "start":
		k.main = k.spawn([]string{program, "-x"})
		if k.dies {
			k.main = 0
		}
	case "stop":
		k.Remove("/proc/" + strconv.Itoa(k.main))
		k.main = 0
	}
	return modules.Output{}, nil
}

func daemonTask(more string) string {
	return `{"name": "app", "exec": ["./server", "-x"], "chdir": "/opt/app/bin", "run_dir": "/run/app", "wait": 0.02, "environment": {"LD_LIBRARY_PATH": "/opt/app/bin"}` + more + `}`
}

// anyTrips is for tasks that start or stop something: they watch it, as often as it takes.
func anyTrips() modtest.Setup { return modtest.Setup{ActTrips: -1} }

func TestDaemonStartsOnce(t *testing.T) {
	k := newKernel()
	r := once(t, Daemon(), daemonTask(`, "identity": "v1", "limits": {"nofile": 65536, "core": "unlimited"}`), k.Machine, anyTrips())
	equal(t, "differences", strings.Join(r.DiffNotes(), "; "), "app is started")
	for field, want := range map[string]string{"pid": "101", "previous_pid": "0", "state": `"running"`, "manager": `"detached"`, "identity": `"v1"`, "log": `"/run/app/app.log"`} {
		equal(t, field, r.Get(field), want)
	}
	cmd := k.started[0]
	if !cmd.Detach || cmd.Dir != "/opt/app/bin" || cmd.Log != "/run/app/app.log" || !maps.Equal(cmd.Env, map[string]string{"LD_LIBRARY_PATH": "/opt/app/bin"}) ||
		!slices.Equal(cmd.Argv[6:], []string{"c=unlimited n=65536", "./server", "-x"}) {
		t.Errorf("it ran %+v", cmd)
	}
	equal(t, "pid file", k.Content("/run/app/app.pid"), "101\n")
	equal(t, "programs started", len(k.started), 1)
}

// restartCutOff is a restart during which pegbook is killed: what it had started is not restarted again.
func restartCutOff(t *testing.T, host modules.Host, args string) {
	t.Helper()
	p, err := modtest.Propose(t, Daemon(), args+`, "identity": "v0"}`, host, modtest.Setup{Begun: &modules.Begun{}})
	if err != nil || len(p.Diff) != 1 || p.Mark == "" {
		t.Fatalf("nothing is known of what ran before, so it is restarted: %+v, %v", p, err)
	}
	before := *p
	setup := modtest.Setup{Begun: &modules.Begun{Mark: p.Mark}}
	if p, err = modtest.Propose(t, Daemon(), args+`, "identity": "v1"}`, host, setup); err != nil || len(p.Diff) != 1 {
		t.Fatalf("the old process still runs, so it is restarted: %+v, %v", p, err)
	}
	if err := before.Do(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	if p, err = modtest.Propose(t, Daemon(), args+`, "identity": "v0"}`, host, setup); err != nil || len(p.Diff) != 0 {
		t.Fatalf("it was restarted and written down: %+v, %v", p, err)
	}
	if p, err = modtest.Propose(t, Daemon(), args+`, "identity": "v1"}`, host, setup); err != nil || len(p.Diff) != 1 || !strings.Contains(p.Diff[0].Note, "is written down") {
		t.Fatalf("it was restarted, and not written down: %+v, %v", p, err)
	}
	mark := p.Mark
	if err := p.Do(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	if p, err = modtest.Propose(t, Daemon(), args+`, "identity": "v1"}`, host, setup); err != nil || len(p.Diff) != 0 || p.Mark != mark {
		t.Fatalf("it is the same process, written down: %+v, %v", p, err)
	}
}

func TestDaemonStates(t *testing.T) {
	cases := []struct {
		name, more string
		repeats    bool
		notes      string
		pid        string
		signals    string
	}{
		{"started leaves it alone", `, "identity": "v2"`, false, "", "101", ""},
		{"converged with the same", `, "state": "converged", "identity": "v1"`, false, "", "101", ""},
		{"converged with another", `, "state": "converged", "identity": "v2"`, false, "app is restarted, pid 101, because its identity differs", "102", "TERM"},
		{"restarted", `, "state": "restarted", "identity": "v1", "stop_signal": "SIGINT"`, true, "app is restarted, pid 101", "102", "INT"},
		{"stopped", `, "state": "stopped"`, false, "app is stopped, pid 101", "0", "TERM"},
	}
	for _, c := range cases {
		for _, manager := range []string{"detached", "systemd"} {
			t.Run(c.name+" "+manager, func(t *testing.T) {
				k := newKernel()
				more := fmt.Sprintf(`, "manager": %q`, manager)
				if manager == "systemd" && strings.Contains(c.more, "stop_signal") {
					more += `, "stop_signal": "SIGINT"` // part of the unit's file
				}
				once(t, Daemon(), daemonTask(more+`, "identity": "v1"`), k.Machine, trips(2))
				k.verbs = nil
				setup := trips(2)
				setup.Repeats = c.repeats
				r := once(t, Daemon(), daemonTask(fmt.Sprintf(`, "manager": %q`, manager)+c.more), k.Machine, setup)
				equal(t, "differences", strings.Join(r.DiffNotes(), "; "), c.notes)
				equal(t, "pid", r.Get("pid"), c.pid)
				equal(t, "previous_pid", r.Get("previous_pid"), "101")
				if manager == "detached" {
					equal(t, "signals", strings.Join(k.signals, ","), c.signals)
				}
				if r.Unknown {
					t.Error("check mode does not know the outcome")
				}
			})
		}
	}
}

// trips is for systemd, which is asked in a round trip of its own.
func trips(n int) modtest.Setup { return modtest.Setup{ActTrips: -1, Trips: n} }

func TestDaemonNeverTakesAnotherProcessForItsOwn(t *testing.T) {
	cases := map[string]func(k *kernel){
		"it has ended": func(k *kernel) { k.Remove("/proc/101") },
		"its number was given away": func(k *kernel) {
			k.Write("/proc/101/stat", "101 (other) S 1 "+strings.Repeat("0 ", 17)+"9999 0").Write("/proc/101/cmdline", "/bin/other\x00")
		},
		"the host was started again": func(k *kernel) { k.Write(bootID, "boot-2").Write("/proc/101/cmdline", "/bin/other\x00") },
		"it waits to be collected": func(k *kernel) {
			k.Write("/proc/101/stat", "101 (server) Z 1 "+strings.Repeat("0 ", 17)+"5100 0")
		},
	}
	for name, disguise := range cases {
		t.Run(name, func(t *testing.T) {
			k := newKernel()
			once(t, Daemon(), daemonTask(""), k.Machine, anyTrips())
			disguise(k)
			r := once(t, Daemon(), daemonTask(`, "state": "stopped"`), k.Machine, anyTrips())
			equal(t, "differences", len(r.Diff), 0)
			r = once(t, Daemon(), daemonTask(""), k.Machine, anyTrips())
			equal(t, "pid", r.Get("pid"), "102")
			equal(t, "signals", len(k.signals), 0)
		})
	}
}

func TestDaemonFindsAProcessThatWasNotWrittenDown(t *testing.T) {
	k := newKernel()
	once(t, Daemon(), daemonTask(`, "identity": "v1"`), k.Machine, anyTrips())
	// The connection broke between the start and the record: a pid file and a link are all there is.
	k.Remove("/run/app/app.json")
	r := once(t, Daemon(), daemonTask(`, "identity": "v1"`), k.Machine, anyTrips())
	equal(t, "differences", len(r.Diff), 0)
	equal(t, "pid", r.Get("pid"), "101")
	r = once(t, Daemon(), daemonTask(`, "identity": "v1", "state": "converged"`), k.Machine, anyTrips())
	equal(t, "pid", r.Get("pid"), "102")
}

func TestDaemonThatDoesNotStop(t *testing.T) {
	k := newKernel()
	once(t, Daemon(), daemonTask(""), k.Machine, anyTrips())
	k.stubborn = true
	modtest.Errors(t, Daemon(), []modtest.ErrorCase{{Name: "not killed", Host: k.Machine, Want: "is still there 50ms after TERM; kill: true would kill it",
		Args: daemonTask(`, "state": "stopped", "stop_timeout": 0.05`)}})
	r := once(t, Daemon(), daemonTask(`, "state": "stopped", "stop_timeout": 0.05, "kill": true`), k.Machine, anyTrips())
	equal(t, "signals", strings.Join(k.signals, ","), "TERM,TERM,KILL")
	equal(t, "state", r.Get("state"), `"stopped"`)
	equal(t, "pid file", k.File("/run/app/app.pid").Kind, modules.Missing)
}

func TestDaemonErrors(t *testing.T) {
	dying := newKernel()
	dying.dies = true
	dying.Write("/run/app/app.log", "an old line\n")
	modtest.Errors(t, Daemon(), []modtest.ErrorCase{
		{Name: "ends at once", Args: daemonTask(""), Host: dying.Machine, Want: "it ended right after it was started; its log is /run/app/app.log\nits last words:\n  starting\n  port 34601 is in use"},
		{Name: "no program", Args: daemonTask(""), Host: newKernel().Remove(program), Want: "there is no such program"},
		{Name: "program without x", Args: daemonTask(""), Host: newKernel().Chmod(program, 0o644, ""), Want: "has no x"},
		{Name: "no folder", Args: daemonTask(""), Host: newKernel().Remove("/opt"), Want: "there is no such folder"},
		{Name: "no exec", Args: `{"name": "x", "run_dir": "/run/x"}`, Want: "exec is missing"},
		{Name: "no identity", Args: daemonTask(`, "state": "converged"`), Want: "needs an identity"},
		{Name: "name leads out", Args: `{"name": "../x", "run_dir": "/run", "exec": ["x"]}`, Want: `name is "../x"`},
		{Name: "no such limit", Args: daemonTask(`, "limits": {"files": 1}`), Want: "the limits are core, memlock, nofile, stack"},
		{Name: "bad limit", Args: daemonTask(`, "limits": {"nofile": "1; rm -rf /"}`), Want: "write a number or unlimited"},
		{Name: "bad signal", Args: daemonTask(`, "stop_signal": "TERM 1"`), Want: "write a name such as TERM"},
		{Name: "user without systemd", Args: daemonTask(`, "user": "app"`), Host: newKernel().Machine, Want: "use become_user"},
		{Name: "damaged record", Args: daemonTask(""), Host: newKernel().Write("/run/app/app.json", "{"), Want: "is damaged"},
		{Name: "no systemd", Args: daemonTask(`, "manager": "systemd"`), Host: machine(), Want: "systemd does not run on the host"},
	})
	if strings.Contains(dying.Content("/run/app/app.log"), "an old line") == false {
		t.Error("the log was not added to")
	}
}

func TestDaemonUnderSystemd(t *testing.T) {
	k := newKernel().withSystemd()
	task := daemonTask(`, "user": "pegasus", "limits": {"core": "unlimited"}, "kill": true, "enabled": true, "log": "/var/log/100%.log"`)
	r := modtest.Converge(t, Daemon(), strings.Replace(task, `, "enabled": true`, "", 1), k.Machine, trips(2))
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	equal(t, "manager", r.Get("manager"), `"systemd"`)
	equal(t, "verbs", strings.Join(k.verbs, ","), "daemon-reload,start")
	want := `# Written by pegbook; changes are overwritten.
[Unit]
Description=app
After=network-online.target
Wants=network-online.target

[Service]
Type=simple
ExecStart="/opt/app/bin/server" "-x"
WorkingDirectory=/opt/app/bin
User=pegasus
Environment="LD_LIBRARY_PATH=/opt/app/bin"
LimitCORE=infinity
StandardOutput=append:/var/log/100%%.log
StandardError=inherit
KillSignal=SIGTERM
TimeoutStopSec=30s
SendSIGKILL=yes
Restart=no

[Install]
WantedBy=multi-user.target
`
	equal(t, "unit", k.Content("/etc/systemd/system/app.service"), want)
	// The unit is started by somebody else: its process is new and what it is in step with unknown.
	k.Remove("/proc/" + strconv.Itoa(k.main))
	k.main = k.spawn([]string{program, "-x"})
	r = once(t, Daemon(), strings.Replace(task, `, "enabled": true`, `, "state": "converged", "identity": "v1"`, 1), k.Machine, trips(2))
	equal(t, "verbs", strings.Join(k.verbs, ","), "daemon-reload,start,stop,start")
}

func TestUnitQuoting(t *testing.T) {
	a := daemonArgs{Exec: []string{"/bin/x", `a "b" \ $HOME 100%`}}
	if text := a.unitText(); !strings.Contains(text, `ExecStart="/bin/x" "a \"b\" \\ $$HOME 100%%"`) {
		t.Errorf("unit is\n%s", text)
	}
}

func TestDaemonLooksAheadInCheckMode(t *testing.T) {
	k := newKernel()
	layer := overlay.New(k.Remove(program), nil)
	if _, err := modtest.Propose(t, Daemon(), daemonTask(""), layer.Look(), modtest.Setup{}); err == nil {
		t.Fatal("a program that is not there can be started")
	}
	mode := uint32(0o755)
	err := layer.Act().Apply(t.Context(), modules.Change{Kind: modules.WriteFile, Path: program, Content: modules.Bytes("p", []byte("p")), Attributes: modules.Attributes{Mode: &mode}})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ more, notes string }{
		{`, "identity": "v1"`, "app is started"},
		{`, "identity": "v1"`, ""},
		{`, "identity": "v2", "state": "converged"`, "app is restarted, pid 0, because its identity differs"},
		{`, "state": "stopped"`, "app is stopped, pid 0"},
		{`, "state": "stopped"`, ""},
	} {
		p, err := modtest.Propose(t, Daemon(), daemonTask(step.more), layer.Look(), modtest.Setup{})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "after "+step.more, strings.Join(modtest.Result{Proposal: p}.DiffNotes(), "; "), step.notes)
		layer.Predict(p.Predicts)
	}
	equal(t, "programs started", len(k.started), 0)
}

// TestDaemonWithRealProcesses runs a shell script on this machine through the real helper.
func TestDaemonWithRealProcesses(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs Linux's /proc")
	}
	dir := t.TempDir()
	script := "#!/bin/sh\necho \"value $VALUE limit $(ulimit -n)\"\ntrap 'echo bye; exit 0' TERM\nwhile :; do sleep 0.05; done\n"
	if err := os.WriteFile(filepath.Join(dir, "server"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	host := thisMachine(t)
	run := func(more string) (daemonState, error) {
		t.Helper()
		args := fmt.Sprintf(`{"name": "app", "exec": ["./server", "arg"], "chdir": %q, "run_dir": %q, "manager": "detached", "wait": 0.3,
			"environment": {"VALUE": "42"}, "limits": {"nofile": "100"}%s}`, dir, dir+"/run", more)
		p, err := modtest.Propose(t, Daemon(), args, host, modtest.Setup{})
		if err == nil && p.Do != nil {
			ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
			defer stop()
			err = p.Do(ctx, host)
		}
		if err != nil {
			return daemonState{}, err
		}
		raw, _ := json.Marshal(p.Output)
		var state daemonState
		return state, json.Unmarshal(raw, &state)
	}
	defer run(`, "state": "stopped", "kill": true`)
	first, err := run("")
	if err != nil || first.PID == 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := run("")
	if err != nil || again.PID != first.PID {
		t.Errorf("a second run gives %+v, %v", again, err)
	}
	restarted, err := run(`, "state": "restarted"`)
	if err != nil || restarted.PID == first.PID || restarted.PreviousPID != first.PID {
		t.Errorf("a restart gives %+v, %v", restarted, err)
	}
	if err := os.Remove(filepath.Join(dir, "run/app.json")); err != nil {
		t.Fatal(err)
	}
	if found, err := run(""); err != nil || found.PID != restarted.PID {
		t.Errorf("without its record it is %+v, %v", found, err)
	}
	restartCutOff(t, host, fmt.Sprintf(`{"name": "app", "exec": ["./server", "arg"], "chdir": %q, "run_dir": %q, "manager": "detached", "wait": 0.1, "state": "restarted",
		"environment": {"VALUE": "42"}, "limits": {"nofile": "100"}`, dir, dir+"/run"))
	if stopped, err := run(`, "state": "stopped"`); err != nil || stopped.State != "stopped" {
		t.Errorf("a stop gives %+v, %v", stopped, err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", restarted.PID)); err == nil {
		t.Errorf("pid %d is still there", restarted.PID)
	}
	log, _ := os.ReadFile(filepath.Join(dir, "run/app.log"))
	equal(t, "log", string(log), strings.Repeat("value 42 limit 100\nbye\n", 3))
	if err := os.WriteFile(filepath.Join(dir, "server"), []byte("#!/bin/sh\necho no disk\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := run(""); err == nil || !strings.Contains(err.Error(), "its last words:\n  no disk") {
		t.Errorf("a program that ends gives %v", err)
	}
}
