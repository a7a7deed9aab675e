package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// typist sits at a terminal at which pegbook runs.
type typist struct {
	t          *testing.T
	keys       *os.File // the other side of the terminal
	tty        *os.File
	interrupts chan os.Signal
	code       chan int

	mu   sync.Mutex // guards seen
	seen bytes.Buffer
}

// atTerminal runs pegbook in a folder with some files; without arguments it is to be started.
func atTerminal(t *testing.T, files map[string]string, args ...string) *typist {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("PEGBOOK_HOME", filepath.Join(dir, "home"))
	t.Setenv("NO_COLOR", "1")
	t.Setenv("TERM", "xterm")
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	p := &typist{t: t, interrupts: make(chan os.Signal, 2), code: make(chan int, 1)}
	p.open()
	if len(args) > 0 {
		p.start(args...)
	}
	return p
}

func (p *typist) start(args ...string) {
	go func() { p.code <- run(p.t.Context(), args, streams{in: p.tty, out: p.tty, err: p.tty}, p.interrupts) }()
}

func (p *typist) open() {
	var err error
	p.keys, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(p.t, err)
	require.NoError(p.t, unix.IoctlSetPointerInt(int(p.keys.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(p.keys.Fd()), unix.TIOCGPTN)
	require.NoError(p.t, err)
	p.tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(p.t, err)
	require.NoError(p.t, unix.IoctlSetWinsize(int(p.tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 160}))
	p.t.Cleanup(func() { p.tty.Close(); p.keys.Close() })
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := p.keys.Read(buffer)
			p.mu.Lock()
			p.seen.Write(buffer[:n])
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
}

func (p *typist) screen() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.ReplaceAll(regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`).ReplaceAllString(p.seen.String(), ""), "\r\n", "\n")
}

// until waits for a text to be on the screen so many times.
func (p *typist) until(text string, times int) {
	p.t.Helper()
	require.Eventually(p.t, func() bool { return strings.Count(p.screen(), text) >= times }, 20*time.Second, 10*time.Millisecond, "%q is not there", text)
}

func (p *typist) types(text string) {
	p.t.Helper()
	_, err := p.keys.WriteString(text)
	require.NoError(p.t, err)
}

func (p *typist) ends(code int) {
	p.t.Helper()
	select {
	case got := <-p.code:
		assert.Equal(p.t, code, got, p.screen())
	case <-time.After(20 * time.Second):
		p.t.Fatalf("it does not end:\n%s", p.screen())
	}
}

func gatedFiles() map[string]string {
	return map[string]string{
		"hosts.yml": "all: {vars: {ansible_connection: local}, hosts: {h1: , h2: }}\n",
		"site.yml": `- name: web
  hosts: all
  gather_facts: false
  serial: 1
  tasks:
    - {name: restart, command: sleep 0.3}
    - {name: canary, gate: "{{ .inventory_hostname }} is new.\nIs it well?", when: eq .inventory_hostname "h1"}
    - {name: after, debug: {msg: went on}}
`,
		"wipe.yml": `- hosts: all
  gather_facts: false
  confirm: {message: All data of prod is lost., value: prod}
  tasks: [{name: wipe, debug: {msg: wiped}}]
`,
	}
}

const question = "Approve canary? (y)es/(n)o: "

func TestGateIsAnsweredAtTheTerminal(t *testing.T) {
	p := atTerminal(t, gatedFiles(), "run", "site.yml", "-i", "hosts.yml")
	p.until("PLAY web", 1)
	p.types("n\n") // before anything was asked: no answer to it
	p.until(question, 1)
	p.types("perhaps\n")
	p.until(question, 2)
	p.types("y\n")
	p.ends(0)
	assert.Contains(t, p.screen(), "GATE canary  h1\n  h1 is new.\n  Is it well?\n  next: task \"after\" on h1, then the last batch: h2\n  to approve from another terminal: pegbook runs approve ")
	assert.Contains(t, p.screen(), "gate canary: approved by "+userName())
}

func TestNoAtAGatePausesTheRun(t *testing.T) {
	p := atTerminal(t, gatedFiles(), "run", "site.yml", "-i", "hosts.yml")
	p.until(question, 1)
	p.types("no\n")
	p.ends(5)
	assert.Contains(t, p.screen(), "paused: "+userName()+` did not approve at gate "canary"; to go on`)
	assert.NotContains(t, p.screen(), "after  ok")
}

func TestGateIsAnsweredFromElsewhereWhileItIsAsked(t *testing.T) {
	p := atTerminal(t, gatedFiles(), "run", "site.yml", "-i", "hosts.yml")
	p.until(question, 1)
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"runs", "approve"}, streams{in: strings.NewReader(""), out: &out, err: &errs}, nil)
	require.Equal(t, 0, code, errs.String())
	assert.Contains(t, out.String(), `gate "canary" is open; next: task "after" on h1`)
	p.ends(0)
}

func TestInterruptAtAGate(t *testing.T) {
	p := atTerminal(t, gatedFiles(), "run", "site.yml", "-i", "hosts.yml")
	p.until(question, 1)
	p.interrupts <- os.Interrupt
	p.ends(130)
}

func TestWhatIsDestroyedIsTyped(t *testing.T) {
	for _, tt := range []struct {
		typed string
		code  int
		says  string
	}{
		{"prod\n", 0, "done in"},
		{"y\n", 1, `"y" is not "prod"; the play was not begun`},
		{"\x04", 1, "nobody answered: the input has ended; the play was not begun"},
	} {
		t.Run(strings.TrimSpace(tt.typed), func(t *testing.T) {
			p := atTerminal(t, gatedFiles(), "run", "wipe.yml", "-i", "hosts.yml", "--yes")
			p.until(`Type "prod" to go on: `, 1)
			p.types(tt.typed)
			p.ends(tt.code)
			assert.Contains(t, p.screen(), tt.says)
			assert.Equal(t, 1, strings.Count(p.screen(), "All data of prod is lost.\n"))
		})
	}
}

// What is asked holds words of playbooks and hosts: they move no cursor.
func TestQuestionsMoveNoCursor(t *testing.T) {
	files := map[string]string{
		"hosts.yml": "all: {hosts: {h1: {ansible_connection: local}}}\n",
		"site.yml": `- hosts: all
  gather_facts: false
  vars_prompt: [{name: x, prompt: "one\e[2J", private: false}]
  confirm: {message: "two\e[2J\u202e", value: "three\u009b"}
  tasks:
    - command: "printf 'four\\033]52;c;eA==\\007'"
      register: said
    - gate: "{{ .said.stdout }}"
`,
	}
	p := atTerminal(t, files, "run", "site.yml", "-i", "hosts.yml", "--json")
	p.until(`one\x1b[2J: `, 1)
	p.types("x\n")
	p.until(`two\x1b[2J\u202e`, 1)
	p.types("three\u009b\n")
	p.until(`four\x1b]52;c;eA==\x07`, 1)
	p.types("y\n")
	p.ends(0)
	p.mu.Lock()
	defer p.mu.Unlock()
	assert.NotRegexp(t, "\x1b\\[2J|\x1b\\]|\u202e", p.seen.String())
}
