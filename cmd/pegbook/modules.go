package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/builtin"
	"github.com/pegbook/pegbook/modules/pegasus"
	"github.com/pegbook/pegbook/modules/zookeeper"
	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

// moduleSet is every module that pegbook brings along.
func moduleSet() runner.Set {
	var all []*modules.Module
	all = append(all, builtin.All()...)
	all = append(all, pegasus.All()...)
	all = append(all, zookeeper.All()...)
	return runner.NewSet(all...)
}

func newModulesCmd(a *app) *cobra.Command {
	var asJSON bool
	set := moduleSet
	cmd := &cobra.Command{
		Use:   "modules [NAME]",
		Short: "List the modules, or show one's manual page",
		Args:  cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return set().Names(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return listModules(a.out, set(), asJSON)
			}
			m, ok := set().Lookup(args[0])
			if !ok {
				return fmt.Errorf("there is no module %q; %s", args[0], orElse(diag.DidYouMean(args[0], set().Names()), "pegbook modules lists them"))
			}
			if asJSON {
				return writeJSON(a.out, moduleJSON{m.Name, m.Doc, m.Args})
			}
			return moduleManual(a.out, m)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

type moduleJSON struct {
	Name string         `json:"name"`
	Doc  string         `json:"doc"`
	Args modules.Schema `json:"args"`
}

func orElse(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return text
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func title(doc string) string {
	first, _, _ := strings.Cut(doc, "\n")
	return first
}

func listModules(w io.Writer, set runner.Set, asJSON bool) error {
	if asJSON {
		var all []moduleJSON
		for _, m := range set.All() {
			all = append(all, moduleJSON{m.Name, m.Doc, m.Args})
		}
		return writeJSON(w, all)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, m := range set.All() {
		fmt.Fprintf(t, "%s\t%s\n", m.Name, title(m.Doc))
	}
	return t.Flush()
}

// moduleManual prints the page: the module's own text, then its arguments from the schema.
func moduleManual(w io.Writer, m *modules.Module) error {
	fmt.Fprintf(w, "%s: %s\n\nArguments:\n", m.Name, strings.TrimSpace(m.Doc))
	for _, arg := range m.Args {
		name := arg.Name
		if arg.Rest {
			name = "(any name)"
		}
		fmt.Fprintf(w, "\n  %s  %s\n      %s\n", name, argKind(arg), arg.Doc)
		if len(arg.Aliases) > 0 {
			fmt.Fprintf(w, "      also written %s\n", strings.Join(arg.Aliases, ", "))
		}
	}
	return nil
}

func argKind(arg modules.Arg) string {
	kind := string(arg.Type)
	if arg.Elem != "" {
		kind += " of " + string(arg.Elem)
	}
	parts := []string{kind}
	if len(arg.Choices) > 0 {
		parts = append(parts, "one of "+strings.Join(arg.Choices, ", "))
	}
	if limits := arg.Limits(); limits != "" {
		parts = append(parts, limits)
	}
	switch {
	case arg.Required:
		parts = append(parts, "required")
	case arg.Default != "":
		parts = append(parts, "default "+arg.Default)
	}
	if arg.Free {
		parts = append(parts, "may stand alone")
	}
	return "(" + strings.Join(parts, "; ") + ")"
}

func newFunctionsCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "functions",
		Short: "List the functions of templates and expressions",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			for _, f := range vars.Functions() {
				fmt.Fprintf(t, "%s\t%s\n", f.Usage, f.Doc)
			}
			return t.Flush()
		},
	}
}
