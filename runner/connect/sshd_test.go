package connect

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// sshd is an OpenSSH server of the test's own.
type sshd struct {
	dir     string
	address Address
	cmd     *exec.Cmd
}

// startSSHD runs sshd on an address of the loopback network, with a key of its own for the login user.
func startSSHD(t testing.TB, ip string, port int, extra string) *sshd {
	t.Helper()
	program, err := exec.LookPath("/usr/sbin/sshd")
	if err != nil {
		t.Skip("there is no sshd on this machine; install openssh-server")
	}
	if os.Getuid() != 0 {
		t.Skip("sshd needs root to let root log in")
	}
	dir := t.TempDir()
	// sshd refuses keys below a folder that others can write, which /tmp is.
	hostKey, userKey := writeKey(t, filepath.Join(dir, "host_key"), ""), writeKey(t, filepath.Join(dir, "user_key"), "")
	write(t, filepath.Join(dir, "authorized_keys"), ssh.MarshalAuthorizedKey(userKey), 0o600)
	addr := net.JoinHostPort(ip, fmt.Sprint(port))
	write(t, filepath.Join(dir, "known_hosts"), fmt.Appendf(nil, "[%s]:%d %s", ip, port, ssh.MarshalAuthorizedKey(hostKey)), 0o600)
	config := fmt.Sprintf("ListenAddress %s\nHostKey %s/host_key\nAuthorizedKeysFile %s/authorized_keys\nStrictModes no\nUsePAM no\nPidFile none\nUseDNS no\nPermitRootLogin yes\n%s\n",
		addr, dir, dir, extra)
	write(t, filepath.Join(dir, "sshd_config"), []byte(config), 0o600)
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	s := &sshd{dir: dir, cmd: exec.Command(program, "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))}
	var log bytes.Buffer
	s.cmd.Stderr = &log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		if t.Failed() {
			t.Logf("sshd: %s", log.String())
		}
	})
	waitFor(t, "sshd on "+addr, func() bool {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	s.address = Address{Name: ip, Host: ip, Port: port, User: "root", KeyFiles: []string{filepath.Join(dir, "user_key")},
		KnownHosts: []string{filepath.Join(dir, "known_hosts")}, ConfigFile: "none", TempDir: sharedCache(t)}
	return s
}

// loopback begins the addresses of one run of the tests: two runs side by side do not meet.
var loopback = fmt.Sprintf("127.%d.%d", 32+os.Getpid()/250%200, os.Getpid()%250)

// sharedCache keeps the tests' helpers out of the home of whoever runs them.
func sharedCache(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("pegbook-test-cache-%d", os.Getpid()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// As /tmp itself: everybody may have a folder in it and nobody may take another's away.
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(filepath.Join(os.TempDir(), fmt.Sprintf("pegbook-test-cache-%d", os.Getpid())))
	os.Exit(code)
}

// writeKey makes a key pair; the private half is in the file, encrypted if there is a passphrase.
func writeKey(t testing.TB, path, passphrase string) ssh.PublicKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, pem.EncodeToMemory(block), 0o600)
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func write(t testing.TB, path string, content []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, content, mode); err != nil {
		t.Fatal(err)
	}
}

func waitFor(t testing.TB, what string, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ready(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}
