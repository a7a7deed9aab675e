package overlay

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/pegbook/pegbook/modules"
)

// layer is what the overlay holds, by resolved path.
type layer map[string]*node

// node is one path that the layer knows better than the host. file is complete, but for Sum, Content
// and Entries.
type node struct {
	file modules.File // Kind Missing hides what the host has
	// content is a regular file's content when the layer holds it.
	content modules.Source
	// origin is the path on the host whose content (file) or children (folder) this node has. Empty: the
	// content is the layer's, the folder has no children but the layer's.
	origin string
}

// place is where a path ends up after following links.
type place struct {
	path string // as resolved: no component but the last is a link
	node *node  // nil: the layer does not hold the path itself
	// under is the path on the host, when node is nil; empty where the host has nothing to say.
	under string
	// layered is set when a link or folder of the layer was on the way.
	layered bool
}

// exact says whether the host, asked for the same path, would see the same thing.
func (p place) exact() bool { return p.node == nil && p.under == p.path }

// at finds a path whose folders are already resolved.
func (l layer) at(p string) place {
	if n, ok := l[p]; ok {
		return place{path: p, node: n}
	}
	for dir := p; dir != "/"; {
		dir = path.Dir(dir)
		n, ok := l[dir]
		if !ok {
			continue
		}
		if n.file.Kind != modules.Directory || n.origin == "" {
			return place{path: p}
		}
		return place{path: p, under: path.Join(n.origin, strings.TrimPrefix(p, dir))}
	}
	return place{path: p, under: p}
}

// children are the paths of the layer directly or, with deep, anywhere below dir, sorted.
func (l layer) children(dir string, deep bool) []string {
	prefix := strings.TrimSuffix(dir, "/") + "/"
	var paths []string
	for p := range l {
		rest, ok := strings.CutPrefix(p, prefix)
		if ok && rest != "" && (deep || !strings.Contains(rest, "/")) {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	return paths
}

// drop forgets everything below a path.
func (l layer) drop(dir string) {
	for _, p := range l.children(dir, true) {
		delete(l, p)
	}
}

// known remembers what paths of the host are, as far as resolving needs it: hardly anything of a
// check-mode run changes the host, and what does makes it forget.
type known struct {
	mu    sync.Mutex // guards links
	links map[string]string
}

// get gives the target of a link, empty for anything else; false: not known yet.
func (k *known) get(p string) (string, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	target, ok := k.links[p]
	return target, ok
}

func (k *known) put(p, target string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.links == nil {
		k.links = map[string]string{}
	}
	k.links[p] = target
}

func (k *known) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.links)
}

// volatile paths change by themselves, so nothing about them is remembered.
func volatile(p string) bool { return strings.HasPrefix(p, "/proc/") }

// maxLinks is Linux's own bound on links in one path.
const maxLinks = 40

// resolve follows the links in a path, and last of all the path itself where follow is set.
func (v *view) resolve(ctx context.Context, p string, follow bool) (place, error) {
	if !path.IsAbs(p) {
		return place{}, &modules.FileError{Op: "look", Path: p, Kind: fs.ErrInvalid, Text: "path is not absolute"}
	}
	asked := p
	p = path.Clean(p)
	layered := false
	for range maxLinks {
		next, through, err := v.step(ctx, p, follow)
		if err != nil {
			return place{}, err
		}
		layered = layered || through
		if next == "" {
			at := v.layer.at(p)
			at.layered = layered
			return at, nil
		}
		p = next
	}
	return place{}, &modules.FileError{Op: "look", Path: asked, Text: "too many levels of symbolic links"}
}

// step replaces the first link in p; an empty answer means that there is none. layered says that the
// link was the layer's.
func (v *view) step(ctx context.Context, p string, follow bool) (next string, layered bool, err error) {
	if err := v.learn(ctx, prefixes(p, follow)); err != nil {
		return "", false, err
	}
	for _, prefix := range prefixes(p, follow) {
		at := v.layer.at(prefix)
		target := ""
		switch {
		case at.node != nil:
			if at.node.file.Kind == modules.Symlink {
				target = at.node.file.Target
			}
		case at.under != "":
			target, _ = v.known.get(at.under)
			if volatile(at.under) {
				v.known.forget(at.under)
			}
		}
		if target == "" {
			continue
		}
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(prefix), target)
		}
		return path.Join(target, strings.TrimPrefix(p, prefix)), at.node != nil, nil
	}
	return "", false, nil
}

func (k *known) forget(p string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.links, p)
}

// learn asks the host, once, which of some paths are links.
func (v *view) learn(ctx context.Context, paths []string) error {
	var queries []modules.Query
	for _, prefix := range paths {
		at := v.layer.at(prefix)
		if at.node != nil || at.under == "" {
			continue
		}
		if _, ok := v.known.get(at.under); !ok {
			queries = append(queries, modules.Query{Path: at.under})
		}
	}
	if len(queries) == 0 {
		return nil
	}
	files, err := v.under.Look(ctx, queries...)
	if err != nil {
		return err
	}
	for i, f := range files {
		target := ""
		if f.Kind == modules.Symlink {
			target = f.Target
		}
		v.known.put(queries[i].Path, target)
	}
	return nil
}

// prefixes are the folders above a path, outermost first, and the path itself where asked for.
func prefixes(p string, self bool) []string {
	var list []string
	for i := 1; i < len(p); i++ {
		if p[i] == '/' {
			list = append(list, p[:i])
		}
	}
	if self && p != "/" {
		list = append(list, p)
	}
	return list
}

// stateOf is what a resolved place is, without sum, content and entries.
func (v *view) stateOf(ctx context.Context, at place) (modules.File, error) {
	switch {
	case at.node != nil:
		return at.node.file, nil
	case at.under == "":
		return modules.File{Kind: modules.Missing}, nil
	}
	files, err := v.under.Look(ctx, modules.Query{Path: at.under})
	if err != nil {
		return modules.File{}, err
	}
	return files[0], nil
}

func byPath(a, b modules.File) int { return cmp.Compare(a.Path, b.Path) }

func notExist(op, p string) error {
	return &modules.FileError{Op: op, Path: p, Kind: fs.ErrNotExist, Text: "no such file or directory"}
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
