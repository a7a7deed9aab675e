package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/lab/stage"
	"github.com/pegbook/pegbook/lab/traffic"
)

// play plays a scenario on the healthy cluster, mends what it left, and judges.
func play(ctx context.Context, s *stage.Stage, sc scenario, o options) (row, error) {
	s.Turn++
	out := row{name: sc.name, fault: sc.fault}
	if err := s.Healthy(ctx, 5*time.Minute); err != nil {
		return out, err
	}
	before, err := s.Settings(ctx)
	if err != nil {
		return out, err
	}
	p := &performance{Stage: s, scenario: sc}
	if p.worked, err = s.WorkedOn(ctx, max(1, sc.restarts)); err != nil {
		return out, err
	}
	load, err := traffic.Start(ctx, traffic.Options{Metas: s.Metas()})
	if err != nil {
		return out, err
	}
	eyes, err := stage.Watch(ctx, s.Metas(), s.Hosts.Servers(stage.Replica))
	if err != nil {
		load.Stop(ctx)
		return out, err
	}
	time.Sleep(time.Second)
	if sc.forecast {
		out.forecast, err = s.Forecast(ctx, p.updateArgs())
	}
	if err == nil {
		err = p.perform(ctx)
	}
	out.seen = eyes.End()
	out.saw = load.Stop(context.WithoutCancel(ctx))
	if err != nil {
		return out, err
	}
	out.code, out.took, out.says, out.nodes = p.code, p.took, p.run.Says(), p.run.Nodes()
	out.lastWord, out.spoke = p.run.LastWord(), p.spoke()
	if out.settings, err = s.Settings(ctx); err != nil {
		return out, err
	}
	if p.heal != nil {
		if err := p.heal(); err != nil {
			return out, err
		}
	}
	if sc.mend != nil {
		if err := sc.mend(ctx, p); err != nil {
			return out, fmt.Errorf("the way on after it: %w", err)
		}
	}
	if err := s.Healthy(ctx, 10*time.Minute); err != nil {
		return out, fmt.Errorf("after it: %w", err)
	}
	out.wanted = before
	if out.after, err = s.Settings(ctx); err != nil {
		return out, err
	}
	out.judge(sc, o.gap)
	if o.verbose {
		fmt.Print(out.says, p.run.Waited())
	}
	return out, nil
}

// performance is a scenario being played.
type performance struct {
	*stage.Stage
	scenario scenario
	// worked are the two replica servers that are updated where not all are, in their order.
	worked []string
	run    *stage.Run
	code   int
	took   time.Duration
	// heal takes the fault away, victim is the host it was put in at.
	heal   func() error
	victim string
	// broken is a package whose server does not start.
	broken lab.Package
}

func (p *performance) perform(ctx context.Context) error {
	if p.scenario.before != nil {
		if err := p.scenario.before(ctx, p); err != nil {
			return err
		}
	}
	args := p.updateArgs()
	began := time.Now()
	var err error
	if p.run, err = p.Begin(ctx, "rolling-update.yml", args...); err != nil {
		return err
	}
	if p.scenario.during != nil {
		if err := p.scenario.during(ctx, p); err != nil {
			p.run.Kill() // else it would go on
			return fmt.Errorf("putting the fault in: %w", err)
		}
	}
	if p.code, err = p.run.Wait(); err != nil {
		return err
	}
	p.took = time.Since(began)
	if p.scenario.then != nil {
		return p.scenario.then(ctx, p)
	}
	return nil
}

// updateArgs are the arguments of the update. Going back to an older release is accepted: every other scenario does.
func (p *performance) updateArgs() []string {
	args := append(stage.PackageArgs(p.Target()), "-e", "{accept_findings: [version]}")
	return append(args, p.scenario.args(p)...)
}

// spoke says whether the run ended with a recap and, where it failed, with words for people.
func (p *performance) spoke() bool {
	all := p.run.All()
	if len(all) == 0 {
		return false
	}
	last := all[len(all)-1]
	return last.Event == "run_done" && len(last.Recap) > 0 && last.ExitCode == p.code && (p.code == 0 || strings.TrimSpace(p.run.LastWord()) != "")
}
