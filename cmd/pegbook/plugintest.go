package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins"
	"github.com/pegbook/pegbook/plugins/plugintest"
	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/pluginfile"
	"github.com/pegbook/pegbook/runner/secret"
	"github.com/pegbook/pegbook/runner/vault"
)

// testOptions are the flags of plugin test.
type testOptions struct {
	cases string
	env   []string
}

// testSilence is how long a module may say nothing while it is tested: the host in memory answers at once.
const testSilence = 20 * time.Second

func newPluginTestCmd(a *app) *cobra.Command {
	var o testOptions
	cmd := &cobra.Command{
		Use:   "test FILE",
		Short: "Hold a plugin to what pegbook's own modules are held to",
		Long: `Hold a plugin to what pegbook's own modules are held to: proposing changes nothing, check mode runs nothing and
predicts what the run does, a second run finds nothing to do, cancelling ends it, secrets are shown nowhere, errors
have their kind, the manual page is complete and its example compiles. Modules work on a host in memory.

An inventory source answers the same each time, changes nothing, and what an inventory takes; a notifier takes every
kind of event, in order, and has passed all on when it says so. Both refuse wrong options by name, and keep secrets
where their server refuses or hangs. What the example of a manual page connects to (URL, host:port) is a server of the
test; the plugin's HOME is an empty folder, unless --env HOME is given.

The file FILE.cases.json, where there is one, describes more tasks, hosts and files. Exit code 1 when a check fails, or
when there is nothing to check.`,
		Example: "  pegbook plugin test ./motd\n  pegbook plugin test plugins/motd --cases motd/cases.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.testPlugin(cmd.Context(), args[0], o)
		},
	}
	cmd.Flags().StringVar(&o.cases, "cases", "", "a file of cases (default FILE.cases.json)")
	cmd.Flags().StringArrayVar(&o.env, "env", nil, "give the plugin this environment variable")
	return cmd
}

