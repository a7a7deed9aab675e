package builtin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

func machine() *modtest.Machine { return modtest.NewMachine("host1") }

func TestCopy(t *testing.T) {
	files := map[string]string{"app.conf": "new\n", "tree/bin/run": "#!", "tree/a": "A"}
	cases := []struct {
		name, args string
		host       *modtest.Machine
		notes      []string
		want       map[string]string // paths to contents afterwards
	}{
		{"new file", `{"src": "app.conf", "dest": "/etc/app.conf"}`, machine(),
			[]string{"/etc/app.conf is written"}, map[string]string{"/etc/app.conf": "new\n"}},
		{"into a folder", `{"src": "app.conf", "dest": "/etc"}`, machine(),
			[]string{"/etc/app.conf is written"}, map[string]string{"/etc/app.conf": "new\n"}},
		{"into a folder that is not there", `{"src": "app.conf", "dest": "/srv/x/"}`, machine(),
			[]string{"/srv/x/app.conf is written"}, map[string]string{"/srv/x/app.conf": "new\n"}},
		{"into a folder behind a link", `{"src": "app.conf", "dest": "/srv/l"}`, machine().Mkdir("/srv/x").Link("/srv/l", "x"),
			[]string{"/srv/l/app.conf is written"}, map[string]string{"/srv/x/app.conf": "new\n"}},
		{"same", `{"src": "app.conf", "dest": "/etc/app.conf"}`, machine().Write("/etc/app.conf", "new\n"), []string{}, nil},
		{"differs", `{"src": "app.conf", "dest": "/etc/app.conf", "mode": "0600", "owner": "pegasus"}`, machine().Write("/etc/app.conf", "old\n"),
			[]string{"/etc/app.conf content differs", "/etc/app.conf mode 0644 → 0600", "/etc/app.conf owner root → pegasus"},
			map[string]string{"/etc/app.conf": "new\n"}},
		{"only the mode", `{"src": "app.conf", "dest": "/etc/app.conf", "mode": "u=rw,go="}`, machine().Write("/etc/app.conf", "new\n"),
			[]string{"/etc/app.conf mode 0644 → 0600"}, nil},
		{"no force", `{"src": "app.conf", "dest": "/etc/app.conf", "force": false, "mode": "0600"}`, machine().Write("/etc/app.conf", "old\n"),
			[]string{}, map[string]string{"/etc/app.conf": "old\n"}},
		{"content", `{"content": "x: 1\n", "dest": "/etc/x.yml"}`, machine(), []string{"/etc/x.yml is written"}, map[string]string{"/etc/x.yml": "x: 1\n"}},
		{"content that is a mapping", `{"content": {"a": 1}, "dest": "/etc/x.json"}`, machine(), []string{"/etc/x.json is written"},
			map[string]string{"/etc/x.json": `{"a": 1}`}},
		{"over a link", `{"content": "x", "dest": "/etc/l"}`, machine().Write("/srv/t", "kept").Link("/etc/l", "/srv/t"),
			[]string{"/etc/l a file takes the place of the link to /srv/t"}, map[string]string{"/etc/l": "x", "/srv/t": "kept"}},
		{"folder", `{"src": "tree", "dest": "/opt", "directory_mode": "0700"}`, machine().Mkdir("/opt"),
			[]string{"/opt/tree directory is made", "/opt/tree/a is written", "/opt/tree/bin directory is made", "/opt/tree/bin/run is written"},
			map[string]string{"/opt/tree/a": "A", "/opt/tree/bin/run": "#!"}},
		{"folder's content", `{"src": "tree/", "dest": "/opt"}`, machine().Write("/opt/a", "A").Mkdir("/opt/bin"),
			[]string{"/opt/bin/run is written"}, map[string]string{"/opt/bin/run": "#!"}},
		{"on the host", `{"remote_src": true, "src": "/srv/a", "dest": "/srv/b"}`, machine().Write("/srv/a", "A"),
			[]string{"/srv/b is copied from /srv/a"}, map[string]string{"/srv/b": "A"}},
		{"on the host, same", `{"remote_src": true, "src": "/srv/a", "dest": "/srv/b"}`, machine().Write("/srv/a", "A").Write("/srv/b", "A"), []string{}, nil},
		{"on the host, into a folder", `{"remote_src": true, "src": "/srv/a", "dest": "/opt", "mode": "0600"}`, machine().Write("/srv/a", "A").Mkdir("/opt"),
			[]string{"/opt/a is copied from /srv/a"}, map[string]string{"/opt/a": "A"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := once(t, Copy(), c.args, c.host, modtest.Setup{Files: files})
			if got := r.DiffNotes(); !slices.Equal(got, c.notes) {
				t.Errorf("differences are\n  %q\nwant\n  %q", got, c.notes)
			}
			for p, content := range c.want {
				equal(t, p, c.host.Content(p), content)
			}
		})
	}
}

