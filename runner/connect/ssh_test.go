package connect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/pegbook/pegbook/modules"
)

// openError opens a host that cannot be opened.
func openError(t testing.TB, p *Pool, a Address, b Become) error {
	t.Helper()
	_, err := p.Open(t.Context(), a, b)
	if err == nil {
		t.Fatal("it opened")
	}
	return err
}

func wantText(t testing.TB, err error, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error does not say %q: %v", text, err)
		}
	}
}

func TestHostKeys(t *testing.T) {
	a := startServer(t, loopback+".20:22240")
	known := filepath.Join(t.TempDir(), "sub", "known_hosts")
	a.KnownHosts = []string{known}
	err := openError(t, newPool(t, Options{}), a, Become{})
	var unknown *UnknownHostKeyError
	if !errors.As(err, &unknown) || !strings.HasPrefix(unknown.Fingerprint, "SHA256:") {
		t.Fatalf("unknown key: %v", err)
	}
	wantText(t, err, unknown.Fingerprint, "--accept-new-host-keys", "ssh-keyscan -p 22240 -t ed25519 "+loopback+".20 >> "+known)
	if _, err := os.Stat(known); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused key was remembered: %v", err)
	}

	accepting := a
	accepting.AcceptNewHostKeys = true
	(&subject{pool: newPool(t, Options{}), address: accepting}).open(t)
	info, err := os.Stat(known)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("known_hosts: %v, %v", info, err)
	}
	(&subject{pool: newPool(t, Options{}), address: a}).open(t)

	other := writeKey(t, filepath.Join(t.TempDir(), "other"), "")
	write(t, known, []byte("# comment\n["+loopback+".20]:22240 "+string(ssh.MarshalAuthorizedKey(other))), 0o600)
	err = openError(t, newPool(t, Options{}), accepting, Become{})
	var changed *ChangedHostKeyError
	if !errors.As(err, &changed) || changed.File != known || changed.Line != 2 {
		t.Fatalf("changed key: %v", err)
	}
	wantText(t, err, known+":2", "ssh-keygen -R '["+loopback+".20]:22240'")
}

// sshd shows the key that is known, also when it has others that we would rather see.
func TestHostKeyOfKnownType(t *testing.T) {
	dir := t.TempDir()
	rsa := filepath.Join(dir, "rsa")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", rsa).CombinedOutput(); err != nil {
		t.Skipf("ssh-keygen: %s", out)
	}
	s := startSSHD(t, loopback+".21", 22241, "HostKey "+rsa)
	public, err := os.ReadFile(rsa + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.address.KnownHosts[0], append([]byte("["+loopback+".21]:22241 "), public...), 0o600)
	if out, err := exec.Command("ssh-keygen", "-q", "-H", "-f", s.address.KnownHosts[0]).CombinedOutput(); err != nil {
		t.Fatalf("hash known_hosts: %s", out)
	}
	(&subject{pool: newPool(t, Options{}), address: s.address}).open(t)
}

func TestKeys(t *testing.T) {
	s := startSSHD(t, loopback+".22", 22242, "")
	dir := t.TempDir()
	locked := filepath.Join(dir, "locked")
	public := writeKey(t, locked, "open sesame")
	write(t, filepath.Join(s.dir, "authorized_keys"), ssh.MarshalAuthorizedKey(public), 0o600)

	err := openError(t, newPool(t, Options{}), s.address, Become{})
	wantText(t, err, "unable to authenticate", "ansible_ssh_private_key_file")
	a := s.address
	a.KeyFiles = []string{locked}
	wantText(t, openError(t, newPool(t, Options{}), a, Become{}), "needs a passphrase", "ssh-add")

	var asked atomic.Int32
	p := newPool(t, Options{Ask: func(_ context.Context, question string) (string, error) {
		if asked.Add(1) == 1 {
			return "wrong", nil
		}
		if !strings.Contains(question, locked) {
			return "", fmt.Errorf("asked %q", question)
		}
		return "open sesame", nil
	}})
	var all sync.WaitGroup
	for i := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			a := a
			a.Name = fmt.Sprint("host", i)
			if _, err := p.Open(t.Context(), a, Become{}); err != nil {
				t.Error(err)
			}
		}()
	}
	all.Wait()
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times for one passphrase, mistyped once", n)
	}
	a.KeyFiles = []string{filepath.Join(dir, "none")}
	wantText(t, openError(t, newPool(t, Options{}), a, Become{}), "the key cannot be read", "no such file", "ansible_ssh_private_key_file")
}

