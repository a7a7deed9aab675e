package system

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// Mount mounts file systems and keeps them in fstab.
func Mount() *modules.Module {
	m := modules.Define("mount", `Mount a file system, and keep it in fstab

state says how far it goes: mounted is in fstab and mounted now (the folder is made); present is in fstab
only; unmounted is not mounted, whatever fstab says; absent is out of fstab, not mounted, and its empty
folder removed; absent_from_fstab is out of fstab only; remounted mounts again what is mounted; ephemeral
is mounted now and not in fstab. remounted always changes something, and ephemeral does where the file
system is mounted already: it is mounted again with the options.

What mounts or unmounts takes a round trip more, because fstab is written before. Where mounting fails,
fstab is put back.

    - name: the disk of the servers
      mount:
        path: /data1
        src: LABEL=data1
        fstype: xfs
        opts: noatime
        state: mounted`, proposeMount)
	return modules.About(modules.Restoring(m, restoreMount), func(args mountArgs) string {
		if args.Path == "none" {
			return ""
		}
		return path.Clean(args.Path)
	})
}

type mountArgs struct {
	Path   string `arg:"path,required,alias=name" doc:"where it is mounted; none for swap"`
	State  string `arg:"state,required" choices:"mounted,present,unmounted,absent,absent_from_fstab,remounted,ephemeral" doc:"how far it goes"`
	Src    string `arg:"src" doc:"the device, LABEL=, UUID=, or what else is mounted"`
	FSType string `arg:"fstype" doc:"kind of the file system"`
	Opts   string `arg:"opts" default:"defaults" doc:"options, separated by commas"`
	Dump   string `arg:"dump" default:"0" doc:"fifth field of fstab"`
	PassNo string `arg:"passno" default:"0" doc:"sixth field of fstab: when it is checked"`
	Boot   bool   `arg:"boot" default:"true" doc:"whether it is mounted when the machine starts; false adds noauto to opts, unless these are the defaults"`
	Fstab  string `arg:"fstab,path" default:"/etc/fstab" doc:"the file"`
	Backup bool   `arg:"backup" doc:"whether fstab is kept beside it when it is replaced"`
}

// mountState is what mount registers.
type mountState struct {
	Name   string `json:"name"`
	Src    string `json:"src,omitempty"`
	FSType string `json:"fstype,omitempty"`
	Opts   string `json:"opts"`
	Dump   string `json:"dump"`
	PassNo string `json:"passno"`
	Fstab  string `json:"fstab"`
}

func proposeMount(ctx context.Context, call *modules.Call, args mountArgs) (*modules.Proposal, error) {
	if err := args.check(); err != nil {
		return nil, err
	}
	m, table, err := args.look(ctx, call.Host)
	if err != nil {
		return nil, err
	}
	p := &modules.Proposal{Output: mountState{args.Path, args.Src, args.FSType, args.Opts, args.Dump, args.PassNo, args.Fstab}}
	if err := m.propose(p); err != nil {
		return nil, err
	}
	if len(p.Diff) > 0 {
		p.Do, p.Before = m.do, m.before(table)
	}
	return p, nil
}

// look reads fstab and what is mounted. table is what the kernel says of that.
func (a mountArgs) look(ctx context.Context, host modules.Host) (m *mounting, table string, err error) {
	files, err := host.Look(ctx, modules.Query{Path: a.Fstab, Follow: true, Content: maxText},
		modules.Query{Path: "/proc/self/mountinfo", Content: maxText}, modules.Query{Path: path.Join("/", a.Path), Follow: true})
	if err != nil {
		return nil, "", err
	}
	m = &mounting{mountArgs: a, folder: files[2], fstab: rewrite{file: files[0], after: string(files[0].Content), backup: a.Backup}}
	table = string(files[1].Content)
	m.source, m.mounted = mountedAt(table, a.Path)
	if predicted, ok := host.Predicted(m.key()); ok {
		m.source, m.mounted = predicted, predicted != ""
	}
	return m, table, nil
}

func (a *mountArgs) check() error {
	if a.Path != "none" && !path.IsAbs(a.Path) {
		return &modules.ArgumentError{Arg: "path", Problem: fmt.Sprintf("path is %q", a.Path), Hint: "write an absolute path, or none for swap"}
	}
	if a.Path != "none" {
		a.Path = path.Clean(a.Path)
	}
	needs := slices.Contains([]string{"mounted", "present", "ephemeral"}, a.State)
	if needs && (a.Src == "" || a.FSType == "") {
		return &modules.ArgumentError{Arg: "src", Problem: "state " + a.State + " needs src and fstype", Hint: "say what is mounted, and its kind"}
	}
	opts := strings.Split(a.Opts, ",")
	if !a.Boot && !slices.Contains(opts, "noauto") && !slices.Contains(opts, "defaults") {
		a.Opts += ",noauto"
	}
	return nil
}

