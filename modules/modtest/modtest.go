// Package modtest is for testing modules: an in-memory host ([Machine]) and a harness ([Converge])
// that holds every module to the promises of the contract.
//
// It fails tests through [TB], which *testing.T is, and pegbook plugin test another one.
package modtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"text/template"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/overlay"
)

// TB is what a test fails through. Fatalf does not return.
type TB interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// tester is a TB that has parts.
type tester[T any] interface {
	TB
	Run(name string, part func(T)) bool
}

// Setup is what a module is given besides its arguments and its host. The zero value is usable.
type Setup struct {
	// Files are those of the control node, by the name a task writes. OpenDir sees them as folders.
	Files map[string]string
	// Vars are the task's variables, for templates and expressions.
	Vars map[string]string
	// Repeats marks a task that changes something every time, like command.
	Repeats bool
	// Trips is how many round trips a proposal that finds nothing to do may take; 0 is 1.
	Trips int
	// ActTrips is how many round trips a task that changes something may take; 0 is 2. Negative: any
	// number (a task that waits).
	ActTrips int
	// Batch is Call.Batch.
	Batch []string
	// Dir is Call.Dir.
	Dir string
	// Verbosity is Call.Verbosity.
	Verbosity int
	// Jobs is Call.Jobs.
	Jobs modules.Jobs
	// Begun is Call.Begun.
	Begun *modules.Begun
	// Later is Call.Later.
	Later bool
}

// Result is what a task did.
type Result struct {
	// Proposal is the first one.
	*modules.Proposal
	// Output is what register would store.
	Output json.RawMessage
	// Notes is everything the module said on its way.
	Notes string
	// Unknown says that check mode could not predict the task.
	Unknown bool
	// Err is Do's error.
	Err error
}

// Get reads a field of the output, such as "stat.exists", as JSON text. "" where there is none.
func (r Result) Get(field string) string {
	raw := r.Output
	for name := range strings.SplitSeq(field, ".") {
		var fields map[string]json.RawMessage
		if json.Unmarshal(raw, &fields) != nil {
			return ""
		}
		raw = fields[name]
	}
	return string(raw)
}

// DiffNotes are the proposal's differences, each as its subject and note.
func (r Result) DiffNotes() []string {
	notes := make([]string, len(r.Diff))
	for i, d := range r.Diff {
		notes[i] = strings.TrimSpace(d.Subject + " " + d.Note)
	}
	return notes
}

// recorder keeps what a module says.
type recorder struct {
	mu    sync.Mutex // guards notes
	notes strings.Builder
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(&r.notes, format+"\n", args...)
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.notes.String()
}

// Call makes the environment of a task against a host, whose notes nobody reads.
func (s Setup) Call(host modules.Host) *modules.Call { return s.call(host, &recorder{}) }

// call makes the environment of a task against a host.
func (s Setup) call(host modules.Host, r *recorder) *modules.Call {
	return &modules.Call{
		Host: host,
		Open: func(kind, name string) (modules.Source, error) {
			content, ok := s.Files[name]
			if !ok {
				return nil, fmt.Errorf("no file %s in %s: %w", name, kind, fs.ErrNotExist)
			}
			return modules.Bytes(name, []byte(content)), nil
		},
		OpenDir:   s.openDir,
		Render:    s.render,
		Eval:      s.eval,
		Note:      r.note,
		Jobs:      s.Jobs,
		Hostname:  host.Name(),
		Dir:       s.Dir,
		Batch:     s.Batch,
		Verbosity: s.Verbosity,
		Later:     s.Later,
		Begun:     s.Begun,
	}
}

