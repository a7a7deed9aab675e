package vars

import (
	"fmt"
	"regexp"
	"strings"
)

// regexRows is functions that take a regular expression first and the text second.
func regexRows() []tableRow {
	return []tableRow{
		{"regexMatch REGEX TEXT", "Whether the expression fits somewhere in the text, as search.", matching(search), []string{"mustRegexMatch"}},
		{"regexFind REGEX TEXT", "The first part that fits, or \"\".", matching(func(pattern, text string) (string, error) {
			r, err := regexp.Compile(pattern)
			if err != nil {
				return "", err
			}
			return r.FindString(text), nil
		}), []string{"mustRegexFind"}},
		{"regexFindAll REGEX TEXT N", "The parts that fit, at most N; all when N is -1.", matching(regexFindAll), []string{"mustRegexFindAll"}},
		{"regexReplaceAll REGEX TEXT NEW", "What fits replaced; ${1} in NEW is the first group.", matching(regexReplaceAll), []string{"mustRegexReplaceAll"}},
		{"regexReplaceAllLiteral REGEX TEXT NEW", "What fits replaced by NEW as it is.", matching(func(pattern, text, by string) (string, error) {
			return regexReplaceAll(pattern, text, strings.ReplaceAll(by, "$", "$$"))
		}), []string{"mustRegexReplaceAllLiteral"}},
		{"regexSplit REGEX TEXT N", "The parts between what fits, at most N; all when N is -1.", matching(regexSplit), []string{"mustRegexSplit"}},
		{"regexQuoteMeta TEXT", "A regular expression that fits exactly the text.", regexp.QuoteMeta, nil},
	}
}

// matching counts the work of a regular expression, which is its size times that of the text; a repetition such as
// {1000} makes it larger than it looks.
func matching(fn any) *function {
	f := newFunction("matching", fn)
	f.cost = func(args []any) int {
		pattern, ok := args[0].(string)
		text, isText := args[1].(string)
		if !ok || !isText {
			return 0
		}
		size := len(pattern)
		if strings.ContainsRune(pattern, '{') {
			size *= 100
		}
		if size > 0 && len(text) > maxWork/size {
			return maxWork
		}
		return size*len(text)/16 + 10*size
	}
	return f
}

// fits gives where an expression fits in a text, within bounds.
func fits(pattern, text string, n int) (*regexp.Regexp, [][]int, error) {
	r, err := regexp.Compile(pattern)
	if err != nil {
		return nil, nil, err
	}
	if n < 0 || n > maxIterations {
		n = maxIterations + 1
	}
	found := r.FindAllStringIndex(text, n)
	if len(found) > maxIterations {
		return nil, nil, fmt.Errorf("it fits in more than %d places", maxIterations)
	}
	return r, found, nil
}

func regexFindAll(pattern, text string, n int) ([]any, error) {
	_, found, err := fits(pattern, text, n)
	out := make([]any, len(found))
	for i, at := range found {
		out[i] = text[at[0]:at[1]]
	}
	return out, err
}

func regexReplaceAll(pattern, text, by string) (string, error) {
	r, found, err := fits(pattern, text, -1)
	if err != nil {
		return "", err
	}
	if err := product(len(found), len(by)); err != nil {
		return "", err
	}
	if groups := strings.Count(by, "$") - 2*strings.Count(by, "$$"); groups > 0 {
		if err := product(groups, len(text)); err != nil {
			return "", err
		}
	}
	return r.ReplaceAllString(text, by), nil
}

func regexSplit(pattern, text string, n int) ([]string, error) {
	r, _, err := fits(pattern, text, n)
	if err != nil {
		return nil, err
	}
	return r.Split(text, n), nil
}
