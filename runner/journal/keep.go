package journal

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// List gives all runs, oldest first, and in the error those that cannot be read.
func (h *Home) List() ([]*Run, error) {
	names, err := h.Names()
	if err != nil {
		return nil, err
	}
	var runs []*Run
	var errs []error
	for _, name := range names {
		r, err := h.Open(name)
		var gone *NotFoundError
		switch {
		case errors.As(err, &gone): // removed meanwhile
		case err != nil:
			errs = append(errs, fmt.Errorf("run %s: %w", name, err))
		default:
			runs = append(runs, r)
		}
	}
	return runs, errors.Join(errs...)
}

// Remove removes a run with all that is kept of it. One that goes on is a *RunningError.
func (h *Home) Remove(run string) error {
	if err := valid(run); err != nil {
		return err
	}
	dir := h.folder(run)
	lock, err := h.take(run)
	switch {
	case err == nil:
		defer lock.Close() //nolint:errcheck // closing lets the lock go
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	// Renamed first: half a run must not look like one.
	gone := h.folder(goneMark + run)
	if err := os.Rename(dir, gone); err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

// Keep is how many runs are kept.
type Keep struct {
	// Runs, Age and Bytes are bounds; 0 means none.
	Runs  int
	Age   time.Duration
	Bytes int64
}

// DefaultKeep is what is kept where nobody says otherwise.
func DefaultKeep() Keep { return Keep{Runs: 500, Age: 90 * day, Bytes: 2 << 30} }

const day = 24 * time.Hour

// ParseKeep reads how many runs to keep: a number of runs, an age (30d, 12h), a size (500MiB, 2GiB), or several of
// them with spaces between; "all" keeps every run.
func ParseKeep(text string) (Keep, error) {
	var k Keep
	words := strings.Fields(text)
	if len(words) == 1 && words[0] == "all" {
		return k, nil
	}
	for _, w := range words {
		if err := k.word(w); err != nil {
			return Keep{}, err
		}
	}
	if len(words) == 0 {
		return DefaultKeep(), nil
	}
	return k, nil
}

func (k *Keep) word(w string) error {
	for _, unit := range []struct {
		suffix string
		size   float64
		age    time.Duration
	}{{"KiB", 1 << 10, 0}, {"MiB", 1 << 20, 0}, {"GiB", 1 << 30, 0}, {"TiB", 1 << 40, 0}, {"d", 0, day}, {"h", 0, time.Hour}, {"", 0, 0}} {
		digits, ok := strings.CutSuffix(w, unit.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(digits, 64)
		if err != nil || n < 1 || n > math.MaxInt32 {
			break
		}
		switch {
		case unit.size > 0:
			k.Bytes = int64(n * unit.size)
		case unit.age > 0:
			k.Age = time.Duration(n * float64(unit.age))
		default:
			k.Runs = int(n)
		}
		return nil
	}
	return fmt.Errorf("%q does not say how many runs to keep; write a number of runs, an age (90d) or a size (2GiB), or all", w)
}

// Prune removes the oldest runs that are more than is to be kept, and what a process that was killed has left half
// made. Runs that go on or can be gone on with stay, and do not count among k.Runs: were there as many of them, no other
// run would be kept, not even the one that has just ended. For the same reason the last one stays whatever k.Bytes says.
func (h *Home) Prune(k Keep, now time.Time) error {
	h.sweep(now)
	names, err := h.Names()
	if err != nil || k == (Keep{}) {
		return err
	}
	sizes := make([]int64, len(names))
	var total int64
	for i, name := range names {
		sizes[i] = sizeOf(h.folder(name))
		total += sizes[i]
	}
	old := now.Add(-k.Age)
	if !k.exceeded(len(names), total) && (k.Age == 0 || len(names) == 0 || !h.older(names[0], old)) {
		return nil
	}
	var ended []int
	for i, name := range names {
		if r, err := h.Open(name); err == nil && r.State != Running && !r.Resumable() {
			ended = append(ended, i)
		}
	}
	var errs []error
	for n, i := range ended {
		left, bytes := len(ended)-n, total
		if left == 1 {
			bytes = 0
		}
		if !k.exceeded(left, bytes) && (k.Age == 0 || !h.older(names[i], old)) {
			break
		}
		if err := h.Remove(names[i]); err != nil {
			errs = append(errs, err)
			continue
		}
		total -= sizes[i]
	}
	return errors.Join(errs...)
}

// exceeded says whether so many runs of so many bytes are too many.
func (k Keep) exceeded(runs int, bytes int64) bool {
	return k.Runs > 0 && runs > k.Runs || k.Bytes > 0 && bytes > k.Bytes
}

func sizeOf(dir string) int64 {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	var n int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
	}
	return n
}

// older says whether the last that happened in a run was before a time.
func (h *Home) older(run string, than time.Time) bool {
	info, err := os.Lstat(filepath.Join(h.folder(run), metaFile))
	return err == nil && info.ModTime().Before(than)
}

// sweep removes what a process that was killed has left half made or half removed. What is younger than an hour may
// be somebody's work.
func (h *Home) sweep(now time.Time) {
	for _, mark := range []string{newMark, goneMark} {
		left, _ := filepath.Glob(filepath.Join(h.dir, runsFolder, mark+"*")) //nolint:errcheck // the pattern is sound
		for _, dir := range left {
			if info, err := os.Lstat(dir); err == nil && now.Sub(info.ModTime()) > time.Hour {
				os.RemoveAll(dir) //nolint:errcheck // the next run tries again
			}
		}
	}
}
