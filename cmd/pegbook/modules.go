package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/builtin"
	"github.com/pegbook/pegbook/modules/pegasus"
	"github.com/pegbook/pegbook/modules/system"
	"github.com/pegbook/pegbook/modules/zookeeper"
	"github.com/pegbook/pegbook/runner"
)

// moduleSet is every module that pegbook brings along.
func moduleSet() runner.Set {
	var all []*modules.Module
	all = append(all, builtin.All()...)
	all = append(all, pegasus.All()...)
	all = append(all, system.All()...)
	all = append(all, zookeeper.All()...)
	return runner.NewSet(reached(all)...)
}

type moduleJSON struct {
	Name string         `json:"name"`
	Doc  string         `json:"doc"`
	Args modules.Schema `json:"args"`
	// Plugin is the file that the module comes from; pegbook's own have none.
	Plugin string `json:"plugin,omitempty"`
}

func orElse(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return text
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func title(doc string) string {
	first, _, _ := strings.Cut(doc, "\n")
	return first
}

// moduleManual prints the page: the module's own text, then its arguments from the schema.
func moduleManual(w io.Writer, m provided) {
	fmt.Fprintf(w, "%s: %s\n\nArguments:\n", m.Name, strings.TrimSpace(m.Doc))
	printArgs(w, m.Args)
	if m.from != "" {
		fmt.Fprintf(w, "\nFrom the plugin %s\n", m.from)
	}
}

// printArgs prints a line or two for each argument.
func printArgs(w io.Writer, all modules.Schema) {
	for _, arg := range all {
		name := arg.Name
		if arg.Rest {
			name = "(any name)"
		}
		fmt.Fprintf(w, "\n  %s  %s\n      %s\n", name, argKind(arg), arg.Doc)
		if len(arg.Aliases) > 0 {
			fmt.Fprintf(w, "      also written %s\n", strings.Join(arg.Aliases, ", "))
		}
	}
}

func argKind(arg modules.Arg) string {
	kind := string(arg.Type)
	if arg.Elem != "" {
		kind += " of " + string(arg.Elem)
	}
	parts := []string{kind}
	if len(arg.Choices) > 0 {
		parts = append(parts, "one of "+strings.Join(arg.Choices, ", "))
	}
	if limits := arg.Limits(); limits != "" {
		parts = append(parts, limits)
	}
	switch {
	case arg.Required:
		parts = append(parts, "required")
	case arg.Default != "":
		parts = append(parts, "default "+arg.Default)
	}
	if arg.Free {
		parts = append(parts, "may stand alone")
	}
	return "(" + strings.Join(parts, "; ") + ")"
}
