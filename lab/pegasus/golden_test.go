package pegasus

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/pegasus/internal/config"
	"github.com/pegbook/pegbook/lab/pegasus/internal/meta"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
	"github.com/pegbook/pegbook/lab/pegasus/internal/release"
	"github.com/pegbook/pegbook/lab/pegasus/internal/replica"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// exchange is one recorded request and answer of a real 2.5.0 cluster
// (facts/pegasus-wire). The simulator, put into the state the real server was
// in, must give the same bytes.
type exchange struct {
	Name, Code, Role, Address, Outcome, Request, Response, Note string

	t    *testing.T
	want *wire.Answer // nil when it speaks RDSN
}

// frames are the recorded exchanges that are one request and one answer.
func frames(t *testing.T) []*exchange {
	t.Helper()
	f, err := os.Open("../../modules/pegasus/wire/testdata/frames.jsonl")
	require.NoError(t, err)
	defer f.Close()
	var out []*exchange
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var x exchange
		if json.Unmarshal(lines.Bytes(), &x) == nil && x.Outcome == "response" && x.Response != "" {
			out = append(out, &x)
		}
	}
	require.NoError(t, lines.Err())
	return out
}

// notModelled are recorded answers that say something the simulator has no
// counterpart of, with the reason.
func notModelled() map[string]string {
	return map[string]string{
		"raw-query_app_info":                        "in the order of a hash table",
		"raw-cli-server_stat-replica":               "values of a real storage engine",
		"shell-server_stat-cli-replica-1":           "values of a real storage engine",
		"shell-server_stat-cli-leader-1":            "values and counters of a real storage engine",
		"shell-server_stat-cli-standby-1":           "counters of a real storage engine",
		"raw-query_replica_info":                    "decrees of a real log",
		"raw-query_replica_info-no-arg":             "decrees of a real log",
		"raw-query_replica_info-other-node-address": "decrees of a real log",
		"raw-query_replica_info-during-kill":        "decrees of a real log",
	}
}

// volatile is what no two answers share: how replicas spread over nodes, and
// what a balancer would do about it.
var volatile = regexp.MustCompile(`\d\.\d\d|move_pri=.*?total=\d`)

func TestRecordedAnswers(t *testing.T) {
	skip := notModelled()
	seen := 0
	line := func(name, result, how string) {
		if *printTable {
			fmt.Printf("%-66s %-8s %s\n", "wire "+name, result, how)
		}
	}
	for _, x := range frames(t) {
		if why, ok := skip[x.Name]; ok {
			line(x.Name, "-", "not compared: "+why)
			delete(skip, x.Name)
			continue
		}
		seen++
		same := t.Run(x.Name, func(t *testing.T) {
			x.t = t
			raw, err := hex.DecodeString(x.Response)
			require.NoError(t, err)
			if !bytes.HasPrefix(raw, []byte("RDSN")) {
				x.want, err = wire.ReadAnswer(bytes.NewReader(raw))
				require.NoError(t, err)
			}
			p := x.server()
			request, err := hex.DecodeString(x.Request)
			require.NoError(t, err)
			in, err := wire.ReadIncoming(bufio.NewReader(bytes.NewReader(request)), wire.AddressOf(p.self))
			require.NoError(t, err)
			got := p.answer(in)
			require.Equal(t, hex.Dump(volatile.ReplaceAll(raw, []byte("#.##"))), hex.Dump(volatile.ReplaceAll(got, []byte("#.##"))))
		})
		line(x.Name, map[bool]string{true: "ok", false: "DIFFERS"}[same], "byte for byte, the balancer's figures masked")
	}
	require.Greater(t, seen, 200, "most of the recordings are single exchanges")
	if *printTable {
		fmt.Printf("\n%d exchanges on the wire compare; the others recorded are no single request and answer\n", seen)
	}
	require.Empty(t, skip, "listed as not modelled, but not recorded")
}

