package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/lab/pegasus"
)

// faultsFile is what the simulated servers of a host look at for faults. It is beside the host's folder,
// not in it: a playbook may empty that.
func faultsFile(s *State, h Host) string { return filepath.Join(s.Dir, "hosts", h.Name+".faults") }

// Fault has the simulated servers on some hosts of the lab in dir misbehave, from now on and when they
// start again: settings such as "hung" or "load_ms=60000" (docs/lab.md). They replace the ones before; no
// settings take all away. No hosts means all.
func Fault(dir string, hosts, settings []string) error {
	dir, err := Dir(dir)
	if err != nil {
		return err
	}
	state, err := readState(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w in %s: pegbook lab up", ErrNoLab, dir)
	}
	if err != nil {
		return err
	}
	if err := pegasus.CheckFaults(strings.Join(settings, "\n")); err != nil {
		return err
	}
	for _, name := range hosts {
		if !slices.ContainsFunc(state.Hosts, func(h Host) bool { return h.Name == name }) {
			return fmt.Errorf("there is no host %s in the lab; pegbook lab status shows them", name)
		}
	}
	for _, h := range state.Hosts {
		if len(hosts) > 0 && !slices.Contains(hosts, h.Name) {
			continue
		}
		if err := setFaults(faultsFile(state, h), settings); err != nil {
			return err
		}
	}
	return nil
}

func setFaults(path string, settings []string) error {
	if len(settings) > 0 {
		return writeFile(path, []byte(strings.Join(settings, "\n")+"\n"))
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
