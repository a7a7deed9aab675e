package inventory

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/pegbook/pegbook/runner/diag"
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
	v := overAll(common.vars, m.s.hostLayers(h.name, h.vars))
	return &Host{Name: h.name, Groups: common.names, Vars: v, file: h.file, dir: h.dir}
}

// localhost gives the host that stands for the control node when no source names it. It sees the variables
// of "all" and of its own host_vars.
func (m *merger) localhost(name string) *Host {
	common := m.merge([]*group{m.s.groups[all]})
	return &Host{Name: name, Implicit: true, Vars: overAll(common.vars, m.s.hostLayers(name, implicitVars()))}
}

func implicitVars() []*vars.Values {
	return []*vars.Values{vars.ValuesOf(map[string]vars.Data{"ansible_connection": vars.Of("local")})}
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
	common := m.merge(m.s.above(h))
	m.shared[key] = common
	return common
}

// above are the groups of a host, ancestors included, in order of precedence.
func (s *sources) above(h *host) []*group {
	met := map[*group]bool{s.groups[all]: true}
	for _, g := range h.groups {
		g.ancestry(met)
	}
	return slices.SortedFunc(maps.Keys(met), byPrecedence)
}

// merge puts the variables of groups together.
func (m *merger) merge(groups []*group) *shared {
	out := &shared{vars: overAll(nil, m.s.groupLayers(groups))}
	for _, g := range groups {
		if g.name != all {
			out.names = append(out.names, g.name)
		}
	}
	slices.Sort(out.names)
	return out
}

// overAll puts layers over variables, lowest first.
func overAll(v *vars.Values, layers []Layer) *vars.Values {
	for _, l := range layers {
		v = over(v, l.Vars)
	}
	return v
}

// over gives the variables of low with those of high over them; either may be nil.
func over(low, high *vars.Values) *vars.Values {
	switch {
	case low.Len() == 0:
		return high
	case high.Len() == 0:
		return low
	}
	return low.Over(high)
}

// beside finds group_vars and host_vars beside the sources and the playbook.
func (s *sources) beside(o Options) {
	for i, dir := range s.dirs {
		if slices.Contains(s.dirs[i+1:], dir) {
			continue // the last of several sources in a folder decides where the folder stands
		}
		s.groupFiles.sources = append(s.groupFiles.sources, s.openFolder(filepath.Join(dir, "group_vars"))...)
		s.hostFiles.sources = append(s.hostFiles.sources, s.openFolder(filepath.Join(dir, "host_vars"))...)
	}
	if o.PlaybookDir != "" {
		s.groupFiles.playbook = s.openFolder(filepath.Join(o.PlaybookDir, "group_vars"))
		s.hostFiles.playbook = s.openFolder(filepath.Join(o.PlaybookDir, "host_vars"))
	}
	s.playbookDir = o.PlaybookDir
	s.fileNames = map[string]bool{}
	s.readFolders(slices.Concat(s.groupFiles.sources, s.groupFiles.playbook), slices.Concat(s.hostFiles.sources, s.hostFiles.playbook))
}

// readFolders reads all files of group_vars and host_vars folders.
func (s *sources) readFolders(groups, hosts []*varFolder) {
	for _, f := range groups {
		s.readAll(f, func(name string) bool { return s.groups[name] != nil })
	}
	for _, f := range hosts {
		s.readAll(f, func(name string) bool { return s.hosts[name] != nil || isLocal(name) })
	}
}

// Orphan is a file or folder of variables in group_vars or host_vars for a group or host that the inventory lacks.
type Orphan struct {
	Path, Name string
	Group      bool
}

// Orphans are the files of variables that nobody has, or not yet.
func (inv *Inventory) Orphans() []Orphan { return inv.sources.orphans }

// Beside gives the inventory as plays see it whose playbook stands in another folder than the first: group_vars
// and host_vars there lie over those beside the first. FileNames are then those of this folder alone. Where it
// holds none, or is that of the first playbook, the answer is the inventory itself.
func (inv *Inventory) Beside(dir string) (*Inventory, diag.List) {
	if samePath(dir, inv.sources.playbookDir) {
		return inv, nil
	}
	s := inv.sources.clone()
	groups, hosts := s.openFolder(filepath.Join(dir, "group_vars")), s.openFolder(filepath.Join(dir, "host_vars"))
	if len(groups)+len(hosts) == 0 {
		return inv, *s.problems
	}
	s.groupFiles.playbook = slices.Concat(s.groupFiles.playbook, groups)
	s.hostFiles.playbook = slices.Concat(s.hostFiles.playbook, hosts)
	s.playbookDir, s.fileNames, s.orphans = dir, map[string]bool{}, nil
	s.readFolders(groups, hosts)
	problems := *s.problems
	s.problems = &diag.List{} // building warns again of what Load has told
	return s.build(), problems
}

