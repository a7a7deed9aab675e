package connect

import (
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"syscall"
	"time"
)

func localDial(ctx context.Context, network, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, addr)
}

// localOpen starts a command line on the control node: how local tasks become another user.
func localOpen(_ context.Context, line string) (stream, error) {
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p := &process{ended: make(chan struct{})}
	var err error
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p.out, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if p.err, err = cmd.StderrPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		// Not cmd.Wait: it would close the pipes under their readers.
		state, err := cmd.Process.Wait()
		if err == nil {
			p.code = state.ExitCode()
		}
		close(p.ended)
	}()
	return p, nil
}

// process is a stream to a child of ours.
type process struct {
	in       io.WriteCloser
	out, err io.ReadCloser
	ended    chan struct{}
	code     int // once ended is closed
}

// Read implements stream.
func (p *process) Read(b []byte) (int, error) { return p.out.Read(b) }

// Write implements stream.
func (p *process) Write(b []byte) (int, error) { return p.in.Write(b) }

// Stderr implements stream.
func (p *process) Stderr() io.Reader { return p.err }

// Ended implements stream.
func (p *process) Ended() (int, bool) {
	select {
	case <-p.ended:
		return p.code, true
	case <-time.After(time.Second):
		return 0, false
	}
}

// Close implements stream. The program ends with its input; its output is not read any more.
func (p *process) Close() error { return errors.Join(p.in.Close(), p.out.Close(), p.err.Close()) }
