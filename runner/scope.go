package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
	"github.com/pegbook/pegbook/runner/vault"
)

// world is what the templates of one row can reach: the run's hosts, and files from where the row
// stands.
type world struct {
	r   *run
	row *row
	dir string // of the playbook whose play asks
	// used is told of the files that are read; nil where nobody keeps it.
	used *uses
}

var _ vars.World = (*world)(nil)

// HostScope is another host's scope: what is the host's own, nothing of a play.
func (w *world) HostScope(name string) (*vars.Scope, bool) {
	h, ok := w.r.host(name)
	if !ok {
		return nil, false
	}
	key := scopeKey{inv: w.r.inventory()}
	if w.r.plan.apart[w.dir] != nil {
		key.dir = w.dir
	}
	h.mu.Lock()
	s, of, since := h.scope, h.scopeOf, h.changes
	h.mu.Unlock()
	if s != nil && of == key {
		return s, true
	}
	var b vars.Stack
	h.own(&b, w.r, w.dir)
	s = b.Scope(&world{r: w.r, dir: w.dir})
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.changes == since {
		h.scope, h.scopeOf = s, key
	}
	return s, true
}

// HostNames are the inventory's hosts.
func (w *world) HostNames() []string { return namesOf(w.r.inventory().Hosts()) }

// Select gives the hosts that a pattern selects.
func (w *world) Select(pattern string) ([]string, error) {
	return selectNames(w.r.inventory(), pattern)
}

// ReadFile reads a file of the control node.
func (w *world) ReadFile(name string) ([]byte, error) {
	if w.row == nil {
		return w.r.readFile(name)
	}
	path, err := w.row.find("files", name)
	if err != nil {
		return nil, err
	}
	w.used.file(path)
	return w.r.readFile(path)
}

// Keyring is the passwords that open encrypted values.
func (w *world) Keyring() *vault.Keyring { return w.r.keys() }

// find looks for a file of the control node as a task names it: in the folders of its role and the
// role's callers, where the task's file stands, and beside the playbook; in the folder called kind first.
func (r *row) find(kind, name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, present(name)
	}
	var tried []string
	for _, dir := range r.folders() {
		for _, path := range []string{filepath.Join(dir, kind, name), filepath.Join(dir, name)} {
			if present(path) == nil {
				return path, nil
			}
			tried = append(tried, path)
		}
	}
	return "", fmt.Errorf("%s is in none of %s: %w", name, strings.Join(tried, ", "), fs.ErrNotExist)
}

func present(path string) error {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	return err
}

// folders are where files are looked for, nearest first, each once, absolute.
func (r *row) folders() []string {
	var dirs []string
	add := func(dir string) {
		if abs, err := filepath.Abs(dir); err == nil && !contains(dirs, abs) {
			dirs = append(dirs, abs)
		}
	}
	if role := r.frame.role; role != nil {
		add(role.Path)
		for _, caller := range role.Parents {
			add(caller.Path)
		}
	}
	add(r.task.Dir)
	add(r.frame.play.Dir)
	return dirs
}

func contains(list []string, s string) bool {
	for _, have := range list {
		if have == s {
			return true
		}
	}
	return false
}

// own puts what is the host's own into a scope: its inventory variables, facts, include_vars, set_fact
// and register, the extra variables and the host's magic ones. dir is the playbook's folder.
func (h *host) own(b *vars.Stack, r *run, dir string) {
	h.mu.Lock()
	if h.magic == nil {
		h.magic = r.hostMagic(h)
	}
	in, facts, read, set, magic := h.in, h.facts, h.read, h.set, h.magic
	h.mu.Unlock()
	b.Push(vars.HostInventory, r.seenFrom(dir, in).Vars)
	b.Push(vars.Facts, facts)
	b.Push(vars.IncludeVars, read)
	b.Push(vars.SetFact, set)
	b.Push(vars.ExtraVars, r.plan.in.Extra)
	b.Push(vars.Magic, r.magic())
	b.Push(vars.Magic, magic)
}

