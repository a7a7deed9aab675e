package lock

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain lets the test's program be another process that holds a file until it is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv("PEGBOOK_TEST_HOLD"); path != "" {
		if _, err := (&File{Path: path}).Take(context.Background(), Holder{User: "other", Host: "h", PID: os.Getpid()}, Wait{}); err != nil {
			os.Exit(1)
		}
		os.Stdout.WriteString("held\n")
		time.Sleep(time.Minute)
		os.Exit(1)
	}
	code := m.Run()
	shared.stop()
	os.Exit(code)
}

func TestFileHasOneHolder(t *testing.T) {
	l := &File{Path: filepath.Join(t.TempDir(), "locks", "c1")}
	state, err := l.Ask(t.Context())
	require.NoError(t, err)
	assert.False(t, state.Held)
	held, err := l.Take(t.Context(), who("alice"), Wait{})
	require.NoError(t, err)
	_, err = l.Take(t.Context(), who("bob"), Wait{})
	assert.ErrorContains(t, err, "is held by alice@control1")
	state, err = l.Ask(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "alice", state.Holder.User)
	go func() {
		time.Sleep(300 * time.Millisecond)
		held.Release()
	}()
	next, err := l.Take(t.Context(), who("bob"), Wait{Limit: time.Minute})
	require.NoError(t, err)
	assert.Greater(t, next.Token(), held.Token())
	require.NoError(t, next.Release())
}

func TestFileOfAKilledHolderIsFree(t *testing.T) {
	l := &File{Path: filepath.Join(t.TempDir(), "c1")}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PEGBOOK_TEST_HOLD="+l.Path)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line := make([]byte, 5)
	_, err = out.Read(line)
	require.NoError(t, err)
	_, err = l.Take(t.Context(), who("alice"), Wait{})
	require.ErrorContains(t, err, "is held by other@h")
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	held, err := l.Take(t.Context(), who("alice"), Wait{})
	require.NoError(t, err)
	require.NoError(t, held.Release())
}

func TestFileThatIsReplacedIsLost(t *testing.T) {
	l := &File{Path: filepath.Join(t.TempDir(), "c1")}
	held, err := l.Take(t.Context(), who("alice"), Wait{})
	require.NoError(t, err)
	require.NoError(t, os.Remove(l.Path))
	next, err := l.Take(t.Context(), who("bob"), Wait{})
	require.NoError(t, err)
	assert.Greater(t, next.Token(), held.Token(), "the clock stands in for the count that is gone")
	select {
	case <-held.Lost():
	case <-time.After(3 * fileEvery):
		t.Fatal("the loss was not noticed")
	}
	require.NoError(t, next.Release())
}

func TestFileThatIsNone(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link")))
	for _, path := range []string{dir, filepath.Join(dir, "link")} {
		_, err := (&File{Path: path}).Take(t.Context(), who("alice"), Wait{})
		assert.Error(t, err, path)
	}
}

// What a holder says of itself may come from anybody.
func TestHolderCannotForgeTheTerminal(t *testing.T) {
	h := ParseHolder(`{"user":"a\u001b[2Jlice\n","host":"` + string(make([]byte, 0)) + `h","playbook":"` + "\u202e" + `x"}`)
	assert.Equal(t, "a[2Jlice@h, pid 0 of x", h.String())
	assert.Equal(t, "somebody who does not say who", ParseHolder("rubbish").String())
}
