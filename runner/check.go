package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// check finds what is wrong with a row, as far as that can be known before the run.
func (c *compiler) check(r *row) {
	c.checkNotify(r)
	c.rows = append(c.rows, r)
	c.note(visit{kind: atRow, row: r})
	switch r.kind {
	case taskRow:
		c.checkArgs(r)
		c.checkAsync(r)
	case includeRow:
		c.checkContent(r)
	case specRow:
		c.checkSpec(r)
	case metaRow, flushRow:
		if !slices.Contains(metaWords(), r.task.Meta) {
			c.problems.Add(r.task.At, diag.DidYouMean(r.task.Meta, metaWords()), "meta has no word %q", r.task.Meta)
		}
		if r.task.Meta == "end_role" && (r.frame.role == nil || r.handler != nil) {
			c.problems.Add(r.task.At, "end_host and end_play end more than a role", "end_role stands outside of a role's tasks")
		}
		if r.task.Meta == "refresh_inventory" && c.plan.in.Reload == nil {
			c.problems.Add(r.task.At, "run the plays behind it as a playbook of their own", "the inventory cannot be read anew in this run")
		}
	case gateRow, blockEndRow:
	}
}

// checkAsync refuses work that is to go on by itself and cannot.
func (c *compiler) checkAsync(r *row) {
	t := r.task
	if t.Async.IsZero() {
		if !t.Poll.IsZero() {
			c.problems.Warn(t.Poll.Position(), "add async: SECONDS, how long the task may take", "poll means nothing without async")
		}
		return
	}
	d, static := t.Poll.Static()
	if n, err := d.Int(); static && !t.Poll.IsZero() && err == nil && n == 0 && !r.module.Runs {
		c.problems.Add(t.Poll.Position(), "leave poll out: the task then runs for async seconds at most; what command, shell and script start can go on by itself",
			"module %s does not take poll: 0: %s", r.module.Name, cannotDetach)
	}
}

// checkNotify looks for the handlers that are notified by a name without templates.
func (c *compiler) checkNotify(r *row) {
	for k := r.keys; k != nil; k = k.outer {
		for _, v := range k.Notify {
			d, ok := v.Static()
			if !ok {
				continue
			}
			names := []vars.Data{d}
			if list, isList := d.List(); isList {
				names = list
			}
			for _, name := range names {
				c.notified(name.Text(), v.Position())
			}
		}
	}
}

// notified looks for one handler. Where includes may bring others, only a name that is like a known one is told.
func (c *compiler) notified(name string, at diag.Position) {
	if c.play.notifies != nil {
		c.play.notifies[name] = true
	}
	switch {
	case len(c.handlers.notified(name)) > 0:
	case c.unread != nil && c.unread.MayHandle(name):
	case !c.open:
		c.problems.Add(at, diag.DidYouMean(name, c.handlers.names()), "no handler is called %q", name)
	case diag.Nearest(name, c.handlers.names()) != "":
		c.problems.Warn(at, diag.DidYouMean(name, c.handlers.names()), "no handler that is known before the run is called %q", name)
	}
}

// checkHandlers warns of handlers that nothing notifies. A role's may be for tasks that this play leaves out: of
// these only what looks misspelt is told.
func (c *compiler) checkHandlers() {
	notified := slices.Sorted(maps.Keys(c.play.notifies))
	for _, h := range c.handlers {
		names := slices.Clone(h.Listen)
		if h.name != "" {
			names = append(names, h.name)
		}
		if h.Role != nil {
			names = append(names, h.Role.Name+" : "+h.name)
		}
		wanted := func(name string) bool { return c.play.notifies[name] }
		some := slices.ContainsFunc(names, wanted)
		for _, name := range append(slices.Clone(h.Listen), h.name) {
			near := nearOne(name, notified)
			if name == "" || wanted(name) || some && name == h.name || near == "" && (some || c.open || h.Role != nil || h.Name.Templated()) {
				continue
			}
			at := h.At
			if name == h.name {
				at = h.Name.Position()
			}
			hint := ""
			if near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			c.problems.Warn(at, hint, "nothing notifies %q", name)
		}
	}
}

// checkContent checks what an include brings in, where its name is known.
func (c *compiler) checkContent(r *row) {
	content := r.task.Include.Content
	if content == nil || slices.Contains(c.within, content) {
		return
	}
	started := c.started
	c.within, c.started = append(c.within, content), true
	c.note(visit{kind: enterContent, row: r, content: content})
	c.strand(r.contentFrame(content, nil), content.Blocks)
	c.note(visit{kind: leaveContent, row: r, content: content})
	c.within, c.started = c.within[:len(c.within)-1], started
}

