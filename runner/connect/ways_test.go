package connect

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/crypto/ssh"
)

func newPool(t testing.TB, o Options) *Pool {
	t.Helper()
	p := NewPool(o)
	if _, err := p.binaries.all(); errors.Is(err, errNoHelper) {
		t.Fatal("run go generate ./runner/connect first")
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func TestLocal(t *testing.T) {
	conformance(t, &subject{pool: newPool(t, Options{}), address: Address{Name: "here", Connection: "local"}})
}

func TestInProcessServer(t *testing.T) {
	conformance(t, &subject{pool: newPool(t, Options{}), address: startServer(t, loopback+".10:22230"), remote: true})
}

func TestOpenSSH(t *testing.T) {
	s := startSSHD(t, loopback+".11", 22231, "")
	conformance(t, &subject{pool: newPool(t, Options{}), address: s.address, remote: true})
}

func TestBecome(t *testing.T) {
	if _, err := exec.LookPath("sudo"); err != nil {
		t.Skip("there is no sudo on this machine; install sudo")
	}
	s := startSSHD(t, loopback+".12", 22232, "")
	conformance(t, &subject{pool: newPool(t, Options{}), address: s.address, become: Become{User: "nobody"}, remote: true})
}

func TestLocalBecome(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("becoming another user without a password needs root")
	}
	address := Address{Name: "here", Connection: "local", TempDir: sharedCache(t)}
	conformance(t, &subject{pool: newPool(t, Options{}), address: address, become: Become{User: "nobody"}, remote: true})
}

// startServer runs an SSH server in this process, which starts commands as sshd does.
func startServer(t testing.TB, addr string) Address {
	t.Helper()
	dir := t.TempDir()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	hostKey, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	user := writeKey(t, filepath.Join(dir, "user_key"), "")
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(user.Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	config.AddHostKey(hostKey)
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go serveSSH(c, config)
		}
	}()
	host, port, _ := net.SplitHostPort(addr)
	write(t, filepath.Join(dir, "known_hosts"), append([]byte("["+host+"]:"+port+" "), ssh.MarshalAuthorizedKey(hostKey.PublicKey())...), 0o600)
	a := Address{Name: "in process", Host: host, User: "me", KeyFiles: []string{filepath.Join(dir, "user_key")},
		KnownHosts: []string{filepath.Join(dir, "known_hosts")}, ConfigFile: "none", TempDir: sharedCache(t)}
	a.Port, _ = net.LookupPort("tcp", port)
	return a
}

func serveSSH(c net.Conn, config *ssh.ServerConfig) {
	_, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		c.Close()
		return
	}
	go ssh.DiscardRequests(requests)
	for n := range channels {
		switch n.ChannelType() {
		case "session":
			channel, requests, err := n.Accept()
			if err == nil {
				go serveSession(channel, requests)
			}
		case "direct-tcpip":
			go serveTunnel(n)
		default:
			_ = n.Reject(ssh.UnknownChannelType, "no")
		}
	}
}

func serveSession(channel ssh.Channel, requests <-chan *ssh.Request) {
	for r := range requests {
		var command struct{ Line string }
		if r.Type != "exec" || ssh.Unmarshal(r.Payload, &command) != nil {
			_ = r.Reply(false, nil)
			continue
		}
		_ = r.Reply(true, nil)
		go func() {
			cmd := exec.Command("/bin/sh", "-c", command.Line)
			stdin, _ := cmd.StdinPipe()
			cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
			go func() {
				_, _ = io.Copy(stdin, channel)
				stdin.Close()
			}()
			var status struct{ Code uint32 }
			if err := cmd.Start(); err == nil {
				_ = cmd.Wait()
				status.Code = uint32(cmd.ProcessState.ExitCode())
			}
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(status))
			channel.Close()
		}()
	}
}

func serveTunnel(n ssh.NewChannel) {
	var to struct {
		Host     string
		Port     uint32
		From     string
		FromPort uint32
	}
	if ssh.Unmarshal(n.ExtraData(), &to) != nil {
		_ = n.Reject(ssh.ConnectionFailed, "broken request")
		return
	}
	c, err := net.Dial("tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))))
	if err != nil {
		_ = n.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	channel, requests, err := n.Accept()
	if err != nil {
		c.Close()
		return
	}
	go ssh.DiscardRequests(requests)
	go func() {
		_, _ = io.Copy(c, channel)
		c.Close()
	}()
	_, _ = io.Copy(channel, c)
	channel.Close()
}
