package runner

import (
	"slices"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/playbook"
)

// checkDefaults looks for modules and arguments in module_defaults that do not exist, whether or not a task
// uses them.
func (c *compiler) checkDefaults(p *playbook.Play) {
	c.defaultsOf(&p.Keywords)
	for _, h := range p.Handlers {
		c.defaultsOf(&h.Task.Keywords)
	}
	for _, blocks := range [][]*playbook.Block{p.PreTasks, p.Tasks, p.PostTasks} {
		c.defaultsBelow(blocks)
	}
}

func (c *compiler) defaultsBelow(blocks []*playbook.Block) {
	for _, b := range blocks {
		c.defaultsOf(&b.Keywords)
		if b.Task != nil {
			c.defaultsOf(&b.Task.Keywords)
		}
		c.defaultsBelow(slices.Concat(b.Body, b.Rescue, b.Always))
	}
}

func (c *compiler) defaultsOf(kw *playbook.Keywords) {
	for _, d := range kw.Defaults {
		m, ok := c.plan.in.Modules.Lookup(d.Module)
		if !ok {
			c.problems.Add(d.At, diag.DidYouMean(d.Module, c.plan.in.Modules.Names()), "there is no module %q", d.Module)
			continue
		}
		for _, f := range d.Args.Fields() {
			if _, ok := m.Args.Lookup(f.Name); !ok {
				c.problems.Add(f.At, diag.DidYouMean(f.Name, m.Args.Names()), "module %s takes no argument %q", m.Name, f.Name)
			}
		}
	}
}
