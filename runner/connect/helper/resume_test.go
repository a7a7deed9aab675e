package helper

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// large is content that resumes.
func large() []byte {
	content := make([]byte, wire.ResumeLen+100_000)
	for i := range content {
		content[i] = byte(i) ^ byte(i>>8) ^ byte(i>>16)
	}
	return content
}

func hexSum(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// sender is the control node's half of an upload. It stops for good after limit bytes, if there is one.
type sender struct {
	content []byte
	limit   int
	body    *body
	froms   []int64 // where the helper wanted it to go on
	sent    int
}

func (s *sender) send(from int64) {
	s.froms = append(s.froms, from)
	rest := s.content[from:]
	for len(rest) > 0 {
		n := min(len(rest), wire.ChunkLen)
		if s.limit > 0 && s.sent+n > s.limit {
			s.body.end()
			return
		}
		// Without credit: the test gives as fast as it is taken.
		for s.body.add(rest[:n]) != nil {
			time.Sleep(time.Millisecond)
		}
		s.sent += n
		rest = rest[n:]
	}
}

// upload writes content to path as a request would, and stops it after limit bytes.
func upload(t *testing.T, path string, content []byte, limit int, more func(*wire.Change)) (*sender, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := &sender{content: content, limit: limit}
	froms := make(chan int64, 3)
	s.body = newBody(func(int) {}, func(n int64) { froms <- n })
	over := make(chan struct{})
	go func() {
		defer close(over)
		for from := range froms {
			if s.send(from); s.limit > 0 && s.sent+wire.ChunkLen > s.limit {
				cancel()
			}
		}
	}()
	c := &wire.Change{Kind: wire.WriteFile, Path: path, Streamed: true, Stream: int64(len(content)), Sum: hexSum(content)}
	if more != nil {
		more(c)
	}
	err := writeFile(ctx, c, ids{-1, -1}, s.body)
	close(froms)
	<-over
	return s, err
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// whole checks that the file is there, whole, alone, and as any new file would be.
func whole(t *testing.T, path string, content []byte, beside ...string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, want %d: %v", len(got), len(content), err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o644 {
		t.Errorf("its mode is %v", info.Mode())
	}
	if names := list(t, filepath.Dir(path)); len(names) != 1+len(beside) {
		t.Errorf("beside it are %q, want %q", names, beside)
	}
}

func TestResume(t *testing.T) {
	content := large()
	path := filepath.Join(t.TempDir(), "package.tar.gz")
	const half = 5 << 20
	if _, err := upload(t, path, content, half, nil); !errors.Is(err, errBodyEnded) {
		t.Fatalf("cut off: %v", err)
	}
	info, err := os.Lstat(partName(path, hexSum(content)))
	if err != nil || info.Mode() != 0o600 || info.Size() > half || info.Size() < half-wire.Window {
		t.Fatalf("the part: %v, %v", info, err)
	}
	s, err := upload(t, path, content, 0, nil)
	if err != nil || s.sent != len(content)-int(info.Size()) || s.froms[0] != info.Size() {
		t.Errorf("sent %d bytes from %v on: %v", s.sent, s.froms, err)
	}
	whole(t, path, content)
}

// A part that is complete is put in its place without another byte.
func TestResumeComplete(t *testing.T) {
	content := large()
	path := filepath.Join(t.TempDir(), "f")
	writePart(t, partName(path, hexSum(content)), content)
	s, err := upload(t, path, content, 0, nil)
	if err != nil || s.sent != 0 {
		t.Errorf("sent %d bytes: %v", s.sent, err)
	}
	whole(t, path, content)
}

func writePart(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestResumeDamaged(t *testing.T) {
	content := large()
	for name, damage := range map[string]func(part []byte) []byte{
		"a byte":   func(p []byte) []byte { p[1000] ^= 1; return p[:5<<20] },
		"complete": func(p []byte) []byte { p[len(p)-1] ^= 1; return p },
		"too long": func(p []byte) []byte { return append(p, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			writePart(t, partName(path, hexSum(content)), damage(bytes.Clone(content)))
			s, err := upload(t, path, content, 0, nil)
			if err != nil || s.sent < len(content) || s.froms[len(s.froms)-2] != 0 {
				t.Errorf("sent %d bytes from %v on: %v", s.sent, s.froms, err)
			}
			whole(t, path, content)
		})
	}
}

// What others may have put there is left alone.
func TestResumeHostile(t *testing.T) {
	content := large()
	const precious = "precious"
	for name, lay := range map[string]func(t *testing.T, part, victim string) error{
		"symbolic link": func(_ *testing.T, part, victim string) error { return os.Symlink(victim, part) },
		"hard link":     func(_ *testing.T, part, victim string) error { return os.Link(victim, part) },
		"dangling link": func(_ *testing.T, part, victim string) error { return os.Symlink(victim+"-none", part) },
		"others write it": func(_ *testing.T, part, _ string) error {
			return errors.Join(os.WriteFile(part, content[:100], 0o600), os.Chmod(part, 0o622))
		},
		"others read it": func(_ *testing.T, part, _ string) error { return os.WriteFile(part, content[:100], 0o640) },
		"FIFO":           func(_ *testing.T, part, _ string) error { return syscall.Mkfifo(part, 0o600) },
		"directory":      func(_ *testing.T, part, _ string) error { return os.Mkdir(part, 0o700) },
		"other owner": func(t *testing.T, part, _ string) error {
			if os.Geteuid() != 0 {
				t.Skip("giving a file away needs root")
			}
			return errors.Join(os.WriteFile(part, content[:100], 0o600), os.Chown(part, 4321, 4321))
		},
		"somebody is at work": func(t *testing.T, part, _ string) error {
			file, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o600)
			t.Cleanup(func() { file.Close() })
			return errors.Join(err, lock(file))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, elsewhere := t.TempDir(), t.TempDir()
			path, victim := filepath.Join(dir, "f"), filepath.Join(elsewhere, "victim")
			writePart(t, victim, []byte(precious))
			part := partName(path, hexSum(content))
			if err := lay(t, part, victim); err != nil {
				t.Fatal(err)
			}
			s, err := upload(t, path, content, 0, nil)
			if err != nil || s.sent != len(content) {
				t.Errorf("sent %d bytes: %v", s.sent, err)
			}
			whole(t, path, content, filepath.Base(part))
			if got, err := os.ReadFile(victim); string(got) != precious || len(list(t, elsewhere)) != 1 {
				t.Errorf("the other file holds %d bytes: %v", len(got), err)
			}
			// Broken off, what came nowhere that is trusted is not kept.
			if _, err := upload(t, path, content, 1<<20, nil); !errors.Is(err, errBodyEnded) {
				t.Errorf("cut off: %v", err)
			}
			if names := list(t, dir); len(names) != 2 {
				t.Errorf("left: %q", names)
			}
		})
	}
}

