package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pegbook/pegbook/modules"
)

const (
	defaultDials     = 32
	dialsPerAddress  = 5
	defaultKeepAlive = 15 * time.Second
	defaultTimeout   = 30 * time.Second
	defaultRetries   = 3
	maxJumps         = 8

	// jumpOnly is the Connection of a jump host: it carries connections, and no helper.
	jumpOnly = "jump"
)

// Pool keeps the run's connections. It is safe for concurrent use.
type Pool struct {
	dials     chan struct{}
	keepAlive time.Duration
	log       *slog.Logger
	configs   *configs
	keys      *identities
	binaries  *binaries

	mu      sync.Mutex // guards the rest
	closed  bool
	lines   map[string]*line
	rings   map[string]*keyring
	through map[string]*gate // by the address that takes the dials
}

// gate is an address that dials go to.
type gate struct {
	places chan struct{} // a place for each dial under way
	served atomic.Bool   // some dial has come through
}

var _ io.Closer = (*Pool)(nil)

// NewPool makes an empty pool. Nothing is dialled before a host is used.
func NewPool(o Options) *Pool {
	if o.Dials <= 0 {
		o.Dials = defaultDials
	}
	if o.KeepAlive <= 0 {
		o.KeepAlive = defaultKeepAlive
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Pool{dials: make(chan struct{}, o.Dials), keepAlive: o.KeepAlive, log: o.Log, configs: newConfigs(),
		keys: newIdentities(o.Ask), binaries: &binaries{files: embedded},
		lines: map[string]*line{}, rings: map[string]*keyring{}, through: map[string]*gate{}}
}

// Open gives the host for a user. It connects, or waits for the connection that another task is
// making. After a connection broke the next Open dials anew. A host that cannot be reached is
// *modules.UnreachableError, a user that cannot be become *BecomeError.
func (p *Pool) Open(ctx context.Context, a Address, b Become) (modules.Host, error) {
	l, err := p.line(a)
	if err != nil {
		return nil, err
	}
	return l.open(ctx, b)
}

// Reset closes a host's connection; the next Open dials anew (meta: reset_connection).
func (p *Pool) Reset(a Address) {
	p.mu.Lock()
	l := p.lines[a.key()]
	p.mu.Unlock()
	if l != nil {
		l.close()
	}
}

// RoundTrips is how many requests have been sent to a host's helpers since it was opened.
func (p *Pool) RoundTrips(a Address) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.lines[a.key()]; l != nil {
		return int(l.trips.Load())
	}
	return 0
}

// Close ends every helper and connection. What local tasks had started has ended when it returns.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	lines := p.lines
	p.lines = map[string]*line{}
	p.mu.Unlock()
	for _, l := range lines {
		l.close()
	}
	return nil
}

// key tells connections apart.
func (a Address) key() string {
	return strings.Join([]string{a.Name, a.Connection, a.Host, fmt.Sprint(a.Port), a.User, a.Password, strings.Join(a.KeyFiles, "\x01"),
		strings.Join(a.JumpHosts, "\x01"), a.ConfigFile, strings.Join(a.KnownHosts, "\x01"), a.TempDir}, "\x00")
}

func (p *Pool) line(a Address) (*line, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, &modules.UnreachableError{Host: a.Name, Err: errClosed}
	}
	key := a.key()
	l := p.lines[key]
	if l == nil {
		l = &line{pool: p, address: a, helpers: map[string]*shared[*mux]{}}
		l.login.open = func(ctx context.Context) (*mux, error) {
			none := Become{}
			return l.helper(ctx, none.key(), func(ctx context.Context) (*mux, error) { return l.start(ctx, none) })
		}
		p.lines[key] = l
	}
	return l, nil
}

// line is the connection to one host and the helpers behind it.
type line struct {
	pool    *Pool
	address Address
	trips   atomic.Int64
	login   login

	mu      sync.Mutex // guards the rest
	conn    *shared[*sshConn]
	helpers map[string]*shared[*mux]
}

// open gives the host through the helper of a user, starting what is not there.
func (l *line) open(ctx context.Context, b Become) (modules.Host, error) {
	m, err := l.helper(ctx, b.key(), func(ctx context.Context) (*mux, error) { return l.start(ctx, b) })
	if err != nil {
		return nil, err
	}
	out := &host{name: l.address.Name, mux: m, dial: localDial, base: l.address.TempDir}
	if b.User != "" {
		out.login = &l.login
	}
	switch {
	case !l.local():
		out.dial = l.dial
	case b.User == "":
		out.jobs = l.jobs
	}
	return out, nil
}

// jobs gives the helper that starts jobs on the control node: a program of its own, since a job outlives
// this process.
func (l *line) jobs(ctx context.Context) (*mux, error) {
	return l.helper(ctx, "jobs", func(ctx context.Context) (*mux, error) { return l.starter().start(ctx, localOpen, Become{}) })
}

