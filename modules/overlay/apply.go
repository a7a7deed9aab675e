package overlay

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// apply makes one change in the layer. Like a host it refuses what cannot be, with the same errors.
func (v *view) apply(ctx context.Context, c modules.Change) error {
	switch c.Kind {
	case modules.WriteFile:
		if c.Content == nil {
			return &modules.FileError{Op: "write", Path: c.Path, Kind: fs.ErrInvalid, Text: "no content was given"}
		}
		return v.write(ctx, c.Path, &node{content: c.Content}, c)
	case modules.CopyFile:
		return v.copyFile(ctx, c)
	case modules.MakeDirectory:
		return v.makeDirectory(ctx, c)
	case modules.MakeLink:
		return v.makeLink(ctx, c)
	case modules.SetAttributes:
		return v.setAttributes(ctx, c)
	case modules.Remove:
		return v.remove(ctx, c)
	case modules.RemoveDirectory:
		return v.removeDirectory(ctx, c)
	case modules.Rename:
		return v.rename(ctx, c)
	case modules.Unpack:
		return v.unpack(ctx, c)
	case modules.Touch:
		return v.touch(ctx, c)
	}
	return &modules.FileError{Op: string(c.Kind), Path: c.Path, Kind: fs.ErrInvalid, Text: "no such kind of change"}
}

// target resolves where a new file goes: its folder must be there. A link at the path itself is not
// followed, as a rename over it would not.
func (v *view) target(ctx context.Context, op, p string) (place, modules.File, error) {
	at, err := v.resolve(ctx, p, false)
	if err != nil {
		return place{}, modules.File{}, err
	}
	parent, err := v.stateOf(ctx, v.layer.at(path.Dir(at.path)))
	if err != nil {
		return place{}, modules.File{}, err
	}
	switch parent.Kind {
	case modules.Directory:
	case modules.Missing:
		return place{}, modules.File{}, notExist(op, p)
	default:
		return place{}, modules.File{}, &modules.FileError{Op: op, Path: p, Text: "not a directory"}
	}
	old, err := v.stateOf(ctx, at)
	return at, old, err
}

// write puts a regular file at a path. n says where its content is; size and attributes come from c
// and from what was there.
func (v *view) write(ctx context.Context, p string, n *node, c modules.Change) error {
	at, old, err := v.target(ctx, string(c.Kind), p)
	if err != nil {
		return err
	}
	if old.Kind == modules.Directory {
		return &modules.FileError{Op: string(c.Kind), Path: p, Text: "is a directory"}
	}
	if c.Backup && old.Kind == modules.Regular {
		if err := v.backup(at, old); err != nil {
			return err
		}
	}
	f := modules.File{Path: at.path, Kind: modules.Regular, Mode: 0o644, Size: n.file.Size, Modified: time.Now()}
	if n.content != nil {
		f.Size = n.content.Size()
	}
	if old.Kind == modules.Regular {
		f.Mode, f.UID, f.GID, f.Owner, f.Group = old.Mode, old.UID, old.GID, old.Owner, old.Group
	} else if err := v.own(ctx, &f); err != nil {
		return err
	}
	if err := v.attribute(ctx, &f, c.Attributes); err != nil {
		return err
	}
	n.file = f
	v.layer[at.path] = n
	return nil
}

// backup keeps a file that is about to be replaced.
func (v *view) backup(at place, old modules.File) error {
	n := &node{origin: at.under}
	if at.node != nil {
		*n = *at.node
	}
	p := at.path + "." + time.Now().UTC().Format("20060102T150405") + "~"
	n.file = old
	n.file.Path = p
	v.layer[p] = n
	return nil
}

func (v *view) copyFile(ctx context.Context, c modules.Change) error {
	from, err := v.resolve(ctx, c.Path, true)
	if err != nil {
		return err
	}
	f, err := v.stateOf(ctx, from)
	switch {
	case err != nil:
		return err
	case f.Kind == modules.Missing:
		return notExist("copy", c.Path)
	case f.Kind != modules.Regular:
		return &modules.FileError{Op: "copy", Path: c.Path, Text: "is no regular file"}
	}
	n := &node{origin: from.under, file: modules.File{Size: f.Size}}
	if from.node != nil {
		n.content, n.origin = from.node.content, from.node.origin
	}
	return v.write(ctx, c.Target, n, c)
}