func TestCopyKeepsABackup(t *testing.T) {
	host := machine().Write("/srv/f", "old")
	once(t, Copy(), `{"content": "new", "dest": "/srv/f", "backup": true}`, host, modtest.Setup{})
	for p := range host.Snapshot() {
		if strings.HasPrefix(p, "/srv/f.") && strings.HasSuffix(p, "~") && host.Content(p) == "old" {
			return
		}
	}
	t.Errorf("there is no backup: %v", host.Snapshot())
}

func TestDiffsShowTextAndNothingElse(t *testing.T) {
	r := once(t, Copy(), `{"content": "b\n", "dest": "/srv/f"}`, machine().Write("/srv/f", "a\n"), modtest.Setup{})
	equal(t, "diff", r.Diff[0], modules.Diff{Subject: "/srv/f", Before: "a\n", After: "b\n", Note: "content differs"})
	r = once(t, Copy(), `{"content": "b\n", "dest": "/srv/f"}`, machine().Write("/srv/f", "\x00\x01"), modtest.Setup{})
	equal(t, "diff of a binary file", r.Diff[0], modules.Diff{Subject: "/srv/f", Note: "content differs, 2 → 2 bytes"})
	long := strings.Repeat("x", maxShown+1)
	r = once(t, Copy(), fmt.Sprintf(`{"content": %q, "dest": "/srv/f"}`, long), machine().Write("/srv/f", "a"), modtest.Setup{})
	equal(t, "diff of a long file", r.Diff[0], modules.Diff{Subject: "/srv/f", Note: fmt.Sprintf("content differs, 1 → %d bytes", len(long))})
}

func TestValidate(t *testing.T) {
	args := `{"content": "new", "dest": "/srv/f", "validate": "check -f %s"}`
	for _, valid := range []bool{true, false} {
		host := machine().Write("/srv/f", "old")
		var saw, arg string
		host.OnRun = func(_ context.Context, cmd modules.Command) (modules.Output, error) {
			arg = cmd.Argv[2]
			saw = host.Content(arg)
			return modules.Output{ExitCode: map[bool]int{true: 0, false: 1}[valid], Stderr: []byte("line 1 is wrong")}, nil
		}
		r := modtest.Converge(t, Copy(), args, host, modtest.Setup{ActTrips: 4})
		equal(t, "the command saw", saw, "new")
		equal(t, "the file", host.Content("/srv/f"), map[bool]string{true: "new", false: "old"}[valid])
		if (r.Err == nil) != valid || !valid && !strings.Contains(r.Err.Error(), "line 1 is wrong") {
			t.Errorf("error is %v", r.Err)
		}
		equal(t, "the draft is", host.File(arg).Kind, modules.Missing)
	}
}

func TestCopyErrors(t *testing.T) {
	modtest.Errors(t, Copy(), []modtest.ErrorCase{
		{Name: "nothing", Args: `{"dest": "/x"}`, Want: "write src or content"},
		{Name: "both", Args: `{"dest": "/x", "src": "a", "content": "b"}`, Want: "exclude each other"},
		{Name: "no such file", Args: `{"dest": "/x", "src": "a"}`, Want: "no file a in files"},
		{Name: "content into a folder", Args: `{"dest": "/etc", "content": "b"}`, Want: "is a directory"},
		{Name: "content and slash", Args: `{"dest": "/x/", "content": "b"}`, Want: "names a folder"},
		{Name: "relative dest", Args: `{"dest": "x", "content": "b"}`, Want: "absolute path"},
		{Name: "octal trap", Args: `{"dest": "/x", "content": "b", "mode": 644}`, Want: "in quotes"},
		{Name: "no folder for it", Args: `{"dest": "/none/x", "content": "b"}`, Want: "no such file or directory"},
		{Name: "nothing on the host", Args: `{"dest": "/x", "src": "/none", "remote_src": true}`, Want: "no such file on the host"},
		{Name: "validate without %s", Args: `{"dest": "/x", "content": "b", "validate": "check"}`, Want: "no %s"},
	})
}

