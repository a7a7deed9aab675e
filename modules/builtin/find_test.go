package builtin

import (
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/modules/overlay"
)

// digestOf is the checksum of a text.
func digestOf(algorithm, text string) string {
	h := newHash(algorithm)
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

// pathsOf are the paths in find's output.
func pathsOf(t *testing.T, r modtest.Result) string {
	t.Helper()
	var out foundFiles
	if err := json.Unmarshal(r.Output, &out); err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range out.Files {
		paths = append(paths, strings.TrimPrefix(f.Path, "/srv/"))
	}
	slices.Sort(paths)
	return strings.Join(paths, " ")
}

func TestFind(t *testing.T) {
	tree := func() *modtest.Machine {
		return machine().Write("/srv/a.log", "one\ntwo\n").Write("/srv/b.txt", "12345678").Write("/srv/.hidden.log", "").
			Write("/srv/d/c.log", "two\n").Write("/srv/d/e/f[1].gz", "x").Link("/srv/l", "d").Write("/srv/d/.git/x", "").Link("/srv/d/up", "..")
	}
	cases := []struct{ name, args, want, examined string }{
		{"files of one folder", `{"paths": "/srv"}`, "a.log b.txt", "5"},
		{"by pattern", `{"paths": "/srv", "patterns": "*.log"}`, "a.log", "5"},
		{"by several", `{"paths": "/srv", "patterns": "*.log,*.txt"}`, "a.log b.txt", "5"},
		{"all levels", `{"path": "/srv", "recurse": true}`, "a.log b.txt d/.git/x d/c.log d/e/f[1].gz", "11"},
		{"two levels", `{"path": "/srv", "recurse": true, "depth": 2}`, "a.log b.txt d/c.log", "9"},
		{"hidden", `{"path": "/srv", "hidden": true}`, ".hidden.log a.log b.txt", "5"},
		{"but not these", `{"paths": "/srv", "recurse": true, "excludes": "*.log"}`, "b.txt d/.git/x d/e/f[1].gz", "11"},
		{"folders", `{"paths": "/srv", "recurse": true, "file_type": "directory"}`, "d d/e", "11"},
		{"links", `{"paths": "/srv", "recurse": true, "file_type": "link"}`, "d/up l", "11"},
		{"anything", `{"paths": "/srv", "file_type": "any"}`, "a.log b.txt d l", "5"},
		{"brackets", `{"paths": "/srv/d/e", "patterns": "f[[]1].g[!a]"}`, "d/e/f[1].gz", "1"},
		{"expressions match from the start", `{"paths": "/srv", "recurse": true, "use_regex": true, "patterns": ["[ab]\\.", "log$"]}`, "a.log b.txt", "11"},
		{"large", `{"paths": "/srv", "size": "8b"}`, "a.log b.txt", "5"},
		{"small", `{"paths": "/srv", "size": "-7"}`, "", "5"},
		{"old", `{"paths": "/srv", "age": "1d"}`, "", "5"},
		{"young", `{"paths": "/srv", "age": "-1H"}`, "a.log b.txt", "5"},
		{"with a line", `{"paths": "/srv", "recurse": true, "contains": "tw"}`, "a.log d/c.log", "11"},
		{"lines match from their start", `{"paths": "/srv", "recurse": true, "contains": "wo"}`, "", "11"},
		{"whole files", `{"paths": "/srv", "contains": "e\\stw", "read_whole_file": true}`, "a.log", "5"},
		{"several folders", `{"paths": ["/srv/d", "/srv/d/e", "/srv/none"]}`, "d/c.log d/e/f[1].gz", "5"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := once(t, Find(), c.args, tree(), modtest.Setup{Trips: 5, ActTrips: 5})
			equal(t, "files", pathsOf(t, r), c.want)
			equal(t, "examined", r.Get("examined"), c.examined)
		})
	}
	r := once(t, Find(), `{"paths": ["/srv/none", "/srv"], "get_checksum": true, "patterns": "a.log"}`, tree(), modtest.Setup{Trips: 3, ActTrips: 3})
	equal(t, "skipped", r.Get("skipped_paths"), `{"/srv/none":"'/srv/none' is not a directory"}`)
	var out foundFiles
	if err := json.Unmarshal(r.Output, &out); err != nil || len(out.Files) != 1 {
		t.Fatalf("output is %s, %v", r.Output, err)
	}
	equal(t, "checksum", out.Files[0].Checksum, digestOf("sha256", "one\ntwo\n"))
	equal(t, "its mode and owner", out.Files[0].Mode+" "+out.Files[0].Owner, "0644 root")
}

func TestFindErrorsAndLinksInCircles(t *testing.T) {
	host := machine().Write("/srv/d/x", "").Link("/srv/d/self", ".").Link("/srv/l", "d")
	modtest.Errors(t, Find(), []modtest.ErrorCase{
		{Name: "no path", Args: `{"paths": "srv"}`, Want: "absolute path"},
		{Name: "bad age", Args: `{"paths": "/srv", "age": "2y"}`, Want: "s, m, h, d, w"},
		{Name: "huge size", Args: `{"paths": "/srv", "size": "99999999999999t"}`, Want: "size is"},
		{Name: "bad expression", Args: `{"paths": "/srv", "use_regex": true, "patterns": "(?=x)"}`, Want: "lookahead"},
		{Name: "contains in folders", Args: `{"paths": "/srv", "contains": "x", "file_type": "any"}`, Want: "looks into files"},
	})
	r := once(t, Find(), `{"paths": "/srv", "recurse": true, "follow": true, "depth": 3}`, host, modtest.Setup{Trips: 4, ActTrips: 4})
	equal(t, "files", pathsOf(t, r), "d/self/x d/x l/self/x l/x")
}

func TestReadersSeeWhatCheckModeWrote(t *testing.T) {
	layer := overlay.New(machine().Write("/srv/a", "old\n"), nil)
	write := func(p, content string) {
		change := modules.Change{Kind: modules.WriteFile, Path: p, Content: modules.Bytes(p, []byte(content))}
		if err := layer.Act().Apply(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	write("/srv/a", "new\n")
	write("/srv/b", "also\n")
	propose := func(m *modules.Module, args string) modtest.Result {
		p, err := modtest.Propose(t, m, args, layer.Look(), modtest.Setup{})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(p.Output)
		if err != nil {
			t.Fatal(err)
		}
		return modtest.Result{Proposal: p, Output: raw}
	}
	equal(t, "find", pathsOf(t, propose(Find(), `{"paths": "/srv", "contains": "new|also"}`)), "a b")
	equal(t, "slurp", propose(Slurp(), `{"src": "/srv/a"}`).Get("content"), `"bmV3Cg=="`)
	equal(t, "stat", propose(Stat(), `{"path": "/srv/a", "checksum_algorithm": "md5"}`).Get("stat.checksum"), `"`+digestOf("md5", "new\n")+`"`)
	equal(t, "lineinfile", len(propose(LineInFile(), `{"path": "/srv/b", "line": "also"}`).Diff), 0)
}
