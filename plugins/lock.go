package plugins

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/pegbook/pegbook/modules"
)

// LockName is the file beside a folder of plugins that says which of them are trusted.
const LockName = "pegbook.lock"

// Pin is a plugin that is trusted.
type Pin struct {
	// File is the plugin's path from the lock's folder, with slashes.
	File string `json:"file"`
	// SHA256 is the sum of the file, in lower-case hexadecimal.
	SHA256 string `json:"sha256"`
	// Modules are the names of what it provided when it was trusted.
	Modules []string `json:"modules,omitempty"`
	// Sources and Notifiers are the names of its other parts.
	Sources   []string `json:"sources,omitempty"`
	Notifiers []string `json:"notifiers,omitempty"`
	// Env is the names of environment variables that it is given.
	Env []string `json:"env,omitempty"`
}

// Lock is the trusted plugins of a folder. The zero value trusts none.
type Lock struct {
	Plugins []Pin `json:"plugins"` // by file
}

// LockOf is where the lock of a folder of plugins lies: beside the folder.
func LockOf(folder string) string {
	return filepath.Join(filepath.Dir(filepath.Clean(folder)), LockName)
}

// ReadLock reads a lock. One that is not there trusts nothing.
func ReadLock(path string) (Lock, error) {
	var lock Lock
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return lock, nil
	}
	if err != nil {
		return lock, err
	}
	if err := onlyOurs(path); err != nil {
		return lock, err
	}
	return parseLock(path, raw)
}

// onlyOurs refuses a lock that everybody can change, or put another one into the place of.
func onlyOurs(path string) error {
	file, err := os.Stat(path)
	if err != nil {
		return err
	}
	folder, err := os.Stat(filepath.Dir(path))
	switch {
	case err != nil:
		return err
	case file.Mode().Perm()&0o002 != 0:
		return &LockError{Path: path, Problem: "can be changed by everybody; take that away with chmod o-w"}
	case folder.Mode().Perm()&0o002 != 0 && folder.Mode()&fs.ModeSticky == 0:
		return &LockError{Path: path, Problem: "can be replaced by everybody: take that away with chmod o-w " + filepath.Dir(path)}
	}
	return nil
}

// LockError is a lock that is not as pegbook plugin add writes it.
type LockError struct {
	Path string
	// Line and Column say where, from 1; 0 where it is about the whole file.
	Line, Column int
	Problem      string
}

// Error says it in one line.
func (e *LockError) Error() string {
	if e.Line == 0 {
		return e.Path + " " + e.Problem
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.Path, e.Line, e.Column, e.Problem)
}

