package pegasus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

func balanceModule() *modules.Module {
	return modules.Define("pegasus_balance", `Spread the replicas of a Pegasus cluster evenly

Sets the level to lively, so that the meta server moves primaries and copies replicas until all nodes have
alike, and back to level_after when it has nothing to move any more: when it said so checks times in a row,
interval apart, as it works in rounds and learns of a copy's end late. only_primaries lets it move primaries
alone, which copies no data.

A balancer works only while every partition is healthy; a node that dies meanwhile ends the task with an
error. However the task ends, the level and only_move_primary are put back. When another meta server takes
over it is told the same. Limit the rate of copying before (pegasus_settings with servers).

    - pegasus_balance:
        meta_servers: 10.0.0.1:34601,10.0.0.2:34601
        only_primaries: true
        timeout: 2h`, proposeBalance)
}

type balanceArgs struct {
	MetaServers   []string      `arg:"meta_servers,required" doc:"the cluster's meta servers, ip:port each; a list, or one text with commas"`
	Timeout       time.Duration `arg:"timeout" default:"12h" doc:"how long the whole task may take"`
	OnlyPrimaries bool          `arg:"only_primaries" default:"false" doc:"move primaries only, and copy no data"`
	Always        bool          `arg:"always" default:"false" doc:"also when the meta server has nothing in mind to move yet, as just after servers were added"`
	LevelAfter    string        `arg:"level_after" default:"steady" choices:"freezed,steady,lively" doc:"level when it is done"`
	Settle        time.Duration `arg:"settle" default:"3m" doc:"how long to wait for the first moves before the first look"`
	Checks        int           `arg:"checks" default:"4" min:"1" doc:"how many looks in a row must find nothing left to move"`
	Interval      time.Duration `arg:"interval" default:"30s" doc:"time between such looks"`
}

func (a balanceArgs) cluster() clusterArgs {
	return clusterArgs{MetaServers: a.MetaServers, Timeout: a.Timeout}
}

// balanceOutput is what was to move before, and how far apart the nodes were and are.
type balanceOutput struct {
	Before  string  `json:"operations_before"`
	After   string  `json:"operations_after"`
	Nodes   []held  `json:"nodes"`
	Seconds float64 `json:"seconds"`
}

// held is what one node has in the end.
type held struct {
	Address     string `json:"address"`
	Primaries   int    `json:"primaries"`
	Secondaries int    `json:"secondaries"`
}

func proposeBalance(ctx context.Context, call *modules.Call, args balanceArgs) (*modules.Proposal, error) {
	s, err := open(call, call.Host, args.cluster())
	if err != nil {
		return nil, err
	}
	defer s.Close()
	out := &balanceOutput{}
	p := &modules.Proposal{Output: out}
	level, err := s.level(ctx)
	if err != nil {
		return nil, err
	}
	sv, err := s.operations(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.balanced(ctx, out); err != nil {
		return nil, err
	}
	out.Before, out.After = sv.Operations, sv.Operations
	// The meta server reckons what it would move at any level, as long as everything is healthy.
	if n, known := sv.operations(); known && n == 0 && level == args.LevelAfter && !args.Always {
		return p, nil
	}
	p.Diff = []modules.Diff{{Subject: "replicas", Note: "spread evenly (" + sv.Operations + ")"}}
	p.Predicts = s.predictions("level", args.LevelAfter)
	p.Do = func(ctx context.Context, host modules.Host) error { return balance(ctx, call, host, args, out) }
	return p, nil
}

// operations reads what the balancer has in mind.
func (s *session) operations(ctx context.Context) (*survey, error) {
	info, err := s.ClusterInfo(ctx)
	if err != nil {
		return nil, s.unpredicted(err)
	}
	sv := &survey{}
	sv.Operations, _ = info.Value("balance_operation_count")
	sv.EffectiveLevel, _ = info.Value("meta_function_level")
	return sv, nil
}

// balanced is an error while the cluster is in no state to be balanced; out gets what each node has.
func (s *session) balanced(ctx context.Context, out *balanceOutput) error {
	v, err := s.view(ctx)
	if err != nil {
		return err
	}
	out.Nodes = []held{}
	missing := v.Missing(nil, true)
	for _, n := range v.Nodes {
		primaries, secondaries := v.Holding(n.Node.Address)
		out.Nodes = append(out.Nodes, held{n.Node.Address.String(), primaries, secondaries})
		if n.Status != wire.NodeAlive {
			missing = append(missing, fmt.Sprintf("node %s is %s", n.Node, n.Status))
		}
	}
	if len(missing) > 0 {
		return planError{fmt.Errorf("the meta server balances a healthy cluster only: %s", shortList(missing))}
	}
	return nil
}

func balance(ctx context.Context, call *modules.Call, host modules.Host, args balanceArgs, out *balanceOutput) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, args.Timeout, timeoutCause(args.Timeout, "balancing"))
	defer cancel()
	s, err := open(call, host, args.cluster())
	if err != nil {
		return err
	}
	defer s.Close()
	started := time.Now()
	defer func() { out.Seconds = time.Since(started).Round(100 * time.Millisecond).Seconds() }()
	h := &hold{s: s, level: wire.LevelLively.String(), want: map[string]string{}}
	before, err := s.Setting(ctx, settingOnlyPrimary)
	var refused *client.CommandError
	switch {
	case err == nil:
		h.want[settingOnlyPrimary] = fmt.Sprint(args.OnlyPrimaries)
	case !errors.As(err, &refused) || args.OnlyPrimaries:
		return err
	}
	defer func() { err = errors.Join(err, s.endBalance(ctx, args.LevelAfter, before)) }()
	if _, err := h.keep(ctx); err != nil {
		return err
	}
	return s.untilBalanced(ctx, h, args, out)
}

