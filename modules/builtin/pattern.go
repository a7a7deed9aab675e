package builtin

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// patternKind is what a Python regular expression is applied to: it decides what $ means.
type patternKind int

const (
	// patternOfLine is searched in one line that ends with its line break.
	patternOfLine patternKind = iota
	// patternOfLines is Python's re.MULTILINE over a text.
	patternOfLines
	// patternOfText is searched in a whole text, where a dot matches line breaks too (re.DOTALL).
	patternOfText
)

// compilePattern makes a regular expression as users of Ansible write it, Python's, into Go's. What RE2
// cannot do (looking around, groups referred back to) is refused, never approximated. arg is the
// argument that holds it.
func compilePattern(arg, pattern string, kind patternKind) (*regexp.Regexp, error) {
	t := &patternReader{arg: arg, in: []rune(pattern), kind: kind}
	if err := t.read(); err != nil {
		return nil, err
	}
	flags := map[patternKind]string{patternOfLines: "(?m)", patternOfText: "(?s)"}[kind]
	re, err := regexp.Compile(flags + t.out.String())
	if err != nil {
		return nil, &modules.ArgumentError{Arg: arg, Problem: fmt.Sprintf("%s: %v", arg, err), Hint: "write a regular expression"}
	}
	return re, nil
}

// patternReader rewrites one pattern.
type patternReader struct {
	arg   string
	in    []rune
	kind  patternKind
	at    int
	lines bool // (?m) was written in the pattern itself
	out   strings.Builder
}

func (t *patternReader) refuse(what, hint string) error {
	return &modules.ArgumentError{Arg: t.arg, Problem: fmt.Sprintf("%s has %s at character %d", t.arg, what, t.at+1), Hint: hint}
}

func (t *patternReader) rest() string { return string(t.in[t.at:]) }

