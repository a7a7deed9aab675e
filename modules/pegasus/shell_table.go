package pegasus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// number is the value of an option; fallback when it is not given.
func (o options) number(long string, fallback int) (int, error) {
	text, ok := o.given[long]
	if !ok {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 || n > 1<<20 {
		return 0, usage("%s is %q, which is no number that it can be", long, text)
	}
	return n, nil
}

// tableState is a table, under what check mode has predicted; nil when there is none.
func (s *session) tableState(ctx context.Context, name string) (*wire.AppInfo, error) {
	state, predicted := s.predicted("table/" + name)
	if predicted && state == "absent" {
		return nil, nil
	}
	apps, err := s.Apps(ctx)
	if s.fresh(err) {
		apps, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	for i := range apps {
		if apps[i].Name == name && apps[i].Status != wire.AppDropped {
			return &apps[i], nil
		}
	}
	if predicted {
		info := &wire.AppInfo{Name: name, Status: wire.AppAvailable}
		_, err := fmt.Sscanf(state, "present %d %d", &info.PartitionCount, &info.MaxReplicaCount)
		return info, err
	}
	return nil, nil
}

func (sh *shell) create(ctx context.Context, words []string) (*modules.Proposal, error) {
	o, err := parseOptions(words, false, option{"p", "partition_count", true}, option{"r", "replica_count", true},
		option{"e", "envs", true}, option{"f", "fail_if_exist", false})
	if err == nil {
		err = o.only(1, "the table's name")
	}
	if err != nil {
		return nil, err
	}
	partitions, err := o.number("partition_count", 4)
	if err != nil {
		return nil, err
	}
	replicas, err := o.number("replica_count", 3)
	if err != nil {
		return nil, err
	}
	envs, err := parseEnvs(o.given["envs"])
	if err != nil {
		return nil, err
	}
	name := o.rest[0]
	now, err := sh.tableState(ctx, name)
	if err != nil {
		return nil, err
	}
	sh.out.print(fmt.Sprintf("create app %q succeed", name))
	if now != nil {
		sh.out.AppID = int(now.ID)
		return existing(now, partitions, replicas, o.has("fail_if_exist"))
	}
	req := &wire.CreateAppRequest{AppName: name, Options: wire.CreateAppOptions{PartitionCount: int32(partitions),
		ReplicaCount: int32(replicas), SuccessIfExist: true, Type: "pegasus", Stateful: true, Envs: envs}}
	return &modules.Proposal{
		Diff:     []modules.Diff{{Subject: "table " + name, Note: fmt.Sprintf("absent → %d partitions of %d replicas", partitions, replicas)}},
		Predicts: sh.predictions("table/"+name, fmt.Sprintf("present %d %d", partitions, replicas)),
		Do:       func(ctx context.Context, host modules.Host) error { return sh.createNow(ctx, host, req) },
	}, nil
}

// existing is a table that is there already, with the same shape or not.
func existing(now *wire.AppInfo, partitions, replicas int, fail bool) (*modules.Proposal, error) {
	switch {
	case fail:
		return nil, fmt.Errorf("table %s exists", now.Name)
	case int(now.PartitionCount) != partitions || int(now.MaxReplicaCount) != replicas:
		return nil, fmt.Errorf("table %s exists with %d partitions of %d replicas, not %d of %d; a table cannot be changed into that",
			now.Name, now.PartitionCount, now.MaxReplicaCount, partitions, replicas)
	}
	return &modules.Proposal{Message: "table " + now.Name + " exists"}, nil
}

func parseEnvs(text string) (map[string]string, error) {
	envs := map[string]string{}
	if text == "" {
		return envs, nil
	}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, usage("%q is no KEY=VALUE", pair)
		}
		envs[key] = value
	}
	return envs, nil
}

