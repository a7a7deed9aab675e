package pegasus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
	"golang.org/x/sync/errgroup"

	"github.com/pegbook/pegbook/lab/pegasus/internal/meta"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// zooKeeper coordinates as the real server does (facts/pegasus.md §7.4).
type zooKeeper struct {
	p    *process
	root string
	lock string
	self peer.Addr

	conn   *zk.Conn
	events <-chan zk.Event
	mine   string // our lock node
	owner  int64  // the session that made it
	dialer mortalDialer
	over   atomic.Bool // the client is being closed

	mu      sync.Mutex // guards expired
	expired chan struct{}
}

func newZooKeeper(p *process) *zooKeeper {
	return &zooKeeper{p: p, root: path.Clean(p.config.ClusterRoot), self: p.self,
		lock: path.Join(p.config.LockRoot, "dsn.meta.server.leader"), expired: make(chan struct{})}
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}

// open blocks until ZooKeeper answers, or ctx is done.
func (z *zooKeeper) open(ctx context.Context) error {
	c := z.p.config
	timeout := max(c.Scaled(c.ZKTimeout), c.Sim().SessionTimeoutLeast)
	conn, events, err := zk.Connect(strings.Split(c.ZooKeeper, ","), timeout, zk.WithLogger(quiet{}), zk.WithLogInfo(false),
		zk.WithDialer(z.dialer.dial), zk.WithHostProvider(&roundRobin{over: &z.over}))
	if err != nil {
		return fmt.Errorf("zookeeper %s: %w", c.ZooKeeper, err)
	}
	z.conn, z.events = conn, events
	wait := time.NewTicker(c.Scaled(c.ZKTimeout)) // runs on through attempts that fail
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-events:
			if e.State == zk.StateHasSession {
				err := z.makePaths()
				if interrupted(err) {
					continue // the next session is on its way
				}
				z.p.tasks.Go(func() { z.watchSession(ctx) })
				return err
			}
		case <-wait.C: // the real server stays up and waits, too
			z.p.log.Line('E', "meta_service.cpp:98:remote_storage_initialize()", "init meta_state_service failed, err = ERR_TIMEOUT")
		}
	}
}

// interrupted says whether a request failed with its connection or session only: on a machine that is busy that is
// no reason to end, since the lab has no supervisor that would start the server again.
func interrupted(err error) bool {
	for _, passing := range []error{zk.ErrConnectionClosed, zk.ErrSessionExpired, zk.ErrSessionMoved, zk.ErrNoServer} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// watchSession notices the end of each session.
func (z *zooKeeper) watchSession(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-z.events:
			if !ok {
				return
			}
			if e.State == zk.StateExpired {
				z.mu.Lock()
				close(z.expired)
				z.expired = make(chan struct{})
				z.mu.Unlock()
			}
		}
	}
}

// session is closed when the present session ends.
func (z *zooKeeper) session() <-chan struct{} {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.expired
}

