// Package modules is the contract between pegbook and its modules: what a module is given, what it
// answers, and how a managed host looks to it.
//
// A module proposes and the runner decides. Propose only reads; the [Proposal] it returns says what
// would differ and carries a Do that makes it so. Whether a task changed anything is therefore a fact
// about the proposal, and check mode is nothing that a module has to remember.
//
// The package imports the standard library alone, so that a module compiles into a plugin without
// the runner.
package modules

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// Module is one kind of work. It is a plain value; make one with [Define].
type Module struct {
	// Name is what a task writes, such as "copy".
	Name string
	// Doc is the manual page: the first line a title, then an empty line, the explanation, and an
	// indented example that the project's tests compile.
	Doc string
	// Args describes the arguments a task may give.
	Args Schema
	// Runs says that what Do does to the host is to run one command of the user's, with one Host.Run. Under
	// async that command goes on by itself (see ErrStarted).
	Runs bool
	// Output is what results have besides what every result has; nil when that is not known, or depends on the
	// arguments. See ShapeOf.
	Output *Shape
	// Facts is the names of facts that the module may find on a host; nil when these are not known.
	Facts []string
	// Reads says what the text of a file that an argument names uses, for the check before a run; nil where files
	// are sent as they are. Arguments that are not known yet are left out. An error means that nothing can be said.
	Reads func(args json.RawMessage, text string) (Reading, error)
	// Propose looks at the host and says what would change. It changes nothing. Arguments are a JSON
	// object whose names are those of Args. The proposal may be carried out as long as ctx is not done.
	Propose func(ctx context.Context, call *Call, args json.RawMessage) (*Proposal, error)
	// Gathers says that Propose learns of its host by Look alone, so that the items of a loop can propose side
	// by side: the runner sends what they ask in one request, and so their Changes. Which item sees what another
	// one changed is the runner's care.
	Gathers bool
	// Keeps says that all that Do changes are files, by Apply. The host then keeps what was there before, and a run
	// that takes this one back puts it back. With a Restore as well, Do may change other things besides; its changes of
	// files are then Changes or Leaves of the proposal.
	Keeps bool
	// Proves says that what it finds holds for the moment only, and what the playbook does to the host next counts on it:
	// that a server may be stopped, say. Whoever goes on with a run looks again, unless that has begun.
	Proves bool
	// Prepares says that what Do changes counts on nothing that was proved, since nothing uses it before more is done: a
	// release beside the one that runs. What Keeps is such, too.
	Prepares bool
	// Restore proposes to put back what Do has changed in a run that is taken back. It is for modules that change other
	// things than files, or know better than the files what to do about them; before is the Proposal's Before, nil where
	// that run has changed nothing. Like Propose it changes nothing. Of a module that Keeps it is for the rest, which
	// is put back behind the files.
	Restore func(ctx context.Context, call *Call, args, before json.RawMessage) (*Proposal, error)
	// About names what a task with these arguments is about, such as a unit, for people and for Restore: of several
	// tasks about the same thing in a run, each is given what the first one found, because that was there before the
	// run. nil, or "", is a thing of the task's own.
	About func(args json.RawMessage) string
	// ByHand says to people how what the module has changed is put back by hand, where it neither Keeps nor has a
	// Restore, such as "apt-get remove PACKAGE"; "" where doing the task again is all there is to do.
	ByHand string
}

// Define makes a module from a function over a struct of arguments. The struct's tags are the
// schema (see [SchemaOf]); a mistake in them is a bug and panics.
func Define[A any](name, doc string, propose func(ctx context.Context, call *Call, args A) (*Proposal, error)) *Module {
	schema := SchemaOf[A]()
	if doc == "" {
		panic(fmt.Sprintf("modules: %s has no manual page", name))
	}
	return &Module{
		Name: name,
		Doc:  doc,
		Args: schema,
		Propose: func(ctx context.Context, call *Call, raw json.RawMessage) (*Proposal, error) {
			var args A
			if err := schema.Decode(raw, &args); err != nil {
				return nil, err
			}
			return propose(ctx, call, args)
		},
	}
}

// Restoring gives a module its Restore, a function over its arguments and over what its proposals said of before; that is
// nil where the run that is taken back has changed nothing.
func Restoring[A, B any](m *Module, restore func(ctx context.Context, call *Call, args A, before *B) (*Proposal, error)) *Module {
	m.Restore = func(ctx context.Context, call *Call, raw, was json.RawMessage) (*Proposal, error) {
		var args A
		if err := m.Args.Decode(raw, &args); err != nil {
			return nil, err
		}
		if was == nil {
			return restore(ctx, call, args, nil)
		}
		before := new(B)
		if err := json.Unmarshal(was, before); err != nil {
			return nil, fmt.Errorf("what %s has kept: %w", m.Name, err)
		}
		return restore(ctx, call, args, before)
	}
	return m
}

