package lock

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/pegbook/pegbook/modules/zksession"
)

const (
	defaultSession = 10 * time.Second
	connectWait    = 15 * time.Second
	// turnedDown is how often every server may turn the connection down: the list is wrong then, or nothing runs.
	turnedDown = 3
	leaveTime  = 2 * time.Second
	// doubtFor is how many session timeouts a lock may be out of touch with ZooKeeper before it counts as lost:
	// an election takes its time, and sessions outlive it.
	doubtFor = 3
	// queued begins the names of the nodes that wait for a lock.
	queued = "lock-"
)

// ZooKeeper is a lock in ZooKeeper: whoever wants it makes an ephemeral sequential node below Path, and the first
// of them has it. Each waits for the one before it alone.
type ZooKeeper struct {
	Servers []string
	Path    string
	// Timeout is the session's: how long a holder that died keeps others out. 0 is 10 s.
	Timeout time.Duration
	// Auth is user:password of ZooKeeper's digest scheme: the nodes are then that user's alone to change. "" lets
	// everybody change them.
	Auth string
	Dial zksession.Dial
}

var _ Lock = (*ZooKeeper)(nil)

// Name implements Lock.
func (z *ZooKeeper) Name() string { return "the lock " + z.Path + " in ZooKeeper" }

// Key implements Lock.
func (z *ZooKeeper) Key() string { return "zookeeper:" + z.Path }

// errExpired is a session that ZooKeeper has ended.
var errExpired = errors.New("ZooKeeper ended the session")

// Take implements Lock.
func (z *ZooKeeper) Take(ctx context.Context, who Holder, w Wait) (Held, error) {
	deadline := time.Now().Add(w.Limit)
	for {
		held, err := z.take(ctx, who, Wait{Limit: max(0, time.Until(deadline)), Told: w.Told})
		if errors.Is(err, errExpired) && time.Now().Before(deadline) {
			continue // the place in the queue is gone with the session
		}
		var other *HeldError
		if err != nil && !errors.As(err, &other) && ctx.Err() == nil {
			err = fmt.Errorf("%s: %w", z.Name(), err)
		}
		return held, err
	}
}

func (z *ZooKeeper) take(ctx context.Context, who Holder, w Wait) (Held, error) {
	s, err := z.open(ctx)
	if err != nil {
		return nil, err
	}
	if err = s.enter(ctx, who); err == nil {
		err = s.wait(ctx, w)
	}
	var token uint64
	if err == nil {
		token, err = s.count(ctx, who)
	}
	if err != nil {
		_ = s.leave(ctx) // the first error says more
		return nil, err
	}
	k := &kept{name: z.Name(), token: token, every: s.timeout / 4, patience: doubtFor * s.timeout, check: s.check,
		release: func() error { return s.leave(ctx) }}
	s.holds(k.keep(ctx))
	return k, nil
}

// Ask implements Lock.
func (z *ZooKeeper) Ask(ctx context.Context) (State, error) {
	s, err := z.open(ctx)
	if err != nil {
		return State{}, fmt.Errorf("%s: %w", z.Name(), err)
	}
	defer s.closed()
	for {
		waiting, err := s.queue(ctx)
		if errors.Is(err, zk.ErrNoNode) || err == nil && len(waiting) == 0 {
			return State{}, nil
		}
		if err != nil {
			return State{}, fmt.Errorf("%s: %w", z.Name(), err)
		}
		state, err := s.state(ctx, waiting)
		if !errors.Is(err, zk.ErrNoNode) {
			return state, err
		}
	}
}

// place is a session's place in the queue for a lock.
type place struct {
	*ZooKeeper
	conn    *zk.Conn
	closed  func()
	timeout time.Duration
	events  chan zk.Event
	session int64
	owner   string // tells our node from others
	node    string // the whole path; "" before there is one
}

func (z *ZooKeeper) open(ctx context.Context) (*place, error) {
	s := &place{ZooKeeper: z, timeout: z.Timeout, events: make(chan zk.Event, 64)}
	if s.timeout <= 0 {
		s.timeout = defaultSession
	}
	// The session belongs to the run, which ends it; the step that opens it may be over long before.
	opened, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	conn, closed, err := zksession.Connect(opened, zksession.Options{Dial: z.Dial, Servers: z.Servers, Timeout: s.timeout, Wait: connectWait, Rounds: turnedDown,
		Watch: func(e zk.Event) {
			select {
			case s.events <- e:
			default: // whoever listens asks for itself from time to time
			}
		}})
	stop()
	if err != nil {
		cancel(nil)
		return nil, err
	}
	s.conn, s.closed = conn, func() { closed(); cancel(nil) }
	var id [8]byte
	_, _ = rand.Read(id[:])
	s.owner, s.session = queued+hex.EncodeToString(id[:])+"-", s.conn.SessionID()
	if z.Auth != "" {
		err = s.try(ctx, func() error { return s.conn.AddAuth("digest", []byte(z.Auth)) })
	}
	if err != nil {
		s.closed()
		return nil, err
	}
	return s, nil
}

