package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/playbook"
)

// varsOptions are the flags of vars.
type varsOptions struct {
	selectOptions
	playbook string
	asJSON   bool
}

func newVarsCmd(a *app) *cobra.Command {
	var o varsOptions
	cmd := &cobra.Command{
		Use:   "vars HOST [NAME]",
		Short: "Show what a host's variables are, where each comes from, and what it hides",
		Long: `Show what a host's variables are: the value, the layer, file, line and column it comes from, and what is hidden
below. NAME may lead into a value: disks.0.path.

With --playbook also what its plays add: role defaults and vars, vars, vars_files. What only a run can know
(facts, register, set_fact) is not there, nor what blocks and tasks set for themselves.`,
		Example: `  pegbook vars replica1 -i prod.yml
  pegbook vars replica1 package_version -i prod.yml --playbook playbooks/rolling-update.yml -e package_version=2.5.0`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.showVars(cmd.Context(), o, args[0], strings.Join(args[1:], ""))
		},
	}
	f := cmd.Flags()
	addInventoryFlag(cmd, &o.inventory)
	addPluginFlag(cmd, &o.pluginDir)
	o.vault.flags(cmd)
	f.StringVarP(&o.playbook, "playbook", "p", "", "show the variables of this playbook's plays, too")
	f.StringArrayVarP(&o.extra, "extra-vars", "e", nil, "variables above all others: k=v, a YAML or JSON mapping, or @file")
	f.StringArrayVar(&o.rolesPath, "roles-path", nil, "more folders to find roles in (default $PEGBOOK_ROLES_PATH)")
	f.BoolVar(&o.asJSON, "json", false, "print as JSON")
	return cmd
}

func (a *app) showVars(ctx context.Context, o varsOptions, host, name string) error {
	views, err := a.views(ctx, o, host)
	if err != nil {
		return err
	}
	if name != "" {
		if views, err = narrowed(views, host, name); err != nil {
			return err
		}
	}
	if o.asJSON {
		return writeJSON(a.out, a.viewsJSON(host, views))
	}
	if name == "" {
		views = withoutMagic(views)
	}
	fmt.Fprintln(a.out, host)
	common, rest := split(views)
	a.writeVariables(common, name != "")
	for _, v := range rest {
		fmt.Fprintf(a.out, "\nin the play %q, %s\n", v.Play, v.At)
		a.writeVariables(v.Variables, name != "")
	}
	return nil
}

// views looks at a host in the plays of the playbook, or outside of all.
func (a *app) views(ctx context.Context, o varsOptions, host string) ([]runner.View, error) {
	var books []string
	if o.playbook != "" {
		books = []string{o.playbook}
	}
	in, err := a.loadInventory(ctx, inventoryOptions{o.inventory, o.pluginDir, o.vault}, books...)
	if err != nil {
		return nil, err
	}
	o.keys = in.Files.Vault
	if in.Extra, err = o.extraVars(); err != nil {
		return nil, err
	}
	in.Files = o.files(in.Extra)
	h, err := hostNamed(in.Inventory, host)
	if err != nil {
		return nil, err
	}
	if o.playbook != "" {
		book, problems := playbook.Parse(o.playbook, in.Files)
		if len(book.Plays) == 0 {
			return nil, problems.Err()
		}
		if err := a.warned(problems); err != nil {
			return nil, err
		}
		in.Playbooks = []*playbook.Playbook{book}
	}
	views := runner.Explore(in).Host(h)
	if len(views) == 0 {
		return nil, fmt.Errorf("no play of %s selects %s; without --playbook the inventory's variables are shown", o.playbook, host)
	}
	return views, nil
}

