package main

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestTheThreatModelNamesTests keeps docs/security.md true: what it says somebody cannot do is held by a test.
func TestTheThreatModelNamesTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/security.md")
	require.NoError(t, err)
	there := map[string]bool{}
	require.NoError(t, filepath.WalkDir("../..", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(text, -1) {
			there[string(m[1])] = true
		}
		return err
	}))
	lines := 0
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "| ") || strings.Contains(line, "held by") || strings.HasPrefix(line, "| ---") {
			continue
		}
		lines++
		named := regexp.MustCompile("`((?:Test|Fuzz)[^`/]*)(/[^`]*)?`").FindAllStringSubmatch(line, -1)
		assert.NotEmpty(t, named, "no test is named: %s", line)
		for _, m := range named {
			assert.True(t, there[m[1]], "there is no %s: %s", m[1], line)
		}
	}
	assert.Greater(t, lines, 20)
}

// TestOnlyTheOwnerSteersARun asks a run's socket as its owner and as somebody else, who is given every permission on
// files that there is.
func TestOnlyTheOwnerSteersARun(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	dir, err := os.MkdirTemp("", "control-") // short and open to others, which a test's own folder is not
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c, err := newControl(t.Context(), dir, func(string, ...any) {})
	require.NoError(t, err)
	t.Cleanup(c.close)
	path := filepath.Join(dir, controlName)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoError(t, os.Chmod(dir, 0o755)) //nolint:gosec // to see that the kernel's word counts even then

	const nobody = 65534
	_, err = askAs(t, nobody, path)
	require.ErrorIs(t, err, unix.EACCES, "the socket is closed to others")
	require.NoError(t, os.Chmod(path, 0o666)) //nolint:gosec // as above
	answer, err := askAs(t, nobody, path)
	assert.NoError(t, err)
	assert.Empty(t, answer, "the question of another user is not even read")
	answer, err = askAs(t, 0, path)
	assert.NoError(t, err)
	assert.Contains(t, answer, "error", "the owner is answered, that there is no such thing to do")
}

// FuzzControl asks a run's socket anything: what is answered is one line of JSON, and the run is told only what is a
// command.
func FuzzControl(f *testing.F) {
	for _, line := range []string{`{"do":"pause"}`, `{"do":"approve","gate":"x\u001b[2J"}`, `{"do":"abort","now":true}`, `{"do":"dance"}`, `{`, `[]`, "\x00"} {
		f.Add([]byte(line + "\n"))
	}
	f.Add([]byte(strings.Repeat("x", 8<<10)))
	dir, err := os.MkdirTemp("", "control-")
	require.NoError(f, err)
	f.Cleanup(func() { _ = os.RemoveAll(dir) })
	ctx := f.Context()
	c, err := newControl(ctx, dir, func(string, ...any) {})
	require.NoError(f, err)
	f.Cleanup(c.close)
	go func() {
		for {
			select {
			case command := <-c.commands:
				command.Answer("done: "+command.Gate, nil)
			case <-c.aborts:
			case <-ctx.Done():
				return
			}
		}
	}()
	f.Fuzz(func(t *testing.T, question []byte) {
		conn, err := net.Dial("unix", filepath.Join(dir, controlName))
		require.NoError(t, err)
		defer conn.Close() //nolint:errcheck // nothing is written through it after this
		require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
		_, _ = conn.Write(question) // more than a question is not read to its end
		require.NoError(t, conn.(*net.UnixConn).CloseWrite())
		answer, err := io.ReadAll(conn)
		if errors.Is(err, unix.ECONNRESET) {
			return // it was not read to its end
		}
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(answer), "\n"), "%q", answer)
		var reply controlReply
		require.NoError(t, json.Unmarshal(answer, &reply))
		require.NotEqual(t, reply.Text == "", reply.Error == "")
	})
}

// askAs asks a socket something as a user, in a thread that ends with it.
func askAs(t *testing.T, uid int, path string) (answer string, err error) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread is thrown away, and with it who it was
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			err = errno
			return
		}
		fd, failed := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err = failed; err != nil {
			return
		}
		defer unix.Close(fd) //nolint:errcheck // nothing is written through it after this
		limit := unix.NsecToTimeval(int64(20 * time.Second))
		if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
			return
		}
		if err = unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
			return
		}
		_, _ = unix.Write(fd, []byte(`{"do":"dance"}`+"\n")) // whoever is not let in may be cut off before this
		buf := make([]byte, 4096)
		n, failed := unix.Read(fd, buf)
		if failed != nil && failed != unix.ECONNRESET {
			err = failed
			return
		}
		answer = string(buf[:max(0, n)])
	}()
	<-done
	return answer, err
}