// helper gives the helper of a key, made by start where there is none that lives.
func (l *line) helper(ctx context.Context, key string, start func(context.Context) (*mux, error)) (*mux, error) {
	m, err := join(ctx, &l.mu, func() *shared[*mux] {
		h := l.helpers[key]
		if h == nil || h.over((*mux).alive) {
			h = share(ctx, start)
			l.helpers[key] = h
		}
		return h
	})
	if err != nil {
		return nil, l.unreachable(err)
	}
	return m, nil
}

func (l *line) starter() *starter {
	return &starter{name: l.address.Name, folder: l.address.TempDir, binaries: l.pool.binaries, every: l.pool.keepAlive, trips: &l.trips}
}

func (l *line) local() bool { return l.address.Connection == "local" }

func (l *line) unreachable(err error) error {
	var known *modules.UnreachableError
	var become *BecomeError
	if errors.As(err, &known) || errors.As(err, &become) {
		return err
	}
	return &modules.UnreachableError{Host: l.address.Name, Err: err}
}

func (l *line) start(ctx context.Context, b Become) (*mux, error) {
	s := l.starter()
	if l.local() {
		if b.User == "" {
			return localMux(ctx, &l.trips)
		}
		return s.start(ctx, localOpen, b)
	}
	conn, err := l.connection(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if conn.every > 0 {
		s.every = conn.every
	}
	ctx, stop := l.timeout(ctx, "start the helper on")
	defer stop()
	m, err := s.start(ctx, conn.open, b)
	if errors.Is(err, errSessions) {
		m, err = l.startBeside(ctx, s, b)
	}
	if ctx.Err() != nil {
		go conn.doubt(doubtFor)
	}
	l.pool.log.Debug("helper", "host", l.address.Name, "become", b.User, "took", time.Since(began), "error", err)
	return m, err
}

// startBeside starts a helper on another connection to the host, since its sshd opens no more sessions on the
// first. That connection is the helper's alone, and ends with it.
func (l *line) startBeside(ctx context.Context, s *starter, b Become) (*mux, error) {
	conn, err := l.connect(ctx, nil)
	if err != nil {
		return nil, err
	}
	m, err := s.start(ctx, conn.open, b)
	if err != nil {
		conn.client.Close()
		return nil, err
	}
	m.also(func() { conn.client.Close() })
	return m, nil
}

func (l *line) timeout(ctx context.Context, what string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, l.limit(), l.late(what))
}

// limit is how long connecting may take, and starting a helper.
func (l *line) limit() time.Duration {
	if l.address.Timeout > 0 {
		return l.address.Timeout
	}
	return defaultTimeout
}

func (l *line) late(what string) error {
	return fmt.Errorf("it took longer than %s to %s it", l.limit(), what)
}

// connection gives the SSH connection, dialling where there is none.
func (l *line) connection(ctx context.Context) (*sshConn, error) {
	return join(ctx, &l.mu, func() *shared[*sshConn] {
		if l.conn == nil || l.conn.over((*sshConn).alive) {
			l.conn = share(ctx, l.establish)
		}
		return l.conn
	})
}

func (l *line) establish(ctx context.Context) (*sshConn, error) {
	ctx, patience := newPatience(ctx, l.limit(), l.late("connect to"))
	defer patience.end()
	conn, err := l.connect(ctx, patience)
	if err == nil && l.address.Connection == jumpOnly {
		every := conn.every
		if every == 0 {
			every = l.pool.keepAlive
		}
		go conn.keepAlive(every)
	}
	return conn, err
}

// dial connects to an address as seen from the host. The time that ctx gives is for that; where the connection to the
// host has to be made again first, that has a time of its own.
func (l *line) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	opening, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			cancel(context.Cause(ctx))
		}
	})
	defer stop()
	conn, err := l.connection(opening)
	if err != nil {
		return nil, l.unreachable(err)
	}
	c, err := conn.dial(ctx, network, addr)
	if err != nil && !conn.alive() {
		return nil, l.unreachable(err)
	}
	return c, err
}

