package modules

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Type is the kind of value an argument takes.
type Type string

// Types of arguments. JSON carries them as strings, numbers, booleans, arrays and objects.
const (
	TypeString   Type = "string"
	TypeBool     Type = "bool"
	TypeInt      Type = "int"
	TypeFloat    Type = "float"
	TypeMode     Type = "mode"     // permissions: "0644" or "u=rw,go=r"
	TypeDuration Type = "duration" // a number of seconds, or text such as "1m30s"
	TypePath     Type = "path"     // an absolute path on the managed host
	TypeExpr     Type = "expression"
	TypeAny      Type = "any" // left as JSON
	TypeList     Type = "list"
	TypeMap      Type = "map" // string keys
)

// Schema is the arguments of a module, in the order of the struct.
type Schema []Arg

// Arg is one argument.
type Arg struct {
	Name    string   `json:"name"`
	Aliases []string `json:"aliases,omitempty"`
	Type    Type     `json:"type"`
	// Elem is the type of a list's or map's elements.
	Elem     Type   `json:"elem,omitempty"`
	Required bool   `json:"required,omitempty"`
	Default  string `json:"default,omitempty"` // as a user would write it; empty for none
	// Choices are the values allowed; none for any.
	Choices []string `json:"choices,omitempty"`
	// Min and Max are the smallest and the largest number or duration allowed, as a user would write them;
	// empty for any.
	Min string `json:"min,omitempty"`
	Max string `json:"max,omitempty"`
	Doc string `json:"doc"`
	// Secret hides the value from events, diffs and logs.
	Secret bool `json:"secret,omitempty"`
	// Free takes the task's value when it is a scalar or a list instead of a mapping: command: /bin/true.
	Free bool `json:"free,omitempty"`
	// Preserve says that permissions may be "preserve", those of the file that is copied.
	Preserve bool `json:"preserve,omitempty"`
	// File is the folder (files, templates, vars) in which the file of the control node is looked for that the
	// value names; empty where it names none. With remote_src the file is on the host.
	File string `json:"file,omitempty"`
	// Command is set where the value is a command whose first word is the File.
	Command bool `json:"command,omitempty"`
	// Rest takes every name that is no other argument (set_fact). Its Type is TypeMap.
	Rest bool `json:"rest,omitempty"`

	index []int
}

// SchemaOf reads the schema off a struct's tags:
//
//	Path  string        `arg:"path,required,alias=dest" doc:"absolute path on the managed host"`
//	State string        `arg:"state" default:"file" choices:"file,directory" doc:"…"`
//	Pass  string        `arg:"password,secret" doc:"…"`
//	Cmd   string        `arg:"cmd,free" doc:"…"`
//	Port  int           `arg:"port" min:"1" max:"65535" doc:"…"`
//	Facts map[string]json.RawMessage `arg:",rest" doc:"…"`
//
// Options of arg are required, secret, free, rest, preserve, alias=NAME and, for strings, path, file=FOLDER (a
// file of the control node) and command (the file and its arguments). Fields may be
// string, bool, int, float64, Mode, time.Duration, Expr, json.RawMessage, pointers to these (nil when
// not given), and lists and string maps of them. An embedded struct adds its fields. min and max bound
// numbers and durations; a duration is never negative unless its min says so.
// A mistake in the tags is a bug and panics.
func SchemaOf[A any]() Schema {
	t := reflect.TypeFor[A]()
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("modules: arguments %s are no struct", t))
	}
	var s Schema
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous || !f.IsExported() {
			continue
		}
		s = append(s, argOf(t, f))
	}
	return s
}

