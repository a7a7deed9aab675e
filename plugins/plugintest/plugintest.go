// Package plugintest holds modules that come from a plugin to what pegbook's own are held to: it is what
// pegbook plugin test does. It needs no host: modules work on one in memory.
package plugintest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

// Suite is what is tested.
type Suite struct {
	Modules []*modules.Module
	// Cases are tasks that the author describes; every module has at least the example of its manual page.
	Cases []Case
	// Example compiles the example of a module's manual page and gives the arguments of those of its tasks that use
	// the module and have no templates.
	Example func(m *modules.Module, example string) ([]json.RawMessage, error)
	// Report is told each check.
	Report func(Check)
}

// Case is a task and the host that it meets.
type Case struct {
	Name   string          `json:"name"`
	Module string          `json:"module"`
	Args   json.RawMessage `json:"args"`
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

// Run makes every check and says how many have failed.
func (s Suite) Run(ctx context.Context) int {
	failed := 0
	report := func(c Check) {
		if c.Problem != "" {
			failed++
		}
		s.Report(c)
	}
	for _, m := range s.Modules {
		s.module(ctx, m, report)
	}
	for _, c := range s.Cases {
		check := Check{Module: c.Module, Name: "case " + c.Name}
		if m := s.lookup(c.Module); m == nil {
			check.Problem = "the plugin has no module " + c.Module
		} else {
			check.Problem = trying(ctx, func(t *trial) { c.run(t, m) })
		}
		report(check)
	}
	return failed
}

func (s Suite) lookup(name string) *modules.Module {
	for _, m := range s.Modules {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// module makes the checks that need no case.
func (s Suite) module(ctx context.Context, m *modules.Module, report func(Check)) {
	check := func(name string, try func(t *trial)) {
		report(Check{Module: m.Name, Name: name, Problem: trying(ctx, try)})
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
		report(Check{Module: m.Name, Name: "the example on a host in memory", Skipped: "every task of the example holds templates; describe cases"})
	}
	for i, args := range examples {
		name := "the example on a host in memory"
		if i > 0 {
			name = fmt.Sprintf("task %d of %s", i+1, name)
		}
		args = withSecrets(m, args)
		check(name+": an unreachable host is told as one", func(t *trial) { unreachable(t, m, args) })
		check(name+": a cancelled task ends", func(t *trial) { cancelled(t, m, args) })
		c := Case{Name: name, Module: m.Name, Args: args}
		switch problem, err := c.first(ctx, m); {
		case problem != "":
			report(Check{Module: m.Name, Name: name, Problem: problem})
			continue
		case err != nil:
			report(Check{Module: m.Name, Name: name, Skipped: fmt.Sprintf("it needs another host (%v); describe cases", err)})
			continue
		}
		check(name+": proposing changes nothing, check mode runs nothing, a second run finds nothing to do, secrets stay secret",
			func(t *trial) { c.run(t, m) })
	}
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
	wrong := func(args, name, what string) {
		var refused *modules.ArgumentError
		_, err := modtest.Propose(t, m, args, modtest.NewMachine("host1"), modtest.Setup{})
		if !errors.As(err, &refused) {
			t.Errorf("%s %s gives %s, and not an argument error", what, name, outcome(err))
		}
	}
	takesAny := false
	for _, a := range m.Args {
		takesAny = takesAny || a.Rest
		if a.Required {
			wrong("{}", a.Name, "the missing argument")
		}
	}
	if !takesAny {
		wrong(`{"no_such_argument_at_all": 1}`, "no_such_argument_at_all", "the unknown argument")
	}
	for _, a := range m.Args {
		if a.Rest || a.Type == modules.TypeAny || a.Type == modules.TypeMap || a.Elem == modules.TypeAny {
			continue
		}
		wrong(fmt.Sprintf(`{%q: {"a": ["mapping"]}}`, a.Name), a.Name, "a mapping for")
	}
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
	mu      sync.Mutex // guards wrong
	wrong   []string
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
	return strings.Join(t.wrong, "\n")
}
