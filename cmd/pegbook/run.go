package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/pegbook/pegbook/plugins"
	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/connect"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/journal"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/render"
	"github.com/pegbook/pegbook/runner/vars"
	"github.com/pegbook/pegbook/runner/vault"
)

// selectOptions are the flags that decide what a plan holds; run and graph share them.
type selectOptions struct {
	inventory []string
	limit     []string
	terms     []string // what limit said when the run that is gone on with was started, where files said it
	extra     []string
	tags      []string
	skipTags  []string
	startAt   string
	rolesPath []string
	pluginDir []string
	plugins   *pluginHouse
	vault     vaultOptions
	keys      *vault.Keyring // what vault gives
	openAll   bool           // try them on every encrypted value

	defaults               runner.ConnectionDefaults
	askPass, askBecomePass bool
	forceHandlers          bool

	inputs *inputs         // what the plan is made of; nil where nobody wants to know
	heard  json.RawMessage // what sources answered when a run that is gone on with began
}

func (o *selectOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	addInventoryFlag(cmd, &o.inventory)
	o.vault.flags(cmd)
	f.StringArrayVarP(&o.limit, "limit", "l", nil, "only hosts that this pattern selects; @file reads patterns from a file")
	f.StringArrayVarP(&o.extra, "extra-vars", "e", nil, "variables above all others: k=v, a YAML or JSON mapping, or @file")
	f.StringSliceVarP(&o.tags, "tags", "t", nil, "only tasks with one of these tags")
	f.StringSliceVar(&o.skipTags, "skip-tags", nil, "no tasks with one of these tags")
	f.StringVar(&o.startAt, "start-at-task", "", "pass over every task before the one of this name")
	f.StringArrayVar(&o.rolesPath, "roles-path", nil, "more folders to find roles in (default $PEGBOOK_ROLES_PATH)")
	addPluginFlag(cmd, &o.pluginDir)
	o.completion(cmd)
}

func (o *selectOptions) connectionFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.defaults.User, "user", "u", "", "connect as this user")
	f.StringVar(&o.defaults.KeyFile, "private-key", "", "connect with this key file")
	f.StringVarP(&o.defaults.Connection, "connection", "c", "", "how to connect: ssh or local")
	f.BoolVarP(&o.defaults.Become, "become", "b", false, "act as another user (sudo)")
	f.StringVar(&o.defaults.BecomeUser, "become-user", "", "the user to become (default root)")
	f.StringVar(&o.defaults.BecomeMethod, "become-method", "", "sudo, su or doas")
	f.BoolVarP(&o.askPass, "ask-pass", "k", false, "ask for the connection password")
	f.BoolVarP(&o.askBecomePass, "ask-become-pass", "K", false, "ask for the password of become")
	f.BoolVar(&o.forceHandlers, "force-handlers", false, "run handlers even if a task failed")
}

// runOptions are the flags of run.
type runOptions struct {
	selectOptions
	check, diff bool
	forecast    bool
	forks       int
	asJSON      bool
	verbosity   int
	confirm     []string
	yes         bool
	wait        time.Duration // how long gates wait for pegbook runs approve
	step        bool
	list        string
	explain     bool
	lockWait    time.Duration
	notify      []string
	listeners   []*notifier  // what notify names
	past        *runner.Past // the run that is gone on with; nil begins at the beginning
	undo        *runner.Undo // the run that is taken back; nil takes none back
}

func newRunCmd(a *app) *cobra.Command {
	return runCommand(a, &runOptions{selectOptions: selectOptions{inputs: &inputs{}}})
}

