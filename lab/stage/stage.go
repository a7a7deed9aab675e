// Package stage is a deployed Pegasus cluster on which rolling updates are played: the lab's simulated hosts, or hosts
// with systemd, OpenSSH and a real ZooKeeper quorum. It starts pegbook, follows its records, puts faults in, and looks
// at the cluster past pegbook: what clients see, how many live copies there are, how the settings are.
package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/modules/pegasus/client"
)

// Options say where the cluster runs.
type Options struct {
	// Pegbook is the program that does the updates, Repository the folder with playbooks/.
	Pegbook, Repository string
	// On is "machines" or "lab".
	On string
	// Scale is how long the servers take for what takes a real one a second.
	Scale float64
	// Net is a byte of the hosts' addresses: machines 10.78.Net.11 …, the lab's 127.78.Net.10 ….
	Net int
	// Tell is told what the stage waits for; nil tells nobody.
	Tell func(format string, args ...any)
	// Environ is what pegbook finds in its environment besides, as NAME=value.
	Environ []string
}

// Stage is a deployed cluster.
type Stage struct {
	Options
	// Dir is the stage's own folder, Hosts where the cluster runs.
	Dir   string
	Hosts Hosts
	// Turn counts what was played: each updates to the package that the one before did not.
	Turn int
	// Configured are the settings (see Settings) that a meta server has when it begins to lead.
	Configured string

	mu      sync.Mutex // guards started
	started map[string]starts
}

// lively is the level of a cluster that balances itself, which is what most are at.
const lively = 500

// New starts the hosts and deploys the cluster.
func New(ctx context.Context, o Options) (*Stage, error) {
	dir, err := os.MkdirTemp("", "pegbook-e2e-")
	if err != nil {
		return nil, err
	}
	start := startMachines
	if o.On == "lab" {
		start = startLab
	}
	h, err := start(ctx, o, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s := &Stage{Options: o, Dir: dir, Hosts: h, started: map[string]starts{}}
	if err := s.deploy(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stage) deploy(ctx context.Context) error {
	if err := s.Hosts.prepare(ctx, s.Do); err != nil {
		return err
	}
	if err := s.Do(ctx, "deploy.yml"); err != nil {
		return err
	}
	var err error
	if s.Configured, err = s.Settings(ctx); err != nil {
		return err
	}
	return s.WithClient(func(c *client.Client) error { return c.SetLevel(ctx, lively) })
}

// Close ends the cluster with its hosts and removes the stage's folder.
func (s *Stage) Close() error {
	err := s.Hosts.close()
	if removed := os.RemoveAll(s.Dir); err == nil {
		err = removed
	}
	return err
}

// Do runs a playbook that must succeed.
func (s *Stage) Do(ctx context.Context, args ...string) error {
	r, err := s.Begin(ctx, args[0], args[1:]...)
	if err != nil {
		return err
	}
	code, err := r.Wait()
	if err == nil && code != 0 {
		err = fmt.Errorf("pegbook run %s ends with %d: %s", strings.Join(args, " "), code, r.Says())
	}
	return err
}

// Metas are the addresses of the meta servers.
func (s *Stage) Metas() []string {
	var list []string
	for _, addr := range s.Hosts.Servers(Meta) {
		list = append(list, addr)
	}
	slices.Sort(list)
	return list
}

// WithClient does something with a client of the cluster.
func (s *Stage) WithClient(do func(c *client.Client) error) error {
	var dialer net.Dialer
	c, err := client.New(dialer.DialContext, s.Metas(), client.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	return do(c)
}

// Leader is the host of the meta server that leads.
func (s *Stage) Leader(ctx context.Context) (host string, err error) {
	err = s.WithClient(func(c *client.Client) error {
		addr, err := c.Leader(ctx)
		for name, a := range s.Hosts.Servers(Meta) {
			if a == addr {
				host = name
			}
		}
		return err
	})
	return host, err
}

// Replicas are the names of the replica servers' hosts in the order of the updates.
func (s *Stage) Replicas() []string {
	var list []string
	for _, name := range s.Hosts.Names() {
		if _, ok := s.Hosts.Servers(Replica)[name]; ok {
			list = append(list, name)
		}
	}
	return list
}

// Settings are the level and the balancer's settings in one line.
func (s *Stage) Settings(ctx context.Context) (text string, err error) {
	err = s.WithClient(func(c *client.Client) error {
		level, err := c.Level(ctx)
		if err != nil {
			return err
		}
		text = level.String()
		for _, name := range []string{"assign_delay_ms", "add_secondary_max_count_for_one_node", "add_secondary_enable_flow_control"} {
			value, err := c.Setting(ctx, "meta.lb."+name)
			if err != nil {
				return err
			}
			text += " " + value
		}
		return nil
	})
	return text, err
}

// Healthy waits until every partition has all its copies.
func (s *Stage) Healthy(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("the cluster is not healthy within %s", within))
	defer cancel()
	var missing []string
	for {
		err := s.WithClient(func(c *client.Client) error {
			v, err := c.View(ctx)
			if err == nil {
				missing = v.Missing(nil, false)
			}
			return err
		})
		if err == nil && len(missing) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w %s", context.Cause(ctx), err, strings.Join(missing, "; "))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Target is the package to update to in this scenario.
func (s *Stage) Target() lab.Package {
	list := s.Hosts.Packages()
	return list[s.Turn%len(list)]
}

// PackageArgs are the arguments that update to a package.
func PackageArgs(p lab.Package) []string {
	return []string{"-e", "package=" + p.File, "-e", "package_sha256=" + p.SHA256}
}

// Forecast is how long pegbook expects an update to take.
func (s *Stage) Forecast(ctx context.Context, args []string) (time.Duration, error) {
	argv := append([]string{"run", filepath.Join(s.Repository, "playbooks", "rolling-update.yml"), "-i", s.Hosts.Inventory(), "--forecast"}, args...)
	cmd := exec.CommandContext(ctx, s.Options.Pegbook, argv...)
	cmd.Env = s.Env()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("the forecast: %w: %s", err, out)
	}
	s.tell("%s", out)
	found := regexp.MustCompile(`(\S+)  in all`).FindSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("the forecast says no time: %s", out)
	}
	return time.ParseDuration(string(found[1]))
}

func (s *Stage) tell(format string, args ...any) {
	if s.Tell != nil {
		s.Tell(format, args...)
	}
}

// File writes a file for a scenario and gives its path.
func (s *Stage) File(name, content string) (string, error) {
	path := filepath.Join(s.Dir, name)
	return path, os.WriteFile(path, []byte(content), 0o600)
}