// endBalance puts level and setting back, also where the task is being cancelled.
func (s *session) endBalance(ctx context.Context, level, onlyPrimary string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaderWait)
	defer cancel()
	want := map[string]string{}
	if onlyPrimary != "" {
		want[settingOnlyPrimary] = onlyPrimary
	}
	if _, err := s.enforce(ctx, level, want, map[string]string{}); err != nil {
		return fmt.Errorf("the level could not be set back to %s: %w", level, err)
	}
	return nil
}

// untilBalanced looks until there was nothing to move often enough in a row.
func (s *session) untilBalanced(ctx context.Context, h *hold, args balanceArgs, out *balanceOutput) error {
	doubt := &patience{limit: max(2*args.Interval, 5*time.Second)}
	progress := &progress{call: s.call, phase: "replicas are spread"}
	zeros, wait := 0, args.Settle
	s.call.Progress(modules.Progress{Phase: "the balancer begins", Expects: args.Settle})
	for {
		if err := pause(ctx, wait); err != nil {
			return fmt.Errorf("%w; the meta server still had this to move: %s", err, out.After)
		}
		if _, err := h.keep(ctx); err != nil {
			return err
		}
		wait = min(10*time.Second, args.Interval)
		n, err := s.leftToMove(ctx, out)
		switch {
		case doubt.ends(err):
			return err
		case err != nil:
			zeros = 0
			s.note("looking again: %v", err)
			continue
		case n > 0:
			zeros = 0
		default:
			zeros++
			wait = args.Interval
		}
		if zeros >= args.Checks {
			return nil
		}
		progress.left("nodes have "+spread(out.Nodes), modules.Count{Name: "moves", Left: n})
	}
}

// leftToMove is how many moves the balancer has in mind. A cluster in which it cannot work is a planError: one that
// another meta server has just taken over looks like that for a moment.
func (s *session) leftToMove(ctx context.Context, out *balanceOutput) (int, error) {
	if err := s.balanced(ctx, out); err != nil {
		return 0, err
	}
	sv, err := s.operations(ctx)
	if err != nil {
		return 0, err
	}
	out.After = sv.Operations
	n, known := sv.operations()
	if !known || sv.EffectiveLevel != wire.LevelLively.String() {
		return 0, planError{fmt.Errorf("the meta server does not balance (level %s, operations %q)", sv.EffectiveLevel, sv.Operations)}
	}
	return n, nil
}

// spread is how many replicas the nodes have, from the least to the most.
func spread(nodes []held) string {
	if len(nodes) == 0 {
		return "nothing"
	}
	p0, p1, r0, r1 := nodes[0].Primaries, 0, nodes[0].Primaries+nodes[0].Secondaries, 0
	for _, n := range nodes {
		p0, p1 = min(p0, n.Primaries), max(p1, n.Primaries)
		r0, r1 = min(r0, n.Primaries+n.Secondaries), max(r1, n.Primaries+n.Secondaries)
	}
	return fmt.Sprintf("%d to %d primaries, %d to %d replicas", p0, p1, r0, r1)
}
