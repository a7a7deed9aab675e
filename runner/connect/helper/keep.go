package helper

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// What is there before a change is kept, so that it can be put back, in a folder of the user's that nobody else can
// look into:
//
//	RUN/STEP.kept   what each path was before a change and how the change has left it (wire.Kept), written before
//	                and after the change
//	RUN/STEP.1      a file that was replaced or removed, by a second name for it; where that cannot be, a copy. Or
//	                a directory that was removed, moved here
//
// Keeping never keeps a change from being made: a full disk must not keep anybody from emptying it. What could not be
// kept is said in the record, and where there is no room for that, the record is missing or is called RUN/STEP.lost,
// which shows, too.
const (
	// maxKeptFile bounds one file or directory that is kept by name, maxKeptCopy one that has to be copied.
	maxKeptFile = 256 << 20
	maxKeptCopy = 64 << 20
	// maxKeptEntries bounds how many files of a directory are kept or written down.
	maxKeptEntries = 10_000
)

// keepers are those of a request, by their names.
type keepers map[string]*keeper

// of gives the keeper of a change; nil where nothing is to be kept.
func (ks *keepers) of(c *wire.Change) *keeper {
	if c.Keep == "" {
		return nil
	}
	k := (*ks)[c.Keep]
	if k == nil {
		if *ks == nil {
			*ks = keepers{}
		}
		k = openKeeper(c)
		(*ks)[c.Keep] = k
	}
	if k.record == nil {
		return nil
	}
	return k
}

func (ks keepers) close() {
	for _, k := range ks {
		if k.record != nil {
			k.record.Close()
		}
	}
}

// keeper keeps what is there before the changes of one step.
type keeper struct {
	record *os.File // nil: nothing can be kept
	dir    string   // of the run
	step   string
	n      int             // of the last copy
	seen   map[string]bool // paths that are written down, and whether their content is; what they were first counts
	lines  []byte          // to be written
	after  []touched
}

// touched is a path that a change is made to.
type touched struct {
	path          string
	follow, opens bool
}

// keptFolder is the folder of what is kept. It is the user's own.
func keptFolder(base string) (string, error) {
	dir, err := ownFolder(base, "pegbook-kept-", 0o700)
	if err != nil {
		return dir, err
	}
	info, err := os.Lstat(dir)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = errors.New("others can look into it")
	}
	return dir, err
}

func openKeeper(c *wire.Change) *keeper {
	k := &keeper{seen: map[string]bool{}}
	run, step, ok := strings.Cut(c.Keep, "/")
	if !ok || !isName(run) || !isName(step) {
		return k
	}
	dir, err := keptFolder(c.Base)
	if err != nil {
		return k
	}
	k.dir, k.step = filepath.Join(dir, run), step
	switch err := os.Mkdir(k.dir, 0o700); {
	case err == nil:
		prune(dir, time.Now(), maxKeptBytes)
	case !errors.Is(err, fs.ErrExist):
		return k
	}
	record, err := os.OpenFile(filepath.Join(k.dir, step+wire.KeptSuffix), os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err == nil {
		k.record = record
		tidy(record)
	}
	return k
}

// maxTidied is the longest record of which what was left behind is removed.
const maxTidied = 1 << 20

// tidy removes what an earlier attempt of the step, which was killed, has left beside what it was changing.
func tidy(record *os.File) {
	if info, err := record.Stat(); err != nil || info.Size() == 0 || info.Size() > maxTidied {
		return
	}
	raw, err := os.ReadFile(record.Name())
	if err != nil {
		return
	}
	lines, err := wire.ParseKept(raw)
	if err != nil {
		return
	}
	for _, line := range lines {
		if !line.Beside || strings.Contains(filepath.Base(line.Path), partMark) { // a part is gone on with
			continue
		}
		// By its name, which nobody could know before, it is ours, though it may have been given away already.
		if info, err := os.Lstat(line.Path); err == nil && !info.IsDir() {
			_ = os.Remove(line.Path)
		}
	}
}

// isName says whether a text can be a file's name that means nothing else.
func isName(text string) bool {
	return text != "" && text[0] != '.' && len(text) <= 100 && strings.IndexFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	}) < 0
}

