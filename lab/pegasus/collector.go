package pegasus

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"time"

	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// collectorRole is the collector: it looks at the cluster now and then, and
// nothing depends on it.
type collectorRole struct{ p *process }

var _ actor = (*collectorRole)(nil)

func newCollector(p *process) *collectorRole { return &collectorRole{p} }

func (c *collectorRole) run(ctx context.Context) {
	c.p.startUp(ctx)
	c.p.phase.Store(ready)
	tick := time.NewTicker(max(c.p.config.Scaled(10*time.Second), 100*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.detect(ctx)
		}
	}
}

// detect logs whether a meta leads.
func (c *collectorRole) detect(ctx context.Context) {
	for _, m := range c.p.config.Metas {
		if leads(ctx, m) {
			c.p.log.Line('I', "available_detector.cpp:230:on_detect()", "available_detector, detect ok, leader = %s", m)
			return
		}
	}
	c.p.log.Line('W', "available_detector.cpp:240:on_detect()", "available_detector, no meta server leads")
}

func leads(ctx context.Context, m peer.Addr) bool {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "tcp", m.String())
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second)) // a fresh connection takes it
	if _, err := conn.Write(wire.EncodeAdmin(1, time.Second, &wire.ClusterInfoRequest{})); err != nil {
		return false
	}
	a, err := wire.ReadAnswer(bufio.NewReader(conn))
	var r wire.ClusterInfoResponse
	return err == nil && a.Err == wire.OK && a.Decode(&r) == nil && r.Err == wire.OK
}

func (c *collectorRole) answer(_ context.Context, in *wire.Incoming) []byte {
	return in.Reply(wire.HandlerNotFound, nil)
}

func (c *collectorRole) handlers() map[string]peer.Handler { return nil }

func (c *collectorRole) datagram(peer.Addr, []byte) {}

func (c *collectorRole) command(_ context.Context, name string, _ []string) (string, bool) {
	return fmt.Sprintf("unknown command '%s'", name), true
}

func (c *collectorRole) set(string, int64) bool { return false }

func (c *collectorRole) http(string, []param) (httpReply, bool) { return httpReply{}, false }

func (c *collectorRole) calls() map[string]string { return nil }

func (c *collectorRole) measure() []counter { return memory() }

func (c *collectorRole) slowToStop() bool { return false }
