package vars

import (
	"iter"
	"maps"
	"os"
	"regexp"
	"slices"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/internal/document"
	"github.com/pegbook/pegbook/runner/vault"
)

// Values are named variables, in the order they were written. The zero value is empty; nil is, too.
// They are immutable.
type Values struct {
	// base lies below the entries and is shared, so that a host's few variables over its groups' many cost
	// what the few do. nil for most; a base has none itself.
	base    *Values
	added   int // how many of the entries the base does not have
	entries []entry
	places  map[string]int // name → entry, when there are more than fewEntries
}

type entry struct {
	name  string
	value Value
}

// fewEntries is how many names are searched one by one; most sets (a loop's, a register's) are smaller,
// and a map for each would cost more than it saves.
const fewEntries = 8

func newValues(entries []entry) *Values {
	vs := &Values{entries: entries}
	if len(entries) > fewEntries {
		vs.places = make(map[string]int, len(entries))
		for i, e := range entries {
			vs.places[e.name] = i
		}
	}
	return vs
}

// ValuesFromNode reads a mapping of variables. Names must be identifiers.
func ValuesFromNode(n *yaml.Node, file string, problems *diag.List) *Values {
	return valuesFrom(n, file, problems, problems.Add)
}

// InventoryValues is ValuesFromNode for an inventory, where Ansible accepts any name: a name that is no
// identifier is a warning only.
func InventoryValues(n *yaml.Node, file string, problems *diag.List) *Values {
	return valuesFrom(n, file, problems, problems.Warn)
}

func valuesFrom(n *yaml.Node, file string, problems *diag.List, report func(diag.Position, string, string, ...any)) *Values {
	v := FromNode(n, file, problems)
	if d, ok := v.Static(); v.IsZero() || ok && d.v == nil {
		return &Values{}
	}
	if v.n.kind != kindMapping {
		problems.Add(v.Position(), "write name: value lines", "variables must be a mapping, not a %s", v.kindName())
		return &Values{}
	}
	var entries []entry
	for _, f := range v.n.fields {
		if !IsName(f.Name) {
			report(f.At, "use letters, digits and _, and no digit first", "%q cannot be used as a variable's name", f.Name)
		}
		entries = append(entries, entry{f.Name, f.Value})
	}
	return newValues(entries)
}

var namePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// IsName says whether a text can be the name of a variable.
func IsName(name string) bool { return namePattern.MatchString(name) }

// ReadFile reads a YAML or JSON file of variables. A file that is not there is fs.ErrNotExist.
// keys open one that is encrypted, whose values are then secrets.
func ReadFile(path string, keys *vault.Keyring, problems *diag.List) (*Values, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return ParseFile(path, raw, keys, problems), nil
}

// ParseFile is ReadFile for text that is read already.
func ParseFile(path string, raw []byte, keys *vault.Keyring, problems *diag.List) *Values {
	text, encrypted, ok := OpenFile(path, raw, keys, problems)
	if !ok {
		return &Values{}
	}
	n := document.Parse(text, path, problems)
	if n == nil {
		return &Values{}
	}
	vs := InventoryValues(n, path, problems)
	if encrypted {
		vs = vs.Secret(keys)
	}
	return vs
}

// ValuesOf makes variables of data that is never expanded, in name order.
func ValuesOf(m map[string]Data) *Values {
	entries := make([]entry, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		entries = append(entries, entry{name, Literal(m[name])})
	}
	return newValues(entries)
}

// ValuesAt is ValuesOf for data that somebody else has answered: at is what asked, and where each value stands.
func ValuesAt(m map[string]Data, at diag.Position) *Values {
	entries := make([]entry, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		entries = append(entries, entry{name, Value{&node{static: true, data: m[name].v, at: at}}})
	}
	return newValues(entries)
}

// Get gives a variable as written.
func (vs *Values) Get(name string) (Value, bool) {
	if vs == nil {
		return Value{}, false
	}
	if i := vs.own(name); i >= 0 {
		return vs.entries[i].value, true
	}
	return vs.base.Get(name)
}

// own is the place of a name among the entries, without the base; -1 when it is not there.
func (vs *Values) own(name string) int {
	if vs.places != nil {
		if i, ok := vs.places[name]; ok {
			return i
		}
		return -1
	}
	for i := range vs.entries {
		if vs.entries[i].name == name {
			return i
		}
	}
	return -1
}

// Names lists the variables in order.
func (vs *Values) Names() []string {
	if vs == nil {
		return nil
	}
	names := make([]string, 0, vs.Len())
	for e := range vs.all() {
		names = append(names, e.name)
	}
	return names
}

// all goes through the variables in order: those of the base, then what the entries add to it.
func (vs *Values) all() iter.Seq[entry] {
	return func(yield func(entry) bool) {
		if vs == nil {
			return
		}
		if vs.base != nil {
			for _, e := range vs.base.entries {
				if i := vs.own(e.name); i >= 0 {
					e = vs.entries[i]
				}
				if !yield(e) {
					return
				}
			}
		}
		for _, e := range vs.entries {
			if vs.base != nil && vs.base.own(e.name) >= 0 {
				continue
			}
			if !yield(e) {
				return
			}
		}
	}
}

// Len is how many there are.
func (vs *Values) Len() int {
	if vs == nil {
		return 0
	}
	if vs.base == nil {
		return len(vs.entries)
	}
	return len(vs.base.entries) + vs.added
}

// With gives a copy in which name has another value.
func (vs *Values) With(name string, v Value) *Values {
	if v.IsZero() {
		v = Literal(Data{})
	}
	return vs.Over(newValues([]entry{{name, v}}))
}

// manyEntries is from how many on variables are shared and not copied when others come over them.
const manyEntries = 16

// Over gives the variables of vs with those of top over them, name by name. It copies the smaller part
// only.
func (vs *Values) Over(top *Values) *Values {
	switch {
	case top.Len() == 0 && vs == nil:
		return &Values{}
	case top.Len() == 0:
		return vs
	case vs.Len() == 0:
		return top
	}
	base, low := vs.base, vs
	if base == nil && len(vs.entries) >= manyEntries {
		base, low = vs, &Values{}
	} else if base != nil {
		low = &Values{entries: vs.entries, places: vs.places}
	}
	own := low.merged(top)
	if base == nil {
		return own
	}
	if len(own.entries) > len(base.entries) {
		return base.merged(own)
	}
	out := &Values{base: base, entries: own.entries, places: own.places}
	for _, e := range own.entries {
		if base.own(e.name) < 0 {
			out.added++
		}
	}
	return out
}

// merged is Over with everything in one piece.
func (vs *Values) merged(top *Values) *Values {
	if len(vs.entries) == 0 && top.base == nil {
		return top
	}
	entries := make([]entry, 0, len(vs.entries)+top.Len())
	for _, e := range vs.entries {
		if v, ok := top.Get(e.name); ok {
			e.value = v
		}
		entries = append(entries, e)
	}
	for e := range top.all() {
		if vs.own(e.name) < 0 {
			entries = append(entries, e)
		}
	}
	return newValues(entries)
}
