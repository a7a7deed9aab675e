package overlay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/archive"
)

// maxArchive is how large an archive on the host may be to be read over the connection for a
// prediction. Archives that the run itself would have sent are read where they are, whatever their size.
const maxArchive = 16 << 20

func (o *view) unpack(ctx context.Context, c modules.Change) error {
	source, err := o.archive(ctx, c.Path)
	if err != nil {
		return err
	}
	members, err := o.membersOf(source)
	if errors.Is(err, modules.ErrUnpredicted) {
		return err
	}
	if err != nil {
		return &modules.FileError{Op: "unpack", Path: c.Path, Text: err.Error()}
	}
	dir, err := o.resolve(ctx, c.Target, true)
	if err != nil {
		return err
	}
	f, err := o.stateOf(ctx, dir)
	switch {
	case err != nil:
		return err
	case f.Kind == modules.Missing:
		return notExist("unpack", c.Target)
	case f.Kind != modules.Directory:
		return &modules.FileError{Op: "unpack", Path: c.Target, Text: "not a directory"}
	}
	for _, m := range members {
		if err := o.unpackMember(ctx, source, dir.path, m, c); err != nil {
			return err
		}
	}
	return nil
}

// archive gives the content of a file that is to be unpacked.
func (o *view) archive(ctx context.Context, p string) (modules.Source, error) {
	at, err := o.resolve(ctx, p, true)
	if err != nil {
		return nil, err
	}
	f, err := o.stateOf(ctx, at)
	switch {
	case err != nil:
		return nil, err
	case f.Kind == modules.Missing:
		return nil, notExist("unpack", p)
	case f.Kind != modules.Regular:
		return nil, &modules.FileError{Op: "unpack", Path: p, Text: "is no regular file"}
	case at.node != nil && at.node.content != nil:
		return at.node.content, nil
	}
	under := at.under
	if at.node != nil {
		under = at.node.origin
	}
	files, err := o.under.Look(ctx, modules.Query{Path: under, Content: maxArchive})
	if err != nil {
		return nil, err
	}
	if files[0].Truncated {
		return nil, fmt.Errorf("%s is too large to be read for a prediction: %w", p, modules.ErrUnpredicted)
	}
	return modules.Bytes(p, files[0].Content), nil
}

func (o *view) membersOf(source modules.Source) ([]archive.Member, error) {
	sum, err := source.SHA256()
	if err != nil {
		return nil, err
	}
	// Held while reading: of many hosts that unpack the same package one reads it and the others wait.
	o.shared.mu.Lock()
	defer o.shared.mu.Unlock()
	if members, ok := o.shared.archives[sum]; ok {
		return members, nil
	}
	members, err := archive.List(source)
	if err != nil {
		return nil, err
	}
	if o.shared.archives == nil {
		o.shared.archives = map[string][]archive.Member{}
	}
	o.shared.archives[sum] = members
	return members, nil
}

func (o *view) unpackMember(ctx context.Context, source modules.Source, dir string, m archive.Member, c modules.Change) error {
	rel, ok := m.Strip(c.Strip)
	if !ok {
		return nil
	}
	p := path.Join(dir, rel)
	if err := o.makeDirectory(ctx, modules.Change{Kind: modules.MakeDirectory, Path: path.Dir(p)}); err != nil {
		return err
	}
	attributes := modules.Attributes{Mode: &m.Mode}
	switch {
	case m.Kind == modules.Directory:
		return o.makeDirectory(ctx, modules.Change{Kind: modules.MakeDirectory, Path: p, Attributes: attributes})
	case m.Kind == modules.Symlink:
		return o.makeLink(ctx, modules.Change{Kind: modules.MakeLink, Path: p, Target: m.Target})
	case m.Hard:
		from, ok := m.StripTarget(c.Strip)
		if !ok {
			return notExist("unpack", m.Target)
		}
		return o.copyFile(ctx, modules.Change{Kind: modules.CopyFile, Path: path.Join(dir, from), Target: p})
	}
	content := &memberSource{archive: source, member: m}
	return o.write(ctx, p, &node{content: content}, modules.Change{Kind: modules.WriteFile, Attributes: attributes})
}

// memberSource is one file of an archive, read from the archive each time: a package may be larger
// than the control node's memory.
type memberSource struct {
	archive modules.Source
	member  archive.Member
}

func (s *memberSource) Name() string            { return s.archive.Name() + ":" + s.member.Path }
func (s *memberSource) Size() int64             { return s.member.Size }
func (s *memberSource) SHA256() (string, error) { return s.member.Sum, nil }

func (s *memberSource) Open() (io.ReadCloser, error) {
	return archive.Open(s.archive, s.member.Path), nil
}
