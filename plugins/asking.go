package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins/wire"
)

const (
	// pluginPatience is how long a plugin that is told to stop has left before its task is given up.
	pluginPatience = 2 * time.Second
	// settling is how long is waited for what the host still does for a task that has been given up.
	settling = 6 * time.Second
	// maxResult bounds what register may have to store.
	maxResult = 32 << 20
)

// errNothingToDo is a second Do, or one of a proposal that has none.
var errNothingToDo = errors.New("there is nothing to carry out: a proposal is carried out once")

// asked is one task in pegbook's process: it asks the plugin, and answers for the host.
type asked struct {
	*session
	end func(error) // ends the stream

	call *modules.Call

	said chatter // for the goroutine that listens

	turn  sync.Mutex // guards doing
	doing modules.Host
}

// output is what a plugin's module wants register to store. It changes when the proposal is carried out.
type output struct{ raw json.RawMessage }

// MarshalJSON gives what the plugin has sent.
func (o *output) MarshalJSON() ([]byte, error) { return o.raw, nil }

// newAsked starts to listen on a task's stream, which end ends.
func newAsked(l link, end func(error), call *modules.Call) *asked {
	a := &asked{session: newSession(l), end: end, call: call}
	a.patience, a.names = pluginPatience, true
	a.session.serve = a.serve
	a.note = a.tell
	go func() { _ = a.listen() }() // whoever asks is told why the stream ended
	return a
}

// tell passes on what a module says on its way.
func (a *asked) tell(f *wire.Frame) {
	may, missed := a.said.may(time.Now())
	switch {
	case !may:
		return
	case missed > 0:
		a.call.Note("%d notes came too fast to be shown", missed)
	}
	if p := f.GetProgress(); p != nil {
		a.call.Progress(shortProgress(progressFromWire(p)))
		return
	}
	a.call.Note("%s", shortened(f.GetNote()))
}

const (
	// maxNote bounds what is shown of a note, in bytes.
	maxNote = 4 << 10
	// maxBurst and pace bound the notes of a task: so many at any speed, then one in that time.
	maxBurst = 200
	pace     = 50 * time.Millisecond
)

// maxCounts bounds what is shown of a progress.
const maxCounts = 64

func shortProgress(p modules.Progress) modules.Progress {
	p.Phase, p.Detail = shortened(p.Phase), shortened(p.Detail)
	p.Counts = p.Counts[:min(len(p.Counts), maxCounts)]
	for i := range p.Counts {
		p.Counts[i].Name = shortened(p.Counts[i].Name)
	}
	return p
}

func shortened(note string) string {
	if len(note) <= maxNote {
		return note
	}
	return strings.ToValidUTF8(note[:maxNote], "") + "…"
}

// chatter is how much a task has said lately: notes are shown, written and kept, and a module may be in a loop.
type chatter struct {
	from   time.Time // when there was room for all again, as far as is known
	missed int
}

// may says whether there is room for one more, and how many there was none for since the last.
func (c *chatter) may(now time.Time) (room bool, missed int) {
	if full := now.Add(-maxBurst * pace); c.from.Before(full) {
		c.from = full
	}
	if c.from.Add(pace).After(now) {
		c.missed++
		return false, 0
	}
	c.from = c.from.Add(pace)
	missed, c.missed = c.missed, 0
	return true, missed
}

// wane ends the stream of a task that was cancelled: at once where the plugin is asked nothing, else when it has had
// its time to answer.
func (a *asked) wane() {
	a.mu.Lock()
	asks := len(a.waiting) > 0
	a.mu.Unlock()
	if !asks {
		a.end(nil)
		return
	}
	time.AfterFunc(a.patience, func() { a.end(nil) })
}

// leave ends the task: the plugin's side is cancelled, and what the host does for it.
func (a *asked) leave() {
	a.end(nil)
	settled := make(chan struct{})
	go func() {
		a.handlers.Wait()
		close(settled)
	}()
	select {
	case <-settled:
	case <-time.After(settling):
	}
}

// propose asks for the proposal. It is worth something as long as the stream lives.
func (a *asked) propose(ctx context.Context, q *wire.Propose) (*modules.Proposal, error) {
	q.Host, q.Hostname, q.Dir, q.Batch, q.Verbosity = a.call.Host.Name(), a.call.Hostname, a.call.Dir, a.call.Batch, int32(a.call.Verbosity)
	q.Later = a.call.Later
	if b := a.call.Begun; b != nil {
		q.Begun, q.BegunMark = true, b.Mark
	}
	f, err := a.ask(ctx, &wire.Frame{Body: &wire.Frame_Propose{Propose: q}})
	if err != nil {
		return nil, err
	}
	w := f.GetProposed()
	if w == nil {
		if f.GetNothing() != nil {
			return nil, nil
		}
		return nil, errNonsense
	}
	p, err := a.proposedFromWire(w)
	if err != nil {
		return nil, err
	}
	if err := a.setOutput(p, w.Output); err != nil {
		return nil, err
	}
	switch {
	case w.OnlyChanges:
		changes, err := a.changesFromWire(w.Changes)
		if err != nil {
			return nil, err
		}
		p.Change(changes...)
	case w.Does:
		p.Do = func(ctx context.Context, host modules.Host) error { return a.do(ctx, p, host) }
	}
	return p, nil
}

