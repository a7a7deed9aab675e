package pegasus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

func closeModule() *modules.Module {
	return modules.Define("close_replicas", `Close the inactive replicas of a drained Pegasus replica server

What replica.kill_partition is for in a rolling update: a replica that is closed writes its memory to disk,
so that the node starts quickly later. The task ends when the node itself counts no replica that is open,
opening or closing (live counters over HTTP where the server has them), and has flushed its log.

Nothing that serves is closed: while the meta server still counts a replica on the node, the task refuses
(migrate_primaries and downgrade_secondaries come first), and a replica that its node still takes for a
primary is waited for. The settings that keep the meta server from giving replicas back (see
downgrade_secondaries) must be in force, too; before each replica is closed they are read again.

    - close_replicas:
        meta_servers: 10.0.0.1:34601,10.0.0.2:34601
        node: 10.0.0.11:34801`, proposeClose)
}

// closeOutput is what was closed.
type closeOutput struct {
	Node    string   `json:"node"`
	Closed  []string `json:"closed"`
	Left    int      `json:"left"`
	Seconds float64  `json:"seconds"`
}

func proposeClose(ctx context.Context, call *modules.Call, args drainArgs) (*modules.Proposal, error) {
	s, err := open(call, call.Host, args.clusterArgs)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	v, err := s.view(ctx)
	if err != nil {
		return nil, err
	}
	node, err := findNode(v, args.Node)
	if err != nil {
		return nil, err
	}
	if err := drained(v, node); err != nil {
		return nil, err
	}
	addr := node.Node.Address.String()
	out := &closeOutput{Node: node.Node.String()}
	held, err := s.Counts(ctx, addr)
	if err != nil {
		return nil, err
	}
	if held.None() && call.Begun != nil { // the flush comes last, and nobody can see whether it came
		return proposeFlush(call, args, out), nil
	}
	if closed, ok := s.predicted("closed/" + addr); held.None() || ok && closed == "yes" {
		return &modules.Proposal{Output: out, Message: "no replica on " + out.Node}, nil
	}
	if err := s.needs(ctx, refillStopped()); err != nil {
		return nil, err
	}
	return &modules.Proposal{
		Output:   out,
		Diff:     []modules.Diff{{Subject: "replicas of " + out.Node, Note: held.String() + " → none"}},
		Predicts: s.predictions("closed/"+addr, "yes"),
		Expects:  closeLook * 3 / 2, // one look closes; the next one, or one more, sees that all are closed
		Do: func(ctx context.Context, host modules.Host) error {
			return closeAll(ctx, call, host, args, out)
		},
	}, nil
}

// proposeFlush does what is left of a close that was cut off when all replicas were closed.
func proposeFlush(call *modules.Call, args drainArgs, out *closeOutput) *modules.Proposal {
	return &modules.Proposal{
		Output: out,
		Diff:   []modules.Diff{{Subject: "log of " + out.Node, Note: "is written to disk, in case that was cut off"}},
		Do: func(ctx context.Context, host modules.Host) error {
			ctx, cancel := context.WithTimeoutCause(ctx, args.Timeout, timeoutCause(args.Timeout, "closing the replicas of "+args.Node))
			defer cancel()
			s, err := open(call, host, args.clusterArgs)
			if err != nil {
				return err
			}
			defer s.Close()
			c := &closer{s: s, out: out, node: args.Node}
			if err := c.prove(ctx); err != nil {
				return err
			}
			return s.flushLog(ctx, c.addr)
		},
	}
}

// drained refuses a node that serves.
func drained(v *client.View, node wire.NodeInfo) error {
	primaries, secondaries := v.Holding(node.Node.Address)
	if primaries+secondaries > 0 {
		return fmt.Errorf("node %s still serves %d primaries and %d secondaries; drain it first with migrate_primaries and downgrade_secondaries",
			node.Node, primaries, secondaries)
	}
	return nil
}

// closeLook is the time between two looks at what is still open.
const closeLook = time.Second

func closeAll(ctx context.Context, call *modules.Call, host modules.Host, args drainArgs, out *closeOutput) error {
	ctx, cancel := context.WithTimeoutCause(ctx, args.Timeout, timeoutCause(args.Timeout, "closing the replicas of "+args.Node))
	defer cancel()
	s, err := open(call, host, args.clusterArgs)
	if err != nil {
		return err
	}
	defer s.Close()
	started := time.Now()
	defer func() { out.Seconds = time.Since(started).Round(100 * time.Millisecond).Seconds() }()
	c := &closer{s: s, out: out, node: args.Node, killed: map[wire.GPID]time.Time{},
		hold: &hold{s: s, level: wire.LevelSteady.String(), want: refillStopped(), guarded: true}}
	doubt := args.patience()
	progress := &progress{call: call, phase: "replicas close", usual: closeTime}
	for {
		held, err := c.round(ctx)
		out.Left = held.Serving + held.Opening + held.Closing
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%w; it still has %s", context.Cause(ctx), held)
		case doubt.ends(err):
			return err
		case err != nil:
			call.Note("looking again: %v", err)
		default:
			progress.left("", modules.Count{Name: countOpen, Left: out.Left})
		}
		if err == nil && held.None() {
			return s.flushLog(ctx, c.addr)
		}
		if err := pause(ctx, closeLook); err != nil {
			return fmt.Errorf("%w; it still has %s", err, held)
		}
	}
}

