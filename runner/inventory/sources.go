package inventory

import (
	"bytes"
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

const (
	all       = "all"
	ungrouped = "ungrouped"
)

// sources is what the sources say, while they are read and merged.
type sources struct {
	problems *diag.List
	hosts    map[string]*host
	groups   map[string]*group
	order    []*group // of definition
	// file and dir are those of the source being read; dirs are the folders of all sources, in order.
	file, dir string
	dirs      []string
	// files are group_vars and host_vars, in order of precedence: those beside sources, then those beside
	// the playbook.
	groupFiles, hostFiles besides
}

// besides are the files of variables beside the sources and beside the playbook.
type besides struct{ sources, playbook []*varFolder }

// host is a host as the sources describe it.
type host struct {
	name      string
	vars      *vars.Values
	groups    []*group // that name it, "all" and "ungrouped" too
	file, dir string
}

// group is a group as the sources describe it.
type group struct {
	name     string
	vars     *vars.Values
	hosts    []*host
	has      map[*host]bool
	children []*group
	parents  []*group
	priority int
	depth    int // the longest way from "all"; worked out by build
}

func newSources(problems *diag.List) *sources {
	s := &sources{problems: problems, hosts: map[string]*host{}, groups: map[string]*group{}}
	s.group(all)
	s.group(all).adopt(s.group(ungrouped))
	return s
}

// host gives the host of a name, new or known.
func (s *sources) host(name string) *host {
	h, ok := s.hosts[name]
	if !ok {
		h = &host{name: name, file: s.file, dir: s.dir}
		s.hosts[name] = h
	}
	return h
}

// group gives the group of a name, new or known.
func (s *sources) group(name string) *group {
	g, ok := s.groups[name]
	if !ok {
		g = &group{name: name, priority: 1, has: map[*host]bool{}}
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

// remove takes a host out of a group.
func (g *group) remove(h *host) {
	delete(g.has, h)
	g.hosts = slices.DeleteFunc(g.hosts, func(other *host) bool { return other == h })
	h.groups = slices.DeleteFunc(h.groups, func(other *group) bool { return other == g })
}

// adopt makes a group a child of another. False: the child is an ancestor already.
func (g *group) adopt(child *group) bool {
	if slices.Contains(g.children, child) {
		return true
	}
	if child == g || child.reaches(g, map[*group]bool{}) {
		return false
	}
	g.children = append(g.children, child)
	child.parents = append(child.parents, g)
	return true
}

// reaches says whether other is below g.
func (g *group) reaches(other *group, seen map[*group]bool) bool {
	for _, child := range g.children {
		if child == other {
			return true
		}
		if !seen[child] {
			seen[child] = true
			if child.reaches(other, seen) {
				return true
			}
		}
	}
	return false
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

// clone copies everything that reading another host may change.
func (s *sources) clone() *sources {
	c := *s
	c.problems = &diag.List{}
	c.hosts, c.groups = make(map[string]*host, len(s.hosts)), make(map[string]*group, len(s.groups))
	c.order, c.file, c.dir = nil, "", ""
	hosts := make(map[*host]*host, len(s.hosts))
	for name, h := range s.hosts {
		fresh := &host{name: name, vars: h.vars, file: h.file, dir: h.dir}
		hosts[h], c.hosts[name] = fresh, fresh
	}
	for _, g := range s.order {
		fresh := c.group(g.name)
		fresh.vars, fresh.priority = g.vars, g.priority
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

// read reads one source by its kind.
func (s *sources) read(source string) {
	if strings.Contains(source, ",") {
		if _, err := os.Stat(source); err != nil {
			s.readList(source)
			return
		}
	}
	info, err := os.Stat(source)
	if err != nil {
		s.problems.Add(diag.Position{File: source}, `write "`+source+`," if it is the name of a host`, "there is no inventory %q", source)
		return
	}
	if info.IsDir() {
		s.dirs = append(s.dirs, source)
		s.readDir(source)
		return
	}
	s.dirs = append(s.dirs, filepath.Dir(source))
	s.readFile(source, info)
}

// readList reads "h1,h2,".
func (s *sources) readList(source string) {
	s.file, s.dir = source, ""
	for word := range strings.SplitSeq(source, ",") {
		if word = strings.TrimSpace(word); word != "" {
			s.addHosts(s.group(ungrouped), word, nil, diag.Position{File: source})
		}
	}
}

// ignored are the endings of names that are no inventory in a directory.
func ignored(name string) bool {
	for _, ext := range []string{".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".ini", ".cfg", ".retry"} {
		if strings.HasSuffix(name, ext) {
			return true
		}
	}
	return name == "host_vars" || name == "group_vars" || name == "vars_plugins" || strings.HasPrefix(name, ".")
}

// readDir reads the files of a directory in name order.
func (s *sources) readDir(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.problems.Add(diag.Position{File: dir}, "", "the directory cannot be read: %v", err)
		return
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if ignored(e.Name()) {
			continue
		}
		info, err := os.Stat(path)
		switch {
		case err != nil:
			s.problems.Add(diag.Position{File: path}, "", "the file cannot be read: %v", err)
		case info.IsDir():
			s.readDir(path)
		default:
			s.readFile(path, info)
		}
	}
}

// readFile reads a script, a YAML or JSON file, or an INI file.
func (s *sources) readFile(path string, info os.FileInfo) {
	s.file, s.dir = absolute(path), absolute(filepath.Dir(path))
	text, err := os.ReadFile(path)
	if err != nil {
		s.problems.Add(diag.Position{File: path}, "", "the file cannot be read: %v", err)
		return
	}
	ext := strings.ToLower(filepath.Ext(path))
	executable := info.Mode()&0o111 != 0
	switch {
	case strings.HasPrefix(string(text), "#!") && !executable:
		s.problems.Add(diag.Position{File: path}, "chmod +x "+path, "the script is not executable")
	case executable && isProgram(text):
		s.readScript(path)
	case ext == ".yml" || ext == ".yaml" || ext == ".json":
		s.readYAML(path, text)
	case ext == "" && looksLikeYAML(text):
		s.readYAML(path, text)
	default:
		s.readINI(path, string(text))
	}
}

// isProgram tells scripts and binaries from data whose permissions are too wide.
func isProgram(text []byte) bool {
	head := text[:min(len(text), 512)]
	return bytes.HasPrefix(head, []byte("#!")) || bytes.IndexByte(head, 0) >= 0
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path // without a working directory there is nothing better
}

// build works out depths, the members of groups and the variables of hosts.
func (s *sources) build() *Inventory {
	s.reconcile()
	inv := &Inventory{sources: s, hosts: make(map[string]*Host, len(s.hosts)), groups: make(map[string]*members, len(s.groups)), implicit: map[string]*Host{}}
	for _, g := range s.order {
		inv.groups[g.name] = &members{group: g}
		if g.name != ungrouped {
			inv.names = append(inv.names, g.name)
		}
		if _, ok := s.hosts[g.name]; ok {
			s.problems.Warn(diag.Position{File: s.hosts[g.name].file}, "patterns mean the host", "%q is both a host and a group", g.name)
		}
	}
	inv.names = append(inv.names, ungrouped)
	m := merger{s: s, shared: map[string]*shared{}}
	for _, h := range s.groups[all].members() {
		inv.hosts[h.name] = m.host(h)
		if isLocal(h.name) && inv.local == nil {
			inv.local = inv.hosts[h.name]
		}
	}
	for _, name := range localNames() {
		inv.implicit[name] = m.localhost(name)
	}
	return inv
}

// reconcile keeps the rules that hold for every inventory: every group is below "all", and a host that no
// other group names is in "ungrouped".
func (s *sources) reconcile() {
	top := s.groups[all]
	for _, g := range s.order {
		if g != top && len(g.parents) == 0 {
			top.adopt(g)
		}
	}
	loose := s.groups[ungrouped]
	for _, name := range slices.Sorted(maps.Keys(s.hosts)) {
		h := s.hosts[name]
		named := slices.ContainsFunc(h.groups, func(g *group) bool { return g != top && g != loose })
		if named && loose.has[h] {
			loose.remove(h)
		}
	}
	for _, h := range slices.Concat(top.hosts, s.orphans()) {
		if !slices.ContainsFunc(h.groups, func(g *group) bool { return g != top }) {
			loose.add(h)
		}
	}
	depths(top)
}

// orphans are hosts that no group names, which add_host can make.
func (s *sources) orphans() []*host {
	var out []*host
	for _, name := range slices.Sorted(maps.Keys(s.hosts)) {
		if h := s.hosts[name]; len(h.groups) == 0 {
			out = append(out, h)
		}
	}
	return out
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
