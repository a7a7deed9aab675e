package schema

import (
	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner"
)

// Source is an inventory source of a plugin, with what a file that names it may say.
type Source struct {
	Name, Title string
	Options     modules.Schema
}

// Inventory is the schema of inventories in YAML: of groups, and of files that name a source.
func Inventory(known []Source) *Node {
	n := groups()
	named := make([]*Node, 0, len(known)+1)
	names := []any{}
	for _, s := range known {
		names = append(names, s.Name)
		file := argumentsNode(s.Options)
		file.Type, file.Description, file.Required, file.AllOf = []string{"object"}, s.Title, []string{"plugin"}, requiredArgs(s.Options)
		file.Properties["plugin"] = &Node{Enum: []any{s.Name}}
		named = append(named, file)
	}
	other := &Node{Type: []string{"object"}, Description: "Hosts of a plugin that is not known here.", Required: []string{"plugin"},
		Properties: map[string]*Node{"plugin": {Type: []string{"string"}, Pattern: "^[a-z][a-z0-9_]*$"}}}
	if len(names) > 0 {
		other.Properties["plugin"].Not = &Node{Enum: names}
	}
	n.If, n.Then, n.Else = &Node{Required: []string{"plugin"}, Type: []string{"object"}}, anyOf(append(named, other)...), &Node{Type: n.Type, Additional: n.Additional, Properties: n.Properties}
	n.Type, n.Additional, n.Properties = nil, nil, nil
	return n
}

// groups is the schema of inventories of groups.
func groups() *Node {
	group := object(map[string]*Node{
		"hosts":    {Type: []string{"object", "null", "string"}, Additional: ref("host"), Description: "Hosts by name, which may be a range such as web[01:20], with their variables."},
		"children": {Type: []string{"object", "null", "string"}, Additional: ref("group"), Description: "Groups below this one."},
		"vars":     described(variables(), "Variables of every host of the group."),
	})
	group.Type, group.Description = []string{"object", "null"}, "A group of hosts."
	group.Properties["vars"].Properties["ansible_group_priority"] = &Node{Type: []string{"integer", "string"}, Pattern: wholePattern,
		Description: "Of groups at one depth, variables of the one with the highest priority win."}
	return &Node{
		Title: "pegbook inventory", Type: []string{"object", "null"}, Additional: ref("group"),
		Properties: map[string]*Node{"all": ref("group"), "ungrouped": ref("group")},
		Defs: map[string]*Node{
			"template": valueDefinitions()["template"],
			"group":    group,
			"host":     described(variables(), "Variables of the host."),
		},
	}
}

// Vars is the schema of files of variables: group_vars, host_vars, vars_files, a role's defaults and vars.
func Vars() *Node {
	n := variables()
	n.Title = "pegbook variables"
	n.Defs = map[string]*Node{"template": valueDefinitions()["template"]}
	return n
}

// variables is a mapping of variables; those that say how a host is reached have types.
func variables() *Node {
	n := &Node{Type: []string{"object", "null"}, PropertyNames: pattern(namePattern), Properties: map[string]*Node{}}
	for _, v := range runner.ConnectionVariables() {
		n.Properties[v.Name] = described(connectionNode(v), v.Doc)
	}
	return n
}

func connectionNode(v runner.ConnectionVariable) *Node {
	switch {
	case len(v.Choices) > 0:
		return anyOf(&Node{Enum: anySlice(v.Choices)}, ref("template"), typed("null"))
	case v.Takes == runner.VariableNumber:
		return scalar(wholePattern, "integer")
	case v.Takes == runner.VariableBoolean:
		return scalar(booleanPattern+"|^[01tfynTFYN]$", "boolean", "integer")
	case v.Takes == runner.VariableTexts:
		return orList(typed("string", "number", "null"))
	}
	return typed("string", "number", "boolean", "null")
}