func (v *view) makeDirectory(ctx context.Context, c modules.Change) error {
	at, err := v.resolve(ctx, c.Path, true)
	if err != nil {
		return err
	}
	var missing []string
	for p := at.path; ; p = path.Dir(p) {
		f, err := v.stateOf(ctx, v.layer.at(p))
		if err != nil {
			return err
		}
		if f.Kind == modules.Directory {
			break
		}
		if f.Kind != modules.Missing {
			return &modules.FileError{Op: "mkdir", Path: c.Path, Kind: fs.ErrExist, Text: fmt.Sprintf("%s is a %s", p, f.Kind)}
		}
		missing = append(missing, p)
	}
	for _, p := range missing {
		f := modules.File{Path: p, Kind: modules.Directory, Mode: 0o755, Modified: time.Now()}
		if err := v.own(ctx, &f); err != nil {
			return err
		}
		v.layer[p] = &node{file: f}
	}
	return v.change(ctx, v.layer.at(at.path), c.Attributes)
}

func (v *view) makeLink(ctx context.Context, c modules.Change) error {
	at, old, err := v.target(ctx, "link", c.Path)
	if err != nil {
		return err
	}
	if old.Kind == modules.Directory {
		return &modules.FileError{Op: "link", Path: c.Path, Kind: fs.ErrExist, Text: "is a directory"}
	}
	f := modules.File{Path: at.path, Kind: modules.Symlink, Mode: 0o777, Target: c.Target, Size: int64(len(c.Target)), Modified: time.Now()}
	if err := v.own(ctx, &f); err != nil {
		return err
	}
	n := &node{file: f}
	attributes := c.Attributes
	attributes.Mode = nil // a link has none
	if err := v.attribute(ctx, &n.file, attributes); err != nil {
		return err
	}
	v.layer[at.path] = n
	return nil
}

func (v *view) setAttributes(ctx context.Context, c modules.Change) error {
	at, err := v.resolve(ctx, c.Path, true)
	if err != nil {
		return err
	}
	f, err := v.stateOf(ctx, at)
	if err != nil {
		return err
	}
	if f.Kind == modules.Missing {
		return notExist("attributes", c.Path)
	}
	if err := v.change(ctx, at, c.Attributes); err != nil {
		return err
	}
	if !c.Recursive || f.Kind != modules.Directory {
		return nil
	}
	return v.changeBelow(ctx, at.path, c.Attributes)
}

// maxTree bounds how many files a recursive change takes into the layer: check mode must not eat the
// control node's memory over somebody's data folder.
const maxTree = 200_000

func (v *view) changeBelow(ctx context.Context, dir string, a modules.Attributes) error {
	level := []string{dir}
	for count := 0; len(level) > 0; {
		var next []string
		for _, d := range level {
			entries, err := v.list(ctx, v.layer.at(d))
			if err != nil {
				return err
			}
			if count += len(entries); count > maxTree {
				return fmt.Errorf("%s holds more than %d files: %w", dir, maxTree, modules.ErrUnpredicted)
			}
			for _, f := range entries {
				own := a
				if f.Kind == modules.Symlink {
					own.Mode = nil // a link has none
				}
				if err := v.changeFile(ctx, v.layer.at(f.Path), f, own); err != nil {
					return err
				}
				if f.Kind == modules.Directory {
					next = append(next, f.Path)
				}
			}
		}
		level = next
	}
	return nil
}

// change gives a place other attributes.
func (v *view) change(ctx context.Context, at place, a modules.Attributes) error {
	f, err := v.stateOf(ctx, at)
	if err != nil {
		return err
	}
	return v.changeFile(ctx, at, f, a)
}

