package vars

import (
	"errors"
	"strings"

	"github.com/pegbook/pegbook/runner/diag"
)

// ErrUndefined is what an error about a variable or field that does not exist is.
var ErrUndefined = errors.New("undefined")

// ErrUnknown is what an error about a value that check mode cannot predict is.
var ErrUnknown = errors.New(unknownText)

// ErrCycle is what an error about a variable that is defined by itself is.
var ErrCycle = errors.New("defined by itself")

// Error says which expression failed, where it is written, and what to do. It may be ErrUndefined,
// ErrUnknown or ErrCycle for errors.Is.
type Error struct {
	diag.Diagnostic
	// Expression is the text of the action that failed.
	Expression string
	// Perhaps is set where Sample found the error in what may never be evaluated.
	Perhaps bool
	// Through names the variables whose own templates led there, outermost first.
	Through []string
	cause   error
}

// Error is one line: position, problem, how it was reached, hint in brackets.
func (e *Error) Error() string {
	d := e.Diagnostic
	d.Problem = e.Summary()
	return d.Error()
}

// Summary is the problem and how it was reached, without position and hint.
func (e *Error) Summary() string {
	if len(e.Through) == 0 {
		return e.Problem
	}
	return e.Problem + ", reached through " + strings.Join(e.Through, " → ")
}

// Unwrap gives ErrUndefined, ErrUnknown, or what a function answered.
func (e *Error) Unwrap() error { return e.cause }

// through adds the variable that was being resolved. A cycle names its variables itself.
func through(err error, name string) error {
	var e *Error
	if !errors.As(err, &e) || errors.Is(err, ErrCycle) {
		return err
	}
	c := *e
	c.Through = append([]string{name}, e.Through...)
	return &c
}
