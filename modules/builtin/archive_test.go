package builtin

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

// packer is a machine whose tar writes the names it is given.
func packer() *modtest.Machine {
	host := machine().Write("/srv/a/x.log", "X").Write("/srv/a/y.log", "YY").Write("/srv/a/sub/z", "Z").Write("/srv/b", "B").Link("/srv/a/l", "x.log")
	host.OnRun = func(_ context.Context, cmd modules.Command) (modules.Output, error) {
		script := cmd.Argv[2]
		packed := strings.ReplaceAll(strings.Trim(string(cmd.Stdin), "\x00\n"), "\x00", " ")
		if strings.Contains(script, "sha256sum") {
			return modules.Output{Stdout: []byte(digestOf("sha256", packed) + "  -\n")}, nil
		}
		_, to, _ := strings.Cut(script, "cat >'")
		to, _, _ = strings.Cut(to, "'")
		host.Write(to, packed)
		return modules.Output{}, nil
	}
	return host
}

func TestArchive(t *testing.T) {
	cases := []struct{ name, args, dest, want string }{
		{"a folder", `{"path": "/srv/a"}`, "/srv/a.gz", "a a/l a/sub a/sub/z a/x.log a/y.log"},
		{"a file", `{"path": "/srv/b"}`, "/srv/b.gz", "b"},
		{"several", `{"path": ["/srv/a/sub", "/srv/b"], "dest": "/tmp/o.tgz"}`, "/tmp/o.tgz", "a/sub a/sub/z b"},
		{"patterns", `{"path": "/srv/*/*.log", "dest": "/tmp/o.tgz"}`, "/tmp/o.tgz", "x.log y.log"},
		{"but not these", `{"path": "/srv/a", "exclude_path": ["/srv/a/sub", "/srv/a/x.*"], "dest": "/tmp/o"}`, "/tmp/o", "a a/l a/y.log"},
		{"nor these", `{"path": "/srv/a", "exclusion_patterns": ["a/*.log"], "dest": "/tmp/o"}`, "/tmp/o", "a a/l a/sub a/sub/z"},
		{"into itself", `{"path": "/srv/a", "dest": "/srv/a/o.gz"}`, "/srv/a/o.gz", "a/l a/sub a/sub/z a/x.log a/y.log"},
		{"one is missing", `{"path": ["/srv/b", "/srv/none"], "dest": "/tmp/o"}`, "/tmp/o", "b"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			host := packer()
			r := once(t, Archive(), c.args, host, modtest.Setup{Trips: 9, ActTrips: 12})
			equal(t, "packed", host.Content(c.dest), c.want)
			equal(t, "dest", r.Get("dest"), `"`+c.dest+`"`)
			equal(t, "unknown in check mode", r.Unknown, true)
		})
	}
	host := packer()
	setup := modtest.Setup{Trips: 9, ActTrips: 12}
	r := once(t, Archive(), `{"path": "/srv/a", "dest": "/tmp/o", "remove": true, "mode": "0600", "owner": "app"}`, host, setup)
	equal(t, "removed", host.File("/srv/a").Kind, modules.Missing)
	equal(t, "mode and owner", fmt.Sprintf("%04o %s", host.File("/tmp/o").Mode, host.File("/tmp/o").Owner), "0600 app")
	equal(t, "archived", r.Get("archived"), `["/srv/a/l","/srv/a/sub/z","/srv/a/x.log","/srv/a/y.log"]`)
	modtest.Errors(t, Archive(), []modtest.ErrorCase{
		{Name: "nothing there", Args: `{"path": "/none"}`, Want: "nothing to pack"},
		{Name: "relative", Args: `{"path": "x"}`, Want: "absolute"},
		{Name: "no dest", Args: `{"path": ["/srv/a", "/srv/b"]}`, Want: "write dest"},
		{Name: "dest is a folder", Args: `{"path": "/srv/b", "dest": "/etc"}`, Host: packer(), Want: "name the archive"},
		{Name: "tar fails", Args: `{"path": "/etc", "dest": "/tmp/o"}`, Want: "pack /"},
		{Name: "a line in a name", Args: `{"path": "/srv/a", "dest": "/tmp/o", "format": "zip"}`, Host: packer().Write("/srv/a/p\nq", ""), Want: "line break"},
	})
}

func TestArchivesOfThisMachine(t *testing.T) {
	host := thisMachine(t)
	for _, format := range []struct{ name, list string }{{"gz", "tar tzf"}, {"bz2", "tar tjf"}, {"xz", "tar tJf"}, {"tar", "tar tf"}, {"zip", "unzip -Z1"}} {
		t.Run(format.name, func(t *testing.T) {
			for _, tool := range map[string][]string{"gz": {"gzip"}, "bz2": {"bzip2"}, "xz": {"xz"}, "tar": {"tar"}, "zip": {"zip", "unzip"}}[format.name] {
				if _, err := exec.LookPath(tool); err != nil {
					t.Skipf("there is no %s", tool)
				}
			}
			dir := t.TempDir()
			for name, content := range map[string]string{"in/-odd name": "one", "in/sub/two": "two"} {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			args := fmt.Sprintf(`{"path": %q, "dest": %q, "format": %q}`, dir+"/in", dir+"/out", format.name)
			for run, changes := range []int{1, 0, 1} {
				if run == 2 {
					if err := os.WriteFile(filepath.Join(dir, "in/sub/two"), []byte("three"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				r, err := perform(t, Archive(), args, host, modtest.Setup{})
				if err != nil || len(r.Diff) != changes {
					t.Fatalf("run %d: %v, %v", run+1, r.DiffNotes(), err)
				}
			}
			out, err := exec.Command("sh", "-c", format.list+" "+dir+"/out").Output()
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "in it", strings.Join(strings.Fields(strings.ReplaceAll(string(out), "-odd name", "-odd_name")), " "), "in/ in/-odd_name in/sub/ in/sub/two")
		})
	}
	full := &packing{args: archiveArgs{Format: "gz"}, out: &archived{Root: "/etc"}, names: []string{"passwd"}}
	if _, err := host.Run(t.Context(), full.command("cat >/dev/full")); err == nil || !strings.Contains(err.Error(), "No space left") {
		t.Errorf("a full disk gives %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "log"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := perform(t, Archive(), fmt.Sprintf(`{"path": %q}`, dir+"/log"), host, modtest.Setup{}); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gzip", "-dc", dir+"/log.gz").Output(); err != nil || string(out) != "text" {
		t.Errorf("the compressed file holds %q, %v", out, err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := perform(t, Archive(), fmt.Sprintf(`{"path": %q, "dest": "/dev/full/x"}`, dir+"/log"), host, modtest.Setup{})
	if err == nil {
		t.Error("an archive goes where nothing can be written")
	}
	if left, _ := filepath.Glob(dir + "/.*"); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}
