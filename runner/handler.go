package runner

import (
	"slices"

	"github.com/pegbook/pegbook/runner/playbook"
)

// handler is a handler of a play, in the order of definition.
type handler struct {
	*playbook.Handler
	name string // as written; "" without one
}

// handlers are a play's, in order of definition: those of roles first, then the play's own; those that
// an included role brings come last.
type handlers []*handler

// notified gives the handlers that a notification means: every one that listens to the name, and the
// one that has it. "role : name" is always that role's; a plain name is that of the list which came last (of an
// included role, else of the play, else of its last role), and in that list the first.
func (hs handlers) notified(name string) []*handler {
	var found []*handler
	for _, h := range hs {
		if slices.Contains(h.Listen, name) {
			found = append(found, h)
		}
	}
	if h := hs.called(name); h != nil && !slices.Contains(found, h) {
		found = append(found, h)
	}
	return found
}

func (hs handlers) called(name string) *handler {
	var best *handler
	for _, h := range hs {
		switch {
		case h.Role != nil && h.name != "" && h.Role.Name+" : "+h.name == name:
			return h
		case h.name != name || name == "":
		case best == nil:
			best = h
		case h.Role != best.Role:
			best = h
		}
	}
	return best
}

// names are what can be notified.
func (hs handlers) names() []string {
	var names []string
	for _, h := range hs {
		if h.name != "" {
			names = append(names, h.name)
		}
		names = append(names, h.Listen...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
