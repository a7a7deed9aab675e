package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
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
	dir    string // of the whole: the lab's and the journals' parent
	watch  *fileWatch
	seen   int // lines of the servers' changes that have been looked at
	chance chance
}

// stage is a playbook with its arguments, and what it starts from if not from what the one before has left.
type stage struct {
	book   string
	args   []string
	before func(*labSite)
	killed bool // whether its processes are killed
	lapses bool // whether that is done while the leader loses its lead, too
}

// killStages carry a cluster through its life, as far as the books that are killed need it.
func killStages(books string) []stage {
	all := []stage{
		{book: "deploy"},
		{book: "rolling-update", lapses: true, args: labVersion("2.5.0"), before: func(s *labSite) { require.NoError(s.t, s.client().SetLevel(s.t.Context(), 500)) }},
		{book: "rebuild", args: []string{"--confirm", "lab"}},
	}
	last := 0
	for i := range all {
		if all[i].killed = slices.Contains(strings.Fields(books), all[i].book); all[i].killed {
			last = i + 1
		}
	}
	return all[:last]
}

// killLab is where labs follow one another at the same addresses and in the same folder, so that they can be compared.
type killLab struct {
	options lab.Options
	dir     string
	stages  []stage
}

// killsDir names a folder in which journals, and what servers were told, stay behind; without it nothing does.
const killsDir = "PEGBOOK_TEST_KILLS_DIR"

func newKillLab(t *testing.T, books string, o lab.Options) *killLab {
	t.Helper()
	k := &killLab{options: o, dir: os.Getenv(killsDir), stages: killStages(books)}
	if k.dir == "" {
		k.dir = t.TempDir()
	}
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

// life is a cluster's life, with how its playbooks' processes are killed.
type life struct {
	name, how string // how: the row of the table
	cut       cutter
	lapses    bool // whether the leader loses the lead now and then, while pegbook is dead or at work
}

// kills says whether a stage's processes are killed.
func (l *life) kills(s stage) bool { return s.killed && (s.lapses || !l.lapses) }

// cutter says how the next process of a stage is to die: at an event, or after a time. Neither: it is not killed.
type cutter func(stage int, process int) (event int, after time.Duration)

func never(int, int) (int, time.Duration) { return 0, 0 }

// live carries out all stages on a new lab, and gives what was done at each and how it was left.
func (k *killLab) live(t *testing.T, l life) []deeds {
	t.Helper()
	require.NoError(t, lab.Down(t.Context(), k.options.Dir))
	state, err := lab.Up(t.Context(), k.options)
	require.NoError(t, err)
	site := &killed{labSite: &labSite{t: t, state: state, more: []string{"-i", state.Inventory, "-e", "meta_restart_interval=1 check_again=1"}}, dir: k.dir,
		chance: chance{runs: map[string]bool{}}}
	var all []deeds
	for i, s := range k.stages {
		if s.before != nil {
			s.before(site.labSite)
			site.chance.take(site.fresh())
		}
		site.watch = watchFiles(t, state)
		home := filepath.Join(k.dir, strings.ReplaceAll(l.name, " ", "-")+"-"+s.book)
		require.NoError(t, os.Mkdir(home, 0o700))
		started := time.Now()
		d := site.carry(s, home, func(process int) (int, time.Duration) {
			if !l.kills(s) {
				return 0, 0
			}
			if l.lapses {
				site.failOver(process)
			}
			return l.cut(i, process)
		})
		d.took = time.Since(started)
		d.files = site.watch.stop()
		lines := site.fresh()
		require.NoError(t, os.WriteFile(filepath.Join(home, "changes.log"), []byte(strings.Join(lines, "\n")), 0o600))
		d.servers, d.chance = site.told(lines), site.chance.stage(lines)
		d.end = site.end()
		t.Logf("%s: %s took %.1f s: %d events, %d kills, %d stops, lead lost %d times, %d servers called dead that ran", l.name, s.book, d.took.Seconds(), d.boundaries, len(d.kills), len(d.stops), d.chance.lapses, d.chance.deaths)
		all = append(all, d)
	}
	return all
}

// deeds are what the processes that carried out a stage have done together.
type deeds struct {
	boundaries int // events of all processes
	took       time.Duration
	kills      []string
	stops      []string // why processes ended before the playbook did, of themselves
	// files are, for each path, the states it went through; servers what was done to them, in order; end how it is.
	files   map[string][]string
	servers []string
	end     map[string]string
	chance  chance
}

// carry starts a playbook, and goes on with it as often as its process is killed, or stops because of what has befallen
// the cluster.
func (k *killed) carry(s stage, home string, cut func(process int) (int, time.Duration)) (d deeds) {
	t := k.t
	t.Helper()
	book, err := filepath.Abs(filepath.Join("..", "..", "playbooks", s.book+".yml"))
	require.NoError(t, err)
	args := slices.Concat([]string{"run", book, "--json"}, k.more, s.args)
	excused := 0
	for process := 0; ; process++ {
		event, after := cut(process)
		p := k.process(home, event, after, args)
		for line := range bytes.Lines(p.out) {
			if isBoundary(line) {
				d.boundaries++
			}
		}
		switch {
		case p.dead:
			d.kills = append(d.kills, lastEvent(p.out))
			if process > 0 || event > 0 { // the first of those that are killed at a moment is waited for
				k.endSession()
			}
		case p.code == 0:
			return d
		default: // a cluster that has lost its leader, or a second server, is not worked on
			befell := k.befell()
			require.Greater(t, befell, excused, "it stops, and nothing has befallen the cluster: %v: %s%s", args, tail(p.out, 5), p.err)
			excused = befell
			d.stops = append(d.stops, tail(p.out, 1))
		}
		if begun, err := filepath.Glob(filepath.Join(home, "runs", "[0-9]*")); err == nil && len(begun) > 0 { // else it was killed before that
			args = []string{"runs", "resume", "--json"}
		}
		require.Less(t, process, 500, "it does not come to an end")
	}
}

// failOver has another meta server lead before the process that is to begin, or while it works, or not at all.
func (k *killed) failOver(process int) {
	c := k.client()
	fail := func() {
		ctx, cancel := context.WithTimeout(k.t.Context(), 2*time.Second)
		defer cancel()
		if leader, err := c.Leader(ctx); err == nil { // else none leads just now
			_, _ = c.Command(ctx, leader, "sim.failover")
		}
	}
	switch process % 4 {
	case 2:
		fail()
	case 3:
		time.AfterFunc(700*time.Millisecond, fail)
	}
}

// befell counts what has befallen the cluster since the stage began.
func (k *killed) befell() int {
	text, err := os.ReadFile(k.state.Changes())
	require.NoError(k.t, err)
	c := k.chance
	c.runs, c.lapses, c.deaths = maps.Clone(c.runs), 0, 0
	c.take(strings.Split(strings.TrimSpace(string(text)), "\n")[k.seen:])
	return c.lapses + c.deaths
}

// ended is how a process ended.
type ended struct {
	out, err []byte
	dead     bool // killed
	code     int
}

// process is one process of a run; it is killed, or ends.
func (k *killed) process(home string, event int, after time.Duration, args []string) ended {
	t := k.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
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
	e := ended{out: stdout.Bytes(), err: stderr.Bytes(), code: cmd.ProcessState.ExitCode()}
	e.dead = cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	require.True(t, e.dead || e.code == 0 || e.code == 2, "%v: %v: %s%s", args, err, tail(e.out, 30), e.err)
	return e
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
		books, every, stride, moments = "deploy rolling-update rebuild", n, max(40, n), 3
		o.Replicas, o.Collectors = 4, 1
		if some := os.Getenv("PEGBOOK_TEST_KILLS_BOOKS"); some != "" {
			books = some
		}
	} else {
		t.Parallel()
	}
	k := newKillLab(t, books, o)
	table := newKillTable(k.stages, k.undisturbed(t))
	for _, l := range slices.Concat(atEvents(every, stride), table.atMoments(moments), withLapses(moments)) {
		if only := os.Getenv("PEGBOOK_TEST_KILLS_ONLY"); only == "" || only == l.name {
			table.compare(t, l, k.live(t, l))
		}
	}
	t.Log("\n" + table.String())
	for name, row := range table.rows {
		assert.Positive(t, row.kills, "%s: nothing was killed", name)
	}
}