func TestPassword(t *testing.T) {
	addr := loopback + ".23:22243"
	dir := t.TempDir()
	writeKey(t, filepath.Join(dir, "host"), "")
	content, err := os.ReadFile(filepath.Join(dir, "host"))
	if err != nil {
		t.Fatal(err)
	}
	hostKey, err := ssh.ParsePrivateKey(content)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{KeyboardInteractiveCallback: func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
		answers, err := ask("", "", []string{"Password: "}, []bool{false})
		if err != nil || answers[0] != "secret" {
			return nil, errors.New("no")
		}
		return nil, nil
	}}
	config.AddHostKey(hostKey)
	listener, err := net.Listen("tcp", addr)
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
			go serveSSH(c, config)
		}
	}()
	a := Address{Name: "h", Host: loopback + ".23", Port: 22243, User: "me", Password: "secret", ConfigFile: "none", TempDir: sharedCache(t),
		KnownHosts: []string{filepath.Join(dir, "known_hosts")}, AcceptNewHostKeys: true}
	(&subject{pool: newPool(t, Options{}), address: a}).open(t)
	a.Password = "wrong"
	wantText(t, openError(t, newPool(t, Options{}), a, Become{}), "unable to authenticate")
	a.Password = ""
	asking := Options{Ask: func(context.Context, string) (string, error) { return "secret", nil }}
	(&subject{pool: newPool(t, asking), address: a}).open(t)
}

func TestJumpHosts(t *testing.T) {
	end := startSSHD(t, loopback+".24", 22244, "")
	bastion := startSSHD(t, loopback+".25", 22245, "")
	bastion2 := startServer(t, loopback+".26:22246")
	var known bytes.Buffer
	a := end.address
	a.KeyFiles = append(append(append([]string{}, end.address.KeyFiles...), bastion.address.KeyFiles...), bastion2.KeyFiles...)
	for _, file := range []string{end.address.KnownHosts[0], bastion.address.KnownHosts[0], bastion2.KnownHosts[0]} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		known.Write(content)
	}
	write(t, a.KnownHosts[0], known.Bytes(), 0o600)
	a.JumpHosts = []string{"root@" + loopback + ".25:22245", "ssh://me@" + loopback + ".26:22246"}
	p := newPool(t, Options{KeepAlive: 200 * time.Millisecond})
	s := &subject{pool: p, address: a}
	if out := run(t, s.open(t), "echo", "through"); out != "through\n" {
		t.Errorf("got %q", out)
	}
	// Many hosts behind one bastion share its connection.
	var all sync.WaitGroup
	for i := range 10 {
		all.Add(1)
		go func() {
			defer all.Done()
			a := a
			a.Name = fmt.Sprint("host", i)
			if _, err := p.Open(t.Context(), a, Become{}); err != nil {
				t.Error(err)
			}
		}()
	}
	all.Wait()
	p.mu.Lock()
	n := len(p.lines)
	p.mu.Unlock()
	if n != 13 {
		t.Errorf("%d connections for 11 hosts behind 2 jump hosts", n)
	}
	time.Sleep(time.Second) // several keepalives
	if out := run(t, s.open(t), "echo", "still"); out != "still\n" {
		t.Errorf("got %q", out)
	}
	a.JumpHosts = []string{"root@" + loopback + ".25:22299"}
	a.Retries = -1
	wantText(t, openError(t, p, a, Become{}), "jump host "+loopback+".25", "refused")
}

// sshd refuses some of many connections that have not logged in yet. All of them get through in the end.
func TestDialStorm(t *testing.T) {
	s := startSSHD(t, loopback+".27", 22247, "MaxStartups 3:50:6")
	p := newPool(t, Options{})
	var all sync.WaitGroup
	for i := range 24 {
		all.Add(1)
		go func() {
			defer all.Done()
			a := s.address
			a.Name, a.Retries = fmt.Sprint("host", i), 8
			if _, err := p.Open(t.Context(), a, Become{}); err != nil {
				t.Error(err)
			}
		}()
	}
	all.Wait()
}

