package vars

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/internal/jinja"
)

// rewritten is the hint for an action, or a bare expression, that is Jinja: how it is written here; "" when
// it is none, or has no counterpart.
func (s *source) rewritten(off int, delims [2]string) string {
	if s.shift > 0 {
		text, ok := jinja.Expression(s.bare())
		if !ok {
			return ""
		}
		return "write " + text
	}
	if delims != plainDelims() {
		return ""
	}
	text, ok := jinja.Text(s.action(off, delims))
	if !ok {
		return ""
	}
	return "write " + text
}

// bare is a bare expression as the user wrote it.
func (s *source) bare() string {
	return strings.TrimSpace(strings.TrimSuffix(s.text[s.shift:], bareEnd))
}

// action is the action around a byte of the text, delimiters included; "" when it is not closed.
func (s *source) action(off int, delims [2]string) string {
	off = min(max(off, 0), len(s.text))
	start := strings.LastIndex(s.text[:off], delims[0])
	if start < 0 {
		return ""
	}
	end := strings.Index(s.text[start:], delims[1])
	if end < 0 {
		return ""
	}
	return s.text[start : start+end+len(delims[1])]
}

// infix is an operator that Jinja writes between its operands, outside quotes.
var infix = regexp.MustCompile(`^("[^"]*"|'[^']*'|[^"'` + "`" + `]*)\s(==|!=|<=|>=|<|>|is|in|and|or|if)\s`)

// notGo is the problem of a bare expression that does not compile because it is Jinja.
func notGo(text string, at diag.Position) (diag.Diagnostic, bool) {
	text = strings.TrimSpace(text)
	d := diag.Diagnostic{Position: at, Problem: fmt.Sprintf("%q is not an expression of pegbook", shorten(text))}
	if here, ok := jinja.Expression(text); ok {
		d.Hint = "write " + here
		return d, true
	}
	if infix.MatchString(text) && !strings.ContainsAny(text, "{}") {
		d.Hint = `functions stand before their arguments: and (eq .a 1) (ne .b "x")`
		return d, true
	}
	return d, false
}

// statements are those of Jinja. Other text between {% and %} is left alone: it may be part of a command.
var statements = regexp.MustCompile(`\{%[-+]?\s*((?:if|for|set|else|elif|endif|endfor|raw|macro|include|block)\b[^%]*?)[-+]?%\}|\{%[-+]?\s*(?:if|for|set|else|elif|endif|endfor|raw|macro|include|block)\b`)

// refuseStatements reports a Jinja statement, which a Go template would print as it is. True when there is
// one.
func refuseStatements(src *source, problems *diag.List) bool {
	if !strings.Contains(src.text, "{%") {
		return false
	}
	m := statements.FindStringSubmatchIndex(src.text)
	if m == nil {
		return false
	}
	hint := "templates are Go templates: {{ if .x }}yes{{ else }}no{{ end }}"
	if m[2] >= 0 {
		if here, ok := jinja.Statement(src.text[m[2]:m[3]]); ok {
			hint = "write {{ " + here + " }}"
			if strings.HasPrefix(here, "if ") || strings.HasPrefix(here, "range ") {
				hint += " … {{ end }}"
			}
		}
	}
	problems.Add(src.position(m[0]), hint, "a Jinja statement in %q", shorten(src.text[m[0]:m[1]]))
	return true
}
