package runner

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules/overlay"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// Explorer tells what variables mean for hosts before anything runs. What only a run can know (facts,
// register, set_fact) is not there.
type Explorer struct {
	r     *run
	plays []*play
}

// View is what a host's variables are in a play that selects it, or outside of all plays.
type View struct {
	// Play and At are the play's name and place; zero outside of all plays.
	Play      string
	At        diag.Position
	Variables []Variable // by name
}

// Variable is what a name means for a host.
type Variable struct {
	Name string
	Definition
	// Hides are the definitions below the one that counts, nearest first.
	Hides []Definition
}

// Definition is a place that gives a variable.
type Definition struct {
	// Layer names the place's row in the order of precedence, as the manual does.
	Layer   string
	Written vars.Value
	// Value is what was written means for the host; Err says why it means nothing.
	Value vars.Data
	Err   error
}

// Explore prepares to look at the hosts of an inventory, in the plays of the playbooks, if there are any.
// Playbooks need not be free of mistakes.
func Explore(in Inputs) *Explorer {
	r := &run{plan: &Plan{in: in}, stream: event.NewStream(nil, time.Now, in.Files.Vault.Secrets()), secrets: in.Files.Vault.Secrets(), shared: &overlay.Shared{},
		hosts: map[string]*host{}, varFiles: map[string]*vars.Values{}}
	r.setInventory(in.Inventory)
	e := &Explorer{r: r}
	for _, pb := range in.Playbooks {
		for _, p := range pb.Plays {
			e.plays = append(e.plays, r.explored(p))
		}
	}
	return e
}

// explored is as much of a play as its variables need.
func (r *run) explored(p *playbook.Play) *play {
	_ = r.plan.lookBeside(p.Dir) // its mistakes are the plan's to tell
	s := r.plan.playScope(p)
	out := &play{Play: p, name: displayName(p.Name, s)}
	if out.name == "" {
		out.name = strings.Join(patternsOf(p, s), ",")
	}
	out.hosts, _ = r.plan.selectHosts(p, r.inventory(), s)
	for _, role := range slices.Concat(p.Imported, p.Roles) {
		out.layers = append(out.layers, roleLayers(role)...)
	}
	return out
}

// Host looks at a host: one view for each play that selects it; without playbooks one view.
func (e *Explorer) Host(h *inventory.Host) []View {
	state := e.r.stateOf(h)
	if len(e.plays) == 0 {
		return []View{{Variables: e.variables(e.scope(state), h)}}
	}
	var views []View
	for _, p := range e.plays {
		if !slices.ContainsFunc(p.hosts, func(other *inventory.Host) bool { return other.Name == h.Name }) {
			continue
		}
		views = append(views, View{Play: p.name, At: p.At, Variables: e.variables(e.playScope(p, state), h)})
	}
	return views
}

// playScope is what names mean on a host in a play, outside of its blocks, tasks and roles.
func (e *Explorer) playScope(p *play, h *host) *vars.Scope {
	w := &world{r: e.r, dir: p.Dir, row: &row{task: &playbook.Task{Dir: p.Dir}, frame: &frame{play: p}}}
	var b vars.Stack
	h.own(&b, e.r, p.Dir)
	push(&b, p.layers...)
	b.Push(vars.PlayVars, p.Vars)
	e.r.varsFiles(p, &b, w)
	b.Push(vars.Magic, playMagic(p, p.hosts, nil))
	return b.Scope(w)
}

// scope is what names mean on a host outside of all plays.
func (e *Explorer) scope(h *host) *vars.Scope {
	var b vars.Stack
	h.own(&b, e.r, "")
	return b.Scope(&world{r: e.r})
}

// Resolved gives the variables that the inventory has for a host, by name; one that does not resolve before
// a run is given as it is written.
func (e *Explorer) Resolved(h *inventory.Host) map[string]vars.Data {
	s := e.scope(e.r.stateOf(h))
	out := make(map[string]vars.Data, h.Vars.Len())
	for _, name := range h.Vars.Names() {
		written, _ := h.Vars.Get(name)
		d, err := written.Resolve(s)
		if err != nil {
			d = vars.Of(AsWritten(written))
		}
		out[name] = d
	}
	return out
}

