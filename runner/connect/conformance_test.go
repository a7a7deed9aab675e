package connect

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// subject is a way to a host that the suite is run for. Every way leads to this machine, so that the
// tests can look at what the host has done.
type subject struct {
	pool    *Pool
	address Address
	become  Become
	remote  bool // a helper process of its own serves it
}

func (s *subject) open(t testing.TB) modules.Host {
	t.Helper()
	h, err := s.pool.Open(t.Context(), s.address, s.become)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// folder is one that the host's user can write.
func (s *subject) folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pegbook-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// conformance is what every way to a host has to do alike.
func conformance(t *testing.T, s *subject) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *subject)
	}{
		{"files", testFiles}, {"changes", testChanges}, {"tree", testTree}, {"missing", testMissing}, {"large file", testLargeFile}, {"no space", testNoSpace},
		{"quoting", testQuoting}, {"stdin", testStdin}, {"environment", testEnvironment}, {"exit codes", testExit}, {"output is bounded", testBounded},
		{"cancel ends the tree", testCancel}, {"left behind", testLeftBehind}, {"detach", testDetach}, {"side by side", testConcurrent},
		{"job", testJob}, {"job limit", testJobLimit}, {"job faults", testJobFaults}, {"dial", testDial}, {"round trips", testRoundTrips}, {"cancelled upload", testCancelUpload}, {"resume", testResume}, {"connection cut", testCut}, {"helper killed", testHelperKilled}, {"young command killed", testYoungKilled},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, s) })
	}
}

func apply(t testing.TB, h modules.Host, changes ...modules.Change) {
	t.Helper()
	if err := h.Apply(t.Context(), changes...); err != nil {
		t.Fatal(err)
	}
}

