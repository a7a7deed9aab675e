package connect

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// cancelWait is how long a cancelled request may take to end what it was doing on the host.
const cancelWait = 5 * time.Second

var (
	errClosed = errors.New("the connection was closed")
	errAnswer = errors.New("the answer is longer than what was asked for")
	errSilent = errors.New("the host no longer answers")
)

// mux carries requests to one helper side by side. It is safe for concurrent use. Once broken it stays
// broken, and every request, in flight or new, gets the reason.
type mux struct {
	w     io.Writer
	stop  func()
	trips *atomic.Int64
	heard atomic.Int64 // when the last frame came, in nanoseconds since 1970

	// writing is a lock that a cancelled request need not wait for.
	writing chan struct{}

	mu     sync.Mutex // guards the rest
	next   uint32
	calls  map[uint32]*call
	broken error
	timer  *time.Timer
}

// call is a request in flight.
type call struct {
	id     uint32
	limit  int
	answer []byte
	err    error
	done   chan struct{}
	credit chan int
	from   chan int64 // where the helper wants the next content that resumes to go on
}

// upload is content that a request streams. If it resumes the helper says from where on.
type upload struct {
	size    int64
	open    func() (io.ReadCloser, error)
	resumes bool
}

// newMux takes over a helper that has said hello. stop is called once, when the mux breaks.
func newMux(r *bufio.Reader, w io.Writer, trips *atomic.Int64, stop func()) *mux {
	m := &mux{w: w, stop: stop, trips: trips, writing: make(chan struct{}, 1), calls: map[uint32]*call{}}
	m.heard.Store(time.Now().UnixNano())
	go m.read(r)
	return m
}

// also has more done when the mux breaks, or at once where it has.
func (m *mux) also(stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		stop()
		return
	}
	before := m.stop
	m.stop = func() { before(); stop() }
}

// keepAlive pings the helper, and breaks the mux when three pings in a row found no answer.
func (m *mux) keepAlive(every time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return
	}
	m.timer = time.AfterFunc(every, func() {
		if time.Since(time.Unix(0, m.heard.Load())) > 3*every {
			m.fail(errSilent)
			return
		}
		m.mu.Lock()
		m.timer.Reset(every)
		m.mu.Unlock()
		select {
		case m.writing <- struct{}{}:
			_, _ = m.w.Write(wire.Finish(wire.Begin(0), wire.Ping, 0))
			<-m.writing
		default: // whoever is writing shows the helper that we live
		}
	})
}

func (m *mux) read(r *bufio.Reader) {
	for {
		f, err := wire.Read(r, wire.MaxPart)
		if err == nil {
			m.heard.Store(time.Now().UnixNano())
			err = m.take(f)
		}
		if err != nil {
			m.fail(err)
			return
		}
	}
}

func (m *mux) take(f wire.Frame) error {
	if f.Kind == wire.Ping {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.calls[f.ID]
	if c == nil {
		return nil // given up on
	}
	switch f.Kind {
	case wire.Credit:
		n, err := wire.ParseCredit(f.Payload)
		if err != nil {
			return err
		}
		select {
		case c.credit <- n:
			return nil
		default:
			return wire.ErrFrame
		}
	case wire.From:
		n, err := wire.ParseFrom(f.Payload)
		if err != nil {
			return err
		}
		select {
		case c.from <- n:
			return nil
		default:
			return wire.ErrFrame
		}
	case wire.Part, wire.Done:
		if len(c.answer)+len(f.Payload) > c.limit {
			return errAnswer
		}
		if c.answer == nil {
			c.answer = f.Payload
		} else {
			c.answer = append(c.answer, f.Payload...)
		}
		if f.Kind == wire.Done {
			delete(m.calls, f.ID)
			close(c.done)
		}
		return nil
	}
	return wire.ErrFrame
}

// fail breaks the mux; the first reason stands.
func (m *mux) fail(err error) {
	if errors.Is(err, io.EOF) {
		err = errors.New("the helper on the host ended")
	}
	m.mu.Lock()
	if m.broken != nil {
		m.mu.Unlock()
		return
	}
	m.broken = err
	for _, c := range m.calls {
		c.err = err
		close(c.done)
	}
	m.calls = nil
	if m.timer != nil {
		m.timer.Stop()
	}
	stop := m.stop
	m.mu.Unlock()
	stop()
}

// alive says whether the mux still takes requests.
func (m *mux) alive() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.broken == nil
}

