package lock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/pegbook/pegbook/runner/connect/helper/hold"
)

const (
	// fileEvery is how often it is looked whether a lock's file is still there, filePatience how long that
	// may fail, and fileRetry how often a lock that is waited for is tried.
	fileEvery    = 2 * time.Second
	filePatience = 30 * time.Second
	fileRetry    = 200 * time.Millisecond
)

// File is a lock on a file of the control node.
type File struct {
	// Path is absolute. What is missing is made, for the user alone; a file that several users are to lock is
	// made for them beforehand.
	Path string
}

var _ Lock = (*File)(nil)

// Name implements Lock.
func (f *File) Name() string { return "the lock on file " + f.Path }

// Key implements Lock.
func (f *File) Key() string { return "file:" + f.Path }

// Take implements Lock.
func (f *File) Take(ctx context.Context, who Holder, w Wait) (Held, error) {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return poll(ctx, f.Name(), w, fileRetry, func() (Held, State, error) {
		h, err := hold.Try(f.Path, who.Note())
		var busy *hold.BusyError
		switch {
		case errors.As(err, &busy):
			return nil, State{Held: true, Holder: ParseHolder(busy.Note)}, nil
		case errors.Is(err, fs.ErrPermission):
			return nil, State{}, fmt.Errorf("%s: %w; where several users lock a file, make it for a group of theirs and let the group write it", f.Name(), err)
		case err != nil:
			return nil, State{}, fmt.Errorf("%s: %w", f.Name(), err)
		}
		k := &kept{name: f.Name(), token: h.Token, every: fileEvery, patience: filePatience, release: h.Release,
			check: func(context.Context) error {
				err := h.Check()
				if errors.Is(err, hold.ErrTaken) {
					return &goneError{err}
				}
				return err
			}}
		return k.keep(ctx), State{}, nil
	})
}

// Ask implements Lock.
func (f *File) Ask(context.Context) (State, error) {
	note, held, err := hold.Ask(f.Path)
	if err != nil || !held {
		return State{}, err
	}
	return State{Held: true, Holder: ParseHolder(note)}, nil
}
