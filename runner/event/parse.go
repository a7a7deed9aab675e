package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Other is an event of a kind that this version does not know; Raw is the whole record.
type Other struct {
	Event string
	Raw   json.RawMessage
}

// Kind is the record's "event".
func (o Other) Kind() string { return o.Event }

// Every is an event of each kind that there is, with nothing in it.
func Every() []Event {
	return []Event{RunStarted{}, PlayStarted{}, BatchStarted{}, TaskStarted{}, Noted{}, JobStarted{}, TaskDone{}, Included{}, Rollback{},
		Lock{}, Problem{}, GateWaiting{}, GateAnswered{}, GuardChecked{}, RunPaused{}, RunContinued{}, RunDone{}}
}

// Parse reads a record as MarshalJSON has written it.
func Parse(raw []byte) (Record, error) {
	r, kind, ok := parseHead(raw)
	if !ok {
		return Record{}, errors.New("it does not begin as a record does")
	}
	var err error
	if r.Event, err = parseEvent(kind, raw); err != nil {
		return Record{}, fmt.Errorf("event %s: %w", kind, err)
	}
	return r, nil
}

// What stands in a record before its number, time and kind.
const headSeq, headTime, headEvent = `{"seq":`, `,"time":"`, `","event":"`

// parseHead reads what all records have, without a look at the rest.
func parseHead(raw []byte) (r Record, kind string, ok bool) {
	text, ok := bytes.CutPrefix(raw, []byte(headSeq))
	if !ok {
		return r, "", false
	}
	seq, text, _ := bytes.Cut(text, []byte(headTime))
	at, text, _ := bytes.Cut(text, []byte(headEvent))
	name, _, ok := bytes.Cut(text, []byte{'"'})
	var err, wrong error
	r.Seq, err = strconv.ParseInt(string(seq), 10, 64)
	r.Time, wrong = time.Parse(time.RFC3339Nano, string(at))
	return r, string(name), ok && err == nil && wrong == nil
}

func parseEvent(kind string, raw []byte) (Event, error) {
	switch kind {
	case RunStarted{}.Kind():
		return as[RunStarted](raw)
	case PlayStarted{}.Kind():
		return as[PlayStarted](raw)
	case BatchStarted{}.Kind():
		return as[BatchStarted](raw)
	case TaskStarted{}.Kind():
		return as[TaskStarted](raw)
	case Noted{}.Kind():
		return as[Noted](raw)
	case JobStarted{}.Kind():
		return as[JobStarted](raw)
	case TaskDone{}.Kind():
		return as[TaskDone](raw)
	case Included{}.Kind():
		return as[Included](raw)
	case Rollback{}.Kind():
		return as[Rollback](raw)
	case Lock{}.Kind():
		return as[Lock](raw)
	case Problem{}.Kind():
		return as[Problem](raw)
	case GateWaiting{}.Kind():
		return as[GateWaiting](raw)
	case GateAnswered{}.Kind():
		return as[GateAnswered](raw)
	case GuardChecked{}.Kind():
		return as[GuardChecked](raw)
	case RunPaused{}.Kind():
		return as[RunPaused](raw)
	case RunContinued{}.Kind():
		return as[RunContinued](raw)
	case RunDone{}.Kind():
		return as[RunDone](raw)
	}
	return Other{Event: kind, Raw: append(json.RawMessage{}, raw...)}, nil
}

func as[E Event](raw []byte) (Event, error) {
	var e E
	err := json.Unmarshal(raw, &e)
	return e, err
}
