package runner

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/overlay"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/vars"
)

// call is what a module is given besides its arguments.
func (st *step) call(x *prepared, host modules.Host) *modules.Call {
	jobs := modules.Jobs(x.host)
	if st.looking != nil {
		jobs = &onlooker{x.host, st.row.module.Name}
	}
	return &modules.Call{
		Host: host,
		Open: func(kind, name string) (modules.Source, error) {
			path, err := st.row.find(kind, name)
			if err != nil {
				return nil, err
			}
			st.used.file(path)
			return st.r.source(path)
		},
		OpenDir: func(kind, name string) ([]modules.TreeEntry, error) {
			path, err := st.row.find(kind, name)
			if err != nil {
				return nil, err
			}
			st.used.file(path)
			return st.r.tree(path)
		},
		Render: func(name, text string, delims [2]string) (string, error) {
			t, err := st.templates.parse(name, text, delims)
			if err != nil {
				return "", err
			}
			return t.Render(x.scope)
		},
		Eval: func(expr modules.Expr) (json.RawMessage, error) { return st.eval(expr, x.scope, x) },
		Note: func(format string, args ...any) {
			text := fmt.Sprintf(format, args...)
			if x.noLog {
				text = hidden
			}
			st.note(event.Noted{Text: text})
		},
		Report:    func(p modules.Progress) { st.report(x, p) },
		Jobs:      jobs,
		Hostname:  st.p.Name,
		Dir:       absolutePath(st.lane.play.Dir),
		Batch:     st.lane.addresses,
		Verbosity: st.r.opts.Verbosity,
		Begun:     st.begun(x),
	}
}

// begun is what is known of the task where it had begun to change the host when the run ended.
func (st *step) begun(x *prepared) *modules.Begun {
	a, was := st.before.acting(x.item)
	if !was || !a.Changes || x.check {
		return nil
	}
	return &modules.Begun{Mark: a.Mark}
}

// eval evaluates an expression for a module.
func (st *step) eval(expr modules.Expr, s *vars.Scope, x *prepared) (json.RawMessage, error) {
	var problems diag.List
	e := vars.ParseExpr(string(expr), x.at(st.row), &problems)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	d, err := e.Eval(s)
	if err != nil {
		return nil, err
	}
	if d.IsUnknown() {
		return nil, fmt.Errorf("%s: %w", expr, vars.ErrUnknown)
	}
	if holds, err := d.Bool(); err == nil && !holds {
		x.refuted.Store(&e)
	} else {
		x.refuted.Store(nil)
	}
	return d.JSON(), nil
}

// templates are the template files of a row, parsed once for all its hosts.
type templates struct {
	mu     sync.Mutex // guards parsed
	parsed map[templateText]*vars.Template
}

type templateText struct {
	name, text string
	delims     [2]string
}

func (t *templates) parse(name, text string, delims [2]string) (*vars.Template, error) {
	key := templateText{name, text, delims}
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.parsed[key]; known != nil {
		return known, nil
	}
	parsed, problems := vars.ParseTemplate(name, text, delims)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	if t.parsed == nil {
		t.parsed = map[templateText]*vars.Template{}
	}
	t.parsed[key] = parsed
	return parsed, nil
}

func (x *prepared) at(r *row) diag.Position {
	if at := r.task.ArgsAt; at != (diag.Position{}) {
		return at
	}
	return r.task.At
}

// absorb takes what a proposal leaves behind: output and facts.
func (st *step) absorb(x *prepared, p *modules.Proposal, res *result) {
	if p.Output != nil {
		raw, err := json.Marshal(p.Output)
		if err != nil {
			res.fail(fmt.Errorf("result of %s: %w", st.row.module.Name, err))
			return
		}
		out, err := vars.FromJSON(raw)
		if err != nil {
			res.fail(fmt.Errorf("result of %s: %w", st.row.module.Name, err))
			return
		}
		res.output(out)
	}
	var to *host
	if x.delegateFacts && x.delegatedTo != "" {
		to = st.r.stateOf(x.on)
	}
	facts := map[string]vars.Data{}
	for name, raw := range p.Facts {
		d, err := vars.FromJSON(raw)
		if err != nil {
			res.fail(fmt.Errorf("fact %s: %w", name, err))
			return
		}
		facts[name] = d
	}
	learn := func(layer vars.Layer, vs *vars.Values) {
		res.learned = append(res.learned, learned{layer: layer, vars: vs, host: to})
	}
	if len(facts) > 0 {
		vs := vars.ValuesOf(facts)
		if p.FactRank == modules.RankFound {
			learn(vars.Facts, withoutConnection(facts))
		} else {
			learn(vars.SetFact, vs)
		}
		if p.FactRank == modules.RankBoth {
			learn(vars.Facts, vs)
		}
	}
	for _, j := range p.Joins {
		if err := st.joins(j, res); err != nil {
			res.fail(err)
			return
		}
	}
	for _, f := range p.VarFiles {
		file := varFile{f.Source.Name(), f.Under}
		vs, err := st.r.readVarFile(file)
		if err != nil {
			res.fail(err)
			return
		}
		res.learned = append(res.learned, learned{vars.IncludeVars, vs, to, file})
	}
}

