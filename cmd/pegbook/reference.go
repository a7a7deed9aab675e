package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// reference is one part of the manual: what there is, by name.
type reference[T any] struct {
	verb, kind, short string
	all               func() []T
	name              func(T) string
	// usage and title are the columns of the list.
	usage, title func(T) string
	page         func(w io.Writer, entry T)
	json         func(T) any
}

// newReferenceCmd makes the verb that lists a part of the manual or shows a page of it.
func newReferenceCmd[T any](a *app, r reference[T]) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   r.verb + " [NAME]",
		Short: r.short,
		Args:  cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, entry := range r.all() {
				names = append(names, r.name(entry)+"\t"+r.title(entry))
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return r.list(a.out, asJSON)
			}
			return r.show(a.out, args[0], asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func (r reference[T]) list(w io.Writer, asJSON bool) error {
	if asJSON {
		var all []any
		for _, entry := range r.all() {
			all = append(all, r.json(entry))
		}
		return writeJSON(w, all)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, entry := range r.all() {
		fmt.Fprintf(t, "%s\t%s\n", r.usage(entry), r.title(entry))
	}
	return t.Flush()
}

func (r reference[T]) show(w io.Writer, name string, asJSON bool) error {
	var names []string
	for _, entry := range r.all() {
		if r.name(entry) != name {
			names = append(names, r.name(entry))
			continue
		}
		if asJSON {
			return writeJSON(w, r.json(entry))
		}
		r.page(w, entry)
		return nil
	}
	return fmt.Errorf("there is no %s %q; %s", r.kind, name, orElse(diag.DidYouMean(name, names), "pegbook "+r.verb+" lists them"))
}

func newModulesCmd(a *app) *cobra.Command {
	var dirs []string
	var cmd *cobra.Command
	cmd = newReferenceCmd(a, reference[provided]{
		verb: "modules", kind: "module", short: "List the modules, or show one's manual page",
		all:   func() []provided { return a.knownModules(cmd.Context(), dirs) },
		name:  func(m provided) string { return m.Name },
		usage: func(m provided) string { return m.Name },
		title: func(m provided) string { return title(m.Doc) },
		page:  moduleManual,
		json:  func(m provided) any { return moduleJSON{m.Name, m.Doc, m.Args, m.from} },
	})
	addPluginFlag(cmd, &dirs)
	return cmd
}

func newFunctionsCmd(a *app) *cobra.Command {
	return newReferenceCmd(a, reference[vars.Function]{
		verb: "functions", kind: "function", short: "List the functions of templates and expressions, or show one",
		all:   vars.Functions,
		name:  func(f vars.Function) string { return f.Name },
		usage: func(f vars.Function) string { return f.Usage },
		title: func(f vars.Function) string { return f.Doc },
		page:  func(w io.Writer, f vars.Function) { fmt.Fprintf(w, "%s\n\n    %s\n", f.Usage, f.Doc) },
		json:  func(f vars.Function) any { return functionJSON{f.Name, f.Usage, f.Doc} },
	})
}

type functionJSON struct {
	Name  string `json:"name"`
	Usage string `json:"usage"`
	Doc   string `json:"doc"`
}

func newKeywordsCmd(a *app) *cobra.Command {
	return newReferenceCmd(a, reference[playbook.KeywordDoc]{
		verb: "keywords", kind: "keyword", short: "List the keywords of playbooks, or document one",
		all:   playbook.KeywordDocs,
		name:  func(k playbook.KeywordDoc) string { return k.Name },
		usage: func(k playbook.KeywordDoc) string { return k.Name + "\t" + levelNames(k.On) },
		title: func(k playbook.KeywordDoc) string { return k.Doc },
		page:  keywordManual,
		json:  func(k playbook.KeywordDoc) any { return k },
	})
}

// levelNames says where a keyword may stand.
func levelNames(on []playbook.Level) string {
	if len(on) >= 6 {
		var missing []string
		for _, level := range []playbook.Level{playbook.LevelPlay, playbook.LevelRole, playbook.LevelBlock, playbook.LevelTask,
			playbook.LevelHandler, playbook.LevelInclude, playbook.LevelImport} {
			if !slices.Contains(on, level) {
				missing = append(missing, string(level))
			}
		}
		if len(missing) == 0 {
			return "everywhere"
		}
		return "everywhere but " + strings.Join(missing, ", ")
	}
	names := make([]string, len(on))
	for i, level := range on {
		names[i] = string(level)
	}
	return strings.Join(names, ", ")
}

// keywordManual prints all there is to say about a keyword.
func keywordManual(w io.Writer, k playbook.KeywordDoc) {
	fmt.Fprintf(w, "%s: %s\n\n", k.Name, k.Doc)
	row := func(label, text string) {
		if text != "" {
			fmt.Fprintf(w, "  %-9s %s\n", label, text)
		}
	}
	var on []string
	for _, level := range k.On {
		on = append(on, string(level))
	}
	row("on", strings.Join(on, ", "))
	if k.Refused != "" {
		row("instead", k.Hint)
		return
	}
	row("takes", takes(k))
	row("default", k.Default)
	row("Ansible", k.Ansible)
	if len(k.Keys) > 0 {
		fmt.Fprintf(w, "\n  keys\n")
		for _, key := range k.Keys {
			fmt.Fprintf(w, "    %-17s %s (%s%s)\n", key.Name, key.Doc, key.Takes, required(key.Required))
		}
	}
	fmt.Fprintf(w, "\n    %s\n", strings.ReplaceAll(k.Example, "\n", "\n    "))
}

func required(yes bool) string {
	if yes {
		return "; required"
	}
	return ""
}

// takes says what values a keyword takes.
func takes(k playbook.KeywordDoc) string {
	text := string(k.Takes)
	if len(k.Choices) > 0 {
		text = strings.Join(k.Choices, ", ")
	}
	if k.Fixed {
		text += "; no template"
	}
	return text
}