func runCommand(a *app, o *runOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run PLAYBOOK...",
		Short: "Carry out a playbook, or show what it would do (--check)",
		Example: `  pegbook run playbooks/rolling-update.yml -i prod.yml --check --diff
  pegbook run playbooks/rolling-update.yml -i prod.yml -e package_version=2.5.0`,
		Args: needPlaybook,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return a.runPlaybooks(cmd, *o, args)
		},
	}
	o.flags(cmd)
	o.connectionFlags(cmd)
	f := cmd.Flags()
	f.BoolVarP(&o.check, "check", "C", false, "change nothing; say what would change")
	f.BoolVar(&o.forecast, "forecast", false, "change nothing; say how long the run is expected to take, play by play")
	f.BoolVarP(&o.diff, "diff", "D", false, "show what changes in files")
	f.IntVarP(&o.forks, "forks", "f", 50, "how many hosts are worked on at a time")
	f.BoolVar(&o.asJSON, "json", false, "one JSON object a line on stdout instead of text")
	f.CountVarP(&o.verbosity, "verbose", "v", "show more; may be repeated")
	answerFlags(f, &o.confirm, &o.yes, &o.wait)
	f.BoolVar(&o.defaults.AcceptNewHostKeys, "accept-new-host-keys", false, "remember the key of a host that is in no known_hosts file; a changed key is refused always")
	f.DurationVar(&o.lockWait, "lock-wait", 0, "wait so long for a lock that another run has (10m); without it, give up at once")
	f.StringArrayVar(&o.notify, "notify", nil, "tell a notifier what happens: a file with plugin: NAME and its options; may be repeated (default $PEGBOOK_NOTIFY)")
	f.BoolVar(&o.step, "step", false, "ask before each task")
	f.BoolVar(&o.explain, "explain", false, "run nothing and contact nobody; say which tasks would run on which hosts, in which batches, and why")
	f.StringVar(&o.list, "list", "", "run nothing; list hosts, tasks or tags")
	for _, what := range []string{"hosts", "tasks", "tags"} {
		f.BoolFunc("list-"+what, "run nothing; list the "+what, func(string) error { o.list = what; return nil })
	}
	f.MarkHidden("list") //nolint:errcheck // it exists: the line above made it
	return cmd
}

// answerFlags are the flags that answer what a run asks.
func answerFlags(f *pflag.FlagSet, confirm *[]string, yes *bool, wait *time.Duration) {
	f.StringArrayVar(confirm, "confirm", nil, "the value that a play which destroys something asks for")
	f.BoolVarP(yes, "yes", "y", false, "approve at every gate; what is to be confirmed still has to be")
	f.DurationVar(wait, "wait-for-approval", 0, "let gates wait for pegbook runs approve, for this long at most, and ask nobody here")
	f.Lookup("wait-for-approval").NoOptDefVal = "24h"
}

func needPlaybook(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("which playbook? Write %s PLAYBOOK -i INVENTORY", cmd.CommandPath())
	}
	return nil
}

// validate refuses flags that no host could be worked on with.
func (o *runOptions) validate() error {
	o.check = o.check || o.forecast // a forecast is a dry run that is asked how long things take
	if o.forks < 1 {
		return fmt.Errorf("--forks %d: at least one host is worked on at a time", o.forks)
	}
	for _, f := range []struct {
		name, value string
		choices     []string
	}{
		{"--connection", o.defaults.Connection, []string{"ssh", "local", "smart", "paramiko"}},
		{"--become-method", o.defaults.BecomeMethod, []string{"sudo", "su", "doas"}},
	} {
		if f.value != "" && !slices.Contains(f.choices, f.value) {
			return fmt.Errorf("%s %s: choose from %s", f.name, f.value, strings.Join(f.choices, ", "))
		}
	}
	return nil
}

// begin opens what reading a playbook needs, and begins to start notifiers.
func (a *app) begin(ctx context.Context, o *runOptions, paths []string) (err error) {
	if o.keys, err = a.keyring(ctx, o.vault); err != nil || o.explain || o.list != "" {
		return err
	}
	var problems diag.List
	if o.listeners, problems = a.notifiers(ctx, o, paths); problems.Failed() {
		return a.jsonProblem(o.asJSON, problems)
	}
	return nil
}

// compile reads playbooks and inventory and makes a plan. Nothing is contacted.
func (a *app) compile(ctx context.Context, o selectOptions, paths []string) (*runner.Plan, error) {
	var err error
	if o.keys == nil {
		if o.keys, err = a.keyring(ctx, o.vault); err != nil {
			return nil, err
		}
	}
	o.plugins = a.plugins
	plan, problems, err := o.check(ctx, paths)
	if err != nil {
		return nil, err
	}
	if err := a.warned(problems); err != nil {
		return nil, err
	}
	if err := o.needHosts(plan); err != nil {
		return nil, err
	}
	return plan, ctx.Err()
}

