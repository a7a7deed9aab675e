package main

import (
	"math/rand"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// mutationFile finds places for mistakes in one file, knowing what each scalar is.
type mutationFile struct {
	s      *mutationSubject
	name   string
	text   string
	random *rand.Rand
	names  func() string
	known  runner.Set
	found  []mutation
}

// names is the text of all files of the subject, to see which names are used.
func (s *mutationSubject) names() string {
	var all strings.Builder
	_ = filepath.WalkDir(s.dir, func(path string, e os.DirEntry, err error) error {
		name, _ := filepath.Rel(s.dir, path)
		if err == nil && !e.IsDir() && filepath.Base(path) != "expected.json" && (!s.shipped || s.reads(name) || strings.Contains(path, "templates")) {
			text, err := os.ReadFile(path)
			if err == nil {
				all.Write(text)
			}
		}
		return nil
	})
	return all.String()
}

func (f *mutationFile) sites() {
	switch {
	case strings.Contains(f.name, "templates"):
		f.markers()
		return
	case f.variables():
		f.fileName()
	}
	var root yaml.Node
	if yaml.Unmarshal([]byte(f.text), &root) != nil || len(root.Content) == 0 {
		return
	}
	top := root.Content[0]
	switch {
	case f.variables():
		f.definitions(top)
	case top.Kind == yaml.MappingNode && strings.Contains(f.name, "meta"):
	case top.Kind == yaml.MappingNode:
		f.inventory(top)
	case top.Kind == yaml.SequenceNode && (find(top, "hosts") || find(top, "import_playbook")):
		for _, play := range top.Content {
			f.play(play)
		}
	case top.Kind == yaml.SequenceNode:
		f.tasks(top, strings.Contains(f.name, "handlers"))
	}
	f.braces()
	f.indentation()
}

func find(list *yaml.Node, key string) bool {
	return slices.ContainsFunc(list.Content, func(n *yaml.Node) bool { return value(n, key) != nil })
}

func value(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// variables says whether the file holds variables and nothing else.
func (f *mutationFile) variables() bool {
	return regexp.MustCompile(`(^|/)(group_vars|host_vars|vars|defaults)/`).MatchString(f.name)
}

// at is the byte where a scalar's text begins; -1 where it is not written as it reads.
func (f *mutationFile) at(n *yaml.Node) int {
	i := 0
	for line := 1; line < n.Line; line++ {
		i += strings.IndexByte(f.text[i:], '\n') + 1
	}
	i += n.Column - 1
	if n.Kind != yaml.ScalarNode || n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 || i >= len(f.text) {
		return -1
	}
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		i++
	}
	if !strings.HasPrefix(f.text[i:], n.Value) {
		return -1
	}
	return i
}

// add adds a mistake: the text at an offset becomes another.
func (f *mutationFile) add(kind string, offset int, from, to string) {
	if offset < 0 || from == to {
		return
	}
	f.found = append(f.found, mutation{of: f.s, kind: kind, file: f.name, offset: offset, line: 1 + strings.Count(f.text[:offset], "\n"), from: from, to: to})
}

// slip adds a mistake in one letter of a name.
func (f *mutationFile) slip(kind string, offset int, name string) {
	var letters []int
	for i, r := range name {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			letters = append(letters, i)
		}
	}
	if offset < 0 || len(letters) == 0 || len(name) < 2 {
		return
	}
	i := letters[f.random.Intn(len(letters))]
	wrong := name
	switch f.random.Intn(4) {
	case 0:
		wrong = name[:i] + string(rune('a'+f.random.Intn(26))) + name[i+1:]
	case 1:
		wrong = name[:i] + name[i+1:]
	case 2:
		wrong = name[:i+1] + name[i:]
	default:
		if i+1 < len(name) {
			wrong = name[:i] + name[i+1:i+2] + name[i:i+1] + name[i+2:]
		}
	}
	if kind == "function" && slices.ContainsFunc(vars.Functions(), func(fn vars.Function) bool { return fn.Name == wrong }) {
		return
	}
	f.add(kind, offset, name, wrong)
}

