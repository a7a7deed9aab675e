package helper

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// How much is kept of what was there before the changes of runs, for each user of a host. When a run is the first time
// about to keep something, the oldest ones that are too many are removed, but none of the last hour.
const (
	maxKeptRuns  = 30
	maxKeptAge   = 30 * 24 * time.Hour
	maxKeptBytes = 2 << 30
	keptAnyway   = time.Hour
)

// prune removes what is kept of the oldest runs: those that are too many, too old, or hold more than maxBytes together
// with the newer ones.
func prune(dir string, now time.Time, maxBytes int64) {
	type run struct {
		path    string
		changed time.Time
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	var runs []run
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.IsDir() {
			runs = append(runs, run{filepath.Join(dir, e.Name()), info.ModTime()})
		}
	}
	slices.SortFunc(runs, func(a, b run) int { return b.changed.Compare(a.changed) })
	var bytes int64
	for i, r := range runs {
		age := now.Sub(r.changed)
		if bytes <= maxBytes {
			bytes += usage(r.path)
		}
		if age > keptAnyway && (i >= maxKeptRuns || age > maxKeptAge || bytes > maxBytes) {
			_ = os.RemoveAll(r.path) // the next run tries again
		}
	}
}

// usage is how many bytes of the disk a folder takes.
func usage(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := entry.Info(); err == nil {
			bytes += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return nil
	})
	return bytes
}
