package jinja

import (
	"slices"
	"strings"
)

// filters are those that are one function of the value alone.
func filters() map[string]string {
	return map[string]string{
		"lower": "lower", "upper": "upper", "trim": "trim", "title": "title", "int": "int", "float": "float64", "string": "toString",
		"bool": "bool", "length": "len", "count": "len", "first": "first", "last": "last", "unique": "uniq", "reverse": "reverse",
		"to_json": "toRawJson", "tojson": "toRawJson", "to_nice_json": "toPrettyJson", "to_yaml": "toYAML", "to_nice_yaml": "toYAML",
		"from_json": "fromJson", "from_yaml": "fromYAML", "b64encode": "b64enc", "b64decode": "b64dec", "basename": "base",
		"dirname": "dir", "quote": "squote", "sort": "sortAlpha", "urlencode": "urlquery", "regex_escape": "regexQuoteMeta",
		"e": "html", "escape": "html",
	}
}

// filter translates value | name(arguments).
func (p *parser) filter(value term) term {
	name, args := p.name(), []term(nil)
	if _, ok := p.take("("); ok {
		if name == "map" || name == "selectattr" || name == "rejectattr" || name == "select" || name == "reject" {
			p.fail()
		}
		args = p.arguments()
	}
	if function, ok := filters()[name]; ok && len(args) == 0 {
		return piping(value, function)
	}
	switch {
	case name == "list" && len(args) == 0, name == "mandatory" && len(args) == 0:
		return value
	case (name == "default" || name == "d") && len(args) == 1:
		return piping(value, "default", args[0])
	case (name == "default" || name == "d") && len(args) == 2 && args[1].text == "true":
		return calling("coalesce", value, args[0])
	case name == "join" && len(args) == 1:
		return piping(value, "join", args[0])
	case name == "join" && len(args) == 0:
		return piping(value, "join", quoted(""))
	case name == "split" && len(args) == 1:
		return piping(value, "splitList", args[0])
	case name == "replace" && len(args) == 2:
		return piping(value, "replace", args...)
	case name == "ternary" && len(args) == 2:
		return piping(value, "ternary", args...)
	case name == "regex_replace" && len(args) == 2:
		return calling("regexReplaceAll", args[0], value, args[1])
	case name == "regex_search" && len(args) == 1:
		return piping(value, "regexFind", args[0])
	case name == "combine" && len(args) == 1:
		return calling("mergeOverwrite", value, args[0])
	case name == "union" && len(args) == 1:
		return calling("uniq", calling("concat", value, args[0]))
	case name == "hash" && len(args) == 1 && slices.Contains([]string{`"sha1"`, `"sha256"`, `"sha512"`}, args[0].text):
		return piping(value, strings.Trim(args[0].text, `"`)+"sum")
	case name == "indent" && len(args) == 1:
		return piping(value, "indent", args[0])
	case name == "min" && len(args) == 0, name == "max" && len(args) == 0, name == "sum" && len(args) == 0, name == "abs" && len(args) == 0:
	}
	p.fail()
	return term{}
}

func (p *parser) name() string {
	t := p.peek()
	if t.kind != tokenWord {
		p.fail()
	}
	p.at++
	for p.peek().text == "." { // ansible.builtin.name
		p.at++
		t = p.peek()
		p.at++
	}
	return t.text
}

// arguments reads those of a filter; a name before = is dropped only where order says the same.
func (p *parser) arguments() []term {
	if slices.ContainsFunc(p.tokens[p.at:], func(t token) bool { return t.kind == tokenSign && t.text == "=" }) {
		p.fail()
	}
	return p.list(")")
}

// test translates value is [not] name.
func (p *parser) test(value term) term {
	_, negated := p.take("not")
	t := p.tested(value)
	if negated {
		t = calling("not", t)
	}
	return t
}

