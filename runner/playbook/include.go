package playbook

import (
	"path/filepath"

	"gopkg.in/yaml.v3"
)

// includeTasks reads include_tasks: file, or {file, apply}.
func (r *reader) includeTasks(does entry, t *Task, p *place) {
	t.ArgsAt = p.at(does.value)
	t.Include = &Include{}
	file, ok := r.importName(does, "file", p)
	for _, e := range pairs(does.value) {
		switch e.name() {
		case "file":
		case "apply":
			r.apply(e, t.Include, p)
		default:
			r.unknownKey(e, p, "include_tasks", keysOf("include_tasks"))
		}
	}
	if !ok {
		return
	}
	t.Include.File = file
	name, static := file.Static()
	if !static {
		return
	}
	path, text, tried := r.search(name.Text(), p)
	if text == nil {
		r.problems.Warn(file.Position(), searched(tried), "there is no file %q to include; hosts that get here will fail", name.Text())
		return
	}
	t.Include.Content = r.once(contentKey{path: path, role: p.role}, func() *Content {
		return r.fileContent(text, p.included(path))
	})
}

// once reads an include's content the first time it is met. It gives nil while the same content is being
// read: something that includes itself is read one turn at a time during the run.
func (r *reader) once(key contentKey, read func() *Content) *Content {
	if c, met := r.contents[key]; met {
		return c
	}
	r.contents[key] = nil
	c := read()
	r.contents[key] = c
	return c
}

// apply reads the keywords that an include gives to its content.
func (r *reader) apply(e entry, inc *Include, p *place) {
	r.set(r.entries(e, p), onApply, target{place: p, kw: &inc.Apply}, nil)
}

// roleArgs reads what include_role and import_role take.
func (r *reader) roleArgs(e entry, inc *Include, dynamic bool, p *place) {
	from := map[string]*string{
		"tasks_from": &inc.TasksFrom, "vars_from": &inc.VarsFrom, "defaults_from": &inc.DefaultsFrom,
		"handlers_from": &inc.HandlersFrom,
	}
	what := moduleName(e.name())
	for _, e := range pairs(e.value) {
		field := from[e.name()]
		switch {
		case field != nil:
			*field = r.constant(e, p)
		case e.name() == "name":
		case e.name() == "allow_duplicates":
			r.boolean(e, p) // roles brought in by a task always run, as often as they are asked for
		case e.name() == "rolespec_validate":
			inc.Unchecked = !r.boolean(e, p)
		case e.name() == "public" && dynamic:
			inc.Public = r.boolean(e, p)
		case e.name() == "apply" && dynamic:
			r.apply(e, inc, p)
		default:
			r.unknownKey(e, p, what, keysOf(what))
		}
	}
}

// includeRole reads include_role.
func (r *reader) includeRole(does entry, t *Task, p *place) {
	t.ArgsAt = p.at(does.value)
	inc := &Include{}
	t.Include = inc
	if does.value.Kind != yaml.MappingNode {
		r.lose(p.at(does.key), "write include_role: {name: …}", "include_role takes a mapping, not %s", describe(does.value))
		return
	}
	r.roleArgs(does, inc, true, p)
	name, ok := r.importName(does, "name", p)
	if !ok {
		return
	}
	inc.RoleName = name
	d, static := name.Static()
	if !static {
		return
	}
	use := inc.use(d.Text(), t)
	path, _ := r.findRole(use.name, p)
	key := contentKey{path: path, role: p.role, unchecked: use.unchecked, from: [4]string{use.tasks, use.vars, use.defaults, use.handlers}}
	if path != "" && p.within(path) {
		return // read in the run: a role that includes itself
	}
	inc.Content = r.once(key, func() *Content { return r.roleContent(use, p) })
}

// use is the role that an include brings in.
func (inc *Include) use(name string, t *Task) roleUse {
	return roleUse{name: name, at: t.At, tasks: inc.TasksFrom, vars: inc.VarsFrom, defaults: inc.DefaultsFrom,
		handlers: inc.HandlersFrom, public: inc.Public, unchecked: inc.Unchecked}
}

// within says whether a text stands in a role, or in one that such a role brought in.
func (p *place) within(path string) bool {
	for role := p.role; role != nil; role = role.parent() {
		if role.Path == path {
			return true
		}
	}
	return false
}

// importRole reads import_role: a block with the role's tasks.
func (r *reader) importRole(n *yaml.Node, e entry, p *place) *Block {
	b := &Block{At: p.at(n)}
	if !r.importKeywords(n, e, b, p) {
		return nil
	}
	if e.value.Kind != yaml.MappingNode {
		r.lose(p.at(e.key), "write import_role: {name: …}", "import_role takes a mapping, not %s", describe(e.value))
		return nil
	}
	inc := &Include{}
	r.roleArgs(e, inc, false, p)
	v, ok := r.importName(e, "name", p)
	if !ok {
		return nil
	}
	name, ok := r.literal(v, p)
	if !ok {
		return nil
	}
	use := inc.use(name, &Task{At: v.Position()})
	use.public = true
	role, body := r.role(use, p, b.Keywords)
	if role == nil {
		return nil
	}
	b.Role, b.Body = role, body
	return b
}

// roleContent reads a role that an include brings in.
func (r *reader) roleContent(use roleUse, p *place) *Content {
	q := p.included(p.file)
	role, body := r.role(use, q, Keywords{})
	if role == nil {
		return nil
	}
	return &Content{
		Path:     filepath.Join(role.Path, "tasks"),
		Blocks:   []*Block{{At: use.at, Role: role, Body: body}},
		Handlers: q.found.handlers,
		Role:     role,
	}
}
