package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/lab/machines"
	"github.com/pegbook/pegbook/lab/traffic"
	"github.com/pegbook/pegbook/runner/event"
)

// scale is how long a simulated server takes for what takes a real one a second.
const scale = 0.1

// disks are mounted on each machine, so that "separate disks" means what it says.
var disks = []string{"ssd1", "ssd2", "ssd3"}

// cluster is a Pegasus cluster on machines.
type cluster struct {
	*site
	layout
	inventory string
	packages  []lab.Package
}

// layout is which machines have which server.
type layout struct {
	metas, replicas, collectors, zookeeper []machines.Machine
}

// addresses are the machines' addresses with a port.
func addresses(list []machines.Machine, port string) []string {
	var all []string
	for _, m := range list {
		all = append(all, m.Address+":"+port)
	}
	return all
}

// cluster writes the inventory of a cluster.
func (s *site) cluster(t *testing.T, l layout) *cluster {
	t.Helper()
	packages, err := lab.Packages(filepath.Join(s.dir, "packages"))
	require.NoError(t, err)
	c := &cluster{site: s, layout: l, packages: packages}
	c.inventory = c.listed(t, "cluster.yml", l)
	return c
}

// listed writes an inventory of the cluster's machines, or of some of them.
func (c *cluster) listed(t *testing.T, file string, l layout) string {
	t.Helper()
	text := "all:\n  vars:\n    " + strings.Join(c.connection(), "\n    ") + "\n"
	text += fmt.Sprintf(`    package: %s
    package_sha256: %s
    cluster_name: onsystemd
    zk_server_list: %s
    home_dir: /srv/work
    slog_dir: /srv/ssd1/pegasus
    data_dirs: ssd2:/srv/ssd2/pegasus,ssd3:/srv/ssd3/pegasus
    process_environment: {PEGASUS_SIM_SCALE: "%g"}
    process_limits: {nofile: "65536"}
    process_wait: 0.5
    lb_round: 1s
    quick_restart: 1m
    healthy_stable: 300ms
    meta_restart_interval: 3
  children:
`, c.packages[0].File, c.packages[0].SHA256, strings.Join(addresses(l.zookeeper, "2181"), ","), scale)
	for _, g := range []struct {
		name string
		list []machines.Machine
	}{{"meta_server", l.metas}, {"replica_server", l.replicas}, {"collector", l.collectors}, {"zookeeper", l.zookeeper}} {
		text += fmt.Sprintf("    %s:\n      hosts:\n", g.name)
		for i, m := range g.list {
			member := ""
			if g.name == "zookeeper" {
				member = fmt.Sprintf(", member: %d", i+1)
			}
			text += fmt.Sprintf("        %s: {ansible_host: %s%s}\n", m.Name, m.Address, member)
		}
	}
	return c.write(t, file, text)
}

func (c *cluster) play(t *testing.T, book string, args ...string) *result {
	t.Helper()
	return c.book(t, append([]string{"-i", c.inventory, filepath.Join("..", "..", "playbooks", book)}, args...)...)
}

// newer are the arguments that ask for the second package.
func (c *cluster) newer() []string {
	return []string{"-e", "package=" + c.packages[1].File, "-e", "package_sha256=" + c.packages[1].SHA256}
}

// units are the cluster's units with the machine that each belongs to.
func (c *cluster) units(each func(m machines.Machine, unit string)) {
	for role, list := range map[string][]machines.Machine{"meta": c.metas, "replica": c.replicas, "collector": c.collectors} {
		for _, m := range list {
			each(m, "pegasus-"+role)
		}
	}
}

// pids are the main processes of the units, by machine and unit.
func (c *cluster) pids(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	c.units(func(m machines.Machine, unit string) {
		found[m.Name+" "+unit] = c.on(t, m, "systemctl show --value --property=MainPID "+unit)
	})
	return found
}