func (a *app) testPlugin(ctx context.Context, file string, o testOptions) error {
	s := plugintest.Suite{Report: a.showCheck}
	cases := orElse(o.cases, file+".cases.json")
	var err error
	if o.cases != "" || exists(cases) {
		if s.Cases, err = plugintest.ReadCases(cases); err != nil {
			return err
		}
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	if s.Home, err = os.MkdirTemp("", "pegbook-plugin-home-"); err != nil {
		return err
	}
	defer os.RemoveAll(s.Home) //nolint:errcheck // it lies among temporary files
	p, err := plugins.Open(ctx, plugins.File{Path: path, Env: o.env}, plugins.Options{Pegbook: version, Silence: testSilence, Home: s.Home})
	if err != nil {
		return err
	}
	defer p.Close()
	holdTo(ctx, p, &s)
	if failed := s.Run(ctx); failed > 0 {
		fmt.Fprintf(a.err, "pegbook: %s failed\n", count(failed, "check"))
		return exitError(1)
	}
	return nil
}

// holdTo puts a plugin and what it is held to into a suite.
func holdTo(ctx context.Context, p *plugins.Plugin, s *plugintest.Suite) {
	s.Modules, s.Sources, s.Notifiers, s.Said = p.Modules(), p.Sources(), p.Notifiers(), p.Said
	s.Example, s.File, s.Events = examples(ctx, p.Modules()), fileOptions, everyEvent
	s.Merge = func(inv *plugins.Inventory) error { return merged(ctx, inv) }
}

// fileOptions reads a file that must name a source or a notifier, and gives its options.
func fileOptions(name, text string, options modules.Schema) (json.RawMessage, error) {
	dir, err := os.MkdirTemp("", "pegbook-example-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "example.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	var problems diag.List
	var raw json.RawMessage
	file, ok := pluginfile.Read(path, vault.NewKeyring(&secret.Set{}), &problems)
	if ok && file.Plugin != name {
		problems.Add(file.At, "", "it names the plugin %s and not %s", file.Plugin, name)
		ok = false
	}
	if ok {
		raw, _ = file.Options(options, &problems)
	}
	for i := range problems {
		problems[i].File = filepath.Base(problems[i].File)
	}
	return raw, problems.Err()
}

// merged makes an inventory of a source's answer alone.
func merged(ctx context.Context, inv *plugins.Inventory) error {
	dir, err := os.MkdirTemp("", "pegbook-example-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "hosts.yml")
	if err := os.WriteFile(path, []byte("plugin: source\n"), 0o600); err != nil {
		return err
	}
	_, problems := inventory.Load(ctx, inventory.Options{Sources: []string{path}, Vault: vault.NewKeyring(&secret.Set{}), Plugins: answered{inv}})
	return problems.Err()
}

// answered is a source that has answered.
type answered struct{ *plugins.Inventory }

// Source gives it, whatever it is called.
func (a answered) Source(context.Context, string) (*inventory.Source, error) {
	return &inventory.Source{Ask: func(context.Context, string, json.RawMessage) (*inventory.Answer, error) {
		return answerOf(a.Inventory), nil
	}}, nil
}

// everyEvent gives an event of each kind, with a mark in all its texts.
func everyEvent(mark string) []plugins.Event {
	var all []plugins.Event
	for i, e := range event.Every() {
		full := reflect.New(reflect.TypeOf(e)).Elem()
		inscribe(full, mark)
		e = full.Interface().(event.Event)
		line, err := event.Record{Seq: int64(i + 1), Time: time.Date(2026, 3, 1, 10, 15, 0, 0, time.UTC), Event: e}.MarshalJSON()
		if err != nil {
			panic("pegbook: event " + e.Kind() + ": " + err.Error())
		}
		all = append(all, plugins.Event{Kind: e.Kind(), Line: line})
	}
	return all
}

// inscribe puts a text into every text of a value. Statuses are failures.
func inscribe(v reflect.Value, mark string) {
	switch {
	case v.Type() == reflect.TypeFor[event.Status]():
		v.SetString(string(event.Failed))
	case v.Type() == reflect.TypeFor[json.RawMessage]():
		text, err := json.Marshal(mark)
		if err != nil {
			panic("pegbook: " + err.Error())
		}
		v.SetBytes(slices.Concat([]byte(`{"text":`), text, []byte("}")))
	case v.Kind() == reflect.String:
		v.SetString(mark)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				inscribe(v.Field(i), mark)
			}
		}
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		inscribe(v.Index(0), mark)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		inscribe(v.Elem(), mark)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (a *app) showCheck(c plugintest.Check) {
	switch {
	case c.Problem != "":
		fmt.Fprintf(a.out, "FAIL  %s: %s\n      %s\n", c.Module, c.Name, strings.ReplaceAll(c.Problem, "\n", "\n      "))
	case c.Skipped != "":
		fmt.Fprintf(a.out, "skip  %s: %s: %s\n", c.Module, c.Name, c.Skipped)
	default:
		fmt.Fprintf(a.out, "ok    %s: %s\n", c.Module, c.Name)
	}
}

// examples compiles what manual pages show, with pegbook's modules and those of a plugin.
func examples(ctx context.Context, more []*modules.Module) func(*modules.Module, string) ([]json.RawMessage, error) {
	all := moduleSet().All()
	for _, m := range more {
		if _, taken := moduleSet().Lookup(m.Name); !taken {
			all = append(all, m)
		}
	}
	set := runner.NewSet(all...)
	return func(m *modules.Module, example string) ([]json.RawMessage, error) {
		text := "- hosts: all\n  tasks:\n  " + strings.ReplaceAll(strings.TrimRight(example, "\n"), "\n", "\n  ") + "\n"
		files := playbook.Options{Files: playbook.Memory{"example.yml": text}}
		book, problems := playbook.Parse("example.yml", files)
		if err := problems.Err(); err != nil {
			return nil, err
		}
		inv, problems := inventory.Load(ctx, inventory.Options{Sources: []string{"host1,"}})
		if err := problems.Err(); err != nil {
			return nil, err
		}
		if _, problems = runner.Compile(runner.Inputs{Playbooks: []*playbook.Playbook{book}, Inventory: inv, Modules: set, Files: files}); problems.Failed() {
			return nil, problems
		}
		return staticArgs(book, m), nil
	}
}

// staticArgs are the arguments of the tasks that use a module and have no templates.
func staticArgs(book *playbook.Playbook, m *modules.Module) []json.RawMessage {
	var all []json.RawMessage
	for _, play := range book.Plays {
		for _, block := range play.Tasks {
			if block.Task == nil || block.Task.Module != m.Name {
				continue
			}
			if args, ok := argsOf(block.Task, m); ok {
				all = append(all, args)
			}
		}
	}
	return all
}

func argsOf(t *playbook.Task, m *modules.Module) (json.RawMessage, bool) {
	given := map[string]json.RawMessage{}
	free, hasFree := m.Args.Free()
	fields := t.Args.Fields()
	for _, f := range fields {
		d, static := f.Value.Static()
		if !static {
			return nil, false
		}
		name := f.Name
		if name == playbook.FreeForm {
			name = free.Name
		}
		given[name] = d.JSON()
	}
	if d, static := t.Args.Static(); len(fields) == 0 && hasFree && !t.Args.IsZero() {
		if !static {
			return nil, false
		}
		given[free.Name] = d.JSON()
	}
	raw, err := json.Marshal(given)
	return raw, err == nil
}