// brokenError is that the connection is gone, told from what a request itself got wrong.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// call sends a request, which has room for a frame's header before it, and waits for the answer, which
// may have limit bytes. When ctx ends, what the request started on the host has ended before call
// returns, or cancelWait is over.
func (m *mux) call(ctx context.Context, request []byte, body []upload, limit int) ([]byte, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if len(request)-wire.HeaderLen > wire.MaxRequest {
		return nil, fmt.Errorf("a request of %d bytes is more than the helper takes", len(request))
	}
	c, err := m.add(limit)
	if err != nil {
		return nil, &brokenError{err}
	}
	m.trips.Add(1)
	if err := m.write(ctx, wire.Finish(request, wire.Request, c.id)); err != nil {
		return nil, m.drop(ctx, c, err)
	}
	pumped := make(chan error, 1)
	if len(body) > 0 {
		go func() { pumped <- m.pump(context.WithoutCancel(ctx), c, body) }()
	}
	for {
		select {
		case <-c.done:
			if c.err != nil {
				return nil, &brokenError{c.err}
			}
			return c.answer, nil
		case err := <-pumped:
			if err != nil {
				m.cancel(ctx, c)
				return nil, err
			}
			pumped = nil
		case <-ctx.Done():
			m.cancel(ctx, c)
			return nil, context.Cause(ctx)
		}
	}
}

func (m *mux) add(limit int) (*call, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return nil, m.broken
	}
	for m.next++; m.next == 0 || m.calls[m.next] != nil; m.next++ {
	}
	// Credit comes in quarters of the window, so no more than a few can be waiting.
	c := &call{id: m.next, limit: limit, done: make(chan struct{}), credit: make(chan int, 16), from: make(chan int64, 2)}
	m.calls[c.id] = c
	return c, nil
}

// write sends one frame whole.
func (m *mux) write(ctx context.Context, frame []byte) error {
	select {
	case m.writing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	_, err := m.w.Write(frame)
	<-m.writing
	if err != nil {
		m.fail(err)
		return &brokenError{err}
	}
	return nil
}

func (m *mux) drop(ctx context.Context, c *call, err error) error {
	m.mu.Lock()
	delete(m.calls, c.id)
	m.mu.Unlock()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// cancel ends a request on the host and waits until it has ended.
func (m *mux) cancel(ctx context.Context, c *call) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelWait)
	defer stop()
	if err := m.write(ctx, wire.Finish(wire.Begin(0), wire.Cancel, c.id)); err == nil {
		select {
		case <-c.done:
		case <-ctx.Done():
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calls[c.id] == c { // no answer came in time: what pumps content for the request ends, too
		delete(m.calls, c.id)
		c.err = context.Cause(ctx)
		close(c.done)
	}
}

// pump streams the content of a request within the credit that the helper gives, until the request is
// answered.
func (m *mux) pump(ctx context.Context, c *call, body []upload) error {
	credit := wire.Window
	frame := make([]byte, wire.HeaderLen+wire.ChunkLen)
	for _, u := range body {
		if err := m.pumpOne(ctx, c, u, frame, &credit); err != nil {
			return err
		}
	}
	return nil
}

// pumpOne streams one content: all of it, or what the helper wants.
func (m *mux) pumpOne(ctx context.Context, c *call, u upload, frame []byte, credit *int) error {
	if !u.resumes {
		return m.pumpFrom(ctx, c, u, 0, frame, credit)
	}
	// What the helper has from before may turn out to be damaged, but not twice.
	for range 3 {
		select {
		case from := <-c.from:
			if from == u.size {
				return nil
			}
			if err := m.pumpFrom(ctx, c, u, from, frame, credit); err != nil {
				return err
			}
		case <-c.done:
			return nil // answered early: it was refused
		}
	}
	m.fail(wire.ErrFrame)
	return nil
}

func (m *mux) pumpFrom(ctx context.Context, c *call, u upload, from int64, frame []byte, credit *int) (err error) {
	if from > u.size {
		m.fail(wire.ErrFrame)
		return nil
	}
	content, err := u.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	if file, ok := content.(io.Seeker); ok {
		_, err = file.Seek(from, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, content, from)
	}
	if err != nil {
		return err
	}
	return m.pumpBytes(ctx, c, content, u.size-from, frame, credit)
}

func (m *mux) pumpBytes(ctx context.Context, c *call, from io.Reader, left int64, frame []byte, credit *int) error {
	for left > 0 {
		for *credit < wire.ChunkLen {
			select {
			case n := <-c.credit:
				*credit += n
			case <-c.done:
				return nil // answered early: it was refused
			}
		}
		select {
		case <-c.done:
			return nil
		default:
		}
		n := int(min(left, wire.ChunkLen))
		if _, err := io.ReadFull(from, frame[wire.HeaderLen:wire.HeaderLen+n]); err != nil {
			return fmt.Errorf("the content ended %d bytes early: %w", left, err)
		}
		if err := m.write(ctx, wire.Finish(frame[:wire.HeaderLen+n], wire.Data, c.id)); err != nil {
			return err
		}
		left -= int64(n)
		*credit -= n
	}
	return nil
}
