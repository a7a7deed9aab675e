package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"
)

// peer is another tool that can run a workload.
type peer struct {
	name string
	run  func(ctx context.Context, s *site, w workload) (time.Duration, error)
}

// findPeers gives the tools that are installed.
func findPeers() []peer {
	var peers []peer
	if _, err := exec.LookPath("ansible-playbook"); err == nil {
		peers = append(peers, peer{"ansible", func(ctx context.Context, s *site, w workload) (time.Duration, error) {
			return s.ansible(ctx, w, "")
		}})
		if exec.Command("/usr/bin/python3", "-c", "import ansible_mitogen").Run() == nil {
			peers = append(peers, peer{"mitogen", func(ctx context.Context, s *site, w workload) (time.Duration, error) {
				return s.ansible(ctx, w, "strategy = mitogen_linear\n")
			}})
		}
	}
	if _, err := exec.LookPath("pyinfra"); err == nil {
		peers = append(peers, peer{"pyinfra", func(ctx context.Context, s *site, w workload) (time.Duration, error) {
			return s.pyinfra(ctx, w)
		}})
	}
	return peers
}

// ansible runs tuned ansible: pipelining, ControlPersist, forks as many as hosts.
func (s *site) ansible(ctx context.Context, w workload, strategy string) (time.Duration, error) {
	play, err := s.play("ansible", "{{ inventory_hostname }}", w.tasks)
	if err != nil {
		return 0, err
	}
	var inv bytes.Buffer
	for i := range w.hosts {
		fmt.Fprintln(&inv, address(i))
	}
	fmt.Fprintf(&inv, "[all:vars]\nansible_user=%s\nansible_port=%d\nansible_ssh_private_key_file=%s\nansible_python_interpreter=/usr/bin/python3\n", s.user, s.port, s.keyFile)
	inventory, err := s.write("ansible.ini", inv.String())
	if err != nil {
		return 0, err
	}
	ssh := fmt.Sprintf("-o UserKnownHostsFile=%s/known_hosts -F /dev/null", s.dir)
	if strategy == "" {
		ssh += " -o ControlMaster=auto -o ControlPersist=60s -o PreferredAuthentications=publickey"
	}
	config, err := s.write("ansible.cfg", fmt.Sprintf("[defaults]\nforks = %d\ngathering = explicit\nretry_files_enabled = False\n%s[ssh_connection]\npipelining = True\ncontrol_path_dir = %s/cp\nssh_args = %s\n",
		w.hosts, strategy, s.dir, ssh))
	if err != nil {
		return 0, err
	}
	u, err := timed(ctx, []string{"ANSIBLE_CONFIG=" + config, "ANSIBLE_LOCAL_TEMP=" + s.dir}, "ansible-playbook", "-i", inventory, play)
	// Connections that ControlPersist keeps would make the next run warm.
	_ = exec.Command("pkill", "-f", filepath.Join(s.dir, "cp")).Run()
	return u.wall, err
}

func (s *site) pyinfra(ctx context.Context, w workload) (time.Duration, error) {
	var inv, deploy bytes.Buffer
	inv.WriteString("hosts = ([")
	for i := range w.hosts {
		fmt.Fprintf(&inv, "'%s',", address(i))
	}
	fmt.Fprintf(&inv, "], {'ssh_user': '%s', 'ssh_port': %d, 'ssh_key': '%s', 'ssh_known_hosts_file': '%s/known_hosts', 'ssh_look_for_keys': False, 'ssh_allow_agent': False})\n", s.user, s.port, s.keyFile, s.dir)
	fmt.Fprintf(&deploy, "from io import StringIO\nfrom pyinfra import host\nfrom pyinfra.operations import files, server\nR = '%s/' + host.name + '/pyinfra'\n", s.work)
	for n, t := range w.tasks {
		switch t.Kind {
		case "command":
			fmt.Fprintf(&deploy, "server.shell(name='command %d', commands=['/bin/true'])\n", n)
		case "directory":
			fmt.Fprintf(&deploy, "files.directory(name='directory %d', path=R + '/%d', mode='755')\n", n, t.Index)
		case "file":
			fmt.Fprintf(&deploy, "files.put(name='file %d', src=StringIO(%q.replace('HOST', host.name)), dest=R + '/%d/f.conf', mode='644')\n", n, content("HOST", t.Index), t.Index)
		}
	}
	inventory, err := s.write("pyinfra_inventory.py", inv.String())
	if err != nil {
		return 0, err
	}
	play, err := s.write("pyinfra_deploy.py", deploy.String())
	if err != nil {
		return 0, err
	}
	u, err := timed(ctx, nil, "pyinfra", "--parallel", "50", "-y", inventory, play)
	return u.wall, err
}
