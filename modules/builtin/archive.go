package builtin

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// Archive packs files of a host.
func Archive() *modules.Module {
	return modules.Define("archive", `Pack files of a host into an archive there

A single file is compressed by itself (unless force_archive is set or the format is tar or zip); a folder,
or several paths, become an archive with names relative to the folder that all lie in. The archive is made
by the host's own tar, gzip, bzip2, xz or zip and replaced in one step, when packing the files again gives
something else: that is, when a file's content, owner, mode or time differs. With remove the files go
afterwards, and a second run finds the archive alone and is content. Where the archive lies in a folder that
is packed, it is left out, and so are that folder's own mode and time. Check mode knows whether something
would change, and not what the archive would be.

    - name: logs before the update
      archive:
        path: [/var/log/app/*.log, /etc/app]
        dest: /var/backups/app.tar.gz
        exclude_path: [/etc/app/secret.key]
        mode: "0600"`, proposeArchive)
}

type archiveArgs struct {
	Path              []string `arg:"path,required" doc:"files, folders and patterns of them, absolute"`
	Dest              string   `arg:"dest,path" doc:"the archive; with one path it may be left out and is the path with the format behind it"`
	Format            string   `arg:"format" default:"gz" choices:"bz2,gz,tar,xz,zip" doc:"how to pack: gz, bz2 and xz are a compressed tar, or a compressed file"`
	ExcludePath       []string `arg:"exclude_path" doc:"files, folders and patterns of them that are left out"`
	ExclusionPatterns []string `arg:"exclusion_patterns" doc:"patterns of names within the archive that are left out; * matches slashes too"`
	ForceArchive      bool     `arg:"force_archive" doc:"whether a single file becomes an archive, too"`
	Remove            bool     `arg:"remove" doc:"whether the files are removed once they are packed"`
	ownership
}

// archived is what archive registers.
type archived struct {
	Dest     string   `json:"dest"`
	State    string   `json:"dest_state"` // absent, archive or compress
	Archived []string `json:"archived"`
	Missing  []string `json:"missing"`
	Paths    []string `json:"expanded_paths"`
	Root     string   `json:"arcroot"`
}

// packing is one archive at work.
type packing struct {
	args    archiveArgs
	exclude []string
	out     *archived
	targets []modules.File // what path names, itself
	names   []string       // relative to out.Root, in order
	single  bool           // a compressed file, no archive
	bytes   int64
}

func proposeArchive(ctx context.Context, call *modules.Call, args archiveArgs) (*modules.Proposal, error) {
	p := &packing{args: args, out: &archived{State: "absent", Archived: []string{}, Missing: []string{}, Paths: []string{}}}
	if err := p.check(); err != nil {
		return nil, err
	}
	if err := p.find(ctx, call.Host); err != nil {
		return nil, err
	}
	files, err := call.Host.Look(ctx, modules.Query{Path: p.out.Dest, Sum: true})
	if err != nil {
		return nil, err
	}
	f := files[0]
	switch {
	case f.Kind != modules.Missing && f.Kind != modules.Regular:
		return nil, fmt.Errorf("%s is a %s; name the archive", f.Path, f.Kind)
	case len(p.targets) == 0 && f.Kind == modules.Missing:
		return nil, &modules.FileError{Op: "archive", Path: strings.Join(args.Path, ", "), Kind: fs.ErrNotExist, Text: "there is nothing to pack"}
	case len(p.targets) == 0:
		return p.stays(f), nil
	}
	return p.propose(ctx, call.Host, f)
}

func (p *packing) check() error {
	for _, list := range []struct {
		arg   string
		paths []string
	}{{"path", p.args.Path}, {"exclude_path", p.args.ExcludePath}} {
		for _, name := range list.paths {
			if !path.IsAbs(name) {
				return &modules.ArgumentError{Arg: list.arg, Problem: fmt.Sprintf("%s holds %q", list.arg, name), Hint: "write absolute paths"}
			}
		}
	}
	p.out.Dest = path.Clean(p.args.Dest)
	if p.args.Dest == "" {
		if len(p.args.Path) != 1 || isGlob(p.args.Path[0]) {
			return &modules.ArgumentError{Arg: "dest", Problem: "dest is missing where path is not one file or folder", Hint: "write dest"}
		}
		p.out.Dest = path.Clean(p.args.Path[0]) + "." + p.args.Format
	}
	return nil
}

func isGlob(p string) bool { return strings.ContainsAny(p, "*?[") }

// find lists what is to be packed.
func (p *packing) find(ctx context.Context, host modules.Host) error {
	var err error
	if p.exclude, err = expandGlobs(ctx, host, p.args.ExcludePath); err != nil {
		return err
	}
	if p.out.Paths, err = expandGlobs(ctx, host, p.args.Path); err != nil {
		return err
	}
	queries := make([]modules.Query, len(p.out.Paths))
	for i, name := range p.out.Paths {
		queries[i] = modules.Query{Path: name}
	}
	files, err := host.Look(ctx, queries...)
	if err != nil {
		return err
	}
	for _, f := range files {
		switch {
		case p.excluded(f.Path):
		case f.Kind == modules.Missing:
			p.out.Missing = append(p.out.Missing, f.Path)
		default:
			p.targets = append(p.targets, f)
		}
	}
	p.single = len(p.targets) == 1 && len(p.args.Path) == 1 && !isGlob(p.args.Path[0]) && p.targets[0].Kind == modules.Regular && !p.args.ForceArchive &&
		p.args.Format != "tar" && p.args.Format != "zip"
	return p.descend(ctx, host)
}