func (t *patternReader) read() error {
	for t.at < len(t.in) {
		var err error
		switch c := t.in[t.at]; {
		case c == '\\':
			err = t.escape(false)
		case c == '[':
			err = t.class()
		case c == '(' && strings.HasPrefix(t.rest(), "(?"):
			err = t.group()
		case c == '$':
			t.dollar()
		case c == '{' && strings.HasPrefix(t.rest(), "{,"):
			t.out.WriteString("{0,") // which RE2 would take for text
			t.at += 2
		default:
			t.out.WriteRune(c)
			t.at++
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dollar is the end, or the place before a line break that ends the text.
func (t *patternReader) dollar() {
	t.at++
	switch {
	case t.kind == patternOfLines || t.lines:
		t.out.WriteString("$")
	case t.kind == patternOfLine:
		t.out.WriteString("(?m:$)")
	default:
		t.out.WriteString(`(?:\n?\z)`)
	}
}

const (
	instead     = `catch the text around it in groups and put it back with \1`
	spaces      = `\t-\r ` // Python's \s has the vertical tab
	pythonFlags = "aiLmsux"
)

// group rewrites what follows "(?".
func (t *patternReader) group() error {
	rest := t.rest()
	for start, what := range map[string]string{"(?=": "a lookahead", "(?!": "a negative lookahead", "(?<=": "a lookbehind",
		"(?<!": "a negative lookbehind", "(?P=": "a reference to a group", "(?(": "a condition on a group", "(?>": "an atomic group"} {
		if strings.HasPrefix(rest, start) {
			return t.refuse(what+" "+strconv.Quote(start), "regular expressions here have none; "+instead)
		}
	}
	if strings.HasPrefix(rest, "(?#") {
		end := strings.IndexByte(rest, ')')
		if end < 0 {
			return t.refuse("a comment without an end", `write ")"`)
		}
		t.at += len([]rune(rest[:end+1]))
		return nil
	}
	flags := regexp.MustCompile(`^\(\?([` + pythonFlags + `]*)(-[ims]+)?([:)])`).FindStringSubmatch(rest)
	if flags == nil {
		t.out.WriteString("(?")
		t.at += 2
		return nil
	}
	if strings.Contains(flags[1], "x") {
		return t.refuse("the flag x", "write the expression without blanks and comments")
	}
	kept := strings.NewReplacer("a", "", "L", "", "u", "").Replace(flags[1])
	t.lines = t.lines || strings.Contains(kept, "m") && flags[3] == ")"
	if kept+flags[2] != "" || flags[3] == ":" {
		t.out.WriteString("(?" + kept + flags[2] + flags[3])
	}
	t.at += len(flags[0])
	return nil
}

// class rewrites a bracket expression.
func (t *patternReader) class() error {
	t.out.WriteByte('[')
	t.at++
	if t.at < len(t.in) && t.in[t.at] == '^' {
		t.out.WriteByte('^')
		t.at++
	}
	for first := true; t.at < len(t.in); first = false {
		switch c := t.in[t.at]; {
		case c == ']' && !first:
			t.out.WriteByte(']')
			t.at++
			return nil
		case c == '\\':
			if err := t.escape(true); err != nil {
				return err
			}
			continue
		case c == '[' || c == ']': // RE2 would read [:alpha:]
			t.out.WriteByte('\\')
			t.out.WriteRune(c)
		default:
			t.out.WriteRune(c)
		}
		t.at++
	}
	return t.refuse("a bracket without an end", `write "]"`)
}

// escape rewrites a backslash and what belongs to it.
func (t *patternReader) escape(inClass bool) error {
	if t.at+1 >= len(t.in) {
		return t.refuse("a backslash at its end", `write "\\\\"`)
	}
	c := t.in[t.at+1]
	switch {
	case c >= '0' && c <= '9':
		return t.number(inClass)
	case c == 'x' || c == 'u' || c == 'U':
		return t.codePoint(map[rune]int{'x': 2, 'u': 4, 'U': 8}[c])
	case c < 0x80 && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'):
		text, ok := t.letter(c, inClass)
		if !ok {
			return t.refuse(fmt.Sprintf(`\%c`, c), "that means nothing in a regular expression; a backslash itself is written twice")
		}
		t.out.WriteString(text)
	default:
		t.out.WriteString(regexp.QuoteMeta(string(c)))
		if inClass && strings.ContainsRune("-^&~", c) {
			t.dashed(c)
		}
	}
	t.at += 2
	return nil
}

// dashed puts the backslash back before a sign that QuoteMeta leaves alone and a class does not.
func (t *patternReader) dashed(c rune) {
	text := t.out.String()
	if strings.HasSuffix(text, `\`+string(c)) {
		return
	}
	t.out.Reset()
	t.out.WriteString(strings.TrimSuffix(text, string(c)) + `\` + string(c))
}

// letter is what a backslash with a letter means; false: nothing.
func (t *patternReader) letter(c rune, inClass bool) (string, bool) {
	switch {
	case c == 's' && inClass:
		return spaces, true
	case c == 's':
		return "[" + spaces + "]", true
	case c == 'S' && !inClass:
		return "[^" + spaces + "]", true
	case c == 'b' && inClass:
		return `\x08`, true
	case c == 'Z' && !inClass:
		return `\z`, true
	case strings.ContainsRune("AbB", c):
		return `\` + string(c), !inClass
	case c == 'w' && t.kind != patternOfLine: // of text, Python's are Unicode's
		return map[bool]string{false: `[\p{L}\p{N}_]`, true: `\p{L}\p{N}_`}[inClass], true
	case c == 'W' && t.kind != patternOfLine && !inClass:
		return `[^\p{L}\p{N}_]`, true
	case c == 'd' && t.kind != patternOfLine:
		return `\p{Nd}`, true
	case c == 'D' && t.kind != patternOfLine:
		return `\P{Nd}`, true
	}
	return `\` + string(c), strings.ContainsRune("dDwWSafnrtv", c)
}

// number is an octal character, or a group that is referred back to.
func (t *patternReader) number(inClass bool) error {
	end := t.at + 1
	for end < len(t.in) && end < t.at+4 && t.in[end] >= '0' && t.in[end] <= '7' {
		end++
	}
	digits := string(t.in[t.at+1 : end])
	if digits == "" || digits[0] != '0' && len(digits) < 3 && !inClass {
		return t.refuse("a reference to a group in the expression", "regular expressions here have none; write what the group matches again")
	}
	value, err := strconv.ParseUint(digits, 8, 16)
	if err != nil {
		return t.refuse(`\`+digits, "write an octal number")
	}
	fmt.Fprintf(&t.out, `\x{%x}`, value)
	t.at = end
	return nil
}

func (t *patternReader) codePoint(digits int) error {
	end := t.at + 2 + digits
	if end > len(t.in) {
		return t.refuse("a character number that is too short", fmt.Sprintf("write %d hexadecimal digits", digits))
	}
	value, err := strconv.ParseUint(string(t.in[t.at+2:end]), 16, 32)
	if err != nil {
		return t.refuse("a wrong character number", fmt.Sprintf("write %d hexadecimal digits", digits))
	}
	fmt.Fprintf(&t.out, `\x{%x}`, value)
	t.at = end
	return nil
}
