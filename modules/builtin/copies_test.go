package builtin

import (
	"archive/tar"
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

func TestCopyOfAFolderOfTheHost(t *testing.T) {
	host := machine().Write("/srv/a/x", "X").Write("/srv/a/sub/y", "Y").Link("/srv/a/l", "x").Chmod("/srv/a/x", 0o755, "root")
	setup := modtest.Setup{Trips: 4, ActTrips: 5}
	r := once(t, Copy(), `{"remote_src": true, "src": "/srv/a", "dest": "/opt", "owner": "app"}`, host.Mkdir("/opt"), setup)
	equal(t, "files", r.Get("files")+r.Get("written"), "22")
	x := host.File("/opt/a/x")
	equal(t, "x", fmt.Sprintf("%s %04o %s", host.Content("/opt/a/x"), x.Mode, x.Owner), "X 0755 app")
	equal(t, "link", host.File("/opt/a/l").Target, "x")
	host.Write("/srv/a/sub/y", "changed")
	r = once(t, Copy(), `{"remote_src": true, "src": "/srv/a/", "dest": "/opt/a"}`, host, setup)
	if got := r.DiffNotes(); !slices.Equal(got, []string{"/opt/a/sub/y is copied from /srv/a/sub/y"}) {
		t.Errorf("differences are %q", got)
	}
	modtest.Errors(t, Copy(), []modtest.ErrorCase{
		{Name: "into itself", Args: `{"remote_src": true, "src": "/srv/a", "dest": "/srv/a/sub"}`, Host: host, Want: "lies in /srv/a"}})
}

func TestModesThatArePreserved(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "run")
	if err := os.WriteFile(src, []byte("#!"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(src, 0o751); err != nil {
		t.Fatal(err)
	}
	local, err := modules.LocalFile(src)
	if err != nil {
		t.Fatal(err)
	}
	mode, ok := modules.ModeOf(local)
	equal(t, "mode of the file", fmt.Sprintf("%04o %v", mode, ok), "0751 true")
	equal(t, "preserved", preserving(modeOf(t, Copy(), "preserve"), func() (uint32, bool) { return mode, ok }).String(), "0751")
	host := machine().Write("/srv/a", "A").Chmod("/srv/a", 0o640, "root").Write("/srv/b", "A")
	r := once(t, Copy(), `{"remote_src": true, "src": "/srv/a", "dest": "/srv/b", "mode": "preserve"}`, host, modtest.Setup{})
	equal(t, "differences", fmt.Sprint(r.DiffNotes()), "[/srv/b mode 0644 → 0640]")
	modtest.Errors(t, File(), []modtest.ErrorCase{{Name: "nothing to preserve", Args: `{"path": "/etc", "mode": "preserve"}`, Want: "takes permissions"}})
}

// modeOf is the permissions that a module makes of a text.
func modeOf(t *testing.T, m *modules.Module, text string) modules.Mode {
	t.Helper()
	var args copyArgs
	if err := m.Args.Decode([]byte(`{"dest": "/x", "mode": "`+text+`"}`), &args); err != nil {
		t.Fatal(err)
	}
	return args.Mode
}

func TestTouchThatPreservesTimes(t *testing.T) {
	host := machine()
	args := `{"path": "/srv", "state": "touch", "modification_time": "preserve", "access_time": "preserve"}`
	r := once(t, File(), args, host, modtest.Setup{})
	equal(t, "differences", fmt.Sprint(r.DiffNotes()), "[/srv empty file is made]")
	r = once(t, File(), args, host, modtest.Setup{})
	equal(t, "differences", len(r.Diff), 0)
	modtest.Errors(t, File(), []modtest.ErrorCase{
		{Name: "one of them", Args: `{"path": "/srv", "state": "touch", "access_time": "preserve"}`, Host: host, Want: "the same value"},
		{Name: "no touch", Args: `{"path": "/etc", "modification_time": "preserve"}`, Host: host, Want: "state: touch"},
	})
}

func TestUnarchiveOfAnAddress(t *testing.T) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	if err := w.WriteHeader(&tar.Header{Name: "top/f", Mode: 0o644, Size: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("F")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	host := network(t, httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/a.tar" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(packed.Bytes())
	})))
	r := once(t, Unarchive(), `{"src": "http://web/a.tar", "remote_src": true, "dest": "/srv", "extra_opts": ["--strip-components=1"]}`, host, modtest.Setup{Trips: 2, ActTrips: 3})
	equal(t, "file", host.Content("/srv/f"), "F")
	equal(t, "unknown in check mode", r.Unknown, false)
	r = once(t, Unarchive(), `{"src": "http://web/gone", "dest": "/srv", "creates": "/srv/f"}`, host, modtest.Setup{})
	equal(t, "message", r.Message, "/srv/f exists")
	modtest.Errors(t, Unarchive(), []modtest.ErrorCase{
		{Name: "not there", Args: `{"src": "http://web/b.tar", "dest": "/srv"}`, Host: host, Want: "404"},
		{Name: "other options", Args: `{"src": "x.tar", "dest": "/srv", "extra_opts": ["--transform", "s/a/b/"]}`, Host: host, Want: "strip: N"},
	})
}