func (f *mutationFile) slipNode(kind string, n *yaml.Node) {
	if n != nil && !strings.Contains(n.Value, "{{") {
		f.slip(kind, f.at(n), n.Value)
	}
}

func (f *mutationFile) play(n *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i], n.Content[i+1]
		f.slipNode("keyword", key)
		switch key.Value {
		case "hosts":
			f.patterns(v)
		case "vars":
			f.definitions(v)
		case "tasks", "pre_tasks", "post_tasks":
			f.tasks(v, false)
		case "handlers":
			f.tasks(v, true)
		case "roles":
			for _, role := range v.Content {
				if role.Kind == yaml.MappingNode {
					role = value(role, "role")
				}
				f.slipNode("role", role)
			}
		case "vars_files", "import_playbook":
			for _, file := range append(v.Content, v) {
				f.slipNode("file", file)
			}
		default:
			f.keywordValue(key, v)
		}
	}
}

// patterns are the words of host patterns that name groups and hosts.
func (f *mutationFile) patterns(n *yaml.Node) {
	for _, item := range append(n.Content, n) {
		at := f.at(item)
		if at < 0 || strings.Contains(item.Value, "{{") || strings.Contains(item.Value, "~") {
			continue
		}
		for _, loc := range regexp.MustCompile(`[A-Za-z_][\w-]*`).FindAllStringIndex(item.Value, -1) {
			f.slip("group in hosts", at+loc[0], item.Value[loc[0]:loc[1]])
		}
	}
}

// keywordValue is a keyword's value: of the wrong type, or an expression.
func (f *mutationFile) keywordValue(key, v *yaml.Node) {
	i := slices.IndexFunc(playbook.KeywordDocs(), func(d playbook.KeywordDoc) bool { return d.Name == key.Value })
	if i < 0 {
		return
	}
	switch doc := playbook.KeywordDocs()[i]; {
	case v.Kind == yaml.ScalarNode && strings.HasPrefix(string(doc.Takes), "true or false") && !strings.Contains(v.Value, "{{"):
		f.add("boolean", f.at(v), v.Value, "maybe")
	case v.Kind == yaml.ScalarNode && slices.Contains([]string{"retries", "delay", "port", "throttle", "timeout", "max_fail_percentage"}, key.Value) && !strings.Contains(v.Value, "{{"):
		f.add("number", f.at(v), v.Value, "many")
	case slices.Contains([]string{"strategy", "order"}, key.Value):
		f.slipNode("choice", v)
	}
	if slices.Contains([]string{"when", "until", "changed_when", "failed_when"}, key.Value) {
		for _, item := range append(v.Content, v) {
			f.expression(item, true)
		}
		return
	}
	f.templates(v)
}

// templates are the expressions anywhere in a value.
func (f *mutationFile) templates(n *yaml.Node) {
	for _, inner := range n.Content {
		f.templates(inner)
	}
	f.expression(n, false)
}

var (
	mutatedPath = regexp.MustCompile(`(^|[^\w.)/])\.([A-Za-z_]\w*)((?:\.[A-Za-z_]\w*)*)`)
	mutatedWord = regexp.MustCompile(`(?:^|\{\{-?|\(|\|)\s*([a-z][A-Za-z_]+)\s`)
	guardedUse  = regexp.MustCompile(`\|\s*(default|defined|empty)|(default\s+\S+|defined|empty|coalesce)\s+\.?$`)
)