// server builds the process that was asked, without a network.
func (x *exchange) server() *process {
	life, die := context.WithCancelCause(x.t.Context())
	x.t.Cleanup(func() { die(exit{0}) })
	dir := x.t.TempDir()
	path := filepath.Join(dir, "config.ini")
	require.NoError(x.t, os.WriteFile(path, []byte(onebox(dir)), 0o644))
	c, err := config.Load(path, "0.001")
	require.NoError(x.t, err)
	_, err = c.ParseMetas()
	require.NoError(x.t, err)
	role, _, _ := strings.Cut(x.Role, " ")
	_, err = c.ParseDataDirs(role)
	require.NoError(x.t, err)
	p := &process{config: c, role: role, of: release.R25, start: x.started(), life: life, die: die,
		log: openLog(filepath.Join(dir, "log"), role, release.R25, x.t.Output()), open: map[io.Closer]bool{}}
	x.t.Cleanup(p.log.Close)
	p.Version = Version{Number: "2.5.0", Commit: "0ca31b70eac7321bb17fb034105695597245d47b"}
	require.NoError(x.t, p.self.UnmarshalText([]byte(x.Address)))
	p.phase.Store(ready)
	switch role {
	case "meta":
		p.actor = x.meta(p)
	case "replica":
		p.actor = x.replica(p)
	default:
		p.actor = newCollector(p)
	}
	if strings.Contains(x.Response, hex.EncodeToString([]byte("ERR_HANDLER_NOT_FOUND"))) && strings.Contains(x.Role, "started") ||
		strings.Contains(x.Name, "failover") && strings.Contains(x.Name, "handler") || x.Role == "replica (just started)" {
		p.phase.Store(noHandler)
	}
	return p
}

func onebox(dir string) string {
	return `[core]
data_dir = ` + dir + `
[meta_server]
server_list = 127.0.0.1:34601,127.0.0.1:34602,127.0.0.1:34603
cluster_root = /pegasus/onebox
add_secondary_enable_flow_control = true
add_secondary_max_count_for_one_node = 20
[replication]
cluster_name = onebox
[zookeeper]
hosts_list = 127.0.0.1:2181
[simulator]
learn_ms = 0
`
}

// started reads the start time out of an answer that has one.
func (x *exchange) started() time.Time {
	raw, _ := hex.DecodeString(x.Response)
	if _, text, ok := strings.Cut(string(raw), "Started at "); ok {
		at, err := time.ParseInLocation("2006-01-02 15:04:05", text[:19], time.Local)
		require.NoError(x.t, err)
		return at
	}
	return time.Now()
}

// memStore is a Store that starts with given tables.
type memStore struct {
	tables []meta.Table
	parts  map[int32][]peer.Config
}

func (m *memStore) Load(context.Context) ([]meta.Table, map[int32][]peer.Config, error) {
	return m.tables, m.parts, nil
}
func (m *memStore) Create(context.Context, meta.Table, []peer.Config) error { return nil }
func (m *memStore) SetTable(context.Context, meta.Table) error              { return nil }
func (m *memStore) SetPartition(context.Context, peer.Config) error         { return nil }
func (m *memStore) Policies(context.Context) ([]meta.Policy, error)         { return nil, nil }
func (m *memStore) SetPolicy(context.Context, meta.Policy) error            { return nil }

func (m *memStore) add(t meta.Table, parts ...peer.Config) {
	for i := len(parts); i < int(t.Partitions); i++ {
		parts = append(parts, peer.Config{PID: peer.GPID{App: t.ID, Pidx: int32(i)}, MaxReplicas: 3, Ballot: 3,
			Primary: nodeAddr(1 + i%5), Secondaries: []peer.Addr{nodeAddr(1 + (i+1)%5), nodeAddr(1 + (i+2)%5)}})
	}
	m.tables = append(m.tables, t)
	m.parts[t.ID] = parts
}

func nodeAddr(i int) peer.Addr {
	var a peer.Addr
	if err := a.UnmarshalText([]byte("127.0.0.1:3480" + string(rune('0'+i)))); err != nil {
		panic(err)
	}
	return a
}

func table(id int32, name string, partitions int32) meta.Table {
	return meta.Table{Status: meta.Available, Type: "pegasus", Name: name, ID: id, Partitions: partitions, Stateful: true,
		Replicas: 3, Envs: map[string]string{}, Init: partitions}
}

func (x *exchange) meta(p *process) *metaRole {
	m := &metaRole{p: p, percentage: p.config.LivePercentage, resign: make(chan struct{}, 1)}
	switch {
	case strings.Contains(x.Role, "failover"):
		m.activating = true
	case strings.HasPrefix(x.Role, "meta (leader)"):
		m.state = x.leader(p)
	default:
		m.leader = x.namedLeader()
	}
	return m
}

