package runner

import (
	"errors"
	"slices"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// Question is one of vars_prompt that nobody has answered with -e.
type Question struct {
	// At is where it stands, Name the variable that takes the answer.
	At   diag.Position
	Name string
	Text string
	// Default is what an empty answer means, where HasDefault.
	Default    string
	HasDefault bool
	// Private answers must not be shown. Confirm asks for the same answer twice.
	Private, Confirm bool

	play   *playbook.Play
	prompt *playbook.Prompt
}

// Questions are what the plays ask, in the order of the plays. A plan that has some must be Answered before
// it is run; until then they have their defaults, or are not known.
func (p *Plan) Questions() []Question {
	var all []Question
	for _, b := range p.playbooks {
		for _, pl := range b.plays {
			s := p.playScope(pl.Play)
			for _, q := range pl.Prompts {
				if _, given := p.in.Extra.Get(q.Name); given {
					continue
				}
				all = append(all, Question{At: q.At, Name: q.Name, Text: firstOf(displayName(q.Text, s), "input for "+q.Name), Default: displayName(q.Default, s),
					HasDefault: !q.Default.IsZero(), Private: q.Private, Confirm: q.Confirm, play: pl.Play, prompt: q})
			}
		}
	}
	return all
}

// Answered makes the plan with an answer to each of its Questions, in their order; empty ones mean the
// default. What depends on the answers (hosts, serial, names) is only known now, and may be wrong.
func (p *Plan) Answered(answers []string) (*Plan, diag.List) {
	in := p.in
	in.answers, in.given = map[*playbook.Play]*vars.Values{}, answers
	var problems diag.List
	for i, q := range p.Questions() {
		v := vars.Literal(vars.Of(answers[i]))
		switch {
		case answers[i] == "" && q.HasDefault:
			v = q.prompt.Default
		case !q.prompt.Unsafe:
			v = vars.FromText(answers[i], q.At, &problems)
		}
		in.answers[q.play] = in.answers[q.play].With(q.Name, v)
		if q.Private {
			in.private = append(slices.Clip(in.private), answers[i])
			if answers[i] == "" {
				in.private[len(in.private)-1] = q.Default
			}
		}
	}
	in.Files.Vault.Secrets().Add(in.private...) // they may come up in what Compile finds wrong
	if problems.Failed() {
		return nil, problems
	}
	return Compile(in)
}

// privateAnswers are the answers that must not be shown, those of -e included.
func (p *Plan) privateAnswers() []string {
	all := slices.Clip(p.in.private)
	for _, b := range p.playbooks {
		for _, pl := range b.plays {
			for _, q := range pl.Prompts {
				v, given := p.in.Extra.Get(q.Name)
				if d, static := v.Static(); given && q.Private && static {
					all = append(all, d.Text())
				}
			}
		}
	}
	return all
}

// answersTo are the variables that a play's questions set: as answered, or what is known of them before.
func (in *Inputs) answersTo(pl *playbook.Play) *vars.Values {
	if in.answers != nil {
		return in.answers[pl]
	}
	var vs *vars.Values
	for _, q := range pl.Prompts {
		v := q.Default
		if v.IsZero() {
			v = vars.Literal(vars.Unknown(nil))
		}
		vs = vs.With(q.Name, v)
	}
	return vs
}

// blame takes an error as a problem, but for what only an answer can decide.
func (c *compiler) blame(err error, at diag.Position) {
	if !errors.Is(err, vars.ErrUnknown) {
		c.problems.Append(diagnosed(err, at))
	}
}
