package connect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
)

// fenceHost opens this machine as a host whose tokens lie in a folder of the test's.
func fenceHost(t *testing.T, base string, b Become) (Fenced, *Pool) {
	t.Helper()
	p := NewPool(Options{})
	t.Cleanup(func() { p.Close() })
	h, err := p.Open(t.Context(), fenceAddress(base), b)
	require.NoError(t, err)
	return h.(Fenced), p
}

func fenceAddress(base string) Address {
	return Address{Name: "h1", Connection: "local", TempDir: base}
}

func token(n uint64) Fence {
	return Fence{Key: "zookeeper:/pegbook/locks/c1", Token: n, Holder: fmt.Sprintf("run %d", n)}
}

func fileWith(path, text string) modules.Change {
	return modules.Change{Kind: modules.WriteFile, Path: path, Content: modules.Bytes(filepath.Base(path), []byte(text))}
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return ""
	}
	require.NoError(t, err)
	return string(text)
}

func TestOlderTokensChangeNothing(t *testing.T) {
	base, dir := t.TempDir(), t.TempDir()
	older, _ := fenceHost(t, base, Become{})
	newer, _ := fenceHost(t, base, Become{})
	file := filepath.Join(dir, "f")
	ctx := t.Context()
	require.NoError(t, older.Under(token(5)).Apply(ctx, fileWith(file, "five")))
	require.NoError(t, newer.Under(token(6)).Allowed(ctx), "asking is enough to be known")
	for name, change := range map[string]func(h Fenced) error{
		"apply": func(h Fenced) error { return h.Apply(ctx, fileWith(file, "bad")) },
		"run": func(h Fenced) error {
			_, err := h.Run(ctx, modules.Command{Argv: []string{"touch", file + "2"}})
			return err
		},
		"allowed": func(h Fenced) error { return h.Allowed(ctx) },
		"job": func(h Fenced) error {
			_, err := h.(modules.Jobs).StartJob(ctx, modules.Job{ID: "fenced-job", Limit: time.Minute, Command: modules.Command{Argv: []string{"touch", file + "3"}}})
			return err
		},
	} {
		err := change(older.Under(token(5)))
		var old *FencedError
		require.ErrorAs(t, err, &old, name)
		assert.Equal(t, FencedError{Host: "h1", Key: "zookeeper:/pegbook/locks/c1", Newer: 6, Holder: "run 6"}, *old, name)
	}
	files, err := filepath.Glob(file + "*")
	require.NoError(t, err)
	assert.Equal(t, []string{file}, files)
	assert.Equal(t, "five", content(t, file))

	_, err = older.Under(token(5)).Look(ctx, modules.Query{Path: file})
	require.NoError(t, err, "looking is free")
	_, err = older.Under(token(5)).Run(ctx, modules.Command{Argv: []string{"true"}, ReadOnly: true})
	require.NoError(t, err, "so is a command that only reads")
	require.NoError(t, newer.Under(token(6)).Apply(ctx, fileWith(file, "six")))
	other := token(1)
	other.Key = "zookeeper:/pegbook/locks/c2"
	require.NoError(t, older.Under(other).Apply(ctx, fileWith(file, "other")), "another lock has tokens of its own")
	require.NoError(t, older.Apply(ctx, fileWith(file, "none")), "and without a lock nothing is asked")
}

// What a host has seen outlives connections and helpers.
func TestTokensAreKept(t *testing.T) {
	base := t.TempDir()
	h, p := fenceHost(t, base, Become{})
	require.NoError(t, h.Under(token(7)).Allowed(t.Context()))
	require.NoError(t, p.Close())
	again, _ := fenceHost(t, base, Become{})
	var old *FencedError
	require.ErrorAs(t, again.Under(token(6)).Allowed(t.Context()), &old)
	names, err := filepath.Glob(filepath.Join(base, "pegbook-locks-*", "*"))
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, name := range names {
		info, err := os.Stat(name)
		require.NoError(t, err)
		assert.Zero(t, info.Mode().Perm()&0o022, "%s can be written by others", name)
	}
	// A file that is damaged is no reason to let anybody in.
	for _, name := range names {
		require.NoError(t, os.WriteFile(name, []byte("rubbish"), 0o600))
	}
	assert.ErrorContains(t, again.Under(token(9)).Allowed(t.Context()), "damaged")
}

