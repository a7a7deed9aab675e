// Package event is what happens in a run, as numbered records.
//
// One stream feeds the terminal, --json, the recap, the exit code and, later, the journal. An event is
// in the past tense and complete without the ones before it. Fields are added, never renamed: the JSON
// names are the output contract.
package event

import (
	"encoding/json"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
)

// Status is how a task ended on a host.
type Status string

// Statuses. Unknown is check mode's: what the task would do cannot be known without running it or
// something before it.
const (
	OK          Status = "ok"
	Changed     Status = "changed"
	Skipped     Status = "skipped"
	Failed      Status = "failed"
	Unreachable Status = "unreachable"
	Unknown     Status = "unknown"
)

// Event is something that happened.
type Event interface {
	// Kind is the record's "event", such as "task_done".
	Kind() string
}

// Record is an event with its place in the run. Seq counts from 1 without gaps.
type Record struct {
	Seq   int64
	Time  time.Time
	Event Event
}

// Sink takes a run's records, in order, one at a time. It must not keep the run waiting for long.
type Sink interface {
	Record(r Record)
}

// RunStarted is the first record of a run.
type RunStarted struct {
	Run         string   `json:"run"`
	Playbook    string   `json:"playbook"`
	Inventory   []string `json:"inventory"`
	Check       bool     `json:"check"`
	ResumedFrom string   `json:"resumed_from,omitempty"`
	// RollsBack is the run that this one takes back.
	RollsBack string `json:"rolls_back,omitempty"`
	// Remembered is how many steps were done before and are not done again.
	Remembered int `json:"remembered,omitempty"`
	// Steps is how many steps (task on a host) the plan has; what includes add is not counted.
	Steps int `json:"steps"`
}

// PlayStarted is a play whose turn has come. Hosts are those of all its batches.
type PlayStarted struct {
	Play  string   `json:"play"`
	Hosts []string `json:"hosts" secrets:"shown"`
	// Batches is how many batches the play has.
	Batches int `json:"batches"`
}

// BatchStarted is a batch of a play. Batch counts from 1.
type BatchStarted struct {
	Play    string   `json:"play"`
	Batch   int      `json:"batch"`
	Batches int      `json:"batches"`
	Hosts   []string `json:"hosts" secrets:"shown"`
}

// LockState is how a run stands with a lock.
type LockState string

// States of a lock. Free, OfOther and Unknown are of check mode, which takes none.
const (
	LockAwaited  LockState = "waiting"
	LockTaken    LockState = "taken"
	LockReleased LockState = "released"
	LockLost     LockState = "lost"
	LockFree     LockState = "free"
	LockOfOther  LockState = "held"
	LockUnknown  LockState = "unknown"
)

