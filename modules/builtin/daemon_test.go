package builtin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

// processes answers a machine's commands as its kernel and systemd would: it knows which processes run.
type processes struct {
	*modtest.Machine
	next    int
	dies    bool // a program that is started ends at once
	stays   bool // a program ignores its signal
	active  bool // the unit runs
	pid     int
	started []modules.Command
	systemd []string
}

const bootID = "5f5c2e1a-0000-4000-8000-000000000001"

func newProcesses() *processes {
	p := &processes{Machine: modtest.NewMachine("host1"), next: 100}
	p.Write("/proc/sys/kernel/random/boot_id", bootID+"\n").Mkdir("/proc/self").Write("/opt/app/bin/server", "program").Write("/var/log/app.log", "starting\nport 34601 is in use\n")
	p.OnRun = p.run
	return p
}

func (p *processes) run(_ context.Context, cmd modules.Command) (modules.Output, error) {
	switch {
	case cmd.Argv[0] == "tail":
		return modules.Output{Stdout: []byte(p.Content("/var/log/app.log"))}, nil
	case cmd.Argv[0] == "systemctl" && cmd.Argv[1] == "show":
		state := "inactive"
		if p.active {
			state = "active"
		}
		return modules.Output{Stdout: []byte(fmt.Sprintf("ActiveState=%s\nMainPID=%d\n", state, p.pid))}, nil
	case cmd.Argv[0] == "systemctl":
		p.systemd = append(p.systemd, strings.Join(cmd.Argv, " "))
		p.active, p.pid = false, 0
		return modules.Output{}, nil
	case strings.HasPrefix(cmd.Argv[2], "systemctl daemon-reload"):
		p.systemd = append(p.systemd, cmd.Argv[2])
		if strings.Contains(cmd.Argv[2], "start") {
			p.next++
			p.active, p.pid = !p.dies, p.next
		}
		return modules.Output{}, nil
	case cmd.Argv[2] == launch:
		return p.launch(cmd), nil
	case cmd.Argv[2] == end:
		if p.stays {
			return modules.Output{ExitCode: stillThere}, nil
		}
		p.Remove("/proc/" + cmd.Argv[3])
		return modules.Output{}, nil
	}
	return modules.Output{}, fmt.Errorf("unexpected command %q", cmd.Argv)
}

func (p *processes) launch(cmd modules.Command) modules.Output {
	p.started = append(p.started, cmd)
	p.next++
	stat := fmt.Sprintf("%d (server) S 1 %s %d 0 0", p.next, strings.Repeat("0 ", 17), 7000+p.next)
	p.Write(cmd.Argv[3]+".stat", stat+"\n"+p.Content("/proc/sys/kernel/random/boot_id")).Link(cmd.Argv[3]+".proc", fmt.Sprintf("/proc/%d", p.next))
	if !p.dies {
		p.Write(fmt.Sprintf("/proc/%d/stat", p.next), stat)
	}
	return modules.Output{PID: p.next}
}

const daemonTask = `{"name": "app", "exec": ["./server", "-x"], "chdir": "/opt/app/bin", "run_dir": "/run/app", "log": "/var/log/app.log",
  "environment": {"LD_LIBRARY_PATH": "/opt/app/bin"}, "stay_up": "10ms"%s}`

func task(more string) string { return fmt.Sprintf(daemonTask, more) }

// A start costs a look at what is there, files, the start itself and the watching.
var daemonTrips = modtest.Setup{ActTrips: 5}

func TestDaemonStartsOnce(t *testing.T) {
	host := newProcesses()
	result := modtest.Converge(t, Daemon(), task(""), host.Machine, daemonTrips)
	require.NoError(t, result.Err)
	require.Equal(t, []string{"daemon app is started"}, result.DiffNotes())
	require.Equal(t, "101", result.Get("pid"))
	require.Len(t, host.started, 1)
	cmd := host.started[0]
	require.True(t, cmd.Detach)
	require.Equal(t, "/opt/app/bin", cmd.Dir)
	require.Equal(t, "/var/log/app.log", cmd.Log)
	require.Equal(t, map[string]string{"LD_LIBRARY_PATH": "/opt/app/bin"}, cmd.Env)
	require.Equal(t, []string{"./server", "-x"}, cmd.Argv[len(cmd.Argv)-2:])
}

func TestDaemonTellsItsProcessFromAnother(t *testing.T) {
	for name, disguise := range map[string]func(*processes){
		"the id was used again":  func(p *processes) { p.Write("/proc/101/stat", "101 (other) S 1 "+strings.Repeat("0 ", 17)+"9999 0") },
		"the host was rebooted":  func(p *processes) { p.Write("/proc/sys/kernel/random/boot_id", "another\n") },
		"it is a zombie":         func(p *processes) { p.Write("/proc/101/stat", "101 (server) Z 1 "+strings.Repeat("0 ", 17)+"7101 0") },
		"it has ended":           func(p *processes) { p.Remove("/proc/101") },
		"the record is garbage":  func(p *processes) { p.Write("/run/app/app.stat", "what?") },
		"the record is half one": func(p *processes) { p.Write("/run/app/app.stat", "101 (server) S") },
	} {
		t.Run(name, func(t *testing.T) {
			host := newProcesses()
			require.NoError(t, modtest.Converge(t, Daemon(), task(""), host.Machine, daemonTrips).Err)
			disguise(host)
			result := modtest.Converge(t, Daemon(), task(""), host.Machine, daemonTrips)
			require.NoError(t, result.Err)
			require.Equal(t, "102", result.Get("pid"))
		})
	}
}

