package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// thousand measures the journal of a run of 1,000 hosts and 100 tasks: what it takes of the disk, how soon it is
// opened, and how soon the run is gone on with. The hosts are this machine: connections are no part of it.
func (s *site) thousand(ctx context.Context) error {
	const hosts, tasks = 1000, 100
	home := filepath.Join(s.dir, "thousand")
	env := []string{"PEGBOOK_HOME=" + home}
	play, inventory, err := s.manySteps(hosts, tasks)
	if err != nil {
		return err
	}
	if _, err := timed(ctx, env, s.pegbook, "run", play, "-i", inventory, "--forks", "50"); exitCode(err) != 2 {
		return fmt.Errorf("the last task was to fail: %w", err)
	}
	size, err := sizeOf(filepath.Join(home, "runs"))
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %10s %10s\n", "journal of 1,000 hosts × 100 tasks", "", fmt.Sprintf("%.1f MB", float64(size)/1e6))
	for _, verb := range [][]string{{"runs", "show"}, {"runs", "log"}} {
		u, err := timed(ctx, env, append([]string{s.pegbook}, verb...)...)
		if err != nil {
			return err
		}
		fmt.Printf("  %-32s %10s %10s           CPU %s, peak memory %s\n", strings.Join(verb, " "), "", seconds(u.wall), seconds(u.cpu), mib(u.memory))
	}
	u, err := s.resumeStart(ctx, env)
	if err != nil {
		return err
	}
	fmt.Printf("  %-32s %10s %10s           CPU of all of it %s, peak memory %s\n", "runs resume, to its first step", "", seconds(u.wall), seconds(u.cpu), mib(u.memory))
	return nil
}

// manySteps writes a playbook of files, commands whose output is registered, and conditions that are false. Its last
// task fails on one host, so that it can be gone on with.
func (s *site) manySteps(hosts, tasks int) (play, inventory string, err error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "all:\n  vars: {ansible_connection: local, role: replica}\n  hosts:\n")
	for i := range hosts {
		fmt.Fprintf(&b, "    replica-%04d.example.net:\n", i)
	}
	if inventory, err = s.write("thousand.inventory.yml", b.String()); err != nil {
		return "", "", err
	}
	b.Reset()
	b.WriteString("- name: replica servers\n  hosts: all\n  gather_facts: false\n  tasks:\n")
	for t := range tasks - 1 {
		switch t % 5 {
		case 0, 1:
			fmt.Fprintf(&b, "    - name: folder %d is there\n      file: {path: '%s/many/{{ .inventory_hostname }}/%d', state: directory, mode: '0755'}\n", t, s.dir, t)
		case 2:
			fmt.Fprintf(&b, "    - name: setting %d is right\n      command: /bin/echo setting %d of {{ .inventory_hostname }}\n      register: setting%d\n", t, t, t)
		default:
			fmt.Fprintf(&b, "    - name: meta servers have setting %d\n      command: /bin/false\n      when: eq .role \"meta\"\n", t)
		}
	}
	fmt.Fprintf(&b, "    - name: the last one\n      command: test -e %s/there\n      when: eq .inventory_hostname \"replica-%04d.example.net\"\n      changed_when: false\n", s.dir, hosts/2)
	play, err = s.write("thousand.yml", b.String())
	return play, inventory, err
}

// resumeStart goes on with the last run; the wall clock is that of the first step's beginning.
func (s *site) resumeStart(ctx context.Context, env []string) (usage, error) {
	cmd := exec.CommandContext(ctx, s.pegbook, "runs", "resume", "--json")
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return usage{}, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return usage{}, err
	}
	var u usage
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if u.wall == 0 && strings.Contains(line, `"event":"task_started"`) {
			u.wall = time.Since(began)
		}
		if err != nil {
			break
		}
	}
	if err := cmd.Wait(); exitCode(err) != 2 || u.wall == 0 {
		return usage{}, fmt.Errorf("runs resume was to fail at the last task: %w", err)
	}
	cost(&u, cmd.ProcessState)
	return u, nil
}

// exitCode is that of a program that ran, 0 where it went well, -1 where it did not run.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// sizeOf is what the files in a folder take.
func sizeOf(dir string) (int64, error) {
	var n int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}
