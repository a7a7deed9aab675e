package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// site is what all measurements share: an OpenSSH server, keys, inventories and a work folder.
type site struct {
	pegbook, version string
	self             string // this program, for the raw limit's far side
	dir, work        string
	keyFile          string
	hostKey          []byte
	user             string
	port             int
	sshd             *exec.Cmd
	peers            []peer
}

// newSite opens a site for measuring pegbook beside the peers that are installed.
func newSite(ctx context.Context, pegbook string) (*site, error) {
	pegbook, err := filepath.Abs(pegbook)
	if err != nil {
		return nil, err
	}
	version, err := exec.CommandContext(ctx, pegbook, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s does not run (make build first): %w", pegbook, err)
	}
	s, err := openSite(ctx)
	if err != nil {
		return nil, err
	}
	s.pegbook, s.version = pegbook, strings.TrimPrefix(strings.TrimSpace(string(version)), "pegbook ")
	s.peers = findPeers()
	return s, nil
}

// openSite makes the keys and starts the server.
func openSite(ctx context.Context) (*site, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("/var/tmp", "pegbook-bench-")
	if err != nil {
		return nil, err
	}
	s := &site{self: self, dir: dir, work: filepath.Join(dir, "t"), keyFile: filepath.Join(dir, "id"), user: me.Username}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *site) start(ctx context.Context) error {
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return err
	}
	for _, key := range []string{"id", "host"} {
		if out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(s.dir, key)).CombinedOutput(); err != nil {
			return fmt.Errorf("ssh-keygen: %w: %s", err, out)
		}
	}
	var err error
	if s.port, err = freePort(); err != nil {
		return err
	}
	if s.hostKey, err = os.ReadFile(filepath.Join(s.dir, "host.pub")); err != nil {
		return err
	}
	config := fmt.Sprintf("Port %d\nListenAddress 0.0.0.0\nHostKey %s/host\nAuthorizedKeysFile %s/id.pub\nStrictModes no\nUsePAM no\nUseDNS no\nMaxStartups 2000\nMaxSessions 500\nPidFile none\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n", s.port, s.dir, s.dir)
	for name, text := range map[string]string{"known_hosts": s.knownHosts(1000, s.port), "sshd_config": config} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return s.serve(ctx)
}

// knownHosts are the lines of known_hosts for n hosts.
func (s *site) knownHosts(n, port int) string {
	var known strings.Builder
	fields := strings.Fields(string(s.hostKey))
	for i := range n {
		fmt.Fprintf(&known, "[%s]:%d %s %s\n", address(i), port, fields[0], fields[1])
	}
	return known.String()
}

// freePort is one that nobody listens on, on any address.
func freePort() (int, error) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// serve starts sshd in a mount namespace where root's shell start-up files are empty: what a person
// put there is not what is measured.
func (s *site) serve(ctx context.Context) error {
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return err
	}
	empty := filepath.Join(s.dir, "empty")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		return err
	}
	script := `for f in "$HOME/.bashrc" "$HOME/.profile"; do [ -e "$f" ] && mount --bind "$0" "$f"; done; exec /usr/sbin/sshd -D -f "$1"`
	s.sshd = exec.Command("unshare", "-m", "--propagation", "private", "sh", "-c", script, empty, filepath.Join(s.dir, "sshd_config"))
	s.sshd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.sshd.Start(); err != nil {
		return err
	}
	for range 100 {
		conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", s.port), time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("sshd does not listen on port %d", s.port)
}

func (s *site) close() error {
	if s.sshd != nil && s.sshd.Process != nil {
		_ = syscall.Kill(-s.sshd.Process.Pid, syscall.SIGTERM)
		_ = s.sshd.Wait()
	}
	return os.RemoveAll(s.dir)
}

// inventory writes an inventory of n hosts for pegbook and gives its path.
func (s *site) inventory(n int) (string, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "all:\n  vars:\n    ansible_user: %s\n    ansible_port: %d\n    ansible_ssh_private_key_file: %s\n    ansible_ssh_known_hosts_file: %s/known_hosts\n    ansible_ssh_config_file: none\n  hosts:\n", s.user, s.port, s.keyFile, s.dir)
	for i := range n {
		fmt.Fprintf(&b, "    %s:\n", address(i))
	}
	return s.write(fmt.Sprintf("inventory-%d.yml", n), b.String())
}

func (s *site) write(name, text string) (string, error) {
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// play writes a workload as a playbook. host is how templates of the tool name the host.
func (s *site) play(name, host string, tasks []task) (string, error) {
	var b bytes.Buffer
	b.WriteString("- hosts: all\n  gather_facts: false\n  tasks:\n")
	for n, t := range tasks {
		dir := fmt.Sprintf("%s/%s/%s/%d", s.work, host, name, t.Index)
		switch t.Kind {
		case "command":
			fmt.Fprintf(&b, "    - name: command %d\n      command: /bin/true\n      changed_when: false\n", n)
		case "directory":
			fmt.Fprintf(&b, "    - name: directory %d\n      file: {path: '%s', state: directory, mode: '0755'}\n", n, dir)
		case "file":
			src, err := s.write(fmt.Sprintf("%s-%d.tmpl", name, t.Index), string(content(host, t.Index)))
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "    - name: file %d\n      template: {src: %s, dest: '%s/f.conf', mode: '0644'}\n", n, src, dir)
		}
	}
	return s.write(name+".yml", b.String())
}

// usage is what a run cost on this machine.
type usage struct {
	wall, cpu time.Duration
	memory    int64 // peak resident bytes
}

// timed runs a program to its end and says what it cost. Its output is shown when it fails.
func timed(ctx context.Context, env []string, argv ...string) (usage, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	err := cmd.Run()
	u := usage{wall: time.Since(began)}
	if err != nil {
		text := out.Bytes()
		return u, fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, text[max(0, len(text)-2000):])
	}
	cost(&u, cmd.ProcessState)
	return u, nil
}

// cost adds what a process took of CPU and memory.
func cost(u *usage, p *os.ProcessState) {
	u.cpu = p.UserTime() + p.SystemTime()
	if r, ok := p.SysUsage().(*syscall.Rusage); ok {
		u.memory = r.Maxrss * 1024
	}
}

func (s *site) run(ctx context.Context, play string, hosts int, more ...string) (usage, error) {
	inventory, err := s.inventory(hosts)
	if err != nil {
		return usage{}, err
	}
	argv := append([]string{s.pegbook, "run", play, "-i", inventory, "--forks", "50"}, more...)
	return timed(ctx, []string{"PEGBOOK_HOME=" + filepath.Join(s.dir, "home"), "XDG_CACHE_HOME="}, argv...)
}

func median(values []time.Duration) time.Duration {
	slices.Sort(values)
	return values[len(values)/2]
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

func mib(n int64) string { return strconv.FormatInt(n>>20, 10) + " MiB" }