// undisturbed is a life in which nobody is killed, and nothing befalls the cluster.
func (k *killLab) undisturbed(t *testing.T) []deeds {
	t.Helper()
	for i := range 5 {
		all := k.live(t, life{name: fmt.Sprintf("left alone %d", i+1), cut: never})
		if !slices.ContainsFunc(all, deeds.disturbed) {
			return all
		}
	}
	require.Fail(t, "the machine is too slow for the lab's servers: there is nothing to compare with")
	return nil
}

// atEvents are lives in which a process is killed at an event, and those that go on at each that follows by a stride.
func atEvents(every, stride int) []life {
	var all []life
	for first := every; first <= stride; first += every {
		all = append(all, life{name: fmt.Sprintf("event %d+%d", first, stride), how: "at events", cut: eachAt(first, stride)})
	}
	return all
}

// eachAt kills the first process at an event, and those that go on at each that follows by a stride.
func eachAt(first, stride int) cutter {
	return func(_, process int) (int, time.Duration) {
		if process == 0 {
			return first, 0
		}
		return stride, 0
	}
}

// withLapses are lives in which the leader loses the lead as well.
func withLapses(n int) []life {
	var all []life
	for i := range n {
		all = append(all, life{name: fmt.Sprintf("lapses %d", i), how: lapsing, cut: eachAt(20+15*i, 35), lapses: true})
	}
	return all
}

// lapsing is the row of lives in which the lead is lost on purpose.
const lapsing = "and lead lost"

// atMoments are lives in which processes are killed at random, six times in the time that the playbook takes.
func (k *killTable) atMoments(n int) []life {
	const kills = 6
	var all []life
	for seed := range uint64(n) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		all = append(all, life{name: fmt.Sprintf("moments %d", seed), how: "at moments", cut: func(stage, process int) (int, time.Duration) {
			if process == kills {
				return 0, 0
			}
			// Each begins where the one before has come to.
			return 0, 300*time.Millisecond + time.Duration(rnd.Int64N(int64(k.whole[stage].took)*2/kills))
		}})
	}
	return all
}
