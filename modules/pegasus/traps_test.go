package pegasus

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/internal/fake"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// traps are what has broken operations on Pegasus clusters, by name, each with a test of what pegbook does instead.
// docs/pegasus-safety.md tells them to operators under the same names.
func traps() map[string]func(t *testing.T) {
	return map[string]func(t *testing.T){
		"leader-only commands":                     leaderOnlyCommands,
		"settings lost at a leader change":         settingsLostAtALeaderChange,
		"settings lost under the same leader":      settingsLostUnderTheSameLeader,
		"leader change between reading and acting": leaderChangeBetweenReadingAndActing,
		"setting the level drops proposals":        settingTheLevelDropsProposals,
		"a level that somebody set":                aLevelThatSomebodySet,
		"freeze below three live nodes":            freezeBelowThreeLiveNodes,
		"a node that is down already":              aNodeThatIsDownAlready,
		"empty answers":                            emptyAnswers,
		"partial answers":                          partialAnswers,
		"garbage answers":                          garbageAnswers,
		"counters before the first count":          countersBeforeTheFirstCount,
		"flow control off":                         flowControlOff,
		"the port is open and replicas load":       thePortIsOpenAndReplicasLoad,
		"a stop does not flush":                    aStopDoesNotFlush,
		"drained for the meta server only":         drainedForTheMetaServerOnly,
		"pages of standby meta servers":            pagesOfStandbyMetaServers,
		"proposals without names":                  proposalsWithoutNames,
		"a restart that did not happen":            aRestartThatDidNotHappen,
		"addresses that begin alike":               addressesThatBeginAlike,
		"timeouts that go on":                      timeoutsThatGoOn,
		"a target that is not alive":               aTargetThatIsNotAlive,
	}
}

func TestTraps(t *testing.T) {
	for name, test := range traps() {
		t.Run(name, test)
	}
}

// TestTrapsAreDocumented: each trap stands in the document with its test, and each test that the document names
// exists.
func TestTrapsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/pegasus-safety.md")
	require.NoError(t, err)
	for name := range traps() {
		assert.Contains(t, string(page), "`TestTraps/"+name+"`")
	}
	var sources strings.Builder
	for _, pattern := range []string{"*_test.go", "client/*_test.go", "../builtin/*_test.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			sources.Write(text)
		}
	}
	named := regexp.MustCompile("`(Test[A-Za-z]+)(?:/([^`]+))?`").FindAllStringSubmatch(string(page), -1)
	assert.Greater(t, len(named), len(traps()))
	for _, m := range named {
		assert.Contains(t, sources.String(), "func "+m[1]+"(", "the document names a test that there is not")
		if m[1] == "TestTraps" {
			assert.Contains(t, traps(), m[2])
		}
	}
}

// held is a bed whose settings keep replicas from coming back.
func heldBed(t *testing.T, tables ...int) *bed {
	b := newBed(t, tables...)
	_, _, err := b.do(settingsModule(), holdArgs)
	require.NoError(t, err)
	return b
}

func (b *bed) drained(i int) {
	b.t.Helper()
	for _, m := range []*modules.Module{migrateModule(), downgradeModule()} {
		_, _, err := b.do(m, node(i))
		require.NoError(b.t, err)
	}
}

func (b *bed) set(command, value string) { b.Settings[command] = value }

// serverDo runs a task of pegasus_server, which asks one server and knows no cluster.
func (b *bed) serverDo(args string) error {
	p, err := serverModule().Propose(b.t.Context(), &modules.Call{Host: b.host, Note: b.notes.add}, []byte(args))
	if err == nil && p.Do != nil {
		err = p.Do(b.t.Context(), b.host)
	}
	return err
}

func stop(i int, more string) string {
	return fmt.Sprintf(`{"node": %q, "settle": "50ms"%s}`, fake.Replica(i), more)
}

// A standby says "unknown command", which the shell prints as succeed.
func leaderOnlyCommands(t *testing.T) {
	b := newBed(t, 3)
	b.Failover(fake.Meta(2))
	out, _, err := b.do(shellModule(), b.shell("remote_command -t meta-server meta.lb.assign_delay_ms 7"))
	require.NoError(t, err)
	assert.NotContains(t, out, "unknown command")
	b.locked(func() { assert.Equal(t, "7", b.Settings[settingDelay]) })
	_, _, err = b.do(shellModule(), b.shell("remote_command -l "+fake.Meta(1)+" meta.lb.assign_delay_ms 7"))
	assert.ErrorContains(t, err, "unknown command", "what a standby does not know is no success")
}

