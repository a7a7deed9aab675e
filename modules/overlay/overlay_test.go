package overlay_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io/fs"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/modules/overlay"
)

func write(path, content string) modules.Change {
	return modules.Change{Kind: modules.WriteFile, Path: path, Content: modules.Bytes(path, []byte(content))}
}

func change(kind modules.ChangeKind, path, target string) modules.Change {
	return modules.Change{Kind: kind, Path: path, Target: target}
}

// machine is a host with some files, so that the layer has something to hide, move and change.
func machine() *modtest.Machine {
	return modtest.NewMachine("host1").
		Write("/srv/a/one", "1").Write("/srv/a/two", "22").Write("/srv/a/deep/three", "333").
		Write("/srv/b/four", "4444").Link("/srv/current", "a").Link("/srv/a/up", "../b")
}

// seen is everything below /srv through the overlay: a content, a link's target, or a slash.
func seen(t *testing.T, h modules.Host) map[string]string {
	t.Helper()
	all := map[string]string{}
	dirs := []string{"/srv"}
	for len(dirs) > 0 {
		files, err := h.Look(t.Context(), modules.Query{Path: dirs[0], List: true})
		if err != nil {
			t.Fatal(err)
		}
		dirs = dirs[1:]
		for _, f := range files[0].Entries {
			name := strings.TrimPrefix(f.Path, "/srv/")
			switch f.Kind {
			case modules.Directory:
				all[name] = "/"
				dirs = append(dirs, f.Path)
			case modules.Symlink:
				all[name] = "→" + f.Target
			default:
				one, err := h.Look(t.Context(), modules.Query{Path: f.Path, Content: 100})
				if err != nil {
					t.Fatal(err)
				}
				all[name] = string(one[0].Content)
			}
		}
	}
	return all
}