// before keeps what a change is going to replace. The function that it gives writes down how the change has left it.
func (k *keeper) before(ctx context.Context, c *wire.Change, who ids) (after func()) {
	if k == nil {
		return func() {}
	}
	k.after = nil
	if c.Kind == wire.SetAttributes && c.Recursive {
		k.tree(ctx, c, who)
	}
	k.beside(c)
	for _, t := range touchedBy(c) {
		k.keep(t, c.Kind == wire.Remove)
	}
	k.write()
	return func() {
		if c.BackedUp != "" {
			backup := realPath(c.BackedUp, false)
			k.line(&wire.Kept{Path: backup, Opens: true, State: wire.State{Kind: wire.Missing}})
			k.after = append(k.after, touched{path: backup})
		}
		for _, t := range k.after {
			k.left(t, nil)
		}
		k.write()
	}
}

// beside names the file in which the new content of a path is going to be made, and writes that down.
func (k *keeper) beside(c *wire.Change) {
	var name string
	switch {
	case c.Kind == wire.WriteFile && c.Resumes():
		name = partName(c.Path, c.Sum)
	case c.Kind == wire.WriteFile, c.Kind == wire.MakeLink:
		c.Beside = temporaryName(c.Path)
		name = c.Beside
	case c.Kind == wire.CopyFile:
		c.Beside = temporaryName(c.Target)
		name = c.Beside
	default:
		return
	}
	k.line(&wire.Kept{Path: realPath(name, false), Opens: true, Beside: true, State: wire.State{Kind: wire.Missing}})
}

// touchedBy are the paths that a change is made to, but for those inside a directory.
func touchedBy(c *wire.Change) []touched {
	switch c.Kind {
	case wire.WriteFile, wire.MakeLink, wire.Remove, wire.RemoveDirectory:
		return []touched{{path: c.Path, opens: true}}
	case wire.CopyFile:
		return []touched{{path: c.Target, opens: true}}
	case wire.Rename:
		return []touched{{path: c.Path, opens: true}, {path: c.Target, opens: true}}
	case wire.SetAttributes:
		return []touched{{path: c.Path, follow: c.Within == ""}}
	case wire.Touch:
		if _, err := os.Lstat(c.Path); isMissing(err) {
			return []touched{{path: c.Path, opens: true}}
		}
		return []touched{{path: c.Path, follow: true}}
	case wire.MakeDirectory:
		var all []touched
		p := filepath.Clean(c.Path)
		for ; p != "/"; p = filepath.Dir(p) {
			if _, err := os.Stat(p); err == nil {
				break
			}
			all = append([]touched{{path: p, opens: true}}, all...)
		}
		if len(all) == 0 {
			all = []touched{{path: c.Path, follow: true}}
		}
		return all
	}
	return nil
}

// realPath is a path without links on the way to it: the file itself, whatever the links lead to later. Of a path that
// is not there, what is there of it. Where follow is set, and the path is a link, it is what that leads to; "" is nothing.
func realPath(path string, follow bool) string {
	path = filepath.Clean(path)
	if follow {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return ""
		}
		return real
	}
	dir, rest := filepath.Dir(path), filepath.Base(path)
	for {
		real, err := filepath.EvalSymlinks(dir)
		switch {
		case err == nil:
			return filepath.Join(real, rest)
		case dir == "/":
			return path
		}
		dir, rest = filepath.Dir(dir), filepath.Join(filepath.Base(dir), rest)
	}
}

// keep keeps one path. removed says that the change is its removal.
func (k *keeper) keep(t touched, removed bool) {
	if t.path = realPath(t.path, t.follow); t.path == "" {
		return // the change will say it
	}
	k.after = append(k.after, t)
	if k.knows(t.path, t.opens) {
		return
	}
	info, err := os.Lstat(t.path)
	if err != nil && !isMissing(err) {
		return // the change will say it
	}
	k.seen[t.path] = t.opens
	line := &wire.Kept{Path: t.path, Opens: t.opens, State: stateOf(info, func() string {
		target, _ := os.Readlink(t.path) //nolint:errcheck // it shows: the target is missing
		return target
	})}
	var moves func()
	if t.opens && info != nil {
		switch {
		case info.Mode().IsRegular():
			line.Copy, line.Lost = k.file(info, t.path, t.path)
		case info.IsDir() && removed:
			line.Copy, line.Lost, moves = k.directory(t.path)
		case info.IsDir(), info.Mode()&fs.ModeSymlink != 0: // its state says all
		default:
			line.Lost = "it was no file, directory or link"
		}
	}
	k.line(line)
	if moves != nil {
		k.write()
		moves()
	}
}

