package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/lab/stage"
)

// soak plays all runs, and then those in one process.
func soak(ctx context.Context, o options) error {
	began := time.Now()
	s := &session{o: o, deck: deck(o)}
	if len(s.deck) == 0 {
		return fmt.Errorf("no fault is called %s", o.faults)
	}
	for n := 1; n <= o.runs; n++ {
		if len(o.only) == 0 || slices.Contains(o.only, n) {
			s.left = append(s.left, n)
		}
	}
	for _, n := range o.only {
		if n > o.runs {
			s.left = append(s.left, n)
		}
	}
	fmt.Printf("seed %d: %d runs, %d clusters side by side, scale %g\n", o.seed, len(s.left), o.lanes, o.Scale)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go s.starved.watch(watching)
	var all sync.WaitGroup
	for i := range min(o.lanes, len(s.left)) {
		all.Go(func() { s.lane(ctx, i) })
	}
	all.Wait()
	report := &report{Seed: o.seed, Scale: o.Scale, Date: began.UTC().Format(time.RFC3339), Lanes: o.lanes, rows: s.rows, Long: s.long}
	if o.inProcess > 0 && len(o.only) == 0 && ctx.Err() == nil {
		report.InProcess = s.inProcess(ctx)
	}
	report.Took = time.Since(began).Round(time.Second).String()
	err := errors.Join(report.finish(o), context.Cause(ctx))
	if entries, _ := os.ReadDir(o.keep); len(entries) == 0 {
		_ = os.Remove(o.keep) // nothing went wrong, so nothing is kept
	}
	return err
}

// session is all runs.
type session struct {
	o       options
	deck    []*fault
	starved starved

	mu   sync.Mutex // guards what follows
	left []int      // numbers of runs to come
	rows []*row
	long []*series
}

// next takes the number of the next run; 0 when there is none.
func (s *session) next() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.left) == 0 {
		return 0
	}
	n := s.left[0]
	s.left = s.left[1:]
	return n
}

// chance is what everything is chosen by in a run.
func (s *session) chance(number int) *rand.Rand {
	return rand.New(rand.NewPCG(s.o.seed, uint64(number)))
}

// fault is the fault of a run: all of the deck in an order that chance gives, again and again.
func (s *session) fault(number int) *fault {
	round := (number - 1) / len(s.deck)
	order := rand.New(rand.NewPCG(s.o.seed, uint64(1_000_000+round))).Perm(len(s.deck))
	return s.deck[order[(number-1)%len(s.deck)]]
}

// lane plays runs on a cluster of its own until none is left. A cluster that does not get well is left for a new one.
func (s *session) lane(ctx context.Context, index int) {
	for ctx.Err() == nil {
		number := s.next()
		if number == 0 {
			return
		}
		l, err := s.open(ctx, index, number)
		if err != nil {
			s.add(&row{Number: number, Fault: "none", wrong: []string{fmt.Sprintf("no cluster: %v", err)}})
			return
		}
		for number != 0 && l.play(ctx, number) && ctx.Err() == nil {
			number = s.next()
		}
		s.end(l)
		if number == 0 {
			return
		}
	}
}

// lane is a cluster on which runs are played.
type lane struct {
	*stage.Stage
	session *session
	tmp     string
	long    *series
	// base are the files in the hosts' folders for temporary files once an update has been there.
	base map[string]bool
}

func (s *session) open(ctx context.Context, index, number int) (*lane, error) {
	o := s.o.Options
	o.Net += index
	tmp, err := os.MkdirTemp("", "pegbook-soak-tmp-")
	if err != nil {
		return nil, err
	}
	o.Environ = []string{"TMPDIR=" + tmp, fmt.Sprintf("PEGBOOK_KEEP_RUNS=%d", keptRuns)}
	st, err := stage.New(ctx, o)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(tmp))
	}
	l := &lane{Stage: st, session: s, tmp: tmp, long: newSeries(index)}
	if number%2 == 0 && len(st.Hosts.Packages()) == 2 {
		// The cluster begins with the first package, which is what an even run updates to: it finds the other one.
		err = l.Do(ctx, append([]string{"rolling-update.yml", "-e", "mode=simple"}, stage.PackageArgs(l.target(1))...)...)
	}
	if err == nil {
		err = l.Do(ctx, "status.yml")
	}
	if err == nil {
		l.base, err = l.remote()
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *lane) close() error { return errors.Join(l.Close(), os.RemoveAll(l.tmp)) }

// end ends a lane and keeps how its long-living processes were.
func (s *session) end(l *lane) {
	if err := l.close(); err != nil {
		s.add(&row{Fault: "none", wrong: []string{fmt.Sprintf("the lab does not end: %v", err)}})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.long = append(s.long, l.long)
}

// add takes a row in and shows it.
func (s *session) add(r *row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = append(s.rows, r)
	fmt.Println(r.line())
	for _, w := range r.wrong {
		fmt.Println("    NOT AS IT MUST BE:", w)
	}
	if len(r.wrong) > 0 {
		fmt.Println("    again:", s.o.again(r.Number))
	}
}

// disturbed shows a row that does not count.
func (s *session) disturbed(r *row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Println(r.line())
	fmt.Printf("    does not count, and is played again: the machine kept processes waiting for %.0f ms: %s\n", r.Starved, firstLine(r.wrong[0]))
}

func firstLine(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	return text
}
