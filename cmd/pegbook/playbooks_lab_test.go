package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/runner/event"
)

// labSite is a lab of a test's own, and pegbook running the shipped playbooks on it.
type labSite struct {
	t     *testing.T
	state *lab.State
	// more are arguments of every run.
	more []string
}

// startLab starts a lab whose servers take 1/20 of production time, if the options say nothing else. Of its
// address the options give the last number.
func startLab(t *testing.T, o lab.Options) *labSite {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	// The test binary is pegbook when it is called so (TestMain).
	self := filepath.Join(t.TempDir(), "pegbook")
	require.NoError(t, os.Symlink(exe, self))
	// The servers' ports are fixed, so each process that runs these tests has addresses of its own.
	pid := os.Getpid()
	o.Address = fmt.Sprintf("127.%d.%d.%s", 70+pid/200%100, 1+pid%200, o.Address)
	o.Dir = filepath.Join(t.TempDir(), "lab")
	o.Server = []string{self, "lab", "serve"}
	o.SSHPort, o.ZooKeeperPort = freePort(t, o.Address), freePort(t, o.Address)
	if o.Scale == 0 {
		o.Scale = 0.05
	}
	t.Cleanup(func() { assert.NoError(t, lab.Down(context.Background(), o.Dir)) })
	state, err := lab.Up(t.Context(), o)
	require.NoError(t, err)
	return &labSite{t: t, state: state, more: []string{"-i", state.Inventory, "-e", "meta_restart_interval=1 check_again=1"}}
}

func freePort(t *testing.T, ip string) int {
	t.Helper()
	l, err := net.Listen("tcp", ip+":0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// bookRun is a run of a shipped playbook.
type bookRun struct {
	t    *testing.T
	code chan int
	keys chan os.Signal

	mu     sync.Mutex // guards what follows
	out    bytes.Buffer
	events []bookEvent
	err    bytes.Buffer
}

// bookEvent is what these tests look at of a record.
type bookEvent struct {
	Event, Run, Play, Task, Host, Module, Msg, Message string
	Status                                             event.Status
	Rescued, Ignored                                   bool
	Changed                                            bool
	Recap                                              map[string]event.Counts
	ExitCode                                           int `json:"exit_code"`
	Problem                                            string
	Items                                              []struct{ Msg string }
	Phase                                              string
	Counts                                             []modules.Count
}

// Write takes what the run prints: records, a line each.
func (b *bookRun) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out.Write(p)
	for {
		line, err := b.out.ReadBytes('\n')
		if err != nil {
			b.out.Write(line)
			return len(p), nil
		}
		var e bookEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return 0, fmt.Errorf("%w in %s", err, line)
		}
		b.events = append(b.events, e)
	}
}

// lockedErr is the standard error of a run.
type lockedErr struct{ b *bookRun }

func (l lockedErr) Write(p []byte) (int, error) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	return l.b.err.Write(p)
}

// begin starts a playbook.
func (s *labSite) begin(book string, args ...string) *bookRun {
	return s.start(slices.Concat([]string{"run", filepath.Join("..", "..", "playbooks", book+".yml"), "--json"}, s.more, args))
}

// start starts pegbook.
func (s *labSite) start(args []string) *bookRun {
	b := &bookRun{t: s.t, code: make(chan int, 1), keys: make(chan os.Signal, 2)}
	ctx := s.t.Context()
	go func() {
		b.code <- run(ctx, args, streams{in: strings.NewReader(""), out: b, err: lockedErr{b}}, b.keys)
	}()
	return b
}

// wait waits until the run has ended with the exit code.
func (b *bookRun) wait(code int) *bookRun {
	b.t.Helper()
	select {
	case got := <-b.code:
		require.Equal(b.t, code, got, "%s", b)
	case <-time.After(2 * time.Minute):
		require.Fail(b.t, "the run does not end", "%s", b)
	}
	return b
}

// run runs a playbook that ends with the exit code.
func (s *labSite) run(code int, book string, args ...string) *bookRun {
	s.t.Helper()
	return s.begin(book, args...).wait(code)
}

