package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/modules/builtin"
	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/connect"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/journal"
	"github.com/pegbook/pegbook/runner/playbook"
)

// pair is what two ways of doing the same cost, measured in turn, so that other load on the machine meets both.
type pair struct{ a, b []usage }

// measurePair measures both ways, round after round.
func measurePair(rounds int, a, b func() (usage, error)) (p pair, err error) {
	for round := range rounds {
		if err := p.measure(round, a, b); err != nil {
			return p, err
		}
	}
	return p, nil
}

// measure does both once. Which comes first changes from round to round.
func (p *pair) measure(round int, a, b func() (usage, error)) error {
	ways := []func() (usage, error){a, b}
	got := []*[]usage{&p.a, &p.b}
	if round%2 == 1 {
		slices.Reverse(ways)
		slices.Reverse(got)
	}
	for i, way := range ways {
		u, err := way()
		if err != nil {
			return err
		}
		*got[i] = append(*got[i], u)
	}
	return nil
}

// ratio prints the raw limit, pegbook's wall clock, which it gives, and the median of what a round's two make.
func (p pair) ratio(name string) time.Duration {
	var limit, mine []time.Duration
	var ratios []float64
	for i := range p.a {
		x, y := p.a[i].wall, p.b[i].wall
		limit, mine, ratios = append(limit, x), append(mine, y), append(ratios, float64(y)/float64(x))
	}
	slices.Sort(ratios)
	n := len(ratios)
	fmt.Printf("%-34s %10s %10s %7.2f×   (%.2f–%.2f×)  ", name, seconds(median(limit)), seconds(median(mine)), ratios[n/2], ratios[0], ratios[n-1])
	return median(mine)
}

// print shows the medians of wall clock and CPU, and by how much b exceeds a: the median of the rounds, and the range
// in which half of them lie.
func (p pair) print(name, a, b string) {
	wall := func(u usage) time.Duration { return u.wall }
	cpu := func(u usage) time.Duration { return u.cpu }
	for _, what := range []struct {
		name string
		of   func(usage) time.Duration
	}{{"wall clock", wall}, {"own CPU", cpu}} {
		var as, bs []time.Duration
		var more []float64
		for i := range p.a {
			x, y := what.of(p.a[i]), what.of(p.b[i])
			as, bs, more = append(as, x), append(bs, y), append(more, 100*(float64(y)/float64(x)-1))
		}
		slices.Sort(more)
		n := len(more)
		fmt.Printf("%-34s %-10s  %s %s, %s %s: %+.1f %% (half of %d rounds: %+.1f to %+.1f %%)\n", name, what.name,
			a, seconds(median(as)), b, seconds(median(bs)), more[n/2], n, more[n/4], more[n-1-n/4])
	}
}

// journalCost measures W2 in this process, with the journal and with none: its cost is small beside what a new
// process and other load make a run differ by.
func (s *site) journalCost(ctx context.Context, rounds int) error {
	for _, hosts := range []int{10, 50} {
		play, err := s.play("journal", "{{ .inventory_hostname }}", mixed())
		if err != nil {
			return err
		}
		plan, err := s.plan(ctx, play, hosts)
		if err != nil {
			return err
		}
		once := func(kept bool) func() (usage, error) {
			return func() (usage, error) {
				if err := os.RemoveAll(s.work); err != nil {
					return usage{}, err
				}
				runtime.GC()
				return measured(func() error { return s.walk(ctx, plan, kept) })
			}
		}
		if _, err := once(true)(); err != nil { // the helper is there from now on
			return err
		}
		p, err := measurePair(max(9, 3*rounds), once(false), once(true))
		if err != nil {
			return err
		}
		p.print(fmt.Sprintf("the journal of W2, %d hosts", hosts), "without", "with")
	}
	return nil
}

// plan compiles a playbook for n hosts.
func (s *site) plan(ctx context.Context, play string, n int) (*runner.Plan, error) {
	path, err := s.inventory(n)
	if err != nil {
		return nil, err
	}
	hosts, problems := inventory.Load(ctx, inventory.Options{Sources: []string{path}})
	if err := problems.Err(); err != nil {
		return nil, err
	}
	book, problems := playbook.Parse(play, playbook.Options{})
	if err := problems.Err(); err != nil {
		return nil, err
	}
	plan, problems := runner.Compile(runner.Inputs{Playbooks: []*playbook.Playbook{book}, Inventory: hosts, Modules: runner.NewSet(builtin.All()...)})
	return plan, problems.Err()
}

// nowhere is where events go that are not kept. They are made all the same.
type nowhere struct{}

func (nowhere) Record(event.Record) {}

// walk carries a plan out over connections of its own, with a journal from its beginning to its end, or without one.
func (s *site) walk(ctx context.Context, plan *runner.Plan, kept bool) (err error) {
	o := runner.Options{Forks: 50, Events: nowhere{}, RunID: "bench"}
	if kept {
		home, err := journal.OpenHome(filepath.Join(s.dir, "home"))
		if err != nil {
			return err
		}
		w, err := home.Create(journal.Meta{Run: "bench", Sessions: []journal.Session{{}}}, journal.Private{})
		if err != nil {
			return err
		}
		defer func() {
			if closeErr := w.Close(); err == nil {
				err = closeErr
			}
		}()
		o.Events, o.Record = event.Tee{w, nowhere{}}, w
	}
	pool := connect.NewPool(connect.Options{})
	defer pool.Close()
	o.Connect = pool
	out, err := plan.Run(ctx, o)
	if err == nil && out.ExitCode() != 0 {
		err = fmt.Errorf("the run ended with exit code %d: %s", out.ExitCode(), out.Message)
	}
	return err
}

// measured says what something cost this process.
func measured(f func() error) (usage, error) {
	before, err := ownCPU()
	if err != nil {
		return usage{}, err
	}
	began := time.Now()
	if err := f(); err != nil {
		return usage{}, err
	}
	u := usage{wall: time.Since(began)}
	after, err := ownCPU()
	u.cpu = after - before
	return u, err
}

func ownCPU() (time.Duration, error) {
	var r syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), err
}

// guardCost measures a rolling play with and without a guard that looks at each host before every batch, and every 15
// seconds.
func (s *site) guardCost(ctx context.Context, rounds int) error {
	const guard = "  guard:\n    interval: 15\n    tasks:\n      - stat: {path: /}\n        register: root\n      - assert: {that: .root.stat.exists}\n"
	plain, err := s.play("rolling", "{{ .inventory_hostname }}", mixed())
	if err != nil {
		return err
	}
	text, err := os.ReadFile(plain)
	if err != nil {
		return err
	}
	rolling := func(name, more string) (string, error) {
		return s.write(name, strings.Replace(string(text), "  gather_facts: false\n", "  gather_facts: false\n  serial: 2\n"+more, 1))
	}
	without, err := rolling("unguarded.yml", "")
	if err != nil {
		return err
	}
	with, err := rolling("guarded.yml", guard)
	if err != nil {
		return err
	}
	run := func(play string) func() (usage, error) {
		return func() (usage, error) { return s.run(ctx, play, 10) }
	}
	p, err := measurePair(max(5, rounds), run(without), run(with))
	if err != nil {
		return err
	}
	p.print("a guard, 10 hosts, 2 at a time", "without", "with")
	return nil
}
