package vars

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/sprig/v3"
)

// numberTable is arithmetic. Texts that are numbers count as such, because -e k=v gives texts.
func numberTable() []tableRow {
	s := sprig.GenericFuncMap()
	return []tableRow{
		{"add N…", "The sum of whole numbers.", whole(func(a, b int64) (int64, error) { return a + b, nil }), nil},
		{"add1 N", "N plus 1.", func(n int64) int64 { return n + 1 }, nil},
		{"sub A B", "A minus B, whole numbers.", func(a, b int64) int64 { return a - b }, nil},
		{"mul N…", "The product of whole numbers.", whole(func(a, b int64) (int64, error) { return a * b, nil }), nil},
		{"div A B", "A divided by B, rounded towards 0.", divide, nil},
		{"mod A B", "The rest of A divided by B.", modulo, nil},
		{"max N…", "The greatest of whole numbers.", whole(func(a, b int64) (int64, error) { return max(a, b), nil }), []string{"biggest"}},
		{"min N…", "The least of whole numbers.", whole(func(a, b int64) (int64, error) { return min(a, b), nil }), nil},
		{"addf N…", "The sum, with fractions.", floats(s["addf"]), nil},
		{"add1f N", "N plus 1, with fractions.", floats(s["add1f"]), nil},
		{"subf A N…", "A minus the others, with fractions.", floats(s["subf"]), nil},
		{"mulf A N…", "The product, with fractions.", floats(s["mulf"]), nil},
		{"divf A N…", "A divided by the others, with fractions.", floats(s["divf"]), nil},
		{"maxf A N…", "The greatest, with fractions.", func(a float64, more ...float64) float64 { return fold(math.Max, a, more) }, nil},
		{"minf A N…", "The least, with fractions.", func(a float64, more ...float64) float64 { return fold(math.Min, a, more) }, nil},
		{"ceil N", "N rounded up.", math.Ceil, nil},
		{"floor N", "N rounded down.", math.Floor, nil},
		{"round N PLACES", "N rounded to a number of decimal places.", round, nil},
		{"int VALUE", "The value as a whole number; fractions are cut off.", toInt, []string{"int64", "atoi"}},
		{"float64 VALUE", "The value as a floating number.", func(f float64) float64 { return f }, nil},
		{"toDecimal TEXT", "An octal text such as \"0755\" as a number.", toDecimal, nil},
		{"until N", "The list 0, 1, … N-1.", func(n int64) ([]any, error) { return sequence(0, n, 1) }, nil},
		{"untilStep START STOP STEP", "The list from START up to, and without, STOP.", sequence, nil},
		{"seq [START [STEP]] END", "The numbers up to and with END, as text with spaces between.", seq, nil},
	}
}

// whole folds whole numbers.
func whole(step func(a, b int64) (int64, error)) *function {
	return raw(1, -1, func(_ *call, args []any) (any, error) {
		var total int64
		for i, a := range args {
			n, err := wholeNumber(a)
			if err != nil {
				return nil, &argumentError{index: i, problem: err.Error()}
			}
			if i == 0 {
				total = n
			} else if total, err = step(total, n); err != nil {
				return nil, err
			}
		}
		return total, nil
	})
}

// floats checks that every argument is a number before sprig's decimal arithmetic, which takes others for 0.
func floats(fn any) *function {
	f := newFunction("floats", fn)
	inner := f.call
	f.min = max(f.min, 1)
	f.call = func(c *call, args []any) (any, error) {
		for i, a := range args {
			if _, err := floatNumber(a); err != nil {
				return nil, &argumentError{index: i, problem: err.Error()}
			}
		}
		return inner(c, args)
	}
	return f
}

func fold(step func(a, b float64) float64, a float64, more []float64) float64 {
	for _, b := range more {
		a = step(a, b)
	}
	return a
}

func divide(a, b int64) (int64, error) {
	if b == 0 {
		return 0, errors.New("division by 0")
	}
	return a / b, nil
}

func modulo(a, b int64) (int64, error) {
	if b == 0 {
		return 0, errors.New("division by 0")
	}
	return a % b, nil
}

func round(n float64, places int) (float64, error) {
	if places < -300 || places > 300 {
		return 0, fmt.Errorf("%d decimal places are outside -300 to 300", places)
	}
	scale := math.Pow10(places)
	return math.Round(n*scale) / scale, nil
}

func toInt(v any) (int64, error) {
	if b, ok := v.(bool); ok {
		if b {
			return 1, nil
		}
		return 0, nil
	}
	if i, err := wholeNumber(v); err == nil {
		return i, nil
	}
	f, err := floatNumber(v)
	if err != nil || math.IsNaN(f) || math.Abs(f) >= 1<<63 {
		return 0, fmt.Errorf("%s is no number that can be whole", describe(v))
	}
	return int64(f), nil
}

func toDecimal(v any) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(textOf(v)), 8, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is no octal number", describe(v))
	}
	return n, nil
}

func sequence(start, stop, step int64) ([]any, error) {
	switch {
	case step == 0, step > 0 && start >= stop, step < 0 && start <= stop:
		return []any{}, nil
	}
	if n := (float64(stop) - float64(start)) / float64(step); n > maxIterations {
		return nil, fmt.Errorf("a list of more than %d numbers", maxIterations)
	}
	out := []any{}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		out = append(out, i)
		if step > 0 && i > math.MaxInt64-step || step < 0 && i < math.MinInt64-step {
			break // the next one would wrap around
		}
	}
	return out, nil
}

func seq(n ...int64) (string, error) {
	start, step, end := int64(1), int64(1), int64(0)
	switch len(n) {
	case 1:
		end = n[0]
		if end < start {
			step = -1
		}
	case 2:
		start, end = n[0], n[1]
		if end < start {
			step = -1
		}
	case 3:
		start, step, end = n[0], n[1], n[2]
	default:
		return "", fmt.Errorf("takes 1 to 3 numbers, not %d", len(n))
	}
	if end == math.MaxInt64 || end == math.MinInt64 {
		return "", fmt.Errorf("%d is too far", end)
	}
	stop := end + 1
	if step < 0 {
		stop = end - 1
	}
	list, err := sequence(start, stop, step)
	return strings.Join(texts(list), " "), err
}

func roundDuration(sprigs any) func(text string) (any, error) {
	return func(text string) (any, error) {
		if _, err := time.ParseDuration(text); err != nil {
			return nil, fmt.Errorf("%q is no duration such as 90s or 2h10m", text)
		}
		return sprigs.(func(any) string)(text), nil
	}
}

func seconds(n int64) string { return (time.Duration(n) * time.Second).String() }
