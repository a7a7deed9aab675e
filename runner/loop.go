package runner

import (
	"context"
	"fmt"

	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/vars"
)

// item is one item of a loop.
type item struct {
	value vars.Data
	index int
}

func (st *step) loopVar() string { return firstOf(st.row.task.LoopControl.Var, "item") }

// loop does the task for each item, one after the other, and sums the results up.
func (st *step) loop(ctx context.Context) *result {
	base := st.scope(st.p.host)
	sum := &result{status: event.OK, items: []*result{}}
	items, failed := st.loopItems(base)
	if failed != nil {
		return failed
	}
	for i := st.together(ctx, items, sum); i < len(items); i++ {
		value := items[i]
		if res, err := st.endedBefore(i, value); err != nil {
			sum.fail(err)
			return sum
		} else if res != nil {
			st.takeItem(sum, res)
			continue
		}
		if i > 0 && !st.sleeps(ctx, st.row.task.LoopControl.Pause) {
			break
		}
		// The scope is made anew for every item: an item sees what the one before has set.
		s := st.scope(st.p.host).With(vars.LoopVars, st.itemVars(items, i))
		res := st.once(ctx, s, &item{value, i})
		if st.left {
			break
		}
		res.label = st.label(s, value)
		st.takeItem(sum, res)
		if st.ended(ctx, res) == nil {
			st.settleAfter(ctx)
		}
		if ctx.Err() != nil {
			break
		}
	}
	st.cut = len(sum.items) < len(items)
	st.sum(sum)
	return sum
}

// takeItem adds the result of an item.
func (st *step) takeItem(sum, res *result) {
	st.register(res)
	sum.items = append(sum.items, res)
	sum.includes = append(sum.includes, res.includes...)
	sum.joins = append(sum.joins, res.joins...)
	res.includes, res.joins = nil, nil
}

// loopItems gives the items; or the result of a task whose items cannot be had. A false condition hides
// an undefined list.
func (st *step) loopItems(s *vars.Scope) ([]vars.Data, *result) {
	res := &result{status: event.OK}
	d, err := st.row.task.Loop.Resolve(s)
	if err != nil {
		if not, whenErr := firstFalse(st.row.when, s); whenErr == nil && !not.IsZero() {
			st.skip(not, s, res)
			return nil, res
		}
		res.fail(err)
		st.verdict(s, res)
		return nil, res
	}
	items, ok := d.List()
	if !ok {
		err := fmt.Errorf("loop takes a list, not a %s", d.Kind())
		if d.Kind() == "unknown" {
			err = fmt.Errorf("loop: %w", vars.ErrUnknown)
		}
		res.fail(err)
		st.verdict(s, res)
		return nil, res
	}
	return items, nil
}

func (st *step) itemVars(items []vars.Data, i int) *vars.Values {
	lc := st.row.task.LoopControl
	all := map[string]vars.Data{
		st.loopVar():       items[i],
		"ansible_loop_var": vars.Of(st.loopVar()),
	}
	if lc.Index != "" {
		all[lc.Index] = vars.Of(i)
		all["ansible_index_var"] = vars.Of(lc.Index)
	}
	if lc.Extended {
		all["ansible_loop"] = extended(items, i)
	}
	return vars.ValuesOf(all)
}

func extended(items []vars.Data, i int) vars.Data {
	n := len(items)
	all := map[string]vars.Data{
		"allitems": vars.Of(items), "index": vars.Of(i + 1), "index0": vars.Of(i), "first": vars.Of(i == 0), "last": vars.Of(i == n-1),
		"length": vars.Of(n), "revindex": vars.Of(n - i), "revindex0": vars.Of(n - i - 1),
	}
	if i > 0 {
		all["previtem"] = items[i-1]
	}
	if i < n-1 {
		all["nextitem"] = items[i+1]
	}
	return vars.Of(all)
}

// label is what is shown of an item.
func (st *step) label(s *vars.Scope, value vars.Data) string {
	v := st.row.task.LoopControl.Label
	if v.IsZero() {
		return ""
	}
	d, err := v.Resolve(s)
	if err != nil {
		return value.Text()
	}
	return d.Text()
}

// itemFields are what the result of an item says about the item.
func (st *step) itemFields(res *result, it *item) {
	res.set(st.loopVar(), it.value)
	res.set("ansible_loop_var", vars.Of(st.loopVar()))
	if index := st.row.task.LoopControl.Index; index != "" {
		res.set(index, vars.Of(it.index))
		res.set("ansible_index_var", vars.Of(index))
	}
}

// sum makes the task's result of those of its items.
func (st *step) sum(sum *result) {
	if len(sum.items) == 0 {
		sum.status = event.Skipped
		sum.set("skipped_reason", vars.Of("No items in the list"))
		return
	}
	count := map[event.Status]int{}
	ignored, delegated := true, sum.items[0].delegatedTo
	for _, item := range sum.items {
		count[item.status]++
		sum.changed = sum.changed || item.changed
		sum.noLog = sum.noLog || item.noLog
		if item.failed() {
			ignored = ignored && item.ignored
			sum.fatal = sum.fatal || item.fatal
		}
		if item.delegatedTo != delegated {
			delegated = ""
		}
	}
	sum.delegatedTo = delegated
	sum.msg = "All items completed"
	switch {
	case count[event.Unreachable] > 0:
		sum.status, sum.ignored = event.Unreachable, ignored
		sum.set("unreachable", vars.Of(true))
		sum.msg = firstMessage(sum.items, event.Unreachable)
	case count[event.Failed] > 0:
		sum.status, sum.ignored = event.Failed, ignored
		sum.msg = "One or more items failed"
	case count[event.Unknown] > 0:
		sum.status, sum.msg = event.Unknown, firstMessage(sum.items, event.Unknown)
	case sum.changed:
		sum.status = event.Changed
	case count[event.Skipped] == len(sum.items):
		sum.status, sum.msg = event.Skipped, "All items skipped"
	}
}

func firstMessage(items []*result, status event.Status) string {
	for _, item := range items {
		if item.status == status {
			return item.msg
		}
	}
	return ""
}
