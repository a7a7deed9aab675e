package main

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
)

//go:embed skeleton
var skeleton embed.FS

// newOptions are the flags of plugin new.
type newOptions struct{ dir, source, kind string }

// newKinds are what a plugin can begin with.
func newKinds() []string { return []string{"module", "inventory", "notifier"} }

// newPlugin is what the files of a skeleton are made of.
type newPlugin struct {
	Name, Func  string
	Kind        string
	Go, Version string
	Source      string // a folder of pegbook's source, in place of a release
}

func newPluginNewCmd(a *app) *cobra.Command {
	var o newOptions
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Begin a plugin: a module, inventory source or notifier that works, its test and a Makefile",
		Example: `  pegbook plugin new motd
  make -C motd test
  pegbook plugin new cmdb --kind inventory`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(_ *cobra.Command, args []string) error { return a.newPlugin(args[0], o) },
	}
	cmd.Flags().StringVarP(&o.kind, "kind", "k", "module", "what it provides: module, inventory (a source of hosts) or notifier")
	offer(cmd, "kind", newKinds())
	cmd.Flags().StringVarP(&o.dir, "dir", "d", "", "the folder to make (default NAME)")
	cmd.Flags().StringVar(&o.source, "source", "", "build against this folder of pegbook's source instead of a release")
	return cmd
}

var newName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

func (a *app) newPlugin(name string, o newOptions) error {
	if !newName.MatchString(name) {
		return fmt.Errorf("%q is no name of a plugin: write lower-case letters, digits and _, a letter first", name)
	}
	if !slices.Contains(newKinds(), o.kind) {
		return fmt.Errorf("there is no kind %q; write one of %s", o.kind, strings.Join(newKinds(), ", "))
	}
	if _, taken := moduleSet().Lookup(name); taken && o.kind == "module" {
		return fmt.Errorf("pegbook has a module %s itself; take another name", name)
	}
	p := newPlugin{Name: name, Kind: o.kind, Func: "new" + strings.ReplaceAll(titled(name), "_", ""), Go: strings.TrimPrefix(runtime.Version(), "go"), Version: version}
	if !strings.HasPrefix(version, "v") {
		p.Version = "v0.0.0" // a build of no release; --source says where it is
	}
	if o.source != "" {
		source, err := filepath.Abs(o.source)
		if err != nil {
			return err
		}
		p.Source = source
	}
	dir := orElse(o.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := p.write(dir); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s is begun. Next:\n\n    make -C %s test\n", dir, dir)
	if p.Source == "" && p.Version == "v0.0.0" {
		fmt.Fprintf(a.err, "pegbook: this build is no release: say in %s where pegbook's source is (replace), or use --source\n", filepath.Join(dir, "go.mod"))
	}
	return nil
}

// titled is a name with its words in capitals, as Go writes them.
func titled(name string) string {
	words := strings.Split(name, "_")
	for i, w := range words {
		if w != "" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, "_")
}

// write writes the files of the skeleton: those of every plugin, and those of its kind.
func (p newPlugin) write(dir string) error {
	for _, from := range []string{"all", p.Kind} {
		files, err := skeleton.ReadDir("skeleton/" + from)
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := p.writeFile(dir, "skeleton/"+from+"/"+f.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeFile writes one of them.
func (p newPlugin) writeFile(dir, from string) error {
	t, err := template.ParseFS(skeleton, from)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return err
	}
	file := strings.TrimSuffix(filepath.Base(from), ".tmpl")
	if file == "gitignore" {
		file = ".gitignore" // go:embed passes over names that begin with a dot
	}
	return os.WriteFile(filepath.Join(dir, file), b.Bytes(), 0o644)
}
