package overlay

import (
	"context"
	"io/fs"
	"maps"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// Empty is a machine with nothing but "/" and some accounts. It does not change: put an [Overlay]
// above it to write. Commands and connections are answered by functions. The zero value is a machine
// whose only account is root. It must not be changed while it is used.
type Empty struct {
	// Host is the name; empty is "empty".
	Host string
	// Users and Groups are accounts besides root, by id.
	Users, Groups map[int]string
	// OnRun answers commands; nil knows none. It must be safe for several goroutines.
	OnRun func(ctx context.Context, cmd modules.Command) (modules.Output, error)
	// OnDial answers connections; nil refuses them.
	OnDial func(ctx context.Context, network, addr string) (net.Conn, error)
	// DiskTotal and DiskFree are of the only file system; 0 is 1 TiB, all free.
	DiskTotal, DiskFree int64
}

var _ modules.Host = (*Empty)(nil)

// Name is the host's name.
func (e *Empty) Name() string {
	if e.Host == "" {
		return "empty"
	}
	return e.Host
}

// Look knows "/", "/etc" and the two files of accounts.
func (e *Empty) Look(ctx context.Context, queries ...modules.Query) ([]modules.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	files := make([]modules.File, len(queries))
	for i, q := range queries {
		files[i] = e.file(q)
		if q.Disk {
			files[i].DiskTotal, files[i].DiskFree, files[i].Device = e.DiskTotal, e.DiskFree, 1
			if e.DiskTotal == 0 {
				files[i].DiskTotal, files[i].DiskFree = 1<<40, 1<<40
			}
		}
	}
	return files, nil
}

func (e *Empty) file(q modules.Query) modules.File {
	f := modules.File{Path: q.Path, Kind: modules.Directory, Mode: 0o755, Owner: "root", Group: "root"}
	switch path.Clean(q.Path) {
	case "/":
		if q.List {
			f.Entries = []modules.File{e.file(modules.Query{Path: "/etc"})}
		}
	case "/etc":
		if q.List {
			f.Entries = []modules.File{e.file(modules.Query{Path: "/etc/group"}), e.file(modules.Query{Path: "/etc/passwd"})}
		}
	case "/etc/passwd":
		return regular(q, accounts(e.Users))
	case "/etc/group":
		return regular(q, accounts(e.Groups))
	default:
		return modules.File{Path: q.Path, Kind: modules.Missing}
	}
	return f
}

func regular(q modules.Query, content string) modules.File {
	f := modules.File{Path: q.Path, Kind: modules.Regular, Mode: 0o644, Owner: "root", Group: "root", Size: int64(len(content))}
	if q.Sum {
		f.Sum, _ = modules.Bytes(q.Path, []byte(content)).SHA256() // bytes cannot fail
	}
	switch {
	case q.Content >= f.Size:
		f.Content = []byte(content)
	case q.Content > 0:
		f.Truncated = true
	}
	return f
}

func accounts(names map[int]string) string {
	var b strings.Builder
	b.WriteString("root:x:0:0::/root:/bin/sh\n")
	for _, id := range slices.Sorted(maps.Keys(names)) {
		name := names[id]
		b.WriteString(name + ":x:" + strconv.Itoa(id) + ":" + strconv.Itoa(id) + "::/home/" + name + ":/bin/sh\n")
	}
	return b.String()
}

// Apply refuses every change.
func (e *Empty) Apply(ctx context.Context, changes ...modules.Change) error {
	if len(changes) == 0 {
		return nil
	}
	return &modules.FileError{Op: string(changes[0].Kind), Path: changes[0].Path, Kind: fs.ErrPermission, Text: "read-only file system"}
}

// Run asks OnRun.
func (e *Empty) Run(ctx context.Context, cmd modules.Command) (modules.Output, error) {
	if err := ctx.Err(); err != nil {
		return modules.Output{}, context.Cause(ctx)
	}
	if e.OnRun == nil {
		return modules.Output{}, &modules.FileError{Op: "run", Path: cmd.Argv[0], Kind: fs.ErrNotExist, Text: "no such file or directory"}
	}
	return e.OnRun(ctx, cmd)
}

// Dial asks OnDial.
func (e *Empty) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if e.OnDial == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fs.ErrNotExist}
	}
	return e.OnDial(ctx, network, addr)
}

// Predicted is always false: an empty machine is a real one.
func (e *Empty) Predicted(string) (string, bool) { return "", false }
