package builtin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// Systemd sets the state of a unit.
func Systemd() *modules.Module {
	return restoring(modules.Define("systemd", `Start, stop, enable or mask a unit of systemd

started and stopped do nothing when it is so already; restarted and reloaded always do something. A unit
that does not come up fails the task with the end of its journal. daemon_reload reads changed unit files
and happens only when systemd says that it is needed. To run a program that has no unit use daemon.

    - name: time is kept
      systemd:
        name: chrony
        state: started
        enabled: true`, proposeSystemd))
}

// Service is systemd by Ansible's more general name.
func Service() *modules.Module {
	return restoring(modules.Define("service", `Start, stop or enable a service

The same as systemd, which is the only service manager that is supported.

    - name: time is kept
      service:
        name: chrony
        state: started`, proposeSystemd))
}

type systemdArgs struct {
	Name    string `arg:"name,alias=unit,alias=service" doc:"the unit; .service is added to a name without a dot"`
	State   string `arg:"state" choices:"started,stopped,restarted,reloaded" doc:"what the unit should be, or what should happen to it"`
	Enabled *bool  `arg:"enabled" doc:"whether it starts with the machine"`
	Masked  *bool  `arg:"masked" doc:"whether nothing can start it"`
	Reload  bool   `arg:"daemon_reload,alias=daemon-reload" doc:"whether changed unit files are read first"`
	NoBlock bool   `arg:"no_block" doc:"whether not to wait until the unit has reached its state"`
	Scope   string `arg:"scope" default:"system" choices:"system,user" doc:"the machine's units or the user's own"`
	Force   bool   `arg:"force" doc:"whether existing links are overwritten while enabling"`
}

// unit is what systemd knows about one.
type unit struct {
	name       string
	properties map[string]string
}

func (u unit) active() bool {
	switch u.properties["ActiveState"] {
	case "active", "activating", "reloading", "refreshing":
		return true
	}
	return false
}

func (u unit) enabled() bool {
	switch u.properties["UnitFileState"] {
	case "enabled", "enabled-runtime", "alias", "static", "indirect", "generated":
		return true
	}
	return false
}

func (u unit) masked() bool { return strings.HasPrefix(u.properties["UnitFileState"], "masked") }

// found says whether systemd has the unit at all.
func (u unit) found() bool { return u.properties["LoadState"] != "not-found" }

// unitState is what systemd registers.
type unitState struct {
	Name    string            `json:"name"`
	State   string            `json:"state,omitempty"`
	Enabled bool              `json:"enabled"`
	Status  map[string]string `json:"status"`
}

// unitProperties are asked for, and registered as status.
const unitProperties = "Id,LoadState,ActiveState,SubState,UnitFileState,FragmentPath,NeedDaemonReload,MainPID,ExecMainStatus,Result"

func proposeSystemd(ctx context.Context, call *modules.Call, args systemdArgs) (*modules.Proposal, error) {
	if args.Name == "" {
		if args.State != "" || args.Enabled != nil || args.Masked != nil || !args.Reload {
			return nil, &modules.ArgumentError{Arg: "name", Problem: "no unit was named", Hint: "only daemon_reload works without a name"}
		}
		return args.reloadOnly(), nil
	}
	args.Name = args.unit()
	u, err := lookUnit(ctx, call.Host, args.Name, args.systemctl())
	if err != nil {
		return nil, err
	}
	if !u.found() {
		return nil, fmt.Errorf("there is no unit %s on the host; write its file first, or use daemon", u.name)
	}
	return args.propose(ctx, call.Host, u)
}

// unit is the unit's whole name.
func (a systemdArgs) unit() string {
	if a.Name == "" || strings.Contains(a.Name, ".") {
		return a.Name
	}
	return a.Name + ".service"
}