// mounting is one mount at work.
type mounting struct {
	mountArgs
	fstab   rewrite
	folder  modules.File
	source  string // what is mounted there
	mounted bool
	// commands are carried out after fstab is written.
	commands [][]string
}

func (m *mounting) key() string { return "mount/" + m.Path }

func (m *mounting) propose(p *modules.Proposal) error {
	keep := m.State == "mounted" || m.State == "present"
	if keep || m.State == "absent" || m.State == "absent_from_fstab" {
		m.fstab.after = m.edited(string(m.fstab.file.Content), keep)
	}
	writes := string(m.fstab.file.Content) != m.fstab.after
	if writes {
		p.Diff = append(p.Diff, m.fstab.diff())
		p.Leaves = append(p.Leaves, m.fstab.change())
	}
	p.Predicts = map[string]string{}
	act := func(note, left string, commands ...[]string) {
		p.Diff = append(p.Diff, modules.Diff{Subject: m.Path, Note: note})
		p.Predicts[m.key()] = left
		m.commands = append(m.commands, commands...)
	}
	switch {
	case m.State == "mounted" && !m.mounted:
		act("is mounted from "+m.Src, m.Src, m.mountCommand())
	case m.State == "mounted" && writes, m.State == "remounted":
		act("is mounted again", m.source, m.remountCommand())
	case m.State == "unmounted" && m.mounted:
		act("is unmounted", "", []string{"umount", "--", m.Path})
	case m.State == "absent" && writes:
		m.proposeAbsent(p, act)
	case m.State == "ephemeral" && m.mounted && m.source != m.Src:
		return fmt.Errorf("%s is mounted from %s, not %s; unmount it first with state: unmounted", m.Path, m.source, m.Src)
	case m.State == "ephemeral" && m.mounted:
		act("is mounted again", m.source, m.remountCommand())
	case m.State == "ephemeral":
		act("is mounted from "+m.Src, m.Src, m.mountCommand())
	}
	if (m.State == "mounted" || m.State == "ephemeral") && m.folder.Kind == modules.Missing {
		p.Leaves = append(p.Leaves, modules.Change{Kind: modules.MakeDirectory, Path: m.Path})
	}
	return nil
}

// proposeAbsent unmounts what was in fstab and removes its folder, which must be empty then.
func (m *mounting) proposeAbsent(p *modules.Proposal, act func(string, string, ...[]string)) {
	if m.mounted {
		act("is unmounted", "", []string{"umount", "--", m.Path})
	}
	if m.folder.Kind == modules.Directory {
		m.commands = append(m.commands, []string{"rmdir", "--", m.Path})
		p.Diff = append(p.Diff, modules.Diff{Subject: m.Path, Note: "the folder is removed"})
		p.Leaves = append(p.Leaves, modules.Change{Kind: modules.Remove, Path: m.Path})
	}
}

func (m *mounting) mountCommand() []string {
	if m.State != "ephemeral" {
		return slices.Concat([]string{"mount"}, m.otherFstab(), []string{m.Path})
	}
	argv := []string{"mount", "-t", m.FSType}
	if m.Opts != "defaults" {
		argv = append(argv, "-o", m.Opts)
	}
	return append(argv, m.Src, m.Path)
}

func (m *mounting) otherFstab() []string {
	if m.Fstab == "/etc/fstab" {
		return nil
	}
	return []string{"-T", m.Fstab}
}

// remountCommand falls back to unmounting and mounting where the file system cannot be mounted again,
// except with options that only remounting would take.
func (m *mounting) remountCommand() []string {
	remount := "remount"
	if m.State != "mounted" && m.Opts != "defaults" {
		remount += "," + m.Opts
	}
	argv := []string{"mount", "-o", remount}
	if m.State != "ephemeral" {
		argv = append(argv, m.otherFstab()...)
	}
	again := quoteAll(append(argv, m.Path))
	if m.State == "remounted" && m.Opts != "defaults" {
		return append(argv, m.Path)
	}
	return []string{"/bin/sh", "-c", again + " 2>/dev/null || { umount -- " + quote(m.Path) + " && " + quoteAll(m.mountCommand()) + "; }"}
}

