// Package jinja says how what somebody wrote as a Jinja expression is written as a Go template, for hints.
// Nothing is ever evaluated as Jinja.
//
// What has no counterpart is no translation: a hint that might be wrong is worse than none.
package jinja

import (
	"slices"
	"strings"
)

// Expression translates a Jinja expression: x == 'a' and y is defined becomes
// and (eq .x "a") (defined "y"). Dots that are there already stay. False when it is not one, has a part without
// a counterpart, or is the same here.
func Expression(text string) (string, bool) {
	t, ok := parse(text)
	if !ok {
		return "", false
	}
	out := t.text
	if t.piped != "" {
		out = t.piped
	}
	return out, out != strings.TrimSpace(text)
}

// Text translates the expressions between {{ and }} in a text, and leaves the rest. False when one has no
// translation, or none needs one.
func Text(text string) (string, bool) {
	var b strings.Builder
	for rest := text; ; {
		before, after, found := strings.Cut(rest, "{{")
		b.WriteString(before)
		if !found {
			break
		}
		inner, behind, closed := cutAction(after)
		if !closed {
			return "", false
		}
		left, right := "", ""
		if strings.HasPrefix(inner, "-") {
			left, inner = "-", inner[1:]
		}
		if strings.HasSuffix(inner, "-") {
			right, inner = "-", strings.TrimSuffix(inner, "-")
		}
		expr, ok := Expression(inner)
		if !ok && expr == "" {
			return "", false
		}
		b.WriteString("{{" + left + " " + expr + " " + right + "}}")
		rest = behind
	}
	return b.String(), b.String() != text
}

// cutAction splits behind {{ at the }} that closes it, which stands in no quotes.
func cutAction(text string) (inner, behind string, ok bool) {
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case strings.HasPrefix(text[i:], "}}"):
			return text[:i], text[i+2:], true
		}
	}
	return "", "", false
}

// Statement translates what stands between {% and %}: if x becomes if .x. False when there is no counterpart.
func Statement(text string) (string, bool) {
	word, rest, _ := strings.Cut(strings.TrimSpace(strings.Trim(text, "-")), " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "if", "elif":
		expr, ok := Expression(rest)
		return map[string]string{"if": "if ", "elif": "else if "}[word] + expr, ok || expr != ""
	case "else":
		return "else", true
	case "endif", "endfor":
		return "end", true
	case "for":
		names, over, _ := strings.Cut(rest, " in ")
		expr, ok := Expression(over)
		var vars []string
		for name := range strings.SplitSeq(names, ",") {
			vars = append(vars, "$"+strings.TrimSpace(name))
		}
		return "range " + strings.Join(vars, ", ") + " := " + expr, (ok || expr != "") && names != "" && len(vars) < 3
	case "set":
		name, value, found := strings.Cut(rest, "=")
		expr, ok := Expression(value)
		return "$" + strings.TrimSpace(name) + " := " + expr, (ok || expr != "") && found
	}
	return "", false
}

// term is a translated part.
type term struct {
	text string
	// atom: it needs no brackets as an argument.
	atom bool
	// path is that of a variable, such as a.b; empty for anything else.
	path string
	// piped is the form with a bar, which reads better where the part is the whole.
	piped string
	// literal texts are told apart where an operator means something else for them.
	literal bool
}

// arg is the part as an argument.
func (t term) arg() string {
	if t.atom {
		return t.text
	}
	return "(" + t.text + ")"
}

func calling(function string, args ...term) term {
	parts := []string{function}
	for _, a := range args {
		parts = append(parts, a.arg())
	}
	return term{text: strings.Join(parts, " ")}
}

// failure ends the parsing of what has no counterpart.
type failure struct{}

// parser reads tokens. It panics with failure; parse recovers.
type parser struct {
	tokens []token
	at     int
}

