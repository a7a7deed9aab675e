package helper

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"time"
	"unsafe"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// pipes are a command's three streams. One thread follows its outputs with poll(2): goroutines with a
// network poller between them, as os/exec has them, would double what a short command costs.
type pipes struct {
	stdin  *os.File // our end; nil where the command has an empty input
	child  [3]int   // their ends, -1 once closed
	outs   [2]int   // our ends of stdout and stderr, -1 once at their end
	kept   [2]ends
	buffer []byte
}

func openPipes(c *wire.Command) (*pipes, error) {
	limit := c.MaxOutput
	if limit <= 0 {
		limit = defaultOutput
	}
	limit = min(limit, maxOutput)
	p := &pipes{child: [3]int{-1, -1, -1}, outs: [2]int{-1, -1}, kept: [2]ends{{limit: limit}, {limit: limit}}}
	err := p.openStdin(len(c.Stdin) == 0 && !c.Streamed)
	for i := 0; i < 2 && err == nil; i++ {
		var ends [2]int
		if err = syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err == nil {
			p.outs[i], p.child[1+i] = ends[0], ends[1]
			err = syscall.SetNonblock(ends[0], true)
		}
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *pipes) openStdin(empty bool) (err error) {
	if empty {
		p.child[0], err = syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		return err
	}
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return err
	}
	p.child[0] = ends[0]
	if err := syscall.SetNonblock(ends[1], true); err != nil {
		return errors.Join(err, syscall.Close(ends[1]))
	}
	p.stdin = os.NewFile(uintptr(ends[1]), "stdin")
	return nil
}

func (p *pipes) theirs() []uintptr {
	return []uintptr{uintptr(p.child[0]), uintptr(p.child[1]), uintptr(p.child[2])}
}

func (p *pipes) closeTheirs() {
	for i, fd := range p.child {
		if fd >= 0 {
			_ = syscall.Close(fd)
			p.child[i] = -1
		}
	}
}

func (p *pipes) close() {
	p.closeTheirs()
	if p.stdin != nil {
		p.stdin.Close()
	}
	for i := range p.outs {
		p.closeOut(i)
	}
}

func (p *pipes) closeOut(i int) {
	if p.outs[i] >= 0 {
		_ = syscall.Close(p.outs[i])
		p.outs[i] = -1
	}
}

// feed gives the command its input, until it ends; it may end without reading it.
func (p *pipes) feed(c *wire.Command, b *body) {
	if p.stdin == nil {
		return
	}
	go func() {
		if c.Streamed {
			_, _ = io.Copy(p.stdin, b.reader(c.Stream))
		} else {
			_, _ = p.stdin.Write(c.Stdin)
		}
		p.stdin.Close()
	}()
}

// follow reads the outputs (whose end is, as a rule, how a command's own end shows) until the command has ended and they have, or until it has ended and a moment
// has passed: a process that it left behind may hold them open for ever. Of a cancelled command that
// cannot be killed it waits no longer than its grace.
func (p *pipes) follow(ctx context.Context, pid int) (syscall.WaitStatus, error) {
	p.buffer = make([]byte, 4<<10)
	var status syscall.WaitStatus
	err := errRunning
	var until time.Time // zero: for ever
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		open := p.outs[0] >= 0 || p.outs[1] >= 0
		if errors.Is(err, errRunning) {
			if !open && ctx.Err() == nil {
				// Nothing is left to read: it is ending this very moment, or has become silent.
				return wait(pid, 0)
			}
			if status, err = wait(pid, syscall.WNOHANG); err == nil {
				until = time.Now().Add(lingering)
			}
		}
		late := !until.IsZero() && time.Now().After(until)
		if !errors.Is(err, errRunning) && (!open || late) || late {
			return status, err
		}
		if until.IsZero() && ctx.Err() != nil {
			until = time.Now().Add(3 * grace)
		}
		if err := p.poll(pause); err != nil {
			return status, err
		}
	}
}

// pollFD is struct pollfd.
type pollFD struct {
	fd      int32
	events  int16
	revents int16
}

const pollIn = 1

// poll waits for output, no longer than d, and takes what there is.
func (p *pipes) poll(d time.Duration) error {
	fds := [2]pollFD{{fd: int32(p.outs[0]), events: pollIn}, {fd: int32(p.outs[1]), events: pollIn}}
	timeout := syscall.NsecToTimespec(d.Nanoseconds())
	_, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&fds)), 2, uintptr(unsafe.Pointer(&timeout)), 0, 0, 0)
	if errno != 0 && errno != syscall.EINTR {
		return errno
	}
	for i := range fds {
		if errno == 0 && fds[i].revents != 0 {
			p.take(i)
		}
	}
	return nil
}

// take reads what one output has, and closes it at its end.
func (p *pipes) take(i int) {
	for {
		n, err := syscall.Read(p.outs[i], p.buffer)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if errors.Is(err, syscall.EAGAIN) {
			return
		}
		if n <= 0 {
			p.closeOut(i)
			return
		}
		p.kept[i].write(p.buffer[:n])
		if n < len(p.buffer) {
			return
		}
		if len(p.buffer) < 64<<10 {
			p.buffer = make([]byte, 64<<10)
		}
	}
}
