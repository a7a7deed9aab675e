package helper

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// keepIn makes a change in a folder, with what was there before kept, and gives what is kept: the record, and the
// contents of copies by their names.
func keepIn(t *testing.T, base string, changes ...wire.Change) ([]wire.Kept, map[string]string) {
	t.Helper()
	for i := range changes {
		changes[i].Keep, changes[i].Base = "run-1/step", base
	}
	if refusal := (&server{names: &names{}}).apply(t.Context(), changes, &body{}); refusal != nil {
		t.Fatal(refusal)
	}
	return keptBelow(t, base)
}

func keptBelow(t *testing.T, base string) ([]wire.Kept, map[string]string) {
	t.Helper()
	dir, err := keptFolder(base)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "run-1", "step.kept"))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := wire.ParseKept(raw)
	if err != nil {
		t.Fatal(err)
	}
	copies := map[string]string{}
	for _, line := range lines {
		if content, err := os.ReadFile(filepath.Join(dir, "run-1", line.Copy)); line.Copy != "" && err == nil {
			copies[line.Path] = string(content)
		}
	}
	return lines, copies
}

func TestEveryChangeKeepsWhatWasThere(t *testing.T) {
	file := func(content string) func(string) error {
		return func(p string) error { return os.WriteFile(p, []byte(content), 0o640) }
	}
	link := func(p string) error { return os.Symlink("elsewhere", p) }
	none := func(string) error { return nil }
	for _, c := range []struct {
		name   string
		before func(string) error
		change wire.Change
		was    wire.FileKind
		left   wire.FileKind
		copied string
	}{
		{"a file is replaced", file("old"), wire.Change{Kind: wire.WriteFile, Content: []byte("new")}, wire.Regular, wire.Regular, "old"},
		{"a file is made", none, wire.Change{Kind: wire.WriteFile, Content: []byte("new")}, wire.Missing, wire.Regular, ""},
		{"a file takes a link's place", link, wire.Change{Kind: wire.WriteFile, Content: []byte("new")}, wire.Symlink, wire.Regular, ""},
		{"a link takes a file's place", file("old"), wire.Change{Kind: wire.MakeLink, Target: "there"}, wire.Regular, wire.Symlink, "old"},
		{"a link takes a link's place", link, wire.Change{Kind: wire.MakeLink, Target: "there"}, wire.Symlink, wire.Symlink, ""},
		{"a file is removed", file("old"), wire.Change{Kind: wire.Remove}, wire.Regular, wire.Missing, "old"},
		{"nothing is removed", none, wire.Change{Kind: wire.Remove}, wire.Missing, wire.Missing, ""},
		{"a file gets another mode", file("old"), wire.Change{Kind: wire.SetAttributes, HasMode: true, Mode: 0o600}, wire.Regular, wire.Regular, ""},
		{"an empty file is made", none, wire.Change{Kind: wire.Touch}, wire.Missing, wire.Regular, ""},
		{"a file is touched", file("old"), wire.Change{Kind: wire.Touch}, wire.Regular, wire.Regular, ""},
		{"a directory is made", none, wire.Change{Kind: wire.MakeDirectory}, wire.Missing, wire.Directory, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "it")
			if err := c.before(path); err != nil {
				t.Fatal(err)
			}
			c.change.Path = path
			lines, copies := keepIn(t, t.TempDir(), c.change)
			if len(lines) != 2 || lines[0].After || !lines[1].After {
				t.Fatalf("%+v", lines)
			}
			if lines[0].State.Kind != c.was || lines[1].State.Kind != c.left || copies[path] != c.copied {
				t.Errorf("was %+v, left %+v, copy %q", lines[0], lines[1], copies[path])
			}
			if c.was == wire.Regular && lines[0].State.Mode != 0o640 {
				t.Errorf("mode %o", lines[0].State.Mode)
			}
			if c.was == wire.Symlink && lines[0].State.Target != "elsewhere" {
				t.Errorf("target %q", lines[0].State.Target)
			}
		})
	}
}

func TestKeepingADirectoryMovesIt(t *testing.T) {
	base, dir := t.TempDir(), filepath.Join(t.TempDir(), "dir")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub", "file"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	lines, _ := keepIn(t, base, wire.Change{Kind: wire.Remove, Path: dir})
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Fatal(err)
	}
	kept, _ := keptFolder(base)
	content, err := os.ReadFile(filepath.Join(kept, "run-1", lines[0].Copy, "sub", "file"))
	if err != nil || string(content) != "old" {
		t.Errorf("%q, %v", content, err)
	}
	if info, err := os.Stat(kept); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestKeptBeforeTheChange: a helper that is killed between the two has changed nothing yet, and the record says what