func (s Setup) openDir(kind, name string) ([]modules.TreeEntry, error) {
	prefix := strings.TrimSuffix(name, "/") + "/"
	folders := map[string]bool{}
	var entries []modules.TreeEntry
	for file, content := range s.Files {
		rel, ok := strings.CutPrefix(file, prefix)
		if !ok {
			continue
		}
		for dir := path.Dir(rel); dir != "." && !folders[dir]; dir = path.Dir(dir) {
			folders[dir] = true
			entries = append(entries, modules.TreeEntry{Path: dir, Kind: modules.Directory, Mode: 0o755})
		}
		entries = append(entries, modules.TreeEntry{Path: rel, Kind: modules.Regular, Mode: 0o644,
			Source: modules.Bytes(file, []byte(content))})
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("no folder %s in %s: %w", name, kind, fs.ErrNotExist)
	}
	slices.SortFunc(entries, func(a, b modules.TreeEntry) int { return strings.Compare(a.Path, b.Path) })
	return entries, nil
}

func (s Setup) render(name, text string, delims [2]string) (string, error) {
	t, err := template.New(name).Delims(delims[0], delims[1]).Option("missingkey=error").Parse(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, s.Vars)
	return b.String(), err
}

// eval evaluates a bare expression with text/template's own functions, and defined.
func (s Setup) eval(expr modules.Expr) (json.RawMessage, error) {
	var value json.RawMessage
	functions := template.FuncMap{
		"capture": func(v any) (string, error) {
			var err error
			value, err = json.Marshal(v)
			return "", err
		},
		"defined": func(name string) bool { _, ok := s.Vars[name]; return ok },
	}
	t, err := template.New("expression").Funcs(functions).Option("missingkey=error").Parse("{{capture (" + string(expr) + ")}}")
	if err != nil {
		return nil, err
	}
	if err := t.Execute(&bytes.Buffer{}, s.Vars); err != nil {
		return nil, err
	}
	return value, nil
}

// Converge runs a task twice on a machine, and holds it to the contract: a proposal leaves the host as
// it is; check mode predicts the same differences and runs no command with effects; a cancelled
// context ends it; after Do a second proposal has nothing to do; round trips are few; secrets show
// nowhere. Args is a JSON object. The machine is left as the task leaves it.
func Converge(t TB, m *modules.Module, args string, host *Machine, setup Setup) Result {
	t.Helper()
	Documented(t, m)
	c := &converge{t: t, module: through(t, m), args: json.RawMessage(args), host: host, setup: setup}
	c.cancelled()
	unknown := c.checkMode()
	result := c.real()
	result.Unknown = unknown
	if result.Err == nil {
		c.again()
	}
	c.secrets(result)
	return result
}

type converge struct {
	t      TB
	module *modules.Module
	args   json.RawMessage
	host   *Machine
	setup  Setup
	notes  recorder
	shown  strings.Builder // everything that somebody could read
}

// propose asks for a proposal and checks that nothing changed on the way.
func (c *converge) propose(host modules.Host) *modules.Proposal {
	c.t.Helper()
	before, runs := c.host.Snapshot(), len(c.host.Runs())
	p, err := c.module.Propose(c.t.Context(), c.setup.call(host, &c.notes), c.args)
	if err != nil {
		c.t.Fatalf("%s proposes nothing: %v", c.module.Name, err)
	}
	c.unchanged("proposing", before, runs)
	if p == nil {
		c.t.Fatalf("%s answers neither a proposal nor an error", c.module.Name)
	}
	if len(p.Diff) > 0 && p.Do == nil && p.Predicts == nil {
		c.t.Errorf("%s has differences and nothing to do about them: %v", c.module.Name, p.Diff)
	}
	return p
}

func (c *converge) unchanged(what string, before map[string]string, runs int) {
	c.t.Helper()
	if d := Differences(before, c.host.Snapshot()); d != "" {
		c.t.Errorf("%s: %s changed the host:%s", c.module.Name, what, d)
	}
	for _, cmd := range c.host.Runs()[runs:] {
		if !cmd.ReadOnly {
			c.t.Errorf("%s: %s ran a command with effects: %q", c.module.Name, what, cmd.Argv)
		}
	}
}

// promptly is how soon a task must end after its context is cancelled.
const promptly = 3 * time.Second

