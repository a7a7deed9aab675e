package pegasus

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime/metrics"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/lab/pegasus/internal/meta"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
	"github.com/pegbook/pegbook/lab/pegasus/internal/release"
	"github.com/pegbook/pegbook/lab/pegasus/internal/replica"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// replicaRole is a replica server.
type replicaRole struct {
	p      *process
	client *peer.Client
	stub   *replica.Stub

	rates              rates
	gets, puts         atomic.Int64
	lastGets, lastPuts atomic.Int64
}

var _ actor = (*replicaRole)(nil)

func newReplica(p *process) *replicaRole {
	r := &replicaRole{p: p, client: peer.NewClient(p.self), rates: rates{copy: 400, send: 500}}
	r.stub = replica.New(replica.Options{Config: p.config, Self: p.self, Start: p.start, Client: r.client,
		Send: p.send, Log: p.log.Line, Abort: func(why string) { p.abort("%s", why) }, Rate: r.rates.least, Names: p.hostName(), Version: p.Version.Number})
	p.track(r)
	return r
}

// Close cuts the connections to other servers.
func (r *replicaRole) Close() error {
	r.client.Close()
	return nil
}

func (r *replicaRole) run(ctx context.Context) {
	r.p.startUp(ctx)
	r.p.log.Line('I', "replica_stub.cpp:589:initialize()", "primary_address = %s", r.p.self)
	r.p.log.Line('I', "replica_stub.cpp:627:initialize()", "slog_dir = %s", r.p.config.SlogDir())
	if err := r.stub.Load(ctx); err != nil {
		if ctx.Err() == nil { // an abort has ended ctx
			// No disk that can be used: the real server stays up and serves nothing.
			r.p.log.Line('E', "fs_manager.cpp:238:initialize()", "data directories: %v", err)
		}
		return
	}
	r.p.phase.Store(ready)
	r.stub.Run(ctx)
}

func (r *replicaRole) datagram(_ peer.Addr, body []byte) {
	var ack peer.BeaconAck
	if json.Unmarshal(body, &ack) == nil && r.stub.Ready() {
		r.stub.Acked(ack)
	}
}

func (r *replicaRole) handlers() map[string]peer.Handler {
	life := r.p.life
	return map[string]peer.Handler{
		"proposal":    peer.Handle(func(_ context.Context, q peer.Proposal) peer.Reply { return r.stub.Propose(life, q) }),
		"prepare":     peer.Handle(r.stub.Prepare),
		"group_check": peer.Handle(r.stub.GroupCheck),
		"add_learner": peer.Handle(r.stub.AddLearner),
		"learn":       peer.Handle(r.stub.Learn),
		"backup":      peer.Handle(r.stub.Backup),
		"inventory":   peer.Handle(r.stub.Inventory),
	}
}

func (r *replicaRole) answer(ctx context.Context, in *wire.Incoming) []byte {
	switch q := in.Request.(type) {
	case *wire.GetRequest:
		return r.get(in, q)
	case *wire.TTLRequest:
		return r.ttl(in, q)
	case *wire.PutRequest:
		return r.write(ctx, in, q.Key, peer.Op{Key: q.Key.Bytes(), Value: q.Value, Expire: q.ExpireSeconds})
	case *wire.RemoveRequest:
		return r.write(ctx, in, q.Key, peer.Op{Key: q.Key.Bytes(), Delete: true})
	case *wire.QueryReplicaRequest:
		return in.Reply(wire.OK, r.queryReplica())
	case *wire.QueryAppRequest:
		return in.Reply(wire.OK, r.queryTables())
	}
	return in.Reply(wire.HandlerNotFound, nil)
}

func (r *replicaRole) get(in *wire.Incoming, q *wire.GetRequest) []byte {
	if r.emptyKey(in, q.Key) {
		return nil
	}
	r.gets.Add(1)
	v, code := r.stub.Get(gpid(in.PID), q.Key.Bytes())
	if code != meta.OK {
		return in.Reply(wire.ErrorCode(code), nil)
	}
	return in.Reply(wire.OK, &wire.GetResponse{Error: missing(v), Value: v.Value, PID: in.PID, Server: r.p.self.String()})
}

func (r *replicaRole) ttl(in *wire.Incoming, q *wire.TTLRequest) []byte {
	if r.emptyKey(in, q.Key) {
		return nil
	}
	v, code := r.stub.Get(gpid(in.PID), q.Key.Bytes())
	if code != meta.OK {
		return in.Reply(wire.ErrorCode(code), nil)
	}
	left := int32(-1)
	if v.Expire > 0 {
		left = v.Expire - replica.Epoch(time.Now())
	}
	return in.Reply(wire.OK, &wire.TTLResponse{Error: missing(v), Seconds: left, PID: in.PID, Server: r.p.self.String()})
}