// was there.
func TestKeptBeforeTheChange(t *testing.T) {
	base, path := t.TempDir(), filepath.Join(t.TempDir(), "it")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &wire.Change{Kind: wire.WriteFile, Path: path, Content: []byte("new"), Keep: "run-1/step", Base: base}
	k := openKeeper(c)
	k.before(t.Context(), c, ids{-1, -1})
	lines, copies := keptBelow(t, base)
	if len(lines) != 2 || !lines[0].Beside || lines[1].State.Kind != wire.Regular || copies[path] != "old" {
		t.Errorf("%+v, %v", lines, copies)
	}
	if content, _ := os.ReadFile(path); string(content) != "old" {
		t.Errorf("%q", content)
	}
}

// TestWhatAKilledHelperLeavesBesideAPathIsKnown: it is in the record, so that it goes when the run is taken back, and
// it goes when the step is tried again.
func TestWhatAKilledHelperLeavesBesideAPathIsKnown(t *testing.T) {
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, []byte("copied"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]wire.Change{
		"a file that is written": {Kind: wire.WriteFile, Content: []byte("new")},
		"a file that is copied":  {Kind: wire.CopyFile, Path: source},
		"a link":                 {Kind: wire.MakeLink, Target: "there"},
	} {
		t.Run(name, func(t *testing.T) {
			base, path := t.TempDir(), filepath.Join(t.TempDir(), "it")
			if c.Keep, c.Base = "run-1/step", base; c.Kind == wire.CopyFile {
				c.Target = path
			} else {
				c.Path = path
			}
			k := openKeeper(&c)
			k.before(t.Context(), &c, ids{-1, -1})
			if err := os.WriteFile(c.Beside, []byte("ne"), 0o600); err != nil {
				t.Fatal(err)
			}
			lines, _ := keptBelow(t, base) // it is killed here
			if len(lines) != 2 || lines[0].Path != c.Beside || lines[0].State.Kind != wire.Missing {
				t.Fatalf("%+v", lines)
			}
			keepIn(t, base, c)
			names, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
			hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
			if err != nil || len(names) != 1 || len(hidden) != 0 {
				t.Errorf("%v, %v, %v", names, hidden, err)
			}
			if lines, _ = keptBelow(t, base); len(lines) != 4 {
				t.Errorf("the first attempt is still in the record, and not the second: %+v", lines)
			}
		})
	}
}

// TestRecordEndsWithItsLastWholeLine: what a crash has left of a line counts for nothing, whatever its length.
func TestRecordEndsWithItsLastWholeLine(t *testing.T) {
	one := wire.AppendKept(nil, &wire.Kept{Path: "/a", State: wire.State{Kind: wire.Regular, Size: 3}, Copy: "step.1"})
	both := wire.AppendKept(one[:len(one):len(one)], &wire.Kept{Path: "/b", After: true})
	for n := len(one); n < len(both); n++ {
		lines, err := wire.ParseKept(both[:n])
		if err != nil || len(lines) != 1 || lines[0].Path != "/a" || lines[0].Copy != "step.1" {
			t.Fatalf("%d bytes: %+v, %v", n, lines, err)
		}
	}
}

func TestFirstOfSeveralChangesCounts(t *testing.T) {
	base, path := t.TempDir(), filepath.Join(t.TempDir(), "it")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	lines, copies := keepIn(t, base, wire.Change{Kind: wire.SetAttributes, Path: path, HasMode: true, Mode: 0o644},
		wire.Change{Kind: wire.WriteFile, Path: path, Content: []byte("new")}, wire.Change{Kind: wire.WriteFile, Path: path, Content: []byte("newer")})
	if copies[path] != "old" || lines[0].State.Mode != 0o600 {
		t.Errorf("%+v, %v", lines, copies)
	}
}

