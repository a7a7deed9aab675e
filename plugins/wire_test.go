package plugins

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/builtin"
	"github.com/pegbook/pegbook/modules/modtest"
)

type noArgs struct{}

type proposing = func(ctx context.Context, call *modules.Call, args noArgs) (*modules.Proposal, error)

// behind puts a module that proposes like this behind the wire.
func behind(t *testing.T, propose proposing) *modules.Module {
	t.Helper()
	p, err := Loopback(t.Context(), Options{}, modules.Define("probe", "Probe\n\nText", propose))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p.Modules()[0]
}

// probe runs it on a host.
func probe(t *testing.T, host modules.Host, propose proposing) (*modules.Proposal, error) {
	t.Helper()
	return behind(t, propose).Propose(t.Context(), &modules.Call{Host: host}, nil)
}

// failing is a host whose every answer is an error.
type failing struct {
	modules.Host
	err error
}

func (f failing) Name() string { return "h" }

func (f failing) Look(context.Context, ...modules.Query) ([]modules.File, error) { return nil, f.err }

func (f failing) Run(context.Context, modules.Command) (modules.Output, error) {
	return modules.Output{ExitCode: 3, Stderr: []byte("no")}, f.err
}

var errOurs = errors.New("an error that only pegbook knows")

func TestErrorsKeepTheirKind(t *testing.T) {
	missing := &modules.FileError{Op: "look at", Path: "/x", Kind: fs.ErrNotExist, Text: "no such file"}
	full := &modules.FileError{Op: "write", Path: "/x", Kind: modules.ErrNoSpace, Text: "disk full"}
	exit := &modules.ExitError{Argv: []string{"false"}, Output: modules.Output{ExitCode: 3, Stderr: []byte("no")}}
	gone := &modules.UnreachableError{Host: "h", Hint: "is it on?", Err: errors.New("no route")}
	arg := &modules.ArgumentError{Arg: "path", Problem: "path is bad", Hint: "write another"}
	for _, err := range []error{missing, full, exit, gone, arg, modules.ErrUnpredicted, modules.ErrStarted, errOurs, os.ErrDeadlineExceeded,
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNREFUSED, fs.ErrPermission} {
		// From the host to the module, and from there, wrapped, to pegbook; or made by the module.
		var seen error
		_, back := probe(t, failing{err: err}, func(ctx context.Context, call *modules.Call, _ noArgs) (*modules.Proposal, error) {
			_, seen = call.Host.Look(ctx, modules.Query{Path: "/x"})
			return nil, fmt.Errorf("look: %w", seen)
		})
		require.EqualError(t, seen, err.Error())
		require.EqualError(t, back, "look: "+err.Error())
		require.ErrorIs(t, back, err, "pegbook's own errors come back as they were")
		_, made := probe(t, failing{}, func(context.Context, *modules.Call, noArgs) (*modules.Proposal, error) {
			return nil, fmt.Errorf("made: %w", err)
		})
		require.EqualError(t, made, "made: "+err.Error())
		for _, e := range []error{seen, made} {
			requireSameKind(t, err, e)
		}
	}
}

// requireSameKind compares what errors.Is and errors.As tell.
func requireSameKind(t *testing.T, want, got error) {
	t.Helper()
	for _, k := range kinds() {
		require.Equal(t, errors.Is(want, k.err) || k.err == os.ErrDeadlineExceeded && errors.Is(want, context.DeadlineExceeded) || //nolint:errorlint // the sentinel
			k.err == context.DeadlineExceeded && errors.Is(want, os.ErrDeadlineExceeded), errors.Is(got, k.err), "%v is %v", got, k.err) //nolint:errorlint // the sentinel
	}
	var file, wantFile *modules.FileError
	require.Equal(t, errors.As(want, &wantFile), errors.As(got, &file))
	require.Equal(t, wantFile, file)
	var exit, wantExit *modules.ExitError
	require.Equal(t, errors.As(want, &wantExit), errors.As(got, &exit))
	require.Equal(t, wantExit, exit)
	var arg, wantArg *modules.ArgumentError
	require.Equal(t, errors.As(want, &wantArg), errors.As(got, &arg))
	require.Equal(t, wantArg, arg)
	var gone, wantGone *modules.UnreachableError
	require.Equal(t, errors.As(want, &wantGone), errors.As(got, &gone))
	require.Equal(t, wantGone, gone)
}