// missing is RocksDB's code for a read.
func missing(v replica.Value) int32 {
	if v.Found {
		return 0
	}
	return 1
}

func (r *replicaRole) write(ctx context.Context, in *wire.Incoming, key wire.Key, op peer.Op) []byte {
	if r.emptyKey(in, key) {
		return nil
	}
	r.puts.Add(1)
	wait := time.Duration(in.TimeoutMS) * time.Millisecond
	if wait <= 0 {
		wait = 5 * time.Second
	}
	short, stop := context.WithTimeout(ctx, wait)
	defer stop()
	decree, code := r.stub.Write(short, ctx, gpid(in.PID), op)
	if code != meta.OK {
		return in.Reply(wire.ErrorCode(code), nil)
	}
	return in.Reply(wire.OK, &wire.UpdateResponse{PID: in.PID, Decree: decree, Server: r.p.self.String()})
}

// emptyKey aborts the process, as the real server does on its assertion.
func (r *replicaRole) emptyKey(in *wire.Incoming, k wire.Key) bool {
	if len(k.Bytes()) >= 2 {
		return false
	}
	r.p.hazard("%s with a key of %d bytes", in.Code, len(k.Bytes()))
	return true
}

func (r *replicaRole) queryReplica() wire.Reply {
	reply := &wire.QueryReplicaResponse{Err: wire.OK}
	none := int32(0)
	for _, i := range r.stub.Replicas() {
		reply.Replicas = append(reply.Replicas, wire.ReplicaInfo{PID: wire.GPID{App: i.PID.App, Index: i.PID.Pidx}, Ballot: i.Ballot,
			Status: wire.ReplicaStatus(i.Status), LastCommittedDecree: i.Decree, LastPreparedDecree: i.Decree, LastDurableDecree: i.Decree,
			AppType: "pegasus", DiskTag: i.Tag, ManualCompactStatus: &none})
	}
	slices.SortFunc(reply.Replicas, func(a, b wire.ReplicaInfo) int { return a.PID.Compare(b.PID) })
	return reply
}

func (r *replicaRole) queryTables() wire.Reply {
	tables := map[int32]wire.AppInfo{}
	for _, i := range r.stub.Replicas() {
		tables[i.PID.App] = appInfo(meta.Table{Status: meta.Available, Type: "pegasus", Name: i.Table.Name, ID: i.PID.App,
			Partitions: i.Table.Partitions, Replicas: i.Table.Replicas, Envs: i.Table.Envs, Stateful: true, Init: -1})
	}
	reply := &wire.QueryAppResponse{Err: wire.OK}
	for _, id := range slices.Sorted(maps.Keys(tables)) {
		reply.Apps = append(reply.Apps, tables[id])
	}
	return reply
}

func gpid(g wire.GPID) peer.GPID { return peer.GPID{App: g.App, Pidx: g.Index} }

func (r *replicaRole) command(ctx context.Context, name string, args []string) (string, bool) {
	switch name {
	case "replica.kill_partition":
		return r.kill(ctx, args), true
	case "flush-log":
		r.stub.Flush()
		return "Flush done.", true
	}
	return r.rates.command(r.p.release(), name, args)
}

// rates are the limits of copying between servers, in megabytes a second.
type rates struct {
	mu         sync.Mutex // guards copy, send
	copy, send int64
}

// least is the rate that copying has.
func (r *rates) least() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return min(r.copy, r.send)
}

