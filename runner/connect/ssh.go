package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/cpu"
)

// route is where an Address leads, the user's ssh configuration included.
type route struct {
	host           string
	port           int
	user           string
	password       string
	wanted         []string // key files the Address names
	keyFiles       []string // these and the configuration's
	identitiesOnly bool
	agent          string // socket, "" or "none"
	jumps          []string
	knownHosts     []string
	hostKeyName    string // address under which the host key is known
	acceptNew      bool
	keepAlive      time.Duration // 0 is the pool's
}

func (r *route) address() string { return net.JoinHostPort(r.host, strconv.Itoa(r.port)) }

// resolve finds the route of an Address. What the Address says goes before the configuration.
func resolve(a Address, s settings, getenv func(string) string) (*route, error) {
	r := &route{host: a.Host, port: a.Port, user: a.User, password: a.Password, identitiesOnly: s.IdentitiesOnly,
		agent: getenv("SSH_AUTH_SOCK"), jumps: a.JumpHosts, acceptNew: a.AcceptNewHostKeys || s.AcceptNew}
	r.host = or(r.host, a.Name)
	if r.keepAlive = a.KeepAlive; r.keepAlive == 0 {
		r.keepAlive = s.KeepAlive
	}
	if s.HostName != "" {
		r.host = s.HostName
	}
	if r.port == 0 {
		r.port = s.Port
	}
	if r.port == 0 {
		r.port = 22
	}
	r.user = or(or(r.user, s.User), loginName())
	if s.IdentityAgent != "" && s.IdentityAgent != "SSH_AUTH_SOCK" {
		r.agent = expandHome(strings.TrimPrefix(s.IdentityAgent, "$"))
		if strings.HasPrefix(s.IdentityAgent, "$") {
			r.agent = getenv(s.IdentityAgent[1:])
		}
	}
	for _, f := range a.KeyFiles {
		r.wanted = append(r.wanted, expandHome(f))
	}
	r.keyFiles = slices.Clone(r.wanted)
	for _, f := range defaultKeys(s.IdentityFiles) {
		r.keyFiles = append(r.keyFiles, r.expand(f))
	}
	if len(r.jumps) == 0 && s.ProxyJump != "" {
		r.jumps = strings.Split(s.ProxyJump, ",")
	}
	if len(r.jumps) == 0 && s.ProxyCommand != "" {
		return nil, &hintError{errors.New("its ssh configuration has a ProxyCommand, which pegbook cannot use"), "use ProxyJump"}
	}
	if len(r.jumps) == 1 && r.jumps[0] == "none" {
		r.jumps = nil
	}
	for _, f := range knownHosts(a, s) {
		r.knownHosts = append(r.knownHosts, r.expand(f))
	}
	r.hostKeyName = r.address()
	if s.HostKeyAlias != "" {
		r.hostKeyName = net.JoinHostPort(s.HostKeyAlias, "22")
	}
	return r, nil
}

