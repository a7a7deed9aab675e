package modules

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// limit reads a min or max tag as the number that values are compared with.
func (a Arg) limit(text string) (float64, error) {
	if a.elemOrType() == TypeDuration {
		d, err := ParseDuration(text)
		return float64(d), err
	}
	return strconv.ParseFloat(text, 64)
}

func (a Arg) elemOrType() Type {
	if a.Elem != "" {
		return a.Elem
	}
	return a.Type
}

// checkLimits panics on tags that are no limits: they are a bug.
func (a Arg) checkLimits() {
	low, high := math.Inf(-1), math.Inf(1)
	for _, l := range []struct {
		text string
		to   *float64
	}{{a.Min, &low}, {a.Max, &high}} {
		if l.text == "" {
			continue
		}
		n, err := a.limit(l.text)
		if err != nil || !a.numeric() {
			panic(fmt.Sprintf("modules: %q is no limit for argument %s, a %s", l.text, a.Name, a.elemOrType()))
		}
		*l.to = n
	}
	if low > high {
		panic(fmt.Sprintf("modules: argument %s has the limits %s and %s", a.Name, a.Min, a.Max))
	}
	if n, err := a.limit(a.Default); err == nil && a.numeric() && (n < low || n > high) {
		panic(fmt.Sprintf("modules: the default of argument %s is not within its limits", a.Name))
	}
}

func (a Arg) numeric() bool {
	switch a.elemOrType() {
	case TypeInt, TypeFloat, TypeDuration:
		return true
	case TypeString, TypeBool, TypeMode, TypePath, TypeExpr, TypeAny, TypeList, TypeMap:
	}
	return false
}

// withinLimits says whether a number, as the user wrote it, is neither too small nor too large.
func (a Arg) withinLimits(text string) error {
	if a.Min == "" && a.Max == "" {
		return nil
	}
	n, err := a.limit(text)
	if err != nil {
		return err
	}
	low, high := math.Inf(-1), math.Inf(1)
	if a.Min != "" {
		if low, err = a.limit(a.Min); err != nil {
			return err
		}
	}
	if a.Max != "" {
		if high, err = a.limit(a.Max); err != nil {
			return err
		}
	}
	if n >= low && n <= high {
		return nil
	}
	if a.Secret {
		text = "a value that does not fit"
	}
	return &ArgumentError{Arg: a.Name, Problem: fmt.Sprintf("%s is %s", a.Name, text), Hint: "it is " + a.Limits()}
}

// Limits says what numbers the argument takes: "from 0 to 65535", "at least 1"; empty when it takes any.
func (a Arg) Limits() string {
	switch {
	case a.Min != "" && a.Max != "":
		return "from " + a.Min + " to " + a.Max
	case a.Min != "":
		return "at least " + a.Min
	case a.Max != "":
		return "at most " + a.Max
	}
	return ""
}

// maxSeconds is what a time.Duration can hold.
const maxSeconds = float64(math.MaxInt64) / float64(time.Second)

// ParseDuration reads a number of seconds ("30", "0.5") or a Go duration ("1m30s").
func ParseDuration(text string) (time.Duration, error) {
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return time.ParseDuration(text)
	}
	if math.IsNaN(seconds) || math.Abs(seconds) >= maxSeconds {
		return 0, fmt.Errorf("%s seconds are more than can be waited", text)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}
