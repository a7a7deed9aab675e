package helper

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

func (s *server) look(ctx context.Context, queries []wire.Query) ([]wire.File, *wire.Error) {
	files := make([]wire.File, len(queries))
	total, entries, listed := 0, 0, 0
	for i, q := range queries {
		if err := ctx.Err(); err != nil {
			return nil, refuse("look at", q.Path, err)
		}
		if !filepath.IsAbs(q.Path) {
			return nil, refuse("look at", q.Path, errors.New("the path is not absolute"))
		}
		f, err := s.lookAt(ctx, q, maxAnswer-total)
		if err != nil {
			return nil, refuse("look at", q.Path, err)
		}
		if total += len(f.Content); total > maxAnswer {
			return nil, refuse("look at", q.Path, errors.New("more than fits into one answer"))
		}
		listed += listingLen(f.Entries)
		if entries += len(f.Entries); entries > wire.MaxEntries || listed > wire.MaxListing {
			return nil, refuse("list", q.Path, errTooMany)
		}
		files[i] = f
	}
	return files, nil
}

// errTooMany is a directory that would not fit into an answer.
var errTooMany = errors.New("more than " + strconv.Itoa(wire.MaxEntries) + " entries; that many are not listed")

// listingLen is no less than what the entries take in an answer.
func listingLen(entries []wire.File) int {
	n := 0
	for i := range entries {
		e := &entries[i]
		n += 128 + len(e.Path) + len(e.Owner) + len(e.Group) + len(e.Target)
	}
	return n
}

func (s *server) lookAt(ctx context.Context, q wire.Query, room int) (wire.File, error) {
	f := wire.File{Path: q.Path}
	info, err := stat(q.Path, q.Follow)
	switch {
	case err == nil:
		s.describe(&f, info)
	case !isMissing(err):
		return f, err
	}
	if q.Disk {
		if err := disk(&f); err != nil {
			return f, err
		}
	}
	switch {
	case f.Kind == wire.Symlink:
		f.Target, err = readLink(q.Path)
	case f.Kind == wire.Regular && (q.Sum || q.Content > 0):
		err = readContent(ctx, &f, q, room)
	case f.Kind == wire.Directory && q.List:
		err = s.list(ctx, &f)
	default:
		err = nil
	}
	if isMissing(err) {
		// It vanished between two looks at it: a process that ends takes its /proc entries away one by one.
		return wire.File{Path: q.Path, Kind: wire.Missing}, nil
	}
	return f, err
}

// readLink gives what a link holds. The kernel keeps to itself where some links of /proc lead: what such
// a link is can be told, and its target is empty.
func readLink(path string) (string, error) {
	target, err := os.Readlink(path)
	if errors.Is(err, fs.ErrPermission) {
		return "", nil
	}
	return target, err
}

func stat(path string, follow bool) (os.FileInfo, error) {
	if follow {
		return os.Stat(path)
	}
	return os.Lstat(path)
}

func (s *server) describe(f *wire.File, info os.FileInfo) {
	st := info.Sys().(*syscall.Stat_t)
	f.Mode = st.Mode & 0o7777
	f.UID, f.GID = int(st.Uid), int(st.Gid)
	f.Owner, f.Group = s.names.user(f.UID), s.names.group(f.GID)
	f.Modified = info.ModTime().UnixNano()
	f.Device = uint64(st.Dev)
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		f.Kind = wire.Regular
	case syscall.S_IFDIR:
		f.Kind = wire.Directory
	case syscall.S_IFLNK:
		f.Kind = wire.Symlink
	default:
		f.Kind = wire.Other
	}
	if f.Kind != wire.Directory {
		f.Size = info.Size()
	}
}

// disk asks about the file system of the path, or of the nearest parent that is there.
func disk(f *wire.File) error {
	for path := f.Path; ; path = filepath.Dir(path) {
		var st syscall.Statfs_t
		err := syscall.Statfs(path, &st)
		if isMissing(err) && path != "/" {
			continue
		}
		if err != nil {
			return err
		}
		f.DiskTotal = int64(st.Blocks) * st.Frsize
		f.DiskFree = int64(st.Bavail) * st.Frsize
		if info, err := os.Stat(path); err == nil {
			f.Device = uint64(info.Sys().(*syscall.Stat_t).Dev)
		}
		return nil
	}
}

// readContent reads a file once for its sum and its content. What /proc holds says size 0, so the end of
// the file decides and not its size.
func readContent(ctx context.Context, f *wire.File, q wire.Query, room int) error {
	limit := min(q.Content, int64(room))
	keep := limit > 0 && f.Size <= limit
	f.Truncated = q.Content > 0 && !keep
	if !keep && !q.Sum {
		return nil
	}
	// Without O_NONBLOCK a FIFO put there a moment ago would hold us for ever.
	file, err := os.OpenFile(f.Path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	// What was a regular file a moment ago may be /dev/zero by now, where others can write the directory.
	if info, err := file.Stat(); err != nil {
		return err
	} else if !info.Mode().IsRegular() {
		return errors.New("it changed while it was looked at")
	}
	hash := sha256.New()
	buffer := make([]byte, min(max(f.Size+1, 4096), 256<<10))
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := file.Read(buffer)
		if keep {
			if f.Content = append(f.Content, buffer[:n]...); int64(len(f.Content)) > limit {
				f.Content, f.Truncated, keep = nil, true, false
				if !q.Sum {
					return nil
				}
			}
		}
		if q.Sum {
			hash.Write(buffer[:n])
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if q.Sum {
		f.Sum = hex.EncodeToString(hash.Sum(nil))
	}
	return nil
}

func (s *server) list(ctx context.Context, f *wire.File) error {
	children, err := os.ReadDir(f.Path)
	if err != nil {
		return err
	}
	if len(children) > wire.MaxEntries {
		return errTooMany
	}
	for _, child := range children {
		if err := ctx.Err(); err != nil {
			return err
		}
		entry := wire.File{Path: filepath.Join(f.Path, child.Name())}
		info, err := child.Info()
		if isMissing(err) {
			continue // it went away since
		}
		if err != nil {
			return err
		}
		s.describe(&entry, info)
		if entry.Kind == wire.Symlink {
			if entry.Target, err = readLink(entry.Path); err != nil && !isMissing(err) {
				return err
			}
		}
		f.Entries = append(f.Entries, entry)
	}
	return nil
}

// stamp is a time in a file's name.
func stamp(t time.Time) string { return t.UTC().Format("20060102T150405Z") }
