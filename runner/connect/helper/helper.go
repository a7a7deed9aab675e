// Package helper is the program that pegbook keeps on a managed host while it works there: it reads
// and changes files and runs commands as framed requests on its input ask for (package wire). It is not
// a shell and not a daemon: it decides nothing, keeps no state between requests but the locks that it was asked to
// hold, and ends with its input, taking these and every command that is still running with it. Only what a request detached stays, and jobs:
// commands that are meant to go on without a connection, and to be found again.
//
// It imports the standard library alone, and of that little: its size is sent to every new host. It
// runs on Linux.
//
// # Design
//
// Every command gets a session of its own (setsid). Ending a command ends its session, found through
// /proc, so that process groups made inside it (timeout, job control) end too, and a process that made
// itself a session has left on purpose. What kills the helper itself cannot be answered by the helper: a
// command has asked the kernel to be killed with it, and once one has run for more than a moment there is
// a guard, a small shell process which ends the sessions that were running when the helper is gone.
package helper

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// maxActive bounds the requests that run at a time; one more is refused.
const maxActive = 1024

// maxAnswer bounds one answer, however much a request asks for.
const maxAnswer = 128 << 20

// Serve answers requests from in on out until in ends, nothing has come for silence (0: for ever), or
// ctx is done. It returns when everything it had started has ended; the error says what broke, nil is
// an end of the input between two frames.
func Serve(ctx context.Context, in io.Reader, out io.Writer, silence time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &server{out: out, active: map[uint32]*request{}, names: &names{}, guard: &guard{}, holds: &holds{}}
	frames := make(chan error, 1)
	heard := make(chan struct{}, 1)
	go func() { frames <- s.read(ctx, in, heard) }()
	err := waitSilent(ctx, frames, heard, silence)
	cancel()
	s.running.Wait()
	s.guard.close()
	s.holds.end()
	return err
}

