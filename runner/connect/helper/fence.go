package helper

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// What a host has seen of a lock is two files in a folder of the user's, called like the lock's key:
//
//	KEY        the largest token, who holds the lock with it, and for as long as what was begun under the one before
//	           is not over, who had that. Written whole, by rename
//	KEY.lock   locked, shared, by every request under the lock while it is carried out; alone, by whoever brings a
//	           larger token, so that what was begun under the older one has ended before anything is done
//
// The files outlive the connection, and the host's start. Everybody may read the tokens: the helper of a user whom
// the one who logs in becomes looks there as well.
const (
	// drainLimit is how long a newer holder waits for what an older one has begun. It is longer than a helper lives
	// whose control node has fallen silent.
	drainLimit = 90 * time.Second
	drainEvery = 20 * time.Millisecond
	maxFence   = 8 << 10
)

// fenced says whether a request may be carried out under its locks. Until release is called nobody with a larger
// token begins anything here.
func (s *server) fenced(ctx context.Context, f *wire.Fencing) (release func(), refusal *wire.Error) {
	var gates []*gate
	release = func() {
		for _, g := range gates {
			g.lock.Close()
		}
	}
	dir, err := fenceFolder(f.Base)
	if err != nil {
		return release, refuse("fence", dir, err)
	}
	for i := range f.Fences {
		g, err := enter(ctx, dir, f, &f.Fences[i])
		if err != nil {
			release()
			return func() {}, refuse("fence", f.Fences[i].Key, err)
		}
		gates = append(gates, g)
	}
	return release, nil
}

// still says whether the locks of a request that is being carried out are still its own.
func still(f *wire.Fencing) error {
	if f == nil {
		return nil
	}
	dir, err := fenceFolder(f.Base)
	for i := 0; i < len(f.Fences) && err == nil; i++ {
		_, err = newest(dir, f, &f.Fences[i])
	}
	return err
}

// fenceFolder is the folder of the tokens; it is the user's own, and nobody else can write there.
func fenceFolder(base string) (string, error) { return ownFolder(base, "pegbook-locks-", 0o755) }

// ownFolder is a folder of the user's below base, made when it is not there.
func ownFolder(base, name string, mode fs.FileMode) (string, error) {
	home, isHome := strings.CutPrefix(base, "~")
	switch {
	case base == "":
		base = "/var/tmp"
	case isHome:
		base = filepath.Join(os.Getenv("HOME"), home)
	}
	if !filepath.IsAbs(base) {
		return base, errors.New("the folder for pegbook's files is not absolute")
	}
	dir := filepath.Join(base, name+strconv.Itoa(os.Getuid()))
	err := os.Mkdir(dir, mode)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(base, 0o755); err == nil {
			err = os.Mkdir(dir, mode)
		}
	}
	if err == nil {
		err = os.Chmod(dir, mode) // whatever the umask
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return dir, err
	}
	return dir, owned(dir, os.Getuid())
}

// owned says whether a folder is a user's, and nobody else's to write.
func owned(dir string, uid int) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(stat.Uid) != uid || info.Mode().Perm()&0o022 != 0 {
		return &wire.Error{Kind: wire.Permission, Op: "keep files in", Path: dir,
			Text: "it is not a folder of user " + strconv.Itoa(uid) + " that nobody else can write; remove it"}
	}
	return nil
}

// gate is a lock's files while a request is carried out.
type gate struct{ lock *os.File }

