// Package playbook is playbooks as users write them: YAML read into plays, blocks and tasks that keep
// their positions. It knows nothing of hosts and of running.
//
// Static parts are resolved while reading: import_playbook, import_tasks, import_role and roles, with
// their files. What is included dynamically is a task of its own; where the file's name is no template
// its content is read as well, so that its mistakes are found.
//
// Parsed things are immutable.
package playbook

import (
	"time"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

// Playbook is the plays of a run in order, those of imported playbooks in their place.
type Playbook struct {
	Path  string
	Plays []*Play
	// Unread is what errors keep from being known; nil where there are none.
	Unread *Unread
}

// Play is one play.
type Play struct {
	At   diag.Position
	Dir  string     // of the playbook file that holds it
	Name vars.Value // may be a template; without one it is named like its hosts
	// Hosts is one or more host patterns.
	Hosts vars.Value
	// ID and Needs order plays; Needs nil is "after the play before".
	ID    string
	Needs []string

	Serial   vars.Value // a batch size, percentage, or list of these
	Order    string     // inventory (also ""), sorted, reverse_sorted, reverse_inventory, shuffle
	Strategy string     // linear (also ""), free, host_pinned
	Facts    *bool      // gather_facts; nil is the default, true
	// GatherSubset is what is asked of setup when facts are gathered.
	GatherSubset vars.Value
	VarsFiles    []VarsFile
	// Prompts are the questions of vars_prompt.
	Prompts []*Prompt
	// MaxFailPercentage, where set, is a number or "49%".
	MaxFailPercentage vars.Value
	ForceHandlers     bool
	// Requires is what the play expects of the inventory: group → comparison such as ">=3".
	Requires []Requirement
	// Confirm is what is about to be destroyed (confirm: {message, value}); nil for none.
	Confirm *Confirm
	// Guard is what must hold while the play runs; nil for nothing.
	Guard *Guard
	// Lock is held while the play runs; nil for none.
	Lock *Lock

	PreTasks, Tasks, PostTasks []*Block // roles' blocks stand first in Tasks
	Roles                      []*Role  // in the order they run, dependencies first, of roles: only
	// Imported are the roles of import_role. Like those of Roles, their defaults and vars are seen in the
	// whole play.
	Imported []*Role
	// Handlers are those of roles, then the play's own. Keywords of blocks, imports and role entries around
	// them are already in their own.
	Handlers []*Handler

	Keywords
}

// VarsFile is one entry of vars_files: the first name that exists counts.
type VarsFile struct {
	At    diag.Position
	Names []vars.Value
	// Values is the content, read with the playbook when no name is a template; else nil.
	Values *vars.Values
}

// Requirement is one line of requires.
type Requirement struct {
	At    diag.Position
	Group string
	Op    string // one of >= <= == != > <
	Count int
}

// Confirm asks to type a value before a play destroys something.
type Confirm struct {
	At      diag.Position
	Message vars.Value
	Value   vars.Value
}

// Keywords are what a play, role entry, block and task may all carry. The nearest that gives one wins,
// unless said otherwise. Zero values and nil are "not given here".
type Keywords struct {
	When        []vars.Expr  // added up, outermost first
	Tags        []vars.Value // added up
	Vars        *vars.Values
	Environment []vars.Value // merged, outermost first
	// Defaults is module_defaults: module name → arguments, merged.
	Defaults []ModuleDefaults

	Become            vars.Value // a boolean or a template of one, as all below that hold vars.Value
	BecomeUser        vars.Value
	BecomeMethod      vars.Value
	Connection        vars.Value
	RemoteUser        vars.Value
	Port              vars.Value
	CheckMode         vars.Value
	Diff              vars.Value
	NoLog             vars.Value
	RunOnce           vars.Value
	IgnoreErrors      vars.Value
	IgnoreUnreachable vars.Value
	AnyErrorsFatal    vars.Value
	Throttle          vars.Value
	Timeout           vars.Value // seconds
	DelegateTo        vars.Value // not on a play
	DelegateFacts     vars.Value
	Notify            []vars.Value // block and task; added up
}

// ModuleDefaults are arguments for a module's tasks.
type ModuleDefaults struct {
	At     diag.Position
	Module string
	Args   vars.Value
}

// Block is a group of tasks. Every task stands in one: a task outside block: is a Block with only Task
// set. Exactly one of Task and Body is used.
type Block struct {
	At   diag.Position
	Name vars.Value
	Task *Task

	Body, Rescue, Always []*Block
	Parallel             bool
	// Role is the role whose content the block is (a role entry, an import_role), else nil.
	Role *Role
	Keywords
}

// Task is one use of a module, or a meta or include.
type Task struct {
	At   diag.Position
	Name vars.Value // not given: named like its module
	// Role is the role it stands in; nil outside.
	Role *Role
	// Dir is the folder of the file it stands in; relative names are looked up from there.
	Dir string

	Module string
	// Args is a mapping, or the scalar or list of a free-form argument. A mapping may hold the free-form
	// argument under FreeForm: command: echo a, args: {chdir: /srv}.
	Args   vars.Value
	ArgsAt diag.Position
	// ModuleAt is where the module's name stands.
	ModuleAt diag.Position

	Loop        vars.Value
	LoopControl LoopControl
	Register    string
	Until       []vars.Expr
	Retries     vars.Value
	Delay       vars.Value
	// Async is how many seconds the task may take on its host by itself, Poll how often it is looked at: 0
	// goes on with the next task at once.
	Async, Poll vars.Value
	ChangedWhen []vars.Expr
	FailedWhen  []vars.Expr
	// Listen is for handlers.
	Listen []string

	// Spec is what the task checks, which stands at the beginning of a role that specifies its arguments.
	Spec *ArgumentSpec
	// Meta is a meta task's word; Include is set for include_tasks and include_role.
	Meta    string
	Include *Include
	// Gate is set on a task that waits for an approval.
	Gate *Gate
	Keywords

	place *place
}

// FreeForm is the name under which a mapping of arguments holds the free-form one.
const FreeForm = "_raw_params"

// LoopControl says how a loop is run.
type LoopControl struct {
	Var      string // "" is item
	Index    string
	Label    vars.Value
	Pause    time.Duration
	Extended bool
}

// Include is a dynamic include.
type Include struct {
	// File is include_tasks' file; RoleName include_role's role.
	File     vars.Value
	RoleName vars.Value
	// TasksFrom and the like pick other files of a role; "" is main.
	TasksFrom, VarsFrom, DefaultsFrom, HandlersFrom string
	Public                                          bool
	// Unchecked passes over the role's argument specification (rolespec_validate: false).
	Unchecked bool
	// Apply is what apply: gives to the content.
	Apply Keywords
	// Content is what a name without templates brings. It is nil when the name is a template, when there is
	// no such file (the host fails when it gets there), and where a file includes itself.
	Content *Content
}

// Content is what an include brings in. That of a role is one block whose Role it is.
type Content struct {
	Path     string
	Blocks   []*Block
	Handlers []*Handler
	Role     *Role
}

// Role is reusable content found in a roles folder.
type Role struct {
	At   diag.Position // of the entry that names it
	Name string
	Path string
	// Parents are the roles that brought it in, nearest first.
	Parents  []*Role
	Defaults *vars.Values
	// Vars are those of the role's folder; vars: of a role entry are its block's.
	Vars *vars.Values
	// Params are unknown keys of a role entry.
	Params *vars.Values
	Public bool
	// Once tells role entries and dependencies apart: equal ones run once a host and play. "" runs as often
	// as it is asked for.
	Once string
}

// Handler is a task that runs when it is notified, once a host and flush.
type Handler struct {
	*Task
	Role *Role
}
