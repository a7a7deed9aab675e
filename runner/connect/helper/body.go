package helper

import (
	"errors"
	"io"
	"sync"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// creditStep is how much has been used up before the control node is told that it may send more.
const creditStep = wire.Window / 4

// errBodyEnded is content that will not come: the request was cancelled.
var errBodyEnded = errors.New("the content was cut off")

// body is the content that a request streams. It holds no more than the window: whoever sends more
// than was granted breaks the connection.
type body struct {
	credit func(n int)
	from   func(n int64) // tells the control node where a content that resumes goes on
	// fencing is what locks the request is made under; nil for none.
	fencing *wire.Fencing

	mu    sync.Mutex // guards the rest
	came  *sync.Cond
	queue [][]byte
	held  int
	used  int
	ended bool
}

func newBody(credit func(int), from func(int64)) *body {
	b := &body{credit: credit, from: from}
	b.came = sync.NewCond(&b.mu)
	return b
}

// add takes a piece from the connection. It never waits.
func (b *body) add(piece []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended || len(piece) == 0 {
		return nil
	}
	if b.held+len(piece) > wire.Window || len(b.queue) > wire.Window/1024 {
		return wire.ErrFrame
	}
	b.held += len(piece)
	b.queue = append(b.queue, piece)
	b.came.Signal()
	return nil
}

// end wakes the reader; nothing more is taken or given.
func (b *body) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended, b.queue, b.held = true, nil, 0
	b.came.Broadcast()
}

// next waits for a piece of at most limit bytes.
func (b *body) next(limit int64) ([]byte, error) {
	b.mu.Lock()
	for len(b.queue) == 0 && !b.ended {
		b.came.Wait()
	}
	if b.ended {
		b.mu.Unlock()
		return nil, errBodyEnded
	}
	piece := b.queue[0]
	if int64(len(piece)) > limit {
		piece, b.queue[0] = piece[:limit], piece[limit:]
	} else {
		b.queue = b.queue[1:]
	}
	b.held -= len(piece)
	b.used += len(piece)
	grant := 0
	if b.used >= creditStep {
		grant, b.used = b.used, 0
	}
	b.mu.Unlock()
	if grant > 0 {
		b.credit(grant)
	}
	return piece, nil
}

// reader gives exactly n bytes of the content.
func (b *body) reader(n int64) io.Reader { return &bodyReader{body: b, left: n} }

type bodyReader struct {
	body *body
	left int64
	rest []byte
}

// Read implements io.Reader.
func (r *bodyReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.left == 0 {
			return 0, io.EOF
		}
		piece, err := r.body.next(r.left)
		if err != nil {
			return 0, err
		}
		r.rest = piece
		r.left -= int64(len(piece))
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: pieces go to the file as they came, without another copy.
func (r *bodyReader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for r.left > 0 || len(r.rest) > 0 {
		if len(r.rest) == 0 {
			piece, err := r.body.next(r.left)
			if err != nil {
				return total, err
			}
			r.rest = piece
			r.left -= int64(len(piece))
		}
		n, err := w.Write(r.rest)
		total += int64(n)
		r.rest = nil
		if err != nil {
			return total, err
		}
	}
	return total, nil
}