// namedLeader is the leader that a standby's recorded answer names.
func (x *exchange) namedLeader() peer.Addr {
	if x.want == nil {
		raw, _ := hex.DecodeString(x.Response)
		if i := bytes.LastIndex(raw, []byte{0x7f, 0, 0, 1}); i > 192 {
			return addrPort(wire.Address(uint64(0x7f000001)<<32 | uint64(raw[i+4])<<24 | uint64(raw[i+5])<<16 | 1))
		}
		return peer.Addr{}
	}
	var r wire.QueryConfigResponse
	if x.Code == string(wire.CodeQueryConfig) && x.want.Decode(&r) == nil && len(r.Partitions) > 0 {
		return addrPort(r.Partitions[0].Primary)
	}
	return peer.Addr{}
}

// leader is a State such as the real leader's was when it was asked.
func (x *exchange) leader(p *process) *meta.State {
	store := &memStore{parts: map[int32][]peer.Config{}}
	x.tables(store)
	recorded := time.Unix(1795296000, 0) // within every recorded table's life
	s, err := meta.Open(x.t.Context(), meta.Options{Config: p.config, Self: p.self, Store: store, Log: p.log.Line,
		Now: func() time.Time { return recorded }, Send: func(peer.Addr, peer.Proposal) {}})
	require.NoError(x.t, err)
	for i := 1; i <= 5; i++ {
		require.True(x.t, s.Beacon(peer.Beacon{From: nodeAddr(i), Start: 1}))
	}
	x.tune(p, s)
	return s
}

// tune sets what earlier requests of the recorded session had set.
func (x *exchange) tune(p *process, s *meta.State) {
	name, q := x.Name, x.request()
	switch q := q.(type) {
	case *wire.ControlMetaRequest:
		var r wire.ControlMetaResponse
		x.answer(&r)
		s.Control(int32(r.OldLevel))
	case *wire.CreateAppRequest:
		if strings.Contains(name, "freezed") {
			s.Control(meta.Freezed)
		}
	case *wire.ProposeRequest:
		if strings.Contains(name, "while-pending") {
			require.Equal(x.t, meta.OK, s.Propose(peer.GPID{App: q.PID.App, Pidx: q.PID.Index},
				[]meta.Action{{Target: nodeAddr(1), Node: nodeAddr(2), Type: 6}}, false))
		}
	case *wire.CommandRequest:
		var r wire.CommandResponse
		x.answer(&r)
		if len(q.Arguments) == 0 && strings.HasPrefix(q.Command, "meta.lb.") {
			s.Command(q.Command, []string{r.Text})
		}
		x.counters(p, r.Text)
	}
}

// counters makes the snapshot that a recorded perf-counters answer shows.
func (x *exchange) counters(p *process, text string) {
	var shown struct {
		Timestamp int64
		Counters  []struct {
			Name  string
			Value float64
		}
	}
	if json.Unmarshal([]byte(text), &shown) != nil {
		return
	}
	p.counters.at = time.Unix(shown.Timestamp, 0)
	p.counters.list = []counter{{name: "another", value: 1}}
	for _, c := range shown.Counters {
		p.counters.list = append(p.counters.list, counter{name: c.Name, value: c.Value})
	}
}

func (x *exchange) request() wire.Request {
	raw, err := hex.DecodeString(x.Request)
	require.NoError(x.t, err)
	in, err := wire.ReadIncoming(bufio.NewReader(bytes.NewReader(raw)), 0)
	require.NoError(x.t, err)
	return in.Request
}

// answer decodes the recorded answer.

func (x *exchange) answer(into wire.Reply) {
	if x.want != nil {
		require.NoError(x.t, x.want.Decode(into))
		return
	}
	raw, err := hex.DecodeString(x.Response)
	require.NoError(x.t, err)
	body := raw[192:] // field 0, value, stop: the THFT result without its message
	frame := thftFrame(body)
	a, err := wire.ReadAnswer(bytes.NewReader(frame))
	require.NoError(x.t, err)
	require.NoError(x.t, a.Decode(into))
}

