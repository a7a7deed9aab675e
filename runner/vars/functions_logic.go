package vars

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// logicTable is tests, comparisons and fallbacks.
func logicTable() []tableRow {
	return []tableRow{
		{"and VALUE…", "The first value that is empty or false, or else the last; the rest is not evaluated.", special(formAnd, 1, -1), nil},
		{"or VALUE…", "The first value that is neither empty nor false, or else the last; the rest is not evaluated.", special(formOr, 1, -1), nil},
		{"not VALUE", "Whether the value is empty or false.", lazily(1, 1, func(_ *call, a []any) (any, error) { return not(a[0]) }), nil},
		{"default FALLBACK VALUE", "The value, or the fallback when the value is undefined; 0, false and \"\" stay.", special(formDefault, 2, 2), nil},
		{"coalesce VALUE…", "The first value that is defined and not empty; null when there is none.", special(formCoalesce, 1, -1), nil},
		{"empty VALUE", "Whether the value is undefined, null, false, 0, or has no content.", special(formEmpty, 1, 1), nil},
		{"defined PATH", "Whether a variable, or a path such as \"a.b\", resolves for this host.", special(formDefined, 1, 1), nil},
		{"eq A B…", "Whether A equals one of the others; values of different kinds are unequal.", raw(2, -1, eq), nil},
		{"ne A B", "Whether two values differ.", raw(2, 2, func(_ *call, a []any) (any, error) { return !equal(a[0], a[1]), nil }), nil},
		{"lt A B", "Whether A is less than B; both numbers or both texts.", comparison(func(c int) bool { return c < 0 }), nil},
		{"le A B", "Whether A is at most B.", comparison(func(c int) bool { return c <= 0 }), nil},
		{"gt A B", "Whether A is greater than B.", comparison(func(c int) bool { return c > 0 }), nil},
		{"ge A B", "Whether A is at least B.", comparison(func(c int) bool { return c >= 0 }), nil},
		{"deepEqual A B", "Whether two values are equal, as eq.", equal, nil},
		{"ternary YES NO CONDITION", "YES when the condition is true, NO when it is false.", ternary, nil},
		{"all VALUE…", "Whether no value is empty.", func(v ...any) bool { return countTrue(v) == len(v) }, nil},
		{"any VALUE…", "Whether some value is not empty.", func(v ...any) bool { return countTrue(v) > 0 }, nil},
		{"fail MESSAGE", "Ends the task with the message as its error.", func(text string) (any, error) { return nil, fmt.Errorf("%s", text) }, nil},
		{"match REGEX TEXT", "Whether the regular expression fits the whole text.", matching(match), nil},
		{"search REGEX TEXT", "Whether the regular expression fits somewhere in the text.", matching(search), nil},
		{"version_compare A OP B", "Compares versions; OP is one of == != < <= > >=.", versionCompare, nil},
		{"semver TEXT", "The parts of a version: Major, Minor, Patch, Prerelease, Metadata, Original.", semverParts, nil},
		{"semverCompare CONSTRAINT VERSION", "Whether a version fits a constraint such as \"^1.2\".", semverCompare, nil},
	}
}

func not(v any) (any, error) {
	if u, ok := v.(*unknown); ok && len(u.fields) == 0 {
		return nil, ErrUnknown
	}
	return !truth(v), nil
}

func eq(_ *call, args []any) (any, error) {
	for _, b := range args[1:] {
		if equal(args[0], b) {
			return true, nil
		}
	}
	return false, nil
}

func comparison(holds func(int) bool) *function {
	return raw(2, 2, func(_ *call, a []any) (any, error) {
		c, err := order(a[0], a[1])
		if err != nil {
			return nil, err
		}
		return holds(c), nil
	})
}

// order compares two numbers or two texts.
func order(a, b any) (int, error) {
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok {
			return strings.Compare(x, y), nil
		}
	case int64:
		switch y := b.(type) {
		case int64:
			return cmp.Compare(x, y), nil
		case float64:
			return cmp.Compare(float64(x), y), notNaN(y)
		}
	case float64:
		switch y := b.(type) {
		case int64:
			return cmp.Compare(x, float64(y)), notNaN(x)
		case float64:
			return cmp.Compare(x, y), notNaN(x + y)
		}
	}
	return 0, fmt.Errorf("%s and %s have no order", describe(a), describe(b))
}

func notNaN(f float64) error {
	if math.IsNaN(f) {
		return fmt.Errorf("what is not a number has no order")
	}
	return nil
}

func ternary(yes, no any, condition bool) any {
	if condition {
		return yes
	}
	return no
}

func countTrue(list []any) int {
	n := 0
	for _, v := range list {
		if truth(v) {
			n++
		}
	}
	return n
}

func match(pattern, text string) (bool, error) {
	r, err := regexp.Compile(`^(?:` + pattern + `)$`)
	return err == nil && r.MatchString(text), err
}

func search(pattern, text string) (bool, error) {
	r, err := regexp.Compile(pattern)
	return err == nil && r.MatchString(text), err
}

func versionCompare(a, op, b any) (bool, error) {
	x, err := version(a)
	if err != nil {
		return false, err
	}
	y, err := version(b)
	if err != nil {
		return false, err
	}
	c := x.Compare(y)
	switch op {
	case "==", "=", "eq":
		return c == 0, nil
	case "!=", "ne":
		return c != 0, nil
	case "<", "lt":
		return c < 0, nil
	case "<=", "le":
		return c <= 0, nil
	case ">", "gt":
		return c > 0, nil
	case ">=", "ge":
		return c >= 0, nil
	}
	return false, &argumentError{index: 1, problem: describe(op) + " is none of == != < <= > >="}
}

func version(v any) (*semver.Version, error) {
	got, err := semver.NewVersion(textOf(v))
	if err != nil {
		return nil, fmt.Errorf("%s is no version such as 2.4.0", describe(v))
	}
	return got, nil
}

func semverParts(text string) (any, error) {
	v, err := version(text)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"Major": int64(v.Major()), "Minor": int64(v.Minor()), "Patch": int64(v.Patch()),
		"Prerelease": v.Prerelease(), "Metadata": v.Metadata(), "Original": v.Original(),
	}, nil
}

func semverCompare(constraint, text string) (bool, error) {
	c, err := semver.NewConstraint(constraint)
	if err != nil {
		return false, err
	}
	v, err := version(text)
	return err == nil && c.Check(v), err
}
