package builtin

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// lookUnit asks systemd for what only systemd knows.
func (d *daemon) lookUnit(ctx context.Context, host modules.Host) error {
	if d.found.unit == "" {
		return nil // a unit that has no file yet does not run
	}
	out, err := host.Run(ctx, modules.Command{ReadOnly: true,
		Argv: []string{"systemctl", "show", d.unitName(), "--property=ActiveState,MainPID"}})
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out.Stdout)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "ActiveState":
			d.found.running = slices.Contains([]string{"active", "activating", "reloading"}, value)
		case "MainPID":
			d.found.pid, err = strconv.Atoi(value)
		}
	}
	return err
}

// unit renders the unit file. It restarts nothing by itself: who comes back when is an operator's
// decision, and a server that dies at start would be banned by its cluster for coming back too often.
func (d *daemon) unit() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by pegbook; changes made here are lost.\n[Unit]\nDescription=%s\nAfter=network-online.target\nWants=network-online.target\n\n[Service]\nType=exec\n", d.args.Name)
	fmt.Fprintf(&b, "WorkingDirectory=%s\nExecStart=%s", unitPath(d.args.Chdir), unitWord(d.program))
	for _, arg := range d.args.Exec[1:] {
		b.WriteString(" " + unitWord(arg))
	}
	b.WriteString("\n")
	if d.args.User != "" {
		fmt.Fprintf(&b, "User=%s\n", d.args.User)
	}
	for _, name := range sortedNames(d.args.Environment) {
		fmt.Fprintf(&b, "Environment=%s\n", unitWord(name+"="+d.args.Environment[name]))
	}
	if d.args.Nofile > 0 {
		fmt.Fprintf(&b, "LimitNOFILE=%d\n", d.args.Nofile)
	}
	if d.args.Core {
		b.WriteString("LimitCORE=infinity\n")
	}
	if d.args.Log != "" {
		fmt.Fprintf(&b, "StandardOutput=append:%s\nStandardError=append:%s\n", unitPath(d.args.Log), unitPath(d.args.Log))
	}
	fmt.Fprintf(&b, "KillSignal=SIG%s\nTimeoutStopSec=%d\nSendSIGKILL=%s\nRestart=no\n", strings.TrimPrefix(d.args.StopSignal, "SIG"),
		max(1, int(d.args.StopTimeout/time.Second)), yesNo(d.args.Kill))
	b.WriteString("\n[Install]\nWantedBy=multi-user.target\n")
	return b.String()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// unitWord quotes a word for a unit file: systemd reads quotes, backslashes, % and $.
func unitWord(word string) string {
	word = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`, `$`, `$$`, "\n", `\n`).Replace(word)
	return `"` + word + `"`
}

// unitPath is for settings that take a path to the end of the line, where only % means something.
func unitPath(p string) string { return strings.ReplaceAll(p, "%", "%%") }

func sortedNames(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (d *daemon) unitDiff() []modules.Diff {
	var diffs []modules.Diff
	if unit := d.unit(); unit != d.found.unit {
		diffs = append(diffs, modules.Diff{Subject: d.unitFile(), Before: d.found.unit, After: unit})
	}
	if !d.found.enabled {
		diffs = append(diffs, modules.Diff{Subject: d.unitName(), Note: "is enabled, so that it starts with the host"})
	}
	return diffs
}

func (d *daemon) underSystemd(ctx context.Context, call *modules.Call, host modules.Host, stop, start bool) (pid int, err error) {
	if d.args.State == "stopped" {
		_, err := host.Run(ctx, modules.Command{Argv: []string{"systemctl", "stop", d.unitName()}})
		return 0, err
	}
	if err := host.Apply(ctx, d.unitChanges(start)...); err != nil {
		return d.found.pid, err
	}
	// One shell line, one round trip. The unit's own output is in its log and the journal.
	verbs := "systemctl daemon-reload && systemctl -q enable " + d.unitName()
	if stop {
		verbs += " && systemctl stop " + d.unitName()
	}
	if start {
		verbs += " && systemctl start " + d.unitName()
	}
	call.Note("systemd works on %s", d.unitName())
	if _, err := host.Run(ctx, modules.Command{Argv: []string{"/bin/sh", "-c", verbs}}); err != nil {
		return 0, fmt.Errorf("%w; %s", err, d.tail(ctx, host))
	}
	if !start {
		return d.found.pid, nil
	}
	return d.staysActive(ctx, host)
}

// unitChanges writes the unit, and, when it is about to start, what it then runs.
func (d *daemon) unitChanges(start bool) []modules.Change {
	mode := uint32(0o644)
	changes := []modules.Change{
		{Kind: modules.WriteFile, Path: d.unitFile(), Content: modules.Bytes(d.unitName(), []byte(d.unit())), Attributes: modules.Attributes{Mode: &mode}},
	}
	if start {
		changes = append(changes,
			modules.Change{Kind: modules.MakeDirectory, Path: d.args.RunDir},
			modules.Change{Kind: modules.WriteFile, Path: d.file(".identity"), Content: modules.Bytes("identity", []byte(d.identity+"\n"))})
	}
	if d.args.Log != "" {
		changes = append(changes, modules.Change{Kind: modules.MakeDirectory, Path: path.Dir(d.args.Log)})
	}
	return changes
}

// staysActive looks again after stay_up: a program that dies at once was active for a moment.
func (d *daemon) staysActive(ctx context.Context, host modules.Host) (int, error) {
	if err := sleep(ctx, d.args.StayUp); err != nil {
		return 0, err
	}
	d.found.unit, d.found.pid, d.found.running = d.unit(), 0, false
	if err := d.lookUnit(ctx, host); err != nil {
		return 0, err
	}
	if !d.found.running {
		return 0, fmt.Errorf("%s ended right after it was started; %s", d.unitName(), d.tail(ctx, host))
	}
	return d.found.pid, nil
}
