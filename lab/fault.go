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

// linkFile is what the lab's process looks at for the faults of a host itself; zooKeeperFile for those of ZooKeeper.
func linkFile(s *State, h Host) string { return filepath.Join(s.Dir, "hosts", h.Name+".link") }
func zooKeeperFile(s *State) string    { return filepath.Join(s.Dir, "zookeeper.faults") }

// ZooKeeperHost is the name that stands for ZooKeeper among the hosts of Fault.
const ZooKeeperHost = "zookeeper"

// Fault has some hosts of the lab in dir, and the simulated servers on them, misbehave, from now on and when they
// start again: settings such as "hung" or "load_ms=60000" (docs/lab.md). They replace the ones before; no
// settings take all away. No hosts means all. ZooKeeperHost has settings of its own.
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
	if slices.Contains(hosts, ZooKeeperHost) {
		return state.zooKeeperFault(hosts, settings)
	}
	servers, links := split(settings)
	if _, err := linkFault(links); err != nil {
		return err
	}
	if err := pegasus.CheckFaults(strings.Join(servers, "\n")); err != nil {
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
		if err := errors.Join(setFaults(faultsFile(state, h), servers), setFaults(linkFile(state, h), links)); err != nil {
			return err
		}
	}
	if len(hosts) == 0 && len(settings) == 0 {
		return setFaults(zooKeeperFile(state), nil)
	}
	return nil
}

func (s *State) zooKeeperFault(hosts, settings []string) error {
	if len(hosts) > 1 {
		return errors.New("ZooKeeper has faults of its own: name it alone")
	}
	if _, err := zooKeeperFault(settings); err != nil {
		return err
	}
	return setFaults(zooKeeperFile(s), settings)
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
