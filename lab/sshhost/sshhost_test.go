package sshhost

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// lab is a host with what its clients need.
type lab struct {
	*Host
	dir, home  string
	hostKey    Key
	clientKey  Key
	clientFile string
	stop       func()
}

func start(t *testing.T) *lab {
	t.Helper()
	l := &lab{dir: t.TempDir()}
	l.home, l.clientFile = filepath.Join(l.dir, "home"), filepath.Join(l.dir, "client")
	var err error
	l.hostKey, err = OpenKey(filepath.Join(l.dir, "host"))
	require.NoError(t, err)
	l.clientKey, err = OpenKey(l.clientFile)
	require.NoError(t, err)
	l.Host, err = Listen(t.Context(), Options{
		Addr: "127.0.50.20:0", Home: l.home, HostKey: l.hostKey, ClientKey: l.clientKey, Env: []string{"PEGBOOK_LAB_HOST=h1"},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Serve(ctx) }()
	stopped := false
	l.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			select {
			case err := <-done:
				require.NoError(t, err)
			case <-time.After(10 * time.Second):
				t.Fatal("Serve did not end")
			}
		}
	}
	t.Cleanup(l.stop)
	return l
}

func (l *lab) config(key Key) *ssh.ClientConfig {
	return &ssh.ClientConfig{
		User: "anybody", Auth: []ssh.AuthMethod{ssh.PublicKeys(key.signer)},
		HostKeyCallback: ssh.FixedHostKey(l.hostKey.signer.PublicKey()), Timeout: 5 * time.Second,
	}
}

func (l *lab) dial(t *testing.T) *ssh.Client {
	t.Helper()
	c, err := ssh.Dial("tcp", l.Addr(), l.config(l.clientKey))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func session(t *testing.T, c *ssh.Client) *ssh.Session {
	t.Helper()
	s, err := c.NewSession()
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func output(t *testing.T, c *ssh.Client, command string) string {
	t.Helper()
	out, err := session(t, c).CombinedOutput(command)
	require.NoError(t, err, "%s", out)
	return string(out)
}

// gone is whether a process has ended.
func gone(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestCommandsRunInTheHostsOwnHome(t *testing.T) {
	l := start(t)
	c := l.dial(t)
	require.Equal(t, l.home+"\n"+l.home+"\n"+l.home+"/tmp\nh1\n", output(t, c, "pwd; echo $HOME; echo $TMPDIR; echo $PEGBOOK_LAB_HOST"))
	t.Setenv("SECRET_OF_THE_SERVER", "x")
	env := output(t, c, "env")
	require.NotContains(t, env, "SECRET_OF_THE_SERVER")
	require.Contains(t, env, "SSH_CONNECTION=127.0.0.1 ")
	require.Regexp(t, `SSH_CONNECTION=\S+ \d+ 127.0.50.20 \d+`, env)
}

func TestInputOutputAndStatus(t *testing.T) {
	c := start(t).dial(t)
	for _, test := range []struct {
		name, command, in string
		stdout, stderr    string
		code              int
		signal            string
	}{
		{name: "success", command: "echo out; echo err >&2", stdout: "out\n", stderr: "err\n"},
		{name: "failure", command: "exit 7", code: 7},
		{name: "not found", command: "/not/there", code: 127, stderr: "/bin/sh: 1: /not/there: not found\n"},
		{name: "input to its end", command: "cat", in: "some input", stdout: "some input"},
		{name: "input that nobody reads", command: "echo done", in: strings.Repeat("x", 1<<20), stdout: "done\n"},
		{name: "killed", command: "kill -TERM $$", signal: "TERM", code: 128 + 15},
		{name: "an unusual signal", command: "kill -16 $$", signal: "16@pegbook", code: 128},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := session(t, c)
			var stdout, stderr bytes.Buffer
			s.Stdin, s.Stdout, s.Stderr = strings.NewReader(test.in), &stdout, &stderr
			err := s.Run(test.command)
			var exit *ssh.ExitError
			if errors.As(err, &exit) {
				require.Equal(t, test.code, exit.ExitStatus())
				require.Equal(t, test.signal, exit.Signal())
			} else {
				require.True(t, err == nil || errors.Is(err, io.EOF), "%v", err) // EOF: the client could not send all input
				require.Zero(t, test.code)
			}
			require.Equal(t, test.stdout, stdout.String())
			require.Equal(t, test.stderr, stderr.String())
		})
	}
}

func TestLargeStreamsInBothDirections(t *testing.T) {
	c := start(t).dial(t)
	s := session(t, c)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<19)
	var got bytes.Buffer
	s.Stdin, s.Stdout = bytes.NewReader(data), &got
	require.NoError(t, s.Run("cat"))
	require.True(t, bytes.Equal(data, got.Bytes()))
}