func TestFailedCommandGivesItsOutputToo(t *testing.T) {
	_, err := probe(t, failing{err: &modules.ExitError{}}, func(ctx context.Context, call *modules.Call, _ noArgs) (*modules.Proposal, error) {
		out, err := call.Host.Run(ctx, modules.Command{Argv: []string{"false"}})
		if out.ExitCode != 3 || string(out.Stderr) != "no" {
			return nil, fmt.Errorf("the output is %+v", out)
		}
		return nil, err
	})
	var exit *modules.ExitError
	require.ErrorAs(t, err, &exit)
}

func TestContentOfAnySizeTravelsBothWays(t *testing.T) {
	for _, size := range []int{0, 1, shortContent, shortContent + 1, 3 << 20} {
		content := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		path := filepath.Join(t.TempDir(), "f")
		require.NoError(t, os.WriteFile(path, content, 0o640))
		local, err := modules.LocalFile(path)
		require.NoError(t, err)
		host := modtest.NewMachine("h").Write("/srv/in", string(content))
		m := behind(t, func(ctx context.Context, call *modules.Call, _ noArgs) (*modules.Proposal, error) {
			files, err := call.Host.Look(ctx, modules.Query{Path: "/srv/in", Content: 8 << 20, Sum: true})
			if err != nil {
				return nil, err
			}
			source, err := call.Open("files", "f")
			if err != nil {
				return nil, err
			}
			if mode, ok := modules.ModeOf(source); !ok || mode != 0o640 {
				return nil, fmt.Errorf("the mode is %o", mode)
			}
			if sum, err := source.SHA256(); err != nil || sum != files[0].Sum {
				return nil, fmt.Errorf("sums %s and %s (%w)", sum, files[0].Sum, err)
			}
			if !bytes.Equal(files[0].Content, content) {
				return nil, errors.New("looking gives another content")
			}
			p := &modules.Proposal{}
			p.Change(modules.Change{Kind: modules.WriteFile, Path: "/srv/out", Content: modules.Bytes("made", content)},
				modules.Change{Kind: modules.WriteFile, Path: "/srv/same", Content: source})
			return p, nil
		})
		p, err := m.Propose(t.Context(), &modules.Call{Host: host, Open: func(string, string) (modules.Source, error) { return local, nil }}, nil)
		require.NoError(t, err)
		require.Len(t, p.Changes, 2)
		require.Same(t, local, p.Changes[1].Content, "content of pegbook's is itself again")
		require.NoError(t, p.Do(t.Context(), host))
		require.Equal(t, string(content), host.Content("/srv/out"))
		require.Equal(t, string(content), host.Content("/srv/same"))
	}
}

// secretFile is content that was decrypted.
type secretFile struct{ modules.Source }

func (secretFile) AsIs() modules.Source {
	return modules.Bytes("vaulted", []byte("$ANSIBLE_VAULT;1.1"))
}

func TestDecryptedContentIsKnownAsSuch(t *testing.T) {
	m := behind(t, func(_ context.Context, call *modules.Call, _ noArgs) (*modules.Proposal, error) {
		source, err := call.Open("files", "f")
		if err != nil {
			return nil, err
		}
		r, err := modules.AsIs(source).Open()
		if err != nil {
			return nil, err
		}
		raw, err := io.ReadAll(r)
		return &modules.Proposal{Message: fmt.Sprint(modules.Encrypted(source), " ", string(raw))}, err
	})
	p, err := m.Propose(t.Context(), &modules.Call{Host: failing{}, Open: func(string, string) (modules.Source, error) {
		return secretFile{modules.Bytes("f", []byte("s3cret"))}, nil
	}}, nil)
	require.NoError(t, err)
	require.Equal(t, "true $ANSIBLE_VAULT;1.1", p.Message)
}

