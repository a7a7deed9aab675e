package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

//go:generate go run . docs ../../docs/reference

// generated heads each page that newDocsCmd writes.
const generated = "<!-- Made by make docs from the program itself. Do not edit. -->\n\n"

// newDocsCmd makes the verb that writes the reference pages; make docs calls it.
func newDocsCmd() *cobra.Command {
	return &cobra.Command{
		Use:    "docs FOLDER",
		Short:  "Write the pages of docs/reference",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			for name, text := range referencePages(cmd.Root()) {
				if err := os.WriteFile(filepath.Join(args[0], name), []byte(text), 0o644); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// referencePages are the generated pages by file name.
func referencePages(root *cobra.Command) map[string]string {
	return map[string]string{
		"modules.md":   modulesPage(moduleSet().All()),
		"keywords.md":  keywordsPage(playbook.KeywordDocs()),
		"functions.md": functionsPage(vars.Functions()),
		"commands.md":  commandsPage(root),
	}
}

func modulesPage(all []*modules.Module) string {
	var b strings.Builder
	b.WriteString("# Modules\n\n" + generated + "Also: `pegbook modules`, `pegbook modules NAME`.\n\n| module | |\n| --- | --- |\n")
	for _, m := range all {
		fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", m.Name, m.Name, cellText(title(m.Doc)))
	}
	for _, m := range all {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", m.Name, strings.TrimSpace(m.Doc))
		if len(m.Args) == 0 {
			continue
		}
		b.WriteString("\n| argument | takes | |\n| --- | --- | --- |\n")
		for _, arg := range m.Args {
			name := "`" + arg.Name + "`"
			if arg.Rest {
				name = "any name"
			}
			for _, alias := range arg.Aliases {
				name += ", `" + alias + "`"
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", name, cellText(strings.Trim(argKind(arg), "()")), cellText(arg.Doc))
		}
	}
	return b.String()
}

func keywordsPage(all []playbook.KeywordDoc) string {
	var b strings.Builder
	b.WriteString("# Keywords\n\n" + generated + "Also: `pegbook keywords`, `pegbook keywords NAME`. How they work together is told in [playbooks-language.md](../playbooks-language.md).\n")
	for _, k := range all {
		if k.Refused != "" {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", k.Name, k.Doc)
		var on []string
		for _, level := range k.On {
			on = append(on, string(level))
		}
		fmt.Fprintf(&b, "- on: %s\n- takes: %s\n", strings.Join(on, ", "), takes(k))
		if k.Default != "" {
			fmt.Fprintf(&b, "- default: %s\n", k.Default)
		}
		if k.Ansible != "" {
			fmt.Fprintf(&b, "- Ansible: %s\n", k.Ansible)
		}
		for _, key := range k.Keys {
			fmt.Fprintf(&b, "- `%s`: %s (%s%s)\n", key.Name, key.Doc, key.Takes, required(key.Required))
		}
		fmt.Fprintf(&b, "\n    %s\n", strings.ReplaceAll(k.Example, "\n", "\n    "))
	}
	b.WriteString("\n## Not accepted\n\n| keyword | | instead |\n| --- | --- | --- |\n")
	for _, k := range all {
		if k.Refused != "" {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.Name, cellText(k.Refused), cellText(k.Hint))
		}
	}
	return b.String()
}

func functionsPage(all []vars.Function) string {
	var b strings.Builder
	b.WriteString("# Functions\n\n" + generated + "Also: `pegbook functions`. How expressions work is told in [expressions.md](../expressions.md).\n\n| function | gives |\n| --- | --- |\n")
	for _, f := range all {
		fmt.Fprintf(&b, "| `%s` | %s |\n", cellText(f.Usage), cellText(f.Doc))
	}
	return b.String()
}

func commandsPage(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Commands\n\n" + generated + `Also: ` + "`pegbook VERB --help`" + `. Answers go to stdout, talk and diagnostics to stderr.

| exit code | means |
| --- | --- |
| 0 | all went well |
| 1 | it did not start: a mistake in the command line, the playbook or the inventory; or a confirmation was not given |
| 2 | a host failed |
| 4 | a host was unreachable, and none failed |
| 130 | interrupted |
`)
	var write func(cmd *cobra.Command)
	write = func(cmd *cobra.Command) {
		if !cmd.IsAvailableCommand() || cmd.Name() == "help" || cmd.Name() == "completion" {
			return
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n    %s\n", cmd.CommandPath(), firstNonEmpty(cmd.Long, cmd.Short), cmd.UseLine())
		if cmd.Example != "" {
			fmt.Fprintf(&b, "\nExamples:\n\n    %s\n", strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(cmd.Example), "\n  ", "\n"), "\n", "\n    "))
		}
		writeFlags(&b, cmd)
		for _, sub := range cmd.Commands() {
			write(sub)
		}
	}
	for _, sub := range root.Commands() {
		write(sub)
	}
	return b.String()
}

func writeFlags(b *strings.Builder, cmd *cobra.Command) {
	head := "\n| flag | |\n| --- | --- |\n"
	cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		b.WriteString(head)
		head = ""
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		usage := f.Usage
		if plain := f.DefValue; plain != "" && plain != "false" && plain != "0" && plain != "[]" && !strings.Contains(usage, "default") {
			usage += " (default " + plain + ")"
		}
		fmt.Fprintf(b, "| %s | %s |\n", name, cellText(usage))
	})
}

func firstNonEmpty(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// cellText is text inside a table.
func cellText(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "|", `\|`), "\n", " ")
}