func look(t testing.TB, h modules.Host, q modules.Query) modules.File {
	t.Helper()
	files, err := h.Look(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return files[0]
}

func run(t testing.TB, h modules.Host, argv ...string) string {
	t.Helper()
	out, err := h.Run(t.Context(), modules.Command{Argv: argv})
	if err != nil {
		t.Fatal(err)
	}
	return string(out.Stdout)
}

func mode(m uint32) modules.Attributes { return modules.Attributes{Mode: &m} }

func testFiles(t *testing.T, s *subject) {
	h, dir := s.open(t), s.folder(t)
	path := filepath.Join(dir, "it's a\nname")
	content := []byte("one\x00two\xff")
	apply(t, h, modules.Change{Kind: modules.WriteFile, Path: path, Content: modules.Bytes("c", content), Attributes: mode(0o640)},
		modules.Change{Kind: modules.MakeLink, Path: filepath.Join(dir, "link"), Target: path})
	sum := sha256.Sum256(content)
	f := look(t, h, modules.Query{Path: path, Sum: true, Content: 100})
	if f.Kind != modules.Regular || f.Mode != 0o640 || f.Size != int64(len(content)) || f.Sum != hex.EncodeToString(sum[:]) ||
		!bytes.Equal(f.Content, content) || f.Truncated || f.Owner == "" || time.Since(f.Modified) > time.Minute {
		t.Errorf("file: %+v", f)
	}
	if f := look(t, h, modules.Query{Path: path, Content: 3}); f.Content != nil || !f.Truncated {
		t.Errorf("a file over the limit: %+v", f)
	}
	if f := look(t, h, modules.Query{Path: filepath.Join(dir, "link")}); f.Kind != modules.Symlink || f.Target != path {
		t.Errorf("link: %+v", f)
	}
	if f := look(t, h, modules.Query{Path: filepath.Join(dir, "link"), Follow: true}); f.Kind != modules.Regular {
		t.Errorf("followed link: %+v", f)
	}
	d := look(t, h, modules.Query{Path: dir, List: true, Disk: true})
	if d.Kind != modules.Directory || len(d.Entries) != 2 || d.Entries[0].Path != path || d.DiskTotal == 0 || d.Device == 0 {
		t.Errorf("directory: %+v", d)
	}
	// Only root may know where the programs of other users lie, and in a container not even root.
	if f := look(t, h, modules.Query{Path: "/proc/1/exe"}); f.Kind != modules.Symlink {
		t.Errorf("a link that may not be read: %+v", f)
	}
	if self := strings.TrimSpace(run(t, h, "id", "-u")); self != "0" {
		files, err := h.Look(t.Context(), modules.Query{Path: "/proc/1/exe"}, modules.Query{Path: "/proc/1/cwd"}, modules.Query{Path: "/proc/1", List: true})
		if err != nil || files[0].Target != "" || files[1].Target != "" || len(files[2].Entries) < 10 {
			t.Errorf("links that may not be read: %+v, %v", files, err)
		}
	}
	if f := look(t, h, modules.Query{Path: "/proc/uptime", Content: 1000}); len(f.Content) == 0 {
		t.Errorf("a file of /proc, whose size is 0: %+v", f)
	}
}

func testChanges(t *testing.T, s *subject) {
	h, dir := s.open(t), s.folder(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	apply(t, h,
		modules.Change{Kind: modules.MakeDirectory, Path: at("a/b/c"), Attributes: mode(0o700)},
		modules.Change{Kind: modules.Touch, Path: at("a/b/c/empty")},
		modules.Change{Kind: modules.WriteFile, Path: at("a/f"), Content: modules.Bytes("c", []byte("old")), Attributes: mode(0o600)},
		modules.Change{Kind: modules.WriteFile, Path: at("a/f"), Content: modules.Bytes("c", []byte("new")), Backup: true},
		modules.Change{Kind: modules.CopyFile, Path: at("a/f"), Target: at("copy"), Attributes: mode(0o444)},
		modules.Change{Kind: modules.Rename, Path: at("copy"), Target: at("moved")},
		modules.Change{Kind: modules.SetAttributes, Path: at("a/b"), Attributes: mode(0o750), Recursive: true},
		modules.Change{Kind: modules.MakeLink, Path: at("link"), Target: "moved"},
		modules.Change{Kind: modules.MakeLink, Path: at("link"), Target: "a/f"},
		modules.Change{Kind: modules.Remove, Path: at("nothing there")},
	)
	for name, want := range map[string]uint32{"a": 0o755, "a/b": 0o750, "a/b/c": 0o750, "a/b/c/empty": 0o750, "a/f": 0o600, "moved": 0o444} {
		if f := look(t, h, modules.Query{Path: at(name)}); f.Mode != want {
			t.Errorf("%s has mode %#o, want %#o", name, f.Mode, want)
		}
	}
	if f := look(t, h, modules.Query{Path: at("link"), Follow: true, Content: 10}); string(f.Content) != "new" {
		t.Errorf("through the link: %q", f.Content)
	}
	kept, _ := filepath.Glob(at("a/f.*~"))
	if len(kept) != 1 {
		t.Fatalf("backups: %q", kept)
	}
	if f := look(t, h, modules.Query{Path: kept[0], Content: 10}); string(f.Content) != "old" {
		t.Errorf("backup: %q", f.Content)
	}
	apply(t, h, modules.Change{Kind: modules.Remove, Path: at("a")})
	if left := look(t, h, modules.Query{Path: dir, List: true}).Entries; len(left) != 2 {
		t.Errorf("left: %+v", left)
	}
}

// testTree is SetAttributes with all that is below, also where the path is a link.
func testTree(t *testing.T, s *subject) {
	h, dir := s.open(t), s.folder(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	apply(t, h,
		modules.Change{Kind: modules.MakeDirectory, Path: at("tree/sub"), Attributes: mode(0o755)},
		modules.Change{Kind: modules.Touch, Path: at("tree/sub/f"), Attributes: mode(0o644)},
		modules.Change{Kind: modules.Touch, Path: at("beside"), Attributes: mode(0o644)},
		modules.Change{Kind: modules.MakeLink, Path: at("tree/out"), Target: "../beside"},
		modules.Change{Kind: modules.MakeLink, Path: at("link"), Target: "tree"},
		modules.Change{Kind: modules.SetAttributes, Path: at("link"), Attributes: mode(0o1710), Recursive: true})
	for name, want := range map[string]uint32{"tree": 0o1710, "tree/sub": 0o1710, "tree/sub/f": 0o1710, "beside": 0o644} {
		if f := look(t, h, modules.Query{Path: at(name)}); f.Mode != want {
			t.Errorf("%s has mode %#o, want %#o", name, f.Mode, want)
		}
	}
	err := h.Apply(t.Context(), modules.Change{Kind: modules.SetAttributes, Path: at("none"), Attributes: mode(0o700), Recursive: true})
	var refused *modules.FileError
	if !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &refused) || refused.Path != at("none") {
		t.Errorf("nothing there: %v", err)
	}
	// Somebody has put links in the place of what was found there.
	apply(t, h,
		modules.Change{Kind: modules.SetAttributes, Path: at("link/sub/f"), Within: at("link"), Attributes: mode(0o600)},
		modules.Change{Kind: modules.SetAttributes, Path: at("tree"), Within: at("tree"), Attributes: mode(0o700)},
		modules.Change{Kind: modules.MakeLink, Path: at("tree/up"), Target: ".."})
	if f := look(t, h, modules.Query{Path: at("tree/sub/f")}); f.Mode != 0o600 {
		t.Errorf("within a tree it has mode %#o", f.Mode)
	}
	for _, path := range []string{"tree/out", "tree/up/beside", "beside"} {
		err := h.Apply(t.Context(), modules.Change{Kind: modules.SetAttributes, Path: at(path), Within: at("tree"), Attributes: mode(0o666)})
		if f := look(t, h, modules.Query{Path: at("beside")}); err == nil || f.Mode != 0o644 {
			t.Errorf("out of the tree by %s: mode %#o, %v", path, f.Mode, err)
		}
	}
	if strings.TrimSpace(run(t, h, "id", "-u")) != "0" {
		return
	}
	theirs := modules.Attributes{Owner: "4321", Group: "4322"}
	apply(t, h, modules.Change{Kind: modules.SetAttributes, Path: at("link"), Attributes: theirs, Recursive: true},
		modules.Change{Kind: modules.MakeLink, Path: at("to beside"), Target: "beside"})
	for name, want := range map[string]int{"tree": 4321, "tree/sub": 4321, "tree/sub/f": 4321, "tree/out": 4321, "link": 0, "beside": 0} {
		if f := look(t, h, modules.Query{Path: at(name)}); f.UID != want || f.GID != 0 && f.GID != 4322 {
			t.Errorf("%s belongs to %d:%d, want %d", name, f.UID, f.GID, want)
		}
	}
	apply(t, h, modules.Change{Kind: modules.SetAttributes, Path: at("to beside"), Attributes: theirs})
	if to, link := look(t, h, modules.Query{Path: at("beside")}), look(t, h, modules.Query{Path: at("to beside")}); to.UID != 4321 || link.UID != 0 {
		t.Errorf("through a link: the file belongs to %d, the link to %d", to.UID, link.UID)
	}
}

func testMissing(t *testing.T, s *subject) {
	h, dir := s.open(t), s.folder(t)
	if f := look(t, h, modules.Query{Path: filepath.Join(dir, "no"), Sum: true}); f.Kind != modules.Missing {
		t.Errorf("missing file: %+v", f)
	}
	if f := look(t, h, modules.Query{Path: "/etc/passwd/under/a/file"}); f.Kind != modules.Missing {
		t.Errorf("below a file: %+v", f)
	}
	err := h.Apply(t.Context(), modules.Change{Kind: modules.WriteFile, Path: filepath.Join(dir, "no/f"), Content: modules.Bytes("c", nil)})
	var refused *modules.FileError
	if !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &refused) || refused.Path != filepath.Join(dir, "no/f") {
		t.Errorf("write below a missing directory: %v", err)
	}
	if _, err := h.Run(t.Context(), modules.Command{Argv: []string{"no-such-program"}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing program: %v", err)
	}
	_, err = h.Run(t.Context(), modules.Command{Argv: []string{"/bin/true"}, Dir: filepath.Join(dir, "no")})
	if !errors.As(err, &refused) || refused.Path != filepath.Join(dir, "no") {
		t.Errorf("missing directory: %v", err)
	}
	err = h.Apply(t.Context(), modules.Change{Kind: modules.SetAttributes, Path: dir, Attributes: modules.Attributes{Owner: "no-such-user"}})
	if err == nil || !strings.Contains(err.Error(), "no user no-such-user") {
		t.Errorf("missing user: %v", err)
	}
	if strings.TrimSpace(run(t, h, "id", "-u")) == "0" {
		return
	}
	if err := h.Apply(t.Context(), modules.Change{Kind: modules.Touch, Path: "/etc/pegbook-test"}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("write where it is not allowed: %v", err)
	}
	if _, err := h.Look(t.Context(), modules.Query{Path: "/etc/shadow", Sum: true}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("read where it is not allowed: %v", err)
	}
}

// pattern is content of any size that takes no memory.
type pattern int64

func (p pattern) Name() string            { return "pattern" }
func (p pattern) Size() int64             { return int64(p) }
func (p pattern) SHA256() (string, error) { return "", errors.New("not known") }
func (p pattern) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(&counting{}, int64(p))), nil
}

