// Command e2e runs rolling updates of a Pegasus cluster while clients read and write 500 operations a second and
// faults are put in, and prints what became of each: a table of faults and outcomes. It fails when one is not as
// it must be.
//
// The cluster is 3 meta servers, 5 replica servers and a collector, on hosts with systemd, OpenSSH and a real
// ZooKeeper quorum of their own (-on machines, which needs root), or on the lab's simulated hosts (-on lab).
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/lab/stage"
)

func main() {
	var o options
	flag.StringVar(&o.Pegbook, "pegbook", "bin/pegbook", "the program that does the updates")
	flag.StringVar(&o.Repository, "repository", ".", "the folder with playbooks/")
	flag.StringVar(&o.On, "on", "machines", "machines (systemd hosts, real ZooKeeper; needs root) or lab")
	flag.Float64Var(&o.Scale, "scale", 1, "how long the servers take for what takes a real one a second")
	flag.IntVar(&o.Net, "net", 70, "machines: the third byte of their addresses 10.78.NET.11 …; lab: of 127.78.NET.10 …")
	only := flag.String("only", "", "only the scenarios that this regular expression matches")
	flag.DurationVar(&o.gap, "gap", 5*time.Second, "how long the watcher of copies may see nothing; a server that hangs is waited for a second")
	flag.StringVar(&o.json, "json", "", "write the table to this file as JSON, too")
	flag.StringVar(&o.markdown, "markdown", "", "write the table to this file as Markdown, too")
	flag.BoolVar(&o.verbose, "v", false, "show how each run of pegbook ended")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := fmt.Errorf("-on %s: choose machines or lab", o.On)
	if o.On == "machines" || o.On == "lab" {
		if o.only, err = regexp.Compile(*only); err == nil {
			err = e2e(ctx, o)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		stop()
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	stage.Options
	only           *regexp.Regexp
	verbose        bool
	json, markdown string
	// gap is how long the watcher of copies may see nothing.
	gap time.Duration
}

// e2e starts the cluster, plays the scenarios and prints their table.
func e2e(ctx context.Context, o options) (err error) {
	began := time.Now()
	o.Tell = func(format string, args ...any) { fmt.Printf(format, args...) }
	s, err := stage.New(ctx, o.Options)
	if err != nil {
		return err
	}
	defer func() {
		if closed := s.Close(); err == nil {
			err = closed
		}
	}()
	fmt.Printf("%d hosts (%s), scale %g: up after %s\n", len(s.Hosts.Names()), o.On, o.Scale, time.Since(began).Round(time.Second))
	rows := playAll(ctx, s, o)
	fmt.Print("\n", table(rows))
	if err := write(o, began, rows); err != nil {
		return err
	}
	for _, r := range rows {
		if len(r.wrong) > 0 {
			return fmt.Errorf("%s: %s", r.name, r.wrong[0])
		}
	}
	return ctx.Err()
}

// playAll plays all scenarios that are asked for. One that cannot be played to its end is wrong, and the last one
// where the cluster does not get healthy after it.
func playAll(ctx context.Context, s *stage.Stage, o options) []row {
	var rows []row
	for _, sc := range scenarios() {
		if !o.only.MatchString(sc.name) || (sc.machines && o.On != "machines") {
			continue
		}
		r, err := play(ctx, s, sc, o)
		if err != nil {
			r.mark("%v", err)
		}
		rows = append(rows, r)
		fmt.Println(r.line())
		for _, w := range r.wrong {
			fmt.Println("    NOT AS IT MUST BE:", w)
		}
		if ctx.Err() != nil || err != nil && s.Healthy(ctx, time.Minute) != nil {
			return rows
		}
	}
	return rows
}
