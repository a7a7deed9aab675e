package event

import (
	"encoding/json"
	"reflect"

	"github.com/pegbook/pegbook/runner/secret"
)

// Masked gives an event in which secrets are masked, in every text that it holds but the names of hosts, which
// tie events together, and statuses. It goes by the fields' types, so that a field that is added to an event is
// masked without a line here.
func Masked(e Event, secrets *secret.Set) Event {
	if secrets.Empty() {
		return e
	}
	v, changed := mask(reflect.ValueOf(e), secrets)
	if !changed {
		return e
	}
	return v.Interface().(Event)
}

// shown is the tag of fields that are shown as they are.
const shown = "shown"

// mask gives a value in which secrets are masked: a copy when there is one in it.
func mask(v reflect.Value, secrets *secret.Set) (reflect.Value, bool) {
	switch v.Kind() {
	case reflect.String:
		return maskString(v, secrets)
	case reflect.Struct:
		return maskStruct(v, secrets)
	case reflect.Slice:
		return maskSlice(v, secrets)
	case reflect.Map:
		return maskMap(v, secrets)
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return v, false
		}
		inner, changed := mask(v.Elem(), secrets)
		if !changed {
			return v, false
		}
		out := reflect.New(inner.Type())
		out.Elem().Set(inner)
		if v.Kind() == reflect.Interface {
			return inner, true
		}
		return out, true
	}
	return v, false
}

func maskString(v reflect.Value, secrets *secret.Set) (reflect.Value, bool) {
	text := v.String()
	masked := secrets.Text(text)
	if masked == text {
		return v, false
	}
	return reflect.ValueOf(masked).Convert(v.Type()), true
}

func maskStruct(v reflect.Value, secrets *secret.Set) (reflect.Value, bool) {
	out, t := v, v.Type()
	for i := range v.NumField() {
		f := t.Field(i)
		if !f.IsExported() || f.Tag.Get("secrets") == shown || f.Type == reflect.TypeFor[Status]() || f.Type == reflect.TypeFor[Outcome]() {
			continue
		}
		inner, changed := mask(v.Field(i), secrets)
		if !changed {
			continue
		}
		if out == v {
			out = reflect.New(t).Elem()
			out.Set(v)
		}
		out.Field(i).Set(inner)
	}
	return out, out != v
}

func maskSlice(v reflect.Value, secrets *secret.Set) (reflect.Value, bool) {
	if v.Type() == reflect.TypeFor[json.RawMessage]() {
		raw := v.Bytes()
		masked := secrets.JSON(raw)
		return reflect.ValueOf(masked), len(masked) != len(raw) || string(masked) != string(raw)
	}
	out := v
	for i := range v.Len() {
		inner, changed := mask(v.Index(i), secrets)
		if !changed {
			continue
		}
		if out == v {
			out = reflect.MakeSlice(v.Type(), v.Len(), v.Len())
			reflect.Copy(out, v)
		}
		out.Index(i).Set(inner)
	}
	return out, out != v
}

// maskMap masks the values; keys are names of hosts.
func maskMap(v reflect.Value, secrets *secret.Set) (reflect.Value, bool) {
	out := v
	for it := v.MapRange(); it.Next(); {
		inner, changed := mask(it.Value(), secrets)
		if !changed {
			continue
		}
		if out == v {
			out = reflect.MakeMap(v.Type())
			for all := v.MapRange(); all.Next(); {
				out.SetMapIndex(all.Key(), all.Value())
			}
		}
		out.SetMapIndex(it.Key(), inner)
	}
	return out, out != v
}
