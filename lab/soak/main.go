// Command soak runs rolling updates of a Pegasus cluster on the lab's simulated hosts, one after the other, each with a
// fault that chance has chosen, while clients read and write. After each it looks whether anything is not as it must be:
// what clients saw, copies, settings, exit codes, the journal, locks, processes and files left behind. Then it does many
// runs in one process and looks whether goroutines, descriptors or memory become more. It prints a table, and fails when
// anything was wrong.
//
// Everything that chance decides follows from -seed and the number of the run, so that -only 37 plays run 37 again.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/pegbook/pegbook/lab/stage"
)

// options are the flags.
type options struct {
	stage.Options
	runs, lanes int
	seed        uint64
	only        []int
	faults      *regexp.Regexp
	inProcess   int
	rate        float64
	plugin      string
	keep        string
	verbose     bool
	json        string
	markdown    string
}

func main() {
	var o options
	o.On = "lab"
	flag.StringVar(&o.Pegbook, "pegbook", "bin/pegbook", "the program that does the updates")
	flag.StringVar(&o.Repository, "repository", ".", "the folder with playbooks/ and plugins/")
	flag.IntVar(&o.runs, "runs", 200, "how many updates")
	flag.IntVar(&o.lanes, "lanes", 4, "how many clusters are updated side by side")
	flag.Uint64Var(&o.seed, "seed", 0, "what chance follows from; 0 chooses one")
	only := flag.String("only", "", "only these runs, by their numbers, with commas between")
	faults := flag.String("faults", "", "only the faults that this regular expression matches")
	flag.IntVar(&o.inProcess, "in-process", 60, "how many runs are done in one process; 0 leaves that out")
	flag.StringVar(&o.plugin, "plugin", "bin/soak-plugin", "the plugin that runs in one process use, built of plugins/examples/motd")
	flag.Float64Var(&o.Scale, "scale", 0.05, "how long the servers take for what takes a real one a second")
	flag.Float64Var(&o.rate, "rate", 200, "operations a second of the clients")
	flag.IntVar(&o.Net, "net", 92, "a byte of the addresses 127.78.NET.10 …; each lane has one of its own")
	flag.StringVar(&o.keep, "keep", "", "where to put what is known of runs that went wrong (default: a folder in $TMPDIR)")
	flag.StringVar(&o.json, "json", "", "write the table to this file as JSON, too")
	flag.StringVar(&o.markdown, "markdown", "", "write the table to this file as Markdown, too")
	flag.BoolVar(&o.verbose, "v", false, "show how each run of pegbook ended, and what is waited for")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o.Tell = func(string, ...any) {}
	if o.verbose {
		o.Tell = func(format string, args ...any) { fmt.Printf(format, args...) }
	}
	err := o.complete(*only, *faults)
	if err == nil {
		err = soak(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		stop()
		os.Exit(1)
	}
}

// complete fills in what the flags leave open.
func (o *options) complete(only, faults string) (err error) {
	for word := range strings.FieldsFuncSeq(only, func(r rune) bool { return r == ',' || r == ' ' }) {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return fmt.Errorf("-only %s: give numbers of runs, such as 37,41", only)
		}
		o.only = append(o.only, n)
	}
	if len(o.only) > 0 && o.seed == 0 {
		return fmt.Errorf("-only %s is of a seed: give -seed, too", only)
	}
	if o.seed == 0 {
		o.seed = 1 + rand.Uint64N(1_000_000)
	}
	o.lanes = max(1, o.lanes)
	if o.faults, err = regexp.Compile(faults); err != nil {
		return err
	}
	if o.keep == "" {
		o.keep, err = os.MkdirTemp("", "pegbook-soak-kept-")
	}
	return err
}

// again is the command that plays a run again.
func (o *options) again(number int) string {
	return fmt.Sprintf("make soak SEED=%d ONLY=%d", o.seed, number)
}
