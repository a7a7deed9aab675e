package vars

import (
	"maps"
	"slices"
	"strings"
	"text/template/parse"

	"github.com/pegbook/pegbook/runner/diag"
)

// call compiles a use of a function.
func (c *compiler) call(id *parse.IdentifierNode, args []argument, lenient bool) expression {
	off := int(id.Pos)
	fn := c.lib[id.Ident]
	if fn == nil {
		c.unknownFunction(off, id.Ident, len(args) > 0)
		c.compileAll(args, true) // for their own problems
		return constant{}
	}
	if len(args) < fn.min || fn.max >= 0 && len(args) > fn.max {
		c.problem(off, "usage: "+fn.Usage, "%s takes %s, not %d", fn.Name, fn.arity(), len(args))
		c.compileAll(args, true)
		return constant{}
	}
	switch fn.form {
	case formAnd, formOr:
		return c.logic(off, fn.form, args)
	case formDefault:
		value := args[1].compile(true)
		c.conditional++
		fallback := args[0].compile(lenient)
		c.conditional--
		return defaultExpression{value: value, fallback: fallback}
	case formCoalesce:
		return coalesceExpression{c.compileAll(args, true), off}
	case formEmpty:
		return emptyExpression{args[0].compile(true), off}
	case formDefined:
		return c.defined(args[0])
	case formIndex:
		return c.index(off, args, lenient)
	}
	e := &callExpression{fn: fn, off: off, lenient: lenient, args: make([]expression, len(args)), offs: make([]int, len(args))}
	for i, a := range args {
		e.args[i], e.offs[i] = a.compile(false), a.off
	}
	return e
}

// index may be undefined where its caller copes: then so may what it looks into, but not the keys.
func (c *compiler) index(off int, args []argument, lenient bool) expression {
	e := indexExpression{base: args[0].compile(lenient), keys: c.compileAll(args[1:], false), off: off, lenient: lenient}
	for _, a := range args[1:] {
		e.offs = append(e.offs, a.off)
	}
	return e
}

func (c *compiler) compileAll(args []argument, lenient bool) []expression {
	out := make([]expression, len(args))
	for i, a := range args {
		out[i] = a.compile(lenient)
	}
	return out
}

func (c *compiler) logic(off int, form functionForm, args []argument) expression {
	e := logicExpression{or: form == formOr, off: off}
	for i, a := range args {
		if i == 1 {
			c.conditional++
		}
		e.args = append(e.args, a.compile(false))
	}
	if len(args) > 1 {
		c.conditional--
	}
	return e
}

// defined takes a path as a text, or the variable itself. What another function computes is a path.
func (c *compiler) defined(a argument) expression {
	node := a.node
	for {
		p, ok := node.(*parse.PipeNode)
		if !ok || len(p.Cmds) != 1 || len(p.Cmds[0].Args) != 1 {
			break
		}
		node = p.Cmds[0].Args[0]
	}
	if s, ok := node.(*parse.StringNode); ok {
		path := splitPath(s.Text)
		if path == nil {
			c.problem(a.off, `write the path as "a.b"`, "%q is no variable path", s.Text)
			return constant{}
		}
		c.guarded = append(c.guarded, path)
		c.prog.refs = append(c.prog.refs, use{path, a.off, true, c.conditional > 0})
		return definedExpression{fieldExpression{base: scopeExpression{}, path: path, off: a.off, lenient: true}}
	}
	if isAccess(node) {
		before := len(c.prog.refs)
		e := definedExpression{a.compile(true)}
		for _, r := range c.prog.refs[before:] {
			c.guarded = append(c.guarded, r.path)
		}
		return e
	}
	return definedPathExpression{a.compile(false), a.off}
}

// isAccess says whether a node reaches for a value, as opposed to computing one.
func isAccess(n parse.Node) bool {
	switch n := n.(type) {
	case *parse.FieldNode, *parse.VariableNode, *parse.ChainNode, *parse.DotNode:
		return true
	case *parse.PipeNode:
		return len(n.Cmds) == 1 && isAccess(n.Cmds[0])
	case *parse.CommandNode:
		id, ok := n.Args[0].(*parse.IdentifierNode)
		return ok && (id.Ident == "index" || id.Ident == "hostvar")
	}
	return false
}

// splitPath reads "a.b.c", with or without a dot in front; nil when it is no path.
func splitPath(text string) []string {
	path := strings.Split(strings.TrimPrefix(text, "."), ".")
	for _, p := range path {
		if p == "" {
			return nil
		}
	}
	return path
}

// unknownFunction explains a word that is no function: most often a variable without its dot, unless it
// is given arguments.
func (c *compiler) unknownFunction(off int, name string, called bool) {
	hint := "a variable is written ." + name
	if instead, ok := refusedFunctions()[name]; ok {
		hint = instead
	} else if here := c.prog.src.rewritten(off, c.prog.delims); here != "" {
		hint = here
	} else if near := diag.Nearest(name, slices.Sorted(maps.Keys(c.lib))); called && near != "" {
		hint += "; the nearest function is " + near
	}
	c.problem(off, hint, "no function is called %q", name)
}
