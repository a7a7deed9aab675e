package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/lab/stage"
)

// comes waits for the moment at which the fault is put in: when so many of the update's steps have ended, and a little
// while after. False says that the update has ended before.
func (p *play) comes(ctx context.Context) bool {
	steps, ended := 0, 0
	err := p.run.Until(ctx, "the moment of the fault", func(r stage.Record) bool {
		switch r.Event {
		case "run_started":
			steps = r.Steps
		case "task_done":
			ended++
		}
		return steps > 0 && ended >= int(p.moment*carriedOut*float64(steps))
	})
	if err == nil {
		err = pass(ctx, p.upTo(0, 300*time.Millisecond))
	}
	select {
	case <-p.run.Ended():
		return false
	default:
		p.out.At = fmt.Sprintf("%d of %d steps", ended, steps)
		return err == nil
	}
}

// carriedOut is the part of a plan's steps that an update carries out: those that are about failures it does not.
const carriedOut = 0.62

// comesBefore is as comes, for faults after which the settings are others than those that an update has put back: it is
// false also when the update is about to put them back.
func (p *play) comesBefore(ctx context.Context) bool {
	return p.comes(ctx) && !slices.ContainsFunc(p.run.All(), func(r stage.Record) bool {
		return r.Event == "play_started" && r.Play == "settings as before"
	})
}

// reaches waits until a task with this end of its name has begun on a host; false as in comes.
func (p *play) reaches(ctx context.Context, host, task string) bool {
	err := p.run.Until(ctx, task+" on "+host, func(r stage.Record) bool {
		return r.Event == "task_started" && r.Host == host && strings.HasSuffix(r.Task, task)
	})
	p.out.At = task + " on " + host
	return err == nil
}

// upTo is a length of time by chance.
func (p *play) upTo(least, most time.Duration) time.Duration {
	return least + time.Duration(p.chance.Int64N(int64(most-least)+1))
}

// pass lets time pass.
func pass(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// other is a replica server that is not updated, or whose turn is not first, and not the victim.
func (p *play) other() string {
	all := p.Replicas()
	for {
		if host := all[p.chance.IntN(len(all))]; host != p.victim && host != p.worked[0] {
			return host
		}
	}
}

// misbehave puts a fault of the lab in on hosts, until heal; no hosts means all.
func (p *play) misbehave(hosts []string, settings ...string) error {
	p.heals = append(p.heals, func() error { return lab.Fault(p.labDir(), hosts, nil) })
	return lab.Fault(p.labDir(), hosts, settings)
}

// forAWhile puts a fault of the lab in on hosts and takes it away after a while.
func (p *play) forAWhile(ctx context.Context, d time.Duration, hosts []string, settings ...string) error {
	p.out.At += fmt.Sprintf(", %s for %s", strings.Join(hosts, " "), d.Round(10*time.Millisecond))
	if err := p.misbehave(hosts, settings...); err != nil {
		return err
	}
	if err := pass(ctx, d); err != nil {
		return err
	}
	return p.heal()
}

// kill ends a server as a crash does; it is started again when the update has ended.
func (p *play) kill(ctx context.Context, host, role string) error {
	p.out.At += ", " + host
	err := p.Hosts.Kill(ctx, host, role)
	if err == nil {
		p.killed = append(p.killed, host)
	}
	return err
}

// pauseProcess stops the update's process for a while.
func (p *play) pauseProcess(ctx context.Context, d time.Duration) error {
	p.out.At += ", for " + d.Round(10*time.Millisecond).String()
	if err := p.run.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	err := pass(ctx, d)
	if woken := p.run.Signal(syscall.SIGCONT); err == nil {
		err = woken
	}
	return err
}

// mount puts a small file system at a folder, until heal.
func (p *play) mount(dir string, size int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	p.out.At += fmt.Sprintf(", %d KiB at %s", size, filepath.Base(dir))
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("mode=0700,size=%dk", size))
}
