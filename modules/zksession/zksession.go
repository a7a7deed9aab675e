// Package zksession opens sessions with a ZooKeeper ensemble through any way of dialling, such as a managed
// host's, so that the control node need not reach the ensemble.
package zksession

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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
	// Watch is told of every event of the session, if it is not nil. It must not block.
	Watch func(zk.Event)
}

// Connect opens a session with one of the servers. It ends with ctx or closed.
func Connect(ctx context.Context, o Options) (conn *zk.Conn, closed func(), err error) {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	ctx, cancel := context.WithCancel(ctx)
	why := &lastError{}
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
				why.set(fmt.Errorf("%s: %w", address, err))
				return nil, err
			}
			return withDeadlines(raw), nil
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
	if err := awaitSession(ctx, events, o.Wait, why); err != nil {
		closed()
		return nil, nil, err
	}
	return conn, closed, nil
}

func awaitSession(ctx context.Context, events <-chan zk.Event, wait time.Duration, why *lastError) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			if err := why.get(); err != nil {
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

// lastError keeps why connecting failed last.
type lastError struct {
	mu  sync.Mutex
	err error
}

func (l *lastError) set(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var network net.Error
	if l.err != nil && errors.As(err, &network) && network.Timeout() {
		return // what was said before tells more than that time ran out
	}
	l.err = err
}

func (l *lastError) get() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

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

// withDeadlines gives a connection through a tunnel the deadlines that the library relies on.
func withDeadlines(raw net.Conn) net.Conn {
	near, far := net.Pipe()
	go func() {
		_, _ = io.Copy(far, raw)
		_ = far.Close()
	}()
	go func() {
		_, _ = io.Copy(raw, far)
		_ = raw.Close()
	}()
	return near
}

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
