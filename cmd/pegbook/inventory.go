package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/render"
	"github.com/pegbook/pegbook/runner/vars"
)

// addInventoryFlag gives a verb -i; without it PEGBOOK_INVENTORY (comma between paths) counts.
func addInventoryFlag(cmd *cobra.Command, sources *[]string) {
	cmd.Flags().StringArrayVarP(sources, "inventory", "i", nil, "inventory file, directory, script, or \"host1,host2,\"; may be repeated (default $PEGBOOK_INVENTORY)")
}

// inventoryOptions are the flags of verbs that read an inventory.
type inventoryOptions struct {
	sources   []string
	pluginDir []string
	vault     vaultOptions
}

func (o *inventoryOptions) flags(cmd *cobra.Command) {
	addInventoryFlag(cmd, &o.sources)
	addPluginFlag(cmd, &o.pluginDir)
	o.vault.flags(cmd)
}

// loadInventory reads the sources and shows warnings; what it gives can be explored. Plugins are looked for beside the
// playbook, where there is one, too.
func (a *app) loadInventory(ctx context.Context, o inventoryOptions, playbooks ...string) (runner.Inputs, error) {
	keys, err := a.keyring(ctx, o.vault)
	if err != nil {
		return runner.Inputs{}, err
	}
	from := o.sources
	if len(from) == 0 {
		env := os.Getenv("PEGBOOK_INVENTORY")
		if env == "" {
			return runner.Inputs{}, errNoInventory
		}
		from = strings.Split(env, ",")
	}
	dir := ""
	if len(playbooks) > 0 {
		dir = filepath.Dir(playbooks[0])
	}
	inv, problems := inventory.Load(ctx, inventory.Options{Sources: from, PlaybookDir: dir, Vault: keys,
		Plugins: sources{a.plugins, pluginFolders(o.pluginDir, append(playbooks, from...)...), &answers{}}})
	return runner.Inputs{Inventory: inv, Files: playbook.Options{Vault: keys}}, a.warned(oneVaultProblem(problems))
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
	cmd := &cobra.Command{
		Use:   "inventory",
		Short: "Show the inventory: list [PATTERN], graph [GROUP], host NAME",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newInventoryListCmd(a), newInventoryGraphCmd(a), newInventoryHostCmd(a))
	return cmd
}

// hostNamed gives a host of an inventory, or an error that names the nearest.
func hostNamed(inv *inventory.Inventory, name string) (*inventory.Host, error) {
	if h, ok := inv.Host(name); ok {
		return h, nil
	}
	var names []string
	for _, h := range inv.Hosts() {
		names = append(names, h.Name)
	}
	hint := "pegbook inventory list shows them"
	if near := diag.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return nil, fmt.Errorf("there is no host %q; %s", name, hint)
}

// hidden is what is shown in place of a secret.
const hidden = "(not shown)"

// secret says whether a value must not be shown: it comes out of a vault, or its name says so.
func (a *app) secret(name string, written vars.Value, d vars.Data) bool {
	text := d.Text()
	return secretName(name) || written.Sealed() || a.secrets.Text(text) != text
}

// secretName says whether a variable's name promises a secret.
func secretName(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"password", "_pass", "secret", "token", "passphrase"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// definitionJSON is a definition of a variable as --json prints it.
type definitionJSON struct {
	Value json.RawMessage `json:"value"`
	// Error says why there is no value; Written is a template as it stands.
	Error   string `json:"error,omitempty"`
	Written string `json:"written,omitempty"`
	Layer   string `json:"layer"`
	diag.Position
}

// variableJSON is a variable as --json prints it.
type variableJSON struct {
	Name string `json:"name"`
	definitionJSON
	Hides []definitionJSON `json:"hides"`
}

func (a *app) definitionJSON(name string, d runner.Definition) definitionJSON {
	out := definitionJSON{Value: d.Value.JSON(), Layer: d.Layer, Position: d.Written.Position()}
	if a.secret(name, d.Written, d.Value) {
		out.Value = vars.Of(hidden).JSON()
		return out
	}
	if d.Err != nil {
		out.Error = whyNot(d.Err)
	}
	if d.Written.Templated() {
		out.Written = d.Written.Raw()
	}
	return out
}

func (a *app) variablesJSON(all []runner.Variable) []variableJSON {
	out := make([]variableJSON, len(all))
	for i, v := range all {
		out[i] = variableJSON{Name: v.Name, definitionJSON: a.definitionJSON(v.Name, v.Definition), Hides: []definitionJSON{}}
		for _, d := range v.Hides {
			out[i].Hides = append(out[i].Hides, a.definitionJSON(v.Name, d))
		}
	}
	return out
}

// whyNot is why a value cannot be resolved, on one line.
func whyNot(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
