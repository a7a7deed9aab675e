package builtin

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

// read is a file of the control node; "" where there is none.
func read(t *testing.T, p string) string {
	t.Helper()
	content, err := os.ReadFile(p)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(content)
}

func TestFetch(t *testing.T) {
	cases := []struct{ name, args, want string }{
		{"below host and path", `{"src": "/srv/f", "dest": "got"}`, "got/host1/srv/f"},
		{"an untidy path", `{"src": "/srv/../srv//./f", "dest": "got/"}`, "got/host1/srv/f"},
		{"dots that lead up", `{"src": "/../../srv/f", "dest": "got"}`, "got/host1/srv/f"},
		{"flat", `{"src": "/srv/f", "dest": "deep/name", "flat": true}`, "deep/name"},
		{"flat into a folder", `{"src": "/srv/f", "dest": "deep/", "flat": true}`, "deep/f"},
		{"behind a link of the host", `{"src": "/srv/l", "dest": "got"}`, "got/host1/srv/l"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			host := machine().Write("/srv/f", "content\n").Link("/srv/l", "f")
			r := once(t, Fetch(), c.args, host, modtest.Setup{Dir: dir})
			equal(t, "the file", read(t, filepath.Join(dir, c.want)), "content\n")
			equal(t, "dest", r.Get("dest"), strconv.Quote(filepath.Join(dir, c.want)))
			equal(t, "checksum", r.Get("checksum"), strconv.Quote(digestOf("sha256", "content\n")))
			host.Write("/srv/f", "changed\n")
			once(t, Fetch(), c.args, host, modtest.Setup{Dir: dir})
			equal(t, "the file", read(t, filepath.Join(dir, c.want)), "changed\n")
		})
	}
}