// parseLock reads the text of a lock.
func parseLock(path string, raw []byte) (Lock, error) {
	var lock Lock
	wrong := func(offset int, format string, args ...any) (Lock, error) {
		before := raw[:min(max(offset, 0), len(raw))]
		return Lock{}, &LockError{path, 1 + bytes.Count(before, []byte("\n")), len(before) - bytes.LastIndexByte(before, '\n'), fmt.Sprintf(format, args...)}
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&lock); err != nil {
		offset := int(dec.InputOffset())
		var syntax *json.SyntaxError
		var kind *json.UnmarshalTypeError
		if name, found := strings.CutPrefix(err.Error(), "json: unknown field "); found {
			return wrong(bytes.Index(raw, []byte(name)), "there is no field %s", name)
		}
		switch {
		case errors.As(err, &syntax):
			offset = int(syntax.Offset) - 1
		case errors.As(err, &kind):
			return wrong(int(kind.Offset)-1, "%s is a %s and cannot be a %s", kind.Field, kind.Type, kind.Value)
		}
		return wrong(offset, "it is no JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return wrong(int(dec.InputOffset())-1, "there is something behind the lock")
	}
	seen := map[string]bool{}
	for _, pin := range lock.Plugins {
		sum, err := hex.DecodeString(pin.SHA256)
		switch at := bytes.Index(raw, []byte(strconv.Quote(pin.File))); {
		case err != nil || len(sum) != 32 || pin.SHA256 != strings.ToLower(pin.SHA256):
			return wrong(bytes.Index(raw, []byte(strconv.Quote(pin.SHA256))), "%q of %s is no SHA-256: 64 digits and lower-case letters", pin.SHA256, pin.File)
		case !filepath.IsLocal(filepath.FromSlash(pin.File)):
			return wrong(at, "%s leads out of the folder", pin.File)
		case seen[pin.File]:
			return wrong(bytes.LastIndex(raw, []byte(strconv.Quote(pin.File))), "%s is there twice", pin.File)
		}
		seen[pin.File] = true
	}
	return lock, nil
}

// Of is what the lock says of a file, by its path from the lock's folder.
func (l Lock) Of(file string) (Pin, bool) {
	at := slices.IndexFunc(l.Plugins, func(p Pin) bool { return p.File == file })
	if at < 0 {
		return Pin{}, false
	}
	return l.Plugins[at], true
}

// With is the lock with a plugin trusted, in place of what was known of its file.
func (l Lock) With(pin Pin) Lock {
	all := slices.DeleteFunc(slices.Clone(l.Plugins), func(p Pin) bool { return p.File == pin.File })
	all = append(all, pin)
	slices.SortFunc(all, func(a, b Pin) int { return strings.Compare(a.File, b.File) })
	return Lock{all}
}

// Write writes the lock, in one step.
func (l Lock) Write(path string) error {
	raw, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+LockName+"-")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(append(raw, '\n'))
	if err == nil {
		err = temp.Chmod(0o644)
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

// Found is a plugin in a folder: trusted, there, or both.
type Found struct {
	File
	// Modules, Sources and Notifiers are what the lock says that it provides.
	Modules, Sources, Notifiers []string
	// Trusted says that the lock knows it.
	Trusted bool
}

// FolderError is a folder of plugins that others can put something into.
type FolderError struct {
	Path string
	// Problem says what is wrong, Mend is the command that mends it.
	Problem, Mend string
}

// Error says it in one line.
func (e *FolderError) Error() string { return e.Path + " " + e.Problem + "; " + e.Mend }

// oursAlone refuses a folder that others can change.
func oursAlone(folder string) error {
	info, err := os.Stat(folder)
	if err != nil {
		return nil //nolint:nilerr // what is trusted in a folder that is not there is said to be missing
	}
	if perm := info.Mode().Perm(); perm&0o022 != 0 {
		return &FolderError{folder, fmt.Sprintf("can be changed by others (its mode is %04o), and what lies in it is run as you", perm), "chmod go-w " + folder}
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid != 0 && int(s.Uid) != os.Getuid() {
		return &FolderError{folder, fmt.Sprintf("belongs to the user %d, and what lies in it is run as you", s.Uid), fmt.Sprintf("chown -R %d %s", os.Getuid(), folder)}
	}
	return nil
}

// Find lists the plugins of a folder, those that are trusted and those that are not, by file. A folder that is not
// there has none. Files that are not executable are none. One with plugins that others can change is a *FolderError.
func Find(folder string) ([]Found, error) {
	lock, err := ReadLock(LockOf(folder))
	if err != nil {
		return nil, err
	}
	folder = filepath.Clean(folder)
	var found []Found
	known := map[string]bool{}
	for _, pin := range lock.Plugins {
		path := filepath.Join(filepath.Dir(folder), filepath.FromSlash(pin.File))
		if filepath.Dir(path) != folder {
			continue // of another folder beside the same lock
		}
		known[path] = true
		found = append(found, Found{File: File{Path: path, SHA256: pin.SHA256, Env: pin.Env}, Modules: pin.Modules, Sources: pin.Sources, Notifiers: pin.Notifiers, Trusted: true})
	}
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		path := filepath.Join(folder, e.Name())
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 && !known[path] {
			found = append(found, Found{File: File{Path: path}})
		}
	}
	if len(found) > 0 {
		if err := oursAlone(folder); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(found, func(a, b Found) int { return strings.Compare(a.Path, b.Path) })
	return found, nil
}

// Sum is the SHA-256 of a plugin's file.
func Sum(path string) (string, error) {
	content, err := readProgram(path)
	if err != nil {
		return "", err
	}
	return sumOf(content), nil
}

// Broken stands for a trusted plugin that cannot be used: its modules, as the lock names them, take whatever they
// are given and fail with the reason.
func Broken(names []string, reason error) []*modules.Module {
	var all []*modules.Module
	for _, name := range names {
		m := modules.Define(name, "Module of a plugin that cannot be used\n\n"+reason.Error(),
			func(context.Context, *modules.Call, anyArgs) (*modules.Proposal, error) { return nil, reason })
		all = append(all, m)
	}
	return all
}

// anyArgs are the arguments of a module that nobody could ask for them.
type anyArgs struct {
	Free json.RawMessage            `arg:"free_form,free" doc:"the task's value where it is no mapping"`
	Rest map[string]json.RawMessage `arg:",rest" doc:"any argument"`
}
