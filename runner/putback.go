package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/vars"
)

// magic says to a playbook which run is taken back, and on which hosts that has changed something in a play.
func (u *Undo) magic(play string) vars.Data {
	hosts := []string{}
	run := ""
	if u != nil {
		run = u.Run
		was := u.plays[play].Hosts
		for _, name := range was {
			if u.changed[play][name] {
				hosts = append(hosts, name)
			}
		}
	}
	return vars.Of(map[string]vars.Data{"run": vars.Of(run), "hosts": vars.Of(hosts)})
}

// did says whether the run that is taken back has changed something in a step.
func (u *Undo) did(key undoKey) bool { return u.steps[key] != nil }

// takesBack says whether the step does not do what its task says, but puts back what was there before.
func (st *step) takesBack() bool {
	m := st.row.module
	return st.r.opts.Undo != nil && st.looking == nil && st.row.kind == taskRow && m != nil && (m.Keeps || m.Restore != nil)
}

// putBack proposes to put back what was there before the run that is taken back.
func (st *step) putBack(ctx context.Context, x *prepared, host modules.Host) (*modules.Proposal, error) {
	u, m, call := st.r.opts.Undo, st.row.module, st.call(x, host)
	key := st.undoKey(x.item)
	did := u.steps[key]
	u.met.Store(key, true)
	if m.Restore != nil {
		rest, err := st.restore(ctx, x, call, did)
		if err != nil || !m.Keeps || did == nil || !did.Files {
			return rest, err
		}
		files := &modules.Proposal{}
		if _, err := st.putFilesBack(ctx, x, did, host, files); err != nil {
			return nil, err
		}
		return both(files, rest), nil
	}
	if did == nil {
		p := st.asItIs(ctx, call, x)
		p.Message = firstOf(p.Message, "run "+u.Run+" did not change it")
		return p, nil
	}
	p := st.asItIs(ctx, call, x)
	b, err := st.putFilesBack(ctx, x, did, host, p)
	if err != nil {
		return nil, err
	}
	p.Output = b.output(p.Output)
	return p, nil
}

// putFilesBack adds to a proposal what puts the files of the step back.
func (st *step) putFilesBack(ctx context.Context, x *prepared, did *undone, host modules.Host, p *modules.Proposal) (*backing, error) {
	u := st.r.opts.Undo
	b := &backing{undo: u, did: did, host: host}
	var err error
	if b.kept, err = u.keptBy(ctx, x, u.Run); err != nil {
		return nil, err
	}
	b.stays = b.kept.stays
	return b, b.propose(ctx, did.name(), p)
}

// both is a proposal that puts files back, and then the rest.
func both(files, rest *modules.Proposal) *modules.Proposal {
	p := *rest
	p.Message = strings.Join(slices.DeleteFunc([]string{files.Message, rest.Message}, func(s string) bool { return s == "" }), "; ")
	p.Diff = slices.Concat(files.Diff, rest.Diff)
	if rest.Do == nil {
		if p.Predicts = nil; len(files.Changes) > 0 {
			p.Change(files.Changes...)
		}
		return &p
	}
	p.Changes, p.Leaves = nil, slices.Concat(files.Changes, rest.Leaves)
	p.Do = func(ctx context.Context, host modules.Host) error {
		if len(files.Changes) > 0 {
			if err := host.Apply(ctx, files.Changes...); err != nil {
				return err
			}
		}
		return rest.Do(ctx, host)
	}
	return &p
}

// asItIs is a proposal of nothing, with what the module registers as far as it can say that.
func (st *step) asItIs(ctx context.Context, call *modules.Call, x *prepared) *modules.Proposal {
	if x.json == nil {
		return &modules.Proposal{}
	}
	p, err := st.row.module.Propose(ctx, call, x.json)
	if err != nil || p == nil {
		return &modules.Proposal{}
	}
	return &modules.Proposal{Output: p.Output}
}

// backing is a step that puts files back.
type backing struct {
	undo  *Undo
	did   *undone
	host  modules.Host
	kept  *keptOn
	stays []string

	found    map[string]modules.File // what is there now, and copies
	trees    map[string]*history     // directories that are put back before what is in them
	returned map[string]bool         // directories that were put back by an earlier step
	done     map[string]bool         // paths that are dealt with
	diff     []modules.Diff
	changes  []modules.Change
	notes    []string // what stays as it is, and why
	problems []string // what keeps the step from being taken back
	last     *modules.File
}

// NotPutBackError is what cannot be put back, or not without losing what somebody else has done since.
type NotPutBackError struct {
	Run      string
	Problems []string
}

// Error lists the problems.
func (e *NotPutBackError) Error() string {
	return strings.Join(e.Problems, "; ") + "; --force takes run " + e.Run + " back all the same"
}

var _ error = (*NotPutBackError)(nil)

