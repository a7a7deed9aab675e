package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	answers *answers
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
	return s.answering(p.Sources()[i]), nil
}

// answering is a plugin's source as inventories ask it.
func (s sources) answering(source *plugins.Source) *inventory.Source {
	return &inventory.Source{Options: source.Options,
		Ask: func(ctx context.Context, file string, options json.RawMessage) (*inventory.Answer, error) {
			sum := sha256.Sum256(options)
			asked := sourceQuestion{File: file, Source: source.Name, Options: hex.EncodeToString(sum[:])}
			if known := s.answers.of(asked); known != nil {
				return known, nil
			}
			inv, err := source.Answer(ctx, plugins.Question{File: file}, options)
			if err != nil {
				return nil, err
			}
			answer := answerOf(inv)
			s.answers.keep(asked, answer)
			return answer, nil
		}}
}

// answers are what sources have answered: a run that is gone on with hears the same again, so that its hosts and their
// variables are those that it began with. A file that has changed since is asked for anew. It is used by one goroutine.
type answers struct{ all []answerTo }

// answerTo is an answer to a question.
type answerTo struct {
	sourceQuestion
	Answer *inventory.Answer `json:"answer"`
}

// sourceQuestion is what a source was asked.
type sourceQuestion struct {
	// File names the source; Options is the digest of what it says beside that.
	File    string `json:"file"`
	Source  string `json:"source"`
	Options string `json:"options"`
}

// heardAnswers reads what told gave.
func heardAnswers(raw json.RawMessage) (*answers, diag.List) {
	a := &answers{}
	var problems diag.List
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &a.all); err != nil {
			problems.Add(diag.Position{}, "", "what plugins had answered when the run began cannot be read: %v", err)
		}
	}
	return a, problems
}

// told gives the answers; nil where nothing was asked.
func (a *answers) told() (json.RawMessage, error) {
	if len(a.all) == 0 {
		return nil, nil
	}
	return json.Marshal(a.all)
}

func (a *answers) of(q sourceQuestion) *inventory.Answer {
	for _, known := range a.all {
		if known.sourceQuestion == q {
			return known.Answer
		}
	}
	return nil
}

// keep keeps an answer in place of one to the same file.
func (a *answers) keep(q sourceQuestion, answer *inventory.Answer) {
	a.all = slices.DeleteFunc(a.all, func(known answerTo) bool { return known.File == q.File })
	a.all = append(a.all, answerTo{q, answer})
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
