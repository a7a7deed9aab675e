// Package vars is values, variables and the templates and expressions over them. It is the only home
// of untyped values: everything else handles them as Data (resolved) or Value (as written).
package vars

import (
	"encoding/json"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
)

// Data is a resolved value: null, boolean, whole or floating number, text, list or mapping; or unknown,
// which check mode has in place of what it cannot predict. The zero value is null. Data is immutable.
type Data struct{ v any }

// Of makes Data of a Go value: nil, bool, any integer or float, string, []any, []string,
// map[string]any, Data, json.RawMessage, or anything that encoding/json marshals.
func Of(v any) Data { panic("skeleton") }

// FromJSON reads JSON. Whole numbers stay whole.
func FromJSON(raw []byte) (Data, error) { panic("skeleton") }

// Unknown is a mapping in which the given fields are known and every other field is unknown: using one
// in a template or expression is an error that is ErrUnknown.
func Unknown(fields map[string]Data) Data { panic("skeleton") }

// JSON is the value as JSON; mappings in key order; unknown parts as the text "unknown in check mode".
func (d Data) JSON() json.RawMessage { panic("skeleton") }

// Text is the value as a template prints it: text as it is, numbers and booleans plainly, null as "",
// lists and mappings as JSON.
func (d Data) Text() string { panic("skeleton") }

// Kind is "null", "boolean", "integer", "float", "string", "list", "mapping" or "unknown".
func (d Data) Kind() string { panic("skeleton") }

// Bool is the value of a condition. Anything but a boolean is an error that says what it got.
func (d Data) Bool() (bool, error) { panic("skeleton") }

// Int is a whole number, or a text that is one.
func (d Data) Int() (int64, error) { panic("skeleton") }

// List is a list's elements; false when the value is no list.
func (d Data) List() ([]Data, bool) { panic("skeleton") }

// Get is a mapping's field; false when there is none.
func (d Data) Get(key string) (Data, bool) { panic("skeleton") }

// Keys are a mapping's keys, sorted; nil when the value is no mapping.
func (d Data) Keys() []string { panic("skeleton") }

// Value is a value as a user wrote it: a scalar, list or mapping whose texts may be templates, with
// its place in the file. Templates are parsed once, when the file is read. The zero Value is not
// given. A Value is immutable and safe to resolve from several goroutines.
type Value struct{ n *node }

type node struct{}

// FromNode compiles a YAML value. Problems (template syntax, unknown functions, bad YAML tags) are
// added with their positions inside the file.
func FromNode(n *yaml.Node, file string, problems *diag.List) Value { panic("skeleton") }

// Literal is data that is never expanded, such as a registered result.
func Literal(d Data) Value { panic("skeleton") }

// FromText compiles one text, such as an extra variable's, as FromNode compiles a string.
func FromText(text string, at diag.Position, problems *diag.List) Value { panic("skeleton") }

// IsZero says whether the value was not given at all.
func (v Value) IsZero() bool { panic("skeleton") }

// Position is where the value stands.
func (v Value) Position() diag.Position { panic("skeleton") }

// Raw is the text as written, for a scalar; "" for others.
func (v Value) Raw() string { panic("skeleton") }

// Templated says whether any part of the value depends on variables.
func (v Value) Templated() bool { panic("skeleton") }

// Static is the value when it is not Templated; false otherwise.
func (v Value) Static() (Data, bool) { panic("skeleton") }

// Items are the elements of a value written as a list; nil for others.
func (v Value) Items() []Value { panic("skeleton") }

// Fields are the entries of a value written as a mapping, in file order; nil for others.
func (v Value) Fields() []Field { panic("skeleton") }

// Field is one entry of a mapping.
type Field struct {
	Name string
	At   diag.Position // of the key
	Value
}

// Ref is a variable that a template or expression uses.
type Ref struct {
	// Path is the name and the fields behind it: ["result", "stdout"].
	Path []string
	At   diag.Position
	// Optional is set where the variable may be undefined: an argument of defined, default, coalesce or
	// empty.
	Optional bool
}

// Refs are the variables that a value uses, in order of appearance.
func (v Value) Refs() []Ref { panic("skeleton") }

// Resolve gives the value in a scope. Errors are *Error with the position of the failing expression.
func (v Value) Resolve(s *Scope) (Data, error) { panic("skeleton") }

// Expr is a bare expression: a template pipeline without braces, as in when. The zero Expr is not given.
type Expr struct{ v Value }

// ParseExpr compiles a bare expression.
func ParseExpr(text string, at diag.Position, problems *diag.List) Expr { panic("skeleton") }

// IsZero says whether the expression was not given.
func (e Expr) IsZero() bool { panic("skeleton") }

// String is the expression as written.
func (e Expr) String() string { panic("skeleton") }

// Position is where the expression stands.
func (e Expr) Position() diag.Position { panic("skeleton") }

