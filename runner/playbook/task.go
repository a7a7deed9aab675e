package playbook

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

// task reads one task; nil when it cannot be told what it does.
func (r *reader) task(n *yaml.Node, p *place) *Task {
	t := &Task{At: p.at(n), Dir: p.dir, Role: p.role, place: p}
	does, ok := r.does(n, t, p)
	if !ok {
		return nil
	}
	level := onTask
	switch name := moduleName(does.name()); {
	case name == "include_tasks" || name == "include_role":
		level = onDynamic
	case p.handler:
		level = onHandler
	}
	var name vars.Value
	r.set(pairs(n), level, target{place: p, kw: &t.Keywords, name: &name, task: t}, func(e entry) bool {
		return e == does || e.name() == "args" || strings.HasPrefix(e.name(), "with_") || p.handler && e.name() == "listen"
	})
	if listen := find(n, "listen"); listen != nil && p.handler {
		t.Listen = r.constants(entry{&yaml.Node{Value: "listen"}, listen}, p)
	}
	t.Name, t.ModuleAt = name, p.at(does.key)
	switch moduleName(does.name()) {
	case "meta":
		r.meta(does, t, p)
	case "gate":
		r.gate(does, t, p)
	case "include_tasks":
		r.includeTasks(r.withArgs(does, find(n, "args"), "file", p), t, p)
	case "include_role":
		r.includeRole(r.withArgs(does, find(n, "args"), "name", p), t, p)
	case "local_action":
		r.localAction(n, does, t, p)
	default:
		t.Module = moduleName(does.name())
		r.arguments(does, find(n, "args"), t, p)
	}
	return t
}

// does finds the entry that says what a task does: the one key that is no keyword, or meta, an include or
// local_action.
func (r *reader) does(n *yaml.Node, t *Task, p *place) (entry, bool) {
	var found, unknown []entry
	for _, e := range pairs(n) {
		name := moduleName(e.name())
		if lookup, ok := strings.CutPrefix(name, "with_"); ok {
			r.problems.Add(p.at(e.key), "write "+loopFor(lookup), "loops are written with loop, not with %s", e.name())
			continue
		}
		switch name {
		case "meta", "gate", "include_tasks", "include_role", "local_action":
			found = append(found, e)
		case "action":
			r.problems.Add(p.at(e.key), r.known["action"].hint, "%s", r.known["action"].refused)
			return entry{}, false
		default:
			if _, known := r.known[name]; !known {
				unknown = append(unknown, e)
			}
		}
	}
	if len(found)+len(unknown) > 1 {
		found, unknown = r.misspelt(found, unknown, p)
	}
	found = append(found, unknown...)
	switch len(found) {
	case 0:
		r.problems.Add(t.At, "add the module as a key: command: /bin/true", "the task has no module")
		return entry{}, false
	case 1:
		return found[0], true
	}
	r.problems.Add(p.at(found[1].key), "make two tasks of it", "the task has two modules, %s and %s", found[0].name(), found[1].name())
	return entry{}, false
}

// misspelt reports those of several unknown keys that look like a keyword, and leaves the others.
func (r *reader) misspelt(found, unknown []entry, p *place) ([]entry, []entry) {
	names, level := r.namesOn(onTask), onTask
	if p.handler {
		names, level = r.namesOn(onHandler), onHandler
	}
	near := func(e entry) bool { return diag.Nearest(e.name(), names) != "" }
	if len(found) == 0 && !slices.ContainsFunc(unknown, func(e entry) bool { return !near(e) }) {
		return found, unknown
	}
	var left []entry
	for _, e := range unknown {
		if near(e) {
			r.lost = r.lost || BringsIn(e.name())
			r.problems.Add(p.at(e.key), diag.DidYouMean(e.name(), names), "%s has no keyword %q", level, e.name())
			continue
		}
		left = append(left, e)
	}
	return found, left
}

// loopFor is the loop that stands for one of Ansible's with_ words.
func loopFor(lookup string) string {
	switch lookup {
	case "items":
		return "loop: with the list; join lists inside it with concat"
	case "list":
		return "loop: with the list"
	case "dict":
		return `loop: over a list of mappings {key: …, value: …}, or over keys: "{{ keys .the_mapping | sortAlpha }}"`
	case "sequence":
		return `loop: "{{ untilStep 1 6 1 }}", which is 1 to 5`
	case "fileglob":
		return "loop: over the names"
	case "nested", "subelements", "together":
		return "loop: in an included file, with loop_control: {loop_var: outer}"
	}
	return "loop: with a list"
}