// Whoever takes over does nothing on a host before what was begun there has ended; and nothing more is begun.
func TestNewerWaitsForWhatOlderHasBegun(t *testing.T) {
	base, dir := t.TempDir(), t.TempDir()
	older, _ := fenceHost(t, base, Become{})
	newer, _ := fenceHost(t, base, Become{})
	ctx := t.Context()
	begun := make(chan error, 1)
	go func() {
		_, err := older.Under(token(5)).Run(context.WithoutCancel(ctx), modules.Command{Argv: []string{"sh", "-c", "touch begun; sleep 1; touch ended"}, Dir: dir})
		begun <- err
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(dir, "begun")); return err == nil }, diskPatience, 5*time.Millisecond)
	done := make(chan error, 1)
	go func() {
		done <- newer.Under(token(6)).Apply(context.WithoutCancel(ctx), fileWith(filepath.Join(dir, "f"), "six"))
	}()
	var old *FencedError
	require.Eventually(t, func() bool {
		_, ended := os.Stat(filepath.Join(dir, "ended"))
		require.Error(t, ended, "the older one was not refused while its command ran")
		return asFenced(older.Under(token(5)).Allowed(ctx), &old)
	}, diskPatience, 5*time.Millisecond)
	assert.Empty(t, content(t, filepath.Join(dir, "f")))
	require.NoError(t, <-begun, "what was begun ends")
	require.NoError(t, <-done)
	assert.Equal(t, "six", content(t, filepath.Join(dir, "f")))
}

// That a request of the newer holder waits, or has given up waiting, is no reason to let its next one in.
func TestEveryRequestOfTheNewerWaits(t *testing.T) {
	base, dir := t.TempDir(), t.TempDir()
	older, _ := fenceHost(t, base, Become{})
	newer, _ := fenceHost(t, base, Become{})
	begun := make(chan error, 1)
	go func() {
		_, err := older.Under(token(5)).Run(context.WithoutCancel(t.Context()), modules.Command{Argv: []string{"sh", "-c", "touch begun; while [ ! -e over ]; do sleep 0.05; done; touch ended"}, Dir: dir})
		begun <- err
	}()
	there := func(name string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	require.Eventually(t, func() bool { return there("begun") }, diskPatience, 5*time.Millisecond)
	done := make(chan error, 3)
	for i := range cap(done) {
		go func() {
			_, err := newer.Under(token(6)).Run(context.WithoutCancel(t.Context()), modules.Command{Argv: []string{"sh", "-c", fmt.Sprintf("ls ended && touch done%d", i)}, Dir: dir})
			done <- err
		}()
		time.Sleep(300 * time.Millisecond)
	}
	impatient, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	require.Error(t, newer.Under(token(6)).Apply(impatient, fileWith(filepath.Join(dir, "f"), "too early")))
	require.Empty(t, done, "somebody was let in while what was begun went on")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "over"), nil, 0o600))
	require.NoError(t, <-begun)
	for range cap(done) {
		require.NoError(t, <-done)
	}
	assert.True(t, there("done0") && there("done1") && there("done2"))
	assert.False(t, there("f"))
	require.NoError(t, newer.Under(token(6)).Apply(t.Context(), fileWith(filepath.Join(dir, "f"), "six")), "nothing is awaited any more")
}

// diskPatience is long: a token is known when the host's disk has it, and a busy disk takes seconds for that.
const diskPatience = time.Minute

func asFenced(err error, to **FencedError) bool { return errors.As(err, to) }

// slow is content that stops in the middle until it is let go on.
type slow struct {
	modules.Source
	half   chan struct{}
	goOn   chan struct{}
	reader io.Reader
	once   sync.Once
}

func (s *slow) Open() (io.ReadCloser, error) { return io.NopCloser(s), nil }

func (s *slow) Read(p []byte) (int, error) {
	if s.reader == nil {
		s.reader = bytes.NewReader(bytes.Repeat([]byte("x"), int(s.Size())))
	}
	n, err := s.reader.Read(p[:min(len(p), 1<<16)])
	s.once.Do(func() { close(s.half); <-s.goOn })
	return n, err
}

