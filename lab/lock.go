package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// lockWithin is how long Up and Down wait for another one at work in the same folder.
const lockWithin = 20 * time.Second

// lock keeps others from starting or removing the lab in dir until the function it gives is called.
func lock(ctx context.Context, dir string) (func(), error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lockWithin, fmt.Errorf("another pegbook lab command is at work in %s", dir))
	defer cancel()
	for {
		f, err := os.Open(dir)
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && same(f, dir) {
			return func() { f.Close() }, nil
		}
		f.Close()
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// same is whether the folder that was locked is still the one at dir: whoever held the lock before may
// have removed it.
func same(f *os.File, dir string) bool {
	have, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(dir)
	return !errors.Is(err, fs.ErrNotExist) && err == nil && os.SameFile(have, now)
}
