package runner

import (
	"fmt"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/vars"
)

// joins takes what a task adds to the inventory. The task is changed when that is new.
func (st *step) joins(j modules.Join, res *result) error {
	values := map[string]vars.Data{}
	for name, raw := range j.Vars {
		d, err := vars.FromJSON(raw)
		if err != nil {
			return fmt.Errorf("variable %s: %w", name, err)
		}
		if !vars.IsName(name) {
			return &modules.ArgumentError{Arg: name, Problem: fmt.Sprintf("%q cannot be a variable's name", name), Hint: "use letters, digits and _, and no digit first"}
		}
		values[name] = d
	}
	for _, name := range append(append([]string{j.Host}, j.Groups...), j.Parents...) {
		if err := inventory.CheckName(name); err != nil {
			return err
		}
	}
	a := inventory.Addition{Host: firstOf(j.Host, st.p.Name), Groups: j.Groups, Parents: j.Parents, Vars: vars.ValuesOf(values), Present: j.Host == ""}
	if way := st.r.inventory().Circle(a); way != nil {
		return &modules.ArgumentError{Arg: "parents", Problem: "groups would be below themselves: " + strings.Join(way, " → "), Hint: "leave that parent out"}
	}
	res.joins = append(res.joins, a)
	if !st.r.inventory().Has(a) {
		res.changed, res.status = true, event.Changed
	}
	return nil
}

// join gives the inventory what the row's steps add, once all of them have ended: tasks and plays behind
// them see it. The hosts of the play that runs stay as they are.
func (rr *rowRun) join() {
	var added []inventory.Addition
	for _, st := range rr.done {
		added = append(added, st.res.joins...)
	}
	if len(added) == 0 {
		return
	}
	r, pr := rr.r, rr.lane.playRun
	r.joined = append(r.joined, added...)
	r.setInventory(r.inventory().With(added...))
	r.moves++
	had := map[string]bool{}
	for _, name := range append(namesOf(pr.all), pr.late...) {
		had[name] = true
	}
	hosts, _ := r.plan.selectHosts(pr.Play, r.inventory(), r.plan.playScope(pr.Play))
	for _, h := range hosts {
		if !had[h.Name] {
			pr.late = append(pr.late, h.Name)
		}
	}
}
