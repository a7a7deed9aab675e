package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins"
	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/journal"
)

// pluginFolder is the folder of plugins beside a playbook or an inventory.
const pluginFolder = "plugins"

func addPluginFlag(cmd *cobra.Command, dirs *[]string) {
	cmd.Flags().StringArrayVar(dirs, "plugin-dir", nil, "more folders to find plugins in (default $PEGBOOK_PLUGIN_PATH)")
}

// pluginFolders are where plugins are looked for: beside playbooks and inventories, and where the user says.
// Never in the working directory, which may be anybody's.
func pluginFolders(dirs []string, beside ...string) []string {
	if env := os.Getenv("PEGBOOK_PLUGIN_PATH"); env != "" && len(dirs) == 0 {
		dirs = filepath.SplitList(env)
	}
	var all []string
	add := func(dir string) {
		absolute, err := filepath.Abs(dir)
		if err != nil {
			return // there is no working directory, so nothing lies in it
		}
		if real, err := filepath.EvalSymlinks(absolute); err == nil {
			absolute = real
		}
		if !slices.Contains(all, absolute) {
			all = append(all, absolute)
		}
	}
	for _, file := range beside {
		if _, err := os.Stat(file); err == nil { // an inventory may be a list of hosts
			add(filepath.Join(filepath.Dir(filepath.Clean(file)), pluginFolder))
		}
	}
	for _, dir := range dirs {
		if dir != "" {
			add(dir)
		}
	}
	return all
}

// pluginHouse is the plugins that this program has started. It is safe for concurrent use.
type pluginHouse struct {
	mu   sync.Mutex // guards open
	open []*plugins.Plugin
}

// close ends all plugins.
func (h *pluginHouse) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []error
	for _, p := range h.open {
		all = append(all, p.Close())
	}
	h.open = nil
	return errors.Join(all...)
}

// provided is a module with the file that it comes from; "" is pegbook itself.
type provided struct {
	*modules.Module
	from string
}

// modules are those of pegbook and of the trusted plugins of the folders.
func (h *pluginHouse) modules(ctx context.Context, folders []string) (runner.Set, diag.List) {
	all, problems := h.provided(ctx, folders)
	list := make([]*modules.Module, len(all))
	for i, m := range all {
		list[i] = m.Module
	}
	return runner.NewSet(list...), problems
}

func (h *pluginHouse) provided(ctx context.Context, folders []string) ([]provided, diag.List) {
	found, problems := findPlugins(folders)
	opened := make([][]*modules.Module, len(found))
	failures := make([]error, len(found))
	var all sync.WaitGroup
	for i, f := range found {
		all.Go(func() { opened[i], failures[i] = h.start(ctx, f) })
	}
	all.Wait()
	list := builtinModules()
	for i, f := range found {
		if err := failures[i]; err != nil {
			problems.Add(diag.Position{File: shown(f.Path)}, "", "%s", strings.TrimPrefix(err.Error(), f.Path+" "))
		}
		list = addModules(list, f.Path, opened[i], &problems)
	}
	return list, problems
}

// findPlugins lists the trusted plugins of folders. Others are warned of: they are not run.
func findPlugins(folders []string) ([]plugins.Found, diag.List) {
	var trusted []plugins.Found
	var problems diag.List
	for _, folder := range folders {
		found, err := plugins.Find(folder)
		if err != nil {
			problems.Add(diag.Position{File: shown(folder)}, "", "%s", err)
			continue
		}
		for _, f := range found {
			if f.Trusted {
				trusted = append(trusted, f)
				continue
			}
			problems = append(problems, diag.Diagnostic{Position: diag.Position{File: shown(f.Path)}, Warning: true,
				Problem: "this plugin is not trusted, so it is not used", Hint: "pegbook plugin add " + shown(f.Path)})
		}
	}
	return trusted, problems
}

// plugins takes in the trusted plugins of folders.
func (in *inputs) plugins(folders []string) {
	if in == nil {
		return
	}
	found, _ := findPlugins(folders) // what is wrong with them has been said
	for _, f := range found {
		in.add(journal.Input{What: "plugin", Path: f.Path, Digest: f.SHA256})
	}
}

// start opens a plugin. A changed file is an error; one that does not work as a plugin fails the tasks that use it.
func (h *pluginHouse) start(ctx context.Context, f plugins.Found) ([]*modules.Module, error) {
	p, err := plugins.Open(ctx, f.File, plugins.Options{Pegbook: version})
	var broken *plugins.Error
	switch {
	case errors.As(err, &broken) && len(f.Modules) > 0:
		return plugins.Broken(f.Modules, err), nil
	case err != nil:
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = append(h.open, p)
	return p.Modules(), nil
}

// addModules adds a plugin's modules, but for those whose name is taken.
func addModules(list []provided, from string, more []*modules.Module, problems *diag.List) []provided {
	for _, m := range more {
		taken := slices.IndexFunc(list, func(p provided) bool { return p.Name == m.Name })
		if taken < 0 {
			list = append(list, provided{m, from})
			continue
		}
		other := "pegbook itself"
		if list[taken].from != "" {
			other = shown(list[taken].from)
		}
		problems.Add(diag.Position{File: shown(from)}, "rename it in the plugin, or take the plugin out of the lock",
			"module %s is there already, from %s", m.Name, other)
	}
	return list
}

// builtinModules are those of pegbook itself.
func builtinModules() []provided {
	var all []provided
	for _, m := range moduleSet().All() {
		all = append(all, provided{m, ""})
	}
	return all
}

// pinnedModules are pegbook's modules and, for their names only, those of trusted plugins, none of which is started.
func pinnedModules(folders []string) runner.Set {
	found, _ := findPlugins(folders)
	list := builtinModules()
	var ignored diag.List
	for _, f := range found {
		list = addModules(list, f.Path, plugins.Broken(f.Modules, errors.New("it was not started")), &ignored)
	}
	all := make([]*modules.Module, len(list))
	for i, m := range list {
		all[i] = m.Module
	}
	return runner.NewSet(all...)
}

// shown is a path as people write it from where they are.
func shown(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if real, err := filepath.EvalSymlinks(wd); err == nil {
		wd = real
	}
	if rel, err := filepath.Rel(wd, path); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return path
}

// knownModules are the modules that a verb without a playbook shows; what is wrong with plugins is said.
func (a *app) knownModules(ctx context.Context, dirs []string) []provided {
	all, problems := a.plugins.provided(ctx, pluginFolders(dirs))
	if err := a.warned(problems); err != nil {
		fmt.Fprintln(a.err, "pegbook:", a.secrets.Text(err.Error()))
	}
	slices.SortFunc(all, func(x, y provided) int { return strings.Compare(x.Name, y.Name) })
	return all
}
