// Command supervisord_program is a plugin as a site would write it: it keeps a program of supervisord's configured
// and running, and speaks to supervisord itself through its XML-RPC interface.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins"
)

func main() { plugins.Serve(program()) }

// program is the module.
func program() *modules.Module {
	m := modules.Define("supervisord_program", `Keep a program of supervisord's configured and running

Writes the program's file in supervisord's folder of configurations, has supervisord take it in, and starts, stops or
removes the program. Other programs are left alone, whatever their files say. Supervisord is reached at its
inet_http_server, as seen from the managed host. A program whose file changes is restarted.

    - name: the exporter runs
      supervisord_program:
        name: exporter
        command: /opt/exporter/bin/exporter --port 9100
        user: app
        environment: {GOMAXPROCS: "2"}`, propose)
	m.Output = modules.ShapeOf[result]()
	return m
}

type arguments struct {
	Name        string            `arg:"name,required" doc:"the program's name"`
	Command     string            `arg:"command" doc:"the command line; not for state absent"`
	Directory   string            `arg:"directory,path" doc:"the folder that it runs in"`
	User        string            `arg:"user" doc:"the user that it runs as"`
	Environment map[string]string `arg:"environment" doc:"environment variables"`
	Autostart   bool              `arg:"autostart" default:"true" doc:"start it with supervisord"`
	State       string            `arg:"state" default:"started" choices:"started,stopped,restarted,absent" doc:"what it is to be"`
	ConfigDir   string            `arg:"config_dir,path" default:"/etc/supervisor/conf.d" doc:"supervisord's folder of configurations"`
	Server      string            `arg:"server" default:"127.0.0.1:9001" doc:"host and port of supervisord's inet_http_server"`
	Username    string            `arg:"username" doc:"its user"`
	Password    string            `arg:"password,secret" doc:"its password"`
}

// result is what register stores.
type result struct {
	Name  string `json:"name"`
	State string `json:"state"` // as supervisord calls it; absent where it does not know the program
	PID   int    `json:"pid"`
	File  string `json:"file"`
}

const absent = "absent"

// task is one use of the module.
type task struct {
	arguments
	file   string
	server *supervisor
}

func propose(ctx context.Context, call *modules.Call, args arguments) (*modules.Proposal, error) {
	t := &task{arguments: args, file: path.Join(args.ConfigDir, args.Name+".conf")}
	t.server = &supervisor{host: call.Host, address: args.Server, user: args.Username, password: args.Password}
	if err := t.check(); err != nil {
		return nil, err
	}
	files, err := call.Host.Look(ctx, modules.Query{Path: t.file, Content: 1 << 20})
	if err != nil {
		return nil, err
	}
	now, err := t.state(ctx, call.Host)
	if err != nil {
		return nil, err
	}
	p := &modules.Proposal{Output: &now}
	want := t.config()
	changes := t.changes(files[0], want)
	if len(changes) > 0 {
		p.Diff = append(p.Diff, modules.Diff{Subject: t.file, Before: string(files[0].Content), After: want})
	}
	runs := now.State == "RUNNING" || now.State == "STARTING" || now.State == "BACKOFF"
	after := map[string]string{"started": "RUNNING", "restarted": "RUNNING", "stopped": "STOPPED", "absent": absent}[t.State]
	if now.State == absent && after != absent || now.State != absent && after == absent || runs != (after == "RUNNING") || t.State == "restarted" {
		p.Diff = append(p.Diff, modules.Diff{Subject: t.Name, Note: now.State + " → " + after})
	}
	if len(p.Diff) == 0 {
		return p, nil
	}
	// Check mode cannot ask a supervisord that has not read the file yet: it remembers what will be.
	p.Predicts, p.Leaves = map[string]string{t.key(): after}, changes
	p.Do = func(ctx context.Context, host modules.Host) error {
		t.server.host = host
		err := t.carryOut(ctx, call, host, changes)
		if err == nil {
			now, err = t.ask(ctx)
		}
		return err
	}
	return p, nil
}

func (t *task) check() error {
	switch {
	case t.Name == "" || strings.ContainsAny(t.Name, "/:[]\n \t"):
		return &modules.ArgumentError{Arg: "name", Problem: fmt.Sprintf("name is %q", t.Name), Hint: "a program's name has no spaces, slashes, colons or brackets"}
	case t.State != "absent" && t.Command == "":
		return &modules.ArgumentError{Arg: "command", Problem: "command is missing", Hint: "say what the program " + t.Name + " is to run"}
	case strings.Contains(t.Command+t.Directory+t.User, "\n"):
		return &modules.ArgumentError{Arg: "command", Problem: "command, directory and user are one line each"}
	}
	return nil
}