// propose says what differs.
func (args systemdArgs) propose(ctx context.Context, host modules.Host, u unit) (*modules.Proposal, error) {
	out := &unitState{Name: args.Name, State: args.State, Enabled: u.enabled(), Status: u.properties}
	p := &modules.Proposal{Output: out}
	verbs := args.verbs(u, p)
	if len(p.Diff) == 0 {
		return p, nil
	}
	before := unitBefore{Active: u.active(), Enabled: u.enabled(), Masked: u.masked()}
	if args.Enabled != nil && u.masked() {
		links, err := args.links(ctx, host)
		if err != nil {
			return nil, err
		}
		before.Enabled = links
	}
	p.Before = before
	if args.Enabled != nil {
		out.Enabled = *args.Enabled
	}
	p.Do = func(ctx context.Context, host modules.Host) error {
		if err := runVerbs(ctx, host, args.systemctl(), args.Name, verbs); err != nil {
			return withJournal(ctx, host, args.systemctl(), args.Name, err)
		}
		return nil
	}
	return p, nil
}

// systemctl is the program with the options that every call has.
func (a systemdArgs) systemctl() []string {
	argv := []string{"systemctl"}
	if a.Scope == "user" {
		argv = append(argv, "--user")
	}
	if a.NoBlock {
		argv = append(argv, "--no-block")
	}
	return argv
}

func (a systemdArgs) reloadOnly() *modules.Proposal {
	return &modules.Proposal{
		Predicts: map[string]string{},
		Do: func(ctx context.Context, host modules.Host) error {
			_, err := host.Run(ctx, modules.Command{Argv: append(a.systemctl(), reloadUnits)})
			return err
		},
	}
}

// verbs decides what is to be done, and adds the differences and predictions to p.
func (a systemdArgs) verbs(u unit, p *modules.Proposal) []string {
	var verbs []string
	p.Predicts = map[string]string{}
	add := func(note, key, value, verb string) {
		p.Diff = append(p.Diff, modules.Diff{Subject: u.name, Note: note})
		p.Predicts["systemd/"+u.name+"/"+key] = value
		verbs = append(verbs, verb)
	}
	if a.Masked != nil && !*a.Masked && u.masked() {
		add("is unmasked", "masked", "", "unmask")
	}
	if a.Enabled != nil && *a.Enabled != u.enabled() {
		if *a.Enabled {
			verb := "enable"
			if a.Force {
				verb = "enable --force"
			}
			add("is enabled", "enabled", "enabled", verb)
		} else {
			add("is disabled", "enabled", "disabled", "disable")
		}
	}
	switch {
	case a.State == "started" && !u.active():
		add("is started", "active", "active", "start")
	case a.State == "stopped" && u.active():
		add("is stopped", "active", "inactive", "stop")
	case a.State == "restarted":
		add("is restarted", "active", "active", "restart")
	case a.State == "reloaded" && u.active():
		add("is reloaded", "active", "active", "reload")
	case a.State == "reloaded":
		add("is started", "active", "active", "start")
	}
	if a.Masked != nil && *a.Masked && !u.masked() {
		add("is masked", "masked", "masked", "mask") // the last: a masked unit cannot be disabled any more
	}
	if len(verbs) > 0 && (u.properties["NeedDaemonReload"] == "yes" || a.Reload) {
		verbs = append([]string{reloadUnits}, verbs...)
	}
	return verbs
}

// runVerbs does several things to a unit one after the other, in one round trip.
func runVerbs(ctx context.Context, host modules.Host, systemctl []string, name string, verbs []string) error {
	argv := slices.Concat(systemctl, strings.Fields(verbs[0]), []string{name})
	if len(verbs) > 1 || verbs[0] == reloadUnits {
		// The script is a constant. Verbs and options are this file's own and may be split into words;
		// the unit's name is the task's and is not.
		const script = `set -e
unit=$1 options=$2
shift 2
for verb do
  if [ "$verb" = daemon-reload ]; then systemctl $options daemon-reload
  else systemctl $options $verb -- "$unit"; fi
done`
		argv = slices.Concat([]string{"/bin/sh", "-c", script, "sh", name, strings.Join(systemctl[1:], " ")}, verbs)
	}
	_, err := host.Run(ctx, modules.Command{Argv: argv})
	return err
}

// reloadUnits is the verb that makes systemd read changed unit files; it takes no unit.
const reloadUnits = "daemon-reload"