// scope is what names mean to a row on a host.
func (rr *rowRun) scope(h *host) *vars.Scope {
	var b vars.Stack
	h.own(&b, rr.r, rr.world.dir)
	push(&b, rr.lane.play.layers...)
	b.Push(vars.PlayVars, rr.row.frame.play.Vars)
	b.Push(vars.PlayVars, rr.row.frame.play.answers)
	rr.r.varsFiles(rr.row.frame.play, &b, rr.world)
	push(&b, rr.public...)
	push(&b, rr.row.layers...)
	for _, magic := range rr.magic {
		b.Push(vars.Magic, magic)
	}
	if rr.looking != nil {
		b.Push(vars.SetFact, rr.looking.keptOf(h.Name))
	}
	return b.Scope(rr.world)
}

func push(b *vars.Stack, layers ...layered) {
	for _, l := range layers {
		b.Push(l.layer, l.vars)
	}
}

// varsFiles lays the variables of a play's vars_files on top, for the host whose scope is in the making. A
// name that cannot be resolved or found leaves its entry out; names without templates were checked by Compile.
func (r *run) varsFiles(p *play, b *vars.Stack, w vars.World) {
	for _, f := range p.VarsFiles {
		vs := f.Values
		if vs == nil {
			vs = r.firstVarsFile(p, f, b.Scope(w))
		}
		b.Push(vars.PlayVarsFiles, vs)
	}
}

func (r *run) firstVarsFile(p *play, f playbook.VarsFile, s *vars.Scope) *vars.Values {
	for _, name := range f.Names {
		d, err := name.Resolve(s)
		if err != nil {
			continue
		}
		if vs, ok := r.readVars(absolute(p.Dir, d.Text())); ok {
			return vs
		}
	}
	return nil
}

// readVars reads a file of variables once a run. False: there is no such file, or it cannot be read.
func (r *run) readVars(path string) (*vars.Values, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	vs, ok := r.varFiles[path]
	if !ok {
		var problems diag.List
		read, err := vars.ReadFile(path, r.keys(), &problems)
		for _, d := range problems {
			r.stream.Emit(eventProblem(d))
		}
		if err == nil && !problems.Failed() {
			vs = read
		}
		r.varFiles[path] = vs
	}
	return vs, vs != nil
}

// hostMagic are the magic variables of a host, whose lock is held.
func (r *run) hostMagic(h *host) *vars.Values {
	return hostMagic(h.in, r.inventory(), factsData(h.facts))
}

func hostMagic(h *inventory.Host, inv *inventory.Inventory, facts vars.Data) *vars.Values {
	short := h.Name
	if net.ParseIP(h.Name) == nil {
		short, _, _ = strings.Cut(h.Name, ".")
	}
	groups := h.Groups
	if h.Implicit {
		groups = nil
	}
	return vars.ValuesOf(map[string]vars.Data{
		"inventory_hostname":       vars.Of(h.Name),
		"inventory_hostname_short": vars.Of(short),
		"group_names":              vars.Of(append([]string{}, groups...)),
		"inventory_dir":            vars.Of(inv.Dir(h.Name)),
		"inventory_file":           vars.Of(inv.File(h.Name)),
		"ansible_facts":            facts,
	})
}

// factsData is ansible_facts: the facts by their names without ansible_ before them.
func factsData(facts *vars.Values) vars.Data {
	all := map[string]vars.Data{}
	for _, name := range facts.Names() {
		v, _ := facts.Get(name)
		if d, ok := v.Static(); ok {
			all[strings.TrimPrefix(name, "ansible_")] = d
		}
	}
	return vars.Of(all)
}

// magic are the magic variables of the run; they change with the inventory.
func (r *run) magic() *vars.Values {
	w := r.world.Load()
	return w.magic
}

// inventoryNow is the inventory as it stands, with what is made of it once.
type inventoryNow struct {
	*inventory.Inventory
	magic *vars.Values

	mu     sync.Mutex                      // guards beside
	beside map[string]*inventory.Inventory // by the folders of Plan.apart
}

// seenFrom is a host of the inventory as the plays of a playbook in a folder see it.
func (r *run) seenFrom(dir string, h *inventory.Host) *inventory.Host {
	if r.plan.apart[dir] == nil {
		return h
	}
	if there, ok := r.world.Load().besides(dir).Host(h.Name); ok {
		return there
	}
	return h
}

