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
	"github.com/spf13/pflag"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins"
	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/journal"
	"github.com/pegbook/pegbook/runner/playbook"
)

// pluginFolder is the folder of plugins beside a playbook or an inventory.
const pluginFolder = "plugins"

func addPluginFlag(cmd *cobra.Command, dirs *[]string) {
	const name = "plugin-dir"
	cmd.Flags().StringArrayVar(dirs, name, nil, "more folders to find plugins in (default $PEGBOOK_PLUGIN_PATH)")
	flag := cmd.Flags().Lookup(name)
	flag.Value = folders{flag.Value}
	if err := cmd.MarkFlagDirname(name); err != nil {
		panic("pegbook: completion of --" + name + ": " + err.Error())
	}
}

// folders is a flag for folders, which must be there.
type folders struct{ pflag.Value }

var _ pflag.SliceValue = folders{}

// Set takes one more folder.
func (f folders) Set(dir string) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return errNoFolder
	}
	return f.Value.Set(dir)
}

// errNoFolder is a flag's folder that is not there, or a file.
var errNoFolder = errors.New("there is no such folder; write the folder in which the plugins lie")

// Append implements pflag.SliceValue.
func (f folders) Append(dir string) error { return f.Set(dir) }

// Replace implements pflag.SliceValue.
func (f folders) Replace(dirs []string) error { return f.Value.(pflag.SliceValue).Replace(dirs) }

// GetSlice implements pflag.SliceValue.
func (f folders) GetSlice() []string { return f.Value.(pflag.SliceValue).GetSlice() }

// pluginPath are the folders that the environment names. As in PATH those that are not there mean nothing: it is set once,
// for all that is done in a shell.
func pluginPath() []string {
	return slices.DeleteFunc(filepath.SplitList(os.Getenv("PEGBOOK_PLUGIN_PATH")), func(dir string) bool { return dir == "" })
}

// pluginFolders are where plugins are looked for: beside playbooks and inventories, and where the user says.
// Never in the working directory, which may be anybody's.
func pluginFolders(dirs []string, beside ...string) []string {
	if len(dirs) == 0 {
		dirs = pluginPath()
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
		info, err := os.Stat(file)
		if err != nil {
			continue // an inventory may be a list of hosts
		}
		if info.IsDir() {
			add(filepath.Join(file, pluginFolder))
		}
		add(filepath.Join(filepath.Dir(filepath.Clean(file)), pluginFolder))
	}
	for _, dir := range dirs {
		if dir != "" {
			add(dir)
		}
	}
	return all
}

// pluginHouse is the plugins that this program has started: each when it is first needed. It is safe for concurrent
// use.
type pluginHouse struct {
	mu       sync.Mutex // guards the fields below
	open     map[string]*opening
	problems diag.List // of plugins that could not be started
	closed   bool
}

// opening is a plugin that was asked for.
type opening struct {
	once   sync.Once
	plugin *plugins.Plugin // written under the house's mu: others than who waits look at it, too
	err    error
}

// close ends all plugins.
func (h *pluginHouse) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []error
	for _, o := range h.open {
		if o.plugin != nil {
			all = append(all, o.plugin.Close())
		}
	}
	h.open, h.closed = nil, true
	return errors.Join(all...)
}

// start opens a plugin, once.
func (h *pluginHouse) start(ctx context.Context, f plugins.Found) (*plugins.Plugin, error) {
	h.mu.Lock()
	o := h.open[f.Path]
	if o == nil {
		if h.open == nil {
			h.open = map[string]*opening{}
		}
		o = &opening{}
		h.open[f.Path] = o
	}
	h.mu.Unlock()
	o.once.Do(func() {
		p, err := plugins.Open(ctx, f.File, plugins.Options{Pegbook: version})
		h.mu.Lock()
		defer h.mu.Unlock()
		if o.plugin, o.err = p, err; h.closed && p != nil {
			o.plugin, o.err = nil, errors.Join(errHouseClosed, p.Close())
		}
	})
	return o.plugin, o.err
}

// errHouseClosed is a plugin that came when the program was about to end.
var errHouseClosed = errors.New("pegbook ends")

// wrong gives what kept plugins from being started since it was last asked.
func (h *pluginHouse) wrong() diag.List {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.problems
	h.problems = nil
	return all
}

// started lists the plugins that run, by file.
func (h *pluginHouse) started() []*plugins.Plugin {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*plugins.Plugin
	for _, o := range h.open {
		if o.plugin != nil {
			all = append(all, o.plugin)
		}
	}
	slices.SortFunc(all, func(a, b *plugins.Plugin) int { return strings.Compare(a.Path(), b.Path()) })
	return all
}

// pinned is a module as it is known without starting a plugin, with the file that it comes from; "" is pegbook itself.
type pinned struct {
	name  string
	from  string
	fetch func() *modules.Module
}

// modules are those of pegbook and of the trusted plugins of the folders. A plugin is started when one of its modules
// is looked up; wrong says what came of that.
func (h *pluginHouse) modules(ctx context.Context, folders []string) (runner.Set, diag.List) {
	all, problems := h.pinned(ctx, folders)
	return setOf(all), problems
}

