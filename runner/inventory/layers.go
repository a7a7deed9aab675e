package inventory

import (
	"slices"

	"github.com/pegbook/pegbook/runner/vars"
)

// Layer is one of the places that the variables of a host come from: what one mention in a source, or one
// file, says.
type Layer struct {
	// Row is its place in the order of precedence, 2 to 10 of VAR-3.
	Row int
	// Group is whose variables they are; "" for the host's own.
	Group string
	// Plugin is the one that has answered the variables; "" where they stand in a file.
	Plugin string
	Vars   *vars.Values
}

// Rows of VAR-3.
const (
	rowAll = iota + 2
	rowGroup
	rowAllBesideSource
	rowAllBesidePlaybook
	rowGroupBesideSource
	rowGroupBesidePlaybook
	rowHost
	rowHostBesideSource
	rowHostBesidePlaybook
)

// String names the layer as the manual does.
func (l Layer) String() string {
	if l.Plugin != "" {
		return l.place() + ", from plugin " + l.Plugin
	}
	return l.place()
}

func (l Layer) place() string {
	switch l.Row {
	case rowAll, rowGroup:
		return "inventory, group " + l.Group
	case rowAllBesideSource, rowGroupBesideSource:
		return "group_vars/" + l.Group + " beside the inventory"
	case rowAllBesidePlaybook, rowGroupBesidePlaybook:
		return "group_vars/" + l.Group + " beside the playbook"
	case rowHostBesideSource:
		return "host_vars beside the inventory"
	case rowHostBesidePlaybook:
		return "host_vars beside the playbook"
	}
	return "inventory, host"
}

// Layers are what the variables of a host are put together from, lowest first.
func (inv *Inventory) Layers(host string) []Layer {
	s := inv.sources
	if h, ok := s.hosts[host]; ok {
		return append(s.groupLayers(s.above(h)), s.hostLayers(host, h.vars)...)
	}
	h, ok := inv.Host(host)
	switch {
	case !ok:
		return nil
	case !h.Implicit:
		return inv.Layers(h.Name)
	}
	return append(s.groupLayers([]*group{s.groups[all]}), s.hostLayers(host, implicitVars())...)
}

// GroupLayers are the variables of a group itself, without those of the groups above it, lowest first.
func (inv *Inventory) GroupLayers(name string) []Layer {
	g, ok := inv.sources.groups[name]
	if !ok {
		return nil
	}
	return slices.DeleteFunc(inv.sources.groupLayers([]*group{g}), func(l Layer) bool { return l.Group != name })
}

// Above are the groups of a host, ancestors and "all" included, in order of precedence: the last one wins.
func (inv *Inventory) Above(host string) []string {
	h, ok := inv.sources.hosts[host]
	if !ok {
		return []string{all}
	}
	var names []string
	for _, g := range inv.sources.above(h) {
		names = append(names, g.name)
	}
	return names
}

// groupLayers are rows 2 to 7 of VAR-3; the groups are in order of precedence. "all" has rows of its own.
func (s *sources) groupLayers(groups []*group) []Layer {
	var out []Layer
	add := func(row int, g *group, files []*vars.Values) {
		for _, v := range files {
			out = append(out, Layer{Row: row, Group: g.name, Plugin: s.answered[v], Vars: v})
		}
	}
	top := s.groups[all]
	named := slices.DeleteFunc(slices.Clone(groups), func(g *group) bool { return g == top })
	add(rowAll, top, top.vars)
	for _, g := range named {
		add(rowGroup, g, g.vars)
	}
	for _, of := range []struct {
		row     int
		folders []*varFolder
		groups  []*group
	}{
		{rowAllBesideSource, s.groupFiles.sources, []*group{top}},
		{rowAllBesidePlaybook, s.groupFiles.playbook, []*group{top}},
		{rowGroupBesideSource, s.groupFiles.sources, named},
		{rowGroupBesidePlaybook, s.groupFiles.playbook, named},
	} {
		for _, f := range of.folders {
			for _, g := range of.groups {
				add(of.row, g, f.of(g.name, s.problems))
			}
		}
	}
	return out
}

// hostLayers are rows 8 to 10: what the sources say of the host, then its files.
func (s *sources) hostLayers(name string, mentions []*vars.Values) []Layer {
	out := make([]Layer, 0, 4)
	for _, v := range mentions {
		out = append(out, Layer{Row: rowHost, Plugin: s.answered[v], Vars: v})
	}
	for _, f := range s.hostFiles.sources {
		for _, v := range f.of(name, s.problems) {
			out = append(out, Layer{Row: rowHostBesideSource, Vars: v})
		}
	}
	for _, f := range s.hostFiles.playbook {
		for _, v := range f.of(name, s.problems) {
			out = append(out, Layer{Row: rowHostBesidePlaybook, Vars: v})
		}
	}
	return out
}
