package helper

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// temporaryName is a name beside path: on the same file system, so that a rename puts it in place.
func temporaryName(path string) string {
	var b [6]byte
	_, _ = rand.Read(b[:])
	base := filepath.Base(path)
	if len(base) > 200 {
		base = base[:200] // names have at most 255 bytes
	}
	return filepath.Join(filepath.Dir(path), "."+base+".pegbook-"+hex.EncodeToString(b[:])+"~")
}

func writeFile(ctx context.Context, c *wire.Change, who ids, b *body) error {
	if !c.Streamed {
		return replace(ctx, c.Path, c, who, bytes.NewReader(c.Content))
	}
	return replace(ctx, c.Path, c, who, b.reader(c.Stream))
}

func copyFile(ctx context.Context, c *wire.Change, who ids) error {
	source, err := os.OpenFile(c.Path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	if err := replace(ctx, c.Target, c, who, &cancelReader{ctx, source}); err != nil {
		return refuse(verb(c.Kind), c.Target, err)
	}
	return nil
}

// replace puts content in the place of path in one step. What goes wrong before leaves no trace.
func replace(ctx context.Context, path string, c *wire.Change, who ids, content io.Reader) error {
	old, err := os.Lstat(path)
	if err != nil && !isMissing(err) {
		return err
	}
	if err == nil && old.IsDir() {
		return &wire.Error{Kind: wire.Exist, Op: verb(c.Kind), Path: path, Text: "a directory is in the way"}
	}
	// Nobody else may read it before it has the mode it should have; only the mode that everything gets
	// is the kernel's to give, which knows the umask.
	first := fs.FileMode(0o600)
	if !c.HasMode && (old == nil || !old.Mode().IsRegular()) {
		first = 0o644
	}
	file, temporary, err := createBeside(path, first)
	if err != nil {
		return err
	}
	if err := fill(file, content, c, who, old); err != nil {
		file.Close()
		os.Remove(temporary)
		return err
	}
	// After a crash of the host the old file or the new one must be there. Only where there was an old
	// one can it be lost; a new file that a crash loses is made again by the next run.
	if old != nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil && c.Backup && old != nil && old.Mode().IsRegular() {
		err = backup(path)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		os.Remove(temporary)
	}
	return err
}

func createBeside(path string, mode fs.FileMode) (*os.File, string, error) {
	for {
		temporary := temporaryName(path)
		file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_CLOEXEC, mode)
		if !errors.Is(err, fs.ErrExist) {
			return file, temporary, err
		}
	}
}

// fill writes the content and gives the file its attributes: those asked for, else those of the file
// that is replaced, else 0644 less the umask.
func fill(file *os.File, content io.Reader, c *wire.Change, who ids, old os.FileInfo) error {
	if _, err := io.Copy(file, content); err != nil {
		return err
	}
	mode, set := c.Mode&0o7777, c.HasMode
	if old != nil && old.Mode().IsRegular() {
		st := old.Sys().(*syscall.Stat_t)
		if !set {
			mode, set = st.Mode&0o7777, true
		}
		keepOwner(file, who, st)
	}
	if who.uid >= 0 || who.gid >= 0 {
		if err := file.Chown(who.uid, who.gid); err != nil {
			return err
		}
	}
	if !set {
		return nil
	}
	return syscall.Fchmod(int(file.Fd()), mode)
}

// keepOwner gives the new file the old one's owner where none was asked for. Only root can give files
// away; for others the file becomes theirs, as with any editor.
func keepOwner(file *os.File, who ids, st *syscall.Stat_t) {
	keep := ids{-1, -1}
	if who.uid < 0 && int(st.Uid) != os.Geteuid() {
		keep.uid = int(st.Uid)
	}
	if who.gid < 0 && int(st.Gid) != os.Getegid() {
		keep.gid = int(st.Gid)
	}
	if keep.uid >= 0 || keep.gid >= 0 {
		_ = file.Chown(keep.uid, keep.gid)
	}
}

// cancelReader ends a copy between two files when the request is cancelled.
type cancelReader struct {
	ctx  context.Context //nolint:containedctx // lives no longer than one copy
	file *os.File
}

// Read implements io.Reader.
func (r *cancelReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.file.Read(p)
}
