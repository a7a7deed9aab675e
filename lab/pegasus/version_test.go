package pegasus_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

func TestReleasesAnswerInTheirOwnWords(t *testing.T) {
	c := booted(t, shape{net: 22, block: 1, metas: 2, replicas: 3, scale: fast, version: "2.6.0-SNAPSHOT"})
	lead, node := c.leader(), c.replicas[0]
	const delay, flow = "meta.lb.assign_delay_ms", "meta.lb.add_secondary_enable_flow_control"
	for _, q := range []struct {
		to   *server
		args []string
		want string
	}{
		{lead, []string{delay}, "{\n  \"error\": \"ok\",\n  \"" + delay + "\": \"600000\"\n}"},
		{lead, []string{delay, "0"}, "{\n  \"error\": \"ok\"\n}"},
		{lead, []string{delay, "default"}, "{\n  \"error\": \"ok\",\n  \"" + delay + "\": 600000\n}"},
		{lead, []string{delay, "abc"}, "{\n  \"error\": \"ERR: invalid argument 'abc', the value is not acceptable\"\n}"},
		{lead, []string{delay, "1", "2"}, "{\n  \"error\": \"ERR: invalid arguments '1 2', only one argument is acceptable\"\n}"},
		{lead, []string{flow, "TRUE"}, "{\n  \"error\": \"ok\"\n}"},
		{lead, []string{flow}, "{\n  \"error\": \"ok\",\n  \"" + flow + "\": \"true\"\n}"},
		{lead, []string{flow, "maybe"}, "{\n  \"error\": \"ERR: invalid arguments, 'maybe' is not a boolean\"\n}"},
		{lead, []string{"meta.lb.assign_secondary_black_list", "10.0.0.1:34801"}, "{\n  \"error\": \"ok\"\n}"},
		{lead, []string{"meta.lb.assign_secondary_black_list"}, "{\n  \"assign_secondary_black_list\": \"10.0.0.1:34801\",\n  \"error\": \"ok\"\n}"},
		{lead, []string{"meta.lb.get_balance_operation_count", "detail"}, "{\n  \"copy_pri\": 0,\n  \"copy_sec\": 0,\n  \"move_pri\": 0,\n  \"total\": 0\n}"},
		{node, []string{"nfs.max_copy_rate_megabytes_per_disk", "50"}, "{\n  \"error\": \"ok\"\n}"},
		{node, []string{"replica.kill_partition", "77"}, "ERR_OBJECT_NOT_FOUND"},
		{node, []string{"flush-log"}, "Flush done."},
		{lead, []string{"no-such"}, "unknown command 'no-such'"},
	} {
		require.Equal(t, q.want, c.command(q.to, q.args[0], q.args[1:]...), q.args)
	}
	require.Contains(t, c.command(node, "server-info"), `"version": "2.6.0-SNAPSHOT"`)
	require.Contains(t, c.info("balance_operation_count"), `"copy_pri": `)
	metrics := httpGet(t, node.addr, "/metrics?types=server&metrics=total_replicas,opening_replicas,closing_replicas")
	require.Contains(t, metrics, `"name": "total_replicas"`)
	require.NotContains(t, metrics, "learning")
	require.Contains(t, httpGet(t, node.addr, "/perfCounter?name=x"), "service not found")
	names, err := filepath.Glob(filepath.Join(node.dir, "app/log/replica.log*"))
	require.NoError(t, err)
	require.Len(t, names, 2, "the file and the link to it")
}

func TestStandbysRedirectExceptWhereTheyDoNot(t *testing.T) {
	for i, q := range []struct {
		version string
		status  string
	}{{"2.3.0", "307 Temporary Redirect"}, {"2.4.0", "200 OK"}, {"2.6.0", "307 Temporary Redirect"}} {
		t.Run(q.version, func(t *testing.T) {
			c := boot(t, shape{net: 22, block: 2 + i, metas: 2, replicas: 0, scale: fast, version: q.version})
			lead := c.leader()
			standby := c.metas[0]
			if standby == lead {
				standby = c.metas[1]
			}
			c.until("the standby knows the leader", func() bool {
				return strings.Contains(raw(t, standby, "/meta/nodes?detail"), " 200 ") ||
					strings.Contains(raw(t, standby, "/meta/nodes?detail"), lead.addr.String())
			})
			answer := raw(t, standby, "/meta/nodes?detail")
			require.True(t, strings.HasPrefix(answer, "HTTP/1.1 "+q.status+"\r\n"), answer)
			if strings.HasPrefix(q.status, "307") {
				require.Contains(t, answer, "Content-Length: 0\r\nLocation: http://"+lead.addr.String()+"/meta/nodes?detail\r\n\r\n")
				return
			}
			require.Contains(t, answer, `"total_node_count":"0"`)
			require.Empty(t, raw(t, standby, "/meta/cluster"))
			<-standby.done
			require.Equal(t, 134, standby.code)
		})
	}
}

