package builtin

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// Copy writes files.
func Copy() *modules.Module {
	return modules.Define("copy", `Copy a file, a folder or text to a host

A file is compared by its SHA-256 and replaced in one step, so nobody ever sees half of it. When dest is
a folder, or ends with a slash, the file keeps its name below it. A folder is copied with everything in
it; with a slash behind src only what is in it. A link at dest is replaced, not followed.

    - name: one file
      copy:
        src: pegasus.conf
        dest: /etc/pegasus/pegasus.conf
        mode: "0644"

    - name: text
      copy:
        content: "nofile 65536\n"
        dest: /etc/security/limits.d/pegasus.conf
        backup: true`, proposeCopy)
}

type copyArgs struct {
	Src     string          `arg:"src,file=files" doc:"a file or folder of the control node, looked for in files/; with remote_src a file of the host"`
	Content json.RawMessage `arg:"content" doc:"the text to write, in place of src; a list or mapping is written as JSON"`
	Dest    string          `arg:"dest,path,required" doc:"where it goes on the host"`
	ownership
	Mode          modules.Mode `arg:"mode,preserve" doc:"permissions, \"0644\", \"u=rw,go=r\" or preserve for those of src; those that are there stay when it is not given"`
	DirectoryMode modules.Mode `arg:"directory_mode" doc:"permissions of folders that are made while copying a folder"`
	Backup        bool         `arg:"backup" doc:"whether a file that is replaced is kept beside it, with the time in its name"`
	RemoteSrc     bool         `arg:"remote_src" doc:"whether src is a file of the managed host"`
	Force         bool         `arg:"force" default:"true" doc:"whether a file that is there is replaced when it differs"`
	Decrypt       bool         `arg:"decrypt" default:"true" doc:"whether a file that ansible-vault encrypted is decrypted on the way"`
	Validate      string       `arg:"validate" doc:"a command with %s for the new file; it must succeed before the file is replaced"`
}

func proposeCopy(ctx context.Context, call *modules.Call, args copyArgs) (*modules.Proposal, error) {
	switch {
	case args.Src == "" && args.Content == nil:
		return nil, &modules.ArgumentError{Arg: "src", Problem: "nothing to copy was given", Hint: "write src or content"}
	case args.Src != "" && args.Content != nil:
		return nil, &modules.ArgumentError{Arg: "content", Problem: "src and content exclude each other", Hint: "give one of them"}
	case args.RemoteSrc:
		return proposeRemoteCopy(ctx, call, args)
	case args.Content != nil:
		text, err := contentText(args.Content)
		if err != nil {
			return nil, err
		}
		if strings.HasSuffix(args.Dest, "/") {
			return nil, &modules.ArgumentError{Arg: "dest", Problem: "dest names a folder", Hint: "with content, name the file"}
		}
		return args.writing(modules.Bytes("content", text), "").propose(ctx, call)
	}
	if strings.HasSuffix(args.Src, "/") {
		return proposeCopyFolder(ctx, call, args)
	}
	source, err := call.Open("files", args.Src)
	if err != nil {
		// It may be a folder; if it is not, what Open had to say is the better message.
		if _, dirErr := call.OpenDir("files", args.Src); dirErr == nil {
			return proposeCopyFolder(ctx, call, args)
		}
		return nil, err
	}
	return args.writing(args.content(source), path.Base(args.Src)).propose(ctx, call)
}

// content is what is written of a source.
func (a copyArgs) content(source modules.Source) modules.Source {
	if source != nil && !a.Decrypt {
		return modules.AsIs(source)
	}
	return source
}

func (a copyArgs) writing(source modules.Source, base string) writing {
	o := a.owning(func() (uint32, bool) { return modules.ModeOf(source) })
	return writing{dest: a.Dest, source: source, ownership: o, base: base, backup: a.Backup, once: !a.Force, validate: a.Validate}
}

// owning is the ownership with the permissions that preserve stands for.
func (a copyArgs) owning(mode func() (uint32, bool)) ownership {
	o := a.ownership
	o.Mode = preserving(a.Mode, mode)
	return o
}

// preserving gives permissions, where they are to be those of a file by asking for them.
func preserving(m modules.Mode, mode func() (uint32, bool)) modules.Mode {
	if !m.Preserve() {
		return m
	}
	bits, ok := mode()
	if !ok {
		return modules.Mode{}
	}
	return modules.OctalMode(bits)
}

// contentText is the bytes of content: a text as it is, anything else as JSON.
func contentText(raw json.RawMessage) ([]byte, error) {
	if raw[0] != '"' {
		return raw, nil
	}
	var text string
	err := json.Unmarshal(raw, &text)
	return []byte(text), err
}