// expression is a scalar of templates, or one bare expression: variables, their fields, functions.
func (f *mutationFile) expression(n *yaml.Node, bare bool) {
	at := f.at(n)
	if at < 0 || !bare && !strings.Contains(n.Value, "{{") {
		return
	}
	for _, action := range f.actions(n.Value, bare) {
		text := n.Value[action[0]:action[1]]
		for _, m := range mutatedPath.FindAllStringSubmatchIndex(text, -1) {
			name := text[m[4]:m[5]]
			kind := "variable"
			if guardedUse.MatchString(text[:m[4]]) || guardedUse.MatchString(text[m[5]:]) || strings.Contains(text, "range") {
				kind = "guarded variable"
			}
			f.slip(kind, at+action[0]+m[4], name)
			if field := text[m[6]:m[7]]; len(field) > 2 && kind == "variable" {
				f.slip("field", at+action[0]+m[6]+1, strings.TrimPrefix(field, "."))
			}
		}
		for _, m := range mutatedWord.FindAllStringSubmatchIndex(text, -1) {
			if word := text[m[2]:m[3]]; slices.ContainsFunc(vars.Functions(), func(fn vars.Function) bool { return fn.Name == word }) {
				f.slip("function", at+action[0]+m[2], word)
			}
		}
	}
}

// actions are the parts of a text between braces, or all of a bare expression.
func (f *mutationFile) actions(text string, bare bool) [][]int {
	if bare {
		return [][]int{{0, len(text)}}
	}
	return regexp.MustCompile(`\{\{.*?\}\}`).FindAllStringIndex(text, -1)
}

func (f *mutationFile) tasks(list *yaml.Node, handlers bool) {
	for _, t := range list.Content {
		if t.Kind == yaml.MappingNode {
			f.task(t, handlers)
		}
	}
}

func (f *mutationFile) task(t *yaml.Node, handler bool) {
	for i := 0; i+1 < len(t.Content); i += 2 {
		key, v := t.Content[i], t.Content[i+1]
		m, isModule := f.known.Lookup(key.Value)
		switch {
		case isModule:
			f.slipNode("module", key)
			f.arguments(m, v)
			continue
		case strings.HasPrefix(key.Value, "include_") || strings.HasPrefix(key.Value, "import_"):
			f.slipNode("module", key)
			f.included(key.Value, v)
			continue
		case key.Value == "meta":
			f.slipNode("module", key)
			f.slipNode("choice", v)
			continue
		}
		f.slipNode("keyword", key)
		switch key.Value {
		case "block", "rescue", "always":
			f.tasks(v, handler)
		case "name":
			if handler && f.notified(v.Value) {
				f.slipNode("handler name", v)
			}
		case "notify", "listen":
			for _, n := range append(v.Content, v) {
				if key.Value == "notify" || strings.Count(f.names(), n.Value) > 1 {
					f.slipNode("notify", n)
				}
			}
		case "register":
			if f.used(v.Value) {
				f.slipNode("register", v)
			}
		case "vars":
			f.definitions(v)
		case "loop_control":
			for i := 0; i+1 < len(v.Content); i += 2 {
				f.slipNode("keyword", v.Content[i])
				if slices.Contains([]string{"loop_var", "index_var"}, v.Content[i].Value) {
					f.slipNode("loop variable", v.Content[i+1])
				}
			}
		default:
			f.keywordValue(key, v)
		}
	}
}

// notified says whether a handler's name is what reaches it: some notify names it, and no other handler has it. A name
// that nothing notifies is a text for people, and of several handlers of one name only the last is reached.
func (f *mutationFile) notified(name string) bool {
	quoted := regexp.QuoteMeta(name)
	return regexp.MustCompile(`notify:.*[\[ ,"':]`+quoted+`["']?\s*(,|\]|\}|$|\n)|notify:(\s*- .*\n)*\s*- ["']?`+quoted+`\b`).MatchString(f.names()) &&
		len(regexp.MustCompile(`name: ["']?`+quoted+`["']?\s*(,|\}|$|\n)`).FindAllString(f.names(), -1)) == 1
}

