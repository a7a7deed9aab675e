package main

import (
	"context"
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
	"github.com/pegbook/pegbook/lab/traffic"
	"github.com/pegbook/pegbook/modules/pegasus/client"
)

// stage is a deployed cluster.
type stage struct {
	o     options
	dir   string
	hosts hosts
	// turn counts scenarios: each updates to the package that the one before did not.
	turn int

	mu      sync.Mutex // guards started
	started map[string]starts
}

// lively is the level of a cluster that balances itself, which is what most are at.
const lively = 500

func newStage(ctx context.Context, o options) (*stage, error) {
	dir, err := os.MkdirTemp("", "pegbook-e2e-")
	if err != nil {
		return nil, err
	}
	start := startMachines
	if o.on == "lab" {
		start = startLab
	}
	h, err := start(ctx, o, dir)
	if err != nil {
		return nil, err
	}
	s := &stage{o: o, dir: dir, hosts: h, started: map[string]starts{}}
	if err := s.deploy(ctx); err != nil {
		_ = s.close() // what went wrong first is what matters
		return nil, err
	}
	return s, nil
}

func (s *stage) deploy(ctx context.Context) error {
	if err := s.hosts.prepare(ctx, s.pegbook); err != nil {
		return err
	}
	if err := s.pegbook(ctx, "deploy.yml"); err != nil {
		return err
	}
	return s.withClient(func(c *client.Client) error { return c.SetLevel(ctx, lively) })
}

func (s *stage) close() error {
	err := s.hosts.close()
	if removed := os.RemoveAll(s.dir); err == nil {
		err = removed
	}
	return err
}

// pegbook runs a playbook that must succeed.
func (s *stage) pegbook(ctx context.Context, args ...string) error {
	r, err := s.begin(ctx, args[0], args[1:]...)
	if err != nil {
		return err
	}
	code, err := r.wait()
	if err == nil && code != 0 {
		err = fmt.Errorf("pegbook run %s ends with %d: %s", strings.Join(args, " "), code, r.says())
	}
	return err
}

func (s *stage) metas() []string {
	var list []string
	for _, addr := range s.hosts.servers(meta) {
		list = append(list, addr)
	}
	slices.Sort(list)
	return list
}

