package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// termWithin is how long a process may take to end by itself, endWithin how long all may take.
const (
	termWithin = 4 * time.Second
	endWithin  = 15 * time.Second
)

// Down ends every process of the lab, those that playbooks started included, and removes its folder.
// dir is as in Options. A lab that is not there is no error.
func Down(ctx context.Context, dir string) error {
	dir, err := Dir(dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, stateFile)); errors.Is(err, fs.ErrNotExist) {
		if entries, _ := os.ReadDir(dir); len(entries) > 0 {
			return fmt.Errorf("%s is no lab: nothing is removed", dir)
		}
		return nil
	}
	unlock, err := lock(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another Down was faster
	}
	if err != nil {
		return err
	}
	defer unlock()
	if err := stop(ctx, dir); err != nil {
		return err
	}
	return remove(dir)
}

// stop ends the lab's processes, and looks again until there are none: one may start another.
func stop(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, endWithin, errors.New("they do not end"))
	defer cancel()
	told := map[identity]time.Time{}
	for {
		left, err := processes(dir)
		if err != nil {
			return err
		}
		if id, up := server(dir); up {
			left = append(left, running{identity: id, exe: "pegbook lab serve"})
		}
		if len(left) == 0 {
			return nil
		}
		for _, r := range left {
			since, ok := told[r.identity]
			switch {
			case !ok:
				told[r.identity] = time.Now()
				r.signal(syscall.SIGTERM) //nolint:errcheck // the next look tells
			case time.Since(since) > termWithin:
				r.signal(syscall.SIGKILL) //nolint:errcheck // the next look tells
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("processes of the lab are left (%s): %w", names(left), context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func names(list []running) string {
	words := make([]string, 0, len(list))
	for _, r := range list {
		words = append(words, fmt.Sprintf("%d %s", r.PID, r.exe))
	}
	return strings.Join(words, ", ")
}

// remove removes the folder, also where a playbook left folders in it that may not be written.
func remove(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return nil
	})
	return errors.Join(err, os.RemoveAll(dir))
}
