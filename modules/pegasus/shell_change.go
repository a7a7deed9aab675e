package pegasus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

func (sh *shell) setLevel(ctx context.Context, words []string) (*modules.Proposal, error) {
	if len(words) != 1 {
		return nil, usage("one level is needed")
	}
	if _, ok := wire.ParseLevel(words[0]); !ok {
		return nil, usage("there is no level %q", words[0])
	}
	now, err := sh.level(ctx)
	if err != nil {
		return nil, err
	}
	sh.out.LevelBefore, sh.out.Level = now, words[0]
	sh.out.print("control meta level ok, the old level is fl_" + now)
	p := &modules.Proposal{Predicts: sh.predictions("level", words[0])}
	if now == words[0] {
		return p, nil
	}
	p.Diff = []modules.Diff{{Subject: "function level", Note: now + " → " + words[0]}}
	p.Do = func(ctx context.Context, host modules.Host) error {
		s, err := sh.again(host)
		if err != nil {
			return err
		}
		defer s.Close()
		sh.out.Leader, err = s.enforce(ctx, words[0], nil, nil)
		return err
	}
	return p, nil
}

// proposeOne is the shell's propose: one action for one partition.
func (sh *shell) proposeOne(ctx context.Context, words []string) (*modules.Proposal, error) {
	o, err := parseOptions(words, false, option{"g", "gpid", true}, option{"p", "type", true}, option{"t", "target", true}, option{"n", "node", true})
	if err == nil {
		err = o.only(0, "")
	}
	if err != nil {
		return nil, err
	}
	kind, ok := wire.ParseConfigType(o.given["type"])
	if !ok || kind != wire.AssignPrimary && kind != wire.AddSecondary && kind != wire.DowngradeToInactive {
		return nil, usage("%q is no type of proposal", o.given["type"])
	}
	return sh.change(ctx, o, func(v *client.View) (*wanted, error) {
		target, err := aliveNode(v, o.given["target"])
		if err != nil {
			return nil, err
		}
		node, err := knownNode(v, o.given["node"])
		if err != nil {
			return nil, err
		}
		return single(kind, target, node), nil
	})
}

// single is one action by itself.
func single(kind wire.ConfigType, target, node wire.Node) *wanted {
	w := &wanted{note: fmt.Sprintf("%s %s", kind, node), actions: []wire.ProposalAction{{Target: target, Node: node, Type: kind}}}
	w.apply = func(p *wire.PartitionConfig) {
		p.Secondaries = without(p.Secondaries, node.Address)
		switch kind {
		case wire.AssignPrimary:
			p.Primary = node.Address
		case wire.AddSecondary:
			p.Secondaries = append(p.Secondaries, node.Address)
		}
	}
	w.reached = func(p *wire.PartitionConfig) bool {
		member := slices.Contains(p.Secondaries, node.Address)
		switch kind {
		case wire.AssignPrimary:
			return p.Primary == node.Address
		case wire.AddSecondary:
			return member || p.Primary == node.Address
		}
		return !member && p.Primary != node.Address
	}
	if kind == wire.DowngradeToInactive {
		w.undone = "set add_secondary_max_count_for_one_node to 0 first"
	}
	return w
}

// balance is the shell's balance: moving or copying a partition's replica.
func (sh *shell) balance(ctx context.Context, words []string) (*modules.Proposal, error) {
	o, err := parseOptions(words, false, option{"g", "gpid", true}, option{"p", "type", true}, option{"f", "from", true}, option{"t", "to", true})
	if err == nil {
		err = o.only(0, "")
	}
	if err != nil {
		return nil, err
	}
	return sh.change(ctx, o, func(v *client.View) (*wanted, error) {
		from, err := knownNode(v, o.given["from"])
		if err != nil {
			return nil, err
		}
		to, err := aliveNode(v, o.given["to"])
		if err != nil {
			return nil, err
		}
		return balancing(o.given["type"], from, to)
	})
}

