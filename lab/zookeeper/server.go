// Package zookeeper is a small standalone ZooKeeper for the lab and for tests: one process without Java,
// up at once. It speaks the real client protocol: sessions that survive a reconnect, persistent,
// ephemeral, sequential and container nodes, versions, watches, multi, and the four-letter words.
//
// It is no replacement for a real one: there is no ensemble, access lists are kept but not enforced,
// and without a snapshot file the data ends with the server. Its tests run against a real ZooKeeper as
// well, so that both behave alike.
package zookeeper

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Options are how a server is started.
type Options struct {
	// Addr is where to listen, host:port; port 0 takes a free one.
	Addr string
	// Tick is ZooKeeper's tickTime; 0 is 2 s. A session's timeout lies between 2 and 20 ticks.
	Tick time.Duration
	// Snapshot is the file that keeps nodes and sessions over a restart; "" keeps nothing. It is
	// written within a second of a change and when Serve ends.
	Snapshot string
	// Log takes what happens, for developers; nil discards it.
	Log *slog.Logger
}

// Server is a listening server. It answers while Serve runs.
type Server struct {
	options  Options
	listener net.Listener
	log      *slog.Logger
	started  time.Time

	mu       sync.Mutex // guards everything below
	tree     *tree
	watches  *watches
	sessions map[int64]*session
	conns    map[*conn]bool
	zxid     int64
	last     int64 // session id given out last
	secret   []byte
	dirty    bool
	down     bool // see Fault
	received int64
	sent     int64
	wg       sync.WaitGroup
}

// session is a client's, which outlives its connections until it has been silent for its timeout.
type session struct {
	id       int64
	timeout  time.Duration
	deadline time.Time
	conn     *conn // nil between connections
}

// Listen starts listening and reads the snapshot. Nothing is answered before Serve.
func Listen(ctx context.Context, o Options) (*Server, error) {
	if o.Tick == 0 {
		o.Tick = 2 * time.Second
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		options: o, log: log, started: time.Now(),
		tree: newTree(), watches: newWatches(),
		sessions: map[int64]*session{}, conns: map[*conn]bool{},
		secret: make([]byte, 16),
	}
	// As the real server: the high byte is the server's number, then the time, so that ids of
	// different lives of the server differ.
	s.last = time.Now().UnixMilli() << 24 >> 8 & (1<<56 - 1)
	if _, err := rand.Read(s.secret); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen for ZooKeeper: %w", err)
	}
	s.listener = listener
	return s, nil
}

// Addr is where the server listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Serve answers until ctx is done; then it closes every connection, waits for them and saves. It is
// called once.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		s.listener.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			c.close()
		}
	})
	defer stop()
	s.wg.Go(func() { s.tick(ctx) })
	err := s.accept(ctx)
	cancel()
	s.wg.Wait()
	return errors.Join(err, s.save())
}

func (s *Server) accept(ctx context.Context) error {
	for {
		nc, err := s.listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				nc.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept a ZooKeeper client: %w", err)
		}
		c := newConn(s, nc)
		if !s.enter(c) {
			nc.Close()
			continue
		}
		s.wg.Go(c.serve)
		if ctx.Err() != nil { // AfterFunc may have run between Accept and the entry in conns
			c.close()
		}
	}
}

// enter counts a connection in, unless nobody is let in.
func (s *Server) enter(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.down {
		s.conns[c] = true
	}
	return !s.down
}

// tick ends silent sessions, removes containers that are done with, and saves.
func (s *Server) tick(ctx context.Context) {
	ticker := time.NewTicker(s.options.Tick / 2)
	defer ticker.Stop()
	saved, swept := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			s.expire(now)
			if now.Sub(swept) > time.Minute {
				s.sweep()
				swept = now
			}
			if now.Sub(saved) >= time.Second {
				if err := s.save(); err != nil {
					s.log.Error("save the ZooKeeper snapshot", "err", err)
				}
				saved = now
			}
		}
	}
}

// sweep removes containers that had children and have none left.
func (s *Server) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, n := range s.tree.nodes {
		if n.stat.EphemeralOwner == containerOwner && n.creates > 0 && len(n.children) == 0 {
			x := s.begin(0)
			x.remove(path, n)
			s.commit(x)
		}
	}
}

func (s *Server) begin(session int64) *txn {
	s.zxid++
	return &txn{tree: s.tree, zxid: s.zxid, now: time.Now().UnixMilli(), session: session}
}

func (s *Server) commit(x *txn) {
	s.dirty = true
	for _, e := range x.events {
		s.watches.fire(e)
	}
}

// end removes a session with its ephemeral nodes.
func (s *Server) end(session *session) {
	x := s.begin(session.id)
	x.removeOwned(session.id)
	delete(s.sessions, session.id)
	s.commit(x)
}

// attach makes or finds the session that a client asks for. nil means that it has expired, or that
// the password is not its own.
func (s *Server) attach(c *conn, r connectRequest) *session {
	timeout := time.Duration(r.timeout) * time.Millisecond
	timeout = min(max(timeout, 2*s.options.Tick), 20*s.options.Tick)
	var found *session
	if r.session == 0 {
		s.last++
		s.begin(0)
		found = &session{id: s.last}
		s.sessions[found.id] = found
		s.dirty = true
	} else {
		found = s.sessions[r.session]
		if found == nil || !hmac.Equal(s.password(found.id), r.password) {
			return nil
		}
		if found.conn != nil {
			found.conn.close()
		}
	}
	found.timeout, found.conn = timeout, c
	found.touch()
	return found
}

func (s *session) touch() { s.deadline = time.Now().Add(s.timeout) }

// password proves to us that a client that comes back owns the session.
func (s *Server) password(id int64) []byte {
	h := hmac.New(sha256.New, s.secret)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(id)))
	return h.Sum(nil)[:16]
}