func parse(text string) (t term, ok bool) {
	tokens, ok := scan(text)
	if !ok || len(tokens) == 0 {
		return term{}, false
	}
	p := &parser{tokens: tokens}
	defer func() {
		if r := recover(); r != nil {
			if _, expected := r.(failure); !expected {
				panic(r)
			}
			t, ok = term{}, false
		}
	}()
	t = p.ternary()
	return t, p.at == len(p.tokens)
}

func (p *parser) fail() { panic(failure{}) }

func (p *parser) peek() token {
	if p.at < len(p.tokens) {
		return p.tokens[p.at]
	}
	return token{}
}

// take passes over a token when it is one of these words or signs.
func (p *parser) take(words ...string) (string, bool) {
	t := p.peek()
	if t.kind == tokenWord || t.kind == tokenSign {
		if slices.Contains(words, t.text) {
			p.at++
			return t.text, true
		}
	}
	return "", false
}

func (p *parser) expect(sign string) {
	if _, ok := p.take(sign); !ok {
		p.fail()
	}
}

func (p *parser) ternary() term {
	t := p.or()
	if _, ok := p.take("if"); !ok {
		return t
	}
	cond := p.or()
	p.expect("else")
	return calling("ternary", t, p.ternary(), cond)
}

func (p *parser) or() term { return p.chain("or", p.and) }

func (p *parser) and() term { return p.chain("and", p.not) }

// chain reads operands between equal words.
func (p *parser) chain(word string, operand func() term) term {
	all := []term{operand()}
	for {
		if _, ok := p.take(word); !ok {
			break
		}
		all = append(all, operand())
	}
	if len(all) == 1 {
		return all[0]
	}
	return calling(word, all...)
}

func (p *parser) not() term {
	if _, ok := p.take("not"); ok {
		return calling("not", p.not())
	}
	return p.comparison()
}

func (p *parser) comparison() term {
	left := p.sum()
	functions := map[string]string{"==": "eq", "!=": "ne", "<": "lt", ">": "gt", "<=": "le", ">=": "ge"}
	if op, ok := p.take("==", "!=", "<", ">", "<=", ">="); ok {
		t := calling(functions[op], left, p.sum())
		if _, chained := p.take("==", "!=", "<", ">", "<=", ">="); chained {
			p.fail()
		}
		return t
	}
	negated := false
	if next := p.at + 1; p.peek().text == "not" && next < len(p.tokens) && p.tokens[next].text == "in" {
		p.at++
		negated = true
	}
	if _, ok := p.take("in"); ok {
		right := p.sum()
		function := "has"
		if right.literal || left.literal && strings.HasSuffix(right.path, ".stdout") {
			function = "contains"
		}
		t := calling(function, left, right)
		if negated {
			t = calling("not", t)
		}
		return t
	}
	return left
}

func (p *parser) sum() term {
	left := p.product()
	for {
		op, ok := p.take("+", "-", "~")
		if !ok {
			return left
		}
		right := p.product()
		switch {
		case op == "~", op == "+" && (left.literal || right.literal):
			left = calling("printf", term{text: `"%v%v"`, atom: true}, left, right)
		case op == "+":
			left = calling("add", left, right)
		default:
			left = calling("sub", left, right)
		}
	}
}

func (p *parser) product() term {
	left := p.unary()
	functions := map[string]string{"*": "mul", "/": "divf", "//": "div", "%": "mod"}
	for {
		op, ok := p.take("*", "/", "//", "%")
		if !ok {
			return left
		}
		if left.literal {
			p.fail() // a format, or a text repeated
		}
		left = calling(functions[op], left, p.unary())
	}
}

func (p *parser) unary() term {
	if _, ok := p.take("-"); ok {
		t := p.unary()
		if t.path != "" || !t.atom {
			return calling("sub", term{text: "0", atom: true}, t)
		}
		return term{text: "-" + t.text, atom: true}
	}
	t := p.postfix(p.primary())
	for {
		switch {
		case p.peek().text == "|":
			p.at++
			t = p.filter(t)
		case p.peek().text == "is":
			p.at++
			t = p.test(t)
		default:
			return t
		}
	}
}