// try does something with ZooKeeper, again where the connection breaks, until the session has ended. What is
// tried may have been done without our knowing.
func (s *place) try(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, doubtFor*s.timeout, errors.New("ZooKeeper does not answer"))
	defer cancel()
	for {
		done := make(chan error, 1)
		go func() { done <- do() }()
		var err error
		select {
		case err = <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		switch {
		case s.conn.SessionID() != s.session && s.session != 0, errors.Is(err, zk.ErrSessionExpired):
			return errExpired
		case errors.Is(err, zk.ErrNoAuth):
			return fmt.Errorf("ZooKeeper lets this user not do that (auth of the lock): %w", err)
		case !brokenWay(err):
			return err
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// brokenWay says whether an error is about the connection; the library gives what it met when it sent, as it is.
func brokenWay(err error) bool {
	var network net.Error
	for _, known := range []error{zk.ErrConnectionClosed, zk.ErrNoServer, io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed} {
		if errors.Is(err, known) {
			return true
		}
	}
	return errors.As(err, &network)
}

// acl is whose the lock's nodes are.
func (s *place) acl() []zk.ACL {
	if s.Auth == "" {
		return zk.WorldACL(zk.PermAll)
	}
	return append(zk.AuthACL(zk.PermAll), zk.WorldACL(zk.PermRead)...)
}

// enter makes our node. Where the answer was lost, it is found again by its name.
func (s *place) enter(ctx context.Context, who Holder) error {
	if err := s.parents(ctx); err != nil {
		return err
	}
	first, node := true, ""
	err := s.try(ctx, func() (err error) {
		if !first {
			waiting, _, err := s.conn.Children(s.Path)
			if err != nil {
				return err
			}
			if i := slices.IndexFunc(waiting, func(name string) bool { return strings.HasPrefix(name, s.owner) }); i >= 0 {
				node = path.Join(s.Path, waiting[i])
				return nil
			}
		}
		first = false
		node, err = s.conn.Create(path.Join(s.Path, s.owner), []byte(who.Note()), zk.FlagEphemeral|zk.FlagSequence, s.acl())
		return err
	})
	if err == nil {
		s.node = node
	}
	return err
}

// parents makes the lock's node and those above it. These are for everybody: other locks may come to stand there.
func (s *place) parents(ctx context.Context) error {
	for i := 1; i <= len(s.Path); i++ {
		if i < len(s.Path) && s.Path[i] != '/' {
			continue
		}
		acl := zk.WorldACL(zk.PermAll)
		if i == len(s.Path) {
			acl = s.acl()
		}
		err := s.try(ctx, func() error {
			exists, _, err := s.conn.Exists(s.Path[:i])
			if err != nil || exists {
				return err
			}
			_, err = s.conn.Create(s.Path[:i], nil, 0, acl)
			return err
		})
		if err != nil && !errors.Is(err, zk.ErrNodeExists) {
			return err
		}
	}
	return nil
}

// queue is the names of the nodes below the lock, the first one has it.
func (s *place) queue(ctx context.Context) ([]string, error) {
	var names []string
	err := s.try(ctx, func() (err error) {
		names, _, err = s.conn.Children(s.Path)
		return err
	})
	names = slices.DeleteFunc(names, func(name string) bool { return turn(name) < 0 })
	slices.SortFunc(names, func(a, b string) int { return turn(a) - turn(b) })
	return names, err
}

// turn is a node's number in the queue; -1 for one that is none of the queue.
func turn(name string) int {
	const digits = 10
	if !strings.HasPrefix(name, queued) || len(name) < len(queued)+digits {
		return -1
	}
	n, err := strconv.Atoi(name[len(name)-digits:])
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// state is who has the lock of a queue.
func (s *place) state(ctx context.Context, waiting []string) (State, error) {
	var note []byte
	err := s.try(ctx, func() (err error) {
		note, _, err = s.conn.Get(path.Join(s.Path, waiting[0]))
		return err
	})
	others := len(waiting) - 1
	if s.node != "" {
		others--
	}
	return State{Held: true, Holder: ParseHolder(string(note)), Waiting: max(0, others)}, err
}

// wait waits until our node is the first. It looks at the one before it only, so that a lock that is given back
// wakes one of those who wait.
func (s *place) wait(ctx context.Context, w Wait) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	deadline := time.Now().Add(w.Limit)
	var told Holder
	for {
		waiting, err := s.queue(ctx)
		if err != nil {
			return err
		}
		at := slices.Index(waiting, path.Base(s.node))
		switch {
		case at < 0:
			return errors.New("somebody removed our node from the queue")
		case at == 0:
			return nil
		}
		state, err := s.state(ctx, waiting)
		if errors.Is(err, zk.ErrNoNode) {
			continue
		}
		if err != nil {
			return err
		}
		left := time.Until(deadline)
		if left <= 0 {
			return &HeldError{Lock: s.Name(), State: state}
		}
		if state.Holder != told {
			told = state.Holder
			w.tell(state)
		}
		if err := s.awaitGone(ctx, path.Join(s.Path, waiting[at-1]), left); err != nil {
			return err
		}
	}
}

// awaitGone waits until a node is gone, something else happens, or the time is over.
func (s *place) awaitGone(ctx context.Context, node string, most time.Duration) error {
	var changed <-chan zk.Event
	exists := false
	err := s.try(ctx, func() (err error) {
		exists, _, changed, err = s.conn.ExistsW(node)
		return err
	})
	if err != nil || !exists {
		return err
	}
	// A watch says when its session has ended; to ask from time to time as well costs next to nothing.
	timer := time.NewTimer(min(most, s.timeout))
	defer timer.Stop()
	select {
	case <-changed:
		return nil
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// record is what the lock's own node keeps: the last token, and who got it.
type record struct {
	Token  uint64 `json:"token"`
	Holder Holder `json:"holder"`
}

// count takes the next token. It is written together with a look at our own node: a session that has ended in
// between counts nothing. ZooKeeper's clock stands in for a count that is lost.
func (s *place) count(ctx context.Context, who Holder) (uint64, error) {
	for range 100 {
		var before []byte
		var was, ours *zk.Stat
		exists := false
		err := s.try(ctx, func() (err error) {
			if before, was, err = s.conn.Get(s.Path); err != nil {
				return err
			}
			exists, ours, err = s.conn.Exists(s.node)
			return err
		})
		if err != nil {
			return 0, err
		}
		if !exists || ours.EphemeralOwner != s.session {
			return 0, errExpired
		}
		next := record{Token: nextToken(before, ours.Ctime), Holder: who}
		text, err := json.Marshal(next)
		if err != nil {
			return 0, err
		}
		err = s.try(ctx, func() error {
			answers, err := s.conn.Multi(&zk.CheckVersionRequest{Path: s.node, Version: ours.Version},
				&zk.SetDataRequest{Path: s.Path, Data: text, Version: was.Version})
			for _, a := range answers {
				if err == nil || errors.Is(a.Error, zk.ErrBadVersion) || errors.Is(a.Error, zk.ErrNoNode) {
					err = a.Error
				}
				if err != nil {
					break
				}
			}
			return err
		})
		switch {
		case err == nil:
			return next.Token, nil
		case errors.Is(err, zk.ErrNoNode):
			return 0, errExpired
		case !errors.Is(err, zk.ErrBadVersion): // or our own answer was lost: what was counted stays unused
			return 0, err
		}
	}
	return 0, errors.New("the lock's node is changed by others all the time")
}

// nextToken is one more than what the lock's node has counted, and no less than ZooKeeper's clock in milliseconds.
func nextToken(before []byte, clock int64) uint64 {
	now := uint64(max(clock, 1)) //nolint:gosec // it is not negative
	var last record
	if json.Unmarshal(before, &last) != nil || last.Token > now+farthest {
		return now // what is no record counts as none
	}
	return max(last.Token+1, now)
}

// farthest is how far a count may be ahead of the clock, in milliseconds: a hundred years. Locks that are taken, and
// clocks that are wrong, come nowhere near; and who wrote the largest number there is would have all who come later
// refused by every host.
const farthest = 100 * 365 * 24 * 60 * 60 * 1000

// check says whether our node is still there.
func (s *place) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout/2, errors.New("ZooKeeper does not answer"))
	defer cancel()
	var stat *zk.Stat
	exists := false
	err := s.try(ctx, func() (err error) {
		exists, stat, err = s.conn.Exists(s.node)
		return err
	})
	switch {
	case errors.Is(err, errExpired):
		return &goneError{err}
	case err != nil:
		return err
	case !exists:
		return gone("its node %s was removed", s.node)
	case stat.EphemeralOwner != s.session:
		return gone("its node %s is another's", s.node)
	}
	return nil
}

// holds listens for what happens to the session of a lock that is held.
func (s *place) holds(k *kept) {
	go func() {
		for {
			select {
			case e := <-s.events:
				switch {
				case e.State == zk.StateExpired:
					k.lose(errExpired)
				case e.State == zk.StateDisconnected:
					k.doubt()
				}
			case <-k.done():
				return
			}
		}
	}()
}

// leave gives the place up, held or not. What cannot be told to ZooKeeper it finds out with the end of the session.
func (s *place) leave(ctx context.Context) error {
	defer s.closed()
	if s.node == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	err := s.try(ctx, func() error { return s.conn.Delete(s.node, -1) })
	if errors.Is(err, zk.ErrNoNode) || errors.Is(err, errExpired) || ctx.Err() != nil {
		return nil
	}
	return err
}
