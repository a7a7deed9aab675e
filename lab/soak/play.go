package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/lab/stage"
	"github.com/pegbook/pegbook/lab/traffic"
	"github.com/pegbook/pegbook/runner/journal"
)

const (
	// wellWithin is how long the cluster may take to get well, endWithin how long a run of pegbook may take.
	wellWithin = 2 * time.Minute
	endWithin  = 3 * time.Minute
)

// play is an update with a fault.
type play struct {
	*lane
	number int
	fault  *fault
	chance *rand.Rand
	kind   kind
	// worked are the replica servers that are updated, victim one of them.
	worked []string
	victim string
	// moment is how far the update is when the fault is put in, as a part of it; again says that an update that
	// was ended is not gone on with, but put in order and begun anew.
	moment float64
	again  bool

	// env is what the update finds in its environment besides.
	env   []string
	began time.Time
	run   *stage.Run
	code  int
	id    string
	// endedUnpruned says that it was killed when it had come to its end.
	endedUnpruned bool
	broken        lab.Package
	// heals take the fault away; killed are the hosts on which servers are down because of it.
	heals  []func() error
	ends   []func() error // what is done when all has been looked at
	killed []string
	out    *row
}

// target is the package that a run updates to.
func (l *lane) target(number int) lab.Package {
	list := l.Hosts.Packages()
	return list[number%len(list)]
}

// tries is how often a run is played that goes wrong while the machine is starved.
const tries = 3

// play plays a run; false says that the cluster is of no use any more.
func (l *lane) play(ctx context.Context, number int) bool {
	disturbed := 0
	for {
		began := time.Now()
		p, fine := l.playOnce(ctx, number)
		if ctx.Err() != nil {
			return false
		}
		p.out.Starved = l.session.starved.worst(began).Seconds() * 1000
		limit := stage.Scaled(grace, l.Scale) / 3
		if len(p.out.wrong) > 0 && fine && disturbed+1 < tries && p.out.Starved > float64(limit.Milliseconds()) {
			disturbed++
			l.session.disturbed(p.out)
			continue
		}
		p.out.Disturbed = disturbed
		l.session.add(p.out)
		l.measure(ctx)
		return fine
	}
}

// playOnce plays a run, looks at everything, and keeps what is known where something is wrong.
func (l *lane) playOnce(ctx context.Context, number int) (p *play, fine bool) {
	p = &play{lane: l, began: time.Now(), number: number, fault: l.session.fault(number), out: &row{Number: number}}
	p.choose(l.session.chance(number))
	p.out.Fault, p.out.What, p.out.Kind = p.fault.name, p.fault.what, p.kind
	err := p.perform(ctx)
	if healed := p.heal(); err == nil {
		err = healed
	}
	if err == nil {
		err = p.after(ctx)
	}
	for _, end := range p.ends {
		err = errors.Join(err, end())
	}
	if err != nil {
		p.out.mark("%v", err)
	}
	p.out.Took = time.Since(p.began).Seconds()
	if len(p.out.wrong) > 0 && ctx.Err() == nil {
		p.keep()
	}
	return p, err == nil
}

// perform plays the update and what people do after it, while clients read and write.
func (p *play) perform(ctx context.Context) error {
	if err := p.Healthy(ctx, wellWithin); err != nil {
		return fmt.Errorf("before it: %w", err)
	}
	if err := p.Rest(ctx, p.worked, 2); err != nil {
		return err
	}
	var err error
	if p.out.Before, err = p.Settings(ctx); err != nil {
		return err
	}
	load, err := traffic.Start(ctx, traffic.Options{Metas: p.Metas(), Rate: p.session.o.rate})
	if err != nil {
		return err
	}
	eyes, err := stage.Watch(ctx, p.Metas(), p.Hosts.Servers(stage.Replica))
	if err != nil {
		load.Stop(ctx)
		return err
	}
	err = p.update(ctx)
	p.out.seen = eyes.End()
	p.out.saw = load.Stop(context.WithoutCancel(ctx))
	p.judgeClients()
	return err
}

// update updates with the fault, takes the fault away, and does what people do then.
func (p *play) update(ctx context.Context) error {
	if p.fault.before != nil {
		if err := p.fault.before(ctx, p); err != nil {
			return fmt.Errorf("preparing the fault: %w", err)
		}
	}
	var err error
	if p.run, err = p.StartWith(ctx, p.env, p.RunArgs("rolling-update.yml", p.updateArgs()...)...); err != nil {
		return err
	}
	if p.fault.during != nil {
		if err := p.fault.during(ctx, p); err != nil {
			p.run.Kill()
			return fmt.Errorf("putting the fault in: %w", err)
		}
	}
	p.code, err = p.ended(ctx, p.run)
	p.id, _ = p.run.Named()
	p.judgeEnd()
	if err == nil && p.code < 0 && p.id != "" {
		err = p.hadEnded(ctx)
	}
	if err := errors.Join(err, p.judgeSettings(ctx), p.heal(), p.mend(ctx)); err != nil {
		return err
	}
	if p.fault.then != nil {
		return p.fault.then(ctx, p)
	}
	return p.goOn(ctx)
}

