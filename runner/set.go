package runner

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/pegbook/pegbook/modules"
)

// Set is the modules that a playbook may use. The zero value is empty. A Set is immutable.
type Set struct {
	modules []member // sorted by name
}

// member is a module, or how it is fetched when it is first looked up.
type member struct {
	name  string
	fetch func() *modules.Module
}

// NewSet makes a set. Two modules of one name are a bug and panic.
func NewSet(all ...*modules.Module) Set {
	var s Set
	for _, m := range all {
		s.modules = append(s.modules, member{m.Name, func() *modules.Module { return m }})
	}
	return s.sorted()
}

// Later gives a set with one more module, which is fetched when it is first looked up: once, and for All.
func (s Set) Later(name string, fetch func() *modules.Module) Set {
	return Set{append(slices.Clone(s.modules), member{name, sync.OnceValue(fetch)})}.sorted()
}

func (s Set) sorted() Set {
	slices.SortFunc(s.modules, func(a, b member) int { return strings.Compare(a.name, b.name) })
	for i := 1; i < len(s.modules); i++ {
		if s.modules[i-1].name == s.modules[i].name {
			panic(fmt.Sprintf("runner: two modules are called %q", s.modules[i].name))
		}
	}
	return s
}

// Lookup gives a module by the name that a task writes: its own, or Ansible's long form of it
// (ansible.builtin.copy, ansible.posix.sysctl).
func (s Set) Lookup(name string) (*modules.Module, bool) {
	name = shortName(name)
	i, ok := slices.BinarySearchFunc(s.modules, name, func(m member, name string) int { return strings.Compare(m.name, name) })
	if !ok {
		return nil, false
	}
	return s.modules[i].fetch(), true
}

// All lists the modules by name.
func (s Set) All() []*modules.Module {
	all := make([]*modules.Module, len(s.modules))
	for i, m := range s.modules {
		all[i] = m.fetch()
	}
	return all
}

// Names lists the modules' names in order.
func (s Set) Names() []string {
	names := make([]string, len(s.modules))
	for i, m := range s.modules {
		names[i] = m.name
	}
	return names
}

// shortName is a module's name without the collection that Ansible keeps it in. The collections are those
// whose modules pegbook has: a name of another one, such as cisco.ios.user, means something else.
func shortName(name string) string {
	for _, collection := range []string{"ansible.builtin.", "ansible.legacy.", "ansible.posix.", "community.general."} {
		if short, ok := strings.CutPrefix(name, collection); ok {
			return short
		}
	}
	return name
}