func settingsLostAtALeaderChange(t *testing.T) {
	b := heldBed(t, 8)
	_, _, err := b.do(migrateModule(), node(1))
	require.NoError(t, err)
	p, err := b.propose(b.host, downgradeModule(), node(1))
	require.NoError(t, err)
	b.Failover(fake.Meta(2)) // flow control on, a limit of 20: what is taken out would come back
	require.NoError(t, p.Do(t.Context(), b.host))
	b.locked(func() { assert.Equal(t, "0", b.Settings[settingMaxCount]) })
	_, secondaries := b.holding(1)
	assert.Zero(t, secondaries)
}

// The leader was restarted and leads again, under the same address: nobody sees a leader change.
func settingsLostUnderTheSameLeader(t *testing.T) {
	b := heldBed(t, 8)
	_, _, err := b.do(migrateModule(), node(1))
	require.NoError(t, err)
	p, err := b.propose(b.host, downgradeModule(), node(1))
	require.NoError(t, err)
	proposedWithout := 0
	b.locked(func() {
		b.set(settingMaxCount, "20")
		b.OnPropose = func() {
			if b.Settings[settingMaxCount] != "0" {
				proposedWithout++
			}
		}
	})
	require.NoError(t, p.Do(t.Context(), b.host))
	b.locked(func() { assert.Zero(t, proposedWithout, "something was proposed without the settings in force") })

	// Somebody who sets it again and again gets to hear of it.
	b2 := heldBed2(t, 8)
	p, err = b2.propose(b2.host, downgradeModule(), node(1))
	require.NoError(t, err)
	b2.locked(func() {
		b2.Stuck, b2.OnLevel, b2.OnPropose = true, func() { b2.Stuck = true }, func() { b2.set(settingMaxCount, "20") }
	})
	err = p.Do(t.Context(), b2.host)
	assert.ErrorContains(t, err, settingMaxCount+" is 20 and not 0, for the 3th time; somebody else sets it")
}

// A meta server that takes over after level and settings were read gets no proposal on the old one's account.
func leaderChangeBetweenReadingAndActing(t *testing.T) {
	b := heldBed(t, 1)
	b.locked(func() { b.Leader = fake.Meta(2) })
	c, err := client.New(b.Dial, b.Metas, client.Options{})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	err = c.ProposeTo(t.Context(), fake.Meta(1), wire.GPID{App: 1})
	var silent *client.NoAnswerError
	require.ErrorAs(t, err, &silent)
	b.locked(func() { assert.Zero(t, b.Proposals, "it went to another meta server than the one that was read") })

	// A failover at the first proposal: the rest is proposed under settings that were set anew.
	b2 := heldBed2(t, 8)
	p, err := b2.propose(b2.host, downgradeModule(), node(1))
	require.NoError(t, err)
	without := 0
	b2.locked(func() {
		b2.OnPropose = func() {
			if b2.Settings[settingMaxCount] != "0" {
				without++
			}
		}
	})
	b2.Failover(fake.Meta(3))
	require.NoError(t, p.Do(t.Context(), b2.host))
	b2.locked(func() { assert.Zero(t, without) })
}

// heldBed2 is a second cluster of a test, ready to be downgraded.
func heldBed2(t *testing.T, partitions int) *bed {
	t.Helper()
	c := fake.New(t, 3, 5, round)
	c.AddTable("table1", partitions, 3)
	b := &bed{Cluster: c, t: t, host: newHost(c)}
	_, _, err := b.do(settingsModule(), holdArgs)
	require.NoError(t, err)
	_, _, err = b.do(migrateModule(), node(1))
	require.NoError(t, err)
	return b
}

func settingTheLevelDropsProposals(t *testing.T) {
	b := heldBed(t, 12)
	b.locked(func() { b.LevelSets = 0 })
	b.drained(1)
	b.locked(func() { assert.Zero(t, b.LevelSets, "the level was steady already") })
	_, _, err := b.do(settingsModule(), holdArgs)
	require.NoError(t, err)
	b.locked(func() { assert.Zero(t, b.LevelSets) })

	// From lively it is set once, however many rounds it takes.
	b.locked(func() { b.Level = wire.LevelLively })
	_, _, err = b.do(migrateModule(), node(2))
	require.NoError(t, err)
	b.locked(func() { assert.Equal(t, 1, b.LevelSets) })

	// Queues that stay stuck are emptied once in three rounds, and not faster.
	b.locked(func() { b.LevelSets, b.Stuck, b.OnLevel = 0, true, func() { b.Stuck = true } })
	started := time.Now()
	_, _, err = b.do(migrateModule(), fmt.Sprintf(`{"node": %q, "round": "200ms", "timeout": "2500ms"}`, fake.Replica(3)))
	require.ErrorContains(t, err, "did not get done")
	b.locked(func() {
		assert.Positive(t, b.LevelSets)
		assert.LessOrEqual(t, b.LevelSets, int(time.Since(started)/(600*time.Millisecond)))
	})
}