// connect finds the way and goes it.
func (l *line) connect(ctx context.Context, patience *patience) (*sshConn, error) {
	s, err := l.pool.configs.lookup(ctx, l.address.ConfigFile, or(l.address.Host, l.address.Name))
	if err != nil {
		return nil, &modules.UnreachableError{Host: l.address.Name, Err: err}
	}
	r, err := resolve(l.address, s, os.Getenv)
	if err != nil {
		return nil, &modules.UnreachableError{Host: l.address.Name, Err: err, Hint: dialHint(err, &route{knownHosts: []string{""}})}
	}
	ring, err := l.pool.ring(r.knownHosts)
	if err != nil {
		return nil, &modules.UnreachableError{Host: l.address.Name, Err: err}
	}
	attempts := l.address.Retries
	if attempts == 0 {
		attempts = defaultRetries
	}
	for attempt := 0; ; attempt++ {
		began := time.Now()
		conn, served, err := l.attempt(ctx, r, ring, patience)
		l.pool.log.Debug("dial", "host", l.address.Name, "address", r.address(), "attempt", attempt, "took", time.Since(began), "error", err)
		if err == nil {
			return conn, nil
		}
		var jump *modules.UnreachableError
		if errors.As(err, &jump) {
			return nil, &modules.UnreachableError{Host: l.address.Name, Err: fmt.Errorf("jump host %w", err)}
		}
		// An sshd that has let others in is only busy with them: that passes, however many they are.
		over := attempt >= attempts && (!served || attempts < 0)
		if over || !passing(err) || backOff(ctx, attempt) != nil {
			return nil, &modules.UnreachableError{Host: l.address.Name, Err: err, Hint: dialHint(err, r)}
		}
	}
}

// attempt dials once. served says whether the address has let in anybody so far.
func (l *line) attempt(ctx context.Context, r *route, ring *keyring, patience *patience) (conn *sshConn, served bool, err error) {
	dial, through := localDial, r.address()
	if len(r.jumps) > 0 {
		// The way there is made before a place among the dials is taken: it needs one itself. It has a limit of
		// its own, too.
		resume := patience.pause()
		jump, err := l.jump(ctx, r.jumps)
		resume()
		if err != nil {
			return nil, false, err
		}
		dial, through = jump.dial, strings.Join(r.jumps, ",")
	}
	resume := patience.pause()
	gate, err := l.pool.enter(ctx, through)
	resume()
	if err != nil {
		return nil, false, err
	}
	defer l.pool.leave(gate)
	c, err := dial(ctx, "tcp", r.address())
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%s: %w", r.address(), cause)
		}
		return nil, false, err
	}
	if conn, err = handshake(ctx, quick(c), r, l.pool.keys.methods(ctx, r), ring); err == nil {
		gate.served.Store(true)
	}
	return conn, gate.served.Load(), err
}

// jump gives the connection to the last of a chain of jump hosts, which all hosts behind it share.
func (l *line) jump(ctx context.Context, jumps []string) (*sshConn, error) {
	if len(jumps) > maxJumps {
		return nil, fmt.Errorf("more than %d jump hosts", maxJumps)
	}
	a, err := parseJump(jumps[len(jumps)-1])
	if err != nil {
		return nil, err
	}
	own := l.address
	a.JumpHosts, a.ConfigFile, a.KnownHosts, a.KeyFiles = jumps[:len(jumps)-1], own.ConfigFile, own.KnownHosts, own.KeyFiles
	a.AcceptNewHostKeys, a.Timeout, a.Retries, a.KeepAlive = own.AcceptNewHostKeys, own.Timeout, own.Retries, own.KeepAlive
	// The configuration of a jump host may send us through others, but not round in a circle.
	if len(a.JumpHosts) == 0 && (a.Name == own.Name || a.Name == own.Host) {
		a.JumpHosts = []string{"none"}
	}
	a.Connection = jumpOnly
	way, err := l.pool.line(a)
	if err != nil {
		return nil, err
	}
	if way == l {
		return nil, errors.New("it is its own jump host")
	}
	return way.connection(ctx)
}

// enter takes a place among the dials: in all, and through one address.
func (p *Pool) enter(ctx context.Context, through string) (*gate, error) {
	p.mu.Lock()
	narrow := p.through[through]
	if narrow == nil {
		narrow = &gate{places: make(chan struct{}, dialsPerAddress)}
		p.through[through] = narrow
	}
	p.mu.Unlock()
	select {
	case narrow.places <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case p.dials <- struct{}{}:
	case <-ctx.Done():
		<-narrow.places
		return nil, context.Cause(ctx)
	}
	return narrow, nil
}

func (p *Pool) leave(g *gate) {
	<-p.dials
	<-g.places
}

func (p *Pool) ring(files []string) (*keyring, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := strings.Join(files, "\x00")
	if r := p.rings[key]; r != nil {
		return r, nil
	}
	r, err := openKeyring(files)
	if err != nil {
		return nil, err
	}
	p.rings[key] = r
	return r, nil
}

// close ends the helpers and the connection. The line can be opened again.
func (l *line) close() {
	l.mu.Lock()
	helpers, conn := l.helpers, l.conn
	l.helpers, l.conn = map[string]*shared[*mux]{}, nil
	l.mu.Unlock()
	for _, h := range helpers {
		if m, ok := h.stop(); ok {
			m.fail(errClosed)
		}
	}
	if conn != nil {
		if c, ok := conn.stop(); ok {
			c.client.Close()
		}
	}
}
