package plugins

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins/wire"
)

// hostPatience is how long a plugin waits for the answer to a question that it has cancelled: the host ends what
// it had started before it answers.
const hostPatience = 10 * time.Second

// served is one task in the plugin's process.
type served struct {
	*session
	modules map[string]*modules.Module

	turn     sync.Mutex // guards proposal
	proposal *modules.Proposal
}

// serveTask does what the other side of a task's stream asks until that ends.
func serveTask(l link, all map[string]*modules.Module) {
	t := &served{session: newSession(l), modules: all}
	t.patience, t.session.serve = hostPatience, t.serve
	_ = t.listen() // a stream always ends with an error: io.EOF, or the reason
}

// bugPrefix begins the error of a module that panicked.
const bugPrefix = "bug in the plugin: "

// IsBug says whether an error is of a module that panicked.
func IsBug(err error) bool { return err != nil && strings.HasPrefix(err.Error(), bugPrefix) }

func (t *served) serve(ctx context.Context, f *wire.Frame) (answer *wire.Frame) {
	defer func() {
		if bug := recover(); bug != nil {
			answer = failed(fmt.Errorf("%s%v\n%s", bugPrefix, bug, debug.Stack()))
		}
	}()
	switch body := f.Body.(type) {
	case *wire.Frame_Propose:
		return t.propose(ctx, body.Propose)
	case *wire.Frame_Do:
		return t.do(ctx, body.Do)
	}
	return failed(fmt.Errorf("a plugin is not asked that: %T", f.Body))
}

func (t *served) propose(ctx context.Context, q *wire.Propose) *wire.Frame {
	m := t.modules[q.Module]
	if m == nil {
		return failed(fmt.Errorf("the plugin has no module %q", q.Module))
	}
	host := &remoteHost{session: t.session, name: q.Host}
	call := &modules.Call{
		Host: host, Open: t.open, OpenDir: t.openDir, Render: t.render, Eval: t.eval, Note: t.tell, Report: t.report, Jobs: host,
		Hostname: q.Hostname, Dir: q.Dir, Batch: q.Batch, Verbosity: int(q.Verbosity), Later: q.Later,
	}
	if q.Begun {
		call.Begun = &modules.Begun{Mark: q.BegunMark}
	}
	p, err := proposal(ctx, m, call, q)
	if err != nil {
		return t.fails(err)
	}
	if p == nil {
		return nothing()
	}
	t.turn.Lock()
	t.proposal = p
	t.turn.Unlock()
	proposed, err := t.proposedToWire(p)
	if err != nil {
		return t.fails(err)
	}
	return &wire.Frame{Body: &wire.Frame_Proposed{Proposed: proposed}}
}

// proposal lets a module propose to do what it is for, or to put back what was there before.
func proposal(ctx context.Context, m *modules.Module, call *modules.Call, q *wire.Propose) (*modules.Proposal, error) {
	switch {
	case !q.Restore:
		return m.Propose(ctx, call, q.Args)
	case m.Restore == nil:
		return nil, fmt.Errorf("module %s cannot be taken back", m.Name)
	}
	return m.Restore(ctx, call, q.Args, q.Before)
}

func (t *served) do(ctx context.Context, q *wire.Do) *wire.Frame {
	t.turn.Lock()
	p := t.proposal
	t.proposal = nil
	t.turn.Unlock()
	if p == nil || p.Do == nil {
		return failed(errNothingToDo)
	}
	err := p.Do(ctx, &remoteHost{session: t.session, name: q.Host, doing: true})
	done := &wire.Done{Diff: diffToWire(p.Diff)}
	output, broken := resultJSON(p.Output)
	if broken != nil && err == nil {
		err = broken
	}
	done.Output, done.Error = output, t.problem(err)
	return &wire.Frame{Body: &wire.Frame_Done{Done: done}}
}

// question asks what has no context of its own; the task's stream bounds it.
func (t *served) question(f *wire.Frame) (*wire.Frame, error) { return t.ask(t.link.Context(), f) }

func (t *served) open(kind, name string) (modules.Source, error) {
	f, err := t.question(&wire.Frame{Body: &wire.Frame_OpenFile{OpenFile: &wire.OpenFile{Kind: kind, Name: name}}})
	if err != nil {
		return nil, err
	}
	if f.GetContent() == nil {
		return nil, errNonsense
	}
	return t.contentFromWire(f.GetContent())
}

func (t *served) openDir(kind, name string) ([]modules.TreeEntry, error) {
	f, err := t.question(&wire.Frame{Body: &wire.Frame_OpenFolder{OpenFolder: &wire.OpenFolder{Kind: kind, Name: name}}})
	if err != nil {
		return nil, err
	}
	var entries []modules.TreeEntry
	for _, e := range f.GetFolder().GetEntries() {
		source, err := t.contentFromWire(e.Content)
		if err != nil {
			return nil, err
		}
		entries = append(entries, modules.TreeEntry{Path: e.Path, Kind: modules.FileKind(e.Kind), Mode: e.Mode, Target: e.Target, Source: source})
	}
	return entries, nil
}

