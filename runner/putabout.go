package runner

import (
	"context"
	"encoding/json"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/vars"
)

// restore lets the module propose to put back what was there before. Of several steps about the same thing the first one
// knows that, and the last one puts it back.
func (st *step) restore(ctx context.Context, x *prepared, call *modules.Call, did *undone) (*modules.Proposal, error) {
	u, m := st.r.opts.Undo, st.row.module
	var before json.RawMessage
	if did != nil {
		before = did.Before
	}
	if about, f := st.about(x); f != nil {
		before = f.before
		comes := u.comes(f, st.undoKey(x.item))
		owed := !comes && st.comesAgain(about, x.scope)
		call.Later = comes || owed
		u.mu.Lock()
		f.owed = owed
		u.mu.Unlock()
	}
	return m.Restore(ctx, call, x.json, before)
}

// about is what the step is about, and what the run that is taken back has done about it; nil for nothing.
func (st *step) about(x *prepared) (string, *found) {
	if st.row.module.About == nil || x.json == nil {
		return "", nil
	}
	about := st.row.module.About(x.json)
	return about, st.r.opts.Undo.things[thing{x.on.Name, about}]
}

// comesAgain says whether a later row of the play, which the run that is taken back had not come to or where it changed
// nothing, is about the same thing. What names mean there is taken to be what they mean here; a row of which nothing can
// be said that way does not count.
func (st *step) comesAgain(about string, s *vars.Scope) bool {
	later := false
	for _, v := range st.lane.trace {
		w := v.row
		switch {
		case w == nil:
		case w == st.row:
			later = true
		case !later || w.kind != taskRow || w.left || w.module == nil || w.module.About == nil || !w.task.Loop.IsZero() || !isSure(w.place):
		default:
			if args, err := w.render(s, st.r.secrets); err == nil && w.module.About(args.json) == about {
				return true
			}
		}
	}
	return false
}

// owes says whether the step has to put back what an earlier one has left to it, whatever its conditions say.
func (st *step) owes(s *vars.Scope) bool {
	u, m := st.r.opts.Undo, st.row.module
	if m.About == nil || !isSure(st.row.place) || len(u.things) == 0 {
		return false
	}
	args, err := st.row.render(s, st.r.secrets)
	if err != nil {
		return false
	}
	f := u.things[thing{st.p.Name, m.About(args.json)}]
	u.mu.Lock()
	defer u.mu.Unlock()
	return f != nil && f.owed
}
