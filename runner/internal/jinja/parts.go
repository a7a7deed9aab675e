package jinja

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenNumber
	tokenText
	tokenSign
)

type token struct {
	kind tokenKind
	text string // of a text: its content
}

var lexemes = regexp.MustCompile(`^(?:([A-Za-z_]\w*)|(\d+(?:\.\d+)?)|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(==|!=|<=|>=|//|[-+*/%~<>|.,:()\[\]{}]))`)

// scan splits text into tokens; false when something in it is none of Jinja's.
func scan(text string) ([]token, bool) {
	var out []token
	for {
		text = strings.TrimLeft(text, " \t\r\n")
		if text == "" {
			return out, true
		}
		m := lexemes.FindStringSubmatch(text)
		if m == nil || len(out) > 500 {
			return nil, false
		}
		text = text[len(m[0]):]
		switch {
		case m[1] != "":
			out = append(out, token{tokenWord, m[1]})
		case m[2] != "":
			out = append(out, token{tokenNumber, m[2]})
		case m[3] != "":
			content, ok := content(m[3])
			if !ok {
				return nil, false
			}
			out = append(out, token{tokenText, content})
		default:
			out = append(out, token{tokenSign, m[4]})
		}
	}
}

// content is what a quoted text holds.
func content(quoted string) (string, bool) {
	inner := quoted[1 : len(quoted)-1]
	inner = strings.ReplaceAll(inner, `\'`, `'`)
	if quoted[0] == '\'' {
		inner = strings.ReplaceAll(strings.ReplaceAll(inner, `\"`, `"`), `"`, `\"`)
	}
	text, err := strconv.Unquote(`"` + inner + `"`)
	if err != nil { // a regular expression with its backslashes
		return quoted[1 : len(quoted)-1], !strings.Contains(inner, "\n")
	}
	return text, true
}

// quoted is a text as a Go template has it.
func quoted(text string) term {
	out := strconv.Quote(text)
	if strings.Contains(text, `\`) && !strings.Contains(text, "`") {
		out = "`" + text + "`"
	}
	return term{text: out, atom: true, literal: true}
}

func (p *parser) primary() term {
	t := p.peek()
	p.at++
	switch t.kind {
	case tokenNumber:
		return term{text: t.text, atom: true}
	case tokenText:
		return quoted(t.text)
	case tokenWord:
		return p.word(t.text)
	case tokenSign:
		switch t.text {
		case "(":
			inner := p.ternary()
			p.expect(")")
			inner.piped = ""
			return inner
		case "[":
			return calling("list", p.list("]")...)
		case "{":
			return p.mapping()
		case ".": // half of the way is gone already
			if name := p.peek(); name.kind == tokenWord {
				p.at++
				return term{text: "." + name.text, atom: true, path: name.text}
			}
		}
	case tokenEnd:
	}
	p.fail()
	return term{}
}

func (p *parser) word(name string) term {
	switch name {
	case "true", "True", "false", "False":
		return term{text: strings.ToLower(name), atom: true}
	case "none", "None", "and", "or", "in", "is", "if", "else", "not", "end", "with", "define", "template", "block", "nil":
		p.fail()
	}
	if p.peek().text == "(" && p.peek().kind == tokenSign {
		p.at++
		return p.global(name, p.list(")"))
	}
	return term{text: "." + name, atom: true, path: name}
}

// list reads what stands between commas, and the closing sign.
func (p *parser) list(closing string) []term {
	var out []term
	for {
		if _, ok := p.take(closing); ok {
			return out
		}
		if len(out) > 0 {
			p.expect(",")
			if _, ok := p.take(closing); ok {
				return out
			}
		}
		out = append(out, p.ternary())
	}
}

func (p *parser) mapping() term {
	var out []term
	for {
		if _, ok := p.take("}"); ok {
			return calling("dict", out...)
		}
		if len(out) > 0 {
			p.expect(",")
		}
		out = append(out, p.ternary())
		p.expect(":")
		out = append(out, p.ternary())
	}
}

var fieldName = regexp.MustCompile(`^[A-Za-z_]\w*$`)

// postfix reads .field, [key] and .method(…).
func (p *parser) postfix(t term) term {
	for {
		switch p.peek().text {
		case ".":
			if p.peek().kind != tokenSign {
				return t
			}
			p.at++
			name := p.peek()
			p.at++
			if name.kind == tokenNumber {
				t = calling("index", t, term{text: name.text, atom: true})
				continue
			}
			if name.kind != tokenWord {
				p.fail()
			}
			if _, ok := p.take("("); ok {
				t = p.method(t, name.text, p.list(")"))
				continue
			}
			t = field(t, name.text)
		case "[":
			if p.peek().kind != tokenSign {
				return t
			}
			p.at++
			t = p.subscript(t)
		default:
			return t
		}
	}
}

func field(t term, name string) term {
	out := term{text: t.arg() + "." + name, atom: true}
	if t.path != "" {
		out.path = t.path + "." + name
	}
	return out
}

func (p *parser) subscript(t term) term {
	key := p.peek()
	if key.kind == tokenText && fieldName.MatchString(key.text) && p.at+1 < len(p.tokens) && p.tokens[p.at+1].text == "]" {
		p.at += 2
		return field(t, key.text)
	}
	if _, ok := p.take("-"); ok {
		if n := p.peek(); n.text != "1" {
			p.fail()
		}
		p.at++
		p.expect("]")
		return calling("last", t)
	}
	index := p.ternary()
	p.expect("]") // a slice, which has a colon, has no counterpart in one function
	return calling("index", t, index)
}

// piping is a call whose last argument is the value: at the top it is written with a bar.
func piping(value term, function string, args ...term) term {
	t := calling(function, append(slices.Clone(args), value)...)
	left := value.text
	if value.piped != "" {
		left = value.piped
	}
	t.piped = left + " | " + calling(function, args...).text
	return t
}
