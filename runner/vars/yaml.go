package vars

import (
	"encoding/base64"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
)

// maxNodes bounds a value whose aliases are written out, against files made to blow up.
const maxNodes = 1_000_000

// FromNode compiles a YAML value. Problems (template syntax, unknown functions, bad YAML tags) are
// added with their positions inside the file.
func FromNode(n *yaml.Node, file string, problems *diag.List) Value {
	if n == nil || n.Kind == 0 {
		return Value{}
	}
	r := nodeReader{file: file, problems: problems, done: map[*yaml.Node]Value{}, text: textValue}
	return r.value(n)
}

// nodeReader compiles YAML nodes; a node that aliases share is compiled once.
type nodeReader struct {
	file     string
	problems *diag.List
	done     map[*yaml.Node]Value                                // of anchored nodes; not given while a node is being read
	literal  bool                                                // below !unsafe, or no templates at all
	text     func(string, diag.Position, form, *diag.List) Value // compiles a text; nil when literal
}

func (r *nodeReader) at(n *yaml.Node) diag.Position {
	return diag.Position{File: r.file, Line: n.Line, Column: n.Column}
}

func (r *nodeReader) value(n *yaml.Node) Value {
	switch n.Kind {
	case yaml.DocumentNode:
		if len(n.Content) == 0 {
			return Value{}
		}
		return r.value(n.Content[0])
	case yaml.AliasNode:
		return r.alias(n)
	}
	if n.Anchor != "" {
		if v, ok := r.done[n]; ok && !v.IsZero() {
			return v // package document has put the node itself in the alias's place
		}
		r.done[n] = Value{}
	}
	var v Value
	switch {
	case explicitTag(n) == "!vault" || explicitTag(n) == "!vault-encrypted":
		v = r.sealed(n)
	case n.Kind == yaml.SequenceNode:
		v = r.list(n)
	case n.Kind == yaml.MappingNode:
		v = r.mapping(n)
	default:
		v = r.scalar(n)
	}
	if n.Anchor != "" {
		r.done[n] = v
	}
	return v
}

func (r *nodeReader) static(n *yaml.Node, d any) Value {
	return Value{&node{at: r.at(n), static: true, data: d, raw: n.Value, size: 1}}
}

func (r *nodeReader) alias(n *yaml.Node) Value {
	v, ok := r.done[n.Alias]
	if !ok {
		return r.value(n.Alias)
	}
	if v.IsZero() {
		r.problems.Add(r.at(n), "", "the alias *%s stands inside its own anchor", n.Value)
		return r.static(n, nil)
	}
	return v
}

// explicitTag is the tag that is written in the file; "" for none.
func explicitTag(n *yaml.Node) string {
	if n.Style&yaml.TaggedStyle == 0 {
		return ""
	}
	return n.Tag
}

// grow counts a child in and remembers whether everything so far is free of templates.
func (r *nodeReader) grow(out *node, child Value) Value {
	if child.IsZero() {
		child = Value{&node{at: out.at, static: true, size: 1}}
	}
	if out.size += child.n.size; out.size > maxNodes {
		r.problems.Add(out.at, "", "the value has more than %d parts when its aliases are written out", maxNodes)
		out.size = 1
		return Value{&node{at: out.at, static: true, size: 1}}
	}
	out.static = out.static && child.n.static
	return child
}

func (r *nodeReader) list(n *yaml.Node) Value {
	defer r.unsafe(n)()
	r.checkTag(n, "!!seq")
	out := &node{at: r.at(n), kind: kindList, static: true, size: 1}
	for _, c := range n.Content {
		out.items = append(out.items, r.grow(out, r.value(c)))
	}
	if out.static {
		data := make([]any, 0, len(out.items))
		for _, item := range out.items {
			data = append(data, item.n.data)
		}
		out.data = data
	}
	return Value{out}
}

// unsafe takes every text below a node tagged !unsafe as it is.
func (r *nodeReader) unsafe(n *yaml.Node) (restore func()) {
	before := r.literal
	r.literal = before || explicitTag(n) == "!unsafe"
	return func() { r.literal = before }
}

func (r *nodeReader) checkTag(n *yaml.Node, own string) {
	switch tag := explicitTag(n); tag {
	case "", "!unsafe", own:
	default:
		r.problems.Add(r.at(n), "take the tag away", "the tag %s means nothing here", tag)
	}
}

func (r *nodeReader) mapping(n *yaml.Node) Value {
	defer r.unsafe(n)()
	r.checkTag(n, "!!map")
	if v, ok := r.sealedJSON(n); ok {
		return v
	}
	out := &node{at: r.at(n), kind: kindMapping, static: true, size: 1}
	if r.isBareTemplate(n) {
		r.problems.Add(r.at(n), `write key: "{{ … }}"`, "a value that begins with {{ must stand in quotes")
		return r.static(n, nil)
	}
	places := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if isMerge(key) {
			continue
		}
		name, ok := r.key(key)
		if !ok {
			continue
		}
		if first, twice := places[name]; twice {
			r.problems.Add(r.at(key), fmt.Sprintf("it is also in line %d", out.fields[first].At.Line), "%q is given twice", name)
			continue
		}
		places[name] = len(out.fields)
		out.fields = append(out.fields, Field{Name: name, At: r.at(key), Value: r.grow(out, r.value(value))})
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if isMerge(n.Content[i]) {
			r.merge(out, places, r.value(n.Content[i+1]))
		}
	}
	if out.static {
		data := make(map[string]any, len(out.fields))
		for _, f := range out.fields {
			data[f.Name] = f.n.data
		}
		out.data = data
	}
	return Value{out}
}