// descend takes what is below the folders.
func (p *packing) descend(ctx context.Context, host modules.Host) error {
	p.out.Root = commonFolder(p.targets)
	seen := map[string]bool{}
	for _, target := range p.targets {
		all := []modules.File{target}
		if target.Kind == modules.Directory {
			below, err := walk(ctx, host, target.Path)
			if err != nil {
				return err
			}
			all = append(all, below...)
		}
		for _, f := range all {
			name := strings.TrimPrefix(strings.TrimPrefix(f.Path, p.out.Root), "/")
			if name == "" || seen[name] || f.Path == p.out.Dest || f.Path == path.Dir(p.out.Dest) || p.excluded(f.Path) || p.excludedName(name) {
				continue
			}
			if p.args.Format == "zip" && strings.ContainsAny(name, "\r\n") {
				return fmt.Errorf("%q has a line break in its name, which zip does not take; use another format", f.Path)
			}
			if f.Kind == modules.Other {
				return fmt.Errorf("%s is neither file, folder nor link and is not packed; leave it out with exclude_path", f.Path)
			}
			seen[name] = true
			p.names = append(p.names, name)
			p.bytes += f.Size
			if f.Kind != modules.Directory {
				p.out.Archived = append(p.out.Archived, f.Path)
			}
		}
	}
	slices.Sort(p.names)
	slices.Sort(p.out.Archived)
	return nil
}

func (p *packing) excluded(name string) bool {
	return slices.ContainsFunc(p.exclude, func(e string) bool { return name == e || strings.HasPrefix(name, e+"/") })
}

func (p *packing) excludedName(name string) bool {
	for _, pattern := range p.args.ExclusionPatterns {
		re, err := compilePattern("exclusion_patterns", wildcard(pattern), patternOfLine)
		if err == nil && re.MatchString(name) {
			return true
		}
	}
	return false
}

// commonFolder is the deepest folder that all lie in.
func commonFolder(files []modules.File) string {
	if len(files) == 0 {
		return ""
	}
	root := path.Dir(files[0].Path)
	for _, f := range files[1:] {
		for root != "/" && !strings.HasPrefix(f.Path, root+"/") {
			root = path.Dir(root)
		}
	}
	return root
}

// expandGlobs expands patterns, one round trip for each element of a path that holds one.
func expandGlobs(ctx context.Context, host modules.Host, patterns []string) ([]string, error) {
	paths := []string{}
	for _, pattern := range patterns {
		found := []string{"/"}
		for element := range strings.SplitSeq(strings.TrimPrefix(path.Clean(pattern), "/"), "/") {
			var err error
			if found, err = expandElement(ctx, host, found, element); err != nil {
				return nil, err
			}
		}
		paths = append(paths, found...)
	}
	slices.Sort(paths)
	return slices.Compact(paths), nil
}

func expandElement(ctx context.Context, host modules.Host, dirs []string, element string) ([]string, error) {
	var found []string
	if !isGlob(element) {
		for _, dir := range dirs {
			found = append(found, path.Join(dir, element))
		}
		return found, nil
	}
	re, err := compilePattern("path", wildcard(element), patternOfLine)
	if err != nil || len(dirs) == 0 {
		return nil, err
	}
	queries := make([]modules.Query, len(dirs))
	for i, dir := range dirs {
		queries[i] = modules.Query{Path: dir, Follow: true, List: true}
	}
	files, err := host.Look(ctx, queries...)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		for _, entry := range f.Entries {
			name := path.Base(entry.Path)
			if re.MatchString(name) && (!strings.HasPrefix(name, ".") || strings.HasPrefix(element, ".")) {
				found = append(found, entry.Path)
			}
		}
	}
	return found, nil
}

// stays is an archive whose files have gone.
func (p *packing) stays(f modules.File) *modules.Proposal {
	p.out.State = "archive"
	attributes, diffs := p.args.differ(f)
	proposal := &modules.Proposal{Output: p.out, Diff: diffs}
	if len(diffs) > 0 {
		proposal.Do = apply(modules.Change{Kind: modules.SetAttributes, Path: f.Path, Attributes: attributes})
	}
	return proposal
}