// lookUnit asks systemd about a unit, once. What an earlier task of a check-mode run predicted stands
// over its answer.
func lookUnit(ctx context.Context, host modules.Host, name string, systemctl []string) (unit, error) {
	u := unit{name: name}
	argv := append(slices.Clone(systemctl), "show", "--property="+unitProperties, "--", name)
	out, err := host.Run(ctx, modules.Command{Argv: argv, ReadOnly: true})
	if err != nil {
		return u, notSystemd(err)
	}
	u.properties = readProperties(out.Stdout)
	predicted := map[string]string{}
	for _, key := range []string{"active", "enabled", "masked"} {
		if value, ok := host.Predicted("systemd/" + name + "/" + key); ok {
			predicted[key] = value
		}
	}
	if u.properties["LoadState"] == "not-found" && predicted["active"] == "" {
		if err := findUnit(ctx, host, u); err != nil {
			return u, err
		}
	}
	if active := predicted["active"]; active != "" {
		u.properties["ActiveState"], u.properties["LoadState"] = active, "loaded"
	}
	if state, ok := predicted["enabled"]; ok {
		u.properties["UnitFileState"] = state
	}
	if state, ok := predicted["masked"]; ok {
		u.properties["UnitFileState"] = state
	}
	return u, nil
}

// readProperties reads what systemctl show prints.
func readProperties(out []byte) map[string]string {
	properties := map[string]string{}
	for line := range strings.SplitSeq(string(out), "\n") {
		if key, value, ok := strings.Cut(line, "="); ok {
			properties[key] = value
		}
	}
	return properties
}

// findUnit looks for the file of a unit that systemd does not know: in check mode an earlier task may
// have "written" it.
func findUnit(ctx context.Context, host modules.Host, u unit) error {
	var queries []modules.Query
	for _, dir := range []string{"/etc/systemd/system/", "/run/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/"} {
		queries = append(queries, modules.Query{Path: dir + u.name})
	}
	files, err := host.Look(ctx, queries...)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(files, func(f modules.File) bool { return f.Kind != modules.Missing }) {
		if _, ok := host.Predicted("packages/new"); ok {
			return fmt.Errorf("a package that this run would install may bring %s: %w", u.name, modules.ErrUnpredicted)
		}
		return nil
	}
	maps.Copy(u.properties, map[string]string{"LoadState": "loaded", "ActiveState": "inactive", "UnitFileState": "disabled", "NeedDaemonReload": "yes"})
	return nil
}

// notSystemd explains a systemctl that is not there or has nobody to talk to.
func notSystemd(err error) error {
	var exit *modules.ExitError
	if errors.As(err, &exit) && (exit.ExitCode == 127 || strings.Contains(string(exit.Stderr), "not been booted with systemd")) {
		return fmt.Errorf("systemd does not run on the host: %w; daemon works without it", err)
	}
	return err
}

// withJournal adds the end of a unit's journal to what went wrong.
func withJournal(ctx context.Context, host modules.Host, systemctl []string, name string, cause error) error {
	var exit *modules.ExitError
	if !errors.As(cause, &exit) {
		return cause
	}
	argv := []string{"journalctl", "--no-pager", "--lines=15", "--output=cat", "--unit=" + name}
	if len(systemctl) > 1 && systemctl[1] == "--user" {
		argv = append(argv, "--user")
	}
	out, err := host.Run(ctx, modules.Command{Argv: argv, ReadOnly: true})
	if err != nil || len(out.Stdout) == 0 {
		return cause
	}
	return &ServiceError{Name: name, Log: strings.TrimSpace(string(out.Stdout)), Err: cause}
}

// ServiceError is a service that did what was asked of it not at all.
type ServiceError struct {
	Name string
	// Log is the end of what the service wrote.
	Log string
	Err error
}

// Error is the cause with the end of the log below it.
func (e *ServiceError) Error() string {
	if e.Log == "" {
		return fmt.Sprintf("%s: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("%s: %v\nits last words:\n%s", e.Name, e.Err, indent(e.Log))
}

// Unwrap gives the cause.
func (e *ServiceError) Unwrap() error { return e.Err }

func indent(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }
