package modules

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

// Shape is what can be said of a result before there is one: the names of its fields. nil is anything.
type Shape struct {
	// Fields are those of a mapping that has no others.
	Fields map[string]*Shape
	// Elem is what each element of a list is.
	Elem *Shape
}

// ShapeOf is the shape of a module's output that is a T.
func ShapeOf[T any]() *Shape { return shapeOf(reflect.TypeFor[T](), nil) }

// shapeOf reads a shape off a type as encoding/json writes it. within are the types around, so that a type which
// holds itself ends.
func shapeOf(t reflect.Type, within []reflect.Type) *Shape {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	for _, outer := range within {
		if outer == t {
			return nil
		}
	}
	if t.Implements(reflect.TypeFor[json.Marshaler]()) || t == reflect.TypeFor[time.Time]() || t == reflect.TypeFor[json.RawMessage]() {
		return nil
	}
	within = append(within, t)
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		return &Shape{Elem: shapeOf(t.Elem(), within)}
	case reflect.Struct:
		s := &Shape{Fields: map[string]*Shape{}}
		s.addFields(t, within)
		return s
	}
	return nil
}

func (s *Shape) addFields(t reflect.Type, within []reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		inner := f.Type
		for inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case name == "-":
		case f.Anonymous && name == "" && inner.Kind() == reflect.Struct:
			s.addFields(inner, within)
		case !f.IsExported():
		case name == "":
			s.Fields[f.Name] = shapeOf(f.Type, within)
		default:
			s.Fields[name] = shapeOf(f.Type, within)
		}
	}
}