// Lock is a lock of a play that was asked for, taken, given back or lost. Holder is who has it where that is
// another run, Waiting how many more wait for it.
type Lock struct {
	Play    string    `json:"play,omitempty"`
	Lock    string    `json:"lock"`
	State   LockState `json:"state"`
	Holder  string    `json:"holder,omitempty"`
	Waiting int       `json:"waiting,omitempty"`
	// Token is larger than that of every run that had the lock before.
	Token  uint64 `json:"token,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// TaskStarted is a task that began on a host.
type TaskStarted struct {
	Play    string `json:"play"`
	Batch   int    `json:"batch"`
	Task    string `json:"task"`
	Host    string `json:"host" secrets:"shown"`
	Handler bool   `json:"handler,omitempty"`
}

// Noted is what a running task says it is doing or waiting for. Attempt counts from 1 under until. Where Phase is set
// it says how far it has come, in numbers; what has not changed is told again every ten seconds only.
type Noted struct {
	Play    string `json:"play"`
	Batch   int    `json:"batch"`
	Task    string `json:"task"`
	Host    string `json:"host" secrets:"shown"`
	Text    string `json:"text"`
	Attempt int    `json:"attempt,omitempty"`
	// Phase is what is going on, in words that stay the same until the next phase, and Counts what is left of it.
	Phase  string          `json:"phase,omitempty"`
	Counts []modules.Count `json:"counts,omitempty"`
	// Detail is what the phase waits for.
	Detail string `json:"detail,omitempty"`
	// ElapsedMS is how long the task has been at work; set together with Phase.
	ElapsedMS float64 `json:"elapsed_ms,omitempty"`
	// ExpectsMS is how long the task is expected to take from now on, where its module can tell.
	ExpectsMS float64 `json:"expects_ms,omitempty"`
}

// JobStarted is a command that goes on by itself on a host, or on the one the task is delegated to, for so
// many seconds at most. Job is its name there.
type JobStarted struct {
	Play        string  `json:"play"`
	Batch       int     `json:"batch"`
	Task        string  `json:"task"`
	Host        string  `json:"host"`
	DelegatedTo string  `json:"delegated_to,omitempty"`
	Job         string  `json:"job"`
	LimitS      float64 `json:"limit_s"`
}

// TaskDone is a task that ended on a host.
type TaskDone struct {
	Play    string `json:"play"`
	Batch   int    `json:"batch"`
	Task    string `json:"task"`
	Module  string `json:"module,omitempty"`
	Host    string `json:"host" secrets:"shown"`
	Status  Status `json:"status"`
	Handler bool   `json:"handler"`
	// Ignored is a failure that ignore_errors or ignore_unreachable covers; Rescued one that a rescue
	// section takes.
	Ignored     bool   `json:"ignored"`
	Rescued     bool   `json:"rescued"`
	DelegatedTo string `json:"delegated_to,omitempty"`
	// Items are a loop's results, in order; Item is set in them and nowhere else.
	Items    []Item         `json:"items,omitempty"`
	Attempts int            `json:"attempts,omitempty"`
	Msg      string         `json:"msg,omitempty"`
	Diff     []modules.Diff `json:"diff,omitempty"`
	Why
	// Result is what register stores, or a note in its place under no_log.
	Result json.RawMessage `json:"result,omitempty"`
	// At is the task's place in its file.
	At diag.Position `json:"at,omitzero"`
	// Wrong is the place in the user's files that the failure is about, where it is narrower than At: a
	// template that could not be evaluated.
	Wrong  diag.Position `json:"wrong,omitzero"`
	TookMS float64       `json:"took_ms"`
	// ExpectsMS is how long what the task does was expected to take, where its module can tell; in check mode,
	// how long it would take.
	ExpectsMS float64 `json:"expects_ms,omitempty"`
}

// Why is the condition that decided how a task ended.
type Why struct {
	// FalseCondition is the condition, as written, that was false and so skipped the task.
	FalseCondition string `json:"false_condition,omitempty"`
	// Reason is the keyword and the smallest part of its condition that decided, such as
	// `when: eq .role "meta" was false`: of failures always, else when the run was asked to be verbose.
	Reason string `json:"reason,omitempty"`
	// Values are the variables that the part reads.
	Values []Value `json:"values,omitempty"`
}

// Value is a variable, or a field of one, as a condition read it.
type Value struct {
	// Name is its path with the dot before it: .result.rc.
	Name string `json:"name"`
	// Value is what it held; a long one is cut and then a text. It is missing where nothing is defined.
	Value json.RawMessage `json:"value,omitempty"`
	// From is the file and line where the variable is written, or in words what set it.
	From string `json:"from,omitempty"`
}

// Item is one item of a looped task.
type Item struct {
	Item     json.RawMessage `json:"item"`
	Label    string          `json:"label,omitempty"`
	Index    *int            `json:"index,omitempty"` // from 0, where loop_control has index_var
	Status   Status          `json:"status"`
	Ignored  bool            `json:"ignored,omitempty"`
	Attempts int             `json:"attempts,omitempty"`
	Msg      string          `json:"msg,omitempty"`
	Diff     []modules.Diff  `json:"diff,omitempty"`
	Why
	Result json.RawMessage `json:"result,omitempty"`
	// DelegatedTo is set where delegate_to depends on the item.
	DelegatedTo string `json:"delegated_to,omitempty"`
	// Wrong is as in TaskDone.
	Wrong  diag.Position `json:"wrong,omitzero"`
	TookMS float64       `json:"took_ms"`
}

// Included is a dynamic include that brought a file to hosts.
type Included struct {
	File  string   `json:"file"`
	Hosts []string `json:"hosts" secrets:"shown"`
}

// Problem is a diagnostic, before a run starts or in a run.
type Problem struct {
	diag.Diagnostic
	// Severity is "error" or "warning". NewProblem sets it.
	Severity string `json:"severity"`
	// EndColumn is where what is wrong ends, and Source the line it stands in; zero where these are not known
	// or must not be shown.
	EndColumn int    `json:"end_column,omitempty"`
	Source    string `json:"source,omitempty"`
}

// NewProblem makes the event of a diagnostic.
func NewProblem(d diag.Diagnostic) Problem {
	p := Problem{Diagnostic: d, Severity: "error"}
	if d.Warning {
		p.Severity = "warning"
	}
	return p
}

// Counts is one host's line of the recap, counted as Ansible does. Unknown counts tasks of check mode
// whose outcome is not known.
type Counts struct {
	OK          int `json:"ok"`
	Changed     int `json:"changed"`
	Unreachable int `json:"unreachable"`
	Failed      int `json:"failed"`
	Skipped     int `json:"skipped"`
	Rescued     int `json:"rescued"`
	Ignored     int `json:"ignored"`
	Unknown     int `json:"unknown,omitempty"`
}

// RunDone is the last record of a run.
type RunDone struct {
	Recap    map[string]Counts `json:"recap"`
	ExitCode int               `json:"exit_code"`
	// Message says why a run ended early and what to do; empty otherwise.
	Message string  `json:"message,omitempty"`
	TookMS  float64 `json:"took_ms"`
}

// Kind is "run_started".
func (RunStarted) Kind() string { return "run_started" }

// Kind is "play_started".
func (PlayStarted) Kind() string { return "play_started" }

// Kind is "batch_started".
func (BatchStarted) Kind() string { return "batch_started" }

// Kind is "lock".
func (Lock) Kind() string { return "lock" }

// Kind is "task_started".
func (TaskStarted) Kind() string { return "task_started" }

// Kind is "noted".
func (Noted) Kind() string { return "noted" }

// Kind is "job_started".
func (JobStarted) Kind() string { return "job_started" }

// Kind is "task_done".
func (TaskDone) Kind() string { return "task_done" }

// Kind is "included".
func (Included) Kind() string { return "included" }

// Kind is "problem".
func (Problem) Kind() string { return "problem" }

// Kind is "run_done".
func (RunDone) Kind() string { return "run_done" }
