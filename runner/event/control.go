package event

import "github.com/pegbook/pegbook/runner/diag"

// Outcome is what a look of a play's guard found.
type Outcome string

// Outcomes. Inconclusive is a look that found nothing out: a host that cannot be reached, no answer in time.
const (
	Passed       Outcome = "passed"
	Breached     Outcome = "failed"
	Inconclusive Outcome = "inconclusive"
)

// GateWaiting is a gate that a batch has come to: nothing goes on there before somebody approves.
type GateWaiting struct {
	Play    string   `json:"play"`
	Batch   int      `json:"batch"`
	Task    string   `json:"task"`
	Hosts   []string `json:"hosts" secrets:"shown"`
	Message string   `json:"message"`
	// Next is what comes behind the gate: a task, a batch or a play, with its hosts.
	Next string `json:"next"`
	// Approve is the command that opens the gate from another terminal; empty where none can.
	Approve string        `json:"approve,omitempty"`
	At      diag.Position `json:"at,omitzero"`
}

// GateAnswered is a gate that waits no longer. By says who answered, or what (--yes, check mode); empty when nobody
// did.
type GateAnswered struct {
	Play     string `json:"play"`
	Batch    int    `json:"batch"`
	Task     string `json:"task"`
	Approved bool   `json:"approved"`
	By       string `json:"by,omitempty"`
}

// GuardChecked is a look of a play's guard: all its tasks on all its hosts.
type GuardChecked struct {
	Play  string `json:"play"`
	Batch int    `json:"batch"`
	// When is "before" the batch, or "during" it.
	When    string  `json:"when"`
	Outcome Outcome `json:"outcome"`
	// Checks is how many there were: tasks times hosts; Findings are those that did not pass.
	Checks   int       `json:"checks"`
	Findings []Finding `json:"findings,omitempty"`
	TookMS   float64   `json:"took_ms"`
}

// Finding is a task of a guard that did not pass on a host.
type Finding struct {
	Task    string        `json:"task"`
	Host    string        `json:"host" secrets:"shown"`
	Outcome Outcome       `json:"outcome"`
	Msg     string        `json:"msg"`
	At      diag.Position `json:"at,omitzero"`
}

// RunPaused is a run that starts nothing more, and in which nothing is under way any more. It goes on by the
// command in GoOn.
type RunPaused struct {
	Reason string `json:"reason"`
	By     string `json:"by,omitempty"`
	GoOn   string `json:"go_on,omitempty"`
}

// RunContinued is a paused run that goes on.
type RunContinued struct {
	By       string  `json:"by"`
	PausedMS float64 `json:"paused_ms"`
}

// Kind is "gate_waiting".
func (GateWaiting) Kind() string { return "gate_waiting" }

// Kind is "gate_answered".
func (GateAnswered) Kind() string { return "gate_answered" }

// Kind is "guard_checked".
func (GuardChecked) Kind() string { return "guard_checked" }

// Kind is "run_paused".
func (RunPaused) Kind() string { return "run_paused" }

// Kind is "run_continued".
func (RunContinued) Kind() string { return "run_continued" }
