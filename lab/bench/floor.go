package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// agentVerb makes this program the far side of the raw limit.
const agentVerb = "agent"

// task is one piece of a workload.
type task struct {
	Kind  string // command, directory, file
	Index int
}

// mixed is W2: 5 directories, 5 files, 10 commands, interleaved.
func mixed() []task {
	var tasks []task
	for i := range 5 {
		tasks = append(tasks, task{"directory", i}, task{"file", i}, task{"command", 2 * i}, task{"command", 2*i + 1})
	}
	return tasks
}

func commands(n int) []task {
	tasks := make([]task, n)
	for i := range tasks {
		tasks[i] = task{"command", i}
	}
	return tasks
}

// request and answer are the raw limit's wire: a length, then JSON.
type request struct {
	Kind    string
	Path    string
	Content []byte
}

type answer struct {
	Changed bool
	Error   string
}

func send(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	_, err = w.Write(append(frame, body...))
	return err
}

func receive(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}

// agent answers requests until its input ends.
func agent(in io.Reader, out io.Writer) {
	runtime.GOMAXPROCS(1)
	r, w := bufio.NewReader(in), bufio.NewWriter(out)
	for {
		var q request
		if receive(r, &q) != nil {
			return
		}
		if send(w, act(q)) != nil || w.Flush() != nil {
			return
		}
	}
}

func act(q request) answer {
	switch q.Kind {
	case "command":
		if err := exec.Command("/bin/true").Run(); err != nil {
			return answer{Error: err.Error()}
		}
		return answer{}
	case "directory":
		info, err := os.Stat(q.Path)
		if err == nil && info.IsDir() && info.Mode().Perm() == 0o755 {
			return answer{}
		}
		return done(os.MkdirAll(q.Path, 0o755))
	}
	if old, err := os.ReadFile(q.Path); err == nil && bytes.Equal(old, q.Content) {
		return answer{}
	}
	next := q.Path + ".new"
	return done(errors.Join(os.WriteFile(next, q.Content, 0o644), os.Rename(next, q.Path)))
}

func done(err error) answer {
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Changed: true}
}

// floor is the raw limit's near side: one connection and one agent a host.
type floor struct {
	in   io.Writer
	out  *bufio.Reader
	conn *ssh.Client
}

// quick acknowledges at once: a delayed ACK would stall each connection's first channel by 44 ms.
type quick struct {
	*net.TCPConn
	raw syscall.RawConn
}

const tcpQuickAck = 12

func (c quick) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	_ = c.raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpQuickAck, 1) })
	return n, err
}

func (s *site) dialFloor(address string) (*floor, error) {
	key, err := os.ReadFile(s.keyFile)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		return nil, err
	}
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey(s.hostKey)
	if err != nil {
		return nil, err
	}
	tcp, err := net.DialTimeout("tcp", net.JoinHostPort(address, strconv.Itoa(s.port)), 30*time.Second)
	if err != nil {
		return nil, err
	}
	raw, err := tcp.(*net.TCPConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	c, channels, requests, err := ssh.NewClientConn(quick{tcp.(*net.TCPConn), raw}, address, &ssh.ClientConfig{
		User: s.user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(hostKey),
	})
	if err != nil {
		return nil, err
	}
	f := &floor{conn: ssh.NewClient(c, channels, requests)}
	session, err := f.conn.NewSession()
	if err != nil {
		return nil, err
	}
	if f.in, err = session.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := session.StdoutPipe()
	if err != nil {
		return nil, err
	}
	f.out = bufio.NewReader(out)
	return f, session.Start("exec " + s.self + " " + agentVerb)
}

func (f *floor) do(q request) error {
	if err := send(f.in, q); err != nil {
		return err
	}
	var a answer
	if err := receive(f.out, &a); err != nil {
		return err
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	return nil
}

// raw runs a workload at the raw limit, connecting included, and says how long it took.
func (s *site) raw(w workload) (time.Duration, error) {
	began := time.Now()
	hosts := make([]*floor, w.hosts)
	err := all(w.hosts, func(i int) (err error) {
		hosts[i], err = s.dialFloor(address(i))
		return err
	})
	for _, t := range w.tasks {
		if err != nil {
			return 0, err
		}
		err = all(w.hosts, func(i int) error {
			dir := filepath.Join(s.work, address(i), "raw", strconv.Itoa(t.Index))
			q := request{Kind: t.Kind, Path: dir}
			if t.Kind == "file" {
				q.Path, q.Content = filepath.Join(dir, "f.conf"), content(address(i), t.Index)
			}
			return hosts[i].do(q)
		})
	}
	took := time.Since(began)
	for _, h := range hosts {
		if h != nil {
			_ = h.conn.Close()
		}
	}
	return took, err
}

// all runs f for 0 to n-1, 50 at a time, and waits for all of them.
func all(n int, f func(i int) error) error {
	slots := make(chan struct{}, 50)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = f(i)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func address(i int) string { return fmt.Sprintf("127.0.%d.%d", 101+i/250, 1+i%250) }

// content is the 1 KiB file of W2.
func content(host string, index int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# managed file for %s\n[main]\nhost = %s\nitem = %d\n", host, host, index)
	for x := range 40 {
		fmt.Fprintf(&b, "key_%03d = value_%03d\n", x, x)
	}
	return b.Bytes()
}
