package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/modules/zksession"
)

// killed is a lab in which a playbook is carried out by processes that are killed.
type killed struct {
	*labSite
	dir   string // of the whole: the lab's and the journals' parent
	watch *fileWatch
	seen  int // lines of the servers' changes that earlier playbooks caused
	// leaders is how often a meta server took the lead since then.
	leaders int
}

// stage is a playbook with its arguments, and what it starts from if not from what the one before has left.
type stage struct {
	book   string
	args   []string
	before func(*labSite)
}

// killStages carry a cluster through its life.
func killStages(books string) []stage {
	all := []stage{
		{book: "deploy"},
		{"rolling-update", labVersion("2.5.0"), func(s *labSite) { require.NoError(s.t, s.client().SetLevel(s.t.Context(), 500)) }},
		{book: "rebuild", args: []string{"--confirm", "lab"}},
	}
	return slices.DeleteFunc(all, func(s stage) bool { return !slices.Contains(strings.Fields(books), s.book) })
}

// killLab is where labs follow one another at the same addresses and in the same folder, so that they can be compared.
type killLab struct {
	options lab.Options
	dir     string
	stages  []stage
}

func newKillLab(t *testing.T, books string, o lab.Options) *killLab {
	t.Helper()
	k := &killLab{options: o, dir: t.TempDir(), stages: killStages(books)}
	exe, err := os.Executable()
	require.NoError(t, err)
	for _, name := range []string{"pegbook", mortalName} { // the test binary is both (TestMain)
		require.NoError(t, os.Symlink(exe, filepath.Join(k.dir, name)))
	}
	pid := os.Getpid()
	k.options.Address = fmt.Sprintf("127.%d.%d.%s", 70+pid/200%100, 1+pid%200, o.Address)
	k.options.Dir = filepath.Join(k.dir, "lab")
	k.options.Server = []string{filepath.Join(k.dir, "pegbook"), "lab", "serve"}
	k.options.SSHPort, k.options.ZooKeeperPort = freePort(t, k.options.Address), freePort(t, k.options.Address)
	t.Cleanup(func() { assert.NoError(t, lab.Down(context.Background(), k.options.Dir)) })
	return k
}

// life carries out all stages on a new lab, and gives what was done at each and how it was left.
func (k *killLab) life(t *testing.T, cut cutter) []deeds {
	t.Helper()
	require.NoError(t, lab.Down(t.Context(), k.options.Dir))
	state, err := lab.Up(t.Context(), k.options)
	require.NoError(t, err)
	site := &killed{labSite: &labSite{t: t, state: state, more: []string{"-i", state.Inventory, "-e", "meta_restart_interval=1 check_again=1"}}, dir: k.dir}
	var all []deeds
	for _, s := range k.stages {
		if s.before != nil {
			s.before(site.labSite)
		}
		site.watch = watchFiles(t, state)
		d := site.carry(s, cut)
		d.files = site.watch.stop()
		d.servers = site.told()
		d.leaders = site.leaders
		d.end = site.end()
		all = append(all, d)
	}
	return all
}

// deeds are what the processes that carried out a stage have done together.
type deeds struct {
	boundaries int // events of all processes
	kills      []string
	// files are, for each path, the states it went through; servers what was done to them, in order; end how it is.
	files   map[string][]string
	servers []string
	end     map[string]string
	leaders int
}

// cutter says how the next process of a stage is to die: at an event, or after a time. Neither: it is not killed.
type cutter func(stage string, process int) (event int, after time.Duration)

func never(string, int) (int, time.Duration) { return 0, 0 }

// carry starts a playbook, and goes on with it as often as its process is killed.
func (k *killed) carry(s stage, cut cutter) (d deeds) {
	t := k.t
	t.Helper()
	home, err := os.MkdirTemp(k.dir, "home-")
	require.NoError(t, err)
	book, err := filepath.Abs(filepath.Join("..", "..", "playbooks", s.book+".yml"))
	require.NoError(t, err)
	args := slices.Concat([]string{"run", book, "--json"}, k.more, s.args)
	for process := 0; ; process++ {
		event, after := cut(s.book, process)
		out, dead := k.process(home, event, after, args)
		for line := range bytes.Lines(out) {
			if isBoundary(line) {
				d.boundaries++
			}
		}
		if !dead {
			return d
		}
		d.kills = append(d.kills, lastEvent(out))
		if after == 0 {
			k.endSession()
		}
		if begun, err := filepath.Glob(filepath.Join(home, "runs", "[0-9]*")); err == nil && len(begun) > 0 { // else it was killed before that
			args = []string{"runs", "resume", "--json"}
		}
		require.Less(t, process, 500, "it does not come to an end")
	}
}

// process is one process of a run; it is killed, or ends well.
func (k *killed) process(home string, event int, after time.Duration, args []string) (out []byte, dead bool) {
	t := k.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	name := "pegbook"
	if event > 0 {
		name = mortalName
	}
	cmd := exec.CommandContext(ctx, filepath.Join(k.dir, name), args...)
	if real := os.Getenv("PEGBOOK"); real != "" && event == 0 {
		cmd = exec.CommandContext(ctx, real, args...)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), "PEGBOOK_HOME="+home, dieAtEvent+"="+strconv.Itoa(event))
	require.NoError(t, cmd.Start())
	if after > 0 {
		kill := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
	}
	err := cmd.Wait()
	require.NoError(t, ctx.Err(), "the run does not end: %v\n%s", args, tail(stdout.Bytes(), 30))
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return stdout.Bytes(), true
	}
	require.NoError(t, err, "%v: %s%s", args, tail(stdout.Bytes(), 30), &stderr)
	return stdout.Bytes(), false
}

