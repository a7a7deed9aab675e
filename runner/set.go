package runner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// Set is the modules that a playbook may use. The zero value is empty. A Set is immutable.
type Set struct {
	modules []*modules.Module // sorted by name
}

// NewSet makes a set. Two modules of one name are a bug and panic.
func NewSet(all ...*modules.Module) Set {
	s := Set{modules: slices.Clone(all)}
	slices.SortFunc(s.modules, func(a, b *modules.Module) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(s.modules); i++ {
		if s.modules[i-1].Name == s.modules[i].Name {
			panic(fmt.Sprintf("runner: two modules are called %q", s.modules[i].Name))
		}
	}
	return s
}

// Lookup gives a module by the name that a task writes: its own, or Ansible's long form of it
// (ansible.builtin.copy, ansible.posix.sysctl).
func (s Set) Lookup(name string) (*modules.Module, bool) {
	name = shortName(name)
	i, ok := slices.BinarySearchFunc(s.modules, name, func(m *modules.Module, name string) int { return strings.Compare(m.Name, name) })
	if !ok {
		return nil, false
	}
	return s.modules[i], true
}

// All lists the modules by name.
func (s Set) All() []*modules.Module { return slices.Clone(s.modules) }

// Names lists the modules' names in order.
func (s Set) Names() []string {
	names := make([]string, len(s.modules))
	for i, m := range s.modules {
		names[i] = m.Name
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
