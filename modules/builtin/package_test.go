package builtin

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

// pkg is a package as pack_server makes it: a folder with the version's name around everything.
func pkg(version string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	top := "pegasus-server-" + version
	for _, f := range []struct{ name, content string }{{top + "/bin/pegasus_server", "program " + version}, {top + "/VERSION", version}} {
		w.WriteHeader(&tar.Header{Name: f.name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(f.content))})
		w.Write([]byte(f.content))
	}
	w.WriteHeader(&tar.Header{Name: top + "/bin/lib.so", Typeflag: tar.TypeSymlink, Linkname: "pegasus_server"})
	w.Close()
	z.Close()
	return b.String()
}

func sumOfText(text string) string {
	sum, _ := modules.Bytes("", []byte(text)).SHA256() // bytes cannot fail
	return sum
}

// Whatever it changes is a look and the change; removing old releases takes two looks at the host's
// processes more.
const sendTrips, pruneTrips = 2, 4

func packages() modtest.Setup {
	files := map[string]string{}
	for _, v := range []string{"1.0", "2.0", "3.0", "4.0"} {
		files[v+".tar.gz"] = pkg(v)
	}
	return modtest.Setup{Files: files, ActTrips: pruneTrips}
}

func installArgs(version, more string) string {
	return fmt.Sprintf(`{"dest": "/opt/p", "version": %q, "src": %q%s}`, version, version+".tar.gz", more)
}

func TestInstallPkg(t *testing.T) {
	host := machine().Mkdir("/opt")
	setup := packages()
	setup.ActTrips = sendTrips
	r := once(t, InstallPkg(), installArgs("1.0", `, "owner": "pegasus"`), host, setup)
	equal(t, "output", string(r.Output), fmt.Sprintf(`{"version":"1.0","current":"1.0","previous":"","path":"/opt/p/releases/1.0","checksum":%q,"sent":true,"removed":[],"releases":["1.0"]}`,
		sumOfText(pkg("1.0"))))
	equal(t, "content through the link", host.Content("/opt/p/current/bin/lib.so"), "program 1.0")
	equal(t, "mode and owner", fmt.Sprintf("%o %s", host.File("/opt/p/releases/1.0/VERSION").Mode, host.File("/opt/p/releases/1.0/VERSION").Owner), "755 pegasus")
	equal(t, "link", host.File("/opt/p/current").Target, "releases/1.0")
	for p := range host.Snapshot() {
		if strings.HasPrefix(p, "/opt/p/.uploads/") || strings.Contains(p, ".new") {
			t.Errorf("%s was left behind", p)
		}
	}
	r = once(t, InstallPkg(), installArgs("2.0", `, "activate": false`), host, setup)
	equal(t, "link after only putting it there", host.File("/opt/p/current").Target, "releases/1.0")
	equal(t, "differences", strings.Join(r.DiffNotes(), "; "), "/opt/p/releases/2.0 is installed")
	r = once(t, InstallPkg(), installArgs("2.0", ""), host, modtest.Setup{Files: setup.Files})
	equal(t, "differences", strings.Join(r.DiffNotes(), "; "), "/opt/p/current 1.0 → 2.0")
	equal(t, "sent", r.Get("sent"), "false")
	// Back again, without any package.
	r = once(t, InstallPkg(), `{"dest": "/opt/p", "version": "1.0"}`, host, modtest.Setup{})
	equal(t, "content", host.Content("/opt/p/current/VERSION"), "1.0")
	equal(t, "previous", r.Get("previous"), `"2.0"`)
	once(t, InstallPkg(), installArgs("1.0", ""), host, modtest.Setup{})
}

func TestInstallPkgKeepsWhatIsNeeded(t *testing.T) {
	host := machine().Mkdir("/opt")
	for _, v := range []string{"1.0", "2.0", "3.0"} {
		once(t, InstallPkg(), installArgs(v, ""), host, packages())
	}
	// A process still runs from 1.0, and another user's does from nowhere that can be seen.
	host.Mkdir("/proc/self", "/proc/17", "/proc/18").Link("/proc/17/exe", "/real/opt/p/releases/1.0/bin/pegasus_server (deleted)").Link("/proc/17/cwd", "/")
	setup := packages()
	setup.Trips = 3 // a release too many is there, so every run looks whether something still runs from it
	r := once(t, InstallPkg(), installArgs("4.0", `, "keep": 1`), host, setup)
	equal(t, "removed", r.Get("removed"), `["3.0","2.0"]`)
	equal(t, "releases", r.Get("releases"), `["4.0","1.0"]`)
	for v, kind := range map[string]modules.FileKind{"1.0": modules.Directory, "2.0": modules.Missing, "3.0": modules.Missing, "4.0": modules.Directory} {
		equal(t, v, host.File("/opt/p/releases/"+v).Kind, kind)
	}
	host.Remove("/proc/17")
	r = once(t, InstallPkg(), installArgs("4.0", `, "keep": 1`), host, packages())
	equal(t, "differences once nothing runs from it", strings.Join(r.DiffNotes(), "; "), "/opt/p/releases/1.0 old release is removed")
}