func samePath(a, b string) bool {
	x, errX := filepath.Abs(a)
	y, errY := filepath.Abs(b)
	return errX == nil && errY == nil && x == y
}

// FileNames are the names of the variables in all files of group_vars and host_vars, also those for hosts and
// groups that the inventory has not, or not yet.
func (inv *Inventory) FileNames() []string {
	return slices.Collect(maps.Keys(inv.sources.fileNames))
}

// varFolder is a group_vars or host_vars folder. Its names are listed once: asking the disk for each of
// 10,000 hosts would take seconds.
type varFolder struct {
	path  string
	names map[string]bool // true for a folder
	files reader
	mu    sync.Mutex // guards read, which With may add to
	read  map[string][]*vars.Values
}

// openFolder gives the folder; none when it is not there.
func (s *sources) openFolder(path string) []*varFolder {
	entries, err := os.ReadDir(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.problems.Add(diag.Position{File: path}, "", "the folder cannot be read: %v", reason(err))
		}
		return nil
	}
	f := &varFolder{path: path, names: map[string]bool{}, read: map[string][]*vars.Values{}}
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

// of gives the variables for a host or group, file by file: those of the first of NAME, NAME.yml, NAME.yaml
// and NAME.json that exists.
func (f *varFolder) of(name string, problems *diag.List) []*vars.Values {
	if len(f.names) == 0 || strings.ContainsRune(name, os.PathSeparator) {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if v, ok := f.read[name]; ok {
		return v
	}
	file, ok := f.first(name)
	if !ok {
		return nil
	}
	path := filepath.Join(f.path, file)
	var v []*vars.Values
	if f.names[file] {
		v = readFolder(path, f.files, problems)
	} else {
		v = readVars(path, f.files, problems)
	}
	f.read[name] = v
	return v
}

// first is the file or folder that counts for a name.
func (f *varFolder) first(name string) (string, bool) {
	for _, ext := range []string{"", ".yml", ".yaml", ".json"} {
		if _, ok := f.names[name+ext]; ok {
			return name + ext, true
		}
	}
	return "", false
}

// readAll reads what a folder holds, so that mistakes are found in the files of hosts that no play names, and
// of hosts and groups that are made during the run. A file whose name does not say that it is data may be
// anything as long as it is nobody's.
func (s *sources) readAll(f *varFolder, known func(name string) bool) {
	f.files = s.reader
	for _, file := range slices.Sorted(maps.Keys(f.names)) {
		name := file
		switch ext := filepath.Ext(file); ext {
		case ".yml", ".yaml", ".json":
			name = strings.TrimSuffix(file, ext)
		}
		if strings.HasPrefix(file, ".") || strings.HasSuffix(file, "~") {
			continue
		}
		path := filepath.Join(f.path, file)
		if first, _ := f.first(name); first != file {
			s.problems.Warn(diag.Position{File: path}, "put both into one folder "+name+"/", "the file is not read: %s comes first", first)
			continue
		}
		if !known(name) && (name != file || f.names[file]) {
			s.orphans = append(s.orphans, Orphan{Path: path, Name: name, Group: filepath.Base(f.path) == "group_vars"})
		}
		var values []*vars.Values
		if name != file || f.names[file] || known(name) {
			values = f.of(name, s.problems)
		} else {
			values = readVars(path, s.reader, &diag.List{})
		}
		for _, v := range values {
			for _, name := range v.Names() {
				s.fileNames[name] = true
			}
		}
	}
}

func readVars(path string, files reader, problems *diag.List) []*vars.Values {
	text, err := os.ReadFile(path)
	if err != nil {
		problems.Add(diag.Position{File: path}, "", "the file cannot be read: %v", reason(err))
		return nil
	}
	files.tell(path, text)
	if v := vars.ParseFile(path, text, files.keys, problems); v.Len() > 0 {
		return []*vars.Values{v}
	}
	return nil
}

// readFolder reads a folder of files in name order; later files win.
func readFolder(dir string, files reader, problems *diag.List) []*vars.Values {
	entries, err := os.ReadDir(dir)
	if err != nil {
		problems.Add(diag.Position{File: dir}, "", "the folder cannot be read: %v", reason(err))
		return nil
	}
	var out []*vars.Values
	for _, e := range entries {
		name := e.Name()
		path := filepath.Join(dir, name)
		ext := filepath.Ext(name)
		switch {
		case strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~"):
		case isDir(path, e):
			if ext == "" {
				out = append(out, readFolder(path, files, problems)...)
			}
		case ext == "" || ext == ".yml" || ext == ".yaml" || ext == ".json":
			out = append(out, readVars(path, files, problems)...)
		}
	}
	return out
}
