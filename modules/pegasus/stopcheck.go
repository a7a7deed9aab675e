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

func stopCheckModule() *modules.Module {
	m := modules.Define("pegasus_stop_check", `May this Pegasus replica server be stopped now?

Reads only, right before a replica server is stopped: what a preflight found minutes ago may have changed. The
task fails with everything that stands against it, after having looked again for settle, as a meta server that
has just taken over calls nodes dead that it has not heard yet:

a meta server leads, and nobody froze it; every other replica server is alive, but for those in dead; each
partition keeps as many replicas on live servers as keep says; the meta server would not freeze the cluster for
having too few servers alive, unless this one is drained or below_freeze_limit says so; and with drained, the
default, that it really is: the meta server counts no replica on it, the server itself counts none that is open,
opening or closing, and the settings that keep the meta server from giving replicas back are in force.

    - pegasus_stop_check:
        meta_servers: 10.0.0.1:34601,10.0.0.2:34601
        node: 10.0.0.11:34801`, proposeStopCheck)
	m.Proves = true
	return m
}

type stopCheckArgs struct {
	clusterArgs
	Node             string        `arg:"node,required" doc:"the replica server, ip:port as the meta server names it"`
	Drained          bool          `arg:"drained" default:"true" doc:"whether it must serve nothing any more"`
	Keep             int           `arg:"keep" default:"2" min:"0" doc:"how many replicas on other live servers every partition must have; below 2 it takes no writes"`
	MinLive          int           `arg:"min_live_nodes" default:"3" min:"1" doc:"the meta server's min_live_node_count_for_unfreeze"`
	Dead             []string      `arg:"dead" doc:"replica servers that may be down already, ip:port each"`
	BelowFreezeLimit bool          `arg:"below_freeze_limit" default:"false" doc:"whether the cluster may freeze although the server serves: what it serves then takes no writes until it is back"`
	Settle           time.Duration `arg:"settle" default:"30s" doc:"how long to look again before what stands against it is believed"`
}

type stopCheckOutput struct {
	Node string `json:"node"`
	// Freezes says that the cluster counts as frozen while the server is down.
	Freezes bool     `json:"freezes"`
	Against []string `json:"against"`
}

func proposeStopCheck(ctx context.Context, call *modules.Call, args stopCheckArgs) (*modules.Proposal, error) {
	s, err := open(call, call.Host, args.clusterArgs)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	out := &stopCheckOutput{Node: args.Node}
	p := &modules.Proposal{Output: out}
	err = s.stopCheck(ctx, args, out)
	var argument *modules.ArgumentError
	if errors.As(err, &argument) || ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		return nil, s.unpredicted(err)
	}
	if out.Freezes {
		p.Message = "the cluster counts as frozen while " + out.Node + " is down: should another server fail meanwhile, its partitions wait until one is back"
	}
	if len(out.Against) > 0 {
		p.Message = "it may not be stopped: " + shortList(out.Against)
		p.Do = func(ctx context.Context, host modules.Host) error { return untilStoppable(ctx, call, host, args, out) }
	}
	return p, nil
}

// untilStoppable looks again for a while.
func untilStoppable(ctx context.Context, call *modules.Call, host modules.Host, args stopCheckArgs, out *stopCheckOutput) error {
	s, err := open(call, host, args.clusterArgs)
	if err != nil {
		return err
	}
	defer s.Close()
	for until := time.Now().Add(args.Settle); ; {
		err := s.stopCheck(ctx, args, out)
		if err == nil && len(out.Against) == 0 {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("%s may not be stopped:\n%s", args.Node, strings.Join(out.Against, "\n"))
		}
		if time.Now().After(until) || ctx.Err() != nil {
			return err
		}
		call.Note("looking again: %v", err)
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// stopCheck collects what stands against stopping the node.
func (s *session) stopCheck(ctx context.Context, args stopCheckArgs, out *stopCheckOutput) error {
	out.Against, out.Freezes = []string{}, false
	var v *client.View
	percentage, settings := "", error(nil)
	group, within := errgroup.WithContext(ctx)
	group.Go(func() (err error) { v, err = s.view(within); return err })
	group.Go(func() (err error) {
		percentage, err = s.setting(within, settingLivePercentage)
		var refused *client.CommandError
		if errors.As(err, &refused) {
			err = nil
		}
		return err
	})
	group.Go(func() error {
		if err := s.mayReconfigure(within); err != nil {
			return err
		}
		if args.Drained {
			settings = s.needs(within, refillStopped())
		}
		return nil
	})
	err := group.Wait()
	var frozen *frozenError
	if err != nil && !errors.As(err, &frozen) {
		return err
	}
	if err != nil {
		out.Against = append(out.Against, err.Error())
		return nil
	}
	node, err := findNode(v, args.Node)
	if err != nil {
		return err
	}
	out.Node = node.Node.String()
	if settings != nil {
		out.Against = append(out.Against, settings.Error())
	}
	out.others(v, node, args, percentage)
	if args.Drained {
		return s.provedDrained(ctx, v, node, out)
	}
	return nil
}

// others looks at what is left without the node.
func (o *stopCheckOutput) others(v *client.View, node wire.NodeInfo, args stopCheckArgs, percentage string) {
	up := alive(v)
	living := 0
	for _, n := range v.Nodes {
		switch {
		case n.Node == node.Node || n.Node.Address == node.Node.Address:
			delete(up, n.Node.Address)
		case n.Status == wire.NodeAlive:
			living++
		case !slices.Contains(args.Dead, n.Node.String()) && !slices.Contains(args.Dead, n.Node.Address.String()):
			o.Against = append(o.Against, fmt.Sprintf("replica server %s is %s; a second one would be down (name it in dead, if that is known)", n.Node, n.Status))
		}
	}
	if why := wouldFreeze(len(v.Nodes), living, args.MinLive, percentage); why != "" {
		if o.Freezes = true; !args.Drained && !args.BelowFreezeLimit {
			o.Against = append(o.Against, "the cluster freezes while it is down: "+why+"; drain it first, or say below_freeze_limit: true")
		}
	}
	var thin []string
	for i := range v.Tables {
		for _, p := range v.Tables[i].Partitions {
			left := 0
			for _, member := range append(slices.Clone(p.Secondaries), p.Primary) {
				if up[member] {
					left++
				}
			}
			if left < args.Keep {
				thin = append(thin, fmt.Sprintf("%s %s (%d)", v.Tables[i].Name, p.PID, left))
			}
		}
	}
	if len(thin) > 0 {
		o.Against = append(o.Against, refusal(fmt.Sprintf("fewer than %s on other live servers have", plural(args.Keep, "replica")), thin).Error())
	}
}

// provedDrained asks the meta server's view and the node itself.
func (s *session) provedDrained(ctx context.Context, v *client.View, node wire.NodeInfo, out *stopCheckOutput) error {
	if err := drained(v, node); err != nil {
		out.Against = append(out.Against, err.Error())
		return nil
	}
	addr := node.Node.Address.String()
	if closed, ok := s.predicted("closed/" + addr); ok && closed == "yes" {
		return nil
	}
	held, err := s.Counts(ctx, addr)
	switch {
	case err != nil:
		out.Against = append(out.Against, err.Error())
	case !held.None():
		out.Against = append(out.Against, fmt.Sprintf("replica server %s still has %s; close_replicas comes first", node.Node, held))
	}
	return nil
}
