// Command bench measures pegbook beside its peers and beside the raw limit: a bare SSH client with one
// persistent program a host, one framed request a task and a barrier after every task. All figures of a
// table come from one run on one machine; the ratios are what to look at.
//
// Hosts are addresses out of 127.0.0.0/8 behind one OpenSSH server that it starts itself.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == agentVerb {
		agent(os.Stdin, os.Stdout)
		return
	}
	pegbook := flag.String("pegbook", "bin/pegbook", "the program to measure")
	rounds := flag.Int("rounds", 3, "runs of each tool; the median counts")
	peers := flag.Bool("peers", true, "measure ansible, mitogen and pyinfra where they are installed")
	big := flag.Bool("big", true, "measure 1,000 hosts, their journal, and 10,000 hosts of inventory")
	only := flag.String("only", "", "measure only what this regular expression matches: W2, W3, package, cold, delay, loop, start, journal, guard, big, thousand")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	wanted, err := regexp.Compile(*only)
	if err == nil {
		err = bench(ctx, *pegbook, *rounds, *peers, *big, wanted)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// workload is one line of the table.
type workload struct {
	name  string
	hosts int
	tasks []task
	// again runs it a second time on the same hosts, when nothing is left to change.
	again bool
	peers bool
}

func bench(ctx context.Context, pegbook string, rounds int, peers, big bool, wanted *regexp.Regexp) (err error) {
	site, err := newSite(ctx, pegbook)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := site.close(); err == nil {
			err = closeErr
		}
	}()
	fmt.Printf("pegbook %s, %d rounds, medians; load before: %s\n\n", site.version, rounds, loadAverage())
	fmt.Printf("%-34s %10s %10s %8s   %s\n", "workload", "raw limit", "pegbook", "ratio", "peers (times pegbook's wall clock)")
	for _, m := range site.measurements(rounds, peers, big) {
		if !wanted.MatchString(m.name) {
			continue
		}
		if err := m.print(ctx); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

// measurement prints one line of the table, or a few.
type measurement struct {
	name  string
	print func(ctx context.Context) error
}

func (s *site) measurements(rounds int, peers, big bool) []measurement {
	var all []measurement
	for _, w := range []workload{
		{name: "W2 20 tasks, 10 hosts", hosts: 10, tasks: mixed(), again: true, peers: true},
		{name: "W2 20 tasks, 50 hosts", hosts: 50, tasks: mixed(), again: true},
		{name: "W3 100 commands, 5 hosts", hosts: 5, tasks: commands(100), peers: true},
	} {
		all = append(all, measurement{w.name, func(ctx context.Context) error { return s.measure(ctx, w, rounds, peers && w.peers) }})
	}
	all = append(all,
		measurement{"package", func(ctx context.Context) error { return s.package64(ctx, rounds) }},
		measurement{"cold", func(ctx context.Context) error { return s.cold(ctx, rounds) }},
		measurement{"delay", func(ctx context.Context) error { return s.delayed(ctx, rounds) }},
		measurement{"loop", s.looped},
		measurement{"start", s.startUp},
		measurement{"journal", func(ctx context.Context) error { return s.journalCost(ctx, rounds) }},
		measurement{"guard", func(ctx context.Context) error { return s.guardCost(ctx, rounds) }})
	if big {
		all = append(all, measurement{"big", s.big}, measurement{"thousand", s.thousand})
	}
	return all
}

// seconds shows a duration with two digits that mean something.
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
