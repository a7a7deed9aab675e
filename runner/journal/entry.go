package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/pegbook/pegbook/runner"
)

const (
	eventsFile = "events.blocks"
	stepsFile  = "steps.blocks"
)

// stepRecord is an entry as it is written. Nobody can tell of a result whether there is a secret in it, so all of its
// file is sealed.
type stepRecord struct {
	Kind    runner.EntryKind `json:"k"`
	Place   string           `json:"p,omitempty"`
	Host    string           `json:"h,omitempty"`
	Item    int              `json:"i,omitempty"`
	Task    string           `json:"t,omitempty"`
	Private bool             `json:"x,omitempty"`
	State   json.RawMessage  `json:"s,omitempty"`
}

// writeEntry gives an entry's record.
func writeEntry(e runner.Entry) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // it would make a result larger than its bound
	err := enc.Encode(stepRecord{Kind: e.Kind, Place: e.Place, Host: e.Host, Item: e.Item, Task: e.Task, Private: e.Private, State: e.State})
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), err
}

// entries reads the entries of a run.
type entries struct {
	words map[string]string // places, hosts and tasks: the same few stand in all entries
}

// entry gives an entry, whose state is a part of the record; false where the record is none that a run has kept.
func (r *entries) entry(record []byte) (runner.Entry, bool, error) {
	var e runner.Entry
	var wrong error
	err := fields(record, func(name, value []byte) bool {
		switch string(name) {
		case "k":
			var kind string
			kind, wrong = r.word(value)
			e.Kind = runner.EntryKind(kind)
		case "p":
			e.Place, wrong = r.word(value)
		case "h":
			e.Host, wrong = r.word(value)
		case "i":
			e.Item, wrong = strconv.Atoi(string(value))
		case "t":
			e.Task, wrong = r.word(value)
		case "x":
			e.Private = string(value) == "true"
		case "s":
			e.State = value[:len(value):len(value)]
		}
		return wrong == nil
	})
	return e, e.Kind != entryCut, errors.Join(err, wrong)
}

// word is a string's text, one for all that are equal.
func (r *entries) word(value []byte) (string, error) {
	if s, ok := r.words[string(value)]; ok {
		return s, nil
	}
	s, err := text(value)
	if err == nil {
		r.words[string(value)] = s
	}
	return s, err
}
