package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Who interrupts pegbook before a run has begun wants nothing to be done: not when the inventory is there after all,
// and not when the question is answered.
func TestInterruptBeforeARun(t *testing.T) {
	files := map[string]string{
		"slow.sh":    "#!/bin/sh\ntouch asked\nsleep 20\n",
		"hosts.yml":  "all: {hosts: {h1: {ansible_connection: local}}}\n",
		"site.yml":   "- hosts: all\n  gather_facts: false\n  tasks: [{command: \"touch {{ .playbook_dir }}/done\"}]\n",
		"prompt.yml": "- hosts: all\n  gather_facts: false\n  vars_prompt: [{name: x, prompt: what is x}]\n  tasks: [{command: \"touch {{ .playbook_dir }}/done\"}]\n",
		"plain.yml":  "- hosts: all\n  gather_facts: false\n  vars_prompt: [{name: x, prompt: what is x, private: false}]\n  tasks: [{command: \"touch {{ .playbook_dir }}/done\"}]\n",
	}
	for name, tt := range map[string]struct {
		args []string
		asks string
	}{
		"inventory":      {[]string{"run", "site.yml", "-i", "slow.sh"}, ""},
		"validating":     {[]string{"validate", "site.yml", "-i", "slow.sh"}, ""},
		"password":       {[]string{"run", "site.yml", "-i", "hosts.yml", "-K"}, "Password of become: "},
		"answer":         {[]string{"run", "plain.yml", "-i", "hosts.yml"}, "what is x: "},
		"private answer": {[]string{"run", "prompt.yml", "-i", "hosts.yml"}, "what is x: "},
	} {
		t.Run(name, func(t *testing.T) {
			p := atTerminal(t, files)
			require.NoError(t, os.Chmod("slow.sh", 0o700)) //nolint:gosec // a program
			p.start(tt.args...)
			if tt.asks == "" {
				require.Eventually(t, func() bool { _, err := os.Stat("asked"); return err == nil }, 10*time.Second, 5*time.Millisecond)
			} else {
				p.until(tt.asks, 1)
			}
			p.interrupts <- os.Interrupt
			p.ends(130)
			p.until("interrupted; nothing was begun", 1)
			assert.NoFileExists(t, "done")
			runs, _ := filepath.Glob("home/runs/*") //nolint:errcheck // the pattern is sound
			assert.Empty(t, runs, "what was not begun is no run")
		})
	}
}

// watched is a run of three tasks, of which the first lasts for as long as there is no file "go".
func watched(t *testing.T) (s streams, reader *os.File) {
	t.Helper()
	t.Chdir(t.TempDir())
	t.Setenv("PEGBOOK_HOME", filepath.Join(t.TempDir(), "home"))
	require.NoError(t, os.WriteFile("site.yml", []byte(`- hosts: all
  gather_facts: false
  tasks:
    - shell: cd {{ .playbook_dir }}; touch begun; while ! test -e go; do sleep 0.02; done
    - command: sleep 0.2
    - command: "touch {{ .playbook_dir }}/third"
`), 0o600))
	require.NoError(t, os.WriteFile("hosts.yml", []byte("all: {hosts: {h1: {ansible_connection: local}}}\n"), 0o600))
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = reader.Close(); _ = writer.Close() })
	return streams{in: strings.NewReader(""), out: writer, err: &bytes.Buffer{}}, reader
}

// A run that nobody can watch any more ends in good order: what is under way comes to its end, and it can be gone on
// with.
func TestNobodyWatches(t *testing.T) {
	for name, leave := range map[string]func(reader *os.File, interrupts chan<- os.Signal){
		"reader": func(reader *os.File, _ chan<- os.Signal) { _ = reader.Close() },
		"terminal": func(_ *os.File, interrupts chan<- os.Signal) {
			interrupts <- syscall.SIGHUP
			interrupts <- syscall.SIGHUP // of the kernel and of the shell
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, reader := watched(t)
			interrupts := make(chan os.Signal, 2)
			code := make(chan int, 1)
			go func() { code <- run(t.Context(), []string{"run", "site.yml", "-i", "hosts.yml"}, s, interrupts) }()
			require.Eventually(t, func() bool { _, err := os.Stat("begun"); return err == nil }, 10*time.Second, 5*time.Millisecond)
			leave(reader, interrupts)
			time.Sleep(20 * time.Millisecond)
			require.NoError(t, os.WriteFile("go", nil, 0o600))
			select {
			case got := <-code:
				assert.Equal(t, 130, got)
			case <-time.After(20 * time.Second):
				t.Fatal("the run goes on")
			}
			assert.Contains(t, s.err.(*bytes.Buffer).String(), "gone; nothing new is started")
			assert.NoFileExists(t, "third")
			var out bytes.Buffer
			require.Equal(t, 0, run(t.Context(), []string{"runs", "show"}, streams{in: s.in, out: &out, err: &out}, nil))
			assert.Contains(t, out.String(), "interrupted")
		})
	}
}

// Whoever asks twice that a run ends has not asked that what is under way is cancelled.
func TestAbortTwiceCancelsNothing(t *testing.T) {
	s, reader := watched(t)
	go func() { _, _ = io.Copy(io.Discard, reader) }()
	code := make(chan int, 1)
	go func() { code <- run(t.Context(), []string{"run", "site.yml", "-i", "hosts.yml"}, s, nil) }()
	require.Eventually(t, func() bool { _, err := os.Stat("begun"); return err == nil }, 10*time.Second, 5*time.Millisecond)
	for range 3 {
		var out bytes.Buffer
		require.Equal(t, 0, run(t.Context(), []string{"runs", "abort"}, streams{in: s.in, out: &out, err: &out}, nil), out.String())
		assert.Contains(t, out.String(), "what is under way goes on to its end (--now cancels it)")
	}
	require.NoError(t, os.WriteFile("go", nil, 0o600))
	assert.Equal(t, 130, <-code)
	var out bytes.Buffer
	require.Equal(t, 0, run(t.Context(), []string{"runs", "show"}, streams{in: s.in, out: &out, err: &out}, nil))
	assert.Contains(t, out.String(), "h1  ok=1 changed=1 unreachable=0 failed=0")
}

// An interrupt at the question whether to take a run back is an answer: nothing is done, and no run is begun.
func TestInterruptBeforeARollback(t *testing.T) {
	p := atTerminal(t, map[string]string{
		"hosts.yml": "all: {hosts: {h1: {ansible_connection: local}}}\n",
		"site.yml":  "- hosts: all\n  gather_facts: false\n  tasks: [{copy: {content: new, dest: \"{{ .playbook_dir }}/file\"}}]\n",
	})
	p.start("run", "site.yml", "-i", "hosts.yml")
	p.ends(0)
	p.start("runs", "rollback", "last")
	p.until("back? [y/N] ", 1)
	p.interrupts <- os.Interrupt
	p.ends(130)
	p.until("interrupted; nothing was begun", 1)
	assert.FileExists(t, "file")
	runs, _ := filepath.Glob("home/runs/*") //nolint:errcheck // the pattern is sound
	assert.Len(t, runs, 1)
}
