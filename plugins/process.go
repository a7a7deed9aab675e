package plugins

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/pegbook/pegbook/plugins/wire"
)

const (
	// cookie tells a plugin that it was started by pegbook and not by a person.
	cookie      = "PEGBOOK_PLUGIN"
	cookieValue = "this process is a plugin of pegbook"
	// service is the name of what a plugin serves, in go-plugin's terms.
	service = "pegbook"
	// Version is that of the wire. Plugins of another one are refused.
	Version = 1
	// Minor counts what has been added to the wire within the version; docs/plugins.md says what.
	Minor = 1
	// heartbeat is how long nothing may come from a plugin with a task before it is asked whether it lives (gRPC takes
	// no less), pulse how long it may take to answer that.
	heartbeat = 10 * time.Second
	pulse     = 5 * time.Second
	// farewell is how long a plugin that is no longer needed has to end by itself.
	farewell = 300 * time.Millisecond
	// window is how much may be on its way before the other side takes it. Said beforehand, gRPC does not find it out by
	// pings, which cost a fifth of a task that has little to say.
	window = 1 << 20
	// maxGreeting bounds the first line of a plugin's output.
	maxGreeting = 16 << 10
)

// process is a running plugin.
type process struct {
	wire.PluginClient
	plugin  *goplugin.Client
	launch  *launch     // nil: it is this process
	sockets string      // the folder of its socket
	close   func()      // where launch is nil
	served  atomic.Bool // it has answered a task
}

// startProcess starts a plugin and connects to it.
func startProcess(ctx context.Context, im *image, name string, env []string, limit time.Duration) (*process, error) {
	certificate, err := newCertificate()
	if err != nil {
		return nil, err
	}
	sockets, err := socketFolder()
	if err != nil {
		return nil, err
	}
	l := &launch{image: im, name: name, env: append(env, "PLUGIN_CLIENT_CERT="+string(certificate.pem)), mark: "PLUGIN_UNIX_SOCKET_DIR=" + sockets,
		exited: make(chan struct{})}
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{ProtocolVersion: Version, MagicCookieKey: cookie, MagicCookieValue: cookieValue},
		Plugins:          goplugin.PluginSet{service: &gate{}},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		RunnerFunc:       l.prepare,
		TLSConfig:        certificate.config,
		SkipHostEnv:      true,
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: sockets},
		StartTimeout:     limit,
		SyncStdout:       &l.print, SyncStderr: &l.words,
		Logger: hclog.NewNullLogger(),
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithDisableRetry(), grpc.WithIdleTimeout(0), grpc.WithDisableServiceConfig(),
			grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: heartbeat, Timeout: pulse}),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		},
	})
	p := &process{plugin: client, launch: l, sockets: sockets}
	defer context.AfterFunc(ctx, l.giveUp)()
	if err := p.connect(limit); err != nil {
		p.stop()
		return nil, &startError{err, l.said()}
	}
	return p, nil
}

// startError is a plugin that could not be started, and what it wrote meanwhile.
type startError struct {
	error
	output string
}

func (e *startError) Unwrap() error { return e.error }

func (p *process) connect(limit time.Duration) error {
	if _, err := p.plugin.Start(); err != nil {
		return p.launch.greetingProblem(err, limit)
	}
	protocol, err := p.plugin.Client()
	if err != nil {
		return err
	}
	client, err := protocol.Dispense(service)
	if err != nil {
		return err
	}
	p.PluginClient = client.(wire.PluginClient)
	return nil
}

// dead says whether the process has ended.
func (p *process) dead() bool {
	if p.launch == nil {
		return false
	}
	select {
	case <-p.launch.exited:
		return true
	default:
		return false
	}
}

// stop ends the process and everything that it has started, and waits for that.
func (p *process) stop() {
	if p.launch == nil {
		p.close()
		return
	}
	p.launch.end()
	p.plugin.Kill()
	_ = os.RemoveAll(p.sockets) // what is left of it is swept by the next pegbook
}

