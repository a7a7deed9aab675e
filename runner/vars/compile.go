package vars

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"

	"github.com/pegbook/pegbook/runner/diag"
)

// A bare expression is compiled as an action between these.
const (
	bareStart = "{{ "
	bareEnd   = " }}"
)

// compiler turns parse trees into a program. It reports every problem it finds.
type compiler struct {
	prog     *program
	problems *diag.List
	lib      map[string]*function
	names    []string // template variables in reach; the index is the slot
	slots    int
	// dotIsScope and rootIsScope say whether . and $ are all variables here.
	dotIsScope, rootIsScope bool
	conditional             int
	guarded                 [][]string // paths that the text asks defined about
}

// compile parses a text that holds actions. On a problem it returns nil.
func compile(src *source, delims [2]string, problems *diag.List) *program {
	return compileWith(library(), src, delims, problems)
}

func compileWith(lib map[string]*function, src *source, delims [2]string, problems *diag.List) *program {
	if tooDeep(src, delims, problems) {
		return nil
	}
	trees, err := parseTrees(src.text, delims)
	if err != nil {
		at, problem, hint := syntaxProblem(src, delims, err)
		problems.Add(at, hint, "%s", problem)
		return nil
	}
	found := len(*problems)
	p := &program{src: src, delims: delims, lib: lib}
	c := &compiler{prog: p, problems: problems, lib: lib}
	if len(trees) > 1 {
		p.named = map[string]*routine{}
	}
	for name := range trees {
		if name != "" {
			p.named[name] = nil // known before bodies are compiled: they may call one another
		}
	}
	c.mainTree(trees[""])
	for _, name := range slices.Sorted(maps.Keys(trees)) {
		if name != "" {
			p.named[name] = c.routine(trees[name])
		}
	}
	if len(*problems) > found {
		return nil
	}
	c.markGuarded()
	return p
}

func parseTrees(text string, delims [2]string) (trees map[string]*parse.Tree, err error) {
	trees = map[string]*parse.Tree{}
	t := parse.New("")
	t.Mode = parse.SkipFuncCheck // functions are checked with a position of their own
	_, err = t.Parse(text, delims[0], delims[1], trees)
	return trees, err
}

func (c *compiler) mainTree(tree *parse.Tree) {
	c.dotIsScope, c.rootIsScope = true, true
	if tree == nil || tree.Root == nil {
		return
	}
	c.prog.body = c.list(tree.Root)
	c.prog.slots = c.slots
	if len(tree.Root.Nodes) == 1 && len(c.prog.body) == 1 {
		if a, ok := c.prog.body[0].(printStatement); ok {
			c.prog.single = a.value
		}
	}
}

func (c *compiler) routine(tree *parse.Tree) *routine {
	c.names, c.slots = nil, 0
	c.dotIsScope, c.rootIsScope = false, false
	body := c.list(tree.Root)
	return &routine{body: body, slots: c.slots}
}

func (c *compiler) problem(off int, hint, format string, args ...any) {
	c.problems.Add(c.prog.position(off), hint, format, args...)
}

// list compiles the nodes of a body; template variables declared in it end with it.
func (c *compiler) list(l *parse.ListNode) []statement {
	if l == nil {
		return nil
	}
	mark := len(c.names)
	var out []statement
	for _, n := range l.Nodes {
		if s := c.statement(n); s != nil {
			out = append(out, s)
		}
	}
	c.names = c.names[:mark]
	return out
}

