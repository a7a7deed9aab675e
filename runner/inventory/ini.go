package inventory

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

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
	// promised are groups that a section names and nothing has defined yet. They count from where they are
	// defined on: a group named as a child only stands behind those defined before it.
	promised map[string]*promise
}

// promise is a group that is named before it is defined.
type promise struct {
	at      diag.Position
	parents []string // groups that want it as a child; none where only a section of variables names it
}

func (s *sources) readINI(path, text string) {
	r := iniReader{sources: s, path: path, vars: map[*group]*yaml.Node{}, promised: map[string]*promise{}}
	r.group = s.groups[ungrouped]
	for line := range strings.SplitSeq(text, "\n") {
		r.line++
		if bad := strings.IndexFunc(line, func(c rune) bool { return c == utf8.RuneError }); bad >= 0 && !utf8.ValidString(line) && !isComment(line) {
			r.problems.Add(r.at(utf8.RuneCountInString(line[:bad])+1), "save the file as UTF-8", "the line is not UTF-8")
			continue
		}
		r.read(line)
	}
	for _, g := range s.order {
		if n := r.vars[g]; n != nil {
			g.vars = append(g.vars, s.values(lastWins(n), path))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.promised)) {
		p := r.promised[name]
		hint := diag.DidYouMean(name, r.definedNames())
		if hint == "" || len(p.parents) > 0 && !strings.HasPrefix(hint, "did") {
			hint = "write [" + name + "], with the names of its hosts below it"
		}
		if len(p.parents) > 0 {
			r.problems.Add(p.at, hint, "the child %q of group %q is not defined", name, p.parents[0])
			continue
		}
		r.problems.Add(p.at, hint, "variables for the group %q, which is not defined", name)
	}
}

// definedNames are the groups that a promise may mean.
func (r *iniReader) definedNames() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(r.groups)), func(name string) bool { return r.promised[name] != nil })
}

func isComment(line string) bool {
	trimmed := strings.TrimSpace(line)
	return trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';'
}

func (r *iniReader) read(line string) {
	if isComment(line) {
		return
	}
	trimmed := strings.TrimSpace(line)
	column := strings.Index(line, trimmed[:1]) + 1
	if trimmed[0] == '[' && !isHostLine(trimmed) {
		r.open(trimmed, column)
		return
	}
	switch r.kind {
	case "vars":
		r.variable(trimmed, column)
	case "children":
		r.child(trimmed, column)
	default:
		r.host(trimmed, column)
	}
}

// isHostLine recognises a host whose name begins with a range or is an address in brackets, such as
// [a:c]-web x=1 or [::1]:22, which is no section.
func isHostLine(line string) bool {
	if section.MatchString(line) {
		return false
	}
	first, _, more := strings.Cut(line, " ")
	if bracketedIP.MatchString(first) && strings.Contains(first, ":") {
		return true
	}
	end := strings.IndexByte(first, ']')
	return end > 0 && (end < len(first)-1 || more && strings.Contains(line, "=")) && strings.Contains(first, ":")
}

func (r *iniReader) at(column int) diag.Position {
	return diag.Position{File: r.path, Line: r.line, Column: column}
}

// open begins a section.
func (r *iniReader) open(line string, column int) {
	m := section.FindStringSubmatch(line)
	if m == nil {
		r.problems.Add(r.at(column), "write [group], [group:vars] or [group:children], without spaces", "%q is no section", line)
		return
	}
	name, kind := m[1], strings.TrimPrefix(m[2], "hosts")
	if kind != "" && kind != "vars" && kind != "children" {
		r.problems.Add(r.at(column), diag.DidYouMean(kind, []string{"vars", "children"}), "a section has vars or children, not %q", kind)
		return
	}
	_, known := r.groups[name]
	r.kind, r.group = kind, r.sources.group(name, r.at(column))
	switch p := r.promised[name]; {
	case kind == "vars" && !known && p == nil:
		r.promised[name] = &promise{at: r.at(column)}
	case kind != "vars" && p != nil:
		r.keep(name)
	}
}

// keep makes a group that was promised a child of those that want it, and these of theirs.
func (r *iniReader) keep(name string) {
	p := r.promised[name]
	delete(r.promised, name)
	for _, parent := range p.parents {
		r.below(r.groups[parent], r.groups[name], p.at)
	}
}

// host reads a line such as: web[1:3] ansible_port=2222.
func (r *iniReader) host(line string, column int) {
	words, ok := iniWords(line)
	if !ok {
		r.problems.Add(r.at(column), "close it, or put a quote that is meant in other quotes", "a quote is not closed")
		return
	}
	if len(words) == 0 {
		return
	}
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, w := range words[1:] {
		name, value, found := strings.Cut(w.text, "=")
		if !found || name == "" {
			r.problems.Add(r.at(column+w.column), "write name=value, without spaces around =", "%q is no variable", w.text)
			continue
		}
		n.Content = append(n.Content, r.text(name, column+w.column), iniValue(value, r.line, column+w.column+len(name)+1))
	}
	var v *vars.Values
	if len(n.Content) > 0 {
		v = r.values(lastWins(n), r.path)
	}
	name := words[0].text
	switch {
	case name == "---":
		r.problems.Add(r.at(column), "end the file's name in .yml", "--- begins a YAML file, and this one is read as INI")
	case strings.HasSuffix(name, ":"):
		r.problems.Add(r.at(column), "write "+strings.TrimRight(name, ":")+"; in a YAML inventory (.yml) a colon stands behind names", "%q ends in a colon, which a port must follow", name)
	default:
		r.addHosts(r.group, name, v, r.at(column))
	}
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
	if name == groupPriority {
		r.priority(r.group, value, r.at(at))
		return
	}
	n := r.vars[r.group]
	if n == nil {
		n = &yaml.Node{Kind: yaml.MappingNode}
		r.vars[r.group] = n
	}
	n.Content = append(n.Content, r.text(name, column), iniValue(value, r.line, at))
}

// child reads a line of a section of children.
func (r *iniReader) child(line string, column int) {
	name, _, _ := strings.Cut(line, "#")
	name = strings.TrimSpace(name)
	if strings.ContainsAny(name, " \t=:]") {
		r.problems.Add(r.at(column), "write one group a line", "%q is no name of a group", name)
		return
	}
	if p := r.promised[name]; p != nil {
		p.parents = append(p.parents, r.group.name)
		return
	}
	if g, ok := r.groups[name]; ok {
		r.below(r.group, g, r.at(column))
		return
	}
	r.promised[name] = &promise{at: r.at(column), parents: []string{r.group.name}}
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
	out := &yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column}
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
			start = utf8.RuneCountInString(line[:i])
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
