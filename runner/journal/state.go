package journal

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pegbook/pegbook/runner/event"
)

// State is where a run stands.
type State string

// States. A paused run waits for somebody, with its process or without. A crashed run is one whose process has ended
// without saying so: it was killed, or the machine went down.
const (
	Running     State = "running"
	Done        State = "done"
	Failed      State = "failed"
	Paused      State = "paused"
	Interrupted State = "interrupted"
	Crashed     State = "crashed"
)

// Wait is something that a live run waits for.
type Wait struct {
	// For says what it is.
	For WaitFor `json:"for"`
	// Task is the gate's; Lock is the lock.
	Task string `json:"task,omitempty"`
	Lock string `json:"lock,omitempty"`
	// Message is what the gate asks, By who has paused the run or has the lock.
	Message string `json:"message,omitempty"`
	By      string `json:"by,omitempty"`
	// GoOn is the command that ends the wait.
	GoOn  string    `json:"go_on,omitempty"`
	Since time.Time `json:"since"`
}

// WaitFor is a kind of Wait.
type WaitFor string

// What a run waits for: that somebody approves, that who has paused it lets it continue, that another run gives a lock
// back.
const (
	WaitGate     WaitFor = "gate"
	WaitContinue WaitFor = "continue"
	WaitLock     WaitFor = "lock"
)

func (r *Run) findState() error {
	var err error
	if r.Live, err = locked(filepath.Join(r.dir, lockFile)); err != nil {
		return err
	}
	if last := r.Last(); last.End != nil && !r.Live {
		r.State = stateOf(last.End.ExitCode)
		return nil
	}
	// Neither did the process say how it ended: the events may.
	r.State = Crashed
	if r.Live {
		r.State = Running
	}
	s := stateReader{r: r, since: r.Last().Started.Truncate(time.Millisecond)}
	_, err = scan(filepath.Join(r.dir, eventsFile), r.Run, nil, s.event)
	if r.Live && r.State == Running && slices.ContainsFunc(r.Waits, func(w Wait) bool { return w.For != WaitLock }) {
		r.State = Paused
	}
	return err
}

// locked says whether a process holds a run's lock.
func locked(path string) (bool, error) {
	f, err := openOwn(path, os.O_RDONLY) // a home that cannot be written to can be read
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // closing lets the lock go
	return held(f)
}

// stateReader finds a run's state in its events.
type stateReader struct {
	r     *Run
	since time.Time // the beginning of the session: what was before is over
}

func (s *stateReader) event(object []byte) error {
	if !marks(object) {
		return nil
	}
	rec, err := event.Parse(object)
	if err != nil || rec.Time.Before(s.since) {
		return err
	}
	r := s.r
	switch e := rec.Event.(type) {
	case event.RunDone:
		r.State, r.Waits = stateOf(e.ExitCode), nil
	case event.GateWaiting:
		s.wait(Wait{For: WaitGate, Task: e.Task, Message: e.Message, GoOn: e.Approve, Since: rec.Time})
	case event.GateAnswered:
		s.over(WaitGate, func(w Wait) bool { return w.Task == e.Task })
	case event.RunPaused:
		s.wait(Wait{For: WaitContinue, Message: e.Reason, By: e.By, GoOn: e.GoOn, Since: rec.Time})
	case event.RunContinued:
		s.over(WaitContinue, func(Wait) bool { return true })
	case event.Lock:
		s.over(WaitLock, func(w Wait) bool { return w.Lock == e.Lock })
		if e.State == event.LockAwaited {
			s.wait(Wait{For: WaitLock, Lock: e.Lock, By: e.Holder, Since: rec.Time})
		}
	}
	return nil
}

// wait notes what a live run waits for.
func (s *stateReader) wait(w Wait) {
	if s.r.Live {
		s.r.Waits = append(s.r.Waits, w)
	}
}

// over notes that a wait has ended.
func (s *stateReader) over(what WaitFor, same func(Wait) bool) {
	s.r.Waits = slices.DeleteFunc(s.r.Waits, func(w Wait) bool { return w.For == what && same(w) })
}

// marks says whether an event may be about how the run stands, without a look at the rest of it.
func marks(object []byte) bool {
	_, rest, _ := bytes.Cut(object[:min(len(object), 128)], []byte(`"event":"`))
	for _, word := range []string{"run_", "gate_", "lock\""} {
		if bytes.HasPrefix(rest, []byte(word)) {
			return true
		}
	}
	return false
}

func stateOf(code int) State {
	switch code {
	case 0:
		return Done
	case 5:
		return Paused
	case 130:
		return Interrupted
	}
	return Failed
}
