package helper

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

const (
	temporaryMark = ".pegbook-"
	temporaryLen  = 6 // random bytes
)

// temporaryName is a name beside path: on the same file system, so that a rename puts it in place.
func temporaryName(path string) string {
	var b [temporaryLen]byte
	_, _ = rand.Read(b[:])
	base := filepath.Base(path)
	if len(base) > 200 {
		base = base[:200] // names have at most 255 bytes
	}
	return filepath.Join(filepath.Dir(path), "."+base+temporaryMark+hex.EncodeToString(b[:])+"~")
}

func writeFile(ctx context.Context, c *wire.Change, who ids, b *body) error {
	if c.Resumes() {
		return resume(ctx, c, who, b)
	}
	return replace(ctx, c.Path, c, who, func(file *os.File) error {
		if !c.Streamed {
			_, err := file.Write(c.Content)
			return err
		}
		if c.Sum == "" {
			if _, err := io.Copy(file, b.reader(c.Stream)); err != nil {
				return err
			}
			return still(b.fencing)
		}
		digest := sha256.New()
		_, err := io.Copy(io.MultiWriter(file, digest), b.reader(c.Stream))
		if err == nil {
			err = still(b.fencing)
		}
		if err == nil && hex.EncodeToString(digest.Sum(nil)) != c.Sum {
			err = errChanged
		}
		return err
	})
}

// errChanged is content that is not what its sum says.
var errChanged = errors.New("the content changed while it was being sent; try again")

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
	err = replace(ctx, c.Target, c, who, func(file *os.File) error {
		_, err := io.Copy(file, &cancelReader{ctx, source})
		return err
	})
	if err != nil {
		return refuse(verb(c.Kind), c.Target, err)
	}
	return nil
}

// replace puts the content that write writes in the place of path in one step. What goes wrong before
// leaves no trace.
func replace(ctx context.Context, path string, c *wire.Change, who ids, write func(*os.File) error) error {
	old, err := replaced(path, c)
	if err != nil {
		return err
	}
	// Nobody else may read it before it has the mode it should have; only the mode that everything gets
	// is the kernel's to give, which knows the umask.
	first := fs.FileMode(0o600)
	if !c.HasMode && (old == nil || !old.Mode().IsRegular()) {
		first = 0o644
	}
	file, temporary, err := createBeside(path, first, c.Beside)
	if err != nil {
		return err
	}
	if err = write(file); err != nil {
		file.Close()
	} else {
		err = settle(ctx, file, temporary, path, c, who, old)
	}
	if err != nil {
		os.Remove(temporary)
	}
	return err
}

// replaced is the file in whose place another is to come, nil for none.
func replaced(path string, c *wire.Change) (os.FileInfo, error) {
	old, err := os.Lstat(path)
	if isMissing(err) {
		return nil, nil
	}
	if err == nil && old.IsDir() {
		err = &wire.Error{Kind: wire.Exist, Op: verb(c.Kind), Path: path, Text: "a directory is in the way"}
	}
	return old, err
}

// settle closes a temporary file whose content is complete and puts it in its place.
func settle(ctx context.Context, file *os.File, temporary, path string, c *wire.Change, who ids, old os.FileInfo) error {
	err := finish(file, c, who, old)
	// After a crash of the host the old file or the new one must be there. Only where there was an old
	// one can it be lost; a new file that a crash loses is made again by the next run.
	if err == nil && old != nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil && c.Backup && old != nil && old.Mode().IsRegular() {
		c.BackedUp, err = backup(path)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	return err
}

// createBeside makes a file beside path, by the name if there is one and nothing has it.
func createBeside(path string, mode fs.FileMode, name string) (*os.File, string, error) {
	for ; ; name = "" {
		temporary := name
		if name == "" {
			temporary = temporaryName(path)
		}
		file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_CLOEXEC, mode)
		if !errors.Is(err, fs.ErrExist) {
			return file, temporary, err
		}
	}
}

// finish gives a file its attributes: those asked for, else those of the file that is replaced, else 0644
// less the umask.
func finish(file *os.File, c *wire.Change, who ids, old os.FileInfo) error {
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
