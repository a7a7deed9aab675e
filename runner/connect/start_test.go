package connect

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// mountTmpfs gives an empty file system with options of its own.
func mountTmpfs(t *testing.T, flags uintptr, options string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// startWith starts a helper through a shell here, as it would be on a host, with its cache in folder.
func startWith(t *testing.T, folder, before string) (*mux, error) {
	t.Helper()
	s := &starter{name: "h", folder: folder, binaries: &binaries{files: embedded}, every: time.Second, trips: &atomic.Int64{}}
	return s.start(t.Context(), func(ctx context.Context, line string) (stream, error) { return localOpen(ctx, before+line) }, Become{})
}

func TestStartFaults(t *testing.T) {
	shared := t.TempDir()
	writable := filepath.Join(shared, fmt.Sprintf("pegbook-%d", os.Getuid()))
	if err := os.Mkdir(writable, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(writable, 0o777); err != nil {
		t.Fatal(err)
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	foreign := t.TempDir()
	if os.Getuid() == 0 {
		dir := filepath.Join(foreign, "pegbook-0")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, folder, before string
		want                 []string
	}{
		{"noexec", mountTmpfs(t, syscall.MS_NOEXEC, ""), "", []string{"may not be executed", "noexec", "set ansible_remote_tmp"}},
		{"full disk", mountTmpfs(t, 0, "size=1m"), "", []string{"no room for the helper", "set ansible_remote_tmp"}},
		{"read-only", mountTmpfs(t, syscall.MS_RDONLY, ""), "", []string{"cannot be made", "Read-only", "set ansible_remote_tmp"}},
		{"others can write it", shared, "", []string{"can be written by others", "ansible_remote_tmp"}},
		{"others can write what holds it", open, "", []string{"the folder that holds", "can be written by others"}},
		{"another's", foreign, "", []string{"belongs to another user"}},
		{"no such shell", "", "echo This account is currently not available.; exit 1; ", []string{"ended with code 1", "not available"}},
		{"endless chatter", "", "yes; ", []string{"printed more than 256 KiB"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := startWith(t, c.folder, c.before)
			var gone *modules.UnreachableError
			if !errors.As(err, &gone) {
				t.Fatalf("got %v", err)
			}
			wantText(t, err, c.want...)
		})
	}
}

func TestStart(t *testing.T) {
	dir := t.TempDir()
	home := fmt.Sprintf("HOME=%s; export HOME; unset XDG_CACHE_HOME; ", quote(dir))
	for _, c := range []struct{ name, folder, before, cache string }{
		{"home", "", home, ".cache/pegbook"},
		{"chatter before", "", home + "echo Welcome; printf 'no line break'; echo pegbook/:hello; ", ".cache/pegbook"},
		{"cache home", "", home + fmt.Sprintf("XDG_CACHE_HOME=%s; export XDG_CACHE_HOME; ", quote(dir+"/it's a cache")), "it's a cache/pegbook"},
		{"below home", "~/some where", home, "some where/pegbook"},
		{"without gzip", "~/plain", home + "mkdir -p $HOME/bin; for p in sh head ls sha256sum chmod mv rm mkdir id find uname; do ln -sf $(command -v $p) $HOME/bin/; done; PATH=$HOME/bin; ", "plain/pegbook"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := startWith(t, c.folder, c.before)
			if err != nil {
				t.Fatal(err)
			}
			defer m.fail(errClosed)
			cached, _ := filepath.Glob(filepath.Join(dir, c.cache, "helper-*"))
			if len(cached) != 1 {
				t.Fatalf("cache: %q", cached)
			}
			info, err := os.Stat(cached[0])
			if err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("%v, %v", info, err)
			}
			h := &host{name: "h", mux: m}
			if out := run(t, h, "sh", "-c", "umask"); out != "0022\n" {
				t.Errorf("commands have umask %s", out)
			}
		})
	}
}

// A helper whose content is not what it should be is never executed, with cksum on the host or without.
func TestDamagedHelper(t *testing.T) {
	const noCksum = "mkdir -p $HOME/bin; for p in sh head ls sha256sum gzip chmod mv rm mkdir id find uname; do ln -sf $(command -v $p) $HOME/bin/; done; PATH=$HOME/bin; "
	script := func(_ []byte, mark string) []byte { return []byte("#!/bin/sh\ntouch " + mark + "\n") }
	flipped := func(b []byte, _ string) []byte { b[len(b)/2] ^= 1; return b }
	for _, c := range []struct {
		name, tools string
		damage      func(helper []byte, mark string) []byte
	}{
		{"another program", "", script}, {"one bit", "", flipped},
		{"another program, no cksum", noCksum, script}, {"one bit, no cksum", noCksum, flipped},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			home := fmt.Sprintf("HOME=%s; export HOME; unset XDG_CACHE_HOME; ", quote(dir)) + c.tools
			m, err := startWith(t, "", home)
			if err != nil {
				t.Fatal(err)
			}
			m.fail(errClosed)
			cached, _ := filepath.Glob(filepath.Join(dir, ".cache/pegbook/helper-*"))
			if len(cached) != 1 {
				t.Fatalf("cache: %q", cached)
			}
			executed := filepath.Join(dir, "executed")
			helper, err := os.ReadFile(cached[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(cached[0]); err != nil { // it may still be running
				t.Fatal(err)
			}
			write(t, cached[0], c.damage(helper, executed), 0o700)
			if m, err = startWith(t, "", home); err != nil {
				t.Fatal(err)
			}
			defer m.fail(errClosed)
			if _, err := os.Stat(executed); err == nil {
				t.Error("a file that is not the helper was executed")
			}
			sum, err := exec.Command("sha256sum", cached[0]).Output()
			if err != nil || !strings.HasSuffix(cached[0], strings.Fields(string(sum))[0]) {
				t.Errorf("the cache holds %s: %v", sum, err)
			}
		})
	}
}

func TestNoHelperBuilt(t *testing.T) {
	_, err := readBinaries(os.DirFS(t.TempDir()))
	if !errors.Is(err, errNoHelper) {
		t.Errorf("got %v", err)
	}
}

func TestQuote(t *testing.T) {
	for _, text := range []string{"", "plain", "it's", `"a" $b`, "`c`", `\`, "a\nb", "''"} {
		out, err := exec.Command("/bin/sh", "-c", "printf %s "+quote(text)).Output()
		if err != nil || string(out) != text {
			t.Errorf("%q arrives as %q: %v", text, out, err)
		}
	}
	if strings.ContainsAny(script, "'\n\\!") {
		t.Error("the script holds a character that some login shell would not pass on")
	}
}

func TestExplain(t *testing.T) {
	problem, hint := explain("arch riscv64")
	wantText(t, problem, "riscv64")
	if !strings.Contains(hint, "aarch64") {
		t.Errorf("hint: %s", hint)
	}
}

func FuzzHear(f *testing.F) {
	const mark = "pegbook/00:"
	f.Add([]byte("noise" + mark + "hello\n"))
	f.Add([]byte(mark + "need gzip x86_64\nrest"))
	f.Add(bytes.Repeat([]byte("pegbook/0"), 2000))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bufio.NewReader(bytes.NewReader(data))
		var noise tail
		for {
			w, err := hear(r, mark, &noise)
			if errors.Is(err, io.EOF) || errors.Is(err, errNoise) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(w.verb, " ") || strings.Contains(w.rest, "\n") {
				t.Errorf("%+v", w)
			}
		}
		if len(noise.kept) > 2<<10 {
			t.Errorf("%d bytes of noise are kept", len(noise.kept))
		}
	})
}

// What is embedded must be what the source says, or a mended helper is never sent.
func TestEmbeddedIsCurrent(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles the helper")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "embedded"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "run", "./helper/build", filepath.Join(dir, "embedded")).CombinedOutput(); err != nil {
		t.Fatalf("build the helper: %s", out)
	}
	want, err := readBinaries(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	got, err := readBinaries(embedded)
	if err != nil {
		t.Fatal(err)
	}
	for arch := range want {
		if got[arch].sum != want[arch].sum {
			t.Errorf("the helper for %s is not of this source; run go generate ./runner/connect", arch)
		}
	}
}
