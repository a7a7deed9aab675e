package journal

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"sync"

	"github.com/pegbook/pegbook/runner"
)

const (
	eventsFile = "events.jsonl"
	stepsFile  = "steps.jsonl"
)

// stepRecord is an entry as it is written. What the entry says about the place of a step is readable; what it
// holds is not, since nobody can tell of a result whether there is a secret in it.
type stepRecord struct {
	Kind   runner.EntryKind `json:"k"`
	Place  string           `json:"p,omitempty"`
	Host   int              `json:"h,omitempty"` // the number of its name
	Item   int              `json:"i,omitempty"`
	Task   int              `json:"t,omitempty"` // the number of its name
	Sealed []byte           `json:"s,omitempty"`
}

// place is what the sealed part is bound to: moved to another step it does not open.
func (r stepRecord) place() string {
	return string(r.Kind) + "|" + r.Place + "|" + strconv.Itoa(r.Host) + "|" + strconv.Itoa(r.Item) + "|" + strconv.Itoa(r.Task)
}

const private = 1 // a flag of what is sealed

// entryName is a record that gives the name of a task or host a number: the same few stand in all entries of a run.
const entryName runner.EntryKind = "name"

// names are the numbers of names, from 1.
type names struct {
	mu      sync.Mutex // guards numbers, and that a number's record comes before those that use it
	numbers map[string]int
}

// sealEntry gives an entry's object. Sealed are flags and the state.
func (k *key) sealEntry(e runner.Entry, host, task int) ([]byte, error) {
	r := stepRecord{Kind: e.Kind, Place: e.Place, Host: host, Item: e.Item, Task: task}
	if len(e.State) > 0 || e.Private {
		inner := make([]byte, 1, 1+len(e.State))
		if e.Private {
			inner[0] = private
		}
		r.Sealed = k.seal(r.place(), append(inner, e.State...))
	}
	return json.Marshal(r)
}

// sealName gives the object of a name.
func (k *key) sealName(name string, number int) ([]byte, error) {
	r := stepRecord{Kind: entryName, Item: number}
	r.Sealed = k.seal(r.place(), []byte(name))
	return json.Marshal(r)
}

// opener reads the entries of a run, in order.
type opener struct {
	key   *key
	names map[int]string
}

// entry gives an entry; false where the record is none that a run has kept.
func (o *opener) entry(raw []byte) (runner.Entry, bool, error) {
	r, err := readStep(raw)
	if err != nil {
		return runner.Entry{}, false, err
	}
	e := runner.Entry{Kind: r.Kind, Place: r.Place, Host: o.names[r.Host], Item: r.Item, Task: o.names[r.Task]}
	known := (r.Task == 0 || e.Task != "") && (r.Host == 0 || e.Host != "") // else the name's record is damaged, which is told
	if len(r.Sealed) == 0 {
		return e, known && e.Kind != entryCut, nil
	}
	inner, err := o.key.unseal(r.place(), r.Sealed)
	if err != nil {
		return e, false, err
	}
	if r.Kind == entryName {
		o.names[r.Item] = string(inner)
		return e, false, nil
	}
	if len(inner) == 0 {
		return e, false, ErrSealed
	}
	if e.Private = inner[0] == private; len(inner) > 1 {
		e.State = inner[1:]
	}
	return e, known && e.Kind != entryCut, nil
}

// readStep reads what sealEntry has written.
func readStep(raw []byte) (stepRecord, error) {
	var r stepRecord
	var wrong error
	err := fields(raw, func(name, value []byte) bool {
		switch string(name) {
		case "k":
			var s string
			s, wrong = text(value)
			r.Kind = runner.EntryKind(s)
		case "p":
			r.Place, wrong = text(value)
		case "h":
			r.Host, wrong = strconv.Atoi(string(value))
		case "i":
			r.Item, wrong = strconv.Atoi(string(value))
		case "t":
			r.Task, wrong = strconv.Atoi(string(value))
		case "s":
			if len(value) < 2 {
				wrong = errShape
				break
			}
			r.Sealed, wrong = base64.StdEncoding.AppendDecode(nil, value[1:len(value)-1])
		}
		return wrong == nil
	})
	return r, errors.Join(err, wrong)
}