// config is the program's file; "" where it is to have none.
func (t *task) config() string {
	if t.State == absent {
		return ""
	}
	// A percent sign starts an expansion of supervisord's.
	plain := func(s string) string { return strings.ReplaceAll(s, "%", "%%") }
	var b strings.Builder
	fmt.Fprintf(&b, "[program:%s]\ncommand=%s\nautostart=%t\n", t.Name, plain(t.Command), t.Autostart)
	if t.Directory != "" {
		fmt.Fprintf(&b, "directory=%s\n", plain(t.Directory))
	}
	if t.User != "" {
		fmt.Fprintf(&b, "user=%s\n", t.User)
	}
	var env []string
	for _, name := range slices.Sorted(maps.Keys(t.Environment)) {
		env = append(env, fmt.Sprintf("%s=\"%s\"", name, plain(t.Environment[name])))
	}
	if len(env) > 0 {
		fmt.Fprintf(&b, "environment=%s\n", strings.Join(env, ","))
	}
	return b.String()
}

// changes are those of the file.
func (t *task) changes(found modules.File, want string) []modules.Change {
	switch {
	case want == "" && found.Kind == modules.Missing, want != "" && string(found.Content) == want:
		return nil
	case want == "":
		return []modules.Change{{Kind: modules.Remove, Path: t.file}}
	}
	mode := uint32(0o600) // the environment may hold secrets
	return []modules.Change{{Kind: modules.WriteFile, Path: t.file, Content: modules.Bytes(t.file, []byte(want)), Attributes: modules.Attributes{Mode: &mode}}}
}

// key is where check mode remembers the program's state.
func (t *task) key() string { return "supervisord/" + t.Server + "/" + t.Name }

// state is how the program stands, or will have stood after the tasks before this one in check mode.
func (t *task) state(ctx context.Context, host modules.Host) (result, error) {
	if state, ok := host.Predicted(t.key()); ok {
		return result{Name: t.Name, State: state, File: t.file}, nil
	}
	return t.ask(ctx)
}

// ask asks supervisord how the program stands.
func (t *task) ask(ctx context.Context) (result, error) {
	r := result{Name: t.Name, State: absent, File: t.file}
	info, err := t.server.call(ctx, "supervisor.getProcessInfo", t.Name)
	if is(err, badName) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	r.State = info.field("statename").text()
	if pid := info.field("pid").Int; pid != nil {
		r.PID = *pid
	}
	return r, nil
}

func is(err error, code int) bool {
	var f *fault
	return errors.As(err, &f) && f.Code == code
}

// carryOut writes the file, has supervisord take it in, and brings the program into its state.
func (t *task) carryOut(ctx context.Context, call *modules.Call, host modules.Host, changes []modules.Change) error {
	if len(changes) > 0 {
		if err := host.Apply(ctx, changes...); err != nil {
			return err
		}
	}
	if t.State == absent || len(changes) > 0 {
		// Stopped first: supervisord does not forget a program that runs.
		if err := t.tell(ctx, "supervisor.stopProcess", notRunning, badName, true); err != nil {
			return err
		}
		if err := t.tell(ctx, "supervisor.removeProcessGroup", badName, badName); err != nil {
			return err
		}
	}
	if _, err := t.server.call(ctx, "supervisor.reloadConfig"); err != nil {
		return err
	}
	if t.State == absent {
		return nil
	}
	if err := t.tell(ctx, "supervisor.addProcessGroup", alreadyAdded, alreadyAdded); is(err, badName) {
		return fmt.Errorf("supervisord does not know %s from %s: its own configuration must include that folder", t.Name, t.file)
	} else if err != nil {
		return err
	}
	call.Note("waiting until %s is %s", t.Name, t.State)
	if t.State == "started" {
		return t.start(ctx)
	}
	if err := t.tell(ctx, "supervisor.stopProcess", notRunning, notRunning, true); err != nil || t.State == "stopped" {
		return err
	}
	return t.start(ctx)
}

// start starts the program and waits until it runs: supervisord may have begun to start it by itself.
func (t *task) start(ctx context.Context) error {
	if err := t.tell(ctx, "supervisor.startProcess", alreadyStarted, alreadyStarted, true); err != nil {
		return err
	}
	for {
		now, err := t.ask(ctx)
		switch {
		case err != nil:
			return err
		case now.State == "RUNNING":
			return nil
		case now.State != "STARTING" && now.State != "BACKOFF":
			return fmt.Errorf("%s does not stay up: supervisord says %s", t.Name, now.State)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// tell calls a method on the program; two codes say that there was nothing to do.
func (t *task) tell(ctx context.Context, method string, fine, fineToo int, more ...any) error {
	_, err := t.server.call(ctx, method, append([]any{t.Name}, more...)...)
	if is(err, fine) || is(err, fineToo) {
		return nil
	}
	return err
}
