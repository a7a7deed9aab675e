// Package system is the modules for what a machine is made of: users, groups and their keys, packages,
// kernel parameters, limits, mounts, cron jobs and the host's name.
//
// They have Ansible's names, arguments and meaning, whichever collection Ansible keeps them in; where one
// refuses something, its manual page says so. Each reads files where files say what is so, and decides
// there: commands with effects run only when something differs. A task that finds nothing to do costs one
// round trip, one that changes something two, unless a module says why it needs more.
//
// # Check mode
//
// What a module edits itself is a file in check mode's layer, for all later tasks to see. Where a command
// makes the edit (useradd), the proposal's Leaves are the lines that the command would leave, so that a
// file can belong to a user that an earlier task would have made. What is no file (a mount, an installed
// package, the kernel's value of a parameter) is predicted under a key of the module.
package system

import (
	"slices"

	"github.com/pegbook/pegbook/modules"
)

// All lists the modules, by name.
func All() []*modules.Module {
	all := []*modules.Module{
		Apt(), AuthorizedKey(), Cron(), Dnf(), Group(), Hostname(), Mount(), Package(), PamLimits(), Sysctl(), User(), Yum(),
	}
	for _, m := range all {
		m.Output = outputs()[m.Name]
		m.Keeps = slices.Contains([]string{"authorized_key", "cron", "mount", "pam_limits", "sysctl"}, m.Name)
		m.ByHand = byHand()[m.Name]
	}
	return all
}

// byHand is how people put back what modules have changed that keep nothing of before.
func byHand() map[string]string {
	return map[string]string{
		"apt":     "apt-get install --allow-downgrades PACKAGE=VERSION, or apt-get remove PACKAGE; versions stand in /var/log/dpkg.log",
		"dnf":     "dnf history undo NUMBER, which dnf history shows",
		"group":   "groupdel GROUP, groupadd -g NUMBER GROUP or groupmod -g NUMBER GROUP",
		"package": "dnf history undo NUMBER, or apt-get install --allow-downgrades PACKAGE=VERSION",
		"user":    "userdel USER, useradd or usermod; a home folder that was removed is gone",
		"yum":     "yum history undo NUMBER, which yum history shows",
	}
}