func (z *zooKeeper) makePaths() error {
	for _, dir := range []string{z.root, z.root + "/backup", z.root + "/bulk_load", z.lock} {
		parts := strings.Split(strings.Trim(dir, "/"), "/")
		for i := range parts {
			if err := z.make("/"+strings.Join(parts[:i+1], "/"), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func (z *zooKeeper) make(node string, data []byte) error {
	_, err := z.conn.Create(node, data, 0, zk.WorldACL(zk.PermAll))
	if err != nil && !errors.Is(err, zk.ErrNodeExists) {
		return fmt.Errorf("create %s: %w", node, err)
	}
	return nil
}

// elect blocks until this meta leads, and reports whoever leads meanwhile. The
// channel is closed when the session, and so the leadership, is lost.
func (z *zooKeeper) elect(ctx context.Context, leader func(peer.Addr)) (<-chan struct{}, error) {
	ended := z.session()
	if err := z.enlist(); err != nil {
		return nil, err
	}
	for {
		names, _, changed, err := z.conn.ChildrenW(z.lock)
		if err != nil {
			return nil, fmt.Errorf("look at the lock: %w", err)
		}
		sort.Slice(names, func(i, j int) bool { return sequence(names[i]) < sequence(names[j]) })
		if !slices.Contains(names, z.mine) {
			z.mine = ""
			return nil, errors.New("the lock node is gone")
		}
		if names[0] == z.mine {
			leader(z.self)
			return ended, nil
		}
		z.follow(names[0], leader)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ended:
			return nil, errors.New("zookeeper session expired")
		case <-changed:
		}
	}
}

// enlist has this meta stand for the lock with one node. A node outlives a
// connection: what was made before ZooKeeper went away for a moment still counts,
// even if its answer never came, and a second one would stand in its way.
func (z *zooKeeper) enlist() error {
	session := z.conn.SessionID()
	if z.mine != "" && z.owner == session {
		return nil
	}
	names, _, err := z.conn.Children(z.lock)
	if err != nil {
		return fmt.Errorf("look at the lock: %w", err)
	}
	for _, name := range names {
		if _, stat, err := z.conn.Get(z.lock + "/" + name); err == nil && stat.EphemeralOwner == session {
			z.mine, z.owner = name, session
			return nil
		}
	}
	node, err := z.conn.Create(z.lock+"/LOCKNODE", []byte(z.self.String()), zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll))
	if err != nil {
		return fmt.Errorf("create lock node: %w", err)
	}
	z.mine, z.owner = path.Base(node), session
	return nil
}

// look finds out who leads without running for it.
func (z *zooKeeper) look(leader func(peer.Addr)) {
	names, _, err := z.conn.Children(z.lock)
	if err != nil || len(names) == 0 {
		return
	}
	z.follow(slices.MinFunc(names, func(a, b string) int { return sequence(a) - sequence(b) }), leader)
}

func sequence(name string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(name, "LOCKNODE"))
	if err != nil {
		return 1 << 31
	}
	return n
}

// follow reads who holds the lowest lock node; one that is just going away is
// of no interest.
func (z *zooKeeper) follow(name string, leader func(peer.Addr)) {
	raw, _, err := z.conn.Get(z.lock + "/" + name)
	var a peer.Addr
	if err == nil && a.UnmarshalText(raw) == nil && a.IsValid() {
		leader(a)
		z.p.log.Line('I', "lock_struct.cpp:331:after_get_lock_owner()", "wait the lock(dsn.meta.server.leader) owner(%s:%s) to remove, myself(%s:%s)",
			name, a, z.mine, z.self)
	}
}

// resign gives the leadership up; elect runs for it again.
func (z *zooKeeper) resign() error {
	node := z.lock + "/" + z.mine
	z.mine = ""
	return z.conn.Delete(node, -1)
}

// close ends the session at once.
func (z *zooKeeper) close() {
	if z.conn != nil {
		z.over.Store(true)
		z.conn.Close()
	}
}

// abandon is what a crash does: the session is left to time out.
func (z *zooKeeper) abandon() {
	z.dialer.kill()
	z.close()
}

// roundRobin gives one server after the other. The client's own provider has it
// rest for a second after each round, which is as long as a session of the lab
// may be: while ZooKeeper elects, no server takes a client, and the real meta
// server's session outlives that.
type roundRobin struct {
	over    *atomic.Bool // a new round is when the client looks whether it is closed
	mu      sync.Mutex   // guards next
	servers []string
	next    int
}

func (r *roundRobin) Init(servers []string) error { r.servers = servers; return nil }

func (r *roundRobin) Len() int { return len(r.servers) }

func (r *roundRobin) Connected() {}

func (r *roundRobin) Next() (server string, retryStart bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	return r.servers[r.next%len(r.servers)], r.over.Load()
}

// redial is the least time between two connections.
const redial = 30 * time.Millisecond

// mortalDialer makes connections that can all be cut, with none after them.
type mortalDialer struct {
	mu   sync.Mutex // guards dead, open, last
	dead bool
	open []net.Conn
	last time.Time
}

func (d *mortalDialer) dial(network, address string, timeout time.Duration) (net.Conn, error) {
	d.mu.Lock()
	rest := redial - time.Since(d.last)
	d.mu.Unlock()
	time.Sleep(rest) // nothing when that is past
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.last = time.Now()
	}()
	c, err := net.DialTimeout(network, address, timeout)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && d.dead {
		c.Close()
		return nil, net.ErrClosed
	}
	d.open = append(d.open[max(0, len(d.open)-1):], c) // the client has one at a time
	return c, err
}

func (d *mortalDialer) kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	for _, c := range d.open {
		if c != nil {
			c.Close()
		}
	}
}

var _ meta.Store = (*zooKeeper)(nil)

func (z *zooKeeper) apps() string { return z.root + "/apps" }