func TestDaemonStates(t *testing.T) {
	running := func(t *testing.T) *processes {
		host := newProcesses()
		require.NoError(t, modtest.Converge(t, Daemon(), task(`, "identity": "1"`), host.Machine, daemonTrips).Err)
		return host
	}
	for _, c := range []struct {
		name, args string
		repeats    bool
		notes      []string
		pid        string
	}{
		{"started leaves a running one", `, "identity": "2"`, false, []string{}, "101"},
		{"converged leaves the same one", `, "identity": "1", "state": "converged"`, false, []string{}, "101"},
		{"converged restarts another one", `, "identity": "2", "state": "converged"`, false, []string{"daemon app is restarted"}, "102"},
		{"restarted restarts", `, "identity": "1", "state": "restarted"`, true, []string{"daemon app is restarted"}, "102"},
		{"stopped stops", `, "state": "stopped"`, false, []string{"daemon app is stopped"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := running(t)
			setup := daemonTrips
			setup.Repeats = c.repeats
			result := modtest.Converge(t, Daemon(), task(c.args), host.Machine, setup)
			require.NoError(t, result.Err)
			require.Equal(t, c.notes, result.DiffNotes())
			require.Equal(t, c.pid, result.Get("pid"))
		})
	}
}

func TestDaemonFailures(t *testing.T) {
	t.Run("ends right after its start", func(t *testing.T) {
		host := newProcesses()
		host.dies = true
		result := modtest.Converge(t, Daemon(), task(""), host.Machine, modtest.Setup{ActTrips: -1})
		require.ErrorContains(t, result.Err, "app ended right after it was started")
		require.ErrorContains(t, result.Err, "port 34601 is in use")
	})
	t.Run("does not stop", func(t *testing.T) {
		host := newProcesses()
		require.NoError(t, modtest.Converge(t, Daemon(), task(""), host.Machine, daemonTrips).Err)
		host.stays = true
		result := modtest.Converge(t, Daemon(), task(`, "state": "stopped", "stop_timeout": 3`), host.Machine, daemonTrips)
		require.EqualError(t, result.Err, "app (process 101) still runs 3s after SIGTERM; give it more stop_timeout, or set kill: true")
	})
	t.Run("the program is missing", func(t *testing.T) {
		host := newProcesses()
		host.Remove("/opt/app/bin/server")
		_, err := modtest.Propose(t, Daemon(), task(""), host, modtest.Setup{})
		require.EqualError(t, err, "/opt/app/bin/server is not there (missing); install it first")
	})
	t.Run("a bad name", func(t *testing.T) {
		_, err := modtest.Propose(t, Daemon(), `{"name": "a b", "exec": ["/x"]}`, newProcesses(), modtest.Setup{})
		var wrong *modules.ArgumentError
		require.True(t, errors.As(err, &wrong))
		require.Equal(t, "name", wrong.Arg)
	})
}

func TestDaemonUnderSystemd(t *testing.T) {
	host := newProcesses()
	host.Mkdir("/run/systemd/system", "/etc/systemd/system")
	setup := modtest.Setup{ActTrips: 5, Trips: 2}
	unit := task(`, "nofile": 65536, "core": true, "user": "work"`)

	host.OnRun = func(ctx context.Context, cmd modules.Command) (modules.Output, error) {
		out, err := host.run(ctx, cmd)
		if !cmd.ReadOnly && strings.Contains(strings.Join(cmd.Argv, " "), "enable") {
			host.Link("/etc/systemd/system/multi-user.target.wants/app.service", "/etc/systemd/system/app.service")
		}
		return out, err
	}
	result := modtest.Converge(t, Daemon(), unit, host.Machine, setup)
	require.NoError(t, result.Err)
	require.Equal(t, `"systemd"`, result.Get("manager"))
	text := host.Content("/etc/systemd/system/app.service")
	for _, line := range []string{
		`ExecStart="/opt/app/bin/server" "-x"`, "WorkingDirectory=/opt/app/bin", `Environment="LD_LIBRARY_PATH=/opt/app/bin"`,
		"User=work", "LimitNOFILE=65536", "LimitCORE=infinity", "StandardOutput=append:/var/log/app.log", "SendSIGKILL=no",
	} {
		require.Contains(t, text, line+"\n")
	}
	require.Equal(t, []string{"systemctl daemon-reload && systemctl -q enable app.service && systemctl start app.service"}, host.systemd)

	stopped := modtest.Converge(t, Daemon(), task(`, "state": "stopped"`), host.Machine, setup)
	require.NoError(t, stopped.Err)
	require.Equal(t, "systemctl stop app.service", host.systemd[1])
}

func TestUnitWordsAreQuoted(t *testing.T) {
	require.Equal(t, `"50%% of $$HOME \"here\" \\n"`, unitWord(`50% of $HOME "here" \n`))
}
