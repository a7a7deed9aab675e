package runner

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/vars"
)

// recording says whether the run keeps what it comes to. One in check mode does not: what it has made exists in memory
// only, so it can but begin anew.
func (r *run) recording() bool { return r.opts.Record != nil && !r.opts.Check }

// errNotKept is when something could not be written down; the run ends then.
var errNotKept = errors.New("the record of the run cannot be written")

// keep writes an entry down. When that fails the run starts nothing more.
func (r *run) keep(e Entry) error {
	if !r.recording() {
		return nil
	}
	if err := r.opts.Record.Keep(e); err != nil {
		err = fmt.Errorf("%w: %w", errNotKept, err)
		r.unkept.CompareAndSwap(nil, &err)
		return err
	}
	return nil
}

// unfit gives the reason for which the walk is to end: the record can neither be written nor gone on with.
func (r *run) unfit() error {
	if err := r.notKept(); err != nil {
		return err
	}
	return r.unlike
}

// notKept says why the record cannot be written; nil while it can.
func (r *run) notKept() error {
	if r.opts.Record != nil {
		if err := r.opts.Record.Err(); err != nil {
			return err
		}
	}
	if err := r.unkept.Load(); err != nil {
		return *err
	}
	return nil
}

// decide writes down what was answered to a question; place names it.
func (r *run) decide(place string, answer any, private bool) error {
	raw, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return r.keep(Entry{Kind: EntryDecided, Place: place, State: raw, Private: private, Durable: true})
}

// jot writes down what the run itself has found out, and what it could find out again.
func (r *run) jot(place string, what any) {
	if raw, err := json.Marshal(what); err == nil {
		r.keep(Entry{Kind: EntryDecided, Place: place, State: raw}) //nolint:errcheck // the run ends then; see unfit
	}
}

// decided gives what was answered before the run was gone on with; false when nothing was.
func (r *run) decided(place string, answer any) bool {
	if r.opts.Past == nil {
		return false
	}
	raw, ok := r.opts.Past.decided[place]
	return ok && json.Unmarshal(raw, answer) == nil
}

const (
	answersPlace = "vars_prompt"
	sourcesPlace = "inventory"
)

// begins writes down what the run begins with.
func (r *run) begins() error {
	if answered := r.plan.in.Answered; len(answered) > 0 && !bytes.Equal(answered, r.opts.Past.Answered()) {
		if err := r.decide(sourcesPlace, answered, true); err != nil {
			return err
		}
	}
	if past := r.opts.Past; past != nil {
		for _, e := range past.undone {
			if err := r.keep(e); err != nil {
				return err
			}
		}
		return nil
	}
	if len(r.plan.in.given) == 0 {
		return nil
	}
	return r.decide(answersPlace, r.plan.in.given, true)
}

// tellLoss writes down that a host is lost, or takes part again.
func (r *run) tellLoss(h *host) {
	e := Entry{Kind: EntryLost, Place: h.cause, Host: h.Name}
	if h.lost == notLost {
		e.Kind = EntryBack
	}
	r.keep(e) //nolint:errcheck // the run ends when it cannot be kept; see unfit
}

// acts writes down that the step is about to change its host. The error keeps it from doing so.
func (st *step) acts(x *prepared, p *modules.Proposal, res *result) error {
	once := p.Once && x.job == nil && !st.harmless()
	if err := st.flew(once, res); err != nil {
		return err
	}
	res.acted = true
	a := acting{Changes: len(p.Diff) > 0, Once: once, Mark: p.Mark, Reads: st.harmless()}
	a.Counts = a.Changes && !st.row.module.Keeps && !st.row.module.Prepares
	if err := st.describe(&a, x, p); err != nil {
		return err
	}
	if err := st.begins(a, res.at); err != nil {
		return err
	}
	st.flying = once
	return nil
}

// describe adds what whoever takes the step back has to know, and lets the host keep what is there before.
func (st *step) describe(a *acting, x *prepared, p *modules.Proposal) error {
	if !a.Changes || !st.r.recording() {
		return nil
	}
	a.Module, a.On, a.As, a.Stays, a.Secret = st.row.module.Name, x.delegatedTo, x.become.User, p.Stays, slices.ContainsFunc(p.Diff, func(d modules.Diff) bool { return d.Secret })
	a.Files = len(p.Changes)+len(p.Leaves) > 0
	if st.row.module.About != nil {
		a.About = st.row.module.About(x.json)
	}
	if st.row.module.ByHand != "" && !x.noLog {
		a.Did = shortly(p.Diff)
	}
	if st.row.module.Keeps || p.Before != nil {
		st.r.kept.Store(true)
	}
	if st.row.module.Keeps {
		x.host.keep = st.keepName(x.item)
	}
	if p.Before == nil {
		return nil
	}
	var err error
	a.Before, err = json.Marshal(p.Before)
	return err
}

// shortly is what a module has changed, for people who have to take it back by hand.
func shortly(diff []modules.Diff) []string {
	const most, longest = 5, 120
	var all []string
	for _, d := range diff[:min(most, len(diff))] {
		text := []rune(strings.TrimSpace(d.Subject + " " + d.Note))
		all = append(all, string(text[:min(longest, len(text))]))
	}
	if len(diff) > most {
		all = append(all, fmt.Sprintf("%d more", len(diff)-most))
	}
	return all
}

// keepName is under which name a host keeps what is there before the step, or an item of it; "" keeps nothing.
func (st *step) keepName(item int) string {
	if st.r.opts.RunID == "" || !st.r.recording() || !st.row.module.Keeps {
		return ""
	}
	return st.r.opts.RunID + "/" + st.undoKey(item).name()
}

func (st *step) undoKey(item int) undoKey { return undoKey{unbatched(st.where()), st.p.Name, item} }

