// Package journal keeps runs: what happened, and what it takes to go on with them.
//
// Every run has a folder of its own in the home: what it was started with, its events as they were shown (secrets
// masked), and the steps' private results, sealed. What the journal says happened, happened: a record is in the
// kernel's hands before the run acts on it, and on the disk before an act that may not be made twice. Whether a run
// goes on is known by a lock that ends with its process, not by what the journal says.
//
// The home and everything in it belong to one user and are closed to all others.
package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	runsFolder = "runs"
	metaFile   = "run.json"
	lockFile   = "lock"
	newMark    = ".new-"  // of a folder that is being made
	goneMark   = ".gone-" // of a folder that is being removed
)

// Home is the folder of all journals of a user.
type Home struct {
	dir string
	key *key
}

// OpenHome opens the home in a folder, which is made when it is not there. It refuses one that belongs to somebody
// else or that others may write to.
func OpenHome(dir string) (*Home, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, notKept(dir, err)
	}
	h := &Home{dir: dir}
	if err := h.prepare(); err != nil {
		return nil, notKept(dir, err)
	}
	return h, nil
}

// notKept is an error of a home as people read it.
func notKept(dir string, err error) error {
	return fmt.Errorf("the journal of runs cannot be kept in %s: %w; PEGBOOK_HOME names another folder", dir, err)
}

func (h *Home) prepare() error {
	info, err := os.Stat(h.dir) // a home may be a link: who may write to where it leads counts
	if err != nil {
		return err
	}
	if err := own(h.dir, info, 0o022); err != nil {
		return err
	}
	runs := filepath.Join(h.dir, runsFolder)
	if err := os.Mkdir(runs, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if info, err = os.Lstat(runs); err != nil {
		return err
	}
	if err := own(runs, info, 0o077); err != nil {
		return err
	}
	h.key, err = readKey(h.dir)
	return err
}

// folder is where a run is kept.
func (h *Home) folder(run string) string { return filepath.Join(h.dir, runsFolder, run) }

// Digest is what stands for a text that could be guessed: nobody without the home's key can try texts against it.
func (h *Home) Digest(text []byte) string { return h.key.digest(text) }

// valid refuses what is no name of a run, and would lead out of the home.
func valid(run string) error {
	if run == "" || strings.HasPrefix(run, ".") || strings.ContainsAny(run, "/\x00") {
		return &NotFoundError{Run: run}
	}
	return nil
}

// NotFoundError is a run that the home does not have.
type NotFoundError struct {
	Run string
	// Near are the runs that it may have been.
	Near []string
}

// Error names what is near.
func (e *NotFoundError) Error() string {
	if len(e.Near) > 0 {
		return fmt.Sprintf("no run is called %s (did you mean %s?)", e.Run, strings.Join(e.Near, ", "))
	}
	return fmt.Sprintf("no run is called %s; pegbook runs list shows those there are", e.Run)
}

// Names are the names of all runs, oldest first.
func (h *Home) Names() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(h.dir, runsFolder))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Find gives the name of the run that a person means: its name, a beginning of it that only one run has, or "last".
func (h *Home) Find(name string) (string, error) {
	names, err := h.Names()
	if err != nil {
		return "", err
	}
	if name == "last" && len(names) > 0 {
		return names[len(names)-1], nil
	}
	var found []string
	for _, n := range names {
		if n == name {
			return n, nil
		}
		if name != "" && strings.HasPrefix(n, name) {
			found = append(found, n)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return "", &NotFoundError{Run: name, Near: found}
}

// metaMode is the mode of run.json: nothing more is written about a run that has come to its end.
func metaMode(m Meta) os.FileMode {
	if end := m.Last().End; end != nil && (m.Check || end.ExitCode == 0) {
		return 0o400
	}
	return 0o600
}

// writeMeta writes what a run was started with, whole or not at all. What a dry run leaves need not outlive a power
// loss, for which it would wait.
func writeMeta(dir string, m Meta) error {
	var err error
	if m.Sum, err = m.sum(); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, newMark+"*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(raw, '\n'))
	if !m.Check {
		err = errors.Join(err, f.Sync())
	}
	if err = errors.Join(err, f.Chmod(metaMode(m)), f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, metaFile))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if m.Check {
		return nil
	}
	return syncFolder(dir)
}

func readMeta(dir string) (Meta, error) {
	path := filepath.Join(dir, metaFile)
	raw, err := readOwn(path)
	if err != nil {
		return Meta{}, err
	}
	var m Meta
	if err := json.Unmarshal(raw, &m); err != nil {
		return Meta{}, &DamageError{File: metaFile, What: err.Error()}
	}
	if m.Schema < schema {
		return Meta{}, fmt.Errorf("%s is of version %d, from an older pegbook, which this one (%d) does not read; use the pegbook that wrote it, or remove the run: pegbook runs rm %s", path, m.Schema, schema, filepath.Base(dir))
	}
	if m.Schema > schema {
		return Meta{}, fmt.Errorf("%s is of version %d, which is newer than this pegbook knows (%d); use the pegbook that wrote it", path, m.Schema, schema)
	}
	if sum, err := m.sum(); err != nil || sum != m.Sum {
		return Meta{}, errors.Join(err, &DamageError{File: path, What: "the file was changed: its checksum does not fit"})
	}
	return m, nil
}
