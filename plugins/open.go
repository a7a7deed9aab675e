package plugins

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins/wire"
)

// File is a program that is trusted to be a plugin.
type File struct {
	Path string
	// SHA256 is the sum that the file must have, in lower-case hexadecimal; empty: any.
	SHA256 string
	// Env is the names of environment variables that the plugin is given besides PATH, HOME and LANG.
	Env []string
}

// Options say how a plugin is used. The zero value is usable.
type Options struct {
	// Pegbook is the version that a plugin is told.
	Pegbook string
	// Start is how long a plugin may take to begin to serve; 0 is 10 s.
	Start time.Duration
	// Silence is how long a task may neither ask nor note nor answer anything; 0 is 5 minutes.
	Silence time.Duration
	// Home is HOME as the plugin sees it, where the file does not ask for this variable by name; empty: the user's.
	Home string
}

// complete puts in what the zero values mean.
func (o Options) complete() Options {
	if o.Start == 0 {
		o.Start = 10 * time.Second
	}
	if o.Silence == 0 {
		o.Silence = 5 * time.Minute
	}
	return o
}

// maxProgram bounds a plugin's file.
const maxProgram = 512 << 20

// Plugin is a plugin that was opened. Its modules work until it is closed; should its process die, the next task
// starts it anew.
type Plugin struct {
	name      string
	file      File
	sum       string
	options   Options
	image     *image
	made      string // the kind of machine that its program is for; "" is not known
	modules   []*modules.Module
	sources   []*Source
	notifiers []*Notifier

	mu       sync.Mutex // guards what follows
	now      *process
	starting *start // nil: nobody waits for a process
	closed   bool
}

// Error is a plugin that does not do its part.
type Error struct {
	// Plugin is its name, Path its file.
	Plugin, Path string
	// Problem says what is wrong, after "plugin NAME".
	Problem string
	// Output is the end of what the plugin wrote to its standard output and standard error, when it has.
	Output string
	// Told says that the plugin has told the error itself, in good order: it is about what it does, not about how.
	Told bool
	Err  error
}

// Error is one line with the plugin's last words.
func (e *Error) Error() string {
	text := fmt.Sprintf("plugin %s: %s", e.Plugin, e.Problem)
	if e.Output != "" {
		text += "; its last words: " + lastWords(e.Output)
	}
	return text
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// ChangedError is a plugin's file that is not the one that was trusted.
type ChangedError struct {
	Path, Want, Got string
}

// Error names both sums.
func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s is not the file that was trusted: its SHA-256 is %s and should be %s; if you know why, trust it with pegbook plugin add %s --sha256 %s",
		e.Path, e.Got, e.Want, e.Path, e.Got)
}

// Open starts a plugin and asks what it has. The file that is run is the one whose sum was checked, whatever
// happens to it meanwhile.
func Open(ctx context.Context, file File, o Options) (*Plugin, error) {
	p := &Plugin{name: NameOf(file.Path), file: file, options: o.complete()}
	if err := p.load(); err != nil {
		return nil, err
	}
	if err := p.describe(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// load takes the program in. Its sum is taken while it is copied: each takes a good part of the time of a start.
func (p *Plugin) load() error {
	content, err := readProgram(p.file.Path)
	if err != nil {
		return err
	}
	var copying sync.WaitGroup
	copying.Go(func() { p.image, err = newImage(p.name, content) })
	p.sum, p.made = sumOf(content), machineOf(content)
	copying.Wait()
	if err != nil {
		return err
	}
	if p.file.SHA256 != "" && p.sum != p.file.SHA256 {
		return errors.Join(&ChangedError{Path: p.file.Path, Want: p.file.SHA256, Got: p.sum}, p.image.close())
	}
	return nil
}

// NameOf is what a plugin's file is called, without folder and suffix.
func NameOf(path string) string {
	base := filepath.Base(path)
	return strings.TrimSuffix(base, filepath.Ext(base))
}

// readProgram reads a program that may be a plugin.
func readProgram(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return nil, fmt.Errorf("%s is no program: a plugin is an executable file", path)
	case info.Mode().Perm()&0o002 != 0:
		return nil, fmt.Errorf("%s can be changed by everybody; take that away with chmod o-w", path)
	case info.Size() > maxProgram:
		return nil, fmt.Errorf("%s has %d bytes, more than a plugin may", path, info.Size())
	}
	content := make([]byte, info.Size())
	if _, err := io.ReadFull(f, content); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return content, nil
}

func sumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// Name is the file's name without its suffix.
func (p *Plugin) Name() string { return p.name }

// Path is the plugin's file.
func (p *Plugin) Path() string { return p.file.Path }

// SHA256 is the sum of what is run.
func (p *Plugin) SHA256() string { return p.sum }

// Modules are what the plugin provides, by name.
func (p *Plugin) Modules() []*modules.Module { return p.modules }

// Sources are the inventory sources that the plugin provides, in its order.
func (p *Plugin) Sources() []*Source { return p.sources }

// Notifiers are the notifiers that the plugin provides, in its order.
func (p *Plugin) Notifiers() []*Notifier { return p.notifiers }

// Said is the end of what the plugin's process has written to its standard error, or else to its standard output.
func (p *Plugin) Said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now == nil || p.now.launch == nil {
		return ""
	}
	return p.now.launch.said()
}

