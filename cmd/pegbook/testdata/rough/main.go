// Command rough is a plugin that misbehaves on request.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/pegbook/pegbook/plugins"
)

type options struct {
	How string `arg:"how,required" doc:"what to do"`
}

func main() {
	plugins.Serve(
		plugins.DefineSource("rough_hosts", "Hosts\n\nPerhaps.\n\n    plugin: rough_hosts\n    how: well", func(_ context.Context, _ plugins.Question, o options) (*plugins.Inventory, error) {
			inv := &plugins.Inventory{}
			inv.Host("h1").Vars.Set("ansible_connection", "local")
			return inv, misbehave(o.How, func(error) {})
		}),
		plugins.DefineNotifier("rough_ear", "Hears\n\nPerhaps.\n\n    plugin: rough_ear\n    how: well", func(_ context.Context, run plugins.Run, o options) (*plugins.Listener, error) {
			return &plugins.Listener{Tell: func(context.Context, plugins.Event) error { return misbehave(o.How, run.Problem) }}, nil
		}))
}

func misbehave(how string, problem func(error)) error {
	fmt.Fprintln(os.Stderr, "cannot reach db1")
	switch how {
	case "die":
		os.Exit(7)
	case "panic":
		panic("too hard")
	case "freeze":
		return syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case "flood":
		line := strings.Repeat("spam ", 200)
		for range 500 {
			fmt.Fprintln(os.Stderr, line)
			problem(errors.New(line))
		}
	}
	return nil
}