// TestChangesAreMadeWhereNothingCanBeKept: a folder of somebody else's, or a full disk, keeps nobody from working.
func TestChangesAreMadeWhereNothingCanBeKept(t *testing.T) {
	base, path := t.TempDir(), filepath.Join(t.TempDir(), "it")
	dir, err := keptFolder(base)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil { // as if another user had made it
		t.Fatal(err)
	}
	c := wire.Change{Kind: wire.WriteFile, Path: path, Content: []byte("new"), Keep: "run-1/step", Base: base}
	if refusal := (&server{names: &names{}}).apply(t.Context(), []wire.Change{c}, &body{}); refusal != nil {
		t.Fatal(refusal)
	}
	if content, _ := os.ReadFile(path); string(content) != "new" {
		t.Errorf("%q", content)
	}
	if _, err := os.Lstat(filepath.Join(dir, "run-1")); !os.IsNotExist(err) {
		t.Error("it was kept where others can look")
	}
}

// TestARecordThatCouldNotBeWrittenShows: the change is made, and nobody may believe that there was nothing to keep.
func TestARecordThatCouldNotBeWrittenShows(t *testing.T) {
	base, path := t.TempDir(), filepath.Join(t.TempDir(), "it")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := wire.Change{Kind: wire.Remove, Path: path, Keep: "run-1/step", Base: base}
	k := openKeeper(&c)
	name := k.record.Name()
	k.record.Close()
	full, err := syscall.Open("/dev/full", syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	k.record = os.NewFile(uintptr(full), name) // as the record is on a disk that is full
	if err := (&server{names: &names{}}).change(t.Context(), &c, &body{}, k); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Error("the file is still there")
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(name), "*.*"))
	if err != nil || len(left) != 2 || filepath.Base(left[1]) != "step"+wire.LostSuffix {
		t.Errorf("%v, %v", left, err)
	}
}

func TestNamesOfWhatIsKeptStayInside(t *testing.T) {
	for _, name := range []string{"", "run", "../x/y", "run/../../x", "run/", "/etc/x", ".x/y", "run/a b", "run/a/b", strings.Repeat("a", 200) + "/b"} {
		base := t.TempDir()
		path := filepath.Join(t.TempDir(), "it")
		c := wire.Change{Kind: wire.WriteFile, Path: path, Content: []byte("new"), Keep: name, Base: base}
		if refusal := (&server{names: &names{}}).apply(t.Context(), []wire.Change{c}, &body{}); refusal != nil {
			t.Fatal(refusal)
		}
		found, err := filepath.Glob(filepath.Join(base, "*", "*"))
		if err != nil || len(found) > 0 {
			t.Errorf("%q: %v, %v", name, found, err)
		}
	}
}

func TestOldRunsArePruned(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for name, age := range map[string]time.Duration{"new": 0, "day": 24 * time.Hour, "old": 40 * 24 * time.Hour} {
		p := filepath.Join(dir, name)
		if err := os.Mkdir(p, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxKeptRuns {
		p := filepath.Join(dir, "run"+strings.Repeat("x", i))
		if err := os.Mkdir(p, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, now.Add(-2*time.Hour), now.Add(-2*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	prune(dir, now, maxKeptBytes)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != maxKeptRuns {
		t.Errorf("%d left, %v", len(entries), err)
	}
	for name, stays := range map[string]bool{"new": true, "day": false, "old": false} {
		if _, err := os.Lstat(filepath.Join(dir, name)); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWhatIsKeptIsBounded: however much each run keeps, what stays is no more than the bound, but for what is of the
// last hour; and the newest stay.
func TestWhatIsKeptIsBounded(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	const each, bound = 64 << 10, 300 << 10
	for i := range 10 {
		run := filepath.Join(dir, "run"+strconv.Itoa(i))
		if err := os.Mkdir(run, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(run, "step.1"), bytes.Repeat([]byte{1}, each), 0o600); err != nil {
			t.Fatal(err)
		}
		age := time.Duration(10-i) * 2 * time.Hour
		if err := os.Chtimes(run, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	prune(dir, now, bound)
	entries, err := os.ReadDir(dir)
	if used := usage(dir); err != nil || used > bound || used < bound/2 {
		t.Errorf("%d bytes are kept, %v", used, err)
	}
	if len(entries) == 0 || entries[len(entries)-1].Name() != "run9" {
		t.Errorf("left is %v", entries)
	}

	// What is of the last hour may be wanted, and stays whatever it holds.
	for _, e := range entries {
		if err := os.Chtimes(filepath.Join(dir, e.Name()), now, now); err != nil {
			t.Fatal(err)
		}
	}
	prune(dir, now, 1)
	if left, err := os.ReadDir(dir); err != nil || len(left) != len(entries) {
		t.Errorf("%d of %d left, %v", len(left), len(entries), err)
	}
}
