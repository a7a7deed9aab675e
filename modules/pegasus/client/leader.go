package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// NoLeaderError is a cluster in which no meta server leads.
type NoLeaderError struct {
	// Waited is how long the client looked.
	Waited time.Duration
	// Seen says of each meta server what it answered, such as "standby" or the reason it did not.
	Seen map[string]string
}

// Error lists every meta server with what it said.
func (e *NoLeaderError) Error() string {
	var said []string
	for addr, what := range e.Seen {
		said = append(said, addr+" "+what)
	}
	slices.Sort(said)
	return fmt.Sprintf("no meta server led within %s (%s); look at the meta servers' logs and at ZooKeeper",
		e.Waited.Round(time.Second), strings.Join(said, "; "))
}

// Leader gives the address of the leading meta server, waiting for one within the client's bound.
func (c *Client) Leader(ctx context.Context) (string, error) {
	c.mu.Lock()
	known := c.leader
	c.mu.Unlock()
	if known != "" {
		return known, nil
	}
	start := time.Now()
	var looked time.Duration
	for {
		began := time.Now()
		leader, seen := c.probe(ctx)
		if leader != "" {
			c.mu.Lock()
			c.leader = leader
			c.mu.Unlock()
			return leader, nil
		}
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if err := c.barredBy(); err != nil {
			return "", err
		}
		// Answers are waited for no longer than that. Where it took longer this process stood still (the machine slept,
		// somebody stopped it), and what it found after waking up says nothing about the servers.
		looked += min(time.Since(began), c.opt.AnswerTimeout) + leaderPause
		if looked > c.opt.LeaderTimeout {
			return "", &NoLeaderError{Waited: time.Since(start), Seen: seen}
		}
		c.opt.Note("waiting for a leading meta server: %s", strings.Join(sortedSeen(seen), "; "))
		if err := pause(ctx, leaderPause); err != nil {
			return "", err
		}
	}
}

const leaderPause = 500 * time.Millisecond

func sortedSeen(seen map[string]string) []string {
	var said []string
	for addr, what := range seen {
		said = append(said, addr+" "+what)
	}
	slices.Sort(said)
	return said
}

// forget makes the next Leader look again.
func (c *Client) forget(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leader == addr {
		c.leader = ""
	}
}

// probe asks all meta servers at once. Only the leader answers OK. A standby may know a leader that is
// not on the client's list.
func (c *Client) probe(ctx context.Context) (leader string, seen map[string]string) {
	seen = map[string]string{}
	leader = c.probeAll(ctx, c.metas, seen)
	if leader != "" {
		return leader, seen
	}
	for _, addr := range c.metas {
		if seen[addr] != standsBy {
			continue
		}
		named := c.namedLeader(ctx, addr)
		if named == "" || slices.Contains(c.metas, named) {
			continue
		}
		return c.probeAll(ctx, []string{named}, seen), seen
	}
	return "", seen
}

func (c *Client) probeAll(ctx context.Context, metas []string, seen map[string]string) string {
	type finding struct{ addr, what string }
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := make(chan finding, len(metas))
	for _, addr := range metas {
		go func() { found <- finding{addr, c.role(ctx, addr)} }()
	}
	for range metas {
		f := <-found
		seen[f.addr] = f.what
		if f.what == leads {
			return f.addr
		}
	}
	return ""
}

// MetaState is what a meta server is at the moment.
type MetaState struct {
	Addr string `json:"address"`
	// State is leader, standby, or down where it answers nothing that a meta server at work would.
	State string `json:"state"`
	// Said is the state in words.
	Said string `json:"said"`
}

// MetaStates asks every meta server of the client's list what it is. A leader that is on no list but
// that a standby names stands last.
func (c *Client) MetaStates(ctx context.Context) []MetaState {
	said := make([]string, len(c.metas))
	var group sync.WaitGroup
	for i, addr := range c.metas {
		group.Go(func() { said[i] = c.role(ctx, addr) })
	}
	group.Wait()
	var states []MetaState
	for i, addr := range c.metas {
		states = append(states, metaState(addr, said[i]))
	}
	if i := slices.Index(said, standsBy); i >= 0 && !slices.Contains(said, leads) {
		if named := c.namedLeader(ctx, c.metas[i]); named != "" && !slices.Contains(c.metas, named) {
			states = append(states, metaState(named, c.role(ctx, named)))
		}
	}
	return states
}