// Who froze the cluster in the middle of a step had a reason: it is not raised again.
func aLevelThatSomebodySet(t *testing.T) {
	b := heldBed(t, 6)
	b.locked(func() { b.Level = wire.LevelFreezed })
	_, _, err := b.do(migrateModule(), node(1))
	assert.ErrorContains(t, err, "level freezed")
	b.locked(func() { b.Level = wire.LevelSteady })
	p, err := b.propose(b.host, migrateModule(), fmt.Sprintf(`{"node": %q, "round": "20ms", "timeout": "1s"}`, fake.Replica(1)))
	require.NoError(t, err)
	b.locked(func() { b.Level = wire.LevelFreezed; b.LevelSets = 0 })
	err = p.Do(t.Context(), b.host)
	assert.ErrorContains(t, err, "level freezed")
	b.locked(func() {
		assert.Equal(t, wire.LevelFreezed, b.Level)
		assert.Zero(t, b.LevelSets+b.Proposals)
		b.Level = wire.LevelSteady
		b.Unsaid = true
	})
	_, _, err = b.do(migrateModule(), node(1))
	assert.ErrorContains(t, err, "does not say its function level")
}

// A cluster of three freezes as soon as one is down (facts/pegasus.md §8.3).
func freezeBelowThreeLiveNodes(t *testing.T) {
	t.Parallel()
	c := fake.New(t, 3, 3, round)
	c.AddTable("table1", 6, 3)
	b := &bed{Cluster: c, t: t, host: newHost(c)}
	_, _, err := b.do(stopCheckModule(), stop(1, `, "drained": false, "keep": 2`))
	assert.ErrorContains(t, err, "the cluster freezes while it is down: 2 of 3 replica servers are then alive, fewer than 3")
	_, _, err = b.do(stopCheckModule(), stop(1, `, "drained": false, "below_freeze_limit": true`))
	assert.NoError(t, err, "an operator may want it")
	_, _, err = b.do(preflightModule(), `{"operation": "restart", "nodes": `+b.nodes(3)+`}`)
	assert.ErrorContains(t, err, "freeze: the cluster freezes")
	_, _, err = b.do(settingsModule(), holdArgs)
	require.NoError(t, err)
	b.drained(1)
	_, _, err = b.do(closeModule(), node(1))
	require.NoError(t, err)
	p, err := b.propose(b.host, stopCheckModule(), stop(1, ""))
	require.NoError(t, err)
	assert.Nil(t, p.Do, "drained it is safe")
	assert.Contains(t, p.Message, "counts as frozen while")
}

func aNodeThatIsDownAlready(t *testing.T) {
	b := heldBed(t, 5)
	b.drained(1)
	_, _, err := b.do(closeModule(), node(1))
	require.NoError(t, err)
	b.locked(func() { b.Nodes[4].Alive = false })
	_, _, err = b.do(stopCheckModule(), stop(1, ""))
	assert.ErrorContains(t, err, "replica server "+fake.Replica(5)+" is UNALIVE; a second one would be down")
	assert.ErrorContains(t, err, "fewer than 2 replicas on other live servers have: table1 1.")
	_, _, err = b.do(preflightModule(), `{"operation": "restart", "drained": true, "nodes": `+b.nodes(5)+`}`)
	assert.ErrorContains(t, err, "nodes: replica server "+fake.Replica(5)+" is UNALIVE")
	_, _, err = b.do(stopCheckModule(), stop(1, `, "keep": 1, "dead": ["`+fake.Replica(5)+`"]`))
	assert.NoError(t, err, "one that is named may be down")
	b.locked(func() { b.Nodes[4].Alive = true })
	p, err := b.propose(b.host, stopCheckModule(), stop(1, ""))
	require.NoError(t, err)
	assert.Nil(t, p.Do)
}

