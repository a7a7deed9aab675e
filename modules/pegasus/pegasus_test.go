package pegasus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/modules/overlay"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/internal/fake"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

const round = 30 * time.Millisecond

// bed is a cluster with a host that reaches it.
type bed struct {
	*fake.Cluster
	t     *testing.T
	host  *modtest.Machine
	notes notes
}

type notes struct {
	mu   sync.Mutex
	text strings.Builder
}

func (n *notes) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(&n.text, format+"\n", args...)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

func newBed(t *testing.T, tables ...int) *bed {
	t.Helper()
	t.Parallel()
	c := fake.New(t, 3, 5, round)
	for i, partitions := range tables {
		c.AddTable(fmt.Sprintf("table%d", i+1), partitions, 3)
	}
	return &bed{Cluster: c, t: t, host: newHost(c)}
}

func newHost(c *fake.Cluster) *modtest.Machine {
	host := modtest.NewMachine("replica1")
	host.OnDial = c.Dial
	return host
}

// locked looks at the cluster or changes it.
func (b *bed) locked(f func()) {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	f()
}

// arguments adds those that every task has.
func (b *bed) arguments(args string) json.RawMessage {
	all := map[string]json.RawMessage{}
	require.NoError(b.t, json.Unmarshal([]byte(args), &all))
	if !strings.Contains(args, `"system"`) || strings.Contains(args, `"pegasus"`) {
		metas, err := json.Marshal(strings.Join(b.Metas, ","))
		require.NoError(b.t, err)
		all["meta_servers"] = metas
	}
	if all["timeout"] == nil {
		all["timeout"] = json.RawMessage(`"10s"`)
	}
	raw, err := json.Marshal(all)
	require.NoError(b.t, err)
	return raw
}

func (b *bed) propose(host modules.Host, m *modules.Module, args string) (*modules.Proposal, error) {
	return m.Propose(b.t.Context(), &modules.Call{Host: host, Note: b.notes.add}, b.arguments(args))
}

// do runs a task and gives its output as JSON.
func (b *bed) do(m *modules.Module, args string) (out string, changed bool, err error) {
	b.t.Helper()
	p, err := b.propose(b.host, m, args)
	if err != nil {
		return "", false, err
	}
	if p.Do != nil {
		err = p.Do(b.t.Context(), b.host)
	}
	raw, jsonErr := json.Marshal(p.Output)
	require.NoError(b.t, jsonErr)
	return string(raw), len(p.Diff) > 0, err
}

// converge holds a task to the contract of modules.
func (b *bed) converge(m *modules.Module, args string, repeats bool) modtest.Result {
	b.t.Helper()
	return modtest.Converge(b.t, m, string(b.arguments(args)), b.host, modtest.Setup{Trips: 1000, ActTrips: -1, Repeats: repeats})
}

func (b *bed) shell(cmd string) string { return fmt.Sprintf(`{"cmd": %q}`, cmd) }

func node(i int) string {
	return fmt.Sprintf(`{"node": %q, "round": "%fs"}`, fake.Replica(i), round.Seconds())
}

func (b *bed) holding(i int) (primaries, secondaries int) {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	addr := b.Nodes[i-1].Addr
	for _, t := range b.Tables {
		for _, p := range t.Partitions {
			if p.Primary == addr {
				primaries++
			}
			for _, s := range p.Secondaries {
				if s == addr {
					secondaries++
				}
			}
		}
	}
	return primaries, secondaries
}

const holdArgs = `{"level": "steady", "settings": {"assign_delay_ms": 3600000, "add_secondary_max_count_for_one_node": 0, "add_secondary_enable_flow_control": true}}`

// TestDrain is one replica server's part of a rolling update.
func TestDrain(t *testing.T) {
	b := newBed(t, 8, 4)
	r := b.converge(settingsModule(), holdArgs, false)
	require.NoError(t, r.Err)

	r = b.converge(migrateModule(), node(1), false)
	require.NoError(t, r.Err)
	primaries, secondaries := b.holding(1)
	assert.Zero(t, primaries)
	assert.Positive(t, secondaries)

	r = b.converge(downgradeModule(), node(1), false)
	require.NoError(t, r.Err)
	primaries, secondaries = b.holding(1)
	assert.Zero(t, primaries+secondaries)

	r = b.converge(closeModule(), node(1), false)
	require.NoError(t, r.Err)
	assert.Equal(t, "0", r.Get("left"))
	b.locked(func() { assert.Empty(t, b.Nodes[0].Replicas) })

	_, _, err := b.do(waitHealthyModule(), `{"system": "pegasus", "timeout": "1s"}`)
	assert.ErrorContains(t, err, "has 2 of 3 replicas")
	_, changed, err := b.do(settingsModule(), `{"settings": {"add_secondary_max_count_for_one_node": 100}}`)
	require.NoError(t, err)
	assert.True(t, changed)
	r = b.converge(waitHealthyModule(), `{"system": "pegasus", "nodes": ["`+fake.Replica(1)+`"]}`, false)
	require.NoError(t, r.Err)
	assert.Equal(t, "true", r.Get("healthy"))
}

