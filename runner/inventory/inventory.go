// Package inventory is the managed hosts and the groups they serve in, with their variables. It reads
// files, runs inventory scripts on the control node and asks plugins; it never contacts a host.
//
// Everything is worked out when the inventory is loaded: an Inventory and its hosts are immutable and
// safe for concurrent use. Hosts in the same groups share the variables of these groups.
package inventory

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
	"github.com/pegbook/pegbook/runner/vault"
)

// Inventory is what all sources together say. It is safe for concurrent reading.
type Inventory struct {
	sources *sources // what the files say, for WithHost
	hosts   map[string]*Host
	groups  map[string]*members
	names   []string // of groups, in the order they were met
	met     []*Host  // in the order they were met
	// local is the host that a name of the control node means.
	local *Host
	// implicit are the hosts that names of the control node mean when no source has them.
	implicit map[string]*Host
}

// members are a group's hosts, worked out when first asked for: few of many groups are.
type members struct {
	group *group
	once  sync.Once
	hosts []*Host
}

// Host is a managed host.
type Host struct {
	Name string
	// Groups are all groups it is in, ancestors included, sorted by name, without "all"; "ungrouped" when
	// it is in none.
	Groups []string
	// Vars are the variables of the inventory, group_vars and host_vars, merged by precedence (rows 2 to
	// 10 of VAR-3).
	Vars *vars.Values
	// Implicit marks the localhost that no source names.
	Implicit bool

	file, dir string
}

// Options say what to read.
type Options struct {
	// Sources are the arguments of -i: files, directories, scripts, or "h1,h2,".
	Sources []string
	// PlaybookDir is where group_vars and host_vars are looked for besides the sources' own folders; ""
	// for nowhere.
	PlaybookDir string
	// Vault opens files and values that are encrypted; nil opens none.
	Vault *vault.Keyring
	// Read is told of every file that is read, and as "SCRIPT --list" of what a script prints; nil is not. It may be
	// called from several goroutines.
	Read func(path string, text []byte)
	// Plugins are what files that name a plugin are answered by; nil knows none.
	Plugins Plugins
	// ScriptLimit is how long a script or a plugin may take; 0 means three minutes.
	ScriptLimit time.Duration
}

// Load reads the sources. The list holds every problem of every file. The inventory is usable when the
// list has not Failed. ctx bounds the scripts and plugins among the sources.
func Load(ctx context.Context, o Options) (*Inventory, diag.List) {
	var problems diag.List
	s := newSources(&problems)
	s.reader = reader{keys: o.Vault, told: o.Read}
	s.limit, s.plugins = cmp.Or(o.ScriptLimit, scriptLimit), o.Plugins
	for _, source := range o.Sources {
		s.read(ctx, source)
	}
	if len(o.Sources) > 0 && len(s.hosts) == 0 && !problems.Failed() {
		problems.Warn(diag.Position{File: o.Sources[0]}, "only localhost can be worked on", "the inventory has no host")
	}
	s.beside(o)
	inv := s.build()
	problems.Sort()
	return inv, problems
}

// localNames mean the control node when the inventory does not have them.
func localNames() []string { return []string{"localhost", "127.0.0.1", "::1"} }

func isLocal(name string) bool { return slices.Contains(localNames(), name) }

// Host gives a host by name; the implicit localhost too.
func (inv *Inventory) Host(name string) (*Host, bool) {
	if h, ok := inv.hosts[name]; ok {
		return h, true
	}
	if !isLocal(name) {
		return nil, false
	}
	if inv.local != nil {
		return inv.local, true
	}
	return inv.implicit[name], true
}

// Hosts are all hosts in inventory order.
func (inv *Inventory) Hosts() []*Host {
	hosts, _ := inv.Group("all")
	return hosts
}

// Groups are the names of all groups, in the order they were met, after "all" and "ungrouped".
func (inv *Inventory) Groups() []string { return slices.Clone(inv.names) }

// Group gives a group's hosts in order; false when there is none.
func (inv *Inventory) Group(name string) ([]*Host, bool) {
	m, ok := inv.groups[name]
	if !ok {
		return nil, false
	}
	m.once.Do(func() {
		for _, h := range m.group.members() {
			m.hosts = append(m.hosts, inv.hosts[h.name])
		}
	})
	return m.hosts, true
}

// Children are the names of the groups directly below a group.
func (inv *Inventory) Children(group string) []string {
	m, ok := inv.groups[group]
	if !ok {
		return nil
	}
	names := make([]string, len(m.group.children))
	for i, child := range m.group.children {
		names[i] = child.name
	}
	return names
}

// Direct are the hosts that a group names itself, in order.
func (inv *Inventory) Direct(group string) []*Host {
	m, ok := inv.groups[group]
	if !ok {
		return nil
	}
	hosts := make([]*Host, len(m.group.hosts))
	for i, h := range m.group.hosts {
		hosts[i] = inv.hosts[h.name]
	}
	return hosts
}

// Dir is inventory_dir of a host: the folder of the source that names it; "" when that is no file.
func (inv *Inventory) Dir(host string) string {
	if h, ok := inv.hosts[host]; ok {
		return h.dir
	}
	return ""
}

// File is inventory_file of a host: the path of the source that names it.
func (inv *Inventory) File(host string) string {
	if h, ok := inv.hosts[host]; ok {
		return h.file
	}
	return ""
}

// Addition is a host that joins an inventory while it is in use, or groups of it.
type Addition struct {
	Host   string
	Groups []string
	// Parents are groups above these.
	Parents []string
	Vars    *vars.Values // over those that the host has
	// Present asks for nothing if the inventory does not have the host: group_by makes none.
	Present bool
}

// With gives an inventory with more hosts, or with hosts in more groups (add_host, group_by). The result has
// hosts of its own: compare names, not pointers.
func (inv *Inventory) With(additions ...Addition) *Inventory {
	s := inv.sources.clone()
	for _, a := range additions {
		if _, ok := s.hosts[a.Host]; !ok && a.Present && !isLocal(a.Host) {
			continue
		}
		h := s.host(a.Host, diag.Position{})
		if a.Vars.Len() > 0 {
			h.vars = append(h.vars, a.Vars)
		}
		for _, g := range a.Groups {
			joined := s.group(g, diag.Position{})
			joined.add(h)
			for _, parent := range a.Parents {
				s.below(s.group(parent, diag.Position{}), joined, diag.Position{})
			}
		}
	}
	return s.build()
}

// Circle is how an addition's groups would come to be below themselves; empty where they would not.
func (inv *Inventory) Circle(a Addition) []string {
	for _, g := range a.Groups {
		child, ok := inv.groups[g]
		for _, parent := range a.Parents {
			if parent == g {
				return []string{g, g}
			}
			if above, there := inv.groups[parent]; ok && there {
				if way := child.group.wayTo(above.group, map[*group]bool{}); way != nil {
					return append([]string{parent}, way...)
				}
			}
		}
	}
	return nil
}

// Has says whether an addition would add neither a host nor a host to a group.
func (inv *Inventory) Has(a Addition) bool {
	h, ok := inv.hosts[a.Host]
	for _, parent := range a.Parents {
		children := inv.Children(parent)
		ok = ok && !slices.ContainsFunc(a.Groups, func(g string) bool { return !slices.Contains(children, g) })
	}
	return ok && !slices.ContainsFunc(a.Groups, func(g string) bool { return g != all && !slices.Contains(h.Groups, g) })
}