// About gives a module its About, a function over its arguments.
func About[A any](m *Module, about func(args A) string) *Module {
	m.About = func(raw json.RawMessage) string {
		var args A
		if m.Args.Decode(raw, &args) != nil {
			return ""
		}
		return about(args)
	}
	return m
}

// Title is the first line of the manual page.
func (m *Module) Title() string {
	title, _, _ := strings.Cut(m.Doc, "\n")
	return title
}

// Reading is what a text uses.
type Reading struct {
	// Template is set when it is a template; Delims are its delimiters, zero for "{{" and "}}".
	Template bool
	Delims   [2]string
	// Variables are those that it names in another way, and cannot do without.
	Variables []Mention
}

// Mention is a variable named in a text.
type Mention struct {
	Variable string
	// Text is how it is written there, and Offset the byte where.
	Text   string
	Offset int
}

// Call is what a module is given besides its arguments. Every function field is set by the runner;
// in-memory ones come from modtest.
type Call struct {
	// Host is the managed host, or the one the task is delegated to. It connects when first used, so a
	// module that never touches it works on a host that cannot be reached.
	Host Host
	// Open opens a file of the control node by a name as a task writes it: absolute, or searched for in
	// the role's and the playbook's folder called kind ("files", "templates", "tasks", "vars").
	// A missing file is fs.ErrNotExist with a message that lists where it was looked for.
	Open func(kind, name string) (Source, error)
	// OpenDir lists a folder of the control node, found as Open finds a file: everything below it, in
	// order of path. [LocalTree] does the listing.
	OpenDir func(kind, name string) ([]TreeEntry, error)
	// Render evaluates template text in the task's scope. name stands in error messages; delims are the
	// two template delimiters, zero for "{{" and "}}". In a task of a module that has an argument called
	// volatile, functions that give something else each time are an error unless the argument is true.
	Render func(name, text string, delims [2]string) (string, error)
	// Eval evaluates a bare expression (see language.md) in the task's scope and gives its value as JSON.
	Eval func(expr Expr) (json.RawMessage, error)
	// Note tells whoever watches what the module is doing or waiting for. It may be called from any
	// goroutine, never with a secret, and is cheap to call often.
	Note func(format string, args ...any)
	// Report takes what Call.Progress is told; nil makes notes of it.
	Report func(p Progress)
	// Jobs are those of Host, of commands that go on by themselves.
	Jobs Jobs
	// Hostname is the inventory's name of the host that the task is for, also where it is delegated to
	// another, which Host then is.
	Hostname string
	// Dir is the playbook's folder, absolute: what a module writes on the control node by a relative name
	// goes there.
	Dir string
	// Batch is every host of the running batch with the address its connection uses, the task's host
	// included, in batch order.
	Batch []string
	// Verbosity is how many -v the run was started with.
	Verbosity int
	// Begun is not nil where this task had begun to change the host when the process that carried the run ended:
	// nobody knows how far it came. A module whose last change cannot be seen makes it then in any case.
	Begun *Begun
	// Later says to Restore that a later task of the play is about the same thing (Module.About), and is going to put it
	// back: a service that is stopped before its files are changed, and started after it, is stopped on the way back, too.
	Later bool
}

// Begun is what is known of a change that was cut off.
type Begun struct {
	// Mark is that of the proposal that was being carried out.
	Mark string
}