// TestDryRun: the same steps in check mode, twice over for two nodes, see each other's predictions and
// leave the cluster alone.
func TestDryRun(t *testing.T) {
	b := newBed(t, 8)
	layer := overlay.New(b.host, nil)
	step := func(m *modules.Module, args string) int {
		t.Helper()
		p, err := b.propose(layer.Look(), m, args)
		require.NoError(t, err)
		require.NotNil(t, p.Predicts, m.Name)
		layer.Predict(p.Predicts)
		assert.False(t, p.Waits, "%s would be unknown", m.Name)
		return len(p.Diff)
	}
	healthy := `{"system": "pegasus"}`
	for i := 1; i <= 2; i++ {
		want := 1
		if i == 1 {
			want = 2
		}
		assert.Equal(t, want, step(settingsModule(), holdArgs), "node %d", i)
		assert.Equal(t, 1, step(migrateModule(), node(i)))
		assert.Equal(t, 1, step(downgradeModule(), node(i)))
		assert.Equal(t, 1, step(closeModule(), node(i)))
		_, err := b.propose(layer.Look(), migrateModule(), node(i))
		require.NoError(t, err)
		assert.Equal(t, 1, step(settingsModule(), `{"settings": {"add_secondary_max_count_for_one_node": 100}}`))
		assert.Equal(t, 0, step(waitHealthyModule(), healthy))
	}
	b.locked(func() {
		assert.Zero(t, b.Proposals)
		assert.Equal(t, "20", b.Settings[settingMaxCount])
	})
}

func TestDrainRefuses(t *testing.T) {
	b := newBed(t, 8)
	refused := func(m *modules.Module, args, want string) {
		t.Helper()
		_, _, err := b.do(m, args)
		assert.ErrorContains(t, err, want)
	}
	refused(downgradeModule(), node(1), "migrate_primaries")
	refused(closeModule(), node(1), "still serves")
	refused(migrateModule(), `{"node": "10.1.1.1:34801"}`, "is no replica server of this cluster")
	b.locked(func() { b.Freezed = true })
	refused(migrateModule(), node(1), "freezed")
	b.locked(func() { b.Freezed = false })
	_, _, err := b.do(migrateModule(), node(1))
	require.NoError(t, err)
	refused(downgradeModule(), node(1), settingMaxCount+" is 20")
	_, _, err = b.do(settingsModule(), holdArgs)
	require.NoError(t, err)
	b.Mu.Lock()
	b.Nodes[2].Alive = false
	b.Mu.Unlock()
	refused(downgradeModule(), node(1), "fewer than 2 live replicas")
	refused(downgradeModule(), node(1), "there is no live primary")
	b.AddTable("single", 5, 1)
	refused(migrateModule(), node(1), "no other live replica")
	b.locked(func() { assert.NotContains(t, strings.Join(b.Commands, "\n"), "kill_partition") })
}

// TestMigrationWaitsForTheNewPrimary: between a primary's stepping down and the next one's stepping up the
// node has no primary any more, and yet nothing may go on.
func TestMigrationWaitsForTheNewPrimary(t *testing.T) {
	b := newBed(t, 3)
	c, err := client.New(b.host.Dial, []string{fake.Meta(1)}, client.Options{})
	require.NoError(t, err)
	defer c.Close()
	v, err := c.View(t.Context())
	require.NoError(t, err)
	p := &v.Tables[0].Partitions[0]
	from, ok := v.Node(p.Primary.String())
	require.True(t, ok)
	before, err := planMigration(v, from)
	require.NoError(t, err)
	p.Primary, p.Secondaries = 0, append(p.Secondaries, p.Primary)
	after, err := planMigration(v, from)
	require.NoError(t, err)
	require.Len(t, after, len(before), "the partition is still something to wait for")
	require.Equal(t, p.PID, after[0].pid)
	require.Empty(t, after[0].actions, "and nothing to propose")
}

