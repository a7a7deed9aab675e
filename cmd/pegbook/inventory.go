package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/render"
)

// addInventoryFlag gives a verb -i; without it PEGBOOK_INVENTORY (comma between paths) counts.
func addInventoryFlag(cmd *cobra.Command, sources *[]string) {
	cmd.Flags().StringArrayVarP(sources, "inventory", "i", nil, "inventory file, directory, script, or \"host1,host2,\"; may be repeated (default $PEGBOOK_INVENTORY)")
}

// inventoryOptions are the flags of verbs that read an inventory.
type inventoryOptions struct {
	sources []string
	vault   vaultOptions
}

// loadInventory reads the sources and shows warnings.
func (a *app) loadInventory(ctx context.Context, o inventoryOptions, playbookDir string) (*inventory.Inventory, error) {
	keys, err := a.keyring(ctx, o.vault)
	if err != nil {
		return nil, err
	}
	sources := o.sources
	if len(sources) == 0 {
		if env := os.Getenv("PEGBOOK_INVENTORY"); env != "" {
			sources = strings.Split(env, ",")
		}
	}
	inv, problems := inventory.Load(ctx, inventory.Options{Sources: sources, PlaybookDir: playbookDir, Vault: keys})
	return inv, a.warned(oneVaultProblem(problems))
}

// warned shows what are only warnings and gives the rest as an error.
func (a *app) warned(problems diag.List) error {
	if problems.Failed() {
		return problems
	}
	if len(problems) > 0 {
		render.Diagnostics(a.err, problems, a.look())
	}
	return nil
}

func newInventoryCmd(a *app) *cobra.Command {
	var o inventoryOptions
	cmd := &cobra.Command{
		Use:   "inventory",
		Short: "Show the inventory: list [PATTERN], graph, host NAME",
	}
	list := &cobra.Command{
		Use:   "list [PATTERN]",
		Short: "List hosts with their groups",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			inv, err := a.loadInventory(cmd.Context(), o, "")
			if err != nil {
				return err
			}
			pattern := "all"
			if len(args) == 1 {
				pattern = args[0]
			}
			hosts, problems := inv.Select(pattern, diag.Position{})
			if err := a.warned(problems); err != nil {
				return err
			}
			for _, h := range hosts {
				fmt.Fprintf(a.out, "%s  %s\n", h.Name, strings.Join(h.Groups, " "))
			}
			return nil
		},
	}
	graph := &cobra.Command{
		Use:   "graph",
		Short: "Show groups and hosts as a tree",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			inv, err := a.loadInventory(cmd.Context(), o, "")
			if err != nil {
				return err
			}
			writeGroup(a.out, inv, "all", 0, nil)
			return nil
		},
	}
	host := &cobra.Command{
		Use:   "host NAME",
		Short: "Show a host's variables with their places",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			inv, err := a.loadInventory(cmd.Context(), o, "")
			if err != nil {
				return err
			}
			return a.showHost(a.out, inv, args[0])
		},
	}
	for _, sub := range []*cobra.Command{list, graph, host} {
		addInventoryFlag(sub, &o.sources)
		o.vault.flags(sub)
		cmd.AddCommand(sub)
	}
	return cmd
}

// writeGroup writes a group, its children and the hosts that are in none of these. seen keeps a group
// that is below itself from going on for ever.
func writeGroup(w io.Writer, inv *inventory.Inventory, group string, depth int, seen []string) {
	indent := strings.Repeat("  ", depth)
	fmt.Fprintf(w, "%s@%s\n", indent, group)
	if slices.Contains(seen, group) {
		return
	}
	below := map[string]bool{}
	for _, child := range inv.Children(group) {
		writeGroup(w, inv, child, depth+1, append(seen, group))
		hosts, _ := inv.Group(child)
		for _, h := range hosts {
			below[h.Name] = true
		}
	}
	hosts, _ := inv.Group(group)
	for _, h := range hosts {
		if !below[h.Name] {
			fmt.Fprintf(w, "%s  %s\n", indent, h.Name)
		}
	}
}

func (a *app) showHost(w io.Writer, inv *inventory.Inventory, name string) error {
	h, ok := inv.Host(name)
	if !ok {
		var names []string
		for _, h := range inv.Hosts() {
			names = append(names, h.Name)
		}
		return fmt.Errorf("there is no host %q; %s", name, orElse(diag.Nearest(name, names), "pegbook inventory list shows them"))
	}
	fmt.Fprintf(w, "%s  in %s\n", h.Name, strings.Join(h.Groups, " "))
	names := slices.Clone(h.Vars.Names())
	slices.Sort(names)
	for _, name := range names {
		value, _ := h.Vars.Get(name)
		text := value.Raw()
		if text == "" {
			if data, ok := value.Static(); ok {
				text = string(data.JSON())
			}
		}
		if value.Sealed() || a.secrets.Text(text) != text || secretName(name) {
			text = "(not shown)"
		}
		fmt.Fprintf(w, "  %s: %s    # %s\n", name, render.Clean(text, false), value.Position())
	}
	return nil
}

// secretName says whether a variable's name promises a secret.
func secretName(name string) bool {
	name = strings.ToLower(name)
	return strings.Contains(name, "password") || strings.Contains(name, "_pass") || strings.Contains(name, "secret") || strings.Contains(name, "token")
}