func (c *compiler) statement(n parse.Node) statement {
	switch n := n.(type) {
	case *parse.TextNode:
		return textStatement(n.Text)
	case *parse.ActionNode:
		value := c.pipe(n.Pipe, false)
		if len(n.Pipe.Decl) > 0 {
			return quietStatement{value}
		}
		return printStatement{value, int(n.Pipe.Pos)}
	case *parse.IfNode:
		return c.branch(&n.BranchNode, false)
	case *parse.WithNode:
		return c.branch(&n.BranchNode, true)
	case *parse.RangeNode:
		return c.rangeStatement(n)
	case *parse.TemplateNode:
		if _, ok := c.prog.named[n.Name]; !ok {
			names := slices.Sorted(maps.Keys(c.prog.named))
			c.problem(int(n.Pos), diag.DidYouMean(n.Name, names), "no template is defined as %q", n.Name)
			return nil
		}
		t := templateStatement{name: n.Name, off: int(n.Pos)}
		if n.Pipe != nil {
			t.dot = c.pipe(n.Pipe, false)
		}
		return t
	case *parse.BreakNode:
		return jumpStatement{errBreak}
	case *parse.ContinueNode:
		return jumpStatement{errContinue}
	}
	return nil // a comment
}

func (c *compiler) branch(n *parse.BranchNode, with bool) statement {
	mark := len(c.names)
	s := ifStatement{cond: c.pipe(n.Pipe, false), off: int(n.Pipe.Pos), with: with}
	c.conditional++
	dot := c.dotIsScope
	if with {
		c.dotIsScope = false
	}
	s.then = c.list(n.List)
	c.dotIsScope = dot
	s.otherwise = c.list(n.ElseList)
	c.conditional--
	c.names = c.names[:mark]
	return s
}

func (c *compiler) rangeStatement(n *parse.RangeNode) statement {
	mark := len(c.names)
	decl, assign := n.Pipe.Decl, n.Pipe.IsAssign
	bare := *n.Pipe
	bare.Decl = nil
	s := rangeStatement{over: c.pipe(&bare, false), off: int(n.Pipe.Pos), key: -1, value: -1}
	slots := make([]int, len(decl))
	for i, v := range decl {
		slots[i] = c.declare(v, assign)
	}
	switch len(slots) {
	case 1:
		s.value = slots[0]
	case 2:
		s.key, s.value = slots[0], slots[1]
	}
	c.conditional++
	dot := c.dotIsScope
	c.dotIsScope = false
	s.body = c.list(n.List)
	c.dotIsScope = dot
	s.otherwise = c.list(n.ElseList)
	c.conditional--
	c.names = c.names[:mark]
	return s
}

// declare gives the slot of a template variable, a new one unless it is assigned to.
func (c *compiler) declare(v *parse.VariableNode, assign bool) int {
	if assign {
		return c.slot(v.Ident[0])
	}
	c.names = append(c.names, v.Ident[0])
	c.slots = max(c.slots, len(c.names))
	return len(c.names) - 1
}

// slot finds a template variable, the innermost of its name. The parser has made sure that there is one;
// "$" has none, as it is no variable of its own.
func (c *compiler) slot(name string) int {
	for i := len(c.names) - 1; i >= 0; i-- {
		if c.names[i] == name {
			return i
		}
	}
	return -1
}

// pipe compiles a pipeline. lenient: the value may be undefined, the caller copes.
func (c *compiler) pipe(p *parse.PipeNode, lenient bool) expression {
	value := c.commands(p.Cmds, lenient)
	if len(p.Decl) == 0 {
		return value
	}
	slot := c.declare(p.Decl[0], p.IsAssign)
	if slot < 0 {
		c.problem(int(p.Decl[0].Pos), "choose another name", "$ cannot be assigned to")
		return value
	}
	return setExpression{slot, value}
}