func (v *view) changeFile(ctx context.Context, at place, f modules.File, a modules.Attributes) error {
	if a == (modules.Attributes{}) {
		return nil
	}
	n := &node{origin: at.under}
	if at.node != nil {
		*n = *at.node
	}
	n.file = f
	n.file.Path, n.file.Entries = at.path, nil
	if err := v.attribute(ctx, &n.file, a); err != nil {
		return err
	}
	v.layer[at.path] = n
	return nil
}

func (v *view) remove(ctx context.Context, c modules.Change) error {
	at, err := v.resolve(ctx, c.Path, false)
	if err != nil {
		return err
	}
	if at.path == "/" {
		return &modules.FileError{Op: "remove", Path: c.Path, Kind: fs.ErrInvalid, Text: "refused"}
	}
	v.hide(at.path)
	return nil
}

func (v *view) removeDirectory(ctx context.Context, c modules.Change) error {
	at, err := v.resolve(ctx, c.Path, false)
	if err != nil {
		return err
	}
	f, err := v.stateOf(ctx, at)
	switch {
	case err != nil:
		return err
	case f.Kind == modules.Missing:
		return nil
	case f.Kind != modules.Directory:
		return &modules.FileError{Op: "remove directory", Path: c.Path, Text: "not a directory"}
	}
	entries, err := v.list(ctx, at)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return &modules.FileError{Op: "remove directory", Path: c.Path, Text: "directory not empty"}
	}
	v.hide(at.path)
	return nil
}

// hide makes a path and all below it missing.
func (v *view) hide(p string) {
	v.layer.drop(p)
	v.layer[p] = &node{file: modules.File{Path: p, Kind: modules.Missing}}
}

func (v *view) rename(ctx context.Context, c modules.Change) error {
	from, err := v.resolve(ctx, c.Path, false)
	if err != nil {
		return err
	}
	f, err := v.stateOf(ctx, from)
	if err != nil {
		return err
	}
	if f.Kind == modules.Missing {
		return notExist("rename", c.Path)
	}
	to, old, err := v.target(ctx, "rename", c.Target)
	if err != nil {
		return err
	}
	if to.path == from.path {
		return nil
	}
	if err := mayReplace(c, f, to, old); err != nil {
		return err
	}
	n := &node{origin: from.under}
	if from.node != nil {
		*n = *from.node
	}
	moved := map[string]*node{}
	for _, p := range v.layer.children(from.path, true) {
		child := v.layer[p]
		p = to.path + strings.TrimPrefix(p, from.path)
		child.file.Path = p
		moved[p] = child
	}
	v.layer.drop(to.path)
	v.hide(from.path)
	n.file = f
	n.file.Path = to.path
	v.layer[to.path] = n
	for p, child := range moved {
		v.layer[p] = child
	}
	return nil
}

// mayReplace says what may stand at the target: a file for a file, nothing for a folder.
func mayReplace(c modules.Change, f modules.File, to place, old modules.File) error {
	refused := func(kind error, text string) error {
		return &modules.FileError{Op: "rename", Path: c.Target, Kind: kind, Text: text}
	}
	switch {
	case f.Kind == modules.Directory && strings.HasPrefix(to.path, f.Path+"/"):
		return refused(fs.ErrInvalid, "lies inside "+c.Path)
	case old.Kind == modules.Directory:
		return refused(fs.ErrExist, "file exists")
	case f.Kind == modules.Directory && old.Kind != modules.Missing:
		return refused(nil, "not a directory")
	}
	return nil
}

func (v *view) touch(ctx context.Context, c modules.Change) error {
	at, err := v.resolve(ctx, c.Path, true)
	if err != nil {
		return err
	}
	f, err := v.stateOf(ctx, at)
	if err != nil {
		return err
	}
	if f.Kind == modules.Missing {
		return v.write(ctx, at.path, &node{content: modules.Bytes(c.Path, nil)}, c)
	}
	n := &node{origin: at.under}
	if at.node != nil {
		*n = *at.node
	}
	n.file = f
	n.file.Path, n.file.Modified = at.path, time.Now()
	if err := v.attribute(ctx, &n.file, c.Attributes); err != nil {
		return err
	}
	v.layer[at.path] = n
	return nil
}
