package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins"
	"github.com/pegbook/pegbook/plugins/plugintest"
)

// lineArgs are those of the module that the table below breaks, one rule at a time.
type lineArgs struct {
	Path     string `arg:"path,path,required" doc:"the file"`
	Line     string `arg:"line,required" doc:"what it holds"`
	Password string `arg:"password,secret" doc:"a secret"`
}

const linePage = `Keep a line in a file

Writes it.

    - name: an example
      keep_line: {path: /etc/keep.conf, line: on}`

type lineProposing = func(ctx context.Context, call *modules.Call, args lineArgs) (*modules.Proposal, error)

// keepLine proposes as a module should.
func keepLine(ctx context.Context, call *modules.Call, args lineArgs) (*modules.Proposal, error) {
	files, err := call.Host.Look(ctx, modules.Query{Path: args.Path, Content: 1 << 10})
	if err != nil {
		return nil, err
	}
	p := &modules.Proposal{Output: map[string]string{"path": args.Path}}
	if want := args.Line + "\n"; string(files[0].Content) != want {
		p.Diff = []modules.Diff{{Subject: args.Path, Before: string(files[0].Content), After: want}}
		p.Change(modules.Change{Kind: modules.WriteFile, Path: args.Path, Content: modules.Bytes("line", []byte(want))})
	}
	return p, nil
}

// besidesKeeping does something else first.
func besidesKeeping(also func(ctx context.Context, call *modules.Call, args lineArgs) error) lineProposing {
	return func(ctx context.Context, call *modules.Call, args lineArgs) (*modules.Proposal, error) {
		if err := also(ctx, call, args); err != nil {
			return nil, err
		}
		return keepLine(ctx, call, args)
	}
}

// changed is keepLine with another proposal.
func changed(change func(p *modules.Proposal, args lineArgs)) lineProposing {
	return func(ctx context.Context, call *modules.Call, args lineArgs) (*modules.Proposal, error) {
		p, err := keepLine(ctx, call, args)
		if err == nil {
			change(p, args)
		}
		return p, err
	}
}

func lineModule(propose lineProposing) *modules.Module {
	return modules.Define("keep_line", linePage, propose)
}

// failedChecks are what plugin test finds wrong with a part, across the wire.
func failedChecks(t *testing.T, part plugins.Part, cases ...plugintest.Case) string {
	t.Helper()
	p, err := plugins.Loopback(t.Context(), plugins.Options{Silence: testSilence}, part)
	require.NoError(t, err)
	defer p.Close()
	var wrong []string
	s := plugintest.Suite{Cases: cases, Report: func(c plugintest.Check) {
		t.Logf("%+v", c)
		if c.Problem != "" {
			wrong = append(wrong, c.Name+": "+c.Problem)
		}
	}}
	holdTo(t.Context(), p, &s)
	failed := s.Run(t.Context())
	require.Len(t, wrong, failed)
	return strings.Join(wrong, "\n")
}

func TestPluginTestFindsNothingWrongWithASoundModule(t *testing.T) {
	require.Empty(t, failedChecks(t, lineModule(keepLine)))
}

