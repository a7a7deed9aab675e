package builtin

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/pegbook/pegbook/modules"
)

// spooled is content that came over the network: on the control node's disk, in a file that has no name any
// more and goes when nothing refers to it. Check mode keeps it for later tasks that way.
type spooled struct {
	name string
	file *os.File
	size int64
	sum  string
}

var _ modules.Source = (*spooled)(nil)

// spool reads content to its end. Each of also sees all of it.
func spool(name string, r io.Reader, also ...hash.Hash) (*spooled, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "pegbook", "downloads")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, "download-*")
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	writers := []io.Writer{f, sum}
	for _, h := range also {
		writers = append(writers, h)
	}
	size, err := io.Copy(io.MultiWriter(writers...), r)
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		f.Close()
		return nil, err
	}
	return &spooled{name: name, file: f, size: size, sum: hex.EncodeToString(sum.Sum(nil))}, nil
}

// Name implements modules.Source.
func (s *spooled) Name() string { return s.name }

// Size implements modules.Source.
func (s *spooled) Size() int64 { return s.size }

// SHA256 implements modules.Source.
func (s *spooled) SHA256() (string, error) { return s.sum, nil }

// Open implements modules.Source.
func (s *spooled) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(s.file, 0, s.size)), nil
}
