package runner

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/internal/graph"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/vars"
)

// metaWords are what a meta task can say, besides flush_handlers, which is a row of its own kind.
func metaWords() []string {
	return []string{"clear_facts", "clear_host_errors", "end_batch", "end_host", "end_play", "end_role", "flush_handlers", "noop", "refresh_inventory", "reset_connection"}
}

// meta does a meta task. Those that end or clear something for all are judged on the first host.
func (rr *rowRun) meta(ctx context.Context) *graph.Graph[node] {
	first := rr.who[:1]
	switch word := rr.row.task.Meta; word {
	case "noop":
	case "end_play":
		rr.forEach(first, func(*player) { rr.lane.over = true })
	case "end_batch":
		rr.forEach(first, func(*player) { *rr.lane.ended = true })
	case "end_host":
		rr.forEach(rr.who, func(p *player) { p.end() })
	case "end_role":
		rr.forEach(rr.who, func(p *player) { p.quits(rr.row.frame.role) })
	case "clear_host_errors":
		rr.forEach(first, func(*player) { rr.clearErrors() })
	case "clear_facts":
		rr.forEach(first, func(*player) {
			for _, p := range rr.who {
				p.clearFacts()
			}
		})
	case "refresh_inventory":
		rr.refresh(ctx)
	case "reset_connection":
		rr.reset()
	default:
		panic(fmt.Sprintf("runner: meta %q was not checked", word))
	}
	return nil
}

// forEach calls f for the players on which the condition holds.
func (rr *rowRun) forEach(who []*player, f func(*player)) {
	for _, p := range who {
		ok, err := holds(rr.row.when, rr.scope(p.host))
		switch {
		case err != nil:
			res := &result{}
			res.fail(err)
			(&step{rowRun: rr, p: p, res: res}).settle()
		case ok:
			f(p)
		}
	}
}

// clearErrors forgets that hosts are lost: unreachable ones go on with the next task, failed ones with
// the next play.
func (rr *rowRun) clearErrors() {
	for _, p := range rr.lane.playRun.players {
		if p.lost == lostFailed || p.lost == lostStopped {
			p.end()
		}
	}
	for _, h := range rr.r.known() {
		h.lose(notLost)
	}
}

// refresh reads the inventory again, and gives it what hosts and groups the run has added since. An inventory
// that cannot be read is told in full; the task fails, and the run keeps the inventory that it had. A run that is gone
// on with hears from sources what it has heard before: what it has done was for those hosts.
func (rr *rowRun) refresh(ctx context.Context) {
	place := "refresh_inventory " + rr.where()
	var heard json.RawMessage
	rr.r.decided(place, &heard)
	inv, answered, problems := rr.r.plan.in.Reload(ctx, heard)
	if !problems.Failed() {
		if len(answered) > 0 && !bytes.Equal(answered, heard) {
			rr.r.decide(place, answered, true) //nolint:errcheck // the run ends when it cannot be kept; see unfit
		}
		rr.r.setInventory(inv.With(rr.r.joined...))
		rr.leave()
		return
	}
	for _, d := range problems {
		rr.r.stream.Emit(eventProblem(d))
	}
	first := problems[slices.IndexFunc(problems, func(d diag.Diagnostic) bool { return !d.Warning })]
	for _, p := range rr.who {
		res := &result{}
		res.fail(fmt.Errorf("the inventory cannot be read again: %w", first))
		(&step{rowRun: rr, p: p, res: res}).settle()
	}
}

func (rr *rowRun) reset() {
	c, ok := rr.r.opts.Connect.(resetter)
	if !ok {
		return
	}
	for _, p := range rr.who {
		a, _, err := rr.r.plan.in.Defaults.address(p.Host, rr.scope(p.host), rr.row.keys)
		if err == nil {
			c.Reset(a)
		}
	}
}

// leave takes the hosts out of the play that its pattern does not select any more.
func (rr *rowRun) leave() {
	r, pr := rr.r, rr.lane.playRun
	hosts, _ := r.plan.selectHosts(pr.Play, r.inventory(), r.plan.playScope(pr.Play))
	for name, p := range pr.players {
		if !slices.ContainsFunc(hosts, func(h *inventory.Host) bool { return h.Name == name }) {
			p.end()
		}
	}
}

// confirmation asks, before a play, that what it destroys is typed.
type confirmation struct {
	pr  *playRun
	r   *run
	err error
}

func (c *confirmation) work(ctx context.Context) {
	s := c.pr.confirmScope(c.r)
	message, err := c.pr.Confirm.Message.Resolve(s)
	if err != nil {
		c.err = err
		return
	}
	value, err := c.pr.Confirm.Value.Resolve(s)
	if err != nil {
		c.err = err
		return
	}
	c.err = c.r.confirm(ctx, message.Text(), value.Text())
}

// confirm asks to type a value, once in a run for the same message. Questions of plays that run side by side
// come one after the other.
func (r *run) confirm(ctx context.Context, message, value string) error {
	if r.opts.Check {
		return nil
	}
	r.confirming.Lock()
	defer r.confirming.Unlock()
	asked := message + "\x00" + value
	sum := sha256.Sum256([]byte(asked))
	place, was := "confirm "+hex.EncodeToString(sum[:8]), false
	if r.confirmed[asked] || r.decided(place, &was) && was {
		return nil
	}
	if r.opts.Confirm == nil {
		return fmt.Errorf("%s: must be confirmed with %q", message, value)
	}
	if err := r.opts.Confirm(ctx, message, value); err != nil {
		return err
	}
	if r.confirmed == nil {
		r.confirmed = map[string]bool{}
	}
	r.confirmed[asked] = true
	return r.decide(place, true, false)
}

// confirmScope is the scope of the play's first host: what is destroyed is named by its variables.
func (pr *playRun) confirmScope(r *run) *vars.Scope {
	var b vars.Stack
	w := &world{r: r, dir: pr.Dir}
	r.stateOf(pr.all[0]).own(&b, r, pr.Dir)
	push(&b, pr.layers...)
	b.Push(vars.PlayVars, pr.Vars)
	b.Push(vars.PlayVars, pr.answers)
	r.varsFiles(pr.play, &b, w)
	b.Push(vars.Magic, pr.magic)
	return b.Scope(w)
}

func (c *confirmation) unfold(context.Context, *run) *graph.Graph[node] {
	if c.err != nil {
		c.r.stream.Emit(event.NewProblem(diag.Diagnostic{Position: c.pr.Confirm.At, Problem: c.err.Error()}))
		c.r.refused = true
		c.r.end(c.err.Error())
	}
	return nil
}