func TestChangesAreSeenAboveAndNotBelow(t *testing.T) {
	base := map[string]string{"a": "/", "a/one": "1", "a/two": "22", "a/deep": "/", "a/deep/three": "333", "a/up": "→../b",
		"b": "/", "b/four": "4444", "current": "→a"}
	with := func(edits map[string]string) map[string]string {
		m := maps.Clone(base)
		for k, v := range edits {
			m[k] = v
			if v == "" {
				delete(m, k)
			}
		}
		return m
	}
	cases := []struct {
		name    string
		changes []modules.Change
		want    map[string]string
	}{
		{"write new", []modules.Change{write("/srv/b/five", "x")}, with(map[string]string{"b/five": "x"})},
		{"write over", []modules.Change{write("/srv/a/one", "x")}, with(map[string]string{"a/one": "x"})},
		{"write through a link", []modules.Change{write("/srv/current/one", "x")}, with(map[string]string{"a/one": "x"})},
		{"write through two links", []modules.Change{write("/srv/current/up/four", "x")}, with(map[string]string{"b/four": "x"})},
		{"write over a link replaces it", []modules.Change{write("/srv/current", "x")}, with(map[string]string{"current": "x"})},
		{"make folders", []modules.Change{change(modules.MakeDirectory, "/srv/c/d", "")}, with(map[string]string{"c": "/", "c/d": "/"})},
		{"make folder that is there", []modules.Change{change(modules.MakeDirectory, "/srv/a", "")}, base},
		{"link", []modules.Change{change(modules.MakeLink, "/srv/current", "b"), write("/srv/current/x", "x")},
			with(map[string]string{"current": "→b", "b/x": "x"})},
		{"remove file", []modules.Change{change(modules.Remove, "/srv/a/one", "")}, with(map[string]string{"a/one": ""})},
		{"remove nothing", []modules.Change{change(modules.Remove, "/srv/none", "")}, base},
		{"remove folder and make it again", []modules.Change{change(modules.Remove, "/srv/b", ""), change(modules.MakeDirectory, "/srv/b", "")},
			with(map[string]string{"b/four": ""})},
		{"remove link keeps what it points to", []modules.Change{change(modules.Remove, "/srv/current", "")}, with(map[string]string{"current": ""})},
		{"rename file over file", []modules.Change{change(modules.Rename, "/srv/a/one", "/srv/b/four")},
			with(map[string]string{"a/one": "", "b/four": "1"})},
		{"rename folder with changes inside", []modules.Change{write("/srv/b/five", "5"), change(modules.Remove, "/srv/b/four", ""),
			change(modules.Rename, "/srv/b", "/srv/c"), write("/srv/c/six", "6")},
			with(map[string]string{"b": "", "b/four": "", "c": "/", "c/five": "5", "c/six": "6"})},
		{"rename folder twice", []modules.Change{change(modules.Rename, "/srv/b", "/srv/c"), change(modules.Rename, "/srv/c", "/srv/d")},
			with(map[string]string{"b": "", "b/four": "", "d": "/", "d/four": "4444"})},
		{"rename away and put another in its place", []modules.Change{change(modules.Rename, "/srv/b", "/srv/old"), change(modules.MakeDirectory, "/srv/b", "")},
			with(map[string]string{"b/four": "", "old": "/", "old/four": "4444"})},
		{"copy", []modules.Change{change(modules.CopyFile, "/srv/a/one", "/srv/b/copy"), write("/srv/a/one", "new")},
			with(map[string]string{"a/one": "new", "b/copy": "1"})},
		{"touch new and old", []modules.Change{change(modules.Touch, "/srv/t", ""), change(modules.Touch, "/srv/a/two", "")},
			with(map[string]string{"t": ""})},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			host := machine()
			before := host.Snapshot()
			o := overlay.New(host, nil)
			if err := o.Act().Apply(t.Context(), c.changes...); err != nil {
				t.Fatal(err)
			}
			want := c.want
			if c.name == "touch new and old" {
				want = with(nil)
				want["t"] = ""
			}
			if got := seen(t, o.Look()); !maps.Equal(got, want) {
				t.Errorf("above it is\n%v\nwant\n%v", got, want)
			}
			if !maps.Equal(host.Snapshot(), before) {
				t.Error("the host below changed")
			}
			// What an overlay predicts is what the same changes do to a machine.
			if err := host.Apply(t.Context(), c.changes...); err != nil {
				t.Fatal(err)
			}
			if got := seen(t, host); !maps.Equal(got, want) {
				t.Errorf("the machine becomes\n%v\nwant\n%v", got, want)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	cases := []struct {
		name   string
		change modules.Change
		want   error
	}{
		{"write without folder", write("/srv/none/x", "x"), fs.ErrNotExist},
		{"write without content", change(modules.WriteFile, "/srv/x", ""), fs.ErrInvalid},
		{"folder over a file", change(modules.MakeDirectory, "/srv/a/one", ""), fs.ErrExist},
		{"rename nothing", change(modules.Rename, "/srv/none", "/srv/x"), fs.ErrNotExist},
		{"rename over a full folder", change(modules.Rename, "/srv/b", "/srv/a"), fs.ErrExist},
		{"rename into itself", change(modules.Rename, "/srv/a", "/srv/a/deep/x"), fs.ErrInvalid},
		{"link over a folder", change(modules.MakeLink, "/srv/a", "/x"), fs.ErrExist},
		{"copy nothing", change(modules.CopyFile, "/srv/none", "/srv/x"), fs.ErrNotExist},
		{"attributes of nothing", change(modules.SetAttributes, "/srv/none", ""), fs.ErrNotExist},
		{"unpack nothing", change(modules.Unpack, "/srv/none", "/srv"), fs.ErrNotExist},
		{"remove everything", change(modules.Remove, "/", ""), fs.ErrInvalid},
		{"relative path", change(modules.Remove, "srv", ""), fs.ErrInvalid},
		{"no such kind", change("melt", "/srv", ""), fs.ErrInvalid},
		{"unknown owner", modules.Change{Kind: modules.SetAttributes, Path: "/srv/a/one",
			Attributes: modules.Attributes{Owner: "nobody-knows"}}, modules.ErrUnpredicted},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if err := overlay.New(machine(), nil).Act().Apply(t.Context(), c.change); !errors.Is(err, c.want) {
				t.Errorf("error is %v, want %v", err, c.want)
			}
		})
	}
}

func TestProposingChangesNothing(t *testing.T) {
	o := overlay.New(machine(), nil)
	if err := o.Look().Apply(t.Context(), write("/srv/x", "x")); !errors.Is(err, modules.ErrUnpredicted) {
		t.Errorf("Apply of Look answers %v", err)
	}
}

