package pegasus

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/internal/fake"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// release makes the cluster answer as a release does.
func (b *bed) release(release string, rates ...string) {
	b.locked(func() {
		b.Release = release
		b.Named = release == "2.6"
		for _, n := range b.Nodes {
			n.Version = release + ".0"
			n.Rates = map[string]string{}
			for _, command := range rates {
				n.Rates[command] = "500"
			}
		}
	})
}

// TestReleases carries a node through a rolling update's steps on each release, with and without live counters.
func TestReleases(t *testing.T) {
	perDisk := []string{"nfs.max_copy_rate_megabytes_per_disk", "nfs.max_send_rate_megabytes_per_disk"}
	for release, rates := range map[string][]string{
		"1.12": {}, "2.0": {"replica.nfs.max_copy_rate_megabytes"}, "2.1": {"nfs.max_copy_rate_megabytes"}, "2.2": {"nfs.max_copy_rate_megabytes"},
		"2.3": {"nfs.max_copy_rate_megabytes", "nfs.max_send_rate_megabytes"}, "2.4": perDisk, "2.5": perDisk, "2.6": perDisk,
	} {
		t.Run(release, func(t *testing.T) {
			b := newBed(t, 5)
			b.release(release, rates...)
			out, _, err := b.do(statusModule(), `{"nodes": `+b.nodes(5)+`}`)
			require.NoError(t, err)
			var status survey
			require.NoError(t, json.Unmarshal([]byte(out), &status))
			assert.Equal(t, "fake", status.ClusterName, "before 2.2 it is the last part of the place in ZooKeeper")
			assert.Equal(t, release+".0", status.Nodes[0].Version)
			assert.GreaterOrEqual(t, status.Nodes[0].Serving, 1)
			assert.Equal(t, "600000", status.Settings["assign_delay_ms"])
			out, _, err = b.do(shellModule(), b.shell("server_info -l "+fake.Replica(1)))
			require.NoError(t, err)
			assert.Contains(t, out, `"version":"`+release)

			_, changed, err := b.do(settingsModule(), holdArgs)
			require.NoError(t, err)
			assert.True(t, changed)
			_, changed, err = b.do(settingsModule(), holdArgs)
			require.NoError(t, err)
			assert.False(t, changed, "what is set reads back")
			_, _, err = b.do(settingsModule(), `{"settings": {"assign_secondary_black_list": "`+fake.Replica(5)+`"}}`)
			require.NoError(t, err)
			_, _, err = b.do(settingsModule(), `{"settings": {"assign_secondary_black_list": "clear"}}`)
			require.NoError(t, err)
			b.drained(1)
			_, _, err = b.do(closeModule(), node(1))
			require.NoError(t, err)
			_, _, err = b.do(stopCheckModule(), stop(1, ""))
			require.NoError(t, err)
			b.drainsWithoutPages(2, release)

			_, _, err = b.do(copyRateModule(), `{"megabytes": 100}`)
			if len(rates) == 0 {
				assert.ErrorContains(t, err, "knows no limit of the copy rate", "1.12 has none")
			} else {
				require.NoError(t, err)
				b.locked(func() { assert.Equal(t, "100", b.Nodes[0].Rates[rates[0]]) })
			}
			_, _, err = b.do(backupModule(), `{"table": "table1", "provider": "local", "poll": "10ms"}`)
			if !newerThan(release, 202) {
				assert.ErrorContains(t, err, "since 2.3; use pegasus_backup_policy")
			} else {
				assert.NoError(t, err)
			}
		})
	}
}

func newerThan(release string, number int) bool {
	var major, minor int
	_, err := fmt.Sscanf(release, "%d.%d", &major, &minor)
	return err == nil && major*100+minor > number
}

// drainsWithoutPages closes a node whose HTTP is switched off: there is the snapshot, up to 2.5.
func (b *bed) drainsWithoutPages(i int, release string) {
	b.t.Helper()
	_, _, err := b.do(settingsModule(), `{"settings": {"add_secondary_max_count_for_one_node": 20}}`)
	require.NoError(b.t, err)
	_, _, err = b.do(waitHealthyModule(), `{"system": "pegasus"}`)
	require.NoError(b.t, err)
	_, _, err = b.do(settingsModule(), holdArgs)
	require.NoError(b.t, err)
	b.drained(i)
	b.locked(func() { b.NoHTTP = true })
	defer b.locked(func() { b.NoHTTP = false })
	_, _, err = b.do(closeModule(), node(i))
	if release == "2.6" {
		var not *client.NotCountedError
		assert.ErrorAs(b.t, err, &not, "2.6 counts on its page only")
		return
	}
	require.NoError(b.t, err)
}

// asked forgets what was asked so far and gives what f asks for.
func (b *bed) asked(f func()) map[string]int {
	b.locked(func() { b.Asked = map[string]int{} })
	f()
	got := map[string]int{}
	b.locked(func() {
		for k, v := range b.Asked {
			got[k] = v
		}
	})
	return got
}

