package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/pluginfile"
	"github.com/pegbook/pegbook/runner/vars"
)

// Plugins finds the sources that files of an inventory name below plugin. Errors are for people.
type Plugins interface {
	// Source gives the source of a name. That there is none is a *NoSourceError.
	Source(ctx context.Context, name string) (*Source, error)
}

// NoSourceError says that no plugin has a source of a name.
type NoSourceError struct {
	// Hint says what to do about it.
	Hint string
}

// Error is the problem without the name.
func (e *NoSourceError) Error() string { return "there is no such inventory source" }

// Source is a plugin that answers hosts and groups.
type Source struct {
	// Options are what files that name the source may say.
	Options modules.Schema
	// Ask asks for the answer. file is the absolute path of the file that names the source, options a JSON object
	// that fits Options.
	Ask func(ctx context.Context, file string, options json.RawMessage) (*Answer, error)
}

// Answer is what a source answers.
type Answer struct {
	Hosts  []AnsweredHost  `json:"hosts,omitempty"`
	Groups []AnsweredGroup `json:"groups,omitempty"`
}

// AnsweredHost is a host of an answer.
type AnsweredHost struct {
	Name string             `json:"name"`
	Vars []AnsweredVariable `json:"vars,omitempty"`
}

// AnsweredGroup is a group of an answer. Its hosts and children need not be told elsewhere.
type AnsweredGroup struct {
	Name     string             `json:"name"`
	Hosts    []string           `json:"hosts,omitempty"`
	Children []string           `json:"children,omitempty"`
	Vars     []AnsweredVariable `json:"vars,omitempty"`
}

// AnsweredVariable is a variable of an answer. Its value is no template, whatever it holds: it may come from anybody
// whom the source has asked.
type AnsweredVariable struct {
	Name   string          `json:"name"`
	Value  json.RawMessage `json:"value"`
	Secret bool            `json:"secret,omitempty"`
}

// readPlugin asks the source that a file names.
func (s *sources) readPlugin(ctx context.Context, path string, root *yaml.Node) {
	before := len(*s.problems)
	content := vars.FromNode(root, path, s.problems)
	if len(*s.problems) > before {
		return
	}
	file, ok := pluginfile.Of(content, path, s.encrypted[path], s.keys, s.problems)
	if !ok {
		return
	}
	source, err := s.findSource(ctx, file.Plugin)
	var none *NoSourceError
	if errors.As(err, &none) {
		s.problems.Add(file.At, none.Hint, "there is no inventory plugin %q", file.Plugin)
		return
	}
	if err != nil {
		s.problems.Add(file.At, "", "%v", err)
		return
	}
	options, ok := file.Options(source.Options, s.problems)
	if !ok {
		return
	}
	answer, err := s.ask(ctx, source, file, options)
	if err != nil {
		problem, hint := misfit(file, err)
		s.problems.Add(file.Where(err), hint, "%s", problem)
		return
	}
	if err := s.take(answer, file); err != nil {
		s.problems.Add(file.At, "the plugin has to be mended", "plugin %s answers nonsense: %v", file.Plugin, err)
	}
}

func (s *sources) findSource(ctx context.Context, name string) (*Source, error) {
	if s.plugins == nil {
		return nil, &NoSourceError{Hint: "use a script that prints JSON"}
	}
	return s.plugins.Source(ctx, name)
}

func (s *sources) ask(ctx context.Context, source *Source, file pluginfile.File, options json.RawMessage) (*Answer, error) {
	ctx, stop := context.WithTimeoutCause(ctx, s.limit, fmt.Errorf("took longer than %s", s.limit))
	defer stop()
	answer, err := source.Ask(ctx, absolute(file.Path), options)
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(withoutSecrets(answer))
	if err != nil {
		return nil, err
	}
	s.tell(file.Path+" (plugin "+file.Plugin+")", plain)
	return answer, nil
}

// misfit is what is wrong when a source does not answer: the plugin is named once.
func misfit(file pluginfile.File, err error) (problem, hint string) {
	var wrong *modules.ArgumentError
	if errors.As(err, &wrong) {
		return file.Misfit(err)
	}
	return err.Error(), "pegbook inventory list -i " + file.Path + " tries it again"
}

