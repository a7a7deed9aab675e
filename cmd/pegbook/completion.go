package main

import (
	"context"
	"maps"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
)

// completion makes the shell offer YAML files for a verb's arguments, and hosts, groups and tags for
// its flags. What cannot be read offers nothing: the verb itself will say why.
func (o *selectOptions) completion(cmd *cobra.Command) {
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"yml", "yaml"}, cobra.ShellCompDirectiveFilterFileExt
	}
	for name, offers := range map[string]func(ctx context.Context, args []string) []string{
		"limit": o.hostsAndGroups, "tags": o.tagNames, "skip-tags": o.tagNames,
	} {
		err := cmd.RegisterFlagCompletionFunc(name, func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return offers(cmd.Context(), args), cobra.ShellCompDirectiveNoFileComp
		})
		if err != nil {
			panic("pegbook: completion of --" + name + ": " + err.Error())
		}
	}
}

func (o *selectOptions) readInventory(ctx context.Context, args []string) *inventory.Inventory {
	dir := "."
	if len(args) > 0 {
		dir = args[0]
	}
	o.plugins = &pluginHouse{}
	defer o.plugins.close() //nolint:errcheck // whatever is left of a plugin ends with this process
	inv, _, problems := o.load(ctx, dir, pluginFolders(o.pluginDir, append(slices.Clone(args), o.sources()...)...), nil)
	if problems.Failed() {
		return nil
	}
	return inv
}

func (o *selectOptions) hostsAndGroups(ctx context.Context, args []string) []string {
	inv := o.readInventory(ctx, args)
	if inv == nil {
		return nil
	}
	names := map[string]bool{}
	for _, h := range inv.Hosts() {
		names[h.Name+"\thost"] = true
		for _, group := range h.Groups {
			names[group+"\tgroup"] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func (o *selectOptions) tagNames(ctx context.Context, args []string) []string {
	inv := o.readInventory(ctx, args)
	if inv == nil || len(args) == 0 {
		return nil
	}
	var books []*playbook.Playbook
	for _, path := range args {
		book, problems := playbook.Parse(filepath.Clean(path), playbook.Options{RolesPath: o.rolesPath})
		if problems.Failed() {
			return nil
		}
		books = append(books, book)
	}
	plan, _ := runner.Compile(runner.Inputs{Playbooks: books, Inventory: inv, Modules: pinnedModules(pluginFolders(o.pluginDir, append(slices.Clone(args), o.sources()...)...))})
	if plan == nil {
		return nil
	}
	return plan.Tags()
}

// offer makes the shell offer the values of a flag.
func offer(cmd *cobra.Command, flag string, values []string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic("pegbook: completion of --" + flag + ": " + err.Error())
	}
}
