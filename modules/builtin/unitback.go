package builtin

import (
	"context"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// restoring lets what is done to units be taken back.
func restoring(m *modules.Module) *modules.Module {
	return modules.About(modules.Restoring(m, restoreUnit), func(args systemdArgs) string {
		if args.Name == "" || args.Scope == "user" { // several users may have units of one name
			return ""
		}
		return args.unit()
	})
}

// unitBefore is what systemd keeps of before.
type unitBefore struct {
	Active  bool `json:"active"`
	Enabled bool `json:"enabled"`
	Masked  bool `json:"masked"`
}

// restoreUnit gives a unit the state that it had before. One that ran and was restarted or reloaded is so again: what
// it has read is being put back, too. Where a later task does that, this one does what it says.
func restoreUnit(ctx context.Context, call *modules.Call, args systemdArgs, before *unitBefore) (*modules.Proposal, error) {
	happens := args.State == "restarted" || args.State == "reloaded"
	switch {
	case before == nil && !happens:
		args.State, args.Enabled, args.Masked = "", nil, nil
	case before == nil:
		args.Enabled, args.Masked = nil, nil
	default:
		args.setBack(*before, call.Later)
	}
	if args.Name == "" {
		return proposeSystemd(ctx, call, args)
	}
	args.Name = args.unit()
	u, err := lookUnit(ctx, call.Host, args.Name, args.systemctl())
	if err != nil {
		return nil, err
	}
	if !u.found() && (before == nil || before.Active && !call.Later) {
		return proposeSystemd(ctx, call, args) // says that it is not there
	}
	if args.Enabled != nil && !*args.Enabled && !u.enabled() && !u.masked() {
		// Where the unit's file is gone systemd does not know; a link to it may be left.
		links, err := args.links(ctx, call.Host)
		if err != nil {
			return nil, err
		}
		if links {
			u.properties["UnitFileState"] = "enabled"
		}
	}
	return args.propose(ctx, call.Host, u)
}

// setBack makes the arguments those that put back what was there before.
func (a *systemdArgs) setBack(before unitBefore, later bool) {
	switch happens := a.State == "restarted" || a.State == "reloaded"; {
	case a.State == "", later, happens && before.Active:
	case before.Active:
		a.State = "started"
	default:
		a.State = "stopped"
	}
	if a.Enabled != nil {
		a.Enabled = &before.Enabled
	}
	if a.Masked != nil {
		a.Masked = &before.Masked
	}
}

// links says whether links have the unit start with others, which systemd does not say of one that is masked or whose
// file is gone.
func (a systemdArgs) links(ctx context.Context, host modules.Host) (bool, error) {
	const script = `case $2 in user) set -- "$1" "${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user" /etc/systemd/user;; *) set -- "$1" /etc/systemd/system;; esac
unit=$1; shift; find "$@" -type l -name "$unit" \( -path '*.wants/*' -o -path '*.requires/*' \) -print 2>/dev/null || true`
	out, err := host.Run(ctx, modules.Command{Argv: []string{"/bin/sh", "-c", script, "sh", findQuoted(a.unit()), a.Scope}, ReadOnly: true})
	return len(out.Stdout) > 0, err
}

// findQuoted is a name of which find takes no letter for a pattern.
func findQuoted(name string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(name)
}
