package inventory

import (
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// iniValue reads a value of an INI inventory as Ansible does: a Python literal (number, quoted text, True,
// False, None, list, tuple or dictionary) is that value, everything else is text.
func iniValue(text string, line, column int) *yaml.Node {
	p := literalReader{text: text, line: line, column: column}
	p.space()
	n := p.value(0)
	if n != nil && p.next(',') {
		n = p.tuple(n)
	}
	p.space()
	if n == nil || p.at != len(text) && text[p.at] != '#' { // Python knows comments, too
		p.at = 0
		return p.node(text, yaml.DoubleQuotedStyle)
	}
	return n
}

// tuple reads what follows the first value and comma of a tuple without brackets.
func (p *literalReader) tuple(first *yaml.Node) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Line: first.Line, Column: first.Column, Content: []*yaml.Node{first}}
	for p.space(); p.at < len(p.text) && p.text[p.at] != '#'; p.space() {
		item := p.value(0)
		if item == nil {
			return nil
		}
		n.Content = append(n.Content, item)
		if !p.next(',') {
			break
		}
	}
	return n
}

// literalReader reads Python literals. Its methods give nil for what is none.
type literalReader struct {
	text         string
	at           int
	line, column int
}

func (p *literalReader) node(value string, style yaml.Style) *yaml.Node {
	tag := "!!str"
	if style == 0 {
		tag = ""
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Style: style, Value: value, Line: p.line, Column: p.column + p.at}
}

func (p *literalReader) space() {
	for p.at < len(p.text) && strings.ContainsRune(" \t\r\n", rune(p.text[p.at])) {
		p.at++
	}
}

// next says whether the text goes on with c, and steps over it.
func (p *literalReader) next(c byte) bool {
	p.space()
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

// value reads one literal; its node stands where it begins.
func (p *literalReader) value(depth int) *yaml.Node {
	start := p.at
	n := p.literal(depth)
	if n != nil {
		n.Column = p.column + start
	}
	return n
}

func (p *literalReader) literal(depth int) *yaml.Node {
	if p.at >= len(p.text) || depth > 50 {
		return nil
	}
	switch c := p.text[p.at]; c {
	case '"', '\'':
		return p.quoted(false)
	case '[':
		return p.list(']', depth)
	case '(':
		return p.list(')', depth)
	case '{':
		return p.mapping(depth)
	}
	start := p.at
	for p.at < len(p.text) && !strings.ContainsRune(" \t\r\n,:]})#", rune(p.text[p.at])) {
		if c := p.text[p.at]; c == '"' || c == '\'' {
			return p.prefixed(strings.ToLower(p.text[start:p.at]))
		}
		p.at++
	}
	return p.word(p.text[start:p.at])
}

// prefixed is a text with letters before the quote: r takes backslashes as they are.
func (p *literalReader) prefixed(letters string) *yaml.Node {
	switch letters {
	case "u", "b":
		return p.quoted(false)
	case "r", "br", "rb":
		return p.quoted(true)
	}
	return nil
}

// word is a number or constant.
func (p *literalReader) word(word string) *yaml.Node {
	switch word {
	case "True":
		return p.node("true", 0)
	case "False":
		return p.node("false", 0)
	case "None":
		return p.node("null", 0)
	}
	digits := strings.TrimLeft(word, "+-")
	if digits == "" || len(word)-len(digits) > 1 || !(digits[0] >= '0' && digits[0] <= '9' || digits[0] == '.') {
		return nil
	}
	if i, ok := new(big.Int).SetString(word, 0); ok {
		if len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' && i.Sign() != 0 {
			return nil // 0755 is no number in Python
		}
		return p.node(i.String(), 0)
	}
	f, err := strconv.ParseFloat(word, 64)
	if err != nil || strings.ContainsAny(word, "xXpP") {
		return nil
	}
	return p.node(plainFloat(f), 0)
}

// plainFloat writes a number so that YAML reads it as a floating one.
func plainFloat(f float64) string {
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// quoted is a text in quotes, and those that follow it: Python joins them.
func (p *literalReader) quoted(raw bool) *yaml.Node {
	var out strings.Builder
	for p.at < len(p.text) && (p.text[p.at] == '"' || p.text[p.at] == '\'') {
		if !p.quote(&out, raw) {
			return nil
		}
		raw = false
		end := p.at
		if p.space(); p.at == len(p.text) || p.text[p.at] != '"' && p.text[p.at] != '\'' {
			p.at = end
			break
		}
	}
	return p.node(out.String(), yaml.DoubleQuotedStyle)
}

// quote reads one text with its quotes. False: it is not closed, or has an escape that is none.
func (p *literalReader) quote(out *strings.Builder, raw bool) bool {
	quote := p.text[p.at]
	for p.at++; p.at < len(p.text); {
		switch c := p.text[p.at]; {
		case c == quote:
			p.at++
			return true
		case c == '\\' && raw && p.at+1 < len(p.text):
			out.WriteString(p.text[p.at : p.at+2])
			p.at += 2
		case c == '\\' && p.at+1 < len(p.text):
			text, n, ok := unescape(p.text[p.at+1:])
			if !ok {
				return false
			}
			out.WriteString(text)
			p.at += 1 + n
		default:
			out.WriteByte(c)
			p.at++
		}
	}
	return false
}

// unescape is what Python makes of a backslash and what follows it, and how many bytes that are. An escape
// that Python does not know stays as it is.
func unescape(after string) (text string, n int, ok bool) {
	switch c := after[0]; c {
	case 'a', 'b', 'f', 'n', 'r', 't', 'v':
		return string("\a\b\f\n\r\t\v"[strings.IndexByte("abfnrtv", c)]), 1, true
	case '\\', '\'', '"':
		return string(c), 1, true
	case 'N':
		return "", 0, false // by the name of the character
	case 'x', 'u', 'U':
		digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
		if len(after) <= digits {
			return "", 0, false
		}
		r, err := strconv.ParseUint(after[1:1+digits], 16, 32)
		return string(rune(r)), 1 + digits, err == nil && r <= unicode.MaxRune //nolint:gosec // the bound is beside it
	case '0', '1', '2', '3', '4', '5', '6', '7':
		for n = 1; n < 3 && n < len(after) && after[n] >= '0' && after[n] <= '7'; n++ {
		}
		r, err := strconv.ParseUint(after[:n], 8, 16)
		return string(rune(r)), n, err == nil
	}
	_, size := utf8.DecodeRuneInString(after)
	return "\\" + after[:size], size, true
}

func (p *literalReader) list(end byte, depth int) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Line: p.line, Column: p.column + p.at}
	p.at++
	comma := false
	for !p.next(end) {
		p.space()
		item := p.value(depth + 1)
		if item == nil {
			return nil
		}
		n.Content = append(n.Content, item)
		if p.next(',') {
			comma = true
		} else if !p.next(end) {
			return nil
		} else {
			break
		}
	}
	if end == ')' && len(n.Content) == 1 && !comma {
		return n.Content[0] // brackets only
	}
	return n
}

func (p *literalReader) mapping(depth int) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: p.line, Column: p.column + p.at}
	p.at++
	for !p.next('}') {
		p.space()
		key := p.value(depth + 1)
		if key == nil || key.Kind != yaml.ScalarNode || !p.next(':') {
			return nil
		}
		p.space()
		value := p.value(depth + 1)
		if value == nil {
			return nil
		}
		n.Content = append(n.Content, key, value)
		if !p.next(',') {
			if !p.next('}') {
				return nil
			}
			break
		}
	}
	return lastWins(n)
}
