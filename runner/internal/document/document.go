// Package document is YAML text read into nodes that are ready to be walked: one document, aliases and
// merge keys resolved, no key twice in a mapping, no more than a bounded number of values. What breaks
// these rules is a diagnostic with line and column. It knows nothing of what the values mean.
package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
)

// maxNodes bounds what aliases can blow a small file up to.
const maxNodes = 2_000_000

// Parse gives the root of a YAML or JSON text; nil when the text is empty or is no YAML, the latter with at
// least one problem. What can be read in spite of a problem is given, so that others are found. Shared parts (aliases) are shared nodes: treat the result as read-only.
func Parse(text []byte, file string, problems *diag.List) *yaml.Node {
	doc, err := decode(text)
	if err != nil {
		*problems = append(*problems, syntaxError(text, file, err))
		return nil
	}
	if doc == nil || len(doc.Content) == 0 {
		return nil
	}
	x := expander{file: file, problems: problems, sizes: map[*yaml.Node]int{}}
	root := x.expand(doc.Content[0])
	if x.total > maxNodes {
		return nil
	}
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil
	}
	return root
}

var errSeveral = errors.New("several documents")

// decode reads the first document. The parser of yaml.v3 panics on some broken texts; such a panic is a
// syntax error like others.
func decode(text []byte) (doc *yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("yaml: %v", p)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(text))
	doc = &yaml.Node{}
	if err := dec.Decode(doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, err
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		return nil, fmt.Errorf("%w:%d", errSeveral, second.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return doc, nil
}

// expander resolves aliases and merge keys in place.
type expander struct {
	file     string
	problems *diag.List
	// sizes holds how many values a node with an anchor stands for; -1 while it is being expanded.
	sizes map[*yaml.Node]int
	total int
}

func (x *expander) fail(n *yaml.Node, hint, format string, args ...any) {
	x.problems.Add(x.at(n), hint, format, args...)
}

func (x *expander) at(n *yaml.Node) diag.Position {
	return diag.Position{File: x.file, Line: n.Line, Column: n.Column}
}

// expand gives the node that n stands for, itself or what it is an alias of.
func (x *expander) expand(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return x.alias(n)
	}
	before := x.total
	x.total++
	if n.Anchor != "" {
		x.sizes[n] = -1
	}
	if n.Kind == yaml.MappingNode {
		x.mapping(n)
	} else {
		for i, child := range n.Content {
			n.Content[i] = x.expand(child)
		}
	}
	if n.Anchor != "" {
		x.sizes[n] = x.total - before
	}
	return n
}

func (x *expander) alias(n *yaml.Node) *yaml.Node {
	size := x.sizes[n.Alias]
	if size < 0 {
		x.fail(n, "", "*%s stands inside the value that it repeats", n.Value)
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line, Column: n.Column}
	}
	before := x.total
	x.total += size
	if x.total > maxNodes && before <= maxNodes {
		x.fail(n, "", "aliases blow this file up to more than %d values", maxNodes)
	}
	return n.Alias
}

// mapping expands a mapping's entries, applies merge keys, and finds keys that stand twice.
func (x *expander) mapping(n *yaml.Node) {
	seen := make(map[string]*yaml.Node, len(n.Content)/2)
	var merges []*yaml.Node
	kept := n.Content[:0]
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := x.expand(n.Content[i]), x.expand(n.Content[i+1])
		if key.Kind != yaml.ScalarNode {
			x.badKey(n, key)
			continue
		}
		if key.Tag == "!!merge" {
			merges = append(merges, value)
			continue
		}
		if first, ok := seen[key.Value]; ok {
			x.fail(key, "keep one of them", "%q stands twice in this mapping, first on line %d", key.Value, first.Line)
			continue
		}
		seen[key.Value] = key
		kept = append(kept, key, value)
	}
	n.Content = kept
	for _, m := range merges {
		x.merge(n, m, seen)
	}
}

// badKey reports a mapping or list in place of a key, which nearly always is a template without quotes.
func (x *expander) badKey(n, key *yaml.Node) {
	if key.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0 {
		x.fail(n, `put quotes around a value that begins with {{: "{{ .name }}"`, "a template without quotes is read as a mapping")
		return
	}
	x.fail(key, "", "a key must be text, not a list or a mapping")
}

// merge adds the entries of a merge key that n does not have itself.
func (x *expander) merge(n, from *yaml.Node, seen map[string]*yaml.Node) {
	switch from.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(from.Content); i += 2 {
			if key := from.Content[i]; seen[key.Value] == nil {
				seen[key.Value] = key
				n.Content = append(n.Content, key, from.Content[i+1])
			}
		}
	case yaml.SequenceNode:
		for _, item := range from.Content {
			if item.Kind != yaml.MappingNode {
				x.fail(item, "", "<< takes a mapping or a list of mappings")
				continue
			}
			x.merge(n, item, seen)
		}
	default:
		x.fail(from, "", "<< takes a mapping or a list of mappings")
	}
}
