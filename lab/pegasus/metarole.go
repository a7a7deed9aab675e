package pegasus

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/pegbook/pegbook/lab/pegasus/internal/meta"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// metaRole is a meta server: a standby until the lock is its own.
type metaRole struct {
	p      *process
	keep   *zooKeeper
	client *peer.Client
	resign chan struct{}

	mu         sync.Mutex // guards all below
	state      *meta.State
	activating bool // has the lock, not yet the tables
	leader     peer.Addr
	percentage int64 // meta.live_percentage of a standby
}

var _ actor = (*metaRole)(nil)

func newMeta(p *process) *metaRole {
	m := &metaRole{p: p, keep: newZooKeeper(p), client: peer.NewClient(p.self), resign: make(chan struct{}, 1),
		percentage: p.config.LivePercentage}
	p.track(m)
	return m
}

// Close ends connections, and on SIGTERM the session; a crash leaves the
// session to its time-out.
func (m *metaRole) Close() error {
	m.client.Close()
	if m.p.life.Err() == nil {
		m.keep.close()
	} else {
		m.keep.abandon()
	}
	return nil
}

func (m *metaRole) run(ctx context.Context) {
	m.p.startUp(ctx)
	if err := m.keep.open(ctx); err != nil {
		if ctx.Err() == nil {
			m.p.abort("meta_service.cpp:98:remote_storage_initialize(): %v", err)
		}
		return
	}
	m.p.log.Line('I', "meta_service.cpp:227:remote_storage_initialize()", "init meta_state_service succeed, cluster_root = %s", m.p.config.ClusterRoot)
	m.p.phase.Store(ready)
	for ctx.Err() == nil {
		for m.p.config.Sim().Resign && ctx.Err() == nil { // it has no lock node and so stands for nothing
			m.keep.look(m.follow)
			pause(ctx, 100*time.Millisecond)
		}
		lost, err := m.keep.elect(ctx, m.follow)
		if err == nil {
			err = m.lead(ctx, lost)
		}
		if err != nil && ctx.Err() == nil {
			m.p.log.Line('E', "meta_server_failure_detector.cpp:150:acquire_leader_lock()", "%v", err)
			if errors.Is(err, errLocked) || errors.Is(err, meta.ErrNotEmpty) {
				m.p.abort("%v", err)
			}
			// The real server exits and its supervisor starts it again; the lab has
			// none. Either way another leads, and what was in memory is gone.
			m.follow(peer.Addr{})
			pause(ctx, m.p.config.Scaled(time.Second))
		}
	}
}

func (m *metaRole) follow(a peer.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leader = a
}

// errLost is the end of a session while leading.
var errLost = errors.New("the leader lock is lost")

// lead serves until the lock is lost or given up.
func (m *metaRole) lead(ctx context.Context, lost <-chan struct{}) error {
	m.p.log.Line('I', "meta_service.cpp:416:start()", "%s got the primary lock, start to recover server state from remote storage", m.p.self)
	m.turn(nil, true)
	pause(ctx, m.p.config.Scaled(15*time.Millisecond))
	reign, end := context.WithCancel(ctx)
	defer end()
	state, err := meta.Open(reign, meta.Options{Config: m.p.config, Release: m.p.release(), Self: m.p.self, Store: m.keep,
		Send: m.propose, Backup: m.backup, Inventory: m.inventory, Log: m.p.log.Line, Now: time.Now,
		Dead: func(a peer.Addr) { m.p.told("calls %s dead", a) }})
	if err != nil {
		return err
	}
	m.turn(state, false)
	defer m.turn(nil, false)
	m.p.log.Line('I', "meta_service.cpp:468:start()", "start meta_service succeed")
	m.p.told("leads")
	var tasks sync.WaitGroup
	tasks.Go(func() { state.Run(reign) })
	defer tasks.Wait()
	defer end()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-lost:
		return errLost
	case <-m.told(reign):
		m.p.log.Line('W', "meta_service.cpp:480:stop()", "simulator: leadership given up")
		m.turn(nil, false)
		m.follow(peer.Addr{})
		return m.keep.resign()
	}
}

