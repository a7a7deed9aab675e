package helper

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// thing is an entry of an archive under test.
type thing struct {
	name, content, link string
	kind                byte
	mode                int64
}

func makeTar(t testing.TB, things []thing) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range things {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Size: int64(len(e.content)), ModTime: time.Unix(1e9, 0)}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(t testing.TB, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func makeZip(t testing.TB, things []thing) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range things {
		h := &zip.FileHeader{Name: e.name, Modified: time.Unix(1e9, 0)}
		h.SetMode(os.FileMode(e.mode))
		if e.kind == tar.TypeSymlink {
			h.SetMode(os.FileMode(e.mode) | os.ModeSymlink)
			e.content = e.link
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unpackInto unpacks an archive into a folder of its own below a new one, and gives both.
func unpackInto(t testing.TB, archive []byte, strip int) (base, into string, err error) {
	t.Helper()
	base = t.TempDir()
	file := filepath.Join(base, "archive")
	if err := os.WriteFile(file, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	into = filepath.Join(base, "into")
	if err := os.Mkdir(into, 0o755); err != nil {
		t.Fatal(err)
	}
	err = unpack(context.Background(), &wire.Change{Kind: wire.Unpack, Path: file, Target: into, Strip: strip}, ids{-1, -1}, nil)
	return base, into, err
}

func TestUnpack(t *testing.T) {
	things := []thing{
		{name: "top/", kind: tar.TypeDir, mode: 0o750},
		{name: "top/bin/run", kind: tar.TypeReg, mode: 0o755, content: "#!"},
		{name: "./top/conf", kind: tar.TypeReg, mode: 0o640, content: "x=1"},
		{name: "top/current", kind: tar.TypeSymlink, link: "bin/run", mode: 0o777},
	}
	hard := append(things, thing{name: "top/hard", kind: tar.TypeLink, link: "top/conf"})
	for name, archive := range map[string][]byte{"tar": makeTar(t, hard), "tar.gz": zipped(t, makeTar(t, hard)), "zip": makeZip(t, things)} {
		t.Run(name, func(t *testing.T) {
			_, into, err := unpackInto(t, archive, 1)
			if err != nil {
				t.Fatal(err)
			}
			for path, mode := range map[string]os.FileMode{"bin/run": 0o755, "conf": 0o640} {
				info, err := os.Stat(filepath.Join(into, path))
				if err != nil || info.Mode() != mode || (path == "conf" && info.ModTime().Unix() != 1e9) {
					t.Errorf("%s: %v, %v", path, info, err)
				}
			}
			if to, err := os.Readlink(filepath.Join(into, "current")); to != "bin/run" {
				t.Errorf("link: %q, %v", to, err)
			}
			if content, err := os.ReadFile(filepath.Join(into, "hard")); name != "zip" && string(content) != "x=1" {
				t.Errorf("hard link: %q, %v", content, err)
			}
		})
	}
}

func TestUnpackHostile(t *testing.T) {
	file := func(name string) thing { return thing{name: name, kind: tar.TypeReg, mode: 0o644, content: "evil"} }
	link := func(name, to string) thing { return thing{name: name, kind: tar.TypeSymlink, link: to, mode: 0o777} }
	good := file("good")
	for name, archive := range map[string][]byte{
		"up":                     makeTar(t, []thing{good, file("../evil")}),
		"up in the middle":       makeTar(t, []thing{good, file("a/../../evil")}),
		"absolute":               makeTar(t, []thing{good, file("/tmp/evil")}),
		"through a link":         makeTar(t, []thing{good, link("l", ".."), file("l/evil")}),
		"through a deep link":    makeTar(t, []thing{good, link("a/b/l", "../../.."), file("a/b/l/evil")}),
		"through two links":      makeTar(t, []thing{good, link("a", "."), link("a/l", "/"), file("a/l/tmp/evil")}),
		"hard link outside":      makeTar(t, []thing{good, {name: "h", kind: tar.TypeLink, link: "../archive"}}),
		"hard link through link": makeTar(t, []thing{good, link("l", "../archive"), {name: "h", kind: tar.TypeLink, link: "l"}}),
		"device":                 makeTar(t, []thing{good, {name: "d", kind: tar.TypeChar, mode: 0o666}}),
		"zip up":                 makeZip(t, []thing{good, file("../evil")}),
		"zip through a link":     makeZip(t, []thing{good, link("l", ".."), file("l/evil")}),
		"cut short":              zipped(t, makeTar(t, []thing{good, {name: "big", kind: tar.TypeReg, mode: 0o644, content: strings.Repeat("ab", 1<<20)}}))[:800],
		"no archive":             []byte("hello, this is a text and no archive at all"),
		"empty":                  nil,
	} {
		t.Run(name, func(t *testing.T) {
			base, into, err := unpackInto(t, archive, 0)
			if name == "empty" {
				return // an empty tar is a tar
			}
			if err == nil {
				t.Error("it was unpacked")
			}
			for _, path := range []string{filepath.Join(base, "evil"), "/tmp/evil"} {
				if _, err := os.Lstat(path); err == nil {
					_ = os.Remove(path)
					t.Errorf("%s was written", path)
				}
			}
			if left, err := os.ReadDir(into); len(left) > 0 && name != "through two links" {
				t.Errorf("written before it was refused: %v, %v", left, err)
			}
		})
	}
}

// A link that was there before must not lead an archive outside either.
func TestUnpackOverLink(t *testing.T) {
	base, into, err := unpackInto(t, makeTar(t, nil), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(base, filepath.Join(into, "out")); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(base, "archive")
	if err := os.WriteFile(archive, makeTar(t, []thing{{name: "out/evil", kind: tar.TypeReg, content: "evil"}}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unpack(t.Context(), &wire.Change{Kind: wire.Unpack, Path: archive, Target: into}, ids{-1, -1}, nil); err == nil {
		t.Error("it was unpacked")
	}
	if _, err := os.Lstat(filepath.Join(base, "evil")); err == nil {
		t.Error("a file was written outside")
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(makeTar(f, []thing{{name: "a/b", kind: tar.TypeReg, content: "x"}, {name: "l", kind: tar.TypeSymlink, link: ".."}}), 0)
	f.Add(makeZip(f, []thing{{name: "a/b", content: "x", mode: 0o644}}), 1)
	f.Fuzz(func(t *testing.T, archive []byte, strip int) {
		base, _, _ := unpackInto(t, archive, max(0, min(strip, 5)))
		if entries, err := os.ReadDir(base); err != nil || len(entries) != 2 {
			t.Errorf("written outside: %v, %v", entries, err)
		}
	})
}
