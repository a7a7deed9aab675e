// Command plugin measures what a plugin costs: its start, a task that finds nothing to do beside the same task of a
// built-in module, and the memory of an idle process.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/builtin"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/plugins"
)

const (
	starts = 15
	tasks  = 2000
	hosts  = 100
	text   = "hello\n"
)

func main() {
	if err := measure(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "pegbook-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "motd")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "./plugins/examples/motd")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return err
	}
	var took []time.Duration
	for range starts {
		began := time.Now()
		p, err := plugins.Open(ctx, plugins.File{Path: file}, plugins.Options{})
		if err != nil {
			return err
		}
		took = append(took, time.Since(began))
		if err := p.Close(); err != nil {
			return err
		}
	}
	p, err := plugins.Open(ctx, plugins.File{Path: file}, plugins.Options{})
	if err != nil {
		return err
	}
	defer p.Close()
	idle, err := memory(p.PID())
	if err != nil {
		return err
	}
	inProcess, err := perTask(ctx, builtin.Copy(), `{"content": "hello\n", "dest": "/etc/motd"}`, 1)
	if err != nil {
		return err
	}
	motd := p.Modules()[0]
	wired, err := perTask(ctx, motd, `{"text": "hello"}`, 1)
	if err != nil {
		return err
	}
	many, err := perTask(ctx, motd, `{"text": "hello"}`, hosts)
	if err != nil {
		return err
	}
	busy, err := memory(p.PID())
	if err != nil {
		return err
	}
	slices.Sort(took)
	fmt.Println("| plugin (examples/motd) | |")
	fmt.Println("| --- | --- |")
	fmt.Printf("| start: hash, process, TLS, description | %s (median of %d; best %s) |\n", took[len(took)/2].Round(100*time.Microsecond), starts, took[0].Round(100*time.Microsecond))
	fmt.Printf("| a task that finds nothing to do | %s, of which the wire %s |\n", wired.Round(time.Microsecond), (wired - inProcess).Round(time.Microsecond))
	fmt.Printf("| the same on %d hosts at a time | %s a task |\n", hosts, many.Round(time.Microsecond))
	fmt.Printf("| memory of its own, idle | %s |\n", idle)
	fmt.Printf("| memory of its own, after %d tasks | %s |\n", 2*tasks, busy)
	return nil
}

// perTask is how long a task takes that finds nothing to do, with so many at a time: the median of ten rounds.
func perTask(ctx context.Context, m *modules.Module, args string, atOnce int) (time.Duration, error) {
	const rounds = 10
	var took []time.Duration
	host := modtest.NewMachine("host1").Write("/etc/motd", text)
	for range rounds {
		began := time.Now()
		var all sync.WaitGroup
		errs := make(chan error, atOnce)
		for range atOnce {
			all.Go(func() {
				for range tasks / rounds / atOnce {
					p, err := m.Propose(ctx, modtest.Setup{}.Call(host), json.RawMessage(args))
					if err == nil && len(p.Diff) > 0 {
						err = fmt.Errorf("%s finds something to do", m.Name)
					}
					if err != nil {
						errs <- err
						return
					}
				}
			})
		}
		all.Wait()
		select {
		case err := <-errs:
			return 0, err
		default:
		}
		took = append(took, time.Since(began)/(tasks/rounds))
	}
	slices.Sort(took)
	return took[rounds/2], nil
}

// memory is what a process has for itself (RssAnon).
func memory(pid int) (string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			return strings.TrimSpace(rest), nil
		}
	}
	return "unknown", nil
}
