package runner

import (
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
	"github.com/pegbook/pegbook/runner/vault"
)

// flowWorld is what templates reach before a run.
type flowWorld struct {
	a   *analysis
	row *row // nil outside of tasks
}

var _ vars.World = flowWorld{}

// HostScope is what is known of another host where the analysis stands.
func (w flowWorld) HostScope(name string) (*vars.Scope, bool) {
	h, ok := w.a.inv.Host(name)
	if !ok {
		return nil, false
	}
	k := w.a.of[name]
	var b vars.Stack
	b.Push(vars.HostInventory, h.Vars)
	b.Push(vars.Facts, w.a.facts)
	if k != nil {
		k.own(&b)
	}
	b.Push(vars.ExtraVars, w.a.plan.in.Extra)
	b.Push(vars.Magic, w.a.magic)
	b.Push(vars.Magic, hostMagic(h, w.a.inv, vars.Unknown(nil)))
	return b.Scope(w), true
}

// HostNames are the inventory's hosts.
func (w flowWorld) HostNames() []string { return namesOf(w.a.inv.Hosts()) }

// Select gives the hosts that a pattern selects; what hosts will have joined by then is unknown.
func (w flowWorld) Select(pattern string) ([]string, error) {
	if w.a.dynamic {
		return nil, vars.ErrUnknown
	}
	return selectNames(w.a.inv, pattern)
}

// Keyring is the passwords that open encrypted values.
func (w flowWorld) Keyring() *vault.Keyring { return w.a.plan.in.Files.Vault }

// ReadFile reads a file of the control node. One with an absolute name that is not there may be made before the
// run, or by it.
func (w flowWorld) ReadFile(name string) ([]byte, error) {
	if w.row == nil {
		if !filepath.IsAbs(name) {
			return nil, vars.ErrUnknown
		}
		raw, err := w.a.readFile(name)
		if err != nil {
			return nil, vars.ErrUnknown
		}
		return raw, nil
	}
	path, err := w.row.find("files", name)
	if err != nil && filepath.IsAbs(name) {
		return nil, vars.ErrUnknown
	}
	if err != nil {
		return nil, err
	}
	return w.a.readFile(path)
}

// maxText bounds the files that are read before a run.
const maxText = 1 << 20

// readFile reads a file that templates use or are in; a large one is unknown.
func (a *analysis) readFile(path string) ([]byte, error) {
	f := a.text(path)
	if f.err != nil {
		return nil, f.err
	}
	return f.raw, nil
}

// own puts what a host got while running into a scope.
func (k *kind) own(b *vars.Stack) {
	b.Push(vars.IncludeVars, k.read.Values())
	b.Push(vars.SetFact, k.state.Values())
}

func (a *analysis) runMagic() *vars.Values {
	o := Options{Forks: 1}
	magic := runMagic(a.inv, a.plan, o)
	unknown := vars.Literal(vars.Unknown(nil))
	for _, name := range []string{"ansible_check_mode", "ansible_diff_mode", "ansible_forks", "ansible_verbosity"} {
		magic = magic.With(name, unknown)
	}
	if a.dynamic {
		magic = magic.With("groups", vars.Literal(a.all.groups(a.inv))).With("hostvars", unknown)
	}
	return magic
}

// kindMagic are the magic variables of a kind of hosts.
func (a *analysis) kindMagic(k *kind) *vars.Values {
	unknown := vars.Literal(vars.Unknown(nil))
	h := &inventory.Host{}
	if !k.nobody {
		h = k.hosts[0]
	}
	magic := hostMagic(h, a.inv, vars.Unknown(nil))
	if k.many() || k.nobody {
		for _, name := range []string{"inventory_hostname", "inventory_hostname_short", "inventory_dir", "inventory_file"} {
			magic = magic.With(name, unknown)
		}
	}
	if a.dynamic || k.nobody {
		magic = magic.With("group_names", unknown)
	}
	return magic
}

// scopeOf is what names mean to a row on the hosts of a kind.
func (a *analysis) scopeOf(k *kind, r *row) *vars.Scope { return a.scopeFor(k, r, nil) }

// scopeFor is scopeOf for a single host of the kind, nil for all.
func (a *analysis) scopeFor(k *kind, r *row, h *inventory.Host) *vars.Scope {
	w := flowWorld{a, r}
	b := a.base(k, h)
	for _, around := range a.around {
		b.Push(vars.LoopVars, around.loop)
	}
	if r != nil {
		push(&b, r.layers...)
	}
	if r != nil {
		b.Push(vars.Magic, a.rowMagic(r))
	}
	return b.Scope(w)
}

