package builtin

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// expansion is a text with references to the groups of a match, as Python's re.sub and Match.expand
// read it: \1, \g<1>, \g<name>, and the escapes of control characters.
type expansion []expanded

// expanded is either text or, where text is empty, a group.
type expanded struct {
	text  string
	group int
}

// parseExpansion reads the replacement that belongs to an expression. arg is the argument that holds it.
func parseExpansion(arg, text string, re *regexp.Regexp) (expansion, error) {
	r := &expansionReader{arg: arg, in: text, re: re}
	for r.in != "" {
		i := strings.IndexByte(r.in, '\\')
		if i < 0 {
			i = len(r.in)
		}
		r.write(r.in[:i])
		if r.in = r.in[i:]; r.in == "" {
			break
		}
		if err := r.escape(); err != nil {
			return nil, err
		}
	}
	return r.out, nil
}

type expansionReader struct {
	arg string
	in  string
	re  *regexp.Regexp
	out expansion
}

func (r *expansionReader) write(text string) {
	if text != "" {
		r.out = append(r.out, expanded{text: text})
	}
}

func (r *expansionReader) wrong(format string, args ...any) error {
	return &modules.ArgumentError{Arg: r.arg, Problem: r.arg + ": " + fmt.Sprintf(format, args...),
		Hint: `write \1 or \g<name> for a group of the expression, and a backslash itself twice`}
}

// controls are the escapes that stand for a character.
const (
	controls  = `afnrtv\`
	controlOf = "\a\f\n\r\t\v\\"
)

// escape reads a backslash and what belongs to it.
func (r *expansionReader) escape() error {
	if len(r.in) < 2 {
		return r.wrong("it ends with a backslash")
	}
	c := r.in[1]
	switch {
	case c == 'g':
		return r.named()
	case c == '0':
		return r.octal(len(regexp.MustCompile(`^\\[0-7]{1,3}`).FindString(r.in)))
	case c >= '1' && c <= '9':
		if octal := regexp.MustCompile(`^\\[0-3][0-7]{2}`).FindString(r.in); octal != "" {
			return r.octal(len(octal))
		}
		digits := regexp.MustCompile(`^\\[0-9]{1,2}`).FindString(r.in)
		r.in = r.in[len(digits):]
		return r.group(digits[1:])
	case strings.IndexByte(controls, c) >= 0:
		r.write(controlOf[strings.IndexByte(controls, c):][:1])
	case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
		return r.wrong(`\%c means nothing`, c)
	default: // Python leaves the backslash
		r.write(r.in[:2])
	}
	r.in = r.in[2:]
	return nil
}

func (r *expansionReader) octal(length int) error {
	value, err := strconv.ParseUint(r.in[1:length], 8, 16)
	if err != nil {
		return r.wrong("%s is no character", r.in[:length])
	}
	r.write(string(rune(value)))
	r.in = r.in[length:]
	return nil
}

func (r *expansionReader) named() error {
	found := regexp.MustCompile(`^\\g<(\w+)>`).FindStringSubmatch(r.in)
	if found == nil {
		return r.wrong(`\g has no name behind it`)
	}
	r.in = r.in[len(found[0]):]
	return r.group(found[1])
}

// group adds a group by its number or name.
func (r *expansionReader) group(name string) error {
	n, err := strconv.Atoi(name)
	if err != nil {
		n = slices.Index(r.re.SubexpNames(), name)
	}
	if n < 0 || n > r.re.NumSubexp() {
		return r.wrong("the expression has no group %s", name)
	}
	r.out = append(r.out, expanded{group: n})
	return nil
}

// expand writes the text for one match, given as FindSubmatchIndex gives it. A group that took no part
// is empty.
func (e expansion) expand(to []byte, src []byte, match []int) []byte {
	for _, piece := range e {
		switch {
		case piece.text != "":
			to = append(to, piece.text...)
		case match[2*piece.group] >= 0:
			to = append(to, src[match[2*piece.group]:match[2*piece.group+1]]...)
		}
	}
	return to
}