func emptyAnswers(t *testing.T) {
	b := heldBed(t, 8)
	p, err := b.propose(b.host, migrateModule(), fmt.Sprintf(`{"node": %q, "round": "30ms", "timeout": "20s"}`, fake.Replica(1)))
	require.NoError(t, err)
	b.locked(func() { b.OnPropose = func() { b.NoTables = true } })
	time.AfterFunc(500*time.Millisecond, func() { b.locked(func() { b.NoTables, b.OnPropose = false, nil }) })
	require.NoError(t, p.Do(t.Context(), b.host))
	primaries, _ := b.holding(1)
	assert.Zero(t, primaries, "a list without tables is no node without primaries")
	b.locked(func() { b.NoTables = true })
	_, _, err = b.do(waitHealthyModule(), `{"system": "pegasus", "timeout": "100ms"}`)
	assert.ErrorContains(t, err, "there is no table")
}

func partialAnswers(t *testing.T) {
	b := heldBed(t, 8)
	b.locked(func() { b.Partial = true })
	for name, args := range map[string]string{"migrate_primaries": node(1), "downgrade_secondaries": node(1), "close_replicas": node(1),
		"pegasus_stop_check": stop(1, ""), "pegasus_status": `{}`, "pegasus_preflight": `{"nodes": ` + b.nodes(5) + `}`,
		"wait_healthy": `{"system": "pegasus", "timeout": "50ms"}`} {
		for _, m := range All() {
			if m.Name == name {
				_, _, err := b.do(m, args)
				assert.ErrorContains(t, err, "told of 7 of the 8 partitions", name)
			}
		}
	}
}

func garbageAnswers(t *testing.T) {
	b := heldBed(t, 5)
	b.drained(1)
	for _, garbage := range []string{"NaN", "-1.00", "x", "0.5"} {
		b.locked(func() { b.Counters = garbage })
		_, _, err := b.do(closeModule(), node(1))
		assert.ErrorContains(t, err, "counts", garbage)
		_, _, err = b.do(stopCheckModule(), stop(1, ""))
		assert.ErrorContains(t, err, "counts", garbage)
	}
	b.locked(func() { b.NoHTTP, b.Counters = true, "not found" })
	_, _, err := b.do(closeModule(), node(1))
	var refused *client.CommandError
	assert.ErrorAs(t, err, &refused)
	b.locked(func() { b.set(settingMaxCount, "=not_found") })
	_, _, err = b.do(downgradeModule(), node(2))
	assert.Error(t, err)
}

// A server that has just been started answers with a time of 0 and no counters: that is nothing, and not zero.
func countersBeforeTheFirstCount(t *testing.T) {
	b := heldBed(t, 5)
	b.drained(1)
	b.locked(func() {
		b.NoHTTP = true
		b.Counters = `{"result":"OK","timestamp":0,"timestamp_str":"1970-01-01 00:00:00","counters":[]}`
	})
	_, _, err := b.do(closeModule(), node(1))
	var not *client.NotCountedError
	assert.ErrorAs(t, err, &not)
	_, _, err = b.do(stopCheckModule(), stop(1, ""))
	assert.ErrorContains(t, err, "has not counted its replicas yet")
	b.locked(func() {
		for _, command := range b.Commands {
			assert.NotContains(t, command, "server-stat", "it carries no time")
		}
	})
}

func flowControlOff(t *testing.T) {
	b := newBed(t, 5)
	_, _, err := b.do(settingsModule(), `{"settings": {"add_secondary_max_count_for_one_node": 0, "add_secondary_enable_flow_control": false}}`)
	require.NoError(t, err)
	_, _, err = b.do(migrateModule(), node(1))
	require.NoError(t, err)
	_, _, err = b.do(downgradeModule(), node(1))
	assert.ErrorContains(t, err, "add_secondary_enable_flow_control is false; set it to true first")
	_, _, err = b.do(stopCheckModule(), stop(1, ""))
	assert.ErrorContains(t, err, "add_secondary_enable_flow_control is false")
}