// used says whether something uses a variable, and not only where it may be undefined.
func (f *mutationFile) used(name string) bool {
	return regexp.MustCompile(`[^\w]\.`+name+`\b`).MatchString(f.names()) &&
		!regexp.MustCompile(`[^\w]\.`+name+`\s*\|\s*default|defined "`+name+`|default \S+ \.`+name+`\b`).MatchString(f.names())
}

func (f *mutationFile) included(what string, v *yaml.Node) {
	kind := "file"
	if strings.HasSuffix(what, "_role") {
		kind = "role"
	}
	if v.Kind == yaml.ScalarNode {
		f.slipNode(kind, v)
		f.templates(v)
		return
	}
	for i := 0; i+1 < len(v.Content); i += 2 {
		key, inner := v.Content[i], v.Content[i+1]
		f.slipNode("argument", key)
		if slices.Contains([]string{"file", "name", "tasks_from", "vars_from", "defaults_from"}, key.Value) {
			f.slipNode(kind, inner)
		}
	}
}

func (f *mutationFile) arguments(m *modules.Module, v *yaml.Node) {
	if v.Kind != yaml.MappingNode {
		f.templates(v)
		return
	}
	for i := 0; i+1 < len(v.Content); i += 2 {
		key, inner := v.Content[i], v.Content[i+1]
		arg, ok := m.Args.Lookup(key.Value)
		switch {
		case !ok:
			continue
		case arg.Rest:
			if m.Name == "set_fact" && f.used(key.Value) {
				f.slipNode("definition", key)
			}
		case slices.ContainsFunc(m.Args, func(a modules.Arg) bool { return a.Rest }): // a slip makes another variable
		default:
			f.slipNode("argument", key)
		}
		f.argument(arg, inner)
	}
}

func (f *mutationFile) argument(arg modules.Arg, v *yaml.Node) {
	if arg.Elem == modules.TypeExpr || arg.Type == modules.TypeExpr {
		for _, item := range append(v.Content, v) {
			f.expression(item, true)
		}
		return
	}
	f.templates(v)
	if arg.Rest || v.Kind != yaml.ScalarNode || strings.Contains(v.Value, "{{") {
		return
	}
	switch {
	case len(arg.Choices) > 0:
		f.slipNode("choice", v)
	case arg.File != "":
		f.slipNode("file", v)
	}
	switch arg.Type {
	case modules.TypeBool:
		f.add("boolean", f.at(v), v.Value, "maybe")
	case modules.TypeInt, modules.TypeFloat, modules.TypeDuration:
		f.add("number", f.at(v), v.Value, "many")
	case modules.TypeMode:
		f.add("number", f.at(v), v.Value, "rw-")
	case modules.TypePath:
		// Without its only letter the root is a path that is not given.
		if v.Value != "/" {
			f.add("path", f.at(v), v.Value, strings.TrimPrefix(v.Value, "/"))
		}
	case modules.TypeMap:
		f.add("type", f.at(v), v.Value, "[1]")
	case modules.TypeString, modules.TypeExpr, modules.TypeAny, modules.TypeList:
	}
}

// definitions are variables with their values.
func (f *mutationFile) definitions(n *yaml.Node) {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i], n.Content[i+1]
		if f.used(key.Value) || strings.HasPrefix(key.Value, "ansible_") {
			f.slipNode("definition", key)
			f.templates(v)
		}
	}
}

func (f *mutationFile) inventory(n *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		f.group(n.Content[i], n.Content[i+1])
	}
}

func (f *mutationFile) group(name, v *yaml.Node) {
	if name.Value != "all" && strings.Count(f.names(), name.Value) > 1 && f.plays(name.Value) && !f.made(name.Value) {
		f.slipNode("group", name)
	}
	for i := 0; v.Kind == yaml.MappingNode && i+1 < len(v.Content); i += 2 {
		key, inner := v.Content[i], v.Content[i+1]
		f.slipNode("keyword", key)
		switch key.Value {
		case "vars":
			f.definitions(f.notHidden(name.Value, inner))
		case "children":
			for j := 0; inner.Kind == yaml.MappingNode && j+1 < len(inner.Content); j += 2 {
				f.group(inner.Content[j], inner.Content[j+1])
			}
		case "hosts":
			for j := 0; inner.Kind == yaml.MappingNode && j+1 < len(inner.Content); j += 2 {
				f.definitions(inner.Content[j+1])
			}
		}
	}
}