// gate makes go-plugin speak the wire.
type gate struct {
	goplugin.NetRPCUnsupportedPlugin
	server wire.PluginServer
}

// GRPCServer serves the wire in the plugin's process.
func (g *gate) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	wire.RegisterPluginServer(s, g.server)
	return nil
}

// GRPCClient speaks the wire in pegbook's.
func (g *gate) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return wire.NewPluginClient(c), nil
}

// certificate is that of one side of the connection to one plugin process.
type certificate struct {
	pem, der []byte
	config   *tls.Config
}

// newCertificate makes what go-plugin's automatic TLS makes, with a key of a kind that is quick (go-plugin's P-521 takes
// a good part of a plugin's start) and that every TLS library knows (BoringSSL, so Python's grpcio, refuses P-521).
func newCertificate() (*certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "localhost", Organization: []string{"pegbook"}}, DNSNames: []string{"localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
		SerialNumber: serial, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &certificate{
		der: der, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		config: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12, ServerName: "localhost",
			// Until the plugin has told its certificate nothing is trusted: a plugin without one is refused.
			RootCAs: x509.NewCertPool()},
	}, nil
}

// launch starts a plugin for go-plugin and keeps what it says.
type launch struct {
	image *image
	name  string
	env   []string
	mark  string // what the environment of its children holds and that of nobody else
	words tail   // of its standard error
	print tail   // of its standard output

	cmd      *exec.Cmd
	started  time.Time
	input    *os.File // the plugin ends when this is closed
	greeting *io.PipeReader
	ending   sync.Once
	exited   chan struct{}
	how      string // how it ended, once exited is closed

	mu      sync.Mutex // guards what follows
	hello   string     // its first line
	running bool
	given   bool // up
}

var _ runner.Runner = (*launch)(nil)

// prepare is go-plugin's way to have a plugin started.
func (l *launch) prepare(_ hclog.Logger, spec *exec.Cmd, _ string) (runner.Runner, error) {
	l.cmd = &exec.Cmd{Path: l.image.path(), Args: []string{l.name}, Env: append(spec.Env, l.env...), Dir: "/",
		ExtraFiles: l.image.inherits(), SysProcAttr: ownGroup()}
	return l, nil
}

// Start starts the process.
func (l *launch) Start(context.Context) error {
	stdin, input, err := os.Pipe()
	if err != nil {
		return err
	}
	stdout, outside, err := os.Pipe()
	if err != nil {
		return errors.Join(err, stdin.Close(), input.Close())
	}
	stderr, complaints, err := os.Pipe()
	if err != nil {
		return errors.Join(err, stdin.Close(), input.Close(), stdout.Close(), outside.Close())
	}
	l.cmd.Stdin, l.cmd.Stdout, l.cmd.Stderr, l.input = stdin, outside, complaints, input
	l.started = time.Now()
	closeOnExec()
	err = l.cmd.Start()
	if err == nil {
		keepCoresOff(l.cmd.Process.Pid)
		watchOver(l.cmd.Process.Pid, l.mark, stdin)
	}
	outside.Close()
	complaints.Close()
	if err != nil {
		return errors.Join(fmt.Errorf("cannot be started: %w", err), stdin.Close(), input.Close(), stdout.Close(), stderr.Close())
	}
	l.mu.Lock()
	l.running = true
	if l.given {
		l.killGroup()
	}
	l.mu.Unlock()
	greeting, to := io.Pipe()
	l.greeting = greeting
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(&l.words, stderr) }) // ends with the pipe
	reading.Go(func() { l.listen(stdout, to) })
	read := make(chan struct{})
	go func() {
		reading.Wait()
		close(read)
	}()
	go l.await(read, stdout, stderr)
	return nil
}

