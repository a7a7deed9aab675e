package modtest

import (
	"context"
	"fmt"
	"maps"
	"net"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/overlay"
)

// Machine is an in-memory host: real files and accounts, commands and connections answered by
// functions. It counts what is asked of it. It is safe for concurrent use once it is set up.
type Machine struct {
	// OnRun answers commands; nil knows none. It may change the machine's files.
	OnRun func(ctx context.Context, cmd modules.Command) (modules.Output, error)
	// OnDial answers connections; nil refuses them.
	OnDial func(ctx context.Context, network, addr string) (net.Conn, error)

	files modules.Host

	mu    sync.Mutex // guards trips and runs
	trips int
	runs  []modules.Command
}

var _ modules.Host = (*Machine)(nil)

// NewMachine makes a machine with "/", "/etc", "/tmp" and the users root, pegasus (1001) and app (1002).
func NewMachine(name string) *Machine {
	m := &Machine{}
	accounts := map[int]string{1001: "pegasus", 1002: "app"}
	m.files = overlay.New(&overlay.Empty{Host: name, Users: accounts, Groups: accounts}, nil).Act()
	m.Mkdir("/tmp")
	return m
}

// Name is the host's name.
func (m *Machine) Name() string { return m.files.Name() }

// Look reads files.
func (m *Machine) Look(ctx context.Context, queries ...modules.Query) ([]modules.File, error) {
	m.count()
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	return m.files.Look(ctx, queries...)
}

// Apply changes files.
func (m *Machine) Apply(ctx context.Context, changes ...modules.Change) error {
	m.count()
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	return m.files.Apply(ctx, changes...)
}

// Run asks OnRun.
func (m *Machine) Run(ctx context.Context, cmd modules.Command) (modules.Output, error) {
	m.count()
	m.mu.Lock()
	m.runs = append(m.runs, cmd)
	m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return modules.Output{}, context.Cause(ctx)
	}
	if m.OnRun == nil {
		return modules.Output{ExitCode: 127}, &modules.ExitError{Argv: cmd.Argv,
			Output: modules.Output{ExitCode: 127, Stderr: []byte(cmd.Argv[0] + ": not found")}}
	}
	out, err := m.OnRun(ctx, cmd)
	if err == nil && out.ExitCode != 0 {
		err = &modules.ExitError{Argv: cmd.Argv, Output: out}
	}
	return out, err
}

// Dial asks OnDial.
func (m *Machine) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	m.count()
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if m.OnDial == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("connect %s: connection refused", addr)}
	}
	return m.OnDial(ctx, network, addr)
}

// Predicted is always false: a machine is a real host.
func (m *Machine) Predicted(string) (string, bool) { return "", false }

func (m *Machine) count() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trips++
}

// Trips is how many round trips the machine has answered.
func (m *Machine) Trips() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.trips
}

// Runs are the commands the machine was given.
func (m *Machine) Runs() []modules.Command {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.runs)
}

// apply is for setting up: a mistake there is the test's bug.
func (m *Machine) apply(changes ...modules.Change) {
	if err := m.files.Apply(context.Background(), changes...); err != nil {
		panic("modtest: " + err.Error())
	}
}

// Mkdir makes folders with their parents.
func (m *Machine) Mkdir(paths ...string) *Machine {
	for _, p := range paths {
		m.apply(modules.Change{Kind: modules.MakeDirectory, Path: p})
	}
	return m
}

// Write makes a file, with its folder.
func (m *Machine) Write(p, content string) *Machine {
	m.Mkdir(path.Dir(p))
	m.apply(modules.Change{Kind: modules.WriteFile, Path: p, Content: modules.Bytes(p, []byte(content))})
	return m
}

// Link makes a symbolic link, with its folder.
func (m *Machine) Link(p, target string) *Machine {
	m.Mkdir(path.Dir(p))
	m.apply(modules.Change{Kind: modules.MakeLink, Path: p, Target: target})
	return m
}

// Chmod sets permissions and owner; an empty owner leaves it.
func (m *Machine) Chmod(p string, mode uint32, owner string) *Machine {
	m.apply(modules.Change{Kind: modules.SetAttributes, Path: p,
		Attributes: modules.Attributes{Mode: &mode, Owner: owner, Group: owner}})
	return m
}

// Remove removes a file or folder.
func (m *Machine) Remove(p string) *Machine {
	m.apply(modules.Change{Kind: modules.Remove, Path: p})
	return m
}

// Content is a file's content; "" where there is none.
func (m *Machine) Content(p string) string {
	files, err := m.files.Look(context.Background(), modules.Query{Path: p, Follow: true, Content: 1 << 30})
	if err != nil {
		panic("modtest: " + err.Error())
	}
	return string(files[0].Content)
}

// File is a path's state, links not followed.
func (m *Machine) File(p string) modules.File {
	files, err := m.files.Look(context.Background(), modules.Query{Path: p, Sum: true})
	if err != nil {
		panic("modtest: " + err.Error())
	}
	return files[0]
}

// Snapshot is the machine's whole file system, path by path in one text each: kind, mode, owner and
// content. Two machines with equal snapshots are byte-identical.
func (m *Machine) Snapshot() map[string]string { return snapshot(m.files) }

func snapshot(host modules.Host) map[string]string {
	all := map[string]string{}
	dirs := []string{"/"}
	for len(dirs) > 0 {
		dir := dirs[0]
		dirs = dirs[1:]
		files, err := host.Look(context.Background(), modules.Query{Path: dir, List: true})
		if err != nil {
			panic("modtest: " + err.Error())
		}
		all[dir] = describe(files[0])
		for _, entry := range files[0].Entries {
			if entry.Kind == modules.Directory {
				dirs = append(dirs, entry.Path)
				continue
			}
			leaf, err := host.Look(context.Background(), modules.Query{Path: entry.Path, Sum: true})
			if err != nil {
				panic("modtest: " + err.Error())
			}
			all[entry.Path] = describe(leaf[0])
		}
	}
	return all
}

func describe(f modules.File) string {
	return fmt.Sprintf("%s %04o %d:%d %s%s", f.Kind, f.Mode, f.UID, f.GID, f.Target, f.Sum)
}

// Differences lists the paths that differ between two snapshots, for a test's message.
func Differences(before, after map[string]string) string {
	var b strings.Builder
	paths := slices.Sorted(maps.Keys(before))
	for p := range after {
		if _, ok := before[p]; !ok {
			paths = append(paths, p)
		}
	}
	for _, p := range paths {
		if before[p] != after[p] {
			fmt.Fprintf(&b, "\n  %s: %q → %q", p, before[p], after[p])
		}
	}
	return b.String()
}
