package connect

import (
	"context"
	"path"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// KeptFile is what a host has kept of one path that a step of a run has changed, in the order in which it was
// changed; see modules.Change's Keep. Path has no links on the way to it.
type KeptFile struct {
	// Step is the second part of Change.Keep, Path what was changed.
	Step, Path string
	// After says that File is how the change has left the path, else how it was before.
	After bool
	// Opens says that the change was about more than attributes.
	Opens bool
	// Time is nanoseconds since 1970 by the host's clock.
	Time int64
	File modules.File
	// Copy is the path on the host of what was there, where that was a file, or a directory that was removed; "" where
	// Lost says why it was not kept.
	Copy, Lost string
}

// Kept is what a host has kept of a run. Known is false where it knows nothing of the run: it kept nothing of it, or
// keeps it no longer.
type Kept struct {
	Known bool
	Files []KeptFile
	// Recorded are the steps that it has a record of, Damaged those whose records are not whole.
	Recorded, Damaged []string
}

// Remembering is a host that can be asked what it keeps.
type Remembering interface {
	Kept(ctx context.Context, run string) (*Kept, error)
}

var _ Remembering = (*host)(nil)

const (
	// maxKept bounds one step's record, maxKeptAll those of a run together: what a host says of its files' sizes, and then
	// sends, must not fill the memory. keptAtOnce is how many bytes and records are asked for in a request, about.
	maxKept       = 16 << 20
	maxKeptAll    = 64 << 20
	keptAtOnce    = 4 << 20
	recordsAtOnce = 64
)

// Kept implements Remembering.
func (h *host) Kept(ctx context.Context, run string) (*Kept, error) {
	folder, err := h.folder(ctx, h.mux, wire.AppendKeptFolder(wire.Begin(64+len(h.base)), h.base))
	if err != nil {
		return nil, err
	}
	dir := path.Join(folder.Path, run)
	found, err := h.Look(ctx, modules.Query{Path: dir, List: true})
	if err != nil || found[0].Kind != modules.Directory {
		return &Kept{}, err
	}
	kept := &Kept{Known: true}
	left := int64(maxKeptAll)
	var queries []modules.Query
	var asked int64
	for i, e := range found[0].Entries {
		if suffix := path.Ext(e.Path); e.Kind == modules.Regular && (suffix == wire.KeptSuffix || suffix == wire.LostSuffix) {
			q := modules.Query{Path: e.Path, Content: max(0, min(e.Size, maxKept, left))}
			left -= q.Content
			asked += q.Content
			queries = append(queries, q)
		}
		if len(queries) == recordsAtOnce || asked >= keptAtOnce || i == len(found[0].Entries)-1 {
			files, err := h.Look(ctx, queries...)
			if err != nil {
				return nil, err
			}
			for _, f := range files {
				kept.read(dir, f)
			}
			queries, asked = nil, 0
		}
	}
	return kept, nil
}

// read takes in the record of a step.
func (k *Kept) read(dir string, f modules.File) {
	suffix := path.Ext(f.Path)
	step := strings.TrimSuffix(path.Base(f.Path), suffix)
	k.Recorded = append(k.Recorded, step)
	lines, err := wire.ParseKept(f.Content)
	if err != nil || f.Truncated || f.Size > int64(len(f.Content)) || suffix == wire.LostSuffix {
		k.Damaged = append(k.Damaged, step)
	}
	for _, line := range lines {
		one := KeptFile{Step: step, Path: line.Path, After: line.After, Opens: line.Opens, Time: line.Time, Lost: line.Lost}
		s := line.State
		one.File = files([]wire.File{{Path: line.Path, Kind: s.Kind, Mode: s.Mode, UID: s.UID, GID: s.GID, Size: s.Size, Modified: s.Modified, Target: s.Target}})[0]
		if line.Copy != "" && path.Base(line.Copy) == line.Copy {
			one.Copy = path.Join(dir, line.Copy)
		}
		k.Files = append(k.Files, one)
	}
}
