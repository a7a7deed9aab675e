package connect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

const (
	// room is what an answer may have over and above the content that was asked for.
	room = 64 << 10
	// roomPerFile is what the state of a file may take, its content aside.
	roomPerFile = 16 << 10
	// maxContent bounds the content of one file.
	maxContent = 128 << 20
	// maxInline is how much content one request carries itself; the rest is streamed after it.
	maxInline = 1 << 20
)

// host is a managed host through one helper, so for one user.
type host struct {
	name string
	mux  *mux
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// jobs is the helper that starts jobs; nil is mux.
	jobs func(ctx context.Context) (*mux, error)
	// fences are the locks that changes are made under, base the folder where the host keeps what it has seen of
	// them. login is the user who became this one; nil is nobody.
	fences []Fence
	base   string
	login  *login
}

var (
	_ modules.Host = (*host)(nil)
	_ modules.Jobs = (*host)(nil)
)

// Name implements modules.Host.
func (h *host) Name() string { return h.name }

// Predicted implements modules.Host: a real host predicts nothing.
func (h *host) Predicted(string) (string, bool) { return "", false }

// Look implements modules.Host.
func (h *host) Look(ctx context.Context, queries ...modules.Query) ([]modules.File, error) {
	if len(queries) == 0 {
		return nil, nil
	}
	limit, listing := room, 0
	asked := make([]wire.Query, len(queries))
	for i, q := range queries {
		asked[i] = wire.Query{Path: q.Path, Content: q.Content, Follow: q.Follow, Sum: q.Sum, List: q.List, Disk: q.Disk}
		limit += roomPerFile + int(min(q.Content, maxContent))
		if q.List {
			listing = wire.MaxListing
		}
	}
	answer, err := h.mux.call(ctx, wire.AppendLook(wire.Begin(64*len(asked)), asked), nil, limit+listing)
	if err != nil {
		return nil, h.broken(err)
	}
	found, err := wire.ParseFiles(answer, len(queries))
	if err != nil {
		return nil, h.refused(err)
	}
	for i, q := range queries {
		if !answers(&found[i], q) {
			return nil, h.refused(wire.ErrMessage)
		}
	}
	return files(found), nil
}

// answers says whether what the host tells is about what it was asked. Paths of an answer are used to ask
// and to change more: a host must not choose them.
func answers(f *wire.File, q modules.Query) bool {
	if f.Path != q.Path || len(f.Content) > int(q.Content) || len(f.Entries) > 0 && !q.List {
		return false
	}
	dir := strings.TrimSuffix(filepath.Clean(q.Path), "/") + "/"
	for i := range f.Entries {
		name, ok := strings.CutPrefix(f.Entries[i].Path, dir)
		if !ok || name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
			return false
		}
	}
	return true
}

func files(found []wire.File) []modules.File {
	if found == nil {
		return nil
	}
	list := make([]modules.File, len(found))
	for i := range found {
		f := &found[i]
		list[i] = modules.File{Path: f.Path, Kind: kindOf(f.Kind), Mode: f.Mode, Size: f.Size, UID: f.UID, GID: f.GID,
			Owner: f.Owner, Group: f.Group, Target: f.Target, Sum: f.Sum, Content: f.Content, Truncated: f.Truncated,
			Entries: files(f.Entries), DiskTotal: f.DiskTotal, DiskFree: f.DiskFree, Device: f.Device}
		if f.Kind != wire.Missing {
			list[i].Modified = time.Unix(0, f.Modified)
		}
	}
	return list
}

func kindOf(k wire.FileKind) modules.FileKind {
	switch k {
	case wire.Missing:
		return modules.Missing
	case wire.Regular:
		return modules.Regular
	case wire.Directory:
		return modules.Directory
	case wire.Symlink:
		return modules.Symlink
	}
	return modules.Other
}

// Apply implements modules.Host.
func (h *host) Apply(ctx context.Context, changes ...modules.Change) error {
	if len(changes) == 0 {
		return nil
	}
	asked := make([]wire.Change, len(changes))
	var body []upload
	inline := 0
	for i, c := range changes {
		w, err := changeOf(c)
		if err != nil {
			return err
		}
		w.Base = h.base
		if c.Kind == modules.WriteFile && c.Content != nil {
			size := c.Content.Size()
			if size > wire.InlineLen || inline > maxInline {
				w.Streamed, w.Stream = true, size
				// Content that does not know its sum is sent unchecked, and from the start each time.
				if sum, err := c.Content.SHA256(); err == nil {
					w.Sum = sum
				}
				body = append(body, upload{size, c.Content.Open, w.Resumes()})
			} else if w.Content, err = readAll(c.Content); err != nil {
				return err
			}
			inline += len(w.Content)
		}
		asked[i] = w
	}
	begin, err := h.begin(ctx, 128*len(asked)+inline)
	if err != nil {
		return err
	}
	answer, err := h.mux.call(ctx, wire.AppendApply(begin, asked), body, room)
	if err != nil {
		return h.broken(err)
	}
	return h.refused(wire.ParseDone(answer))
}