type counting struct{ n uint64 }

func (c *counting) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(c.n) ^ byte(c.n>>8) ^ byte(c.n>>16)
		c.n++
	}
	return len(b), nil
}

func testLargeFile(t *testing.T, s *subject) {
	h, dir := s.open(t), s.folder(t)
	size := pattern(100 << 20)
	if testing.Short() {
		size = 5 << 20
	}
	path := filepath.Join(dir, "large")
	small := modules.Change{Kind: modules.WriteFile, Path: filepath.Join(dir, "small"), Content: modules.Bytes("c", []byte("small"))}
	apply(t, h, modules.Change{Kind: modules.WriteFile, Path: path, Content: size + 1}, small,
		modules.Change{Kind: modules.WriteFile, Path: filepath.Join(dir, "checked"), Content: summed{100_000}},
		modules.Change{Kind: modules.WriteFile, Path: path, Content: summed{size}})
	want := sha256.New()
	r, _ := size.Open()
	_, _ = io.Copy(want, r)
	f := look(t, h, modules.Query{Path: path, Sum: true})
	if f.Size != int64(size) || f.Sum != hex.EncodeToString(want.Sum(nil)) {
		t.Errorf("large file: %+v", f)
	}
	if f := look(t, h, modules.Query{Path: small.Path, Content: 10}); string(f.Content) != "small" {
		t.Errorf("small file between large ones: %q", f.Content)
	}
}

