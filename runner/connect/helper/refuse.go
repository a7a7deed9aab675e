package helper

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// refuse makes the answer for an operation on a path that failed. The text is the system's own, without
// the operation and path that Go puts before it.
func refuse(op, path string, err error) *wire.Error {
	var known *wire.Error
	if errors.As(err, &known) {
		return known
	}
	e := &wire.Error{Kind: wire.Failed, Op: op, Path: path, Text: err.Error()}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		e.Text = errno.Error()
		e.Kind = kindOf(errno)
		return e
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Kind = wire.NotExist
	case errors.Is(err, fs.ErrExist):
		e.Kind = wire.Exist
	case errors.Is(err, fs.ErrPermission):
		e.Kind = wire.Permission
	}
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		e.Text = pathError.Err.Error()
	}
	return e
}

func kindOf(errno syscall.Errno) wire.ErrorKind {
	switch errno {
	case syscall.ENOENT, syscall.ENOTDIR:
		return wire.NotExist
	case syscall.EEXIST:
		return wire.Exist
	case syscall.EACCES, syscall.EPERM, syscall.EROFS:
		return wire.Permission
	case syscall.ENOSPC, syscall.EDQUOT:
		return wire.NoSpace
	}
	return wire.Failed
}

func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ESRCH)
}