// waitSilent returns when the reader has ended or nothing has been heard for too long. A control node
// that lost its network says no goodbye, and TCP alone notices after hours.
func waitSilent(ctx context.Context, frames <-chan error, heard <-chan struct{}, silence time.Duration) error {
	var after <-chan time.Time
	timer := time.NewTimer(max(silence, time.Second))
	defer timer.Stop()
	if silence > 0 {
		after = timer.C
	}
	for {
		select {
		case err := <-frames:
			return err
		case <-heard:
			if silence > 0 {
				timer.Reset(silence)
			}
		case <-after:
			return errors.New("the control node fell silent")
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

type server struct {
	names   *names
	guard   *guard
	holds   *holds
	running sync.WaitGroup

	writing sync.Mutex // guards out: one frame at a time
	out     io.Writer

	mu     sync.Mutex // guards active
	active map[uint32]*request
}

// request is one that is being answered.
type request struct {
	id     uint32
	cancel context.CancelFunc
	body   *body
}

func (s *server) read(ctx context.Context, in io.Reader, heard chan<- struct{}) error {
	r := bufio.NewReaderSize(in, wire.ChunkLen)
	// Telling the watchdog of every frame would wake it as often; once a second is enough.
	var told time.Time
	for {
		f, err := wire.Read(r, wire.MaxRequest)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if now := time.Now(); now.Sub(told) > time.Second {
			told = now
			select {
			case heard <- struct{}{}:
			default:
			}
		}
		if err := s.take(ctx, f); err != nil {
			return err
		}
	}
}

// take handles one frame. It never waits for anything, so that Cancel is always heard.
func (s *server) take(ctx context.Context, f wire.Frame) error {
	switch f.Kind {
	case wire.Request:
		s.start(ctx, f)
	case wire.Data:
		// Data of a request that has ended was on its way already.
		if r := s.find(f.ID); r != nil {
			return r.body.add(f.Payload)
		}
	case wire.Cancel:
		if r := s.find(f.ID); r != nil {
			r.cancel()
		}
	case wire.Ping:
		s.send(wire.Finish(wire.Begin(0), wire.Ping, 0))
	default:
		return wire.ErrFrame
	}
	return nil
}

func (s *server) find(id uint32) *request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active[id]
}

func (s *server) start(ctx context.Context, f wire.Frame) {
	ctx, cancel := context.WithCancel(ctx)
	r := &request{id: f.ID, cancel: cancel}
	r.body = newBody(func(n int) { s.credit(f.ID, n) }, func(n int64) { s.from(f.ID, n) })
	s.mu.Lock()
	_, twice := s.active[f.ID]
	full := len(s.active) >= maxActive
	if !twice && !full {
		s.active[f.ID] = r
	}
	s.mu.Unlock()
	if twice || full {
		cancel()
		s.answer(f.ID, wire.AppendError(wire.Begin(64), protocol("more requests at a time than the helper takes")))
		return
	}
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		stop := context.AfterFunc(ctx, r.body.end)
		message := s.do(ctx, r, f.Payload)
		stop()
		r.body.end()
		cancel()
		s.mu.Lock()
		delete(s.active, f.ID)
		s.mu.Unlock()
		s.answer(f.ID, message)
	}()
}

// do carries a request out and gives its answer, with room for a frame's header before it.
func (s *server) do(ctx context.Context, r *request, payload []byte) []byte {
	answer, refusal := s.unfence(ctx, r, payload)
	if refusal == nil {
		return answer
	}
	if ctx.Err() != nil {
		refusal.Kind = wire.Canceled
	}
	return wire.AppendError(wire.Begin(64), refusal)
}

// unfence carries a request out, within the fences that it came in, if any.
func (s *server) unfence(ctx context.Context, r *request, payload []byte) ([]byte, *wire.Error) {
	if len(payload) == 0 || wire.Op(payload[0]) != wire.Fenced {
		return s.carryOut(ctx, r, payload)
	}
	fencing, inner, err := wire.ParseFenced(payload[1:])
	if err != nil {
		return nil, protocol("a broken fence")
	}
	release, refusal := s.fenced(ctx, fencing)
	if refusal != nil {
		return nil, refusal
	}
	defer release()
	r.body.fencing = fencing
	return s.carryOut(ctx, r, inner)
}

// carryOut carries a request out that stands in no fence of its own.
func (s *server) carryOut(ctx context.Context, r *request, payload []byte) ([]byte, *wire.Error) {
	if len(payload) == 0 {
		return nil, protocol("empty request")
	}
	switch op, message := wire.Op(payload[0]), payload[1:]; op {
	case wire.Nothing:
		return wire.AppendDone(wire.Begin(1)), nil
	case wire.Look:
		return reply(message, wire.ParseLook, wire.AppendFiles, func(queries []wire.Query) ([]wire.File, *wire.Error) {
			return s.look(ctx, queries)
		})
	case wire.Apply:
		return reply(message, wire.ParseApply, done, func(changes []wire.Change) (struct{}, *wire.Error) {
			return struct{}{}, s.apply(ctx, changes, r.body)
		})
	case wire.Run:
		return reply(message, wire.ParseRun, wire.AppendOutput, func(c *wire.Command) (*wire.Output, *wire.Error) {
			return s.run(ctx, c, r.body)
		})
	case wire.Job:
		return reply(message, wire.ParseJob, wire.AppendJobState, func(j *wire.JobRequest) (*wire.JobState, *wire.Error) {
			return s.job(ctx, j)
		})
	case wire.FenceOp:
		return fenceAnswer(r.body.fencing)
	case wire.KeptFolder:
		return reply(message, wire.ParseKeptFolder, wire.AppendFolder, func(base string) (*wire.Folder, *wire.Error) {
			dir, err := keptFolder(base)
			if err != nil {
				return nil, refuse("keep", dir, err)
			}
			return &wire.Folder{Path: dir, UID: os.Getuid()}, nil
		})
	case wire.Hold:
		return reply(message, wire.ParseHold, wire.AppendHoldState, s.hold)
	default:
		return nil, protocol("unknown operation")
	}
}

// reply reads a request, has it done and writes what came of it.
func reply[Request, Result any](message []byte, parse func([]byte) (Request, error), write func([]byte, Result) []byte,
	act func(Request) (Result, *wire.Error)) ([]byte, *wire.Error) {
	request, err := parse(message)
	if err != nil {
		return nil, protocol(err.Error())
	}
	result, refusal := act(request)
	if refusal != nil {
		return nil, refusal
	}
	return write(wire.Begin(256), result), nil
}

// done is the answer to a request that has nothing to tell but that it was done.
func done(b []byte, _ struct{}) []byte { return wire.AppendDone(b) }

// fenceAnswer tells where the fences of the user's requests are kept.
func fenceAnswer(f *wire.Fencing) ([]byte, *wire.Error) {
	if f == nil {
		return nil, protocol("nothing to ask for")
	}
	dir, err := fenceFolder(f.Base)
	if err != nil {
		return nil, refuse("fence", dir, err)
	}
	return wire.AppendFolder(wire.Begin(128), &wire.Folder{Path: dir, UID: os.Getuid()}), nil
}

func protocol(text string) *wire.Error {
	return &wire.Error{Kind: wire.Protocol, Op: "request", Text: text}
}

// answer sends a message, which has room for a header before it, in as many frames as it needs.
func (s *server) answer(id uint32, message []byte) {
	for len(message)-wire.HeaderLen > wire.MaxPart {
		s.send(wire.Finish(message[:wire.HeaderLen+wire.MaxPart], wire.Part, id))
		// The header of the next piece takes the place of bytes that are already sent.
		message = message[wire.MaxPart:]
	}
	s.send(wire.Finish(message, wire.Done, id))
}

func (s *server) credit(id uint32, n int) {
	s.send(wire.Finish(wire.AppendCredit(wire.Begin(8), n), wire.Credit, id))
}

func (s *server) from(id uint32, n int64) {
	s.send(wire.Finish(wire.AppendFrom(wire.Begin(10), n), wire.From, id))
}

// send writes one frame. A write that fails means that nobody reads any more; the input ends too then.
func (s *server) send(frame []byte) {
	s.writing.Lock()
	defer s.writing.Unlock()
	_, _ = s.out.Write(frame)
}