func TestSignalReachesTheProcessGroup(t *testing.T) {
	c := start(t).dial(t)
	s := session(t, c)
	out, err := s.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.Start("trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.05; done"))
	buf := make([]byte, 6)
	_, err = io.ReadFull(out, buf)
	require.NoError(t, err)
	require.NoError(t, s.Signal(ssh.SIGTERM))
	rest, err := io.ReadAll(out)
	require.NoError(t, err)
	require.Contains(t, string(rest), "got it")
	var exit *ssh.ExitError
	require.ErrorAs(t, s.Wait(), &exit)
	require.Equal(t, 3, exit.ExitStatus())
}

func TestProcessesEndWithTheirConnection(t *testing.T) {
	for name, end := range map[string]func(l *lab, c *ssh.Client, s *ssh.Session){
		"channel closed":    func(_ *lab, _ *ssh.Client, s *ssh.Session) { s.Close() },
		"connection closed": func(_ *lab, c *ssh.Client, _ *ssh.Session) { c.Close() },
		"connection cut":    func(l *lab, _ *ssh.Client, _ *ssh.Session) { l.Cut() },
		"host ends":         func(l *lab, _ *ssh.Client, _ *ssh.Session) { l.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t)
			c := l.dial(t)
			s := session(t, c)
			out, err := s.StdoutPipe()
			require.NoError(t, err)
			// One child ignores SIGHUP, one is a daemon in a session of its own.
			require.NoError(t, s.Start(`sh -c 'trap "" HUP; while :; do sleep 1; done' & echo $!; setsid sleep 60 >/dev/null 2>&1 </dev/null & echo $! ; echo $$; wait`))
			pids := make([]int, 0, 3)
			for range 3 {
				pids = append(pids, number(t, out))
			}
			defer syscall.Kill(pids[1], syscall.SIGKILL)
			end(l, c, s)
			require.Eventually(t, func() bool { return gone(pids[0]) && gone(pids[2]) }, 5*time.Second, 20*time.Millisecond)
			require.False(t, gone(pids[1]), "a daemon outlives the connection")
		})
	}
}

func number(t *testing.T, r io.Reader) int {
	t.Helper()
	var line []byte
	for b := make([]byte, 1); ; line = append(line, b[0]) {
		_, err := io.ReadFull(r, b)
		require.NoError(t, err)
		if b[0] == '\n' {
			break
		}
	}
	n, err := strconv.Atoi(string(line))
	require.NoError(t, err)
	return n
}

func TestOnlyTheLabsKeyIsLetIn(t *testing.T) {
	l := start(t)
	other, err := OpenKey(filepath.Join(l.dir, "other"))
	require.NoError(t, err)
	_, err = ssh.Dial("tcp", l.Addr(), l.config(other))
	require.ErrorContains(t, err, "unable to authenticate")
	again, err := OpenKey(l.clientFile)
	require.NoError(t, err)
	require.Equal(t, l.clientKey.Public(), again.Public(), "a key that is there is kept")
	_, err = ssh.Dial("tcp", l.Addr(), l.config(again))
	require.NoError(t, err)
}