// besides is the inventory with the variables beside a playbook. Mistakes in these were found before the run.
func (w *inventoryNow) besides(dir string) *inventory.Inventory {
	w.mu.Lock()
	defer w.mu.Unlock()
	if inv, ok := w.beside[dir]; ok {
		return inv
	}
	inv, _ := w.Beside(dir)
	w.beside[dir] = inv
	return inv
}

func (r *run) inventory() *inventory.Inventory { return r.world.Load().Inventory }

// setInventory takes an inventory as the run's.
func (r *run) setInventory(inv *inventory.Inventory) {
	defer r.renew(inv)
	r.world.Store(&inventoryNow{Inventory: inv, magic: runMagic(inv, r.plan, r.opts), beside: map[string]*inventory.Inventory{}})
}

// runMagic are the magic variables that all hosts of a run share.
func runMagic(inv *inventory.Inventory, p *Plan, o Options) *vars.Values {
	groups := map[string]vars.Data{}
	for _, name := range inv.Groups() {
		hosts, _ := inv.Group(name)
		groups[name] = vars.Of(namesOf(hosts))
	}
	return vars.ValuesOf(map[string]vars.Data{
		"groups":                    vars.Of(groups),
		"omit":                      vars.Omit(),
		"ansible_check_mode":        vars.Of(o.Check),
		"ansible_diff_mode":         vars.Of(o.Diff),
		"ansible_forks":             vars.Of(o.Forks),
		"ansible_inventory_sources": vars.Of(append([]string{}, p.in.Sources...)),
		"ansible_limit":             vars.Of(strings.Join(p.in.Limit, ",")),
		"ansible_run_tags":          vars.Of(p.tags.only),
		"ansible_skip_tags":         vars.Of(append([]string{}, p.tags.skip...)),
		"ansible_verbosity":         vars.Of(o.Verbosity),
		"pegbook_run":               vars.Of(o.RunID),
		"ansible_version":           vars.Of(map[string]vars.Data{"full": vars.Of("2.17.0"), "major": vars.Of(2), "minor": vars.Of(17), "revision": vars.Of(0), "string": vars.Of("2.17.0")}),
	})
}

// renew lets the hosts be what the inventory says.
func (r *run) renew(inv *inventory.Inventory) {
	for _, h := range r.known() {
		h.mu.Lock()
		if in, ok := inv.Host(h.Name); ok {
			h.in = in
		}
		h.magic, h.scope = nil, nil
		h.changes++
		h.mu.Unlock()
	}
}

// playMagic are the magic variables of a play that do not change while it runs.
func playMagic(p *play, all []*inventory.Host, undo *Undo) *vars.Values {
	roles := []string{}
	for _, role := range p.Roles {
		roles = append(roles, role.Name)
	}
	return vars.ValuesOf(map[string]vars.Data{
		"playbook_dir":            vars.Of(absolutePath(p.Dir)),
		"ansible_play_name":       vars.Of(p.name),
		"ansible_play_role_names": vars.Of(roles),
		"role_names":              vars.Of(roles),
		"ansible_play_hosts_all":  vars.Of(namesOf(all)),
		"pegbook_rollback":        undo.magic(p.place),
	})
}

// absolutePath is the path from the root, or as it is where the working folder is gone.
func absolutePath(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// magicOf are the magic variables of a row: its role's and its search path.
func (r *row) magicOf() *vars.Values {
	all := map[string]vars.Data{"ansible_search_path": vars.Of(r.folders())}
	if role := r.frame.role; role != nil {
		parents, paths := []string{}, []string{}
		for _, caller := range role.Parents {
			parents, paths = append(parents, caller.Name), append(paths, absolutePath(caller.Path))
		}
		all["role_name"] = vars.Of(role.Name)
		all["ansible_role_name"] = vars.Of(role.Name)
		all["role_path"] = vars.Of(absolutePath(role.Path))
		all["ansible_parent_role_names"] = vars.Of(parents)
		all["ansible_parent_role_paths"] = vars.Of(paths)
	}
	return vars.ValuesOf(all)
}