// breaks is a machine whose connection ends after so many changes.
type breaks struct {
	*modtest.Machine
	after int
}

func (b *breaks) Apply(ctx context.Context, changes ...modules.Change) error {
	if len(changes) <= b.after {
		return b.Machine.Apply(ctx, changes...)
	}
	if err := b.Machine.Apply(ctx, changes[:b.after]...); err != nil {
		return err
	}
	return &modules.UnreachableError{Host: "host1", Err: errors.New("broken pipe")}
}

func TestInstallPkgGoesOnAfterABreak(t *testing.T) {
	for after := 0; ; after++ {
		host := machine().Mkdir("/opt")
		broken := &breaks{host, after}
		p, err := modtest.Propose(t, InstallPkg(), installArgs("1.0", ""), broken, packages())
		if err != nil {
			t.Fatal(err)
		}
		err = p.Do(t.Context(), broken)
		there := host.File("/opt/p/releases/1.0").Kind == modules.Directory
		if there && host.Content("/opt/p/releases/1.0/VERSION") != "1.0" || !there && host.File("/opt/p/current").Kind != modules.Missing {
			t.Errorf("broken after %d changes: half a release is there", after)
		}
		if err == nil {
			if after < 8 {
				t.Errorf("it was all done in %d changes", after)
			}
			return
		}
		setup := packages()
		setup.Begun = &modules.Begun{}
		r := once(t, InstallPkg(), installArgs("1.0", ""), host, setup)
		for p := range host.Snapshot() {
			if strings.HasPrefix(p, "/opt/p/.uploads/") {
				t.Errorf("broken after %d changes: %s was left behind", after, p)
			}
		}
		equal(t, fmt.Sprintf("broken after %d changes: sent again", after), r.Get("sent"), fmt.Sprint(after < 2))
		equal(t, "content", host.Content("/opt/p/current/VERSION"), "1.0")
	}
}

func TestInstallPkgRepairsADamagedUpload(t *testing.T) {
	host := machine().Write("/opt/p/.uploads/"+sumOfText(pkg("1.0")), "half")
	r := once(t, InstallPkg(), installArgs("1.0", ""), host, packages())
	equal(t, "sent", r.Get("sent"), "true")
}

func TestInstallPkgFromTheHost(t *testing.T) {
	host := machine().Mkdir("/opt").Write("/srv/p.tar.gz", pkg("1.0"))
	args := fmt.Sprintf(`{"dest": "/opt/p", "version": "1.0", "src": "/srv/p.tar.gz", "remote_src": true, "checksum": "sha256:%s"}`, sumOfText(pkg("1.0")))
	r := once(t, InstallPkg(), args, host, modtest.Setup{ActTrips: 3})
	equal(t, "sent", r.Get("sent"), "false")
	equal(t, "content", host.Content("/opt/p/current/VERSION"), "1.0")
	equal(t, "the package", host.File("/srv/p.tar.gz").Kind, modules.Regular)
}

func TestInstallPkgFromAnAddress(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	fetched := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetched++
		if r.URL.Path != "/p.tar.gz" {
			http.NotFound(w, r)
			return
		}
		w.Write([]byte(pkg("1.0")))
	}))
	defer server.Close()
	args := func(path, sum string) string {
		return fmt.Sprintf(`{"dest": "/opt/p", "version": "1.0", "src": "%s%s", "checksum": %q}`, server.URL, path, sum)
	}
	for range 2 {
		host := machine().Mkdir("/opt")
		once(t, InstallPkg(), args("/p.tar.gz", sumOfText(pkg("1.0"))), host, packages())
		equal(t, "content", host.Content("/opt/p/current/VERSION"), "1.0")
	}
	equal(t, "times it was fetched", fetched, 1)
	modtest.Errors(t, InstallPkg(), []modtest.ErrorCase{
		{Name: "another package", Args: args("/p.tar.gz", sumOfText("other")), Want: "what came has the checksum"},
		{Name: "not found", Args: args("/none", sumOfText("none")), Want: "404 Not Found"},
		{Name: "no checksum", Args: args("/p.tar.gz", ""), Want: "needs a checksum"},
	})
}