func (st *step) begins(a acting, item int) error {
	if !st.r.recording() {
		return nil
	}
	raw, err := json.Marshal(a)
	if err != nil {
		return err
	}
	err = st.r.keep(Entry{Kind: EntryActing, Place: st.where(), Host: st.p.Name, Item: item, Task: st.name, State: raw, Durable: a.Once})
	if err != nil {
		st.left, st.unkept = true, true // it has done nothing: for whoever goes on it has not begun
	}
	return err
}

// harmless says whether the user says that the task changes nothing.
func (st *step) harmless() bool {
	for _, e := range st.row.task.ChangedWhen {
		if e.String() == "false" {
			return true
		}
	}
	return false
}

// errTaken is a step that is taken as done.
var errTaken = errors.New("taken as done")

// flew decides about a step that had begun to act when the run ended.
func (st *step) flew(once bool, res *result) error {
	a, was := st.before.acting(res.at)
	if !was || !a.Once || a.over || !once {
		return nil
	}
	switch st.r.opts.Past.InFlight {
	case InFlightSkip:
		return errTaken
	case InFlightFail:
		return errors.New("it was under way when the run ended, and is taken as failed")
	}
	return nil
}

// acting is what is known of an item that had begun.
func (s *pastStep) acting(item int) (acting, bool) {
	if s == nil {
		return acting{}, false
	}
	a, was := s.began[item]
	return a, was
}

// made says whether the step had begun a change of which nothing is left to do: then it was made.
func (st *step) made(x *prepared, res *result) bool {
	a, was := st.before.acting(res.at)
	return was && a.Changes && !x.check
}

// retried writes down that the step is tried again.
func (st *step) retried(n int, res *result) error {
	if !st.r.recording() || !res.acted {
		return nil
	}
	st.flying = false
	return st.r.keep(Entry{Kind: EntryTried, Place: st.where(), Host: st.p.Name, Item: res.at, Task: st.name, State: fmt.Appendf(nil, "%d", n)})
}

// triedBefore is how often the step was tried already.
func (st *step) triedBefore(res *result) int {
	if st.before == nil {
		return 0
	}
	return st.before.tried[res.at]
}

// ended writes down how an item ended that did something.
func (st *step) ended(ctx context.Context, res *result) error {
	if !st.r.recording() || !res.acted || res.failed() && ctx.Err() != nil || errors.Is(res.err, errNotKept) {
		return nil
	}
	k := st.keep(res)
	k.Item, k.Label = res.item.Exact(), res.label
	k.Msg, k.Fields = res.msg, keepData(res.fields)
	raw, err := json.Marshal(k)
	if err != nil {
		return err
	}
	st.flying = false
	return st.r.keep(Entry{Kind: EntryDone, Place: st.where(), Host: st.p.Name, Item: res.at, Task: st.name, State: raw, Private: res.noLog, Soon: true})
}

// endedBefore gives the result of an item that has been done.
func (st *step) endedBefore(i int, value vars.Data) (*result, error) {
	if st.before == nil || st.before.items[i+1] == nil {
		return nil, nil
	}
	var k kept
	if err := json.Unmarshal(st.before.items[i+1], &k); err != nil {
		return nil, err
	}
	if string(k.Item) != string(value.Exact()) {
		return nil, nil // another item: the list has changed
	}
	res, err := st.recall(&k)
	if err != nil {
		return nil, err
	}
	res.at, res.acted = i+1, true
	if u := st.r.opts.Undo; u != nil {
		u.met.Store(st.undoKey(res.at), true)
	}
	return res, nil
}

// written makes the entry of the step's end. A step that was cancelled has none: it is in flight for whoever goes
// on.
func (st *step) written(ctx context.Context) {
	if !st.r.recording() || st.looking != nil {
		return
	}
	if ctx.Err() != nil && (st.res.failed() || st.cut) {
		if st.flying {
			st.r.cutOff.Add(1)
		}
		return
	}
	k := keptStep{kept: *st.keep(st.res), Task: st.r.digest(st.row), Uses: st.r.inputs.ids(st.r, st.used, st.rowRun.used), Alone: st.alone, Forced: st.forced, Proof: st.proved()}
	raw, err := json.Marshal(k)
	if err != nil {
		st.r.unkept.CompareAndSwap(nil, &err)
		return
	}
	st.entry = &Entry{Kind: EntryDone, Place: st.where(), Host: st.p.Name, Task: st.name, State: raw, Private: st.res.noLog}
}

// proved says whether the step has proved something that holds for the moment only.
func (st *step) proved() bool {
	return st.row.module != nil && st.row.module.Proves && !st.res.failed() && st.res.status != event.Skipped
}

// digest is what makes a row's task what it is.
func (r *run) digest(w *row) string {
	if d, ok := r.digests.Load(w); ok {
		return d.(string)
	}
	h := sha256.New()
	w.task.Digest(h)
	for k := w.keys; k != nil; k = k.outer {
		if k.Keywords != &w.task.Keywords {
			k.Keywords.Digest(h)
		}
	}
	d := short(h)
	r.digests.Store(w, d)
	return d
}

func short(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)[:8]) }

// takeEnd writes the step's end down. False: it was not, and the run ends.
func (st *step) takeEnd() bool {
	if st.res.err != nil && errors.Is(st.res.err, errNotKept) {
		return false
	}
	if st.entry == nil || st.kept {
		return true
	}
	e := *st.entry
	e.Soon = true
	return st.r.keep(e) == nil
}

// endNow writes the step's end down before it is settled, because the host may then forget what only the record
// knows.
func (st *step) endNow() {
	if st.entry != nil {
		st.kept = st.r.keep(*st.entry) == nil
	}
}