// check reads playbooks and inventory and finds everything that is wrong with them. The plan is nil when the
// list has Failed; the error is about the command line.
func (o *selectOptions) check(ctx context.Context, paths []string) (*runner.Plan, diag.List, error) {
	extra, err := o.extraVars()
	if err != nil {
		return nil, nil, err
	}
	folders := pluginFolders(o.pluginDir, append(slices.Clone(paths), o.sources()...)...)
	inv, answered, problems := o.load(ctx, paths[0], folders, o.heard)
	noInventory := problems.Failed()
	files := o.files(extra)
	var books []*playbook.Playbook
	for _, path := range paths {
		book, found := playbook.Parse(path, files)
		problems.Append(found)
		books = append(books, book)
	}
	set, found := o.plugins.modules(ctx, folders)
	problems.Append(found)
	if noInventory || found.Failed() {
		problems.Sort()
		return nil, oneVaultProblem(problems), nil
	}
	plan, compiled := runner.Compile(runner.Inputs{
		Playbooks: books, Inventory: inv, Sources: o.sources(), Modules: set,
		Limit: o.limits(), Tags: o.tags, SkipTags: o.skipTags, StartAt: o.startAt, Extra: extra, Files: files,
		Defaults: o.defaults, ForceHandlers: o.forceHandlers, Incomplete: problems.Failed(), OpenAll: o.openAll,
		Answered: answered,
		Reload: func(ctx context.Context, heard json.RawMessage) (*inventory.Inventory, json.RawMessage, diag.List) {
			return o.load(ctx, paths[0], folders, heard)
		},
	})
	problems.Append(besides(compiled, problems))
	problems.Append(o.plugins.wrong())
	o.inputs.plugins(o.plugins.started())
	problems.Sort()
	problems = oneVaultProblem(problems)
	return plan, problems, nil
}

// files is how the files of playbooks are found and read.
func (o *selectOptions) files(extra *vars.Values) playbook.Options {
	rolesPath := o.rolesPath
	if env := os.Getenv("PEGBOOK_ROLES_PATH"); env != "" && len(rolesPath) == 0 {
		rolesPath = filepath.SplitList(env)
	}
	return playbook.Options{RolesPath: rolesPath, Extra: extra, Vault: o.keys, Read: o.inputs.files("playbook")}
}

// errNoInventory is for verbs that need hosts where nobody has said which there are.
var errNoInventory = errors.New("no inventory was given, so there is no host to work on; write -i INVENTORY, or set PEGBOOK_INVENTORY")

// needHosts refuses a plan without a host where nobody has said which hosts there are.
func (o *selectOptions) needHosts(plan *runner.Plan) error {
	if len(plan.Hosts()) == 0 && len(o.inventory) == 0 && os.Getenv("PEGBOOK_INVENTORY") == "" {
		return errNoInventory
	}
	return nil
}

// besides are the diagnostics at places that none of the others is about: one for each mistake.
func besides(found, others diag.List) diag.List {
	told := map[diag.Position]bool{}
	for _, d := range others {
		told[d.Position] = true
	}
	var rest diag.List
	for _, d := range found {
		if d.Position == (diag.Position{}) || !told[d.Position] {
			rest = append(rest, d)
		}
	}
	return rest
}

// load reads the inventory for a playbook, with the plugins of folders. What sources answered before is heard; what
// they have answered is given.
func (o *selectOptions) load(ctx context.Context, playbookPath string, folders []string, heard json.RawMessage) (*inventory.Inventory, json.RawMessage, diag.List) {
	a, problems := heardAnswers(heard)
	inv, found := inventory.Load(ctx, inventory.Options{Sources: o.sources(), PlaybookDir: filepath.Dir(playbookPath), Vault: o.keys,
		Read: o.inputs.files("inventory"), Plugins: sources{o.plugins, folders, a}})
	problems.Append(found)
	answered, err := a.told()
	if err != nil {
		problems.Add(diag.Position{}, "", "what plugins have answered cannot be kept: %v", err)
	}
	return inv, answered, problems
}

// limits are the patterns of --limit.
func (o *selectOptions) limits() []string {
	if o.terms != nil {
		return o.terms
	}
	return o.limit
}

func (o *selectOptions) extraVars() (*vars.Values, error) {
	var all *vars.Values
	var problems diag.List
	for _, arg := range o.extra {
		values, found := vars.ParseExtra(arg, o.keys)
		problems.Append(found)
		all = all.Over(values)
	}
	return all, problems.Err()
}

