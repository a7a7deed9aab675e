package archive_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/archive"
)

func tarball(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(name))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	z.Close()
	return b.Bytes()
}

func TestListAndOpen(t *testing.T) {
	source := modules.Bytes("p", tarball(t, "./a/one", "b"))
	members, err := archive.List(source)
	if err != nil {
		t.Fatal(err)
	}
	sum := func(s string) string { x, _ := modules.Bytes("", []byte(s)).SHA256(); return x }
	want := []archive.Member{
		{Path: "a/one", Kind: modules.Regular, Mode: 0o644, Size: 7, Sum: sum("./a/one")},
		{Path: "b", Kind: modules.Regular, Mode: 0o644, Size: 1, Sum: sum("b")},
	}
	if !slices.Equal(members, want) {
		t.Errorf("members are %+v\nwant %+v", members, want)
	}
	content, err := io.ReadAll(archive.Open(source, "a/one"))
	if err != nil || string(content) != "./a/one" {
		t.Errorf("a/one holds %q, %v", content, err)
	}
	if _, err := io.ReadAll(archive.Open(source, "none")); err == nil {
		t.Error("a member that is not there can be read")
	}
}

func TestBadArchives(t *testing.T) {
	good := tarball(t, "a", "b")
	cases := map[string][]byte{
		"no archive":    []byte(strings.Repeat("this is a text, no archive. ", 100)),
		"cut short":     good[:len(good)/2],
		"cut in a zip":  []byte("PK\x03\x04 and then nothing"),
		"leads out":     tarball(t, "a", "../b"),
		"absolute name": tarball(t, "/etc/passwd"),
	}
	for name, content := range cases {
		if _, err := archive.List(modules.Bytes(name, content)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzList(f *testing.F) {
	f.Add([]byte("PK\x03\x04"))
	f.Add([]byte{0x1f, 0x8b})
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, content []byte) {
		members, err := archive.List(modules.Bytes("fuzz", content))
		if err != nil {
			return
		}
		for _, m := range members {
			if path.IsAbs(m.Path) || strings.HasPrefix(m.Path, "../") || m.Path == ".." || path.Clean(m.Path) != m.Path {
				t.Errorf("member %q is not inside", m.Path)
			}
		}
	})
}