func (a *asked) setOutput(p *modules.Proposal, raw []byte) error {
	if len(raw) == 0 {
		p.Output = nil
		return nil
	}
	switch {
	case len(raw) > maxResult:
		return fmt.Errorf("%w: its result has %d bytes; the most is %d", errNonsense, len(raw), maxResult)
	case raw[0] != '{' || !json.Valid(raw):
		return fmt.Errorf("%w: its result is no object: %.60q", errNonsense, raw)
	}
	p.Output = &output{raw}
	return nil
}

// do asks to carry the proposal out.
func (a *asked) do(ctx context.Context, p *modules.Proposal, host modules.Host) error {
	a.turn.Lock()
	a.doing = host
	a.turn.Unlock()
	f, err := a.ask(ctx, &wire.Frame{Body: &wire.Frame_Do{Do: &wire.Do{Host: host.Name()}}})
	if err != nil {
		return err
	}
	done := f.GetDone()
	if done == nil {
		return errNonsense
	}
	if diff := diffFromWire(done.Diff); len(diff) > 0 || len(p.Diff) == 0 {
		p.Diff = diff
	}
	if err := a.setOutput(p, done.Output); err != nil {
		return err
	}
	if done.Error == nil {
		return nil
	}
	if ctx.Err() != nil && slices.Contains(done.Error.Kinds, wire.Error_KIND_CANCELED) {
		return context.Cause(ctx)
	}
	return a.failure(done.Error)
}

// host is the host that a question is about.
func (a *asked) host(doing bool) (modules.Host, error) {
	if !doing {
		return a.call.Host, nil
	}
	a.turn.Lock()
	defer a.turn.Unlock()
	if a.doing == nil {
		return nil, errors.New("the plugin carries out what it was not asked to")
	}
	return a.doing, nil
}

// serve answers. A question that nobody has thought of must not take pegbook down.
func (a *asked) serve(ctx context.Context, f *wire.Frame) (answer *wire.Frame) {
	defer func() {
		if bug := recover(); bug != nil {
			answer = failed(fmt.Errorf("the question makes no sense: %v", bug))
		}
	}()
	answer, err := a.serveHost(ctx, f)
	if answer == nil && err == nil {
		answer, err = a.serveCall(f)
	}
	if err != nil {
		return a.fails(err)
	}
	return answer
}

// serveHost answers questions about the host; nil is for others.
func (a *asked) serveHost(ctx context.Context, f *wire.Frame) (*wire.Frame, error) {
	switch body := f.Body.(type) {
	case *wire.Frame_Look:
		return a.look(ctx, body.Look)
	case *wire.Frame_Apply:
		return a.apply(ctx, body.Apply)
	case *wire.Frame_Run:
		return a.run(ctx, body.Run)
	case *wire.Frame_Dial:
		return a.dial(ctx, body.Dial)
	case *wire.Frame_Predicted:
		host, err := a.host(body.Predicted.Doing)
		if err != nil {
			return nil, err
		}
		v, found := host.Predicted(body.Predicted.Key)
		return value([]byte(v), found), nil
	case *wire.Frame_Job:
		return a.job(ctx, body.Job)
	}
	return nil, nil
}

func (a *asked) look(ctx context.Context, q *wire.Look) (*wire.Frame, error) {
	host, err := a.host(q.Doing)
	if err != nil {
		return nil, err
	}
	files, err := host.Look(ctx, queriesFromWire(q.Queries)...)
	if err != nil {
		return nil, err
	}
	return &wire.Frame{Body: &wire.Frame_Files{Files: &wire.Files{Files: a.filesToWire(files)}}}, nil
}

func (a *asked) apply(ctx context.Context, q *wire.Apply) (*wire.Frame, error) {
	host, err := a.host(q.Doing)
	if err != nil {
		return nil, err
	}
	changes, err := a.changesFromWire(q.Changes)
	if err != nil {
		return nil, err
	}
	if err := host.Apply(ctx, changes...); err != nil {
		return nil, err
	}
	return nothing(), nil
}

