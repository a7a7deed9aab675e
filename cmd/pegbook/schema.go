package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/schema"
)

func newSchemaCmd(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "schema [playbook|tasks|inventory|vars]",
		Short: "Print the JSON Schema of playbooks, inventories or variables, for editors",
		Example: `  pegbook schema playbook > playbook.schema.json
  pegbook schema --output ~/.config/pegbook`,
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: schema.Kinds(),
		RunE: func(_ *cobra.Command, args []string) error {
			if output != "" {
				return a.writeSchemas(output, args)
			}
			kind := "playbook"
			if len(args) == 1 {
				kind = args[0]
			}
			text, err := schemaText(kind)
			if err != nil {
				return err
			}
			_, err = a.out.Write(text)
			return err
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write playbook.schema.json, tasks.schema.json … to this folder")
	return cmd
}

func schemaText(kind string) ([]byte, error) {
	node, ok := schema.Of(kind, moduleSet().All())
	if !ok {
		return nil, fmt.Errorf("there is no schema of %q; %s", kind, diag.DidYouMean(kind, schema.Kinds()))
	}
	var b bytes.Buffer
	err := writeJSON(&b, node)
	return b.Bytes(), err
}

// writeSchemas writes schemas to files of a folder: those named, or all.
func (a *app) writeSchemas(dir string, kinds []string) error {
	if len(kinds) == 0 {
		kinds = schema.Kinds()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, kind := range kinds {
		text, err := schemaText(kind)
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