// lastWords shows what the servers wrote last, where a test failed.
func (c *cluster) lastWords(t *testing.T) {
	if !t.Failed() {
		return
	}
	c.units(func(m machines.Machine, unit string) {
		role := strings.TrimPrefix(unit, "pegasus-")
		out, err := c.Run(context.WithoutCancel(t.Context()), m, "sh", "-c",
			"systemctl status --no-pager --lines=5 "+unit+"; tail -n 5 /srv/work/app/pegasus/"+role+"/result")
		t.Logf("%s on %s: %v\n%s", unit, m.Name, err, out)
	})
}

func (s *site) testPegasus(t *testing.T) {
	// Two meta servers, a replica server on each machine, a collector on the last, ZooKeeper on the first three.
	c := s.cluster(t, layout{metas: s.List[:2], replicas: s.List, collectors: s.List[3:], zookeeper: s.List[:3]})
	t.Cleanup(func() { c.lastWords(t) })
	c.mount(t)
	// Each needs what the one before has made.
	_ = t.Run("zookeeper", c.testZooKeeper) &&
		t.Run("deploy", c.testDeploy) &&
		t.Run("rolling update", c.testRollingUpdate) &&
		t.Run("restart a node", c.testRestartNode) &&
		t.Run("backup", c.testBackup) &&
		t.Run("rebuild", c.testRebuild) &&
		t.Run("offline", c.testOffline)
}

// mount gives each machine its disks.
func (c *cluster) mount(t *testing.T) {
	t.Helper()
	for _, m := range c.List {
		for _, disk := range disks {
			c.on(t, m, fmt.Sprintf("mkdir -p /srv/%s && mount -t tmpfs -o size=64m tmpfs /srv/%s", disk, disk))
		}
	}
}

func (c *cluster) testZooKeeper(t *testing.T) {
	book := filepath.Join("testdata", "machines", "zookeeper.yml")
	c.book(t, "-i", c.inventory, book).ok(t)
	again := c.book(t, "-i", c.inventory, book).ok(t)
	require.Empty(t, again.with(event.Changed))
}

func (c *cluster) testDeploy(t *testing.T) {
	dry := c.play(t, "deploy.yml", "--check")
	require.Zero(t, dry.code, "%s\n%s", dry.stderr, dry.bad())
	real := c.play(t, "deploy.yml").ok(t)
	require.Empty(t, real.with(event.Unknown))
	requireSame(t, dry, real)
	leader := c.List[0].Name
	require.Equal(t, []string{
		leader + ": pegasus : every replica server is alive",                         // nothing runs that could be
		leader + ": pegasus : every table is healthy and every replica server alive", // as the first
	}, dry.with(event.Unknown))

	c.units(func(m machines.Machine, unit string) {
		require.Equal(t, "active", c.on(t, m, "systemctl is-active "+unit), "%s on %s", unit, m.Name)
		require.Equal(t, "65536", c.on(t, m, "systemctl show --value --property=LimitNOFILE "+unit))
	})
	require.Equal(t, "/srv/work/pegasus/releases/2.4.0-0000000-glibc2.36-release", c.on(t, c.List[0], "readlink -f /srv/work/pegasus/current"))

	before := c.pids(t)
	again := c.play(t, "deploy.yml").ok(t)
	require.Empty(t, again.with(event.Changed), "the second run changes nothing")
	require.Equal(t, before, c.pids(t))
	dryAgain := c.play(t, "deploy.yml", "--check").ok(t)
	require.Empty(t, dryAgain.with(event.Changed))
	require.Empty(t, dryAgain.with(event.Unknown))
}

// requireSame requires that a dry run called changed what the real run then changed.
func requireSame(t *testing.T, dry, real *result) {
	t.Helper()
	predicted, changed := dry.with(event.Changed), real.with(event.Changed)
	slices.Sort(predicted)
	slices.Sort(changed)
	require.Equal(t, changed, predicted, "what the dry run called changed, beside what the real run changed")
}

