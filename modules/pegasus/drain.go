package pegasus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// drainArgs are what the operations on one replica server share.
type drainArgs struct {
	clusterArgs
	Node  string        `arg:"node,required" doc:"the replica server, ip:port as the meta server names it"`
	Round time.Duration `arg:"round" default:"10s" doc:"the meta server's lb_interval_ms: how often it carries proposals out"`
}

// drainOutput is what such an operation did.
type drainOutput struct {
	Node       string   `json:"node"`
	Partitions []string `json:"partitions"`
	Proposals  int      `json:"proposals"`
	Seconds    float64  `json:"seconds"`
}

// move is one proposal that a step makes for one partition.
type move struct {
	pid     wire.GPID
	actions []wire.ProposalAction
	text    string
	after   wire.PartitionConfig
}

// planner says what is left to do in a view; nothing is done.
type planner func(v *client.View, node wire.NodeInfo) ([]move, error)

func migrateModule() *modules.Module {
	return modules.Define("migrate_primaries", `Move the primaries of a Pegasus replica server to other nodes

What run.sh migrate_node does, but done when it is done: every partition whose primary is on the node gets
a proposal to make its live secondary with the fewest primaries the new primary, and the task ends when
the meta server shows no primary on the node any more, and each partition has its new one. No data
moves and clients hardly notice.

The level must be steady or lower, as a balancer would work against it: lively is set to steady, once,
since setting the level drops what is queued. Partitions without another live replica are an error that
lists them. A leader that changes meanwhile gets everything again.

    - migrate_primaries:
        meta_servers: 10.0.0.1:34601,10.0.0.2:34601
        node: 10.0.0.11:34801`, func(ctx context.Context, call *modules.Call, args drainArgs) (*modules.Proposal, error) {
		return proposeDrain(ctx, call, args, drainStep{what: countPrimaries, plan: planMigration})
	})
}

type downgradeArgs struct {
	drainArgs
	Keep int `arg:"keep" default:"2" min:"1" doc:"how many replicas on live nodes every partition must keep; below 2 a partition takes no writes"`
}

func downgradeModule() *modules.Module {
	return modules.Define("downgrade_secondaries", `Take a Pegasus replica server's secondaries out of service

What run.sh downgrade_node does, but done when it is done: every secondary on the node becomes inactive,
so that stopping the node later makes no write wait for it. The task ends when the meta server counts no
replica on the node.

The node must have no primary left (migrate_primaries), and the meta server must be kept from giving the
replicas right back: add_secondary_enable_flow_control true and add_secondary_max_count_for_one_node 0,
set with pegasus_settings before. Both are looked at first; when another meta server takes over in the
middle they are set again. A partition that would be left with fewer than keep replicas is an error.

    - downgrade_secondaries:
        meta_servers: 10.0.0.1:34601,10.0.0.2:34601
        node: 10.0.0.11:34801`, func(ctx context.Context, call *modules.Call, args downgradeArgs) (*modules.Proposal, error) {
		step := drainStep{what: countSecondaries, plan: planDowngrade(args.Keep),
			needs: refillStopped()}
		return proposeDrain(ctx, call, args.drainArgs, step)
	})
}

// refillStopped are the settings that keep the meta server from giving a drained node its replicas right back:
// the limit of none counts only with flow control (facts/pegasus.md §8.12).
func refillStopped() map[string]string {
	return map[string]string{settingFlowControl: "true", settingMaxCount: "0"}
}

// drainStep is what tells migrating from downgrading.
type drainStep struct {
	what  string
	plan  planner
	needs map[string]string // settings that must be in force
}

func proposeDrain(ctx context.Context, call *modules.Call, args drainArgs, step drainStep) (*modules.Proposal, error) {
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
	moves, err := step.plan(v, node)
	if err != nil {
		return nil, err
	}
	out := &drainOutput{Node: node.Node.String()}
	if len(moves) == 0 {
		return &modules.Proposal{Output: out, Message: "no " + step.what + " on " + out.Node}, nil
	}
	if err := s.mayReconfigure(ctx); err != nil {
		return nil, err
	}
	if err := s.needs(ctx, step.needs); err != nil {
		return nil, err
	}
	level, err := s.level(ctx)
	if err != nil {
		return nil, err
	}
	p := s.drainProposal(out, step.what, moves, level == wire.LevelLively.String())
	p.Expects = args.expects()
	p.Do = func(ctx context.Context, host modules.Host) error {
		return drain(ctx, call, host, args, step, out)
	}
	return p, nil
}

// drainProposal says what the moves change and what they leave behind.
func (s *session) drainProposal(out *drainOutput, what string, moves []move, lively bool) *modules.Proposal {
	p := &modules.Proposal{Output: out, Predicts: map[string]string{}}
	if lively {
		p.Diff = append(p.Diff, modules.Diff{Subject: "function level", Note: "lively → steady"})
		p.Predicts[s.prefix+"level"] = wire.LevelSteady.String()
	}
	var texts []string
	for i := range moves {
		texts = append(texts, moves[i].text)
		s.predictPartition(p.Predicts, &moves[i].after)
	}
	p.Diff = append(p.Diff, modules.Diff{Subject: what + " of " + out.Node, Note: fmt.Sprintf("%d → 0", len(moves)),
		Before: strings.Join(texts, "\n")})
	return p
}

func findNode(v *client.View, name string) (wire.NodeInfo, error) {
	node, ok := v.Node(name)
	if !ok {
		var names []string
		for _, n := range v.Nodes {
			names = append(names, n.Node.String())
		}
		return node, &modules.ArgumentError{Arg: "node", Problem: fmt.Sprintf("%s is no replica server of this cluster", name),
			Hint: "it has " + strings.Join(names, ", ")}
	}
	return node, nil
}

