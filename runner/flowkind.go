package runner

import (
	"hash/maphash"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/runner/internal/flow"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/vars"
)

// kind is hosts that the analysis need not tell apart: they are in the same groups and plays, and have variables
// of the same names and shapes. Values that differ among them are unknown.
type kind struct {
	hosts  []*inventory.Host
	vars   *vars.Values
	varies map[string]bool // variables whose values differ
	magic  *vars.Values
	plays  map[*play]bool
	// nobody: no host is of this kind. It goes through plays that have no hosts, with the variables that any
	// host has.
	nobody bool

	state flow.State
	read  flow.State // by include_vars
	facts truth      // whether facts have been gathered; unknown is maybe, no is not

	ended     bool // the play is over for it
	including inclusionOf
	marks     []int
	files     []layered // of the play's vars_files, for filesOf
	filesOf   *play
	base      vars.Stack // what all tasks see at baseAt
	baseAt    baseKey
}

type baseKey struct {
	play                 *play
	state, read, publics int
	facts                truth
}

// inclusionOf is what the include just met means for a kind.
type inclusionOf struct {
	truth truth
	loop  *vars.Values
	names []string // of files or roles, where templates give them; all of them if known
	known bool
}

func (k *kind) begin() {
	k.ended = false
	k.baseAt = baseKey{}
}

func (k *kind) many() bool { return len(k.hosts) > 1 }

// maxKinds is from how many kinds on only variables that playbooks name tell hosts apart, as they then seem to have
// names of their own. Those that only template files name are looked at for one host of many then.
const maxKinds = 200

// divide finds the kinds of hosts.
func (a *analysis) divide() {
	if a.group(nil); len(a.kinds) > maxKinds {
		a.group(a.all.used)
	}
	for _, k := range a.kinds {
		k.merge()
		k.magic = a.kindMagic(k)
	}
}

// group puts hosts that are alike into kinds. only are the variables that count; nil is all.
func (a *analysis) group(only map[string]bool) {
	a.kinds, a.of = nil, map[string]*kind{}
	order, plays := a.hostsOfPlays()
	sh := shapes{seed: maphash.MakeSeed(), known: map[vars.Value]uint64{}, only: only}
	byKey := map[kindKey]*kind{}
	ids := map[*play]string{}
	for _, h := range order {
		key := kindKey{shape: sh.ofValues(h.Vars), groups: strings.Join(h.Groups, "\n"), plays: playsKey(plays[h.Name], ids), implicit: h.Implicit}
		k := byKey[key]
		if k == nil {
			k = &kind{facts: no, plays: map[*play]bool{}}
			for _, p := range plays[h.Name] {
				k.plays[p] = true
			}
			byKey[key] = k
			a.kinds = append(a.kinds, k)
		}
		k.hosts = append(k.hosts, h)
		a.of[h.Name] = k
	}
}

// hostsOfPlays are all hosts that plays have, with the plays of each by its name.
func (a *analysis) hostsOfPlays() (order []*inventory.Host, plays map[string][]*play) {
	plays = map[string][]*play{}
	for _, b := range a.plan.playbooks {
		for _, p := range b.plays {
			for _, h := range p.hosts {
				if plays[h.Name] == nil {
					order = append(order, h)
				}
				plays[h.Name] = append(plays[h.Name], p)
			}
		}
	}
	return order, plays
}

type kindKey struct {
	shape         uint64
	groups, plays string
	implicit      bool
}

func playsKey(list []*play, ids map[*play]string) string {
	var key strings.Builder
	for _, p := range list {
		if ids[p] == "" {
			ids[p] = string(rune(len(ids) + 1))
		}
		key.WriteString(ids[p])
	}
	return key.String()
}

// merge makes the variables of the kind: those of its hosts where they agree, unknown values elsewhere.
func (k *kind) merge() {
	first := k.hosts[0].Vars
	k.vars, k.varies = first, map[string]bool{}
	if len(k.hosts) == 1 {
		return
	}
	names := first.Names()
	for _, h := range k.hosts[1:] {
		for _, name := range names {
			x, _ := first.Get(name)
			if y, _ := h.Vars.Get(name); x != y && !k.varies[name] && !sameText(x, y) {
				k.varies[name] = true
			}
		}
	}
	for name := range k.varies {
		v, _ := first.Get(name)
		k.vars = k.vars.With(name, vars.Literal(blurred(v)))
	}
}

func sameText(x, y vars.Value) bool {
	a, okA := x.Static()
	b, okB := y.Static()
	if okA != okB {
		return false
	}
	return okA && string(a.JSON()) == string(b.JSON()) || !okA && x.Raw() != "" && x.Raw() == y.Raw()
}

// blurred is the shape of a value without what it holds.
func blurred(v vars.Value) vars.Data {
	d, ok := v.Static()
	if !ok {
		return vars.Unknown(nil)
	}
	return blurredData(d)
}

func blurredData(d vars.Data) vars.Data {
	if d.Kind() != "mapping" {
		return vars.Unknown(nil)
	}
	fields := map[string]vars.Data{}
	for _, key := range d.Keys() {
		inner, _ := d.Get(key)
		fields[key] = blurredData(inner)
	}
	return vars.Of(fields)
}

// present are the kinds of hosts that a play has. One without any has nobody.
func (a *analysis) present(p *play) []*kind {
	var who []*kind
	for _, k := range a.kinds {
		if k.plays[p] {
			who = append(who, k)
		}
	}
	if len(who) == 0 {
		return []*kind{a.nobody()}
	}
	return who
}

// nobody stands for the hosts that a play without hosts would have: it has every variable that some host has.
func (a *analysis) nobody() *kind {
	k := &kind{nobody: true, facts: unknown, varies: map[string]bool{}}
	names := map[string]vars.Data{}
	for _, h := range a.inv.Hosts() {
		for _, name := range h.Vars.Names() {
			names[name] = vars.Unknown(nil)
		}
	}
	for name := range a.all.known {
		names[name] = vars.Unknown(nil)
	}
	k.vars = vars.ValuesOf(names)
	k.magic = a.kindMagic(k)
	return k
}

// shapes tells values of different shape apart.
type shapes struct {
	seed  maphash.Seed
	known map[vars.Value]uint64
	only  map[string]bool
}

func (s *shapes) ofValues(vs *vars.Values) uint64 {
	var sum uint64
	for _, name := range vs.Names() {
		if s.only != nil && !s.only[name] {
			continue
		}
		v, _ := vs.Get(name)
		sum += maphash.String(s.seed, name) ^ s.of(v)
	}
	return sum
}

func (s *shapes) of(v vars.Value) uint64 {
	if n, ok := s.known[v]; ok {
		return n
	}
	text := v.Raw()
	if d, static := v.Static(); static {
		text = shapeOf(d)
	} else if text == "" {
		var parts []string
		for _, f := range v.Fields() {
			parts = append(parts, f.Name+string(rune(s.of(f.Value)&0xffff)))
		}
		for _, item := range v.Items() {
			parts = append(parts, string(rune(s.of(item)&0xffff)))
		}
		text = strings.Join(parts, "\x00")
	}
	n := maphash.String(s.seed, text) * 31
	s.known[v] = n
	return n
}

func shapeOf(d vars.Data) string {
	if d.Kind() != "mapping" {
		return d.Kind()
	}
	keys := slices.Clone(d.Keys())
	for i, key := range keys {
		inner, _ := d.Get(key)
		keys[i] = key + "=" + shapeOf(inner)
	}
	return "{" + strings.Join(keys, ",") + "}"
}
