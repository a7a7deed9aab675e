package playbook

import (
	"cmp"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/runner/vars"
)

// Files reads what a playbook is made of, so that tests need no disk.
type Files interface {
	// ReadFile gives a file's bytes; a missing one is fs.ErrNotExist.
	ReadFile(path string) ([]byte, error)
	// IsDir says whether a folder is there.
	IsDir(path string) bool
	// List gives the names of the files in a folder, sorted; none when there is no folder. Folders end in
	// a slash.
	List(dir string) []string
}

// Memory is files held in memory, by path; folders exist through the files in them.
type Memory map[string]string

// ReadFile gives a file's bytes.
func (m Memory) ReadFile(path string) ([]byte, error) {
	text, ok := m[filepath.Clean(path)]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

// IsDir says whether a file stands below path.
func (m Memory) IsDir(path string) bool { return len(m.List(path)) > 0 }

// List gives the names in a folder.
func (m Memory) List(dir string) []string {
	prefix := filepath.Clean(dir) + "/"
	if prefix == "./" {
		prefix = ""
	}
	names := map[string]bool{}
	for path := range m {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			name, _, nested := strings.Cut(rest, "/")
			if nested {
				name += "/"
			}
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

type disk struct{}

func (disk) ReadFile(path string) ([]byte, error) { return os.ReadFile(path) }

func (disk) IsDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func (d disk) List(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // nothing to list and no folder are the same to a reader of optional files
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
		if d.IsDir(filepath.Join(dir, e.Name())) { // also through a symlink
			names[i] += "/"
		}
	}
	return names
}

// Options are how a playbook is read.
type Options struct {
	Files Files // nil is the disk
	// RolesPath are more folders to find roles in, behind roles/ beside the playbook.
	RolesPath []string
	// Extra are the -e variables: import paths may use them.
	Extra *vars.Values
}

func (o Options) files() Files { return cmp.Or[Files](o.Files, disk{}) }
