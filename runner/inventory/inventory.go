// Package inventory is the managed hosts and the groups they serve in, with their variables. It reads
// files; it never contacts a host.
package inventory

import (
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

// Inventory is what all sources together say. It is safe for concurrent reading.
type Inventory struct{}

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
}

// Options say what to read.
type Options struct {
	// Sources are the arguments of -i: files, directories, scripts, or "h1,h2,".
	Sources []string
	// PlaybookDir is where group_vars and host_vars are looked for besides the sources' own folders.
	PlaybookDir string
}

// Load reads the sources. The list holds every problem of every file.
func Load(o Options) (*Inventory, diag.List) { panic("skeleton") }

// Host gives a host by name; the implicit localhost too.
func (inv *Inventory) Host(name string) (*Host, bool) { panic("skeleton") }

// Hosts are all hosts in inventory order.
func (inv *Inventory) Hosts() []*Host { panic("skeleton") }

// Groups are the names of all groups, in order of definition, "all" first and "ungrouped" last.
func (inv *Inventory) Groups() []string { panic("skeleton") }

// Group gives a group's hosts in order; false when there is none.
func (inv *Inventory) Group(name string) ([]*Host, bool) { panic("skeleton") }

// Children are the names of the groups directly below a group.
func (inv *Inventory) Children(group string) []string { panic("skeleton") }

// Select gives the hosts that a pattern selects, in Ansible's order. A term that matches nothing is a
// warning in the list; a subscript outside is an error. at is where the pattern is written.
func (inv *Inventory) Select(pattern string, at diag.Position) ([]*Host, diag.List) {
	panic("skeleton")
}

// SelectAll is Select for a list of patterns, and reads @file terms (for --limit).
func (inv *Inventory) SelectAll(patterns []string, at diag.Position) ([]*Host, diag.List) {
	panic("skeleton")
}

// Dir and File are inventory_dir and inventory_file for a host: those of the source that names it.
func (inv *Inventory) Dir(host string) string { panic("skeleton") }

// File is the path of the source that names the host.
func (inv *Inventory) File(host string) string { panic("skeleton") }

// WithHost gives an inventory with one more host (add_host), in the groups named, with the variables over
// those it has.
func (inv *Inventory) WithHost(name string, groups []string, v *vars.Values) *Inventory {
	panic("skeleton")
}