func knownHosts(a Address, s settings) []string {
	if len(a.KnownHosts) > 0 {
		return a.KnownHosts
	}
	own, global := s.KnownHosts, s.GlobalHosts
	if len(own) == 0 {
		own = []string{"~/.ssh/known_hosts", "~/.ssh/known_hosts2"}
	}
	if len(global) == 0 {
		global = []string{"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}
	}
	return slices.Concat(own, global)
}

func defaultKeys(configured []string) []string {
	if len(configured) > 0 {
		return configured
	}
	return []string{"~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// expand replaces the tokens that file names in ssh configuration may hold.
func (r *route) expand(file string) string {
	file = expandHome(strings.Trim(file, `"`))
	if !strings.Contains(file, "%") {
		return file
	}
	return strings.NewReplacer("%%", "%", "%d", expandHome("~"), "%h", r.host, "%p", strconv.Itoa(r.port), "%r", r.user, "%u", loginName()).Replace(file)
}

// parseJump reads user@host:port, or ssh://user@host:port, of a jump host.
func parseJump(text string) (Address, error) {
	text = strings.TrimPrefix(strings.TrimSpace(text), "ssh://")
	var a Address
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		a.User, text = text[:i], text[i+1:]
	}
	a.Name = text
	if host, port, err := net.SplitHostPort(text); err == nil {
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 {
			return a, fmt.Errorf("%s is no port of a jump host", port)
		}
		a.Name, a.Port = host, n
	}
	a.Name = strings.Trim(a.Name, "[]")
	if a.Name == "" || strings.ContainsAny(a.Name, " /") {
		return a, fmt.Errorf("%q is no jump host; write user@host:port", text)
	}
	return a, nil
}

// errSessions is an sshd that has opened as many sessions on a connection as it may.
var errSessions = errors.New("its sshd opens no more sessions on the connection")

// sshConn is one connection to a host, for as many channels as are needed.
type sshConn struct {
	client *ssh.Client
	every  time.Duration // between two keepalives; 0 is the pool's
	gone   chan struct{} // closed when the connection has ended
}

// handshake makes an SSH connection of a network one. It owns c, and closes it on failure.
func handshake(ctx context.Context, c net.Conn, r *route, methods []ssh.AuthMethod, ring *keyring) (*sshConn, error) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	var refused error
	config := &ssh.ClientConfig{
		User: r.user, Auth: methods, ClientVersion: "SSH-2.0-pegbook",
		HostKeyAlgorithms: ring.algorithms(r.hostKeyName),
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			refused = ring.verify(r.hostKeyName, key, r.acceptNew)
			return refused
		},
	}
	if cpu.X86.HasAES || cpu.ARM64.HasAES {
		config.Ciphers = []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305, ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR}
	}
	conn, channels, requests, err := ssh.NewClientConn(c, r.address(), config)
	if err != nil {
		c.Close()
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		if refused != nil {
			return nil, refused
		}
		return nil, err
	}
	s := &sshConn{client: ssh.NewClient(conn, channels, requests), every: r.keepAlive, gone: make(chan struct{})}
	go func() {
		_ = conn.Wait()
		close(s.gone)
	}()
	return s, nil
}

func (s *sshConn) alive() bool {
	select {
	case <-s.gone:
		return false
	default:
		return true
	}
}

// keepAlive ends a connection that carries no helper, a jump host's, when the host falls silent.
func (s *sshConn) keepAlive(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	answered := make(chan struct{}, 1)
	waiting, missed := false, 0
	for {
		select {
		case <-s.gone:
			return
		case <-answered:
			waiting, missed = false, 0
		case <-ticker.C:
			if missed++; waiting && missed > 3 {
				s.client.Close()
				return
			}
			if !waiting {
				waiting = true
				go func() {
					_, _, _ = s.client.SendRequest("keepalive@openssh.com", true, nil)
					answered <- struct{}{}
				}()
			}
		}
	}
}

// doubtFor is how long a host may take to say that it is there when it has been silent for too long.
const doubtFor = 5 * time.Second

// doubt ends a connection on which the host does not answer any more: one without a helper is not asked from time to time.
func (s *sshConn) doubt(patience time.Duration) {
	answered := make(chan struct{})
	go func() {
		_, _, _ = s.client.SendRequest("keepalive@openssh.com", true, nil)
		close(answered)
	}()
	select {
	case <-answered:
	case <-s.gone:
	case <-time.After(patience):
		s.client.Close()
	}
}

// open starts a command line on a channel of its own.
func (s *sshConn) open(ctx context.Context, line string) (stream, error) {
	type result struct {
		channel  ssh.Channel
		requests <-chan *ssh.Request
		err      error
	}
	opened := make(chan result, 1)
	go func() {
		channel, requests, err := s.client.OpenChannel("session", nil)
		opened <- result{channel, requests, err}
	}()
	var r result
	select {
	case r = <-opened:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if rejected := (*ssh.OpenChannelError)(nil); errors.As(r.err, &rejected) {
		return nil, &hintError{errSessions,
			"pegbook needs one for the login user and one for each user that tasks become; allow more with MaxSessions in sshd_config (10 by default)"}
	}
	if r.err != nil {
		return nil, r.err
	}
	c := &channel{Channel: r.channel, ended: make(chan struct{})}
	go c.listen(r.requests)
	// The shell's answer comes with its output; waiting for this one first would cost a round trip.
	go func() {
		ok, err := c.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{line}))
		if err == nil && !ok {
			c.Channel.Close()
		}
	}()
	return c, nil
}