// until waits for an event.
func (b *bookRun) until(is func(bookEvent) bool) {
	b.t.Helper()
	require.Eventually(b.t, func() bool { return slices.ContainsFunc(b.all(), is) }, time.Minute, 5*time.Millisecond, "%s", b)
}

func (b *bookRun) all() []bookEvent {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.events)
}

// String is what there is to say about a run that went wrong.
func (b *bookRun) String() string {
	var text strings.Builder
	for _, e := range b.all() {
		if e.Status == event.Failed || e.Status == event.Unreachable || e.Event == "problem" || e.Event == "run_done" {
			fmt.Fprintf(&text, "%s %s %s %s: %s %s %s\n", e.Event, e.Host, e.Task, e.Status, e.Msg, e.Message, e.Problem)
			for _, item := range e.Items {
				fmt.Fprintf(&text, "  %s\n", item.Msg)
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return text.String() + b.err.String()
}

// with lists the tasks that ended so, as "host: play: task", in their order and each once.
func (b *bookRun) with(status event.Status) []string {
	var list []string
	for _, e := range b.all() {
		if text := e.Host + ": " + e.Play + ": " + strings.TrimPrefix(e.Task, "pegasus : "); e.Event == "task_done" && e.Status == status && !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return list
}

// hosts lists the hosts on which a task ended so, in their order.
func (b *bookRun) hosts(task string, status event.Status) []string {
	var list []string
	for _, e := range b.all() {
		if e.Event == "task_done" && e.Status == status && e.Task == "pegasus : "+task {
			list = append(list, e.Host)
		}
	}
	return list
}

// says is everything that the run tells people who look at its end: messages of failures and the last word.
func (b *bookRun) says() string { return b.String() }

// sameAs requires that a dry run called changed exactly what the real run changed.
func (b *bookRun) sameAs(dry *bookRun) {
	b.t.Helper()
	predicted, changed := dry.with(event.Changed), b.with(event.Changed)
	slices.Sort(predicted)
	slices.Sort(changed)
	require.Equal(b.t, changed, predicted, "what the dry run called changed, beside what the real run changed")
	require.Empty(b.t, b.with(event.Unknown))
}

// client is a client of the lab's cluster.
func (s *labSite) client() *client.Client {
	s.t.Helper()
	var dialer net.Dialer
	c, err := client.New(dialer.DialContext, s.metas(), client.Options{})
	require.NoError(s.t, err)
	s.t.Cleanup(c.Close)
	return c
}

func (s *labSite) metas() []string {
	var metas []string
	for _, h := range s.state.Hosts {
		if h.Group == "meta_server" {
			metas = append(metas, h.IP+":34601")
		}
	}
	return metas
}

// settings are the level and the balancer's settings, as the leader has them.
func (s *labSite) settings() string {
	s.t.Helper()
	c := s.client()
	level, err := c.Level(s.t.Context())
	require.NoError(s.t, err)
	text := level.String()
	for _, name := range []string{"assign_delay_ms", "add_secondary_max_count_for_one_node", "add_secondary_enable_flow_control"} {
		value, err := c.Setting(s.t.Context(), "meta.lb."+name)
		require.NoError(s.t, err)
		text += " " + value
	}
	return text
}

// processes are the servers with version and process id, by host and role.
func (s *labSite) processes() map[string]lab.Process {
	s.t.Helper()
	report, err := lab.Status(s.t.Context(), s.state.Dir)
	require.NoError(s.t, err)
	all := map[string]lab.Process{}
	for _, h := range report.Hosts {
		for _, p := range h.Processes {
			if p.Role != "" {
				all[h.Name+" "+p.Role] = p
			}
		}
	}
	return all
}

// restarted lists the servers whose process is another one than before.
func (s *labSite) restarted(before map[string]lab.Process) []string {
	s.t.Helper()
	list := []string{}
	for name, p := range s.processes() {
		if before[name].PID != p.PID {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// file writes a file of the test's and gives its path.
func (s *labSite) file(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), name)
	require.NoError(s.t, os.WriteFile(path, []byte(content), 0o600))
	return path
}