// checkArgs checks the arguments that do not depend on variables: names, types, what is missing, and the
// syntax of expressions.
func (c *compiler) checkArgs(r *row) {
	args, err := r.arguments()
	if err != nil {
		c.argumentProblem(r, r.task.At, err)
		return
	}
	given := map[string]bool{}
	misspelt := map[string]bool{} // names that an unknown argument is near to: one diagnostic for one mistake
	for _, a := range args {
		at := a.at
		if at == (diag.Position{}) {
			at = a.value.Position()
		}
		if !a.known && a.at == (diag.Position{}) {
			continue // of module_defaults
		}
		if !a.known {
			misspelt[diag.Nearest(a.name, r.module.Args.Names())] = true
			c.problems.Add(at, diag.DidYouMean(a.name, r.module.Args.Names()), "module %s takes no argument %q", r.module.Name, a.name)
			continue
		}
		given[a.arg.Name] = true
		c.checkArg(r, a)
	}
	for _, arg := range r.module.Args {
		if arg.Required && !given[arg.Name] && !misspelt[arg.Name] {
			c.problems.Add(r.task.At, arg.Name+" is "+arg.Doc, "module %s: argument %s is missing", r.module.Name, arg.Name)
		}
	}
}

func (c *compiler) checkArg(r *row, a argument) {
	if a.arg.Type == modules.TypeExpr || a.arg.Elem == modules.TypeExpr {
		items := a.value.Items()
		if items == nil {
			items = []vars.Value{a.value}
		}
		for _, item := range items {
			vars.ParseExpr(expressionText(item), item.Position(), &c.problems)
		}
		return
	}
	d, ok := a.value.Static()
	if !ok || a.arg.Rest || d.Kind() == "null" {
		return
	}
	if a.arg.Secret {
		c.plan.in.Files.Vault.Secrets().Add(d.Texts()...)
	}
	if err := a.arg.Check(json.RawMessage(d.JSON())); err != nil {
		c.argumentProblem(r, a.value.Position(), err)
	}
}

func (c *compiler) argumentProblem(r *row, at diag.Position, err error) {
	var wrong *modules.ArgumentError
	if !errors.As(err, &wrong) {
		c.problems.Add(at, "", "module %s: %v", r.module.Name, err)
		return
	}
	c.problems.Add(at, wrong.Hint, "module %s: %s", r.module.Name, strings.TrimPrefix(wrong.Problem, "module "+r.module.Name+" "))
}

// checkPlay checks the keywords of a play that are read before it begins.
func (c *compiler) checkPlay(p *playbook.Play, s *vars.Scope) {
	if !p.Serial.IsZero() {
		if _, err := batchSizes(p.Serial, max(1, len(c.play.hosts)), s); err != nil {
			c.blame(err, p.Serial.Position())
		}
	}
	for _, f := range p.VarsFiles {
		if f.Values == nil {
			c.checkVarsFile(p, f)
		}
	}
}

// checkVarsFile looks whether a file is there whose names have no templates.
func (c *compiler) checkVarsFile(p *playbook.Play, f playbook.VarsFile) {
	var names []string
	for _, v := range f.Names {
		d, ok := v.Static()
		if !ok {
			return
		}
		names = append(names, d.Text())
		if present(absolute(p.Dir, d.Text())) == nil {
			return
		}
	}
	c.problems.Add(f.At, "", "there is no file %s", strings.Join(names, ", nor "))
}

// laterHandlers are the handlers that includes can add to a play, as far as that is known; where it is
// not, unknown names are left to the run.
func (c *compiler) laterHandlers(p *playbook.Play, s *vars.Scope) handlers {
	var found handlers
	seen := map[*playbook.Content]bool{}
	var walk func([]*playbook.Block)
	walk = func(blocks []*playbook.Block) {
		for _, b := range blocks {
			for _, part := range [][]*playbook.Block{b.Body, b.Rescue, b.Always} {
				walk(part)
			}
			if b.Task == nil || b.Task.Include == nil {
				continue
			}
			content := b.Task.Include.Content
			if content == nil {
				c.open = true
				continue
			}
			if seen[content] {
				continue
			}
			seen[content] = true
			for _, h := range content.Handlers {
				found = append(found, &handler{Handler: h, name: displayName(h.Name, s)})
			}
			walk(content.Blocks)
		}
	}
	for _, part := range [][]*playbook.Block{p.PreTasks, p.Tasks, p.PostTasks} {
		walk(part)
	}
	for _, h := range p.Handlers {
		if displayName(h.Name, s) == "" && len(h.Listen) == 0 {
			continue
		}
		if h.Name.Templated() {
			c.open = true
		}
	}
	return found
}
