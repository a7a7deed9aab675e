//go:build !linux

package plugins

import (
	"os"
	"path/filepath"
)

// image is a program as it was when its sum was taken: a copy in a folder that only this user can enter.
type image struct{ dir, file string }

func newImage(name string, content []byte) (*image, error) {
	dir, err := os.MkdirTemp("", "pegbook-plugin-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, content, 0o500); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return &image{dir, file}, nil
}

func (i *image) path() string { return i.file }

func (i *image) inherits() []*os.File { return nil }

func (i *image) close() error { return os.RemoveAll(i.dir) }