// needs checks settings that a step relies on.
func (s *session) needs(ctx context.Context, settings map[string]string) error {
	for _, command := range slices.Sorted(maps.Keys(settings)) {
		value, err := s.setting(ctx, command)
		if err != nil {
			return err
		}
		if value != settings[command] {
			return fmt.Errorf("%s is %s; set it to %s first with pegasus_settings, or the meta server gives the replicas right back",
				command, value, settings[command])
		}
	}
	return nil
}

// alive says which nodes a view shows alive.
func alive(v *client.View) map[wire.Address]bool {
	m := map[wire.Address]bool{}
	for _, n := range v.Nodes {
		m[n.Node.Address] = n.Status == wire.NodeAlive
	}
	return m
}

// refusal lists partitions that a step cannot deal with.
func refusal(what string, partitions []string) error {
	const shown = 5
	list := strings.Join(partitions[:min(len(partitions), shown)], ", ")
	if len(partitions) > shown {
		list += fmt.Sprintf(" and %d more", len(partitions)-shown)
	}
	return fmt.Errorf("%s: %s", what, list)
}

// planMigration gives each primary of the node to the partition's live secondary with the fewest.
func planMigration(v *client.View, node wire.NodeInfo) ([]move, error) {
	up := alive(v)
	load := map[wire.Address]int{}
	for i := range v.Tables {
		for _, p := range v.Tables[i].Partitions {
			load[p.Primary]++
		}
	}
	var moves []move
	var stuck []string
	from := node.Node.Address
	for i := range v.Tables {
		for _, p := range v.Tables[i].Partitions {
			if p.Primary == 0 && slices.Contains(p.Secondaries, from) {
				// Its primary has stepped down and the next one is not there yet: nobody can be served.
				moves = append(moves, move{pid: p.PID, text: p.PID.String() + " waits for its new primary", after: p})
				continue
			}
			if p.Primary != from {
				continue
			}
			var to wire.Address
			for _, s := range p.Secondaries {
				if s != from && up[s] && (to == 0 || load[s] < load[to]) {
					to = s
				}
			}
			if to == 0 {
				stuck = append(stuck, v.Tables[i].Name+" "+p.PID.String())
				continue
			}
			m, err := moveTo(v, node, p, to)
			if err != nil {
				return nil, err
			}
			load[to]++
			moves = append(moves, m)
		}
	}
	if len(stuck) > 0 {
		return nil, refusal("no other live replica could become primary of", stuck)
	}
	return moves, nil
}

func moveTo(v *client.View, node wire.NodeInfo, p wire.PartitionConfig, to wire.Address) (move, error) {
	source, err := v.Actor(node.Node.Address)
	if err != nil {
		return move{}, err
	}
	target, err := v.Actor(to)
	if err != nil {
		return move{}, err
	}
	after := p
	after.Primary = to
	after.Secondaries = append(without(p.Secondaries, to), source.Address)
	return move{pid: p.PID, text: fmt.Sprintf("%s to %s", p.PID, target), after: after, actions: []wire.ProposalAction{
		{Target: source, Node: source, Type: wire.DowngradeToSecondary},
		{Target: target, Node: target, Type: wire.UpgradeToPrimary},
	}}, nil
}

func without(list []wire.Address, addr wire.Address) []wire.Address {
	return slices.DeleteFunc(slices.Clone(list), func(a wire.Address) bool { return a == addr })
}

// planDowngrade makes each secondary of the node inactive.
func planDowngrade(keep int) planner {
	return func(v *client.View, node wire.NodeInfo) ([]move, error) {
		addr := node.Node.Address
		if primaries, _ := v.Holding(addr); primaries > 0 {
			return nil, fmt.Errorf("node %s still has %d primaries; move them first with migrate_primaries", node.Node, primaries)
		}
		up := alive(v)
		var moves []move
		var thin, headless []string
		for i := range v.Tables {
			for _, p := range v.Tables[i].Partitions {
				if !slices.Contains(p.Secondaries, addr) {
					continue
				}
				rest := without(p.Secondaries, addr)
				left := 0
				for _, member := range append(slices.Clone(rest), p.Primary) {
					if up[member] {
						left++
					}
				}
				if !up[p.Primary] {
					headless = append(headless, v.Tables[i].Name+" "+p.PID.String())
					continue
				}
				if left < keep {
					thin = append(thin, fmt.Sprintf("%s %s (%d left)", v.Tables[i].Name, p.PID, left))
					continue
				}
				m, err := downgrade(v, node, p, rest)
				if err != nil {
					return nil, err
				}
				moves = append(moves, m)
			}
		}
		var errs []error
		if len(headless) > 0 {
			errs = append(errs, refusal("there is no live primary, which would take the node out, of", headless))
		}
		if len(thin) > 0 {
			errs = append(errs, refusal(fmt.Sprintf("without node %s fewer than %d live replicas would be left of", node.Node, keep), thin))
		}
		return moves, errors.Join(errs...)
	}
}

func downgrade(v *client.View, node wire.NodeInfo, p wire.PartitionConfig, rest []wire.Address) (move, error) {
	gone, err := v.Actor(node.Node.Address)
	if err != nil {
		return move{}, err
	}
	primary, err := v.Actor(p.Primary)
	if err != nil {
		return move{}, err
	}
	after := p
	after.Secondaries = rest
	return move{pid: p.PID, text: p.PID.String(), after: after, actions: []wire.ProposalAction{
		{Target: primary, Node: gone, Type: wire.DowngradeToInactive},
	}}, nil
}
