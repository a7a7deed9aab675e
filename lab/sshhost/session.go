package sshhost

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// endWithin is how long a command whose channel has closed may take to end by itself: it gets the end
// of its input first, then SIGHUP, then SIGKILL, each after this time.
const endWithin = time.Second

// session serves one channel: some settings, then one command.
func (h *Host) session(ctx context.Context, conn *ssh.ServerConn, offer ssh.NewChannel) {
	ch, requests, err := offer.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	env := slices.Concat(h.env, []string{"SSH_CONNECTION=" + sshConnection(conn)})
	for r := range requests {
		switch r.Type {
		case "env":
			var pair struct{ Name, Value string }
			ok := ssh.Unmarshal(r.Payload, &pair) == nil && (pair.Name == "LANG" || strings.HasPrefix(pair.Name, "LC_"))
			if ok {
				env = append(env, pair.Name+"="+pair.Value)
			}
			reply(r, ok)
		case "exec":
			var line struct{ Command string }
			if ssh.Unmarshal(r.Payload, &line) != nil {
				reply(r, false)
				return
			}
			h.run(ctx, ch, r, requests, env, "-c", line.Command)
			return
		case "shell":
			h.run(ctx, ch, r, requests, env)
			return
		default:
			reply(r, false)
		}
	}
}

func reply(r *ssh.Request, ok bool) {
	if r.WantReply {
		r.Reply(ok, nil) //nolint:errcheck // the connection ended
	}
}

func sshConnection(conn *ssh.ServerConn) string {
	fields := make([]string, 0, 4)
	for _, addr := range []net.Addr{conn.RemoteAddr(), conn.LocalAddr()} {
		host, port, _ := net.SplitHostPort(addr.String())
		fields = append(fields, host, port)
	}
	return strings.Join(fields, " ")
}

// run runs /bin/sh with the arguments and tells the client how it ended.
func (h *Host) run(ctx context.Context, ch ssh.Channel, start *ssh.Request, requests <-chan *ssh.Request, env []string, args ...string) {
	p, err := h.start(env, args)
	reply(start, err == nil)
	if err != nil {
		h.log.Error("start a command", "err", err)
		return
	}
	// The channel's requests end when the channel or its connection does.
	gone, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for r := range requests {
			reply(r, p.request(r))
		}
	}()
	go func() {
		defer close(done)
		p.pipe(ch)
	}()
	select {
	case <-done:
	case <-gone:
		p.end(done)
	case <-ctx.Done():
		p.end(done)
	}
	p.report(ch)
}

// process is a running command with its ends of the pipes.
type process struct {
	cmd                   *exec.Cmd
	stdin, stdout, stderr *os.File
}

