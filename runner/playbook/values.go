package playbook

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/internal/jinja"
	"github.com/pegbook/pegbook/runner/vars"
)

func isNull(n *yaml.Node) bool {
	return n == nil || n.Kind == 0 || n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

func isTemplate(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "{{")
}

// entries are a mapping's; anything else is reported.
func (r *reader) entries(e entry, p *place) []entry {
	if isNull(e.value) {
		return nil
	}
	if e.value.Kind != yaml.MappingNode {
		r.problems.Add(p.at(e.value), "", "%s takes a mapping, not %s", e.name(), describe(e.value))
		return nil
	}
	return pairs(e.value)
}

func pairs(n *yaml.Node) []entry {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	out := make([]entry, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		out = append(out, entry{n.Content[i], n.Content[i+1]})
	}
	return out
}

// find gives the value of a key; nil when there is none.
func find(n *yaml.Node, key string) *yaml.Node {
	for _, e := range pairs(n) {
		if e.name() == key {
			return e.value
		}
	}
	return nil
}

// items are the elements of a list; a single value is a list of one.
func items(n *yaml.Node) []*yaml.Node {
	switch {
	case isNull(n):
		return nil
	case n.Kind == yaml.SequenceNode:
		return n.Content
	}
	return []*yaml.Node{n}
}

// texts reads a text or a list of texts.
func (r *reader) texts(e entry, p *place) []vars.Value {
	var out []vars.Value
	for _, n := range items(e.value) {
		if n.Kind != yaml.ScalarNode {
			r.problems.Add(p.at(n), "", "%s takes text or a list of texts, not %s", e.name(), describe(n))
			continue
		}
		if v := r.value(entry{e.key, n}, p, isText); !v.IsZero() {
			out = append(out, v)
		}
	}
	return out
}

// words is texts in which a comma separates as well.
func (r *reader) words(e entry, p *place) []vars.Value {
	var out []vars.Value
	for _, v := range r.texts(e, p) {
		if v.Templated() || !strings.Contains(v.Raw(), ",") {
			out = append(out, v)
			continue
		}
		for word := range strings.SplitSeq(v.Raw(), ",") {
			if word = strings.TrimSpace(word); word != "" {
				out = append(out, vars.FromText(word, v.Position(), r.problems))
			}
		}
	}
	return out
}

// conditions reads one bare expression or a list of them.
func (r *reader) conditions(e entry, p *place) []vars.Expr {
	var out []vars.Expr
	for _, n := range items(e.value) {
		if x, ok := r.condition(entry{e.key, n}, p); ok {
			out = append(out, x)
		}
	}
	return out
}

// action is an action of a template in a condition, with quotes that belong to it.
var action = regexp.MustCompile(`["']?\{\{\s*(.*?)\s*\}\}["']?`)

func (r *reader) condition(e entry, p *place) (vars.Expr, bool) {
	n := e.value
	text := strings.TrimSpace(n.Value)
	if yes, ok := booleanWord(n); ok {
		text = strconv.FormatBool(yes)
	}
	switch {
	case n.Kind != yaml.ScalarNode:
		r.problems.Add(p.at(n), "", "%s takes an expression, not %s", e.name(), describe(n))
		return vars.Expr{}, false
	case text == "" || isNull(n):
		return vars.Expr{}, false // Ansible takes an empty condition as true
	case strings.HasPrefix(text, "{{") && strings.HasSuffix(text, "}}") && strings.Count(text, "{{") == 1:
		bare := strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(text, "{{"), "}}"))
		if here, ok := jinja.Expression(bare); ok {
			bare = here
		}
		r.problems.Add(p.at(n), "write "+e.name()+": "+bare, "%s takes an expression without braces", e.name())
		return vars.Expr{}, false
	case strings.Contains(text, "{{") || strings.Contains(text, "{%"):
		hint := `name variables with a dot: eq .role "meta"`
		if here, ok := jinja.Expression(action.ReplaceAllString(text, "($1)")); ok {
			hint = "write " + e.name() + ": " + here
		}
		r.problems.Add(p.at(n), hint, "%s takes an expression without braces", e.name())
		return vars.Expr{}, false
	}
	return vars.ParseExpr(text, p.at(n), r.problems), true
}

// variables reads vars.
func (r *reader) variables(e entry, p *place) *vars.Values {
	if isNull(e.value) {
		return nil
	}
	if e.value.Kind != yaml.MappingNode {
		r.problems.Add(p.at(e.value), "write name: value lines", "%s takes a mapping, not %s", e.name(), describe(e.value))
		return nil
	}
	return r.files.secret(p.file, vars.ValuesFromNode(e.value, p.file, r.problems))
}

// environment reads a mapping, a template of one, or a list of these.
func (r *reader) environment(e entry, p *place) []vars.Value {
	var out []vars.Value
	for _, n := range items(e.value) {
		v := r.value(entry{e.key, n}, p, func(d vars.Data) string {
			if d.Kind() != "mapping" {
				return "a mapping"
			}
			return ""
		})
		if !v.IsZero() {
			out = append(out, v)
		}
	}
	return out
}

// moduleDefaults reads module_defaults.
func (r *reader) moduleDefaults(e entry, p *place) []ModuleDefaults {
	var out []ModuleDefaults
	for _, e := range r.entries(e, p) {
		if strings.HasPrefix(e.name(), "group/") {
			r.problems.Add(p.at(e.key), "name the modules one by one", "module_defaults knows no groups of modules")
			continue
		}
		if e.value.Kind != yaml.MappingNode {
			r.problems.Add(p.at(e.value), "", "the defaults of a module are a mapping, not %s", describe(e.value))
			continue
		}
		out = append(out, ModuleDefaults{At: p.at(e.key), Module: moduleName(e.name()), Args: vars.FromNode(e.value, p.file, r.problems)})
	}
	return out
}

// moduleName is a name as a task may write it without the collection that holds Ansible's own modules.
func moduleName(name string) string {
	for _, prefix := range []string{"ansible.builtin.", "ansible.legacy."} {
		if bare, ok := strings.CutPrefix(name, prefix); ok {
			return bare
		}
	}
	return name
}

// place is what a text's names are relative to.
type place struct {
	file string // the text itself
	dir  string // its folder
	book string // folder of the playbook
	role *Role
	// above is the text that brings this one in; nil for the playbook itself. dynamic says that it does so
	// by an include.
	above   *place
	dynamic bool
	handler bool // tasks here are handlers
	// found is where handlers and roles met on the way are put.
	found *found
	// names are the variables that import paths may use besides the extra ones.
	names *vars.Values
}

// found is what static imports add to their play or to the content of an include.
type found struct {
	handlers []*Handler
	roles    []*Role
	once     []string // of the roles
}

// meets says whether a role is met for the first time, or is one that runs as often as it is asked for.
func (f *found) meets(role *Role) bool {
	if role.Once == "" {
		return true
	}
	if slices.Contains(f.once, role.Once) {
		return false
	}
	f.once = append(f.once, role.Once)
	return true
}

func (p *place) at(n *yaml.Node) diag.Position {
	return diag.Position{File: p.file, Line: n.Line, Column: n.Column}
}
