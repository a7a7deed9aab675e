// Package lab is a Pegasus cluster's hosts on one machine, to try playbooks on: simulated hosts with SSH
// servers of ours on loopback addresses, a small ZooKeeper, and server packages of a simulated
// pegasus_server. It needs no root, no containers and nothing installed.
//
// Up starts it in the background, Status looks at it and Down removes it with all that playbooks started
// there. Everything lies in one folder; nothing else on the machine is touched.
package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Options are how a lab is laid out. The zero value is the one that inventories/lab.yml describes.
type Options struct {
	// Dir is the lab's folder; "" is $PEGBOOK_LAB_HOME, or ~/.pegbook/lab.
	Dir string
	// Metas, Replicas and Collectors are how many hosts serve each role; 0 means 3, 5 and 1, less than
	// 0 means none.
	Metas, Replicas, Collectors int
	// Address is ZooKeeper's; the hosts have the ones behind it. "" means 127.0.0.10.
	Address string
	// SSHPort and ZooKeeperPort are the same on all addresses; 0 means 22022 and 22181.
	SSHPort, ZooKeeperPort int
	// Scale is how long the simulated servers take for what takes a real one 1 s: 0.1 is ten times
	// faster; 0 means 0.1, 1 is production time.
	Scale float64
	// PegasusServer is the program to make packages of; "" is the embedded one.
	PegasusServer string
	// Releases are the server packages that there are to be, such as 2.3.0; none means 2.4.0 and 2.5.0.
	Releases []string
	// Server is the command that runs Serve, to which the lab's folder is added as the last argument;
	// none is this program with "lab serve".
	Server []string
}

// Host is a host of the lab.
type Host struct {
	Name  string `json:"name"`
	Group string `json:"group"` // meta_server, replica_server, collector
	// IP is its address, SSH where its SSH server listens, Home its folder.
	IP   string `json:"ip"`
	SSH  string `json:"ssh"`
	Home string `json:"home"`
}

// Package is a server package of the lab.
type Package struct {
	Version string `json:"version"`
	File    string `json:"file"`
	SHA256  string `json:"sha256"`
}

// State is a lab that is up.
type State struct {
	Dir string `json:"dir"`
	// Inventory and KnownHosts and Key are files for pegbook and ssh.
	Inventory  string    `json:"inventory"`
	KnownHosts string    `json:"known_hosts"`
	Key        string    `json:"key"`
	ZooKeeper  string    `json:"zookeeper"`
	Hosts      []Host    `json:"hosts"`
	Packages   []Package `json:"packages"`
	Scale      float64   `json:"scale"`
	// AlreadyUp says that the lab was up before.
	AlreadyUp bool `json:"-"`
}

// role is a group of the inventory with how many hosts are in it.
type role struct {
	group, host string
	count       int
}

// roles are in the order in which addresses are given out.
func roles(o Options) []role {
	return []role{{"meta_server", "meta", o.Metas}, {"replica_server", "replica", o.Replicas}, {"collector", "collector", o.Collectors}}
}

// Dir is the folder that an option names, or the default; absolute and without symbolic links once it
// is there.
func Dir(option string) (string, error) {
	dir := option
	if dir == "" {
		dir = os.Getenv("PEGBOOK_LAB_HOME")
	}
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("where to keep the lab: %w (set PEGBOOK_LAB_HOME)", err)
		}
		dir = filepath.Join(home, ".pegbook", "lab")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return dir, nil
	}
	return real, err
}

func (o Options) withDefaults() (Options, error) {
	for _, count := range []struct {
		n       *int
		usually int
	}{{&o.Metas, 3}, {&o.Replicas, 5}, {&o.Collectors, 1}, {&o.SSHPort, 22022}, {&o.ZooKeeperPort, 22181}} {
		if *count.n == 0 {
			*count.n = count.usually
		}
		*count.n = max(*count.n, 0)
	}
	if o.Address == "" {
		o.Address = "127.0.0.10"
	}
	if o.Scale == 0 {
		o.Scale = 0.1
	}
	if o.Scale < 0 || o.Scale > 10 {
		return o, fmt.Errorf("time scale %g: give a number above 0, where 1 is production time", o.Scale)
	}
	if len(o.Server) == 0 {
		exe, err := os.Executable()
		if err != nil {
			return o, err
		}
		o.Server = []string{exe, "lab", "serve"}
	}
	var err error
	o.Dir, err = Dir(o.Dir)
	return o, err
}

// layout gives every host its name and address.
func layout(o Options) (*State, error) {
	addr, err := netip.ParseAddr(o.Address)
	if err != nil || !addr.Is4() || !addr.IsLoopback() {
		return nil, fmt.Errorf("lab address %q: give a loopback address such as 127.0.0.10", o.Address)
	}
	s := &State{
		Dir: o.Dir, Scale: o.Scale,
		Inventory: filepath.Join(o.Dir, "inventory.yml"), KnownHosts: filepath.Join(o.Dir, "known_hosts"), Key: filepath.Join(o.Dir, "key"),
		ZooKeeper: net.JoinHostPort(o.Address, strconv.Itoa(o.ZooKeeperPort)),
	}
	for _, r := range roles(o) {
		for i := range r.count {
			if addr = addr.Next(); !addr.IsLoopback() {
				return nil, fmt.Errorf("there are not enough loopback addresses behind %s", o.Address)
			}
			name := r.host + strconv.Itoa(i+1)
			s.Hosts = append(s.Hosts, Host{
				Name: name, Group: r.group, IP: addr.String(),
				SSH: net.JoinHostPort(addr.String(), strconv.Itoa(o.SSHPort)), Home: filepath.Join(o.Dir, "hosts", name),
			})
		}
	}
	return s, nil
}

// stateFile is also what makes a folder a lab's: Down removes no other.
const stateFile = "lab.json"

// Changes is the file in which the simulated servers write down, in order, what they were told to change, and their
// starts and stops.
func (s *State) Changes() string { return filepath.Join(s.Dir, "changes.log") }

func readState(dir string) (*State, error) {
	p, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return nil, err
	}
	var s State
	if err := json.Unmarshal(p, &s); err != nil || s.Dir == "" {
		return nil, fmt.Errorf("%s is damaged; pegbook lab down, then up again: %w", filepath.Join(dir, stateFile), err)
	}
	return &s, nil
}

func (s *State) write() error {
	p, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(s.Dir, stateFile), append(p, '\n'))
}

// writeFile writes a file so that nobody sees half of it.
func writeFile(path string, content []byte) error {
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// zookeeperTick is short enough that a server that runs scaled gets the short session it asks for, and
// long enough for sessions of production length (2 to 20 ticks).
const zookeeperTick = 500 * time.Millisecond