func argOf(t reflect.Type, f reflect.StructField) Arg {
	name, options, _ := strings.Cut(f.Tag.Get("arg"), ",")
	arg := Arg{Name: name, Default: f.Tag.Get("default"), Doc: f.Tag.Get("doc"), Min: f.Tag.Get("min"), Max: f.Tag.Get("max"), index: f.Index}
	arg.Type, arg.Elem = typeOf(f.Type)
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "":
		case "required":
			arg.Required = true
		case "secret":
			arg.Secret = true
		case "free":
			arg.Free = true
		case "rest":
			arg.Rest = true
		case "preserve":
			arg.Preserve = true
		case "path":
			arg.Type = TypePath
		case "file":
			arg.File = value
		case "command":
			arg.Command = true
		case "alias":
			arg.Aliases = append(arg.Aliases, value)
		default:
			panic(fmt.Sprintf("modules: %s.%s: unknown option %q", t, f.Name, option))
		}
	}
	if choices := f.Tag.Get("choices"); choices != "" {
		arg.Choices = strings.Split(choices, ",")
	}
	if arg.Type == "" || arg.Doc == "" || (name == "" && !arg.Rest) {
		panic(fmt.Sprintf("modules: %s.%s needs a name, a doc and a type that arguments can have", t, f.Name))
	}
	if arg.elemOrType() == TypeDuration && arg.Min == "" {
		arg.Min = "0"
	}
	arg.checkLimits()
	return arg
}

func typeOf(t reflect.Type) (typ, elem Type) {
	switch t {
	case reflect.TypeFor[Mode]():
		return TypeMode, ""
	case reflect.TypeFor[time.Duration]():
		return TypeDuration, ""
	case reflect.TypeFor[Expr]():
		return TypeExpr, ""
	case reflect.TypeFor[json.RawMessage]():
		return TypeAny, ""
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeOf(t.Elem())
	case reflect.String:
		return TypeString, ""
	case reflect.Bool:
		return TypeBool, ""
	case reflect.Int, reflect.Int64:
		return TypeInt, ""
	case reflect.Float64:
		return TypeFloat, ""
	case reflect.Slice:
		elem, _ = typeOf(t.Elem())
		return TypeList, elem
	case reflect.Map:
		elem, _ = typeOf(t.Elem())
		return TypeMap, elem
	}
	return "", ""
}

// Lookup gives the argument that a task may write as name, aliases included.
func (s Schema) Lookup(name string) (Arg, bool) {
	for _, arg := range s {
		if !arg.Rest && (arg.Name == name || slices.Contains(arg.Aliases, name)) {
			return arg, true
		}
	}
	return s.rest()
}

func (s Schema) rest() (Arg, bool) {
	i := slices.IndexFunc(s, func(a Arg) bool { return a.Rest })
	if i < 0 {
		return Arg{}, false
	}
	return s[i], true
}

// Free gives the argument that takes a task's value when that is no mapping.
func (s Schema) Free() (Arg, bool) {
	i := slices.IndexFunc(s, func(a Arg) bool { return a.Free })
	if i < 0 {
		return Arg{}, false
	}
	return s[i], true
}

// Names lists the arguments' names, without aliases.
func (s Schema) Names() []string {
	var names []string
	for _, arg := range s {
		if !arg.Rest {
			names = append(names, arg.Name)
		}
	}
	return names
}

// ArgumentError is an argument that is missing, unknown or of the wrong type or value.
type ArgumentError struct {
	// Arg is the argument's name.
	Arg string
	// Problem says what is wrong, starting with the argument's name where that helps.
	Problem string
	// Hint says what to write instead; may be empty.
	Hint string
}

// Error is the problem with the hint behind it.
func (e *ArgumentError) Error() string {
	if e.Hint == "" {
		return e.Problem
	}
	return e.Problem + "; " + e.Hint
}

// Check says whether a value, as JSON, fits the argument. It is what both the check before a run and
// the decoder use.
func (a Arg) Check(value json.RawMessage) error {
	target := reflect.New(a.goType())
	return a.decode(value, target.Elem())
}