// propose adds to a proposal what puts the files of a step back.
func (b *backing) propose(ctx context.Context, step string, p *modules.Proposal) error {
	b.done = map[string]bool{}
	mine := b.kept.of(step)
	switch whole, recorded := b.kept.records[step]; {
	case !b.kept.known:
		b.problem("what was there before is not kept on the host any more, or never was")
	case recorded && !whole:
		b.problem("the record of what was there before is not whole; look whether the disk of the host was full")
	case !recorded && b.did.changed:
		b.problem("the host has no record of what was there before; look whether its disk was full")
	}
	if err := b.look(ctx, mine); err != nil {
		return err
	}
	for _, h := range mine {
		if !h.madeNew() {
			b.back(h)
		}
	}
	for _, h := range slices.Backward(mine) {
		if h.madeNew() {
			b.remove(h)
		}
	}
	if len(b.problems) > 0 && !b.undo.Force {
		return &NotPutBackError{b.undo.Run, b.problems}
	}
	p.Message = strings.Join(append(b.notes, b.problems...), "; ")
	if b.did.Secret {
		for i := range b.diff {
			b.diff[i].Secret = true
		}
	}
	if p.Diff = b.diff; len(b.changes) > 0 {
		p.Change(b.changes...)
	}
	return nil
}

func (b *backing) problem(format string, args ...any) {
	b.problems = append(b.problems, fmt.Sprintf(format, args...))
}

// maxBackShown is the longest content of which both sides are shown.
const maxBackShown = 128 << 10

// look looks at all that the step is about: its paths, their copies, what lies inside of directories that were made,
// and directories around them that were removed.
func (b *backing) look(ctx context.Context, mine []*history) error {
	var all []*history
	for _, h := range mine {
		all = append(append(all, b.kept.above(h.path)...), h)
		if h.madeNew() {
			all = append(all, b.kept.below(h.path)...)
		}
	}
	b.found = map[string]modules.File{}
	if err := b.lookAbove(ctx, mine); err != nil {
		return err
	}
	var queries []modules.Query
	asked := map[string]bool{}
	ask := func(q modules.Query) {
		if !asked[q.Path] {
			asked[q.Path] = true
			queries = append(queries, q)
		}
	}
	for _, h := range all {
		ask(modules.Query{Path: b.lies(h.path), Sum: true, Content: maxBackShown, List: h.madeNew()})
		if h.copy != "" {
			ask(modules.Query{Path: h.copy, Sum: true, Content: maxBackShown})
		}
	}
	for len(queries) > 0 {
		n := min(len(queries), 200)
		files, err := b.host.Look(ctx, queries[:n]...)
		if err != nil {
			return err
		}
		for i, f := range files {
			b.found[queries[i].Path] = f
		}
		queries = queries[n:]
	}
	for _, h := range all {
		if at := b.lies(h.path); at != h.path {
			b.found[h.path] = b.found[at]
		}
	}
	return nil
}

// lookAbove finds the directories around the step's paths that the run has removed: they are put back first, and what
// is in them lies where they are kept until then.
func (b *backing) lookAbove(ctx context.Context, mine []*history) error {
	var dirs []*history
	var queries []modules.Query
	for _, h := range mine {
		for _, dir := range append(b.kept.above(h.path), h) {
			if dir.was.Kind == modules.Directory && dir.copy != "" && !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
				queries = append(queries, modules.Query{Path: dir.path}, modules.Query{Path: dir.copy})
			}
		}
	}
	if len(queries) == 0 {
		return nil
	}
	files, err := b.host.Look(ctx, queries...)
	if err != nil {
		return err
	}
	b.trees, b.returned = map[string]*history{}, map[string]bool{}
	for i, dir := range dirs {
		switch now, kept := files[2*i], files[2*i+1]; {
		case kept.Kind != modules.Directory:
			b.returned[dir.path] = now.Kind == modules.Directory
		case now.Kind == modules.Missing:
			b.trees[dir.path] = dir
		default:
			b.problem("%s was removed by the run and is there again: %s is what was in it", dir.path, dir.copy)
		}
	}
	return nil
}

// tree is the directory around a path that is put back before it; nil where there is none.
func (b *backing) tree(p string) *history {
	for dir := path.Dir(p); dir != "/" && dir != "."; dir = path.Dir(dir) {
		if t := b.trees[dir]; t != nil {
			return t
		}
	}
	return nil
}

// lies is where a path lies now.
func (b *backing) lies(p string) string {
	if t := b.tree(p); t != nil {
		return t.copy + strings.TrimPrefix(p, t.path)
	}
	return p
}