// told is closed when the leader is to give up the lead.
func (m *metaRole) told(ctx context.Context) <-chan struct{} {
	out := make(chan struct{})
	m.p.tasks.Go(func() {
		for {
			changed := m.p.config.Changed() // before the look at what it is
			if m.p.config.Sim().Resign {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-m.resign:
				close(out)
				return
			case <-changed:
			}
		}
		close(out)
	})
	return out
}

func (m *metaRole) turn(s *meta.State, activating bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state, m.activating = s, activating
}

func (m *metaRole) view() (s *meta.State, activating bool, leader peer.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, m.activating, m.leader
}

// propose sends an order to a replica server and does not wait.
func (m *metaRole) propose(to peer.Addr, o peer.Proposal) {
	m.p.tasks.Go(func() {
		ctx, stop := context.WithTimeout(m.p.life, m.p.config.Scaled(5*time.Second)+time.Second)
		defer stop()
		if _, err := peer.Call[peer.Proposal, peer.Reply](ctx, m.client, to, "proposal", o); err != nil {
			m.p.log.Line('W', "server_state.cpp:1400:send_proposal()", "%s to %s: %v", o.Config.PID, to, err)
		}
	})
}

// backup has a primary write its contents to a folder.
func (m *metaRole) backup(ctx context.Context, to peer.Addr, q peer.BackupRequest) error {
	ctx, stop := context.WithTimeout(ctx, m.p.config.Scaled(30*time.Second)+time.Second)
	defer stop()
	r, err := peer.Call[peer.BackupRequest, peer.Reply](ctx, m.client, to, "backup", q)
	if err == nil && r.Err != meta.OK {
		err = errors.New(r.Err)
	}
	return err
}

// inventory asks a replica server for all that it holds.
func (m *metaRole) inventory(ctx context.Context, of peer.Addr) (peer.Inventory, error) {
	ctx, stop := context.WithTimeout(ctx, m.p.config.Scaled(10*time.Second)+time.Second)
	defer stop()
	return peer.Call[peer.InventoryRequest, peer.Inventory](ctx, m.client, of, "inventory", peer.InventoryRequest{})
}

func (m *metaRole) datagram(from peer.Addr, body []byte) {
	var b peer.Beacon
	if json.Unmarshal(body, &b) != nil || m.p.phase.Load() != ready {
		return
	}
	s, _, leader := m.view()
	ack := peer.BeaconAck{From: m.p.self, Sent: b.Sent, Leader: leader}
	if s != nil {
		ack.Master, ack.Allowed = true, s.Beacon(b)
	}
	m.p.sendJSON(from, ack)
}

func (m *metaRole) handlers() map[string]peer.Handler {
	return map[string]peer.Handler{
		"config_sync": peer.Handle(func(_ context.Context, q peer.ConfigSync) peer.ConfigSyncReply {
			if s, _, _ := m.view(); s != nil && !m.p.config.Sim().Hung {
				return s.ConfigSync(q)
			}
			return peer.ConfigSyncReply{Err: string(wire.ForwardToOthers)}
		}),
		"update_config": peer.Handle(func(ctx context.Context, u peer.Update) peer.UpdateReply {
			if s, _, _ := m.view(); s != nil && !m.p.config.Sim().Hung {
				return s.Update(ctx, u)
			}
			return peer.UpdateReply{Err: string(wire.ForwardToOthers)}
		}),
	}
}

func (m *metaRole) command(ctx context.Context, name string, args []string) (string, bool) {
	s, _, _ := m.view()
	switch name {
	case "sim.failover":
		if s == nil {
			return "ERR: not the leader", true
		}
		select {
		case m.resign <- struct{}{}:
		default: // it is on its way
		}
		return "OK", true
	}
	if s != nil {
		return s.Command(name, args)
	}
	if name == "meta.live_percentage" {
		m.mu.Lock()
		defer m.mu.Unlock()
		return meta.StandbyPercentage(&m.percentage, m.p.config.LivePercentage, args), true
	}
	return "", false
}

func (m *metaRole) measure() []counter {
	unalive := 0
	if s, _, _ := m.view(); s != nil {
		for _, n := range s.Nodes() {
			if !n.Alive {
				unalive++
			}
		}
	}
	return append([]counter{{"meta*eon.meta_service*unalive_nodes", "current count of unalive nodes", float64(unalive)}}, memory()...)
}

func (m *metaRole) slowToStop() bool { return false }
