// Package machines starts managed hosts with a real systemd and a real OpenSSH server on one Linux
// machine, for tests: a network namespace, an overlay of / and systemd-nspawn each. It needs root and
// the Debian packages that make setup installs.
//
// A machine's own writes go to its overlay; the machine pegbook runs on is not touched. Stop removes
// processes, mounts, namespaces and links, also those of a killed test (the next Start in the same
// folder sweeps first).
package machines

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Options say what to start.
type Options struct {
	// Dir holds everything; it must not exist, or be left by an earlier Start.
	Dir string
	// Count is how many machines.
	Count int
	// Net is the third byte of their addresses 10.78.Net.11, 10.78.Net.12 …, and part of every name, so
	// that several sets can be up at a time. 0 to 255.
	Net int
	// Shared, if not empty, is a folder that every machine sees as /srv/shared, as one mounted over a network.
	Shared string
}

// Machines is a running set.
type Machines struct {
	o Options
	// KeyFile is the private key that root accepts on every machine; KnownHosts has their host keys.
	KeyFile    string
	KnownHosts string
	List       []Machine
	// inUse keeps others from the set's names and addresses. It is an abstract socket, which the kernel
	// closes with the process, so that a killed test never stands in the way.
	inUse net.Listener
}

// ErrInUse is a Net that another process has machines in.
var ErrInUse = errors.New("another process runs machines in this net")

// Machine is one managed host.
type Machine struct {
	Name    string
	Address string
	// Root is its file system as seen from outside.
	Root string
	netns, veth,
	dir string
}

// upBound is how long all machines together may take until their sshd answers.
const upBound = 90 * time.Second

// Start starts the machines and returns when sshd answers on each.
func Start(ctx context.Context, o Options) (*Machines, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("machines need root: network namespaces and overlay mounts")
	}
	m := &Machines{o: o, KeyFile: filepath.Join(o.Dir, "key"), KnownHosts: filepath.Join(o.Dir, "known_hosts")}
	for i := range o.Count {
		m.List = append(m.List, Machine{
			Name:    fmt.Sprintf("m%d-%d", o.Net, i+1),
			Address: fmt.Sprintf("10.78.%d.%d", o.Net, 11+i),
			Root:    filepath.Join(o.Dir, fmt.Sprintf("%d", i+1), "root"),
			dir:     filepath.Join(o.Dir, fmt.Sprintf("%d", i+1)),
			netns:   fmt.Sprintf("pb%d-%d", o.Net, i+1),
			veth:    fmt.Sprintf("pbv%d-%d", o.Net, i+1),
		})
	}
	var err error
	if m.inUse, err = net.Listen("unix", fmt.Sprintf("@pegbook-machines-%d", o.Net)); errors.Is(err, syscall.EADDRINUSE) {
		return nil, ErrInUse
	} else if err != nil {
		return nil, err
	}
	if err := m.sweep(); err != nil {
		_ = m.inUse.Close()
		return nil, fmt.Errorf("sweep what an earlier test left: %w", err)
	}
	ctx, stop := context.WithTimeoutCause(ctx, upBound, fmt.Errorf("the machines did not come up within %s; see %s/*/log", upBound, o.Dir))
	defer stop()
	if err := m.start(ctx); err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	return m, nil
}

func (m *Machines) bridge() string { return fmt.Sprintf("pbbr%d", m.o.Net) }

func (m *Machines) start(ctx context.Context) error {
	if err := os.MkdirAll(m.o.Dir, 0o755); err != nil {
		return err
	}
	if err := sh(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", m.KeyFile); err != nil {
		return err
	}
	steps := [][]string{
		{"ip", "link", "add", m.bridge(), "type", "bridge"},
		{"ip", "addr", "add", fmt.Sprintf("10.78.%d.1/24", m.o.Net), "dev", m.bridge()},
		{"ip", "link", "set", m.bridge(), "up"},
	}
	for _, argv := range steps {
		if err := sh(ctx, argv...); err != nil {
			return err
		}
	}
	for _, machine := range m.List {
		if err := m.boot(ctx, machine); err != nil {
			return fmt.Errorf("%s: %w", machine.Name, err)
		}
	}
	for _, machine := range m.List {
		if err := m.await(ctx, machine); err != nil {
			return fmt.Errorf("%s: %w", machine.Name, err)
		}
	}
	return nil
}

