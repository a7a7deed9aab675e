package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/machines"
	"github.com/pegbook/pegbook/lab/traffic"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/runner/event"
)

// every is a cluster on which every playbook is played, under load where clients must not notice it.
type every struct {
	*cluster
	// args are of every run.
	args []string
	// rows are a table of what was played.
	rows []string
}

// TestEveryPlaybookOnMachines plays every shipped playbook in one sequence on hosts with systemd, OpenSSH and two
// real ZooKeeper quorums. What each asserts in detail the lab's tests do; here it is that they work there, one
// after the other, and that clients do not notice. It takes ten minutes: make e2e-pegasus.
func TestEveryPlaybookOnMachines(t *testing.T) {
	if os.Getenv("PEGBOOK_TEST_EVERY_PLAYBOOK") == "" {
		t.Skip("make e2e-pegasus plays it")
	}
	s := startSiteIn(t, machines.Options{Count: 6, Shared: t.TempDir()}, 43, 45)
	l := layout{metas: s.List[:3], replicas: s.List[1:], collectors: s.List[5:], zookeeper: s.List[:3]}
	e := &every{cluster: s.cluster(t, l)}
	t.Cleanup(func() { e.lastWords(t) })
	t.Cleanup(func() {
		t.Logf("| playbook | ended | tasks that changed | operations | failed | lost writes | longest stall |\n%s", strings.Join(e.rows, "\n"))
	})
	e.mount(t)
	// A server is restarted several times in a minute, which is six seconds to the simulated ones.
	e.args = []string{"-e", "{balance_settle: 2s, balance_interval: 300ms, balance_checks: 2, quick_restart: 6s}",
		"-e", "backup_provider=shared backup_poll=300ms config_template=" + e.template(t, "[block_service.shared]\ntype = local_service\nargs = /srv/shared\n")}
	for _, step := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"zookeeper", e.testZooKeeper},
		{"deploy and look", e.firstServers},
		{"add", e.addNode},
		{"rebalance", e.rebalance},
		{"change config", e.changeConfig},
		{"back up and restore", e.backUpAndRestore},
		{"update and go back", e.updateAndGoBack},
		{"update", e.update},
		{"restart", e.restartNode},
		{"migrate", e.migrate},
		{"take offline", e.takeOffline},
		{"rebuild", e.rebuild},
	} {
		if !t.Run(step.name, step.do) {
			break // each needs what those before have made
		}
	}
}

// template is the shipped configuration with more at its end.
func (e *every) template(t *testing.T, more string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "playbooks", "roles", "pegasus", "templates", "config.ini"))
	require.NoError(t, err)
	return e.write(t, "template.ini", string(text)+"\n"+more)
}

// play has a playbook predict, then do, and requires that both changed the same.
func (e *every) play(t *testing.T, book string, args ...string) *result {
	t.Helper()
	args = slices.Concat(e.args, args)
	dry := e.cluster.play(t, book, append(args, "--check")...).ok(t)
	real := e.cluster.play(t, book, args...).ok(t)
	e.row(book, args[len(e.args):], real, nil)
	requireSame(t, dry, real)
	require.Empty(t, real.with(event.Unknown))
	return real
}

// playUnderLoad is play while clients read and write, who must not notice.
func (e *every) playUnderLoad(t *testing.T, book string, args ...string) *result {
	t.Helper()
	args = slices.Concat(e.args, args)
	dry := e.cluster.play(t, book, append(args, "--check")...).ok(t)
	load, err := traffic.Start(t.Context(), traffic.Options{Metas: addresses(e.metas, "34601")})
	require.NoError(t, err)
	real := e.cluster.play(t, book, args...)
	saw := load.Stop(t.Context())
	e.row(book, args[len(e.args):], real, &saw)
	real.ok(t)
	requireSame(t, dry, real)
	require.Empty(t, real.with(event.Unknown))
	require.Zero(t, saw.Failures, "%s", saw)
	require.Zero(t, saw.LostWrites, "%s", saw)
	return real
}

