package vars

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Data is a resolved value: null, boolean, whole or floating number, text, list or mapping; or unknown,
// which check mode has in place of what it cannot predict. The zero value is null. Data is immutable.
type Data struct{ v any }

// What v holds is one of nil, bool, int64, float64, string, []any and map[string]any of the same,
// *unknown, or omitted. While a template is evaluated it may also be lazy (see access.go).

// unknown is a value that check mode cannot predict; with fields, a mapping of which only those are known.
type unknown struct {
	fields map[string]any
	elem   any // what each element of a list is that is not known; nil where it may be no list
}

// omitted removes the argument that has it.
type omitted struct{}

const unknownText = "unknown in check mode"

// Of makes Data of a Go value: nil, bool, any integer or float, string, []any, []string,
// map[string]any, Data, json.RawMessage, or anything that encoding/json marshals. What cannot be
// marshalled is a bug of the caller and panics.
func Of(v any) Data {
	plain, err := normal(v)
	if err != nil {
		panic(fmt.Sprintf("vars: Of(%T): %v", v, err))
	}
	return Data{plain}
}

// Omit is the value that removes the argument it is given to.
func Omit() Data { return Data{omitted{}} }

// IsOmit says whether the value is Omit.
func (d Data) IsOmit() bool { return d.v == any(omitted{}) }

// UnknownList is a list of which only the shape of its elements is known.
func UnknownList(elem Data) Data { return Data{&unknown{elem: elem.v}} }

// Elem is what each element is of an UnknownList; false for anything else.
func (d Data) Elem() (Data, bool) {
	u, ok := d.v.(*unknown)
	if !ok || u.elem == nil {
		return Data{}, false
	}
	return Data{u.elem}, true
}

// Unknown is a mapping in which the given fields are known and every other field is unknown: using one
// in a template or expression is an error that is ErrUnknown.
func Unknown(fields map[string]Data) Data {
	m := make(map[string]any, len(fields))
	for name, d := range fields {
		m[name] = d.v
	}
	return Data{&unknown{fields: m}}
}

// FromJSON reads JSON. Whole numbers stay whole.
func FromJSON(raw []byte) (Data, error) {
	if s, ok := bareText(raw); ok {
		return Data{s}, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return Data{}, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Data{}, errors.New("more than one JSON value")
	}
	plain, err := normal(v)
	return Data{plain}, err
}

// bareText is the text of a JSON string that holds nothing but what stands for itself, which most do.
func bareText(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return "", false
	}
	text := raw[1 : len(raw)-1]
	for _, c := range text {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return "", false
		}
	}
	return string(text), true
}

// normal gives a Go value in the few types that Data is made of. Lists and mappings are copied, so that
// the caller's may change.
func normal(v any) (any, error) {
	switch v := v.(type) {
	case nil, bool, int64, float64, string, *unknown, omitted:
		return v, nil
	case int:
		return int64(v), nil
	case Data:
		return v.v, nil
	case json.Number:
		return number(v.String())
	case json.RawMessage:
		d, err := FromJSON(v)
		return d.v, err
	case []any:
		return normalList(v)
	case []string:
		return normalList(v)
	case []Data:
		return normalList(v)
	case map[string]any:
		return normalMap(v)
	case map[string]string:
		return normalMap(v)
	case map[string]Data:
		return normalMap(v)
	}
	return normalOther(v)
}

func normalOther(v any) (any, error) {
	r := reflect.ValueOf(v)
	if _, own := v.(json.Marshaler); !own {
		switch {
		case r.CanInt():
			return r.Int(), nil
		case r.CanUint() && r.Uint() <= math.MaxInt64:
			return int64(r.Uint()), nil
		case r.CanUint():
			return float64(r.Uint()), nil
		case r.CanFloat():
			return r.Float(), nil
		case r.Kind() == reflect.String:
			return r.String(), nil
		}
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d, err := FromJSON(raw)
	return d.v, err
}

func normalList[T any](list []T) (any, error) {
	out := make([]any, len(list))
	for i, v := range list {
		n, err := normal(v)
		if err != nil {
			return nil, err
		}
		out[i] = n
	}
	return out, nil
}

func normalMap[T any](m map[string]T) (any, error) {
	out := make(map[string]any, len(m))
	for k, v := range m {
		n, err := normal(v)
		if err != nil {
			return nil, err
		}
		out[k] = n
	}
	return out, nil
}

// number reads a JSON number: whole unless it has a point or exponent. One that is too large for 64 bits
// becomes a float, as in every JSON reader.
func number(text string) (any, error) {
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return i, nil
	}
	return strconv.ParseFloat(text, 64)
}

// JSON is the value as JSON; mappings in key order; unknown parts as the text "unknown in check mode".
func (d Data) JSON() json.RawMessage { return compact.append(nil, d.v) }

// Text is the value as a template prints it: text as it is, numbers and booleans plainly, null as "",
// lists and mappings as JSON with spaces: [1, 2].
func (d Data) Text() string { return textOf(d.v) }

// Texts are the scalars in the value, wherever they stand in it, as text.
func (d Data) Texts() []string {
	list, isList := d.List()
	keys := d.Keys()
	if !isList && keys == nil {
		return []string{d.Text()}
	}
	var all []string
	for _, item := range list {
		all = append(all, item.Texts()...)
	}
	for _, key := range keys {
		item, _ := d.Get(key)
		all = append(all, item.Texts()...)
	}
	return all
}

// Kind is "null", "boolean", "integer", "float", "string", "list", "mapping" or "unknown".
func (d Data) Kind() string { return kindOf(d.v) }