// Proposal is what a module found and what it would do about it.
type Proposal struct {
	// Diff lists the differences between what was asked and what was found. Empty means the task
	// changes nothing. Do may append one that could not be seen before, such as a newer version in
	// package lists that it had to fetch first; check mode then has to be unknown.
	Diff []Diff
	// Output is what register stores, marshalled to a JSON object after Do has run; so Do may fill it
	// in through the pointer it holds. nil stores only the fields that every result has.
	Output any
	// Do makes it so. nil: nothing to carry out. A Do with an empty Diff waits or observes and changes
	// nothing. In check mode it runs against an overlay of the host, where writes stay in memory and
	// what cannot be predicted is ErrUnpredicted.
	Do func(ctx context.Context, host Host) error
	// Changes are all that Do does, where it does nothing but Apply them; see Change.
	Changes []Change
	// Mark is kept until Do has ended, for whoever goes on with the run if it is cut off: Call.Begun gives it to
	// the next proposal. It is for what cannot be told from how things are, such as which process is to be
	// replaced by another one.
	Mark string
	// Predicts is state, other than files, that Do leaves behind. Where it is not nil, even if empty,
	// check mode remembers it instead of running Do; Host.Predicted answers from it. Keys are the
	// module's own ("systemd/zookeeper.service/active"); those that start with "cluster/" are shared by
	// all hosts.
	Predicts map[string]string
	// Leaves are changes of files that Do makes by other means than Apply, such as a command that adds a
	// user to /etc/passwd. With Predicts, check mode makes them in its layer, so that later tasks see
	// them; a real run never does.
	Leaves []Change
	// Waits says that Do waits for something that is not so yet. Check mode does not run it: nobody can
	// know whether the wait would end, so the task's status is unknown. A Do that waits, or that has no Diff and
	// Expects to take time, is cancelled when its run is told to end, and done again when that is gone on with.
	Waits bool
	// Once says that doing it a second time is not the same as doing it once, and that Propose cannot tell from the
	// host whether it was done: a command that the user gives, a message that is sent. A run that is gone on with
	// then asks what becomes of a task that was under way; everything else is simply proposed again.
	Once bool
	// Before is what Module.Restore has to know of what is there before Do, marshalled to JSON.
	Before any
	// Stays are folders that Do makes and that stay when the run is taken back, with what else the run makes in them.
	Stays []string
	// Expects is how long Do will take as far as the module can tell, for forecasts; 0 where that is not at issue.
	// It says nothing about when Do gives up.
	Expects time.Duration
	// Skip says that the task has nothing to do on this host and counts as skipped; Message says why.
	Skip bool
	// Facts are variables that the task sets on its host: names to JSON values. They are set in check
	// mode too.
	Facts map[string]json.RawMessage
	// FactRank is where Facts stand among the other variables.
	FactRank FactRank
	// VarFiles are files of variables (YAML or JSON) that the task sets on its host, where values may be
	// templates. The runner reads them.
	VarFiles []VarFile
	// Joins are hosts that join the inventory of the run, or groups of it. The runner finds out whether that
	// changes anything.
	Joins []Join
	// Message is one line for people; empty for none.
	Message string
}

// Change makes Do apply changes of files, in one round trip, and lets the runner know that this is all.
func (p *Proposal) Change(changes ...Change) {
	p.Changes = changes
	p.Do = func(ctx context.Context, host Host) error { return host.Apply(ctx, changes...) }
}

// FactRank is where a task's facts stand in the order of precedence.
type FactRank string

// Ranks, by what Ansible calls them.
const (
	// RankSet is set_fact's: above the play's, role's and task's variables. It is the zero value.
	RankSet FactRank = ""
	// RankFound is that of facts found on a host: above the inventory, below the play's variables.
	RankFound FactRank = "found"
	// RankBoth sets the facts at both ranks (set_fact with cacheable).
	RankBoth FactRank = "both"
)

// VarFile is a file of variables for include_vars, which stand just below set_fact's.
type VarFile struct {
	Source Source
	// Under puts the whole content into one variable of this name; empty sets each variable.
	Under string
}

// Join is a host that joins the inventory of the run, or groups of it.
type Join struct {
	Host   string   `json:"host_name"` // "" is the task's own
	Groups []string `json:"groups"`
	// Parents are groups that those become children of.
	Parents []string                   `json:"parent_groups,omitempty"`
	Vars    map[string]json.RawMessage `json:"host_vars"`
}

// Diff is one difference between what was asked and what was found.
type Diff struct {
	// Subject is what differs: a path, a unit, a table.
	Subject string `json:"subject"`
	// Before and After are the two sides as text; both may be empty when Note says it all.
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	// Note is one line such as "mode 0644 → 0755".
	Note string `json:"note,omitempty"`
	// Secret hides Before and After from everything that is shown or kept.
	Secret bool `json:"secret,omitempty"`
}

// Source is content that can be read again from its start: a file of the control node, or bytes.
type Source interface {
	// Name is where the content comes from, for messages.
	Name() string
	// Size is the number of bytes, known before reading.
	Size() int64
	// SHA256 is the lower-case hexadecimal digest of the content. It may read the whole content the
	// first time and remembers it.
	SHA256() (string, error)
	// Open starts reading from the first byte.
	Open() (io.ReadCloser, error)
}

// Expr is an argument that holds a bare expression instead of a template, such as a line of
// assert.that. The runner checks its syntax before the run and leaves it as it is; a module
// evaluates it with Call.Eval.
type Expr string