func changeOf(c modules.Change) (wire.Change, error) {
	w := wire.Change{Path: c.Path, Target: c.Target, Within: c.Within, Strip: c.Strip, Owner: c.Owner, Group: c.Group,
		Backup: c.Backup, Recursive: c.Recursive, Keep: c.Keep}
	if c.Mode != nil {
		w.HasMode, w.Mode = true, *c.Mode
	}
	switch c.Kind {
	case modules.WriteFile:
		w.Kind = wire.WriteFile
	case modules.MakeDirectory:
		w.Kind = wire.MakeDirectory
	case modules.MakeLink:
		w.Kind = wire.MakeLink
	case modules.SetAttributes:
		w.Kind = wire.SetAttributes
	case modules.Remove:
		w.Kind = wire.Remove
	case modules.Rename:
		w.Kind = wire.Rename
	case modules.Unpack:
		w.Kind = wire.Unpack
	case modules.Touch:
		w.Kind = wire.Touch
	case modules.CopyFile:
		w.Kind = wire.CopyFile
	case modules.RemoveDirectory:
		w.Kind = wire.RemoveDirectory
	default:
		return w, fmt.Errorf("%s: unknown kind of change %q", c.Path, c.Kind)
	}
	return w, nil
}

func readAll(s modules.Source) ([]byte, error) {
	r, err := s.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	content := make([]byte, s.Size())
	if _, err := io.ReadFull(r, content); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.Name(), err)
	}
	return content, nil
}

// Run implements modules.Host.
func (h *host) Run(ctx context.Context, cmd modules.Command) (modules.Output, error) {
	env, err := environment(cmd.Env)
	if err != nil {
		return modules.Output{}, err
	}
	if cmd.Bare {
		cmd.Argv = []string{"/bin/sh", "-c", strings.Join(cmd.Argv, " ")}
	}
	c := &wire.Command{Argv: cmd.Argv, Dir: cmd.Dir, Env: env, Stdin: cmd.Stdin, Detach: cmd.Detach, Log: cmd.Log, MaxOutput: cmd.MaxOutput}
	var body []upload
	if len(cmd.Stdin) > wire.InlineLen {
		c.Stdin, c.Streamed, c.Stream = nil, true, int64(len(cmd.Stdin))
		body = append(body, upload{c.Stream, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(cmd.Stdin)), nil }, false})
	}
	limit := 1 << 20
	if cmd.MaxOutput > 0 {
		limit = cmd.MaxOutput
	}
	begin := wire.Begin(256 + len(c.Stdin))
	if !cmd.ReadOnly {
		if begin, err = h.begin(ctx, 256+len(c.Stdin)); err != nil {
			return modules.Output{}, err
		}
	}
	answer, err := h.mux.call(ctx, wire.AppendRun(begin, c), body, 2*limit+room)
	if err != nil {
		return modules.Output{}, h.broken(err)
	}
	return h.output(cmd.Argv, answer)
}

// output reads how a command ended.
func (h *host) output(argv []string, answer []byte) (modules.Output, error) {
	o, err := wire.ParseOutput(answer)
	if err != nil {
		return modules.Output{}, h.refused(err)
	}
	out := modules.Output{ExitCode: o.ExitCode, Stdout: o.Stdout, Stderr: o.Stderr, Truncated: o.Truncated, PID: o.PID,
		Started: time.Unix(0, o.Started), Ended: time.Unix(0, o.Ended)}
	if out.ExitCode != 0 {
		return out, &modules.ExitError{Argv: argv, Output: out}
	}
	return out, nil
}

func environment(env map[string]string) ([]string, error) {
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(env[name], 0) {
			return nil, fmt.Errorf("%q cannot be an environment variable", name)
		}
		list = append(list, name+"="+env[name])
	}
	return list, nil
}

// Dial implements modules.Host.
func (h *host) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return h.dial(ctx, network, addr)
}

// broken tells a connection that is gone from a request that was cancelled.
func (h *host) broken(err error) error {
	var gone *brokenError
	if errors.As(err, &gone) {
		return &modules.UnreachableError{Host: h.name, Err: gone.err}
	}
	return err
}

// refused gives the host's own refusal its Go kind.
func (h *host) refused(err error) error {
	var refusal *wire.Error
	if err == nil {
		return nil
	}
	if !errors.As(err, &refusal) {
		return &modules.UnreachableError{Host: h.name, Err: err}
	}
	if refusal.Kind == wire.Stale {
		return h.stale(refusal)
	}
	e := &modules.FileError{Op: refusal.Op, Path: refusal.Path, Text: refusal.Text}
	switch refusal.Kind {
	case wire.NotExist:
		e.Kind = fs.ErrNotExist
	case wire.Exist:
		e.Kind = fs.ErrExist
	case wire.Permission:
		e.Kind = fs.ErrPermission
	case wire.NoSpace:
		e.Kind = modules.ErrNoSpace
	case wire.Canceled:
		e.Kind = context.Canceled
	}
	return e
}
