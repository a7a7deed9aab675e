package runner

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/connect"
)

// keptOn is what a host has kept of the run that is taken back, read when it is first asked for.
type keptOn struct {
	once sync.Once
	err  error

	known   bool // the host knows of the run
	damaged []string
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
}

// read asks the host.
func (k *keptOn) read(ctx context.Context, host *lazyHost, run string, stays []string) error {
	k.once.Do(func() {
		var real modules.Host
		if real, k.err = host.get(ctx); k.err != nil {
			return
		}
		remembering, ok := real.(connect.Remembering)
		if !ok {
			return
		}
		var kept *connect.Kept
		if kept, k.err = remembering.Kept(ctx, run); k.err != nil {
			return
		}
		k.known, k.damaged, k.paths = kept.Known, kept.Damaged, map[string]*history{}
		slices.SortStableFunc(kept.Files, func(a, b connect.KeptFile) int { return int(max(-1, min(1, a.Time-b.Time))) })
		for _, f := range kept.Files {
			k.take(f)
		}
		k.stays = realPaths(ctx, real, stays)
	})
	return k.err
}

// realPaths gives paths without links on the way to them, and as they are beside that.
func realPaths(ctx context.Context, host modules.Host, paths []string) []string {
	if len(paths) == 0 {
		return nil
	}
	out, err := host.Run(ctx, modules.Command{Argv: append([]string{"readlink", "-f", "--"}, paths...), ReadOnly: true})
	if err != nil {
		return paths // where no path has links, these are they
	}
	return append(slices.Clone(paths), strings.Split(strings.TrimSpace(string(out.Stdout)), "\n")...)
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
		if a.time != b.time {
			return int(max(-1, min(1, a.time-b.time)))
		}
		return strings.Compare(a.path, b.path)
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
