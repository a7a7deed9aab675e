package modules

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Bytes is content held in memory. It must not be changed afterwards.
func Bytes(name string, content []byte) Source { return &memorySource{name: name, content: content} }

type memorySource struct {
	name    string
	content []byte
	digest  sync.Once
	sum     string
}

func (s *memorySource) Name() string { return s.name }
func (s *memorySource) Size() int64  { return int64(len(s.content)) }

func (s *memorySource) SHA256() (string, error) {
	s.digest.Do(func() {
		sum := sha256.Sum256(s.content)
		s.sum = hex.EncodeToString(sum[:])
	})
	return s.sum, nil
}

func (s *memorySource) Open() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.content)), nil
}

// AsIs is a source as it lies on the control node: Call.Open decrypts what ansible-vault encrypted, and this is
// the file before that. Of any other source it is the source itself.
func AsIs(s Source) Source {
	if decrypted, ok := s.(interface{ AsIs() Source }); ok {
		return decrypted.AsIs()
	}
	return s
}

// Encrypted says whether a source is the decrypted content of an encrypted file, which must not be shown.
func Encrypted(s Source) bool {
	_, decrypted := s.(interface{ AsIs() Source })
	return decrypted
}

// LocalFile is a regular file of the control node. Its size is taken now, its content when it is read.
// A file that is not there is fs.ErrNotExist.
func LocalFile(path string) (Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	return &fileSource{path: path, size: info.Size(), mode: uint32(info.Mode().Perm())}, nil
}

var errNotRegular = errors.New("is no regular file")

// ModeOf is the permission bits of a file of the control node; false: the content is no file.
func ModeOf(s Source) (uint32, bool) {
	if f, ok := AsIs(s).(interface{ Mode() (uint32, bool) }); ok {
		return f.Mode()
	}
	return 0, false
}

type fileSource struct {
	path string
	size int64
	mode uint32
	mu   sync.Mutex // guards sum
	sum  string
}

func (s *fileSource) Name() string                 { return s.path }
func (s *fileSource) Size() int64                  { return s.size }
func (s *fileSource) Open() (io.ReadCloser, error) { return os.Open(s.path) }
func (s *fileSource) Mode() (uint32, bool)         { return s.mode, true }

func (s *fileSource) SHA256() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sum != "" {
		return s.sum, nil
	}
	sum, err := sumOf(s)
	if err != nil {
		return "", err
	}
	s.sum = sum
	return sum, nil
}

// sumOf reads a source to its end.
func sumOf(s Source) (string, error) {
	r, err := s.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", fmt.Errorf("read %s: %w", s.Name(), err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// TreeEntry is something in a folder of the control node.
type TreeEntry struct {
	// Path is relative to the folder, with slashes.
	Path string
	Kind FileKind // Regular, Directory or Symlink
	// Mode is the permission bits.
	Mode uint32
	// Target is what a symbolic link holds.
	Target string
	// Source is a regular file's content.
	Source Source
}

// LocalTree lists everything below a folder of the control node, in order of path. Symbolic links are
// listed, not followed; other special files are left out.
func LocalTree(dir string) ([]TreeEntry, error) {
	var entries []TreeEntry
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		entry := TreeEntry{Path: filepath.ToSlash(rel), Mode: uint32(info.Mode().Perm())}
		switch info.Mode().Type() {
		case fs.ModeDir:
			entry.Kind = Directory
		case fs.ModeSymlink:
			entry.Kind = Symlink
			if entry.Target, err = os.Readlink(path); err != nil {
				return err
			}
		case 0:
			entry.Kind = Regular
			entry.Source = &fileSource{path: path, size: info.Size(), mode: entry.Mode}
		default:
			return nil
		}
		entries = append(entries, entry)
		return nil
	})
	return entries, err
}