func testNoSpace(t *testing.T, s *subject) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	h, dir := s.open(t), s.folder(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=0777"); err != nil {
		t.Skipf("mount: %v", err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	path := filepath.Join(dir, "f")
	apply(t, h, modules.Change{Kind: modules.WriteFile, Path: path, Content: modules.Bytes("c", []byte("whole"))})
	for _, content := range []modules.Source{pattern(20 << 20), summed{20 << 20}} {
		err := h.Apply(t.Context(), modules.Change{Kind: modules.WriteFile, Path: path, Content: content})
		if !errors.Is(err, modules.ErrNoSpace) {
			t.Errorf("write to a full file system: %v", err)
		}
	}
	if d := look(t, h, modules.Query{Path: dir, List: true}); len(d.Entries) != 1 {
		t.Errorf("half a file is left: %+v", d.Entries)
	}
	if f := look(t, h, modules.Query{Path: path, Content: 10}); string(f.Content) != "whole" {
		t.Errorf("the old file: %q", f.Content)
	}
}

func testQuoting(t *testing.T, s *subject) {
	h := s.open(t)
	args := []string{"", " ", "a b", "'", `"`, `\`, "$HOME", "`id`", "!", "*", "\n", "-n", "ü", "\xff", "%s", ";", "&&"}
	out := run(t, h, append([]string{"/usr/bin/printf", `%s\0`}, args...)...)
	if got := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00"); fmt.Sprint(got) != fmt.Sprint(args) || len(got) != len(args) {
		t.Errorf("arguments arrive as %q", got)
	}
}

func testStdin(t *testing.T, s *subject) {
	h := s.open(t)
	small := make([]byte, 256)
	for i := range small {
		small[i] = byte(i)
	}
	for _, in := range [][]byte{nil, small, bytes.Repeat(small, 3<<12)} {
		out, err := h.Run(t.Context(), modules.Command{Argv: []string{"sha256sum"}, Stdin: in})
		sum := sha256.Sum256(in)
		if err != nil || !strings.HasPrefix(string(out.Stdout), hex.EncodeToString(sum[:])) {
			t.Errorf("%d bytes of input: %s, %v", len(in), out.Stdout, err)
		}
	}
	if _, err := h.Run(t.Context(), modules.Command{Argv: []string{"/bin/true"}, Stdin: make([]byte, 8<<20)}); err != nil {
		t.Errorf("a command that does not read its input: %v", err)
	}
}

func testEnvironment(t *testing.T, s *subject) {
	h, dir := s.open(t), s.folder(t)
	out, err := h.Run(t.Context(), modules.Command{Argv: []string{"sh", "-c", `echo "$A|$HOME|$(pwd)"`}, Dir: dir, Env: map[string]string{"A": "x y=z", "HOME": "/h"}})
	if want := "x y=z|/h|" + dir + "\n"; err != nil || string(out.Stdout) != want {
		t.Errorf("got %q, want %q: %v", out.Stdout, want, err)
	}
	if _, err := h.Run(t.Context(), modules.Command{Argv: []string{"true"}, Env: map[string]string{"A=B": "x"}}); err == nil {
		t.Error("a variable whose name holds an equals sign is taken")
	}
}

func testExit(t *testing.T, s *subject) {
	h := s.open(t)
	for _, c := range []struct {
		script string
		code   int
	}{{"exit 7", 7}, {"kill -9 $$", -9}} {
		out, err := h.Run(t.Context(), modules.Command{Argv: []string{"sh", "-c", "echo out; echo err >&2; " + c.script}})
		var exit *modules.ExitError
		if !errors.As(err, &exit) || exit.ExitCode != c.code || string(out.Stdout) != "out\n" || string(out.Stderr) != "err\n" {
			t.Errorf("%s: %+v, %v", c.script, out, err)
		}
		if out.Ended.Before(out.Started) || time.Since(out.Ended) > time.Minute {
			t.Errorf("%s: from %s to %s", c.script, out.Started, out.Ended)
		}
	}
}

func testBounded(t *testing.T, s *subject) {
	h := s.open(t)
	script := "echo first; head -c 50000000 /dev/zero; echo last"
	out, err := h.Run(t.Context(), modules.Command{Argv: []string{"sh", "-c", script}, MaxOutput: 1000})
	if err != nil || len(out.Stdout) != 1000 || !out.Truncated || !bytes.HasPrefix(out.Stdout, []byte("first\n")) || !bytes.HasSuffix(out.Stdout, []byte("last\n")) {
		t.Errorf("%d bytes, truncated %v: %v", len(out.Stdout), out.Truncated, err)
	}
	out, err = h.Run(t.Context(), modules.Command{Argv: []string{"sh", "-c", "head -c 1048576 /dev/zero; head -c 1048577 /dev/zero >&2"}})
	if err != nil || len(out.Stdout) != 1<<20 || len(out.Stderr) != 1<<20 || !out.Truncated {
		t.Errorf("%d and %d bytes, truncated %v: %v", len(out.Stdout), len(out.Stderr), out.Truncated, err)
	}
}

func testConcurrent(t *testing.T, s *subject) {
	h := s.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	slow := make(chan struct{})
	go func() {
		defer close(slow)
		_, _ = h.Run(ctx, modules.Command{Argv: []string{"sleep", "1015"}})
	}()
	var all sync.WaitGroup
	for i := range 50 {
		all.Add(1)
		go func() {
			defer all.Done()
			want := fmt.Sprintf("number %d\n", i)
			if out, err := h.Run(t.Context(), modules.Command{Argv: []string{"printf", want}}); err != nil || string(out.Stdout) != want {
				t.Errorf("%q, want %q: %v", out.Stdout, want, err)
			}
		}()
	}
	all.Wait()
	cancel()
	<-slow
}

func testDial(t *testing.T, s *subject) {
	h := s.open(t)
	listener, err := net.Listen("tcp", loopback+".9:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	c, err := h.Dial(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := c.Read(got); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read past the deadline: %v", err)
	}
	listener.Close()
	if _, err := h.Dial(t.Context(), "tcp", listener.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody there: %v", err)
	}
}

func testRoundTrips(t *testing.T, s *subject) {
	h, dir := s.open(t), s.folder(t)
	path := filepath.Join(dir, "f")
	for _, c := range []struct {
		name string
		f    func() error
	}{
		{"look", func() error {
			_, err := h.Look(t.Context(), modules.Query{Path: dir, List: true}, modules.Query{Path: path, Sum: true})
			return err
		}},
		{"apply", func() error {
			return h.Apply(t.Context(), modules.Change{Kind: modules.WriteFile, Path: path, Content: pattern(5 << 20)}, modules.Change{Kind: modules.Remove, Path: path})
		}},
		{"run", func() error {
			_, err := h.Run(t.Context(), modules.Command{Argv: []string{"true"}})
			return err
		}},
	} {
		before := s.pool.RoundTrips(s.address)
		if err := c.f(); err != nil {
			t.Fatal(err)
		}
		if n := s.pool.RoundTrips(s.address) - before; n != 1 {
			t.Errorf("%s takes %d round trips", c.name, n)
		}
	}
}

// stuck is content that never ends.
type stuck struct {
	pattern
	read chan struct{}
	once *sync.Once
}

func (s stuck) Open() (io.ReadCloser, error) { return io.NopCloser(s), nil }

func (s stuck) Read(b []byte) (int, error) {
	s.once.Do(func() { close(s.read) })
	time.Sleep(time.Millisecond)
	return len(b), nil
}

func testCancelUpload(t *testing.T, s *subject) {
	h, dir := s.open(t), s.folder(t)
	ctx, cancel := context.WithCancel(t.Context())
	content := stuck{1 << 40, make(chan struct{}), &sync.Once{}}
	go func() {
		<-content.read
		time.Sleep(100 * time.Millisecond)
		cancel()
	}()
	err := h.Apply(ctx, modules.Change{Kind: modules.WriteFile, Path: filepath.Join(dir, "f"), Content: content})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if d := look(t, h, modules.Query{Path: dir, List: true}); len(d.Entries) != 0 {
		t.Errorf("half a file is left: %+v", d.Entries)
	}
}
