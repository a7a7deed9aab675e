// Package schema writes JSON Schemas (2020-12) of playbooks, inventories and files of variables, for editors
// that complete and check.
//
// A schema comes from what the runner itself reads by: the table of keywords, and the arguments of the
// modules. It checks the shape of a file, without its variables and the files it names; everything else is
// pegbook validate's. What it refuses, pegbook refuses, with one exception: an argument that is required
// and given by module_defaults.
package schema

import (
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/playbook"
)

const dialect = "https://json-schema.org/draft/2020-12/schema"

// Kinds are the kinds of files that there are schemas of.
func Kinds() []string { return []string{"playbook", "tasks", "inventory", "vars"} }

// Of gives the schema of a kind of file, with modules and inventory sources; false when there is no such kind.
func Of(kind string, set []*modules.Module, sources []Source) (*Node, bool) {
	var n *Node
	switch kind {
	case "playbook":
		n = Playbook(set)
	case "tasks":
		n = Tasks(set)
	case "inventory":
		n = Inventory(sources)
	case "vars":
		n = Vars()
	default:
		return nil, false
	}
	n.Dialect = dialect
	return n, true
}

// Playbook is the schema of playbooks.
func Playbook(set []*modules.Module) *Node {
	return &Node{
		Title: "pegbook playbook", Type: []string{"array"}, MinItems: 1,
		Items: &Node{
			If: anyOf(having("import_playbook"), having("ansible.builtin.import_playbook")), Then: ref("import_playbook"), Else: ref("play"),
		},
		Defs: definitions(set),
	}
}

// Tasks is the schema of files of tasks and of handlers.
func Tasks(set []*modules.Module) *Node {
	n := &Node{Title: "pegbook tasks", Ref: refPrefix + "handlers", Defs: definitions(set)}
	for _, section := range []string{"rescue", "always"} { // it is not known whether they are handlers
		n.Defs["handler-block"].Properties[section] = ref("handlers")
	}
	n.prune()
	return n
}

// definitions are the parts that playbooks and files of tasks are made of.
func definitions(set []*modules.Module) map[string]*Node {
	d := valueDefinitions()
	docs := playbook.KeywordDocs()
	for _, k := range docs {
		if k.Refused == "" {
			d["keyword-"+k.Name] = keywordNode(k)
		}
	}
	for _, m := range set {
		d["args-"+m.Name] = argumentsNode(m.Args)
		d["module-"+m.Name] = moduleNode(m)
	}
	d["module_defaults"] = moduleDefaults(set)
	d["play"] = described(onLevel(docs, playbook.LevelPlay), "A play: tasks for hosts.")
	d["play"].Required = []string{"hosts"}
	d["import_playbook"] = onLevel(docs, playbook.LevelImportPlaybook)
	d["import_playbook"].Properties["ansible.builtin.import_playbook"] = ref("keyword-import_playbook")
	d["role-entry"] = roleEntry(docs)
	d["block"] = onLevel(docs, playbook.LevelBlock)
	d["block"].Required = []string{"block"}
	d["handler-block"] = onLevel(docs, playbook.LevelBlock)
	d["handler-block"].Properties["block"] = ref("handlers")
	delete(d["handler-block"].Properties, "rescue")
	delete(d["handler-block"].Properties, "always")
	for level, name := range map[playbook.Level]string{playbook.LevelInclude: "include", playbook.LevelImport: "import"} {
		d[name] = bringing(onLevel(docs, level), name)
	}
	d["handler-include"] = bringing(onLevel(docs, playbook.LevelInclude), "include")
	d["handler-include"].Properties["listen"] = ref("keyword-listen")
	d["apply"] = onLevel(docs, playbook.LevelApply)
	one := oneModule(set)
	for _, level := range []playbook.Level{playbook.LevelTask, playbook.LevelHandler} {
		d[string(level)] = taskNode(onLevel(docs, level), set)
		d[string(level)].OneOf = one
		d[string(level)+"-entry"] = entryNode(string(level))
	}
	d["tasks"] = &Node{Type: []string{"array", "null"}, Items: ref("task-entry")}
	d["handlers"] = &Node{Type: []string{"array", "null"}, Items: ref("handler-entry")}
	return d
}

