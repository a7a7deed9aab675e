package pegasus

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules/pegasus/internal/fake"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

func (b *bed) nodes(n int) string {
	var all []string
	for i := 1; i <= n; i++ {
		all = append(all, fmt.Sprintf("%q", fake.Replica(i)))
	}
	return "[" + strings.Join(all, ", ") + "]"
}

func TestStatusShowsWhatIsNotThere(t *testing.T) {
	b := newBed(t, 4)
	b.locked(func() {
		b.Nodes[4].Alive = false
		b.Dead[fake.Replica(5)] = true
		b.Mute[fake.Meta(3)] = true
		b.Tables[0].Partitions[1].Secondaries = b.Tables[0].Partitions[1].Secondaries[:1]
	})
	started := time.Now()
	raw, changed, err := b.do(statusModule(), fmt.Sprintf(`{"nodes": %s}`, strings.Replace(b.nodes(5), "]", `, "10.9.9.9:34801"]`, 1)))
	require.NoError(t, err)
	assert.False(t, changed)
	assert.Less(t, time.Since(started), surveyTimeout+5*time.Second, "a mute server must not hold everything up")
	var sv survey
	require.NoError(t, json.Unmarshal([]byte(raw), &sv))
	assert.Equal(t, fake.Meta(1), sv.Leader)
	assert.Equal(t, "down", sv.Metas[2].State)
	assert.Equal(t, "UNALIVE", sv.Nodes[4].Status)
	assert.Equal(t, -1, sv.Nodes[4].Serving)
	assert.Equal(t, "UNKNOWN", sv.Nodes[5].Status)
	require.Len(t, sv.Unhealthy, 1)
	assert.Equal(t, 1, sv.Unhealthy[0].Lacks)
	assert.Equal(t, 3, sv.Replication)
	assert.NotEmpty(t, sv.Missing)
}

// TestStatusSumsUpWhereItStopped: no two columns run together, and the server at which something stopped is marked.
func TestStatusSumsUpWhereItStopped(t *testing.T) {
	b := newBed(t, 4)
	b.locked(func() { b.Nodes[1].Alive = false })
	raw, _, err := b.do(statusModule(), fmt.Sprintf(`{"nodes": %s, "stopped_at": [%q]}`, b.nodes(5), fake.Replica(2)))
	require.NoError(t, err)
	var out struct{ Stdout, Summary string }
	require.NoError(t, json.Unmarshal([]byte(raw), &out))
	assert.Regexp(t, `(?m)^address +status +version +started +primaries +secondaries +open$`, out.Stdout)
	assert.NotContains(t, out.Stdout, stopMark)
	assert.Regexp(t, `^level steady; add_secondary_enable_flow_control \w+; add_secondary_max_count_for_one_node \d+; .*assign_delay_ms \d+`, out.Summary)
	assert.Regexp(t, `(?m)^10\.9\.1\.2:34801 +UNALIVE +2\.5\.0 +\S+ \S+ +\d+ +\d+ +\d+  <- it stopped here$`, out.Summary)
	assert.Regexp(t, `(?m)^10\.9\.1\.3:34801 +ALIVE +2\.5\.0 .*\d$`, out.Summary)
	assert.Regexp(t, `(?m)^10\.9\.0\.1:34601 +leader`, out.Summary)
	assert.Regexp(t, `not healthy: node 10\.9\.1\.2:34801 is UNALIVE$`, out.Summary)
}

