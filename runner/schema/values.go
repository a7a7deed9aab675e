package schema

import (
	"strconv"

	"github.com/pegbook/pegbook/runner/playbook"
)

const (
	templatePattern = `\{\{`
	booleanPattern  = `^([Yy]es|YES|[Nn]o|NO|[Oo]n|ON|[Oo]ff|OFF|[Tt]rue|TRUE|[Ff]alse|FALSE)$`
	wholePattern    = `^\s*-?[0-9][0-9_]*\s*$`
	namePattern     = `^[A-Za-z_][A-Za-z0-9_]*$`
)

// scalar is a value of some types; where it is text it has a form, or is a template.
func scalar(form string, types ...string) *Node {
	return &Node{Type: append(types, "string", "null"), Pattern: form + "|" + templatePattern}
}

// valueDefinitions are the kinds of values that keywords and arguments share.
func valueDefinitions() map[string]*Node {
	return map[string]*Node{
		"template": described(pattern(templatePattern), "A template, such as {{ .name }}."),
		"text":     typed("string", "number", "boolean", "null"),
		"boolean":  scalar(booleanPattern, "boolean"),
		"whole":    scalar(wholePattern, "integer"),
		"number":   scalar(wholePattern, "number"),
		"expression": {Type: []string{"string", "boolean", "null"}, Not: pattern(`\{\{|\{%`),
			Description: `An expression without braces, such as: eq .role "meta".`},
		"name":      pattern(namePattern),
		"variables": {Type: []string{"object", "null"}, PropertyNames: pattern(namePattern), Description: "Variables: values may be templates."},
		"arguments": scalar("^$", "object"),
	}
}

// keywordNode is the schema of a keyword's value.
func keywordNode(k playbook.KeywordDoc) *Node {
	n := takesNode(k.Takes, k.Fixed)
	switch {
	case len(k.Choices) > 0 && k.Fixed:
		n = &Node{Enum: anySlice(k.Choices)}
	case len(k.Choices) > 0:
		n = anyOf(&Node{Enum: anySlice(k.Choices)}, ref("template"), typed("null"))
	case k.Takes == playbook.TakesLock:
		n = keysNode(k.Keys)
		n.Type = append(n.Type, "string", "null")
	case len(k.Keys) > 0 && k.Takes == playbook.TakesFile:
		n = keysNode(k.Keys)
		n.Type = append(n.Type, "string")
	case k.Takes == playbook.TakesGuard:
		n = anyOf(ref("tasks"), keysNode(k.Keys))
	case len(k.Keys) > 0 && k.Takes == playbook.TakesPrompts:
		n = &Node{Type: []string{"array", "null"}, Items: keysNode(k.Keys)}
	case len(k.Keys) > 0:
		n = keysNode(k.Keys)
		if k.Name == "loop_control" {
			n.Type = append(n.Type, "null")
		}
	}
	n = described(n, description(k))
	if k.Example != "" {
		n.Examples = []string{k.Example}
	}
	return n
}

func anySlice(words []string) []any {
	out := make([]any, len(words))
	for i, word := range words {
		out[i] = word
	}
	return out
}

func keysNode(keys []playbook.KeyDoc) *Node {
	n := object(map[string]*Node{})
	for _, key := range keys {
		value := takesNode(key.Takes, key.Fixed)
		if len(key.Choices) > 0 {
			value = &Node{Enum: anySlice(key.Choices)}
		}
		n.Properties[key.Name] = described(value, key.Doc)
		if key.Required {
			n.Required = append(n.Required, key.Name)
		}
	}
	return n
}

// takesNode is the schema of a kind of value.
func takesNode(t playbook.Takes, fixed bool) *Node {
	switch t {
	case playbook.TakesBoolean:
		if fixed {
			return &Node{Type: []string{"boolean", "string", "null"}, Pattern: booleanPattern}
		}
		return ref("boolean")
	case playbook.TakesText, playbook.TakesFile, playbook.TakesRole, playbook.TakesPatterns, playbook.TakesWord, playbook.TakesWords,
		playbook.TakesTexts, playbook.TakesName, playbook.TakesConditions:
		return wordsNode(t, fixed)
	case playbook.TakesWhole:
		return ref("whole")
	case playbook.TakesNumber:
		if fixed {
			return &Node{Type: []string{"number", "string"}, Minimum: number(0), Pattern: `^[0-9.]+$`}
		}
		return ref("number")
	case playbook.TakesShares, playbook.TakesPercentage, playbook.TakesRequirements:
		return countNode(t)
	case playbook.TakesList:
		return scalar("^$", "array")
	case playbook.TakesVariables:
		return ref("variables")
	case playbook.TakesEnvironment:
		return orList(scalar("^$", "object"))
	case playbook.TakesArguments:
		return ref("arguments")
	case playbook.TakesDefaults:
		return ref("module_defaults")
	case playbook.TakesTasks:
		return ref("tasks")
	case playbook.TakesRoles:
		return &Node{Type: []string{"array", "null"}, Items: ref("role-entry")}
	case playbook.TakesFiles:
		return orList(orList(typed("string", "null")))
	case playbook.TakesModule:
		return &Node{Type: []string{"string", "object"}, Required: []string{"module"}}
	case playbook.TakesKeywords:
		return ref("apply")
	case playbook.TakesKeys, playbook.TakesPrompts, playbook.TakesGuard, playbook.TakesAny:
	}
	return anything()
}

// wordsNode is the schema of texts.
func wordsNode(t playbook.Takes, fixed bool) *Node {
	switch t {
	case playbook.TakesName:
		return ref("name")
	case playbook.TakesConditions:
		return orList(ref("expression"))
	case playbook.TakesTexts:
		return orList(ref("text"))
	case playbook.TakesPatterns:
		return orList(typed("string", "number"))
	case playbook.TakesWords:
		return orList(typed("string", "number", "null"))
	}
	if fixed || t != playbook.TakesText {
		return typed("string", "number", "boolean")
	}
	return ref("text")
}

// countNode is the schema of numbers of hosts.
func countNode(t playbook.Takes) *Node {
	switch t {
	case playbook.TakesPercentage:
		return scalar(`^[0-9.]+%?$`, "number")
	case playbook.TakesRequirements:
		count := &Node{Type: []string{"integer", "string"}, Minimum: number(0), Pattern: `^\s*(>=|<=|==|!=|>|<)?\s*[0-9]{1,9}\s*$`}
		return &Node{Type: []string{"object", "null"}, Additional: count}
	}
	return orList(scalar(`^-?[0-9]+%?$`, "integer"))
}

func number(n float64) *float64 { return &n }

// limit reads a limit of an argument that is a number.
func limit(text string) *float64 {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil // "1m30s", or none
	}
	return &n
}
