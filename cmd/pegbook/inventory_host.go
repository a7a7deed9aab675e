package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/inventory"
)

func newInventoryHostCmd(a *app) *cobra.Command {
	var o inventoryOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "host NAME",
		Short: "Show a host's groups and variables, with where these come from",
		Long: `Show a host's groups, in order of precedence (the last one wins), and its variables with the layer, file,
line and column they come from. pegbook vars shows also what they hide, and what a playbook adds.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := a.loadInventory(cmd.Context(), o)
			if err != nil {
				return err
			}
			inv := in.Inventory
			h, err := hostNamed(inv, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, hostJSON{h.Name, inv.Above(h.Name), inv.File(h.Name), a.variablesJSON(inventoryOnly(in, h))})
			}
			a.writeHost(in, h)
			return nil
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

type hostJSON struct {
	Host      string         `json:"host"`
	Groups    []string       `json:"groups"` // the last one wins
	File      string         `json:"inventory_file,omitempty"`
	Variables []variableJSON `json:"variables"`
}

func (a *app) writeHost(in runner.Inputs, h *inventory.Host) {
	fmt.Fprintf(cleaned{a.out}, "%s  in %s\n", h.Name, strings.Join(in.Inventory.Above(h.Name), " < "))
	for _, v := range inventoryOnly(in, h) {
		fmt.Fprintf(cleaned{a.out}, "  %s: %s    # %s\n", v.Name, a.valueText(v.Name, v.Definition, 200), origin(v.Definition))
	}
}

// inventoryOnly are the variables that the inventory gives, without the magic ones.
func inventoryOnly(in runner.Inputs, h *inventory.Host) []runner.Variable {
	var out []runner.Variable
	for _, v := range runner.Explore(in).Host(h)[0].Variables {
		if _, ok := h.Vars.Get(v.Name); ok {
			out = append(out, v)
		}
	}
	return out
}

// origin is a definition's layer and place.
func origin(d runner.Definition) string {
	if where := d.Written.Position().String(); where != "" {
		return d.Layer + ", " + where
	}
	return d.Layer
}

// valueText is a definition's value, or why it has none.
func (a *app) valueText(name string, d runner.Definition, limit int) string {
	if a.secret(name, d.Written, d.Value) {
		return hidden
	}
	if d.Err == nil {
		return oneLine(d.Value.Text(), limit)
	}
	return oneLine(d.Written.Raw(), limit) + "  (does not resolve: " + whyNot(d.Err) + ")"
}