// masked are units that have no business on a test host or would disturb it.
var masked = [...]string{
	"zookeeper.service", "postgresql.service", "mariadb.service", "systemd-networkd.service",
	"systemd-timesyncd.service", "systemd-resolved.service", "console-getty.service", "e2scrub_reap.service",
	"apt-daily.timer", "apt-daily-upgrade.timer", "man-db.timer", "e2scrub_all.timer", "dpkg-db-backup.timer", "fstrim.timer", "logrotate.timer", "supervisor.service",
}

func (m *Machines) boot(ctx context.Context, machine Machine) error {
	network := [][]string{
		{"ip", "netns", "add", machine.netns},
		{"ip", "link", "add", machine.veth, "type", "veth", "peer", "name", "eth0", "netns", machine.netns},
		{"ip", "link", "set", machine.veth, "master", m.bridge(), "up"},
		{"ip", "-n", machine.netns, "addr", "add", machine.Address + "/24", "dev", "eth0"},
		{"ip", "-n", machine.netns, "link", "set", "lo", "up"},
		{"ip", "-n", machine.netns, "link", "set", "eth0", "up"},
	}
	for _, argv := range network {
		if err := sh(ctx, argv...); err != nil {
			return err
		}
	}
	if err := m.fileSystem(machine); err != nil {
		return err
	}
	groups, err := makeGroups(machine)
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(machine.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	// Not bound to ctx: the machine outlives Start, Stop ends it.
	argv := []string{"-ec", `for group in $1; do echo $$ >"$group/cgroup.procs"; done; shift; exec "$@"`, "sh",
		strings.Join(groups, " "), "systemd-nspawn", "-q", "--register=no", "--keep-unit", "--machine=" + machine.Name,
		"--network-namespace-path=/run/netns/" + machine.netns, "-D", machine.Root, "--boot"}
	if m.o.Shared != "" {
		argv = append(argv, "--bind="+m.o.Shared+":/srv/shared")
	}
	cmd := exec.Command("/bin/sh", argv...)
	// The machine's network is its own, and so are the kernel's parameters for it.
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_API_VFS_WRITABLE=network")
	cmd.Stdout, cmd.Stderr = log, log
	// A test that runs out of time runs no clean-up: then the machine at least shuts down.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // reaps it whenever Stop ends it
	return os.WriteFile(filepath.Join(machine.dir, "pid"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644)
}

// fileSystem mounts the overlay and writes what differs from this machine's own root.
func (m *Machines) fileSystem(machine Machine) error {
	upper, work := filepath.Join(machine.dir, "upper"), filepath.Join(machine.dir, "work")
	units, ssh := filepath.Join(upper, "etc/systemd/system"), filepath.Join(upper, "root/.ssh")
	for _, dir := range []string{units, ssh, work, machine.Root} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, unit := range masked {
		if err := os.Symlink("/dev/null", filepath.Join(units, unit)); err != nil {
			return err
		}
	}
	key, err := os.ReadFile(m.KeyFile + ".pub")
	if err != nil {
		return err
	}
	files := []struct {
		path    string
		content []byte
		mode    os.FileMode
	}{
		{filepath.Join(ssh, "authorized_keys"), key, 0o600},
		// A login shell set up for people on this machine is not part of the host under test.
		{filepath.Join(upper, "root/.bashrc"), nil, 0o644},
		{filepath.Join(upper, "etc/hostname"), []byte(machine.Name + "\n"), 0o644},
		{filepath.Join(upper, "etc/machine-id"), nil, 0o644},
	}
	for _, f := range files {
		if err := os.WriteFile(f.path, f.content, f.mode); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(upper, "root"), 0o700); err != nil {
		return err
	}
	if err := os.Chmod(ssh, 0o700); err != nil {
		return err
	}
	return syscall.Mount("overlay", machine.Root, "overlay", 0, "lowerdir=/,upperdir="+upper+",workdir="+work)
}

// await waits until sshd answers and records its host key.
func (m *Machines) await(ctx context.Context, machine Machine) error {
	for {
		out, err := exec.CommandContext(ctx, "ssh-keyscan", "-T", "2", "-t", "ed25519", machine.Address).Output()
		if err == nil && bytes.Contains(out, []byte("ssh-ed25519")) {
			f, err := os.OpenFile(m.KnownHosts, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
			if err != nil {
				return err
			}
			_, err = f.Write(out)
			return errors.Join(err, f.Close())
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Cut takes a machine off the network, or back on.
func (m *Machines) Cut(ctx context.Context, machine Machine, off bool) error {
	state := "up"
	if off {
		state = "down"
	}
	return sh(ctx, "ip", "link", "set", machine.veth, state)
}

// Run runs a program on a machine past SSH, so also on one that is cut off, and gives its output.
func (m *Machines) Run(ctx context.Context, machine Machine, argv ...string) (string, error) {
	first, err := initPID(machine)
	if err != nil {
		return "", err
	}
	inside := []string{"--target", strconv.Itoa(first), "--mount", "--uts", "--ipc", "--net", "--pid", "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(inside, argv...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %s: %w: %s", machine.Name, strings.Join(argv, " "), err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// Processes are the command lines of a machine's processes that contain a text, their arguments
// separated by spaces.
func (m *Machines) Processes(machine Machine, text string) ([]string, error) {
	first, err := initPID(machine)
	if err != nil {
		return nil, err
	}
	space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", first))
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, entry := range entries {
		// A process that ended meanwhile, or is none, has no link.
		if other, err := os.Readlink("/proc/" + entry.Name() + "/ns/pid"); err != nil || other != space {
			continue
		}
		raw, err := os.ReadFile("/proc/" + entry.Name() + "/cmdline")
		if err != nil {
			continue
		}
		if line := strings.TrimSpace(strings.ReplaceAll(string(raw), "\x00", " ")); line != "" && strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found, nil
}

// Inventory is an inventory of the machines in YAML, with their connection variables, in one group.
func (m *Machines) Inventory(group string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "all:\n  vars:\n    ansible_user: root\n    ansible_ssh_private_key_file: %s\n    ansible_ssh_known_hosts_file: %s\n  children:\n    %s:\n      hosts:\n", m.KeyFile, m.KnownHosts, group)
	for _, machine := range m.List {
		fmt.Fprintf(&b, "        %s: {ansible_host: %s}\n", machine.Name, machine.Address)
	}
	return b.String()
}

// Stop ends the machines and removes every trace. It is safe to call again, and on a half-started set.
func (m *Machines) Stop() error {
	if m.inUse == nil {
		return nil
	}
	if err := m.sweep(); err != nil {
		return err
	}
	err := m.inUse.Close()
	m.inUse = nil
	return err
}

// sweep removes the set's machines, started by us or by a test that was killed.
func (m *Machines) sweep() error {
	for _, machine := range m.List {
		endMachine(machine)
	}
	var failed []error
	for _, machine := range m.List {
		failed = append(failed, awaitEnd(machine), removeGroups(machine), unmount(machine.Root))
		for _, argv := range [][]string{{"ip", "netns", "del", machine.netns}, {"ip", "link", "del", machine.veth}} {
			_ = exec.Command(argv[0], argv[1:]...).Run() // not there is as good as removed
		}
	}
	_ = exec.Command("ip", "link", "del", m.bridge()).Run()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	if mounted(m.o.Dir) {
		return fmt.Errorf("still mounted below %s", m.o.Dir)
	}
	return os.RemoveAll(m.o.Dir)
}

// endMachine kills the machine's own PID 1; killing nspawn alone would leave the machine behind.
func endMachine(machine Machine) {
	if pid, err := initPID(machine); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// initPID is the machine's own PID 1 as seen from outside, the child of systemd-nspawn.
func initPID(machine Machine) (int, error) {
	pid, ok := nspawn(machine)
	if !ok {
		return 0, fmt.Errorf("%s does not run", machine.Name)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(children)), " ")
	return strconv.Atoi(first)
}

// nspawn is the process of a machine, told by its command line: a recycled pid is none of ours.
func nspawn(machine Machine) (int, bool) {
	text, err := os.ReadFile(filepath.Join(machine.dir, "pid"))
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		return 0, false
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return pid, err == nil && bytes.Contains(cmdline, []byte(machine.Root))
}

func awaitEnd(machine Machine) error {
	for range 100 {
		if _, alive := nspawn(machine); !alive {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("%s does not end", machine.Name)
}

func unmount(dir string) error {
	if !mounted(dir) {
		return nil
	}
	if err := syscall.Unmount(dir, 0); err == nil {
		return nil
	}
	return syscall.Unmount(dir, syscall.MNT_DETACH)
}

func mounted(dir string) bool {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return false
	}
	return bytes.Contains(mounts, []byte(" "+dir+" ")) || bytes.Contains(mounts, []byte(" "+dir+"/"))
}

func sh(ctx context.Context, argv ...string) error {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// Reachable says whether anything listens on a machine's port.
func Reachable(address string, port int) bool {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(address, strconv.Itoa(port)), time.Second)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}
