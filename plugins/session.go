package plugins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins/wire"
)

const (
	// maxMessage bounds a message of the wire; long content is read as a stream.
	maxMessage = 64 << 20
	// maxAtOnce is how many questions one side of a task may have open.
	maxAtOnce = 256
	// maxStreams is how many connections and contents one side of a task may have open.
	maxStreams = 1024
	// maxChunk is how much one question reads or writes.
	maxChunk = 256 << 10
)

// link is the stream of a task, seen from either side.
type link interface {
	Context() context.Context
	SendMsg(m any) error
	RecvMsg(m any) error
	Recv() (*wire.Frame, error)
}

// session is one side of a task's stream: it asks, answers, and keeps what the other side may name by number.
type session struct {
	link link
	// serve answers what only one of the sides is asked. It runs in a goroutine of its own.
	serve func(ctx context.Context, f *wire.Frame) *wire.Frame
	// note takes notes and progress, in order; nil: this side is told none.
	note func(f *wire.Frame)
	// names gives short content a number too, so that it is known again when it comes back.
	names bool
	// patience is how long a cancelled question is waited for.
	patience time.Duration

	sending  sync.Mutex // guards link.SendMsg
	handlers sync.WaitGroup
	over     chan struct{} // closed when the stream has ended
	answered atomic.Bool   // the other side has said something

	mu         sync.Mutex // guards what follows
	last       uint64
	waiting    map[uint64]chan *wire.Frame
	running    map[uint64]context.CancelFunc
	heard      time.Time // when the other side last said something
	contents   map[uint64]modules.Source
	found      []*wire.Content // those of contents that are files of the host, which are read once
	foundBytes int64
	streams    map[uint64]io.ReadWriteCloser
	errors     []numbered // the last that were told, from oldest on
	oldest     int
	ended      error
	owes       bool // the other side holds content that this one may still read
}

func newSession(l link) *session {
	return &session{
		link: l, over: make(chan struct{}), heard: time.Now(),
		waiting: map[uint64]chan *wire.Frame{}, running: map[uint64]context.CancelFunc{},
		contents: map[uint64]modules.Source{}, streams: map[uint64]io.ReadWriteCloser{},
	}
}

// listen takes what comes until the stream ends, and gives the reason of that.
func (s *session) listen() error {
	for {
		f, err := s.link.Recv()
		if err != nil {
			s.finish(err)
			return err
		}
		s.answered.Store(true)
		s.mu.Lock()
		s.heard = time.Now()
		s.mu.Unlock()
		s.take(f)
	}
}

// finish lets go of everything; whoever still waits gets err.
func (s *session) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return
	}
	s.ended = &brokenError{err}
	close(s.over)
	for _, cancel := range s.running {
		cancel()
	}
	for _, stream := range s.streams {
		stream.Close()
	}
}

// take deals with one frame.
func (s *session) take(f *wire.Frame) {
	switch body := f.Body.(type) {
	case nil: // of a later version of the wire
		s.reply(f.Id, failed(errors.New("this version of the wire does not know that question")))
	case *wire.Frame_Note, *wire.Frame_Progress:
		if s.note != nil {
			s.note(f)
		}
	case *wire.Frame_Cancel:
		s.mu.Lock()
		cancel := s.running[body.Cancel]
		s.mu.Unlock()
		if cancel != nil {
			cancel()
		}
	case *wire.Frame_Close:
		s.closeStream(body.Close)
	case *wire.Frame_Error, *wire.Frame_Proposed, *wire.Frame_Done, *wire.Frame_Files, *wire.Frame_Output, *wire.Frame_Stream,
		*wire.Frame_Value, *wire.Frame_Content, *wire.Frame_Folder, *wire.Frame_JobState, *wire.Frame_Data, *wire.Frame_Nothing:
		s.mu.Lock()
		answer := s.waiting[f.Id]
		delete(s.waiting, f.Id)
		s.mu.Unlock()
		if answer != nil {
			answer <- f
		}
	default:
		s.begin(f)
	}
}

// begin answers a question in a goroutine of its own.
func (s *session) begin(f *wire.Frame) {
	ctx, cancel := context.WithCancel(s.link.Context())
	s.mu.Lock()
	full, ended, twice := len(s.running) >= maxAtOnce, s.ended != nil, s.running[f.Id] != nil
	if !full && !ended && !twice {
		s.running[f.Id] = cancel
		s.handlers.Add(1)
	}
	s.mu.Unlock()
	if full || ended || twice {
		cancel()
		switch {
		case full:
			s.reply(f.Id, failed(fmt.Errorf("more than %d questions at a time", maxAtOnce)))
		case twice: // it would be counted once
			s.reply(f.Id, failed(fmt.Errorf("question %d is asked already", f.Id)))
		}
		return
	}
	go func() {
		defer s.handlers.Done()
		answer := s.answer(ctx, f)
		s.reply(f.Id, answer)
		// What a module has begun while proposing may go on until it has carried that out.
		if f.GetPropose() != nil && answer.GetError() == nil {
			return
		}
		cancel()
		s.mu.Lock()
		delete(s.running, f.Id)
		s.mu.Unlock()
	}()
}

