package playbook

import (
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

// roleUse is one bringing in of a role: by a role entry, a dependency, an import or an include.
type roleUse struct {
	name string
	at   diag.Position
	// tasks, vars, defaults and handlers are the *_from of an import or include; "" is main.
	tasks, vars, defaults, handlers string
	params                          *vars.Values
	public                          bool
	unchecked                       bool // rolespec_validate: false
	// entry is the entry as written: equal ones run once a host and play. "" is an import or include, which
	// always runs.
	entry string
}

// roles reads the roles: of a play.
func (r *reader) roles(n *yaml.Node, p *place) []*Block {
	var out []*Block
	for _, item := range r.list(n, "roles", p) {
		if b := r.roleEntry(item, p, Keywords{}); b != nil {
			out = append(out, b)
		}
	}
	return out
}

// roleEntry reads one entry of roles: or of a role's dependencies; nil when it cannot be read.
func (r *reader) roleEntry(n *yaml.Node, p *place, outer Keywords) *Block {
	b := &Block{At: p.at(n)}
	use := roleUse{at: p.at(n)}
	nameNode := n
	if n.Kind == yaml.MappingNode {
		nameNode = find(n, "role")
		if nameNode == nil {
			nameNode = find(n, "name")
		}
		use.params = r.roleKeywords(n, b, p)
	}
	if nameNode == nil || nameNode.Kind != yaml.ScalarNode || isNull(nameNode) || nameNode.Value == "" {
		r.lose(p.at(n), "write - role: NAME", "the entry names no role")
		return nil
	}
	name, ok := r.literal(r.value(entry{nameNode, nameNode}, p, isText), p)
	if !ok {
		return nil
	}
	use.name = name
	use.entry = fingerprint(n, name)
	role, body := r.role(use, p, outer.Under(b.Keywords))
	if role == nil {
		return nil
	}
	b.Role, b.Body = role, body
	return b
}

// roleKeywords reads the keywords of a role entry. Keys that are none are the role's parameters.
func (r *reader) roleKeywords(n *yaml.Node, b *Block, p *place) *vars.Values {
	params := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line, Column: n.Column}
	r.set(pairs(n), onRole, target{place: p, kw: &b.Keywords, block: b}, func(e entry) bool {
		if k, known := r.known[e.name()]; known && k.on&onRole != 0 {
			return false
		}
		if _, known := r.known[e.name()]; known {
			r.problems.Warn(p.at(e.key), "", "%q is a parameter of the role here, not a keyword", e.name())
		}
		if k, known := r.known[e.name()+"s"]; known && k.on&onRole != 0 {
			r.problems.Warn(p.at(e.key), diag.DidYouMean(e.name(), []string{e.name() + "s"}), "%q is a parameter of the role here, not a keyword", e.name())
		}
		params.Content = append(params.Content, e.key, e.value)
		return true
	})
	if len(params.Content) == 0 {
		return nil
	}
	return r.files.secret(p.file, vars.ValuesFromNode(params, p.file, r.problems))
}

// fingerprint tells entries of one role apart that differ in parameters, variables, conditions or tags.
func fingerprint(n *yaml.Node, name string) string {
	if n.Kind == yaml.ScalarNode || len(n.Content) == 2 {
		return name
	}
	rest := *n
	rest.Content = nil
	for _, e := range pairs(n) {
		if e.name() != "role" && e.name() != "name" {
			rest.Content = append(rest.Content, e.key, e.value)
		}
	}
	text, err := yaml.Marshal(&rest)
	if err != nil {
		panic("playbook: a node that was read cannot be written: " + err.Error())
	}
	return name + "\n" + string(text)
}

// findRole gives the folder of a role; "" when there is none, with the places searched.
func (r *reader) findRole(name string, p *place) (string, []string) {
	tried := []string{name}
	if !filepath.IsAbs(name) {
		tried = []string{filepath.Join(p.book, "roles", name)}
		for _, dir := range r.o.RolesPath {
			tried = append(tried, filepath.Join(dir, name))
		}
		if p.role != nil {
			tried = append(tried, filepath.Join(filepath.Dir(p.role.Path), name))
		}
		tried = append(tried, filepath.Join(p.book, name))
	}
	tried = distinct(tried)
	for _, path := range tried {
		if r.files.IsDir(path) {
			return path, tried
		}
	}
	return "", tried
}

// role reads a role: its blocks, with those of the roles it depends on before its own. Its handlers and
// roles go to the place's found, once. A role that cannot be found is nil.
func (r *reader) role(use roleUse, p *place, outer Keywords) (*Role, []*Block) {
	path, tried := r.findRole(use.name, p)
	if path == "" {
		r.lose(use.at, searched(tried), "there is no role %q", use.name)
		return nil, nil
	}
	if p.imports(path) {
		r.lose(use.at, p.roleChain(path), "role %q depends on itself", filepath.Base(path))
		return nil, nil
	}
	role := &Role{At: use.at, Name: filepath.Base(use.name), Path: path, Params: use.params, Public: use.public}
	if p.role != nil {
		role.Parents = append([]*Role{p.role}, p.role.Parents...)
	}
	meta := r.roleMeta(role)
	if use.entry != "" && !meta.duplicates {
		role.Once = path + "\n" + use.entry
	}
	role.Defaults = r.roleValues(role, "defaults", use.defaults)
	role.Vars = r.roleValues(role, "vars", use.vars)
	q := *p
	q.role, q.file, q.dir, q.above, q.dynamic = role, path, path, p, false
	body := r.dependencies(meta, &q, outer)
	if check := r.validation(role, use, meta, &q); check != nil {
		body = append(body, check)
	}
	body = append(body, r.roleTasks(role, use, &q)...)
	if p.found.meets(role) {
		p.found.roles = append(p.found.roles, role)
		p.found.handlers = append(p.found.handlers, r.roleHandlers(role, use, &q, outer)...)
	}
	return role, body
}

