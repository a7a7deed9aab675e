package sshhost

import (
	"io"
	"net"
	"sync"
	"time"
)

// Fault is how a host misbehaves. The zero value is not at all.
type Fault struct {
	// Refuse resets every new connection.
	Refuse bool
	// Hang lets nothing through in either direction, on new and open connections, as when a cable is
	// pulled. What was sent meanwhile arrives once the fault is gone.
	Hang bool
	// Delay is added to what goes in each direction on connections made from now on.
	Delay time.Duration
}

// SetFault makes the host misbehave, or behave again.
func (h *Host) SetFault(f Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fault = f
	close(h.mend)
	h.mend = make(chan struct{})
}

// Cut breaks every open connection. New ones are accepted.
func (h *Host) Cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for nc := range h.conns {
		nc.Close()
	}
}

// link is a connection that stands still while its host hangs.
type link struct {
	net.Conn
	host   *Host
	once   sync.Once
	closed chan struct{}
}

func (l *link) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	l.wait() // behind the read: one that was waiting when the cable was pulled must not get through
	return n, err
}

func (l *link) Write(p []byte) (int, error) {
	l.wait()
	return l.Conn.Write(p)
}

func (l *link) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Conn.Close()
}

func (l *link) wait() {
	for {
		l.host.mu.Lock()
		hang, mend := l.host.fault.Hang, l.host.mend
		l.host.mu.Unlock()
		if !hang {
			return
		}
		select {
		case <-mend:
		case <-l.closed:
			return
		}
	}
}

// late is a connection whose bytes arrive later, in both directions, however many are on their way.
type late struct {
	net.Conn // the pipe's end that the server has
	raw      net.Conn
}

func delayed(nc net.Conn, by time.Duration) net.Conn {
	ours, theirs := net.Pipe()
	go delay(theirs, nc, by)
	go delay(nc, theirs, by)
	return &late{Conn: ours, raw: nc}
}

func (l *late) RemoteAddr() net.Addr { return l.raw.RemoteAddr() }
func (l *late) LocalAddr() net.Addr  { return l.raw.LocalAddr() }

// chunk is bytes and when they are to arrive.
type chunk struct {
	data []byte
	due  time.Time
}

// delay copies from src to dst until either ends, and closes both.
func delay(dst io.WriteCloser, src io.ReadCloser, by time.Duration) {
	defer src.Close()
	defer dst.Close()
	queue, ended := make(chan chunk, 1024), make(chan struct{})
	defer close(ended)
	go func() {
		defer close(queue)
		for {
			p := make([]byte, 32<<10)
			n, err := src.Read(p)
			if n > 0 {
				select {
				case queue <- chunk{p[:n], time.Now().Add(by)}:
				case <-ended:
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	for c := range queue {
		time.Sleep(time.Until(c.due))
		if _, err := dst.Write(c.data); err != nil {
			return
		}
	}
}
