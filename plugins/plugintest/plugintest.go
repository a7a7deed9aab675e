// Package plugintest holds modules that come from a plugin to what pegbook's own are held to, and inventory sources and
// notifiers to what runs rely on: it is what pegbook plugin test does. It needs no host: modules work on one in memory,
// and what sources and notifiers connect to is a server of the test, which answers, refuses or hangs.
package plugintest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/plugins"
)

// Suite is what is tested.
type Suite struct {
	Modules   []*modules.Module
	Sources   []*plugins.Source
	Notifiers []*plugins.Notifier
	// Cases are tasks, and files that name a source or a notifier, which the author describes; every part has at least
	// the example of its manual page.
	Cases []Case
	// Example compiles the example of a module's manual page and gives the arguments of those of its tasks that use
	// the module and have no templates.
	Example func(m *modules.Module, example string) ([]json.RawMessage, error)
	// File reads a file that must name a source or a notifier, and gives its options.
	File func(name, text string, options modules.Schema) (json.RawMessage, error)
	// Merge says what an inventory finds wrong with the answer of a source.
	Merge func(*plugins.Inventory) error
	// Events gives an event of each kind that there is. Each has the mark in its texts.
	Events func(mark string) []plugins.Event
	// Said gives what the plugin has written to its outputs; nil: it has none.
	Said func() string
	// Home is the plugin's home folder, where that is for this test alone.
	Home string
	// Report is told each check.
	Report func(Check)

	failed *int
}

// Case is a task and the host that it meets; or, with Source or Notifier, a file that names one of these.
type Case struct {
	Name   string          `json:"name"`
	Module string          `json:"module,omitempty"`
	Args   json.RawMessage `json:"args,omitempty"`
	// Source and Notifier are what the file names, Options what it says beside that. Control is the files of its folder.
	Source   string          `json:"source,omitempty"`
	Notifier string          `json:"notifier,omitempty"`
	Options  json.RawMessage `json:"options,omitempty"`
	// Hosts are those that a source must answer, in its order; nil: any.
	Hosts []string `json:"hosts,omitempty"`
	// Files and Folders are those of the host, Links its symbolic links with what they hold.
	Files   map[string]string `json:"files,omitempty"`
	Folders []string          `json:"folders,omitempty"`
	Links   map[string]string `json:"links,omitempty"`
	// Control is files of the control node by the names that a task writes; Vars are for templates.
	Control map[string]string `json:"control,omitempty"`
	Vars    map[string]string `json:"vars,omitempty"`
	// Commands are what the host answers; one that is not among them is not found.
	Commands []Command `json:"commands,omitempty"`
	// Connect leads connections to an address of the host to one of this machine.
	Connect map[string]string `json:"connect,omitempty"`
	// Repeats is a task that changes something each time.
	Repeats bool `json:"repeats,omitempty"`
	// Trips and ActTrips bound the round trips of finding nothing to do and of doing; 0 is 10.
	Trips    int `json:"trips,omitempty"`
	ActTrips int `json:"act_trips,omitempty"`
	// Error is a part of the error that the task must end with; empty: it must not.
	Error string `json:"error,omitempty"`
	// Want is files of the host as the task leaves them.
	Want map[string]string `json:"want,omitempty"`
}

// Command is what a host answers to a command.
type Command struct {
	Argv   []string `json:"argv"`
	Exit   int      `json:"exit,omitempty"`
	Stdout string   `json:"stdout,omitempty"`
	Stderr string   `json:"stderr,omitempty"`
	// Writes is files that the command leaves.
	Writes map[string]string `json:"writes,omitempty"`
}

// Check is one thing that was looked at.
type Check struct {
	// Module is the part that it is about, which need not be a module.
	Module, Name string
	// Problem says what is wrong; empty: nothing is.
	Problem string
	// Skipped says why nothing could be found out; empty where something was.
	Skipped string
}

// canary is the value of every secret argument.
const canary = "c4nary-that-nobody-may-see"

// promptly is how soon a cancelled task must have ended: sooner than pegbook gives up waiting for that.
const promptly = time.Second

// Run makes every check and says how many have failed. That there is nothing to check is a failure.
func (s Suite) Run(ctx context.Context) int {
	s.failed = new(int)
	for _, m := range s.Modules {
		s.module(ctx, m)
	}
	for _, src := range s.Sources {
		s.source(ctx, src)
	}
	for _, n := range s.Notifiers {
		s.notifier(ctx, n)
	}
	for _, c := range s.Cases {
		s.unknown(c)
	}
	if len(s.Modules)+len(s.Sources)+len(s.Notifiers) == 0 {
		s.report(Check{Module: "the plugin", Name: "something to test", Problem: "it has no module, no source and no notifier"})
	}
	return *s.failed
}

