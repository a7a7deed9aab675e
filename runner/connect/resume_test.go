package connect

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/pegbook/pegbook/modules"
)

// summed is a pattern that knows its sum.
type summed struct{ pattern }

func (s summed) SHA256() (string, error) {
	digest := sha256.New()
	content, _ := s.Open()
	_, _ = io.Copy(digest, content)
	return hex.EncodeToString(digest.Sum(nil)), nil
}

// meter is a link that counts what goes to the host, and breaks after so much of it.
type meter struct {
	sent  atomic.Int64
	limit atomic.Int64 // 0 is none

	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func startMeter(t testing.TB, from, to string) *meter {
	t.Helper()
	m := &meter{}
	listener, err := net.Listen("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close(); m.cut() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			m.mu.Lock()
			m.conns = append(m.conns, near, far)
			m.mu.Unlock()
			go func() { _, _ = io.Copy(near, far); near.Close() }()
			go m.pass(near, far)
		}
	}()
	return m
}

func (m *meter) pass(near, far net.Conn) {
	defer far.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := near.Read(buffer)
		if sent, limit := m.sent.Add(int64(n)), m.limit.Load(); err != nil || limit > 0 && sent > limit {
			near.Close()
			return
		}
		if _, err := far.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (m *meter) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.conns {
		c.Close()
	}
}

// An upload that broke with its connection goes on where it was, over a real sshd.
func TestResumeUpload(t *testing.T) {
	const size, breaks = 64 << 20, 40 << 20
	s := startSSHD(t, loopback+".31", 22253, "")
	link := startMeter(t, loopback+".31:22254", loopback+".31:22253")
	a := s.address
	content, err := os.ReadFile(a.KnownHosts[0])
	if err != nil {
		t.Fatal(err)
	}
	write(t, a.KnownHosts[0], bytes.ReplaceAll(content, []byte("22253"), []byte("22254")), 0o600)
	a.Port = 22254
	sub := &subject{pool: newPool(t, Options{}), address: a}
	dir := sub.folder(t)
	path := filepath.Join(dir, "package.tar.gz")
	change := modules.Change{Kind: modules.WriteFile, Path: path, Content: modules.Bytes("package", bytes.Repeat([]byte("0123456789abcdef"), size/16))}
	breakOff := func() int64 {
		t.Helper()
		h := sub.open(t)
		link.sent.Store(0)
		link.limit.Store(breaks)
		var gone *modules.UnreachableError
		if err := h.Apply(t.Context(), change); !errors.As(err, &gone) {
			t.Fatalf("cut in the middle: %v", err)
		}
		link.limit.Store(0)
		return onePart(t, dir, size)
	}
	sendAgain := func() int64 {
		t.Helper()
		h := sub.open(t)
		before, trips := link.sent.Load(), sub.pool.RoundTrips(a)
		apply(t, h, change)
		sent := link.sent.Load() - before
		if n := sub.pool.RoundTrips(a) - trips; n != 1 {
			t.Errorf("continuing takes %d round trips", n)
		}
		want, _ := change.Content.SHA256()
		if f := look(t, h, modules.Query{Path: path, Sum: true}); f.Sum != want || f.Mode != 0o644 {
			t.Errorf("what arrived: %+v", f)
		}
		if left := look(t, h, modules.Query{Path: dir, List: true}).Entries; len(left) != 1 {
			t.Errorf("left beside it: %+v", left)
		}
		apply(t, h, modules.Change{Kind: modules.Remove, Path: path})
		return sent
	}

	have := breakOff()
	sent := sendAgain()
	t.Logf("of %d bytes %d were there, and %d were sent again", size, have, sent)
	if missing := size - have; have < breaks*3/4 || sent < missing || sent > missing+missing/20 {
		t.Errorf("%d bytes were there, and %d were sent", have, sent)
	}

	breakOff()
	part, _ := filepath.Glob(filepath.Join(dir, ".*"))
	damage(t, part[0])
	if sent := sendAgain(); sent < size {
		t.Errorf("over a damaged part %d bytes were sent", sent)
	}
}