// isBareTemplate recognises "key: {{ .x }}" without quotes, which YAML reads as a mapping in a mapping.
func (r *nodeReader) isBareTemplate(n *yaml.Node) bool {
	return n.Style&yaml.FlowStyle != 0 && len(n.Content) == 2 && n.Content[0].Kind == yaml.MappingNode
}

func isMerge(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.Value == "<<" && key.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.TaggedStyle) == 0
}

// key is a mapping key as text: 80: and yes: are the keys "80" and "yes", as in JSON.
func (r *nodeReader) key(n *yaml.Node) (string, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode {
		r.problems.Add(r.at(n), `a template must stand in quotes: "{{ … }}"`, "the key of a mapping must be a text")
		return "", false
	}
	return n.Value, true
}

// merge takes over the entries of << that the mapping does not have itself.
func (r *nodeReader) merge(out *node, places map[string]int, from Value) {
	switch {
	case from.IsZero():
	case from.IsMapping():
		for _, f := range from.n.fields {
			if _, ok := places[f.Name]; ok {
				continue
			}
			places[f.Name] = len(out.fields)
			f.Value = r.grow(out, f.Value)
			out.fields = append(out.fields, f)
		}
	case from.IsList() && len(from.n.items) > 0:
		for _, item := range from.n.items {
			if !item.IsMapping() {
				r.problems.Add(item.Position(), "write <<: *anchor or <<: [*a, *b]", "<< merges mappings only")
				return
			}
			r.merge(out, places, item)
		}
	default:
		r.problems.Add(from.Position(), "write <<: *anchor or <<: [*a, *b]", "<< merges mappings only")
	}
}

func (r *nodeReader) scalar(n *yaml.Node) Value {
	quoted := scalarForm(n.Style) != formPlain
	switch tag := explicitTag(n); tag {
	case "":
		if !quoted {
			return r.plain(n)
		}
	case "!unsafe":
		return r.static(n, n.Value)
	case "!!str", "!", "!!timestamp":
	case "!!binary":
		raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
		if err != nil {
			r.problems.Add(r.at(n), "", "the value is no base64: %v", err)
		}
		return r.static(n, string(raw))
	case "!!int", "!!float", "!!bool", "!!null":
		return r.tagged(n, tag)
	default:
		r.problems.Add(r.at(n), "take the tag away", "the tag %s means nothing here", tag)
	}
	if r.literal {
		return r.static(n, n.Value)
	}
	return r.text(n.Value, r.at(n), scalarForm(n.Style), r.problems)
}

// tagged is a scalar whose type is written before it.
func (r *nodeReader) tagged(n *yaml.Node, tag string) Value {
	v, _ := plainScalar(n.Value)
	if i, ok := v.(int64); ok && tag == "!!float" {
		v = float64(i)
	}
	want := map[string]string{"!!int": "integer", "!!float": "float", "!!bool": "boolean", "!!null": "null"}[tag]
	if kindOf(v) != want {
		r.problems.Add(r.at(n), "", "%q is not of type %s", n.Value, want)
	}
	return r.static(n, v)
}

// plain is a scalar without quotes: its spelling says its type.
func (r *nodeReader) plain(n *yaml.Node) Value {
	v, err := plainScalar(n.Value)
	if err != nil {
		r.problems.Add(r.at(n), "write it in quotes to keep it as text", "%v", err)
	}
	if text, ok := v.(string); ok && !r.literal {
		return r.text(text, r.at(n), scalarForm(n.Style), r.problems)
	}
	return r.static(n, v)
}

var (
	plainInt   = regexp.MustCompile(`^[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$`)
	plainFloat = regexp.MustCompile(`^[-+]?([0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?)$`)
)

// plainScalar gives an unquoted scalar the type that Ansible's YAML reader gives it (see Design).
func plainScalar(text string) (any, error) {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return nil, nil
	case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON":
		return true, nil
	case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF":
		return false, nil
	case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF":
		return math.Inf(1), nil
	case "-.inf", "-.Inf", "-.INF":
		return math.Inf(-1), nil
	case ".nan", ".NaN", ".NAN":
		return math.NaN(), nil
	}
	if c := text[0]; c != '-' && c != '+' && c != '.' && (c < '0' || c > '9') {
		return text, nil
	}
	digits := strings.ReplaceAll(text, "_", "")
	switch {
	case plainInt.MatchString(text):
		i, err := strconv.ParseInt(digits, 0, 64)
		if err != nil {
			return text, fmt.Errorf("the number %s does not fit into 64 bits", text)
		}
		return i, nil
	case plainFloat.MatchString(text):
		f, err := strconv.ParseFloat(digits, 64)
		if err != nil {
			return text, fmt.Errorf("the number %s is too large", text)
		}
		return f, nil
	}
	return text, nil
}
