package playbook

import (
	"maps"
	"slices"
	"sync"
)

// Takes is the kind of value that a keyword takes.
type Takes string

// Kinds of values.
const (
	TakesBoolean      Takes = "true or false"
	TakesText         Takes = "text"
	TakesWhole        Takes = "whole number"
	TakesNumber       Takes = "number"
	TakesList         Takes = "list"
	TakesTexts        Takes = "text, or list of texts"
	TakesConditions   Takes = "expression, or list of expressions"
	TakesVariables    Takes = "mapping of variables"
	TakesEnvironment  Takes = "mapping, or list of mappings"
	TakesDefaults     Takes = "mapping of modules to arguments"
	TakesTasks        Takes = "list of tasks"
	TakesRoles        Takes = "list of roles"
	TakesRole         Takes = "name of a role"
	TakesPatterns     Takes = "pattern, or list of patterns"
	TakesShares       Takes = "number of hosts, percentage, or list of these"
	TakesPercentage   Takes = "percentage"
	TakesWord         Takes = "word"
	TakesWords        Takes = "list of words"
	TakesName         Takes = "name of a variable"
	TakesFiles        Takes = "list of files"
	TakesFile         Takes = "file"
	TakesRequirements Takes = "mapping of groups to numbers"
	TakesKeys         Takes = "mapping"
	TakesKeywords     Takes = "mapping of keywords"
	TakesModule       Takes = "module with its arguments"
	TakesArguments    Takes = "mapping of arguments"
	TakesPrompts      Takes = "list of questions"
	TakesGuard        Takes = "list of tasks, or mapping"
	TakesLock         Takes = "path, or mapping"
	TakesAny          Takes = "any value"
)

// KeywordDoc documents a keyword. The reader, pegbook keywords, the JSON Schemas and the reference pages
// know the same ones.
type KeywordDoc struct {
	Name string `json:"name"`
	// On are the places where it may stand.
	On []Level `json:"on"`
	// Takes is the kind of value. Fixed ones cannot be templates, because they are read before the run.
	Takes   Takes    `json:"takes"`
	Fixed   bool     `json:"fixed,omitempty"`
	Choices []string `json:"choices,omitempty"`
	// Keys are those of a mapping.
	Keys    []KeyDoc `json:"keys,omitempty"`
	Default string   `json:"default,omitempty"`
	// Doc says what it means: one line.
	Doc     string `json:"doc"`
	Example string `json:"example,omitempty"`
	// Ansible says how it differs from Ansible's; empty when it does not.
	Ansible string `json:"ansible,omitempty"`
	// Refused says why a keyword that is known is not accepted, Hint what to write instead.
	Refused string `json:"refused,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// KeyDoc documents a key of a keyword's mapping.
type KeyDoc struct {
	Name     string `json:"name"`
	Takes    Takes  `json:"takes"`
	Fixed    bool   `json:"fixed,omitempty"`
	Required bool   `json:"required,omitempty"`
	// Choices are the words that it takes, where these are fixed.
	Choices []string `json:"choices,omitempty"`
	Doc     string   `json:"doc"`
}

// Level is a place where a keyword may stand.
type Level string

// Levels.
const (
	LevelPlay           Level = "play"
	LevelImportPlaybook Level = "import_playbook"
	LevelRole           Level = "role entry"
	LevelBlock          Level = "block"
	LevelTask           Level = "task"
	LevelHandler        Level = "handler"
	LevelInclude        Level = "include"
	LevelImport         Level = "import"
	LevelApply          Level = "apply"
)

func (l levels) list() []Level {
	var out []Level
	for _, n := range []struct {
		bit  levels
		name Level
	}{
		{onPlay, LevelPlay}, {onPlaybook, LevelImportPlaybook}, {onRole, LevelRole}, {onBlock, LevelBlock}, {onTask, LevelTask},
		{onHandler, LevelHandler}, {onDynamic, LevelInclude}, {onStatic, LevelImport}, {onApply, LevelApply},
	} {
		if l&n.bit != 0 {
			out = append(out, n.name)
		}
	}
	return out
}

// KeywordDocs documents every keyword, sorted by name.
func KeywordDocs() []KeywordDoc {
	table := keywordTable()
	docs := keywordDocs()
	out := make([]KeywordDoc, 0, len(table))
	for _, name := range slices.Sorted(maps.Keys(table)) {
		k, d := table[name], docs[name]
		d.Name, d.On, d.Refused, d.Hint = name, k.on.list(), k.refused, k.hint
		if d.Refused != "" {
			d.Takes, d.Doc = TakesAny, d.Refused
		}
		out = append(out, d)
	}
	return out
}

// keysOf are the names of the keys that a keyword's mapping may have.
func keysOf(keyword string) []string {
	var names []string
	for _, key := range keywordDocs()[keyword].Keys {
		names = append(names, key.Name)
	}
	return names
}

// choicesOf are the words that a keyword takes.
func choicesOf(keyword string) []string { return keywordDocs()[keyword].Choices }

// keywordDocs is the documentation by name, without what keywordTable knows. It is made once and never
// changed.
var keywordDocs = sync.OnceValue(func() map[string]KeywordDoc {
	docs := map[string]KeywordDoc{}
	for _, part := range []map[string]KeywordDoc{playDocs(), everywhereDocs(), connectionDocs(), taskDocs(), repeatDocs(), structureDocs()} {
		maps.Copy(docs, part)
	}
	return docs
})