// slowHost runs one command, until it is cancelled.
type slowHost struct {
	failing
	ended chan error
}

func (h slowHost) Run(ctx context.Context, _ modules.Command) (modules.Output, error) {
	<-ctx.Done()
	h.ended <- context.Cause(ctx)
	return modules.Output{}, context.Cause(ctx)
}

func TestCancellingEndsWhatTheHostDoes(t *testing.T) {
	// A module that sets a limit to its own command.
	host := slowHost{ended: make(chan error, 1)}
	_, err := probe(t, host, func(ctx context.Context, call *modules.Call, _ noArgs) (*modules.Proposal, error) {
		ctx, stop := context.WithTimeout(ctx, 20*time.Millisecond)
		defer stop()
		_, err := call.Host.Run(ctx, modules.Command{Argv: []string{"sleep", "1000"}})
		return nil, err
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, <-host.ended, context.Canceled)
	// A task that is cancelled while it is carried out.
	p, err := probe(t, host, func(context.Context, *modules.Call, noArgs) (*modules.Proposal, error) {
		return &modules.Proposal{Do: func(ctx context.Context, host modules.Host) error {
			_, err := host.Run(ctx, modules.Command{Argv: []string{"sleep", "1000"}})
			return err
		}}, nil
	})
	require.NoError(t, err)
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(enough) })
	require.ErrorIs(t, p.Do(ctx, host), enough)
	require.Error(t, <-host.ended)
}

func TestCancelledModuleMayEndInGoodOrder(t *testing.T) {
	host := modtest.NewMachine("h")
	begun := make(chan struct{})
	m := behind(t, func(context.Context, *modules.Call, noArgs) (*modules.Proposal, error) {
		return &modules.Proposal{Do: func(ctx context.Context, host modules.Host) error {
			close(begun)
			<-ctx.Done()
			if err := host.Apply(context.WithoutCancel(ctx), modules.Change{Kind: modules.Touch, Path: "/tidied"}); err != nil {
				return err
			}
			return context.Cause(ctx)
		}}, nil
	})
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	p, err := m.Propose(ctx, &modules.Call{Host: host}, nil)
	require.NoError(t, err)
	go func() {
		<-begun
		cancel(enough)
	}()
	require.ErrorIs(t, p.Do(ctx, host), enough)
	require.Contains(t, host.Snapshot(), "/tidied")
}

func TestConnectionsAreRealOnes(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, c) // an echo
	}()
	host := modtest.NewMachine("h")
	host.OnDial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, listener.Addr().String())
	}
	sent := strings.Repeat("all the bytes in their order ", 30000)
	_, err = probe(t, host, func(ctx context.Context, call *modules.Call, _ noArgs) (*modules.Proposal, error) {
		c, err := call.Host.Dial(ctx, "tcp", "db:1")
		if err != nil {
			return nil, err
		}
		defer c.Close()
		// A deadline that passes loses nothing of what comes later.
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		var late net.Error
		if _, err := c.Read(make([]byte, 1)); !errors.As(err, &late) || !late.Timeout() {
			return nil, fmt.Errorf("reading what is not there gives %w", err)
		}
		_ = c.SetReadDeadline(time.Time{})
		go func() { _, _ = io.WriteString(c, sent) }()
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != sent {
			return nil, fmt.Errorf("other bytes came back: %w", err)
		}
		// Closing wakes whoever reads.
		time.AfterFunc(10*time.Millisecond, func() { c.Close() })
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			return nil, fmt.Errorf("reading what was closed gives %w", err)
		}
		return &modules.Proposal{Message: c.RemoteAddr().String()}, nil
	})
	require.NoError(t, err)
}