// command answers nfs.*; a copy rate below one block is refused.
func (r *rates) command(of release.Release, name string, args []string) (string, bool) {
	value, least := &r.copy, int64(5)
	switch copyRate, sendRate := of.Rates(); name {
	case copyRate:
	case sendRate:
		value, least = &r.send, 1
	default:
		return "", false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(args) == 0 {
		return strconv.FormatInt(*value, 10), true
	}
	n, err := strconv.ParseInt(args[0], 10, 32)
	if err != nil || n < least {
		return "ERR: invalid arguments", true
	}
	*value = n
	return "OK", true
}

func (r *replicaRole) kill(ctx context.Context, args []string) string {
	if len(args) > 2 {
		return "ERR_INVALID_PARAMETERS"
	}
	ids := [2]int32{-1, -1}
	for i, a := range args {
		n, err := strconv.ParseInt(a, 10, 32)
		if err != nil {
			n = 0 // atoi
		}
		ids[i] = int32(n)
	}
	return r.stub.Kill(ctx, ids[0], ids[1])
}

func (r *replicaRole) measure() []counter {
	serving, opening, closing := r.stub.Counts()
	gets, puts := r.gets.Load(), r.puts.Load()
	every := max(r.p.config.Scaled(r.p.config.CounterRefresh).Seconds(), 0.001)
	list := []counter{
		{"replica*eon.replica_stub*opening.replica(Count)", "# in replica_stub._opening_replicas", float64(opening)},
		{"replica*eon.replica_stub*closing.replica(Count)", "# in replica_stub._closing_replicas", float64(closing)},
		{"replica*eon.replica_stub*replica(Count)", "# in replica_stub._replicas", float64(serving)},
		{"replica*eon.replica_stub*replicas.learning.count", "current learning count", float64(r.stub.Learning())},
		{"replica*eon.replica_stub*replicas.commit.qps", "server-level commit throughput", float64(puts-r.lastPuts.Load()) / every},
		{"zion*profiler*RPC_RRDB_RRDB_GET.qps", "get qps", float64(gets-r.lastGets.Load()) / every},
		{"zion*profiler*RPC_RRDB_RRDB_PUT.qps", "put qps", float64(puts-r.lastPuts.Load()) / every},
		{"replica*eon.replica_stub*shared.log.size(MB)", "shared log size(MB)", 0},
		{"replica*app.pegasus*manual.compact.enqueue.count", "current manual compact in queue count", 0},
		{"replica*app.pegasus*manual.compact.running.count", "current manual compact running count", 0},
	}
	r.lastGets.Store(gets)
	r.lastPuts.Store(puts)
	return append(append(list, r.disks()...), memory()...)
}

func (r *replicaRole) disks() []counter {
	var fs syscall.Statfs_t
	if len(r.p.config.DataDirs) == 0 || syscall.Statfs(r.p.config.DataDirs[0].Dir, &fs) != nil || fs.Blocks == 0 {
		return nil
	}
	free := float64(fs.Bavail * 100 / fs.Blocks)
	if r.p.config.Sim().DiskFull {
		free = 0
	}
	return []counter{
		{"replica*eon.replica_stub*disk.capacity.total(MB)", "disk capacity total in MB", float64(fs.Blocks * uint64(fs.Bsize) >> 20)},
		{"replica*eon.replica_stub*disk.available.total.ratio", "disk available total ratio", free},
		{"replica*eon.replica_stub*disk.available.min.ratio", "disk available min ratio in all disks", free},
		{"replica*eon.replica_stub*disk.available.max.ratio", "disk available max ratio in all disks", free},
	}
}

func memory() []counter {
	all := []metrics.Sample{{Name: "/memory/classes/total:bytes"}} // unlike MemStats it does not stop the process
	metrics.Read(all)
	used := float64(all[0].Value.Uint64() >> 20)
	return []counter{
		{"replica*server*memused.res(MB)", "physical memory usages in MB", used},
		{"replica*server*memused.virt(MB)", "virtual memory usages in MB", used},
	}
}

func (r *replicaRole) calls() map[string]string {
	return map[string]string{
		"/replica/data_version":      "ip:port/replica/data_version?app_id=<app_id>",
		"/replica/duplication":       "ip:port/replica/duplication?appid=<appid>",
		"/replica/manual_compaction": "ip:port/replica/maual_compaction?app_id=<app_id>",
	}
}

func (r *replicaRole) set(key string, value int64) bool {
	_, ok := r.rates.command(r.p.release(), "nfs."+key, []string{strconv.FormatInt(value, 10)})
	return ok
}

func (r *replicaRole) http(path string, query []param) (httpReply, bool) {
	id, err := strconv.ParseInt(lookup(query, "app_id"), 10, 32)
	var here []replica.Info
	for _, i := range r.stub.Replicas() {
		if err == nil && i.PID.App == int32(id) {
			here = append(here, i)
		}
	}
	slices.SortFunc(here, func(a, b replica.Info) int { return int(a.PID.Pidx - b.PID.Pidx) })
	switch path {
	case "/replica/data_version":
		var o object
		for _, i := range here {
			o = append(o, field{strconv.Itoa(int(i.PID.Pidx)), object{{"data_version", text("1")}}})
		}
		return plain(200, o.json()), true
	case "/replica/manual_compaction":
		return plain(200, fmt.Sprintf(`{"status":{"finished":0,"idle":%d,"queuing":0,"running":0}}`, len(here))), true
	case "/replica/duplication":
		return plain(404, fmt.Sprintf("no duplication assigned for app [appid=%s]", lookup(query, "appid"))), true
	}
	return httpReply{}, false
}

func (r *replicaRole) slowToStop() bool {
	serving, _, _ := r.stub.Counts()
	return serving > 0
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
