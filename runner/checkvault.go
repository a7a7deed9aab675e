package runner

import (
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

// checkVault tries to open every encrypted value of the inventory and of the playbooks. That takes some
// milliseconds each, so a run, which needs few of them, leaves it to validate.
func (c *compiler) checkVault() {
	keys := c.plan.in.Files.Vault
	if !c.plan.in.OpenAll || keys.Empty() {
		return
	}
	l := locked{c: c, seen: map[diag.Position]bool{}}
	l.values(c.plan.in.Extra)
	for _, h := range c.plan.in.Inventory.Hosts() {
		l.values(h.Vars)
	}
	for _, b := range c.plan.playbooks {
		for _, p := range b.plays {
			l.values(p.Vars)
			for _, f := range p.VarsFiles {
				l.values(f.Values)
			}
			l.layers(p.layers)
		}
	}
	for _, r := range c.rows {
		l.layers(r.layers)
		l.value(r.task.Args)
		for k := r.keys; k != nil; k = k.outer {
			for _, v := range k.Environment {
				l.value(v)
			}
			for _, d := range k.Defaults {
				l.value(d.Args)
			}
		}
	}
	l.open()
}

// locked finds the values that no password opens, each once: hosts share those of their groups.
type locked struct {
	c    *compiler
	seen map[diag.Position]bool
	all  []vars.Value
}

// open tries the passwords on all values, as many at a time as there are processors.
func (l *locked) open() {
	found := make([]diag.List, len(l.all))
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	for i, v := range l.all {
		group.Go(func() error {
			v.Locked(l.c.plan.in.Files.Vault, &found[i])
			return nil
		})
	}
	_ = group.Wait() // none of them gives an error
	for _, problems := range found {
		l.c.problems.Append(problems)
	}
}

func (l *locked) layers(all []layered) {
	for _, layer := range all {
		l.values(layer.vars)
	}
}

func (l *locked) values(vs *vars.Values) {
	for _, name := range vs.Names() {
		v, _ := vs.Get(name)
		l.value(v)
	}
}

func (l *locked) value(v vars.Value) {
	if !v.Sealed() || l.seen[v.Position()] {
		return
	}
	l.seen[v.Position()] = true
	l.all = append(l.all, v)
}
