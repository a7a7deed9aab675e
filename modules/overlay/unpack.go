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

func (v *view) unpack(ctx context.Context, c modules.Change) error {
	source, err := v.archive(ctx, c.Path)
	if err != nil {
		return err
	}
	members, err := v.membersOf(source)
	if errors.Is(err, modules.ErrUnpredicted) {
		return err
	}
	if err != nil {
		return &modules.FileError{Op: "unpack", Path: c.Path, Text: err.Error()}
	}
	dir, err := v.resolve(ctx, c.Target, true)
	if err != nil {
		return err
	}
	f, err := v.stateOf(ctx, dir)
	switch {
	case err != nil:
		return err
	case f.Kind == modules.Missing:
		return notExist("unpack", c.Target)
	case f.Kind != modules.Directory:
		return &modules.FileError{Op: "unpack", Path: c.Target, Text: "not a directory"}
	}
	for _, m := range members {
		if err := v.unpackMember(ctx, source, dir.path, m, c); err != nil {
			return err
		}
	}
	return nil
}

// archive gives the content of a file that is to be unpacked.
func (v *view) archive(ctx context.Context, p string) (modules.Source, error) {
	at, err := v.resolve(ctx, p, true)
	if err != nil {
		return nil, err
	}
	f, err := v.stateOf(ctx, at)
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
	files, err := v.under.Look(ctx, modules.Query{Path: under, Content: maxArchive})
	if err != nil {
		return nil, err
	}
	if files[0].Truncated {
		return nil, fmt.Errorf("%s is too large to be read for a prediction: %w", p, modules.ErrUnpredicted)
	}
	return modules.Bytes(p, files[0].Content), nil
}

func (v *view) membersOf(source modules.Source) ([]archive.Member, error) {
	sum, err := source.SHA256()
	if err != nil {
		return nil, err
	}
	// Held while reading: of many hosts that unpack the same package one reads it and the others wait.
	v.shared.mu.Lock()
	defer v.shared.mu.Unlock()
	if members, ok := v.shared.archives[sum]; ok {
		return members, nil
	}
	members, err := archive.List(source)
	if err != nil {
		return nil, err
	}
	if v.shared.archives == nil {
		v.shared.archives = map[string][]archive.Member{}
	}
	v.shared.archives[sum] = members
	return members, nil
}

func (v *view) unpackMember(ctx context.Context, source modules.Source, dir string, m archive.Member, c modules.Change) error {
	rel, ok := m.Strip(c.Strip)
	if !ok {
		return nil
	}
	p := path.Join(dir, rel)
	if err := v.makeDirectory(ctx, modules.Change{Kind: modules.MakeDirectory, Path: path.Dir(p)}); err != nil {
		return err
	}
	attributes := modules.Attributes{Mode: &m.Mode}
	switch {
	case m.Kind == modules.Directory:
		return v.makeDirectory(ctx, modules.Change{Kind: modules.MakeDirectory, Path: p, Attributes: attributes})
	case m.Kind == modules.Symlink:
		return v.makeLink(ctx, modules.Change{Kind: modules.MakeLink, Path: p, Target: m.Target})
	case m.Hard:
		from, ok := m.StripTarget(c.Strip)
		if !ok {
			return notExist("unpack", m.Target)
		}
		return v.copyFile(ctx, modules.Change{Kind: modules.CopyFile, Path: path.Join(dir, from), Target: p})
	}
	content := &memberSource{archive: source, member: m}
	return v.write(ctx, p, &node{content: content}, modules.Change{Kind: modules.WriteFile, Attributes: attributes})
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