func balancing(kind string, from, to wire.Node) (*wanted, error) {
	w := &wanted{note: fmt.Sprintf("%s from %s to %s", kind, from, to)}
	down := wire.ProposalAction{Target: from, Node: from, Type: wire.DowngradeToSecondary}
	up := wire.ProposalAction{Target: to, Node: to, Type: wire.UpgradeToPrimary}
	switch kind {
	case "move_pri":
		w.actions = []wire.ProposalAction{down, up}
	case "copy_pri":
		w.actions = []wire.ProposalAction{{Target: from, Node: to, Type: wire.AddSecondaryForLB}, down, up}
	case "copy_sec":
		w.apply = func(p *wire.PartitionConfig) {
			p.Secondaries = append(without(without(p.Secondaries, from.Address), to.Address), to.Address)
		}
		w.byPrimary = []wire.ProposalAction{{Node: to, Type: wire.AddSecondaryForLB}, {Node: from, Type: wire.DowngradeToInactive}}
		w.reached = func(p *wire.PartitionConfig) bool {
			return slices.Contains(p.Secondaries, to.Address) && !slices.Contains(p.Secondaries, from.Address)
		}
		return w, nil
	default:
		return nil, usage("%q is none of move_pri, copy_pri and copy_sec", kind)
	}
	w.reached = func(p *wire.PartitionConfig) bool { return p.Primary == to.Address }
	w.apply = func(p *wire.PartitionConfig) {
		p.Primary = to.Address
		p.Secondaries = append(without(p.Secondaries, to.Address), from.Address)
	}
	return w, nil
}

// wanted is what a proposal is to bring about.
type wanted struct {
	actions []wire.ProposalAction
	// byPrimary are actions that the partition's primary carries out, whoever that is.
	byPrimary []wire.ProposalAction
	note      string
	reached   func(p *wire.PartitionConfig) bool
	// apply makes a configuration as it will be.
	apply func(p *wire.PartitionConfig)
	// undone says what keeps the meta server from undoing the change.
	undone string
}

func knownNode(v *client.View, name string) (wire.Node, error) {
	n, ok := v.Node(name)
	if !ok {
		return wire.Node{}, fmt.Errorf("%q is no replica server of this cluster", name)
	}
	return v.Actor(n.Node.Address)
}

func aliveNode(v *client.View, name string) (wire.Node, error) {
	if n, ok := v.Node(name); ok && n.Status != wire.NodeAlive {
		return wire.Node{}, fmt.Errorf("node %s is %s", name, n.Status)
	}
	return knownNode(v, name)
}

// change proposes for one partition and waits until it is so.
func (sh *shell) change(ctx context.Context, o options, plan func(v *client.View) (*wanted, error)) (*modules.Proposal, error) {
	pid, err := o.gpid()
	if err != nil {
		return nil, err
	}
	v, err := sh.view(ctx)
	if err != nil {
		return nil, err
	}
	w, err := plan(v)
	if err != nil {
		return nil, err
	}
	config, err := partition(v, pid)
	if err != nil {
		return nil, err
	}
	sh.out.print("send proposal response: ERR_OK")
	if w.reached(config) {
		return &modules.Proposal{Message: "it is so already"}, nil
	}
	predicts := map[string]string{}
	w.apply(config)
	sh.predictPartition(predicts, config)
	return &modules.Proposal{
		Diff:     []modules.Diff{{Subject: "partition " + pid.String(), Note: w.note}},
		Predicts: predicts,
		Do:       func(ctx context.Context, host modules.Host) error { return sh.bringAbout(ctx, host, pid, plan) },
	}, nil
}

func partition(v *client.View, pid wire.GPID) (*wire.PartitionConfig, error) {
	for i := range v.Tables {
		for j := range v.Tables[i].Partitions {
			if p := &v.Tables[i].Partitions[j]; p.PID == pid {
				return p, nil
			}
		}
	}
	return nil, fmt.Errorf("there is no partition %s", pid)
}

