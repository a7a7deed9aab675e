package playbook

import (
	"cmp"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
	"github.com/pegbook/pegbook/runner/vault"
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
	// Vault opens files that are encrypted; nil opens none.
	Vault *vault.Keyring
	// Read is told of every file that is read, as it lies there; nil is not. Files that are included while running are
	// read from several goroutines.
	Read func(path string, text []byte)
}

func (o Options) files() Files { return cmp.Or[Files](o.Files, disk{}) }

// opened is files of which those that are encrypted have been opened.
type opened struct {
	Files
	keys      *vault.Keyring
	told      func(path string, text []byte)
	problems  *diag.List
	encrypted map[string]bool
	shut      bool // a file could not be decrypted
}

// ReadFile gives a file's content. One that no password opens is a problem, and then empty.
func (o *opened) ReadFile(path string) ([]byte, error) {
	raw, err := o.Files.ReadFile(path)
	if err == nil && o.told != nil {
		o.told(path, raw)
	}
	if err != nil || !vault.Sealed(raw) {
		return raw, err
	}
	o.encrypted[path] = true
	text, _, ok := vars.OpenFile(path, raw, o.keys, o.problems)
	if !ok {
		o.shut = true
		return []byte{}, nil
	}
	return text, nil
}

// secret gives the variables that a file holds: secrets when it is encrypted.
func (o *opened) secret(path string, vs *vars.Values) *vars.Values {
	if o.encrypted[path] {
		return vs.Secret(o.keys)
	}
	return vs
}