// jobs keeps one job.
type jobs struct{ job modules.Job }

func (j *jobs) StartJob(_ context.Context, job modules.Job) (modules.JobState, error) {
	j.job = job
	return modules.JobState{ID: job.ID, Running: true}, nil
}

func (j *jobs) Job(_ context.Context, id string) (modules.JobState, error) {
	return modules.JobState{ID: id, Finished: true, Argv: j.job.Command.Argv, Path: "/jobs/" + id,
		Output: modules.Output{ExitCode: 4, Started: time.Unix(5, 0)}, Err: &modules.ExitError{Argv: []string{"x"}}}, nil
}

func (j *jobs) ForgetJob(context.Context, string) (modules.JobState, error) {
	return modules.JobState{}, fs.ErrNotExist
}

func TestEverythingOfACallArrives(t *testing.T) {
	kept := &jobs{}
	var said []string
	call := &modules.Call{
		Host: modtest.NewMachine("h"), Hostname: "other", Dir: "/books", Batch: []string{"h", "i"}, Verbosity: 2, Jobs: kept, Begun: &modules.Begun{Mark: "pid 7"},
		Note:   func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) },
		Report: func(p modules.Progress) { said = append(said, p.String()) },
		Render: func(name, text string, delims [2]string) (string, error) {
			return name + text + delims[0] + delims[1], nil
		},
		Eval: func(e modules.Expr) (json.RawMessage, error) { return json.RawMessage(`"` + string(e) + `"`), nil },
		OpenDir: func(_, name string) ([]modules.TreeEntry, error) {
			return []modules.TreeEntry{{Path: name, Kind: modules.Symlink, Mode: 0o777, Target: "there"}, {Path: "f", Kind: modules.Regular, Source: modules.Bytes("f", []byte("x"))}}, nil
		},
	}
	m := behind(t, func(ctx context.Context, call *modules.Call, _ noArgs) (*modules.Proposal, error) {
		for i := range 50 {
			call.Note("step %d: 100%%", i)
		}
		call.Progress(modules.Progress{Phase: "moves", Counts: []modules.Count{{Name: "primaries", Left: 3, Of: 4}}})
		text, err := call.Render("n", "t", [2]string{"<", ">"})
		if err != nil {
			return nil, err
		}
		raw, err := call.Eval("a b")
		if err != nil {
			return nil, err
		}
		tree, err := call.OpenDir("files", "d")
		if err != nil {
			return nil, err
		}
		if _, err := call.Jobs.StartJob(ctx, modules.Job{ID: "j1", Limit: time.Minute, Command: modules.Command{Argv: []string{"make"}, Env: map[string]string{"A": "b"}}}); err != nil {
			return nil, err
		}
		state, err := call.Jobs.Job(ctx, "j1")
		if err != nil {
			return nil, err
		}
		_, forgotten := call.Jobs.ForgetJob(ctx, "j1")
		return &modules.Proposal{
			Message: fmt.Sprintln(call.Host.Name(), call.Hostname, call.Dir, call.Batch, call.Verbosity, call.Begun.Mark, text, string(raw), len(tree), tree[0].Target,
				tree[1].Source.Size(), state.Finished, state.Path, state.Output.ExitCode, state.Output.Started.Unix(), state.Err, errors.Is(forgotten, fs.ErrNotExist)),
			Facts: map[string]json.RawMessage{"a": json.RawMessage("1")}, FactRank: modules.RankFound, Waits: true, Expects: time.Second, Mark: "pid 8",
			Predicts: map[string]string{}, Leaves: []modules.Change{{Kind: modules.Touch, Path: "/x"}}, Skip: true,
			Diff: []modules.Diff{{Subject: "s", Before: "b", After: "a", Note: "n", Secret: true}},
			Do:   func(context.Context, modules.Host) error { return nil },
		}, nil
	})
	p, err := m.Propose(t.Context(), call, nil)
	require.NoError(t, err)
	require.Equal(t, "h other /books [h i] 2 pid 7 nt<> \"a b\" 2 there 1 true /jobs/j1 4 5 x ended with code 0 true\n", p.Message)
	require.Equal(t, modules.Job{ID: "j1", Limit: time.Minute, Command: modules.Command{Argv: []string{"make"}, Env: map[string]string{"A": "b"}}}, kept.job)
	require.Len(t, said, 51)
	require.Equal(t, []string{"step 0: 100%", "moves: primaries 3 of 4"}, []string{said[0], said[50]})
	p.Do, p.Message = nil, ""
	require.Equal(t, &modules.Proposal{
		Facts: map[string]json.RawMessage{"a": json.RawMessage("1")}, FactRank: modules.RankFound, Waits: true, Expects: time.Second, Mark: "pid 8",
		Predicts: map[string]string{}, Leaves: []modules.Change{{Kind: modules.Touch, Path: "/x"}}, Skip: true,
		Diff: []modules.Diff{{Subject: "s", Before: "b", After: "a", Note: "n", Secret: true}},
	}, p)
}

