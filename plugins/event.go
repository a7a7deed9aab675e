package plugins

import (
	"encoding/json"
	"time"
)

// Kinds of events that notifiers are told of; docs/output.md lists all, with their fields.
const (
	RunStarted   = "run_started"
	PlayStarted  = "play_started"
	BatchStarted = "batch_started"
	TaskStarted  = "task_started"
	TaskDone     = "task_done"
	GateWaiting  = "gate_waiting"
	GateAnswered = "gate_answered"
	GuardChecked = "guard_checked"
	RunPaused    = "run_paused"
	RunContinued = "run_continued"
	Problem      = "problem"
	RunDone      = "run_done"
)

// Event is something that happened in a run: the fields of docs/output.md that say what, as far as they apply to the
// event's kind. Secrets are masked. Line has all fields, also those that later versions of pegbook add.
type Event struct {
	Seq  int64     `json:"seq"`
	Time time.Time `json:"time"`
	Kind string    `json:"event"`

	// Of the run.
	Run         string            `json:"run"`
	Playbook    string            `json:"playbook"`
	Inventory   []string          `json:"inventory"`
	Check       bool              `json:"check"`
	ResumedFrom string            `json:"resumed_from"`
	Steps       int               `json:"steps"`
	ExitCode    int               `json:"exit_code"`
	Recap       map[string]Counts `json:"recap"`

	// Of a play, a task, a host.
	Play        string   `json:"play"`
	Batch       int      `json:"batch"`
	Batches     int      `json:"batches"`
	Hosts       []string `json:"hosts"`
	Task        string   `json:"task"`
	Module      string   `json:"module"`
	Host        string   `json:"host"`
	DelegatedTo string   `json:"delegated_to"`
	Status      string   `json:"status"`
	Handler     bool     `json:"handler"`
	Ignored     bool     `json:"ignored"`
	Rescued     bool     `json:"rescued"`
	Attempts    int      `json:"attempts"`
	// Result is what register stores.
	Result json.RawMessage `json:"result"`

	// Of gates, guards, pauses and problems.
	Message  string `json:"message"`
	Msg      string `json:"msg"`
	Reason   string `json:"reason"`
	Hint     string `json:"hint"`
	Severity string `json:"severity"`
	File     string `json:"file"`
	// SourceLine is the line of File.
	SourceLine int    `json:"line"`
	Next       string `json:"next"`
	Approve    string `json:"approve"`
	Approved   bool   `json:"approved"`
	By         string `json:"by"`
	GoOn       string `json:"go_on"`
	Outcome    string `json:"outcome"`

	TookMS float64 `json:"took_ms"`

	// Line is the event as pegbook run --json prints it.
	Line json.RawMessage `json:"-"`
}

// Counts is a host's line of the recap.
type Counts struct {
	OK          int `json:"ok"`
	Changed     int `json:"changed"`
	Unreachable int `json:"unreachable"`
	Failed      int `json:"failed"`
	Skipped     int `json:"skipped"`
	Rescued     int `json:"rescued"`
	Ignored     int `json:"ignored"`
	Unknown     int `json:"unknown"`
}

// ParseEvent reads a line of pegbook run --json.
func ParseEvent(line []byte) (Event, error) {
	e := Event{Line: line}
	err := json.Unmarshal(line, &e)
	return e, err
}