func (a *asked) run(ctx context.Context, q *wire.Run) (*wire.Frame, error) {
	host, err := a.host(q.Doing)
	if err != nil {
		return nil, err
	}
	if len(q.GetCommand().GetArgv()) == 0 {
		return nil, errors.New("a command without a program")
	}
	out, err := host.Run(ctx, commandFromWire(q.Command))
	w := outputToWire(out)
	w.Error = a.problem(err)
	return &wire.Frame{Body: &wire.Frame_Output{Output: w}}, nil
}

func (a *asked) dial(ctx context.Context, q *wire.Dial) (*wire.Frame, error) {
	host, err := a.host(q.Doing)
	if err != nil {
		return nil, err
	}
	c, err := host.Dial(ctx, q.Network, q.Address)
	if err != nil {
		return nil, err
	}
	stream, err := a.addStream(c)
	if err != nil {
		return nil, err
	}
	opened := &wire.Stream{Stream: stream}
	if c.LocalAddr() != nil && c.RemoteAddr() != nil {
		opened.Local, opened.Remote = c.LocalAddr().String(), c.RemoteAddr().String()
	}
	return &wire.Frame{Body: &wire.Frame_Stream{Stream: opened}}, nil
}

func (a *asked) job(ctx context.Context, q *wire.Job) (*wire.Frame, error) {
	jobs := a.call.Jobs
	if jobs == nil {
		return nil, errors.New("this host keeps no jobs")
	}
	var state modules.JobState
	var err error
	switch what := q.What.(type) {
	case *wire.Job_Start_:
		state, err = jobs.StartJob(ctx, modules.Job{ID: q.Id, Limit: time.Duration(what.Start.LimitNs), Command: commandFromWire(what.Start.Command)})
	case *wire.Job_Look:
		state, err = jobs.Job(ctx, q.Id)
	case *wire.Job_Forget:
		state, err = jobs.ForgetJob(ctx, q.Id)
	default:
		err = errNonsense
	}
	if err != nil {
		return nil, err
	}
	return &wire.Frame{Body: &wire.Frame_JobState{JobState: a.jobToWire(state)}}, nil
}

// serveCall answers what has to do with the control node.
func (a *asked) serveCall(f *wire.Frame) (*wire.Frame, error) {
	switch body := f.Body.(type) {
	case *wire.Frame_OpenFile:
		source, err := a.call.Open(body.OpenFile.Kind, body.OpenFile.Name)
		if err != nil {
			return nil, err
		}
		return &wire.Frame{Body: &wire.Frame_Content{Content: a.contentToWire(source)}}, nil
	case *wire.Frame_OpenFolder:
		return a.openFolder(body.OpenFolder)
	case *wire.Frame_Render:
		text, err := a.call.Render(body.Render.Name, body.Render.Text, [2]string{body.Render.Left, body.Render.Right})
		if err != nil {
			return nil, err
		}
		return value([]byte(text), true), nil
	case *wire.Frame_Eval:
		raw, err := a.call.Eval(modules.Expr(body.Eval.Expression))
		if err != nil {
			return nil, err
		}
		return value(raw, true), nil
	}
	return nil, fmt.Errorf("pegbook is not asked that: %T", f.Body)
}

func (a *asked) openFolder(q *wire.OpenFolder) (*wire.Frame, error) {
	entries, err := a.call.OpenDir(q.Kind, q.Name)
	if err != nil {
		return nil, err
	}
	folder := &wire.Folder{}
	for _, e := range entries {
		entry := &wire.Folder_Entry{Path: e.Path, Kind: string(e.Kind), Mode: e.Mode, Target: e.Target}
		if e.Source != nil {
			entry.Content = a.contentToWire(e.Source)
		}
		folder.Entries = append(folder.Entries, entry)
	}
	return &wire.Frame{Body: &wire.Frame_Folder{Folder: folder}}, nil
}

// silentError is a plugin that neither asks nor answers.
type silentError struct{ problem string }

func (e *silentError) Error() string { return e.problem }

// watched does something that waits for the plugin, and gives the task up when the plugin is silent for too long.
func (a *asked) watched(limit time.Duration, do func() error) error {
	a.mu.Lock()
	a.heard = time.Now()
	a.mu.Unlock()
	done := make(chan struct{})
	defer close(done)
	go func() {
		for left := limit; left > 0; left = limit - a.silent() {
			select {
			case <-done:
				return
			case <-time.After(left):
			}
		}
		a.end(&silentError{fmt.Sprintf("has said nothing for %s; a module that waits for long says so with Note", limit)})
	}()
	err := do()
	var silent *silentError
	if errors.As(context.Cause(a.link.Context()), &silent) {
		return silent
	}
	return err
}