// answer gives the answer to a question that either side may ask, or lets serve give it.
func (s *session) answer(ctx context.Context, f *wire.Frame) *wire.Frame {
	switch body := f.Body.(type) {
	case *wire.Frame_OpenContent:
		return s.openContent(body.OpenContent.Number)
	case *wire.Frame_Sum:
		return s.sumContent(body.Sum.Number)
	case *wire.Frame_Read:
		return s.readStream(body.Read)
	case *wire.Frame_Write:
		return s.writeStream(body.Write)
	}
	return s.serve(ctx, f)
}

// failed is the answer that a question cannot be answered.
func failed(err error) *wire.Frame {
	return &wire.Frame{Body: &wire.Frame_Error{Error: &wire.Error{Message: err.Error()}}}
}

// fails is the answer with an error in full.
func (s *session) fails(err error) *wire.Frame {
	return &wire.Frame{Body: &wire.Frame_Error{Error: s.problem(err)}}
}

func nothing() *wire.Frame {
	return &wire.Frame{Body: &wire.Frame_Nothing{Nothing: &wire.Nothing{}}}
}

// reply sends an answer. An answer that cannot be sent has nobody who waits for it: the stream has ended.
func (s *session) reply(id uint64, f *wire.Frame) {
	f.Id = id
	err := s.send(f)
	if errors.Is(err, errUntellable) {
		f = failed(err)
		f.Id = id
		err = s.send(f)
	}
	if err != nil {
		s.finish(err)
	}
}

// errUntellable is a frame that the wire does not carry. Nothing of it was sent.
var errUntellable = errors.New("cannot be told across the wire of plugins")

// send sends a frame. It is put into bytes first: gRPC ends the stream with a frame that it cannot send.
func (s *session) send(f *wire.Frame) error {
	if size := proto.Size(f); size > maxMessage {
		return fmt.Errorf("%d bytes at once %w: the most is %d", size, errUntellable, maxMessage)
	}
	var raw grpc.PreparedMsg
	if err := raw.Encode(s.link, f); err != nil {
		return fmt.Errorf("a name or text that is not UTF-8 %w (%w)", errUntellable, err)
	}
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.link.SendMsg(&raw)
}

// ask asks the other side. An Error for an answer is returned as an error. Where ctx ends first, the other side is
// told and has a little time left to answer.
func (s *session) ask(ctx context.Context, f *wire.Frame) (*wire.Frame, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	answer, err := s.put(f)
	if err != nil {
		return nil, err
	}
	select {
	case f = <-answer:
		return s.unpack(f)
	case <-s.over:
		return nil, s.why()
	case <-ctx.Done():
	}
	if err := s.send(&wire.Frame{Body: &wire.Frame_Cancel{Cancel: f.Id}}); err != nil {
		return nil, context.Cause(ctx)
	}
	late := time.NewTimer(s.patience)
	defer late.Stop()
	select {
	case f = <-answer:
		if f.GetError() == nil {
			return f, nil
		}
	case <-s.over:
	case <-late.C:
	}
	return nil, context.Cause(ctx)
}

// put sends a question and gives where its answer will come.
func (s *session) put(f *wire.Frame) (chan *wire.Frame, error) {
	answer := make(chan *wire.Frame, 1)
	s.mu.Lock()
	s.last++
	f.Id = s.last
	s.waiting[f.Id] = answer
	s.mu.Unlock()
	switch err := s.send(f); {
	case errors.Is(err, errUntellable):
		s.mu.Lock()
		delete(s.waiting, f.Id)
		s.mu.Unlock()
		return nil, err
	case err != nil:
		// The stream has ended; the reason is told to whoever listens.
		select {
		case <-s.over:
		case <-time.After(s.patience):
			s.finish(err)
		}
		return nil, s.why()
	}
	return answer, nil
}

func (s *session) unpack(f *wire.Frame) (*wire.Frame, error) {
	if e := f.GetError(); e != nil {
		return nil, s.failure(e)
	}
	return f, nil
}

// why is the reason that the stream ended.
func (s *session) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil {
		return errNonsense
	}
	return s.ended
}

// silent is how long the other side has said nothing while it was not waiting for an answer itself.
func (s *session) silent() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.running) > 0 {
		return 0
	}
	return time.Since(s.heard)
}

// brokenError is a stream that ended while somebody waited for an answer.
type brokenError struct{ cause error }

func (e *brokenError) Error() string {
	return "the connection to the other side has ended: " + e.cause.Error()
}
func (e *brokenError) Unwrap() error { return e.cause }

// errNonsense is an answer that is none to the question.
var errNonsense = errors.New("the answer does not fit the question")

// number keeps something under a new number. The caller holds mu.
func (s *session) number() uint64 {
	s.last++
	return s.last
}