func TestTemplate(t *testing.T) {
	setup := modtest.Setup{Files: map[string]string{"app.conf.tmpl": "name = {{ .name }}\n", "other.tmpl": "a <% .name %> {{ stays }}"},
		Vars: map[string]string{"name": "x1"}}
	host := machine()
	r := once(t, Template(), `{"src": "app.conf.tmpl", "dest": "/etc/"}`, host, setup)
	equal(t, "content", host.Content("/etc/app.conf"), "name = x1\n")
	equal(t, "dest", r.Get("dest"), `"/etc/app.conf"`)
	once(t, Template(), `{"src": "other.tmpl", "dest": "/etc/o", "delims": ["<%", "%>"]}`, host, setup)
	equal(t, "content", host.Content("/etc/o"), "a x1 {{ stays }}")
	once(t, Template(), `{"src": "other.tmpl", "dest": "/etc/p", "variable_start_string": "<%", "variable_end_string": "%>"}`, host, setup)
	equal(t, "content", host.Content("/etc/p"), "a x1 {{ stays }}")
	modtest.Errors(t, Template(), []modtest.ErrorCase{
		{Name: "no variable", Args: `{"src": "app.conf.tmpl", "dest": "/etc/x"}`, Setup: modtest.Setup{Files: setup.Files}, Want: "name"},
		{Name: "no template", Args: `{"src": "none", "dest": "/etc/x"}`, Want: "no file none in templates"},
		{Name: "bad delims", Args: `{"src": "other.tmpl", "dest": "/etc/x", "delims": ["<%"]}`, Setup: setup, Want: "delims"},
	})
}

func TestFile(t *testing.T) {
	host := func() *modtest.Machine {
		return machine().Write("/srv/d/f", "x").Write("/srv/d/e/g", "y").Link("/srv/l", "d")
	}
	cases := []struct {
		name, args string
		notes      []string
		path       string // what to look at afterwards
		want       string
	}{
		{"new directory", `{"path": "/srv/n/m", "state": "directory", "mode": "0750", "owner": "pegasus"}`, []string{"/srv/n/m directory is made"}, "/srv/n/m", "directory 0750 pegasus"},
		{"same directory", `{"path": "/srv/d/", "state": "directory"}`, []string{}, "/srv/d", "directory 0755 root"},
		{"directory behind a link", `{"path": "/srv/l", "state": "directory", "mode": "0700"}`, []string{"/srv/l mode 0755 → 0700"}, "/srv/d", "directory 0700 root"},
		{"whole directory", `{"path": "/srv/d", "recurse": true, "owner": "app"}`,
			[]string{"/srv/d owner root → app", "/srv/d/e owner root → app", "/srv/d/f owner root → app", "/srv/d/e/g owner root → app"}, "/srv/d/e/g", "file 0644 app"},
		{"symbolic mode for a tree", `{"path": "/srv/d", "recurse": true, "state": "directory", "mode": "go-rX"}`,
			[]string{"/srv/d mode 0755 → 0700", "/srv/d/e mode 0755 → 0700", "/srv/d/f mode 0644 → 0600", "/srv/d/e/g mode 0644 → 0600"}, "/srv/d/f", "file 0600 root"},
		{"attributes", `{"path": "/srv/d/f", "mode": "a+x", "group": "1001"}`, []string{"/srv/d/f mode 0644 → 0755", "/srv/d/f group root → 1001"}, "/srv/d/f", "file 0755 root"},
		{"link", `{"path": "/srv/k", "src": "d/f"}`, []string{"/srv/k link to d/f"}, "/srv/k", "link 0777 root"},
		{"same link", `{"path": "/srv/l", "src": "d", "state": "link"}`, []string{}, "/srv/l", "link 0777 root"},
		{"other link", `{"dest": "/srv/l", "src": "d/e", "state": "link"}`, []string{"/srv/l link to d/e"}, "/srv/l", "link 0777 root"},
		{"link over a file", `{"path": "/srv/d/f", "src": "e", "state": "link", "force": true}`, []string{"/srv/d/f link to e"}, "/srv/d/f", "link 0777 root"},
		{"absent file", `{"path": "/srv/d/f", "state": "absent"}`, []string{"/srv/d/f file is removed"}, "/srv/d/f", "missing 0000 "},
		{"absent link", `{"path": "/srv/l", "state": "absent"}`, []string{"/srv/l link is removed"}, "/srv/d", "directory 0755 root"},
		{"absent directory", `{"path": "/srv/d", "state": "absent"}`, []string{"/srv/d directory is removed with everything below it"}, "/srv/d/e/g", "missing 0000 "},
		{"absent already", `{"path": "/srv/none", "state": "absent"}`, []string{}, "/srv/none", "missing 0000 "},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := host()
			setup := modtest.Setup{}
			if strings.Contains(c.args, "recurse") {
				setup = modtest.Setup{Trips: 3, ActTrips: 4} // one a level
			}
			r := once(t, File(), c.args, h, setup)
			if got := r.DiffNotes(); !slices.Equal(got, c.notes) {
				t.Errorf("differences are\n  %q\nwant\n  %q", got, c.notes)
			}
			f := h.File(c.path)
			equal(t, c.path, fmt.Sprintf("%s %04o %s", f.Kind, f.Mode, f.Owner), c.want)
		})
	}
}

