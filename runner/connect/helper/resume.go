package helper

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

const (
	// partMark is in the names of files that hold the beginning of a content.
	partMark = ".pegbook-part-"
	// partSumLen is how much of the content's sum such a name holds.
	partSumLen = 32
	// staleAfter is how long one is kept that nobody continues.
	staleAfter = 24 * time.Hour
	// maxSweep bounds how much of a directory is searched for such files.
	maxSweep = 10_000
)

// partName is where the beginning of a content is kept, beside the file that it is for.
func partName(path, sum string) string {
	base := filepath.Base(path)
	if len(base) > 200 {
		base = base[:200] // names have at most 255 bytes
	}
	return filepath.Join(filepath.Dir(path), "."+base+partMark+sum[:partSumLen]+"~")
}

// isSum says whether a text is a SHA-256 in hexadecimal. One becomes part of a file's name.
func isSum(text string) bool {
	return len(text) == 2*sha256.Size && strings.Trim(text, "0123456789abcdef") == ""
}

// part is a file that a large content comes into. What has come stays when the connection breaks or the
// request is cancelled, and the next request with the same content goes on from there.
type part struct {
	file   *os.File
	name   string
	kept   bool // it has the name under which it is found again
	digest hash.Hash
}

// resume writes a large content, continuing one that broke off.
func resume(ctx context.Context, c *wire.Change, who ids, b *body) error {
	old, err := replaced(c.Path, c)
	if err != nil {
		return err
	}
	p, err := openPart(c)
	if err != nil {
		return err
	}
	// Nobody else takes the part up before it has gone from its name.
	held, err := p.hold()
	if err != nil {
		return errors.Join(err, p.file.Close())
	}
	defer held.Close()
	sweep(filepath.Dir(c.Path), time.Now().Add(-staleAfter))
	err = p.receive(ctx, c, b)
	if err == nil {
		err = still(b.fencing)
	}
	if err != nil {
		p.abandon(ctx)
		return err
	}
	usual := *c
	if !c.HasMode && (old == nil || !old.Mode().IsRegular()) {
		usual.HasMode = true
		usual.Mode, err = usualMode(c.Path)
	}
	if err == nil {
		err = settle(ctx, p.file, p.name, c.Path, &usual, who, old)
		c.BackedUp = usual.BackedUp
	} else {
		p.file.Close()
	}
	if err != nil {
		os.Remove(p.name)
	}
	return err
}

// openPart gives the part of an earlier request, or a new one; where another request is at work on it, or
// the one that is there is not to be trusted, a file that nobody continues.
func openPart(c *wire.Change) (*part, error) {
	p := &part{name: partName(c.Path, c.Sum), digest: sha256.New()}
	const flags = os.O_RDWR | syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_CLOEXEC
	var err error
	p.file, err = os.OpenFile(p.name, flags, 0)
	if isMissing(err) {
		p.file, err = os.OpenFile(p.name, flags|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err == nil {
		if p.kept = claim(p.file, p.name); p.kept {
			return p, nil
		}
		p.file.Close()
	}
	p.file, p.name, err = createBeside(c.Path, 0o600, "")
	return p, err
}

// claim takes a part for us alone. It must be a file of our own that nobody else can have written, by
// this name and no other: in a directory that others can write anything may lie there.
func claim(file *os.File, name string) bool {
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	st := info.Sys().(*syscall.Stat_t)
	if int(st.Uid) != os.Geteuid() || st.Nlink != 1 || st.Mode&0o7777 != 0o600 {
		return false
	}
	if err := lock(file); err != nil {
		if !errors.Is(err, syscall.EWOULDBLOCK) && st.Size == 0 {
			os.Remove(name) // a file system without locks
		}
		return false
	}
	// Whoever had it before us may have put it in its place since.
	now, err := os.Lstat(name)
	return err == nil && os.SameFile(info, now)
}

func lock(file *os.File) error { return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

// hold keeps the lock for as long as what it gives is open, also when the file itself has been closed.
func (p *part) hold() (io.Closer, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := syscall.Dup(int(p.file.Fd()))
	if err != nil {
		return nil, err
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), p.name), nil
}

// receive takes in what is missing, and the rest of the content's bytes again where those that were there
// turn out to be others.
func (p *part) receive(ctx context.Context, c *wire.Change, b *body) error {
	var have int64
	if p.kept {
		var err error
		if have, err = p.read(ctx, c.Stream); err != nil {
			return err
		}
	}
	for {
		if have < c.Stream {
			b.from(have)
			if _, err := io.Copy(io.MultiWriter(p.file, p.digest), b.reader(c.Stream-have)); err != nil {
				return err
			}
		}
		if hex.EncodeToString(p.digest.Sum(nil)) == c.Sum {
			b.from(c.Stream)
			return nil
		}
		if have == 0 {
			return errChanged
		}
		if err := p.empty(); err != nil {
			return err
		}
		have = 0
	}
}

// read digests what is there.
func (p *part) read(ctx context.Context, size int64) (int64, error) {
	n, err := io.Copy(p.digest, io.LimitReader(&cancelReader{ctx, p.file}, size+1))
	if err == nil && n > size {
		n, err = 0, p.empty()
	}
	return n, err
}

func (p *part) empty() error {
	p.digest.Reset()
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	_, err := p.file.Seek(0, io.SeekStart)
	return err
}

// abandon leaves what can be continued and nothing else.
func (p *part) abandon(ctx context.Context) {
	info, err := p.file.Stat()
	if !p.kept || ctx.Err() == nil || err != nil || info.Size() == 0 {
		os.Remove(p.name)
	}
	p.file.Close()
}

// usualMode is what mode a new file gets here. Only the kernel knows: it has the umask, and directories
// may have a default of their own.
func usualMode(path string) (uint32, error) {
	file, name, err := createBeside(path, 0o644, "")
	if err != nil {
		return 0, err
	}
	info, err := file.Stat()
	if err = errors.Join(err, file.Close(), os.Remove(name)); err != nil {
		return 0, err
	}
	return uint32(info.Mode().Perm()), nil
}

// sweep removes parts of ours that nobody has continued, and temporary files that a crash left.
func sweep(dir string, before time.Time) {
	folder, err := os.Open(dir)
	if err != nil {
		return
	}
	defer folder.Close()
	for range maxSweep / 500 {
		entries, err := folder.ReadDir(500)
		for _, entry := range entries {
			if !isTemporary(entry.Name()) {
				continue
			}
			if info, err := entry.Info(); err == nil && info.ModTime().Before(before) {
				discard(filepath.Join(dir, entry.Name()))
			}
		}
		if err != nil {
			return
		}
	}
}

// isTemporary knows the names of partName and temporaryName.
func isTemporary(name string) bool {
	if !strings.HasPrefix(name, ".") || !strings.HasSuffix(name, "~") {
		return false
	}
	name = strings.TrimSuffix(name, "~")
	i := strings.LastIndexByte(name, '-')
	if i < 0 || strings.Trim(name[i+1:], "0123456789abcdef") != "" {
		return false
	}
	switch mark, id := name[:i+1], name[i+1:]; len(id) {
	case partSumLen:
		return strings.HasSuffix(mark, partMark)
	case 2 * temporaryLen:
		return strings.HasSuffix(mark, temporaryMark)
	}
	return false
}

// discard removes a temporary file if it is ours and nobody is at work on it.
func discard(path string) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
		return
	}
	if lock(file) == nil {
		os.Remove(path)
	}
}
