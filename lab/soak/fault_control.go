package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/lab/stage"
)

// anyHost is a host that the update works on or through.
func (p *play) anyHost() string {
	hosts := append(named(p.Hosts.Servers(stage.Meta)), p.victim, p.victim)
	return hosts[p.chance.IntN(len(hosts))]
}

// hostFaults are about hosts and the way to them.
func hostFaults() []*fault {
	away := func(setting string, least, most time.Duration) func(context.Context, *play) error {
		return func(ctx context.Context, p *play) error {
			if !p.comes(ctx) {
				return nil
			}
			return p.forAWhile(ctx, p.upTo(least, most), []string{p.anyHost()}, setting)
		}
	}
	return []*fault{
		{name: "link-cut", what: "the link to a host is cut for up to 5 s", often: 2, codes: []int{0, 2, 4}, during: away("ssh_hangs", 200*time.Millisecond, 5*time.Second)},
		{
			name: "link-cut-for-good", what: "the link to a host is cut until the update ends", codes: []int{0, 2, 4}, kinds: []kind{some},
			during: func(ctx context.Context, p *play) error {
				if !p.comes(ctx) {
					return nil
				}
				host := p.anyHost()
				p.out.At += ", " + host
				return p.misbehave([]string{host}, "ssh_hangs")
			},
		},
		{name: "sshd-killed", what: "a host's sshd is killed and comes back", often: 2, codes: []int{0, 2, 4}, during: away("ssh_refused", 200*time.Millisecond, 3*time.Second)},
		{
			name: "slow-network", what: "the network is slow",
			before: func(_ context.Context, p *play) error {
				return p.misbehave(p.Hosts.Names(), fmt.Sprintf("ssh_delay_ms=%d", 10+p.chance.IntN(60)))
			},
		},
		{
			name: "helper-killed", what: "the helper on a host is killed (-9)", often: 2, codes: []int{0, 2, 4},
			during: func(ctx context.Context, p *play) error {
				if !p.comes(ctx) {
					return nil
				}
				return p.killHelper(ctx, p.anyHost())
			},
		},
		{
			name: "disk-full-host", what: "a host's disk is full", root: true, codes: []int{2}, kinds: []kind{some, single},
			before: func(_ context.Context, p *play) error {
				dir := filepath.Join(p.labDir(), "hosts", p.victim, "pegasus", "releases")
				p.heals = append(p.heals, func() error { return syscall.Unmount(dir, syscall.MNT_DETACH) })
				return p.mount(dir, 64)
			},
		},
		{
			name: "disk-full-control", what: "the control node's disk is full", root: true, codes: []int{0, 1, 2, 130}, kinds: []kind{some, single},
			before: func(_ context.Context, p *play) error {
				home := filepath.Join(p.Dir, fmt.Sprintf("small-%d", p.number))
				p.env = []string{"PEGBOOK_HOME=" + home}
				p.heals = append(p.heals, func() error {
					return syscall.Mount("tmpfs", home, "tmpfs", syscall.MS_REMOUNT, "mode=0700,size=64m")
				})
				p.ends = append(p.ends, func() error { return syscall.Unmount(home, syscall.MNT_DETACH) })
				return p.mount(home, 300+p.chance.IntN(900))
			},
		},
	}
}

// killHelper kills the helper of pegbook on a host.
func (p *play) killHelper(ctx context.Context, host string) error {
	report, err := lab.Status(ctx, p.labDir())
	if err != nil {
		return err
	}
	for _, h := range report.Hosts {
		for _, process := range h.Processes {
			if h.Name == host && process.Role == "" {
				p.out.At += ", " + host
				_ = syscall.Kill(process.PID, syscall.SIGKILL) // it has just ended
			}
		}
	}
	return nil
}

