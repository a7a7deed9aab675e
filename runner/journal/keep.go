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

// ParseAge reads an age: 30d, 12h.
func ParseAge(text string) (time.Duration, error) {
	var k Keep
	if err := k.word(text); err != nil || k.Age == 0 {
		return 0, fmt.Errorf("%q is no age; write days or hours: 30d, 12h", text)
	}
	return k.Age, nil
}

// Prune removes the oldest runs that are more than is to be kept, and what a process that was killed has left half
// made. Runs that came to their end and runs that could be gone on with are bounded apart: many of the one leave as
// many of the other. Runs that go on stay, and the last one that ended stays however large it is.
func (h *Home) Prune(ended, open Keep, now time.Time) error {
	h.sweep(now)
	names, err := h.Names()
	if err != nil || ended == (Keep{}) && open == (Keep{}) {
		return err
	}
	var finished, others []keptRun
	for _, name := range names {
		switch r, over, err := h.glance(name); {
		case err != nil: // gone meanwhile, or nobody can tell what it is: it stays
		case over:
			finished = append(finished, r)
		default:
			others = append(others, r)
		}
	}
	return errors.Join(h.prune(finished, ended, now, false), h.prune(others, open, now, true))
}

// keptRun is what Prune has to know of a run.
type keptRun struct {
	name  string
	bytes int64
	last  time.Time // when something was last written about it
}

// glance says what a run takes, and whether it is over for good. The mode of run.json tells of most (see metaMode), so
// that the files of all runs need not be read whenever one ends.
func (h *Home) glance(name string) (r keptRun, over bool, _ error) {
	dir := h.folder(name)
	info, err := os.Lstat(filepath.Join(dir, metaFile))
	if err != nil {
		return r, false, err
	}
	r = keptRun{name: name, bytes: info.Size() + sizeOf(dir, eventsFile, stepsFile), last: info.ModTime()}
	if info.Mode().Perm()&0o200 == 0 {
		return r, true, nil
	}
	m, err := readMeta(dir)
	if err != nil {
		return r, false, err
	}
	if end := m.Last().End; end != nil {
		return r, m.Check || end.ExitCode == 0, nil
	}
	live, err := locked(filepath.Join(dir, lockFile))
	return r, m.Check && !live, err
}

// prune removes the oldest of some runs that are more than is to be kept.
func (h *Home) prune(runs []keptRun, k Keep, now time.Time, resumable bool) error {
	var total int64
	for _, r := range runs {
		total += r.bytes
	}
	left := len(runs)
	var errs []error
	for _, kept := range runs {
		tooMany := k.Runs > 0 && left > k.Runs || k.Bytes > 0 && total > k.Bytes && left > 1
		if !tooMany && !(k.Age > 0 && kept.last.Before(now.Add(-k.Age))) {
			continue // one behind it may be older, which nobody has gone on with since
		}
		r, err := h.Open(kept.name)
		if err != nil || r.Live || r.Resumable() != resumable {
			continue
		}
		if err := h.Remove(kept.name); err != nil {
			errs = append(errs, err)
			continue
		}
		left--
		total -= kept.bytes
	}
	return errors.Join(errs...)
}

// sizeOf is what files of a run take.
func sizeOf(dir string, names ...string) int64 {
	var n int64
	for _, name := range names {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			n += info.Size()
		}
	}
	return n
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
