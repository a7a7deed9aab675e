// Package vars is values, variables and the templates and expressions over them. It is the only home
// of untyped values: everything else handles them as Data (resolved) or Value (as written).
//
// A Value is compiled when its file is read and resolved when it is used, in the Scope of the host that
// uses it. Nothing here contacts a host, and rendering the same text in the same scope twice gives the
// same bytes.
//
// # Design
//
// Templates are parsed by text/template/parse, so their syntax is Go's, and evaluated by this package
// instead of text/template: a variable is then looked up when it is reached (10,000 hosts' hostvars
// are never copied), an undefined one is an error with its own line and column, a value keeps its type,
// and what check mode cannot know stays unknown. A test renders the same templates with both.
//
// Plain YAML scalars mean what they mean to Ansible (YAML 1.1: yes and off are booleans, 0644 is octal,
// 12e03 is text), with one exception: base 60 (22:30) is text, because nobody who writes it means 1350.
//
// Values never change: set and unset give a changed copy, where sprig changes the mapping in place.
// Conversions to numbers fail on what is no number, where sprig gives 0.
package vars
