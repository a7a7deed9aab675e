package overlay_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/overlay"
	"github.com/pegbook/pegbook/runner/connect"
)

// tree is a real folder: path to kind, permissions and content or target.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(p, root+"/")
		switch {
		case d.IsDir():
			all[name] = info.Mode().Perm().String() + " /"
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			all[name] = "→" + target
			return err
		default:
			content, err := os.ReadFile(p)
			all[name] = info.Mode().Perm().String() + " " + string(content)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// predicted is the same folder through a host.
func predicted(t *testing.T, h modules.Host, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for dirs := []string{root}; len(dirs) > 0; dirs = dirs[1:] {
		files, err := h.Look(t.Context(), modules.Query{Path: dirs[0], List: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files[0].Entries {
			name := strings.TrimPrefix(f.Path, root+"/")
			mode := fs.FileMode(f.Mode & 0o777).String()
			switch f.Kind {
			case modules.Directory:
				all[name] = mode + " /"
				dirs = append(dirs, f.Path)
			case modules.Symlink:
				all[name] = "→" + f.Target
			default:
				one, err := h.Look(t.Context(), modules.Query{Path: f.Path, Content: 1000})
				if err != nil {
					t.Fatal(err)
				}
				all[name] = mode + " " + string(one[0].Content)
			}
		}
	}
	return all
}

// What check mode predicts is what the real helper then does, also where it refuses.
func TestPredictsWhatTheHelperDoes(t *testing.T) {
	pool := connect.NewPool(connect.Options{})
	defer pool.Close()
	host, err := pool.Open(t.Context(), connect.Address{Name: "control", Connection: "local"}, connect.Become{})
	if err != nil {
		t.Fatal(err)
	}
	mode := func(m uint32) modules.Attributes { return modules.Attributes{Mode: &m} }
	archive := string(tarball(true, members()...))
	cases := map[string][]modules.Change{
		"write":                    {write("a/one", "x"), write("b/new", "y"), {Kind: modules.WriteFile, Path: "b/run", Content: modules.Bytes("", nil), Attributes: mode(0o750)}},
		"write keeps permissions":  {{Kind: modules.SetAttributes, Path: "a/one", Attributes: mode(0o600)}, write("a/one", "x")},
		"write over a link":        {write("current", "x")},
		"write through a link":     {write("current/one", "x"), write("current/up/four", "z")},
		"folders":                  {change(modules.MakeDirectory, "n/m", ""), {Kind: modules.MakeDirectory, Path: "a", Attributes: mode(0o700)}},
		"links":                    {change(modules.MakeLink, "current", "b"), change(modules.MakeLink, "a/one", "two"), write("current/x", "x")},
		"permissions of a tree":    {{Kind: modules.SetAttributes, Path: "a", Recursive: true, Attributes: mode(0o750)}},
		"permissions behind links": {{Kind: modules.SetAttributes, Path: "current", Attributes: mode(0o711)}},
		"tree behind a link":       {{Kind: modules.SetAttributes, Path: "current", Recursive: true, Attributes: mode(0o710)}},
		"tree that is a file":      {{Kind: modules.SetAttributes, Path: "a/one", Recursive: true, Attributes: mode(0o710)}},
		"remove":                   {change(modules.Remove, "a", ""), change(modules.Remove, "none", ""), change(modules.Remove, "current", "")},
		"remove and make again":    {change(modules.Remove, "a", ""), change(modules.MakeDirectory, "a/deep", "")},
		"rename":                   {change(modules.Rename, "a", "c"), change(modules.Rename, "b/four", "c/one"), change(modules.MakeDirectory, "a", "")},
		"rename a link":            {change(modules.Rename, "current", "old"), change(modules.MakeLink, "current", "b")},
		"refused: rename on empty": {change(modules.MakeDirectory, "e", ""), change(modules.Rename, "b", "e")},
		"touch":                    {change(modules.Touch, "t", ""), change(modules.Touch, "a/one", "")},
		"copy":                     {change(modules.CopyFile, "a/one", "b/one"), {Kind: modules.CopyFile, Path: "current/two", Target: "b/four", Attributes: mode(0o600)}},
		"unpack":                   {write("p.tgz", archive), change(modules.MakeDirectory, "u", ""), {Kind: modules.Unpack, Path: "p.tgz", Target: "u", Strip: 1}},
		"refused: no folder":       {write("none/x", "x")},
		"refused: over a folder":   {write("a", "x")},
		"refused: link on folder":  {change(modules.MakeLink, "a", "b")},
		"refused: rename nothing":  {change(modules.Rename, "none", "x")},
		"refused: rename on full":  {change(modules.Rename, "b", "a")},
		"refused: file on folder":  {change(modules.Rename, "a/one", "b")},
		"refused: folder on file":  {change(modules.MakeDirectory, "a/one", "")},
		"refused: below a file":    {change(modules.MakeDirectory, "a/one/x", "")},
		"refused: copy nothing":    {change(modules.CopyFile, "none", "x")},
		"refused: copy a folder":   {change(modules.CopyFile, "a", "x")},
		"refused: unpack nowhere":  {write("p.tgz", archive), change(modules.Unpack, "p.tgz", "none")},
		"refused: no archive":      {change(modules.MakeDirectory, "u", ""), change(modules.Unpack, "a/one", "u")},
		"refused: nobody's mode":   {{Kind: modules.SetAttributes, Path: "none", Attributes: mode(0o600)}},
	}
	for name, changes := range cases {
		t.Run(name, func(t *testing.T) {
			root, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			populate(t, root)
			for i, c := range changes {
				changes[i].Path = filepath.Join(root, c.Path)
				if c.Target != "" && c.Kind != modules.MakeLink {
					changes[i].Target = filepath.Join(root, c.Target)
				}
			}
			o := overlay.New(host, nil)
			predictedErr := o.Act().Apply(t.Context(), changes...)
			want := predicted(t, o.Look(), root)
			realErr := host.Apply(t.Context(), changes...)
			if (predictedErr == nil) != (realErr == nil) {
				t.Fatalf("predicted %v, and was %v", predictedErr, realErr)
			}
			for _, kind := range []error{fs.ErrNotExist, fs.ErrPermission} {
				if errors.Is(predictedErr, kind) != errors.Is(realErr, kind) {
					t.Errorf("predicted %v, and was %v", predictedErr, realErr)
				}
			}
			if strings.HasPrefix(name, "refused") != (realErr != nil) {
				t.Errorf("error is %v", realErr)
			}
			if got := tree(t, root); realErr == nil && !maps.Equal(got, want) {
				t.Errorf("predicted\n%v\nand became\n%v", want, got)
			}
		})
	}
}

func populate(t *testing.T, root string) {
	t.Helper()
	for p, content := range map[string]string{"a/one": "1", "a/two": "22", "a/deep/three": "333", "b/four": "4444"} {
		p = filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"current": "a", "a/up": "../b"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
}