// pegbookFaults are about pegbook's own process.
func pegbookFaults() []*fault {
	signal := func(times int, which os.Signal) func(context.Context, *play) error {
		return func(ctx context.Context, p *play) error {
			if !p.comes(ctx) {
				return nil
			}
			for range times {
				if err := p.run.Signal(which); err != nil {
					return nil // it has just ended
				}
				if err := pass(ctx, 50*time.Millisecond); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return []*fault{
		{name: "pegbook-killed", what: "pegbook is killed (-9)", often: 5, codes: []int{0, -9}, during: signal(1, syscall.SIGKILL)},
		{name: "interrupted", what: "Ctrl-C", often: 2, codes: []int{0, 130}, during: signal(1, syscall.SIGINT)},
		{name: "interrupted-twice", what: "Ctrl-C twice", often: 2, codes: []int{0, 130}, during: signal(2, syscall.SIGINT)},
		{
			name: "pegbook-stopped", what: "pegbook stands still (SIGSTOP) for up to 6 s", often: 2,
			during: func(ctx context.Context, p *play) error {
				if !p.comes(ctx) {
					return nil
				}
				return p.pauseProcess(ctx, p.upTo(100*time.Millisecond, 6*time.Second))
			},
		},
		{
			name: "overtaken", what: "pegbook stands still (SIGSTOP), another run takes the lock, it wakes up", often: 2, codes: []int{0, 5}, kinds: []kind{some},
			during: overtake,
		},
	}
}

// overtake stops the update, has another run do it, and wakes the first somewhere in between: it must not change
// anything any more.
func overtake(ctx context.Context, p *play) error {
	if !p.comes(ctx) || p.run.Signal(syscall.SIGSTOP) != nil {
		return nil
	}
	wake := func() error { return p.run.Signal(syscall.SIGCONT) }
	defer func() { _ = wake() }() // it has been woken, or has ended
	// The settings of an update that stands still are not put back, so the other one is told the level.
	args := append([]string{"--lock-wait", "1m", "-e", "level_after=lively"}, p.plainArgs()...)
	restored := p.Do(ctx, "rolling-update.yml", "--lock-wait", "1m", "--tags", "restore", "-e", "level_after=lively")
	if restored != nil {
		return restored
	}
	if err := p.Healthy(ctx, wellWithin); err != nil {
		return fmt.Errorf("under the run that has taken over: %w", err)
	}
	other, err := p.Begin(ctx, "rolling-update.yml", args...)
	if err != nil {
		return err
	}
	at := p.chance.IntN(100)
	_ = other.Until(ctx, "the moment of waking up", func(stage.Record) bool { at--; return at < 0 }) // or when it has ended
	if err := wake(); err != nil {
		return err
	}
	code, err := p.ended(ctx, other)
	p.out.Codes = p.out.Codes[:0] // the update's own come first
	p.out.Others = append(p.out.Others, code)
	if err == nil && code != 0 {
		p.out.mark("the run that took over ended with %d: %s", code, other.Says())
	}
	return err
}

// steeredFaults are people at another terminal.
func steeredFaults() []*fault {
	return []*fault{
		{
			name: "paused", what: "runs pause, and runs continue", often: 2,
			during: func(ctx context.Context, p *play) error {
				if !p.steer(ctx, "pause") {
					return nil
				}
				if err := pass(ctx, p.upTo(0, 3*time.Second)); err != nil {
					return err
				}
				return p.verb(ctx, "continue")
			},
		},
		{
			name: "aborted", what: "runs pause, and runs abort", codes: []int{0, 130},
			during: func(ctx context.Context, p *play) error {
				if !p.steer(ctx, "pause") {
					return nil
				}
				if err := pass(ctx, p.upTo(0, time.Second)); err != nil {
					return err
				}
				return p.verb(ctx, "abort")
			},
		},
		{
			name: "gates", what: "gates, and runs approve", often: 2, kinds: []kind{some, single, whole},
			args: func(*play) []string {
				return []string{"-e", "{approve_after: [first, replica, meta]}", "--wait-for-approval=60s"}
			},
			during: func(ctx context.Context, p *play) error { return p.approve(ctx, p.run) },
		},
		{
			name: "gate-unanswered", what: "a gate that nobody opens in time", codes: []int{5}, kinds: []kind{some, single},
			args: func(*play) []string { return []string{"-e", "{approve_after: [first]}", "--wait-for-approval=2s"} },
			then: func(ctx context.Context, p *play) error {
				run, err := p.Start(ctx, "runs", "resume", p.id, "--json")
				if err != nil {
					return err
				}
				if err := p.approve(ctx, run); err != nil {
					return err
				}
				code, err := p.ended(ctx, run)
				p.out.resumed = append(p.out.resumed, code)
				if err == nil && code != 0 {
					err = fmt.Errorf("runs resume ends with %d: %s", code, run.Says())
				}
				return err
			},
		},
	}
}

// steer asks the update for something at its moment; false when it has ended before.
func (p *play) steer(ctx context.Context, what string) bool {
	return p.comes(ctx) && p.verb(ctx, what) == nil
}

// verb asks the update for something. One that has just ended is no error.
func (p *play) verb(ctx context.Context, what string) error {
	name, _ := p.run.Named()
	_, err := p.Verb(ctx, p.env, "runs", what, name)
	select {
	case <-p.run.Ended():
		return nil
	default:
		return err
	}
}

// approve opens every gate of a run after a while, until the run ends.
func (p *play) approve(ctx context.Context, run *stage.Run) error {
	opened := 0
	for {
		seen := 0
		err := run.Until(ctx, "a gate", func(r stage.Record) bool {
			if r.Event == "gate_waiting" {
				seen++
			}
			return seen > opened
		})
		if err != nil {
			return context.Cause(ctx) // the run has ended
		}
		opened++
		if err := pass(ctx, p.upTo(0, time.Second)); err != nil {
			return err
		}
		name, _ := run.Named()
		if _, err := p.Verb(ctx, p.env, "runs", "approve", name); err != nil {
			return err
		}
	}
}

// beginningFaults are about how an update begins.
func beginningFaults() []*fault {
	return []*fault{
		{
			name: "racing", what: "two updates begin at once", often: 2, codes: []int{0, 1}, kinds: []kind{some},
			during: func(ctx context.Context, p *play) error { return p.race(ctx) },
		},
		{
			name: "queueing", what: "two updates begin at once, and one waits for the lock", kinds: []kind{some},
			args:   func(*play) []string { return []string{"--lock-wait", "3m"} },
			during: func(ctx context.Context, p *play) error { return p.race(ctx, "--lock-wait", "3m") },
		},
		{
			name: "no-package", what: "the package is not there", codes: []int{1, 2}, kinds: []kind{some, single}, lost: true,
			args: func(p *play) []string { return []string{"-e", "package=" + p.target(p.number).File + ".lost"} },
		},
		{
			name: "damaged-package", what: "the package is damaged", codes: []int{1, 2}, kinds: []kind{some, single}, lost: true,
			args: func(p *play) []string { return []string{"-e", "package_sha256=" + strings.Repeat("0", 64)} },
		},
		{
			name: "broken-package", what: "the new package's server does not come up", codes: []int{2}, kinds: []kind{some, single}, lost: true,
			before: func(_ context.Context, p *play) (err error) {
				p.killed = append(p.killed, p.worked[0])
				p.broken, err = p.BrokenPackage()
				return err
			},
			args: func(p *play) []string { return stage.PackageArgs(p.broken) },
		},
	}
}

// race begins a second update a moment after the first.
func (p *play) race(ctx context.Context, more ...string) error {
	if err := pass(ctx, p.upTo(0, 400*time.Millisecond)); err != nil {
		return err
	}
	second, err := p.Begin(ctx, "rolling-update.yml", append(more, p.plainArgs()...)...)
	if err != nil {
		return err
	}
	code, err := p.ended(ctx, second)
	p.out.Codes, p.out.Others = p.out.Codes[:0], append(p.out.Others, code)
	if err != nil {
		return err
	}
	first, err := p.run.Wait()
	switch {
	case err != nil:
		return err
	case len(more) > 0 && code != 0:
		p.out.mark("the update that waited ended with %d: %s", code, second.Says())
	case len(more) == 0 && code+first != 1:
		p.out.mark("of two updates that began at once one ended with %d and one with %d: %s\n%s", first, code, p.run.Says(), second.Says())
	case len(more) == 0 && !strings.Contains(p.run.Says()+second.Says(), "is held by"):
		p.out.mark("the update that was kept out is not told by whom: %s\n%s", p.run.Says(), second.Says())
	}
	return nil
}