func TestFetchWritesNothingInCheckMode(t *testing.T) {
	dir := t.TempDir()
	p, err := modtest.Propose(t, Fetch(), `{"src": "/srv/f", "dest": "got"}`, machine().Write("/srv/f", "x"), modtest.Setup{Dir: dir})
	if err != nil || len(p.Diff) != 1 || p.Predicts == nil {
		t.Errorf("proposal is %+v, %v", p, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("proposing leaves %v, %v", left, err)
	}
}

func TestFetchStaysInItsFolder(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	host := machine().Write("/srv/f", "new")
	kept := filepath.Join(outside, "f")
	if err := os.WriteFile(kept, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, link := range []struct{ from, to string }{
		{"file/host1/srv/f", kept}, {"folder/host1/srv", outside}, {"host/host1", outside},
	} {
		from := filepath.Join(dir, link.from)
		if err := os.MkdirAll(filepath.Dir(from), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(link.to, from); err != nil {
			t.Fatal(err)
		}
	}
	once(t, Fetch(), `{"src": "/srv/f", "dest": "file"}`, host, modtest.Setup{Dir: dir})
	equal(t, "the link has become a file", read(t, filepath.Join(dir, "file/host1/srv/f")), "new")
	for _, dest := range []string{"folder", "host"} {
		modtest.Errors(t, Fetch(), []modtest.ErrorCase{{Name: "link " + dest, Args: `{"src": "/srv/f", "dest": "` + dest + `"}`, Host: host,
			Setup: modtest.Setup{Dir: dir}, Want: "escapes"}})
	}
	equal(t, "what the links lead to", read(t, kept), "kept")
	for _, name := range []string{"..", ".", "a/b"} {
		hostile := modtest.NewMachine(name).Write("/srv/f", "x")
		modtest.Errors(t, Fetch(), []modtest.ErrorCase{{Name: "host " + name, Args: `{"src": "/srv/f", "dest": "x"}`, Host: hostile,
			Setup: modtest.Setup{Dir: dir}, Want: "cannot be the name of a folder"}})
	}
}

func TestFetchErrors(t *testing.T) {
	dir := t.TempDir()
	setup := modtest.Setup{Dir: dir}
	modtest.Errors(t, Fetch(), []modtest.ErrorCase{
		{Name: "nothing there", Args: `{"src": "/none", "dest": "x"}`, Setup: setup, Want: "the remote file does not exist"},
		{Name: "a folder", Args: `{"src": "/etc", "dest": "x"}`, Setup: setup, Want: "is a directory"},
		{Name: "the root", Args: `{"src": "/..", "dest": "x"}`, Setup: setup, Want: "is a directory"},
		{Name: "dest is a folder", Args: `{"src": "/etc/x", "dest": "` + dir + `", "flat": true}`, Setup: setup, Want: "slash behind it"},
	})
	r := once(t, Fetch(), `{"src": "/none", "dest": "x", "fail_on_missing": false}`, machine(), setup)
	if !strings.Contains(r.Message, "does not exist, ignored") {
		t.Errorf("message is %q", r.Message)
	}
	changing := &changingHost{Machine: machine().Write("/srv/f", "before")}
	p, err := modtest.Propose(t, Fetch(), `{"src": "/srv/f", "dest": "x"}`, changing, setup)
	if err != nil {
		t.Fatal(err)
	}
	changing.Write("/srv/f", "after!")
	if err := p.Do(t.Context(), changing); err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
		t.Errorf("error is %v", err)
	}
}

// changingHost is a machine whose files change between two looks.
type changingHost struct{ *modtest.Machine }

func TestLongFilesComeInPieces(t *testing.T) {
	host, dir := thisMachine(t), t.TempDir()
	src := filepath.Join(dir, "long")
	content := strings.Repeat("0123456789abcdef", (2*chunk+100)/16) + "end"
	if err := os.WriteFile(src, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	args := `{"src": "` + src + `", "dest": "got", "flat": true}`
	if _, err := perform(t, Fetch(), args, host, modtest.Setup{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	equal(t, "same", read(t, filepath.Join(dir, "got")) == content, true)
	if r, err := perform(t, Fetch(), args, host, modtest.Setup{Dir: dir}); err != nil || len(r.Diff) > 0 {
		t.Errorf("again: %v, %v", r.Diff, err)
	}
}

func TestScript(t *testing.T) {
	setup := modtest.Setup{Files: map[string]string{"my run.sh": "#!/bin/sh\necho $1 $2; pwd; ls -ld \"$(dirname \"$0\")\" | cut -c1-10; exit $3\n"}}
	host, dir := thisMachine(t), t.TempDir()
	r, err := perform(t, Script(), `{"cmd": "'my run.sh' one \"two $HOME\" 0", "chdir": "`+dir+`"}`, host, setup)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "stdout_lines", r.Get("stdout_lines"), `["one two `+os.Getenv("HOME")+`","`+dir+`","drwx------"]`)
	r, err = perform(t, Script(), `{"cmd": "'my run.sh' one two 3", "executable": "/bin/sh -e"}`, host, setup)
	equal(t, "rc", r.Get("rc"), "3")
	if err == nil {
		t.Error("a script that fails fails the task")
	}
	r, err = perform(t, Script(), `{"cmd": "'my run.sh'", "creates": "`+dir+`"}`, host, setup)
	if err != nil || !r.Skip || r.Message != dir+" exists" {
		t.Errorf("with creates it proposes %+v, %v", r.Proposal, err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{filepath.Join(cache, "pegbook"), os.TempDir()} {
		if left, err := filepath.Glob(filepath.Join(place, "script-*", "my run.sh")); err != nil || len(left) > 0 {
			t.Errorf("%v is left, %v", left, err)
		}
	}
	modtest.Errors(t, Script(), []modtest.ErrorCase{
		{Name: "no such script", Args: `{"cmd": "none.sh"}`, Want: "no file none.sh in files"},
		{Name: "nothing", Args: `{"cmd": " "}`, Want: "no script was given"},
		{Name: "open quote", Args: `{"cmd": "'x"}`, Want: "quote without an end"},
	})
}

func TestScriptIsUnknownInCheckMode(t *testing.T) {
	host := machine()
	host.OnRun = func(_ context.Context, cmd modules.Command) (modules.Output, error) {
		return modules.Output{Stdout: []byte(strings.Join(cmd.Argv[4:], " ") + " " + string(cmd.Stdin))}, nil
	}
	r := once(t, Script(), `{"cmd": "x.sh -v"}`, host, modtest.Setup{Files: map[string]string{"x.sh": "true"}, Repeats: true})
	equal(t, "unknown in check mode", r.Unknown, true)
	equal(t, "it runs", r.Get("stdout"), `"x.sh \"$0\" -v true"`)
}

// A script that is cancelled leaves nothing behind.
func TestScriptCancelled(t *testing.T) {
	host, dir := thisMachine(t), t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	if err := os.Mkdir(filepath.Join(dir, "pegbook"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p, err := modtest.Propose(t, Script(), `{"cmd": "x.sh"}`, host, modtest.Setup{Files: map[string]string{"x.sh": "#!/bin/sh\nsleep 1017\n"}})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(500*time.Millisecond, cancel)
	if err := p.Do(ctx, host); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "pegbook", "script-*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

func TestRaw(t *testing.T) {
	host := machine()
	var got modules.Command
	host.OnRun = func(_ context.Context, cmd modules.Command) (modules.Output, error) {
		got = cmd
		return modules.Output{Stdout: []byte("out\n")}, nil
	}
	r := once(t, Raw(), `{"cmd": "uname -m | cat"}`, host, modtest.Setup{Repeats: true})
	equal(t, "line", strings.Join(got.Argv, "|"), "uname -m | cat")
	equal(t, "bare", got.Bare, true)
	equal(t, "stdout", r.Get("stdout"), `"out\n"`)
	equal(t, "stdout_lines", r.Get("stdout_lines"), `["out"]`)
	once(t, Raw(), `{"cmd": "echo 'a'", "executable": "/bin/bash"}`, host, modtest.Setup{Repeats: true})
	equal(t, "line", got.Argv[0], `/bin/bash -c 'echo '"'"'a'"'"''`)
	real, err := perform(t, Raw(), `{"cmd": "echo $((1+1)); exit 4"}`, thisMachine(t), modtest.Setup{})
	if err == nil || real.Get("rc") != "4" || real.Get("stdout") != `"2\n"` {
		t.Errorf("it gives %s, %v", real.Output, err)
	}
}

func TestSlurpAndTempFile(t *testing.T) {
	host := machine().Write("/srv/f", "\x00\xffabc").Link("/srv/l", "f")
	r := once(t, Slurp(), `{"path": "/srv/l"}`, host, modtest.Setup{})
	equal(t, "output", string(r.Output), `{"source":"/srv/l","content":"AP9hYmM=","encoding":"base64"}`)
	modtest.Errors(t, Slurp(), []modtest.ErrorCase{
		{Name: "nothing there", Args: `{"src": "/none"}`, Want: "no such file"},
		{Name: "a folder", Args: `{"src": "/etc"}`, Want: "slurp reads files"},
		{Name: "too long", Args: `{"src": "/srv/f"}`, Host: machine().Write("/srv/f", strings.Repeat("x", maxSlurped+1)), Want: "use fetch"},
	})
	for _, kind := range []string{"file", "directory"} {
		r := once(t, TempFile(), `{"state": "`+kind+`", "path": "/srv", "prefix": "p.", "suffix": ".s"}`, host, modtest.Setup{Repeats: true})
		p, err := strconv.Unquote(r.Get("path"))
		if err != nil || !strings.HasPrefix(p, "/srv/p.") || !strings.HasSuffix(p, ".s") || len(p) < 30 {
			t.Errorf("path is %q, %v", p, err)
		}
		f := host.File(p)
		equal(t, "kind", string(f.Kind), kind)
		equal(t, "mode", f.Mode, map[string]uint32{"file": 0o600, "directory": 0o700}[kind])
	}
	modtest.Errors(t, TempFile(), []modtest.ErrorCase{
		{Name: "no folder", Args: `{"path": "/none"}`, Want: "no such folder"},
		{Name: "a file", Args: `{"path": "/srv/f"}`, Host: host, Want: "not a folder"},
		{Name: "a way out", Args: `{"prefix": "../x"}`, Want: "slash"},
	})
}