// onePart waits until the host has noticed, and gives the size of what it keeps.
func onePart(t testing.TB, dir string, size int64) int64 {
	t.Helper()
	var last, have int64 = -1, 0
	waitFor(t, "the host to give up", func() bool {
		last = have
		found, _ := filepath.Glob(filepath.Join(dir, ".*"))
		if len(found) != 1 {
			return false
		}
		info, err := os.Stat(found[0])
		if err != nil || info.Mode() != 0o600 {
			t.Fatalf("the part: %v, %v", info, err)
		}
		have = info.Size()
		return have > 0 && have == last && !locked(found[0])
	})
	if have >= size {
		t.Fatalf("the part has %d bytes", have)
	}
	return have
}

// locked says whether somebody is still at work on a file.
func locked(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil
}

func damage(t testing.TB, path string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte("damage"), 1<<20); err != nil {
		t.Fatal(err)
	}
}

// testResume is an upload that was cancelled, and then asked for again.
func testResume(t *testing.T, s *subject) {
	h, dir := s.open(t), s.folder(t)
	path := filepath.Join(dir, "f")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	whole := summed{16 << 20}
	slow := &cancelling{summed: whole, at: 10 << 20, cancel: cancel}
	err := h.Apply(ctx, modules.Change{Kind: modules.WriteFile, Path: path, Content: slow})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	left := look(t, h, modules.Query{Path: dir, List: true}).Entries
	if len(left) != 1 || !strings.Contains(left[0].Path, "/.f.pegbook-part-") || left[0].Mode != 0o600 || left[0].Size < 4<<20 {
		t.Fatalf("left: %+v", left)
	}
	// What still reads the cancelled content for a moment is not counted with what is read now.
	slow = &cancelling{summed: whole}
	apply(t, h, modules.Change{Kind: modules.WriteFile, Path: path, Content: slow, Attributes: mode(0o640)})
	if n := slow.read.Load(); n != int64(whole.pattern)-left[0].Size {
		t.Errorf("%d bytes were sent where %d of %d were there", n, left[0].Size, whole.pattern)
	}
	want, _ := whole.SHA256()
	if f := look(t, h, modules.Query{Path: path, Sum: true}); f.Sum != want || f.Mode != 0o640 {
		t.Errorf("what arrived: %+v", f)
	}
	wrong := &wrongSum{whole}
	if err := h.Apply(t.Context(), modules.Change{Kind: modules.WriteFile, Path: path, Content: wrong}); err == nil || !strings.Contains(err.Error(), "changed while it was being sent") {
		t.Errorf("content that changes while it is sent: %v", err)
	}
	if f := look(t, h, modules.Query{Path: path, Sum: true}); f.Sum != want {
		t.Errorf("after that: %+v", f)
	}
	if d := look(t, h, modules.Query{Path: dir, List: true}); len(d.Entries) != 1 {
		t.Errorf("left: %+v", d.Entries)
	}
}

// cancelling is content that cancels its own sending when so much of it has been read, and can be read
// from anywhere.
type cancelling struct {
	summed
	at     int64
	cancel context.CancelFunc
	read   atomic.Int64
}

func (c *cancelling) Open() (io.ReadCloser, error) {
	content, err := io.ReadAll(io.LimitReader(&counting{}, int64(c.pattern)))
	return &cancellingReader{bytes.NewReader(content), c}, err
}

type cancellingReader struct {
	*bytes.Reader
	c *cancelling
}

func (r *cancellingReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if read := r.c.read.Add(int64(n)); r.c.at > 0 && read > r.c.at {
		r.c.cancel()
	}
	return n, err
}

func (r *cancellingReader) Close() error { return nil }

// wrongSum is a file that changes between being summed and being sent.
type wrongSum struct{ summed }

func (w *wrongSum) SHA256() (string, error) { return strings.Repeat("ab", 32), nil }
