package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/lab/pegasus"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// lookWithin bounds each connection that Status makes.
const lookWithin = time.Second

// Report is what Status found.
type Report struct {
	State *State `json:"state"`
	// Up is whether the lab's own process runs; PID and Uptime are its.
	Up     bool          `json:"up"`
	PID    int           `json:"pid,omitempty"`
	Uptime time.Duration `json:"uptime_ns,omitempty"`
	// ZooKeeper is the mode that it says it is in; "" when it does not answer.
	ZooKeeper string       `json:"zookeeper,omitempty"`
	Hosts     []HostReport `json:"hosts"`
	// Cluster is the Pegasus cluster on the hosts; nil when no meta server leads.
	Cluster *Cluster `json:"cluster,omitempty"`
	// Strays are processes of the lab of which it is not known whose host they are on.
	Strays []Process `json:"strays,omitempty"`
}

// HostReport is how a host is.
type HostReport struct {
	Host
	// Answers is whether its SSH server does.
	Answers   bool      `json:"answers"`
	Processes []Process `json:"processes"`
}

// Process is a process on a host.
type Process struct {
	PID     int           `json:"pid"`
	Command string        `json:"command"`
	Uptime  time.Duration `json:"uptime_ns"`
	// Role and Version are set for the simulated pegasus_server: meta, replica or collector, and what its
	// package says.
	Role    string `json:"role,omitempty"`
	Version string `json:"version,omitempty"`
}

// Cluster is a Pegasus cluster as its leading meta server sees it.
type Cluster struct {
	Leader string `json:"leader"`
	// Alive are the replica servers that are heard.
	Alive  int `json:"alive"`
	Tables int `json:"tables"`
	// Missing is what keeps the cluster from being healthy, one thing an entry.
	Missing []string `json:"missing,omitempty"`
}

// ErrNoLab is a folder without a lab.
var ErrNoLab = errors.New("there is no lab")

// Status looks at the lab in dir, which is as in Options. A folder without one is ErrNoLab.
func Status(ctx context.Context, dir string) (*Report, error) {
	dir, err := Dir(dir)
	if err != nil {
		return nil, err
	}
	state, err := readState(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s: pegbook lab up", ErrNoLab, dir)
	}
	if err != nil {
		return nil, err
	}
	r := &Report{State: state, Hosts: make([]HostReport, len(state.Hosts))}
	id, up := server(dir)
	if r.Up = up; up {
		r.PID, r.Uptime = id.PID, id.uptime()
	}
	list, err := processes(dir)
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	wg.Go(func() { r.Cluster = cluster(ctx, state) })
	wg.Go(func() { r.ZooKeeper = zookeeperMode(ctx, state.ZooKeeper) })
	for i, h := range state.Hosts {
		r.Hosts[i] = HostReport{Host: h, Processes: on(h.Name, list)}
		wg.Go(func() { r.Hosts[i].Answers = answers(ctx, h.SSH) })
	}
	wg.Wait()
	known := func(p running) bool {
		return slices.ContainsFunc(state.Hosts, func(h Host) bool { return h.Name == p.host })
	}
	r.Strays = describe(slices.DeleteFunc(list, known))
	return r, nil
}

func on(host string, list []running) []Process {
	var mine []running
	for _, p := range list {
		if p.host == host {
			mine = append(mine, p)
		}
	}
	return describe(mine)
}

func describe(list []running) []Process {
	out := make([]Process, 0, len(list))
	for _, p := range list {
		d := Process{PID: p.PID, Command: strings.Join(p.args, " "), Uptime: p.uptime()}
		if filepath.Base(p.exe) == "pegasus_server" {
			d.Version = pegasus.PackagedVersion(p.exe).Number
			if i := slices.Index(p.args, "-app_list"); i >= 0 && i+1 < len(p.args) {
				d.Role = p.args[i+1]
			}
		}
		out = append(out, d)
	}
	return out
}

func dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: lookWithin}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(lookWithin))
}

// The ports that the shipped playbooks give the servers when nothing else is said.
const (
	metaPort    = "34601"
	replicaPort = "34801"
)

// cluster asks the cluster on the lab's hosts how it is; nil when none answers within a moment.
func cluster(ctx context.Context, s *State) *Cluster {
	ctx, cancel := context.WithTimeout(ctx, 2*lookWithin)
	defer cancel()
	var metas []string
	var replicas []wire.Address
	for _, h := range s.Hosts {
		switch h.Group {
		case "meta_server":
			metas = append(metas, net.JoinHostPort(h.IP, metaPort))
		case "replica_server":
			if addr, err := wire.ParseAddress(net.JoinHostPort(h.IP, replicaPort)); err == nil {
				replicas = append(replicas, addr)
			}
		}
	}
	dialer := net.Dialer{Timeout: lookWithin}
	// A bound that has passed at once: one look, without waiting for a leader.
	c, err := client.New(dialer.DialContext, metas, client.Options{AnswerTimeout: lookWithin, LeaderTimeout: time.Nanosecond})
	if err != nil {
		return nil
	}
	defer c.Close()
	leader, err := c.Leader(ctx)
	if err != nil {
		return nil
	}
	view, err := c.View(ctx)
	if err != nil {
		return nil
	}
	report := &Cluster{Leader: leader, Tables: len(view.Tables), Missing: view.Missing(replicas, false)}
	for _, n := range view.Nodes {
		if n.Status == wire.NodeAlive {
			report.Alive++
		}
	}
	return report
}

// answers is whether an SSH server sends its greeting.
func answers(ctx context.Context, addr string) bool {
	c, err := dial(ctx, addr)
	if err != nil {
		return false
	}
	defer c.Close()
	greeting := make([]byte, 4)
	_, err = io.ReadFull(c, greeting)
	return err == nil && string(greeting) == "SSH-"
}

func zookeeperMode(ctx context.Context, addr string) string {
	c, err := dial(ctx, addr)
	if err != nil {
		return ""
	}
	defer c.Close()
	if _, err := io.WriteString(c, "srvr"); err != nil {
		return ""
	}
	text, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return ""
	}
	_, mode, _ := strings.Cut(string(text), "Mode: ")
	mode, _, _ = strings.Cut(mode, "\n")
	return mode
}