// raw is a whole HTTP answer.
func raw(t *testing.T, s *server, path string) string {
	conn, err := net.Dial("tcp", s.addr.String())
	require.NoError(t, err)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\n\r\n", path)
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	all, err := io.ReadAll(conn)
	require.NoError(t, err)
	return string(all)
}

func TestProceduresCameWithTheirReleases(t *testing.T) {
	c := booted(t, shape{net: 22, block: 5, metas: 1, replicas: 3, scale: fast, version: "2.0.0"})
	lead := c.leader().addr
	for what, err := range map[string]error{
		"rename":            ask(lead, &wire.RenameAppRequest{OldName: "temp", NewName: "x"}, &wire.RenameAppResponse{}),
		"max replica count": ask(lead, &wire.MaxReplicaCountRequest{AppName: "temp"}, &wire.MaxReplicaCountResponse{}),
		"one-shot backup":   ask(lead, &wire.StartBackupRequest{Provider: "local_service", AppID: 2}, &wire.StartBackupResponse{}),
	} {
		require.EqualError(t, err, "ERR_HANDLER_NOT_FOUND", what)
	}
	require.Equal(t, "", c.info("cluster_name"))
	require.Contains(t, httpGet(t, lead, "/updateConfig?min_live_node_count_for_unfreeze=2"), "service not found")
	require.Equal(t, "OK", c.command(c.replicas[0], "replica.nfs.max_copy_rate_megabytes", "50"))
	require.Equal(t, "unknown command 'nfs.max_copy_rate_megabytes_per_disk'", c.command(c.replicas[0], "nfs.max_copy_rate_megabytes_per_disk", "50"))
	require.Equal(t, "unknown command 'meta.lb.ignored_app_list'", c.command(c.leader(), "meta.lb.ignored_app_list", "get"))
	log, err := os.ReadFile(filepath.Join(c.leader().dir, "app/log/log.1.txt"))
	require.NoError(t, err)
	require.Equal(t, "D", string(log[0]))
}

func TestProposalsWithoutNamesKillServersOf26(t *testing.T) {
	c := booted(t, shape{net: 22, block: 6, metas: 1, replicas: 4, scale: fast, version: "2.6.0"})
	p := c.config("temp").Partitions[1]
	require.NotNil(t, p.HPPrimary)
	require.Len(t, p.HPSecondaries, 2)
	named := func(a wire.Address, h wire.HostPort) wire.Node { return wire.Node{Address: a, HostPort: &h} }
	down := wire.ProposalAction{Target: named(p.Primary, *p.HPPrimary), Node: named(p.Secondaries[0], p.HPSecondaries[0]), Type: wire.DowngradeToInactive}
	ballot := p.Ballot
	require.Equal(t, wire.OK, c.propose(p.PID, down))
	c.until("it is carried out", func() bool { return c.config("temp").Partitions[1].Ballot > ballot })
	c.until("healthy", c.healthy)
	p = c.config("temp").Partitions[1]
	require.Equal(t, wire.OK, c.propose(p.PID, action(p.Primary, p.Secondaries[0], wire.DowngradeToInactive)))
	victim := c.at(p.Primary)
	<-victim.done
	require.Equal(t, 134, victim.code)
	require.Contains(t, victim.out.String(), "hp_node")
}

func TestUpgradesThatDataForbidsAreRefused(t *testing.T) {
	c := booted(t, shape{net: 22, block: 7, metas: 1, replicas: 4, scale: fast, version: "2.5.0"})
	s := c.replicas[0]
	s.stop()
	c.version = "2.6.0"
	s.start()
	<-s.done
	require.Equal(t, 134, s.code, "there is a shared log")
	require.Contains(t, s.out.String(), "make sure you are upgrading from 2.5.0")
	c.version = "2.5.0"
	s.start()
	c.until("healthy", c.healthy)
	c.drain(s)
	require.Equal(t, "ERR_OK", c.command(s, "replica.kill_partition"))
	c.until("closed", func() bool { return strings.Contains(c.liveCount(s, "closing."), `"value":"0.00"`) })
	require.Equal(t, "Flush done.", c.command(s, "flush-log"))
	s.stop()
	c.version = "2.6.0"
	s.start()
	require.Equal(t, "OK", c.command(c.leader(), addMax, "100"))
	c.until("it serves in the next release", func() bool { _, q := c.counts(s); return q > 0 && c.healthy() })
	s.stop()
	c.version = "2.5.0"
	s.start()
	<-s.done
	require.Contains(t, s.out.String(), "cannot be read by an older release")
}
