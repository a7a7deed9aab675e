// Package sshhost is a simulated managed host: an SSH server of its own on a loopback address whose
// commands run on this machine, as the user who started it, with the host's own folder as their home.
// A playbook cannot tell it from a real host by what it needs: commands, files, and forwarded
// connections. It isolates nothing; it is for the lab and for tests.
//
// One key is let in, whatever user name the client gives. When a connection ends, so does every
// process that it had started in its session's process group. Processes that went into a session of
// their own, as daemons do, live on.
package sshhost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// handshakeWithin bounds how long a client may take to authenticate.
const handshakeWithin = 30 * time.Second

// Options describe a host.
type Options struct {
	// Addr is where to listen, ip:port; port 0 takes a free one. Forwarded connections leave from the ip.
	Addr string
	// Home is the folder of the host, absolute. It is made when missing, with tmp in it for TMPDIR.
	Home string
	// HostKey is the host's own key, ClientKey the one that is let in.
	HostKey, ClientKey Key
	// Env is added to the environment of commands, as KEY=value.
	Env []string
	// Log takes what happens, for developers; nil discards it.
	Log *slog.Logger
}

// Host is a listening host. It answers while Serve runs.
type Host struct {
	options  Options
	listener net.Listener
	config   *ssh.ServerConfig
	env      []string
	log      *slog.Logger
	wg       sync.WaitGroup

	mu    sync.Mutex // guards the rest
	conns map[net.Conn]bool
	fault Fault
	mend  chan struct{} // closed when the fault changes
}

// Listen makes the host's folder and starts listening. Nothing is answered before Serve.
func Listen(ctx context.Context, o Options) (*Host, error) {
	if !filepath.IsAbs(o.Home) {
		return nil, fmt.Errorf("the home %q of a simulated host must be an absolute path", o.Home)
	}
	if err := os.MkdirAll(filepath.Join(o.Home, "tmp"), 0o700); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Addr)
	if err != nil {
		return nil, err
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	h := &Host{
		options: o, listener: listener, log: log, env: environment(o),
		conns: map[net.Conn]bool{}, mend: make(chan struct{}),
	}
	h.config = &ssh.ServerConfig{
		MaxAuthTries:  -1, // an agent may offer any number of keys before ours
		ServerVersion: "SSH-2.0-pegbook_lab",
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if string(key.Marshal()) != string(o.ClientKey.signer.PublicKey().Marshal()) {
				return nil, errors.New("only the lab's own key is let in")
			}
			return nil, nil
		},
	}
	h.config.AddHostKey(o.HostKey.signer)
	return h, nil
}

// environment is what a command finds, as on a login to a host where nothing is set up.
func environment(o Options) []string {
	name := strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return append([]string{
		"HOME=" + o.Home, "TMPDIR=" + filepath.Join(o.Home, "tmp"), "USER=" + name, "LOGNAME=" + name, "SHELL=/bin/sh",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}, o.Env...)
}

// Addr is where the host listens.
func (h *Host) Addr() string { return h.listener.Addr().String() }

// Serve answers until ctx is done; then it ends every connection with its processes, and waits for them.
// It is called once.
func (h *Host) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		h.listener.Close()
		h.Cut()
	})
	defer stop()
	err := h.accept(ctx)
	cancel()
	h.wg.Wait()
	return err
}

func (h *Host) accept(ctx context.Context) error {
	for {
		nc, err := h.listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				nc.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept an SSH client: %w", err)
		}
		h.wg.Go(func() { h.serve(ctx, nc) })
	}
}

func (h *Host) serve(ctx context.Context, nc net.Conn) {
	nc, ok := h.enter(ctx, nc)
	if !ok {
		return
	}
	defer h.leave(nc)
	nc.SetDeadline(time.Now().Add(handshakeWithin)) //nolint:errcheck // the handshake fails then
	conn, channels, requests, err := ssh.NewServerConn(nc, h.config)
	if err != nil {
		h.log.Info("SSH client was not let in", "client", nc.RemoteAddr(), "err", err)
		return
	}
	defer conn.Close()
	nc.SetDeadline(time.Time{}) //nolint:errcheck // without it the connection ends, which is safe
	ctx, cancel := context.WithCancel(ctx)
	var channelsWG sync.WaitGroup
	defer channelsWG.Wait()
	defer cancel()
	// Refuses everything; a keepalive is answered by that.
	go ssh.DiscardRequests(requests)
	for ch := range channels {
		switch ch.ChannelType() {
		case "session":
			channelsWG.Go(func() { h.session(ctx, conn, ch) })
		case "direct-tcpip":
			channelsWG.Go(func() { h.forward(ctx, ch) })
		default:
			ch.Reject(ssh.UnknownChannelType, "a lab host has sessions and forwarded connections only") //nolint:errcheck // the connection ended
		}
	}
}

// enter counts a connection in, unless the host is to look dead.
func (h *Host) enter(ctx context.Context, nc net.Conn) (net.Conn, bool) {
	h.mu.Lock()
	fault := h.fault
	h.mu.Unlock()
	if fault.Refuse {
		if tcp, ok := nc.(*net.TCPConn); ok {
			tcp.SetLinger(0) //nolint:errcheck // then it closes politely
		}
		nc.Close()
		return nil, false
	}
	if fault.Delay > 0 {
		nc = delayed(nc, fault.Delay)
	}
	nc = &link{Conn: nc, host: h, closed: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil {
		nc.Close()
		return nil, false
	}
	h.conns[nc] = true
	return nc, true
}

func (h *Host) leave(nc net.Conn) {
	nc.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, nc)
}
