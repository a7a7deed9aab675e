package inventory

import (
	"cmp"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/runner/vars"
)

// build works out depths, the members of groups and the variables of hosts.
func (s *sources) build() *Inventory {
	s.reconcile()
	s.checkNames()
	inv := &Inventory{sources: s, hosts: make(map[string]*Host, len(s.hosts)), groups: make(map[string]*members, len(s.groups)), implicit: map[string]*Host{}}
	for _, g := range s.order {
		inv.groups[g.name] = &members{group: g}
		inv.names = append(inv.names, g.name)
	}
	m := merger{s: s, shared: map[string]*shared{}}
	for _, h := range s.names {
		inv.hosts[h.name] = m.host(h)
		inv.met = append(inv.met, inv.hosts[h.name])
		if isLocal(h.name) && inv.local == nil {
			inv.local = inv.hosts[h.name]
		}
	}
	for _, name := range localNames() {
		inv.implicit[name] = m.localhost(name)
	}
	return inv
}

// checkNames warns about those that patterns and templates have trouble with.
func (s *sources) checkNames() {
	var odd []*group
	for _, g := range s.order {
		if h, ok := s.hosts[g.name]; ok {
			at := g.at
			if at.File == "" {
				at.File = h.file
			}
			s.problems.Warn(at, "a plain pattern means the host, one behind & or ! the group", "%q is both a host and a group", g.name)
		} else if !vars.IsName(g.name) && CheckName(g.name) == nil {
			odd = append(odd, g)
		}
	}
	if len(odd) == 0 {
		return
	}
	names := make([]string, len(odd))
	for i, g := range odd {
		names[i] = g.name
	}
	if len(names) > 5 {
		names = append(names[:5], "…")
	}
	s.problems.Warn(odd[0].at, "letters, digits and _ are safe; others can be taken for part of a pattern, and .groups.NAME cannot name them", "names of groups with other characters: %s", strings.Join(names, ", "))
}

// reconcile keeps the rules that hold for every inventory: every group is below "all", and a host that no
// other group names is in "ungrouped".
func (s *sources) reconcile() {
	top, loose := s.groups[all], s.groups[ungrouped]
	for _, g := range s.order {
		if g != top && len(g.parents) == 0 {
			top.adopt(g)
		}
	}
	left := map[*host]bool{}
	for _, h := range s.names {
		named := slices.ContainsFunc(h.groups, func(g *group) bool { return g != top && g != loose })
		switch {
		case !named:
			loose.add(h)
		case loose.has[h]:
			left[h] = true
		}
	}
	loose.remove(left)
	depths(top)
}

// depths gives every group its longest way from the top, parents before children.
func depths(top *group) {
	waiting := map[*group]int{}
	for queue := []*group{top}; len(queue) > 0; queue = queue[1:] {
		for _, child := range queue[0].children {
			if _, ok := waiting[child]; !ok {
				waiting[child] = len(child.parents)
				queue = append(queue, child)
			}
		}
	}
	for ready := []*group{top}; len(ready) > 0; ready = ready[1:] {
		for _, child := range ready[0].children {
			child.depth = max(child.depth, ready[0].depth+1)
			if waiting[child]--; waiting[child] == 0 {
				ready = append(ready, child)
			}
		}
	}
}

// byPrecedence sorts groups so that the later wins (VAR-5).
func byPrecedence(a, b *group) int {
	return cmp.Or(cmp.Compare(a.depth, b.depth), cmp.Compare(a.priority, b.priority), cmp.Compare(a.name, b.name))
}