func TestAttributes(t *testing.T) {
	o := overlay.New(machine(), nil)
	mode := uint32(0o750)
	err := o.Act().Apply(t.Context(), modules.Change{Kind: modules.SetAttributes, Path: "/srv/current", Recursive: true,
		Attributes: modules.Attributes{Mode: &mode, Owner: "pegasus", Group: "1002"}})
	if err != nil {
		t.Fatal(err)
	}
	files, err := o.Look().Look(t.Context(), modules.Query{Path: "/srv/a"}, modules.Query{Path: "/srv/a/deep/three", Content: 10},
		modules.Query{Path: "/srv/b/four"})
	if err != nil {
		t.Fatal(err)
	}
	type state struct {
		mode         uint32
		uid, gid     int
		owner, group string
	}
	want := []state{{0o750, 1001, 1002, "pegasus", "app"}, {0o750, 1001, 1002, "pegasus", "app"}, {0o644, 0, 0, "root", "root"}}
	for i, f := range files {
		if got := (state{f.Mode, f.UID, f.GID, f.Owner, f.Group}); got != want[i] {
			t.Errorf("%s is %v, want %v", f.Path, got, want[i])
		}
	}
	if string(files[1].Content) != "333" {
		t.Errorf("content became %q", files[1].Content)
	}
}

func TestSumTruncationAndBackup(t *testing.T) {
	o := overlay.New(machine(), nil)
	c := write("/srv/a/one", "longer than asked for")
	c.Backup = true
	if err := o.Act().Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	files, err := o.Look().Look(t.Context(), modules.Query{Path: "/srv/a/one", Sum: true, Content: 5}, modules.Query{Path: "/srv/a", List: true})
	if err != nil {
		t.Fatal(err)
	}
	sum, _ := c.Content.SHA256()
	if f := files[0]; f.Sum != sum || !f.Truncated || f.Content != nil || f.Size != c.Content.Size() {
		t.Errorf("state is %+v", f)
	}
	i := slices.IndexFunc(files[1].Entries, func(f modules.File) bool { return strings.HasSuffix(f.Path, "~") })
	if i < 0 {
		t.Fatal("there is no backup")
	}
	kept, err := o.Look().Look(t.Context(), modules.Query{Path: files[1].Entries[i].Path, Content: 10})
	if err != nil || string(kept[0].Content) != "1" {
		t.Errorf("the backup holds %q, %v", kept[0].Content, err)
	}
}

func tarball(compress bool, members ...tar.Header) []byte {
	var b bytes.Buffer
	var w *tar.Writer
	z := gzip.NewWriter(&b)
	if w = tar.NewWriter(&b); compress {
		w = tar.NewWriter(z)
	}
	for _, h := range members {
		content := h.Name
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(content))
		}
		w.WriteHeader(&h)
		if h.Typeflag == tar.TypeReg {
			w.Write([]byte(content))
		}
	}
	w.Close()
	if compress {
		z.Close()
	}
	return b.Bytes()
}

// members are a package's.
func members() []tar.Header {
	return []tar.Header{
		{Name: "./top/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./top/bin/server", Typeflag: tar.TypeReg, Mode: 0o755},
		{Name: "top/lib.so.1", Typeflag: tar.TypeReg, Mode: 0o644},
		{Name: "top/lib.so", Typeflag: tar.TypeSymlink, Linkname: "lib.so.1"},
		{Name: "top/hard", Typeflag: tar.TypeLink, Linkname: "top/lib.so.1"},
	}
}

func zipfile(t *testing.T, names ...string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range names {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(name))
	}
	z.Close()
	return b.Bytes()
}

