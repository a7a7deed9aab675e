package schema

import (
	"encoding/json"
	"slices"
	"strings"
)

// Node is a JSON Schema, or a part of one. Only the keywords that pegbook's schemas use are here.
type Node struct {
	Dialect     string           `json:"$schema,omitempty"`
	ID          string           `json:"$id,omitempty"`
	Title       string           `json:"title,omitempty"`
	Ref         string           `json:"$ref,omitempty"`
	Description string           `json:"description,omitempty"`
	Type        []string         `json:"type,omitempty"`
	Enum        []any            `json:"enum,omitempty"`
	Pattern     string           `json:"pattern,omitempty"`
	Minimum     *float64         `json:"minimum,omitempty"`
	Maximum     *float64         `json:"maximum,omitempty"`
	Default     any              `json:"default,omitempty"`
	Examples    []string         `json:"examples,omitempty"`
	Properties  map[string]*Node `json:"properties,omitempty"`
	// PatternProperties are properties by a regular expression of their names, Additional those that are
	// neither.
	PatternProperties map[string]*Node `json:"patternProperties,omitempty"`
	Additional        *Node            `json:"additionalProperties,omitempty"`
	PropertyNames     *Node            `json:"propertyNames,omitempty"`
	Required          []string         `json:"required,omitempty"`
	Items             *Node            `json:"items,omitempty"`
	MinItems          int              `json:"minItems,omitempty"`
	Not               *Node            `json:"not,omitempty"`
	AnyOf             []*Node          `json:"anyOf,omitempty"`
	OneOf             []*Node          `json:"oneOf,omitempty"`
	AllOf             []*Node          `json:"allOf,omitempty"`
	If                *Node            `json:"if,omitempty"`
	Then              *Node            `json:"then,omitempty"`
	Else              *Node            `json:"else,omitempty"`
	Defs              map[string]*Node `json:"$defs,omitempty"`

	nothing bool
}

// plain is a Node without methods.
type plain Node

// MarshalJSON writes the schema that nothing fits as false, and a single type as a text.
func (n *Node) MarshalJSON() ([]byte, error) {
	if n.nothing {
		return []byte("false"), nil
	}
	if len(n.Type) != 1 {
		return json.Marshal((*plain)(n))
	}
	single := struct {
		*plain
		Type string `json:"type"`
	}{(*plain)(n), n.Type[0]}
	return json.Marshal(single)
}

// nothing is the schema that no value fits.
func nothing() *Node { return &Node{nothing: true} }

// anything is the schema that every value fits.
func anything() *Node { return &Node{} }

func ref(name string) *Node { return &Node{Ref: refPrefix + name} }

func anyOf(nodes ...*Node) *Node { return &Node{AnyOf: nodes} }

func typed(types ...string) *Node { return &Node{Type: types} }

func pattern(p string) *Node { return &Node{Type: []string{"string"}, Pattern: p} }

// orList is a value or a list of such values.
func orList(items *Node) *Node {
	if len(items.Type) == 0 || items.Items != nil {
		return anyOf(items, &Node{Type: []string{"array"}, Items: items})
	}
	n := *items
	n.Type, n.Items = append(slices.Clone(items.Type), "array"), items
	return &n
}

// object is a mapping with these keys and no others.
func object(properties map[string]*Node) *Node {
	return &Node{Type: []string{"object"}, Properties: properties, Additional: nothing()}
}

func having(name string) *Node { return &Node{Required: []string{name}} }

// described is a node with a description of its own beside its reference.
func described(n *Node, text string) *Node {
	c := *n
	c.Description = text
	return &c
}

const refPrefix = "#/$defs/"

// prune drops the definitions that nothing refers to.
func (n *Node) prune() {
	used := map[string]bool{}
	defs := n.Defs
	n.Defs = nil
	var look func(n *Node)
	look = func(n *Node) {
		if n == nil {
			return
		}
		if name, ok := strings.CutPrefix(n.Ref, refPrefix); ok && !used[name] {
			used[name] = true
			look(defs[name])
		}
		n.each(look)
	}
	look(n)
	n.Defs = map[string]*Node{}
	for name, def := range defs {
		if used[name] {
			n.Defs[name] = def
		}
	}
}

// each calls do for every schema directly inside.
func (n *Node) each(do func(*Node)) {
	for _, one := range []*Node{n.Additional, n.PropertyNames, n.Items, n.Not, n.If, n.Then, n.Else} {
		do(one)
	}
	for _, named := range []map[string]*Node{n.Properties, n.PatternProperties, n.Defs} {
		for _, one := range named {
			do(one)
		}
	}
	for _, several := range [][]*Node{n.AnyOf, n.OneOf, n.AllOf} {
		for _, one := range several {
			do(one)
		}
	}
}
