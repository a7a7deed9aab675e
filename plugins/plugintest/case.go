package plugintest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/plugins"
)

// manyTrips bounds round trips where a case says nothing: somebody waits for each.
const manyTrips = 10

// ReadCases reads a file of cases: {"cases": [...]}, each a [Case].
func ReadCases(path string) ([]Case, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		Cases []Case `json:"cases"`
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: there is something behind the cases", path)
	}
	return file.Cases, nil
}

// machine is the host of the case.
func (c Case) machine() *modtest.Machine {
	host := modtest.NewMachine("host1").Mkdir(c.Folders...)
	for path, content := range c.Files {
		host.Write(path, content)
	}
	for path, target := range c.Links {
		host.Link(path, target)
	}
	host.OnRun = func(_ context.Context, cmd modules.Command) (modules.Output, error) {
		for _, known := range c.Commands {
			if !slices.Equal(known.Argv, cmd.Argv) {
				continue
			}
			for path, content := range known.Writes {
				host.Write(path, content)
			}
			return modules.Output{ExitCode: known.Exit, Stdout: []byte(known.Stdout), Stderr: []byte(known.Stderr)}, nil
		}
		return modules.Output{ExitCode: 127, Stderr: []byte(cmd.Argv[0] + ": not found")}, nil
	}
	host.OnDial = func(ctx context.Context, network, address string) (net.Conn, error) {
		to, ok := c.Connect[address]
		if !ok {
			return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("connect %s: connection refused", address)}
		}
		return (&net.Dialer{}).DialContext(ctx, network, to)
	}
	return host
}

func (c Case) setup() modtest.Setup {
	s := modtest.Setup{Files: c.Control, Vars: c.Vars, Repeats: c.Repeats, Trips: c.Trips, ActTrips: c.ActTrips}
	if s.Trips == 0 {
		s.Trips = manyTrips
	}
	if s.ActTrips == 0 {
		s.ActTrips = 2 * manyTrips
	}
	return s
}

// first tries the case once, on a host of its own, and gives the error that it ends with; problem is what is wrong
// whatever the host is.
func (c Case) first(ctx context.Context, m *modules.Module) (problem string, err error) {
	problem = trying(ctx, func(t *trial) {
		host := c.machine()
		var p *modules.Proposal
		p, err = modtest.Propose(t, m, string(c.Args), host, c.setup())
		unchanged(t, c.machine(), host)
		if err == nil && p != nil && p.Do != nil {
			err = p.Do(t.Context(), host)
		}
	})
	var broken *plugins.Error
	if problem == "" && (errors.As(err, &broken) || plugins.IsBug(err)) {
		problem = err.Error()
	}
	return problem, err
}

// unchanged compares a host that was only looked at with what it was.
func unchanged(t *trial, was, host *modtest.Machine) {
	if d := modtest.Differences(was.Snapshot(), host.Snapshot()); d != "" {
		t.Errorf("proposing changed the host; that is for the Do of the proposal:%s", d)
	}
	for _, cmd := range host.Runs() {
		if !cmd.ReadOnly {
			t.Errorf("proposing ran a command that is not ReadOnly; that is for the Do of the proposal: %q", cmd.Argv)
		}
	}
}

// run holds the module to the contract.
func (c Case) run(t *trial, m *modules.Module) {
	if c.Error != "" {
		host := c.machine()
		p, err := modtest.Propose(t, m, string(c.Args), host, c.setup())
		unchanged(t, c.machine(), host)
		if err == nil && p != nil && p.Do != nil {
			err = p.Do(t.Context(), host)
		}
		if err == nil || !strings.Contains(err.Error(), c.Error) {
			t.Errorf("it ends with %v and should with an error that holds %q", err, c.Error)
		}
		return
	}
	host := c.machine()
	r := modtest.Converge(t, m, string(c.Args), host, c.setup())
	if r.Err != nil {
		t.Errorf("it fails: %v", r.Err)
	}
	for path, want := range c.Want {
		if got := host.Content(path); got != want {
			t.Errorf("%s holds %q and should hold %q", path, got, want)
		}
	}
}