func (z *zooKeeper) tableNode(id int32) string { return fmt.Sprintf("%s/%d", z.apps(), id) }

func (z *zooKeeper) partNode(g peer.GPID) string {
	return fmt.Sprintf("%s/%d", z.tableNode(g.App), g.Pidx)
}

// errLocked is a tree that some meta left half made; every later start fails on
// it until the tree is deleted.
var errLocked = errors.New("server_state.cpp:745:initialize_data_structure(): assertion expression: invalid transaction state(lock)")

func (z *zooKeeper) Load(ctx context.Context) ([]meta.Table, map[int32][]peer.Config, error) {
	state, _, err := z.conn.Get(z.apps())
	if errors.Is(err, zk.ErrNoNode) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", z.apps(), err)
	}
	if s := string(state); s != "" && s != "unlock" {
		return nil, nil, errLocked
	}
	ids, _, err := z.conn.Children(z.apps())
	if err != nil {
		return nil, nil, fmt.Errorf("list %s: %w", z.apps(), err)
	}
	var tables []meta.Table
	parts := map[int32][]peer.Config{}
	for _, id := range ids {
		t, ps, err := z.loadTable(z.apps() + "/" + id)
		if err != nil {
			return nil, nil, err
		}
		tables = append(tables, t)
		parts[t.ID] = ps
	}
	sort.Slice(tables, func(i, j int) bool { return tables[i].ID < tables[j].ID })
	return tables, parts, ctx.Err()
}

func (z *zooKeeper) loadTable(node string) (t meta.Table, parts []peer.Config, err error) {
	if err := readNode(z, node, &t); err != nil {
		return t, nil, err
	}
	parts = make([]peer.Config, t.Partitions)
	err = inFlight(len(parts), func(i int) error {
		pid := peer.GPID{App: t.ID, Pidx: int32(i)}
		parts[i].PID = pid
		return readNode(z, z.partNode(pid), &parts[i])
	})
	return t, parts, err
}

// requestsInFlight is how many requests about partitions ZooKeeper gets at a
// time: a table of a thousand must not take a thousand round trips.
const requestsInFlight = 64

// inFlight calls f for 0 to n-1, and returns the first error.
func inFlight(n int, f func(i int) error) error {
	var all errgroup.Group
	all.SetLimit(requestsInFlight)
	for i := range n {
		all.Go(func() error { return f(i) })
	}
	return all.Wait()
}

func readNode[T any](z *zooKeeper, node string, into *T) error {
	raw, _, err := z.conn.Get(node)
	if err != nil {
		return fmt.Errorf("read %s: %w", node, err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("read %s: %w", node, err)
	}
	return nil
}

func (z *zooKeeper) Create(_ context.Context, t meta.Table, parts []peer.Config) error {
	if err := z.make(z.apps(), []byte("lock")); err != nil {
		return err
	}
	raw, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := z.make(z.tableNode(t.ID), raw); err != nil {
		return err
	}
	err = inFlight(len(parts), func(i int) error {
		raw, err := json.Marshal(parts[i])
		if err != nil {
			return err
		}
		return z.make(z.partNode(parts[i].PID), raw)
	})
	if err != nil {
		return err
	}
	_, err = z.conn.Set(z.apps(), []byte("unlock"), -1)
	return err
}

func (z *zooKeeper) SetTable(_ context.Context, t meta.Table) error {
	return writeNode(z, z.tableNode(t.ID), t)
}

func (z *zooKeeper) SetPartition(_ context.Context, c peer.Config) error {
	return writeNode(z, z.partNode(c.PID), c)
}

func writeNode[T any](z *zooKeeper, node string, v T) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err = z.conn.Set(node, raw, -1); err != nil {
		return fmt.Errorf("write %s: %w", node, err)
	}
	return nil
}

// Policies are the backup policies; the real server keeps a node for each, too.
func (z *zooKeeper) Policies(context.Context) ([]meta.Policy, error) {
	names, _, err := z.conn.Children(z.root + "/backup")
	if err != nil {
		return nil, fmt.Errorf("list backup policies: %w", err)
	}
	var out []meta.Policy
	for _, name := range names {
		var p meta.Policy
		if err := readNode(z, z.root+"/backup/"+name, &p); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (z *zooKeeper) SetPolicy(_ context.Context, p meta.Policy) error {
	node := z.root + "/backup/" + p.Name
	if err := z.make(node, nil); err != nil {
		return err
	}
	return writeNode(z, node, p)
}