func TestUnpack(t *testing.T) {
	want := map[string]string{"bin": "/", "bin/server": "./top/bin/server", "lib.so.1": "top/lib.so.1", "lib.so": "→lib.so.1", "hard": "top/lib.so.1"}
	cases := []struct {
		name    string
		archive []byte
		strip   int
		want    map[string]string
	}{
		{"tar", tarball(false, members()...), 1, want},
		{"tar.gz", tarball(true, members()...), 1, want},
		{"zip", zipfile(t, "top/x", "top/y/z"), 1, map[string]string{"x": "top/x", "y": "/", "y/z": "top/y/z"}},
		{"nothing stripped", zipfile(t, "a/b"), 0, map[string]string{"a": "/", "a/b": "a/b"}},
	}
	for _, c := range cases {
		for _, below := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				host := modtest.NewMachine("host1").Mkdir("/srv")
				o := overlay.New(host, nil)
				put := modules.Change{Kind: modules.WriteFile, Path: "/tmp/package", Content: modules.Bytes("package", c.archive)}
				if below {
					host.Write("/tmp/package", string(c.archive))
				} else if err := o.Act().Apply(t.Context(), put); err != nil {
					t.Fatal(err)
				}
				unpack := modules.Change{Kind: modules.Unpack, Path: "/tmp/package", Target: "/srv", Strip: c.strip}
				if err := o.Act().Apply(t.Context(), unpack); err != nil {
					t.Fatal(err)
				}
				if got := seen(t, o.Look()); !maps.Equal(got, c.want) {
					t.Errorf("unpacked to\n%v\nwant\n%v", got, c.want)
				}
				files, err := o.Look().Look(t.Context(), modules.Query{Path: "/srv/bin/server", Sum: true})
				sum, _ := modules.Bytes("", []byte("./top/bin/server")).SHA256()
				if err != nil || c.want["bin/server"] != "" && (files[0].Mode != 0o755 || files[0].Sum != sum) {
					t.Errorf("bin/server is %+v, %v", files[0], err)
				}
			})
		}
	}
}

func TestUnpackStaysInside(t *testing.T) {
	for _, name := range []string{"../x", "/x", "a/../../x"} {
		host := modtest.NewMachine("host1").Mkdir("/srv").
			Write("/p.tar", string(tarball(false, tar.Header{Name: "ok", Typeflag: tar.TypeReg}, tar.Header{Name: name, Typeflag: tar.TypeReg})))
		o := overlay.New(host, nil)
		if err := o.Act().Apply(t.Context(), change(modules.Unpack, "/p.tar", "/srv")); err == nil {
			t.Errorf("%s was unpacked", name)
		}
		if got := seen(t, o.Look()); len(got) > 0 {
			t.Errorf("%s: before the refusal it wrote %v", name, got)
		}
	}
}

func TestLargeArchiveOnTheHostIsUnpredicted(t *testing.T) {
	host := modtest.NewMachine("host1").Mkdir("/srv").Write("/p.tar", strings.Repeat("x", 17<<20))
	err := overlay.New(host, nil).Act().Apply(t.Context(), change(modules.Unpack, "/p.tar", "/srv"))
	if !errors.Is(err, modules.ErrUnpredicted) {
		t.Errorf("error is %v", err)
	}
}

func TestCommands(t *testing.T) {
	host := machine()
	host.OnRun = func(context.Context, modules.Command) (modules.Output, error) {
		return modules.Output{Stdout: []byte("ran")}, nil
	}
	o := overlay.New(host, nil)
	err := o.Act().Apply(t.Context(), write("/srv/b/server", "new"), change(modules.MakeLink, "/srv/current", "b"), write("/etc/app.conf", "x"))
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name string
		cmd  modules.Command
		runs bool
	}{
		{"reads", modules.Command{Argv: []string{"uname", "-r"}, ReadOnly: true}, true},
		{"changes", modules.Command{Argv: []string{"uname", "-r"}}, false},
		{"detaches", modules.Command{Argv: []string{"uname"}, ReadOnly: true, Detach: true}, false},
		{"program of the host", modules.Command{Argv: []string{"/srv/a/one"}, ReadOnly: true}, true},
		{"program only predicted", modules.Command{Argv: []string{"/srv/b/server", "-v"}, ReadOnly: true}, false},
		{"program behind a predicted link", modules.Command{Argv: []string{"/srv/current/four"}, ReadOnly: true}, false},
		{"reads a predicted file", modules.Command{Argv: []string{"cat", "/etc/app.conf"}, ReadOnly: true}, false},
		{"reads a predicted file by an option", modules.Command{Argv: []string{"app", "--config=/etc/app.conf"}, ReadOnly: true}, false},
		{"reads a predicted file from its folder", modules.Command{Argv: []string{"cat", "app.conf"}, Dir: "/etc", ReadOnly: true}, false},
		{"reads a predicted file by an option from its folder", modules.Command{Argv: []string{"app", "--config=app.conf"}, Dir: "/etc", ReadOnly: true}, false},
		{"reads a file of the host from its folder", modules.Command{Argv: []string{"cat", "../srv/a/one"}, Dir: "/etc", ReadOnly: true}, true},
		{"in a predicted folder", modules.Command{Argv: []string{"ls"}, Dir: "/srv/current", ReadOnly: true}, false},
	}
	for _, c := range cases {
		for _, h := range []modules.Host{o.Look(), o.Act()} {
			out, err := h.Run(t.Context(), c.cmd)
			if ran := err == nil && string(out.Stdout) == "ran"; ran != c.runs || !ran && !errors.Is(err, modules.ErrUnpredicted) {
				t.Errorf("%s: output %q, error %v; want it to run: %v", c.name, out.Stdout, err, c.runs)
			}
		}
	}
}