func (a *app) runPlaybooks(cmd *cobra.Command, o runOptions, paths []string) error {
	ctx := cmd.Context()
	home, err := o.home()
	if err != nil {
		return err
	}
	if !o.explain {
		if err := a.askPasswords(ctx, &o.selectOptions); err != nil {
			return err
		}
	}
	if err := a.begin(ctx, &o, paths); err != nil {
		return err
	}
	plan, err := a.compile(ctx, o.selectOptions, paths)
	switch {
	case err != nil:
		return a.jsonProblem(o.asJSON, err)
	case o.explain:
		return a.explain(plan, o)
	case o.list != "":
		a.list(plan, o.list)
		return nil
	}
	if plan, err = a.answer(ctx, plan); err != nil {
		return a.jsonProblem(o.asJSON, err)
	}
	if err := a.canAnswer(plan, o); err != nil {
		return a.jsonProblem(o.asJSON, err)
	}
	if err := a.hearFirst(ctx); err != nil {
		return err
	}
	if err := a.warned(ready(o.listeners)); err != nil {
		return a.jsonProblem(o.asJSON, err)
	}
	kept, err := a.keep(cmd, home, o, plan, beginning{paths: paths, private: journal.Private{Argv: a.args, Env: settings(), Limit: inventory.WithoutFiles(o.limit)}})
	if err != nil {
		return err
	}
	defer a.prune(home)
	return a.carryOut(ctx, o, plan, kept)
}

// carryOut runs a plan and ends its journal.
func (a *app) carryOut(ctx context.Context, o runOptions, plan *runner.Plan, kept *journal.Writer) error {
	defer outlivesReaders()()
	view := a.view(o)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	steered, err := newControl(ctx, kept.Dir(), func(format string, args ...any) { view.aside(func() { fmt.Fprintf(cleaned{a.err}, format, args...) }) })
	if err != nil {
		return errors.Join(err, view.close(), kept.Close())
	}
	drain := either(ctx, a.watchInterrupts(ctx, view, steered.aborts, stop), kept.Failed())
	ask := a.newAsker(view, drain)
	pool := connect.NewPool(connect.Options{Ask: a.ask(view.aside)})
	listening := a.listen(ctx, o.listeners, plugins.Run{ID: kept.Run(), Check: o.check}, view.aside)
	outcome, err := plan.Run(ctx, runner.Options{
		Connect: pool, Events: append(event.Tee{kept, view.sink}, listening.sinks()...), Record: kept, Check: o.check, Diff: o.diff, Forks: o.forks, Verbosity: o.verbosity,
		Drain: drain, Confirm: ask.confirm(o), Gates: ask.gates(o), Commands: steered.commands, RunID: kept.Run(), Holder: holder(), LockWait: o.lockWait, Step: ask.step(o),
		Past: o.past, Undo: o.undo, Resume: "pegbook runs resume " + kept.Run(), GoBack: goBack(o, kept),
	})
	steered.close()
	listening.close()
	closing := errors.Join(pool.Close(), view.close(), kept.Close())
	code := outcome.ExitCode()
	if err != nil || code == 0 {
		return errors.Join(err, closing)
	}
	if closing != nil && !strings.Contains(outcome.Message, closing.Error()) { // the code is that of the run's last line, as the journal has it
		fmt.Fprintf(a.err, "pegbook: %s\n", a.secrets.Text(closing.Error()))
	}
	return exitError(code)
}

// goBack is the command that takes a run back.
func goBack(o runOptions, kept *journal.Writer) string {
	if o.undo != nil {
		return ""
	}
	return "pegbook runs rollback " + kept.Run()
}

// quoted is a word as a shell takes it.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./,:@%+=", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// runID names a run so that names sort by time and two started at once differ.
func runID(now time.Time) string {
	return fmt.Sprintf("%s-%d", now.UTC().Format("20060102-150405"), os.Getpid())
}

// jsonProblem reports what keeps a run from starting as events, too, under --json.
func (a *app) jsonProblem(asJSON bool, err error) error {
	var problems diag.List
	if !asJSON || !errors.As(err, &problems) {
		return err
	}
	a.problemEvents(problems)
	return err
}

// problemEvents prints diagnostics as events with their source lines.
func (a *app) problemEvents(problems diag.List) {
	stream := event.NewStream(event.NewLines(a.out), time.Now, a.secrets)
	source := render.NewSource(a.secrets)
	for _, d := range problems {
		p := event.NewProblem(d)
		p.Source, p.EndColumn = source.Line(d.Position)
		stream.Emit(p)
	}
}

