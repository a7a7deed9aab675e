package system

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// mountBefore is what mount keeps of before, besides fstab, which the host keeps.
type mountBefore struct {
	// Source is what was mounted, as fstab or the kernel names it, FSType and Opts how; "" is nothing.
	Source string `json:"source"`
	FSType string `json:"fstype,omitempty"`
	Opts   string `json:"opts,omitempty"`
	// Entry is the line of fstab; "" for none.
	Entry string `json:"entry,omitempty"`
	// Folder says that there was a folder to mount it on.
	Folder bool `json:"folder"`
}

// before says what is there.
func (m *mounting) before(table string) mountBefore {
	b := mountBefore{Entry: m.entry(), Folder: m.folder.Kind == modules.Directory}
	if !m.mounted {
		return b
	}
	b.Source = m.source
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if dash := slices.Index(fields, "-"); dash >= 6 && dash+2 < len(fields) && mountUnescape(fields[4]) == m.Path {
			b.FSType, b.Opts = fields[dash+1], fields[5]
			if dash+3 < len(fields) && fields[3] == "/" { // not of a bind: these are the file system's own
				b.Opts += "," + fields[dash+3]
			}
		}
	}
	return b
}

// entry is the line of fstab; "" for none.
func (m *mounting) entry() string {
	for _, line := range lines(string(m.fstab.file.Content)) {
		if fields := strings.Fields(line); len(fields) >= 4 && len(fields) <= 6 && !strings.HasPrefix(fields[0], "#") && m.names(fields) {
			return line
		}
	}
	return ""
}

// restoreMount mounts what was mounted before, and unmounts what was not. fstab is back when that is done.
func restoreMount(ctx context.Context, call *modules.Call, args mountArgs, before *mountBefore) (*modules.Proposal, error) {
	if err := args.check(); err != nil {
		return nil, err
	}
	p := &modules.Proposal{Output: mountState{args.Path, args.Src, args.FSType, args.Opts, args.Dump, args.PassNo, args.Fstab}}
	if before == nil {
		return p, nil
	}
	m, table, err := args.look(ctx, call.Host)
	if err != nil {
		return nil, err
	}
	was := m.before(table)
	m.State = "mounted" // for what is mounted from fstab
	act := func(note, left string, commands ...[]string) {
		p.Diff = append(p.Diff, modules.Diff{Subject: m.Path, Note: note + ", as before"})
		p.Predicts = map[string]string{m.key(): left}
		m.commands = append(m.commands, commands...)
	}
	makes := [][]string{{"mkdir", "-p", "--", m.Path}}
	switch {
	case before.Source == "" && m.mounted:
		act("is unmounted", "", []string{"umount", "--", m.Path})
		if !before.Folder {
			m.commands = append(m.commands, []string{"rmdir", "--", m.Path})
			p.Leaves = []modules.Change{{Kind: modules.RemoveDirectory, Path: m.Path}}
		}
	case before.Source == "" && before.Folder && m.folder.Kind == modules.Missing:
		act("the folder is made", "", makes...)
		p.Leaves = []modules.Change{{Kind: modules.MakeDirectory, Path: m.Path}}
	case before.Source != "" && !m.mounted && before.Entry != "":
		act("is mounted from fstab", before.Source, append(makes, m.mountCommand())...)
	case before.Source != "" && !m.mounted:
		act("is mounted from "+before.Source, before.Source, append(makes, before.command(m.Path))...)
	case before.Source != "" && before.Entry != "" && (was.Entry != before.Entry || was.Opts != before.Opts):
		act("is mounted again", before.Source, slices.Concat([]string{"mount"}, m.otherFstab(),
			[]string{"-o", strings.Join(append([]string{"remount"}, cleared(was.Opts, before.Opts)...), ","), m.Path}))
	case before.Source != "" && (was.Opts != before.Opts || m.source != before.Source):
		p.Message = fmt.Sprintf("%s stays mounted as it is: it was mounted from %s with %s", m.Path, before.Source, before.Opts)
	}
	if len(m.commands) == 0 {
		return p, nil
	}
	p.Before = was
	commands := m.commands
	p.Do = func(ctx context.Context, host modules.Host) error {
		_, err := host.Run(ctx, script(commands...))
		return err
	}
	return p, nil
}

// cleared are options that take back others, which mounting again keeps where it is not told.
func cleared(now, before string) []string {
	var all []string
	had := strings.Split(before, ",")
	for _, option := range strings.Split(now, ",") {
		opposite := map[string]string{"noexec": "exec", "nosuid": "suid", "nodev": "dev", "ro": "rw", "noatime": "atime", "nodiratime": "diratime"}[option]
		if opposite != "" && !slices.Contains(had, option) {
			all = append(all, opposite)
		}
	}
	return all
}

// command mounts what fstab does not know.
func (b mountBefore) command(at string) []string {
	argv := []string{"mount"}
	if path.IsAbs(b.Source) && b.FSType == "" || strings.HasPrefix(b.Opts, "bind") {
		return append(argv, "--bind", b.Source, at)
	}
	return append(argv, "-t", b.FSType, "-o", b.Opts, b.Source, at)
}