// knows says whether a path is written down, and where it has to be its content as well.
func (k *keeper) knows(path string, opens bool) bool {
	opened, known := k.seen[path]
	return known && (opened || !opens)
}

// stateOf is a path's state; a nil info is nothing there.
func stateOf(info os.FileInfo, target func() string) wire.State {
	if info == nil {
		return wire.State{Kind: wire.Missing}
	}
	st := info.Sys().(*syscall.Stat_t)
	s := wire.State{Kind: wire.Other, Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid), Modified: info.ModTime().UnixNano()}
	switch {
	case info.Mode().IsRegular():
		s.Kind, s.Size = wire.Regular, info.Size()
	case info.IsDir():
		s.Kind = wire.Directory
	case info.Mode()&fs.ModeSymlink != 0:
		s.Kind, s.Target = wire.Symlink, target()
	}
	return s
}

// line adds a line to the record.
func (k *keeper) line(line *wire.Kept) {
	line.Time = time.Now().UnixNano()
	k.lines = wire.AppendKept(k.lines, line)
}

// write writes the lines. One that cannot be written ends the keeping: what follows would be out of order.
func (k *keeper) write() {
	if len(k.lines) > 0 && k.record != nil {
		if _, err := k.record.Write(k.lines); err != nil {
			k.lose()
		}
	}
	k.lines = k.lines[:0]
}

// lose gives the record another name: the change is made all the same, and nobody may take what is written for all of
// it. That needs no room on a disk that is full.
func (k *keeper) lose() {
	name := k.record.Name()
	k.record.Close()
	k.record = nil
	_ = os.Rename(name, strings.TrimSuffix(name, wire.KeptSuffix)+wire.LostSuffix)
}

// left writes down how a change has left a path.
func (k *keeper) left(t touched, root *os.Root) {
	look, readlink := os.Lstat, os.Readlink
	name := t.path
	if root != nil {
		look, readlink = root.Lstat, root.Readlink
		name, _ = filepath.Rel(realPath(root.Name(), true), t.path) //nolint:errcheck // it is below the root
	}
	info, err := look(name)
	if err != nil && !isMissing(err) {
		return
	}
	k.line(&wire.Kept{After: true, Path: t.path, State: stateOf(info, func() string {
		target, _ := readlink(name) //nolint:errcheck // it shows: the target is missing
		return target
	})})
}

// next is the name of the next copy, which may be there from an earlier attempt of the step.
func (k *keeper) next() string {
	k.n++
	return k.step + "." + strconv.Itoa(k.n)
}

const otherChanges = "somebody else was changing it"

// file keeps a regular file. from is where it can be opened or linked, in whose folder nobody else can put another
// file by that name, or who does so only spoils what is kept of his own.
func (k *keeper) file(info os.FileInfo, path, from string) (name, lost string) {
	if info.Size() > maxKeptFile {
		return "", "it had more than " + strconv.Itoa(maxKeptFile>>20) + " MiB"
	}
	for {
		name = k.next()
		to := filepath.Join(k.dir, name)
		err := os.Link(from, to)
		switch {
		case errors.Is(err, fs.ErrExist):
			continue
		case err == nil:
			if now, err := os.Lstat(to); err != nil || !os.SameFile(info, now) {
				os.Remove(to)
				return "", otherChanges
			}
			return name, ""
		case info.Size() > maxKeptCopy:
			return "", "it had more than " + strconv.Itoa(maxKeptCopy>>20) + " MiB and could not be linked to"
		}
		source, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
		if err != nil {
			return "", "it could not be copied: " + reason(err)
		}
		return k.copied(info, source, true)
	}
}

// copied keeps a file by what is open of it, which it closes. sync waits until the copy is on the disk: the file itself
// will be gone.
func (k *keeper) copied(info os.FileInfo, source *os.File, sync bool) (name, lost string) {
	defer source.Close()
	if now, err := source.Stat(); err != nil || !os.SameFile(info, now) {
		return "", otherChanges
	}
	for {
		name = k.next()
		to := filepath.Join(k.dir, name)
		out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_CLOEXEC, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = copyKept(out, source, sync)
		}
		if err != nil {
			os.Remove(to)
			return "", "it could not be copied: " + reason(err)
		}
		return name, ""
	}
}

// reason is an error without the path.
func reason(err error) string {
	var where *os.PathError
	if errors.As(err, &where) {
		return where.Err.Error()
	}
	return err.Error()
}

