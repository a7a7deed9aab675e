package runner

import (
	"context"
	"errors"
	"fmt"
	"path"
	"reflect"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// The items of a loop are done one after the other: each sees what those before it have done. Where the
// module allows it (Module.Gathers), those that cannot see one another's work are done together, with the
// same outcome: all of them propose side by side, what they ask of the host travels in one request, and so
// do their changes. Items that look at what another one changes (the same path, or one inside the other)
// come in a later bunch, which proposes anew. A path that leads to another item's only through a symbolic
// link is not seen; its item may then be reported as changed where it would have found nothing to do.

// maxTogether bounds how many items are held in memory at a time.
const maxTogether = 4096

// turn is an item that is done together with others.
type turn struct {
	item
	scope    *vars.Scope
	res      *result
	x        *prepared // nil: nothing to do, the result says why
	proposal *modules.Proposal
	seat     *seat
	keep     string // under which name the host keeps what is there before
	err      error  // of carrying the proposal out
}

// bunch is the turns that are done together.
type bunch struct {
	*step
	turns []*turn
	began time.Time
	// registered is set when an item uses the name that the task registers: each sees the one before it then.
	registered atomic.Bool
}

// together does the first items of a loop, as many as can be done together, and says how many these were.
func (st *step) together(ctx context.Context, items []vars.Data, sum *result) int {
	done := 0
	ctx, over := context.WithCancel(ctx) // proposals are worth something until then
	defer over()
	for done < len(items) && ctx.Err() == nil && st.gathers() {
		b := &bunch{step: st, began: time.Now()}
		last := min(done+maxTogether, len(items))
		if !b.ready(items, done, last) {
			return done
		}
		b.sideBySide(ctx, b.turns)
		if b.registered.Load() {
			return done
		}
		n := b.carryOut(ctx, sum)
		if done += n; done < last {
			return done
		}
	}
	return done
}

// gathers says whether nothing in the task itself asks for one item after the other.
func (st *step) gathers() bool {
	t := st.row.task
	if st.r.opts.Undo != nil {
		return false // each item puts back what is its own
	}
	if st.before != nil && len(st.before.items) > 0 {
		return false // it was not, and each item is written down by itself
	}
	if st.looking != nil || st.row.kind != taskRow || !st.row.module.Gathers || len(t.Until) > 0 || !t.Retries.IsZero() || t.LoopControl.Pause > 0 || !t.Async.IsZero() {
		return false
	}
	for k := st.row.keys; k != nil && t.Register != ""; k = k.outer {
		// These are judged when an item has ended, and could be about the one before it.
		if k.IgnoreErrors.Templated() || k.IgnoreUnreachable.Templated() || k.AnyErrorsFatal.Templated() {
			return false
		}
	}
	return st.row.keys.nearest(func(k *playbook.Keywords) vars.Value { return k.Timeout }).IsZero()
}

// ready makes the items' turns. False: they are not done on one host in one way.
func (b *bunch) ready(items []vars.Data, from, to int) bool {
	var first *prepared
	for i := from; i < to; i++ {
		t := &turn{item: item{items[i], i}, res: &result{status: event.OK, looped: true, item: items[i], at: i + 1}}
		t.scope = b.scope(b.p.host).With(vars.LoopVars, b.itemVars(items, i))
		if name := b.row.task.Register; name != "" {
			t.scope = t.scope.Watch(name, &b.registered)
		}
		if b.wanted(t.scope, t.res) {
			x, err := b.prepare(t.scope)
			if err != nil {
				t.res.fail(err)
			} else {
				t.x = x
				x.item = i + 1
			}
		}
		t.res.label = b.label(t.scope, t.value)
		b.turns = append(b.turns, t)
		if t.x == nil {
			continue
		}
		if first == nil {
			first = t.x
		}
		if !t.x.like(first) {
			return false
		}
	}
	return true
}

// like says whether two items are done on the same host in the same way.
func (x *prepared) like(other *prepared) bool {
	return x == other || x.on == other.on && x.delegatedTo == other.delegatedTo && x.check == other.check && x.diff == other.diff &&
		reflect.DeepEqual(x.address, other.address) && x.become == other.become
}

// sideBySide lets turns propose, all at once.
func (b *bunch) sideBySide(ctx context.Context, turns []*turn) {
	var g *gathering
	var all sync.WaitGroup
	busy := 0
	for _, t := range turns {
		if t.x != nil {
			busy++
		}
	}
	for _, t := range turns {
		if t.x == nil {
			continue
		}
		if g == nil {
			g = &gathering{host: t.x.host, busy: busy}
			if over := b.layer(t.x); over != nil {
				g.host = over.look()
			}
		}
		t.res.renew(t.x)
		t.seat, t.proposal, t.err = &seat{Host: g.host, shared: g}, nil, nil
		all.Go(func() {
			defer g.leave(ctx)
			b.proposeOne(ctx, t)
		})
	}
	all.Wait()
}

func (b *bunch) proposeOne(ctx context.Context, t *turn) {
	defer func() {
		if bug := recover(); bug != nil {
			t.res.fail(fmt.Errorf("bug in %s: %v\n%s", b.row.module.Name, bug, debug.Stack()))
		}
	}()
	t.proposal = b.propose(ctx, t.scope, t.x, t.seat, t.res)
}

// carryOut does what was proposed, bunch by bunch, and says how many items are done.
func (b *bunch) carryOut(ctx context.Context, sum *result) int {
	done := 0
	for i, n := range bunches(b.turns) {
		now := b.turns[done : done+n]
		if i > 0 {
			b.sideBySide(ctx, now)
			if bunches(now)[0] < n || ctx.Err() != nil {
				return done // it has become harder to tell: the rest is done one by one
			}
		}
		b.act(ctx, now)
		for _, t := range now {
			b.end(ctx, t, sum)
		}
		done += n
	}
	return done
}

// bunches cuts turns into runs of such that do not see what others of the run change, and gives how many
// turns each has.
func bunches(turns []*turn) []int {
	var all []int
	n := 0
	changed := changedPaths{}
	for i, t := range turns {
		if n > 0 && (t.alone() || turns[i-1].alone() || changed.seenBy(t)) {
			all, n, changed = append(all, n), 0, changedPaths{}
		}
		n++
		changed.add(t)
	}
	return append(all, n)
}

// alone says whether nobody knows what a turn rests on or changes.
func (t *turn) alone() bool {
	return t.seat != nil && t.seat.blind || t.proposal != nil && t.proposal.Do != nil && t.proposal.Changes == nil ||
		t.proposal != nil && (t.proposal.Waits || t.proposal.Predicts != nil)
}

// act carries the proposals out, the changes of all in one request.
func (b *bunch) act(ctx context.Context, turns []*turn) {
	if len(turns) == 1 {
		if t := turns[0]; t.proposal != nil {
			t.err = b.do(ctx, t.x, b.layer(t.x), t.proposal, t.res)
		}
		return
	}
	var acting []*turn
	for _, t := range turns {
		if t.proposal != nil && len(t.proposal.Changes) > 0 {
			acting = append(acting, t)
		}
	}
	if len(acting) == 0 {
		return
	}
	x := acting[0].x
	host := modules.Host(x.host)
	if over := b.layer(x); over != nil {
		host = over.act()
	} else {
		err := b.mayAct(ctx, x)
		if err == nil {
			err = b.actTogether(acting)
		}
		if err != nil {
			for _, t := range acting {
				t.err = err
			}
			return
		}
		defer b.r.acted(x.on)
	}
	for len(acting) > 0 {
		acting = applyTogether(ctx, host, acting)
	}
}

// actTogether writes down that the turns are about to change their host.
func (b *bunch) actTogether(turns []*turn) error {
	a := acting{Changes: true}
	for _, t := range turns {
		one := acting{Changes: true}
		if err := b.describe(&one, t.x, t.proposal); err != nil {
			return err
		}
		t.keep = b.keepName(t.res.at)
		a.Module, a.On, a.As, a.Secret = one.Module, one.On, one.As, a.Secret || one.Secret
		t.res.acted = true
		a.Items = append(a.Items, t.res.at)
	}
	return b.begins(a, 0)
}

// maxInline is how much content one request of changes carries, about.
const maxInline = 32 << 20

// applyTogether makes the changes of as many turns as fit into a request, up to and with the first that
// fails, and gives those that are left.
func applyTogether(ctx context.Context, host modules.Host, turns []*turn) []*turn {
	var changes []modules.Change
	var paths, n int
	var content int64
	for _, t := range turns {
		for _, c := range t.proposal.Changes {
			paths += len(c.Path) + len(c.Target)
			if c.Content != nil {
				content += c.Content.Size()
			}
		}
		if n > 0 && (len(changes) > maxGathered || paths > maxGatheredPaths || content > maxInline) {
			break
		}
		changes = append(changes, keeping(t.proposal.Changes, t.keep)...)
		n++
	}
	err := host.Apply(ctx, changes...)
	if err == nil {
		return turns[n:]
	}
	var gone *modules.UnreachableError
	if errors.As(err, &gone) || ctx.Err() != nil {
		for _, t := range turns {
			t.err = err
		}
		return nil
	}
	if at := culprit(turns[:n], err); at >= 0 {
		turns[at].err = err
		return turns[at+1:]
	}
	for _, t := range turns[:n] { // making a change a second time does no harm
		t.err = host.Apply(ctx, keeping(t.proposal.Changes, t.keep)...)
	}
	return turns[n:]
}

// culprit is the turn whose change failed, by the path that the error names; -1 when that does not tell.
func culprit(turns []*turn, err error) int {
	var refused *modules.FileError
	if len(turns) == 1 {
		return 0
	}
	if !errors.As(err, &refused) {
		return -1
	}
	at := -1
	for i, t := range turns {
		for _, c := range t.proposal.Changes {
			if c.Path != refused.Path {
				continue
			}
			if at >= 0 && at != i {
				return -1
			}
			at = i
		}
	}
	return at
}

// end makes a turn's result final and stores it.
func (b *bunch) end(ctx context.Context, t *turn, sum *result) {
	res := t.res
	if t.x != nil {
		if t.proposal != nil {
			b.conclude(t.x, t.proposal, t.err, res)
		}
		if res.failed() && ctx.Err() != nil {
			res.status, res.msg = event.Failed, context.Cause(ctx).Error()
			delete(res.fields, "unreachable")
		} else if !res.taken {
			b.judge(t.scope, res)
		}
	}
	b.seal(t.scope, res, &t.item)
	res.took = time.Since(b.began) / time.Duration(len(b.turns)) // its share
	b.register(res)
	sum.items = append(sum.items, res)
}

// changedPaths is the paths that turns change; the value says that it is only on the way to one.
type changedPaths map[string]bool

func (c changedPaths) add(t *turn) {
	if t.proposal == nil {
		return
	}
	for _, change := range t.proposal.Changes {
		c.addPath(change.Path)
		switch change.Kind {
		case modules.Rename, modules.CopyFile, modules.Unpack:
			c.addPath(change.Target)
		}
	}
}

func (c changedPaths) addPath(p string) {
	p = path.Clean(p)
	c[p] = false
	for dir := path.Dir(p); dir != p; p, dir = dir, path.Dir(dir) {
		if _, has := c[dir]; has {
			return
		}
		c[dir] = true
	}
}

// seenBy says whether what a turn has found may be otherwise by now: it looked at a path that was changed, at
// something inside of one, or at a directory that a change may have made or whose entries it wanted. A
// directory that was there stays one, whatever is put into it.
func (c changedPaths) seenBy(t *turn) bool {
	if t.seat == nil || len(c) == 0 {
		return false
	}
	for i, q := range t.seat.asked {
		p := path.Clean(q.Path)
		if onTheWay, has := c[p]; has && (!onTheWay || q.List || t.seat.found[i] != modules.Directory) {
			return true
		}
		for dir := path.Dir(p); dir != p; p, dir = dir, path.Dir(dir) {
			if onTheWay, has := c[dir]; has && !onTheWay {
				return true
			}
		}
	}
	return false
}