// thftFrame wraps a result as THFT does.
func thftFrame(body []byte) []byte {
	head := append([]byte{0, 0, 0, 6}, "ERR_OK"...)
	head = append(head, 0x80, 1, 0, 2, 0, 0, 0, 5, 'A', '_', 'A', 'C', 'K', 0, 0, 0, 1)
	n := 4 + len(head) + len(body)
	return append(append([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, head...), body...)
}

// tables puts the tables into the store that the exchange needs.
func (x *exchange) tables(store *memStore) {
	switch q := x.request().(type) {
	case *wire.ListAppsRequest:
		var r wire.ListAppsResponse
		x.answer(&r)
		for _, a := range r.Apps {
			store.add(fromApp(a))
		}
		if q.Status != wire.AppAny { // one that must be left out
			other := table(90, "other", 1)
			other.Status = 5
			if q.Status != wire.AppAvailable {
				other.Status = meta.Available
			}
			store.add(other)
		}
	case *wire.QueryConfigRequest:
		x.queried(store, q)
	case *wire.RecallAppRequest:
		x.recalled(store, q)
	case *wire.CreateAppRequest:
		x.created(store, q)
	default:
		x.standard(store)
	}
}

// standard is what the recorded cluster had for most of the time.
func (x *exchange) standard(store *memStore) {
	store.add(table(1, "stat", 4))
	store.add(table(2, "temp", 8))
	w := table(3, "wiretest", 4)
	if strings.Contains(x.Name, "env-del") && !strings.Contains(x.Name, "absent") || strings.Contains(x.Name, "go-update_app_env-leader-2") ||
		strings.Contains(x.Name, "shell-envs-update_app_env-leader-2") {
		w.Envs["default_ttl"] = "0"
	}
	if strings.Contains(x.Name, "clear-prefix") {
		w.Envs["replica.slow_query_threshold"] = "1000"
	}
	if q, ok := x.request().(*wire.RenameAppRequest); !ok || q.NewName != w.Name {
		store.add(w)
	}
	for _, name := range []string{"wiretest0", "wiretest_go", "wiretest_sh", "wiretest_recalled", "wiretest_renamed", "wiretest_x"} {
		if !strings.Contains(x.Name, "again") && !strings.Contains(x.Name, "missing") && x.mentions(name) {
			store.add(table(int32(10+len(store.tables)), name, 4))
		}
	}
}

// mentions tells whether a request acts on a table of that name.
func (x *exchange) mentions(name string) bool {
	switch q := x.request().(type) {
	case *wire.DropAppRequest:
		return q.AppName == name
	case *wire.RenameAppRequest:
		return q.OldName == name
	}
	return false
}

func (x *exchange) queried(store *memStore, q *wire.QueryConfigRequest) {
	var r wire.QueryConfigResponse
	x.answer(&r)
	if r.Err != wire.OK {
		x.standard(store)
		return
	}
	t := table(r.AppID, q.AppName, r.PartitionCount)
	parts := make([]peer.Config, r.PartitionCount)
	for i := range parts {
		parts[i] = peer.Config{PID: peer.GPID{App: r.AppID, Pidx: int32(i)}}
	}
	for _, c := range r.Partitions {
		parts[c.PID.Index] = peer.Config{PID: gpid(c.PID), Ballot: c.Ballot, MaxReplicas: c.MaxReplicaCount, Primary: addrPort(c.Primary),
			Secondaries: addrPorts(c.Secondaries), LastDrops: addrPorts(c.LastDrops), Committed: c.LastCommittedDecree, Flags: c.Flags}
	}
	store.add(t, parts...)
}

func (x *exchange) recalled(store *memStore, q *wire.RecallAppRequest) {
	var r wire.RecallAppResponse
	x.answer(&r)
	gone := table(q.AppID, "gone", 4)
	switch {
	case r.Err == wire.OK:
		gone = fromApp(r.Info)
		gone.Status = meta.Dropped
		if q.NewName != "" {
			gone.Name = "before"
		}
		store.add(gone)
		return
	case r.Err == wire.AppNotExist:
		x.standard(store)
		return
	case strings.Contains(x.Name, "name-taken"):
		store.add(table(80, q.NewName, 4))
		gone.Name = "before"
	}
	if r.Err != wire.AppExist {
		gone.Status, gone.Expire, gone.DroppedAt = meta.Dropped, time.Now().Unix()+1000, time.Now().Unix()
	}
	store.add(gone)
}

func (x *exchange) created(store *memStore, q *wire.CreateAppRequest) {
	var r wire.CreateAppResponse
	x.answer(&r)
	switch {
	case strings.Contains(x.Name, "exists"):
		o := q.Options
		t := table(cmp.Or(r.AppID, 4), q.AppName, o.PartitionCount)
		if strings.Contains(x.Name, "other-options") {
			t.Partitions++
		}
		store.add(t)
	case r.AppID > 1:
		store.add(table(r.AppID-1, "before", 4))
	default:
		x.standard(store)
	}
}

func fromApp(a wire.AppInfo) meta.Table {
	return meta.Table{Status: int32(a.Status), Type: a.Type, Name: a.Name, ID: a.ID, Partitions: a.PartitionCount, Envs: a.Envs,
		Stateful: a.Stateful, Replicas: a.MaxReplicaCount, Expire: a.ExpireSecond, Created: a.CreateSecond, DroppedAt: a.DropSecond,
		Init: a.InitPartitionCount}
}

func addrPorts(list []wire.Address) []peer.Addr {
	out := []peer.Addr{}
	for _, a := range list {
		out = append(out, addrPort(a))
	}
	return out
}

// replica is a replica server that has, or has not, the partition asked for.
func (x *exchange) replica(p *process) *replicaRole {
	r := &replicaRole{p: p, client: peer.NewClient(p.self)}
	r.stub = replica.New(replica.Options{Config: p.config, Self: p.self, Start: p.start, Client: r.client, Log: p.log.Line,
		Send: func(peer.Addr, []byte) {}, Abort: func(why string) { x.t.Error(why) }, Rate: func() int64 { return 500 }})
	require.NoError(x.t, r.stub.Load(x.t.Context()))
	r.stub.Acked(peer.BeaconAck{From: p.config.Metas[0], Sent: time.Now().UnixNano(), Master: true, Allowed: true})
	if cmd, ok := x.request().(*wire.CommandRequest); ok && !strings.Contains(x.Role, "started") {
		var a wire.CommandResponse
		x.answer(&a)
		x.counters(p, a.Text)
		if cmd.Command == "replica.kill_partition" && a.Text == "ERR_OK" {
			x.hold(r, peer.GPID{App: 3, Pidx: 2}, replica.Secondary, nil)
		}
		return r
	}
	raw, err := hex.DecodeString(x.Request)
	require.NoError(x.t, err)
	in, err := wire.ReadIncoming(bufio.NewReader(bytes.NewReader(raw)), 0)
	require.NoError(x.t, err)
	code := wire.OK
	if x.want != nil {
		code = x.want.Err
	} else if b, err := hex.DecodeString(x.Response); err == nil {
		code = wire.ErrorCode(strings.TrimRight(string(b[136:184]), "\x00"))
	}
	switch {
	case !in.Data() || code == wire.ObjectNotFound:
	case code == wire.InvalidState:
		x.hold(r, gpid(in.PID), replica.Secondary, in)
	default:
		x.hold(r, gpid(in.PID), replica.Primary, in)
	}
	return r
}

// hold gives the server a replica in a role, with the data the answer shows.
func (x *exchange) hold(r *replicaRole, pid peer.GPID, role int32, in *wire.Incoming) {
	t := peer.Table{ID: pid.App, Name: "wiretest", Partitions: 4, Replicas: 1}
	c := peer.Config{PID: pid, MaxReplicas: 1, Primary: r.p.self}
	if role == replica.Secondary {
		c.Primary, c.Secondaries = nodeAddr(9), []peer.Addr{r.p.self}
	}
	require.Equal(x.t, meta.OK, r.stub.AddLearner(x.t.Context(), peer.Assignment{Table: t, Config: c}).Err)
	lesson := peer.Lesson{PID: pid}
	if in != nil && role == replica.Primary {
		x.fill(&lesson, in)
	}
	require.Equal(x.t, meta.OK, r.stub.Learn(x.t.Context(), lesson).Err)
	require.Equal(x.t, meta.OK, r.stub.GroupCheck(x.t.Context(), peer.GroupCheck{Table: t, Config: c}).Err)
}

func (x *exchange) fill(l *peer.Lesson, in *wire.Incoming) {
	switch q := in.Request.(type) {
	case *wire.GetRequest:
		var a wire.GetResponse
		x.answer(&a)
		if a.Error == 0 {
			l.Ops = []peer.Op{{Key: q.Key.Bytes(), Value: a.Value}}
		}
	case *wire.TTLRequest:
		var a wire.TTLResponse
		x.answer(&a)
		if a.Error == 0 {
			op := peer.Op{Key: q.Key.Bytes(), Value: []byte("v")}
			if a.Seconds > 0 {
				op.Expire = replica.Epoch(time.Now()) + a.Seconds
			}
			l.Ops = []peer.Op{op}
		}
	case *wire.PutRequest, *wire.RemoveRequest:
		var a wire.UpdateResponse
		x.answer(&a)
		l.Decree = a.Decree - 1
	}
}
