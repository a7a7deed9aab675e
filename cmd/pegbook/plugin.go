package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/plugins"
	"github.com/pegbook/pegbook/runner/diag"
)

func newPluginCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugin",
		Short: "Trust, list, show, verify, test and begin plugins: programs that add modules, inventory sources and notifiers",
		Long: `A plugin is a program in the folder plugins beside a playbook or an inventory. It is used once it is trusted: its
SHA-256 stands in the file pegbook.lock beside that folder. docs/plugins.md tells how one is written.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPluginListCmd(a), newPluginShowCmd(a), newPluginAddCmd(a), newPluginVerifyCmd(a), newPluginTestCmd(a), newPluginNewCmd(a))
	return cmd
}

// pluginPlaces says where list and verify look.
type pluginPlaces struct {
	dirs      []string
	inventory []string
}

func (o *pluginPlaces) flags(cmd *cobra.Command) {
	addInventoryFlag(cmd, &o.inventory)
	addPluginFlag(cmd, &o.dirs)
}

func (o *pluginPlaces) find(playbooks []string) ([]plugins.Found, error) {
	given := selectOptions{inventory: o.inventory}
	folders := pluginFolders(o.dirs, append(slices.Clone(playbooks), given.sources()...)...)
	if len(folders) == 0 {
		return nil, errors.New("where? Name a playbook or an inventory that has plugins beside it, or write --plugin-dir DIR")
	}
	var all []plugins.Found
	for _, folder := range folders {
		found, err := plugins.Find(folder)
		if err != nil {
			return nil, lockProblem(err)
		}
		all = append(all, found...)
	}
	return all, nil
}

type pluginJSON struct {
	File    string   `json:"file"`
	State   string   `json:"state"`
	SHA256  string   `json:"sha256,omitempty"`
	Modules []string `json:"modules,omitempty"`
	// Sources and Notifiers are its other parts.
	Sources   []string `json:"sources,omitempty"`
	Notifiers []string `json:"notifiers,omitempty"`
	Problem   string   `json:"problem,omitempty"`
}

// parts are the names of what a plugin provides, with their kinds.
func (p pluginJSON) parts() string {
	var all []string
	for _, kind := range []struct {
		word  string
		names []string
	}{{"module", p.Modules}, {"inventory", p.Sources}, {"notifier", p.Notifiers}} {
		if len(kind.names) > 0 {
			all = append(all, kind.word+" "+strings.Join(kind.names, " "))
		}
	}
	return strings.Join(all, ", ")
}

func newPluginListCmd(a *app) *cobra.Command {
	var o pluginPlaces
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [PLAYBOOK]...",
		Short: "List plugins and whether they are trusted; none is started",
		RunE: func(_ *cobra.Command, args []string) error {
			a.missingFolders(o.dirs)
			found, err := o.find(args)
			if err != nil {
				return err
			}
			var all []pluginJSON
			for _, f := range found {
				all = append(all, stateOf(f))
			}
			if asJSON {
				return writeJSON(a.out, all)
			}
			return a.pluginTable(all)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

// missingFolders tells of the folders in the environment that are passed over: whoever asks where plugins are may look for
// one of these. Folders of --plugin-dir stand in their place.
func (a *app) missingFolders(dirs []string) {
	if len(dirs) > 0 {
		return
	}
	for _, dir := range pluginPath() {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			fmt.Fprintf(a.err, "pegbook: %s of PEGBOOK_PLUGIN_PATH is no folder and is passed over\n", dir)
		}
	}
}

func (a *app) pluginTable(all []pluginJSON) error {
	t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, p := range all {
		fmt.Fprintf(t, "%s\t%s\t%.16s\t%s\n", p.File, p.State, p.SHA256, orElse(p.Problem, p.parts()))
	}
	return t.Flush()
}

// stateOf compares a plugin's file with the lock.
func stateOf(f plugins.Found) pluginJSON {
	p := pluginJSON{File: shown(f.Path), State: "trusted", Modules: f.Modules, Sources: f.Sources, Notifiers: f.Notifiers}
	sum, err := plugins.Sum(f.Path)
	p.SHA256 = sum
	switch {
	case err != nil:
		p.State, p.Problem = "unusable", err.Error()
	case !f.Trusted:
		p.State = "not trusted"
	case sum != f.SHA256:
		p.State, p.Problem = "changed", "should be "+f.SHA256
	}
	return p
}

func newPluginAddCmd(a *app) *cobra.Command {
	var want string
	var env []string
	cmd := &cobra.Command{
		Use:   "add FILE...",
		Short: "Trust a plugin: start it, see what it has, and note its SHA-256 in pegbook.lock",
		Example: `  pegbook plugin add site/plugins/motd
  pegbook plugin add site/plugins/motd --sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if want != "" && len(args) > 1 {
				return errors.New("--sha256 is the sum of one file")
			}
			for _, file := range args {
				if err := a.trust(cmd.Context(), plugins.File{Path: file, SHA256: strings.ToLower(want), Env: env}); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&want, "sha256", "", "refuse a file with another sum, even before it is started; in place of a file that was trusted it must be given")
	cmd.Flags().StringArrayVar(&env, "env", nil, "give the plugin this environment variable; it has PATH, HOME and LANG only")
	return cmd
}