func TestDoMayAddToOutputAndDiff(t *testing.T) {
	type result struct {
		N int `json:"n"`
	}
	p, err := probe(t, modtest.NewMachine("h"), func(context.Context, *modules.Call, noArgs) (*modules.Proposal, error) {
		out := &result{1}
		p := &modules.Proposal{Output: out}
		p.Do = func(context.Context, modules.Host) error {
			out.N = 2
			p.Diff = append(p.Diff, modules.Diff{Subject: "late"})
			return errors.New("and then it failed")
		}
		return p, nil
	})
	require.NoError(t, err)
	before, err := json.Marshal(p.Output)
	require.NoError(t, err)
	require.EqualError(t, p.Do(t.Context(), modtest.NewMachine("h")), "and then it failed")
	after, err := json.Marshal(p.Output)
	require.NoError(t, err)
	require.Equal(t, `{"n":1} {"n":2}`, string(before)+" "+string(after))
	require.Equal(t, []modules.Diff{{Subject: "late"}}, p.Diff)
	require.Error(t, p.Do(t.Context(), modtest.NewMachine("h")), "a proposal is carried out once")
}

// What describes a module survives the wire, for all that pegbook has.
func TestModulesAreDescribedInFull(t *testing.T) {
	all := builtin.All()
	p, err := Loopback(t.Context(), Options{}, Parts(all)...)
	require.NoError(t, err)
	defer p.Close()
	for i, got := range p.Modules() {
		want := all[i]
		wantArgs, err := json.Marshal(want.Args)
		require.NoError(t, err)
		gotArgs, err := json.Marshal(got.Args)
		require.NoError(t, err)
		require.JSONEq(t, string(wantArgs), string(gotArgs))
		require.Equal(t, []any{want.Name, want.Doc, want.Runs, want.Gathers, want.Facts, want.Output, want.Reads != nil, want.Keeps, want.Restore != nil, want.About != nil},
			[]any{got.Name, got.Doc, got.Runs, got.Gathers, got.Facts, got.Output, got.Reads != nil, got.Keeps, got.Restore != nil, got.About != nil})
	}
}

func TestTemplatesAreReadAcrossTheWire(t *testing.T) {
	for _, m := range builtin.All() {
		if m.Reads == nil {
			continue
		}
		p, err := Loopback(t.Context(), Options{}, m)
		require.NoError(t, err)
		args, text := json.RawMessage(`{"src": "a", "dest": "/a"}`), "{{ .x }} ${Y}"
		want, wantErr := m.Reads(args, text)
		got, gotErr := p.Modules()[0].Reads(args, text)
		require.Equal(t, wantErr == nil, gotErr == nil, m.Name)
		require.Equal(t, want, got, m.Name)
		require.NoError(t, p.Close())
	}
}