func TestPreflight(t *testing.T) {
	tests := []struct {
		name    string
		args    string
		change  func(b *bed)
		fails   string // part of the error; empty: it may begin
		warns   string // part of the message
		plainly bool   // no finding and no plan at all
	}{
		{name: "a healthy cluster may be restarted", args: `"drained": true, "version": "2.5.0"`, plainly: true},
		{name: "another cluster's name", args: `"cluster_name": "other", "operation": "read"`, fails: `identity: the cluster is called`},
		{name: "a standby that is down", change: func(b *bed) { b.Dead[fake.Meta(2)] = true }, fails: "meta: meta server " + fake.Meta(2) + " cannot be reached"},
		{name: "who only reads is told", args: `"operation": "read"`, change: func(b *bed) { b.Dead[fake.Meta(2)] = true }, warns: "meta server " + fake.Meta(2)},
		{name: "somebody froze it", change: func(b *bed) { b.Level = wire.LevelFreezed }, fails: "level: the level is freezed"},
		{name: "it froze by itself", change: func(b *bed) { b.Freezed = true }, fails: "level: the cluster is frozen"},
		{name: "a node is down", change: func(b *bed) { b.Nodes[0].Alive = false }, fails: "nodes: replica server " + fake.Replica(1) + " is UNALIVE"},
		{name: "a node is alive and does not answer", change: func(b *bed) { b.Dead[fake.Replica(1)] = true }, fails: "nodes: replica server " + fake.Replica(1) + " is ALIVE, as it sends beacons, but does not answer"},
		{name: "one that hangs leaves", args: `"operation": "offline", "leaving": ["` + fake.Replica(1) + `"]`, change: func(b *bed) { b.Dead[fake.Replica(1)] = true }, warns: "which leaves, sends beacons but does not answer"},
		{name: "a node of the inventory is unknown", args: `"nodes": ["10.9.9.9:34801", ALL]`, fails: "does not know replica server 10.9.9.9:34801"},
		{name: "a node is not in the inventory", args: `"nodes": ["` + fake.Replica(1) + `"]`, fails: "alive but not in the inventory"},
		{name: "three at a time would freeze it", args: `"down": 3`, fails: "freeze: the cluster freezes while a replica server is down: 2 of 5"},
		{name: "drained it is only said", args: `"down": 3, "drained": true`, warns: "counts as frozen while a replica server is down"},
		{name: "too few stay", args: `"operation": "offline", "leaving": ["` + fake.Replica(1) + `","` + fake.Replica(2) + `","` + fake.Replica(3) + `"]`, fails: "freeze: 2 of 5"},
		{name: "a partition lacks a replica", change: func(b *bed) {
			p := &b.Tables[0].Partitions[0]
			p.Secondaries = p.Secondaries[:1]
		}, fails: "tables: table table1: 1 of 4 partitions lack replicas, 0 of them take no writes"},
		{name: "a table is being made", change: func(b *bed) { b.Tables[0].Status = wire.AppCreating }, fails: "tables: table table1 is CREATING"},
		{name: "one replica", change: func(b *bed) { b.AddTable("single", 2, 1) }, fails: "replication: table single has one replica"},
		{name: "one replica, accepted", args: `"accept": ["replication"]`, change: func(b *bed) { b.AddTable("single", 2, 1) }, warns: "replication: table single has one replica"},
		{name: "left over from an update", change: func(b *bed) { b.Settings[settingMaxCount] = "0" }, warns: "settings: no secondaries are added"},
		{name: "an older release", args: `"version": "2.4.0"`, fails: "version: 2.4.0 is older than 2.5.0"},
		{name: "the next release", args: `"version": "2.6.0-SNAPSHOT"`, plainly: true},
		{name: "a release too far", args: `"version": "2.6.0"`, change: func(b *bed) { b.Nodes[1].Version = "2.4.0" }, fails: "version: 2.6.0 can only be reached from 2.5"},
		{name: "an update half done", change: func(b *bed) { b.Nodes[1].Version = "2.4.0" }, warns: "servers run different versions: 2.4.0, 2.5.0"},
		{name: "a check that there is not", args: `"accept": ["replicas"]`, fails: `there is no check "replicas"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, 4)
			if tt.change != nil {
				if strings.Contains(tt.name, "one replica") { // AddTable locks for itself
					tt.change(b)
				} else {
					b.locked(func() { tt.change(b) })
				}
			}
			args := tt.args
			if !strings.Contains(args, `"nodes"`) {
				args = strings.TrimPrefix(args+`, "nodes": [ALL]`, ", ")
			}
			all := strings.Trim(b.nodes(5), "[]")
			p, err := b.propose(b.host, preflightModule(), "{"+strings.Replace(args, "ALL", all, 1)+"}")
			if err == nil && p.Do != nil {
				err = p.Do(t.Context(), b.host)
			}
			if tt.fails != "" {
				require.ErrorContains(t, err, tt.fails)
				return
			}
			require.NoError(t, err)
			assert.Contains(t, p.Message, tt.warns)
			assert.Empty(t, p.Diff)
			if tt.plainly {
				assert.Empty(t, p.Message)
			}
		})
	}
}