func copyKept(out, source *os.File, sync bool) error {
	n, err := io.Copy(out, io.LimitReader(source, maxKeptCopy+1))
	switch {
	case err == nil && n > maxKeptCopy:
		err = errors.New("it is growing")
	case err == nil && sync:
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// directory keeps a directory that is removed: it moves here, so the removal finds nothing any more.
func (k *keeper) directory(path string) (name, lost string, moves func()) {
	entries, size := 0, int64(0)
	err := filepath.WalkDir(path, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.Type().IsRegular() {
			if info, err := entry.Info(); err == nil {
				size += info.Size()
			}
		}
		if entries++; entries > maxKeptEntries || size > maxKeptFile {
			return errors.New("it held too much")
		}
		return nil
	})
	if err != nil {
		return "", reason(err), nil
	}
	for {
		name = k.next()
		if _, err := os.Lstat(filepath.Join(k.dir, name)); err != nil {
			break
		}
	}
	to := filepath.Join(k.dir, name)
	if !sameDevice(filepath.Dir(path), k.dir) {
		return "", "it lay on another file system than " + filepath.Dir(k.dir), nil
	}
	return name, "", func() { _ = os.Rename(path, to) } // where it cannot be moved it is removed, and the copy missing shows that
}

func sameDevice(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && x.Sys().(*syscall.Stat_t).Dev == y.Sys().(*syscall.Stat_t).Dev
}

// tree writes down what has other attributes in a directory than it is going to get.
func (k *keeper) tree(ctx context.Context, c *wire.Change, who ids) {
	root, err := os.OpenRoot(c.Path)
	if err != nil {
		return
	}
	defer root.Close()
	n, dir := 0, realPath(c.Path, true)
	_ = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return fs.SkipAll
		}
		info, err := entry.Info()
		if err != nil || name == "." || who.has(info) && (!c.HasMode || info.Sys().(*syscall.Stat_t).Mode&0o7777 == c.Mode&0o7777) {
			return nil
		}
		if n++; n > maxKeptEntries {
			k.line(&wire.Kept{Path: dir, Lost: "more than " + strconv.Itoa(maxKeptEntries) + " files of it were changed"})
			return fs.SkipAll
		}
		path := filepath.Join(dir, name)
		if k.knows(path, false) {
			return nil
		}
		k.seen[path] = false
		k.line(&wire.Kept{Path: path, State: stateOf(info, func() string { t, _ := root.Readlink(name); return t })}) //nolint:errcheck // it shows
		k.after = append(k.after, touched{path: path})
		return nil
	})
}

// member keeps what an archive's member is going to replace.
func (k *keeper) member(x *extractor, m member) {
	if k == nil {
		return
	}
	for parent := filepath.Dir(m.name); parent != "."; parent = filepath.Dir(parent) {
		if _, err := x.root.Lstat(parent); isMissing(err) {
			k.inside(x, parent, true)
		}
	}
	k.inside(x, m.name, m.kind != wire.Directory)
	k.write()
}

// inside keeps one path below a root that no link leads out of.
func (k *keeper) inside(x *extractor, name string, opens bool) {
	path := filepath.Join(realPath(x.dir, true), name)
	if k.knows(path, opens) {
		return
	}
	info, err := x.root.Lstat(name)
	if err != nil && !isMissing(err) {
		return
	}
	k.seen[path] = opens
	line := &wire.Kept{Path: path, Opens: opens || info == nil, State: stateOf(info, func() string { t, _ := x.root.Readlink(name); return t })} //nolint:errcheck // it shows
	if opens && info != nil && info.Mode().IsRegular() {
		line.Copy, line.Lost = k.opened(x, info, name)
	}
	k.line(line)
	k.after = append(k.after, touched{path: path})
}

// opened keeps a file below a root by what is open of it.
func (k *keeper) opened(x *extractor, info os.FileInfo, name string) (kept, lost string) {
	if info.Size() > maxKeptCopy {
		return "", "it had more than " + strconv.Itoa(maxKeptCopy>>20) + " MiB"
	}
	file, err := x.root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", reason(err)
	}
	return k.copied(info, file, false) // what takes its place is not waited for, either
}

// unpacked writes down how the members of an archive were left.
func (k *keeper) unpacked(x *extractor) {
	if k == nil {
		return
	}
	for _, t := range k.after {
		k.left(t, x.root)
	}
	k.after = nil
	k.write()
}
