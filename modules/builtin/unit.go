package builtin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// unitDir is where units that the administrator makes are.
const unitDir = "/etc/systemd/system/"

// systemdManager runs a daemon as a unit of systemd.
type systemdManager struct {
	d       *daemon
	unit    unit
	text    string
	file    modules.File // the unit's file as it is
	enable  string       // verb, or empty
	differs bool         // the unit's file
}

// newSystemdManager asks systemd about the unit and corrects what was seen: systemd knows which process
// it has started, whatever the record says.
func newSystemdManager(ctx context.Context, host modules.Host, d *daemon, s *sight) (*systemdManager, error) {
	m := &systemdManager{d: d, text: d.unitText(), file: s.unit, unit: unit{name: d.Name + ".service"}}
	out, err := host.Run(ctx, modules.Command{ReadOnly: true,
		Argv: []string{"systemctl", "show", "--property=" + unitProperties, "--", m.unit.name}})
	if err != nil {
		return nil, notSystemd(err)
	}
	m.unit.properties = readProperties(out.Stdout)
	s.running = m.unit.active()
	if pid, _ := strconv.Atoi(m.unit.properties["MainPID"]); !s.running || pid != s.pid {
		s.process, s.identity, s.record = process{pid: pid}, "", record{}
	}
	return m, nil
}

// propose adds the differences of the unit's file, and of whether it is enabled.
func (m *systemdManager) propose(host modules.Host, p *modules.Proposal) {
	predicted, _ := host.Predicted(m.d.key("unit"))
	if m.d.State != "stopped" && string(m.file.Content) != m.text && predicted != m.text {
		m.differs = true
		note := "unit file differs"
		if m.file.Kind == modules.Missing {
			note = "unit file is written"
		}
		p.Diff = append([]modules.Diff{{Subject: m.path(), Before: string(m.file.Content), After: m.text, Note: note}}, p.Diff...)
	}
	if want := m.d.Enabled; want != nil && *want != m.unit.enabled() {
		m.enable = map[bool]string{true: "enable", false: "disable"}[*want]
		p.Diff = append(p.Diff, modules.Diff{Subject: m.unit.name, Note: "is " + m.enable + "d"})
	}
}

func (m *systemdManager) path() string { return unitDir + m.unit.name }

// prepare writes the unit's file and sets whether it is enabled.
func (m *systemdManager) prepare(ctx context.Context, host modules.Host) error {
	var verbs []string
	if m.differs {
		err := host.Apply(ctx, modules.Change{Kind: modules.WriteFile, Path: m.path(), Content: modules.Bytes(m.path(), []byte(m.text))})
		if err != nil {
			return err
		}
		verbs = append(verbs, reloadUnits)
	}
	if m.enable != "" {
		verbs = append(verbs, m.enable)
	}
	if len(verbs) == 0 {
		return nil
	}
	return runVerbs(ctx, host, []string{"systemctl"}, m.unit.name, verbs)
}

func (m *systemdManager) start(ctx context.Context, host modules.Host, _ *daemon) (int, error) {
	if err := runVerbs(ctx, host, []string{"systemctl"}, m.unit.name, []string{"start"}); err != nil {
		return 0, err
	}
	out, err := host.Run(ctx, modules.Command{ReadOnly: true, Argv: []string{"systemctl", "show", "--property=MainPID", "--", m.unit.name}})
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(readProperties(out.Stdout)["MainPID"])
	if err != nil || pid == 0 {
		return 0, errEnded
	}
	return pid, nil
}

func (m *systemdManager) stop(ctx context.Context, host modules.Host, d *daemon, p process) error {
	if err := runVerbs(ctx, host, []string{"systemctl"}, m.unit.name, []string{"stop"}); err != nil {
		return err
	}
	now, _, err := lookProcess(ctx, host, p.pid)
	if err != nil {
		return err
	}
	if p.start != 0 && now.alive && now.start == p.start {
		return fmt.Errorf("%s, pid %d, is still there %s after %s; kill: true would kill it", d.Name, p.pid, d.StopTimeout, d.StopSignal)
	}
	return nil
}

// unitText is the unit's file. systemd does not restart the program by itself: whether a server that
// died may come back at once is the operator's decision.
func (a daemonArgs) unitText() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Written by pegbook; changes are overwritten.")
	line("[Unit]\nDescription=%s\nAfter=network-online.target\nWants=network-online.target\n", specifiers(a.Name))
	line("[Service]\nType=simple")
	words := make([]string, len(a.Exec))
	for i, word := range a.Exec {
		if i == 0 && a.program() != "" {
			word = a.program()
		}
		words[i] = unitQuote(strings.ReplaceAll(word, "$", "$$"))
	}
	line("ExecStart=%s", strings.Join(words, " "))
	if a.Chdir != "" {
		line("WorkingDirectory=%s", specifiers(a.Chdir))
	}
	if a.User != "" {
		line("User=%s", specifiers(a.User))
	}
	for _, name := range slices.Sorted(maps.Keys(a.Environment)) {
		line("Environment=%s", unitQuote(name+"="+a.Environment[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(a.Limits)) {
		line("Limit%s=%s", strings.ToUpper(name), strings.ReplaceAll(a.Limits[name], "unlimited", "infinity"))
	}
	line("StandardOutput=append:%s\nStandardError=inherit", specifiers(a.Log))
	line("KillSignal=SIG%s\nTimeoutStopSec=%gs", strings.TrimPrefix(a.StopSignal, "SIG"), a.StopTimeout.Seconds())
	line("SendSIGKILL=%s\nRestart=no\n", map[bool]string{true: "yes", false: "no"}[a.Kill])
	line("[Install]\nWantedBy=multi-user.target")
	return b.String()
}

func specifiers(text string) string { return strings.ReplaceAll(text, "%", "%%") }

// unitQuote quotes one word for a unit's file.
func unitQuote(word string) string {
	word = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(specifiers(word))
	return `"` + word + `"`
}
