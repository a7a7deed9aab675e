package stage

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pegbook/pegbook/runner/event"
)

// Record is what is looked at of pegbook's records.
type Record struct {
	Event    string    `json:"event"`
	Run      string    `json:"run"`
	Steps    int       `json:"steps"`
	State    string    `json:"state"`
	Time     time.Time `json:"time"`
	Play     string    `json:"play"`
	Batch    int       `json:"batch"`
	Task     string    `json:"task"`
	Module   string    `json:"module"`
	Host     string    `json:"host"`
	Hosts    []string  `json:"hosts"`
	Status   string    `json:"status"`
	Msg      string    `json:"msg"`
	Text     string    `json:"text"`
	Message  string    `json:"message"`
	ExitCode int       `json:"exit_code"`
	TookMS   float64   `json:"took_ms"`
	Expects  float64   `json:"expects_ms"`

	Recap map[string]event.Counts `json:"recap"`
}

// Run is a run of pegbook.
type Run struct {
	cmd    *exec.Cmd
	stderr strings.Builder
	ended  chan struct{}
	waited sync.Once // for the process; code and err are its end
	code   int
	err    error

	mu      sync.Mutex // guards what follows
	records []Record
	more    chan struct{} // closed and replaced when records are added
}

// Begin starts pegbook with a playbook.
func (s *Stage) Begin(ctx context.Context, playbook string, args ...string) (*Run, error) {
	return s.Start(ctx, s.RunArgs(playbook, args...)...)
}

// Start starts pegbook with a verb that shows records.
func (s *Stage) Start(ctx context.Context, argv ...string) (*Run, error) {
	return s.StartWith(ctx, nil, argv...)
}

// StartWith starts pegbook with more variables in its environment.
func (s *Stage) StartWith(ctx context.Context, env []string, argv ...string) (*Run, error) {
	r := &Run{cmd: exec.CommandContext(ctx, s.Pegbook, argv...), ended: make(chan struct{}), more: make(chan struct{})}
	r.cmd.Cancel = func() error { return r.Signal(os.Interrupt) }
	r.cmd.Env = append(s.Env(), env...)
	r.cmd.WaitDelay = 30 * time.Second
	r.cmd.Stderr = &r.stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	go r.read(out, s.heard)
	return r, nil
}

// RunArgs are the arguments that run a playbook, with its records shown.
func (s *Stage) RunArgs(playbook string, args ...string) []string {
	if !filepath.IsAbs(playbook) && !strings.Contains(playbook, "/") {
		playbook = filepath.Join(s.Repository, "playbooks", playbook)
	}
	return append([]string{"run", playbook, "--json", "-i", s.Hosts.Inventory()}, args...)
}

// Verb runs pegbook with a verb that shows no records, and gives what it prints.
func (s *Stage) Verb(ctx context.Context, env []string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.Pegbook, argv...)
	cmd.Env = append(s.Env(), env...)
	var says strings.Builder
	cmd.Stderr = &says
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("pegbook %s: %w: %s", strings.Join(argv, " "), err, says.String())
	}
	return string(out), nil
}

// Env is pegbook's environment: what it keeps of its runs is this stage's.
func (s *Stage) Env() []string {
	return append(append(os.Environ(), "PEGBOOK_HOME="+s.Home()), s.Environ...)
}

// Home is where pegbook keeps its runs.
func (s *Stage) Home() string { return filepath.Join(s.Dir, ".pegbook") }

// Signal sends the run's process a signal.
func (r *Run) Signal(which os.Signal) error { return r.cmd.Process.Signal(which) }

// PID is the number of the run's process.
func (r *Run) PID() int { return r.cmd.Process.Pid }

// Ended is closed when the run says nothing more.
func (r *Run) Ended() <-chan struct{} { return r.ended }

// Named is the name of the run, and how many steps its plan has; "" before it has said so.
func (r *Run) Named() (name string, steps int) {
	for _, rec := range r.All() {
		if rec.Event == "run_started" {
			return rec.Run, rec.Steps
		}
	}
	return "", 0
}

// Kill ends the run's process at once, and waits for that.
func (r *Run) Kill() {
	_ = r.Signal(os.Kill) // it has ended
	_, _ = r.Wait()       // how is known
}

