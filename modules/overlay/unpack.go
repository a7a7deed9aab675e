package overlay

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// maxArchive is how large an archive on the host may be to be read over the connection for a
// prediction. Archives that the run itself would have sent are read where they are, whatever their size.
const maxArchive = 16 << 20

// maxZip is how large a zip file may be: unlike tar it cannot be read from front to back.
const maxZip = 256 << 20

// member is one entry of an archive. Its path is relative and clean.
type member struct {
	path   string
	kind   modules.FileKind
	mode   uint32
	size   int64
	target string // of a symbolic link as written; of a hard link the member's path
	hard   bool
	sum    string
}

func (o *Overlay) unpack(ctx context.Context, c modules.Change) error {
	archive, err := o.archive(ctx, c.Path)
	if err != nil {
		return err
	}
	members, err := o.membersOf(archive)
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
		if err := o.unpackMember(ctx, archive, dir.path, m, c); err != nil {
			return err
		}
	}
	return nil
}

// archive gives the content of a file that is to be unpacked.
func (o *Overlay) archive(ctx context.Context, p string) (modules.Source, error) {
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

func (o *Overlay) membersOf(archive modules.Source) ([]member, error) {
	sum, err := archive.SHA256()
	if err != nil {
		return nil, err
	}
	// Held while reading: of many hosts that unpack the same package one reads it and the others wait.
	o.shared.mu.Lock()
	defer o.shared.mu.Unlock()
	if members, ok := o.shared.archives[sum]; ok {
		return members, nil
	}
	var members []member
	err = walkArchive(archive, func(m member, content io.Reader) error {
		if m.kind == modules.Regular && !m.hard {
			h := sha256.New()
			if _, err := io.Copy(h, content); err != nil {
				return err
			}
			m.sum = hex.EncodeToString(h.Sum(nil))
		}
		members = append(members, m)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if o.shared.archives == nil {
		o.shared.archives = map[string][]member{}
	}
	o.shared.archives[sum] = members
	return members, nil
}

func (o *Overlay) unpackMember(ctx context.Context, archive modules.Source, dir string, m member, c modules.Change) error {
	rel, ok := strip(m.path, c.Strip)
	if !ok {
		return nil
	}
	p := path.Join(dir, rel)
	if err := o.makeDirectory(ctx, modules.Change{Kind: modules.MakeDirectory, Path: path.Dir(p)}); err != nil {
		return err
	}
	attributes := modules.Attributes{Mode: &m.mode}
	switch {
	case m.kind == modules.Directory:
		return o.makeDirectory(ctx, modules.Change{Kind: modules.MakeDirectory, Path: p, Attributes: attributes})
	case m.kind == modules.Symlink:
		return o.makeLink(ctx, modules.Change{Kind: modules.MakeLink, Path: p, Target: m.target})
	case m.hard:
		from, ok := strip(m.target, c.Strip)
		if !ok {
			return notExist("unpack", m.target)
		}
		return o.copyFile(ctx, modules.Change{Kind: modules.CopyFile, Path: path.Join(dir, from), Target: p})
	}
	source := &memberSource{archive: archive, member: m}
	return o.write(ctx, p, &node{content: source}, modules.Change{Kind: modules.WriteFile, Attributes: attributes})
}

func strip(p string, n int) (string, bool) {
	parts := strings.Split(p, "/")
	if len(parts) <= n {
		return "", false
	}
	return path.Join(parts[n:]...), true
}

// memberSource is one file of an archive, read from the archive each time: a package may be larger
// than the control node's memory.
type memberSource struct {
	archive modules.Source
	member  member
}

func (s *memberSource) Name() string            { return s.archive.Name() + ":" + s.member.path }
func (s *memberSource) Size() int64             { return s.member.size }
func (s *memberSource) SHA256() (string, error) { return s.member.sum, nil }

func (s *memberSource) Open() (io.ReadCloser, error) {
	r, w := io.Pipe()
	go func() {
		err := walkArchive(s.archive, func(m member, content io.Reader) error {
			if m.path != s.member.path || m.kind != modules.Regular || m.hard {
				return nil
			}
			if _, err := io.Copy(w, content); err != nil {
				return err
			}
			return errFound
		})
		if errors.Is(err, errFound) {
			err = nil
		}
		w.CloseWithError(err)
	}()
	return r, nil
}

var errFound = errors.New("found")

// walkArchive calls visit for each member of a tar, tar.gz or zip file, in order. Members that would
// land outside the folder are an error.
func walkArchive(archive modules.Source, visit func(m member, content io.Reader) error) error {
	r, err := archive.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	buffered := bufio.NewReaderSize(r, 1<<16)
	magic, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch {
	case bytes.HasPrefix(magic, []byte("PK\x03\x04")):
		return walkZip(archive, buffered, visit)
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return err
		}
		return walkTar(z, visit)
	}
	return walkTar(buffered, visit)
}

func walkTar(r io.Reader, visit func(m member, content io.Reader) error) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		m := member{mode: uint32(h.Mode) & 0o7777, size: h.Size, target: h.Linkname}
		switch h.Typeflag {
		case tar.TypeReg:
			m.kind = modules.Regular
		case tar.TypeDir:
			m.kind = modules.Directory
		case tar.TypeSymlink:
			m.kind = modules.Symlink
		case tar.TypeLink:
			m.kind, m.hard = modules.Regular, true
			if m.target, err = inside(h.Linkname); err != nil {
				return err
			}
		default:
			continue
		}
		if m.path, err = inside(h.Name); err != nil {
			return err
		}
		if m.path == "." {
			continue
		}
		if err := visit(m, t); err != nil {
			return err
		}
	}
}

func walkZip(archive modules.Source, r io.Reader, visit func(m member, content io.Reader) error) error {
	if archive.Size() > maxZip {
		return fmt.Errorf("zip file of %d bytes: %w", archive.Size(), modules.ErrUnpredicted)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return err
	}
	for _, f := range z.File {
		if err := visitZip(f, visit); err != nil {
			return err
		}
	}
	return nil
}

func visitZip(f *zip.File, visit func(m member, content io.Reader) error) error {
	p, err := inside(f.Name)
	if err != nil {
		return err
	}
	m := member{path: p, kind: modules.Regular, mode: uint32(f.Mode().Perm()), size: int64(f.UncompressedSize64)}
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	switch {
	case f.Mode().IsDir():
		m.kind = modules.Directory
	case f.Mode()&fs.ModeSymlink != 0:
		target, err := io.ReadAll(io.LimitReader(r, 4096))
		if err != nil {
			return err
		}
		m.kind, m.target = modules.Symlink, string(target)
	}
	return visit(m, r)
}

// inside refuses a name that leads out of the folder.
func inside(name string) (string, error) {
	clean := path.Clean(strings.TrimPrefix(name, "./"))
	if path.IsAbs(name) || clean == ".." || strings.HasPrefix(clean, "../") {
		return "", fmt.Errorf("entry %q would land outside the folder", name)
	}
	return clean, nil
}
