// Package archive reads tar, tar.gz and zip files from front to back. It writes nothing.
//
// Every name it gives is relative, clean and inside the folder that the archive is unpacked to; a name
// that is not ends the reading with an error.
package archive

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
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

// maxZip is how large a zip file may be: unlike tar it cannot be read from front to back.
const maxZip = 256 << 20

// Member is one entry of an archive.
type Member struct {
	// Path is relative and clean.
	Path string
	Kind modules.FileKind // Regular, Directory or Symlink
	// Mode is the permission bits.
	Mode uint32
	// Size is a regular file's.
	Size int64
	// Target is what a symbolic link holds; of a hard link the other member's path.
	Target string
	// Hard marks a hard link; its Kind is Regular and it has no content of its own.
	Hard bool
	// Sum is a regular file's SHA-256; only List gives it.
	Sum string
}

// Strip is the member's path without its first n elements; false: nothing is left.
func (m Member) Strip(n int) (string, bool) { return strip(m.Path, n) }

// StripTarget is a hard link's target as Strip would have its path.
func (m Member) StripTarget(n int) (string, bool) { return strip(m.Target, n) }

func strip(p string, n int) (string, bool) {
	parts := strings.Split(p, "/")
	if len(parts) <= n {
		return "", false
	}
	return path.Join(parts[n:]...), true
}

// List reads a whole archive and gives its members with their sums.
func List(source modules.Source) ([]Member, error) {
	var members []Member
	err := Walk(source, func(m Member, content io.Reader) error {
		if m.Kind == modules.Regular && !m.Hard {
			h := sha256.New()
			if _, err := io.Copy(h, content); err != nil {
				return err
			}
			m.Sum = hex.EncodeToString(h.Sum(nil))
		}
		members = append(members, m)
		return nil
	})
	return members, err
}

// Open reads one regular file of an archive. Closing the reader early ends the reading.
func Open(source modules.Source, p string) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		err := Walk(source, func(m Member, content io.Reader) error {
			if m.Path != p || m.Kind != modules.Regular || m.Hard {
				return nil
			}
			if _, err := io.Copy(w, content); err != nil {
				return err
			}
			return errFound
		})
		switch {
		case errors.Is(err, errFound):
			err = nil
		case err == nil:
			err = &fs.PathError{Op: "open", Path: source.Name() + ":" + p, Err: fs.ErrNotExist}
		}
		w.CloseWithError(err)
	}()
	return r
}

// errFound ends a walk that has what it looked for.
var errFound = errors.New("found")

// Walk calls visit for each member of a tar, tar.gz or zip file, in order. Members that would
// land outside the folder are an error.
func Walk(source modules.Source, visit func(m Member, content io.Reader) error) error {
	r, err := source.Open()
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
		return walkZip(source, buffered, visit)
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return err
		}
		return walkTar(z, visit)
	}
	return walkTar(buffered, visit)
}

func walkTar(r io.Reader, visit func(m Member, content io.Reader) error) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		m := Member{Mode: uint32(h.Mode) & 0o7777, Size: h.Size, Target: h.Linkname}
		switch h.Typeflag {
		case tar.TypeReg:
			m.Kind = modules.Regular
		case tar.TypeDir:
			m.Kind = modules.Directory
		case tar.TypeSymlink:
			m.Kind = modules.Symlink
		case tar.TypeLink:
			m.Kind, m.Hard = modules.Regular, true
			if m.Target, err = inside(h.Linkname); err != nil {
				return err
			}
		default:
			continue
		}
		if m.Path, err = inside(h.Name); err != nil {
			return err
		}
		if m.Path == "." {
			continue
		}
		if err := visit(m, t); err != nil {
			return err
		}
	}
}

func walkZip(source modules.Source, r io.Reader, visit func(m Member, content io.Reader) error) error {
	if source.Size() > maxZip {
		return fmt.Errorf("zip file of %d bytes: %w", source.Size(), modules.ErrUnpredicted)
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

func visitZip(f *zip.File, visit func(m Member, content io.Reader) error) error {
	p, err := inside(f.Name)
	if err != nil {
		return err
	}
	m := Member{Path: p, Kind: modules.Regular, Mode: uint32(f.Mode().Perm()), Size: int64(f.UncompressedSize64)}
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	switch {
	case f.Mode().IsDir():
		m.Kind = modules.Directory
	case f.Mode()&fs.ModeSymlink != 0:
		target, err := io.ReadAll(io.LimitReader(r, 4096))
		if err != nil {
			return err
		}
		m.Kind, m.Target = modules.Symlink, string(target)
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