func TestDial(t *testing.T) {
	host := machine()
	host.OnDial = func(context.Context, string, string) (net.Conn, error) { a, b := net.Pipe(); b.Close(); return a, nil }
	o := overlay.New(host, nil)
	c, err := o.Look().Dial(t.Context(), "tcp", "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := o.Act().Dial(t.Context(), "tcp", "127.0.0.1:1"); !errors.Is(err, modules.ErrUnpredicted) {
		t.Errorf("Act dials: %v", err)
	}
}

func TestUsersShareTheLayerAndReadAsThemselves(t *testing.T) {
	root, user := machine(), machine().Write("/srv/mine", "user's")
	o := overlay.New(root, nil)
	if err := o.ActOver(user).Apply(t.Context(), write("/srv/new", "x")); err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]modules.Host{"root": o.Look(), "user": o.LookOver(user)} {
		got := seen(t, h)
		if got["new"] != "x" || (got["mine"] == "user's") != (name == "user") {
			t.Errorf("%s sees %v", name, got)
		}
	}
}

func TestPredictions(t *testing.T) {
	var shared overlay.Shared
	a, b := overlay.New(machine(), &shared), overlay.New(machine(), &shared)
	a.Predict(map[string]string{"systemd/x/active": "active", "cluster/pegasus/level": "steady"})
	type answer struct {
		value string
		ok    bool
	}
	ask := func(o *overlay.Overlay, key string) answer {
		v, ok := o.Look().Predicted(key)
		return answer{v, ok}
	}
	got := []answer{ask(a, "systemd/x/active"), ask(b, "systemd/x/active"), ask(a, "cluster/pegasus/level"), ask(b, "cluster/pegasus/level")}
	want := []answer{{"active", true}, {"", false}, {"steady", true}, {"steady", true}}
	if !slices.Equal(got, want) {
		t.Errorf("predicted %v, want %v", got, want)
	}
}

func TestLinksInCirclesEnd(t *testing.T) {
	o := overlay.New(modtest.NewMachine("host1").Mkdir("/srv").Link("/srv/x", "y").Link("/srv/y", "x"), nil)
	if err := o.Act().Apply(t.Context(), write("/srv/z", "")); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Look().Look(t.Context(), modules.Query{Path: "/srv/x/file"}); err == nil {
		t.Error("a circle of links was followed to its end")
	}
}

func TestUntouchedFilesCostOneRoundTrip(t *testing.T) {
	host := machine()
	o := overlay.New(host, nil)
	if err := o.Act().Apply(t.Context(), write("/tmp/x", "x")); err != nil {
		t.Fatal(err)
	}
	queries := []modules.Query{{Path: "/srv/a/one", Sum: true}, {Path: "/srv/b", List: true}, {Path: "/srv/current/two", Content: 9}}
	if _, err := o.Look().Look(t.Context(), queries...); err != nil {
		t.Fatal(err)
	}
	before := host.Trips()
	if _, err := o.Look().Look(t.Context(), queries...); err != nil {
		t.Fatal(err)
	}
	if took := host.Trips() - before; took != 1 {
		t.Errorf("it took %d round trips", took)
	}
}