// withoutSecrets is an answer as it may be told to who keeps digests: a digest would tell a short secret to whoever
// tries them all.
func withoutSecrets(a *Answer) Answer {
	hidden := func(all []AnsweredVariable) []AnsweredVariable {
		out := make([]AnsweredVariable, len(all))
		for i, v := range all {
			if out[i] = v; v.Secret {
				out[i].Value = json.RawMessage("null")
			}
		}
		return out
	}
	out := Answer{Hosts: make([]AnsweredHost, len(a.Hosts)), Groups: make([]AnsweredGroup, len(a.Groups))}
	for i, h := range a.Hosts {
		h.Vars = hidden(h.Vars)
		out.Hosts[i] = h
	}
	for i, g := range a.Groups {
		g.Vars = hidden(g.Vars)
		out.Groups[i] = g
	}
	return out
}

// take takes an answer in.
func (s *sources) take(a *Answer, file pluginfile.File) error {
	for _, h := range a.Hosts {
		if err := s.answeredHost(h, file); err != nil {
			return err
		}
	}
	for _, answered := range a.Groups {
		g := s.group(answered.Name, file.At)
		if err := s.answeredGroup(g, answered, file); err != nil {
			return err
		}
	}
	for _, answered := range a.Groups {
		g := s.groups[answered.Name]
		for _, name := range answered.Children {
			if name == all {
				return fmt.Errorf("all is above every group and cannot be a child of %s", g.name)
			}
			if circle := g.adopt(s.group(name, file.At)); circle != nil {
				return fmt.Errorf("the group %s would be below itself: %s", name, arrows(circle))
			}
		}
	}
	return nil
}

// arrows shows a way through groups, not all of a long one.
func arrows(way []string) string {
	const most = 8
	text := ""
	for i, name := range way {
		switch {
		case i == 0:
			text = name
		case i == most && len(way) > most+1:
			return text + " → … → " + way[len(way)-1]
		default:
			text += " → " + name
		}
	}
	return text
}

func (s *sources) answeredHost(answered AnsweredHost, file pluginfile.File) error {
	values, err := s.answeredVars(answered.Vars, file)
	if err != nil {
		return fmt.Errorf("host %s: %w", answered.Name, err)
	}
	h := s.host(answered.Name, file.At)
	if values.Len() > 0 {
		h.vars = append(h.vars, values)
	}
	return nil
}

func (s *sources) answeredGroup(g *group, answered AnsweredGroup, file pluginfile.File) error {
	rest := make([]AnsweredVariable, 0, len(answered.Vars))
	for _, v := range answered.Vars {
		if v.Name != groupPriority {
			rest = append(rest, v)
			continue
		}
		n, err := strconv.Atoi(string(v.Value))
		if err != nil {
			return fmt.Errorf("group %s: %s is %.80s, which is no whole number", g.name, groupPriority, v.Value)
		}
		g.priority = n
	}
	values, err := s.answeredVars(rest, file)
	if err != nil {
		return fmt.Errorf("group %s: %w", g.name, err)
	}
	if values.Len() > 0 {
		g.vars = append(g.vars, values)
	}
	for _, name := range answered.Hosts {
		g.add(s.host(name, file.At))
	}
	return nil
}

// answeredVars are variables whose place is where the file names the plugin.
func (s *sources) answeredVars(all []AnsweredVariable, file pluginfile.File) (*vars.Values, error) {
	m := make(map[string]vars.Data, len(all))
	for _, v := range all {
		d, err := vars.FromJSON(v.Value)
		if err != nil {
			return nil, fmt.Errorf("the value of %s is no JSON: %w", v.Name, err)
		}
		if v.Secret || s.encrypted[file.Path] {
			s.keys.Secrets().Add(d.Texts()...)
		}
		m[v.Name] = d
	}
	values := vars.ValuesAt(m, file.At)
	s.answered[values] = file.Plugin
	return values, nil
}
