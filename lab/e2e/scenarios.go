package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/lab/stage"
)

// scenario is a fault, when it is put in, and what must become of the update.
type scenario struct {
	name, fault string
	// machines says that it needs hosts with a network and a ZooKeeper of their own.
	machines bool
	// args are more arguments of the update.
	args func(p *performance) []string
	// before prepares the fault, during puts it in while the update runs, then is what people do afterwards
	// to go on, while clients still read and write. All may be nil.
	before, during, then func(ctx context.Context, p *performance) error
	// mend brings back what the fault has ended, once everything has been looked at.
	mend func(ctx context.Context, p *performance) error
	// restarts is how often it restarts one replica server at most; 0 stands for once.
	restarts int
	// forecast says that the duration is compared with the one that --forecast told before.
	forecast bool
	// want is what must become of it; of several, the one with the exit code that it had counts.
	want []want
}

// want is what must become of an update.
type want struct {
	code int
	// failed says that operations of clients may fail because of the fault; least is how many live copies
	// each partition has at least.
	failed bool
	least  int
	// stall is how long one operation may take at most; 0 for not at issue.
	stall time.Duration
	// says is what people are told.
	says []string
}

// flawless is an update that nobody notices.
func flawless() []want { return []want{{least: 2, stall: time.Second}} }

// stopped is an update that stops and says so, and nobody else notices.
func stopped(says ...string) []want {
	return []want{{code: 2, least: 2, stall: time.Second, says: append(says, "settings are as before", "What is where now:", stoppedHere)}}
}

// stoppedHere marks the server that is half done, for people.
const stoppedHere = "<- it stopped here"

// fixed makes arguments that depend on nothing.
func fixed(args ...string) func(*performance) []string {
	return func(*performance) []string { return args }
}

// firstReplicas limits an update to the first replica servers and all meta servers.
func firstReplicas(count int, more ...string) func(*performance) []string {
	return func(p *performance) []string {
		return append([]string{"--limit", strings.Join(p.worked[:count], ":") + ":meta_server"}, more...)
	}
}

// onlyReplicas is an update of the first replica servers and nothing else.
func onlyReplicas(count int, more ...string) func(*performance) []string {
	return firstReplicas(count, append(more, "-e", "{update_roles: [replica]}")...)
}

// scenarios are all, in the order in which they are played.
func scenarios() []scenario {
	all := []scenario{
		{name: "ha", fault: "none, mode=ha", args: fixed(), want: flawless(), forecast: true},
		{name: "simple", fault: "none, mode=simple", args: fixed("-e", "mode=simple"), want: []want{{failed: true, least: 2}}},
	}
	all = append(all, serverScenarios()...)
	all = append(all, hostScenarios()...)
	return append(all, pegbookKilled())
}

// draining waits until a replica server's secondaries go, which is in the middle of its drain.
func draining(ctx context.Context, p *performance, host string) error {
	return p.run.Until(ctx, "the drain of "+host, func(r stage.Record) bool {
		return r.Event == "task_started" && r.Host == host && strings.HasSuffix(r.Task, "secondaries are taken out of service")
	})
}

// ended waits until a task has ended on a host.
func ended(ctx context.Context, p *performance, host, task string) error {
	return p.run.Until(ctx, task+" on "+host, func(r stage.Record) bool {
		return r.Event == "task_done" && r.Host == host && strings.HasSuffix(r.Task, task) && r.Status != "failed"
	})
}

// deployVictim is what the message of a failed update tells people to do.
func deployVictim(ctx context.Context, p *performance) error {
	return p.Do(ctx, append([]string{"deploy.yml", "--limit", p.victim}, stage.PackageArgs(p.Target())...)...)
}

// serverScenarios are about servers that die, or are not as they should be.
func serverScenarios() []scenario {
	return []scenario{
		{
			name: "meta-killed", fault: "leading meta server killed (-9) while replica 2 drains", args: onlyReplicas(2),
			during: func(ctx context.Context, p *performance) (err error) {
				if err := draining(ctx, p, p.worked[1]); err != nil {
					return err
				}
				if p.victim, err = p.Leader(ctx); err != nil {
					return err
				}
				return p.Hosts.Kill(ctx, p.victim, stage.Meta)
			},
			mend: deployVictim,
			// It goes on under the next leader. On a machine so busy that this one has not heard of all servers in time, it
			// has given replicas up, and the drain would leave a partition with one copy: then it stops, and says that.
			want: append(flawless(), stopped("live replicas would be left of")...),
		},
		{
			name: "broken-package", fault: "the new package's server does not come up", restarts: 2,
			args: func(p *performance) []string {
				return append(onlyReplicas(2)(p), stage.PackageArgs(p.broken)...)
			},
			before: func(_ context.Context, p *performance) (err error) {
				p.victim = p.worked[0]
				p.broken, err = p.BrokenPackage()
				return err
			},
			mend: deployVictim,
			want: stopped("cannot open shared object", "--limit"),
		},
		{
			name: "slow-start", fault: "replica 2 takes two minutes to load its replicas", args: onlyReplicas(2),
			before: func(ctx context.Context, p *performance) error {
				p.victim = p.worked[1]
				p.heal = func() error { return p.Hosts.Fault(context.WithoutCancel(ctx), p.victim, stage.Replica) }
				return p.Hosts.Fault(ctx, p.victim, stage.Replica, "load_ms=120000")
			},
			want: flawless(),
		},
		{
			name: "two-copies", fault: "partitions stay at two copies after replica 1", args: func(p *performance) []string {
				return onlyReplicas(2, "-e", fmt.Sprintf("healthy_timeout=%s", max(stage.Scaled(60*time.Second, p.Scale), 5*time.Second)))(p)
			},
			before: func(ctx context.Context, p *performance) error {
				p.heal = func() error { return p.everyMeta(context.WithoutCancel(ctx)) }
				return p.everyMeta(ctx, "two_copies=all")
			},
			want: stopped("2 of 3 replicas"),
		},
	}
}

