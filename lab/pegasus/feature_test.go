package pegasus_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// rpc asks the leader.
func rpc[R wire.Reply](c *cluster, q wire.AdminRequest[R], into R) {
	c.t.Helper()
	require.NoError(c.t, ask(c.leader().addr, q, into))
}

func (c *cluster) status(table string) wire.AppStatus {
	var r wire.ListAppsResponse
	rpc(c, &wire.ListAppsRequest{}, &r)
	for _, a := range r.Apps {
		if a.Name == table {
			return a.Status
		}
	}
	return 0
}

func TestTablesGoThroughTheirStages(t *testing.T) {
	c := booted(t, shape{net: 21, block: 1, metas: 1, replicas: 4, scale: fast})
	require.Equal(t, "OK", c.command(c.leader(), "sim.fault", "ddl_ms=8000"))
	create := &wire.CreateAppRequest{AppName: "young",
		Options: wire.CreateAppOptions{PartitionCount: 16, ReplicaCount: 2, Type: "pegasus", Stateful: true}}
	lead := c.leader().addr
	made, dropped, recalled := make(chan wire.CreateAppResponse, 1), make(chan wire.DropAppResponse, 1), make(chan wire.RecallAppResponse, 1)
	go func() { var r wire.CreateAppResponse; _ = ask(lead, create, &r); made <- r }()
	c.until("CREATING", func() bool { return c.status("young") == wire.AppCreating })
	require.Equal(t, wire.BusyCreating, c.config("young").Err)
	var again wire.CreateAppResponse
	rpc(c, create, &again)
	require.Equal(t, wire.BusyCreating, again.Err)
	id := <-made
	require.Equal(t, wire.OK, id.Err)
	require.Equal(t, wire.AppAvailable, c.status("young"))
	c.until("healthy", func() bool {
		r := c.config("young")
		for _, p := range r.Partitions {
			if p.Primary == 0 || len(p.Secondaries) != 1 {
				return false
			}
		}
		return len(r.Partitions) == 16
	})
	go func() {
		var r wire.DropAppResponse
		_ = ask(lead, &wire.DropAppRequest{AppName: "young"}, &r)
		dropped <- r
	}()
	c.until("DROPPING", func() bool { return c.status("young") == wire.AppDropping })
	require.Equal(t, wire.BusyDropping, c.config("young").Err)
	require.Equal(t, wire.OK, (<-dropped).Err)
	require.Equal(t, wire.AppDropped, c.status("young"))
	go func() {
		var r wire.RecallAppResponse
		_ = ask(lead, &wire.RecallAppRequest{AppID: id.AppID, NewName: "old"}, &r)
		recalled <- r
	}()
	c.until("RECALLING", func() bool { return c.status("old") == wire.AppRecalling })
	require.Equal(t, wire.OK, (<-recalled).Err)
	require.Equal(t, wire.AppAvailable, c.status("old"))
}

func TestOneShotBackupIsRestored(t *testing.T) {
	c := booted(t, shape{net: 21, block: 2, metas: 1, replicas: 4, scale: fast})
	for i := range 20 {
		require.NoError(t, c.put(i, fmt.Sprint("value", i)))
	}
	path := "/daily"
	var begun wire.StartBackupResponse
	rpc(c, &wire.StartBackupRequest{Provider: "nosuch", AppID: 2}, &begun)
	require.Equal(t, wire.InvalidParameters, begun.Err)
	rpc(c, &wire.StartBackupRequest{Provider: "local_service", AppID: 2, Path: &path}, &begun)
	require.Equal(t, wire.OK, begun.Err, begun.Hint)
	var twice wire.StartBackupResponse
	rpc(c, &wire.StartBackupRequest{Provider: "local_service", AppID: 2}, &twice)
	require.Equal(t, wire.InvalidState, twice.Err, "one is running")
	var state wire.QueryBackupResponse
	c.until("the backup is done", func() bool {
		rpc(c, &wire.QueryBackupRequest{AppID: 2, ID: begun.ID}, &state)
		return state.Err == wire.OK && state.Backups[0].EndMS > 0
	})
	require.False(t, state.Backups[0].Failed)

	restore := &wire.RestoreRequest{Cluster: "test", Timestamp: *begun.ID, AppName: "temp", AppID: 2, NewName: "again",
		Provider: "local_service", Path: &path}
	var made wire.CreateAppResponse
	rpc(c, restore, &made)
	require.Equal(t, wire.OK, made.Err)
	var done wire.QueryRestoreResponse
	seen := map[int32]bool{}
	c.until("restored", func() bool {
		rpc(c, &wire.QueryRestoreRequest{AppID: made.AppID}, &done)
		for i, p := range done.Progress {
			require.Equal(t, wire.OK, done.Statuses[i])
			seen[p] = true
		}
		return len(done.Progress) == 8 && seen[wire.RestoreDone] && allDone(done.Progress)
	})
	require.Greater(t, len(seen), 2, "there was progress")
	old, again := c.config("temp"), c.config("again")
	require.Equal(t, old.PartitionCount, again.PartitionCount)
	for i := range 20 {
		v, err := c.getFrom("again", i)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("value", i), v)
	}
	require.Equal(t, "OK", c.command(c.leader(), "sim.fault", "backup_fails"))
	rpc(c, &wire.StartBackupRequest{Provider: "local_service", AppID: 2}, &begun)
	c.until("the backup fails", func() bool {
		rpc(c, &wire.QueryBackupRequest{AppID: 2, ID: begun.ID}, &state)
		return state.Backups[0].Failed
	})
	restore.NewName, restore.Timestamp = "never", 1
	rpc(c, restore, &made)
	require.Equal(t, wire.ObjectNotFound, made.Err)
}

