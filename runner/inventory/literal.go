package inventory

import (
	"math/big"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// iniValue reads a value of an INI inventory as Ansible does: a Python literal (number, quoted text, True,
// False, None, list, tuple or dictionary) is that value, everything else is text.
func iniValue(text string, line, column int) *yaml.Node {
	p := literalReader{text: text, line: line, column: column}
	p.space()
	n := p.value(0)
	p.space()
	if n == nil || p.at != len(text) {
		return p.node(text, yaml.DoubleQuotedStyle)
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

func (p *literalReader) value(depth int) *yaml.Node {
	if p.at >= len(p.text) || depth > 50 {
		return nil
	}
	switch c := p.text[p.at]; c {
	case '"', '\'':
		return p.quoted(c)
	case '[':
		return p.list(']', depth)
	case '(':
		return p.list(')', depth)
	case '{':
		return p.mapping(depth)
	}
	start := p.at
	for p.at < len(p.text) && !strings.ContainsRune(" \t\r\n,:]})", rune(p.text[p.at])) {
		p.at++
	}
	return p.word(p.text[start:p.at])
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

func (p *literalReader) quoted(quote byte) *yaml.Node {
	var out strings.Builder
	start := p.at
	for i := p.at + 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == quote:
			p.at = i + 1
			n := p.node(out.String(), yaml.DoubleQuotedStyle)
			n.Column = p.column + start
			return n
		case c == '\\' && i+1 < len(p.text):
			i++
			out.WriteString(unescape(p.text[i]))
		default:
			out.WriteByte(c)
		}
	}
	return nil
}

// unescape is what Python makes of a backslash and a character; rarer escapes stay as they are.
func unescape(c byte) string {
	switch c {
	case 'n':
		return "\n"
	case 't':
		return "\t"
	case 'r':
		return "\r"
	case '\\', '\'', '"':
		return string(c)
	}
	return "\\" + string(c)
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
