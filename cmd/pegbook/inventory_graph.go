package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/render"
	"github.com/pegbook/pegbook/runner/vars"
)

func newInventoryGraphCmd(a *app) *cobra.Command {
	var o inventoryOptions
	var withVars bool
	cmd := &cobra.Command{
		Use:   "graph [GROUP]",
		Short: "Show groups and hosts as a tree",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := a.loadInventory(cmd.Context(), o)
			if err != nil {
				return err
			}
			inv, group := in.Inventory, append(args, "all")[0]
			if _, ok := inv.Group(group); !ok {
				return fmt.Errorf("there is no group %q; %s", group, orElse(diag.DidYouMean(group, inv.Groups()), "pegbook inventory graph shows them"))
			}
			w := bufio.NewWriter(a.out)
			t := groupTree{app: a, out: cleaned{w}, inv: inv}
			if withVars {
				t.look = runner.Explore(in)
			}
			t.group(group, 0)
			return w.Flush()
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&withVars, "vars", false, "show the variables of hosts, and what each group says itself")
	return cmd
}

// groupTree writes groups as ansible-inventory --graph does.
type groupTree struct {
	*app
	out  io.Writer
	inv  *inventory.Inventory
	look *runner.Explorer // nil: without variables
}

func (t groupTree) line(depth int, format string, args ...any) {
	if depth > 0 {
		fmt.Fprint(t.out, strings.Repeat("  |", depth), "--")
	}
	fmt.Fprintf(t.out, format+"\n", args...)
}

// group writes a group: its children, its hosts, its variables.
func (t groupTree) group(name string, depth int) {
	t.line(depth, "@%s:", name)
	for _, child := range t.inv.Children(name) {
		t.group(child, depth+1)
	}
	if name != "all" {
		for _, h := range t.inv.Direct(name) {
			t.line(depth+1, "%s", h.Name)
			if t.look != nil {
				t.values(depth+2, t.look.Resolved(h), h.Vars)
			}
		}
	}
	if t.look != nil {
		t.written(depth+1, name)
	}
}

func (t groupTree) values(depth int, values map[string]vars.Data, written *vars.Values) {
	for _, name := range sortedNames(values) {
		text := render.Clean(values[name].Text(), false)
		if as, _ := written.Get(name); t.secret(name, as, values[name]) {
			text = hidden
		}
		t.line(depth, "{%s = %s}", name, text)
	}
}

// written writes what a group itself says, as it is written: what templates mean depends on the host.
func (t groupTree) written(depth int, group string) {
	var written *vars.Values
	for _, l := range t.inv.GroupLayers(group) {
		written = written.Over(l.Vars)
	}
	values := map[string]vars.Data{}
	for _, name := range written.Names() {
		v, _ := written.Get(name)
		values[name] = runner.AsWritten(v)
	}
	t.values(depth, values, written)
}

func sortedNames(values map[string]vars.Data) []string {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// oneLine makes a text short and safe to show.
func oneLine(text string, limit int) string {
	text = render.Clean(text, false)
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit]) + "…"
	}
	return text
}
