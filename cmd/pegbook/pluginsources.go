package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/pegbook/pegbook/plugins"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/inventory"
)

// sources are what the files of an inventory that name a plugin are answered by: the trusted plugins of folders, each
// started when a file names its source.
type sources struct {
	house   *pluginHouse
	folders []string
}

var _ inventory.Plugins = sources{}

// Source finds the plugin that has a source and starts it.
func (s sources) Source(ctx context.Context, name string) (*inventory.Source, error) {
	found, err := findPart(s.folders, name, func(f plugins.Found) []string { return f.Sources })
	var none *noPartError
	if errors.As(err, &none) {
		return nil, &inventory.NoSourceError{Hint: none.hint}
	}
	if err != nil {
		return nil, err
	}
	p, err := s.house.start(ctx, found)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(p.Sources(), func(s *plugins.Source) bool { return s.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("plugin %s has no inventory source %s any more", p.Name(), name)
	}
	return answering(p.Sources()[i]), nil
}

// answering is a plugin's source as inventories ask it.
func answering(source *plugins.Source) *inventory.Source {
	return &inventory.Source{Options: source.Options,
		Ask: func(ctx context.Context, file string, options json.RawMessage) (*inventory.Answer, error) {
			inv, err := source.Answer(ctx, plugins.Question{File: file}, options)
			if err != nil {
				return nil, err
			}
			return answerOf(inv), nil
		}}
}

func answerOf(inv *plugins.Inventory) *inventory.Answer {
	a := &inventory.Answer{}
	for _, h := range inv.Hosts {
		a.Hosts = append(a.Hosts, inventory.AnsweredHost{Name: h.Name, Vars: answeredVars(h.Vars)})
	}
	for _, g := range inv.Groups {
		a.Groups = append(a.Groups, inventory.AnsweredGroup{Name: g.Name, Hosts: g.Hosts, Children: g.Children, Vars: answeredVars(g.Vars)})
	}
	return a
}

func answeredVars(vs plugins.Variables) []inventory.AnsweredVariable {
	var all []inventory.AnsweredVariable
	for _, v := range vs {
		all = append(all, inventory.AnsweredVariable(v))
	}
	return all
}

// noPartError says that no plugin has a part of a name, and what to do about it.
type noPartError struct{ hint string }

func (e *noPartError) Error() string { return "no plugin has it" }

// findPart finds the trusted plugin that has a part of a name, by what the locks say. That there is none is a
// *noPartError.
func findPart(folders []string, name string, parts func(plugins.Found) []string) (plugins.Found, error) {
	var names []string
	var has, strangers []plugins.Found
	for _, folder := range folders {
		found, err := plugins.Find(folder)
		if err != nil {
			return plugins.Found{}, err
		}
		for _, f := range found {
			names = append(names, parts(f)...)
			switch {
			case slices.Contains(parts(f), name):
				has = append(has, f)
			case !f.Trusted && plugins.NameOf(f.Path) == name:
				strangers = append(strangers, f)
			}
		}
	}
	switch {
	case len(has) == 1:
		return has[0], nil
	case len(has) > 1:
		return plugins.Found{}, fmt.Errorf("%s is in two plugins, %s and %s; take one of them out of its lock", name, shown(has[0].Path), shown(has[1].Path))
	case len(strangers) > 0:
		return plugins.Found{}, fmt.Errorf("the plugin %s is not trusted, so it is not used; pegbook plugin add %s", shown(strangers[0].Path), shown(strangers[0].Path))
	}
	hint := diag.DidYouMean(name, names)
	if hint == "" {
		hint = "put the plugin into the folder plugins beside this file and trust it: pegbook plugin add plugins/" + filepath.Base(name)
	}
	return plugins.Found{}, &noPartError{hint}
}
