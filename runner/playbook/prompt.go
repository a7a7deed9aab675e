package playbook

import (
	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

// Prompt is a question to whoever runs the playbook; the answer is a variable of the play.
type Prompt struct {
	At   diag.Position
	Name string
	// Text is the question, Default what an empty answer means. Both may use the play's variables.
	Text, Default vars.Value
	// Private answers are not shown as they are typed, nor anywhere else. Confirm asks twice.
	Private, Confirm bool
	// Unsafe answers stand for themselves; others may hold templates.
	Unsafe bool
}

// prompts reads vars_prompt.
func (r *reader) prompts(e entry, p *place) []*Prompt {
	var out []*Prompt
	for _, n := range r.list(e.value, "vars_prompt", p) {
		if q := r.prompt(n, p); q != nil {
			out = append(out, q)
		}
	}
	return out
}

func (r *reader) prompt(n *yaml.Node, p *place) *Prompt {
	if !r.mapping(n, "a question", p) {
		return nil
	}
	q := &Prompt{At: p.at(n), Private: true}
	for _, e := range pairs(n) {
		switch e.name() {
		case "name":
			q.Name = r.identifier(e, p)
		case "prompt":
			q.Text = r.value(e, p, isText)
		case "default":
			q.Default = r.value(e, p, func(vars.Data) string { return "" })
		case "private":
			q.Private = r.boolean(e, p)
		case "confirm":
			q.Confirm = r.boolean(e, p)
		case "unsafe":
			q.Unsafe = r.boolean(e, p)
		case "encrypt", "salt", "salt_size":
			if !isNull(e.value) {
				r.problems.Add(p.at(e.key), "ask for the hash itself, as mkpasswd or openssl passwd -6 makes it", "%s is not part of pegbook's language", e.name())
			}
		default:
			r.unknownKey(e, p, "a question", []string{"name", "prompt", "default", "private", "confirm", "unsafe"})
		}
	}
	if q.Name == "" && find(n, "name") == nil {
		r.problems.Add(q.At, "write name: and the variable that takes the answer", "the question has no name")
	}
	if q.Name == "" {
		return nil
	}
	return q
}
