package overlay

import (
	"context"
	"io"
	"path"
	"slices"

	"github.com/pegbook/pegbook/modules"
)

// look answers queries. What the layer does not touch goes to the host in one round trip, whatever the
// number of queries.
func (v *view) look(ctx context.Context, queries []modules.Query) ([]modules.File, error) {
	if len(v.layer) == 0 {
		return v.under.Look(ctx, queries...)
	}
	var above []string
	for _, q := range queries {
		above = append(above, prefixes(path.Clean(q.Path), q.Follow)...)
	}
	slices.Sort(above)
	if err := v.learn(ctx, slices.Compact(above)); err != nil {
		return nil, err
	}
	files := make([]modules.File, len(queries))
	var passed []modules.Query
	var slots []int
	for i, q := range queries {
		at, err := v.resolve(ctx, q.Path, q.Follow)
		if err != nil {
			return nil, err
		}
		if at.exact() && (!q.List || len(v.layer.children(at.path, false)) == 0) {
			// The resolved path, because the host's own links may lead elsewhere than the layer's.
			q.Path, q.Follow = at.under, false
			passed, slots = append(passed, q), append(slots, i)
			continue
		}
		if files[i], err = v.lookAt(ctx, at, q); err != nil {
			return nil, err
		}
	}
	if len(passed) > 0 {
		answers, err := v.under.Look(ctx, passed...)
		if err != nil {
			return nil, err
		}
		for i, f := range answers {
			files[slots[i]] = f
		}
	}
	for i := range files {
		rename(&files[i], queries[i].Path)
	}
	return files, nil
}

// rename gives a file, and its entries, the path that was asked for.
func rename(f *modules.File, p string) {
	f.Path = p
	for i := range f.Entries {
		f.Entries[i].Path = path.Join(p, path.Base(f.Entries[i].Path))
	}
}

// lookAt answers a query about a place that the layer has changed, or moved.
func (v *view) lookAt(ctx context.Context, at place, q modules.Query) (modules.File, error) {
	if at.node == nil && at.under != "" && !q.List {
		q.Path, q.Follow = at.under, false
		files, err := v.under.Look(ctx, q)
		if err != nil {
			return modules.File{}, err
		}
		return files[0], nil
	}
	f, err := v.stateOf(ctx, at)
	if err != nil {
		return modules.File{}, err
	}
	if f.Kind == modules.Regular && (q.Sum || q.Content > 0) && at.node != nil {
		if err := v.fill(ctx, &f, at.node, q); err != nil {
			return modules.File{}, err
		}
	}
	if f.Kind == modules.Directory && q.List {
		if f.Entries, err = v.list(ctx, at); err != nil {
			return modules.File{}, err
		}
	}
	if q.Disk {
		if err := v.fillDisk(ctx, &f, at); err != nil {
			return modules.File{}, err
		}
	}
	return f, nil
}

// fill adds a layered file's sum and content.
func (v *view) fill(ctx context.Context, f *modules.File, n *node, q modules.Query) error {
	if n.content == nil {
		files, err := v.under.Look(ctx, modules.Query{Path: n.origin, Sum: q.Sum, Content: q.Content})
		if err != nil {
			return err
		}
		f.Sum, f.Content, f.Truncated = files[0].Sum, files[0].Content, files[0].Truncated
		return nil
	}
	var err error
	if q.Sum {
		if f.Sum, err = n.content.SHA256(); err != nil {
			return err
		}
	}
	if q.Content <= 0 {
		return nil
	}
	if n.content.Size() > q.Content {
		f.Truncated = true
		return nil
	}
	f.Content, err = readAll(n.content)
	return err
}

func readAll(s modules.Source) ([]byte, error) {
	r, err := s.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// fillDisk asks the host for the file system below the place: it answers for the nearest folder that
// is there.
func (v *view) fillDisk(ctx context.Context, f *modules.File, at place) error {
	files, err := v.under.Look(ctx, modules.Query{Path: at.path, Disk: true})
	if err != nil {
		return err
	}
	f.DiskTotal, f.DiskFree, f.Device = files[0].DiskTotal, files[0].DiskFree, files[0].Device
	return nil
}

// list gives a folder's entries: the host's, less what the layer hides, and the layer's.
func (v *view) list(ctx context.Context, at place) ([]modules.File, error) {
	under := at.under
	if at.node != nil {
		under = at.node.origin
	}
	var entries []modules.File
	if under != "" {
		files, err := v.under.Look(ctx, modules.Query{Path: under, List: true})
		if err != nil {
			return nil, err
		}
		for _, f := range files[0].Entries {
			f.Path = path.Join(at.path, path.Base(f.Path))
			if _, layered := v.layer[f.Path]; !layered {
				entries = append(entries, f)
			}
		}
	}
	for _, p := range v.layer.children(at.path, false) {
		if f := v.layer[p].file; f.Kind != modules.Missing {
			f.Path = p
			entries = append(entries, f)
		}
	}
	slices.SortFunc(entries, byPath)
	return entries, nil
}
