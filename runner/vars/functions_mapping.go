package vars

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// mappingTable is functions over mappings. A mapping is never changed: each gives a new one.
func mappingTable() []tableRow {
	return []tableRow{
		{"dict KEY VALUE…", "A mapping of the pairs.", carrying(dict), nil},
		{"get MAPPING KEY", "An entry, or \"\" when there is none; index makes that an error.", lazily(2, 2, get), nil},
		{"hasKey MAPPING KEY", "Whether there is such an entry.", lazily(2, 2, hasKey), nil},
		{"keys MAPPING…", "The keys, sorted.", lazily(1, -1, keys), nil},
		{"values MAPPING", "The values, in the order of the keys.", carrying(func(m map[string]any) []any { return pluckKeys(m, sortedKeys(m)) }), nil},
		{"pluck KEY MAPPING…", "The entry of each mapping that has one, as a list.", carrying(pluck), nil},
		{"pick MAPPING KEY…", "The mapping with these keys only.", carrying(pick), nil},
		{"omit MAPPING KEY…", "The mapping without these keys; the variable .omit is another thing.", carrying(omit), nil},
		{"set MAPPING KEY VALUE", "A copy of the mapping with the entry set; the mapping itself stays.", carrying(set), nil},
		{"unset MAPPING KEY", "A copy of the mapping without the entry; the mapping itself stays.", carrying(func(m map[string]any, key string) map[string]any { return omit(m, key) }), nil},
		{"merge MAPPING…", "One mapping; the first that has an entry wins, mappings in it are merged too.", deeply(carrying(mergeFirst)), []string{"mustMerge"}},
		{"mergeOverwrite MAPPING…", "One mapping; the last that has an entry wins, mappings in it are merged too.", deeply(carrying(mergeLast)), []string{"mustMergeOverwrite"}},
		{"dig KEY… FALLBACK MAPPING", "An entry deep inside, or the fallback when some key is missing.", carrying(dig), nil},
		{"deepCopy VALUE", "The value itself, as values never change.", carrying(func(v any) any { return v }), []string{"mustDeepCopy"}},
	}
}

func dict(v ...any) (any, error) {
	out := map[string]any{}
	for i := 0; i < len(v); i += 2 {
		if i+1 == len(v) {
			return nil, &argumentError{index: i, problem: fmt.Sprintf("the key %q has no value", textOf(v[i]))}
		}
		if hasUnknown(v[i]) {
			return nil, ErrUnknown
		}
		out[textOf(v[i])] = v[i+1]
	}
	return out, nil
}

// field reaches for an entry of a mapping, a host's variables, or a registered result.
func (c *call) field(v, key any) (any, bool, error) {
	switch v.(type) {
	case map[string]any, lazy, *unknown:
		return c.frame.get(v, textOf(key))
	}
	return nil, false, &argumentError{index: 0, problem: "wants a mapping, not " + describe(v)}
}

func get(c *call, args []any) (any, error) {
	v, ok, err := c.field(args[0], args[1])
	if !ok && err == nil {
		return "", nil
	}
	return v, err
}

func hasKey(c *call, args []any) (any, error) {
	_, ok, err := c.field(args[0], args[1])
	if errors.Is(err, ErrUndefined) {
		return true, nil // it is there, though its own template does not resolve
	}
	return ok, err
}

func keys(_ *call, args []any) (any, error) {
	out := []any{}
	for i, m := range args {
		var names []string
		switch m := m.(type) {
		case map[string]any:
			names = sortedKeys(m)
		case lazy:
			names = m.keys()
		case *unknown:
			return nil, ErrUnknown
		default:
			return nil, &argumentError{index: i, problem: "wants a mapping, not " + describe(m)}
		}
		for _, n := range names {
			out = append(out, n)
		}
	}
	return out, nil
}

func pluckKeys(m map[string]any, names []string) []any {
	out := []any{}
	for _, n := range names {
		if v, ok := m[n]; ok {
			out = append(out, v)
		}
	}
	return out
}

func pluck(key string, m ...map[string]any) []any {
	out := []any{}
	for _, e := range m {
		out = append(out, pluckKeys(e, []string{key})...)
	}
	return out
}

func pick(m map[string]any, names ...string) map[string]any {
	out := map[string]any{}
	for _, n := range names {
		if v, ok := m[n]; ok {
			out[n] = v
		}
	}
	return out
}

func omit(m map[string]any, names ...string) map[string]any {
	out := map[string]any{}
	for k, v := range m {
		if !slices.Contains(names, k) {
			out[k] = v
		}
	}
	return out
}

func set(m map[string]any, key string, v any) map[string]any {
	out := maps.Clone(m)
	out[key] = v
	return out
}

func mergeFirst(m ...map[string]any) map[string]any {
	out := map[string]any{}
	for _, e := range m {
		out = merged(e, out)
	}
	return out
}

func mergeLast(m ...map[string]any) map[string]any {
	out := map[string]any{}
	for _, e := range m {
		out = merged(out, e)
	}
	return out
}

// merged lays top over base.
func merged(base, top map[string]any) map[string]any {
	out := maps.Clone(base)
	for k, v := range top {
		below, isBelow := out[k].(map[string]any)
		above, isAbove := v.(map[string]any)
		if isBelow && isAbove {
			v = merged(below, above)
		}
		out[k] = v
	}
	return out
}

func dig(v ...any) (any, error) {
	if len(v) < 3 {
		return nil, errors.New("wants a key, a fallback and a mapping")
	}
	path, fallback, at := v[:len(v)-2], v[len(v)-2], v[len(v)-1]
	for _, key := range path {
		if hasUnknown(key) || kindOf(at) == "unknown" {
			return nil, ErrUnknown
		}
		m, ok := at.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s is no mapping to look for %q in", describe(at), textOf(key))
		}
		if at, ok = m[textOf(key)]; !ok {
			return fallback, nil
		}
	}
	return at, nil
}
