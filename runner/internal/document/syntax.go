package document

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/runner/diag"
)

// syntaxError makes a diagnostic of the parser's error. The parser tells no column, and often the line
// where the construct around the mistake began; so the place is searched for: the line behind the
// longest beginning of the text that is good YAML.
func syntaxError(text []byte, file string, err error) diag.Diagnostic {
	if errors.Is(err, errSeveral) {
		_, line, _ := strings.Cut(err.Error(), ":")
		at, _ := strconv.Atoi(line)
		return diag.Diagnostic{Position: diag.Position{File: file, Line: at, Column: 1},
			Problem: "a second document begins here", Hint: "a file holds one document; remove the --- line"}
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	bad := brokenLine(lines)
	line := ""
	if bad < len(lines) {
		line = strings.TrimRight(string(lines[bad]), "\r\n")
	}
	problem, hint := explain(err.Error(), line)
	return diag.Diagnostic{
		Position: diag.Position{File: file, Line: bad + 1, Column: column(line)},
		Problem:  problem, Hint: hint,
	}
}

// column is where the content of a line starts, or its first tab among the indentation.
func column(line string) int {
	for i, c := range line {
		if c != ' ' {
			return i + 1
		}
	}
	return 1
}

// brokenLine is the index of the first line that no beginning of the text gets beyond. A beginning that
// ends inside a quoted text or bracket is bad although the text may be good, so bisecting alone would
// stop too early: the lines behind are tried, a bounded number of them.
func brokenLine(lines [][]byte) int {
	good := func(n int) bool {
		_, err := decode(bytes.Join(lines[:n], nil))
		return err == nil
	}
	lo, hi := 0, len(lines)
	for {
		for hi-lo > 1 {
			if mid := (lo + hi) / 2; good(mid) {
				lo = mid
			} else {
				hi = mid
			}
		}
		further := 0
		for n := lo + 2; n < len(lines) && n <= lo+50; n++ {
			if good(n) {
				further = n
			}
		}
		if further == 0 {
			return min(lo, len(lines)-1)
		}
		lo, hi = further, len(lines)
	}
}

var parserPrefix = regexp.MustCompile(`^yaml: (line \d+: )?`)

// explain says what a parser's message means for the line at fault.
func explain(message, line string) (problem, hint string) {
	message = parserPrefix.ReplaceAllString(message, "")
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	switch {
	case strings.Contains(indent, "\t"):
		return "a tab in the indentation", "indent with spaces"
	case strings.Contains(message, "mapping values are not allowed"):
		return "a colon where no value can stand", "indent it like the line above it, or put quotes around a text that holds a colon and a space"
	case strings.Contains(message, "cannot start any token"):
		return "a character that cannot begin a value", "put quotes around texts that begin with one of @ ` % or a tab"
	case strings.Contains(message, "unknown anchor"):
		return message, "define it above with &name"
	case unclosed(line):
		return "a quote or bracket that opens here is not closed", `close it; a value that begins with a quote or {{ is quoted whole: "{{ .name }}/file"`
	case strings.Contains(message, "did not find expected"):
		return "this line does not fit the lines above it", "entries of one mapping or list begin in the same column"
	}
	return "not YAML: " + message, ""
}

// unclosed says whether quotes or brackets of a line do not match.
func unclosed(line string) bool {
	depth, quote := 0, rune(0)
	for _, c := range line {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		}
	}
	return quote != 0 || depth != 0
}