func (s Suite) report(c Check) {
	if c.Problem != "" {
		*s.failed++
	}
	s.Report(c)
}

// unknown reports a case of a part that the plugin does not have.
func (s Suite) unknown(c Case) {
	has := slices.ContainsFunc(s.Modules, func(m *modules.Module) bool { return m.Name == c.Module }) ||
		slices.ContainsFunc(s.Sources, func(p *plugins.Source) bool { return p.Name == c.Source }) ||
		slices.ContainsFunc(s.Notifiers, func(p *plugins.Notifier) bool { return p.Name == c.Notifier })
	if !has {
		kind, name := "module", c.Module
		switch {
		case c.Source != "":
			kind, name = kindSource, c.Source
		case c.Notifier != "":
			kind, name = kindNotifier, c.Notifier
		}
		s.report(Check{Module: name, Name: "case " + c.Name, Problem: fmt.Sprintf("the plugin has no %s %s", kind, name)})
	}
}

// module makes the checks that need no case.
func (s Suite) module(ctx context.Context, m *modules.Module) {
	check := func(name string, try func(t *trial)) bool {
		c := Check{Module: m.Name, Name: name, Problem: trying(ctx, try)}
		s.report(c)
		return c.Problem == ""
	}
	check("the manual page has a title, a text, an example and a line for each argument", func(t *trial) { modtest.Documented(t, m) })
	var examples []json.RawMessage
	check("the example compiles", func(t *trial) {
		var err error
		if examples, err = s.Example(m, modtest.Example(m)); err != nil {
			t.Fatalf("%v", err)
		}
	})
	check("arguments that are unknown, missing or of another type are refused by name", func(t *trial) { refusals(t, m) })
	if len(examples) == 0 {
		s.report(Check{Module: m.Name, Name: "the example on a host in memory", Skipped: "every task of the example holds templates; describe cases"})
	}
	tried := false
	for i, args := range examples {
		name := "the example on a host in memory"
		if i > 0 {
			name = fmt.Sprintf("task %d of %s", i+1, name)
		}
		tried = s.manual(ctx, m, Case{Name: name, Module: m.Name, Args: withSecrets(m, args)}, check) || tried
	}
	for _, c := range s.Cases {
		if c.Module == m.Name {
			check("case "+c.Name, func(t *trial) { c.run(t, m) })
			tried = true
		}
	}
	s.tried(part{name: m.Name}, tried)
}

// manual tries a task of the manual page. False: that shows nothing.
func (s Suite) manual(ctx context.Context, m *modules.Module, c Case, check func(name string, try func(t *trial)) bool) bool {
	check(c.Name+": an unreachable host is told as one", func(t *trial) { unreachable(t, m, c.Args) })
	check(c.Name+": a cancelled task ends", func(t *trial) { cancelled(t, m, c.Args) })
	switch problem, err := c.first(ctx, m); {
	case problem != "":
		s.report(Check{Module: m.Name, Name: c.Name, Problem: problem})
		return true
	case err != nil:
		s.report(Check{Module: m.Name, Name: c.Name, Skipped: fmt.Sprintf("it needs another host (%v); describe cases", err)})
		return false
	}
	check(c.Name+": proposing changes nothing, check mode runs nothing, a second run finds nothing to do, secrets stay secret",
		func(t *trial) { c.run(t, m) })
	return true
}

// withSecrets gives a task's secret arguments a value that must appear nowhere.
func withSecrets(m *modules.Module, args json.RawMessage) json.RawMessage {
	given := map[string]json.RawMessage{}
	if len(args) > 0 && json.Unmarshal(args, &given) != nil {
		return args
	}
	for _, a := range m.Args {
		if a.Secret && a.Type == modules.TypeString && len(a.Choices) == 0 {
			given[a.Name] = json.RawMessage(`"` + canary + `"`)
		}
	}
	out, err := json.Marshal(given)
	if err != nil {
		return args
	}
	return out
}

// refusals asks for what the schema does not allow.
func refusals(t *trial, m *modules.Module) {
	for _, w := range wrongly(m.Args, nil) {
		var refused *modules.ArgumentError
		if _, err := modtest.Propose(t, m, string(w.args), modtest.NewMachine("host1"), modtest.Setup{}); !errors.As(err, &refused) {
			t.Errorf("%s %s gives %s, and not an argument error", w.what, w.name, outcome(err))
		}
	}
}

// wrongArgs are arguments that a schema does not allow, and which of them is wrong.
type wrongArgs struct {
	args       json.RawMessage
	name, what string
}

