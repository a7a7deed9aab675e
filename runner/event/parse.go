package event

import (
	"encoding/json"
	"fmt"
	"time"
)

// Other is an event of a kind that this version does not know; Raw is the whole record.
type Other struct {
	Event string
	Raw   json.RawMessage
}

// Kind is the record's "event".
func (o Other) Kind() string { return o.Event }

// Parse reads a record as MarshalJSON has written it.
func Parse(raw []byte) (Record, error) {
	var head struct {
		Seq   int64     `json:"seq"`
		Time  time.Time `json:"time"`
		Event string    `json:"event"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return Record{}, err
	}
	e, err := parseEvent(head.Event, raw)
	if err != nil {
		return Record{}, fmt.Errorf("event %s: %w", head.Event, err)
	}
	return Record{Seq: head.Seq, Time: head.Time, Event: e}, nil
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