func (a Arg) goType() reflect.Type {
	scalar := func(t Type) reflect.Type {
		switch t {
		case TypeBool:
			return reflect.TypeFor[bool]()
		case TypeInt:
			return reflect.TypeFor[int]()
		case TypeFloat:
			return reflect.TypeFor[float64]()
		case TypeMode:
			return reflect.TypeFor[Mode]()
		case TypeDuration:
			return reflect.TypeFor[time.Duration]()
		case TypeAny:
			return reflect.TypeFor[json.RawMessage]()
		}
		return reflect.TypeFor[string]()
	}
	switch a.Type {
	case TypeList:
		return reflect.SliceOf(scalar(a.Elem))
	case TypeMap:
		return reflect.MapOf(reflect.TypeFor[string](), scalar(a.Elem))
	}
	return scalar(a.Type)
}

// Decode fills the struct that the schema was made from. Values are converted where nothing is lost:
// numbers and booleans to text, text to numbers, yes/no/on/off/true/false to booleans, a scalar to a
// list of one.
func (s Schema) Decode(raw json.RawMessage, target any) error {
	given := map[string]json.RawMessage{}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &given); err != nil {
			return &ArgumentError{Problem: "arguments are no mapping"}
		}
	}
	v := reflect.ValueOf(target).Elem()
	rest := map[string]json.RawMessage{}
	seen := map[string]string{}
	for _, name := range sortedKeys(given) {
		arg, ok := s.Lookup(name)
		switch {
		case !ok:
			return &ArgumentError{Arg: name, Problem: fmt.Sprintf("there is no argument %q", name),
				Hint: "the arguments are " + strings.Join(s.Names(), ", ")}
		case arg.Rest:
			rest[name] = given[name]
			continue
		case seen[arg.Name] != "":
			return &ArgumentError{Arg: name, Problem: fmt.Sprintf("%s and %s are the same argument", seen[arg.Name], name)}
		}
		seen[arg.Name] = name
		if string(given[name]) == "null" {
			continue
		}
		if err := arg.decode(given[name], v.FieldByIndex(arg.index)); err != nil {
			return err
		}
	}
	for _, arg := range s {
		if err := s.complete(arg, seen, rest, v); err != nil {
			return err
		}
	}
	return nil
}

func (s Schema) complete(arg Arg, seen map[string]string, rest map[string]json.RawMessage, v reflect.Value) error {
	switch {
	case arg.Rest:
		if len(rest) > 0 {
			v.FieldByIndex(arg.index).Set(reflect.ValueOf(rest))
		}
	case seen[arg.Name] != "":
	case arg.Required:
		return &ArgumentError{Arg: arg.Name, Problem: fmt.Sprintf("argument %s is missing", arg.Name), Hint: arg.Name + " is " + arg.Doc}
	case arg.Default != "":
		value, err := json.Marshal(arg.Default)
		if err != nil {
			return err
		}
		return arg.decode(value, v.FieldByIndex(arg.index))
	}
	return nil
}

func (a Arg) decode(raw json.RawMessage, v reflect.Value) error {
	if v.Kind() == reflect.Pointer {
		p := reflect.New(v.Type().Elem())
		if err := a.decode(raw, p.Elem()); err != nil {
			return err
		}
		v.Set(p)
		return nil
	}
	switch {
	case v.Type() == reflect.TypeFor[json.RawMessage]():
		v.SetBytes(slices.Clone(raw))
		return nil
	case v.Kind() == reflect.Slice:
		return a.decodeList(raw, v)
	case v.Kind() == reflect.Map:
		return a.decodeMap(raw, v)
	}
	text, err := scalarText(raw)
	if err != nil {
		return a.wrong(a.Type, raw)
	}
	if a.Preserve && text == preserved {
		v.Set(reflect.ValueOf(Mode{preserved}))
		return nil
	}
	if err := setScalar(v, text, raw); err != nil {
		var problem *ArgumentError
		if errors.As(err, &problem) {
			problem.Arg, problem.Problem = a.Name, a.Name+": "+problem.Problem
			return problem
		}
		return a.wrong(a.elemType(v), raw)
	}
	if err := a.withinLimits(text); err != nil {
		return err
	}
	if len(a.Choices) > 0 && !slices.Contains(a.Choices, text) {
		return &ArgumentError{Arg: a.Name, Problem: fmt.Sprintf("%s is %q", a.Name, text), Hint: "it is one of " + strings.Join(a.Choices, ", ")}
	}
	if a.Type == TypePath && text != "" && !strings.HasPrefix(text, "/") {
		return &ArgumentError{Arg: a.Name, Problem: fmt.Sprintf("%s is %q", a.Name, text), Hint: "write an absolute path"}
	}
	return nil
}

