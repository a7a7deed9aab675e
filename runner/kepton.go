package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/connect"
)

// keptOn is what a host has kept of the run that is taken back, read when it is first asked for.
type keptOn struct {
	mu    sync.Mutex // held while the host is being asked
	asked bool       // it has answered, and what follows does not change any more

	known   bool            // the host knows of the run
	records map[string]bool // steps that it has a record of; false: one that is not whole
	paths   map[string]*history
	stays   []string // folders that stay, without links on the way to them
}

// history is what a run has made of one path. A path that several steps have changed is put back by the first of them:
// what that found was there before the run.
type history struct {
	path   string
	step   string // the first that changed it
	time   int64
	was    modules.File
	opened bool   // its content was replaced, or it was made or removed; else its attributes were changed
	copy   string // of its content; "" where there was none to keep, or lost says why it was not
	lost   string
	left   *modules.File // as the run left it; nil where nobody has seen that
	inTree *modules.File // as it lies in a directory that the run has removed, and that comes back with it
	gone   *history      // the directory around it that the run had removed before there was nothing here
}

// read asks the host, until it has answered once.
func (k *keptOn) read(ctx context.Context, host *lazyHost, run string, stays []string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.asked {
		return nil
	}
	real, err := host.get(ctx)
	if err != nil {
		return err
	}
	if remembering, ok := real.(connect.Remembering); ok {
		kept, err := remembering.Kept(ctx, run)
		if err != nil {
			return err
		}
		if k.stays, err = realPaths(ctx, real, stays); err != nil {
			return err
		}
		k.takeAll(kept)
	}
	k.asked = true
	return nil
}

func (k *keptOn) takeAll(kept *connect.Kept) {
	k.known, k.records, k.paths = kept.Known, map[string]bool{}, map[string]*history{}
	for _, step := range kept.Recorded {
		k.records[step] = true
	}
	for _, step := range kept.Damaged {
		k.records[step] = false
	}
	slices.SortStableFunc(kept.Files, func(a, b connect.KeptFile) int { return cmp.Compare(a.Time, b.Time) })
	for _, f := range kept.Files {
		k.take(f)
	}
}

// realPaths gives paths without links on the way to them, and as they are beside that. Of a path that is not there the
// host says nothing, and one without readlink says nothing of any.
func realPaths(ctx context.Context, host modules.Host, paths []string) ([]string, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	all := slices.Compact(slices.Sorted(slices.Values(paths)))
	out, err := host.Run(ctx, modules.Command{Argv: append([]string{"readlink", "-f", "--"}, all...), ReadOnly: true})
	var exit *modules.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return append(all, strings.FieldsFunc(string(out.Stdout), func(r rune) bool { return r == '\n' })...), nil
}

func (k *keptOn) take(f connect.KeptFile) {
	h := k.paths[f.Path]
	switch {
	case f.After && h != nil:
		h.left = &f.File
		return
	case f.After:
		return
	case h == nil:
		h = &history{path: f.Path, step: f.Step, time: f.Time, was: f.File}
		k.paths[f.Path] = h
		if h.madeNew() {
			h.gone = k.removedAround(f.Path)
		}
	}
	if f.File.Kind == modules.Directory && f.Copy != "" {
		for p, in := range k.paths {
			if strings.HasPrefix(p, f.Path+"/") && in.inTree == nil {
				in.inTree = in.left
			}
		}
	}
	h.left = nil // until it is seen how this change has left it
	if f.Opens && !h.opened {
		h.opened, h.copy, h.lost = true, f.Copy, f.Lost
	}
	if f.Lost != "" && h.lost == "" {
		h.lost = f.Lost
	}
}

// removedAround is the outermost directory around a path that the run has removed so far, and that is kept; nil for none.
func (k *keptOn) removedAround(p string) *history {
	for _, dir := range k.above(p) {
		if dir.copy != "" {
			return dir
		}
	}
	return nil
}

// madeNew says whether there was nothing before.
func (h *history) madeNew() bool { return h.was.Kind == modules.Missing }

// of are the paths that a step is to put back, in the order in which it changed them.
func (k *keptOn) of(step string) []*history {
	var all []*history
	for _, h := range k.paths {
		if h.step == step {
			all = append(all, h)
		}
	}
	slices.SortFunc(all, func(a, b *history) int {
		return cmp.Or(cmp.Compare(a.time, b.time), strings.Compare(a.path, b.path))
	})
	return all
}

// below are the paths inside a directory that the run has made, the deepest first.
func (k *keptOn) below(dir string) []*history {
	var all []*history
	for p, h := range k.paths {
		if strings.HasPrefix(p, dir+"/") && h.madeNew() {
			all = append(all, h)
		}
	}
	slices.SortFunc(all, func(a, b *history) int { return strings.Compare(b.path, a.path) })
	return all
}

// above are the directories that a path lay in and that the run has removed, outermost first.
func (k *keptOn) above(p string) []*history {
	var all []*history
	for dir := path.Dir(p); dir != "/" && dir != "."; dir = path.Dir(dir) {
		if h := k.paths[dir]; h != nil && h.was.Kind == modules.Directory {
			all = append([]*history{h}, all...)
		}
	}
	return all
}

// keptBy is what the host that a step works on has kept of the run that is taken back.
func (u *Undo) keptBy(ctx context.Context, x *prepared, run string) (*keptOn, error) {
	key := fmt.Sprintf("%s\x00%v\x00%s", x.on.Name, x.address, x.become.User)
	u.mu.Lock()
	k := u.hosts[key]
	if k == nil {
		k = &keptOn{}
		u.hosts[key] = k
	}
	u.mu.Unlock()
	return k, k.read(ctx, x.host, run, u.stays[x.on.Name])
}
