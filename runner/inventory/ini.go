package inventory

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

var section = regexp.MustCompile(`^\[([^:\]\s]+)(?::(\w+))?\]\s*(?:[#;].*)?$`)

// iniReader reads Ansible's INI format: sections of hosts, of variables and of children.
type iniReader struct {
	*sources
	path string
	line int

	group *group
	kind  string // of the section: "", "vars" or "children"
	// vars are a group's variables until the file has been read.
	vars map[*group]*yaml.Node
	// promised are groups that a section of variables names and nothing has defined yet.
	promised map[string]diag.Position
}

func (s *sources) readINI(path, text string) {
	r := iniReader{sources: s, path: path, group: s.group(ungrouped), vars: map[*group]*yaml.Node{}, promised: map[string]diag.Position{}}
	defined := map[string]bool{all: true, ungrouped: true}
	for name := range s.groups {
		defined[name] = true
	}
	for line := range strings.SplitSeq(text, "\n") {
		r.line++
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';' {
			continue
		}
		column := strings.Index(line, trimmed[:1]) + 1
		if trimmed[0] == '[' && !isHostLine(trimmed) {
			r.open(trimmed, column, defined)
			continue
		}
		switch r.kind {
		case "vars":
			r.variable(trimmed, column)
		case "children":
			r.child(trimmed, column, defined)
		default:
			r.host(trimmed, column)
		}
	}
	for _, g := range s.order {
		if n := r.vars[g]; n != nil {
			g.vars = over(g.vars, vars.InventoryValues(n, path, s.problems))
		}
	}
	for name, at := range r.promised {
		if !defined[name] {
			s.problems.Add(at, diag.DidYouMean(name, slices.Sorted(maps.Keys(defined))), "variables for the group %q, which is not defined", name)
		}
	}
}

// isHostLine recognises an address in brackets, such as [::1]:22, which is no section.
func isHostLine(line string) bool {
	first, _, _ := strings.Cut(line, " ")
	return bracketedIP.MatchString(first) && strings.Contains(first, ":") && !section.MatchString(line)
}

func (r *iniReader) at(column int) diag.Position {
	return diag.Position{File: r.path, Line: r.line, Column: column}
}

// open begins a section.
func (r *iniReader) open(line string, column int, defined map[string]bool) {
	m := section.FindStringSubmatch(line)
	if m == nil {
		r.problems.Add(r.at(column), "write [group], [group:vars] or [group:children]", "%q is no section", line)
		return
	}
	if m[2] != "" && m[2] != "vars" && m[2] != "children" && m[2] != "hosts" {
		r.problems.Add(r.at(column), diag.DidYouMean(m[2], []string{"vars", "children"}), "a section has vars or children, not %q", m[2])
		return
	}
	r.kind = strings.TrimPrefix(m[2], "hosts")
	if r.kind == "vars" && !defined[m[1]] {
		if _, ok := r.promised[m[1]]; !ok {
			r.promised[m[1]] = r.at(column)
		}
		r.group = r.sources.group(m[1])
		return
	}
	if r.kind != "vars" {
		defined[m[1]] = true
	}
	r.group = r.sources.group(m[1])
}

// host reads a line such as: web[1:3] ansible_port=2222.
func (r *iniReader) host(line string, column int) {
	words, ok := iniWords(line)
	if !ok {
		r.problems.Add(r.at(column), "", "a quote is not closed")
		return
	}
	if len(words) == 0 {
		return
	}
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, w := range words[1:] {
		name, value, found := strings.Cut(w.text, "=")
		if !found || name == "" {
			r.problems.Add(r.at(column+w.column), "write name=value", "%q is no variable", w.text)
			continue
		}
		n.Content = append(n.Content, r.text(name, column+w.column), iniValue(value, r.line, column+w.column+len(name)+1))
	}
	var v *vars.Values
	if len(n.Content) > 0 {
		v = vars.InventoryValues(lastWins(n), r.path, r.problems)
	}
	r.addHosts(r.group, words[0].text, v, r.at(column))
}

// variable reads a line of a section of variables.
func (r *iniReader) variable(line string, column int) {
	name, value, ok := strings.Cut(line, "=")
	name = strings.TrimSpace(name)
	if !ok || name == "" {
		r.problems.Add(r.at(column), "write name=value", "%q is no variable", line)
		return
	}
	at := column + len(line) - len(strings.TrimLeft(value, " \t"))
	value = strings.TrimSpace(value)
	if name == "ansible_group_priority" {
		r.priority(r.group, value, r.at(at))
		return
	}
	n := r.vars[r.group]
	if n == nil {
		n = &yaml.Node{Kind: yaml.MappingNode}
		r.vars[r.group] = n
	}
	n.Content = append(n.Content, r.text(name, column), iniValue(value, r.line, at))
	r.vars[r.group] = lastWins(n)
}

// child reads a line of a section of children.
func (r *iniReader) child(line string, column int, defined map[string]bool) {
	name, _, _ := strings.Cut(line, "#")
	name = strings.TrimSpace(name)
	if strings.ContainsAny(name, " \t=:") {
		r.problems.Add(r.at(column), "write one group a line", "%q is no name of a group", name)
		return
	}
	defined[name] = true
	if !r.group.adopt(r.sources.group(name)) {
		r.problems.Add(r.at(column), "", "the group %q would be below itself", name)
	}
}

func (r *iniReader) text(text string, column int) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: text, Line: r.line, Column: column}
}

// lastWins drops an earlier variable of the name of the last one.
func lastWins(n *yaml.Node) *yaml.Node {
	last := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		last[n.Content[i].Value] = i
	}
	if len(last)*2 == len(n.Content) {
		return n
	}
	out := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if last[n.Content[i].Value] == i {
			out.Content = append(out.Content, n.Content[i], n.Content[i+1])
		}
	}
	return out
}

// word is a part of a line, with its quotes taken off, and where it begins.
type word struct {
	text   string
	column int // from 0
}

// iniWords splits a line as a shell would: quotes and backslashes protect, # begins a comment. False: a
// quote is not closed.
func iniWords(line string) ([]word, bool) {
	var words []word
	var text strings.Builder
	start, quote := -1, byte(0)
	end := func() {
		if start >= 0 {
			words = append(words, word{text.String(), start})
			text.Reset()
			start = -1
		}
	}
	for i := 0; i < len(line); i++ {
		c := line[i]
		if quote == 0 && (c == ' ' || c == '\t' || c == '\r') {
			end()
			continue
		}
		if quote == 0 && c == '#' {
			break
		}
		if start < 0 {
			start = i
		}
		switch {
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case c == quote && quote != 0:
			quote = 0
		case c == '\\' && quote != '\'' && i+1 < len(line) && (quote == 0 || line[i+1] == '"' || line[i+1] == '\\'):
			i++
			text.WriteByte(line[i])
		default:
			text.WriteByte(c)
		}
	}
	end()
	return words, quote == 0
}
