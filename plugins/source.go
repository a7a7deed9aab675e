package plugins

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins/wire"
)

// Source answers which hosts and groups there are, where a file of an inventory names it below plugin. It is a plain
// value; make one with [DefineSource].
type Source struct {
	Name string
	// Doc is the manual page: the first line a title, then an empty line, the explanation, and as an indented example
	// a file that names the source.
	Doc string
	// Options are what such a file may say.
	Options modules.Schema
	// Answer asks. Options are a JSON object whose names are those of Options. An error about one of them is a
	// *modules.ArgumentError.
	Answer func(ctx context.Context, q Question, options json.RawMessage) (*Inventory, error)
}

// Question is what a source is told besides its options.
type Question struct {
	// File is the absolute path of the file that names the source.
	File string
}

// DefineSource makes a source from a function over a struct of options, as modules.Define makes a module.
func DefineSource[A any](name, doc string, answer func(ctx context.Context, q Question, options A) (*Inventory, error)) *Source {
	schema := modules.SchemaOf[A]()
	return &Source{Name: name, Doc: doc, Options: schema,
		Answer: func(ctx context.Context, q Question, raw json.RawMessage) (*Inventory, error) {
			var options A
			if err := schema.Decode(raw, &options); err != nil {
				return nil, err
			}
			return answer(ctx, q, options)
		}}
}

// Title is the first line of the manual page.
func (s *Source) Title() string { return firstLine(s.Doc) }

func firstLine(doc string) string {
	title, _, _ := strings.Cut(doc, "\n")
	return title
}

// Inventory is what a source answers. Hosts and groups are shown in the order in which they were first named. The
// zero value is empty; it is for one goroutine.
type Inventory struct {
	Hosts  []*Host
	Groups []*Group

	hosts  map[string]*Host
	groups map[string]*Group
}

// Host is a host of an inventory.
type Host struct {
	Name string
	Vars Variables
}

// Group is a group of an inventory. Its hosts and the groups below it need not be named elsewhere.
type Group struct {
	Name            string
	Hosts, Children []string
	Vars            Variables
}

// Variables are variables of a host or a group, in the order in which they were set.
type Variables []Variable

// Variable is a variable with a value that is taken as it is: "{{" in it means nothing.
type Variable struct {
	Name  string
	Value json.RawMessage
	// Secret hides the value everywhere.
	Secret bool
}

// Host gives the host of a name, which it adds where it is not there.
func (i *Inventory) Host(name string) *Host {
	if h := i.hosts[name]; h != nil {
		return h
	}
	if i.hosts == nil {
		i.hosts = map[string]*Host{}
	}
	h := &Host{Name: name}
	i.hosts[name] = h
	i.Hosts = append(i.Hosts, h)
	return h
}

// Group gives the group of a name, which it adds where it is not there.
func (i *Inventory) Group(name string) *Group {
	if g := i.groups[name]; g != nil {
		return g
	}
	if i.groups == nil {
		i.groups = map[string]*Group{}
	}
	g := &Group{Name: name}
	i.groups[name] = g
	i.Groups = append(i.Groups, g)
	return g
}

// Set sets a variable to what encoding/json makes of a value. A value of which it makes nothing is a bug and panics.
func (vs *Variables) Set(name string, value any) { vs.set(name, value, false) }

// SetSecret is Set for a value that must not be shown.
func (vs *Variables) SetSecret(name string, value any) { vs.set(name, value, true) }

func (vs *Variables) set(name string, value any, secret bool) {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("plugins: variable %s: %v", name, err))
	}
	v := Variable{Name: name, Value: raw, Secret: secret}
	for i := range *vs {
		if (*vs)[i].Name == name {
			(*vs)[i] = v
			return
		}
	}
	*vs = append(*vs, v)
}

// Inventory asks a source.
func (s *server) Inventory(ctx context.Context, q *wire.InventoryRequest) (answer *wire.InventoryAnswer, _ error) {
	defer func() {
		if bug := recover(); bug != nil {
			answer = &wire.InventoryAnswer{Error: &wire.Error{Message: fmt.Sprintf(bugPrefix+"%v\n%s", bug, debug.Stack())}}
		}
	}()
	source := s.sources[q.Source]
	if source == nil {
		return &wire.InventoryAnswer{Error: &wire.Error{Message: fmt.Sprintf("the plugin has no source %q", q.Source)}}, nil
	}
	inv, err := source.Answer(ctx, Question{File: q.File}, q.Options)
	if err != nil {
		return &wire.InventoryAnswer{Error: errorToWire(err)}, nil
	}
	return inventoryToWire(inv), nil
}

func inventoryToWire(inv *Inventory) *wire.InventoryAnswer {
	a := &wire.InventoryAnswer{}
	if inv == nil {
		return a
	}
	for _, h := range inv.Hosts {
		a.Hosts = append(a.Hosts, &wire.InventoryAnswer_Host{Name: h.Name, Vars: variablesToWire(h.Vars)})
	}
	for _, g := range inv.Groups {
		a.Groups = append(a.Groups, &wire.InventoryAnswer_Group{Name: g.Name, Hosts: g.Hosts, Children: g.Children, Vars: variablesToWire(g.Vars)})
	}
	return a
}

