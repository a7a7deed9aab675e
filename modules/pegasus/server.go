package pegasus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

func serverModule() *modules.Module {
	return modules.Define("pegasus_server", `Ask a Pegasus server since when and in which version it runs

Works for every role: the start time comes over HTTP, which meta servers, replica servers and collectors
have alike, the version also over RPC. With started_after, version or loaded the task waits until the
server has been started since then, runs that version, has loaded its replicas. That is the proof of a
restart: a meta server goes on calling a stopped node alive for a while, and an open port says little.

started_after takes what an earlier task of this module registered as started; the server must then have
another, later start time. loaded asks a replica server for its replicas until none is being opened.

    - pegasus_server: {address: 10.0.0.11:34801}
      register: before

    - pegasus_server:
        address: 10.0.0.11:34801
        started_after: "{{ .before.started }}"
        version: 2.5.0
        loaded: true`, proposeServer)
}

type serverArgs struct {
	Address      string        `arg:"address,required" doc:"the server, ip:port"`
	StartedAfter *string       `arg:"started_after" doc:"start time that must be over, as registered before"`
	Version      string        `arg:"version" doc:"version that must run, such as 2.5.0"`
	Loaded       bool          `arg:"loaded" default:"false" doc:"a replica server must have loaded its replicas"`
	Timeout      time.Duration `arg:"timeout" default:"2m" doc:"how long to wait"`
}

// serverOutput is what a server says of itself.
type serverOutput struct {
	Address string `json:"address"`
	Started string `json:"started"`
	Version string `json:"version"`
	Commit  string `json:"commit"`
	// Replicas is how many a replica server has; -1 where that was not asked.
	Replicas int `json:"replicas"`

	loading int // of them
}

func proposeServer(ctx context.Context, call *modules.Call, args serverArgs) (*modules.Proposal, error) {
	if args.StartedAfter != nil && !isStartTime(*args.StartedAfter) {
		// An empty one would make any process pass for a new one.
		return nil, &modules.ArgumentError{Arg: "started_after", Problem: fmt.Sprintf("started_after: %q is no start time", *args.StartedAfter),
			Hint: "give what a task of pegasus_server registered as started"}
	}
	c, err := client.New(call.Host.Dial, []string{args.Address}, client.Options{Note: call.Note})
	if err != nil {
		return nil, &modules.ArgumentError{Arg: "address", Problem: "address: " + err.Error()}
	}
	defer c.Close()
	out := &serverOutput{Address: args.Address, Replicas: -1}
	p := &modules.Proposal{Output: out}
	missing, err := args.look(ctx, c, out)
	asking := args.StartedAfter == nil && args.Version == "" && !args.Loaded
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil && asking {
		return nil, err
	}
	if err == nil && missing == "" {
		return p, nil
	}
	p.Waits = true
	p.Expects = serverLook // beyond the restart itself; how long loading takes nobody knows
	p.Do = func(ctx context.Context, host modules.Host) error { return args.wait(ctx, call, host, out) }
	return p, nil
}

// serverLook is the time between two looks.
const serverLook = 500 * time.Millisecond

func (a serverArgs) wait(ctx context.Context, call *modules.Call, host modules.Host, out *serverOutput) error {
	c, err := client.New(host.Dial, []string{a.Address}, client.Options{Note: call.Note})
	if err != nil {
		return err
	}
	defer c.Close()
	progress := &progress{call: call, phase: "waits for " + a.Address}
	for deadline := time.Now().Add(a.Timeout); ; {
		missing, err := a.look(ctx, c, out)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			missing = err.Error()
		}
		if missing == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s: %s", a.Timeout, missing)
		}
		progress.left(missing, a.counts(out)...)
		if err := pause(ctx, serverLook); err != nil {
			return err
		}
	}
}

func (a serverArgs) counts(out *serverOutput) []modules.Count {
	if !a.Loaded {
		return nil
	}
	return []modules.Count{{Name: "loading replicas", Left: out.loading}}
}

// look asks the server and says what does not hold yet.
func (a serverArgs) look(ctx context.Context, c *client.Client, out *serverOutput) (missing string, err error) {
	if out.Started, err = c.StartTime(ctx, a.Address); err != nil {
		return "", err
	}
	// Times are the server's own, in the same form, so that they compare as text.
	if !isStartTime(out.Started) {
		return "", fmt.Errorf("%s says that it started at %q", a.Address, out.Started)
	}
	if a.StartedAfter != nil && out.Started <= *a.StartedAfter {
		return fmt.Sprintf("%s has been running since %s, not restarted after %s", a.Address, out.Started, *a.StartedAfter), nil
	}
	info, err := c.ServerInfo(ctx, a.Address)
	var refused *client.ServerError
	switch {
	case err == nil:
		out.Version, out.Commit = info.Version, info.Commit
	case errors.As(err, &refused) && refused.Err == wire.HandlerNotFound:
		// A collector, or a server that is still starting.
		if out.Version, err = c.HTTPVersion(ctx, a.Address); err != nil {
			return "", err
		}
	default:
		return "", err
	}
	if a.Version != "" && strings.TrimPrefix(out.Version, "v") != strings.TrimPrefix(a.Version, "v") {
		return fmt.Sprintf("%s runs version %q, not %s", a.Address, out.Version, a.Version), nil
	}
	if !a.Loaded {
		return "", nil
	}
	return a.lookLoaded(ctx, c, out)
}

func (a serverArgs) lookLoaded(ctx context.Context, c *client.Client, out *serverOutput) (missing string, err error) {
	reply, err := client.Ask(ctx, c, a.Address, 1, &wire.QueryReplicaRequest{})
	if err != nil {
		return "", err
	}
	out.Replicas = len(reply.Replicas)
	held, err := c.Counts(ctx, a.Address)
	if err != nil {
		return "", err
	}
	if out.loading = held.Opening; held.Opening > 0 {
		return fmt.Sprintf("%s is loading its replicas: %s", a.Address, held), nil
	}
	return "", nil
}

// isStartTime says whether a text is a time as servers tell it, in a form that compares as text.
func isStartTime(text string) bool {
	_, err := time.Parse(time.DateTime, text)
	return err == nil
}