func tail(text []byte, lines int) string {
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// lastEvent is the last that was seen of a process.
func lastEvent(out []byte) string {
	var last string
	for line := range bytes.Lines(out) {
		if isBoundary(line) {
			last = string(line)
		}
	}
	if len(last) > 160 {
		last = last[:160] + "…"
	}
	return strings.TrimSpace(last)
}

// endSession ends what ZooKeeper still has of a process that is dead for sure: else each of hundreds that follow would
// wait for the end of its session.
func (k *killed) endSession() {
	t := k.t
	t.Helper()
	conn, closed, err := zksession.Connect(t.Context(), zksession.Options{Dial: (&net.Dialer{}).DialContext, Servers: []string{k.state.ZooKeeper}, Wait: 10 * time.Second})
	require.NoError(t, err)
	defer closed()
	const lock = "/pegbook/locks/lab"
	nodes, _, err := conn.Children(lock)
	if err != nil {
		return // none was ever taken
	}
	for _, n := range nodes {
		require.NoError(t, conn.Delete(path.Join(lock, n), -1))
	}
}

// TestAPlaybookOfTheClusterKilledAtItsEventsGoesOnAsIfNothingHadHappened kills deploy, rolling-update and rebuild with
// SIGKILL at events, goes on with `runs resume`, and compares what was done to files and servers, and how it ended, with
// a run that was left alone. make resume does it at all events, and at random moments.
func TestAPlaybookOfTheClusterKilledAtItsEventsGoesOnAsIfNothingHadHappened(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes ten seconds")
	}
	books, every, stride, moments := "deploy", 80, 80, 0
	o := lab.Options{Metas: 2, Replicas: 3, Collectors: -1, Address: "200", Scale: 0.05}
	if n, err := strconv.Atoi(os.Getenv("PEGBOOK_TEST_KILLS_EVERY")); err == nil { // make resume
		books, every, stride, moments = "deploy rolling-update rebuild", n, max(40, n), 2
		o.Replicas, o.Collectors = 4, 1
	} else {
		t.Parallel()
	}
	k := newKillLab(t, books, o)
	table := newKillTable(k.stages, k.life(t, never))
	for first := every; first <= stride; first += every {
		cut := func(_ string, process int) (int, time.Duration) {
			if process == 0 {
				return first, 0
			}
			return stride, 0
		}
		table.compare(t, fmt.Sprintf("killed at event %d and then at every %d", first, stride), "at events", k.life(t, cut))
	}
	for seed := range uint64(moments) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		cut := func(_ string, process int) (int, time.Duration) {
			if process == 4 { // each has waited for the session of the one before
				return 0, 0
			}
			return 0, time.Duration(200+rnd.IntN(12_000)) * time.Millisecond
		}
		table.compare(t, fmt.Sprintf("killed at random moments, seed %d", seed), "at moments", k.life(t, cut))
	}
	t.Log("\n" + table.String())
	for name, row := range table.rows {
		assert.Positive(t, row.lives, "%s: nothing could be compared", name)
	}
}

// killTable is what came of it.
type killTable struct {
	stages []stage
	whole  []deeds
	rows   map[string]*killRow
}

type killRow struct{ lives, astray, kills, differences int }

func newKillTable(stages []stage, whole []deeds) *killTable {
	return &killTable{stages, whole, map[string]*killRow{}}
}

// compare compares a life of the lab with the one in which nothing was killed.
func (k *killTable) compare(t *testing.T, what, how string, life []deeds) {
	t.Helper()
	for i, d := range life {
		name := k.stages[i].book + " " + how
		if k.rows[name] == nil {
			k.rows[name] = &killRow{}
		}
		row := k.rows[name]
		whole := k.whole[i]
		if d.leaders > whole.leaders {
			// The machine was too slow for a session of the servers': what the leader was told is gone with it.
			row.astray++
			return
		}
		row.lives++
		row.kills += len(d.kills)
		ok := assert.Equal(t, whole.servers, d.servers, "%s %s: what was done to the servers", k.stages[i].book, what)
		ok = assert.Empty(t, differing(whole.files, d.files), "%s %s: what was done to files", k.stages[i].book, what) && ok
		ok = assert.Empty(t, differing(whole.end, d.end), "%s %s: how it was left", k.stages[i].book, what) && ok
		if !ok {
			row.differences++
			t.Logf("killed after:\n%s", strings.Join(d.kills, "\n"))
		}
	}
}

// differing lists the entries in which two mappings differ.
func differing[V any](wanted, got map[string]V) []string {
	var all []string
	for name := range wanted {
		if w, g := fmt.Sprint(wanted[name]), fmt.Sprint(got[name]); w != g {
			all = append(all, fmt.Sprintf("%s: %s instead of %s", name, g, w))
		}
	}
	for name, g := range got {
		if _, has := wanted[name]; !has {
			all = append(all, fmt.Sprintf("%s: %v instead of nothing", name, g))
		}
	}
	slices.Sort(all)
	return all
}

func (k *killTable) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-28s %10s %8s %8s %6s %7s %11s %8s\n", "playbook, killed", "boundaries", "files", "servers", "runs", "kills", "differences", "left out")
	for _, how := range []string{"at events", "at moments"} {
		for i, s := range k.stages {
			if row := k.rows[s.book+" "+how]; row != nil {
				w := k.whole[i]
				fmt.Fprintf(&b, "%-28s %10d %8d %8d %6d %7d %11d %8d\n", s.book+" "+how, w.boundaries, changesOf(w.files), len(w.servers), row.lives, row.kills, row.differences, row.astray)
			}
		}
	}
	return b.String()
}

func changesOf(files map[string][]string) int {
	n := 0
	for _, states := range files {
		n += len(states)
	}
	return n
}
