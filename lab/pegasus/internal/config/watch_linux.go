package config

import (
	"context"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// watch calls look after each change of the folder that the control file is or
// will be in. An error, or the folder's end, says that it cannot, or no longer.
func watch(ctx context.Context, path string, look func()) error {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return err
	}
	events := os.NewFile(uintptr(fd), "inotify") // non-blocking, so closing it ends a read
	defer events.Close()
	const changes = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_CREATE | unix.IN_DELETE |
		unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), changes); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { events.Close() })()
	buf := make([]byte, 4096)
	for ctx.Err() == nil {
		look() // also the first time: it may have changed before the watch was there
		if _, err := events.Read(buf); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return err
		}
	}
	return ctx.Err()
}