// AsWritten is a value with its templates as they stand, for one that cannot be resolved.
func AsWritten(v vars.Value) vars.Data {
	if d, ok := v.Static(); ok {
		return d
	}
	switch {
	case v.Sealed():
		return vars.Of("(encrypted)")
	case v.IsList():
		items := []vars.Data{}
		for _, item := range v.Items() {
			items = append(items, AsWritten(item))
		}
		return vars.Of(items)
	case v.IsMapping():
		fields := map[string]vars.Data{}
		for _, f := range v.Fields() {
			fields[f.Name] = AsWritten(f.Value)
		}
		return vars.Of(fields)
	}
	return vars.Of(v.Raw())
}

func (e *Explorer) variables(s *vars.Scope, h *inventory.Host) []Variable {
	layers := e.r.inventory().Layers(h.Name)
	var all []Variable
	for _, name := range s.Names() {
		found := definitions(s, name, layers)
		if len(found) == 0 || name == "omit" {
			continue // hostvars and omit, which every scope has
		}
		for i := range found {
			found[i].Value, found[i].Err = found[i].Written.Resolve(s)
		}
		// The scope finds what leads back to the variable itself.
		found[0].Value, _, found[0].Err = s.Lookup(name)
		all = append(all, Variable{Name: name, Definition: found[0], Hides: found[1:]})
	}
	return all
}

// definitions are all that define a variable, the one that counts first. What the scope has of the inventory
// in one piece is taken apart; a file beside both inventory and playbook counts where it counts most.
func definitions(s *vars.Scope, name string, layers []inventory.Layer) []Definition {
	var out []Definition
	met := map[diag.Position]bool{}
	for _, d := range s.Definitions(name) {
		if d.Layer != vars.HostInventory {
			out = append(out, Definition{Layer: layerName(d.Layer), Written: d.Value})
			continue
		}
		for _, l := range slices.Backward(layers) {
			if v, ok := l.Vars.Get(name); ok && !met[v.Position()] {
				met[v.Position()] = v.Position().Line > 0
				out = append(out, Definition{Layer: l.String(), Written: v})
			}
		}
	}
	return out
}

// MagicLayer is the layer of what pegbook itself defines, such as inventory_hostname.
const MagicLayer = "magic variable"

// layerName is a row of VAR-3 as the manual calls it.
func layerName(l vars.Layer) string {
	switch l {
	case vars.RoleDefaults:
		return "role defaults"
	case vars.Facts:
		return "facts"
	case vars.PlayVars:
		return "play vars"
	case vars.PlayVarsFiles:
		return "vars_files"
	case vars.RoleVars:
		return "role vars"
	case vars.ExtraVars:
		return "extra vars"
	case vars.Magic:
		return MagicLayer
	}
	return fmt.Sprintf("row %d", l)
}

// Field gives the part of a variable that a path leads to: names of a mapping's entries, numbers of a list's.
// What is hidden is given where it has such a part.
func (v Variable) Field(path []string) (Variable, error) {
	out := Variable{Name: v.Name, Definition: v.Definition}
	for _, step := range path {
		next, err := out.field(step)
		if err != nil {
			return Variable{}, fmt.Errorf("%s: %w", out.Name, err)
		}
		out.Definition, out.Name = next, out.Name+"."+step
	}
	for _, hidden := range v.Hides {
		for _, step := range path {
			if next, err := hidden.field(step); err == nil {
				hidden = next
			} else {
				hidden.Written = vars.Value{}
				break
			}
		}
		if !hidden.Written.IsZero() {
			out.Hides = append(out.Hides, hidden)
		}
	}
	return out, nil
}

// field is one step of Field.
func (d Definition) field(step string) (Definition, error) {
	if d.Err != nil {
		return Definition{}, d.Err
	}
	out := d
	for _, f := range d.Written.Fields() {
		if f.Name == step {
			out.Written = f.Value
		}
	}
	if items, ok := d.Value.List(); ok {
		i, err := strconv.Atoi(step)
		if err != nil || i < 0 || i >= len(items) {
			return Definition{}, fmt.Errorf("it is a list of %d; %q is not the number of an element, counted from 0", len(items), step)
		}
		if out.Value = items[i]; i < len(d.Written.Items()) {
			out.Written = d.Written.Items()[i]
		}
		return out, nil
	}
	value, ok := d.Value.Get(step)
	if !ok {
		keys := d.Value.Keys()
		if keys == nil {
			return Definition{}, fmt.Errorf("it is of type %s and has no parts", d.Value.Kind())
		}
		hint := diag.DidYouMean(step, keys)
		return Definition{}, fmt.Errorf("it has no %q%s", step, map[bool]string{false: "; " + hint}[hint == ""])
	}
	out.Value = value
	return out, nil
}
