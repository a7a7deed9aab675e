package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/lab/machines"
)

// onMachines is hosts with systemd, sshd and ZooKeeper: the first three have a meta server and a member of the
// quorum each, the last one the collector, those between the replica servers.
type onMachines struct {
	*machines.Machines
	o        Options
	dir      string
	packed   []lab.Package
	listing  string
	bookshop string // the folder with the playbook of the ZooKeeper quorum
}

const (
	metaHosts    = 3
	replicaHosts = 5
	appDir       = "/srv/work/app/pegasus"
)

func startMachines(ctx context.Context, o Options, dir string) (Hosts, error) {
	m, err := machines.Start(ctx, machines.Options{Dir: fmt.Sprintf("/var/tmp/pegbook-e2e-%d", o.Net), Count: metaHosts + replicaHosts + 1, Net: o.Net})
	if err != nil {
		return nil, err
	}
	h := &onMachines{Machines: m, o: o, dir: dir, listing: filepath.Join(dir, "inventory.yml"), bookshop: filepath.Join(o.Repository, "cmd", "pegbook", "testdata", "machines")}
	if h.packed, err = lab.Packages(filepath.Join(dir, "packages")); err == nil {
		err = os.WriteFile(h.listing, []byte(h.text()), 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	return h, nil
}

// text is the inventory. Times are the playbooks' own at scale 1.
func (h *onMachines) text() string {
	var b strings.Builder
	zk := []string{}
	for _, m := range h.List[:metaHosts] {
		zk = append(zk, m.Address+":2181")
	}
	fmt.Fprintf(&b, `all:
  vars:
    ansible_user: root
    ansible_ssh_private_key_file: %s
    ansible_ssh_known_hosts_file: %s
    ansible_ssh_config_file: none
    package: %s
    package_sha256: %s
    cluster_name: e2e
    zk_server_list: %s
    home_dir: /srv/work
    app_dir: %s
    slog_dir: /srv/ssd1/pegasus
    data_dirs: ssd2:/srv/ssd2/pegasus,ssd3:/srv/ssd3/pegasus
    process_environment: {PEGASUS_SIM_SCALE: "%g"}
    lb_round: %s
    quick_restart: %s
    healthy_stable: %s
    meta_restart_interval: %g
  children:
`, h.KeyFile, h.KnownHosts, h.packed[0].File, h.packed[0].SHA256, strings.Join(zk, ","), appDir,
		h.o.Scale, Scaled(10*time.Second, h.o.Scale), Scaled(quickRestart, h.o.Scale), Scaled(3*time.Second, h.o.Scale), 30*h.o.Scale)
	group := func(name string, list []machines.Machine, member bool) {
		fmt.Fprintf(&b, "    %s:\n      hosts:\n", name)
		for i, m := range list {
			more := ""
			if member {
				more = fmt.Sprintf(", member: %d", i+1)
			}
			fmt.Fprintf(&b, "        %s: {ansible_host: %s%s}\n", m.Name, m.Address, more)
		}
	}
	group("zookeeper", h.List[:metaHosts], true)
	group("meta_server", h.List[:metaHosts], false)
	group("replica_server", h.List[metaHosts:metaHosts+replicaHosts], false)
	group("collector", h.List[metaHosts+replicaHosts:], false)
	return b.String()
}

func (h *onMachines) Names() []string {
	var list []string
	for _, m := range h.List {
		list = append(list, m.Name)
	}
	return list
}

func (h *onMachines) Inventory() string       { return h.listing }
func (h *onMachines) Packages() []lab.Package { return h.packed }

func (h *onMachines) Servers(role string) map[string]string {
	from := map[string][2]int{Meta: {0, metaHosts}, Replica: {metaHosts, metaHosts + replicaHosts}, Collector: {metaHosts + replicaHosts, len(h.List)}}[role]
	m := map[string]string{}
	for _, machine := range h.List[from[0]:from[1]] {
		m[machine.Name] = net.JoinHostPort(machine.Address, port(role))
	}
	return m
}

func (h *onMachines) machine(name string) (machines.Machine, error) {
	for _, m := range h.List {
		if m.Name == name {
			return m, nil
		}
	}
	return machines.Machine{}, fmt.Errorf("no machine is called %s", name)
}

// on runs a shell script on a machine past its network.
func (h *onMachines) on(ctx context.Context, name, script string) (string, error) {
	m, err := h.machine(name)
	if err != nil {
		return "", err
	}
	return h.Run(ctx, m, "/bin/sh", "-ec", script)
}

func (h *onMachines) prepare(ctx context.Context, pegbook func(ctx context.Context, args ...string) error) error {
	for _, m := range h.List {
		script := "for d in ssd1 ssd2 ssd3; do mkdir -p /srv/$d; mount -t tmpfs -o size=64m tmpfs /srv/$d; done"
		if _, err := h.Run(ctx, m, "/bin/sh", "-ec", script); err != nil {
			return err
		}
	}
	return pegbook(ctx, filepath.Join(h.bookshop, "zookeeper.yml"))
}

func (h *onMachines) Kill(ctx context.Context, host, role string) error {
	_, err := h.on(ctx, host, "systemctl kill --kill-whom=main --signal=KILL pegasus-"+role)
	return err
}

func (h *onMachines) Fault(ctx context.Context, host, role string, settings ...string) error {
	file := fmt.Sprintf("%s/%s/faults", appDir, role)
	script := "rm -f " + file
	if len(settings) > 0 {
		script = fmt.Sprintf("printf '%%s\\n' %s >%s", strings.Join(settings, " "), file)
	}
	_, err := h.on(ctx, host, script)
	return err
}

func (h *onMachines) Cut(ctx context.Context, host string, off bool) error {
	m, err := h.machine(host)
	if err != nil {
		return err
	}
	return h.Machines.Cut(ctx, m, off)
}

func (h *onMachines) LoseZooKeeper(ctx context.Context) (func() error, error) {
	for _, m := range h.List[:metaHosts] {
		mode, err := zooKeeperMode(ctx, m.Address)
		if err != nil {
			return nil, err
		}
		if mode != "leader" {
			continue
		}
		_, err = h.on(ctx, m.Name, "systemctl kill --kill-whom=main --signal=KILL pegbook-zookeeper")
		return func() error {
			_, err := h.on(context.WithoutCancel(ctx), m.Name, "systemctl reset-failed pegbook-zookeeper; systemctl start pegbook-zookeeper")
			return err
		}, err
	}
	return nil, errors.New("no member of the ZooKeeper quorum leads")
}

// zooKeeperMode asks a member what it is.
func zooKeeperMode(ctx context.Context, ip string) (string, error) {
	conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(ip, "2181"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte("srvr")); err != nil {
		return "", err
	}
	text := make([]byte, 4096)
	said := ""
	for {
		n, err := conn.Read(text)
		said += string(text[:n])
		if err != nil {
			break // the member closes when it has said all
		}
	}
	_, mode, _ := strings.Cut(said, "Mode: ")
	mode, _, _ = strings.Cut(mode, "\n")
	return strings.TrimSpace(mode), nil
}

func (h *onMachines) close() error { return h.Stop() }