func (a Arg) elemType(v reflect.Value) Type {
	t, _ := typeOf(v.Type())
	return t
}

func (a Arg) wrong(want Type, raw json.RawMessage) error {
	shown := string(raw)
	if len(shown) > 60 {
		shown = shown[:60] + "…"
	}
	if a.Secret {
		shown = "a value that does not fit"
	}
	return &ArgumentError{Arg: a.Name, Problem: fmt.Sprintf("%s takes %s, not %s", a.Name, article(want), shown)}
}

func article(t Type) string {
	switch t {
	case TypeInt:
		return "a whole number"
	case TypeFloat:
		return "a number"
	case TypeBool:
		return "true or false"
	case TypeMode:
		return `permissions such as "0644"`
	case TypeDuration:
		return `seconds or a duration such as "1m30s"`
	case TypeList, TypeMap, TypeString, TypePath, TypeExpr, TypeAny:
		return "a " + string(t)
	}
	return string(t)
}

func (a Arg) decodeList(raw json.RawMessage, v reflect.Value) error {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		if _, err := scalarText(raw); err != nil {
			return a.wrong(TypeList, raw)
		}
		items = []json.RawMessage{raw}
	}
	list := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		if err := a.decode(item, list.Index(i)); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

func (a Arg) decodeMap(raw json.RawMessage, v reflect.Value) error {
	var items map[string]json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return a.wrong(TypeMap, raw)
	}
	m := reflect.MakeMapWithSize(v.Type(), len(items))
	for _, key := range sortedKeys(items) {
		elem := reflect.New(v.Type().Elem()).Elem()
		if err := a.decode(items[key], elem); err != nil {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(key), elem)
	}
	v.Set(m)
	return nil
}

// scalarText is the text a user sees in a JSON scalar.
func scalarText(raw json.RawMessage) (string, error) {
	var s string
	if len(raw) > 0 && raw[0] == '"' {
		err := json.Unmarshal(raw, &s)
		return s, err
	}
	if len(raw) == 0 || raw[0] == '{' || raw[0] == '[' || string(raw) == "null" {
		return "", fmt.Errorf("no scalar")
	}
	return string(raw), nil
}

func setScalar(v reflect.Value, text string, raw json.RawMessage) error {
	switch v.Type() {
	case reflect.TypeFor[Mode]():
		mode, err := modeOf(text, raw)
		if err != nil {
			return err
		}
		v.Set(reflect.ValueOf(mode))
		return nil
	case reflect.TypeFor[time.Duration]():
		d, err := ParseDuration(text)
		if err != nil {
			return err
		}
		v.SetInt(int64(d))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := ParseBool(text)
		if err != nil {
			return err
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return err
		}
		v.SetInt(n)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return err
		}
		v.SetFloat(f)
	default:
		panic(fmt.Sprintf("modules: argument of type %s", v.Type()))
	}
	return nil
}

// ParseBool reads what YAML and Ansible call a boolean: true/false, yes/no, on/off, 1/0, in any case.
func ParseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "yes", "on", "1", "t", "y":
		return true, nil
	case "false", "no", "off", "0", "f", "n":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", text)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
