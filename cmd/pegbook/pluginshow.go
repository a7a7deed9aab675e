package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins"
	"github.com/pegbook/pegbook/runner/diag"
)

// partPage is the manual page of a part of a plugin.
type partPage struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Doc  string `json:"doc"`
	// Options are a source's or notifier's, or the arguments of a module.
	Options modules.Schema `json:"options"`
	Plugin  string         `json:"plugin"`
}

func newPluginShowCmd(a *app) *cobra.Command {
	var o pluginPlaces
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show NAME [PLAYBOOK]...",
		Short: "Show the manual page of an inventory source, a notifier or a module of a trusted plugin",
		Example: `  pegbook plugin show webhook site.yml
  pegbook plugin show zookeeper_nodes --plugin-dir plugins`,
		Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return []string{"yml", "yaml"}, cobra.ShellCompDirectiveFilterFileExt
			}
			return o.names(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := o.find(args[1:])
			if err != nil {
				return err
			}
			pages, err := a.pagesOf(cmd, found, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, pages)
			}
			for _, page := range pages {
				page.print(a.out)
			}
			return nil
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

// names are those of the parts of trusted plugins, as their locks say; what cannot be read offers nothing.
func (o *pluginPlaces) names() []string {
	found, err := o.find(nil)
	if err != nil {
		return nil
	}
	var all []string
	for _, f := range found {
		for kind, names := range map[string][]string{"module": f.Modules, "inventory source": f.Sources, "notifier": f.Notifiers} {
			for _, name := range names {
				all = append(all, name+"\t"+kind)
			}
		}
	}
	slices.Sort(all)
	return all
}

// pagesOf starts the plugins that have a part of a name, and gives its page. A name may be that of parts of several kinds.
func (a *app) pagesOf(cmd *cobra.Command, found []plugins.Found, name string) ([]partPage, error) {
	var pages []partPage
	var names []string
	for _, f := range found {
		known := slices.Concat(f.Modules, f.Sources, f.Notifiers)
		names = append(names, known...)
		if !slices.Contains(known, name) {
			continue
		}
		p, err := a.plugins.start(cmd.Context(), f)
		if err != nil {
			return nil, err
		}
		for _, page := range pagesIn(p) {
			if page.Name == name {
				pages = append(pages, page)
			}
		}
	}
	if len(pages) == 0 {
		return nil, fmt.Errorf("no trusted plugin has a part %q; %s", name, orElse(diag.DidYouMean(name, names), "pegbook plugin list shows what there is"))
	}
	return pages, nil
}

// pagesIn are the manual pages of a plugin.
func pagesIn(p *plugins.Plugin) []partPage {
	var all []partPage
	for _, m := range p.Modules() {
		all = append(all, partPage{"module", m.Name, m.Doc, m.Args, shown(p.Path())})
	}
	for _, s := range p.Sources() {
		all = append(all, partPage{"inventory source", s.Name, s.Doc, s.Options, shown(p.Path())})
	}
	for _, n := range p.Notifiers() {
		all = append(all, partPage{"notifier", n.Name, n.Doc, n.Options, shown(p.Path())})
	}
	return all
}

// print prints the page as that of a module is printed.
func (p partPage) print(w io.Writer) {
	fmt.Fprintf(w, "%s (%s): %s\n\nOptions:\n", p.Name, p.Kind, strings.TrimSpace(p.Doc))
	printArgs(w, p.Options)
	fmt.Fprintf(w, "\nFrom the plugin %s\n", p.Plugin)
}