// PID is the process that serves now; 0 where there is none.
func (p *Plugin) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now == nil || p.now.launch == nil || p.now.dead() {
		return 0
	}
	return p.now.launch.cmd.Process.Pid
}

// Close ends the plugin's process and waits for that.
func (p *Plugin) Close() error {
	p.mu.Lock()
	closed, starting := p.closed, p.starting
	p.closed = true
	p.mu.Unlock()
	if closed {
		return nil
	}
	if starting != nil {
		starting.giveUp()
		<-starting.done
	}
	if p.now != nil {
		p.now.stop()
	}
	if p.image == nil {
		return nil
	}
	return p.image.close()
}

// start is a process that is being started. Whoever needs one waits for the same.
type start struct {
	giveUp context.CancelFunc
	done   chan struct{} // closed when there is an outcome
	now    *process
	err    error
}

// process gives the plugin's process, started where there is none.
func (p *Plugin) process(ctx context.Context) (*process, error) {
	p.mu.Lock()
	switch {
	case p.closed:
		p.mu.Unlock()
		return nil, &Error{Plugin: p.name, Path: p.file.Path, Problem: "was closed"}
	case p.now != nil && !p.now.dead():
		defer p.mu.Unlock()
		return p.now, nil
	case p.starting == nil:
		p.starting = p.start(context.WithoutCancel(ctx), p.now)
	}
	s := p.starting
	p.mu.Unlock()
	select {
	case <-s.done:
		return s.now, s.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// start starts a process in place of a dead one.
func (p *Plugin) start(ctx context.Context, dead *process) *start {
	ctx, giveUp := context.WithCancel(ctx)
	s := &start{giveUp: giveUp, done: make(chan struct{})}
	go func() {
		defer giveUp()
		if dead != nil {
			dead.stop()
		}
		s.now, s.err = startProcess(ctx, p.image, p.name, p.environment(), p.options.Start)
		if s.err != nil {
			s.err = p.startProblem(s.err)
		}
		p.mu.Lock()
		p.now, p.starting = s.now, nil
		p.mu.Unlock()
		close(s.done)
	}()
	return s
}

func (p *Plugin) startProblem(err error) error {
	e := &Error{Plugin: p.name, Path: p.file.Path, Problem: err.Error(), Err: err}
	var failed *startError
	if errors.As(err, &failed) {
		e.Output = failed.output
	}
	if errors.Is(err, syscall.ENOEXEC) {
		e.Problem = fmt.Sprintf("is no program for this machine, which is %s/%s", runtime.GOOS, runtime.GOARCH)
		if p.made != "" {
			e.Problem += "; it is one for " + p.made
		}
	}
	return e
}

// environment is all that a plugin sees of pegbook's.
func (p *Plugin) environment() []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	names := p.file.Env
	switch {
	case slices.Contains(names, "HOME"):
	case p.options.Home != "":
		env = append(env, "HOME="+p.options.Home)
	default:
		names = append([]string{"HOME"}, names...)
	}
	for _, name := range names {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// describe asks the plugin what it has.
func (p *Plugin) describe(ctx context.Context) error {
	now, err := p.process(ctx)
	if err != nil {
		return err
	}
	limited, stop := context.WithTimeoutCause(ctx, p.options.Start, &silentError{"has not said what it has within " + p.options.Start.String()})
	defer stop()
	d, err := now.Describe(limited, &wire.DescribeRequest{Pegbook: p.options.Pegbook, Minor: Minor})
	if err != nil {
		return p.blame(limited, now, err)
	}
	if err := p.take(ctx, d); err != nil {
		return &Error{Plugin: p.name, Path: p.file.Path, Problem: "describes itself wrongly: " + err.Error()}
	}
	if len(p.modules)+len(p.sources)+len(p.notifiers) == 0 {
		problem := "has nothing to offer"
		if d.Minor > Minor {
			problem += fmt.Sprintf(" that this pegbook knows: it speaks version %d.%d of the plugin protocol, and pegbook %d.%d", Version, d.Minor, Version, Minor)
		}
		return &Error{Plugin: p.name, Path: p.file.Path, Problem: problem}
	}
	return nil
}

// take takes in what the plugin has.
func (p *Plugin) take(ctx context.Context, d *wire.Description) error {
	seen := map[string]bool{}
	for _, w := range d.Modules {
		if err := checkPart("module", w.GetName(), w.GetDoc(), w.GetArgs(), seen); err != nil {
			return err
		}
		p.modules = append(p.modules, p.module(ctx, w))
	}
	for _, w := range d.Sources {
		if err := checkPart("source", w.GetName(), w.GetDoc(), w.GetOptions(), seen); err != nil {
			return err
		}
		p.sources = append(p.sources, p.source(w))
	}
	for _, w := range d.Notifiers {
		if err := checkPart("notifier", w.GetName(), w.GetDoc(), w.GetOptions(), seen); err != nil {
			return err
		}
		p.notifiers = append(p.notifiers, p.notifier(w))
	}
	return nil
}

var partName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,99}$`)

// checkPart refuses what nobody could use. kind is module, source or notifier.
func checkPart(kind, name, doc string, args []*wire.Arg, seen map[string]bool) error {
	switch {
	case !partName.MatchString(name):
		return fmt.Errorf("%.100q is no name of a %s: lower-case letters, digits and _", name, kind)
	case seen[kind+" "+name]:
		return fmt.Errorf("two of its %ss are called %s", kind, name)
	case strings.TrimSpace(doc) == "":
		return fmt.Errorf("%s %s has no manual page", kind, name)
	case !plain(doc):
		return fmt.Errorf("the manual page of %s %s holds control characters", kind, name)
	}
	seen[kind+" "+name] = true
	return checkArgs(kind+" "+name, args)
}

// plain says whether a text can be shown as it is: what a plugin describes is printed on terminals.
func plain(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) })
}

// checkArgs checks the arguments, or options, of what is named.
func checkArgs(of string, args []*wire.Arg) error {
	schema := schemaFromWire(args)
	names := map[string]bool{}
	for _, a := range schema {
		for _, name := range append([]string{a.Name}, a.Aliases...) {
			if names[name] || name == "" && !a.Rest {
				return fmt.Errorf("argument %q of %s is there twice or has no name", name, of)
			}
			names[name] = true
		}
		if !plain(strings.Join(append([]string{a.Name, a.Doc, a.Default, a.Min, a.Max}, append(a.Aliases, a.Choices...)...), " ")) {
			return fmt.Errorf("argument %q of %s is described with control characters", a.Name, of)
		}
		if !knownType(a.Type) || a.Elem != "" && !knownType(a.Elem) {
			return fmt.Errorf("argument %s of %s has the unknown type %q", a.Name, of, string(a.Type)+" "+string(a.Elem))
		}
		if a.Default == "" {
			continue
		}
		raw, err := json.Marshal(a.Default)
		if err == nil {
			err = a.Check(raw)
		}
		if err != nil {
			return fmt.Errorf("the default of argument %s of %s does not fit: %w", a.Name, of, err)
		}
	}
	return nil
}

func knownType(t modules.Type) bool {
	switch t {
	case modules.TypeString, modules.TypeBool, modules.TypeInt, modules.TypeFloat, modules.TypeMode, modules.TypeDuration, modules.TypePath,
		modules.TypeExpr, modules.TypeAny, modules.TypeList, modules.TypeMap:
		return true
	}
	return false
}

// module is a module of the plugin as the runner uses it.
func (p *Plugin) module(ctx context.Context, w *wire.Module) *modules.Module {
	m := &modules.Module{Name: w.Name, Doc: w.Doc, Args: schemaFromWire(w.Args), Runs: w.Runs, Gathers: w.Gathers, Facts: w.Facts,
		Keeps: w.Keeps, Proves: w.Proves, Prepares: w.Prepares, Output: shapeFromWire(w.Output)}
	m.Propose = func(ctx context.Context, call *modules.Call, args json.RawMessage) (*modules.Proposal, error) {
		return p.propose(ctx, call, &wire.Propose{Module: w.Name, Args: args})
	}
	if w.Restores {
		m.Restore = func(ctx context.Context, call *modules.Call, args, before json.RawMessage) (*modules.Proposal, error) {
			return p.propose(ctx, call, &wire.Propose{Module: w.Name, Args: args, Restore: true, Before: before})
		}
	}
	if w.Reads {
		m.Reads = func(args json.RawMessage, text string) (modules.Reading, error) {
			return p.reads(ctx, w.Name, args, text)
		}
	}
	if w.Abouts {
		m.About = func(args json.RawMessage) string { return p.about(ctx, w.Name, args) }
	}
	return m
}

// propose lets the plugin propose. One that had died before, of what it did for another task, is asked anew.
func (p *Plugin) propose(ctx context.Context, call *modules.Call, q *wire.Propose) (*modules.Proposal, error) {
	now, err := p.process(ctx)
	if err != nil {
		return nil, err
	}
	served := now.served.Load()
	proposal, heard, err := p.proposeBy(ctx, now, call, q)
	if err == nil || heard || !served || ctx.Err() != nil || !now.dead() {
		return proposal, err
	}
	if now, err = p.process(ctx); err != nil {
		return nil, err
	}
	proposal, _, err = p.proposeBy(ctx, now, call, q)
	return proposal, err
}

// proposeBy lets a process propose. The task's stream lives until the proposal was carried out, or ctx ends and the
// plugin has had its time to end what it does in good order. heard says whether the plugin has said anything.
func (p *Plugin) proposeBy(ctx context.Context, now *process, call *modules.Call, q *wire.Propose) (proposal *modules.Proposal, heard bool, err error) {
	streamCtx, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stream, err := now.Task(streamCtx)
	if err != nil {
		end(nil)
		return nil, false, p.blame(ctx, now, err)
	}
	a := newAsked(stream, end, call)
	context.AfterFunc(ctx, a.wane)
	err = a.watched(p.options.Silence, func() (err error) {
		proposal, err = a.propose(ctx, q)
		return err
	})
	if err != nil || proposal == nil {
		a.leave()
		return nil, a.answered.Load(), p.blame(ctx, now, err)
	}
	now.served.Store(true)
	switch carryOut := proposal.Do; {
	case carryOut == nil || proposal.Changes != nil:
		if !a.owed() {
			a.leave()
		}
	default:
		proposal.Do = func(ctx context.Context, host modules.Host) error {
			defer a.leave()
			return p.blame(ctx, now, a.watched(p.options.Silence, func() error { return carryOut(ctx, host) }))
		}
	}
	return proposal, true, nil
}

// told is an error that the plugin has told.
func (p *Plugin) told(e *wire.Error) *Error {
	return &Error{Plugin: p.name, Path: p.file.Path, Problem: presentable(e.Message), Err: errorFromWire(e), Told: !strings.HasPrefix(e.Message, bugPrefix)}
}

// blame makes an error of the wire one that names the plugin; others, those of the module, stay as they are.
func (p *Plugin) blame(ctx context.Context, now *process, err error) error {
	var broken *brokenError
	var silent *silentError
	st, spoken := status.FromError(err)
	if spoken && (st.Code() == codes.Canceled || st.Code() == codes.DeadlineExceeded) {
		awaitDeadline(ctx)
	}
	e := &Error{Plugin: p.name, Path: p.file.Path, Err: err}
	switch {
	case err == nil:
		return nil
	case errors.As(err, &silent), spoken && errors.As(context.Cause(ctx), &silent):
		e.Problem = silent.Error()
	case errors.Is(err, errNonsense):
		e.Problem = "answers nonsense: " + err.Error()
	case !errors.As(err, &broken) && !spoken:
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		if broken != nil {
			st, spoken = status.FromError(broken.cause)
		}
		if spoken && st.Code() == codes.Unknown { // the plugin's own error: it lives, and what else it does goes on, and says
			e.Problem = "gave up: " + shortened(presentable(st.Message()))
			return e
		}
		e.Problem = p.obituary(now, st)
	}
	if now.launch != nil {
		e.Output = now.launch.said()
	}
	return e
}

// awaitDeadline waits for the end of a time that the plugin's side, which is told of it, may have seen first.
func awaitDeadline(ctx context.Context) {
	if _, limited := ctx.Deadline(); !limited {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
}

// obituary says what has happened to a process whose connection has broken. One that lives on is ended: it may be
// frozen, and the next task gets a new one.
func (p *Plugin) obituary(now *process, st *status.Status) string {
	switch st.Code() {
	case codes.ResourceExhausted, codes.Internal, codes.Unimplemented, codes.InvalidArgument:
		return "answers nonsense: " + st.Message()
	}
	if now.launch == nil {
		return "has ended"
	}
	select {
	case <-now.launch.exited:
		return "died (" + now.launch.how + ")"
	case <-time.After(time.Second):
	}
	now.launch.end()
	return "stopped answering and was ended (" + st.Message() + ")"
}
