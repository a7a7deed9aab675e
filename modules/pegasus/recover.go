package pegasus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

func recoverModule() *modules.Module {
	return modules.Define("pegasus_recover", `Make a Pegasus cluster's tables anew out of its replica servers

What the shell's recover does, for a meta server that was started on an empty place in ZooKeeper with
recover_from_replica_server = true: it asks every one of nodes for its replicas and makes its tables out of
that. Until then it answers nothing else; one that does answer has its tables, and is left alone.

With tables the task fails when one of them is not there afterwards. What the meta server says was lost is in
hint. Nodes that do not answer, and partitions that no node has, make the servers refuse, unless
skip_bad_nodes or skip_lost_partitions says otherwise.

    - pegasus_recover:
        meta_servers: 10.0.0.1:34601
        nodes: [10.0.0.11:34801, 10.0.0.12:34801, 10.0.0.13:34801]
        tables: [temp]`, proposeRecover)
}

type recoverArgs struct {
	MetaServers []string      `arg:"meta_servers,required" doc:"the cluster's meta servers, ip:port each; a list, or one text with commas"`
	Timeout     time.Duration `arg:"timeout" default:"10m" doc:"how long the whole task may take"`
	Nodes       []string      `arg:"nodes,required" doc:"the replica servers to ask, ip:port each"`
	SkipBad     bool          `arg:"skip_bad_nodes" default:"false" doc:"leave out nodes that do not answer"`
	SkipLost    bool          `arg:"skip_lost_partitions" default:"false" doc:"leave partitions empty that no node has"`
	Tables      []string      `arg:"tables" doc:"tables that must be there afterwards"`
	Wait        time.Duration `arg:"wait" default:"100s" doc:"how long the meta server may take to ask the nodes"`
}

type recoverOutput struct {
	Recovered bool     `json:"recovered"`
	Hint      string   `json:"hint"`
	Tables    []string `json:"tables"`
}

func (a recoverArgs) cluster() clusterArgs {
	return clusterArgs{MetaServers: a.MetaServers, Timeout: a.Timeout}
}

// underRecovery says whether an error is that of a meta server that waits to be recovered.
func underRecovery(err error) bool {
	var refused *client.ServerError
	return errors.As(err, &refused) && refused.Err == wire.UnderRecovery
}

func proposeRecover(ctx context.Context, call *modules.Call, args recoverArgs) (*modules.Proposal, error) {
	var nodes []wire.Address
	for _, n := range args.Nodes {
		addr, err := wire.ParseAddress(n)
		if err != nil {
			return nil, &modules.ArgumentError{Arg: "nodes", Problem: "nodes: " + err.Error()}
		}
		nodes = append(nodes, addr)
	}
	s, err := open(call, call.Host, args.cluster())
	if err != nil {
		return nil, err
	}
	defer s.Close()
	out := &recoverOutput{Tables: []string{}}
	p := &modules.Proposal{Output: out}
	apps, err := s.Apps(ctx)
	if err == nil {
		return p, out.complete(apps, args.Tables)
	}
	if !underRecovery(err) {
		return nil, s.unpredicted(err)
	}
	p.Diff = []modules.Diff{{Subject: "tables", Note: "made anew out of what " + plural(len(nodes), "replica server") + " have"}}
	p.Do = func(ctx context.Context, host modules.Host) error {
		return recoverTables(ctx, call, host, args, nodes, out)
	}
	return p, nil
}

// complete takes the tables that are there, and is an error where one that must be is not.
func (o *recoverOutput) complete(apps []wire.AppInfo, must []string) error {
	for _, a := range apps {
		if a.Status != wire.AppDropped {
			o.Tables = append(o.Tables, a.Name)
		}
	}
	lost := slices.DeleteFunc(slices.Clone(must), func(name string) bool { return slices.Contains(o.Tables, name) })
	if len(lost) > 0 {
		return fmt.Errorf("not there: tables %s (there are: %s)", strings.Join(lost, ", "), strings.Join(o.Tables, ", "))
	}
	return nil
}

func recoverTables(ctx context.Context, call *modules.Call, host modules.Host, args recoverArgs, nodes []wire.Address, out *recoverOutput) error {
	ctx, cancel := context.WithTimeoutCause(ctx, args.Timeout, timeoutCause(args.Timeout, "recovering the tables"))
	defer cancel()
	// The meta server answers when it has asked every node.
	patient, err := client.New(host.Dial, args.cluster().metas(), client.Options{Note: call.Note, AnswerTimeout: args.Wait, LeaderTimeout: leaderWait})
	if err != nil {
		return err
	}
	defer patient.Close()
	call.Note("the meta server asks %s for their replicas", plural(len(nodes), "replica server"))
	reply, err := client.Order(ctx, patient, &wire.RecoveryRequest{Nodes: nodes, SkipBad: args.SkipBad, SkipLost: args.SkipLost})
	if reply != nil {
		out.Hint = reply.Hint
	}
	var silent *client.NoAnswerError
	if err != nil && !(errors.As(err, &silent) && silent.Sent) {
		if out.Hint != "" {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(out.Hint))
		}
		return err
	}
	return untilRecovered(ctx, call, host, args, out)
}

// untilRecovered waits until the meta server answers again: to a request whose answer was lost, too.
func untilRecovered(ctx context.Context, call *modules.Call, host modules.Host, args recoverArgs, out *recoverOutput) error {
	s, err := open(call, host, args.cluster())
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		apps, err := s.Apps(ctx)
		if err == nil {
			out.Recovered = true
			return out.complete(apps, args.Tables)
		}
		if !underRecovery(err) {
			return err
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}