func (c *converge) cancelled() {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	cancel()
	layer := overlay.New(c.host, nil)
	started := time.Now()
	_, _ = c.module.Propose(ctx, c.setup.call(layer.Look(), &c.notes), c.args)
	p, err := c.module.Propose(c.t.Context(), c.setup.call(layer.Look(), &c.notes), c.args)
	if err == nil && p != nil && p.Do != nil {
		_ = p.Do(ctx, layer.Act())
	}
	if took := time.Since(started); took > promptly {
		c.t.Errorf("%s took %s to notice that it was cancelled", c.module.Name, took)
	}
}

// checkMode runs the task above the machine; true means that its outcome is unknown.
func (c *converge) checkMode() bool {
	c.t.Helper()
	before, runs := c.host.Snapshot(), len(c.host.Runs())
	layer := overlay.New(c.host, nil)
	p := c.propose(layer.Look())
	defer c.unchanged("check mode", before, runs)
	switch {
	case p.Waits:
		return true
	case p.Predicts != nil:
		layer.Predict(p.Predicts)
		if err := layer.Act().Apply(c.t.Context(), p.Leaves...); err != nil {
			c.t.Errorf("%s: what it leaves behind cannot be: %v", c.module.Name, err)
		}
	case p.Do != nil:
		err := p.Do(c.t.Context(), layer.Act())
		if errors.Is(err, modules.ErrUnpredicted) {
			return true
		}
		if err != nil {
			return false // the real run meets the same error and the test sees it
		}
	}
	real := c.propose(c.host)
	if got, want := notesOf(p), notesOf(real); !slices.Equal(got, want) {
		c.t.Errorf("%s: check mode predicts %q, the real run does %q", c.module.Name, got, want)
	}
	if again := c.propose(layer.Look()); len(again.Diff) > 0 && !c.setup.Repeats {
		c.t.Errorf("%s: after its own prediction it would change again: %v", c.module.Name, again.Diff)
	}
	return false
}

func notesOf(p *modules.Proposal) []string { return Result{Proposal: p}.DiffNotes() }

func (c *converge) real() Result {
	c.t.Helper()
	trips := c.host.Trips()
	p := c.propose(c.host)
	result := Result{Proposal: p}
	if p.Do != nil {
		result.Err = p.Do(c.t.Context(), c.host)
	}
	if limit := max(c.setup.ActTrips, 2); c.setup.ActTrips >= 0 && result.Err == nil {
		if took := c.host.Trips() - trips; took > limit {
			c.t.Errorf("%s took %d round trips, more than %d", c.module.Name, took, limit)
		}
	}
	result.Notes = c.notes.text()
	raw, err := json.Marshal(p.Output)
	if err != nil {
		c.t.Fatalf("%s: its output is no JSON: %v", c.module.Name, err)
	}
	if p.Output != nil && raw[0] != '{' {
		c.t.Errorf("%s: its output is no object: %s", c.module.Name, raw)
	}
	result.Output = raw
	return result
}

func (c *converge) again() {
	c.t.Helper()
	trips := c.host.Trips()
	p := c.propose(c.host)
	if c.setup.Repeats {
		return
	}
	if len(p.Diff) > 0 {
		c.t.Errorf("%s: a second run would change again: %v", c.module.Name, p.Diff)
	}
	if p.Do != nil && p.Waits {
		c.t.Errorf("%s: what it has waited for is not there", c.module.Name)
	}
	if took := c.host.Trips() - trips; took > max(c.setup.Trips, 1) {
		c.t.Errorf("%s took %d round trips to find nothing to do", c.module.Name, took)
	}
}

// secrets looks for the values of secret arguments in everything that is shown or kept.
func (c *converge) secrets(r Result) {
	c.t.Helper()
	var given map[string]json.RawMessage
	if err := json.Unmarshal(c.args, &given); err != nil {
		return
	}
	for _, d := range r.Diff {
		if d.Secret {
			d.Before, d.After = "", ""
		}
		fmt.Fprintln(&c.shown, d.Subject, d.Before, d.After, d.Note)
	}
	fmt.Fprintln(&c.shown, r.Message, string(r.Output), r.Notes, r.Err)
	for _, cmd := range c.host.Runs() {
		fmt.Fprintln(&c.shown, cmd.Argv)
	}
	for name, raw := range given {
		arg, ok := c.module.Args.Lookup(name)
		var value string
		if !ok || !arg.Secret || json.Unmarshal(raw, &value) != nil || value == "" {
			continue
		}
		if strings.Contains(c.shown.String(), value) {
			c.t.Errorf("%s shows the secret argument %s", c.module.Name, name)
		}
	}
}

