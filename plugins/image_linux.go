package plugins

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// image is a program as it was when its sum was taken: no later change of the file reaches it.
type image struct{ file *os.File }

// newImage keeps a program in sealed memory.
func newImage(name string, content []byte) (*image, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 there was no such flag, and every one was executable
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("memory to run %s from: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	_, err = file.Write(content)
	if err == nil {
		err = seal(file)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("memory to run %s from: %w", name, err)
	}
	return &image{file}, nil
}

// sealTries and sealPause bound how long the kernel may use the memory for itself.
const (
	sealTries = 100
	sealPause = 20 * time.Millisecond
)

// seal lets nobody write to a file in memory any more. The kernel refuses that while it holds a page for a moment
// itself, as it does when it moves memory about.
func seal(file *os.File) error {
	for n := 1; ; n++ {
		_, err := unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
		if !errors.Is(err, unix.EBUSY) || n == sealTries {
			return err
		}
		time.Sleep(sealPause)
	}
}

// path is what a child that has inherits as its first file executes.
func (i *image) path() string { return "/proc/self/fd/3" }

// inherits is the files that the child needs.
func (i *image) inherits() []*os.File { return []*os.File{i.file} }

func (i *image) close() error { return i.file.Close() }
