//go:build unix

package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// own says why a folder or file is not private to who runs the program; nil when it is.
func own(path string, info fs.FileInfo, forbidden fs.FileMode) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s is a symbolic link; what is private must lie where its name says", path)
	case ok && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to user id %d, not to you (%d); set PEGBOOK_HOME to a folder of your own", path, st.Uid, os.Geteuid())
	case info.Mode().Perm()&forbidden != 0:
		return fmt.Errorf("%s has mode %04o, so that others may use it; write: chmod %04o %s", path, info.Mode().Perm(), info.Mode().Perm()&^forbidden, path)
	}
	return nil
}

// openOwn opens a file that must be one's own, private, and no link.
func openOwn(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link; what is private must lie where its name says", path)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no ordinary file", path)
	}
	if err == nil {
		err = own(path, info, 0o077)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func readOwn(path string) ([]byte, error) {
	f, err := openOwn(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(f)
	return raw, errors.Join(err, f.Close())
}

// hold locks a file for as long as it is open. False: somebody else holds it. The kernel lets go when the process
// ends, however it ends.
func hold(f *os.File) (bool, error) {
	for range 20 {
		if got, err := flock(f, syscall.LOCK_EX); got || err != nil {
			return got, err
		}
		time.Sleep(5 * time.Millisecond) // somebody may only be looking
	}
	return false, nil
}

// held says whether somebody holds a file. Those who look do not hinder one another.
func held(f *os.File) (bool, error) {
	free, err := flock(f, syscall.LOCK_SH)
	return !free, err
}

func flock(f *os.File, how int) (bool, error) {
	err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// syncFolder makes the names in a folder outlive a power loss.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
