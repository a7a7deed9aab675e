package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/schema"
)

func newSchemaCmd(a *app) *cobra.Command {
	var output string
	var dirs []string
	cmd := &cobra.Command{
		Use:   "schema [playbook|tasks|inventory|vars]",
		Short: "Print the JSON Schema of playbooks, inventories or variables, for editors",
		Example: `  pegbook schema playbook > playbook.schema.json
  pegbook schema --output ~/.config/pegbook`,
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: schema.Kinds(),
		RunE: func(cmd *cobra.Command, args []string) error {
			var all []*modules.Module
			for _, m := range a.knownModules(cmd.Context(), dirs) {
				all = append(all, m.Module)
			}
			known, err := a.knownSources(cmd.Context(), dirs)
			if err != nil {
				return err
			}
			if output != "" {
				return a.writeSchemas(output, args, all, known)
			}
			kind := "playbook"
			if len(args) == 1 {
				kind = args[0]
			}
			text, err := schemaText(kind, all, known)
			if err != nil {
				return err
			}
			_, err = a.out.Write(text)
			return err
		},
	}
	addPluginFlag(cmd, &dirs)
	cmd.Flags().StringVarP(&output, "output", "o", "", "write playbook.schema.json, tasks.schema.json … to this folder")
	return cmd
}

func schemaText(kind string, all []*modules.Module, known []schema.Source) ([]byte, error) {
	node, ok := schema.Of(kind, all, known)
	if !ok {
		return nil, fmt.Errorf("there is no schema of %q; %s", kind, diag.DidYouMean(kind, schema.Kinds()))
	}
	var b bytes.Buffer
	err := writeJSON(&b, node)
	return b.Bytes(), err
}

// writeSchemas writes schemas to files of a folder: those named, or all.
func (a *app) writeSchemas(dir string, kinds []string, all []*modules.Module, known []schema.Source) error {
	if len(kinds) == 0 {
		kinds = schema.Kinds()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, kind := range kinds {
		text, err := schemaText(kind, all, known)
		if err != nil {
			return err
		}
		path := filepath.Join(dir, kind+".schema.json")
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
		fmt.Fprintln(a.out, path)
	}
	return nil
}

// knownSources are the inventory sources of trusted plugins, whose options an inventory's file may have.
func (a *app) knownSources(ctx context.Context, dirs []string) ([]schema.Source, error) {
	found, problems := findPlugins(pluginFolders(dirs))
	var all []schema.Source
	for _, f := range found {
		if len(f.Sources) == 0 {
			continue
		}
		p, err := a.plugins.start(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, s := range p.Sources() {
			all = append(all, schema.Source{Name: s.Name, Title: s.Title(), Options: s.Options})
		}
	}
	return all, problems.Err()
}