// TestDrainSurvivesAFailover: what was queued and set is lost with the leader, and done again.
func TestDrainSurvivesAFailover(t *testing.T) {
	b := newBed(t, 10)
	_, _, err := b.do(settingsModule(), holdArgs)
	require.NoError(t, err)
	_, _, err = b.do(migrateModule(), node(1))
	require.NoError(t, err)
	p, err := b.propose(b.host, downgradeModule(), node(1))
	require.NoError(t, err)
	b.Mu.Lock()
	b.Leader = "" // nobody leads for a while, then one that knows nothing
	b.Mu.Unlock()
	time.AfterFunc(time.Second, func() { b.Failover(fake.Meta(2)) })
	require.NoError(t, p.Do(t.Context(), b.host))
	_, secondaries := b.holding(1)
	assert.Zero(t, secondaries)

	// The new leader's own settings would have given the replicas right back.
	b.Mu.Lock()
	defer b.Mu.Unlock()
	assert.Equal(t, "0", b.Settings[settingMaxCount])
}

// TestStuckQueues: a meta server that refuses proposals gets its queues emptied once, in the end.
func TestStuckQueues(t *testing.T) {
	b := newBed(t, 5)
	b.Mu.Lock()
	b.Stuck = true
	b.Mu.Unlock()
	_, _, err := b.do(migrateModule(), node(1))
	require.NoError(t, err)
	assert.Contains(t, b.notes.String(), "emptying the meta server's queues")
}

func TestMigrateTimesOut(t *testing.T) {
	b := newBed(t, 5)
	p, err := b.propose(b.host, migrateModule(), fmt.Sprintf(`{"node": %q, "round": "20s", "timeout": "1s"}`, fake.Replica(1)))
	require.NoError(t, err)
	b.Mu.Lock()
	b.Stuck = true
	b.Mu.Unlock()
	err = p.Do(t.Context(), b.host)
	assert.ErrorContains(t, err, "did not get done within 1s")
	assert.ErrorContains(t, err, "1.0")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, p.Do(ctx, b.host), context.Canceled)
}

// TestNames: a cluster of 2.6 gets host names in every proposal; the fake fails the test otherwise.
func TestNames(t *testing.T) {
	b := newBed(t, 5)
	b.locked(func() { b.Named = true })
	_, _, err := b.do(settingsModule(), holdArgs)
	require.NoError(t, err)
	args := `{"node": "r1.example:34801", "round": "0.03"}`
	for _, m := range []*modules.Module{migrateModule(), downgradeModule(), closeModule()} {
		out, changed, err := b.do(m, args)
		require.NoError(t, err, m.Name)
		assert.True(t, changed, m.Name)
		assert.Contains(t, out, "r1.example:34801")
	}
}

func TestCloseBySnapshot(t *testing.T) {
	b := newBed(t, 5)
	b.locked(func() { b.NoHTTP = true })
	_, _, err := b.do(settingsModule(), holdArgs)
	require.NoError(t, err)
	for _, m := range []*modules.Module{migrateModule(), downgradeModule(), closeModule()} {
		_, _, err := b.do(m, node(2))
		require.NoError(t, err, m.Name)
	}
	b.locked(func() {
		assert.Empty(t, b.Nodes[1].Replicas)
		assert.Contains(t, strings.Join(b.Commands, "\n"), "flush-log")
	})
}

func TestSettingsFollowTheLeader(t *testing.T) {
	b := newBed(t, 4)
	b.locked(func() { b.Level = wire.LevelLively })
	out, changed, err := b.do(settingsModule(), holdArgs)
	require.NoError(t, err)
	assert.True(t, changed)
	for _, want := range []string{`"level_before":"lively"`, `"leader":"` + fake.Meta(1) + `"`, `"` + settingMaxCount + `":"20"`, `"` + settingMaxCount + `":"0"`} {
		assert.Contains(t, out, want)
	}
	b.Failover(fake.Meta(2))
	out2, changed, err := b.do(settingsModule(), `{}`)
	require.NoError(t, err)
	assert.False(t, changed)
	assert.Contains(t, out2, `"leader":"`+fake.Meta(2)+`","level_before":"steady"`)
	_, changed, err = b.do(settingsModule(), holdArgs)
	require.NoError(t, err)
	assert.True(t, changed, "a new leader has forgotten")
	b.locked(func() { assert.Equal(t, "3600000", b.Settings[settingDelay]) })
	_, changed, err = b.do(settingsModule(), holdArgs)
	require.NoError(t, err)
	assert.False(t, changed)
	// What was found before can be put back as it is.
	var found struct{ Before map[string]string }
	require.NoError(t, json.Unmarshal([]byte(out), &found))
	back, err := json.Marshal(map[string]any{"settings": found.Before})
	require.NoError(t, err)
	_, _, err = b.do(settingsModule(), string(back))
	require.NoError(t, err)
	b.locked(func() { assert.Equal(t, "600000", b.Settings[settingDelay]) })
}