// imports says whether a text stands in a role, or in one that such a role brought in without an include.
func (p *place) imports(path string) bool {
	for up := p; up != nil && !up.dynamic; up = up.above {
		if up.role != nil && up.role.Path == path {
			return true
		}
	}
	return false
}

// roleChain is how a role comes to need itself.
func (p *place) roleChain(path string) string {
	chain := []string{filepath.Base(path)}
	for role := p.role; role != nil; role = role.parent() {
		chain = append([]string{role.Name}, chain...)
		if role.Path == path {
			break
		}
	}
	return strings.Join(chain, " → ")
}

// roleMeta is what meta/main.yml says.
type roleMeta struct {
	dependencies *yaml.Node
	at           *place
	duplicates   bool
	specs        entry // argument_specs
}

func (r *reader) roleMeta(role *Role) roleMeta {
	path, text := r.part(role, "meta", "")
	if text == nil {
		return roleMeta{}
	}
	p := &place{file: path, dir: filepath.Dir(path)}
	m := roleMeta{at: p}
	root := r.parse(text, path)
	if root == nil || !r.mapping(root, "a role's meta file", p) {
		return m
	}
	for _, e := range pairs(root) {
		switch e.name() {
		case "dependencies":
			m.dependencies = e.value
		case "allow_duplicates":
			m.duplicates = r.boolean(e, p)
		case "argument_specs":
			m.specs = e
		case "galaxy_info", "collections":
		default:
			r.unknownKey(e, p, "a role's meta file", []string{"dependencies", "allow_duplicates", "argument_specs", "galaxy_info"})
		}
	}
	return m
}

// dependencies reads the roles that must run before a role.
func (r *reader) dependencies(m roleMeta, p *place, outer Keywords) []*Block {
	if m.dependencies == nil {
		return nil
	}
	q := *p
	q.file, q.dir = m.at.file, m.at.dir
	var out []*Block
	for _, n := range r.list(m.dependencies, "dependencies", &q) {
		if b := r.roleEntry(n, &q, outer); b != nil {
			out = append(out, b)
		}
	}
	return out
}

// part finds the main file of a role's folder, or the file that from names; nil when there is none.
func (r *reader) part(role *Role, folder, from string) (string, []byte) {
	base := filepath.Join(role.Path, folder, from)
	if from == "" {
		base = filepath.Join(role.Path, folder, "main")
	}
	for _, ext := range []string{".yml", ".yaml", ".json", ""} {
		if text, err := r.files.ReadFile(base + ext); err == nil {
			return base + ext, text
		}
	}
	return base, nil
}

// roleValues reads defaults or vars, a file or a folder of files.
func (r *reader) roleValues(role *Role, folder, from string) *vars.Values {
	path, text := r.part(role, folder, from)
	switch {
	case text != nil:
		return r.valuesOf(text, path)
	case from == "":
		return r.folderValues(filepath.Join(role.Path, folder, "main"))
	case r.files.IsDir(path):
		return r.folderValues(path)
	}
	r.lose(role.At, "searched "+path+" and "+path+".yml", "role %q has no %s file %q", role.Name, folder, from)
	return nil
}

// folderValues reads every file of a folder in name order, later ones over earlier ones.
func (r *reader) folderValues(dir string) *vars.Values {
	var out *vars.Values
	for _, name := range r.files.List(dir) {
		path := filepath.Join(dir, name)
		switch ext := filepath.Ext(name); {
		case strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~"):
		case strings.HasSuffix(name, "/"):
			out = out.Over(r.folderValues(path))
		case ext == "" || ext == ".yml" || ext == ".yaml" || ext == ".json":
			if text, err := r.files.ReadFile(path); err == nil {
				out = out.Over(r.valuesOf(text, path))
			}
		}
	}
	return out
}

// roleTasks reads a role's tasks.
func (r *reader) roleTasks(role *Role, use roleUse, p *place) []*Block {
	path, text := r.part(role, "tasks", use.tasks)
	if text == nil {
		if use.tasks != "" {
			r.lose(use.at, "searched "+path+" and "+path+".yml", "role %q has no tasks file %q", role.Name, use.tasks)
		}
		return nil
	}
	q := p.imported(path)
	q.above = p.above
	return r.blocks(r.parse(text, path), q)
}

// roleHandlers reads a role's handlers, with the keywords of the entry that brings the role in.
func (r *reader) roleHandlers(role *Role, use roleUse, p *place, outer Keywords) []*Handler {
	path, text := r.part(role, "handlers", use.handlers)
	if text == nil {
		if use.handlers != "" {
			r.lose(use.at, "searched "+path+" and "+path+".yml", "role %q has no handlers file %q", role.Name, use.handlers)
		}
		return nil
	}
	q := p.imported(path)
	q.above, q.handler = p.above, true
	return r.flatten(r.blocks(r.parse(text, path), q), outer, q)
}
