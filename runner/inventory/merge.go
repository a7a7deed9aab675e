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
	"github.com/pegbook/pegbook/runner/vault"
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
	for _, f := range slices.Concat(s.groupFiles.sources, s.groupFiles.playbook, s.hostFiles.sources, s.hostFiles.playbook) {
		f.keys = o.Vault
		f.readAll(s.problems)
	}
}

// varFolder is a group_vars or host_vars folder. Its names are listed once: asking the disk for each of
// 10,000 hosts would take seconds.
type varFolder struct {
	path  string
	names map[string]bool // true for a folder
	keys  *vault.Keyring
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
		v = readFolder(path, f.keys, problems)
	} else {
		v = readVars(path, f.keys, problems)
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

// readAll reads the files whose names say that they are data, so that mistakes are found in those of
// hosts that no play names, and of hosts that are added during the run.
func (f *varFolder) readAll(problems *diag.List) {
	for _, name := range slices.Sorted(maps.Keys(f.names)) {
		switch ext := filepath.Ext(name); ext {
		case ".yml", ".yaml", ".json":
			f.of(strings.TrimSuffix(name, ext), problems)
			if first, _ := f.first(strings.TrimSuffix(name, ext)); first != name {
				problems.Warn(diag.Position{File: filepath.Join(f.path, name)}, "put both into one folder "+strings.TrimSuffix(name, ext)+"/", "the file is not read: %s comes first", first)
			}
		}
	}
}

func readVars(path string, keys *vault.Keyring, problems *diag.List) []*vars.Values {
	text, err := os.ReadFile(path)
	if err != nil {
		problems.Add(diag.Position{File: path}, "", "the file cannot be read: %v", reason(err))
		return nil
	}
	if v := vars.ParseFile(path, text, keys, problems); v.Len() > 0 {
		return []*vars.Values{v}
	}
	return nil
}

// readFolder reads a folder of files in name order; later files win.
func readFolder(dir string, keys *vault.Keyring, problems *diag.List) []*vars.Values {
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
				out = append(out, readFolder(path, keys, problems)...)
			}
		case ext == "" || ext == ".yml" || ext == ".yaml" || ext == ".json":
			out = append(out, readVars(path, keys, problems)...)
		}
	}
	return out
}