func (r *Run) read(out io.Reader, hear func(Record)) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var rec Record
		if json.Unmarshal(lines.Bytes(), &rec) != nil {
			continue // the last line of a run that was killed
		}
		hear(rec)
		r.mu.Lock()
		r.records = append(r.records, rec)
		close(r.more)
		r.more = make(chan struct{})
		r.mu.Unlock()
	}
	close(r.ended)
}

// Wait waits for the run's end and gives its exit code, -9 for one that was killed.
func (r *Run) Wait() (int, error) {
	<-r.ended
	r.waited.Do(func() { r.code, r.err = exitCode(r.cmd.Wait()) })
	return r.code, r.err
}

func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return -int(status.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// Until waits for a Record. A run that ends before is an error.
func (r *Run) Until(ctx context.Context, what string, is func(Record) bool) error {
	for from := 0; ; {
		r.mu.Lock()
		for ; from < len(r.records); from++ {
			if is(r.records[from]) {
				r.mu.Unlock()
				return nil
			}
		}
		more := r.more
		r.mu.Unlock()
		select {
		case <-more:
		case <-r.ended:
			r.mu.Lock()
			all := from == len(r.records)
			r.mu.Unlock()
			if all {
				return fmt.Errorf("the run ended before %s: %s", what, r.Says())
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// All are the records so far.
func (r *Run) All() []Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.records[:len(r.records):len(r.records)]
}

// Says is what the run tells people: messages of what failed, and the last word.
func (r *Run) Says() string {
	var b strings.Builder
	for _, rec := range r.All() {
		switch {
		case rec.Status == "failed" || rec.Status == "unreachable":
			fmt.Fprintf(&b, "%s %s on %s: %s\n", rec.Task, rec.Status, rec.Host, rec.Msg)
		case rec.Event == "run_done":
			fmt.Fprintf(&b, "exit %d %s %v\n", rec.ExitCode, rec.Message, rec.Recap)
		}
	}
	return b.String() + r.stderr.String()
}

// Waited lists the tasks that took a while, and what was expected of them.
func (r *Run) Waited() string {
	var b strings.Builder
	for _, rec := range r.All() {
		if rec.Event == "task_done" && max(rec.TookMS, rec.Expects) >= 300 {
			fmt.Fprintf(&b, "  %6.0f ms of %6.0f  %s  %s\n", rec.TookMS, rec.Expects, rec.Host, rec.Task)
		}
	}
	return b.String()
}

// LastWord is the first line of what ended the run.
func (r *Run) LastWord() string {
	var last string
	for _, rec := range r.All() {
		if (rec.Status == "failed" || rec.Status == "unreachable") && rec.Msg != "" {
			last = rec.Msg
		}
	}
	last, _, _ = strings.Cut(last, "\n")
	return last
}

// Node is how a replica server's turn went.
type Node struct {
	Host          string
	Took, Waiting time.Duration
}

// Own is the time that pegbook itself took: what is left without the tasks in which it waits for servers.
func (n Node) Own() time.Duration { return n.Took - n.Waiting }

// waits says whether a task lasts as long as the servers take, or as it takes to give a host up.
func waits(rec Record) bool {
	if rec.Status == "unreachable" {
		return true
	}
	switch rec.Module {
	case "migrate_primaries", "downgrade_secondaries", "close_replicas", "daemon", "wait_healthy", "pause":
		return true
	case "pegasus_server":
		return strings.Contains(rec.Task, "new process")
	}
	return false
}

// Nodes are the turns of the replica servers that were ended.
func (r *Run) Nodes() []Node {
	var list []Node
	var first time.Time
	for _, rec := range r.All() {
		if rec.Play != "replica servers" {
			continue
		}
		switch rec.Event {
		case "batch_started":
			first = rec.Time
			list = append(list, Node{Host: strings.Join(rec.Hosts, " ")})
		case "task_done":
			if len(list) == 0 {
				continue // nobody's turn
			}
			n := &list[len(list)-1]
			n.Took = rec.Time.Sub(first)
			if waits(rec) {
				n.Waiting += time.Duration(rec.TookMS * float64(time.Millisecond))
			}
		}
	}
	return list
}
