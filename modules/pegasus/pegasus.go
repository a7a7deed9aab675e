// Package pegasus has the modules for Apache Pegasus: its shell's commands spoken natively, the
// operations of a rolling update as steps that converge, and waiting until a system is healthy.
//
// Every module connects through the task's host, so that the control node need not reach the
// cluster's network. Reading happens in Propose, acting in Do. What a step would leave behind is
// predicted under keys of the cluster, so that check mode of a whole rolling update sees a drained node
// as drained.
package pegasus

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// All lists the modules of this package.
func All() []*modules.Module {
	all := []*modules.Module{shellModule(), settingsModule(), migrateModule(), downgradeModule(), closeModule(),
		serverModule(), statusModule(), preflightModule(), stopCheckModule(), balanceModule(), copyRateModule(), backupModule(),
		backupPolicyModule(), restoreModule(), recoverModule(), waitHealthyModule()}
	for _, m := range all {
		m.Output = outputs()[m.Name]
	}
	return all
}

// clusterArgs are the arguments that name a cluster.
type clusterArgs struct {
	MetaServers []string      `arg:"meta_servers,required" doc:"the cluster's meta servers, ip:port each; a list, or one text with commas"`
	Timeout     time.Duration `arg:"timeout" default:"2m" doc:"how long the whole task may take"`
}

// metas is the list of meta servers, however it was written.
func (a clusterArgs) metas() []string {
	var metas []string
	for _, entry := range a.MetaServers {
		for addr := range strings.SplitSeq(entry, ",") {
			if addr = strings.TrimSpace(addr); addr != "" {
				metas = append(metas, addr)
			}
		}
	}
	return metas
}

// leaderWait bounds the search for a leading meta server.
const leaderWait = time.Minute

// freshWait is that bound where check mode has only predicted that there is a cluster: one look.
const freshWait = time.Millisecond

// session is a task's work with one cluster.
type session struct {
	*client.Client
	host   modules.Host
	prefix string
	call   *modules.Call
	note   func(format string, args ...any)
}

// open prepares a session; nothing is contacted. The caller closes it.
func open(call *modules.Call, host modules.Host, args clusterArgs) (*session, error) {
	metas := args.metas()
	prefix := predictionPrefix(metas)
	wait := leaderWait
	if _, predicted := host.Predicted(prefix + "up"); predicted {
		wait = freshWait
	}
	c, err := client.New(host.Dial, metas, client.Options{Note: call.Note, LeaderTimeout: min(wait, args.Timeout)})
	if err != nil {
		return nil, &modules.ArgumentError{Arg: "meta_servers", Problem: "meta_servers: " + err.Error()}
	}
	return &session{Client: c, host: host, prefix: prefix, call: call, note: call.Note}, nil
}

func predictionPrefix(metas []string) string {
	return "cluster/pegasus/" + strings.Join(slices.Sorted(slices.Values(metas)), ",") + "/"
}

// predicted is what an earlier step would have left in check mode.
func (s *session) predicted(key string) (string, bool) { return s.host.Predicted(s.prefix + key) }

// predictions collects what a step leaves behind.
func (s *session) predictions(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[s.prefix+pairs[i]] = pairs[i+1]
	}
	return m
}

// fresh says whether an error only means that the cluster is not there yet in check mode that has
// predicted it.
func (s *session) fresh(err error) bool {
	var none *client.NoLeaderError
	_, up := s.predicted("up")
	return up && errors.As(err, &none)
}

// unpredicted turns such an error into the one that makes a task unknown.
func (s *session) unpredicted(err error) error {
	if s.fresh(err) {
		return modules.ErrUnpredicted
	}
	return err
}

// view is the cluster as it is, under what check mode has predicted.
func (s *session) view(ctx context.Context) (*client.View, error) {
	v, err := s.View(ctx)
	if err != nil {
		return nil, s.unpredicted(err)
	}
	if _, any := s.predicted("partitions"); !any {
		return v, nil
	}
	for i := range v.Tables {
		for j := range v.Tables[i].Partitions {
			p := &v.Tables[i].Partitions[j]
			if text, ok := s.predicted("partition/" + p.PID.String()); ok {
				p.Primary, p.Secondaries = parseMembers(text)
			}
		}
	}
	return v, nil
}

// predictPartition remembers a partition's members.
func (s *session) predictPartition(m map[string]string, p *wire.PartitionConfig) {
	m[s.prefix+"partitions"] = "yes"
	m[s.prefix+"partition/"+p.PID.String()] = members(p)
}

func members(p *wire.PartitionConfig) string {
	texts := []string{p.Primary.String()}
	for _, a := range p.Secondaries {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ",")
}

func parseMembers(text string) (primary wire.Address, secondaries []wire.Address) {
	for i, part := range strings.Split(text, ",") {
		addr, err := wire.ParseAddress(part)
		if err != nil {
			continue // "-", no primary
		}
		if i == 0 {
			primary = addr
		} else {
			secondaries = append(secondaries, addr)
		}
	}
	return primary, secondaries
}

// level is the function level that is set.
func (s *session) level(ctx context.Context) (string, error) {
	if text, ok := s.predicted("level"); ok {
		return text, nil
	}
	level, err := s.Level(ctx)
	if s.fresh(err) {
		return wire.LevelSteady.String(), nil // what a cluster starts with
	}
	return level.String(), err
}

// setting is a setting of the leader.
func (s *session) setting(ctx context.Context, command string) (string, error) {
	if text, ok := s.predicted("setting/" + command); ok {
		return text, nil
	}
	value, err := s.Setting(ctx, command)
	return value, s.unpredicted(err)
}

// pause waits between two looks.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// plural is "1 node" or "2 nodes".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return itoa(n) + " " + noun + "s"
}