// enter lets a request in under a lock.
func enter(ctx context.Context, dir string, f *wire.Fencing, fence *wire.Fence) (*gate, error) {
	name := filepath.Join(dir, fenceName(fence.Key))
	file, err := os.OpenFile(name+".lock", os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	g := &gate{file}
	err = g.pass(ctx, dir, f, fence)
	if err != nil {
		file.Close()
		return nil, err
	}
	return g, nil
}

func (g *gate) pass(ctx context.Context, dir string, f *wire.Fencing, fence *wire.Fence) error {
	if err := g.share(ctx); err != nil {
		return err
	}
	seen, err := newest(dir, f, fence)
	if err != nil || seen.token == fence.Token && seen.awaits == "" {
		return err
	}
	// First it is made known that there is a newer holder, so that nothing more begins under older tokens; then
	// what they have begun ends. Until then no request of the newer holder is let in, whichever came first.
	free, err := g.try(syscall.LOCK_EX)
	if err != nil {
		return err
	}
	awaits := ""
	if !free {
		awaits = oneLine(cmp.Or(seen.awaits, seen.holder, "another run"))
	}
	if err := raise(dir, f, fence, awaits); err != nil {
		return err
	}
	if !free {
		if err := g.drain(ctx, dir, f, fence, awaits); err != nil {
			return err
		}
	}
	if err := g.share(ctx); err != nil {
		return err
	}
	_, err = newest(dir, f, fence) // somebody newer may have come meanwhile
	return err
}

// drain waits until what was begun under older tokens has ended, and notes that it has.
func (g *gate) drain(ctx context.Context, dir string, f *wire.Fencing, fence *wire.Fence, awaits string) error {
	for deadline := time.Now().Add(drainLimit); ; {
		free, err := g.try(syscall.LOCK_EX)
		if err != nil {
			return err
		}
		if free {
			return raise(dir, f, fence, "")
		}
		seen, err := newest(dir, f, fence)
		if err != nil || seen.awaits == "" { // another request of this holder's has seen the end
			return err
		}
		if err := again(ctx, deadline, awaits); err != nil {
			return err
		}
	}
}

// share waits until nobody has the lock's file alone, which is for a moment.
func (g *gate) share(ctx context.Context) error {
	for deadline := time.Now().Add(drainLimit); ; {
		if free, err := g.try(syscall.LOCK_SH); free || err != nil {
			return err
		}
		if err := again(ctx, deadline, "another run"); err != nil {
			return err
		}
	}
}

// try locks the file without keeping a thread; false is that somebody else has it.
func (g *gate) try(how int) (bool, error) {
	err := syscall.Flock(int(g.lock.Fd()), how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// again waits a little, until the deadline.
func again(ctx context.Context, deadline time.Time, whose string) error {
	if time.Now().After(deadline) {
		return errors.New("what " + whose + " began under the lock is still not over after " + drainLimit.String() +
			"; end that run, or look for its commands on the host")
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(drainEvery):
		return nil
	}
}

// known is what a host has seen of a lock.
type known struct {
	token  uint64
	holder string
	awaits string // who had it before, while what they began is not over
}

// newest is the largest token that was seen; an error where it is larger than the request's own.
func newest(dir string, f *wire.Fencing, fence *wire.Fence) (known, error) {
	seen, err := readFence(dir, os.Getuid(), fence.Key)
	if err != nil {
		return known{}, err
	}
	if f.Authority != "" && f.Authority != dir {
		if err := owned(f.Authority, f.UID); err != nil {
			return known{}, err
		}
		also, err := readFence(f.Authority, f.UID, fence.Key)
		if err != nil {
			return known{}, err
		}
		if also.token > fence.Token {
			seen = also
		}
	}
	if seen.token > fence.Token {
		return seen, &wire.Error{Kind: wire.Stale, Op: "fence", Path: fence.Key, Text: strconv.FormatUint(seen.token, 10) + " " + seen.holder}
	}
	return seen, nil
}

// raise writes a token down, unless a larger one has come meanwhile; and whose work is awaited, or with an empty name
// that nobody's is any more.
func raise(dir string, f *wire.Fencing, fence *wire.Fence, awaits string) error {
	guard, err := os.OpenFile(filepath.Join(dir, fenceName(fence.Key)+".write"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer guard.Close()
	if err := syscall.Flock(int(guard.Fd()), syscall.LOCK_EX); err != nil { // held for a write at most
		return err
	}
	seen, err := newest(dir, f, fence)
	if err != nil || seen.token == fence.Token && (awaits != "" || seen.awaits == "") {
		return err
	}
	text := strconv.FormatUint(fence.Token, 10) + "\n" + oneLine(fence.Key) + "\n" + oneLine(fence.Holder) + "\n" + awaits
	path := filepath.Join(dir, fenceName(fence.Key))
	file, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	err = errors.Join(err, file.Chmod(0o644), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	return err
}

// oneLine keeps what others say of themselves on a line, and short.
func oneLine(text string) string {
	if len(text) > maxFence/4 {
		text = text[:maxFence/4]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, text)
}

// readFence is what a user's folder holds for a key; nothing where there is no file.
func readFence(dir string, uid int, key string) (known, error) {
	file, err := os.OpenFile(filepath.Join(dir, fenceName(key)), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return known{}, nil
	}
	if err != nil {
		return known{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return known{}, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() || int(stat.Uid) != uid || info.Size() > maxFence {
		return known{}, errors.New(file.Name() + " is not what a helper of user " + strconv.Itoa(uid) + " wrote; remove it")
	}
	text := make([]byte, info.Size())
	if _, err := file.ReadAt(text, 0); err != nil {
		return known{}, err
	}
	lines := strings.SplitN(string(text), "\n", 4)
	token, err := strconv.ParseUint(lines[0], 10, 64)
	if err != nil || len(lines) < 4 {
		return known{}, errors.New(file.Name() + " is damaged; remove it when no run is under way")
	}
	return known{token: token, holder: lines[2], awaits: lines[3]}, nil
}

// fenceName is a key as the name of a file.
func fenceName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}