// trust opens a plugin and notes it in the lock beside its folder.
func (a *app) trust(ctx context.Context, f plugins.File) error {
	path, err := filepath.Abs(f.Path)
	if err != nil {
		return err
	}
	folder, err := filepath.EvalSymlinks(filepath.Dir(path)) // the file itself may be a link: it is found here
	if err != nil {
		return err
	}
	f.Path = filepath.Join(folder, filepath.Base(path))
	lock, err := plugins.ReadLock(plugins.LockOf(folder))
	if err != nil {
		return lockProblem(err)
	}
	pin := plugins.Pin{File: filepath.ToSlash(filepath.Join(filepath.Base(folder), filepath.Base(f.Path))), Env: f.Env}
	if known, ok := lock.Of(pin.File); ok && f.SHA256 == "" {
		f.SHA256 = known.SHA256 // another file has to be asked for
	}
	p, err := plugins.Open(ctx, f, plugins.Options{Pegbook: version})
	if err != nil {
		return err
	}
	defer p.Close()
	var problems diag.List
	for _, m := range p.Modules() {
		addModule(builtinModules(), pinned{name: m.Name, from: f.Path}, &problems)
	}
	if problems.Failed() {
		return problems
	}
	pin.SHA256 = p.SHA256()
	pin.Modules, pin.Sources, pin.Notifiers = partsOf(p)
	if err := lock.With(pin).Write(plugins.LockOf(folder)); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s is trusted: %s\n%s\n", shown(f.Path), pluginJSON{Modules: pin.Modules, Sources: pin.Sources, Notifiers: pin.Notifiers}.parts(), pin.SHA256)
	return nil
}

func newPluginVerifyCmd(a *app) *cobra.Command {
	var o pluginPlaces
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [PLAYBOOK]...",
		Short: "Check every trusted plugin: the file is the one that was trusted, starts, and has the modules it had",
		Long:  "Check every trusted plugin: the file is the one that was trusted, starts, and has the modules it had. Exit code 1 when one does not.",
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := o.find(args)
			if err != nil {
				return err
			}
			all := []pluginJSON{}
			bad := false
			for _, f := range found {
				if !f.Trusted {
					continue
				}
				p := a.verified(cmd.Context(), f)
				bad = bad || p.Problem != ""
				all = append(all, p)
			}
			show := a.pluginTable
			if asJSON {
				show = func(all []pluginJSON) error { return writeJSON(a.out, all) }
			}
			if err := show(all); err != nil || !bad {
				return err
			}
			return exitError(1)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func (a *app) verified(ctx context.Context, f plugins.Found) pluginJSON {
	state := stateOf(f)
	if state.State != "trusted" {
		return state
	}
	p, err := plugins.Open(ctx, f.File, plugins.Options{Pegbook: version})
	if err != nil {
		state.State, state.Problem = "unusable", err.Error()
		return state
	}
	defer p.Close()
	var has pluginJSON
	if has.Modules, has.Sources, has.Notifiers = partsOf(p); has.parts() != state.parts() {
		state.State, state.Problem = "changed", "has "+has.parts()+", not "+state.parts()
	}
	return state
}

// partsOf are the names of what a plugin provides.
func partsOf(p *plugins.Plugin) (modules, sources, notifiers []string) {
	for _, m := range p.Modules() {
		modules = append(modules, m.Name)
	}
	for _, s := range p.Sources() {
		sources = append(sources, s.Name)
	}
	for _, n := range p.Notifiers() {
		notifiers = append(notifiers, n.Name)
	}
	return modules, sources, notifiers
}