func (t *served) render(name, text string, delims [2]string) (string, error) {
	f, err := t.question(&wire.Frame{Body: &wire.Frame_Render{Render: &wire.Render{Name: name, Text: text, Left: delims[0], Right: delims[1]}}})
	if err != nil {
		return "", err
	}
	return string(f.GetValue().GetValue()), nil
}

func (t *served) eval(expr modules.Expr) (json.RawMessage, error) {
	f, err := t.question(&wire.Frame{Body: &wire.Frame_Eval{Eval: &wire.Eval{Expression: string(expr)}}})
	if err != nil {
		return nil, err
	}
	return f.GetValue().GetValue(), nil
}

func (t *served) tell(format string, args ...any) {
	_ = t.send(&wire.Frame{Body: &wire.Frame_Note{Note: printable(fmt.Sprintf(format, args...))}}) // where the stream has ended nobody listens
}

func (t *served) report(p modules.Progress) {
	_ = t.send(&wire.Frame{Body: &wire.Frame_Progress{Progress: progressToWire(p)}}) // as tell
}

// remoteHost is the managed host in the plugin's process.
type remoteHost struct {
	*session
	name  string
	doing bool
}

var (
	_ modules.Host = (*remoteHost)(nil)
	_ modules.Jobs = (*remoteHost)(nil)
)

func (h *remoteHost) Name() string { return h.name }

func (h *remoteHost) Look(ctx context.Context, queries ...modules.Query) ([]modules.File, error) {
	if len(queries) == 0 {
		return nil, nil
	}
	f, err := h.ask(ctx, &wire.Frame{Body: &wire.Frame_Look{Look: &wire.Look{Doing: h.doing, Queries: queriesToWire(queries)}}})
	if err != nil {
		return nil, err
	}
	if len(f.GetFiles().GetFiles()) != len(queries) {
		return nil, errNonsense
	}
	return h.filesFromWire(f.GetFiles().GetFiles(), queries)
}

func (h *remoteHost) Apply(ctx context.Context, changes ...modules.Change) error {
	_, err := h.ask(ctx, &wire.Frame{Body: &wire.Frame_Apply{Apply: &wire.Apply{Doing: h.doing, Changes: h.changesToWire(changes)}}})
	return err
}

func (h *remoteHost) Run(ctx context.Context, cmd modules.Command) (modules.Output, error) {
	f, err := h.ask(ctx, &wire.Frame{Body: &wire.Frame_Run{Run: &wire.Run{Doing: h.doing, Command: commandToWire(cmd)}}})
	if err != nil {
		return modules.Output{}, err
	}
	out := outputFromWire(f.GetOutput())
	switch e := f.GetOutput().GetError(); {
	case e == nil:
		return out, nil
	case ctx.Err() != nil && slices.Contains(e.Kinds, wire.Error_KIND_CANCELED):
		return out, context.Cause(ctx)
	default:
		return out, h.failure(e)
	}
}

func (h *remoteHost) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	f, err := h.ask(ctx, &wire.Frame{Body: &wire.Frame_Dial{Dial: &wire.Dial{Doing: h.doing, Network: network, Address: address}}})
	if err != nil {
		return nil, err
	}
	return newConn(h.session, f.GetStream(), network), nil
}

func (h *remoteHost) Predicted(key string) (string, bool) {
	f, err := h.ask(h.link.Context(), &wire.Frame{Body: &wire.Frame_Predicted{Predicted: &wire.Predicted{Doing: h.doing, Key: key}}})
	if err != nil {
		return "", false
	}
	return string(f.GetValue().GetValue()), f.GetValue().GetFound()
}

func (h *remoteHost) StartJob(ctx context.Context, job modules.Job) (modules.JobState, error) {
	return h.job(ctx, &wire.Job{Id: job.ID, What: &wire.Job_Start_{Start: &wire.Job_Start{LimitNs: int64(job.Limit), Command: commandToWire(job.Command)}}})
}

func (h *remoteHost) Job(ctx context.Context, id string) (modules.JobState, error) {
	return h.job(ctx, &wire.Job{Id: id, What: &wire.Job_Look{Look: &wire.Nothing{}}})
}

func (h *remoteHost) ForgetJob(ctx context.Context, id string) (modules.JobState, error) {
	return h.job(ctx, &wire.Job{Id: id, What: &wire.Job_Forget{Forget: &wire.Nothing{}}})
}

func (h *remoteHost) job(ctx context.Context, q *wire.Job) (modules.JobState, error) {
	f, err := h.ask(ctx, &wire.Frame{Body: &wire.Frame_Job{Job: q}})
	if err != nil {
		return modules.JobState{}, err
	}
	return h.jobFromWire(f.GetJobState()), nil
}
