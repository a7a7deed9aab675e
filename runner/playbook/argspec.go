package playbook

import (
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/internal/document"
	"github.com/pegbook/pegbook/runner/vars"
)

// ArgumentSpec is what a role expects of its variables, or an option of the keys of its mapping.
type ArgumentSpec struct {
	At      diag.Position
	Options []*RoleOption
	// MutuallyExclusive and the others are lists of names; RequiredIf and RequiredBy say when.
	MutuallyExclusive, RequiredTogether, RequiredOneOf [][]string
	RequiredIf                                         []RequiredIf
	RequiredBy                                         []RequiredBy
}

// RoleOption is one variable that a role takes.
type RoleOption struct {
	At             diag.Position
	Name           string
	Type, Elements string // "" is str, and no rule for elements
	Required       bool
	NoLog          bool
	Choices        []vars.Data
	Default        vars.Data // documentation; it counts for the conditions of the specification only
	HasDefault     bool
	Aliases        []string
	// ApplyDefaults checks the keys of a mapping that is not given as if it were empty.
	ApplyDefaults bool
	// Keys are those of a mapping, or of the mappings in a list; nil: any.
	Keys *ArgumentSpec
}

// RequiredIf asks for the names, or with Any for one of them, when an option has a value.
type RequiredIf struct {
	Name  string
	Value vars.Data
	Names []string
	Any   bool
}

// RequiredBy asks for the names when an option is given.
type RequiredBy struct {
	Name  string
	Names []string
}

func argumentTypes() []string {
	return []string{"str", "int", "float", "bool", "list", "dict", "path", "raw", "json", "jsonarg", "bytes", "bits"}
}

// roleSpecs finds what a role's meta says of its arguments: a mapping of entry points.
func (r *reader) roleSpecs(role *Role, inMain entry, at *place) (*yaml.Node, *place) {
	for _, ext := range []string{".yml", ".yaml", ".json"} {
		path := filepath.Join(role.Path, "meta", "argument_specs"+ext)
		text, err := r.files.ReadFile(path)
		if err != nil {
			continue
		}
		p := &place{file: path, dir: filepath.Dir(path)}
		root := document.Parse(text, path, r.problems)
		if root == nil || !r.mapping(root, "the file of argument specifications", p) {
			return nil, nil
		}
		for _, e := range pairs(root) {
			if e.name() != "argument_specs" {
				r.unknownKey(e, p, "the file of argument specifications", []string{"argument_specs"})
			}
		}
		return find(root, "argument_specs"), p
	}
	return inMain.value, at
}

// validation is the task that checks a role's arguments at an entry point; nil when nothing is specified.
func (r *reader) validation(role *Role, use roleUse, m roleMeta, p *place) *Block {
	specs, at := r.roleSpecs(role, m.specs, m.at)
	if specs == nil || isNull(specs) || use.unchecked || !r.mapping(specs, "argument_specs", at) {
		return nil
	}
	point := "main"
	if use.tasks != "" {
		point = strings.TrimSuffix(use.tasks, filepath.Ext(use.tasks))
	}
	n := find(specs, point)
	if n == nil || isNull(n) || !r.mapping(n, "an argument specification", at) {
		return nil
	}
	spec := &ArgumentSpec{At: at.at(n)}
	title := "Validating arguments against arg spec '" + point + "'"
	for _, e := range pairs(n) {
		switch e.name() {
		case "short_description":
			if text := r.constant(e, at); text != "" {
				title += " - " + text
			}
		case "description", "author", "version_added", "seealso", "notes", "examples", "attributes", "deprecated":
		case "options":
			r.roleOptions(e, spec, at)
		default:
			if !r.conditionOf(e, spec, at) {
				r.unknownKey(e, at, "an argument specification", append(conditionsOfSpecs(), "options", "short_description", "description", "author", "version_added"))
			}
		}
	}
	t := &Task{At: spec.At, Name: vars.Literal(vars.Of(title)), Role: role, Dir: at.dir, Spec: spec, place: p}
	t.Tags = []vars.Value{vars.Literal(vars.Of("always"))}
	return &Block{At: t.At, Task: t}
}

