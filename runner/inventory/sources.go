package inventory

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
	"github.com/pegbook/pegbook/runner/vault"
)

const (
	all       = "all"
	ungrouped = "ungrouped"
	// groupPriority is a variable of groups that is for the merger only.
	groupPriority = "ansible_group_priority"
)

// sources is what the sources say, while they are read and merged.
type sources struct {
	problems *diag.List
	reader
	// encrypted holds the sources that were: the variables in them are secrets.
	encrypted map[string]bool
	hosts     map[string]*host
	names     []*host // in the order they were met
	groups    map[string]*group
	order     []*group // in the order they were met
	// file and dir are those of the source being read; dirs are the folders of all sources, in order.
	file, dir             string
	dirs                  []string
	orphans               []Orphan // files that are nobody's
	groupFiles, hostFiles besides
	playbookDir           string
	fileNames             map[string]bool // of the variables in these files
	limit                 time.Duration   // of a script or a plugin
	plugins               Plugins
	answered              map[*vars.Values]string // the plugins that variables come from, where they stand in no file
}

// reader is how files are read.
type reader struct {
	keys *vault.Keyring
	told func(path string, text []byte)
}

func (r reader) tell(path string, text []byte) {
	if r.told != nil {
		r.told(path, text)
	}
}

// besides are the files of variables beside the sources and beside the playbook.
type besides struct{ sources, playbook []*varFolder }

// host is a host as the sources describe it.
type host struct {
	name      string
	vars      []*vars.Values // one for each mention that has some
	groups    []*group       // that name it, "all" and "ungrouped" too
	file, dir string
}

// group is a group as the sources describe it.
type group struct {
	name     string
	at       diag.Position  // of the first mention
	vars     []*vars.Values // one for each mention that has some
	hosts    []*host
	has      map[*host]bool
	children []*group
	parents  []*group
	priority int
	depth    int // the longest way from "all"; worked out by build
}

func newSources(problems *diag.List) *sources {
	s := &sources{problems: problems, hosts: map[string]*host{}, groups: map[string]*group{}, encrypted: map[string]bool{}, limit: scriptLimit, answered: map[*vars.Values]string{}}
	nowhere := diag.Position{}
	s.group(all, nowhere).adopt(s.group(ungrouped, nowhere))
	return s
}

// values are variables in a source.
func (s *sources) values(n *yaml.Node, path string) *vars.Values {
	vs := vars.InventoryValues(n, path, s.problems)
	if s.encrypted[path] {
		return vs.Secret(s.keys)
	}
	return vs
}

// CheckName says why nothing can be called so: names are shown, so they must not move a cursor or turn text around.
func CheckName(name string) error {
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
	}) {
		return fmt.Errorf("%+q holds a character that cannot be seen", name)
	}
	return nil
}

// named refuses a name that cannot be shown; at is where it is named.
func (s *sources) named(what, name string, at diag.Position) {
	if err := CheckName(name); err != nil {
		s.problems.Add(at, "names are letters, digits and marks", "the %s %v", what, err)
	}
}

// host gives the host of a name, new or known; at is where it is named.
func (s *sources) host(name string, at diag.Position) *host {
	h, ok := s.hosts[name]
	if !ok {
		s.named("host", name, at)
		h = &host{name: name, file: s.file, dir: s.dir}
		s.hosts[name] = h
		s.names = append(s.names, h)
	}
	return h
}

// group gives the group of a name, new or known; at is where it is named.
func (s *sources) group(name string, at diag.Position) *group {
	g, ok := s.groups[name]
	if !ok {
		s.named("group", name, at)
		g = &group{name: name, at: at, priority: 1, has: map[*host]bool{}}
		s.groups[name] = g
		s.order = append(s.order, g)
	}
	return g
}

// add puts a host into a group.
func (g *group) add(h *host) {
	if !g.has[h] {
		g.has[h] = true
		g.hosts = append(g.hosts, h)
		h.groups = append(h.groups, g)
	}
}

// remove takes hosts out of a group.
func (g *group) remove(hosts map[*host]bool) {
	if len(hosts) == 0 {
		return
	}
	g.hosts = slices.DeleteFunc(g.hosts, func(h *host) bool { return hosts[h] })
	for h := range hosts {
		delete(g.has, h)
		h.groups = slices.DeleteFunc(h.groups, func(other *group) bool { return other == g })
	}
}

// adopt makes a group a child of another. Where that would put a group below itself nothing changes, and the
// way around is given: the names from g by the child back to g.
func (g *group) adopt(child *group) (circle []string) {
	if slices.Contains(g.children, child) {
		return nil
	}
	if way := child.wayTo(g, map[*group]bool{}); way != nil {
		return append([]string{g.name}, way...)
	}
	g.children = append(g.children, child)
	child.parents = append(child.parents, g)
	return nil
}

// wayTo gives the names from g down to other, both included; nil when other is not below.
func (g *group) wayTo(other *group, seen map[*group]bool) []string {
	if g == other {
		return []string{g.name}
	}
	seen[g] = true
	for _, child := range g.children {
		if seen[child] {
			continue
		}
		if way := child.wayTo(other, seen); way != nil {
			return append([]string{g.name}, way...)
		}
	}
	return nil
}

// below makes a group a child of another, and reports groups that would be below themselves.
func (s *sources) below(g, child *group, at diag.Position) {
	if child.name == all {
		s.problems.Add(at, "name the groups that are meant", "all is above every group and cannot be a child of %q", g.name)
		return
	}
	if circle := g.adopt(child); circle != nil {
		s.problems.Add(at, "take one of them out of the other's children", "the group %q would be below itself: %s", child.name, strings.Join(circle, " → "))
	}
}

// members are the hosts of a group: its own, then those of its children breadth first, each once.
func (g *group) members() []*host {
	var out []*host
	seen, met := map[*host]bool{}, map[*group]bool{g: true}
	for queue := []*group{g}; len(queue) > 0; queue = queue[1:] {
		for _, h := range queue[0].hosts {
			if !seen[h] {
				seen[h] = true
				out = append(out, h)
			}
		}
		for _, child := range queue[0].children {
			if !met[child] {
				met[child] = true
				queue = append(queue, child)
			}
		}
	}
	return out
}

// ancestry adds a group and all above it.
func (g *group) ancestry(to map[*group]bool) {
	if to[g] {
		return
	}
	to[g] = true
	for _, parent := range g.parents {
		parent.ancestry(to)
	}
}

// clone copies everything that another host or group may change.
func (s *sources) clone() *sources {
	c := *s
	c.problems = &diag.List{}
	c.hosts, c.groups = make(map[string]*host, len(s.hosts)), make(map[string]*group, len(s.groups))
	c.names, c.order, c.file, c.dir = make([]*host, 0, len(s.names)), nil, "", ""
	hosts := make(map[*host]*host, len(s.hosts))
	for _, h := range s.names {
		fresh := &host{name: h.name, vars: slices.Clip(h.vars), file: h.file, dir: h.dir}
		hosts[h], c.hosts[h.name] = fresh, fresh
		c.names = append(c.names, fresh)
	}
	for _, g := range s.order {
		fresh := c.group(g.name, g.at)
		fresh.vars, fresh.priority = slices.Clip(g.vars), g.priority
		for _, h := range g.hosts {
			fresh.add(hosts[h])
		}
	}
	for _, g := range s.order {
		for _, child := range g.children {
			c.groups[g.name].adopt(c.groups[child.name])
		}
	}
	return &c
}