func (p *parser) tested(value term) term {
	if _, ok := p.take("in"); ok {
		return calling("has", value, p.postfix(p.primary()))
	}
	name := p.name()
	var args []term
	if _, ok := p.take("("); ok {
		args = p.arguments()
	} else if name == "divisibleby" || name == "sameas" || name == "match" || name == "search" {
		args = []term{p.postfix(p.primary())}
	}
	results := map[string]string{"failed": "failed", "failure": "failed", "changed": "changed", "change": "changed", "skipped": "skipped", "skip": "skipped",
		"succeeded": "succeeded", "success": "succeeded", "successful": "succeeded", "unreachable": "unreachable"}
	kinds := map[string]string{"string": "string", "mapping": "map", "boolean": "bool", "integer": "int", "float": "float64", "sequence": "slice"}
	switch {
	case name == "defined" && value.path != "":
		return calling("defined", quoted(value.path))
	case name == "undefined" && value.path != "":
		return calling("not", calling("defined", quoted(value.path)))
	case results[name] != "" && len(args) == 0:
		return calling(results[name], value)
	case kinds[name] != "" && len(args) == 0:
		return calling("kindIs", quoted(kinds[name]), value)
	case name == "none" && len(args) == 0:
		return calling("kindIs", quoted("null"), value)
	case name == "true" && len(args) == 0, name == "truthy" && len(args) == 0:
		return value
	case name == "false" && len(args) == 0, name == "falsy" && len(args) == 0:
		return calling("not", value)
	case name == "search" && len(args) == 1, name == "regex" && len(args) == 1:
		return calling("search", args[0], value)
	case name == "match" && len(args) == 1: // from the beginning, which match here is not
		if strings.HasPrefix(args[0].text, `"`) {
			pattern := strings.Trim(args[0].text, `"`)
			return calling("search", term{text: `"^` + strings.TrimPrefix(pattern, "^") + `"`, atom: true}, value)
		}
	case (name == "version" || name == "version_compare") && len(args) == 2:
		return calling("version_compare", value, args[1], args[0])
	case name == "divisibleby" && len(args) == 1:
		return calling("eq", calling("mod", value, args[0]), term{text: "0", atom: true})
	case name == "sameas" && len(args) == 1:
		return calling("eq", value, args[0])
	case name == "subset" && len(args) == 1, name == "superset" && len(args) == 1:
	}
	p.fail()
	return term{}
}

// method translates value.name(arguments), as Python's texts and mappings have them.
func (p *parser) method(value term, name string, args []term) term {
	switch {
	case name == "lower" && len(args) == 0, name == "upper" && len(args) == 0, name == "title" && len(args) == 0,
		name == "keys" && len(args) == 0, name == "values" && len(args) == 0:
		return calling(name, value)
	case name == "strip" && len(args) == 0:
		return calling("trim", value)
	case name == "startswith" && len(args) == 1:
		return calling("hasPrefix", args[0], value)
	case name == "endswith" && len(args) == 1:
		return calling("hasSuffix", args[0], value)
	case name == "split" && len(args) == 1:
		return calling("splitList", args[0], value)
	case name == "replace" && len(args) == 2:
		return calling("replace", args[0], args[1], value)
	case name == "join" && len(args) == 1:
		return calling("join", value, args[0])
	case name == "get" && len(args) == 2:
		return calling("default", args[1], calling("index", value, args[0]))
	}
	p.fail()
	return term{}
}

// global translates name(arguments).
func (p *parser) global(name string, args []term) term {
	switch {
	case name == "lookup" && len(args) == 2 && args[0].text == `"env"`:
		return calling("lookup_env", args[1])
	case name == "lookup" && len(args) == 2 && args[0].text == `"file"`:
		return calling("lookup_file", args[1])
	case name == "lookup" && len(args) == 2 && args[0].text == `"template"`:
		return calling("lookup_template", args[1])
	case name == "range" && len(args) == 1:
		return calling("until", args[0])
	case name == "range" && len(args) == 2:
		return calling("untilStep", args[0], args[1], term{text: "1", atom: true})
	}
	p.fail()
	return term{}
}
