package pegasus

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/modules/pegasus/internal/fake"
)

func TestDocuments(t *testing.T) {
	for _, m := range All() {
		modtest.Documented(t, m)
		var tasks []map[string]yaml.Node
		require.NoError(t, yaml.Unmarshal([]byte(modtest.Example(m)), &tasks), m.Name)
		for _, task := range tasks {
			node := task[m.Name]
			require.Equal(t, yaml.MappingNode, node.Kind, m.Name)
			for i := 0; i < len(node.Content); i += 2 {
				_, ok := m.Args.Lookup(node.Content[i].Value)
				assert.True(t, ok, "%s has no argument %s", m.Name, node.Content[i].Value)
			}
		}
	}
}

func TestShellReads(t *testing.T) {
	b := newBed(t, 5, 2)
	for cmd, want := range map[string]string{
		"cluster_info":                           `"primary_meta_server":"` + fake.Meta(1) + `"`,
		"nodes -d":                               `{"address":"` + fake.Replica(1) + `","status":"ALIVE","replica_count":4,"primary_count":2,"secondary_count":2}`,
		"nodes -s unalive":                       `"nodes":[]`,
		"ls":                                     `"app_name":"table2"`,
		"ls -a -d":                               `"health":{"partition_count":5,"fully_healthy":5,"unhealthy":0,"write_unhealthy":0,"read_unhealthy":0}`,
		"app table1 -d":                          `{"pidx":0,"ballot":3,"replica_count":3,"primary":"` + fake.Replica(1) + `"`,
		"get_meta_level":                         `"level":"steady"`,
		"get_app_envs table1":                    `"envs":{}`,
		"get_replica_count table1":               `"count":3`,
		"server_info":                            `"version":"2.5.0"`,
		"server_info -l " + fake.Meta(2):         `"started":"2026-01-01 09:00:00"`,
		"remote_command meta.lb.assign_delay_ms": `"value":"600000"`,
		"remote_command -t meta-server meta.lb.add_secondary_enable_flow_control": `"value":"true"`,
		"remote_command -t replica-server perf-counters '.*replica(Count)'":       `"ok":true`,
	} {
		t.Run(cmd, func(t *testing.T) {
			out, changed, err := b.do(shellModule(), b.shell(cmd))
			require.NoError(t, err)
			assert.False(t, changed)
			assert.Contains(t, out, want)
		})
	}
	r := b.converge(shellModule(), b.shell("nodes -d"), false)
	require.NoError(t, r.Err)
}

// TestShellPrintsAsTheShell compares with the recorded form of the real one, blanks at line ends aside.
func TestShellPrintsAsTheShell(t *testing.T) {
	b := newBed(t, 5)
	p, err := b.propose(b.host, shellModule(), b.shell("nodes -d"))
	require.NoError(t, err)
	assert.Equal(t, `[details]
address         status    replica_count  primary_count  secondary_count
10.9.1.1:34801  ALIVE                 3              1                2
10.9.1.2:34801  ALIVE                 3              1                2
10.9.1.3:34801  ALIVE                 3              1                2
10.9.1.4:34801  ALIVE                 3              1                2
10.9.1.5:34801  ALIVE                 3              1                2

[summary]
total_node_count    : 5
alive_node_count    : 5
unalive_node_count  : 0`, p.Output.(*shellOutput).Stdout)
	p, err = b.propose(b.host, shellModule(), b.shell("ls -d"))
	require.NoError(t, err)
	assert.Contains(t, p.Output.(*shellOutput).Stdout, `[healthy_info]
app_id  app_name  partition_count  fully_healthy  unhealthy  write_unhealthy  read_unhealthy
1       table1    5                5              0          0                0

[summary]
total_app_count            : 1
fully_healthy_app_count    : 1
unhealthy_app_count        : 0
write_unhealthy_app_count  : 0
read_unhealthy_app_count   : 0`)
}