// Each module breaks one rule; the finding tells its author what to mend.
func TestPluginTestFindsWhatIsWrong(t *testing.T) {
	run := func(host modules.Host, ctx context.Context, readOnly bool, argv ...string) error {
		_, err := host.Run(ctx, modules.Command{Argv: argv, ReadOnly: readOnly})
		return err
	}
	for _, c := range []struct {
		name   string
		module *modules.Module
		want   string
	}{
		{"proposing writes", lineModule(besidesKeeping(func(ctx context.Context, call *modules.Call, args lineArgs) error {
			return call.Host.Apply(ctx, modules.Change{Kind: modules.Touch, Path: args.Path + ".bak"})
		})), "proposing changed the host"},
		{"proposing runs a command with effects", lineModule(besidesKeeping(func(ctx context.Context, call *modules.Call, _ lineArgs) error {
			_ = run(call.Host, ctx, false, "rm", "-rf", "/srv")
			return nil
		})), `proposing ran a command that is not ReadOnly; that is for the Do of the proposal: ["rm" "-rf" "/srv"]`},
		{"a second run changes again", lineModule(changed(func(p *modules.Proposal, args lineArgs) {
			p.Diff = append(p.Diff, modules.Diff{Subject: args.Path, Note: "is touched"})
			p.Change(append(p.Changes, modules.Change{Kind: modules.Touch, Path: args.Path})...)
		})), "a second run would change again"},
		{"differences that nothing is done about", lineModule(changed(func(p *modules.Proposal, _ lineArgs) { p.Do, p.Changes = nil, nil })), "has differences and nothing to do about them"},
		{"check mode predicts too little", lineModule(changed(func(p *modules.Proposal, _ lineArgs) {
			if p.Do != nil {
				p.Predicts, p.Changes = map[string]string{}, nil
			}
		})), "after its own prediction it would change again"},
		{"cancelling is not noticed", lineModule(func(ctx context.Context, call *modules.Call, args lineArgs) (*modules.Proposal, error) {
			p, err := keepLine(ctx, call, args)
			if errors.Is(err, context.Canceled) {
				time.Sleep(1200 * time.Millisecond)
			}
			return p, err
		}), "to notice that it was cancelled; watch the context"},
		{"a secret in a difference", lineModule(changed(func(p *modules.Proposal, args lineArgs) {
			p.Diff = append(p.Diff, modules.Diff{Subject: args.Path, After: args.Password})
		})), "shows the secret argument password"},
		{"a secret in a note", lineModule(besidesKeeping(func(_ context.Context, call *modules.Call, args lineArgs) error {
			call.Note("logging in with %s", args.Password)
			return nil
		})), "shows the secret argument password"},
		{"a secret in a message", lineModule(changed(func(p *modules.Proposal, args lineArgs) { p.Message = args.Password })), "shows the secret argument password"},
		{"a secret in a result", lineModule(changed(func(p *modules.Proposal, args lineArgs) { p.Output = args })), "shows the secret argument password"},
		{"a secret in an error", lineModule(besidesKeeping(func(ctx context.Context, call *modules.Call, args lineArgs) error {
			_, err := call.Host.Look(ctx, modules.Query{Path: "/"})
			if err != nil {
				return fmt.Errorf("with %s: %w", args.Password, err)
			}
			return nil
		})), "the error shows a secret argument"},
		{"a secret in a command line", lineModule(besidesKeeping(func(ctx context.Context, call *modules.Call, args lineArgs) error {
			_ = run(call.Host, ctx, true, "login", args.Password)
			return nil
		})), "shows the secret argument password"},
		{"an argument without documentation", func() *modules.Module {
			m := lineModule(keepLine)
			m.Args[0].Doc = ""
			return m
		}(), "argument path needs a line of documentation"},
		{"no example", modules.Define("keep_line", "Keep a line in a file\n\nWrites it.", keepLine), "the manual page has no indented example of the module"},
		{"an example that does not compile", modules.Define("keep_line", strings.Replace(linePage, "line: on", "lines: on", 1), keepLine), `takes no argument "lines"`},
		{"an example of another module", modules.Define("keep_line", linePage[:strings.Index(linePage, "    - name")]+"    - debug: {msg: hello}", keepLine), "the manual page has no indented example of the module"},
		{"an unreachable host is told as something else", lineModule(func(ctx context.Context, call *modules.Call, args lineArgs) (*modules.Proposal, error) {
			p, err := keepLine(ctx, call, args)
			if err != nil {
				return nil, errors.New("something went wrong")
			}
			return p, nil
		}), "the host cannot be reached and the task ends with something went wrong"},
		{"an unreachable host is taken for one without the file", lineModule(func(ctx context.Context, call *modules.Call, args lineArgs) (*modules.Proposal, error) {
			p, err := keepLine(ctx, call, args)
			if err != nil {
				return &modules.Proposal{}, nil
			}
			return p, nil
		}), "the host cannot be reached and the task ends with no error"},
		{"arguments that nobody knows are taken", func() *modules.Module {
			m := lineModule(keepLine)
			m.Propose = func(ctx context.Context, call *modules.Call, raw json.RawMessage) (*modules.Proposal, error) {
				var args lineArgs
				_ = json.Unmarshal(raw, &args)
				return keepLine(ctx, call, args)
			}
			return m
		}(), "the unknown argument no_such_argument_at_all"},
		{"a result that is no object", lineModule(changed(func(p *modules.Proposal, _ lineArgs) { p.Output = 7 })), "its result is no object"},
		{"a bug", lineModule(func(context.Context, *modules.Call, lineArgs) (*modules.Proposal, error) { panic("index out of range") }), "bug in the plugin: index out of range"},
		{"neither a proposal nor an error", lineModule(func(context.Context, *modules.Call, lineArgs) (*modules.Proposal, error) { return nil, nil }), "answers neither a proposal nor an error"},
		{"many questions", lineModule(besidesKeeping(func(ctx context.Context, call *modules.Call, args lineArgs) error {
			for range 50 {
				if _, err := call.Host.Look(ctx, modules.Query{Path: args.Path}); err != nil {
					return err
				}
			}
			return nil
		})), "round trips"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, failedChecks(t, c.module), c.want)
		})
	}
}
