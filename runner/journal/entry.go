package journal

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/runner"
)

const (
	eventsFile = "events.jsonl"
	stepsFile  = "steps.jsonl"
)

// stepRecord is an entry as it is written. What the entry says about the place of a step is readable; what it
// holds is not, since nobody can tell of a result whether there is a secret in it.
type stepRecord struct {
	Kind   runner.EntryKind `json:"kind"`
	Place  string           `json:"place"`
	Host   string           `json:"host,omitempty"`
	Item   int              `json:"item,omitempty"`
	Sealed []byte           `json:"sealed,omitempty"`
}

// place is what the sealed part is bound to: moved to another step it does not open.
func (r stepRecord) place() string {
	return string(r.Kind) + "|" + r.Place + "|" + r.Host + "|" + strconv.Itoa(r.Item)
}

const private = 1 // a flag of what is sealed

// sealEntry gives an entry's object. Sealed are flags, the task, a line's end and the state.
func (k *key) sealEntry(e runner.Entry) ([]byte, error) {
	r := stepRecord{Kind: e.Kind, Place: e.Place, Host: e.Host, Item: e.Item}
	if e.Task != "" || len(e.State) > 0 || e.Private {
		inner := make([]byte, 1, 2+len(e.Task)+len(e.State))
		if e.Private {
			inner[0] = private
		}
		inner = append(inner, strings.ReplaceAll(e.Task, "\n", " ")...)
		inner = append(inner, '\n')
		inner = append(inner, e.State...)
		r.Sealed = k.seal(r.place(), inner)
	}
	return json.Marshal(r)
}

// readStep reads what sealEntry has written.
func readStep(raw []byte) (stepRecord, error) {
	var r stepRecord
	var wrong error
	err := fields(raw, func(name, value []byte) bool {
		switch string(name) {
		case "kind":
			var s string
			s, wrong = text(value)
			r.Kind = runner.EntryKind(s)
		case "place":
			r.Place, wrong = text(value)
		case "host":
			r.Host, wrong = text(value)
		case "item":
			r.Item, wrong = strconv.Atoi(string(value))
		case "sealed":
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

func (k *key) unsealEntry(raw []byte) (runner.Entry, error) {
	r, err := readStep(raw)
	if err != nil {
		return runner.Entry{}, err
	}
	e := runner.Entry{Kind: r.Kind, Place: r.Place, Host: r.Host, Item: r.Item}
	if len(r.Sealed) == 0 {
		return e, nil
	}
	inner, err := k.unseal(r.place(), r.Sealed)
	if err != nil {
		return e, err
	}
	task, state, ok := bytes.Cut(inner, []byte{'\n'})
	if !ok || len(task) == 0 {
		return e, ErrSealed
	}
	e.Private, e.Task = task[0] == private, string(task[1:])
	if len(state) > 0 {
		e.State = state
	}
	return e, nil
}