func (c *cluster) testRollingUpdate(t *testing.T) {
	before := c.pids(t)
	dry := c.play(t, "rolling-update.yml", append(c.newer(), "--check")...).ok(t)
	require.Equal(t, before, c.pids(t))
	load, err := traffic.Start(t.Context(), traffic.Options{Metas: addresses(c.metas, "34601")})
	require.NoError(t, err)
	time.Sleep(time.Second)
	update := c.play(t, "rolling-update.yml", c.newer()...)
	saw := load.Stop(t.Context())
	t.Logf("%s\n%s", update.took.Round(time.Millisecond), saw)
	update.ok(t)
	requireSame(t, dry, update)
	for _, line := range dry.with(event.Unknown) {
		// A dry run restarts nothing, so there is no new process to ask.
		require.Contains(t, line, "it is a new process in the right version")
	}
	require.Zero(t, saw.Failures)
	require.Zero(t, saw.LostWrites)
	require.Greater(t, saw.Operations, 1000)

	after := c.pids(t)
	for unit, pid := range before {
		require.NotEqual(t, pid, after[unit], "%s was restarted", unit)
	}
	c.units(func(m machines.Machine, unit string) {
		require.Equal(t, "active", c.on(t, m, "systemctl is-active "+unit), "%s on %s", unit, m.Name)
		exe := c.on(t, m, fmt.Sprintf("readlink /proc/%s/exe", after[m.Name+" "+unit]))
		require.Equal(t, "/srv/work/pegasus/releases/2.5.0-0000000-glibc2.36-release/bin/pegasus_server", exe)
		require.Equal(t, "0", c.on(t, m, "systemctl show --value --property=NRestarts "+unit), "systemd itself restarted nothing")
	})
}

func (c *cluster) testRestartNode(t *testing.T) {
	before := c.pids(t)
	third := c.List[2].Name
	args := append(c.newer(), "--limit", third)
	dry := c.play(t, "restart-node.yml", append(args, "--check")...).ok(t)
	require.Equal(t, before, c.pids(t))
	real := c.play(t, "restart-node.yml", args...).ok(t)
	requireSame(t, dry, real)
	for unit, pid := range c.pids(t) {
		require.Equal(t, unit == third+" pegasus-replica", pid != before[unit], unit)
	}
}

func (c *cluster) testBackup(t *testing.T) {
	before := c.pids(t)
	args := []string{"-e", "backup_provider=local_service backup_poll=300ms", "-e", "{backup_tables: [temp]}"}
	dry := c.play(t, "backup.yml", append(args, "--check")...).ok(t)
	requireSame(t, dry, c.play(t, "backup.yml", args...).ok(t))
	require.Equal(t, before, c.pids(t))
}

// testOffline takes the last server out.
func (c *cluster) testOffline(t *testing.T) {
	last := c.List[len(c.List)-1]
	args := append(c.newer(), "--limit", last.Name)
	dry := c.play(t, "offline-node.yml", append(args, "--check")...).ok(t)
	require.Equal(t, "active", c.on(t, last, "systemctl is-active pegasus-replica"))
	requireSame(t, dry, c.play(t, "offline-node.yml", args...).ok(t))
	require.Equal(t, "0", c.on(t, last, "systemctl show --value --property=MainPID pegasus-replica"))
}

func (c *cluster) testRebuild(t *testing.T) {
	args := c.newer()
	refused := c.play(t, "rebuild.yml", args...)
	require.Equal(t, 1, refused.code)
	require.Empty(t, refused.with(event.Changed))
	require.Contains(t, refused.done.Message+refused.stderr, "--confirm onsystemd")

	for _, m := range c.List {
		c.on(t, m, "touch /srv/work/app/mine /srv/ssd2/mine")
	}
	before := c.pids(t)
	args = append(args, "--confirm", "onsystemd")
	dry := c.play(t, "rebuild.yml", append(args, "--check")...).ok(t)
	require.Equal(t, before, c.pids(t))
	rebuilt := c.play(t, "rebuild.yml", args...).ok(t)
	requireSame(t, dry, rebuilt)
	require.Empty(t, dry.with(event.Unknown), "the cluster that is there tells all there is to know")
	for unit, pid := range c.pids(t) {
		require.NotEqual(t, before[unit], pid)
	}
	for _, m := range c.List {
		c.on(t, m, "test -e /srv/work/app/mine -a -e /srv/ssd2/mine") // nothing above the servers' own folders is touched
	}
}