func (p *packing) propose(ctx context.Context, host modules.Host, f modules.File) (*modules.Proposal, error) {
	p.out.State = "archive"
	if p.single {
		p.out.State = "compress"
	}
	note, err := p.differs(ctx, host, f)
	if err != nil {
		return nil, err
	}
	attributes, diffs := p.args.fresh(false), []modules.Diff(nil)
	if f.Kind == modules.Regular {
		attributes, diffs = p.args.differ(f)
	}
	proposal := &modules.Proposal{Output: p.out}
	if note != "" {
		proposal.Diff = append(proposal.Diff, modules.Diff{Subject: f.Path, Note: note})
	}
	proposal.Diff = append(proposal.Diff, diffs...)
	var removed []modules.Change
	if p.args.Remove {
		for _, target := range p.targets {
			proposal.Diff = append(proposal.Diff, modules.Diff{Subject: target.Path, Note: fmt.Sprintf("%s is removed", target.Kind)})
			removed = append(removed, modules.Change{Kind: modules.Remove, Path: target.Path})
		}
	}
	switch {
	case note != "":
		proposal.Do = func(ctx context.Context, host modules.Host) error { return p.pack(ctx, host, f, attributes, removed) }
	case len(proposal.Diff) > 0:
		changes := removed
		if len(diffs) > 0 {
			changes = append([]modules.Change{{Kind: modules.SetAttributes, Path: f.Path, Attributes: attributes}}, removed...)
		}
		proposal.Do = apply(changes...)
	}
	return proposal, nil
}

// differs packs the files again, into a checksum; empty: the archive is the same.
func (p *packing) differs(ctx context.Context, host modules.Host, f modules.File) (string, error) {
	if f.Kind == modules.Missing {
		return fmt.Sprintf("%d files are packed, %d bytes", len(p.out.Archived), p.bytes), nil
	}
	cmd := p.command("sha256sum")
	cmd.ReadOnly = true
	out, err := host.Run(ctx, cmd)
	if errors.Is(err, modules.ErrUnpredicted) {
		return "content may differ", nil
	}
	if err != nil {
		return "", fmt.Errorf("pack %s: %w", p.out.Root, err)
	}
	if sum, _, _ := strings.Cut(string(out.Stdout), " "); sum == f.Sum {
		return "", nil
	}
	return "content differs", nil
}

// command packs into the standard input of another command. Names go by standard input, with NUL between
// them (zip takes lines), so that no name is an option or too long a line; the order is ours, so the same
// files make the same bytes. A pipe hides how its commands end but for the last, hence descriptor 3.
func (p *packing) command(into string) modules.Command {
	compress := map[string]string{"gz": "gzip -n", "bz2": "bzip2", "xz": "xz", "tar": "cat", "zip": "cat"}[p.args.Format]
	separator := "\x00"
	forgiven := "c == 1 ? 0 : c" // tar's way to say that a file, a log perhaps, has grown meanwhile
	pack := "tar --create --format=gnu --no-recursion --null --verbatim-files-from --files-from=-"
	switch {
	case p.single:
		pack, forgiven = "cat -- "+shellQuoted(path.Base(p.targets[0].Path)), "c"
	case p.args.Format == "zip":
		pack, forgiven, separator = "zip -q -X -y - -@", "c", "\n"
	}
	script := `cd -- "$1" || exit 1
{ codes=$({ { ` + pack + ` 3>&- 4>&-; c=$?; echo $((` + forgiven + `)) >&3; } |
{ ` + compress + ` 3>&- 4>&-; echo $? >&3; } | { { ` + into + `; } >&4 3>&-; echo $? >&3; }; } 3>&1); } 4>&1
for c in $codes; do if [ "$c" != 0 ]; then exit "$c"; fi; done`
	return modules.Command{Argv: []string{"/bin/sh", "-c", script, "pegbook", p.out.Root}, Stdin: []byte(strings.Join(p.names, separator) + separator),
		Env: map[string]string{"LC_ALL": "C"}}
}

// pack writes the archive beside its place and moves it there.
func (p *packing) pack(ctx context.Context, host modules.Host, f modules.File, a modules.Attributes, removed []modules.Change) error {
	temp := path.Join(path.Dir(f.Path), "."+path.Base(f.Path)+"."+rand.Text())
	tidy := modules.Change{Kind: modules.Remove, Path: temp}
	mode := cmp.Or(f.Mode, 0o644)
	if a.Mode == nil {
		a.Mode = &mode
	}
	if f.Kind == modules.Regular {
		a.Owner, a.Group = or(a.Owner, fmt.Sprint(f.UID)), or(a.Group, fmt.Sprint(f.GID))
	}
	private := uint32(0o600)
	// Made first, so that nobody else can read what is being packed.
	err := host.Apply(ctx, modules.Change{Kind: modules.WriteFile, Path: temp, Content: modules.Bytes(temp, nil), Attributes: modules.Attributes{Mode: &private}})
	if err == nil {
		_, err = host.Run(ctx, p.command("cat >"+shellQuoted(temp)))
	}
	if err == nil {
		return host.Apply(ctx, append([]modules.Change{{Kind: modules.SetAttributes, Path: temp, Attributes: a},
			{Kind: modules.Rename, Path: temp, Target: f.Path}}, removed...)...)
	}
	// Tidying is best effort: the first error is what matters.
	_ = host.Apply(context.WithoutCancel(ctx), tidy)
	return fmt.Errorf("pack %s: %w", p.out.Root, err)
}