func TestUnreachable(t *testing.T) {
	p := newPool(t, Options{})
	a := Address{Name: "nowhere", Host: loopback + ".28", Port: 22248, ConfigFile: "none", Retries: 1}
	err := openError(t, p, a, Become{})
	var gone *modules.UnreachableError
	if !errors.As(err, &gone) || gone.Host != "nowhere" {
		t.Errorf("nobody listens: %v", err)
	}
	wantText(t, err, "refused", "is sshd running there on port 22248?")

	// Something that accepts and never speaks.
	listener, err := net.Listen("tcp", loopback+".28:22249")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	a.Port, a.Timeout = 22249, 300*time.Millisecond
	began := time.Now()
	wantText(t, openError(t, p, a, Become{}), "longer than 300ms")
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	a.Timeout = time.Minute
	if _, err := p.Open(ctx, a, Become{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cancelled: %v", err)
	}
}

// A link that swallows everything: neither side is told that the other has gone.
func TestLinkCut(t *testing.T) {
	s := startSSHD(t, loopback+".29", 22250, "")
	link := startLink(t, loopback+".29:22251", loopback+".29:22250")
	a := s.address
	content, err := os.ReadFile(a.KnownHosts[0])
	if err != nil {
		t.Fatal(err)
	}
	write(t, a.KnownHosts[0], bytes.ReplaceAll(content, []byte("22250"), []byte("22251")), 0o600)
	a.Port = 22251
	sub := &subject{pool: newPool(t, Options{KeepAlive: 300 * time.Millisecond}), address: a}
	h, file := sub.open(t), filepath.Join(sub.folder(t), "pids")
	failed := make(chan error, 1)
	go func() {
		_, err := h.Run(t.Context(), tree(file))
		failed <- err
	}()
	pids := treePIDs(t, file)
	time.Sleep(time.Second) // the keepalives of a connection that works keep it
	select {
	case err := <-failed:
		t.Fatalf("it ended by itself: %v", err)
	default:
	}
	link.Store(true)
	var gone *modules.UnreachableError
	select {
	case err := <-failed:
		if !errors.As(err, &gone) {
			t.Errorf("a task in flight: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("nobody noticed")
	}
	allGone(t, pids)
}

// A link that goes silent while the helper starts: the time limit of the start holds, though nothing that waits for the
// host is told that the channel is closed.
func TestALinkThatIsCutWhileTheHelperStarts(t *testing.T) {
	ctx, stop := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("start the helper on h1: no answer in time"))
	defer stop()
	began := time.Now()
	s := &starter{name: "h1", folder: t.TempDir(), binaries: newPool(t, Options{}).binaries, every: time.Second, trips: &atomic.Int64{}}
	_, err := s.start(ctx, func(context.Context, string) (stream, error) { return deaf{t.Context()}, nil }, Become{})
	var gone *modules.UnreachableError
	if !errors.As(err, &gone) || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("%v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

// deaf is a channel on a link that is dead.
type deaf struct{ ctx context.Context } //nolint:containedctx // it ends with the test

func (d deaf) Read([]byte) (int, error) {
	<-d.ctx.Done()
	return 0, io.EOF
}
func (d deaf) Write([]byte) (int, error) { return d.Read(nil) }
func (deaf) Close() error                { return nil }
func (d deaf) Stderr() io.Reader         { return d }
func (d deaf) Ended() (int, bool)        { <-d.ctx.Done(); return 0, false }

// A connection in doubt ends when the host does not answer, and only then.
func TestAConnectionInDoubt(t *testing.T) {
	a := startServer(t, loopback+".34:22252")
	link := startLink(t, loopback+".34:22253", loopback+".34:22252")
	content, err := os.ReadFile(a.KnownHosts[0])
	if err != nil {
		t.Fatal(err)
	}
	write(t, a.KnownHosts[0], bytes.ReplaceAll(content, []byte("22252"), []byte("22253")), 0o600)
	a.Port = 22253
	p := newPool(t, Options{})
	l, err := p.line(a)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := l.connect(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.doubt(5 * time.Second)
	if !conn.alive() {
		t.Fatal("the host has answered")
	}
	link.Store(true)
	conn.doubt(100 * time.Millisecond)
	select {
	case <-conn.gone:
	case <-time.After(5 * time.Second):
		t.Fatal("nobody has answered")
	}
}

// startLink passes bytes on until it is cut.
func startLink(t testing.TB, from, to string) *atomic.Bool {
	t.Helper()
	var cut atomic.Bool
	listener, err := net.Listen("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	pass := func(a, b net.Conn) {
		buffer := make([]byte, 32<<10)
		for {
			n, err := a.Read(buffer)
			if cut.Load() {
				swallow(a, buffer)
				return
			}
			if err != nil {
				b.Close()
				return
			}
			_, _ = b.Write(buffer[:n])
		}
	}
	go func() {
		for {
			a, err := listener.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				a.Close()
				continue
			}
			t.Cleanup(func() { a.Close(); b.Close() })
			go pass(a, b)
			go pass(b, a)
		}
	}()
	return &cut
}

// swallow swallows the rest, without a word to the other side.
func swallow(c net.Conn, buffer []byte) {
	for {
		if _, err := c.Read(buffer); err != nil {
			return
		}
	}
}

func TestBecomeWithPassword(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("making a user with a password needs root")
	}
	// Of this run alone, which another beside it must not take away.
	name, password := fmt.Sprintf("pegbooktest%d", os.Getpid()%100_000), "it's a secret"
	hash, err := exec.Command("openssl", "passwd", "-6", password).Output()
	if err != nil {
		t.Skipf("openssl: %v", err)
	}
	home := t.TempDir()
	add := exec.Command("useradd", "-d", home, "-s", "/bin/sh", "-p", strings.TrimSpace(string(hash)), name)
	if out, err := add.CombinedOutput(); err != nil {
		t.Skipf("useradd: %s", out)
	}
	sudoers := "/etc/sudoers.d/" + name
	t.Cleanup(func() {
		_ = os.Remove(sudoers)
		waitFor(t, "the user's processes to end, so that it can be removed", func() bool { return exec.Command("userdel", name).Run() == nil })
	})
	if err := exec.Command("chown", "-R", name, home).Run(); err != nil {
		t.Fatal(err)
	}
	write(t, sudoers, []byte(name+" ALL=(ALL) ALL\nDefaults:"+name+" timestamp_timeout=0\n"), 0o440)
	s := startSSHD(t, loopback+".30", 22252, "")
	for path, mode := range map[string]os.FileMode{filepath.Dir(s.dir): 0o755, s.dir: 0o755, filepath.Join(s.dir, "authorized_keys"): 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	a := s.address
	a.User = name
	p := newPool(t, Options{})
	for _, user := range []string{"root", "nobody"} {
		h, err := p.Open(t.Context(), a, Become{User: user, Password: password})
		if err != nil {
			t.Fatal(err)
		}
		if out := run(t, h, "id", "-un"); out != user+"\n" {
			t.Errorf("became %q", out)
		}
		if args := run(t, h, "sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' ' '"); strings.Contains(args, password) {
			t.Error("the password is in a list of processes")
		}
	}
	began := time.Now()
	err = openError(t, p, a, Become{User: "root", Password: "wrong"})
	var refused *BecomeError
	if !errors.As(err, &refused) || time.Since(began) > 8*time.Second {
		t.Errorf("wrong password, after %s: %v", time.Since(began), err)
	}
	wantText(t, err, "the password is wrong")
	wantText(t, openError(t, p, a, Become{User: "root"}), "a password is needed", "ansible_become_password")
	wantText(t, openError(t, p, a, Become{User: "no-such-user", Password: password}), "unknown user")
	h, err := p.Open(t.Context(), a, Become{User: "nobody", Method: "su", Password: password})
	if err == nil {
		t.Errorf("su with the login user's own password works: %v", h)
	}
	(&subject{pool: p, address: s.address, become: Become{User: name, Method: "su"}}).open(t)
	// The login user's own tasks go on whatever happens to those of others.
	if out := run(t, (&subject{pool: p, address: a}).open(t), "id", "-un"); out != name+"\n" {
		t.Errorf("logged in as %q", out)
	}
}