// arguments reads what a task gives its module: the module's value, with args: beneath it.
func (r *reader) arguments(does entry, args *yaml.Node, t *Task, p *place) {
	t.ArgsAt = p.at(does.value)
	value := does.value
	if isNull(value) {
		t.ArgsAt = p.at(does.key)
		value = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: does.key.Line, Column: does.key.Column}
	}
	if value.Kind == yaml.ScalarNode && !slices.Contains(freeForm(), t.Module) {
		value = keyValues(value)
	}
	if args != nil && !isNull(args) {
		if args.Kind != yaml.MappingNode {
			r.problems.Add(p.at(args), "", "args takes a mapping, not %s", describe(args))
			return
		}
		value = underneath(value, args, FreeForm)
	}
	t.Args = vars.FromNode(value, p.file, r.problems)
}

// withArgs gives an include with args: beneath its own value; free is what a plain text is.
func (r *reader) withArgs(does entry, args *yaml.Node, free string, p *place) entry {
	switch {
	case args == nil || isNull(args):
		return does
	case args.Kind != yaml.MappingNode:
		r.problems.Add(p.at(args), "", "args takes a mapping, not %s", describe(args))
		return does
	}
	return entry{does.key, underneath(does.value, args, free)}
}

// freeForm are the modules whose text is not name=value pairs, as in Ansible.
func freeForm() []string {
	return []string{"command", "shell", "raw", "script", "include_vars"}
}

// underneath gives the arguments of value with those of args that it does not have itself. A value that is
// no mapping is the argument called free.
func underneath(value, args *yaml.Node, free string) *yaml.Node {
	out := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: value.Line, Column: value.Column}
	if value.Kind == yaml.MappingNode {
		out.Content = slices.Clone(value.Content)
	} else {
		key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: free, Line: value.Line, Column: value.Column}
		out.Content = []*yaml.Node{key, value}
	}
	for _, e := range pairs(args) {
		if find(out, e.name()) == nil {
			out.Content = append(out.Content, e.key, e.value)
		}
	}
	return out
}

// localAction reads local_action, which is a module and delegate_to: localhost.
func (r *reader) localAction(n *yaml.Node, does entry, t *Task, p *place) {
	t.DelegateTo = vars.FromText("localhost", p.at(does.value), r.problems)
	value := does.value
	switch value.Kind {
	case yaml.MappingNode:
		module := find(value, "module")
		if module == nil || module.Kind != yaml.ScalarNode {
			r.problems.Add(p.at(does.key), "write local_action: {module: command, …}, or the module with delegate_to: localhost", "local_action names no module")
			return
		}
		t.Module = moduleName(module.Value)
		rest := *value
		rest.Content = nil
		for _, e := range pairs(value) {
			if e.name() != "module" {
				rest.Content = append(rest.Content, e.key, e.value)
			}
		}
		value = &rest
	default:
		module, text, _ := strings.Cut(strings.TrimSpace(value.Value), " ")
		if value.Kind != yaml.ScalarNode || module == "" || isNull(value) {
			r.problems.Add(p.at(does.key), "write the module with delegate_to: localhost", "local_action names no module")
			return
		}
		t.Module = moduleName(module)
		rest := *value
		rest.Value = strings.TrimSpace(text)
		value = &rest
		if rest.Value == "" {
			value = nil
		}
	}
	if value == nil {
		value = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: does.value.Line, Column: does.value.Column}
	}
	r.arguments(entry{does.key, value}, find(n, "args"), t, p)
}

// meta reads a task of the runner itself.
func (r *reader) meta(does entry, t *Task, p *place) {
	t.ArgsAt = p.at(does.value)
	t.Meta = r.constant(does, p, choicesOf("meta")...)
	r.takesNot(t, "meta")
}

// keyValues reads text such as src=a dest="b c" as a mapping; text that is something else stays as it is.
// Values are text, as in Ansible, but for templates, which keep their type.
func keyValues(n *yaml.Node) *yaml.Node {
	if n.Tag != "!!str" {
		return n
	}
	out := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line, Column: n.Column}
	for _, word := range splitWords(n.Value) {
		name, value, ok := strings.Cut(word, "=")
		if !ok || !identifierForm.MatchString(name) {
			return n
		}
		scalar := func(text string) *yaml.Node {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: text, Line: n.Line, Column: n.Column}
		}
		out.Content = append(out.Content, scalar(name), scalar(unquote(value)))
	}
	if len(out.Content) == 0 {
		return n
	}
	return out
}

// splitWords splits at spaces that stand neither in quotes nor in a template.
func splitWords(text string) []string {
	var words []string
	start, quote, braces := -1, byte(0), 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case strings.HasPrefix(text[i:], "{{"):
			braces++
		case strings.HasPrefix(text[i:], "}}"):
			braces--
		}
		space := quote == 0 && braces <= 0 && (c == ' ' || c == '\n' || c == '\t')
		if space && start >= 0 {
			words, start = append(words, text[start:i]), -1
		}
		if !space && start < 0 {
			start = i
		}
	}
	if start >= 0 {
		words = append(words, text[start:])
	}
	return words
}

func unquote(text string) string {
	if len(text) >= 2 && (text[0] == '"' || text[0] == '\'') && text[len(text)-1] == text[0] {
		return text[1 : len(text)-1]
	}
	return text
}