// view is how a run is shown: where its events go, how somebody else may use the terminal meanwhile, and
// how it ends.
type view struct {
	sink     event.Sink
	aside    func(f func())
	close    func() error
	terminal bool            // people see it
	gone     <-chan struct{} // closed when whoever reads it has gone
}

// view is JSON lines, the live view on a terminal, or plain lines elsewhere.
func (a *app) view(o runOptions) view {
	out := &audience{Writer: a.out, gone: make(chan struct{})}
	v := view{aside: func(f func()) { f() }, close: func() error { return nil }, gone: out.gone}
	look := render.Options{Verbosity: o.verbosity, Diff: o.diff, Color: color(a.out), Secrets: a.secrets}
	file, onTerminal := terminal(a.out)
	v.terminal = onTerminal && !o.asJSON && !o.forecast
	switch {
	case o.asJSON:
		w := bufio.NewWriterSize(out, 64<<10)
		v.sink, v.close = event.NewLines(flushing{w}), w.Flush
	case o.forecast:
		v.sink = render.NewForecast(out, look)
	case !onTerminal || os.Getenv("TERM") == "dumb":
		v.sink = render.NewPlain(out, look)
	default:
		live := render.NewLive(out, look, func() (int, int) {
			width, height, err := term.GetSize(int(file.Fd()))
			if err != nil || width == 0 || height == 0 {
				return 80, 24
			}
			return width, height
		})
		v.sink, v.aside, v.close = live, live.Aside, live.Close
	}
	return v
}

// flushing writes each record through at once: whoever reads the pipe follows the run.
type flushing struct{ w *bufio.Writer }

func (f flushing) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	if err != nil {
		return n, err
	}
	return n, f.w.Flush()
}

// watchInterrupts makes the first interrupt, or abort from another terminal, end the run in good order (start
// nothing new) and the second interrupt, or abort --now, cancel the steps in flight. A run that nobody can watch any more
// ends in good order, too, and has no second: a terminal that goes may say so twice. It ends with ctx.
func (a *app) watchInterrupts(ctx context.Context, v view, aborts <-chan abort, cancel context.CancelCauseFunc) <-chan struct{} {
	drain := make(chan struct{})
	interrupts := a.hear()
	next := func() (abort, bool) {
		select {
		case s := <-interrupts:
			if s == syscall.SIGHUP {
				return abort{by: "the terminal has gone", soft: true}, true
			}
			return abort{by: "interrupted"}, true
		case b := <-aborts:
			return abort{by: "aborted by " + b.by, now: b.now, soft: !b.now}, true
		case <-v.gone:
			v.gone = nil
			return abort{by: "whoever read what the run shows has gone", soft: true}, true
		case <-ctx.Done():
			return abort{}, false
		}
	}
	go func() {
		first, ok := next()
		if !ok {
			return
		}
		close(drain)
		if first.now {
			cancel(errors.New(first.by))
			return
		}
		v.aside(func() {
			fmt.Fprintf(a.err, "\npegbook: %s; nothing new is started. What changes something goes on to its end, what only waits is left and waits again when the run is gone on with. Interrupt again to cancel all.\n", first.by)
		})
		second, ok := next()
		for ok && second.soft {
			second, ok = next()
		}
		cancel(errors.New("interrupted twice"))
	}()
	return drain
}

// ask reads secrets from the terminal; nil where there is none.
func (a *app) ask(aside func(f func())) connect.Prompt {
	file, ok := terminal(a.in)
	if !ok {
		return nil
	}
	return func(ctx context.Context, question string) (secret string, err error) {
		aside(func() {
			fmt.Fprint(cleaned{a.err}, question+": ")
			secret, err = readSecret(ctx, file)
			fmt.Fprintln(a.err)
		})
		return secret, err
	}
}

// askPasswords asks for what -k and -K promise.
func (a *app) askPasswords(ctx context.Context, o *selectOptions) error {
	for _, p := range []struct {
		wanted   bool
		question string
		to       *string
	}{
		{o.askPass, "Connection password", &o.defaults.Password},
		{o.askBecomePass, "Password of become", &o.defaults.BecomePassword},
	} {
		if !p.wanted {
			continue
		}
		ask := a.ask(func(f func()) { f() })
		if ask == nil {
			return fmt.Errorf("%s: there is no terminal to ask on", p.question)
		}
		secret, err := ask(ctx, p.question)
		if err != nil {
			return err
		}
		*p.to = secret
	}
	return nil
}