// commands compiles a | b | c. What stands before the last bar is the last command's last argument; it
// is compiled when that command says whether it may be undefined.
func (c *compiler) commands(cmds []*parse.CommandNode, lenient bool) expression {
	last := cmds[len(cmds)-1]
	args := make([]argument, 0, len(last.Args))
	for _, a := range last.Args[1:] {
		args = append(args, argument{off: offset(a), node: a, compile: func(lenient bool) expression { return c.operand(a, lenient) }})
	}
	if before := cmds[:len(cmds)-1]; len(before) > 0 {
		node := parse.Node(before[len(before)-1])
		if cmd := before[len(before)-1]; len(cmd.Args) == 1 {
			node = cmd.Args[0]
		}
		args = append(args, argument{off: offset(before[0].Args[0]), node: node, compile: func(lenient bool) expression { return c.commands(before, lenient) }})
	}
	if id, ok := last.Args[0].(*parse.IdentifierNode); ok {
		return c.call(id, args, lenient)
	}
	if len(args) > 0 {
		c.problem(args[0].off, "only a function takes arguments; use printf or join to put values together",
			"%s is no function and takes no argument", last.Args[0])
		return constant{}
	}
	return c.operand(last.Args[0], lenient)
}

// argument is an argument that is not compiled yet.
type argument struct {
	off     int
	node    parse.Node
	compile func(lenient bool) expression
}

// offset is where a node begins in the text. The parser places a chain of fields at its second field.
func offset(n parse.Node) int {
	pos := int(n.Position())
	switch n := n.(type) {
	case *parse.FieldNode:
		if len(n.Ident) > 1 {
			return pos - len(n.Ident[0]) - 1
		}
	case *parse.VariableNode:
		if len(n.Ident) > 1 {
			return pos - len(n.Ident[0])
		}
	case *parse.ChainNode:
		return offset(n.Node)
	}
	return pos
}

func (c *compiler) operand(n parse.Node, lenient bool) expression {
	switch n := n.(type) {
	case *parse.DotNode:
		return dotExpression{}
	case *parse.FieldNode:
		return c.fields(dotExpression{}, n.Ident, offset(n), lenient, c.dotIsScope)
	case *parse.VariableNode:
		return c.variable(n, lenient)
	case *parse.ChainNode:
		return c.fields(c.operand(n.Node, lenient), n.Field, int(n.Pos), lenient, false)
	case *parse.PipeNode:
		return c.pipe(n, lenient)
	case *parse.IdentifierNode:
		return c.call(n, nil, lenient)
	case *parse.NumberNode:
		return c.numberLiteral(n)
	case *parse.StringNode:
		return constant{n.Text}
	case *parse.BoolNode:
		return constant{n.True}
	}
	return constant{} // nil
}

func (c *compiler) variable(n *parse.VariableNode, lenient bool) expression {
	base, root := expression(rootExpression{}), n.Ident[0] == "$"
	if !root {
		base = slotExpression(c.slot(n.Ident[0]))
	}
	if len(n.Ident) == 1 {
		return base
	}
	return c.fields(base, n.Ident[1:], offset(n)+len(n.Ident[0]), lenient, root && c.rootIsScope)
}

func (c *compiler) fields(base expression, path []string, off int, lenient, scope bool) expression {
	if scope {
		c.prog.refs = append(c.prog.refs, use{path, off, lenient, c.conditional > 0})
	}
	return fieldExpression{base: base, path: path, off: off, lenient: lenient}
}

func (c *compiler) numberLiteral(n *parse.NumberNode) expression {
	switch {
	case strings.HasPrefix(n.Text, "'"):
		c.problem(int(n.Pos), "texts stand in double quotes: \"text\"", "%s is no text", n.Text)
	case n.IsFloat && isFloatText(n.Text):
		return constant{n.Float64}
	case n.IsInt:
		return constant{n.Int64}
	default:
		c.problem(int(n.Pos), "", "the number %s cannot be held", n.Text)
	}
	return constant{}
}

// isFloatText says whether a number is written with a point or an exponent, as opposed to 5 and 0x1E.
func isFloatText(text string) bool {
	hex := strings.Contains(strings.ToLower(text), "0x")
	return hex && strings.ContainsAny(text, "pP") || !hex && strings.ContainsAny(text, ".eEpP")
}

