// Package lock keeps two runs from working on one cluster at a time: in ZooKeeper, on a file of the control
// node, or on a managed host.
//
// Each time a lock is taken it gives a token that is larger than all before it. The token travels with what a
// run asks of hosts, which refuse older ones: so a run that does not know yet that it has lost its lock changes
// nothing (package connect).
package lock

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Lock is something that one run at a time holds.
type Lock interface {
	// Name is what people call it.
	Name() string
	// Key is the same for everybody who means the same lock; the tokens of one key grow.
	Key() string
	// Take takes the lock, or gives *HeldError when somebody else has it for longer than the wait.
	Take(ctx context.Context, who Holder, w Wait) (Held, error)
	// Ask says who has the lock.
	Ask(ctx context.Context) (State, error)
}

// Held is a lock that was taken.
type Held interface {
	Token() uint64
	// Ready says whether the lock is held at this moment. Where that is not known, as while the connection is
	// broken, it waits until it is. An error is *LostError, or ctx's cause.
	Ready(ctx context.Context) error
	// Lost is closed when the lock is held no longer; Err then says why.
	Lost() <-chan struct{}
	Err() error
	// Release gives the lock back.
	Release() error
}

// Wait is how long to wait for a lock that somebody else has. Told is called with who has it, at first and when that
// changes; nil is not.
type Wait struct {
	Limit time.Duration
	Told  func(State)
}

func (w Wait) tell(s State) {
	if w.Told != nil {
		w.Told(s)
	}
}

// State is who has a lock, and how many others wait for it (where that can be told).
type State struct {
	Held    bool
	Holder  Holder
	Waiting int
}

// Holder is who holds a lock.
type Holder struct {
	User     string    `json:"user"`
	Host     string    `json:"host"`
	PID      int       `json:"pid"`
	Run      string    `json:"run,omitempty"`
	Playbook string    `json:"playbook,omitempty"`
	Since    time.Time `json:"since"`
}

// String says it for people: alice@control1, pid 4711, run 20260101-100000-4711 of rolling-update.yml, since 10:00:00.
func (h Holder) String() string {
	if h.User == "" && h.Host == "" {
		return "somebody who does not say who"
	}
	text := fmt.Sprintf("%s@%s, pid %d", h.User, h.Host, h.PID)
	if h.Run != "" {
		text += ", run " + h.Run
	}
	if h.Playbook != "" {
		text += " of " + h.Playbook
	}
	if !h.Since.IsZero() {
		text += ", since " + h.Since.UTC().Format("2006-01-02 15:04:05") + " UTC"
	}
	return text
}

// Note is the holder on one line, ParseHolder reads it.
func (h Holder) Note() string {
	h.Playbook = short(h.Playbook, 1<<10)
	line, err := json.Marshal(h)
	if err != nil {
		return "{}" // a time beyond the year 9999
	}
	return string(line)
}

// ParseHolder reads what Note gives. The text may come from anybody: what cannot be shown is left out.
func ParseHolder(note string) Holder {
	var h Holder
	if json.Unmarshal([]byte(note), &h) != nil {
		return Holder{}
	}
	for _, text := range []*string{&h.User, &h.Host, &h.Run, &h.Playbook} {
		*text = short(strings.Map(func(r rune) rune {
			if unicode.IsPrint(r) {
				return r
			}
			return -1
		}, *text), 200)
	}
	return h
}

func short(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// HeldError is a lock that somebody else has.
type HeldError struct {
	Lock string
	State
}

// Error says who has it.
func (e *HeldError) Error() string {
	text := fmt.Sprintf("%s is held by %s", e.Lock, e.Holder)
	switch {
	case e.Waiting == 1:
		text += "; 1 other waits for it"
	case e.Waiting > 1:
		text += fmt.Sprintf("; %d others wait for it", e.Waiting)
	}
	return text
}

// LostError is a lock that is held no longer.
type LostError struct {
	Lock string
	Err  error
}

// Error says why.
func (e *LostError) Error() string { return fmt.Sprintf("%s is lost: %v", e.Lock, e.Err) }

// Unwrap gives the cause.
func (e *LostError) Unwrap() error { return e.Err }

// goneError is a cause that says for certain that a lock is held no longer; other errors of a check may pass.
type goneError struct{ err error }

func (e *goneError) Error() string { return e.err.Error() }
func (e *goneError) Unwrap() error { return e.err }

func gone(format string, args ...any) error { return &goneError{fmt.Errorf(format, args...)} }

// poll asks for a lock again and again, where nobody tells when it is free.
func poll(ctx context.Context, name string, w Wait, every time.Duration, try func() (Held, State, error)) (Held, error) {
	deadline := time.Now().Add(w.Limit)
	var last Holder
	for first := true; ; first = false {
		held, state, err := try()
		if err != nil || held != nil {
			return held, err
		}
		if w.Limit <= 0 || time.Now().After(deadline) {
			return nil, &HeldError{Lock: name, State: state}
		}
		if first || state.Holder != last {
			w.tell(state)
			last = state.Holder
		}
		if err := sleep(ctx, min(every, time.Until(deadline)+time.Millisecond)); err != nil {
			return nil, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var (
	_ error = (*HeldError)(nil)
	_ error = (*LostError)(nil)
)