// wrongly gives arguments that a schema does not allow, besides those that are given.
func wrongly(schema modules.Schema, given map[string]json.RawMessage) []wrongArgs {
	var all []wrongArgs
	with := func(name, what string, value json.RawMessage) {
		args := maps.Clone(given)
		if args == nil {
			args = map[string]json.RawMessage{}
		}
		if args[name] = value; value == nil {
			delete(args, name)
		}
		all = append(all, wrongArgs{rejoined(args, nil), name, what})
	}
	takesAny := false
	for _, a := range schema {
		takesAny = takesAny || a.Rest
		if a.Required {
			with(a.Name, "the missing argument", nil)
		}
	}
	if !takesAny {
		with("no_such_argument_at_all", "the unknown argument", json.RawMessage("1"))
	}
	for _, a := range schema {
		if !a.Rest && a.Type != modules.TypeAny && a.Type != modules.TypeMap && a.Elem != modules.TypeAny {
			with(a.Name, "a mapping for", json.RawMessage(`{"a": ["mapping"]}`))
		}
	}
	return all
}

// unreachable offers a host that cannot be reached.
func unreachable(t *trial, m *modules.Module, args json.RawMessage) {
	host := &gone{}
	p, err := modtest.Propose(t, m, string(args), host, modtest.Setup{})
	if err == nil && p != nil && p.Do != nil {
		err = p.Do(t.Context(), host)
	}
	var lost *modules.UnreachableError
	if host.wasAsked() && !errors.As(err, &lost) {
		t.Errorf("the host cannot be reached and the task ends with %s; return the host's error, wrapped with %%w or as it is", outcome(err))
	}
	if err != nil && strings.Contains(err.Error(), canary) {
		t.Errorf("the error shows a secret argument")
	}
}

// outcome is an error as part of a sentence.
func outcome(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}

// cancelled offers a host that never answers, and cancels.
func cancelled(t *trial, m *modules.Module, args json.RawMessage) {
	ctx, cancel := context.WithCancel(t.Context())
	host := &gone{hangs: true}
	time.AfterFunc(100*time.Millisecond, cancel)
	began := time.Now()
	p, err := m.Propose(ctx, modtest.Setup{}.Call(host), args)
	if err == nil && p != nil && p.Do != nil {
		err = p.Do(ctx, host)
	}
	if took := time.Since(began); took > promptly {
		t.Errorf("it took %s to notice that it was cancelled; watch the context that Propose and Do are given", took.Round(10*time.Millisecond))
	}
	if err == nil && host.wasAsked() {
		t.Errorf("it was cancelled while the host did not answer, and ends well")
	}
}

// gone is a host that cannot be reached, or never answers.
type gone struct {
	hangs bool
	mu    sync.Mutex // guards asked
	asked bool
}

var _ modules.Host = (*gone)(nil)

func (g *gone) wasAsked() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked
}

func (g *gone) answer(ctx context.Context) error {
	g.mu.Lock()
	g.asked = true
	g.mu.Unlock()
	if g.hangs {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return &modules.UnreachableError{Host: g.Name(), Err: errors.New("no route to host")}
}

func (g *gone) Name() string { return "host1" }

func (g *gone) Look(ctx context.Context, _ ...modules.Query) ([]modules.File, error) {
	return nil, g.answer(ctx)
}

func (g *gone) Apply(ctx context.Context, _ ...modules.Change) error { return g.answer(ctx) }

func (g *gone) Run(ctx context.Context, _ modules.Command) (modules.Output, error) {
	return modules.Output{}, g.answer(ctx)
}

func (g *gone) Dial(ctx context.Context, _, _ string) (net.Conn, error) { return nil, g.answer(ctx) }

func (g *gone) Predicted(string) (string, bool) { return "", false }

// trial is a test that collects what is wrong.
type trial struct {
	context func() context.Context
	mu      sync.Mutex // guards what follows
	wrong   []string
	after   []func() // done once the check is over
}

var _ modtest.TB = (*trial)(nil)

// Helper does nothing: problems have no lines here.
func (t *trial) Helper() {}

// Context ends with the check.
func (t *trial) Context() context.Context { return t.context() }

// Errorf notes a problem.
func (t *trial) Errorf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrong = append(t.wrong, fmt.Sprintf(format, args...))
}

// Fatalf notes a problem and ends the check.
func (t *trial) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

// cleanup has something done once the check is over.
func (t *trial) cleanup(do func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.after = append(t.after, do)
}

// trying makes a check and gives what is wrong.
func trying(ctx context.Context, check func(t *trial)) string {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	t := &trial{context: func() context.Context { return ctx }}
	done := make(chan struct{})
	go func() { // Fatalf ends its goroutine
		defer close(done)
		check(t)
	}()
	<-done
	for _, do := range slices.Backward(t.after) {
		do()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(slices.Compact(t.wrong), "\n")
}