func thePortIsOpenAndReplicasLoad(t *testing.T) {
	b := newBed(t, 5)
	b.locked(func() {
		b.NoHTTP = true
		b.Counters = `{"result":"OK","timestamp":0,"counters":[]}`
		b.Nodes[0].Started = "2026-01-01 10:00:05"
	})
	server := `{"address": "` + fake.Replica(1) + `", "started_after": "2026-01-01 10:00:00", "loaded": true, "timeout": "600ms"}`
	err := b.serverDo(server)
	assert.ErrorContains(t, err, "has not counted its replicas yet", "it answers, and has not loaded")
	b.locked(func() {
		b.Counters = `{"result":"OK","timestamp":7,"counters":[{"name":"replica*eon.replica_stub*replica(Count)","value":1},` +
			`{"name":"replica*eon.replica_stub*opening.replica(Count)","value":2},{"name":"replica*eon.replica_stub*closing.replica(Count)","value":0}]}`
	})
	err = b.serverDo(server)
	assert.ErrorContains(t, err, "is loading its replicas")
	b.locked(func() { b.NoHTTP, b.Counters = false, "" })
	err = b.serverDo(server)
	assert.NoError(t, err)
}

// SIGTERM writes no memory to disk: replicas are closed first, and the node's own live counters prove it.
func aStopDoesNotFlush(t *testing.T) {
	b := heldBed(t, 8)
	b.drained(1)
	_, _, err := b.do(stopCheckModule(), stop(1, ""))
	assert.ErrorContains(t, err, "close_replicas comes first")
	b.locked(func() { b.Nodes[0].Closing = 3 })
	_, _, err = b.do(closeModule(), node(1))
	require.NoError(t, err)
	b.locked(func() {
		assert.Empty(t, b.Nodes[0].Replicas)
		assert.Zero(t, b.Nodes[0].Closing)
		assert.Contains(t, b.Commands, fake.Replica(1)+" flush-log")
	})
	_, _, err = b.do(stopCheckModule(), stop(1, ""))
	assert.NoError(t, err)

	// Whoever goes on with a run that was killed between the close and the flush makes good for it.
	b.locked(func() { b.Commands = nil })
	_, changed, err := b.do(closeModule(), node(1))
	require.NoError(t, err)
	assert.False(t, changed)
	b.locked(func() { assert.NotContains(t, b.Commands, fake.Replica(1)+" flush-log") })
	p, err := closeModule().Propose(t.Context(), &modules.Call{Host: b.host, Note: b.notes.add, Begun: &modules.Begun{}}, b.arguments(node(1)))
	require.NoError(t, err)
	require.Len(t, p.Diff, 1)
	require.NoError(t, p.Do(t.Context(), b.host))
	b.locked(func() { assert.Contains(t, b.Commands, fake.Replica(1)+" flush-log") })
}

func drainedForTheMetaServerOnly(t *testing.T) {
	b := heldBed(t, 4)
	b.drained(1)
	// The node has not heard yet that it is no primary any more: it is waited for, and never closed.
	var pid wire.GPID
	b.locked(func() {
		for p := range b.Nodes[0].Replicas {
			pid = p
		}
		b.Nodes[0].Replicas[pid] = wire.ReplicaPrimary
	})
	time.AfterFunc(700*time.Millisecond, func() { b.locked(func() { b.Nodes[0].Replicas[pid] = wire.ReplicaInactive }) })
	_, _, err := b.do(closeModule(), node(1))
	require.NoError(t, err, "the fake reports a primary that is killed")
	assert.Contains(t, b.notes.String(), "still takes itself for the primary of")
	// And a node that serves is refused, whatever its own counters say.
	_, _, err = b.do(closeModule(), node(2))
	assert.ErrorContains(t, err, "still serves")
}

// A standby of 2.4 and 2.5 crashes on them, or tells an empty cluster: no module and no playbook asks for one.
func pagesOfStandbyMetaServers(t *testing.T) {
	b := heldBed(t, 4)
	b.drained(1)
	_, _, err := b.do(closeModule(), node(1))
	require.NoError(t, err)
	_, _, err = b.do(statusModule(), `{}`)
	require.NoError(t, err)
	b.locked(func() {
		for path := range b.Asked {
			assert.False(t, strings.HasPrefix(path, "/meta/"), path)
		}
	})
	asks := regexp.MustCompile(`["/]/?meta/(cluster|nodes|apps?|app_envs|backup_policy)\b`)
	for _, root := range []string{".", "../../playbooks"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			assert.NotRegexp(t, asks, string(text), path)
			return err
		})
		require.NoError(t, err)
	}
}

