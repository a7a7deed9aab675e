package pegasus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

func copyRateModule() *modules.Module {
	return modules.Define("pegasus_copy_rate", `Limit how fast Pegasus replica servers copy replicas

Sets how many megabytes a second every live replica server receives and sends when replicas are copied (per
disk, since 2.4), and reads it back: full speed costs clients latency. The names of the settings differ
between releases; the module takes those that a server knows. They live in the server's memory, so that a
server that is restarted has what its configuration says.

The result has before, the rate of each server, and was, the one rate that all of them had (0 where they
differed), for a later task to put back.

    - pegasus_copy_rate:
        meta_servers: 10.0.0.1:34601,10.0.0.2:34601
        megabytes: 100
      register: rate`, proposeCopyRate)
}

type copyRateArgs struct {
	clusterArgs
	// A server refuses less than a block of copying, which is 4 MiB (facts/pegasus.md §3.2).
	Megabytes int      `arg:"megabytes,required" min:"5" doc:"megabytes a second"`
	Nodes     []string `arg:"nodes" doc:"only these replica servers, ip:port each; none means all that are alive"`
}

type copyRateOutput struct {
	Before map[string]int `json:"before"`
	Was    int            `json:"was"`
	Now    int            `json:"now"`
}

// rate is one of the two limits, by the names that it has had, newest first.
type rate struct {
	what     string
	commands []string
	optional bool // older servers have no such limit
}

func rates() []rate {
	return []rate{
		{"copy rate", []string{"nfs.max_copy_rate_megabytes_per_disk", "nfs.max_copy_rate_megabytes", "replica.nfs.max_copy_rate_megabytes"}, false},
		{"send rate", []string{"nfs.max_send_rate_megabytes_per_disk", "nfs.max_send_rate_megabytes"}, true},
	}
}

// serverRate is a limit as one server has it.
type serverRate struct {
	addr, command string
	now           int
}

func proposeCopyRate(ctx context.Context, call *modules.Call, args copyRateArgs) (*modules.Proposal, error) {
	s, err := open(call, call.Host, args.clusterArgs)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	all, err := s.rates(ctx, args.Nodes)
	if err != nil {
		return nil, err
	}
	out := &copyRateOutput{Before: map[string]int{}, Now: args.Megabytes}
	p := &modules.Proposal{Output: out, Predicts: map[string]string{}}
	var differ []serverRate
	for _, r := range all {
		if strings.Contains(r.command, "copy") {
			out.Before[r.addr] = r.now
		}
		if r.now != args.Megabytes {
			differ = append(differ, r)
			p.Diff = append(p.Diff, modules.Diff{Subject: r.addr + " " + r.command, Note: fmt.Sprintf("%d → %d", r.now, args.Megabytes)})
			p.Predicts[s.prefix+"server/"+r.addr+"/"+r.command] = strconv.Itoa(args.Megabytes)
		}
	}
	if len(all) > 0 && !slices.ContainsFunc(all, func(r serverRate) bool { return r.now != all[0].now }) {
		out.Was = all[0].now
	}
	if len(differ) == 0 {
		return p, nil
	}
	p.Do = func(ctx context.Context, host modules.Host) error { return setRates(ctx, call, host, args, differ) }
	return p, nil
}

// rates reads both limits of every server.
func (s *session) rates(ctx context.Context, only []string) ([]serverRate, error) {
	nodes, err := s.Nodes(ctx)
	if err != nil {
		return nil, s.unpredicted(err)
	}
	servers := only
	if len(only) == 0 {
		for _, n := range nodes {
			if n.Status == wire.NodeAlive {
				servers = append(servers, n.Node.Address.String())
			}
		}
	}
	found := make([][]serverRate, len(servers))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i, addr := range servers {
		group.Go(func() error {
			for _, r := range rates() {
				one, err := s.rate(ctx, addr, r)
				if err != nil {
					return err
				}
				found[i] = append(found[i], one...)
			}
			return nil
		})
	}
	err = group.Wait()
	var all []serverRate
	for _, some := range found {
		all = append(all, some...)
	}
	return all, err
}

// rate reads a limit under the name that the server knows it by; nothing where it has none.
func (s *session) rate(ctx context.Context, addr string, r rate) ([]serverRate, error) {
	for _, command := range r.commands {
		if text, ok := s.predicted("server/" + addr + "/" + command); ok {
			now, err := strconv.Atoi(text)
			return []serverRate{{addr, command, now}}, err
		}
		answer, err := s.Command(ctx, addr, command)
		if err != nil {
			return nil, err
		}
		if answer.Unknown() {
			continue
		}
		value, _ := answer.Value(command)
		now, err := strconv.Atoi(value)
		if err != nil {
			return nil, &client.CommandError{Addr: addr, Command: command, Text: answer.Text}
		}
		return []serverRate{{addr, command, now}}, nil
	}
	if r.optional {
		return nil, nil
	}
	return nil, fmt.Errorf("%s knows no limit of the %s (asked for %s)", addr, r.what, strings.Join(r.commands, ", "))
}

func setRates(ctx context.Context, call *modules.Call, host modules.Host, args copyRateArgs, differ []serverRate) error {
	ctx, cancel := context.WithTimeoutCause(ctx, args.Timeout, timeoutCause(args.Timeout, "limiting the rate of copying"))
	defer cancel()
	s, err := open(call, host, args.clusterArgs)
	if err != nil {
		return err
	}
	defer s.Close()
	want := strconv.Itoa(args.Megabytes)
	errs := make([]error, len(differ))
	var group errgroup.Group
	group.SetLimit(16)
	for i, r := range differ {
		group.Go(func() error {
			errs[i] = s.setRate(ctx, r, want)
			return nil
		})
	}
	_ = group.Wait() // errs has the errors: all of them count, not the first
	return errors.Join(errs...)
}

// setRate sets a limit and reads it back. Setting it twice does no harm, so a server that does not answer
// is asked once more.
func (s *session) setRate(ctx context.Context, r serverRate, want string) error {
	for try := 1; ; try++ {
		answer, err := s.Command(ctx, r.addr, r.command, want)
		if err == nil && !answer.Accepted() {
			return &client.CommandError{Addr: r.addr, Command: r.command + " " + want, Text: answer.Text}
		}
		if err == nil {
			answer, err = s.Command(ctx, r.addr, r.command)
		}
		if err == nil {
			if now, _ := answer.Value(r.command); now != want {
				return fmt.Errorf("%s: %s is %s after it was set to %s", r.addr, r.command, now, want)
			}
			return nil
		}
		if try == 2 {
			return err
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}