// listen passes the first line of the output on and keeps the end of the rest.
func (l *launch) listen(stdout io.Reader, to *io.PipeWriter) {
	r := bufio.NewReaderSize(stdout, maxGreeting)
	line, err := r.ReadSlice('\n')
	l.mu.Lock()
	l.hello = string(bytes.TrimSpace(line))
	l.mu.Unlock()
	if err == nil {
		_, err = to.Write(line)
	}
	to.CloseWithError(err)
	_, _ = io.Copy(&l.print, r) // ends with the pipe
}

// said is the end of what the plugin has written: what it complained of, else what it printed.
func (l *launch) said() string { return cmp.Or(l.words.text(), l.print.text()) }

// lastWordsLimit is how long is waited for what an ended process has written, where somebody else still holds its pipes.
const lastWordsLimit = 500 * time.Millisecond

// await waits for the end of the process and takes what it has started with it. read is closed when all is read that it
// has written.
func (l *launch) await(read <-chan struct{}, outputs ...*os.File) {
	err := l.cmd.Wait()
	l.how = "it ended by itself"
	if err != nil {
		l.how = err.Error()
	}
	l.killGroup()
	killMarked(l.mark)
	select {
	case <-read:
	case <-time.After(lastWordsLimit):
	}
	for _, f := range outputs {
		f.Close()
	}
	close(l.exited)
}

func (l *launch) killGroup() { _ = syscall.Kill(-l.cmd.Process.Pid, syscall.SIGKILL) } // no such group: it is gone

// giveUp ends a process that is not waited for any more.
func (l *launch) giveUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.given = true
	if l.running {
		l.killGroup()
	}
}

// end ends the process: with its input closed it should end by itself.
func (l *launch) end() {
	if l.cmd == nil || l.cmd.Process == nil {
		return
	}
	l.ending.Do(func() {
		l.input.Close()
		select {
		case <-l.exited:
		case <-time.After(farewell):
			l.killGroup()
		}
	})
	<-l.exited
}

// Wait implements runner.Runner.
func (l *launch) Wait(context.Context) error {
	<-l.exited
	return nil
}

// Kill implements runner.Runner.
func (l *launch) Kill(context.Context) error {
	l.end()
	return nil
}

// Stdout gives go-plugin the first line.
func (l *launch) Stdout() io.ReadCloser { return l.greeting }

// Stderr gives go-plugin nothing: it is kept here.
func (l *launch) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name implements runner.Runner.
func (l *launch) Name() string { return l.name }

// ID is the process id.
func (l *launch) ID() string {
	if l.cmd == nil || l.cmd.Process == nil {
		return "" // it could not be started
	}
	return strconv.Itoa(l.cmd.Process.Pid)
}

// Diagnose implements runner.Runner; what there is to say greetingProblem says.
func (l *launch) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.Runner: both sides see the same addresses. Only sockets of the file system are
// taken: nobody but this user can connect to these.
func (l *launch) PluginToHost(network, address string) (string, string, error) {
	if network != "unix" {
		return "", "", fmt.Errorf("listens on %s %s and not on a Unix socket", network, address)
	}
	return network, address, nil
}

// HostToPlugin implements runner.Runner.
func (l *launch) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// greetingProblem says why a plugin could not be started.
func (l *launch) greetingProblem(err error, limit time.Duration) error {
	if l.cmd == nil || l.cmd.Process == nil {
		return err
	}
	l.mu.Lock()
	hello := l.hello
	l.mu.Unlock()
	fields := strings.Split(hello, "|")
	switch {
	case hello == "" && time.Since(l.started) >= limit:
		return fmt.Errorf("has not begun to serve within %s", limit)
	case hello == "":
		<-l.exited // go-plugin has ended it, or it had ended
		return fmt.Errorf("ended before it had begun to serve (%s)", l.how)
	case len(fields) < 5:
		return fmt.Errorf("answers nonsense instead of a plugin's first line: %.80q", hello)
	case fields[1] != strconv.Itoa(Version):
		return fmt.Errorf("speaks version %s of the plugin protocol; this pegbook speaks version %d: build it against the pegbook that is used", fields[1], Version)
	}
	return err
}