func (m *mounting) do(ctx context.Context, host modules.Host) error {
	before := m.fstab
	if string(before.file.Content) != m.fstab.after {
		if err := host.Apply(ctx, m.fstab.change()); err != nil {
			return err
		}
	}
	if len(m.commands) == 0 {
		return nil
	}
	missing := m.folder.Kind == modules.Missing && (m.State == "mounted" || m.State == "ephemeral")
	commands := m.commands
	if missing {
		commands = append([][]string{{"mkdir", "-p", "--", m.Path}}, commands...)
	}
	_, err := host.Run(ctx, script(commands...))
	if err == nil || m.State != "mounted" {
		return err
	}
	m.undo(ctx, host, missing)
	return fmt.Errorf("mount %s: %w", m.Path, err)
}

// undo puts fstab back and removes the folder that was made: an entry that cannot be mounted may keep a
// machine from starting. It is best effort: that mounting failed is what matters.
func (m *mounting) undo(ctx context.Context, host modules.Host, folder bool) {
	if m.fstab.after != string(m.fstab.file.Content) && m.fstab.file.Kind != modules.Missing {
		_ = host.Apply(ctx, modules.Change{Kind: modules.WriteFile, Path: m.fstab.file.Path,
			Content: modules.Bytes(m.fstab.file.Path, m.fstab.file.Content)})
	}
	if folder {
		_, _ = host.Run(ctx, script([]string{"rmdir", "--", m.Path}))
	}
}

// fstabEscape writes a field of fstab.
func fstabEscape(field string) string {
	return strings.NewReplacer(`\`, `\134`, " ", `\040`, "&", `\046`).Replace(field)
}

// edited is fstab with the entry, or without it. Other lines stay as they are.
func (m *mounting) edited(text string, keep bool) string {
	want := []string{fstabEscape(m.Src), fstabEscape(m.Path), fstabEscape(m.FSType), fstabEscape(m.Opts), fstabEscape(m.Dump), fstabEscape(m.PassNo)}
	var all []string
	found := false
	for _, line := range lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 4 || len(fields) > 6 || strings.HasPrefix(fields[0], "#") || !m.names(fields) {
			all = append(all, line)
			continue
		}
		if !keep {
			continue
		}
		found = true
		for len(fields) < 6 {
			fields = append(fields, "0")
		}
		if !slices.Equal(fields, want) {
			line = strings.Join(want, " ")
		}
		all = append(all, line)
	}
	if keep && !found {
		all = append(all, strings.Join(want, " "))
	}
	if !keep && len(all) == len(lines(text)) {
		return text
	}
	return unlines(all)
}

// names says whether an entry is this one. Swap has no place to tell it by, so its device does.
func (m *mounting) names(fields []string) bool {
	if fields[1] != fstabEscape(m.Path) {
		return false
	}
	return m.Src == "" || fields[1] != "none" || fields[2] != "swap" || fields[0] == m.Src
}

// mountedAt finds what is mounted at a path, in /proc/self/mountinfo; the last one that was mounted there
// counts. What is mounted from a folder of another file system (bind) has that folder as its source.
func mountedAt(table, at string) (source string, mounted bool) {
	type entry struct{ root, at, source string }
	var all []entry
	var found entry
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		dash := slices.Index(fields, "-")
		if dash < 6 || dash+2 >= len(fields) {
			continue
		}
		e := entry{root: mountUnescape(fields[3]), at: mountUnescape(fields[4]), source: mountUnescape(fields[dash+2])}
		all = append(all, e)
		if e.at == at {
			found, mounted = e, true
		}
	}
	if !mounted || found.root == "/" {
		return found.source, mounted
	}
	// The folder as the host sees it: below the place where its file system is mounted.
	for _, e := range all {
		rest, ok := strings.CutPrefix(found.root, strings.TrimSuffix(e.root, "/"))
		if ok && e.source == found.source && e.at != at && (rest == "" || rest[0] == '/') {
			return path.Join(e.at, rest), true
		}
	}
	return found.root, true
}

// mountUnescape reads the octal escapes of a kernel's table.
func mountUnescape(field string) string {
	var b strings.Builder
	for i := 0; i < len(field); i++ {
		if field[i] == '\\' && i+3 < len(field) {
			if n, err := strconv.ParseUint(field[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(field[i])
	}
	return b.String()
}
