// Package zksession opens sessions with a ZooKeeper ensemble through any way of dialling, such as a managed
// host's, so that the control node need not reach the ensemble.
package zksession

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// Dial opens a connection to a server.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// Options are how a session is opened.
type Options struct {
	Dial Dial
	// Servers are host:port each.
	Servers []string
	// Timeout is what is asked for as the session's timeout; 0 is 10 s: long enough for a slow link and short
	// enough that a lost client is soon forgotten.
	Timeout time.Duration
	// Wait is how long a session may take to come.
	Wait time.Duration
	// Rounds is how often every server may turn the connection down (refused, no such host, no way there) before
	// Wait is over; 0 is any number. One that does not answer is waited for.
	Rounds int
	// Watch is told of every event of the session, if it is not nil. It must not block.
	Watch func(zk.Event)
}

// Connect opens a session with one of the servers. It ends with ctx or closed.
func Connect(ctx context.Context, o Options) (conn *zk.Conn, closed func(), err error) {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	ctx, cancel := context.WithCancel(ctx)
	open := &unanswered{}
	why := &attempts{hopeless: make(chan struct{}), rounds: o.Rounds, why: map[string]error{}, down: map[string]int{}}
	for _, server := range o.Servers {
		why.down[server] = 0
	}
	conn, events, err := zk.Connect(o.Servers, o.Timeout,
		zk.WithHostProvider(&asGiven{}), zk.WithLogger(silent{}), zk.WithLogInfo(false), zk.WithEventCallback(func(e zk.Event) {
			if o.Watch != nil {
				o.Watch(e)
			}
		}),
		zk.WithDialer(func(network, address string, timeout time.Duration) (net.Conn, error) {
			// The library's own second is too short for a connection through a tunnel.
			ctx, cancel := context.WithTimeout(ctx, max(timeout, 5*time.Second))
			defer cancel()
			raw, err := o.Dial(ctx, network, address)
			if err != nil {
				why.failed(address, err)
				return nil, err
			}
			why.reached(address)
			open.add(raw)
			return guarded(raw, func(err error) { why.failed(address, err) }), nil
		}))
	if err != nil {
		cancel()
		return nil, nil, err
	}
	var once sync.Once
	closed = func() {
		once.Do(func() {
			cancel()
			conn.Close()
		})
	}
	context.AfterFunc(ctx, closed)
	err = awaitSession(ctx, events, o.Wait, why)
	open.settle(err)
	if err != nil {
		closed()
		return nil, nil, err
	}
	return conn, closed, nil
}

// unanswered are the connections on which no session has been given yet. The library waits for that for a minute,
// whoever closes it.
type unanswered struct {
	mu   sync.Mutex // guards what follows
	all  []net.Conn
	over bool // there is a session, or nobody wants one any more
	err  error
}

func (u *unanswered) add(c net.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case !u.over:
		u.all = append(u.all, c)
	case u.err != nil:
		c.Close()
	}
}

// settle says what came of it: without a session nobody holds a connection any more.
func (u *unanswered) settle(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.over, u.err = true, err
	for _, c := range u.all {
		if err != nil {
			c.Close()
		}
	}
	u.all = nil
}

func awaitSession(ctx context.Context, events <-chan zk.Event, wait time.Duration, why *attempts) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-why.hopeless:
			return fmt.Errorf("no ZooKeeper server takes a connection: %w", why.failures())
		case <-timer.C:
			if err := why.failures(); err != nil {
				return fmt.Errorf("no ZooKeeper server gave a session within %s: %w", wait, err)
			}
			return fmt.Errorf("no ZooKeeper server gave a session within %s; the ensemble has no quorum, or these are no ZooKeeper servers", wait)
		case event := <-events:
			if event.State == zk.StateHasSession {
				return nil
			}
		}
	}
}

// attempts is how connecting went so far.
type attempts struct {
	rounds   int
	hopeless chan struct{} // closed when every server has turned down so many rounds

	mu   sync.Mutex       // guards the rest
	why  map[string]error // why a server could not be connected to
	down map[string]int   // how often it turned the connection down
}

// failed notes why a server could not be connected to.
func (a *attempts) failed(server string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var network net.Error
	late := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.As(err, &network) && network.Timeout()
	if !late {
		a.down[server]++
	}
	if a.why[server] == nil || !late { // what was said before tells more than that time ran out
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err // which names the server once more
		}
		a.why[server] = fmt.Errorf("%s: %w", server, err)
	}
	for _, n := range a.down {
		if n < a.rounds {
			return
		}
	}
	select {
	case <-a.hopeless:
	default:
		if a.rounds > 0 {
			close(a.hopeless)
		}
	}
}

// reached notes that a server took the connection.
func (a *attempts) reached(server string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down[server] = 0
}

// failures is why, for each server that could not be connected to; nil where all could.
func (a *attempts) failures() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list failures
	for _, server := range slices.Sorted(maps.Keys(a.why)) {
		list = append(list, a.why[server])
	}
	if list == nil {
		return nil
	}
	return list
}

// failures are errors in one line.
type failures []error

func (f failures) Error() string {
	var texts []string
	for _, err := range f {
		texts = append(texts, err.Error())
	}
	return strings.Join(texts, "; ")
}

func (f failures) Unwrap() []error { return f }

// asGiven tries the servers in turn by the names they were given, which the managed host resolves.
type asGiven struct {
	servers []string
	next    int
	since   int // servers tried since one took the connection
}

func (a *asGiven) Init(servers []string) error {
	if len(servers) == 0 {
		return errors.New("the list of ZooKeeper servers is empty")
	}
	a.servers = servers
	return nil
}

func (a *asGiven) Len() int { return len(a.servers) }

func (a *asGiven) Next() (server string, retryStart bool) {
	server = a.servers[a.next]
	a.next = (a.next + 1) % len(a.servers)
	a.since++
	return server, a.since > 1 && (a.since-1)%len(a.servers) == 0
}

func (a *asGiven) Connected() { a.since = 0 }

// silent keeps the library from writing to the terminal.
type silent struct{}

func (silent) Printf(string, ...interface{}) {}

// SplitServers is a list of servers, however it was written.
func SplitServers(entries []string) []string {
	var servers []string
	for _, entry := range entries {
		for server := range strings.SplitSeq(entry, ",") {
			if server = strings.TrimSpace(server); server != "" {
				servers = append(servers, server)
			}
		}
	}
	return servers
}