func proposalsWithoutNames(t *testing.T) {
	b := newBed(t, 5)
	b.locked(func() { b.Named, b.Release = true, "2.6" })
	_, _, err := b.do(settingsModule(), holdArgs)
	require.NoError(t, err)
	b.drained(1) // the fake reports a proposal without names
	_, _, err = b.do(shellModule(), b.shell("balance -g 1.1 -p copy_sec -f "+fake.Replica(3)+" -t "+fake.Replica(5)))
	require.NoError(t, err)
	v := &client.View{Nodes: []wire.NodeInfo{{Node: wire.Node{Address: 1, HostPort: &wire.HostPort{Host: "a", Port: 1, Kind: 1}}}, {Node: wire.Node{Address: 2}}}}
	w, err := balancing("copy_sec", v.Nodes[0].Node, v.Nodes[0].Node)
	require.NoError(t, err)
	_, err = w.forPartition(v, &wire.PartitionConfig{Primary: 2})
	assert.ErrorContains(t, err, "names no host", "a node without a name is refused where others have one")
	_, err = w.forPartition(v, &wire.PartitionConfig{})
	assert.ErrorContains(t, err, "has no primary")
}

func aRestartThatDidNotHappen(t *testing.T) {
	b := newBed(t, 5)
	server := func(after string) error {
		return b.serverDo(fmt.Sprintf(`{"address": %q, "started_after": %q, "version": "2.5.0", "timeout": "300ms"}`, fake.Replica(1), after))
	}
	assert.ErrorContains(t, server("2026-01-01 10:00:00"), "not restarted after")
	for _, no := range []string{"", "yesterday"} {
		var argument *modules.ArgumentError
		assert.ErrorAs(t, server(no), &argument, "what is no time proves no restart")
	}
	b.locked(func() { b.Nodes[0].Started, b.Nodes[0].Version, b.Release = "2026-01-01 10:00:09", "2.4.0", "2.4" })
	assert.ErrorContains(t, server("2026-01-01 10:00:00"), `runs version "2.4.0", not 2.5.0`)
	b.locked(func() { b.Nodes[0].Started = "" })
	assert.ErrorContains(t, server("2026-01-01 10:00:00"), "does not say when it started")
}

// grep 10.9.1.1:34801 also finds 110.9.1.1:34801 and 10.9.1.1:348010.
func addressesThatBeginAlike(t *testing.T) {
	b := newBed(t, 5)
	for _, name := range []string{"10.9.1.1", "10.9.1.1:3480", "10.9.1.1:348010", "110.9.1.1:34801"} {
		_, _, err := b.do(migrateModule(), fmt.Sprintf(`{"node": %q}`, name))
		assert.ErrorContains(t, err, "is no replica server of this cluster", name)
	}
	b.locked(func() { assert.Zero(t, b.Proposals) })
}

func timeoutsThatGoOn(t *testing.T) {
	b := heldBed(t, 5)
	b.locked(func() { b.Stuck, b.OnLevel = true, func() { b.Stuck = true } })
	_, _, err := b.do(migrateModule(), fmt.Sprintf(`{"node": %q, "round": "1s", "timeout": "300ms"}`, fake.Replica(1)))
	require.ErrorContains(t, err, "did not get done within 300ms")
	require.ErrorContains(t, err, "left: 1.")
	_, _, err = b.do(downgradeModule(), node(1))
	assert.ErrorContains(t, err, "still has")
	_, _, err = b.do(closeModule(), node(1))
	assert.ErrorContains(t, err, "still serves")
	_, _, err = b.do(stopCheckModule(), stop(1, ""))
	assert.ErrorContains(t, err, "still serves")
	b.locked(func() { assert.Len(t, b.Nodes[0].Replicas, 3, "nothing was closed") })
}

// The script takes one of the first two secondaries, alive or not.
func aTargetThatIsNotAlive(t *testing.T) {
	b := newBed(t, 5)
	var dead wire.Address
	b.locked(func() {
		dead = b.Tables[0].Partitions[0].Secondaries[0]
		for _, n := range b.Nodes {
			n.Alive = n.Addr != dead
		}
	})
	_, _, err := b.do(migrateModule(), node(1))
	require.NoError(t, err)
	b.locked(func() {
		assert.NotEqual(t, dead, b.Tables[0].Partitions[0].Primary)
		b.Tables[0].Partitions[1].Secondaries = []wire.Address{dead}
	})
	_, _, err = b.do(migrateModule(), fmt.Sprintf(`{"node": %q}`, b.Tables[0].Partitions[1].Primary))
	assert.ErrorContains(t, err, "no other live replica could become primary of: table1 1.1")
}
