package machines

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Each machine has a control group of its own. Without one all of them would keep their units in the
// group of whoever started them: stopping a unit on one machine would take the group away from the unit
// of the same name on the others.

// groups are a machine's folders in the hierarchies that a systemd keeps its units in.
func groups(machine Machine) ([]string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	var list []string
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line) // device, mount point, type, options
		if len(fields) < 4 {
			continue
		}
		named := fields[2] == "cgroup" && slices.Contains(strings.Split(fields[3], ","), "name=systemd")
		if fields[2] == "cgroup2" || named {
			list = append(list, filepath.Join(fields[1], "pegbook-"+machine.Name))
		}
	}
	return list, nil
}

// makeGroups makes a machine's control groups and gives their folders.
func makeGroups(machine Machine) ([]string, error) {
	list, err := groups(machine)
	if err != nil {
		return nil, err
	}
	for _, dir := range list {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("a control group of its own: %w", err)
		}
	}
	return list, nil
}

// removeGroups removes a machine's control groups with all below. Their processes have been killed, and
// may take a moment to be gone.
func removeGroups(machine Machine) error {
	list, err := groups(machine)
	if err != nil {
		return err
	}
	for until := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var failed []error
		for _, dir := range list {
			failed = append(failed, removeTree(dir))
		}
		if err := errors.Join(failed...); err == nil || time.Now().After(until) {
			return err
		}
	}
}

// removeTree removes folders from the innermost outwards: the files in a control group cannot be removed
// and go with it.
func removeTree(root string) error {
	var dirs []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append(dirs, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	for _, dir := range slices.Backward(dirs) {
		if removeErr := os.Remove(dir); removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
			err = errors.Join(err, removeErr)
		}
	}
	return err
}