func variablesToWire(vs Variables) []*wire.InventoryAnswer_Variable {
	all := make([]*wire.InventoryAnswer_Variable, len(vs))
	for i, v := range vs {
		all[i] = &wire.InventoryAnswer_Variable{Name: v.Name, Value: v.Value, Secret: v.Secret}
	}
	return all
}

// source is a source of the plugin as pegbook uses it.
func (p *Plugin) source(w *wire.Source) *Source {
	s := &Source{Name: w.Name, Doc: w.Doc, Options: schemaFromWire(w.Options)}
	s.Answer = func(ctx context.Context, q Question, options json.RawMessage) (*Inventory, error) {
		now, err := p.process(ctx)
		if err != nil {
			return nil, err
		}
		a, err := now.Inventory(ctx, &wire.InventoryRequest{Source: s.Name, Options: options, File: q.File})
		if err != nil {
			return nil, p.blame(ctx, now, err)
		}
		if a.Error != nil {
			return nil, p.told(a.Error)
		}
		inv, err := inventoryFromWire(a)
		if err != nil {
			return nil, &Error{Plugin: p.name, Path: p.file.Path, Problem: "answers nonsense: " + err.Error(), Err: errNonsense}
		}
		return inv, nil
	}
	return s
}

// maxNames bounds the hosts of an answer, and its groups: ten times what pegbook is made for.
const maxNames = 100_000

// inventoryFromWire checks an answer: it may come of data that anybody could write.
func inventoryFromWire(a *wire.InventoryAnswer) (*Inventory, error) {
	if n := max(len(a.Hosts), len(a.Groups)); n > maxNames {
		return nil, fmt.Errorf("%d hosts or groups are more than %d", n, maxNames)
	}
	inv := &Inventory{}
	for _, w := range a.Hosts {
		if err := checkName("host", w.GetName()); err != nil {
			return nil, err
		}
		if inv.hosts[w.Name] != nil {
			return nil, fmt.Errorf("host %s is there twice", w.Name)
		}
		h := inv.Host(w.Name)
		var err error
		if h.Vars, err = variablesFromWire(w.Vars); err != nil {
			return nil, fmt.Errorf("host %s: %w", w.Name, err)
		}
	}
	for _, w := range a.Groups {
		if err := groupFromWire(inv, w); err != nil {
			return nil, err
		}
	}
	return inv, nil
}

func groupFromWire(inv *Inventory, w *wire.InventoryAnswer_Group) error {
	if err := checkName("group", w.GetName()); err != nil {
		return err
	}
	if inv.groups[w.Name] != nil {
		return fmt.Errorf("group %s is there twice", w.Name)
	}
	g := inv.Group(w.Name)
	if n := max(len(w.Hosts), len(w.Children)); n > maxNames {
		return fmt.Errorf("group %s has %d hosts or groups, more than %d", w.Name, n, maxNames)
	}
	for _, name := range w.Hosts {
		if err := checkName("host", name); err != nil {
			return fmt.Errorf("group %s: %w", w.Name, err)
		}
	}
	for _, name := range w.Children {
		if err := checkName("group", name); err != nil {
			return fmt.Errorf("group %s: %w", w.Name, err)
		}
	}
	g.Hosts, g.Children = w.Hosts, w.Children
	var err error
	if g.Vars, err = variablesFromWire(w.Vars); err != nil {
		return fmt.Errorf("group %s: %w", w.Name, err)
	}
	return nil
}

func variablesFromWire(all []*wire.InventoryAnswer_Variable) (Variables, error) {
	vs := make(Variables, len(all))
	seen := make(map[string]bool, len(all))
	for i, w := range all {
		switch name := w.GetName(); {
		case !variableName(name):
			return nil, fmt.Errorf("%.100q is no name of a variable: letters, digits and _, and no digit first", name)
		case seen[name]:
			return nil, fmt.Errorf("variable %s is there twice", name)
		case modules.Magic(name):
			return nil, fmt.Errorf("the variable %s is pegbook's own; call it something else", name)
		case !json.Valid(w.Value):
			return nil, fmt.Errorf("the value of %s is no JSON", name)
		}
		seen[w.Name] = true
		vs[i] = Variable{Name: w.Name, Value: w.Value, Secret: w.Secret}
	}
	return vs, nil
}

func variableName(name string) bool {
	for i, r := range name {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != "" && len(name) <= 255
}

// checkName refuses what is no name of a host or a group: what a pattern, a terminal or a command line would take for
// something else.
func checkName(what, name string) error {
	first, _ := utf8.DecodeRuneInString(name)
	bad := func(r rune) bool {
		return r == utf8.RuneError || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-:%@+", r)
	}
	if name == "" || len(name) > 255 || strings.ContainsFunc(name, bad) || strings.ContainsRune("-.:%@+", first) && !strings.HasPrefix(name, "::") {
		return fmt.Errorf("%.100q is no name of a %s: letters, digits, dots, hyphens, underscores and colons", name, what)
	}
	return nil
}
