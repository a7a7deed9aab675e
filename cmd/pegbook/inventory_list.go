package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/inventory"
)

func newInventoryListCmd(a *app) *cobra.Command {
	var o inventoryOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [PATTERN]",
		Short: "List hosts with their groups",
		Long: `List the hosts that a pattern selects (all without one), with their groups.

--json prints groups and variables in the shape of ansible-inventory --list, which is also what an inventory
script prints. Secrets are left out.`,
		Example: `  pegbook inventory list 'replica_server:!rack2' -i prod.yml`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := a.loadInventory(cmd.Context(), o)
			if err != nil {
				return err
			}
			hosts, problems := in.Inventory.Select(strings.Join(append(args, "all")[:1], ""), diag.Position{})
			if err := a.warned(problems); err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, a.listJSON(in, hosts))
			}
			for _, h := range hosts {
				fmt.Fprintf(cleaned{a.out}, "%s  %s\n", h.Name, strings.Join(h.Groups, " "))
			}
			return nil
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON, in the shape of ansible-inventory --list")
	return cmd
}

// entryJSON is an entry in an inventory's JSON: a group, or _meta with the variables of hosts.
type entryJSON struct {
	Children []string                              `json:"children,omitempty"`
	Hosts    []string                              `json:"hosts,omitempty"`
	HostVars map[string]map[string]json.RawMessage `json:"hostvars,omitempty"`
}

// listJSON is what an inventory script would print of the hosts. A secret is left out, and not replaced by a
// text: whoever reads this would take that for the secret.
func (a *app) listJSON(in runner.Inputs, hosts []*inventory.Host) map[string]entryJSON {
	inv, look := in.Inventory, runner.Explore(in)
	meta := entryJSON{HostVars: map[string]map[string]json.RawMessage{}}
	selected := map[string]bool{}
	for _, h := range hosts {
		selected[h.Name] = true
		values := map[string]json.RawMessage{}
		for name, d := range look.Resolved(h) {
			if written, _ := h.Vars.Get(name); !a.secret(name, written, d) {
				values[name] = d.JSON()
			}
		}
		if len(values) > 0 {
			meta.HostVars[h.Name] = values
		}
	}
	out := map[string]entryJSON{"_meta": meta}
	for _, name := range inv.Groups() {
		g := entryJSON{Children: inv.Children(name)}
		for _, h := range inv.Direct(name) {
			if name != "all" && selected[h.Name] {
				g.Hosts = append(g.Hosts, h.Name)
			}
		}
		if len(g.Children)+len(g.Hosts) > 0 {
			out[name] = g
		}
	}
	return out
}