// everyMeta has all meta servers misbehave, since any of them may lead.
func (p *performance) everyMeta(ctx context.Context, settings ...string) error {
	for host := range p.Hosts.Servers(stage.Meta) {
		if err := p.Hosts.Fault(ctx, host, stage.Meta, settings...); err != nil {
			return err
		}
	}
	return nil
}

// hostScenarios are about what lies below the servers.
func hostScenarios() []scenario {
	cutVictim := func(ctx context.Context, p *performance) error {
		p.heal = func() error { return p.Hosts.Cut(context.WithoutCancel(ctx), p.victim, false) }
		return p.Hosts.Cut(ctx, p.victim, true)
	}
	return []scenario{
		{
			name: "link-cut-drained", fault: "link of replica 2 down, drained, before it is restarted", machines: true, args: onlyReplicas(2),
			during: func(ctx context.Context, p *performance) error {
				p.victim = p.worked[1]
				if err := ended(ctx, p, p.victim, "since when it has been running"); err != nil {
					return err
				}
				return cutVictim(ctx, p)
			},
			want: stopped("cannot be reached any more"),
		},
		{
			name: "link-cut-serving", fault: "link of replica 2 down as its turn begins, serving", machines: true, args: onlyReplicas(2),
			during: func(ctx context.Context, p *performance) error {
				p.victim = p.worked[1]
				if err := p.run.Until(ctx, "the turn of "+p.victim, func(r stage.Record) bool {
					return r.Event == "batch_started" && r.Play == "replica servers" && r.Batch == 2
				}); err != nil {
					return err
				}
				return cutVictim(ctx, p)
			},
			// Clients cannot reach what it served until the meta server gives it up: that is the cut link's doing.
			// What is done on a host that cannot be reached would end the run with 4, and leave the settings as they are;
			// nothing is before the drain, which goes through a meta server's host.
			want: []want{{code: 2, failed: true, least: 2, says: []string{"settings are as before", "What is where now:", stoppedHere}}},
		},
		{
			name: "link-cut-restarting", fault: "link of replica 1 down while it is restarted", machines: true, args: onlyReplicas(2),
			during: func(ctx context.Context, p *performance) error {
				p.victim = p.worked[0]
				if err := p.run.Until(ctx, "the restart of "+p.victim, func(r stage.Record) bool {
					return r.Event == "task_started" && r.Host == p.victim && strings.HasSuffix(r.Task, "replica server: restarted")
				}); err != nil {
					return err
				}
				return cutVictim(ctx, p)
			},
			want: stopped("cannot be reached any more"),
		},
		{
			name: "zookeeper-killed", fault: "leading ZooKeeper server killed (-9) while replica 1 drains", machines: true, args: onlyReplicas(2),
			during: func(ctx context.Context, p *performance) (err error) {
				if err := draining(ctx, p, p.worked[0]); err != nil {
					return err
				}
				p.heal, err = p.Hosts.LoseZooKeeper(ctx)
				return err
			},
			want: flawless(),
		},
	}
}

// pegbookKilled is about pegbook's own end.
func pegbookKilled() scenario {
	return scenario{
		name: "pegbook-killed", fault: "pegbook killed (-9) while replica 2 drains; then --tags restore and the update again", args: onlyReplicas(2), restarts: 2,
		during: func(ctx context.Context, p *performance) error {
			host := p.worked[1]
			if err := p.run.Until(ctx, "the wait for secondaries of "+host, func(r stage.Record) bool {
				return r.Event == "noted" && r.Host == host && strings.HasSuffix(r.Task, "secondaries are taken out of service")
			}); err != nil {
				return err
			}
			return p.run.Signal(syscall.SIGKILL)
		},
		then: func(ctx context.Context, p *performance) error {
			if p.code != -int(syscall.SIGKILL) {
				return fmt.Errorf("pegbook ended with %d before it was killed", p.code)
			}
			// Nothing has been put back yet, as the documentation says; so the update refuses to go on. The lock of the
			// run that was killed keeps others out until its session with ZooKeeper has ended.
			if err := p.Do(ctx, "rolling-update.yml", "--lock-wait", "1m", "--tags", "restore", "-e", "level_after=lively"); err != nil {
				return err
			}
			if err := p.Healthy(ctx, 5*time.Minute); err != nil {
				return err
			}
			return p.again(ctx)
		},
		want: flawless(),
	}
}

// again runs the update that was interrupted once more.
func (p *performance) again(ctx context.Context) (err error) {
	if p.run, err = p.Begin(ctx, "rolling-update.yml", p.updateArgs()...); err != nil {
		return err
	}
	began := time.Now()
	p.code, err = p.run.Wait()
	p.took = time.Since(began)
	return err
}
