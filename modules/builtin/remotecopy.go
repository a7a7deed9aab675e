package builtin

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// proposeRemoteFolder copies a folder of the host to another place there, with everything below it. Links are
// copied as links. It costs a round trip a level, and one for all files.
func proposeRemoteFolder(ctx context.Context, call *modules.Call, args copyArgs) (*modules.Proposal, error) {
	src, dest := path.Clean(args.Src), path.Clean(args.Dest)
	if !strings.HasSuffix(args.Src, "/") {
		dest = path.Join(dest, path.Base(src))
	}
	if dest == src || strings.HasPrefix(dest, src+"/") {
		return nil, &modules.ArgumentError{Arg: "dest", Problem: fmt.Sprintf("%s lies in %s, which is to be copied", dest, src), Hint: "copy to another folder"}
	}
	below, err := walk(ctx, call.Host, src)
	if err != nil {
		return nil, err
	}
	queries := []modules.Query{{Path: dest, Follow: true}}
	for _, f := range below {
		queries = append(queries, modules.Query{Path: f.Path, Sum: true}, modules.Query{Path: dest + strings.TrimPrefix(f.Path, src), Sum: true})
	}
	files, err := call.Host.Look(ctx, queries...)
	if err != nil {
		return nil, err
	}
	out := &copiedFolder{Dest: dest}
	c := &remoteFolder{folderCopy{args: args, proposal: &modules.Proposal{Output: out}}}
	if err := c.folder(files[0]); err != nil {
		return nil, err
	}
	for i := 1; i < len(files); i += 2 {
		if files[i].Kind == modules.Regular {
			out.Files++
		}
		if err := c.copy(files[i], files[i+1]); err != nil {
			return nil, err
		}
	}
	if out.Written = c.written; len(c.changes) > 0 {
		c.proposal.Do = apply(c.changes...)
	}
	return c.proposal, nil
}

// remoteFolder gathers what the entries of a folder of the host need.
type remoteFolder struct{ folderCopy }

func (c *remoteFolder) copy(from, to modules.File) error {
	switch from.Kind {
	case modules.Directory:
		return c.folder(to)
	case modules.Symlink:
		if to.Kind != modules.Symlink || to.Target != from.Target {
			c.add(modules.Diff{Subject: to.Path, Before: to.Target, After: from.Target, Note: "link"},
				modules.Change{Kind: modules.MakeLink, Path: to.Path, Target: from.Target})
		}
		return nil
	case modules.Regular:
		return c.copyFile(from, to)
	case modules.Missing: // it went while we looked
		return nil
	case modules.Other:
	}
	return fmt.Errorf("%s is neither file, folder nor link and is not copied", from.Path)
}

func (c *remoteFolder) copyFile(from, to modules.File) error {
	o := c.args.owning(func() (uint32, bool) { return from.Mode, true })
	a, diffs := o.fresh(false), []modules.Diff(nil)
	if to.Kind == modules.Regular {
		a, diffs = o.differ(to)
	}
	switch {
	case to.Kind == modules.Directory:
		return fmt.Errorf("%s is a directory where a file must go; remove it first", to.Path)
	case to.Kind != modules.Missing && !c.args.Force:
		return nil
	case to.Kind != modules.Regular || to.Sum != from.Sum:
		if to.Kind != modules.Regular && a.Mode == nil {
			mode := from.Mode // a new file of a folder keeps its x
			a.Mode = &mode
		}
		c.written++
		c.add(modules.Diff{Subject: to.Path, Note: "is copied from " + from.Path},
			modules.Change{Kind: modules.CopyFile, Path: from.Path, Target: to.Path, Backup: c.args.Backup, Attributes: a})
	case len(diffs) > 0:
		c.changes = append(c.changes, modules.Change{Kind: modules.SetAttributes, Path: to.Path, Attributes: a})
	}
	c.proposal.Diff = append(c.proposal.Diff, diffs...)
	return nil
}