// markGuarded makes optional every reference whose path, or a part of it, the same text asks about.
func (c *compiler) markGuarded() {
	for i, r := range c.prog.refs {
		for _, g := range c.guarded {
			if len(g) <= len(r.path) && slices.Equal(g, r.path[:len(g)]) {
				c.prog.refs[i].optional = true
			}
		}
	}
}

var parseErrorPrefix = regexp.MustCompile(`^template: :(\d+): `)

// syntaxProblem turns the parser's error into a problem. The parser knows only a line, so the action is
// found by parsing up to the end of each until the same error comes.
func syntaxProblem(src *source, delims [2]string, err error) (at diag.Position, problem, hint string) {
	problem = err.Error()
	line := 0
	if m := parseErrorPrefix.FindStringSubmatch(problem); m != nil {
		problem = problem[len(m[0]):]
		line, _ = strconv.Atoi(m[1])
	}
	off := culprit(src.text, delims, line)
	if strings.Contains(problem, "unexpected EOF") {
		off = unclosed(src.text, delims)
	}
	if src.shift > 0 && strings.Contains(src.text[src.shift:len(src.text)-len(bareEnd)], "{{") {
		hint = "this is an expression already: write it without {{ }}"
	} else {
		hint = syntaxHint(problem)
	}
	if here := src.rewritten(off, delims); here != "" {
		hint = here
	}
	return src.position(off), problem + " in " + fmt.Sprintf("%q", src.expression(off, delims)), hint
}

func syntaxHint(problem string) string {
	switch {
	case strings.Contains(problem, "unexpected EOF"), strings.Contains(problem, "unclosed action"):
		return "every {{ needs its }}, every if, range and with its {{ end }}"
	case strings.Contains(problem, "character constant"), strings.Contains(problem, `malformed character`):
		return `texts stand in double quotes: "text"`
	case strings.Contains(problem, `unexpected "="`), strings.Contains(problem, "unexpected \"=="), strings.Contains(problem, `"!"`):
		return `comparisons are functions: eq .a "b", ne .a "b", gt .n 3`
	case strings.Contains(problem, "undefined variable"):
		return "$ names stand for what {{ $name := … }} declares; a variable of the host is written .name"
	case strings.Contains(problem, `'['`):
		return `elements are taken with index: index .list 0, index .map "key"`
	}
	return "templates are Go templates: {{ .name }}, {{ function .name 1 }}"
}

// culprit is the first byte inside the action that does not parse.
func culprit(text string, delims [2]string, line int) int {
	start, last := 0, 0
	for {
		i := strings.Index(text[start:], delims[0])
		if i < 0 {
			break
		}
		last = start + i
		end := strings.Index(text[last:], delims[1])
		if end < 0 {
			break
		}
		start = last + end + len(delims[1])
		if _, err := parseTrees(text[:start], delims); err != nil && !strings.Contains(err.Error(), "unexpected EOF") {
			break
		}
	}
	if line > 0 && strings.Count(text[:last], "\n")+1 > line {
		last = 0
	}
	for last += len(delims[0]); last < len(text) && (isSpace(text[last]) || text[last] == '-'); last++ {
	}
	return min(last, len(text))
}

// unclosed is the first byte inside the last action that opens a body which no end closes.
func unclosed(text string, delims [2]string) int {
	var open []int
	for at := 0; ; {
		i := strings.Index(text[at:], delims[0])
		if i < 0 {
			break
		}
		at += i + len(delims[0])
		for at < len(text) && (isSpace(text[at]) || text[at] == '-') {
			at++
		}
		word := text[at:]
		if end := strings.IndexFunc(word, func(r rune) bool { return r < 'a' || r > 'z' }); end >= 0 {
			word = word[:end]
		}
		switch word {
		case "if", "range", "with", "block", "define":
			open = append(open, at)
		case "end":
			open = open[:max(0, len(open)-1)]
		}
	}
	if len(open) == 0 {
		return 0
	}
	return open[len(open)-1]
}
