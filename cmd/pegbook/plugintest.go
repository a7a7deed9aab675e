package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins"
	"github.com/pegbook/pegbook/plugins/plugintest"
	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
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
have their kind, the manual page is complete and its example compiles. Modules work on a host in memory. The file
FILE.cases.json, where there is one, describes more tasks and hosts. Exit code 1 when a check fails.`,
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
	p, err := plugins.Open(ctx, plugins.File{Path: path, Env: o.env}, plugins.Options{Pegbook: version, Silence: testSilence})
	if err != nil {
		return err
	}
	defer p.Close()
	s.Modules = p.Modules()
	s.Example = examples(ctx, p.Modules())
	if failed := s.Run(ctx); failed > 0 {
		fmt.Fprintf(a.err, "pegbook: %s failed\n", count(failed, "check"))
		return exitError(1)
	}
	return nil
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
