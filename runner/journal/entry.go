package journal

import (
	"encoding/json"
	"fmt"

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

// sealedPart is what of an entry is sealed.
type sealedPart struct {
	Task    string          `json:"task,omitempty"`
	State   json.RawMessage `json:"state,omitempty"`
	Private bool            `json:"private,omitempty"`
}

// place is what the sealed part is bound to: moved to another step it does not open.
func (r stepRecord) place() string {
	return fmt.Sprintf("%s|%s|%s|%d", r.Kind, r.Place, r.Host, r.Item)
}

func (k *key) sealEntry(e runner.Entry) ([]byte, error) {
	r := stepRecord{Kind: e.Kind, Place: e.Place, Host: e.Host, Item: e.Item}
	if e.Task != "" || len(e.State) > 0 || e.Private {
		inner, err := json.Marshal(sealedPart{Task: e.Task, State: e.State, Private: e.Private})
		if err != nil {
			return nil, err
		}
		r.Sealed = k.seal(r.place(), inner)
	}
	return json.Marshal(r)
}

func (k *key) unsealEntry(raw []byte) (runner.Entry, error) {
	var r stepRecord
	if err := json.Unmarshal(raw, &r); err != nil {
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
	var p sealedPart
	if err := json.Unmarshal(inner, &p); err != nil {
		return e, err
	}
	e.Task, e.State, e.Private = p.Task, p.State, p.Private
	return e, nil
}