// closeTime is how long closing takes as a rule where replicas are small.
const closeTime = 5 * time.Second

// closer closes a node's replicas, as often as it takes.
type closer struct {
	s      *session
	out    *closeOutput
	hold   *hold
	node   string
	addr   string
	target wire.Node
	killed map[wire.GPID]time.Time
	// proved is when the meta server was last seen to count no replica on the node.
	proved time.Time
	// before is when the node had last counted when something was last closed; a snapshot from then
	// proves nothing.
	before time.Time
}

// killAgain is how long a replica has to close before it is told again, and proofHolds how long it is believed
// that the meta server counts nothing on the node while the node only closes.
const (
	killAgain  = 15 * time.Second
	proofHolds = 5 * time.Second
)

// round counts what the node has, and closes what nobody is served by.
func (c *closer) round(ctx context.Context) (held client.Held, err error) {
	if changed, err := c.hold.keep(ctx); err != nil {
		return held, err
	} else if changed || time.Since(c.proved) > proofHolds {
		if err := c.prove(ctx); err != nil {
			return held, err
		}
	}
	if held, err = c.s.Counts(ctx, c.addr); err != nil {
		return held, notCounted(err)
	}
	if held.None() && (held.At.IsZero() || held.At.After(c.before)) {
		return held, c.prove(ctx)
	}
	// The list also has replicas that are closed already, so it is the counts that end the work.
	reply, err := client.Ask(ctx, c.s.Client, c.addr, 3, &wire.QueryReplicaRequest{Node: c.target})
	if err != nil {
		return held, err
	}
	due := c.due(reply.Replicas)
	if len(due) > 0 {
		if err := c.mayKill(ctx); err != nil {
			return held, err
		}
		err = c.kill(ctx, due)
		c.before = held.At
	}
	held.Serving = max(held.Serving, 1) // whatever was counted, it was before this
	return held, err
}

// notCounted makes a server that has not counted yet something to wait for.
func notCounted(err error) error {
	var not *client.NotCountedError
	if errors.As(err, &not) {
		return planError{err}
	}
	return err
}

// prove is an error while the meta server counts a replica on the node.
func (c *closer) prove(ctx context.Context) error {
	v, err := c.s.View(ctx)
	if err != nil {
		return err
	}
	node, err := findNode(v, c.node)
	if err != nil {
		return planError{err}
	}
	c.target, c.addr, c.proved = node.Node, node.Node.Address.String(), time.Now()
	return drained(v, node)
}

// mayKill looks once more, right before replicas are closed, at what makes that harmless.
func (c *closer) mayKill(ctx context.Context) error {
	changed, err := c.hold.confirm(ctx)
	if err != nil {
		return err
	}
	if changed || time.Since(c.proved) > time.Second {
		return c.prove(ctx)
	}
	return nil
}

// due are the replicas that are to be closed now: none that its node takes for a primary.
func (c *closer) due(replicas []wire.ReplicaInfo) []wire.GPID {
	var due []wire.GPID
	for _, r := range replicas {
		if r.Status == wire.ReplicaPrimary {
			c.s.note("%s still takes itself for the primary of %s", c.addr, r.PID)
			continue
		}
		if at, ok := c.killed[r.PID]; !ok || time.Since(at) >= killAgain {
			due = append(due, r.PID)
		}
	}
	return due
}

func (c *closer) kill(ctx context.Context, due []wire.GPID) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, pid := range due {
		c.killed[pid] = time.Now()
		if !slices.Contains(c.out.Closed, pid.String()) {
			c.out.Closed = append(c.out.Closed, pid.String())
		}
		group.Go(func() error { return c.s.killPartition(ctx, c.addr, pid) })
	}
	return group.Wait()
}

// killPartition closes one replica; one that is gone is closed.
func (s *session) killPartition(ctx context.Context, addr string, pid wire.GPID) error {
	answer, err := s.Command(ctx, addr, "replica.kill_partition", itoa(int(pid.App)), itoa(int(pid.Index)))
	if unsure(err) {
		return nil // the next round sees what became of it
	}
	if err != nil {
		return err
	}
	if text := strings.TrimSpace(answer.Text); text != "ERR_OK" && text != string(wire.ObjectNotFound) {
		return &client.CommandError{Addr: addr, Command: "replica.kill_partition " + pid.String(), Text: text}
	}
	return nil
}

func (s *session) flushLog(ctx context.Context, addr string) error {
	answer, err := s.Command(ctx, addr, "flush-log")
	if err == nil && answer.Refused() {
		err = &client.CommandError{Addr: addr, Command: "flush-log", Text: answer.Text}
	}
	var refused *client.CommandError
	if errors.As(err, &refused) {
		return nil // some builds have no such command; closing has flushed already
	}
	return err
}