// Refs are the variables that the expression uses.
func (e Expr) Refs() []Ref { panic("skeleton") }

// Eval gives the expression's value.
func (e Expr) Eval(s *Scope) (Data, error) { panic("skeleton") }

// Bool gives the value of a condition; anything but a boolean is an error.
func (e Expr) Bool(s *Scope) (bool, error) { panic("skeleton") }

// Template is a whole text with actions, such as a template file; it renders to text.
type Template struct{}

// ParseTemplate compiles template text. delims are zero for "{{" and "}}". Positions in errors count
// from line 1 of the text, in the file named.
func ParseTemplate(file, text string, delims [2]string) (*Template, diag.List) { panic("skeleton") }

// Render gives the text in a scope.
func (t *Template) Render(s *Scope) (string, error) { panic("skeleton") }

// Refs are the variables that the template uses.
func (t *Template) Refs() []Ref { panic("skeleton") }

// Values are named variables, in the order they were written. The zero value is empty; nil is, too.
type Values struct{}

// ValuesFromNode reads a mapping of variables. Names must be identifiers.
func ValuesFromNode(n *yaml.Node, file string, problems *diag.List) *Values { panic("skeleton") }

// ReadFile reads a YAML or JSON file of variables. A file that is not there is fs.ErrNotExist.
func ReadFile(path string, problems *diag.List) (*Values, error) { panic("skeleton") }

// ValuesOf makes variables of data that is never expanded.
func ValuesOf(m map[string]Data) *Values { panic("skeleton") }

// ParseExtra reads the argument of one -e: k=v pairs (shell quoting, strings), a YAML or JSON mapping, or @file.
func ParseExtra(arg string) (*Values, diag.List) { panic("skeleton") }

// Get gives a variable as written.
func (vs *Values) Get(name string) (Value, bool) { panic("skeleton") }

// Names lists the variables in order.
func (vs *Values) Names() []string { panic("skeleton") }

// Len is how many there are.
func (vs *Values) Len() int { panic("skeleton") }

// With gives a copy in which name has another value.
func (vs *Values) With(name string, v Value) *Values { panic("skeleton") }

// Over gives the variables of vs with those of top over them, name by name.
func (vs *Values) Over(top *Values) *Values { panic("skeleton") }

// Layer is where a variable stands in the order of precedence; a higher layer hides a lower one. The
// numbers are the rows of ansible-semantics VAR-3.
type Layer int

// Layers, lowest first.
const (
	RoleDefaults  Layer = 1
	HostInventory Layer = 10 // inventory, group_vars, host_vars: already merged by package inventory
	Facts         Layer = 11
	PlayVars      Layer = 12
	PlayVarsFiles Layer = 13
	RoleVars      Layer = 14
	BlockVars     Layer = 15 // pushed once a block, outermost first
	TaskVars      Layer = 16
	IncludeVars   Layer = 17
	SetFact       Layer = 18 // also register
	RoleParams    Layer = 19
	IncludeParams Layer = 20
	LoopVars      Layer = 20 // pushed after IncludeParams
	ExtraVars     Layer = 21
	Magic         Layer = 22
)

// World is what a scope can reach beyond its own variables. The runner provides it. Methods are called
// while templates are evaluated, from several goroutines.
type World interface {
	// HostScope is the scope in which another host's variables resolve (hostvars): inventory variables,
	// facts, set_fact and register. False when there is no such host.
	HostScope(host string) (*Scope, bool)
	// HostNames are all hosts of the inventory, for ranging over hostvars.
	HostNames() []string
	// Select gives the names of the hosts that a pattern selects.
	Select(pattern string) ([]string, error)
	// ReadFile reads a file of the control node by a name relative to the playbook or role (lookup_file).
	ReadFile(name string) ([]byte, error)
}

// Scope is what names mean for one host at one moment. It is immutable: With gives a new one that
// shares everything else, so making one costs next to nothing however many variables there are. A
// scope remembers what it has resolved.
type Scope struct{}

// NewScope makes an empty scope.
func NewScope(w World) *Scope { panic("skeleton") }

// With gives a scope in which the variables of vs stand at a layer, above others of the same layer.
func (s *Scope) With(layer Layer, vs *Values) *Scope { panic("skeleton") }

// Lookup resolves a variable. False: no layer defines it.
func (s *Scope) Lookup(name string) (Data, bool, error) { panic("skeleton") }

// Names lists every variable that is defined, sorted.
func (s *Scope) Names() []string { panic("skeleton") }

// Origin says which layer a variable comes from and where it is written. False: not defined.
func (s *Scope) Origin(name string) (Layer, diag.Position, bool) { panic("skeleton") }

// Function is a function of the expression language.
type Function struct {
	Name string
	// Usage is such as `default FALLBACK VALUE`.
	Usage string
	// Doc is one line.
	Doc string
}

// Functions lists every function, sorted by name.
func Functions() []Function { panic("skeleton") }
