package vars

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// Data as JSON loses what JSON has no word for: floats that are no number, text that is not UTF-8, what is
// unknown or omitted. Exact writes these as a mapping with the one key exactKey, and a mapping that has that key
// itself inside of such a one.
const exactKey = "$pegbook"

// Exact is the value as JSON from which FromExact makes the same value again.
func (d Data) Exact() json.RawMessage { return compact.append(nil, exact(d.v)) }

// exact gives a value in which only what JSON can say stands; it is the same one where nothing has to be said
// differently.
func exact(v any) any {
	switch v := v.(type) {
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return marked("float", strconv.FormatFloat(v, 'g', -1, 64))
		}
	case string:
		if !utf8.ValidString(v) {
			return marked("bytes", base64.StdEncoding.EncodeToString([]byte(v)))
		}
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = exact(e)
		}
		return out
	case map[string]any:
		out := exactFields(v)
		if _, has := v[exactKey]; has {
			return marked("mapping", out)
		}
		return out
	case *unknown:
		out := map[string]any{"fields": exactFields(v.fields)}
		if v.elem != nil {
			out["elem"] = exact(v.elem)
		}
		return marked("unknown", out)
	case omitted:
		return marked("omit", nil)
	}
	return v
}

func exactFields(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for k, e := range m {
		out[k] = exact(e)
	}
	return out
}

func marked(kind string, v any) any {
	return map[string]any{exactKey: map[string]any{"kind": kind, "value": v}}
}

// FromExact reads what Exact has written.
func FromExact(raw []byte) (Data, error) {
	d, err := FromJSON(raw)
	if err != nil {
		return Data{}, err
	}
	v, err := inexact(d.v)
	return Data{v}, err
}

// inexact undoes exact, in place: the value is nobody else's.
func inexact(v any) (any, error) {
	switch v := v.(type) {
	case []any:
		for i, e := range v {
			got, err := inexact(e)
			if err != nil {
				return nil, err
			}
			v[i] = got
		}
	case map[string]any:
		if mark, has := v[exactKey]; has {
			return unmark(mark)
		}
		return inexactFields(v)
	}
	return v, nil
}

func inexactFields(m map[string]any) (map[string]any, error) {
	for k, e := range m {
		got, err := inexact(e)
		if err != nil {
			return nil, err
		}
		m[k] = got
	}
	return m, nil
}

var errNotExact = errors.New("it was not written by Exact")

func unmark(mark any) (any, error) {
	m, _ := mark.(map[string]any)
	text, _ := m["value"].(string)
	fields, _ := m["value"].(map[string]any)
	switch m["kind"] {
	case "float":
		return strconv.ParseFloat(text, 64)
	case "bytes":
		b, err := base64.StdEncoding.DecodeString(text)
		return string(b), err
	case "mapping":
		return inexactFields(fields)
	case "omit":
		return omitted{}, nil
	case "unknown":
		return unmarkUnknown(fields)
	}
	return nil, fmt.Errorf("%v: %w", m["kind"], errNotExact)
}

func unmarkUnknown(m map[string]any) (any, error) {
	known, _ := m["fields"].(map[string]any)
	known, err := inexactFields(known)
	if err != nil {
		return nil, err
	}
	u := &unknown{fields: known}
	if e, has := m["elem"]; has {
		if u.elem, err = inexact(e); err != nil {
			return nil, err
		}
	}
	return u, nil
}
