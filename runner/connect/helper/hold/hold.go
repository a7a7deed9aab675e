// Package hold is a lock on a file: one process at a time holds it, and the kernel takes it from a process
// that has ended, however it ended. The file says who holds it, and counts how often it was taken.
//
// The helper has it on managed hosts, the runner on the control node; hence the standard library alone.
package hold

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// MaxNote bounds what a holder may say of itself.
const MaxNote = 4 << 10

// BusyError is a file that somebody else holds. Note is what the holder says of itself.
type BusyError struct{ Path, Note string }

// Error names the file.
func (e *BusyError) Error() string { return e.Path + " is held by another process" }

// ErrTaken is a lock whose file was removed or replaced under its holder.
var ErrTaken = errors.New("the lock's file was removed or replaced")

// Hold is a file that is held.
type Hold struct {
	// Token is larger than that of every earlier hold of the file.
	Token uint64
	path  string
	file  *os.File
}

// Try takes the file, which is made where it is missing, or gives *BusyError. note says who takes it: one line.
func Try(path, note string) (*Hold, error) {
	if len(note) > MaxNote || strings.ContainsAny(note, "\n\x00") {
		return nil, errors.New("a note is one line of at most 4 KiB")
	}
	for range 100 { // the file may be replaced while it is being locked
		h, err := try(path)
		if err != nil || h == nil {
			if err != nil {
				return nil, err
			}
			continue
		}
		if err := h.sign(note); err != nil {
			h.file.Close()
			return nil, err
		}
		return h, nil
	}
	return nil, fmt.Errorf("%s: %w again and again", path, ErrTaken)
}

// try locks the file. nil is one that is no longer the file at the path.
func try(path string) (*Hold, error) {
	file, err := open(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	h := &Hold{path: path, file: file}
	if err := h.lock(); err != nil {
		file.Close()
		return nil, err
	}
	if h.Check() != nil {
		file.Close()
		return nil, nil
	}
	return h, nil
}

func open(path string, how int) (*os.File, error) {
	file, err := os.OpenFile(path, how|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "lock", Path: path, Err: errors.New("it is no regular file")}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// lock takes the lock. Whoever asks who holds it has it for a moment and leaves no note: that is waited for.
func (h *Hold) lock() error {
	for n := 0; ; n++ {
		err := syscall.Flock(int(h.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			if err != nil {
				return &os.PathError{Op: "lock", Path: h.path, Err: err}
			}
			return nil
		}
		_, note, err := read(h.file)
		if err != nil {
			return err
		}
		if note != "" || n == 20 {
			return &BusyError{Path: h.path, Note: note}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// farthest is how far a count may be ahead of the clock, in microseconds: a hundred years. Locks that are taken, and
// clocks that are wrong, come nowhere near; and who wrote the largest number there is would have all who come later
// refused by every host.
const farthest = 100 * 365 * 24 * 60 * 60 * 1_000_000

// sign writes down the next token and who holds it. The clock stands in for a count that is lost or damaged:
// tokens grow all the same.
func (h *Hold) sign(note string) error {
	before, _, err := read(h.file)
	if err != nil {
		return err
	}
	h.Token = uint64(time.Now().UnixMicro())
	if before <= h.Token+farthest {
		h.Token = max(h.Token, before+1)
	}
	return h.write(note)
}

func (h *Hold) write(note string) error {
	text := strconv.FormatUint(h.Token, 10) + " " + note + "\n"
	if _, err := h.file.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return h.file.Truncate(int64(len(text)))
}

// read gives what the file says; zeros where it says nothing.
func read(file *os.File) (token uint64, note string, err error) {
	text := make([]byte, MaxNote+64)
	n, err := file.ReadAt(text, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, "", err
	}
	line, _, _ := strings.Cut(string(text[:n]), "\n")
	number, note, _ := strings.Cut(line, " ")
	token, err = strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, "", nil //nolint:nilerr // a file that was cut off says nothing
	}
	return token, note, nil
}

// Check says whether the path still is the file that is held.
func (h *Hold) Check() error {
	ours, err := h.file.Stat()
	if err != nil {
		return err
	}
	there, err := os.Lstat(h.path)
	if err != nil || !os.SameFile(ours, there) {
		return fmt.Errorf("%s: %w", h.path, ErrTaken)
	}
	return nil
}

// Release gives the file back.
func (h *Hold) Release() error {
	return errors.Join(h.write(""), h.file.Close())
}

// Ask says who holds a file; false is nobody.
func Ask(path string) (note string, held bool, err error) {
	file, err := open(path, os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	defer file.Close()
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if err == nil {
		return "", false, nil
	}
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return "", false, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	_, note, err = read(file)
	return note, true, err
}