func (r *reader) roleOptions(e entry, spec *ArgumentSpec, p *place) {
	for _, e := range r.entries(e, p) {
		if r.identifier(entry{e.key, e.key}, p) == "" || !isNull(e.value) && !r.mapping(e.value, "an option", p) {
			continue
		}
		spec.Options = append(spec.Options, r.roleOption(e, p))
	}
}

func (r *reader) roleOption(e entry, p *place) *RoleOption {
	o := &RoleOption{At: p.at(e.key), Name: e.name()}
	keys := &ArgumentSpec{At: o.At}
	nested := false
	for _, e := range pairs(e.value) {
		switch e.name() {
		case "type":
			o.Type = r.constant(e, p, argumentTypes()...)
		case "elements":
			o.Elements = r.constant(e, p, argumentTypes()...)
		case "required":
			o.Required = r.boolean(e, p)
		case "no_log":
			o.NoLog = r.boolean(e, p)
		case "apply_defaults":
			o.ApplyDefaults = r.boolean(e, p)
		case "choices":
			o.Choices, _ = r.fixed(e, p).List()
		case "default":
			o.Default, o.HasDefault = r.fixed(e, p), !isNull(e.value)
		case "aliases":
			o.Aliases = r.constants(e, p)
		case "options":
			nested = true
			r.roleOptions(e, keys, p)
		case "description", "version_added", "removed_in_version", "removed_at_date", "removed_from_collection", "deprecated_aliases", "fallback":
		default:
			if !r.conditionOf(e, keys, p) {
				r.unknownKey(e, p, "an option", append(conditionsOfSpecs(), "type", "elements", "required", "no_log", "apply_defaults", "choices", "default", "aliases", "options", "description"))
			}
		}
	}
	if nested {
		o.Keys = keys
	}
	return o
}

// fixed reads a value that is no template.
func (r *reader) fixed(e entry, p *place) vars.Data {
	v := vars.FromNode(e.value, p.file, r.problems)
	d, static := v.Static()
	if !static && !isNull(e.value) {
		r.problems.Add(p.at(e.value), "", "%s takes no templates", e.name())
	}
	return d
}

func conditionsOfSpecs() []string {
	return []string{"mutually_exclusive", "required_together", "required_one_of", "required_if", "required_by"}
}

// conditionOf reads a condition between options; false when the key is none.
func (r *reader) conditionOf(e entry, spec *ArgumentSpec, p *place) bool {
	lists := map[string]*[][]string{"mutually_exclusive": &spec.MutuallyExclusive, "required_together": &spec.RequiredTogether, "required_one_of": &spec.RequiredOneOf}
	switch to := lists[e.name()]; {
	case to != nil:
		if len(items(e.value)) > 0 && items(e.value)[0].Kind == yaml.ScalarNode { // one list of names, as Ansible takes as well
			*to = [][]string{r.constants(e, p)}
			return true
		}
		for _, n := range r.list(e.value, e.name(), p) {
			*to = append(*to, r.constants(entry{e.key, n}, p))
		}
	case e.name() == "required_by":
		for _, by := range r.entries(e, p) {
			spec.RequiredBy = append(spec.RequiredBy, RequiredBy{by.name(), r.constants(by, p)})
		}
	case e.name() == "required_if":
		for _, n := range r.list(e.value, e.name(), p) {
			if n.Kind != yaml.SequenceNode || len(n.Content) < 3 || len(n.Content) > 4 {
				r.problems.Add(p.at(n), "write [option, value, [names], any]; any is true or false and may be left out", "required_if takes lists of three or four")
				continue
			}
			c := RequiredIf{Name: r.constant(entry{e.key, n.Content[0]}, p), Value: r.fixed(entry{e.key, n.Content[1]}, p), Names: r.constants(entry{e.key, n.Content[2]}, p)}
			if len(n.Content) == 4 {
				c.Any = r.boolean(entry{e.key, n.Content[3]}, p)
			}
			spec.RequiredIf = append(spec.RequiredIf, c)
		}
	default:
		return false
	}
	return true
}