// withoutConnection drops connection variables: facts found on a host can never say how to reach it.
func withoutConnection(facts map[string]vars.Data) *vars.Values {
	facts = maps.Clone(facts)
	for _, name := range []string{"ansible_connection", "ansible_host", "ansible_port", "ansible_user", "ansible_password",
		"ansible_ssh_host", "ansible_ssh_port", "ansible_ssh_user", "ansible_ssh_pass", "ansible_ssh_private_key_file",
		"ansible_become", "ansible_become_user", "ansible_become_method", "ansible_become_password", "ansible_become_exe"} {
		delete(facts, name)
	}
	return vars.ValuesOf(facts)
}

func (r *run) readVarFile(f varFile) (*vars.Values, error) {
	var problems diag.List
	vs, err := vars.ReadFile(f.path, r.keys(), &problems)
	if err == nil {
		err = problems.Err()
	}
	if err != nil {
		return nil, err
	}
	if f.under != "" {
		return (*vars.Values)(nil).With(f.under, vs.Mapping()), nil
	}
	return vs, nil
}

// layeredHost is check mode's layer above a host, for one task.
type layeredHost struct {
	over *overlay.Overlay
	as   modules.Host
}

func (l *layeredHost) look() modules.Host              { return l.over.LookOver(l.as) }
func (l *layeredHost) act() modules.Host               { return l.over.ActOver(l.as) }
func (l *layeredHost) predict(state map[string]string) { l.over.Predict(state) }

// overlayOf gives the layer above a host, which stays for the run, as seen by the user that this task
// acts as. In a real run, where single tasks are in check mode, it stays until a task acts on the host,
// and what they predict for the cluster goes with it.
func (r *run) overlayOf(on *inventory.Host, as modules.Host) *layeredHost {
	h := r.stateOf(on)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.overlay == nil {
		shared := r.shared
		if !r.opts.Check {
			shared = nil
		}
		h.overlay = overlay.New(as, shared)
	}
	return &layeredHost{h.overlay, as}
}

// acted is when a task has acted on a host: what was predicted before does not count any more in a real
// run, and in check mode (a task with check_mode: false) what was seen of the host may be different now.
func (r *run) acted(on *inventory.Host) {
	h := r.stateOf(on)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.overlay == nil:
	case r.opts.Check:
		h.overlay.Forget()
	default:
		h.overlay = nil
	}
}

// host gives the state of a host of the inventory, or of the implicit localhost.
func (r *run) host(name string) (*host, bool) {
	in, ok := r.inventory().Host(name)
	if !ok {
		return nil, false
	}
	return r.stateOf(in), true
}

// hostOrAddress gives a host to delegate to: one of the inventory, or else an address by itself.
func (r *run) hostOrAddress(name string) *inventory.Host {
	if in, ok := r.inventory().Host(name); ok {
		return in
	}
	return &inventory.Host{Name: name}
}

// stateOf gives a host's state in the run, made when first asked for.
func (r *run) stateOf(in *inventory.Host) *host {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.hosts[in.Name]
	if h == nil {
		if now, ok := r.inventory().Host(in.Name); ok {
			in = now
		}
		h = &host{Host: in, in: in, moves: &r.moves, told: r.tellLoss}
		r.hosts[in.Name] = h
	}
	return h
}

// known lists the states of all hosts that have had one.
func (r *run) known() []*host {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.hosts))
}
