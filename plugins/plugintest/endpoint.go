package plugintest

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// endpoint is a server of this machine to which parts are led in place of those that their options name.
type endpoint struct {
	address string
	close   func()
	// delay is how long each answer takes.
	delay time.Duration

	mu      sync.Mutex // guards what follows
	heard   []heard
	open    int
	touched chan struct{} // closed with the first connection
}

// heard is a request.
type heard struct {
	text string
	at   time.Time // when it was answered
}

func listen(t *trial) (net.Listener, *endpoint) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("%v", err)
	}
	e := &endpoint{address: l.Addr().String(), touched: make(chan struct{})}
	e.close = func() { _ = l.Close() } // nobody asks it any more
	t.cleanup(func() { e.close() })
	return l, e
}

// answering is an HTTP server that takes everything.
func answering(t *trial, delay time.Duration) *endpoint {
	l, e := listen(t)
	e.delay = delay
	s := &http.Server{Handler: e, ReadHeaderTimeout: answerLimit}
	e.close = func() { _ = s.Close() }
	go func() { _ = s.Serve(l) }() // ends with Close
	return e
}

// ServeHTTP notes a request.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	const most = 1 << 20
	body, err := io.ReadAll(io.LimitReader(q.Body, most))
	if err != nil {
		return
	}
	time.Sleep(e.delay)
	var head strings.Builder
	_ = q.Header.Write(&head) // to memory
	e.mu.Lock()
	e.heard = append(e.heard, heard{q.URL.String() + "\n" + head.String() + string(body), time.Now()})
	e.mu.Unlock()
	w.WriteHeader(http.StatusOK)
}

// requests are those so far.
func (e *endpoint) requests() []heard {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]heard(nil), e.heard...)
}

// refusing is an address where nobody listens, nor will: its port is taken.
func refusing(t *trial) *endpoint {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.cleanup(func() { _ = syscall.Close(fd) }) // nothing was written to it
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatalf("%v", err)
	}
	at, err := syscall.Getsockname(fd)
	local, ok := at.(*syscall.SockaddrInet4)
	if err != nil || !ok {
		t.Fatalf("the address of a socket: %v", err)
	}
	return &endpoint{address: net.JoinHostPort("127.0.0.1", strconv.Itoa(local.Port))}
}

// hanging is a server that takes connections and never says anything.
func hanging(t *trial) *endpoint {
	l, e := listen(t)
	var touched sync.Once
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			e.mu.Lock()
			e.open++
			e.mu.Unlock()
			go func() {
				// What has connected may wait for a word of the server, or is still about to say its own.
				_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
				_, _ = c.Read(make([]byte, 1))
				_ = c.SetReadDeadline(time.Time{})
				touched.Do(func() { close(e.touched) })
				_, _ = io.Copy(io.Discard, c) // until the other side lets go
				_ = c.Close()
				e.mu.Lock()
				e.open--
				e.mu.Unlock()
			}()
		}
	}()
	return e
}

// letGo waits until nobody holds a connection any more. False: somebody still does.
func (e *endpoint) letGo(within time.Duration) bool {
	for end := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		e.mu.Lock()
		open := e.open
		e.mu.Unlock()
		if open == 0 || time.Now().After(end) {
			return open == 0
		}
	}
}