func TestResumeRefused(t *testing.T) {
	content := large()
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	_, err := upload(t, path, content, 0, func(c *wire.Change) { c.Sum = strings.Repeat("ab", 32) })
	if !errors.Is(err, errChanged) || len(list(t, dir)) != 0 {
		t.Errorf("other content than the sum says: %v, left %q", err, list(t, dir))
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := upload(t, path, content, 0, nil); err == nil || len(list(t, dir)) != 1 {
		t.Errorf("a directory in the way: %v, left %q", err, list(t, dir))
	}
	refusal := (&server{names: &names{}}).change(t.Context(), &wire.Change{Kind: wire.WriteFile, Path: path, Streamed: true, Stream: 1 << 30, Sum: "../../etc/passwd"}, nil, nil)
	if refusal == nil || !strings.Contains(refusal.Error(), "SHA-256") {
		t.Errorf("a sum that is a path: %v", refusal)
	}
}

func TestSweep(t *testing.T) {
	content := large()
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	old := time.Now().Add(-25 * time.Hour)
	sum := hexSum([]byte("other"))
	stay := []string{".old.pegbook-" + sum + "~", ".mine~", "pegbook-part-" + sum[:partSumLen] + "~", ".x.pegbook-notes~"}
	for _, name := range append([]string{filepath.Base(partName("old", sum)), filepath.Base(temporaryName("old"))}, stay...) {
		writePart(t, filepath.Join(dir, name), []byte("x"))
		if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	fresh := partName(filepath.Join(dir, "fresh"), sum)
	writePart(t, fresh, []byte("x"))
	stay = append(stay, filepath.Base(fresh))
	if os.Geteuid() == 0 {
		theirs := partName(filepath.Join(dir, "theirs"), sum)
		writePart(t, theirs, []byte("x"))
		if err := errors.Join(os.Chtimes(theirs, old, old), os.Chown(theirs, 4321, 4321)); err != nil {
			t.Fatal(err)
		}
		stay = append(stay, filepath.Base(theirs))
	}
	if _, err := upload(t, path, content, 0, nil); err != nil {
		t.Fatal(err)
	}
	whole(t, path, content, stay...)
}
