package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/lab"
)

// Hosts is where the cluster runs, and what can happen to it there.
type Hosts interface {
	Names() []string
	// Inventory is pegbook's, Packages what there is to update to.
	Inventory() string
	Packages() []lab.Package
	// Servers gives the addresses of a role's servers by the names of their hosts.
	Servers(role string) map[string]string
	// prepare does what must be there before the cluster is deployed.
	prepare(ctx context.Context, pegbook func(ctx context.Context, args ...string) error) error
	// Kill ends a server as a crash does.
	Kill(ctx context.Context, host, role string) error
	// Fault has a host's servers of a role misbehave (docs/lab.md); no settings end it.
	Fault(ctx context.Context, host, role string, settings ...string) error
	// Cut takes a host off the network, or back on.
	Cut(ctx context.Context, host string, off bool) error
	// LoseZooKeeper kills the leader of the quorum and gives what starts it again.
	LoseZooKeeper(ctx context.Context) (heal func() error, err error)
	close() error
}

// Roles of servers.
const (
	Meta, Replica, Collector = "meta", "replica", "collector"
	ports                    = "meta 34601 replica 34801 collector 34101"
)

// port is the port of a role's servers.
func port(role string) string {
	_, rest, _ := strings.Cut(ports, role+" ")
	number, _, _ := strings.Cut(rest, " ")
	return number
}

// onLab is the lab's simulated hosts.
type onLab struct {
	state *lab.State
	dir   string
}

func startLab(ctx context.Context, o Options, dir string) (Hosts, error) {
	pegbook, err := filepath.Abs(o.Pegbook)
	if err != nil {
		return nil, err
	}
	h := &onLab{dir: filepath.Join(dir, "lab")}
	h.state, err = lab.Up(ctx, lab.Options{Dir: h.dir, Scale: o.Scale, Address: fmt.Sprintf("127.78.%d.10", o.Net), Server: []string{pegbook, "lab", "serve"}})
	if err != nil {
		return nil, errors.Join(err, lab.Down(context.WithoutCancel(ctx), h.dir))
	}
	return h, nil
}

func (h *onLab) Names() []string {
	var list []string
	for _, host := range h.state.Hosts {
		list = append(list, host.Name)
	}
	return list
}

func (h *onLab) Inventory() string       { return h.state.Inventory }
func (h *onLab) Packages() []lab.Package { return h.state.Packages }

func (h *onLab) Servers(role string) map[string]string {
	m := map[string]string{}
	for _, host := range h.state.Hosts {
		if strings.HasPrefix(host.Name, role) {
			m[host.Name] = net.JoinHostPort(host.IP, port(role))
		}
	}
	return m
}

func (h *onLab) prepare(context.Context, func(context.Context, ...string) error) error { return nil }

func (h *onLab) Kill(ctx context.Context, host, role string) error {
	report, err := lab.Status(ctx, h.dir)
	if err != nil {
		return err
	}
	for _, r := range report.Hosts {
		for _, p := range r.Processes {
			if r.Name == host && p.Role == role {
				return syscall.Kill(p.PID, syscall.SIGKILL)
			}
		}
	}
	return fmt.Errorf("no %s server runs on %s", role, host)
}

func (h *onLab) Fault(_ context.Context, host, _ string, settings ...string) error {
	return lab.Fault(h.dir, []string{host}, settings)
}

var errNotOnLab = errors.New("the lab's hosts have no network and no ZooKeeper of their own")

func (h *onLab) Cut(context.Context, string, bool) error { return errNotOnLab }

func (h *onLab) LoseZooKeeper(context.Context) (func() error, error) { return nil, errNotOnLab }

func (h *onLab) close() error { return lab.Down(context.Background(), h.dir) }

// Scaled is a time of production at a scale.
func Scaled(d time.Duration, scale float64) time.Duration {
	return time.Duration(float64(d) * scale).Round(time.Millisecond)
}