// back puts back what was there.
func (b *backing) back(h *history) {
	if b.done[h.path] {
		return
	}
	b.done[h.path] = true
	now := b.found[h.path]
	was := b.found[h.copy]
	same := now.Kind == h.was.Kind
	switch h.was.Kind {
	case modules.Regular:
		same = same && (!h.opened || h.copy != "" && now.Sum == was.Sum || h.copy == "" && now.Size == h.was.Size && now.Modified.Equal(h.was.Modified))
	case modules.Symlink:
		same = same && now.Target == h.was.Target
	}
	b.last = &h.was
	if t := b.tree(h.path); t != nil {
		b.back(t)
	}
	if same && (h.was.Kind == modules.Symlink || now.Mode == h.was.Mode) && now.UID == h.was.UID && now.GID == h.was.GID {
		return
	}
	if !b.mayChange(h, now) {
		return
	}
	if same && h.was.Kind != modules.Symlink {
		b.attributes(h, now)
		return
	}
	b.replace(h, now, was)
}

// mayChange says whether a path is still as the run left it.
func (b *backing) mayChange(h *history, now modules.File) bool {
	if h.left == nil || b.undo.Force || b.tree(h.path) != nil || untouched(*h.left, now) || h.inTree != nil && untouched(*h.inTree, now) {
		return true
	}
	b.problem("%s was changed since by somebody else", h.path)
	return false
}

// untouched says whether a path is as it was left.
func untouched(left, now modules.File) bool {
	if left.Kind != now.Kind {
		return false
	}
	switch left.Kind {
	case modules.Missing:
		return true
	case modules.Symlink:
		return left.Target == now.Target && left.UID == now.UID && left.GID == now.GID
	case modules.Regular:
		if left.Size != now.Size || !left.Modified.Equal(now.Modified) {
			return false
		}
	}
	return left.Mode == now.Mode && left.UID == now.UID && left.GID == now.GID
}

// attributes puts mode and owner back.
func (b *backing) attributes(h *history, now modules.File) {
	var notes []string
	if now.Mode != h.was.Mode {
		notes = append(notes, fmt.Sprintf("mode %04o → %04o", now.Mode, h.was.Mode))
	}
	if now.UID != h.was.UID || now.GID != h.was.GID {
		notes = append(notes, fmt.Sprintf("owner %d:%d → %d:%d", now.UID, now.GID, h.was.UID, h.was.GID))
	}
	b.diff = append(b.diff, modules.Diff{Subject: h.path, Note: strings.Join(notes, ", ") + ", as before"})
	b.changes = append(b.changes, modules.Change{Kind: modules.SetAttributes, Path: h.path, Attributes: attributesOf(h.was)})
}

func attributesOf(f modules.File) modules.Attributes {
	mode := f.Mode
	return modules.Attributes{Mode: &mode, Owner: strconv.Itoa(f.UID), Group: strconv.Itoa(f.GID)}
}

// replace puts content, a link or a directory back.
func (b *backing) replace(h *history, now, was modules.File) {
	kept := h.copy != "" && was.Kind == h.was.Kind
	if !kept && h.was.Kind != modules.Symlink && !(h.was.Kind == modules.Directory && now.Kind == modules.Missing && h.copy == "" && h.lost == "") {
		b.problem("%s cannot be put back: %s", h.path, firstOf(h.lost, "what was there is not kept any more"))
		return
	}
	if now.Kind == modules.Directory && h.was.Kind != modules.Directory {
		for _, inside := range b.kept.below(h.path) {
			b.remove(inside)
		}
		b.changes = append(b.changes, modules.Change{Kind: modules.RemoveDirectory, Path: h.path})
	}
	if h.was.Kind == modules.Directory && now.Kind != modules.Directory && now.Kind != modules.Missing {
		b.changes = append(b.changes, modules.Change{Kind: modules.Remove, Path: h.path})
	}
	b.diff = append(b.diff, differenceBack(h, now, was))
	switch h.was.Kind {
	case modules.Symlink:
		a := attributesOf(h.was)
		a.Mode = nil
		b.changes = append(b.changes, modules.Change{Kind: modules.MakeLink, Path: h.path, Target: h.was.Target, Attributes: a})
	case modules.Directory:
		if kept {
			b.changes = append(b.changes, modules.Change{Kind: modules.Rename, Path: h.copy, Target: h.path})
			if was.Mode != h.was.Mode || was.UID != h.was.UID || was.GID != h.was.GID { // the run had changed it before it removed it
				b.changes = append(b.changes, modules.Change{Kind: modules.SetAttributes, Path: h.path, Attributes: attributesOf(h.was)})
			}
		} else {
			b.changes = append(b.changes, modules.Change{Kind: modules.MakeDirectory, Path: h.path, Attributes: attributesOf(h.was)})
		}
	default:
		b.changes = append(b.changes, modules.Change{Kind: modules.CopyFile, Path: h.copy, Target: h.path, Attributes: attributesOf(h.was)})
	}
}