func metaState(addr, said string) MetaState {
	m := MetaState{Addr: addr, State: "down", Said: said}
	switch said {
	case leads:
		m.State = "leader"
	case standsBy:
		m.State = "standby"
	}
	return m
}

const (
	leads    = "leads"
	standsBy = "is a standby"
)

// role says what a meta server is at the moment, in words that stand behind its address.
func (c *Client) role(ctx context.Context, addr string) string {
	_, err := ask(ctx, c, addr, &wire.ClusterInfoRequest{})
	var refused *ServerError
	var silent *NoAnswerError
	switch {
	case err == nil:
		return leads
	case errors.As(err, &refused):
		switch refused.Err {
		case wire.ForwardToOthers:
			return standsBy
		case wire.ServiceNotActive, wire.HandlerNotFound:
			return "is starting or no meta server (" + string(refused.Err) + ")"
		}
		return "answered " + string(refused.Err)
	case errors.As(err, &silent):
		if silent.Sent {
			return "did not answer"
		}
		return "cannot be reached (" + lastWords(silent.Err) + ")"
	}
	return err.Error()
}

// lastWords is the end of an error's text: what remains of "dial tcp 10.0.0.1:34601: connect: connection refused".
func lastWords(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+2:]
	}
	return text
}

// namedLeader is who a standby says leads.
func (c *Client) namedLeader(ctx context.Context, standby string) string {
	reply, err := ask(ctx, c, standby, &wire.QueryConfigRequest{AppName: "temp"})
	var refused *ServerError
	if !errors.As(err, &refused) || refused.Err != wire.ForwardToOthers || reply == nil || len(reply.Partitions) == 0 {
		return ""
	}
	if named := reply.Partitions[0].Primary; named != 0 {
		return named.String()
	}
	return ""
}

// Read asks the leader, following it when it changes and asking again when there is no answer.
func Read[R wire.Reply](ctx context.Context, c *Client, req wire.AdminRequest[R]) (R, error) {
	return toLeader(ctx, c, req, true)
}

// Order has the leader do something. It is sent again only when it certainly was not carried out; a
// *NoAnswerError with Sent set leaves that open, and the caller must look at the cluster.
func Order[R wire.Reply](ctx context.Context, c *Client, req wire.AdminRequest[R]) (R, error) {
	return toLeader(ctx, c, req, false)
}

func toLeader[R wire.Reply](ctx context.Context, c *Client, req wire.AdminRequest[R], again bool) (R, error) {
	start := time.Now()
	for {
		var reply R
		addr, err := c.Leader(ctx)
		if err != nil {
			return reply, err
		}
		reply, err = ask(ctx, c, addr, req)
		if err == nil || ctx.Err() != nil {
			return reply, err
		}
		if !c.lostLeader(ctx, addr, err) {
			return reply, err
		}
		c.forget(addr)
		var silent *NoAnswerError
		if errors.As(err, &silent) && silent.Sent && !again || time.Since(start) > c.opt.LeaderTimeout {
			return reply, err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return reply, err
		}
	}
}

// lostLeader says whether an error means that addr does not lead. Some procedures of a standby refuse
// the parameters instead of saying so; then its role is asked for.
func (c *Client) lostLeader(ctx context.Context, addr string, err error) bool {
	var silent *NoAnswerError
	if errors.As(err, &silent) {
		return true
	}
	var refused *ServerError
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.Err {
	case wire.ForwardToOthers, wire.ServiceNotActive:
		return true
	case wire.InvalidParameters, wire.AppNotExist, wire.HandlerNotFound:
		// A leader of an older release knows less procedures, and one that starts knows none yet.
		return c.role(ctx, addr) != leads
	}
	return false
}