// channel is a stream over SSH.
type channel struct {
	ssh.Channel
	once  sync.Once
	ended chan struct{}
	code  int // once ended is closed
	ok    bool
}

func (c *channel) listen(requests <-chan *ssh.Request) {
	for r := range requests {
		switch r.Type {
		case "exit-status":
			var status struct{ Code uint32 }
			if ssh.Unmarshal(r.Payload, &status) == nil {
				c.end(int(status.Code), true)
			}
		case "exit-signal":
			c.end(-1, true)
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
	}
	c.end(0, false)
}

func (c *channel) end(code int, ok bool) {
	c.once.Do(func() {
		c.code, c.ok = code, ok
		close(c.ended)
	})
}

// Stderr implements stream.
func (c *channel) Stderr() io.Reader { return c.Channel.Stderr() }

// Ended implements stream.
func (c *channel) Ended() (int, bool) {
	select {
	case <-c.ended:
		return c.code, c.ok
	case <-time.After(time.Second):
		return 0, false
	}
}

// dial connects to an address as the host sees it. The connection's deadlines work, which those of an
// SSH channel do not: it is one end of a pipe in memory.
func (s *sshConn) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if network != "tcp" {
		return nil, fmt.Errorf("dial %s %s: only tcp can be tunnelled", network, addr)
	}
	far, err := s.client.DialContext(ctx, network, addr)
	if err != nil {
		var refused *ssh.OpenChannelError
		if errors.As(err, &refused) {
			if refused.Reason == ssh.Prohibited {
				err = fmt.Errorf("the host's sshd forbids it (AllowTcpForwarding): %w", err)
			} else if strings.Contains(refused.Message, "refused") {
				err = syscall.ECONNREFUSED
			} else if refused.Reason == ssh.ConnectionFailed {
				err = errors.New(strings.ToLower(refused.Message)) // "No route to host" and the like
			}
		}
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	near, inner := net.Pipe()
	go func() {
		_, _ = io.CopyBuffer(onlyWriter{inner}, far, make([]byte, 16<<10))
		inner.Close()
	}()
	go func() {
		_, _ = io.CopyBuffer(onlyWriter{far}, inner, make([]byte, 16<<10))
		far.Close()
		inner.Close()
	}()
	return &tunnel{near, far.LocalAddr(), tunnelAddr(addr)}, nil
}

// onlyWriter keeps io.CopyBuffer to the buffer it was given.
type onlyWriter struct{ io.Writer }

// tunnel is a connection through a host.
type tunnel struct {
	net.Conn
	local  net.Addr
	remote net.Addr
}

type tunnelAddr string

func (tunnelAddr) Network() string  { return "tcp" }
func (a tunnelAddr) String() string { return string(a) }

// LocalAddr implements net.Conn.
func (t *tunnel) LocalAddr() net.Addr { return t.local }

// RemoteAddr implements net.Conn.
func (t *tunnel) RemoteAddr() net.Addr { return t.remote }

// passing says whether another attempt may help: the host was not there yet, or its sshd had too many
// connections that had not logged in (MaxStartups), which shows as an end in the version exchange.
func passing(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(err.Error(), "Exceeded MaxStartups")
}

// backOff waits longer each time, and never as long as another host does.
func backOff(ctx context.Context, attempt int) error {
	longest := 200 * time.Millisecond << min(attempt, 5)
	timer := time.NewTimer(longest/2 + rand.N(longest/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// dialHint says what to do about a failed login or connect.
func dialHint(err error, r *route) string {
	var hint *hintError
	var dns *net.DNSError
	switch {
	case errors.As(err, &hint):
		return hint.hint
	case strings.Contains(err.Error(), "unable to authenticate"):
		return fmt.Sprintf("is the key of %s allowed there? Try: ssh -p %d %s@%s; keys come from ansible_ssh_private_key_file, an agent and ~/.ssh", loginName(), r.port, r.user, r.host)
	case errors.As(err, &dns):
		return "set ansible_host to an address that the control node can resolve"
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("is sshd running there on port %d?", r.port)
	case passing(err):
		return "its sshd hangs up: it has too many connections that are logging in (MaxStartups), or does not want any from here"
	}
	return hostKeyHint(err, []string{filepath.Clean(r.knownHosts[0])})
}