// differenceBack says what is put back.
func differenceBack(h *history, now, was modules.File) modules.Diff {
	d := modules.Diff{Subject: h.path, Note: "is put back"}
	switch h.was.Kind {
	case modules.Symlink:
		d.Before, d.After, d.Note = now.Target, h.was.Target, "link to "+h.was.Target+" is put back"
	case modules.Directory:
		d.Note = "directory is put back"
	default:
		if text(now) && text(was) {
			d.Before, d.After, d.Note = string(now.Content), string(was.Content), "content is put back"
		}
	}
	return d
}

// text says whether the whole content is known and can be shown.
func text(f modules.File) bool {
	return f.Kind != modules.Regular || !f.Truncated && utf8.Valid(f.Content) && !bytes.ContainsRune(f.Content, 0)
}

// remove removes what the run has made, where nobody else has put anything into it.
func (b *backing) remove(h *history) {
	if b.done[h.path] {
		return
	}
	b.done[h.path] = true
	if t := b.tree(h.path); t != nil {
		b.back(t)
	}
	now := b.found[h.path]
	if now.Kind == modules.Missing || now.Kind == "" {
		return
	}
	if d := h.gone; d != nil && (b.trees[d.path] != nil || b.returned[d.path]) {
		return // what is there came back with the directory around it, and was there before
	}
	for _, dir := range b.stays {
		if h.path == dir || strings.HasPrefix(h.path, dir+"/") {
			b.notes = append(b.notes, h.path+" stays, in "+dir)
			b.last = &now
			return
		}
	}
	if now.Kind != modules.Directory {
		if b.mayChange(h, now) {
			d := modules.Diff{Subject: h.path, Note: "is removed: there was nothing"}
			if text(now) && now.Kind == modules.Regular {
				d.Before = string(now.Content)
			}
			b.diff = append(b.diff, d)
			b.changes = append(b.changes, modules.Change{Kind: modules.Remove, Path: h.path})
		}
		return
	}
	inside := b.kept.below(h.path)
	if strange := b.strangers(h, inside); len(strange) > 0 {
		b.done[h.path] = true
		b.notes = append(b.notes, fmt.Sprintf("%s stays: it holds %s, which the run did not make", h.path, shortList(strange)))
		return
	}
	for _, in := range inside {
		b.remove(in)
	}
	b.diff = append(b.diff, modules.Diff{Subject: h.path, Note: "directory is removed: there was none"})
	b.changes = append(b.changes, modules.Change{Kind: modules.RemoveDirectory, Path: h.path})
}

// strangers are what lies in a directory that the run has made, and was not made by it or is to stay.
func (b *backing) strangers(h *history, inside []*history) []string {
	made := map[string]bool{}
	for _, in := range inside {
		made[in.path] = true
	}
	var strange []string
	for _, dir := range append([]*history{h}, inside...) {
		for _, e := range b.found[dir.path].Entries {
			if name := path.Base(e.Path); !made[path.Join(dir.path, name)] { // it may lie in a tree that is still kept
				strange = append(strange, name)
			}
		}
	}
	for _, in := range inside {
		now := b.found[in.path]
		stays := slices.ContainsFunc(b.stays, func(dir string) bool { return in.path == dir || strings.HasPrefix(in.path, dir+"/") })
		if now.Kind != modules.Missing && now.Kind != "" && (stays || now.Kind != modules.Directory && in.left != nil && !untouched(*in.left, now) && !b.undo.Force) {
			strange = append(strange, path.Base(in.path))
		}
	}
	return strange
}

// shortList names some of many.
func shortList(names []string) string {
	if len(names) > 3 {
		return strings.Join(names[:3], ", ") + fmt.Sprintf(" and %d more", len(names)-3)
	}
	return strings.Join(names, ", ")
}

// output is what the module registers of the file that was put back: what is there afterwards.
func (b *backing) output(out any) any {
	if out == nil || b.last == nil || b.last.Kind != modules.Regular {
		return out
	}
	raw, err := json.Marshal(out)
	fields := map[string]json.RawMessage{}
	if err != nil || json.Unmarshal(raw, &fields) != nil {
		return out
	}
	set := func(name string, value any) {
		if _, has := fields[name]; has {
			if raw, err := json.Marshal(value); err == nil {
				fields[name] = raw
			}
		}
	}
	set("mode", fmt.Sprintf("%04o", b.last.Mode))
	set("size", b.last.Size)
	if sum := b.sumAfter(); sum != "" {
		set("checksum", sum)
	}
	return fields
}

// sumAfter is the checksum of the file that the step leaves.
func (b *backing) sumAfter() string {
	for p, f := range b.found {
		if h := b.kept.paths[p]; h != nil && &h.was == b.last {
			if h.copy != "" {
				return b.found[h.copy].Sum
			}
			return f.Sum
		}
	}
	return b.found[b.last.Path].Sum
}
