package main

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
)

//go:embed skeleton
var skeleton embed.FS

// newOptions are the flags of plugin new.
type newOptions struct{ dir, source string }

// newPlugin is what the files of a skeleton are made of.
type newPlugin struct {
	Name, Func  string
	Go, Version string
	Source      string // a folder of pegbook's source, in place of a release
}

func newPluginNewCmd(a *app) *cobra.Command {
	var o newOptions
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Begin a plugin: a module that works, its test and a Makefile",
		Example: `  pegbook plugin new motd
  make -C motd test`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.newPlugin(args[0], o) },
	}
	cmd.Flags().StringVarP(&o.dir, "dir", "d", "", "the folder to make (default NAME)")
	cmd.Flags().StringVar(&o.source, "source", "", "build against this folder of pegbook's source instead of a release")
	return cmd
}

var newName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

func (a *app) newPlugin(name string, o newOptions) error {
	if !newName.MatchString(name) {
		return fmt.Errorf("%q is no name of a module: write lower-case letters, digits and _", name)
	}
	if _, taken := moduleSet().Lookup(name); taken {
		return fmt.Errorf("pegbook has a module %s itself; take another name", name)
	}
	p := newPlugin{Name: name, Func: "new" + strings.ReplaceAll(titled(name), "_", ""), Go: strings.TrimPrefix(runtime.Version(), "go"), Version: version}
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

// write writes the files of the skeleton.
func (p newPlugin) write(dir string) error {
	return fs.WalkDir(skeleton, "skeleton", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := skeleton.ReadFile(path)
		if err != nil {
			return err
		}
		t, err := template.New(path).Parse(string(text))
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, p); err != nil {
			return err
		}
		file := strings.TrimSuffix(filepath.Base(path), ".tmpl")
		if file == "gitignore" {
			file = ".gitignore" // go:embed passes over names that begin with a dot
		}
		return os.WriteFile(filepath.Join(dir, file), b.Bytes(), 0o644)
	})
}