func TestInstallPkgErrors(t *testing.T) {
	there := machine().Mkdir("/opt")
	once(t, InstallPkg(), installArgs("1.0", ""), there, packages())
	other := packages()
	other.Files["1.0.tar.gz"] = pkg("1.0-other")
	damaged := machine().Mkdir("/opt")
	modtest.Errors(t, InstallPkg(), []modtest.ErrorCase{
		{Name: "version leads out", Args: `{"dest": "/opt/p", "version": "../x"}`, Want: `version is "../x"`},
		{Name: "hidden version", Args: `{"dest": "/opt/p", "version": ".x"}`, Want: `version is ".x"`},
		{Name: "bad checksum", Args: installArgs("1.0", `, "checksum": "abc"`), Setup: packages(), Want: "no SHA-256"},
		{Name: "other checksum", Args: installArgs("1.0", `, "checksum": "`+sumOfText("x")+`"`), Setup: packages(), Want: "another package or a damaged one"},
		{Name: "nothing to take it from", Args: `{"dest": "/opt/p", "version": "9.0"}`, Want: "no src says where"},
		{Name: "no package", Args: installArgs("9.0", ""), Setup: packages(), Want: "no file 9.0.tar.gz in files"},
		{Name: "same version, other package", Args: installArgs("1.0", ""), Host: there, Setup: other, Want: "came from another package"},
		{Name: "current is no link", Args: installArgs("1.0", ""), Host: machine().Mkdir("/opt/p/current"), Setup: packages(), Want: "and not the link"},
		{Name: "no archive", Args: `{"dest": "/opt/p", "version": "1.0", "src": "x"}`, Host: damaged, Setup: modtest.Setup{Files: map[string]string{"x": strings.Repeat("text ", 200)}}, Want: "unpack"},
		{Name: "not on the host", Args: `{"dest": "/opt/p", "version": "1.0", "src": "/none", "remote_src": true}`, Want: "no such file on the host"},
	})
	equal(t, "after a package that is none", damaged.File("/opt/p/releases/1.0").Kind, modules.Missing)
}

func TestUnarchive(t *testing.T) {
	setup := modtest.Setup{Files: map[string]string{"p.tar.gz": pkg("1.0")}}
	host := machine().Mkdir("/opt/t")
	args := `{"src": "p.tar.gz", "dest": "/opt/t", "strip": 1, "owner": "app"}`
	r := once(t, Unarchive(), args, host, setup)
	equal(t, "differences", len(r.Diff), 3)
	equal(t, "content", host.Content("/opt/t/bin/lib.so"), "program 1.0")
	equal(t, "owner", host.File("/opt/t/VERSION").Owner, "app")
	host.Write("/opt/t/VERSION", "changed").Write("/opt/t/mine", "x")
	r = once(t, Unarchive(), args, host, setup)
	equal(t, "differences", strings.Join(r.DiffNotes(), "; "), "/opt/t/VERSION content differs")
	equal(t, "a file of somebody else", host.Content("/opt/t/mine"), "x")
	for p := range host.Snapshot() {
		if strings.Contains(p, ".pegbook-") {
			t.Errorf("%s was left behind", p)
		}
	}
	r = once(t, Unarchive(), `{"src": "p.tar.gz", "dest": "/opt/t", "creates": "/opt/t/mine"}`, host, setup)
	equal(t, "message", r.Message, "/opt/t/mine exists")
	modtest.Errors(t, Unarchive(), []modtest.ErrorCase{
		{Name: "no folder", Args: `{"src": "p.tar.gz", "dest": "/none"}`, Setup: setup, Want: "there is no such folder"},
		{Name: "no archive", Args: `{"src": "none", "dest": "/opt"}`, Want: "no file none in files"},
		{Name: "damaged", Args: `{"src": "x", "dest": "/etc"}`, Setup: modtest.Setup{Files: map[string]string{"x": "PK\x03\x04"}}, Want: "read archive x"},
		{Name: "relative on the host", Args: `{"src": "x", "dest": "/etc", "remote_src": true}`, Want: "relative path"},
	})
}

func TestRemoteUnarchive(t *testing.T) {
	host := machine().Mkdir("/opt/t").Write("/srv/p.tar.gz", pkg("1.0"))
	host.OnRun = func(_ context.Context, cmd modules.Command) (modules.Output, error) {
		if cmd.Argv[0] != "tar" || !cmd.ReadOnly {
			return modules.Output{}, fmt.Errorf("it ran %q", cmd.Argv)
		}
		if host.Content("/opt/t/VERSION") == "1.0" {
			return modules.Output{}, nil
		}
		return modules.Output{ExitCode: 1, Stdout: []byte("VERSION: Warning: Cannot stat\nand more\n")}, nil
	}
	args := `{"src": "/srv/p.tar.gz", "dest": "/opt/t", "strip": 1, "remote_src": true}`
	p, err := modtest.Propose(t, Unarchive(), args, host, modtest.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "difference", p.Diff[0].Note, "VERSION: Warning: Cannot stat …")
	if err := p.Do(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	once(t, Unarchive(), args, host, modtest.Setup{Trips: 2})
	once(t, Unarchive(), `{"src": "/srv/p.tar.gz", "dest": "/opt/t", "creates": "/opt/t/x", "strip": 1, "remote_src": true}`, host.Remove("/opt/t/VERSION"),
		modtest.Setup{Repeats: true})
}
