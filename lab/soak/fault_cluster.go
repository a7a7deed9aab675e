package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pegbook/pegbook/lab/stage"
)

// serverFaults are servers that are not as they should be.
func serverFaults() []*fault {
	onVictim := func(setting func(p *play) string) func(context.Context, *play) error {
		return func(_ context.Context, p *play) error { return p.misbehave([]string{p.victim}, setting(p)) }
	}
	metas := func(p *play) []string { return named(p.Hosts.Servers(stage.Meta)) }
	timeouts := func(names ...string) func(*play) []string {
		return func(*play) (args []string) {
			for _, name := range names {
				args = append(args, "-e", name+"=5s")
			}
			return args
		}
	}
	return []*fault{
		{
			name: "crash-at-start", what: "a server does not come up", codes: []int{2}, kinds: []kind{some, single},
			before: func(_ context.Context, p *play) error {
				p.killed = append(p.killed, p.victim)
				return p.misbehave([]string{p.victim}, "crash_at_start")
			},
		},
		{
			name: "slow-start", what: "a server comes up late", kinds: []kind{some, single},
			before: onVictim(func(p *play) string { return fmt.Sprintf("load_ms=%d", 10_000+p.chance.IntN(110_000)) }),
		},
		{
			name: "slow-stop", what: "a server stops late", kinds: []kind{some, single},
			before: onVictim(func(p *play) string { return fmt.Sprintf("stop_ms=%d", 5000+p.chance.IntN(60_000)) }),
		},
		{
			name: "slow-disk", what: "replicas are closed and copied slowly", kinds: []kind{some, single},
			before: func(_ context.Context, p *play) error {
				return p.misbehave(p.Replicas(), fmt.Sprintf("close_ms=%d", 1000+p.chance.IntN(20_000)), fmt.Sprintf("learn_ms=%d", 1000+p.chance.IntN(20_000)))
			},
		},
		{
			name: "stays-short", what: "partitions stay at two copies", codes: []int{2}, kinds: []kind{some, single}, args: timeouts("healthy_timeout"),
			before: func(_ context.Context, p *play) error { return p.misbehave(metas(p), "two_copies=all") },
		},
		{
			name: "closing-never-ends", what: "replicas do not close", codes: []int{2}, kinds: []kind{some, single}, args: timeouts("close_timeout"),
			before: onVictim(func(*play) string { return "closing_never_ends" }),
		},
		{
			// A partition whose primary has been taken from one server and is not taken by the next has none until it is.
			name: "stuck-primaries", what: "primaries do not move", codes: []int{2}, failed: true, kinds: []kind{some, single}, args: timeouts("drain_timeout"),
			before: onVictim(func(*play) string { return "stuck_partitions=all" }),
		},
		{
			name: "disk-full-replica", what: "the disk of another server is full", codes: []int{0, 2}, failed: true, one: true, kinds: []kind{some, single},
			args: timeouts("healthy_timeout", "drain_timeout"),
			during: func(ctx context.Context, p *play) error {
				if !p.comes(ctx) {
					return nil
				}
				return p.misbehave([]string{p.other()}, "disk_full")
			},
		},
	}
}

// deathFaults are servers that die while the update is under way.
func deathFaults() []*fault {
	short := func(*play) []string { return []string{"-e", "healthy_timeout=10s"} }
	return []*fault{
		{
			name: "leader-killed", what: "the leading meta server is killed (-9)", often: 2, codes: []int{0, 2}, lapse: true, kinds: []kind{some}, args: short,
			during: func(ctx context.Context, p *play) error {
				if !p.comesBefore(ctx) {
					return nil
				}
				host, err := p.Leader(ctx)
				if err != nil {
					return err
				}
				return p.kill(ctx, host, stage.Meta)
			},
		},
		{
			name: "leader-resigns", what: "another meta server takes the lead", codes: []int{0, 2}, kinds: []kind{some, single},
			during: func(ctx context.Context, p *play) error {
				if !p.comesBefore(ctx) {
					return nil
				}
				host, err := p.Leader(ctx)
				if err != nil {
					return err
				}
				return p.misbehave([]string{host}, "resign")
			},
		},
		{
			name: "other-killed", what: "another replica server is killed (-9)", codes: []int{0, 2}, failed: true, one: true, kinds: []kind{some, single}, args: short,
			during: func(ctx context.Context, p *play) error {
				if !p.comes(ctx) {
					return nil
				}
				return p.kill(ctx, p.other(), stage.Replica)
			},
		},
		{
			name: "other-killed-guarded", what: "another replica server is killed (-9), with guard_cluster", codes: []int{0, 2, 5}, failed: true, one: true, kinds: []kind{some, single},
			args: func(*play) []string { return []string{"-e", "healthy_timeout=10s", "-e", "guard_cluster=true"} },
			during: func(ctx context.Context, p *play) error {
				if !p.comes(ctx) {
					return nil
				}
				return p.kill(ctx, p.other(), stage.Replica)
			},
		},
		{
			name: "restarted-killed", what: "the server that was just restarted is killed (-9)", codes: []int{0, 2}, failed: true, kinds: []kind{some, single}, args: short,
			during: func(ctx context.Context, p *play) error {
				if !p.reaches(ctx, p.victim, "secondaries come back quickly") {
					return nil
				}
				return p.kill(ctx, p.victim, stage.Replica)
			},
		},
	}
}

// zooKeeperFaults are about ZooKeeper.
func zooKeeperFaults() []*fault {
	expire := func(path string, comes func(*play, context.Context) bool) func(context.Context, *play) error {
		return func(ctx context.Context, p *play) error {
			if !comes(p, ctx) {
				return nil
			}
			return p.forAWhile(ctx, 300*time.Millisecond, []string{"zookeeper"}, "expire="+path)
		}
	}
	return []*fault{
		{
			name: "zookeeper-down", what: "ZooKeeper is away for up to 4 s", often: 2, kinds: []kind{some},
			during: func(ctx context.Context, p *play) error {
				if !p.comes(ctx) {
					return nil
				}
				return p.forAWhile(ctx, p.upTo(300*time.Millisecond, 4*time.Second), []string{"zookeeper"}, "down")
			},
		},
		{name: "lock-lost", what: "the session that holds the lock ends", often: 2, codes: []int{0, 5}, during: expire("/pegbook/locks", (*play).comes)},
		{name: "leader-loses-session", what: "the meta servers' sessions with ZooKeeper end", codes: []int{0, 2}, kinds: []kind{some}, during: expire("/pegasus", (*play).comesBefore)},
	}
}

// named are the names of hosts in order.
func named(servers map[string]string) []string { return slices.Sorted(maps.Keys(servers)) }
