package vars

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
)

// Expr is a bare expression: a template pipeline without braces, as in when. The zero Expr is not given.
type Expr struct{ v Value }

// ParseExpr compiles a bare expression. at is where its first letter is written; ExprFromNode also
// counts quotes and blocks.
func ParseExpr(text string, at diag.Position, problems *diag.List) Expr {
	return parseExpr(text, at, formText, problems)
}

// ExprFromNode compiles a bare expression in YAML. A boolean is one, too. Lists are the caller's work.
func ExprFromNode(n *yaml.Node, file string, problems *diag.List) Expr {
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || n.Kind == 0 {
		return Expr{}
	}
	at := diag.Position{File: file, Line: n.Line, Column: n.Column}
	if n.Kind != yaml.ScalarNode {
		hint := `write an expression, such as: eq .role "meta"`
		if n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0 {
			hint = "an expression is written without {{ }}"
		}
		problems.Add(at, hint, "a condition must be an expression")
		return Expr{}
	}
	quoted := scalarForm(n.Style) != formPlain
	if v, err := plainScalar(n.Value); err == nil && !quoted {
		switch v.(type) {
		case nil:
			return Expr{}
		case bool:
			return Expr{Value{&node{at: at, static: true, data: v, raw: n.Value, size: 1}}}
		}
	}
	return parseExpr(n.Value, at, scalarForm(n.Style), problems)
}

func parseExpr(text string, at diag.Position, how form, problems *diag.List) Expr {
	n := &node{at: at, raw: text, size: 1}
	found := len(*problems)
	if strings.TrimSpace(text) == "" {
		problems.Add(at, `write an expression, such as: eq .role "meta"`, "the expression is empty")
		return Expr{Value{n}}
	}
	src := &source{text: bareStart + text + bareEnd, shift: len(bareStart), at: at, form: how}
	n.prog = compile(src, plainDelims(), problems)
	if n.prog != nil && n.prog.single == nil {
		problems.Add(at, "write one pipeline without {{ }}", "%q is not one expression", shorten(text))
	}
	if len(*problems) > found {
		if d, ok := notGo(text, at); ok {
			*problems = append((*problems)[:found], d)
		}
		n.prog, n.static = nil, true
	}
	return Expr{Value{n}}
}

// IsZero says whether the expression was not given.
func (e Expr) IsZero() bool { return e.v.IsZero() }

// String is the expression as written.
func (e Expr) String() string { return e.v.Raw() }

// Position is where the expression stands.
func (e Expr) Position() diag.Position { return e.v.Position() }

// Refs are the variables that the expression uses.
func (e Expr) Refs() []Ref { return e.v.Refs() }

// Eval gives the expression's value.
func (e Expr) Eval(s *Scope) (Data, error) { return e.v.Resolve(s) }

// Bool gives the value of a condition; anything but a boolean is an error.
func (e Expr) Bool(s *Scope) (bool, error) {
	d, err := e.Eval(s)
	if err != nil {
		return false, err
	}
	b, err := d.Bool()
	if err == nil {
		return b, nil
	}
	hint := "compare it, or write not (empty …)"
	if _, ok := d.v.(string); ok {
		hint = "compare it, or make it a boolean with bool"
	}
	return false, &Error{
		Diagnostic: diag.Diagnostic{
			Position: e.v.n.at,
			Problem:  fmt.Sprintf("the condition %q gives %s, and must give true or false", shorten(e.String()), describe(d.v)),
			Hint:     hint,
		},
		Expression: shorten(e.String()),
		cause:      err,
	}
}
