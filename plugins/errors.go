package plugins

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"syscall"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins/wire"
)

// kinds are the errors that keep their identity on the wire.
func kinds() []struct {
	kind wire.Error_Kind
	err  error
} {
	return []struct {
		kind wire.Error_Kind
		err  error
	}{
		{wire.Error_KIND_NOT_EXIST, fs.ErrNotExist},
		{wire.Error_KIND_EXIST, fs.ErrExist},
		{wire.Error_KIND_PERMISSION, fs.ErrPermission},
		{wire.Error_KIND_NO_SPACE, modules.ErrNoSpace},
		{wire.Error_KIND_UNPREDICTED, modules.ErrUnpredicted},
		{wire.Error_KIND_STARTED, modules.ErrStarted},
		{wire.Error_KIND_CANCELED, context.Canceled},
		{wire.Error_KIND_DEADLINE, context.DeadlineExceeded},
		{wire.Error_KIND_DEADLINE, os.ErrDeadlineExceeded},
		{wire.Error_KIND_CLOSED, net.ErrClosed},
		{wire.Error_KIND_END, io.EOF},
		{wire.Error_KIND_UNEXPECTED_END, io.ErrUnexpectedEOF},
		{wire.Error_KIND_REFUSED, syscall.ECONNREFUSED},
		{wire.Error_KIND_RESET, syscall.ECONNRESET},
		{wire.Error_KIND_BROKEN_PIPE, syscall.EPIPE},
	}
}

// told is an error of the other side: its text, and the errors that it wraps as far as they have a meaning here.
type told struct {
	text   string
	number uint64
	wraps  []error
}

func (e *told) Error() string   { return e.text }
func (e *told) Unwrap() []error { return e.wraps }

// Timeout makes it a net.Error where it is one of time that ran out.
func (e *told) Timeout() bool { return errors.Is(e, os.ErrDeadlineExceeded) }

// Temporary completes net.Error.
func (e *told) Temporary() bool { return e.Timeout() }

// problem puts an error on the wire, with its kinds and a number by which it may come back.
func (s *session) problem(err error) *wire.Error {
	if err == nil {
		return nil
	}
	e := errorToWire(err)
	var from *told
	if errors.As(err, &from) {
		e.Given = from.number
	}
	e.Number = s.keepError(err)
	return e
}

// errorToWire is an error with its kinds.
func errorToWire(err error) *wire.Error {
	e := &wire.Error{Message: printable(err.Error())}
	for _, k := range kinds() {
		if errors.Is(err, k.err) {
			e.Kinds = append(e.Kinds, k.kind)
		}
	}
	var exit *modules.ExitError
	if errors.As(err, &exit) {
		e.Exit = &wire.Error_Exit{Argv: allPrintable(exit.Argv), Output: outputToWire(exit.Output)}
	}
	var file *modules.FileError
	if errors.As(err, &file) {
		e.File = &wire.Error_FileError{Op: file.Op, Path: printable(file.Path), Text: printable(file.Text)}
	}
	var gone *modules.UnreachableError
	if errors.As(err, &gone) {
		e.Unreachable = &wire.Error_Unreachable{Host: gone.Host, Hint: printable(gone.Hint), Cause: printable(text(gone.Err))}
	}
	var arg *modules.ArgumentError
	if errors.As(err, &arg) {
		e.Argument = &wire.Error_Argument{Name: printable(arg.Arg), Problem: printable(arg.Problem), Hint: printable(arg.Hint)}
	}
	return e
}

// maxErrors is how many of the errors that were told are known again when they come back. One comes back soon or
// never, and a task may meet any number of them.
const maxErrors = 256

// numbered is an error that was told to the other side.
type numbered struct {
	number uint64
	err    error
}

// keepError gives an error a number.
func (s *session) keepError(err error) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := numbered{s.number(), err}
	if len(s.errors) < maxErrors {
		s.errors = append(s.errors, kept)
	} else {
		s.errors[s.oldest] = kept
		s.oldest = (s.oldest + 1) % maxErrors
	}
	return kept.number
}

// errorOf is the error of this side that has the number; nil where none has it any more.
func (s *session) errorOf(number uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.errors {
		if e.number == number {
			return e.err
		}
	}
	return nil
}

// errorFromWire is an error that the other side has told outside of a task.
func errorFromWire(e *wire.Error) error { return &told{text: e.Message, wraps: meanings(e)} }

// failure is an error that the other side has told. One of this side that comes back is itself again.
func (s *session) failure(e *wire.Error) error {
	ours := s.errorOf(e.Given)
	if ours != nil && printable(ours.Error()) == e.Message {
		return ours
	}
	err := &told{text: e.Message, number: e.Number, wraps: meanings(e)}
	if ours != nil {
		err.wraps = append([]error{ours}, err.wraps...)
	}
	return err
}

// meanings are the typed errors and kinds that an error of the wire carries.
func meanings(e *wire.Error) []error {
	var all, plain []error
	for _, known := range kinds() { // however often each is named
		if slices.Contains(e.Kinds, known.kind) {
			plain = append(plain, known.err)
		}
	}
	if x := e.Exit; x != nil {
		all = append(all, &modules.ExitError{Argv: x.Argv, Output: outputFromWire(x.Output)})
	}
	if x := e.Unreachable; x != nil {
		all = append(all, &modules.UnreachableError{Host: x.Host, Hint: x.Hint, Err: errors.New(x.Cause)})
	}
	if x := e.Argument; x != nil {
		all = append(all, &modules.ArgumentError{Arg: x.Name, Problem: x.Problem, Hint: x.Hint})
	}
	if x := e.File; x != nil {
		all = append(all, &modules.FileError{Op: x.Op, Path: x.Path, Text: x.Text, Kind: fileKind(plain)})
	}
	return append(all, plain...)
}

func fileKind(kinds []error) error {
	for _, known := range []error{fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, modules.ErrNoSpace} {
		if slices.Contains(kinds, known) {
			return known
		}
	}
	return nil
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