// plays says whether a play is for a group. A regular expression is held against the names of hosts, too, and what it
// finds there does not depend on a group's name.
func (f *mutationFile) plays(group string) bool {
	text := regexp.MustCompile(`~[^",\n]*`).ReplaceAllString(f.names(), "")
	return regexp.MustCompile(`hosts: .*\b` + regexp.QuoteMeta(group) + `\b`).MatchString(text)
}

// made says whether a task makes a group of this name at run time: then it is there under both names.
func (f *mutationFile) made(group string) bool {
	return regexp.MustCompile(`(add_host|group_by):.*\b` + regexp.QuoteMeta(group) + `\b`).MatchString(f.names())
}

// notHidden are those variables of an inventory's group that the group's own file in group_vars does not hide: what is
// hidden nobody sees, however it is called.
func (f *mutationFile) notHidden(group string, n *yaml.Node) *yaml.Node {
	left := *n
	left.Content = nil
	files, _ := filepath.Glob(filepath.Join(f.s.dir, "*", "group_vars", group+".yml"))
	beside, _ := filepath.Glob(filepath.Join(f.s.dir, "group_vars", group+".yml"))
	var hiding strings.Builder
	for _, file := range append(files, beside...) {
		text, _ := os.ReadFile(file)
		hiding.Write(text)
	}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(n.Content[i].Value) + `:`).MatchString(hiding.String()) {
			left.Content = append(left.Content, n.Content[i], n.Content[i+1])
		}
	}
	return &left
}

// markers are variables in templates of Pegasus' kind and Go's.
func (f *mutationFile) markers() {
	for _, m := range regexp.MustCompile(`%\{([a-z][\w.]*)\}`).FindAllStringSubmatchIndex(f.text, -1) {
		f.slip("template file", m[2], f.text[m[2]:m[3]])
	}
}

// fileName is the name of a file of group_vars or host_vars.
func (f *mutationFile) fileName() {
	base := filepath.Base(f.name)
	dir := filepath.Base(filepath.Dir(f.name))
	if dir != "group_vars" && dir != "host_vars" || strings.HasPrefix(base, ".") {
		return
	}
	// Where a group's name is a template any file may be of a group that is made at run time.
	if dir == "group_vars" && regexp.MustCompile(`group_by:.*\{\{`).MatchString(f.names()) {
		return
	}
	before := len(f.found)
	f.slip("vars file name", 0, strings.TrimSuffix(base, filepath.Ext(base)))
	for i := range f.found[before:] {
		f.found[before+i].rename = f.found[before+i].to + filepath.Ext(base)
	}
}

// braces are actions that lose a brace.
func (f *mutationFile) braces() {
	for _, at := range regexp.MustCompile(`\{\{ .*? \}\}`).FindAllStringIndex(f.text, -1) {
		line := f.text[strings.LastIndexByte(f.text[:at[0]], '\n')+1 : at[0]]
		if strings.Contains(line, "#") || strings.Contains(line, "name:") {
			continue
		}
		f.add("braces", at[1]-1, "}", "")
	}
}

// indentation is a line that begins one column too far to the left or right.
func (f *mutationFile) indentation() {
	for _, at := range regexp.MustCompile(`(?m)^( +)(- )?[a-z_]+:`).FindAllStringSubmatchIndex(f.text, -1) {
		wrong := f.text[:at[3]] + " " + f.text[at[3]:]
		if !sameYAML(f.text, wrong) {
			f.add("indentation", at[3], "", " ")
		}
	}
}