// proposeRemoteCopy copies a file of the host to another place there.
func proposeRemoteCopy(ctx context.Context, call *modules.Call, args copyArgs) (*modules.Proposal, error) {
	if !path.IsAbs(args.Src) {
		return nil, &modules.ArgumentError{Arg: "src", Problem: "src is a relative path", Hint: "with remote_src, write an absolute one"}
	}
	dest := path.Clean(args.Dest)
	inside := path.Join(dest, path.Base(args.Src))
	files, err := call.Host.Look(ctx,
		modules.Query{Path: args.Src, Follow: true, Sum: true},
		modules.Query{Path: dest, Sum: true},
		modules.Query{Path: dest, Follow: true},
		modules.Query{Path: inside, Sum: true})
	if err != nil {
		return nil, err
	}
	src, f := files[0], files[1]
	if files[2].Kind == modules.Directory {
		f = files[3]
	}
	switch src.Kind {
	case modules.Regular:
	case modules.Directory:
		return proposeRemoteFolder(ctx, call, args)
	case modules.Missing:
		return nil, &modules.FileError{Op: "copy", Path: args.Src, Kind: fs.ErrNotExist, Text: "no such file on the host"}
	default:
		return nil, fmt.Errorf("%s is a %s; remote_src copies files and folders", args.Src, src.Kind)
	}
	w := args.writing(nil, "")
	w.ownership = args.owning(func() (uint32, bool) { return src.Mode, true })
	out := &written{Dest: f.Path, Checksum: src.Sum, Size: src.Size}
	p := &modules.Proposal{Output: out}
	if f.Kind != modules.Missing && !args.Force {
		return p, nil
	}
	attributes, diffs := w.attributes(f)
	p.Diff = diffs
	switch {
	case f.Kind != modules.Regular || f.Sum != src.Sum:
		p.Diff = append([]modules.Diff{{Subject: f.Path, Note: "is copied from " + args.Src}}, diffs...)
		p.Change(modules.Change{Kind: modules.CopyFile, Path: args.Src, Target: f.Path, Backup: args.Backup, Attributes: attributes})
	case len(diffs) > 0:
		p.Change(modules.Change{Kind: modules.SetAttributes, Path: f.Path, Attributes: attributes})
	}
	return p, nil
}

// copiedFolder is what copying a folder registers.
type copiedFolder struct {
	Dest    string `json:"dest"`
	Files   int    `json:"files"`
	Written int    `json:"written"`
}

func proposeCopyFolder(ctx context.Context, call *modules.Call, args copyArgs) (*modules.Proposal, error) {
	entries, err := call.OpenDir("files", args.Src)
	if err != nil {
		return nil, err
	}
	dest := path.Clean(args.Dest)
	if !strings.HasSuffix(args.Src, "/") {
		dest = path.Join(dest, path.Base(args.Src))
	}
	queries := []modules.Query{{Path: dest, Follow: true}}
	for _, e := range entries {
		queries = append(queries, modules.Query{Path: path.Join(dest, e.Path), Sum: true, Content: maxShown})
	}
	files, err := call.Host.Look(ctx, queries...)
	if err != nil {
		return nil, err
	}
	out := &copiedFolder{Dest: dest}
	p := &modules.Proposal{Output: out}
	c := folderCopy{args: args, proposal: p}
	if err := c.entry(modules.TreeEntry{Kind: modules.Directory}, files[0]); err != nil {
		return nil, err
	}
	for i, e := range entries {
		if err := c.entry(e, files[i+1]); err != nil {
			return nil, err
		}
		if e.Kind == modules.Regular {
			out.Files++
		}
	}
	out.Written = c.written
	if len(p.Diff) > 0 {
		p.Change(c.changes...)
	}
	return p, nil
}

// folderCopy gathers what a folder's entries need.
type folderCopy struct {
	args     copyArgs
	proposal *modules.Proposal
	changes  []modules.Change
	written  int
}

func (c *folderCopy) entry(e modules.TreeEntry, f modules.File) error {
	switch e.Kind {
	case modules.Directory:
		return c.folder(f)
	case modules.Symlink:
		if f.Kind != modules.Symlink || f.Target != e.Target {
			c.add(modules.Diff{Subject: f.Path, Before: f.Target, After: e.Target, Note: "link"},
				modules.Change{Kind: modules.MakeLink, Path: f.Path, Target: e.Target})
		}
		return nil
	}
	return c.file(e, f)
}

func (c *folderCopy) add(d modules.Diff, change modules.Change) {
	c.proposal.Diff = append(c.proposal.Diff, d)
	c.changes = append(c.changes, change)
}

func (c *folderCopy) folder(f modules.File) error {
	o := ownership{Mode: c.args.DirectoryMode, Owner: c.args.Owner, Group: c.args.Group}
	switch f.Kind {
	case modules.Missing:
		c.add(modules.Diff{Subject: f.Path, Note: "directory is made"},
			modules.Change{Kind: modules.MakeDirectory, Path: f.Path, Attributes: o.fresh(true)})
	case modules.Directory:
		if a, diffs := o.differ(f); len(diffs) > 0 {
			c.proposal.Diff = append(c.proposal.Diff, diffs...)
			c.changes = append(c.changes, modules.Change{Kind: modules.SetAttributes, Path: f.Path, Attributes: a})
		}
	default:
		return fmt.Errorf("%s is a %s where a directory must go; remove it first", f.Path, f.Kind)
	}
	return nil
}

func (c *folderCopy) file(e modules.TreeEntry, f modules.File) error {
	e.Source = c.args.content(e.Source)
	sum, err := e.Source.SHA256()
	if err != nil {
		return err
	}
	w := c.args.writing(e.Source, "")
	w.ownership = c.args.owning(func() (uint32, bool) { return e.Mode, true })
	a, diffs := w.attributes(f)
	switch {
	case f.Kind == modules.Directory:
		return fmt.Errorf("%s is a directory where a file must go; remove it first", f.Path)
	case f.Kind != modules.Missing && !c.args.Force:
		return nil
	case f.Kind != modules.Regular || f.Sum != sum:
		d, err := contentDiff(f, e.Source)
		if err != nil {
			return err
		}
		if f.Kind != modules.Regular && a.Mode == nil {
			mode := e.Mode // a new file of a folder keeps its x
			a.Mode = &mode
		}
		c.written++
		c.add(d, modules.Change{Kind: modules.WriteFile, Path: f.Path, Content: e.Source, Backup: c.args.Backup, Attributes: a})
	case len(diffs) > 0:
		c.changes = append(c.changes, modules.Change{Kind: modules.SetAttributes, Path: f.Path, Attributes: a})
	}
	c.proposal.Diff = append(c.proposal.Diff, diffs...)
	return nil
}