func TestALookAsksOnce(t *testing.T) {
	b := newBed(t, 4, 4, 4)
	c, err := client.New(b.Dial, b.Metas, client.Options{})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	_, err = c.Leader(t.Context())
	require.NoError(t, err)
	var v *client.View
	got := b.asked(func() { v, err = c.View(t.Context()) })
	require.NoError(t, err)
	delete(got, "RPC_CM_CLUSTER_INFO") // a standby may hear only now that a leader was looked for
	assert.Equal(t, map[string]int{"RPC_CM_LIST_NODES": 1, "RPC_CM_LIST_APPS": 1, "RPC_CM_QUERY_PARTITION_CONFIG_BY_INDEX": 3}, got)
	got = b.asked(func() { _, err = c.Again(t.Context(), v, func(t *client.TableView) bool { return t.Name == "table2" }) })
	require.NoError(t, err)
	delete(got, "RPC_CM_CLUSTER_INFO")
	assert.Equal(t, map[string]int{"RPC_CM_QUERY_PARTITION_CONFIG_BY_INDEX": 1}, got)
}

// TestDrainAsksLittle: a drain that waits for 1.5 s looks at most once a second, and between its first look and its
// last only at the table that has replicas on the node.
func TestDrainAsksLittle(t *testing.T) {
	b := newBed(t)
	for i := range 6 {
		b.AddTable(fmt.Sprintf("t%d", i), 4, 1) // one replica each: on nodes 1 to 4
	}
	b.locked(func() {
		for _, table := range b.Tables {
			if table.ID == 1 {
				p := &table.Partitions[0]
				p.MaxReplicaCount = 2
				p.Secondaries = []wire.Address{b.Nodes[4].Addr}
				b.Nodes[4].Replicas[p.PID] = wire.ReplicaSecondary
			}
			for i := range table.Partitions {
				if p := &table.Partitions[i]; p.Primary == b.Nodes[0].Addr && table.ID != 1 {
					p.Primary = b.Nodes[1].Addr
				}
			}
		}
		b.Stuck, b.OnLevel = true, func() { b.Stuck = true }
	})
	time.AfterFunc(1500*time.Millisecond, func() { b.locked(func() { b.Stuck = false }) })
	var err error
	got := b.asked(func() {
		_, _, err = b.do(migrateModule(), fmt.Sprintf(`{"node": %q, "round": "10s", "timeout": "20s"}`, fake.Replica(1)))
	})
	require.NoError(t, err)
	t.Logf("asked: %v", got)
	looks := got["RPC_CM_LIST_NODES"]
	assert.LessOrEqual(t, looks, 7, "one to propose, one a second while proposals are refused, one to prove the end")
	assert.LessOrEqual(t, got["RPC_CM_QUERY_PARTITION_CONFIG_BY_INDEX"], 6*looks+5)
	assert.Contains(t, b.notes.String(), "primaries leave: primaries 1 of 1, secondaries 0\n")
	assert.Contains(t, b.notes.String(), "primaries leave: primaries 0 of 1, secondaries 1 of 1\n")
}

// TestADrainThatWaitsAsksForItsTablesOnly: while the meta server has proposals to carry out, each poll is one request for
// each table that has replicas on the node, and every tenth poll looks at everything.
func TestADrainThatWaitsAsksForItsTablesOnly(t *testing.T) {
	b := newBed(t, 5, 5)
	b.AddTable("elsewhere", 1, 1) // on the first node
	b.locked(func() {
		b.Tables[2].Partitions[0].Primary = b.Nodes[3].Addr
		b.Idle = true
	})
	args := drainArgs{clusterArgs: clusterArgs{MetaServers: b.Metas, Timeout: time.Minute}, Node: fake.Replica(2), Round: 10 * time.Second}
	assert.Equal(t, time.Second, args.between(), "the time between two polls")
	s, err := open(&modules.Call{Host: b.host, Note: b.notes.add}, b.host, args.clusterArgs)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	d := newDrainer(s, args, drainStep{what: countPrimaries, plan: planMigration}, &drainOutput{})
	left, err := d.round(t.Context())
	require.NoError(t, err)
	require.Positive(t, left)
	b.locked(func() { require.Equal(t, left, b.Proposals) })
	var polls []map[string]int
	for range 2 * wholeLook {
		polls = append(polls, b.asked(func() { _, err = d.round(t.Context()) }))
		require.NoError(t, err)
	}
	waiting, whole := 0, 0
	for _, got := range polls {
		delete(got, "RPC_CM_CLUSTER_INFO") // a standby may hear only now that a leader was looked for
		switch got["RPC_CM_LIST_NODES"] {
		case 0:
			waiting++
			assert.Equal(t, map[string]int{"RPC_CM_QUERY_PARTITION_CONFIG_BY_INDEX": 2}, got)
		default:
			whole++
			assert.Equal(t, map[string]int{"RPC_CM_LIST_NODES": 1, "RPC_CM_LIST_APPS": 1, "RPC_CM_QUERY_PARTITION_CONFIG_BY_INDEX": 3}, got)
		}
	}
	assert.Equal(t, 2, whole)
	t.Logf("%d polls of 2 requests, %d of 5; 1 s apart", waiting, whole)
}

// TestALookAtAThousandPartitions on 20 nodes.
func TestALookAtAThousandPartitions(t *testing.T) {
	c := fake.New(t, 3, 20, time.Second)
	for i := range 10 {
		c.AddTable(fmt.Sprintf("t%d", i), 100, 3)
	}
	cl, err := client.New(c.Dial, c.Metas, client.Options{})
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	best := time.Hour
	for range 5 { // the machine may be busy with something else
		started := time.Now()
		v, err := cl.View(t.Context())
		require.NoError(t, err)
		require.Len(t, v.Tables, 10)
		best = min(best, time.Since(started))
	}
	t.Logf("one look: %s", best)
	assert.Less(t, best, 100*time.Millisecond)
}
