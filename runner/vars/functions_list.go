package vars

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// listTable is functions over lists. A list is never changed: each gives a new one.
func listTable() []tableRow {
	return []tableRow{
		{"list VALUE…", "A list of the values.", carrying(func(v ...any) []any { return v }), []string{"tuple"}},
		{"len VALUE", "The number of elements, entries or bytes.", lazily(1, 1, length), nil},
		{"index VALUE KEY…", "An element of a list (from 0) or an entry of a mapping; further keys go deeper.", special(formIndex, 2, -1), nil},
		{"slice LIST [START [END]]", "The elements, or bytes of a text, from START up to END.", carrying(sliceOf), []string{"mustSlice"}},
		{"first LIST", "The first element; null when there is none.", carrying(func(l []any) any { return at(l, 0) }), []string{"mustFirst"}},
		{"last LIST", "The last element; null when there is none.", carrying(func(l []any) any { return at(l, len(l)-1) }), []string{"mustLast"}},
		{"rest LIST", "All but the first.", carrying(func(l []any) []any { return l[min(1, len(l)):] }), []string{"mustRest"}},
		{"initial LIST", "All but the last.", carrying(func(l []any) []any { return l[:max(0, len(l)-1)] }), []string{"mustInitial"}},
		{"append LIST VALUE", "The list with one more element.", carrying(func(l []any, v any) []any { return append(slices.Clone(l), v) }), []string{"push", "mustAppend", "mustPush"}},
		{"prepend LIST VALUE", "The list with one more element in front.", carrying(func(l []any, v any) []any { return append([]any{v}, l...) }), []string{"mustPrepend"}},
		{"concat LIST…", "One list of all elements.", carrying(concat), nil},
		{"reverse LIST", "Backwards.", carrying(reverse), []string{"mustReverse"}},
		{"uniq LIST", "Every element once, the first time it comes.", uniq, []string{"mustUniq"}},
		{"without LIST VALUE…", "The list without the values.", without, []string{"mustWithout"}},
		{"compact LIST", "The list without empty elements.", func(l []any) []any { return filter(l, truth) }, []string{"mustCompact"}},
		{"has VALUE LIST", "Whether the value is in the list.", has, []string{"mustHas"}},
		{"chunk SIZE LIST", "A list of lists of at most SIZE elements.", carrying(chunk), []string{"mustChunk"}},
		{"join SEPARATOR LIST", "The elements as text with a separator between; null is left out.", join, nil},
		{"sortAlpha LIST", "The elements as text, sorted.", sortAlpha, nil},
		{"toStrings LIST", "Every element as text; null is left out.", func(l []any) []string { return texts(filter(l, notNull)) }, nil},
	}
}

func length(_ *call, args []any) (any, error) {
	switch v := args[0].(type) {
	case string:
		return int64(len(v)), nil
	case []any:
		return int64(len(v)), nil
	case map[string]any:
		return int64(len(v)), nil
	case lazy:
		return int64(len(v.keys())), nil
	case *unknown:
		return nil, ErrUnknown
	}
	return nil, fmt.Errorf("%s has no length", describe(args[0]))
}

func at(list []any, i int) any {
	if i < 0 || i >= len(list) {
		return nil
	}
	return list[i]
}

func sliceOf(v any, bounds ...int) (any, error) {
	size := 0
	switch v := v.(type) {
	case *unknown:
		return nil, ErrUnknown
	case []any:
		size = len(v)
	case string:
		size = len(v)
	default:
		return nil, &argumentError{index: 0, problem: "wants a list or a text, not " + describe(v)}
	}
	from, to := 0, size
	if len(bounds) > 0 {
		from = bounds[0]
	}
	if len(bounds) > 1 {
		to = bounds[1]
	}
	if len(bounds) > 2 || from < 0 || from > to || to > size {
		return nil, fmt.Errorf("%d to %d is outside %d elements", from, to, size)
	}
	if text, ok := v.(string); ok {
		return text[from:to], nil
	}
	return v.([]any)[from:to], nil
}

func concat(lists ...any) (any, error) {
	out := []any{}
	for i, l := range lists {
		list, ok := l.([]any)
		if kindOf(l) == "unknown" {
			return nil, ErrUnknown
		}
		if !ok {
			return nil, &argumentError{index: i, problem: "wants a list, not " + describe(l)}
		}
		out = append(out, list...)
	}
	return out, nil
}

func reverse(l []any) []any {
	out := slices.Clone(l)
	slices.Reverse(out)
	return out
}

func uniq(l []any) []any {
	seen := map[string]bool{}
	return filter(l, func(e any) bool {
		key := sameness(e)
		before := seen[key]
		seen[key] = true
		return !before
	})
}

func without(l []any, v ...any) []any {
	unwanted := map[string]bool{}
	for _, e := range v {
		unwanted[sameness(e)] = true
	}
	return filter(l, func(e any) bool { return !unwanted[sameness(e)] })
}

// sameness is a text that is the same for equal values, and for these only.
func sameness(v any) string { return rawJSON(wholeFloats(v)) }

// wholeFloats makes floats that are whole numbers such, all the way down.
func wholeFloats(v any) any {
	switch v := v.(type) {
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v)
		}
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = wholeFloats(e)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = wholeFloats(e)
		}
		return out
	}
	return v
}

func has(v any, list []any) bool {
	return slices.ContainsFunc(list, func(e any) bool { return equal(v, e) })
}

func filter(l []any, keep func(any) bool) []any {
	out := []any{}
	for _, e := range l {
		if keep(e) {
			out = append(out, e)
		}
	}
	return out
}

func notNull(v any) bool { return v != nil }

func chunk(size int, l []any) (any, error) {
	if size < 1 {
		return nil, &argumentError{index: 0, problem: "wants a size of at least 1"}
	}
	out := []any{}
	for part := range slices.Chunk(l, size) {
		out = append(out, part)
	}
	return out, nil
}

func join(separator string, v any) (string, error) {
	switch v := v.(type) {
	case []any:
		all := texts(filter(v, notNull))
		if err := product(len(all), len(separator)); err != nil {
			return "", err
		}
		return strings.Join(all, separator), nil
	case map[string]any:
		return "", &argumentError{index: 1, problem: "wants a list, not a mapping; take its keys or values"}
	}
	return textOf(v), nil
}

func sortAlpha(l []any) []string {
	out := texts(filter(l, notNull))
	slices.Sort(out)
	return out
}