func TestServer(t *testing.T) {
	b := newBed(t, 4)
	address := fmt.Sprintf(`{"address": %q`, fake.Replica(1))
	ask := func(args string) (*modules.Proposal, error) {
		return serverModule().Propose(t.Context(), &modules.Call{Host: b.host, Note: b.notes.add}, json.RawMessage(args))
	}
	p, err := ask(address + `}`)
	require.NoError(t, err)
	assert.Equal(t, "2026-01-01 10:00:00", p.Output.(*serverOutput).Started)
	p, err = ask(address + `, "started_after": "2026-01-01 10:00:00", "version": "2.5.0", "loaded": true, "timeout": "5s"}`)
	require.NoError(t, err)
	require.True(t, p.Waits, "it has not been restarted")
	time.AfterFunc(200*time.Millisecond, func() {
		b.Mu.Lock()
		defer b.Mu.Unlock()
		b.Nodes[0].Started = "2026-01-01 10:00:07"
	})
	require.NoError(t, p.Do(t.Context(), b.host))
	assert.Equal(t, 2, p.Output.(*serverOutput).Replicas)
	p, err = ask(address + `, "version": "2.6.0", "timeout": "1s"}`)
	require.NoError(t, err)
	assert.ErrorContains(t, p.Do(t.Context(), b.host), `runs version "2.5.0", not 2.6.0`)
}

func TestWaitHealthy(t *testing.T) {
	b := newBed(t)
	_, _, err := b.do(waitHealthyModule(), `{"system": "pegasus", "timeout": "1s"}`)
	var unhealthy *UnhealthyError
	require.ErrorAs(t, err, &unhealthy)
	assert.Equal(t, []string{"there is no table"}, unhealthy.Missing)
	_, _, err = b.do(waitHealthyModule(), `{"system": "pegasus", "allow_no_tables": true}`)
	assert.NoError(t, err)
	b.AddTable("temp", 3, 3)
	b.Mu.Lock()
	b.Nodes[4].Alive = false
	b.Mu.Unlock()
	_, _, err = b.do(waitHealthyModule(), `{"system": "pegasus", "timeout": "1s", "nodes": ["`+fake.Replica(5)+`"]}`)
	assert.ErrorContains(t, err, fake.Replica(5)+" is UNALIVE")
	assert.Contains(t, b.notes.String(), fake.Replica(5)+" is UNALIVE")
	time.AfterFunc(time.Second, func() {
		b.Mu.Lock()
		defer b.Mu.Unlock()
		b.Nodes[4].Alive = true
	})
	_, _, err = b.do(waitHealthyModule(), `{"system": "pegasus", "stable": "1s", "nodes": ["`+fake.Replica(5)+`"]}`)
	assert.NoError(t, err)
	_, _, err = b.do(waitHealthyModule(), `{"system": "tcp", "addresses": ["`+fake.Meta(1)+`"]}`)
	assert.NoError(t, err)
	_, _, err = b.do(waitHealthyModule(), `{"system": "tcp", "addresses": ["10.9.9.9:1"], "timeout": "1s"}`)
	assert.ErrorContains(t, err, "10.9.9.9:1 takes no connection")
	_, _, err = b.do(waitHealthyModule(), `{"system": "http", "url": "http://`+fake.Replica(1)+`/version"}`)
	assert.NoError(t, err)
	_, _, err = b.do(waitHealthyModule(), `{"system": "http", "url": "http://`+fake.Replica(1)+`/nosuch", "timeout": "1s"}`)
	assert.ErrorContains(t, err, "404")
	_, _, err = b.do(waitHealthyModule(), `{"system": "http"}`)
	assert.ErrorContains(t, err, "needs url")
}