func (s *stage) withClient(do func(c *client.Client) error) error {
	var dialer net.Dialer
	c, err := client.New(dialer.DialContext, s.metas(), client.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	return do(c)
}

// leader is the host of the meta server that leads.
func (s *stage) leader(ctx context.Context) (host string, err error) {
	err = s.withClient(func(c *client.Client) error {
		addr, err := c.Leader(ctx)
		for name, a := range s.hosts.servers(meta) {
			if a == addr {
				host = name
			}
		}
		return err
	})
	return host, err
}

// replicas are the names of the replica servers' hosts in the order of the updates.
func (s *stage) replicas() []string {
	var list []string
	for _, name := range s.hosts.names() {
		if _, ok := s.hosts.servers(replica)[name]; ok {
			list = append(list, name)
		}
	}
	return list
}

// settings are the level and the balancer's settings in one line.
func (s *stage) settings(ctx context.Context) (text string, err error) {
	err = s.withClient(func(c *client.Client) error {
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

// healthy waits until every partition has all its copies.
func (s *stage) healthy(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("the cluster is not healthy within %s", within))
	defer cancel()
	var missing []string
	for {
		err := s.withClient(func(c *client.Client) error {
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

// target is the package to update to in this scenario.
func (s *stage) target() lab.Package {
	list := s.hosts.packages()
	return list[s.turn%len(list)]
}

func packageArgs(p lab.Package) []string {
	return []string{"-e", "package=" + p.File, "-e", "package_sha256=" + p.SHA256}
}

// play plays a scenario on the healthy cluster, mends what it left, and judges.
func (s *stage) play(ctx context.Context, sc scenario) (row, error) {
	s.turn++
	out := row{name: sc.name, fault: sc.fault}
	if err := s.healthy(ctx, 5*time.Minute); err != nil {
		return out, err
	}
	before, err := s.settings(ctx)
	if err != nil {
		return out, err
	}
	p := &performance{stage: s, scenario: sc}
	if p.worked, err = s.workedOn(ctx, max(1, sc.restarts)); err != nil {
		return out, err
	}
	load, err := traffic.Start(ctx, traffic.Options{Metas: s.metas()})
	if err != nil {
		return out, err
	}
	eyes, err := watch(ctx, s.metas(), s.hosts.servers(replica))
	if err != nil {
		return out, err
	}
	time.Sleep(time.Second)
	if sc.forecast {
		out.forecast, err = s.forecast(ctx, p.updateArgs())
	}
	if err == nil {
		err = p.perform(ctx)
	}
	out.seen = eyes.end()
	out.saw = load.Stop(context.WithoutCancel(ctx))
	if err != nil {
		return out, err
	}
	out.code, out.took, out.says, out.nodes = p.code, p.took, p.run.says(), p.run.nodes()
	out.lastWord, out.spoke = p.run.lastWord(), p.spoke()
	if out.settings, err = s.settings(ctx); err != nil {
		return out, err
	}
	if p.heal != nil {
		if err := p.heal(); err != nil {
			return out, err
		}
	}
	if sc.mend != nil {
		if err := sc.mend(ctx, p); err != nil {
			return out, fmt.Errorf("the way on after it: %w", err)
		}
	}
	if err := s.healthy(ctx, 10*time.Minute); err != nil {
		return out, fmt.Errorf("after it: %w", err)
	}
	out.wanted = before
	if out.after, err = s.settings(ctx); err != nil {
		return out, err
	}
	out.judge(sc, s.o)
	if s.o.verbose {
		fmt.Print(out.says, p.run.waited())
	}
	return out, nil
}

// performance is a scenario being played.
type performance struct {
	*stage
	scenario scenario
	// worked are the two replica servers that are updated where not all are, in their order.
	worked []string
	run    *run
	code   int
	took   time.Duration
	// heal takes the fault away, victim is the host it was put in at.
	heal   func() error
	victim string
}

func (p *performance) perform(ctx context.Context) error {
	if p.scenario.before != nil {
		if err := p.scenario.before(ctx, p); err != nil {
			return err
		}
	}
	args := p.updateArgs()
	began := time.Now()
	var err error
	if p.run, err = p.begin(ctx, "rolling-update.yml", args...); err != nil {
		return err
	}
	if p.scenario.during != nil {
		if err := p.scenario.during(ctx, p); err != nil {
			_ = p.run.cmd.Process.Kill() // else it would go on
			_, _ = p.run.wait()
			return fmt.Errorf("putting the fault in: %w", err)
		}
	}
	if p.code, err = p.run.wait(); err != nil {
		return err
	}
	p.took = time.Since(began)
	if p.scenario.then != nil {
		return p.scenario.then(ctx, p)
	}
	return nil
}

// updateArgs are the arguments of the update. Going back to an older release is accepted: every other scenario does.
func (p *performance) updateArgs() []string {
	args := append(packageArgs(p.target()), "-e", "{accept_findings: [version]}")
	return append(args, p.scenario.args(p)...)
}

// spoke says whether the run ended with a recap and, where it failed, with words for people.
func (p *performance) spoke() bool {
	all := p.run.all()
	if len(all) == 0 {
		return false
	}
	last := all[len(all)-1]
	return last.Event == "run_done" && len(last.Recap) > 0 && last.ExitCode == p.code && (p.code == 0 || strings.TrimSpace(p.run.lastWord()) != "")
}

// forecast is how long pegbook expects an update to take.
func (s *stage) forecast(ctx context.Context, args []string) (time.Duration, error) {
	argv := append([]string{"run", filepath.Join(s.o.repository, "playbooks", "rolling-update.yml"), "-i", s.hosts.inventory(), "--forecast"}, args...)
	cmd := exec.CommandContext(ctx, s.o.pegbook, argv...)
	cmd.Env = s.env()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("the forecast: %w: %s", err, out)
	}
	if s.o.verbose {
		fmt.Printf("%s", out)
	}
	found := regexp.MustCompile(`(\S+)  in all`).FindSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("the forecast says no time: %s", out)
	}
	return time.ParseDuration(string(found[1]))
}

// file writes a file for a scenario and gives its path.
func (s *stage) file(name, content string) (string, error) {
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, []byte(content), 0o600)
}