// ended waits for the end of a run. One that does not end says where it stands, and is ended.
func (p *play) ended(ctx context.Context, run *stage.Run) (int, error) {
	timer := time.AfterFunc(endWithin, func() { _ = run.Signal(syscall.SIGQUIT) })
	code, err := run.Wait()
	p.tell(run)
	if !timer.Stop() && ctx.Err() == nil {
		err = fmt.Errorf("the run has not ended after %s", endWithin)
	}
	p.out.Codes = append(p.out.Codes, code)
	p.out.runs = append(p.out.runs, run)
	return code, err
}

// hadEnded looks whether the update, which was killed, had come to its end before: then that is its exit code, and there
// is nothing to go on with.
func (p *play) hadEnded(ctx context.Context) error {
	shown, err := p.show(ctx)
	if err != nil {
		return err
	}
	if end := shown.Sessions[len(shown.Sessions)-1].End; shown.State == journal.Done && end != nil {
		p.code, p.endedUnpruned = end.ExitCode, true
	}
	return nil
}

func (p *play) tell(run *stage.Run) {
	if p.session.o.verbose {
		fmt.Print(run.Says())
	}
}

// heal takes the fault away; a second time it does nothing.
func (p *play) heal() error {
	var all []error
	for _, heal := range slices.Backward(p.heals) {
		all = append(all, heal())
	}
	p.heals = nil
	return errors.Join(all...)
}

// mend starts servers that the fault has ended, as the message of a failed update says.
func (p *play) mend(ctx context.Context) error {
	slices.Sort(p.killed)
	for _, host := range slices.Compact(p.killed) {
		args := append([]string{"--lock-wait", "1m", "--limit", host}, stage.PackageArgs(p.target(p.number))...)
		if err := p.Do(ctx, append([]string{"deploy.yml"}, args...)...); err != nil {
			return fmt.Errorf("starting %s again: %w", host, err)
		}
	}
	p.killed = nil
	return nil
}

// goOn brings an update that has not finished to its end: by going on with it, or by putting in order what it has
// left and updating once more.
func (p *play) goOn(ctx context.Context) error {
	switch {
	case p.code == 0:
		return nil
	case p.id == "" || p.code == 1 || p.fault.lost:
		return p.once(ctx)
	case p.code == 2 || p.code == 4:
		// Settings are as before, so the cluster gets well by itself; what is not as before was told.
		if now, err := p.Settings(ctx); err != nil || now == p.out.Before {
			if err := errors.Join(err, p.Healthy(ctx, wellWithin)); err != nil {
				return fmt.Errorf("after the update has stopped: %w", err)
			}
		}
	case p.again:
		return p.once(ctx)
	}
	return p.resume(ctx)
}

// resumes is how often an update is gone on with at most. One that was ended between a failure and what the playbook
// does about it first does that, and stops.
const resumes = 2

// resume goes on with the update, as its last line says.
func (p *play) resume(ctx context.Context) error {
	var says string
	for range resumes {
		code, text, err := p.resumeOnce(ctx)
		if err == nil && code == 1 && strings.Contains(text, "--in-flight rerun") {
			code, text, err = p.resumeOnce(ctx, "--in-flight", "rerun")
		}
		if err != nil || code == 0 {
			return err
		}
		says = fmt.Sprintf("runs resume ends with %d: %s", code, text)
		if code != 2 {
			break
		}
		if err := p.Healthy(ctx, wellWithin); err != nil {
			return fmt.Errorf("%s: %w", says, err)
		}
	}
	return errors.New(says)
}

func (p *play) resumeOnce(ctx context.Context, more ...string) (code int, says string, err error) {
	run, err := p.StartWith(ctx, p.env, append([]string{"runs", "resume", p.id, "--json"}, more...)...)
	if err != nil {
		return 0, "", err
	}
	code, err = p.ended(ctx, run)
	if all := run.All(); len(all) > 0 { // else it has not begun
		p.out.resumed = append(p.out.resumed, code)
	}
	return code, run.Says(), err
}

// once puts in order what the update has left, and updates to what it was to update to.
func (p *play) once(ctx context.Context) error {
	now, err := p.Settings(ctx)
	if err != nil {
		return err
	}
	if now != p.out.Before {
		if err := p.Do(ctx, "rolling-update.yml", "--lock-wait", "1m", "--tags", "restore", "-e", "level_after=lively"); err != nil {
			return err
		}
	}
	if err := p.Healthy(ctx, wellWithin); err != nil {
		return fmt.Errorf("with the settings back: %w", err)
	}
	code, says, err := p.updateAgain(ctx)
	if down := notRunning.FindStringSubmatch(says); err == nil && code == 2 && down != nil {
		// A killed update may have stopped a server. What it says is done: the server is started, and the update run again.
		p.killed = append(p.killed, down[1])
		if err := p.mend(ctx); err != nil {
			return err
		}
		code, says, err = p.updateAgain(ctx)
	}
	if err == nil && code != 0 {
		err = fmt.Errorf("the update once more ends with %d: %s", code, says)
	}
	return err
}

// notRunning is how an update refuses to begin because of a server that is down; it names the host.
var notRunning = regexp.MustCompile(`the replica server of (\S+) is not running, or not started by pegbook`)

func (p *play) updateAgain(ctx context.Context) (code int, says string, err error) {
	run, err := p.Begin(ctx, "rolling-update.yml", append([]string{"--lock-wait", "1m"}, p.plainArgs()...)...)
	if err != nil {
		return 0, "", err
	}
	code, err = p.ended(ctx, run)
	return code, run.Says(), err
}
