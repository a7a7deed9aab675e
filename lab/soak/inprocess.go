package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/lab/stage"
	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/builtin"
	"github.com/pegbook/pegbook/modules/pegasus"
	"github.com/pegbook/pegbook/modules/system"
	"github.com/pegbook/pegbook/modules/zookeeper"
	"github.com/pegbook/pegbook/plugins"
	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/connect"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/journal"
	"github.com/pegbook/pegbook/runner/lock"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

//go:embed everything.yml
var everything []byte

// inProcess is many runs in one process: everything that a run opens, the next one must find closed.
type inProcess struct {
	Runs        int       `json:"runs"`
	Goroutines  []float64 `json:"goroutines"`
	Descriptors []float64 `json:"descriptors"`
	Heap        []float64 `json:"heap"`
	Temporary   []float64 `json:"temporary_files"`
	Wrong       []string  `json:"wrong,omitempty"`
}

func (in *inProcess) leaks() []leak {
	const of = "runs in one process"
	return []leak{
		trend(of, "goroutines", in.Goroutines, 0.05, false),
		trend(of, "descriptors", in.Descriptors, 0.05, false),
		trend(of, "heap", in.Heap, 24<<10, true),
		trend(of, "temporary files", in.Temporary, 0, false),
	}
}

// inProcess does many runs in this process, most of which do not end as they should, and measures after each.
func (s *session) inProcess(ctx context.Context) *inProcess {
	in := &inProcess{}
	if err := s.inOne(ctx, in); err != nil && ctx.Err() == nil {
		in.Wrong = append(in.Wrong, fmt.Sprintf("runs in one process: %v", err))
	}
	if slices.ContainsFunc(in.leaks(), leak.leaks) {
		var text bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&text, 1) // into memory
		path := filepath.Join(s.o.keep, "goroutines.txt")
		if err := os.WriteFile(path, text.Bytes(), 0o600); err == nil {
			fmt.Println("the goroutines that are left: " + path)
		}
	}
	return in
}

func (s *session) inOne(ctx context.Context, in *inProcess) (err error) {
	o := s.o.Options
	st, err := stage.New(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	tmp := filepath.Join(st.Dir, "tmp")
	was := os.Getenv("TMPDIR")
	if err := errors.Join(os.Mkdir(tmp, 0o700), os.Setenv("TMPDIR", tmp)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Setenv("TMPDIR", was)) }()
	l := &library{Stage: st, plugin: s.o.plugin}
	if l.book, err = st.File("everything.yml", string(everything)); err != nil {
		return err
	}
	if l.home, err = journal.OpenHome(filepath.Join(st.Dir, "journal")); err != nil {
		return err
	}
	// The first round opens what stays open: it is not measured.
	for n := range s.o.inProcess + len(turns()) {
		turn := turns()[n%len(turns())]
		began := time.Now()
		err := l.take(ctx, turn)
		s.o.Tell("run %d in one process (%s): %s\n", n+1, turn.name, time.Since(began).Round(time.Millisecond))
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			in.Wrong = append(in.Wrong, fmt.Sprintf("run %d in one process (%s): %v", n+1, turn.name, err))
		}
		if n >= len(turns()) {
			in.measure(tmp)
		}
	}
	return nil
}

// measure adds what there is when what is ending has ended.
func (in *inProcess) measure(tmp string) {
	const settled = 3 * time.Second
	least, since := runtime.NumGoroutine(), time.Now()
	for deadline := time.Now().Add(settled); time.Now().Before(deadline) && time.Since(since) < settled/10; {
		time.Sleep(10 * time.Millisecond)
		if now := runtime.NumGoroutine(); now < least {
			least, since = now, time.Now()
		}
	}
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	left, _ := below(tmp) //nolint:errcheck // it is there
	in.Runs++
	in.Goroutines = append(in.Goroutines, float64(least))
	in.Descriptors = append(in.Descriptors, float64(descriptors(os.Getpid())))
	in.Heap = append(in.Heap, float64(mem.HeapAlloc))
	in.Temporary = append(in.Temporary, float64(len(left)))
}

// turn is how a run in this process goes.
type turn struct {
	name string
	// after so many events do is done.
	after int
	do    func(l *library, w *onerun) error
	// check is a dry run; resumed says that the run is gone on with.
	check, resumed bool
	codes          []int
}

func turns() []turn {
	return []turn{
		{name: "to its end", codes: []int{0}},
		{name: "dry", codes: []int{0}, check: true},
		{name: "told to end, and gone on with", after: 60, codes: []int{130}, resumed: true, do: func(_ *library, w *onerun) error {
			close(w.drain)
			return nil
		}},
		{name: "to its end", codes: []int{0}},
		{name: "cancelled, and gone on with", after: 90, codes: []int{130}, resumed: true, do: func(_ *library, w *onerun) error {
			w.cancel()
			return nil
		}},
		{name: "without a host", after: 40, codes: []int{4}, do: func(l *library, _ *onerun) error {
			return lab.Fault(l.labDir(), []string{"replica3"}, []string{"ssh_refused"})
		}},
		{name: "without its lock", after: 40, codes: []int{5}, resumed: true, do: func(l *library, _ *onerun) error {
			return lab.Fault(l.labDir(), []string{lab.ZooKeeperHost}, []string{"expire=/pegbook/locks"})
		}},
	}
}