// setOf makes a set of modules: pegbook's own, which are made once since that takes its time, and those of plugins.
func setOf(all []pinned) runner.Set {
	var own []*modules.Module
	for _, m := range all {
		if m.from == "" {
			own = append(own, m.fetch())
		}
	}
	set := runner.NewSet(own...)
	for _, m := range all {
		if m.from != "" {
			set = set.Later(m.name, m.fetch)
		}
	}
	return set
}

func (h *pluginHouse) pinned(ctx context.Context, folders []string) ([]pinned, diag.List) {
	found, problems := findPlugins(folders)
	list := builtinModules()
	for _, f := range found {
		for _, name := range f.Modules {
			fetch := func() *modules.Module { return h.module(ctx, f, name) }
			list = addModule(list, pinned{name, f.Path, fetch}, &problems)
		}
	}
	return list, problems
}

// module gives a module of a plugin. One that cannot be had fails the tasks that use it, with the reason.
func (h *pluginHouse) module(ctx context.Context, f plugins.Found, name string) *modules.Module {
	p, err := h.start(ctx, f)
	if err == nil {
		for _, m := range p.Modules() {
			if m.Name == name {
				return m
			}
		}
		err = fmt.Errorf("plugin %s has no module %s any more", p.Name(), name)
	}
	h.blame(f, err)
	return plugins.Broken([]string{name}, err)[0]
}

// blame notes why a plugin cannot be used: that its file is not the one that was trusted keeps a run from starting; that
// it does not work fails what uses it.
func (h *pluginHouse) blame(f plugins.Found, err error) {
	var broken *plugins.Error
	if errors.As(err, &broken) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.problems.Add(diag.Position{File: shown(f.Path)}, "", "%s", strings.TrimPrefix(err.Error(), f.Path+" "))
}

// lockProblem is what is wrong with a folder of plugins or its lock, at its place.
func lockProblem(err error) diag.List {
	var problems diag.List
	var at diag.Position
	var wrong *plugins.LockError
	if errors.As(err, &wrong) {
		at = diag.Position{File: shown(wrong.Path), Line: wrong.Line, Column: wrong.Column}
		problems.Add(at, "pegbook plugin add writes this file", "%s", wrong.Problem)
		return problems
	}
	var open *plugins.FolderError
	if errors.As(err, &open) {
		problems.Add(diag.Position{File: shown(open.Path)}, open.Mend, "%s", open.Problem)
		return problems
	}
	problems.Add(at, "", "%s", err)
	return problems
}

// findPlugins lists the trusted plugins of folders. Others are warned of: they are not run.
func findPlugins(folders []string) ([]plugins.Found, diag.List) {
	var trusted []plugins.Found
	var problems diag.List
	for _, folder := range folders {
		found, err := plugins.Find(folder)
		if err != nil {
			problems.Append(lockProblem(err))
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

// plugins takes in the plugins that were started.
func (in *inputs) plugins(started []*plugins.Plugin) {
	if in == nil {
		return
	}
	for _, p := range started {
		in.add(journal.Input{What: "plugin", Path: p.Path(), Digest: p.SHA256()})
	}
}

// addModule adds a plugin's module, unless its name is taken.
func addModule(list []pinned, m pinned, problems *diag.List) []pinned {
	if slices.ContainsFunc(playbook.KeywordDocs(), func(k playbook.KeywordDoc) bool { return k.Name == m.name }) {
		problems.Add(diag.Position{File: shown(m.from)}, "rename it in the plugin", "module %s has the name of a keyword, so no task could use it", m.name)
		return list
	}
	taken := slices.IndexFunc(list, func(p pinned) bool { return p.name == m.name })
	if taken < 0 {
		return append(list, m)
	}
	other := "pegbook itself"
	if list[taken].from != "" {
		other = shown(list[taken].from)
	}
	problems.Add(diag.Position{File: shown(m.from)}, "rename it in the plugin, or take the plugin out of the lock",
		"module %s is there already, from %s", m.name, other)
	return list
}

// builtinModules are those of pegbook itself.
func builtinModules() []pinned {
	var all []pinned
	for _, m := range moduleSet().All() {
		all = append(all, pinned{m.Name, "", func() *modules.Module { return m }})
	}
	return all
}

// pinnedModules are pegbook's modules and, for their names only, those of trusted plugins, none of which is started.
func pinnedModules(folders []string) runner.Set {
	found, _ := findPlugins(folders)
	list := builtinModules()
	var ignored diag.List
	for _, f := range found {
		for _, m := range plugins.Broken(f.Modules, errors.New("it was not started")) {
			list = addModule(list, pinned{m.Name, f.Path, func() *modules.Module { return m }}, &ignored)
		}
	}
	return setOf(list)
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

// provided is a module with the file that it comes from; "" is pegbook itself.
type provided struct {
	*modules.Module
	from string
}

// knownModules are the modules that a verb without a playbook shows; what is wrong with plugins is said.
func (a *app) knownModules(ctx context.Context, dirs []string) []provided {
	found, problems := a.plugins.pinned(ctx, pluginFolders(dirs))
	all := make([]provided, len(found))
	for i, m := range found {
		all[i] = provided{m.fetch(), m.from}
	}
	problems.Append(a.plugins.wrong())
	if err := a.warned(problems); err != nil {
		fmt.Fprintln(a.err, "pegbook:", a.secrets.Text(err.Error()))
	}
	slices.SortFunc(all, func(x, y provided) int { return strings.Compare(x.Name, y.Name) })
	return all
}