func (sh *shell) createNow(ctx context.Context, host modules.Host, req *wire.CreateAppRequest) error {
	ctx, cancel := context.WithTimeoutCause(ctx, sh.args.Timeout, timeoutCause(sh.args.Timeout, "creating table "+req.AppName))
	defer cancel()
	s, err := sh.again(host)
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		reply, err := client.Order(ctx, s.Client, req)
		if err == nil {
			sh.out.AppID = int(reply.AppID)
			return s.tableReady(ctx, req.AppName)
		}
		var refused *client.ServerError
		if errors.As(err, &refused) {
			switch refused.Err {
			case wire.BusyCreating, wire.BusyDropping:
			case wire.StateFreezed:
				refused.Hint = "the cluster is frozen: too few replica servers are alive, or its level is freezed"
				return err
			case wire.InvalidParameters:
				refused.Hint = "are as many replica servers alive as the table has replicas, and are the envs valid?"
				return err
			default:
				return err
			}
		} else if !unsure(err) {
			return err
		}
		// Creating twice with the same options is one creation.
		s.note("waiting to create table %s: %v", req.AppName, err)
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// tableReady waits until every partition of a table has all its replicas.
func (s *session) tableReady(ctx context.Context, name string) error {
	for {
		partitions, err := s.Partitions(ctx, name)
		var refused *client.ServerError
		if err != nil && !(errors.As(err, &refused) && refused.Err == wire.ObjectNotFound) {
			return err
		}
		t := client.TableView{AppInfo: wire.AppInfo{PartitionCount: int32(len(partitions))}, Partitions: partitions}
		h := t.Health()
		if h.Partitions > 0 && h.FullyHealthy == h.Partitions {
			return nil
		}
		s.note("%s not ready yet, still waiting... (%d/%d)", name, h.FullyHealthy, h.Partitions)
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

func (sh *shell) drop(ctx context.Context, words []string) (*modules.Proposal, error) {
	o, err := parseOptions(words, false, option{"r", "reserve_seconds", true})
	if err == nil {
		err = o.only(1, "the table's name")
	}
	if err != nil {
		return nil, err
	}
	name := o.rest[0]
	req := &wire.DropAppRequest{AppName: name, Options: wire.DropAppOptions{SuccessIfNotExist: true}}
	if o.has("reserve_seconds") {
		seconds, err := o.number("reserve_seconds", 0)
		if err != nil {
			return nil, err
		}
		reserve := int64(seconds)
		req.Options.ReserveSeconds = &reserve
	}
	now, err := sh.tableState(ctx, name)
	if err != nil {
		return nil, err
	}
	sh.out.print(fmt.Sprintf("drop app %s succeed", name))
	if now == nil {
		return &modules.Proposal{Message: "there is no table " + name}, nil
	}
	sh.out.AppID = int(now.ID)
	return &modules.Proposal{
		Diff:     []modules.Diff{{Subject: "table " + name, Note: "present → dropped"}},
		Predicts: sh.predictions("table/"+name, "absent"),
		Do: func(ctx context.Context, host modules.Host) error {
			ctx, cancel := context.WithTimeoutCause(ctx, sh.args.Timeout, timeoutCause(sh.args.Timeout, "dropping table "+name))
			defer cancel()
			s, err := sh.again(host)
			if err != nil {
				return err
			}
			defer s.Close()
			if err := s.everAssigned(ctx, name); err != nil {
				return err
			}
			_, err = retried(ctx, func() (*wire.DropAppResponse, error) { return client.Order(ctx, s.Client, req) })
			return err
		},
	}, nil
}

// everAssigned waits until each partition of a table has once been given to a node. Replica servers abort
// when a table that was dropped before is recalled.
func (s *session) everAssigned(ctx context.Context, name string) error {
	for {
		partitions, err := s.Partitions(ctx, name)
		if err != nil {
			return err
		}
		unassigned := 0
		for i := range partitions {
			if p := &partitions[i]; p.Primary == 0 && len(p.Secondaries)+len(p.LastDrops) == 0 {
				unassigned++
			}
		}
		if unassigned == 0 {
			return nil
		}
		s.note("waiting until all partitions of %s have been given to nodes: %d are missing", name, unassigned)
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

func (sh *shell) recall(ctx context.Context, words []string) (*modules.Proposal, error) {
	if len(words) < 1 || len(words) > 2 {
		return nil, usage("a table's id, and maybe a new name, are needed")
	}
	id, err := strconv.Atoi(words[0])
	if err != nil || id <= 0 {
		return nil, usage("%q is no table's id", words[0])
	}
	req := &wire.RecallAppRequest{AppID: int32(id)}
	if len(words) == 2 {
		req.NewName = words[1]
	}
	apps, err := sh.Apps(ctx)
	if err != nil {
		return nil, err
	}
	for _, a := range apps {
		if a.ID != req.AppID {
			continue
		}
		name := a.Name
		if req.NewName != "" {
			name = req.NewName
		}
		sh.out.AppID = id
		sh.out.print(fmt.Sprintf("recall app %d succeed", id))
		if a.Status != wire.AppDropped {
			if a.Name != name {
				return nil, fmt.Errorf("table %d is %s under the name %s; rename it instead", id, a.Status, a.Name)
			}
			return &modules.Proposal{Message: "table " + name + " is there"}, nil
		}
		return sh.recallProposal(req, name), nil
	}
	return nil, fmt.Errorf("there is no table with the id %d, dropped or not", id)
}

func (sh *shell) recallProposal(req *wire.RecallAppRequest, name string) *modules.Proposal {
	return &modules.Proposal{
		Diff:     []modules.Diff{{Subject: "table " + name, Note: "dropped → present"}},
		Predicts: map[string]string{},
		Do: func(ctx context.Context, host modules.Host) error {
			ctx, cancel := context.WithTimeoutCause(ctx, sh.args.Timeout, timeoutCause(sh.args.Timeout, "recalling table "+name))
			defer cancel()
			s, err := sh.again(host)
			if err != nil {
				return err
			}
			defer s.Close()
			_, err = client.Order(ctx, s.Client, req)
			var refused *client.ServerError
			if errors.As(err, &refused) && refused.Err == wire.InvalidParameters {
				refused.Hint = "another table may have the name"
			}
			if err != nil && !unsure(err) {
				return err
			}
			return s.tableReady(ctx, name)
		},
	}
}

func (sh *shell) rename(ctx context.Context, words []string) (*modules.Proposal, error) {
	if len(words) != 2 {
		return nil, usage("the old and the new name are needed")
	}
	from, err := sh.tableState(ctx, words[0])
	if err != nil {
		return nil, err
	}
	to, err := sh.tableState(ctx, words[1])
	if err != nil {
		return nil, err
	}
	sh.out.print("rename app succeed")
	switch {
	case from == nil && to != nil:
		return &modules.Proposal{Message: "table " + words[1] + " is there"}, nil
	case from == nil:
		return nil, fmt.Errorf("there is no table %s", words[0])
	case to != nil:
		return nil, fmt.Errorf("table %s exists too", words[1])
	}
	state := fmt.Sprintf("present %d %d", from.PartitionCount, from.MaxReplicaCount)
	return &modules.Proposal{
		Diff:     []modules.Diff{{Subject: "table " + words[0], Note: words[0] + " → " + words[1]}},
		Predicts: sh.predictions("table/"+words[0], "absent", "table/"+words[1], state),
		Do: func(ctx context.Context, host modules.Host) error {
			s, err := sh.again(host)
			if err != nil {
				return err
			}
			defer s.Close()
			reply, err := client.Order(ctx, s.Client, &wire.RenameAppRequest{OldName: words[0], NewName: words[1]})
			var refused *client.ServerError
			if errors.As(err, &refused) && reply != nil {
				refused.Hint = reply.Hint
			}
			return err
		},
	}, nil
}
