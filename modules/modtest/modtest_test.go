package modtest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

type markArgs struct {
	Path     string `arg:"path,path,required" doc:"the file"`
	Password string `arg:"password,secret" doc:"a secret"`
}

const doc = `Write a mark

    - name: a mark
      mark:
        path: /srv/mark`

// good writes "x" to a file that is not there: what every module should be like.
func good(ctx context.Context, call *modules.Call, args markArgs) (*modules.Proposal, error) {
	files, err := call.Host.Look(ctx, modules.Query{Path: args.Path})
	if err != nil || files[0].Kind != modules.Missing {
		return &modules.Proposal{}, err
	}
	return &modules.Proposal{
		Diff: []modules.Diff{{Subject: args.Path, Note: "is written"}},
		Do:   func(ctx context.Context, host modules.Host) error { return host.Apply(ctx, put(args.Path)) },
	}, nil
}

func put(path string) modules.Change {
	return modules.Change{Kind: modules.WriteFile, Path: path, Content: modules.Bytes(path, []byte("x"))}
}

// failures keeps what a harness complains about, in place of failing the test.
type failures struct {
	testing.TB
	said strings.Builder
}

func (f *failures) Helper() {}

func (f *failures) Errorf(format string, args ...any) { fmt.Fprintf(&f.said, format+"\n", args...) }

func (f *failures) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	runtime.Goexit()
}

// complaints runs a module through the harness and gives what it says.
func complaints(t *testing.T, m *modules.Module) string {
	t.Helper()
	f := &failures{TB: t}
	host := modtest.NewMachine("host1").Mkdir("/srv")
	host.OnRun = func(context.Context, modules.Command) (modules.Output, error) { return modules.Output{}, nil }
	done := make(chan struct{})
	go func() { // Fatalf ends its goroutine
		defer close(done)
		modtest.Converge(f, m, `{"path": "/srv/mark", "password": "s3cret"}`, host, modtest.Setup{})
	}()
	<-done
	return f.said.String()
}

func TestConvergeFindsBrokenPromises(t *testing.T) {
	type propose = func(context.Context, *modules.Call, markArgs) (*modules.Proposal, error)
	// change takes good's proposal and spoils it.
	change := func(spoil func(p *modules.Proposal, call *modules.Call, args markArgs)) propose {
		return func(ctx context.Context, call *modules.Call, args markArgs) (*modules.Proposal, error) {
			p, err := good(ctx, call, args)
			if err == nil {
				spoil(p, call, args)
			}
			return p, err
		}
	}
	cases := []struct {
		name    string
		doc     string
		propose propose
		want    string
	}{
		{"nothing wrong", doc, good, ""},
		{"changes while proposing", doc, func(ctx context.Context, call *modules.Call, args markArgs) (*modules.Proposal, error) {
			_ = call.Host.Apply(ctx, put("/srv/other"))
			return good(ctx, call, args)
		}, "proposing changed the host"},
		{"runs something while proposing", doc, func(ctx context.Context, call *modules.Call, args markArgs) (*modules.Proposal, error) {
			_, _ = call.Host.Run(ctx, modules.Command{Argv: []string{"touch", "/srv/other"}})
			return good(ctx, call, args)
		}, "proposing ran a command with effects"},
		{"changes every time", doc, change(func(p *modules.Proposal, _ *modules.Call, args markArgs) {
			p.Diff = []modules.Diff{{Subject: args.Path, Note: "is written"}}
			p.Do = func(ctx context.Context, host modules.Host) error { return host.Apply(ctx, put(args.Path)) }
		}), "a second run would change again"},
		{"claims without doing", doc, change(func(p *modules.Proposal, _ *modules.Call, _ markArgs) { p.Do = nil }), "has differences and nothing to do about them"},
		{"does another thing than it predicts", doc, change(func(p *modules.Proposal, _ *modules.Call, _ markArgs) {
			p.Predicts = map[string]string{}
		}), "after its own prediction it would change again"},
		{"shows a secret", doc, change(func(p *modules.Proposal, _ *modules.Call, args markArgs) { p.Message = "with " + args.Password }), "shows the secret argument password"},
		{"notes a secret", doc, change(func(_ *modules.Proposal, call *modules.Call, args markArgs) { call.Note("with %s", args.Password) }), "shows the secret argument password"},
		{"many round trips", doc, func(ctx context.Context, call *modules.Call, args markArgs) (*modules.Proposal, error) {
			_, _ = call.Host.Look(ctx, modules.Query{Path: "/"})
			return good(ctx, call, args)
		}, "took 2 round trips to find nothing to do"},
		{"output is no object", doc, change(func(p *modules.Proposal, _ *modules.Call, _ markArgs) { p.Output = 5 }), " is no object"},
		{"no answer", doc, func(context.Context, *modules.Call, markArgs) (*modules.Proposal, error) { return nil, nil }, "neither a proposal nor an error"},
		{"an error", doc, func(context.Context, *modules.Call, markArgs) (*modules.Proposal, error) {
			return nil, errors.New("no")
		}, "proposes nothing: no"},
		{"no example", "Title\n\nText", good, "no indented example"},
		{"no title", "Title.\nText" + doc[len("Write a mark"):], good, "is not a title without a period"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			said := complaints(t, modules.Define("mark", c.doc, c.propose))
			if c.want == "" && said != "" || !strings.Contains(said, c.want) {
				t.Errorf("the harness says\n%s\nwant %q", said, c.want)
			}
		})
	}
}
