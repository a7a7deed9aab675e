package inventory

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/internal/document"
	"github.com/pegbook/pegbook/runner/vars"
)

// merger puts the variables of hosts together.
type merger struct {
	s *sources
	// shared are the groups and their variables, by the names of the groups that hosts are in.
	shared map[string]*shared
}

// shared is what hosts in the same groups have in common.
type shared struct {
	names []string
	vars  *vars.Values
}

// host gives a host with everything worked out.
func (m *merger) host(h *host) *Host {
	common := m.groups(h)
	v := over(common.vars, m.s.hostVars(h.name, h.vars))
	return &Host{Name: h.name, Groups: common.names, Vars: v, file: h.file, dir: h.dir}
}

// localhost gives the host that stands for the control node when no source names it. It sees the variables
// of "all" and of its own host_vars.
func (m *merger) localhost(name string) *Host {
	local := vars.ValuesOf(map[string]vars.Data{"ansible_connection": vars.Of("local")})
	common := m.merge([]*group{m.s.groups[all]})
	return &Host{Name: name, Implicit: true, Vars: over(common.vars, m.s.hostVars(name, local))}
}

// groups gives what a host has from its groups.
func (m *merger) groups(h *host) *shared {
	direct := make([]string, len(h.groups))
	for i, g := range h.groups {
		direct[i] = g.name
	}
	slices.Sort(direct)
	key := strings.Join(direct, "\n")
	if common, ok := m.shared[key]; ok {
		return common
	}
	above := map[*group]bool{m.s.groups[all]: true}
	for _, g := range h.groups {
		g.ancestry(above)
	}
	common := m.merge(slices.SortedFunc(maps.Keys(above), byPrecedence))
	m.shared[key] = common
	return common
}

// merge puts the variables of groups together, lowest first: rows 2 to 7 of VAR-3.
func (m *merger) merge(groups []*group) *shared {
	out := &shared{}
	top := m.s.groups[all]
	named := slices.DeleteFunc(slices.Clone(groups), func(g *group) bool { return g == top })
	for _, g := range named {
		out.names = append(out.names, g.name)
	}
	slices.Sort(out.names)
	v := top.vars
	for _, g := range named {
		v = over(v, g.vars)
	}
	for _, folders := range [][]*varFolder{m.s.groupFiles.sources, m.s.groupFiles.playbook} {
		v = m.s.fromFolders(v, folders, []*group{top})
	}
	for _, folders := range [][]*varFolder{m.s.groupFiles.sources, m.s.groupFiles.playbook} {
		v = m.s.fromFolders(v, folders, named)
	}
	out.vars = v
	return out
}

func (s *sources) fromFolders(v *vars.Values, folders []*varFolder, groups []*group) *vars.Values {
	for _, f := range folders {
		for _, g := range groups {
			v = over(v, f.of(g.name, s.problems))
		}
	}
	return v
}

// hostVars puts a host's own variables together: rows 8 to 10.
func (s *sources) hostVars(name string, v *vars.Values) *vars.Values {
	for _, f := range slices.Concat(s.hostFiles.sources, s.hostFiles.playbook) {
		v = over(v, f.of(name, s.problems))
	}
	return v
}

// beside finds group_vars and host_vars beside the sources and the playbook.
func (s *sources) beside(o Options) {
	met := map[string]bool{}
	for _, dir := range s.dirs {
		if met[dir] {
			continue
		}
		met[dir] = true
		s.groupFiles.sources = append(s.groupFiles.sources, openFolder(filepath.Join(dir, "group_vars"))...)
		s.hostFiles.sources = append(s.hostFiles.sources, openFolder(filepath.Join(dir, "host_vars"))...)
	}
	if o.PlaybookDir != "" {
		s.groupFiles.playbook = openFolder(filepath.Join(o.PlaybookDir, "group_vars"))
		s.hostFiles.playbook = openFolder(filepath.Join(o.PlaybookDir, "host_vars"))
	}
	for _, f := range slices.Concat(s.groupFiles.sources, s.groupFiles.playbook, s.hostFiles.sources, s.hostFiles.playbook) {
		f.readAll(s.problems)
	}
}

// varFolder is a group_vars or host_vars folder. Its names are listed once: asking the disk for each of
// 10,000 hosts would take seconds.
type varFolder struct {
	path  string
	names map[string]bool // true for a folder
	mu    sync.Mutex      // guards read, which With may add to
	read  map[string]*vars.Values
}

// openFolder gives the folder; none when it is not there.
func openFolder(path string) []*varFolder {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil
	}
	f := &varFolder{path: path, names: map[string]bool{}, read: map[string]*vars.Values{}}
	for _, e := range entries {
		f.names[e.Name()] = isDir(filepath.Join(path, e.Name()), e)
	}
	return []*varFolder{f}
}

func isDir(path string, e os.DirEntry) bool {
	if e.Type()&os.ModeSymlink == 0 {
		return e.IsDir()
	}
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// of gives the variables for a host or group: those of the first of NAME, NAME.yml, NAME.yaml and
// NAME.json that exists.
func (f *varFolder) of(name string, problems *diag.List) *vars.Values {
	if len(f.names) == 0 || strings.ContainsRune(name, os.PathSeparator) {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if v, ok := f.read[name]; ok {
		return v
	}
	for _, ext := range []string{"", ".yml", ".yaml", ".json"} {
		folder, ok := f.names[name+ext]
		if !ok {
			continue
		}
		path := filepath.Join(f.path, name+ext)
		var v *vars.Values
		if folder {
			v = readFolder(path, problems)
		} else {
			v = readVars(path, problems)
		}
		f.read[name] = v
		return v
	}
	return nil
}

// readAll reads the files whose names say that they are data, so that mistakes are found in those of
// hosts that no play names, and of hosts that are added during the run.
func (f *varFolder) readAll(problems *diag.List) {
	for _, name := range slices.Sorted(maps.Keys(f.names)) {
		switch ext := filepath.Ext(name); ext {
		case ".yml", ".yaml", ".json":
			f.of(strings.TrimSuffix(name, ext), problems)
		}
	}
}

func readVars(path string, problems *diag.List) *vars.Values {
	text, err := os.ReadFile(path)
	if err != nil {
		problems.Add(diag.Position{File: path}, "", "the file cannot be read: %v", err)
		return nil
	}
	return variables(path, text, problems)
}

// variables reads the text of a file of variables.
func variables(path string, text []byte, problems *diag.List) *vars.Values {
	if strings.HasPrefix(string(text), "$ANSIBLE_VAULT;") {
		return vars.ParseFile(path, text, problems)
	}
	root := document.Parse(text, path, problems)
	if root == nil {
		return nil
	}
	return vars.InventoryValues(root, path, problems)
}

// readFolder reads a folder of files in name order; later files win.
func readFolder(dir string, problems *diag.List) *vars.Values {
	entries, err := os.ReadDir(dir)
	if err != nil {
		problems.Add(diag.Position{File: dir}, "", "the folder cannot be read: %v", err)
		return nil
	}
	var out *vars.Values
	for _, e := range entries {
		name := e.Name()
		path := filepath.Join(dir, name)
		ext := filepath.Ext(name)
		switch {
		case strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~"):
		case isDir(path, e):
			if ext == "" {
				out = over(out, readFolder(path, problems))
			}
		case ext == "" || ext == ".yml" || ext == ".yaml" || ext == ".json":
			out = over(out, readVars(path, problems))
		}
	}
	return out
}
