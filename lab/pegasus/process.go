package pegasus

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/lab/pegasus/internal/config"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
	"github.com/pegbook/pegbook/lab/pegasus/internal/release"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// Phases of a starting server as its clients see them.
const (
	deaf      int32 = iota // requests are read and forgotten
	noHandler              // every request has no handler
	ready
)

// process is a running server, whatever its role.
type process struct {
	Options
	config *config.Config
	role   string
	of     release.Release
	self   peer.Addr
	start  time.Time
	log    *logFile
	actor  actor
	// changes is a file that is told of what the process is told to change; "" none.
	changes string

	life  context.Context //nolint:containedctx // it is the process: it ends with it, and its cause is the exit
	die   context.CancelCauseFunc
	tasks sync.WaitGroup

	tcp net.Listener
	udp *net.UDPConn

	phase    atomic.Int32
	control  *config.Control
	counters snapshot

	mu     sync.Mutex // guards open, closed
	open   map[io.Closer]bool
	closed bool
}

// actor is a role: what a meta, a replica server or a collector does.
type actor interface {
	// run is the role's life; it returns when ctx is done.
	run(ctx context.Context)
	// answer handles a request; nil means no answer.
	answer(ctx context.Context, in *wire.Incoming) []byte
	// handlers are the messages of other servers it takes.
	handlers() map[string]peer.Handler
	// datagram takes a beacon or the answer to one.
	datagram(from peer.Addr, body []byte)
	// command answers a remote command that is the role's own.
	command(ctx context.Context, name string, args []string) (string, bool)
	// set changes a flag by HTTP; ok is false when the role has no such flag.
	set(key string, value int64) (ok bool)
	// http answers a path that is the role's own.
	http(path string, query []param) (httpReply, bool)
	// calls are the role's HTTP paths with their help.
	calls() map[string]string
	// measure gives the live counters.
	measure() []counter
	// slowToStop tells whether SIGTERM takes a moment, because the server serves something.
	slowToStop() bool
}

func (p *process) listen() error {
	lc := net.ListenConfig{}
	tcp, err := lc.Listen(p.life, "tcp", p.self.String())
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			p.log.Line('E', "asio_net_provider.cpp:146:start()", "asio tcp acceptor bind failed, error = Address already in use")
		} else {
			p.log.Line('E', "asio_net_provider.cpp:146:start()", "asio tcp acceptor bind failed, error = %v", err)
		}
		return errors.New("rpc_engine.cpp:437:create_network(): assertion expression: " +
			"[net->start(netcs.channel, netcs.port, client_only) == ERR_OK] ERR_NETWORK_INIT_FAILED vs ERR_OK create network failed")
	}
	p.tcp = tcp
	p.track(tcp)
	p.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(p.self))
	if err != nil {
		return fmt.Errorf("asio_net_provider.cpp:378:start(): asio udp socket bind failed: %w", err)
	}
	p.track(p.udp)
	return nil
}

// track has c closed when the process ends; false when it has ended already.
func (p *process) track(c io.Closer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
		return false
	}
	p.open[c] = true
	return true
}

func (p *process) untrack(c io.Closer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
	c.Close()
}

func (p *process) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for c := range p.open {
		c.Close()
	}
	clear(p.open)
}

func (p *process) accept() {
	for {
		c, err := p.tcp.Accept()
		if err != nil {
			if p.life.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			pause(p.life, 10*time.Millisecond) // out of descriptors, for example
			continue
		}
		if p.track(c) {
			p.tasks.Go(func() {
				defer p.untrack(c)
				p.connection(c)
			})
		}
	}
}

// connection tells the protocol by its first four bytes, as the real server.
func (p *process) connection(c net.Conn) {
	r := bufio.NewReader(c)
	magic, err := r.Peek(4)
	if err != nil {
		return
	}
	switch string(magic) {
	case peer.Magic:
		_, _ = r.Discard(len(magic)) // it is buffered
		_ = peer.Serve(p.life, r, c, p.actor.handlers())
	case "GET ", "POST":
		p.serveHTTP(c, r)
	default:
		p.serveRPC(c, r)
	}
}

