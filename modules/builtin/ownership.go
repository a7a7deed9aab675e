package builtin

import (
	"fmt"
	"strconv"

	"github.com/pegbook/pegbook/modules"
)

// ownership is the arguments of every module that leaves a file behind.
type ownership struct {
	Mode  modules.Mode `arg:"mode" doc:"permissions, \"0644\" or \"u=rw,go=r\"; those that are there stay when it is not given"`
	Owner string       `arg:"owner" doc:"user that owns the file, name or number"`
	Group string       `arg:"group" doc:"group of the file, name or number"`
}

// fresh is the attributes of a file that is not there yet.
func (o ownership) fresh(directory bool) modules.Attributes {
	a := modules.Attributes{Owner: o.Owner, Group: o.Group}
	if !o.Mode.IsZero() {
		base := uint32(0o644)
		if directory {
			base = 0o755
		}
		mode := o.Mode.Apply(base, directory)
		a.Mode = &mode
	}
	return a
}

// differ compares a file with what was asked for: the attributes to set, and a difference for each.
func (o ownership) differ(f modules.File) (modules.Attributes, []modules.Diff) {
	var a modules.Attributes
	var diffs []modules.Diff
	if mode := o.Mode.Apply(f.Mode, f.Kind == modules.Directory); mode != f.Mode {
		a.Mode = &mode
		diffs = append(diffs, modules.Diff{Subject: f.Path, Note: fmt.Sprintf("mode %04o → %04o", f.Mode, mode)})
	}
	if o.Owner != "" && o.Owner != f.Owner && o.Owner != strconv.Itoa(f.UID) {
		a.Owner = o.Owner
		diffs = append(diffs, modules.Diff{Subject: f.Path, Note: fmt.Sprintf("owner %s → %s", named(f.Owner, f.UID), o.Owner)})
	}
	if o.Group != "" && o.Group != f.Group && o.Group != strconv.Itoa(f.GID) {
		a.Group = o.Group
		diffs = append(diffs, modules.Diff{Subject: f.Path, Note: fmt.Sprintf("group %s → %s", named(f.Group, f.GID), o.Group)})
	}
	return a, diffs
}

func named(name string, id int) string {
	if name == "" {
		return strconv.Itoa(id)
	}
	return name
}