// base is what all tasks of the play see where the analysis stands.
func (a *analysis) base(k *kind, h *inventory.Host) vars.Stack {
	at := baseKey{a.play, k.state.Mark(), k.read.Mark(), len(a.public), k.facts}
	if h == nil && k.baseAt == at {
		return k.base.Clone()
	}
	var b vars.Stack
	in, magic := k.vars, k.magic
	if h != nil {
		in, magic = h.Vars, hostMagic(h, a.inv, vars.Unknown(nil))
	}
	b.Push(vars.HostInventory, a.later)
	b.Push(vars.HostInventory, a.failed)
	b.Push(vars.HostInventory, in)
	b.Push(vars.HostInventory, a.beside)
	if k.facts != no {
		b.Push(vars.Facts, a.facts)
	}
	k.own(&b)
	b.Push(vars.ExtraVars, a.plan.in.Extra)
	b.Push(vars.Magic, a.magic)
	b.Push(vars.Magic, magic)
	push(&b, a.play.layers...)
	b.Push(vars.PlayVars, a.play.Vars)
	b.Push(vars.PlayVars, a.play.answers)
	push(&b, a.varsFiles(k, &b)...)
	push(&b, a.public...)
	b.Push(vars.Magic, a.playing)
	if h == nil {
		k.base, k.baseAt = b.Clone(), at
	}
	return b
}

// magicKey is what the magic variables of a row depend on.
type magicKey struct {
	role *playbook.Role
	play *play
	dir  string
}

func (a *analysis) rowMagic(r *row) *vars.Values {
	key := magicKey{r.frame.role, r.frame.play, r.task.Dir}
	m, ok := a.magics[key]
	if !ok {
		m = r.magicOf()
		a.magics[key] = m
	}
	return m
}

// unknowns are variables whose values are not known.
func unknowns(names []string) *vars.Values {
	all := make(map[string]vars.Data, len(names))
	for _, name := range names {
		all[name] = vars.Unknown(nil)
	}
	return vars.ValuesOf(all)
}

// failedTask are the variables of a rescue, which stay behind it.
func failedTask() *vars.Values {
	task := map[string]vars.Data{}
	for _, name := range []string{"name", "action"} {
		task[name] = vars.Unknown(nil)
	}
	return vars.ValuesOf(map[string]vars.Data{"ansible_failed_task": vars.Of(task), "ansible_failed_result": vars.Unknown(nil)})
}

// playMagic are the magic variables of the play. Which hosts will still be there is not known.
func (a *analysis) playMagic() *vars.Values {
	unknown := vars.Unknown(nil)
	magic := playMagic(a.play, a.play.hosts, nil)
	for _, name := range []string{"ansible_play_hosts", "ansible_play_batch", "play_hosts", "ansible_play_hosts_all"} {
		magic = magic.With(name, vars.Literal(unknown))
	}
	return magic
}

// varsFiles are the variables of the play's vars_files for a kind, as varsFiles of a run.
func (a *analysis) varsFiles(k *kind, b *vars.Stack) []layered {
	if k.filesOf == a.play {
		return k.files
	}
	k.filesOf, k.files = a.play, nil // names of files cannot use what the files define
	var all []layered
	for _, f := range a.play.VarsFiles {
		if f.Values != nil {
			all = append(all, layered{vars.PlayVarsFiles, f.Values})
			continue
		}
		for _, name := range f.Names {
			in := b.Clone()
			push(&in, all...)
			d, errs := name.Sample(in.Scope(flowWorld{a, nil}))
			if len(errs) > 0 {
				continue
			}
			if d.IsUnknown() {
				all = append(all, a.candidates(name, a.play.Dir)...)
				continue
			}
			if vs := a.varsFileNamed(d.Text()); vs != nil {
				all = append(all, layered{vars.PlayVarsFiles, vs})
				break
			}
		}
	}
	k.files = all
	return all
}

// varsFileNamed is the content of a file of vars_files, looked for as in a run.
func (a *analysis) varsFileNamed(name string) *vars.Values {
	if vs := a.valuesIn(absolute(filepath.Join(a.play.Dir, "vars"), name)); vs != nil {
		return vs
	}
	return a.valuesIn(absolute(a.play.Dir, name))
}

// candidates are the variables of the files that a name with templates may mean: their values are unknown.
func (a *analysis) candidates(name vars.Value, dir string) []layered {
	var all []layered
	for _, path := range globbed(name, dir, filepath.Join(dir, "vars")) {
		all = append(all, layered{vars.PlayVarsFiles, unknowns(a.valuesLike(path).Names())})
	}
	return all
}

// globbed are the files whose names fit a template, what is templated standing for anything.
func globbed(name vars.Value, dirs ...string) []string {
	pattern := templateGlob(name.Raw())
	var paths []string
	for _, dir := range dirs {
		found, err := filepath.Glob(absolute(dir, pattern))
		if err == nil {
			paths = append(paths, found...)
		}
	}
	return paths
}

// valuesIn reads a file of variables; nil when there is none or it cannot be read.
func (a *analysis) valuesIn(path string) *vars.Values {
	f := a.text(path)
	if f.err != nil {
		return nil
	}
	if f.values == nil {
		f.values = vars.ParseFile(path, f.raw, a.plan.in.Files.Vault, &f.problems)
		a.problems.Append(f.problems)
	}
	return f.values
}

// valuesLike is valuesIn for a file that may be no file of variables at all.
func (a *analysis) valuesLike(path string) *vars.Values {
	f := a.text(path)
	if f.err != nil {
		return nil
	}
	var ignored diag.List
	vs := vars.ParseFile(path, f.raw, a.plan.in.Files.Vault, &ignored)
	if ignored.Failed() {
		return nil
	}
	return vs
}

// errLarge is why a file is not looked into.
var errLarge = fmt.Errorf("the file is too large to be looked into: %w", fs.ErrInvalid)