// onLevel is a mapping with the keywords of a level.
func onLevel(docs []playbook.KeywordDoc, level playbook.Level) *Node {
	properties := map[string]*Node{}
	for _, k := range docs {
		if k.Refused != "" {
			continue
		}
		for _, on := range k.On {
			if on == level {
				properties[k.Name] = ref("keyword-" + k.Name)
			}
		}
	}
	if level == playbook.LevelPlay {
		properties["handlers"] = described(ref("handlers"), "Tasks that run, once a section, when a task that changed something notifies them.")
	}
	return object(properties)
}

// longForm are the names that Ansible gives its own modules; none is proposed by an editor.
const longForm = `^ansible\.(builtin|legacy)\.`

// bringing is an include or import, of tasks or of a role, in the long form as well.
func bringing(n *Node, what string) *Node {
	n.PatternProperties = map[string]*Node{}
	for _, thing := range []string{"tasks", "role"} {
		n.PatternProperties[longForm+what+"_"+thing+"$"] = ref("keyword-" + what + "_" + thing)
	}
	if what == "include" {
		n.Properties["args"] = ref("keyword-args")
	}
	return n
}

// taskNode adds the modules to the keywords of a task.
func taskNode(n *Node, set []*modules.Module) *Node {
	n.PatternProperties = map[string]*Node{}
	for _, m := range set {
		n.Properties[m.Name] = ref("module-" + m.Name)
		n.PatternProperties[longForm+m.Name+"$"] = ref("module-" + m.Name)
	}
	n.PatternProperties[longForm+"meta$"] = ref("keyword-meta")
	return n
}

// oneModule says that a task has one module.
func oneModule(set []*modules.Module) []*Node {
	var out []*Node
	for _, name := range []string{"meta", "gate", "local_action"} {
		out = append(out, having(name))
	}
	for _, m := range set {
		out = append(out, having(m.Name))
	}
	// some key is in the long form
	return append(out, &Node{Not: &Node{PropertyNames: &Node{Not: &Node{Pattern: longForm}}}})
}

// entryNode is one entry of a list of tasks: which of its kinds is told by a key.
func entryNode(task string) *Node {
	some := func(names ...string) *Node {
		var options []*Node
		for _, name := range names {
			options = append(options, having(name))
		}
		return anyOf(options...)
	}
	bring := func(what string) *Node {
		return some(what+"_tasks", what+"_role", "ansible.builtin."+what+"_tasks", "ansible.builtin."+what+"_role",
			"ansible.legacy."+what+"_tasks", "ansible.legacy."+what+"_role")
	}
	block, include := "block", "include"
	if task == "handler" {
		block, include = "handler-block", "handler-include"
	}
	return &Node{
		Type: []string{"object"},
		If:   some("block", "rescue", "always"), Then: ref(block),
		Else: &Node{If: bring("include"), Then: ref(include), Else: &Node{If: bring("import"), Then: ref("import"), Else: ref(task)}},
	}
}

// roleEntry is an entry of roles: a name, or keywords and the role's parameters.
func roleEntry(docs []playbook.KeywordDoc) *Node {
	n := onLevel(docs, playbook.LevelRole)
	n.Additional = nil // parameters
	n.AnyOf = []*Node{having("role"), having("name")}
	n.Type = append(n.Type, "string")
	return n
}

// description is what an editor shows of a keyword.
func description(k playbook.KeywordDoc) string {
	parts := []string{k.Doc}
	if k.Default != "" {
		parts = append(parts, "Default: "+k.Default+".")
	}
	if k.Ansible != "" {
		parts = append(parts, "Ansible: "+k.Ansible)
	}
	return strings.Join(parts, "\n")
}