// narrowed leaves one variable, or a part of one, in each view that has it.
func narrowed(views []runner.View, host, name string) ([]runner.View, error) {
	path := strings.Split(strings.TrimPrefix(name, "."), ".")
	var out []runner.View
	var names []string
	var fault error
	for _, v := range views {
		for _, variable := range v.Variables {
			if names = append(names, variable.Name); variable.Name != path[0] {
				continue
			}
			part, err := variable.Field(path[1:])
			if err != nil {
				fault = errors.New(whyNot(err))
				continue
			}
			v.Variables = []runner.Variable{part}
			out = append(out, v)
		}
	}
	switch {
	case len(out) > 0:
		return out, nil
	case fault != nil:
		return nil, fault
	}
	return nil, fmt.Errorf("%s has no variable %q before the run; %s", host, path[0], orElse(diag.DidYouMean(path[0], names), "pegbook vars "+host+" shows them all"))
}

// withoutMagic leaves out what every host has; by its name it is shown.
func withoutMagic(views []runner.View) []runner.View {
	out := slices.Clone(views)
	for i := range out {
		out[i].Variables = slices.DeleteFunc(slices.Clone(out[i].Variables), func(v runner.Variable) bool { return v.Layer == runner.MagicLayer })
	}
	return out
}

// split tells what is the same in all views from what is a view's own.
func split(views []runner.View) (common []runner.Variable, rest []runner.View) {
	if len(views) == 1 && views[0].Play == "" {
		return views[0].Variables, nil
	}
	count := map[string]int{}
	for _, view := range views {
		for _, v := range view.Variables {
			count[sameness(v)]++
		}
	}
	for i, view := range views {
		own := view
		own.Variables = nil
		for _, v := range view.Variables {
			switch {
			case count[sameness(v)] < len(views) || len(views) == 1 && ofPlay(v):
				own.Variables = append(own.Variables, v)
			case i == 0:
				common = append(common, v)
			}
		}
		if len(own.Variables) > 0 {
			rest = append(rest, own)
		}
	}
	return common, rest
}

// ofPlay says whether a play gives the variable.
func ofPlay(v runner.Variable) bool {
	return slices.Contains([]string{"role defaults", "play vars", "vars_files", "role vars"}, v.Layer)
}

// sameness is equal for variables of which nothing differs.
func sameness(v runner.Variable) string {
	text := v.Name
	for _, d := range append([]runner.Definition{v.Definition}, v.Hides...) {
		text += "\n" + origin(d) + "\n" + string(d.Value.JSON())
		if d.Err != nil {
			text += "\n" + whyNot(d.Err)
		}
	}
	return text
}

func (a *app) writeVariables(all []runner.Variable, whole bool) {
	limit := 160
	if whole {
		limit = 1 << 20
	}
	for _, v := range all {
		fmt.Fprintf(a.out, "  %s: %s\n", v.Name, a.valueText(v.Name, v.Definition, limit))
		fmt.Fprintf(a.out, "      %s%s\n", origin(v.Definition), a.template(v.Name, v.Definition))
		for _, d := range v.Hides {
			fmt.Fprintf(a.out, "      hides %s  %s%s\n", a.valueText(v.Name, d, limit), origin(d), a.template(v.Name, d))
		}
	}
}

// template is what was written, where that is a template.
func (a *app) template(name string, d runner.Definition) string {
	if d.Err != nil || !d.Written.Templated() || d.Written.Raw() == "" || a.secret(name, d.Written, d.Value) {
		return ""
	}
	return ", written " + oneLine(d.Written.Raw(), 160)
}

// viewJSON is a view as --json prints it.
type viewJSON struct {
	Play      string         `json:"play,omitempty"`
	At        *diag.Position `json:"at,omitempty"`
	Variables []variableJSON `json:"variables"`
}

type varsJSON struct {
	Host  string     `json:"host"`
	Views []viewJSON `json:"views"`
}

func (a *app) viewsJSON(host string, views []runner.View) varsJSON {
	out := varsJSON{Host: host, Views: []viewJSON{}}
	for _, v := range views {
		view := viewJSON{Play: v.Play, Variables: a.variablesJSON(v.Variables)}
		if v.Play != "" {
			view.At = &v.At
		}
		out.Views = append(out.Views, view)
	}
	return out
}