func (h *Host) start(env, args []string) (*process, error) {
	cmd := exec.Command("/bin/sh", args...)
	cmd.Dir, cmd.Env = h.options.Home, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var pipes [3][2]*os.File
	defer func() {
		// The command has its own copies of the ends that were for it.
		closeAll(pipes[0][0], pipes[1][1], pipes[2][1])
	}()
	for i := range pipes {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(pipes[0][1], pipes[1][0], pipes[2][0])
			return nil, err
		}
		pipes[i] = [2]*os.File{r, w}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = pipes[0][0], pipes[1][1], pipes[2][1]
	if err := cmd.Start(); err != nil {
		closeAll(pipes[0][1], pipes[1][0], pipes[2][0])
		return nil, err
	}
	return &process{cmd, pipes[0][1], pipes[1][0], pipes[2][0]}, nil
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// pipe carries input and output until the command has ended and all its output is sent.
func (p *process) pipe(ch ssh.Channel) {
	go func() {
		io.Copy(p.stdin, ch) //nolint:errcheck // either side may stop early
		p.stdin.Close()
	}()
	var output sync.WaitGroup
	output.Go(func() { p.send(ch, p.stdout) })
	output.Go(func() { p.send(ch.Stderr(), p.stderr) })
	p.cmd.Wait() //nolint:errcheck // report tells
	output.Wait()
	p.stdin.Close()
}

func (p *process) send(w io.Writer, from *os.File) {
	io.Copy(w, from) //nolint:errcheck // the client may go first
	from.Close()     // a command that goes on writing learns that nobody reads
}

// request carries out a request of a running session; the only one with a meaning is a signal.
func (p *process) request(r *ssh.Request) bool {
	var signal struct{ Name string }
	if r.Type != "signal" || ssh.Unmarshal(r.Payload, &signal) != nil {
		return false
	}
	for number, name := range signals() {
		if name == signal.Name {
			return syscall.Kill(-p.cmd.Process.Pid, number) == nil
		}
	}
	return false
}

// end makes the command end, and with it all of its process group.
func (p *process) end(done <-chan struct{}) {
	closeAll(p.stdin, p.stdout, p.stderr)
	group := -p.cmd.Process.Pid
	for _, signal := range []syscall.Signal{0, syscall.SIGHUP, syscall.SIGKILL} {
		if signal != 0 {
			syscall.Kill(group, signal) //nolint:errcheck // it may have ended
		}
		select {
		case <-done:
			// Whatever of the group outlived its leader.
			syscall.Kill(group, syscall.SIGKILL) //nolint:errcheck // usually nothing did
			return
		case <-time.After(endWithin):
		}
	}
	<-done
}

// report tells the client how the command ended.
func (p *process) report(ch ssh.Channel) {
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok {
		return
	}
	ch.CloseWrite() //nolint:errcheck // the connection ended
	if status.Signaled() {
		ch.SendRequest("exit-signal", false, ssh.Marshal(struct { //nolint:errcheck // the connection ended
			Name     string
			Core     bool
			Message  string
			Language string
		}{signalName(status.Signal()), status.CoreDump(), status.Signal().String(), ""}))
		return
	}
	ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(status.ExitStatus())})) //nolint:errcheck // the connection ended
}

// signals are the names that RFC 4254 §6.10 gives them.
func signals() map[syscall.Signal]string {
	return map[syscall.Signal]string{
		syscall.SIGABRT: "ABRT", syscall.SIGALRM: "ALRM", syscall.SIGFPE: "FPE", syscall.SIGHUP: "HUP",
		syscall.SIGILL: "ILL", syscall.SIGINT: "INT", syscall.SIGKILL: "KILL", syscall.SIGPIPE: "PIPE",
		syscall.SIGQUIT: "QUIT", syscall.SIGSEGV: "SEGV", syscall.SIGTERM: "TERM", syscall.SIGUSR1: "USR1", syscall.SIGUSR2: "USR2",
	}
}

func signalName(s syscall.Signal) string {
	if name, ok := signals()[s]; ok {
		return name
	}
	return strconv.Itoa(int(s)) + "@pegbook"
}

// forward connects a channel with an address as seen from the host.
func (h *Host) forward(ctx context.Context, offer ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(offer.ExtraData(), &to); err != nil {
		offer.Reject(ssh.ConnectionFailed, "malformed request") //nolint:errcheck // the connection ended
		return
	}
	dialer := net.Dialer{Timeout: 10 * time.Second}
	if tcp, ok := h.listener.Addr().(*net.TCPAddr); ok {
		dialer.LocalAddr = &net.TCPAddr{IP: tcp.IP}
	}
	nc, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))))
	if err != nil {
		offer.Reject(ssh.ConnectionFailed, err.Error()) //nolint:errcheck // the connection ended
		return
	}
	defer nc.Close()
	ch, requests, err := offer.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	go ssh.DiscardRequests(requests)
	stop := context.AfterFunc(ctx, func() { nc.Close(); ch.Close() })
	defer stop()
	var up sync.WaitGroup
	up.Go(func() {
		io.Copy(nc, ch) //nolint:errcheck // either side may stop early
		if tcp, ok := nc.(*net.TCPConn); ok {
			tcp.CloseWrite() //nolint:errcheck // the other side ended
		}
	})
	io.Copy(ch, nc) //nolint:errcheck // either side may stop early
	ch.CloseWrite() //nolint:errcheck // the connection ended
	up.Wait()
}