// A control node stands still while it sends a file, and wakes up when another has taken over.
func TestContentThatComesLateIsNotPutInPlace(t *testing.T) {
	for name, size := range map[string]int{"streamed": 1 << 20, "resumed": 9 << 20} {
		t.Run(name, func(t *testing.T) {
			base, dir := t.TempDir(), t.TempDir()
			older, _ := fenceHost(t, base, Become{})
			newer, _ := fenceHost(t, base, Become{})
			ctx := t.Context()
			file := filepath.Join(dir, "f")
			s := &slow{Source: modules.Bytes("f", bytes.Repeat([]byte("x"), size)), half: make(chan struct{}), goOn: make(chan struct{})}
			sent := make(chan error, 1)
			go func() {
				sent <- older.Under(token(5)).Apply(context.WithoutCancel(ctx), modules.Change{Kind: modules.WriteFile, Path: file, Content: s})
			}()
			<-s.half
			done := make(chan error, 1)
			go func() { done <- newer.Under(token(6)).Apply(context.WithoutCancel(ctx), fileWith(file, "six")) }()
			var old *FencedError
			require.Eventually(t, func() bool { return asFenced(older.Under(token(5)).Allowed(ctx), &old) }, diskPatience, 5*time.Millisecond)
			close(s.goOn)
			require.ErrorAs(t, <-sent, &old)
			require.NoError(t, <-done)
			assert.Equal(t, "six", content(t, file))
		})
	}
}

// The users of a host know of each other's tokens, whichever of them was used first.
func TestTokensCountForAllUsers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("becomes another user without a password")
	}
	if _, err := exec.LookPath("sudo"); err != nil {
		t.Skip("there is no sudo")
	}
	base, err := os.MkdirTemp("", "pegbook-fence-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(base) })
	require.NoError(t, os.Chmod(base, 0o777|os.ModeSticky))
	ctx := t.Context()
	nobody := Become{User: "nobody"}
	login, _ := fenceHost(t, base, Become{})
	other, _ := fenceHost(t, base, nobody)
	require.NoError(t, login.Under(token(6)).Allowed(ctx))
	var old *FencedError
	require.ErrorAs(t, other.Under(token(5)).Apply(ctx, fileWith(filepath.Join(base, "f"), "bad")), &old, "the login user has seen a newer one")
	require.NoError(t, other.Under(token(7)).Apply(ctx, fileWith(filepath.Join(base, "f"), "seven")))
	require.ErrorAs(t, login.Under(token(6)).Apply(ctx, fileWith(filepath.Join(base, "f"), "bad")), &old, "the other user has seen a newer one")
	assert.Equal(t, uint64(7), old.Newer)
	assert.Equal(t, "seven", content(t, filepath.Join(base, "f")))
}

// Looking costs what it did, and a change carries its token along: no request more.
func TestFencesCostNoRoundTrip(t *testing.T) {
	base, dir := t.TempDir(), t.TempDir()
	h, p := fenceHost(t, base, Become{})
	under := h.Under(token(5))
	before := p.RoundTrips(fenceAddress(base))
	_, err := under.Look(t.Context(), modules.Query{Path: dir})
	require.NoError(t, err)
	require.NoError(t, under.Apply(t.Context(), fileWith(filepath.Join(dir, "f"), "x")))
	assert.Equal(t, 2, p.RoundTrips(fenceAddress(base))-before)
}

func TestHostHoldsALockForAConnection(t *testing.T) {
	base, path := t.TempDir(), filepath.Join(t.TempDir(), "locks", "c1")
	ctx := t.Context()
	first, p := fenceHost(t, base, Become{})
	second, _ := fenceHost(t, base, Become{})
	s, err := first.(Keeper).Hold(ctx, path, "first")
	require.NoError(t, err)
	require.True(t, s.Ours)
	busy, err := second.(Keeper).Hold(ctx, path, "second")
	require.NoError(t, err)
	assert.Equal(t, HoldState{Busy: true, Note: "first"}, busy)
	who, err := second.(Keeper).HeldBy(ctx, path)
	require.NoError(t, err)
	assert.Equal(t, HoldState{Busy: true, Note: "first"}, who)
	ours, err := first.(Keeper).Holds(ctx, path)
	require.NoError(t, err)
	assert.True(t, ours)
	require.NoError(t, p.Close(), "the connection ends")
	again, err := second.(Keeper).Hold(ctx, path, "second")
	require.NoError(t, err)
	require.True(t, again.Ours)
	assert.Greater(t, again.Token, s.Token)
	require.NoError(t, second.(Keeper).LetGo(ctx, path))
	who, err = second.(Keeper).HeldBy(ctx, path)
	require.NoError(t, err)
	assert.Equal(t, HoldState{}, who)
}