func (e *every) row(book string, args []string, r *result, saw *traffic.Summary) {
	load := " | | | |"
	if saw != nil {
		load = fmt.Sprintf("%d | %d | %d | %.0f ms |", saw.Operations, saw.Failures, saw.LostWrites, saw.LongestStallMS)
	}
	args = slices.DeleteFunc(slices.Clone(args), func(arg string) bool {
		return arg == "-e" || strings.Contains(arg, "package") || strings.Contains(arg, "/")
	})
	e.rows = append(e.rows, fmt.Sprintf("| %s %s | %d after %s | %d | %s", book, strings.Join(args, " "), r.code, r.took.Round(time.Second), len(r.with(event.Changed)), load))
}

func (e *every) client(t *testing.T) *client.Client {
	t.Helper()
	var dialer net.Dialer
	c, err := client.New(dialer.DialContext, addresses(e.metas, "34601"), client.Options{})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// restarted are the units whose main process is another one than before, sorted.
func (e *every) restarted(t *testing.T, before map[string]string) []string {
	t.Helper()
	list := []string{}
	for unit, pid := range e.pids(t) {
		if before[unit] != pid {
			list = append(list, unit)
		}
	}
	slices.Sort(list)
	return list
}

// unitsOf are the units of a role on machines, sorted.
func unitsOf(role string, list ...machines.Machine) []string {
	var all []string
	for _, m := range list {
		all = append(all, m.Name+" pegasus-"+role)
	}
	slices.Sort(all)
	return all
}

func (e *every) last() machines.Machine { return e.replicas[len(e.replicas)-1] }

// firstServers deploys without the last replica server, and looks at what there is.
func (e *every) firstServers(t *testing.T) {
	whole := e.inventory
	l := e.layout
	l.replicas = l.replicas[:len(l.replicas)-1]
	e.inventory = e.listed(t, "first.yml", l)
	defer func() { e.inventory = whole }()
	dry := e.cluster.play(t, "deploy.yml", append(e.args, "--check")...).ok(t)
	real := e.cluster.play(t, "deploy.yml", e.args...).ok(t)
	e.row("deploy.yml", nil, real, nil)
	requireSame(t, dry, real)
	writeNumbered(t, e.client(t), "temp", 20)
	for _, book := range []string{"status.yml", "preflight.yml"} {
		r := e.cluster.play(t, book, e.args...).ok(t)
		e.row(book, nil, r, nil)
		require.Empty(t, r.with(event.Changed))
	}
}

func (e *every) addNode(t *testing.T) {
	before := e.pids(t)
	// What the dry run cannot know is whether the new server will be alive.
	e.playUnderLoad(t, "add-node.yml", "--limit", e.last().Name)
	require.Equal(t, unitsOf("replica", e.last()), e.restarted(t, before))
}

func (e *every) rebalance(t *testing.T) {
	before := e.pids(t)
	e.playUnderLoad(t, "rebalance.yml", "-e", "only_primaries=true")
	e.playUnderLoad(t, "rebalance.yml")
	require.Empty(t, e.restarted(t, before))
}

func (e *every) changeConfig(t *testing.T) {
	before := e.pids(t)
	file := e.template(t, "[block_service.shared]\ntype = local_service\nargs = /srv/shared\n[simulator]\nno_fault = true\n")
	e.playUnderLoad(t, "change-config.yml", "-e", "config_template="+file)
	require.Len(t, e.restarted(t, before), len(before), "every server runs with it")
	before = e.pids(t)
	again := e.cluster.play(t, "change-config.yml", append(e.args, "-e", "config_template="+file)...).ok(t)
	require.Empty(t, again.with(event.Changed))
	require.Empty(t, e.restarted(t, before))
}

func (e *every) backUpAndRestore(t *testing.T) {
	backup := e.play(t, "backup.yml", "-e", "{backup_tables: [temp]}")
	var said strings.Builder
	for _, task := range backup.tasks {
		said.WriteString(task.Msg + "\n")
	}
	line := regexp.MustCompile(`(?m)of temp .*\n? *restore-table.yml (.*) -e restore_as=NEW_NAME`).FindStringSubmatch(said.String())
	require.NotEmpty(t, line, said.String())
	e.play(t, "restore-table.yml", append(strings.Fields(line[1]), "-e", "restore_as=again")...)
	requireNumbered(t, e.client(t), "again", 20)
}

// updateAndGoBack stops an update after the first replica server and goes back.
func (e *every) updateAndGoBack(t *testing.T) {
	first := e.replicas[0]
	before := e.pids(t)
	e.playUnderLoad(t, "rolling-update.yml", append(e.newer(), "--limit", first.Name+":&replica_server")...)
	require.Contains(t, e.restarted(t, before), first.Name+" pegasus-replica")
	before = e.pids(t)
	e.playUnderLoad(t, "rollback.yml", append(e.newer(), "-e", "to_release=2.4.0-0000000-glibc2.36-release")...)
	require.Contains(t, e.restarted(t, before), first.Name+" pegasus-replica")
	e.requireRelease(t, "2.4.0")
}

// requireRelease requires that every server runs a version.
func (e *every) requireRelease(t *testing.T, version string) {
	t.Helper()
	pids := e.pids(t)
	e.units(func(m machines.Machine, unit string) {
		exe := e.on(t, m, "readlink /proc/"+pids[m.Name+" "+unit]+"/exe")
		require.Equal(t, "/srv/work/pegasus/releases/"+version+"-0000000-glibc2.36-release/bin/pegasus_server", exe, "%s on %s", unit, m.Name)
	})
}

func (e *every) update(t *testing.T) {
	e.playUnderLoad(t, "rolling-update.yml", e.newer()...)
	e.requireRelease(t, "2.5.0")
	// The way back of a whole update, and the update again.
	e.playUnderLoad(t, "rollback.yml", append(e.newer(), "-e", "to_release=2.4.0-0000000-glibc2.36-release")...)
	e.requireRelease(t, "2.4.0")
	e.playUnderLoad(t, "rolling-update.yml", e.newer()...)
	e.requireRelease(t, "2.5.0")
	e.args = append(e.args, e.newer()...)
}

func (e *every) restartNode(t *testing.T) {
	before := e.pids(t)
	e.playUnderLoad(t, "restart-node.yml", "--limit", e.replicas[1].Name)
	require.Equal(t, unitsOf("replica", e.replicas[1]), e.restarted(t, before))
}

// migrate moves the cluster to a second quorum, on the other machines.
func (e *every) migrate(t *testing.T) {
	l := e.layout
	l.zookeeper = e.List[3:]
	other := e.listed(t, "other.yml", l)
	e.book(t, "-i", other, filepath.Join("testdata", "machines", "zookeeper.yml")).ok(t)
	before := e.pids(t)
	e.playUnderLoad(t, "migrate-zookeeper.yml", "-e", "new_zk_server_list="+strings.Join(addresses(l.zookeeper, "2181"), ","))
	require.Equal(t, unitsOf("meta", e.metas...), e.restarted(t, before))
	e.layout, e.inventory = l, other
	requireNumbered(t, e.client(t), "temp", 20)
	for _, m := range e.List[:3] {
		e.on(t, m, "systemctl stop pegbook-zookeeper") // nothing needs the old one
	}
	e.row("status.yml", nil, e.cluster.play(t, "status.yml", e.args...).ok(t), nil)
}

func (e *every) takeOffline(t *testing.T) {
	before := e.pids(t)
	e.playUnderLoad(t, "offline-node.yml", "--limit", e.last().Name)
	require.Equal(t, unitsOf("replica", e.last()), e.restarted(t, before))
	require.Equal(t, "0", e.pids(t)[e.last().Name+" pegasus-replica"])
	requireNumbered(t, e.client(t), "temp", 20)
}

// rebuild is right after a server has gone: the cluster knows it still, and its host is in the inventory.
func (e *every) rebuild(t *testing.T) {
	e.play(t, "rebuild.yml", "--confirm", "onsystemd")
	e.requireRelease(t, "2.5.0")
	nodes, err := e.client(t).Nodes(t.Context())
	require.NoError(t, err)
	require.Len(t, nodes, len(e.replicas))
	for _, n := range nodes {
		require.Equal(t, "ALIVE", fmt.Sprint(n.Status), "%+v", n)
	}
	// And the same with the server left out of the inventory.
	l := e.layout
	e.playUnderLoad(t, "offline-node.yml", "--limit", e.last().Name)
	l.replicas = l.replicas[:len(l.replicas)-1]
	e.inventory = e.listed(t, "left.yml", l)
	e.play(t, "rebuild.yml", "--confirm", "onsystemd")
}
