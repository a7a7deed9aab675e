package runner

import (
	"context"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/connect"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// prepared is a task ready to be done: everything that attempts share.
type prepared struct {
	rendered
	delegatedTo   string
	on            *inventory.Host // where it is done
	host          *lazyHost
	check, diff   bool
	delegateFacts bool
	timeout       time.Duration
	noLog         bool
	item, attempt int      // which item of the loop, and which attempt
	async         *async   // nil without
	job           *jobHost // of the attempt under way; nil where no command goes on by itself
	address       connect.Address
	become        connect.Become
	refuted       atomic.Pointer[vars.Expr] // the expression the module evaluated last, if it was false
}

func (st *step) prepare(s *vars.Scope) (*prepared, error) {
	x := &prepared{on: st.p.Host}
	var err error
	if x.rendered, err = st.row.render(s, st.r.secrets); err != nil {
		if !st.takesBack() || st.row.module.Restore != nil {
			return nil, err
		}
		x.rendered = rendered{scope: s} // what was there before is known without the arguments
	}
	there := s
	d, err := keyword(st.row.keys, s, func(k *playbook.Keywords) vars.Value { return k.DelegateTo })
	if err != nil {
		return nil, err
	}
	if name := d.Text(); name != "" {
		x.delegatedTo = name
		x.on = st.r.hostOrAddress(name)
		there = st.scope(st.r.stateOf(x.on))
	}
	if err := st.modes(s, x); err != nil {
		return nil, err
	}
	env, err := environment(st.row.keys, s)
	if err != nil {
		return nil, err
	}
	if x.async, err = st.readAsync(s); err != nil {
		return nil, err
	}
	if x.address, x.become, err = st.r.plan.in.Defaults.address(x.on, there, st.row.keys); err != nil {
		return nil, err
	}
	st.r.secrets.Add(x.address.Password, x.become.Password)
	x.host = &lazyHost{name: x.on.Name, env: env, fences: st.fences(), open: func(ctx context.Context) (modules.Host, error) {
		return st.r.opts.Connect.Open(ctx, x.address, x.become)
	}}
	if b, ok := st.r.opts.Connect.(barer); ok {
		x.host.bare = func(ctx context.Context, cmd modules.Command) (modules.Output, error) {
			return b.Bare(ctx, x.address, x.become, cmd)
		}
	}
	return x, nil
}

func (st *step) modes(s *vars.Scope, x *prepared) error {
	x.check, x.diff = st.r.opts.Check, st.r.opts.Diff
	for _, m := range []struct {
		to   *bool
		what string
		get  func(*playbook.Keywords) vars.Value
	}{
		{&x.check, "check_mode", func(k *playbook.Keywords) vars.Value { return k.CheckMode }},
		{&x.diff, "diff", func(k *playbook.Keywords) vars.Value { return k.Diff }},
		{&x.delegateFacts, "delegate_facts", func(k *playbook.Keywords) vars.Value { return k.DelegateFacts }},
	} {
		if st.row.keys.nearest(m.get).IsZero() {
			continue
		}
		var err error
		if *m.to, err = flag(st.row.keys, s, m.what, m.get); err != nil {
			return err
		}
	}
	d, err := keyword(st.row.keys, s, func(k *playbook.Keywords) vars.Value { return k.Timeout })
	if err != nil || d.Kind() == "null" {
		return err
	}
	if x.timeout, err = modules.ParseDuration(d.Text()); err != nil {
		return fmt.Errorf("timeout: %q is no number of seconds", d.Text())
	}
	return nil
}

// environment merges the environment keywords, inner ones over outer ones.
func environment(k *keys, s *vars.Scope) (map[string]string, error) {
	var env map[string]string
	for _, kw := range k.outermost() {
		for _, v := range kw.Environment {
			d, err := v.Resolve(s)
			if err != nil {
				return nil, err
			}
			more := map[string]string{}
			layers, isList := d.List()
			if !isList {
				layers = []vars.Data{d}
			}
			for _, layer := range layers {
				if kind := layer.Kind(); kind != "mapping" && kind != "null" {
					return nil, fmt.Errorf("environment takes a mapping, or a list of mappings, not %s", layer.Text())
				}
				for _, name := range layer.Keys() {
					value, _ := layer.Get(name)
					more[name] = value.Text()
				}
			}
			if env == nil {
				env = map[string]string{}
			}
			maps.Copy(env, more)
		}
	}
	return env, nil
}