// library does what cmd/pegbook does for a run.
type library struct {
	*stage.Stage
	plugin, book string
	home         *journal.Home
	runs         int
}

func (l *library) labDir() string { return filepath.Join(l.Dir, "lab") }

// onerun is a run with what belongs to it.
type onerun struct {
	turn   turn
	seen   int
	drain  chan struct{}
	cancel context.CancelFunc
	err    error
	does   func() error
	said   []string
}

// Record implements event.Sink.
func (w *onerun) Record(r event.Record) {
	w.seen++
	if w.does != nil && w.seen == w.turn.after {
		w.err = w.does()
	}
	if done, ok := r.Event.(event.TaskDone); ok && done.Msg != "" && (done.Status == event.Failed || done.Status == event.Unreachable) {
		w.said = append(w.said, fmt.Sprintf("%s on %s: %s", done.Task, done.Host, done.Msg))
	}
}

// take does a run, goes on with it where the turn says so, and removes what retention does not keep.
func (l *library) take(ctx context.Context, t turn) error {
	l.runs++
	name := fmt.Sprintf("20260101-000000-%d", l.runs)
	w := &onerun{turn: t}
	if t.do != nil {
		w.does = func() error { return t.do(l, w) }
	}
	code, err := l.run(ctx, name, w, false)
	if err == nil && !slices.Contains(t.codes, code) {
		err = fmt.Errorf("it ends with %d, and %v are right: %q", code, t.codes, w.said)
	}
	err = errors.Join(err, w.err, lab.Fault(l.labDir(), nil, nil))
	if err == nil && t.resumed {
		w := &onerun{turn: turn{name: t.name}}
		if code, err = l.run(ctx, name, w, true); err == nil && code != 0 {
			err = fmt.Errorf("going on with it ends with %d: %q", code, w.said)
		}
	}
	return errors.Join(err, l.home.Prune(journal.Keep{Runs: keptRuns}, journal.Keep{}, time.Now()))
}

// run compiles the playbook and runs it, with everything that the program opens for a run.
func (l *library) run(ctx context.Context, name string, w *onerun, resume bool) (code int, err error) {
	ctx, w.cancel = context.WithCancel(ctx)
	defer w.cancel()
	w.drain = make(chan struct{})
	set, closing, err := l.modules(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, closing()) }()
	plan, err := l.compile(ctx, set)
	if err != nil {
		return 0, err
	}
	past, kept, err := l.journal(name, resume)
	if err != nil {
		return 0, err
	}
	pool := connect.NewPool(connect.Options{})
	outcome, err := plan.Run(ctx, runner.Options{
		Connect: pool, Events: event.Tee{kept, w}, Record: kept, Check: w.turn.check, Drain: w.drain, RunID: name, Past: past,
		Gates: runner.Gates{Yes: true}, Holder: lock.Holder{User: "soak", PID: os.Getpid()}, LockWait: time.Minute,
	})
	return outcome.ExitCode(), errors.Join(err, pool.Close(), kept.Close())
}

// modules are pegbook's own and those of a plugin, which is started anew.
func (l *library) modules(ctx context.Context) (runner.Set, func() error, error) {
	var all []*modules.Module
	for _, some := range [][]*modules.Module{builtin.All(), pegasus.All(), system.All(), zookeeper.All()} {
		all = append(all, some...)
	}
	p, err := plugins.Open(ctx, plugins.File{Path: l.plugin}, plugins.Options{})
	if err != nil {
		return runner.Set{}, nil, err
	}
	return runner.NewSet(append(all, p.Modules()...)...), p.Close, nil
}

func (l *library) compile(ctx context.Context, set runner.Set) (*runner.Plan, error) {
	var problems diag.List
	inv, found := inventory.Load(ctx, inventory.Options{Sources: []string{l.Hosts.Inventory()}, PlaybookDir: l.Dir})
	problems.Append(found)
	extra, found := vars.ParseExtra("soak_dir="+l.Dir, nil)
	problems.Append(found)
	files := playbook.Options{Extra: extra}
	book, found := playbook.Parse(l.book, files)
	problems.Append(found)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	plan, found := runner.Compile(runner.Inputs{Playbooks: []*playbook.Playbook{book}, Inventory: inv, Sources: []string{l.Hosts.Inventory()}, Modules: set, Extra: extra, Files: files})
	return plan, found.Err()
}

// journal begins to keep a run, or goes on with it.
func (l *library) journal(name string, resume bool) (*runner.Past, *journal.Writer, error) {
	session := journal.Session{PID: os.Getpid(), Started: time.Now().UTC()}
	if !resume {
		kept, err := l.home.Create(journal.Meta{Run: name, Dir: l.Dir, Playbooks: []string{l.book}, Sessions: []journal.Session{session}}, journal.Private{})
		return nil, kept, err
	}
	run, err := l.home.Open(name)
	if err != nil {
		return nil, nil, err
	}
	var entries []runner.Entry
	read, err := run.Entries(func(e runner.Entry) error {
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	past, err := runner.NewPast(slices.Values(entries))
	if err != nil {
		return nil, nil, err
	}
	kept, _, err := l.home.Resume(name, session)
	if err == nil && !kept.Follows(read) {
		err = errors.Join(errors.New("the journal has more than it had"), kept.Close())
	}
	if err != nil {
		return nil, nil, err
	}
	past.InFlight = runner.InFlightRerun
	return past, kept, nil
}