func (sh *shell) bringAbout(ctx context.Context, host modules.Host, pid wire.GPID, plan func(v *client.View) (*wanted, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, sh.args.Timeout, timeoutCause(sh.args.Timeout, "the change of "+pid.String()))
	defer cancel()
	s, err := sh.again(host)
	if err != nil {
		return err
	}
	defer s.Close()
	const again = 25 * time.Second // two rounds of the meta server, and a bit
	var asked time.Time
	var ballot int64
	for {
		v, err := s.View(ctx)
		if err != nil {
			return err
		}
		w, err := plan(v)
		if err != nil {
			return err
		}
		config, err := partition(v, pid)
		if err != nil || w.reached(config) {
			return err
		}
		if w.undone != "" && !asked.IsZero() && config.Ballot > ballot+1 {
			return fmt.Errorf("%s was done and undone again by the meta server; %s", w.note, w.undone)
		}
		if time.Since(asked) > again {
			actions, err := w.forPartition(v, config)
			if err != nil {
				return err
			}
			switch err := s.Propose(ctx, pid, actions...); {
			case err == nil || unsure(err):
				asked, ballot = time.Now(), config.Ballot
			case !refusedParameters(err):
				return err
			}
		}
		s.note("waiting for the meta server to change %s: %s", pid, w.note)
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// forPartition completes the actions with the primary that carries them out. Without one there is nothing to
// propose: the meta server would fill in an address without the name that goes with it.
func (w *wanted) forPartition(v *client.View, p *wire.PartitionConfig) ([]wire.ProposalAction, error) {
	actions := slices.Clone(w.actions)
	for _, a := range w.byPrimary {
		primary, err := v.Actor(p.Primary)
		if err != nil {
			return nil, fmt.Errorf("partition %s has no primary that could do it: %w", p.PID, err)
		}
		a.Target = primary
		actions = append(actions, a)
	}
	return actions, nil
}

// setEnvs and deleteEnvs change a table's environment where it differs.
func (sh *shell) setEnvs(ctx context.Context, words []string) (*modules.Proposal, error) {
	if len(words) < 3 || len(words)%2 == 0 {
		return nil, usage("a table's name and pairs of a key and a value are needed")
	}
	req := &wire.UpdateAppEnvRequest{AppName: words[0], Op: wire.EnvSet}
	app, err := sh.findApp(ctx, words[0])
	if err != nil {
		return nil, err
	}
	var diff []modules.Diff
	for i := 1; i < len(words); i += 2 {
		key, value := words[i], words[i+1]
		if now, ok := app.Envs[key]; ok && now == value {
			continue
		}
		req.Keys, req.Values = append(req.Keys, key), append(req.Values, value)
		diff = append(diff, modules.Diff{Subject: words[0] + " " + key, Before: app.Envs[key], After: value})
	}
	sh.out.print("set app envs succeed")
	return sh.updateEnvs(req, diff), nil
}

func (sh *shell) deleteEnvs(ctx context.Context, words []string) (*modules.Proposal, error) {
	if len(words) < 2 {
		return nil, usage("a table's name and keys are needed")
	}
	req := &wire.UpdateAppEnvRequest{AppName: words[0], Op: wire.EnvDelete}
	app, err := sh.findApp(ctx, words[0])
	if err != nil {
		return nil, err
	}
	var diff []modules.Diff
	for _, key := range words[1:] {
		if now, ok := app.Envs[key]; ok {
			req.Keys = append(req.Keys, key)
			diff = append(diff, modules.Diff{Subject: words[0] + " " + key, Before: now})
		}
	}
	sh.out.print("del app envs succeed")
	return sh.updateEnvs(req, diff), nil
}

func (sh *shell) updateEnvs(req *wire.UpdateAppEnvRequest, diff []modules.Diff) *modules.Proposal {
	if len(diff) == 0 {
		return &modules.Proposal{}
	}
	return &modules.Proposal{Diff: diff, Predicts: map[string]string{}, Do: func(ctx context.Context, host modules.Host) error {
		s, err := sh.again(host)
		if err != nil {
			return err
		}
		defer s.Close()
		reply, err := retried(ctx, func() (*wire.UpdateAppEnvResponse, error) { return client.Order(ctx, s.Client, req) })
		var refused *client.ServerError
		if errors.As(err, &refused) && reply != nil {
			refused.Hint = reply.Hint
		}
		return err
	}}
}

// retried sends an order again that does no harm when it is carried out twice.
func retried[R any](ctx context.Context, order func() (R, error)) (R, error) {
	for attempt := 1; ; attempt++ {
		reply, err := order()
		if !unsure(err) || attempt == 3 || ctx.Err() != nil {
			return reply, err
		}
	}
}