// TestFreshCluster: a dry run of a deployment goes on after a wait that nobody can predict.
func TestFreshCluster(t *testing.T) {
	b := newBed(t)
	b.host.OnDial = nil // nothing is there
	layer := overlay.New(b.host, nil)
	p, err := b.propose(layer.Look(), waitHealthyModule(), `{"system": "pegasus", "allow_no_tables": true}`)
	require.NoError(t, err)
	assert.True(t, p.Waits)
	layer.Predict(p.Predicts)
	p, err = b.propose(layer.Look(), shellModule(), b.shell("create temp -p 8"))
	require.NoError(t, err)
	assert.Len(t, p.Diff, 1)
	layer.Predict(p.Predicts)
	p, err = b.propose(layer.Look(), shellModule(), b.shell("create temp -p 8"))
	require.NoError(t, err)
	assert.Empty(t, p.Diff)
	_, err = b.propose(layer.Look(), shellModule(), b.shell("create temp -p 4"))
	assert.ErrorContains(t, err, "cannot be changed")
	p, err = b.propose(layer.Look(), shellModule(), b.shell("set_meta_level steady"))
	require.NoError(t, err)
	assert.Empty(t, p.Diff)
	_, err = b.propose(layer.Look(), shellModule(), b.shell("nodes"))
	assert.ErrorIs(t, err, modules.ErrUnpredicted)
}

// TestUnreachableHost: no waiting helps when the task's own host is gone.
func TestUnreachableHost(t *testing.T) {
	b := newBed(t, 3)
	gone := &modules.UnreachableError{Host: "replica1", Err: errors.New("gone")}
	b.host.OnDial = func(context.Context, string, string) (net.Conn, error) { return nil, gone }
	started := time.Now()
	for args, m := range map[string]*modules.Module{
		`{"system": "pegasus"}`:                                   waitHealthyModule(),
		`{"system": "tcp", "addresses": ["10.9.0.1:1"]}`:          waitHealthyModule(),
		`{"system": "zookeeper", "addresses": ["10.9.0.1:2181"]}`: waitHealthyModule(),
		`{"system": "http", "url": "http://10.9.0.1:1/"}`:         waitHealthyModule(),
		`{"cmd": "nodes"}`:                                        shellModule(),
		node(1):                                                   migrateModule(),
	} {
		_, _, err := b.do(m, args)
		var unreachable *modules.UnreachableError
		assert.ErrorAs(t, err, &unreachable, args)
	}
	assert.Less(t, time.Since(started), 5*time.Second)
}

// TestDoubtPasses: a new leader calls nodes dead that it has not heard yet; that does not end a step.
func TestDoubtPasses(t *testing.T) {
	b := newBed(t, 6)
	_, _, err := b.do(settingsModule(), holdArgs)
	require.NoError(t, err)
	_, _, err = b.do(migrateModule(), node(1))
	require.NoError(t, err)
	p, err := b.propose(b.host, downgradeModule(), node(1))
	require.NoError(t, err)
	others := func(alive bool) {
		b.Mu.Lock()
		defer b.Mu.Unlock()
		for _, n := range b.Nodes[1:] {
			n.Alive = alive
		}
	}
	others(false)
	time.AfterFunc(round, func() { others(true) })
	require.NoError(t, p.Do(t.Context(), b.host))
	_, secondaries := b.holding(1)
	assert.Zero(t, secondaries)
	assert.Contains(t, b.notes.String(), "looking again")
}

// Who goes on with a run puts back what was there before the task that was cut off had set half of it.
func TestSettingsThatWereCutOffRememberWhatWasThere(t *testing.T) {
	b := newBed(t, 4)
	const args = `{"level": "lively", "settings": {"assign_delay_ms": 7000}}`
	p, err := b.propose(b.host, settingsModule(), args)
	require.NoError(t, err)
	was := *p.Output.(*settingsOutput)
	require.NoError(t, p.Do(t.Context(), b.host))
	again, err := settingsModule().Propose(t.Context(), &modules.Call{Host: b.host, Note: b.notes.add, Begun: &modules.Begun{Mark: p.Mark}}, b.arguments(args))
	require.NoError(t, err)
	assert.Empty(t, again.Diff)
	out := again.Output.(*settingsOutput)
	assert.Equal(t, was.LevelBefore, out.LevelBefore)
	assert.NotEqual(t, out.Level, out.LevelBefore)
	assert.Equal(t, was.Before, out.Before)
	anew, err := b.propose(b.host, settingsModule(), args)
	require.NoError(t, err)
	assert.NotEqual(t, was.LevelBefore, anew.Output.(*settingsOutput).LevelBefore)
}