func (p *process) serveRPC(c net.Conn, r *bufio.Reader) {
	var mu sync.Mutex // guards writing to c
	for p.life.Err() == nil {
		in, err := wire.ReadIncoming(r, wire.AddressOf(p.self))
		if err != nil {
			var bad *wire.FrameError
			if errors.As(err, &bad) && bad.Fatal {
				p.hazard("from %s: %s", c.RemoteAddr(), bad.Problem)
			}
			return
		}
		if p.role == "meta" && in.PID.App > 0 {
			p.hazard("from %s: %s with partition %s in its header, sent to a meta server", c.RemoteAddr(), in.Code, in.PID)
			return
		}
		if p.phase.Load() == deaf || p.config.Sim().Hung && !simulators(in) {
			continue
		}
		p.tasks.Go(func() {
			reply := p.answer(in)
			if reply == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			_, _ = c.Write(reply) // the reader notices a dead connection
		})
	}
}

// simulators is a request to the simulator itself: it is answered even by a
// server that answers nothing.
func simulators(in *wire.Incoming) bool {
	cmd, ok := in.Request.(*wire.CommandRequest)
	return ok && strings.HasPrefix(cmd.Command, "sim.")
}

// watchControl takes up what tests write to the control file.
func (p *process) watchControl() { p.control.Watch(p.life, p.takeControl) }

func (p *process) takeControl(changed bool, err error) {
	switch {
	case err != nil:
		p.log.Line('E', "simulator.cpp:1:control()", "%v", err)
	case changed:
		p.log.Line('W', "simulator.cpp:1:control()", "simulator: faults are now: %s", p.config.Faults())
	}
}

func (p *process) answer(in *wire.Incoming) []byte {
	if p.phase.Load() == noHandler && !in.Data() {
		return in.Reply(wire.HandlerNotFound, nil)
	}
	if !p.hasProcedure(in.Code) {
		return in.Reply(wire.HandlerNotFound, nil)
	}
	if cmd, ok := in.Request.(*wire.CommandRequest); ok && p.role != "collector" {
		return in.Reply(wire.OK, &wire.CommandResponse{Text: p.worded(cmd.Command, cmd.Arguments)})
	}
	return p.actor.answer(p.life, in)
}

// hasProcedure tells of the procedures that not all releases have.
func (p *process) hasProcedure(code wire.Code) bool {
	switch code {
	case wire.CodeRenameApp:
		return p.release() >= release.R25
	case wire.CodeMaxReplicaCount, wire.CodeSetMaxReplicaCount:
		return p.release() >= release.R24
	case wire.CodeStartBackup, wire.CodeQueryBackup:
		return p.release() >= release.R23
	}
	return true
}

// receive takes datagrams: Magic, then JSON.
func (p *process) receive() {
	buf := make([]byte, 4096)
	for {
		n, from, err := p.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if p.life.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an ICMP error of an earlier datagram
		}
		if n > len(peer.Magic) && string(buf[:len(peer.Magic)]) == peer.Magic && !p.config.Sim().Hung {
			p.actor.datagram(peer.Addr(from), append([]byte(nil), buf[len(peer.Magic):n]...))
		}
	}
}

// send sends a datagram; one that is lost is like any lost beacon.
func (p *process) send(to peer.Addr, body []byte) {
	_, _ = p.udp.WriteToUDPAddrPort(append([]byte(peer.Magic), body...), to)
}

func (p *process) sendJSON(to peer.Addr, ack peer.BeaconAck) {
	if raw, err := json.Marshal(ack); err == nil {
		p.send(to, raw)
	}
}

// startUp goes through the phases of a starting server that come before the
// role has anything to say.
func (p *process) startUp(ctx context.Context) {
	half := p.config.Scaled(p.config.Sim().Start) / 2
	pause(ctx, half)
	p.phase.Store(noHandler)
	pause(ctx, half)
}