func TestForwardedConnectionsLeaveFromTheHost(t *testing.T) {
	l := start(t)
	c := l.dial(t)
	listener, err := net.Listen("tcp", "127.0.50.21:0")
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		nc, err := listener.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		in, _ := io.ReadAll(nc) // to the end that the client announces
		host, _, _ := net.SplitHostPort(nc.RemoteAddr().String())
		io.WriteString(nc, host+" got "+string(in))
	}()
	nc, err := c.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	_, err = io.WriteString(nc, "hello")
	require.NoError(t, err)
	require.NoError(t, nc.(interface{ CloseWrite() error }).CloseWrite())
	out, err := io.ReadAll(nc)
	require.NoError(t, err)
	require.Equal(t, "127.0.50.20 got hello", string(out))
	_, err = c.Dial("tcp", "127.0.50.21:1")
	require.ErrorContains(t, err, "refused")
}

func TestFaults(t *testing.T) {
	t.Run("refuse", func(t *testing.T) {
		l := start(t)
		l.SetFault(Fault{Refuse: true})
		_, err := ssh.Dial("tcp", l.Addr(), l.config(l.clientKey))
		require.Error(t, err)
		l.SetFault(Fault{})
		l.dial(t)
	})
	t.Run("hang", func(t *testing.T) {
		l := start(t)
		c := l.dial(t)
		l.SetFault(Fault{Hang: true})
		done := make(chan error, 1)
		go func() {
			_, _, err := c.SendRequest("keepalive@openssh.com", true, nil)
			done <- err
		}()
		select {
		case <-done:
			t.Fatal("an answer came through a pulled cable")
		case <-time.After(100 * time.Millisecond):
		}
		l.SetFault(Fault{})
		require.NoError(t, <-done)
	})
	t.Run("delay", func(t *testing.T) {
		l := start(t)
		l.SetFault(Fault{Delay: 30 * time.Millisecond})
		c := l.dial(t)
		began := time.Now()
		_, _, err := c.SendRequest("keepalive@openssh.com", true, nil)
		require.NoError(t, err)
		took := time.Since(began)
		require.GreaterOrEqual(t, took, 60*time.Millisecond, "both ways")
		require.Less(t, took, time.Second)
	})
}

// TestOpenSSH runs the client that people have, with the known_hosts line we write for it.
func TestOpenSSH(t *testing.T) {
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("no OpenSSH client on this machine")
	}
	l := start(t)
	known := filepath.Join(l.dir, "known_hosts")
	require.NoError(t, os.WriteFile(known, []byte(l.hostKey.KnownHost(l.Addr())+"\n"), 0o600))
	host, port, _ := net.SplitHostPort(l.Addr())
	cmd := exec.Command("ssh", "-F", "none", "-i", l.clientFile, "-p", port, "-o", "UserKnownHostsFile="+known, "-o", "StrictHostKeyChecking=yes",
		"-o", "BatchMode=yes", host, "cat; exit 5")
	cmd.Stdin = strings.NewReader("through OpenSSH")
	out, err := cmd.CombinedOutput()
	require.Equal(t, "through OpenSSH", string(out))
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 5, exit.ExitCode())
}

// TestNothingIsLeftBehind counts goroutines and open files over many sessions.
func TestNothingIsLeftBehind(t *testing.T) {
	files := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(entries)
	}
	use := func() {
		l := start(t)
		for range 5 {
			c := l.dial(t)
			require.Equal(t, "x\n", output(t, c, "echo x"))
			s := session(t, c)
			require.NoError(t, s.Start("sleep 60"))
			c.Close()
		}
		l.stop()
	}
	use()
	goroutines, open := runtime.NumGoroutine(), files()
	use()
	deadline := time.Now().Add(5 * time.Second) // not Eventually, which has goroutines of its own
	for runtime.NumGoroutine() > goroutines || files() > open {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before; %d files, %d before\n%s", runtime.NumGoroutine(), goroutines, files(), open,
				stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(10 * time.Millisecond)
	}
}
