package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/pegbook/pegbook/runner"
)

// A running run listens on a socket in its folder, so that another terminal of the same user can steer it. The folder
// and the socket are closed to others, and the kernel says who is at the other end. One line of JSON asks, one
// answers.

// controlRequest is what another terminal asks.
type controlRequest struct {
	Do   string `json:"do"` // pause, continue, approve, abort
	Gate string `json:"gate,omitempty"`
	Now  bool   `json:"now,omitempty"` // of abort
}

// controlReply is the answer.
type controlReply struct {
	Text  string `json:"text,omitempty"`
	Error string `json:"error,omitempty"`
}

// abort is a run told to end, as an interrupt does.
type abort struct {
	by  string
	now bool
	// soft asks that the run ends, and no more than that however often.
	soft bool
}

const (
	controlName     = "control"
	controlPatience = 10 * time.Second
	controlPlaces   = 8 // questions at a time
)

// control is a run's end of the socket.
type control struct {
	listener *net.UnixListener
	commands chan runner.Command
	aborts   chan abort
	tell     func(format string, args ...any)
	end      context.CancelFunc
	all      sync.WaitGroup
}

// newControl lets the run in a folder be steered until it is closed.
func newControl(ctx context.Context, dir string, tell func(format string, args ...any)) (*control, error) {
	path := filepath.Join(dir, controlName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // of a run that was killed: whoever holds the folder is alone
		return nil, err
	}
	address, done, err := socketAddress(path)
	if err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", address)
	done()
	if err != nil {
		return nil, fmt.Errorf("listen for pegbook runs: %w", err)
	}
	l.SetUnlinkOnClose(false) // its name may be another than the file's
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	ctx, end := context.WithCancel(ctx)
	c := &control{listener: l, commands: make(chan runner.Command), aborts: make(chan abort), tell: tell, end: end}
	c.all.Go(func() { c.serve(ctx) })
	c.all.Go(func() {
		<-ctx.Done()
		_ = l.Close()       // there is nobody to tell
		_ = os.Remove(path) // the next one removes it, too
	})
	return c, nil
}

func (c *control) close() {
	c.end()
	c.all.Wait()
}

func (c *control) serve(ctx context.Context) {
	places := make(chan struct{}, controlPlaces)
	for {
		conn, err := c.listener.AcceptUnix()
		if err != nil {
			return
		}
		places <- struct{}{}
		c.all.Go(func() {
			defer func() { <-places; _ = conn.Close() }()
			c.talk(ctx, conn)
		})
	}
}

// talk answers one question.
func (c *control) talk(ctx context.Context, conn *net.UnixConn) {
	ctx, stop := context.WithTimeout(ctx, controlPatience)
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(controlPatience + time.Second)) // without one it is only less patient
	uid, err := peer(conn)
	if err != nil || uid != os.Geteuid() && uid != 0 {
		return
	}
	var request controlRequest
	var reply controlReply
	line, err := bufio.NewReader(io.LimitReader(conn, 4<<10)).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &request)
	}
	if err == nil {
		reply.Text, err = c.do(ctx, request, nameOf(uid))
	}
	if err != nil {
		reply.Error = err.Error()
	}
	_ = json.NewEncoder(conn).Encode(reply) // whoever asked has gone
}

// nameOf is a user's name.
func nameOf(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return fmt.Sprintf("user %d", uid)
}

func (c *control) do(ctx context.Context, request controlRequest, by string) (string, error) {
	switch word := runner.CommandWord(request.Do); word {
	case runner.CommandPause, runner.CommandContinue, runner.CommandApprove:
		text, err := c.command(ctx, runner.Command{Word: word, Gate: request.Gate, By: by})
		if err == nil && word == runner.CommandPause {
			c.tell("\npegbook: %s pauses the run: %s\n", by, text)
		}
		return text, err
	}
	if request.Do != "abort" {
		return "", fmt.Errorf("a run knows no %q", request.Do)
	}
	select {
	case c.aborts <- abort{by: by, now: request.Now}:
	case <-ctx.Done():
		return "", errors.New("the run is ending already; with --now what is under way is cancelled")
	}
	if request.Now {
		return "the run ends; what is under way is cancelled", nil
	}
	return "the run ends; what is under way goes on to its end (--now cancels it)", nil
}

func (c *control) command(ctx context.Context, command runner.Command) (string, error) {
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	command.Answer = func(text string, err error) { got <- answer{text, err} }
	select {
	case c.commands <- command:
	case <-ctx.Done():
		return "", errors.New("the run does not answer; it may be about to begin or to end")
	}
	select {
	case a := <-got:
		return a.text, a.err
	case <-ctx.Done():
		return "", errors.New("the run does not answer; it may be about to begin or to end")
	}
}

// askRun asks the run in a folder for something. errNotUnderWay: nobody listens there.
func askRun(ctx context.Context, dir string, request controlRequest) (string, error) {
	address, done, err := socketAddress(filepath.Join(dir, controlName))
	if err != nil {
		return "", err
	}
	defer done()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", address.Name)
	if err != nil {
		return "", errors.Join(errNotUnderWay, err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(2 * controlPatience)); err != nil {
		return "", err
	}
	if err := json.NewEncoder(conn).Encode(request); err != nil {
		return "", err
	}
	var reply controlReply
	if err := json.NewDecoder(io.LimitReader(conn, 1<<20)).Decode(&reply); err != nil {
		return "", fmt.Errorf("the run gave no answer: %w", err)
	}
	if reply.Error != "" {
		return "", errors.New(reply.Error)
	}
	return reply.Text, nil
}

// listens says whether a run listens in a folder.
func listens(ctx context.Context, dir string) bool {
	address, done, err := socketAddress(filepath.Join(dir, controlName))
	if err != nil {
		return false
	}
	defer done()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", address.Name)
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was asked
	return true
}

var errNotUnderWay = errors.New("the run is not under way")

// maxSocketName is what every system takes as the name of a socket.
const maxSocketName = 100

// socketAddress is how to name a socket in a folder whose path may be too long for a socket's name. done ends the
// use of the name.
func socketAddress(path string) (_ *net.UnixAddr, done func(), err error) {
	if len(path) <= maxSocketName {
		return &net.UnixAddr{Name: path, Net: "unix"}, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, nil, err
	}
	short := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	if _, err := os.Stat(filepath.Dir(short)); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s is too long for the name of a socket; set PEGBOOK_HOME to a folder with a shorter name", path), dir.Close())
	}
	return &net.UnixAddr{Name: short, Net: "unix"}, func() { _ = dir.Close() }, nil
}