// Bool is the value of a condition. Anything but a boolean is an error that says what it got.
func (d Data) Bool() (bool, error) {
	if b, ok := d.v.(bool); ok {
		return b, nil
	}
	if u, ok := d.v.(*unknown); ok && u != nil {
		return false, ErrUnknown
	}
	return false, fmt.Errorf("%s is no boolean", describe(d.v))
}

// Int is a whole number, or a text that is one.
func (d Data) Int() (int64, error) { return wholeNumber(d.v) }

// List is a list's elements; false when the value is no list.
func (d Data) List() ([]Data, bool) {
	list, ok := d.v.([]any)
	if !ok {
		return nil, false
	}
	out := make([]Data, len(list))
	for i, v := range list {
		out[i] = Data{v}
	}
	return out, true
}

// Get is a mapping's field; false when there is none. Of an unknown value every field exists.
func (d Data) Get(key string) (Data, bool) {
	switch v := d.v.(type) {
	case map[string]any:
		f, ok := v[key]
		return Data{f}, ok
	case *unknown:
		if f, ok := v.fields[key]; ok {
			return Data{f}, true
		}
		return Data{&unknown{}}, true
	}
	return Data{}, false
}

// Keys are a mapping's keys, sorted; nil when the value is no mapping. Of an unknown value they are
// those of the fields that are known.
func (d Data) Keys() []string {
	switch v := d.v.(type) {
	case map[string]any:
		return sortedKeys(v)
	case *unknown:
		return sortedKeys(v.fields)
	}
	return nil
}

// IsUnknown says whether check mode could not predict the value or a part of it.
func (d Data) IsUnknown() bool { return hasUnknown(d.v) }

func hasUnknown(v any) bool {
	switch v := v.(type) {
	case *unknown:
		return true
	case []any:
		return slices.ContainsFunc(v, hasUnknown)
	case map[string]any:
		for _, e := range v {
			if hasUnknown(e) {
				return true
			}
		}
	}
	return false
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case int64:
		return "integer"
	case float64:
		return "float"
	case string:
		return "string"
	case []any:
		return "list"
	case *unknown:
		return "unknown"
	case omitted:
		return "omit"
	}
	return "mapping"
}

// describe is a value in an error message: its kind, and the value when it is short.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool, int64, float64:
		return "the " + kindOf(v) + " " + textOf(v)
	case string:
		if len(v) > 40 {
			return "a string"
		}
		return fmt.Sprintf("the string %q", v)
	case *unknown:
		return "a value that is " + unknownText
	}
	return "a " + kindOf(v)
}

// textOf prints a value inside text.
func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case nil:
		return ""
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return formatFloat(v)
	case *unknown:
		if len(v.fields) == 0 {
			return unknownText
		}
	}
	return string(spaced.append(nil, v))
}

// formatFloat keeps the point of a whole float, as Python does: a variable "release: 2.0" is printed
// as 2.0 and not as 2.
func formatFloat(f float64) string {
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if math.IsInf(f, 0) || math.IsNaN(f) || strings.Contains(text, ".") {
		return text
	}
	return text + ".0"
}

// jsonStyle is what stands between elements and behind keys.
type jsonStyle struct{ comma, colon string }

var (
	compact = jsonStyle{",", ":"}
	spaced  = jsonStyle{", ", ": "}
)

func (s jsonStyle) append(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return appendQuoted(b, formatFloat(v))
		}
		return append(b, formatFloat(v)...)
	case string:
		return appendQuoted(b, v)
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, s.comma...)
			}
			b = s.append(b, e)
		}
		return append(b, ']')
	case map[string]any:
		return s.mapping(b, v)
	case *unknown:
		if len(v.fields) > 0 {
			return s.mapping(b, v.fields)
		}
		return appendQuoted(b, unknownText)
	}
	return append(b, "null"...) // omitted, where a caller did not remove it
}

func (s jsonStyle) mapping(b []byte, m map[string]any) []byte {
	b = append(b, '{')
	for i, k := range sortedKeys(m) {
		if i > 0 {
			b = append(b, s.comma...)
		}
		b = append(appendQuoted(b, k), s.colon...)
		b = s.append(b, m[k])
	}
	return append(b, '}')
}

// appendQuoted writes a JSON string without escaping < > &, which are common in configurations.
func appendQuoted(b []byte, s string) []byte {
	if plainText(s) {
		return append(append(append(b, '"'), s...), '"')
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic("vars: a string that JSON cannot hold: " + err.Error())
	}
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}

// plainText says whether a string stands in JSON as it is: most names and values do.
func plainText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// wholeNumber reads an integer, a float without fraction, or a text that is one of these.
func wholeNumber(v any) (int64, error) {
	switch v := v.(type) {
	case int64:
		return v, nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<63 {
			return int64(v), nil
		}
	case string:
		if i, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%s is no whole number", describe(v))
}

// floatNumber reads a number, or a text that is one.
func floatNumber(v any) (float64, error) {
	switch v := v.(type) {
	case int64:
		return float64(v), nil
	case float64:
		return v, nil
	case string:
		if f, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil {
			return f, nil
		}
	}
	return 0, fmt.Errorf("%s is no number", describe(v))
}

// equal compares values: numbers by value whatever their type, lists and mappings by content; values of
// different kinds are unequal.
func equal(a, b any) bool {
	switch x := a.(type) {
	case int64:
		if y, ok := b.(float64); ok {
			return float64(x) == y && x == int64(y)
		}
		return a == b
	case float64:
		if _, ok := b.(int64); ok {
			return equal(b, a)
		}
		return a == b
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, equal)
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && maps.EqualFunc(x, y, equal)
	}
	switch b.(type) {
	case []any, map[string]any:
		return false
	}
	return a == b
}