func allDone(progress []int32) bool {
	for _, p := range progress {
		if p != wire.RestoreDone {
			return false
		}
	}
	return true
}

func TestPolicyOutlivesTheLeaderAndBacksUp(t *testing.T) {
	c := booted(t, shape{net: 21, block: 3, metas: 2, replicas: 3, scale: "0.01"})
	now := time.Now()
	add := &wire.AddBackupPolicyRequest{Name: "daily", Provider: "local_service", AppIDs: []int32{2}, Interval: 300, Keep: 2,
		StartTime: now.Format("15:04")}
	var added wire.AddBackupPolicyResponse
	rpc(c, add, &added)
	require.Equal(t, wire.OK, added.Err, added.Hint)
	rpc(c, add, &added)
	require.Equal(t, wire.InvalidParameters, added.Err, "it exists")
	old := c.leader()
	old.stop()
	c.until("another leads", func() bool { return c.leader() != old })
	var q wire.QueryBackupPolicyResponse
	query := &wire.QueryBackupPolicyRequest{Count: 5}
	if time.Now().Format("15:04") == now.Format("15:04") { // else the minute has passed
		c.until("two backups, the older ones forgotten", func() bool {
			rpc(c, query, &q)
			return len(q.Backups) == 1 && len(q.Backups[0]) == 2 && q.Backups[0][1].EndMS > 0
		})
	}
	yes := true
	var modified wire.ModifyBackupPolicyResponse
	c.until("disabled", func() bool {
		rpc(c, &wire.ModifyBackupPolicyRequest{Name: "daily", Disable: &yes, Add: []int32{1}}, &modified)
		return modified.Err == wire.OK
	})
	require.JSONEq(t, `{"daily":{"name":"daily","backup_provider_type":"local_service","backup_interval":"300","app_ids":"[1,2]","start_time":"`+
		now.Format("15:04")+`","status":"disabled","backup_history_count":"2"}}`, httpGet(t, c.leader().addr, "/meta/backup_policy?name=daily"))
	rpc(c, query, &q)
	require.Equal(t, []wire.BackupPolicy{{Name: "daily", Provider: "local_service", Interval: "300", AppIDs: []int32{1, 2}, Keep: 2,
		StartTime: now.Format("15:04"), Disabled: true}}, q.Policies)
}

func TestRecoveryMakesTablesOfWhatReplicaServersHold(t *testing.T) {
	c := booted(t, shape{net: 21, block: 4, metas: 1, replicas: 3, scale: fast})
	for i := range 10 {
		require.NoError(t, c.put(i, fmt.Sprint("value", i)))
	}
	c.metas[0].stop()
	c.template = strings.NewReplacer("recover_from_replica_server = false", "recover_from_replica_server = true",
		"/pegasus/%{cluster.name}", "/moved/%{cluster.name}").Replace(c.template)
	c.metas[0].start()
	m := c.metas[0]
	var info wire.ClusterInfoResponse
	c.until("it waits to be told", func() bool {
		return ask(m.addr, &wire.ClusterInfoRequest{}, &info) == nil && info.Err == wire.UnderRecovery
	})
	var nodes []wire.Address
	for _, s := range c.replicas {
		nodes = append(nodes, wire.AddressOf(s.addr))
	}
	nobody, err := wire.ParseAddress("127.0.61.99:34801")
	require.NoError(t, err)
	var r wire.RecoveryResponse
	require.NoError(t, ask(m.addr, &wire.RecoveryRequest{Nodes: append(nodes[:3:3], nobody)}, &r))
	require.Equal(t, wire.ErrorCode("ERR_TRY_AGAIN"), r.Err)
	require.Contains(t, r.Hint, "127.0.61.99:34801")
	require.NoError(t, ask(m.addr, &wire.RecoveryRequest{Nodes: append(nodes[:3:3], nobody), SkipBad: true}, &r))
	require.Equal(t, wire.OK, r.Err, r.Hint)
	c.until("healthy", c.healthy)
	for i := range 10 {
		v, err := c.get(i)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("value", i), v)
	}
	m.stop()
	m.start()
	<-m.done
	require.Equal(t, 134, m.code, "told to recover, and there are tables")
	require.Contains(t, m.out.String(), "find apps from remote storage")
}

