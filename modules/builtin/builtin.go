// Package builtin is the modules that pegbook comes with and that belong to no system of their own.
//
// The ones that Ansible has take Ansible's arguments and mean what Ansible means; where one refuses
// something, its manual page says so. A module is one file; adding it to All is its whole registration.
// A task that finds nothing to do costs one round trip, one that changes something two; a module that
// needs more says why.
package builtin

import (
	"slices"

	"github.com/pegbook/pegbook/modules"
)

// All lists the modules, by name.
func All() []*modules.Module {
	all := []*modules.Module{
		AddHost(), Archive(), Assert(), AsyncStatus(),
		BlockInFile(),
		Command(), Copy(),
		Daemon(), Debug(),
		Fail(), Fetch(), File(), Find(),
		GetURL(), GroupBy(),
		IncludeVars(), InstallPkg(),
		LineInFile(),
		Pause(), Ping(),
		Raw(), RenderConfig(), Replace(),
		Script(), Service(), SetFact(), Setup(), Shell(), Slurp(), Stat(), Systemd(),
		TempFile(), Template(),
		Unarchive(), URI(),
		WaitFor(),
	}
	for _, m := range all {
		m.Output = outputs()[m.Name]
		if m.Name == "setup" {
			m.Facts = factNames()
		}
		m.Gathers = slices.Contains(gathering(), m.Name)
		m.Keeps = slices.Contains(keeping(), m.Name)
	}
	return all
}

// keeping are the modules whose Do changes nothing but files, by Apply. The file that tempfile makes is none to put
// back: who takes a run back needs one of his own.
func keeping() []string {
	return []string{"archive", "blockinfile", "copy", "file", "get_url", "lineinfile", "render_config", "replace", "template", "unarchive"}
}

// gathering are the modules whose Propose learns of the host by Look alone.
func gathering() []string {
	return []string{"blockinfile", "copy", "file", "find", "lineinfile", "render_config", "replace", "slurp", "stat", "template"}
}