func TestShellChanges(t *testing.T) {
	b := newBed(t, 5)
	for _, c := range []struct {
		cmd     string
		repeats bool
	}{
		{"set_meta_level lively", false},
		{"remote_command -t meta-server meta.lb.assign_delay_ms 3600000", false},
		{"remote_command -t meta-server meta.lb.assign_delay_ms DEFAULT", true},
		{"remote_command -l " + fake.Replica(1) + " flush-log", true},
		{"create temp -p 8 -r 3 -e a=b", false},
		{"set_app_envs table1 rocksdb.usage_scenario normal", true},
		{"drop temp -r 60", false},
		{"balance -g 1.0 -p move_pri -f " + fake.Replica(1) + " -t " + fake.Replica(2), false},
		{"remote_command meta.lb.add_secondary_max_count_for_one_node 0", false},
		{"propose -g 1.1 -p DOWNGRADE_TO_INACTIVE -t " + fake.Replica(2) + " -n " + fake.Replica(3), false},
	} {
		t.Run(c.cmd, func(t *testing.T) {
			r := b.converge(shellModule(), b.shell(c.cmd), c.repeats)
			require.NoError(t, r.Err)
			assert.NotEmpty(t, r.Diff)
		})
	}
	b.Mu.Lock()
	b.Settings[settingMaxCount] = "20"
	b.Mu.Unlock()
	require.Eventually(t, func() bool {
		b.Mu.Lock()
		defer b.Mu.Unlock()
		return len(b.Tables[0].Partitions[1].Secondaries) == 2
	}, 2*time.Second, round)
	_, _, err := b.do(shellModule(), b.shell("propose -g 1.1 -p DOWNGRADE_TO_INACTIVE -t "+fake.Replica(2)+" -n "+fake.Replica(3)))
	assert.ErrorContains(t, err, "undone")
	for _, cmd := range []string{"set_app_envs table1 rocksdb.usage_scenario normal", "set_meta_level lively", "drop temp", "del_app_envs table1 nosuch",
		"balance -g 1.0 -p move_pri -f " + fake.Replica(1) + " -t " + fake.Replica(2)} {
		_, changed, err := b.do(shellModule(), b.shell(cmd))
		require.NoError(t, err)
		assert.False(t, changed, cmd)
	}
	_, changed, err := b.do(shellModule(), b.shell("recall 2 again"))
	require.NoError(t, err)
	assert.True(t, changed)
	_, _, err = b.do(shellModule(), b.shell("rename again temp"))
	require.NoError(t, err)
	out, _, err := b.do(shellModule(), b.shell("ls"))
	require.NoError(t, err)
	assert.Contains(t, out, `"temp"`)
}

func TestShellRefuses(t *testing.T) {
	b := newBed(t, 5)
	for cmd, want := range map[string]string{
		"":                                     "empty",
		"nodes 'x":                             "quotes",
		"bogus":                                "there is no command",
		"nodes --nosuch":                       "no option --nosuch",
		"nodes extra":                          `"extra" is too much`,
		"app":                                  "missing",
		"app nosuch":                           "there is no table nosuch",
		"set_meta_level bogus":                 "there is no level",
		"remote_command":                       "missing",
		"remote_command -t nosuch server-info": "no node type",
		"remote_command -l localhost:1 help":   "no IPv4 address",
		"remote_command -l 10.9.9.9:1 help":    "cannot be reached",
		"remote_command bogus-command":         "",
		"remote_command -t replica-server meta.lb.assign_delay_ms":                    "command of meta servers",
		"propose -g 1 -p ADD_SECONDARY -t a -n b":                                     "no partition",
		"propose -g 1.0 -p BOGUS -t a -n b":                                           "no type of proposal",
		"balance -g 1.0 -p move_pri -f 127.0.0.1:1 -t 127.0.0.1:2":                    "no replica server",
		"balance -g 9.0 -p move_pri -f " + fake.Replica(1) + " -t " + fake.Replica(2): "no partition 9.0",
		"create x -p 0":         "partition_count",
		"create table1 -p 9":    "cannot be changed",
		"create table1 -p 5 -f": "exists",
		"recall 9":              "no table with the id 9",
		"recall x":              "no table's id",
		"rename nosuch x":       "no table nosuch",
		"set_app_envs table1 a": "pairs",
	} {
		_, _, err := b.do(shellModule(), b.shell(cmd))
		if assert.Error(t, err, cmd) {
			assert.Contains(t, err.Error(), want, cmd)
		}
	}
	_, _, err := b.do(shellModule(), b.shell("remote_command meta.lb.assign_delay_ms abc"))
	assert.ErrorContains(t, err, "invalid arguments", "what the server refuses is an error")
}

// TestLeaderOnlyCommands go to the leader alone, wherever it is, and follow it.
func TestLeaderOnlyCommands(t *testing.T) {
	b := newBed(t, 3)
	b.Failover(fake.Meta(3))
	out, _, err := b.do(shellModule(), b.shell("remote_command -t meta-server meta.lb.assign_delay_ms 7"))
	require.NoError(t, err)
	assert.Contains(t, out, `"leader":"`+fake.Meta(3)+`"`)
	for _, c := range b.Commands {
		assert.True(t, strings.HasPrefix(c, fake.Meta(3)), c)
	}
	// Asked for by name, a standby's refusal is an error.
	_, _, err = b.do(shellModule(), b.shell("remote_command -l "+fake.Meta(1)+" meta.lb.assign_delay_ms"))
	assert.ErrorContains(t, err, "unknown command")
}

func TestNoLeaderIsAnError(t *testing.T) {
	b := newBed(t, 3)
	b.Mu.Lock()
	b.Leader = ""
	b.Mu.Unlock()
	started := time.Now()
	_, _, err := b.do(shellModule(), `{"cmd": "nodes -d", "timeout": "1s"}`)
	assert.ErrorContains(t, err, "no meta server led")
	assert.Less(t, time.Since(started), 5*time.Second)
}