// TestLivelyCopiesReplicasToANewNode has the new one on a host that has another:
// another port, another app_dir.
func TestLivelyCopiesReplicasToANewNode(t *testing.T) {
	c := booted(t, shape{net: 21, block: 5, metas: 1, replicas: 3, scale: fast})
	s := c.add("replica", 4, "127.0.61.54:34802")
	c.replicas = append(c.replicas, s)
	s.start()
	c.until("the new node is ALIVE", func() bool { return c.nodes()[s.addr.String()] == wire.NodeAlive })
	c.until("it is known what is to be done", func() bool {
		return !strings.Contains(c.command(c.leader(), "meta.lb.get_balance_operation_count"), "total=0")
	})
	p, q := c.counts(s)
	require.Zero(t, p+q, "steady copies nothing")
	var r wire.ControlMetaResponse
	rpc(c, &wire.ControlMetaRequest{Level: wire.LevelLively}, &r)
	c.until("replicas and primaries are spread", func() bool { p, q := c.counts(s); return p >= 2 && p+q >= 8 })
	c.until("nothing is left to do", func() bool {
		return c.healthy() && c.command(c.leader(), "meta.lb.get_balance_operation_count", "detail") == "move_pri=0,copy_pri=0,copy_sec=0,total=0"
	})
	require.NoError(t, c.put(1, "x"))
	require.Contains(t, httpGet(t, s.addr, "/perfCounter?name=replica*eon.replica_stub*replica(Count)"), `"value"`)
}

func TestNodesOutsideTheWhiteListMayNotJoin(t *testing.T) {
	c := boot(t, shape{net: 21, block: 6, metas: 1, replicas: 4, scale: fast, edit: func(s string) string {
		return strings.NewReplacer("enable_white_list = false", "enable_white_list = true", "replica_white_list =",
			"replica_white_list = 127.0.61.64:34801,127.0.61.65:34801,127.0.61.66:34801").Replace(s)
	}})
	c.until("healthy", c.healthy)
	require.Len(t, c.nodes(), 3)
	log, err := os.ReadFile(filepath.Join(c.replicas[3].dir, "app/log/log.1.txt"))
	require.NoError(t, err)
	require.Contains(t, string(log), "is not allowed")
}

func TestNumberOfReplicasIsChanged(t *testing.T) {
	c := booted(t, shape{net: 24, block: 2, metas: 1, replicas: 4, scale: fast})
	stop := c.writeAllTheTime()
	set := func(count int32) (r wire.SetMaxReplicaCountResponse) {
		rpc(c, &wire.SetMaxReplicaCountRequest{AppName: "temp", MaxReplicaCount: count}, &r)
		return r
	}
	all := func(members int) func() bool {
		return func() bool {
			for _, p := range c.config("temp").Partitions {
				if p.Primary == 0 || len(p.Secondaries) != members-1 || int(p.MaxReplicaCount) != members {
					return false
				}
			}
			return true
		}
	}
	require.Equal(t, wire.InvalidParameters, set(5).Err, "there are four nodes")
	require.Equal(t, wire.SetMaxReplicaCountResponse{Err: wire.OK, Before: 3}, set(2))
	c.until("two each", all(2))
	require.Equal(t, wire.SetMaxReplicaCountResponse{Err: wire.OK, Before: 2}, set(4))
	c.until("four each", all(4))
	var asked wire.MaxReplicaCountResponse
	rpc(c, &wire.MaxReplicaCountRequest{AppName: "temp"}, &asked)
	require.Equal(t, int32(4), asked.MaxReplicaCount)
	writes, failures := stop()
	require.Empty(t, failures)
	require.NotZero(t, writes)
}
