package main

import (
	"fmt"
	"os"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/connect"
	"github.com/pegbook/pegbook/runner/lock"
	"github.com/pegbook/pegbook/runner/render"
)

func newLocksCmd(a *app) *cobra.Command {
	var o selectOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "locks PLAYBOOK...",
		Short:   "Show who has the locks of a playbook's plays; takes none",
		Example: "  pegbook locks playbooks/rolling-update.yml -i prod.yml",
		Args:    needPlaybook,
		RunE: func(cmd *cobra.Command, args []string) error {
			plan, err := a.compile(cmd.Context(), o, args)
			if err != nil {
				return err
			}
			pool := connect.NewPool(connect.Options{Ask: a.ask(func(f func()) { f() })})
			defer pool.Close()
			locks := plan.Locks(cmd.Context(), runner.Options{Connect: pool})
			if asJSON {
				return writeJSON(a.out, locks)
			}
			return a.writeLocks(locks)
		},
	}
	o.flags(cmd)
	o.connectionFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func (a *app) writeLocks(locks []runner.LockState) error {
	unknown := false
	for _, l := range locks {
		state := "free"
		switch {
		case l.Problem != "":
			state, unknown = "not known: "+l.Problem, true
		case l.Held:
			state = "held by " + l.Holder.String()
			if l.Waiting > 0 {
				state += fmt.Sprintf("; %d waiting for it", l.Waiting)
			}
		}
		fmt.Fprintln(a.out, render.Clean(a.secrets.Text(fmt.Sprintf("%s: %s", l.Lock, state)), false))
		fmt.Fprintln(a.out, render.Clean("  plays: "+strings.Join(l.Plays, "; "), false))
	}
	if len(locks) == 0 {
		fmt.Fprintln(a.out, "no play has a lock that is known before the run")
	}
	if unknown {
		return exitError(2)
	}
	return nil
}

// holder is who runs this program, for those whom its locks keep out.
func holder() lock.Holder {
	h := lock.Holder{User: os.Getenv("USER"), PID: os.Getpid()}
	if u, err := user.Current(); err == nil {
		h.User = u.Username
	}
	if h.User == "" {
		h.User = fmt.Sprintf("uid %d", os.Getuid())
	}
	if name, err := os.Hostname(); err == nil {
		h.Host = name
	}
	return h
}
