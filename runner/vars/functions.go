package vars

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
)

// Function is a function of the expression language.
type Function struct {
	Name string
	// Usage is such as `default FALLBACK VALUE`.
	Usage string
	// Doc is one line.
	Doc string
}

// Functions lists every function, sorted by name.
func Functions() []Function {
	lib := library()
	out := make([]Function, 0, len(lib))
	for _, name := range slices.Sorted(maps.Keys(lib)) {
		out = append(out, lib[name].Function)
	}
	return out
}

// function is how a function is carried out.
type function struct {
	Function
	form     functionForm
	min, max int // arguments; max -1 is any number
	// lazy functions take hostvars and unknown values as they are.
	lazy bool
	// carries is set for functions that pass values on without looking into them, so that these may hold
	// parts that check mode does not know.
	carries bool
	// unsteady functions give something else each time.
	unsteady bool
	// deep functions carry values but go into all their parts.
	deep bool
	// cost is the work of a call beyond the size of its arguments; nil for none.
	cost func(args []any) int
	call func(c *call, args []any) (any, error)
}

// functionForm singles out the functions whose arguments may be undefined or are not all evaluated.
type functionForm uint8

const (
	formCall functionForm = iota
	formAnd
	formOr
	formDefault
	formCoalesce
	formEmpty
	formDefined
	formIndex
)

func (fn *function) arity() string {
	switch {
	case fn.max < 0:
		return fmt.Sprintf("at least %s", plural(fn.min))
	case fn.min == fn.max:
		return plural(fn.min)
	}
	return fmt.Sprintf("%d to %s", fn.min, plural(fn.max))
}

func plural(n int) string {
	if n == 1 {
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

// call is where a function is used.
type call struct {
	frame *frame
	off   int
}

// argumentError is about one argument, counted from 0.
type argumentError struct {
	index   int
	problem string
	cause   error
}

func (e *argumentError) Error() string { return e.problem }
func (e *argumentError) Unwrap() error { return e.cause }

// tableRow is a line of the tables in functions_*.go: fn is a Go function of texts, numbers, lists ([]any), mappings
// and any, with or without an error; or a *function.
type tableRow struct {
	usage string // the first word is the name
	doc   string
	fn    any
	also  []string // other names of the same function
}

// library is every function by name. It is made once and never changed.
var library = sync.OnceValue(func() map[string]*function {
	lib := map[string]*function{}
	for _, table := range [][]tableRow{logicTable(), textTable(), numberTable(), listTable(), mappingTable(), convertTable(), timeTable(), randomTable(), hostTable()} {
		for _, row := range table {
			row.addTo(lib)
		}
	}
	return lib
})

func (row tableRow) addTo(lib map[string]*function) {
	name := firstWord(row.usage)
	fn := *newFunction(name, row.fn)
	fn.Function = Function{Name: name, Usage: row.usage, Doc: row.doc}
	for _, other := range append([]string{name}, row.also...) {
		if lib[other] != nil {
			panic("vars: two functions are called " + other)
		}
		f := fn
		if other != name {
			f.Function = Function{Name: other, Usage: other + row.usage[len(name):], Doc: "The same as " + name + "."}
		}
		lib[other] = &f
	}
}

func firstWord(usage string) string {
	for i := range usage {
		if usage[i] == ' ' {
			return usage[:i]
		}
	}
	return usage
}

func newFunction(name string, fn any) *function {
	if f, ok := fn.(*function); ok {
		return f
	}
	return adapt(name, reflect.ValueOf(fn))
}

// carrying marks a function that passes values on without looking into them.
func carrying(fn any) *function {
	f := newFunction("carrying", fn)
	f.carries = true
	return f
}

// deeply marks a function that carries values and goes into all their parts.
func deeply(f *function) *function {
	f.deep = true
	return f
}

// raw makes a function that takes its arguments unconverted.
func raw(least, most int, call func(c *call, args []any) (any, error)) *function {
	return &function{min: least, max: most, call: call}
}

// lazily is raw for a function that copes with hostvars and unknown values.
func lazily(least, most int, call func(c *call, args []any) (any, error)) *function {
	return &function{min: least, max: most, call: call, lazy: true}
}

// special makes a function that the compiler carries out itself.
func special(form functionForm, least, most int) *function {
	return &function{form: form, min: least, max: most}
}

// adapt makes a function of a Go function. Arguments are converted to the types it takes; a panic in it
// (sprig has several) is an error.
func adapt(name string, fn reflect.Value) *function {
	t := fn.Type()
	takes := make([]taker, t.NumIn())
	for i := range takes {
		in := t.In(i)
		if t.IsVariadic() && i == t.NumIn()-1 {
			in = in.Elem()
		}
		takes[i] = takerOf(name, in)
	}
	f := &function{min: t.NumIn(), max: t.NumIn()}
	if t.IsVariadic() {
		f.min, f.max = t.NumIn()-1, -1
	}
	f.call = func(_ *call, args []any) (any, error) {
		in := make([]reflect.Value, len(args))
		for i, a := range args {
			v, err := takes[min(i, len(takes)-1)](a)
			if err != nil {
				return nil, &argumentError{index: i, problem: err.Error(), cause: err}
			}
			in[i] = v
		}
		v, err := invoke(fn, in)
		if err != nil || f.carries {
			return v, err // parts of the arguments, which are as they must be
		}
		return normal(v)
	}
	return f
}

func invoke(fn reflect.Value, in []reflect.Value) (v any, err error) {
	defer func() {
		if r := recover(); r != nil {
			v, err = nil, fmt.Errorf("%v", r)
		}
	}()
	out := fn.Call(in)
	if len(out) == 2 && !out[1].IsNil() {
		return nil, out[1].Interface().(error)
	}
	return out[0].Interface(), nil
}

// taker converts an argument.
type taker func(v any) (reflect.Value, error)

func takerOf(name string, t reflect.Type) taker {
	switch t.Kind() {
	case reflect.Interface:
		return func(v any) (reflect.Value, error) {
			if v == nil {
				return reflect.Zero(t), nil
			}
			return reflect.ValueOf(v), nil
		}
	case reflect.String:
		return kindTaker[string]("a string", "; make it one with toString")
	case reflect.Bool:
		return kindTaker[bool]("true or false", "")
	case reflect.Slice:
		return kindTaker[[]any]("a list", "")
	case reflect.Map:
		return kindTaker[map[string]any]("a mapping", "")
	case reflect.Int, reflect.Int64:
		return func(v any) (reflect.Value, error) {
			i, err := wholeNumber(v)
			return reflect.ValueOf(i).Convert(t), err
		}
	case reflect.Float64:
		return func(v any) (reflect.Value, error) {
			f, err := floatNumber(v)
			return reflect.ValueOf(f), err
		}
	}
	panic(fmt.Sprintf("vars: function %s takes a %s", name, t))
}

func kindTaker[T any](want, hint string) taker {
	return func(v any) (reflect.Value, error) {
		if _, ok := v.(*unknown); ok {
			return reflect.Value{}, ErrUnknown
		}
		if _, ok := v.(T); !ok {
			return reflect.Value{}, fmt.Errorf("wants %s, not %s%s", want, describe(v), hint)
		}
		return reflect.ValueOf(v), nil
	}
}
