package inventory

import (
	"context"
	"fmt"
	"strconv"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/internal/document"
	"github.com/pegbook/pegbook/runner/vars"
)

// looksLikeYAML says whether a file without an ending is YAML and not INI: whether it is a mapping.
func looksLikeYAML(text []byte) bool {
	var ignored diag.List
	root := document.Parse(text, "", &ignored)
	return root != nil && root.Kind == yaml.MappingNode
}

const emptyHint = "write all:, hosts: below it, and the names of hosts with a colon behind each"

// readYAML reads an inventory in YAML or JSON: groups at the top, or the name of a plugin.
func (s *sources) readYAML(ctx context.Context, path string, text []byte) {
	before := len(*s.problems)
	root := document.Parse(text, path, s.problems)
	y := yamlReader{sources: s, path: path}
	switch {
	case root == nil && len(*s.problems) == before:
		s.problems.Add(diag.Position{File: path}, emptyHint, "the inventory is empty")
	case root == nil:
	case root.Kind != yaml.MappingNode:
		s.problems.Add(y.at(root), "begin with all:, and hosts: and children: below it", "an inventory is a mapping of groups")
	case value(root, "plugin") != nil:
		s.readPlugin(ctx, path, root)
	default:
		for _, e := range pairs(root) {
			y.group(e.key, e.value, 0)
		}
	}
}

type yamlReader struct {
	*sources
	path string
}

func (y yamlReader) at(n *yaml.Node) diag.Position {
	return diag.Position{File: y.path, Line: n.Line, Column: n.Column}
}

type pair struct{ key, value *yaml.Node }

func pairs(n *yaml.Node) []pair {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	out := make([]pair, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		out = append(out, pair{n.Content[i], n.Content[i+1]})
	}
	return out
}

func value(n *yaml.Node, key string) *yaml.Node {
	for _, e := range pairs(n) {
		if e.key.Value == key {
			return e.value
		}
	}
	return nil
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// maxGroupDepth bounds groups below groups, which an alias can make endless.
const maxGroupDepth = 100

// group reads one group; it gives nil for one that cannot be.
func (y yamlReader) group(key, body *yaml.Node, depth int) *group {
	if depth > maxGroupDepth {
		y.problems.Add(y.at(key), "", "groups are nested more than %d deep", maxGroupDepth)
		return nil
	}
	if key.Tag != "!!str" {
		y.problems.Add(y.at(key), "put it in quotes", "the name of a group must be text, not %s", key.Value)
		return nil
	}
	if body.Kind != yaml.MappingNode && !isNull(body) {
		y.problems.Add(y.at(body), "write hosts:, vars: or children: below it", "the group %q must be a mapping", key.Value)
		return nil
	}
	g := y.sources.group(key.Value, y.at(key))
	for _, e := range pairs(body) {
		switch e.key.Value {
		case "vars":
			y.groupVars(g, e.value)
		case "hosts":
			for _, h := range y.members(e.value, "hosts") {
				y.host(g, h)
			}
		case "children":
			for _, c := range y.members(e.value, "children") {
				if child := y.group(c.key, c.value, depth+1); child != nil {
					y.below(g, child, y.at(c.key))
				}
			}
		default:
			y.unknown(g, e.key, e.value)
		}
	}
	return g
}

// unknown reports a key that a group has not. Ansible passes over it; what begins like one of the three and
// nearly is it can only be a mistake.
func (y yamlReader) unknown(g *group, key, body *yaml.Node) {
	known := []string{"hosts", "vars", "children"}
	if near := diag.Nearest(key.Value, known); near != "" && near[0] == key.Value[0] {
		y.problems.Add(y.at(key), fmt.Sprintf("did you mean %q?", near), "a group has hosts, vars and children, not %q", key.Value)
		return
	}
	hint := "a group has hosts, vars and children"
	switch body.Kind {
	case yaml.MappingNode:
		hint = "put groups below children:, variables below vars:"
	case yaml.ScalarNode:
		hint = "put variables below vars:, hosts below hosts:"
	}
	y.problems.Warn(y.at(key), hint, "%q in group %q is passed over", key.Value, g.name)
}

// members are the entries of hosts or children. A single text is one of them, as in Ansible.
func (y yamlReader) members(n *yaml.Node, what string) []pair {
	switch {
	case n.Kind == yaml.MappingNode:
		return pairs(n)
	case isNull(n):
		return nil
	case n.Kind == yaml.ScalarNode:
		return []pair{{n, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}}}
	}
	example := "name:"
	if len(n.Content) > 0 && n.Content[0].Kind == yaml.ScalarNode {
		example = n.Content[0].Value + ":"
	}
	y.problems.Add(y.at(n), "write each name with a colon behind it and no dash before it: "+example, "%s must be a mapping, not a list", what)
	return nil
}

func (y yamlReader) host(g *group, e pair) {
	if e.key.Tag != "!!str" {
		y.problems.Add(y.at(e.key), "put it in quotes", "the name of a host must be text, not %s", e.key.Value)
		return
	}
	if e.value.Kind != yaml.MappingNode && !isNull(e.value) {
		y.problems.Add(y.at(e.value), "write name: value lines below it", "the variables of %q must be a mapping", e.key.Value)
		return
	}
	var v *vars.Values
	if !isNull(e.value) {
		v = y.values(e.value, y.path)
	}
	y.addHosts(g, e.key.Value, v, y.at(e.key))
}

// groupVars adds variables to a group. The priority is for the merger and no variable.
func (y yamlReader) groupVars(g *group, n *yaml.Node) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		y.problems.Add(y.at(n), "write name: value lines below it", "the variables of %q must be a mapping", g.name)
		return
	}
	rest := *n
	rest.Content = make([]*yaml.Node, 0, len(n.Content))
	for _, e := range pairs(n) {
		if e.key.Value == groupPriority {
			y.priority(g, e.value.Value, y.at(e.value))
			continue
		}
		rest.Content = append(rest.Content, e.key, e.value)
	}
	if len(rest.Content) > 0 {
		g.vars = append(g.vars, y.values(&rest, y.path))
	}
}

func (s *sources) priority(g *group, text string, at diag.Position) {
	n, err := strconv.Atoi(text)
	if err != nil {
		s.problems.Add(at, "", "%s must be a whole number, not %q", groupPriority, text)
		return
	}
	g.priority = n
}
