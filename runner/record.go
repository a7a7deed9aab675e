package runner

import (
	"encoding/json"
	"errors"
)

// A run is a walk over results: from the results of its steps alone (and from what was answered on the way)
// follows which steps there are. So all that has to be kept of a run is those results, as entries in the order in
// which they came about. Whoever goes on with the run walks the same way again and takes from the entries what
// has been done (see Past).

// Recorder keeps a run's entries. It is called from several goroutines, and from one step in the order in which
// things happen to it. An error of Keep stops the run at the next safe point: what cannot be written down is not
// done.
type Recorder interface {
	// Keep keeps an entry behind those before it. Where the entry is Durable it returns when the entry, and those
	// before it, would survive a loss of power; else when they would survive the end of the
	// process, unless the entry is Soon.
	Keep(e Entry) error
	// Err says why no act is kept any more; nil while they are.
	Err() error
}

// ErrRecordGone is why nothing is kept any more when somebody has removed the record: there is nothing to go on with.
var ErrRecordGone = errors.New("it was removed while the run goes on")

// EntryKind is what an entry says.
type EntryKind string

// Kinds of entries. Later ones about the same step (Place, Host, Item) override earlier ones.
const (
	// EntryActing is a step that is about to change something: what follows in time may have happened, or a part
	// of it. State is what whoever takes it back would have to know.
	EntryActing EntryKind = "acting"
	// EntryTried is a step that is tried again later: what it was about to do has ended.
	EntryTried EntryKind = "tried"
	// EntryDone is a step (or with Item one item of its loop) that has ended; State is its result.
	EntryDone EntryKind = "done"
	// EntryDecided is what was answered to a question of the run as a whole; Place names the question.
	EntryDecided EntryKind = "decided"
	// EntryUsed is a file or variable that steps use, with the digest of what it held; done steps refer to it.
	EntryUsed EntryKind = "used"
	// EntryLost is a host that takes no further part, because of what happened at Place; EntryBack one that takes
	// part again.
	EntryLost EntryKind = "lost"
	EntryBack EntryKind = "back"
	// EntryForgotten is a step whose entries count no more: it is done again. Where State is forgetEnd that is
	// true of its end only: of a loop the items that went well stay done.
	EntryForgotten EntryKind = "forgotten"
)

// Entry is one thing that a run remembers. What it means is the runner's business, but for Kind, Host, Task and
// what is said about Private, Durable and Soon.
type Entry struct {
	Kind EntryKind `json:"kind"`
	// Place is where in the run, Host on which host, Item (from 1) for which item of a loop; together with Kind
	// they are unique.
	Place string `json:"place"`
	Host  string `json:"host,omitempty"`
	Item  int    `json:"item,omitempty"`
	// Task is the task as shown.
	Task string `json:"task,omitempty"`
	// State is what has to be known to go on; it may hold secrets.
	State json.RawMessage `json:"state,omitempty"`
	// Private says that State must be taken as a secret whatever it looks like (no_log, private answers).
	Private bool `json:"private,omitempty"`
	// Durable asks Keep to wait for the disk.
	Durable bool `json:"-"`
	// Soon lets Keep return at once: the run does nothing outside of itself before it has kept, and waited for, an
	// entry behind this one.
	Soon bool `json:"-"`
}