// Propose asks for a proposal and gives it with its error, unchecked.
func Propose(t TB, m *modules.Module, args string, host modules.Host, setup Setup) (*modules.Proposal, error) {
	t.Helper()
	return through(t, m).Propose(t.Context(), setup.call(host, &recorder{}), json.RawMessage(args))
}

// Restore asks a module to put back what an earlier proposal of it had found (its Before), as a run does that takes
// another one back; nil: that one has changed nothing.
func Restore(t TB, m *modules.Module, args string, before any, host modules.Host, setup Setup) (*modules.Proposal, error) {
	t.Helper()
	var raw json.RawMessage
	if before != nil {
		var err error
		if raw, err = json.Marshal(before); err != nil {
			t.Fatalf("%s: what it keeps of before is no JSON: %v", m.Name, err)
		}
	}
	return through(t, m).Restore(t.Context(), setup.call(host, &recorder{}), json.RawMessage(args), raw)
}

// ErrorCase is a task that must fail.
type ErrorCase struct {
	Name string
	Args string
	// Host is the machine; nil is a new one.
	Host  *Machine
	Setup Setup
	// Want is a part of the error's text.
	Want string
}

// Errors runs a table of tasks that must fail while proposing or doing, with a message that holds Want
// and nothing changed by the proposal.
func Errors[T tester[T]](t T, m *modules.Module, cases []ErrorCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.Name, func(t T) {
			t.Helper()
			host := c.Host
			if host == nil {
				host = NewMachine("host1")
			}
			before := host.Snapshot()
			p, err := Propose(t, m, c.Args, host, c.Setup)
			if d := Differences(before, host.Snapshot()); d != "" {
				t.Errorf("proposing changed the host:%s", d)
			}
			if err == nil && p != nil && p.Do != nil {
				err = p.Do(t.Context(), host)
			}
			if err == nil {
				t.Fatalf("no error; want one that holds %q", c.Want)
			}
			if !strings.Contains(err.Error(), c.Want) {
				t.Errorf("error is\n  %v\nwant one that holds\n  %s", err, c.Want)
			}
		})
	}
}

// Documented checks a module's manual page: a title, an explanation, an example that uses the module
// and only arguments it has, and a line for each argument.
func Documented(t TB, m *modules.Module) {
	t.Helper()
	lines := strings.Split(m.Doc, "\n")
	if len(lines) < 3 || lines[0] == "" || lines[1] != "" || strings.HasSuffix(lines[0], ".") {
		t.Errorf("%s: the manual page is not a title without a period, an empty line and text", m.Name)
	}
	example := Example(m)
	if !slices.ContainsFunc(strings.Split(example, "\n"), func(line string) bool {
		line = strings.TrimPrefix(strings.TrimSpace(line), "- ")
		return line == m.Name || strings.HasPrefix(line, m.Name+":")
	}) {
		t.Errorf("%s: the manual page has no indented example of the module", m.Name)
	}
	if strings.Contains(example, "\t") {
		t.Errorf("%s: the example holds tabs, which YAML does not take", m.Name)
	}
	for _, arg := range m.Args {
		if arg.Doc == "" || strings.HasSuffix(arg.Doc, ".") {
			t.Errorf("%s: argument %s needs a line of documentation without a period", m.Name, arg.Name)
		}
	}
}

// Example is the indented example of a module's manual page, as YAML: a list of tasks.
func Example(m *modules.Module) string {
	var b strings.Builder
	for line := range strings.SplitSeq(m.Doc, "\n") {
		if rest, ok := strings.CutPrefix(line, "    "); ok {
			b.WriteString(rest + "\n")
		} else if line == "" && b.Len() > 0 {
			b.WriteString("\n")
		}
	}
	return strings.TrimSpace(b.String()) + "\n"
}