func TestTouch(t *testing.T) {
	host := machine()
	once(t, File(), `{"path": "/srv", "state": "touch"}`, host, modtest.Setup{Repeats: true})
	equal(t, "kind", host.File("/srv").Kind, modules.Regular)
	once(t, File(), `{"path": "/srv", "state": "touch", "mode": "0600"}`, host, modtest.Setup{Repeats: true})
	equal(t, "mode", host.File("/srv").Mode, 0o600)
}

func TestFileErrors(t *testing.T) {
	host := machine().Write("/srv/d/f", "x")
	modtest.Errors(t, File(), []modtest.ErrorCase{
		{Name: "not there", Args: `{"path": "/srv/none"}`, Host: host, Want: "is not there"},
		{Name: "directory over a file", Args: `{"path": "/srv/d/f", "state": "directory"}`, Host: host, Want: "is a file where a directory must go"},
		{Name: "link over a file", Args: `{"path": "/srv/d/f", "src": "x", "state": "link"}`, Host: host, Want: "force: true"},
		{Name: "link over a directory", Args: `{"path": "/srv/d", "src": "x", "state": "link", "force": true}`, Host: host, Want: "is a directory"},
		{Name: "link without src", Args: `{"path": "/srv/d", "state": "link"}`, Host: host, Want: "belong together"},
		{Name: "recurse on a file", Args: `{"path": "/srv/d/f", "state": "file", "recurse": true}`, Host: host, Want: "recurse is for directories"},
		{Name: "no such state", Args: `{"path": "/srv/d", "state": "hard"}`, Host: host, Want: "it is one of"},
		{Name: "no such owner", Args: `{"path": "/srv/d", "owner": "nobody-knows"}`, Host: host, Want: "nobody-knows"},
	})
}

func TestStat(t *testing.T) {
	host := machine().Write("/srv/f", "abc").Chmod("/srv/f", 0o4750, "pegasus").Link("/srv/l", "f")
	r := once(t, Stat(), `{"path": "/srv/f"}`, host, modtest.Setup{})
	sum := "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	for field, want := range map[string]string{"exists": "true", "isreg": "true", "isdir": "false", "mode": `"4750"`, "size": "3",
		"pw_name": `"pegasus"`, "checksum": `"` + sum + `"`, "xusr": "true", "roth": "false", "isuid": "true", "path": `"/srv/f"`} {
		equal(t, field, r.Get("stat."+field), want)
	}
	r = once(t, Stat(), `{"path": "/srv/l", "get_checksum": false}`, host, modtest.Setup{})
	equal(t, "lnk_target", r.Get("stat.lnk_target"), `"f"`)
	r = once(t, Stat(), `{"path": "/srv/l", "follow": true}`, host, modtest.Setup{})
	equal(t, "checksum behind the link", r.Get("stat.checksum"), `"`+sum+`"`)
	r = once(t, Stat(), `{"path": "/srv/none"}`, host, modtest.Setup{})
	equal(t, "output", string(r.Output), `{"stat":{"exists":false}}`)
}
