package journal

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/event"
)

// Standing is where the hosts of a run stand.
type Standing struct {
	// Play, Batch and Batches are what began last.
	Play    string `json:"play,omitempty"`
	Batch   int    `json:"batch,omitempty"`
	Batches int    `json:"batches,omitempty"`
	// Hosts are all hosts that took part, by name.
	Hosts []HostStanding `json:"hosts"`
	// InFlight is what had begun and not ended.
	InFlight []InFlight `json:"in_flight,omitempty"`
	// Message says why the run ended early.
	Message string `json:"message,omitempty"`
	// Sealed says that what the run remembers cannot be read with the key of the home: it cannot be gone on with.
	Sealed bool `json:"sealed,omitempty"`
	// Remembers is how many steps the run knows the ends of. Going on with it does those again that have failed.
	Remembers int `json:"remembers"`

	Torn   []*TornError   `json:"torn,omitempty"`
	Damage []*DamageError `json:"damage,omitempty"`
}

// HostStanding is where a host stands.
type HostStanding struct {
	Host string `json:"host"`
	event.Counts
	// Play, Batch, Task, Status and Msg are of the task that ended last on it.
	Play   string       `json:"play,omitempty"`
	Batch  int          `json:"batch,omitempty"`
	Task   string       `json:"task,omitempty"`
	Status event.Status `json:"status,omitempty"`
	Msg    string       `json:"msg,omitempty"`
	// Lost says that the host took no further part after that task.
	Lost bool `json:"lost,omitempty"`
}

// InFlight is a task that had begun on a host and not ended.
type InFlight struct {
	Host  string    `json:"host"`
	Play  string    `json:"play,omitempty"`
	Task  string    `json:"task"`
	Since time.Time `json:"since,omitzero"`
	// Acting says that it had begun to change the host.
	Acting bool `json:"acting,omitempty"`
	// Ended says that it ended in the events; how was not kept, because the disk was full or the result too large.
	Ended bool `json:"ended,omitempty"`
}

// Standing reads where the run stands.
func (r *Run) Standing() (*Standing, error) {
	s := &standing{hosts: map[string]*HostStanding{}, began: map[string]flight{}, ended: map[string]bool{}, acting: map[stepKey]map[int]runner.Entry{}, kept: map[stepKey]bool{}}
	found, err := r.read(eventsFile, nil, s.event)
	if err != nil {
		return nil, err
	}
	if r.State != Done {
		used := r.newUsed()
		steps, err := r.Entries(func(e runner.Entry) error { return errors.Join(s.entry(e), used.take(e)) })
		if err != nil && !errors.Is(err, ErrSealed) { // then where hosts stand can be told all the same
			return nil, fmt.Errorf("what run %s remembers cannot be read: %w", r.Run, err)
		}
		if err == nil {
			r.used = used
		}
		s.took(steps)
		s.out.Sealed = err != nil
	}
	s.took(found)
	return s.conclude(), nil
}

// standing is a Standing while it is read.
type standing struct {
	out    Standing
	hosts  map[string]*HostStanding
	began  map[string]flight                // by host and task
	ended  map[string]bool                  // likewise, in the events
	acting map[stepKey]map[int]runner.Entry // by item
	kept   map[stepKey]bool                 // steps that are remembered
	recap  map[string]event.Counts
}

// stepKey is a step of the run.
type stepKey struct{ place, host string }

// flight is what is in flight, and since when, as written.
type flight struct {
	InFlight
	since string
}

func (s *standing) took(found Reading) {
	if found.Torn != nil {
		s.out.Torn = append(s.out.Torn, found.Torn)
	}
	s.out.Damage = append(s.out.Damage, found.Damage...)
}

// brief is what of an event decides where hosts stand.
type brief struct {
	Event, Play, Task, Host, Msg string
	Status                       event.Status
	Batch, Batches               int
	Ignored, Rescued             bool
	Time, Hosts, Recap, Message  []byte // as written
}

// briefly reads an event. It stops at the result of a task, which is most of it.
func briefly(object []byte) (brief, error) {
	var e brief
	var wrong error
	err := fields(object, func(name, value []byte) bool {
		switch string(name) {
		case "time":
			e.Time = value
		case "event":
			e.Event, wrong = text(value)
		case "play":
			e.Play, wrong = text(value)
		case "task":
			e.Task, wrong = text(value)
		case "host":
			e.Host, wrong = text(value)
		case "msg":
			e.Msg, wrong = text(value)
		case "status":
			var status string
			status, wrong = text(value)
			e.Status = event.Status(status)
		case "batch":
			e.Batch, wrong = strconv.Atoi(string(value))
		case "batches":
			wrong = json.Unmarshal(value, &e.Batches) // in a play_started of old it may be missing
		case "ignored":
			e.Ignored = string(value) == "true"
		case "rescued":
			e.Rescued = string(value) == "true"
		case "hosts":
			e.Hosts = value
		case "recap":
			e.Recap = value
		case "message":
			e.Message = value
		}
		return wrong == nil && string(name) != "result"
	})
	return e, errors.Join(err, wrong)
}

func (s *standing) event(object []byte) error {
	e, err := briefly(object)
	if err != nil {
		return err
	}
	switch e.Event {
	case event.RunStarted{}.Kind():
		s.began, s.recap, s.out.Message = map[string]flight{}, nil, ""
	case event.BatchStarted{}.Kind():
		s.out.Play, s.out.Batch, s.out.Batches = e.Play, e.Batch, e.Batches
	case event.TaskStarted{}.Kind():
		s.host(e.Host)
		delete(s.ended, e.Host+"\x00"+e.Task)
		s.began[e.Host+"\x00"+e.Task] = flight{InFlight{Host: e.Host, Play: e.Play, Task: e.Task}, string(e.Time)}
	case event.TaskDone{}.Kind():
		key := e.Host + "\x00" + e.Task
		delete(s.began, key)
		s.ended[key] = e.Status != event.Unknown
		s.done(e)
	case event.Included{}.Kind():
		var names []string
		err = json.Unmarshal(e.Hosts, &names)
		for _, name := range names {
			s.host(name).OK++
		}
	case event.RunDone{}.Kind():
		if len(e.Recap) > 0 {
			err = json.Unmarshal(e.Recap, &s.recap)
		}
		if len(e.Message) > 0 && err == nil {
			s.out.Message, err = text(e.Message)
		}
	}
	return err
}

func (s *standing) host(name string) *HostStanding {
	h := s.hosts[name]
	if h == nil {
		h = &HostStanding{Host: name}
		s.hosts[name] = h
	}
	return h
}

// done counts a task as the recap does.
func (s *standing) done(e brief) {
	h := s.host(e.Host)
	failed := e.Status == event.Failed || e.Status == event.Unreachable
	h.Play, h.Batch, h.Task, h.Status, h.Msg = e.Play, e.Batch, e.Task, e.Status, e.Msg
	h.Lost = failed && !e.Ignored && !e.Rescued
	switch {
	case e.Status == event.Skipped:
		h.Skipped++
	case e.Status == event.Unknown:
		h.Unknown++
	case failed && e.Ignored:
		h.OK++
		h.Ignored++
	case e.Status == event.Unreachable:
		h.Unreachable++
	case e.Rescued:
		h.Rescued++
	case failed:
		h.Failed++
	default:
		h.OK++
	}
	if e.Status == event.Changed {
		h.Changed++
	}
}

func (s *standing) entry(e runner.Entry) error {
	key := stepKey{e.Place, e.Host}
	switch e.Kind {
	case runner.EntryActing:
		if s.acting[key] == nil {
			s.acting[key] = map[int]runner.Entry{}
		}
		s.acting[key][e.Item] = e
	case runner.EntryTried:
		delete(s.acting[key], e.Item)
	case runner.EntryDone:
		s.over(key, e.Item)
		if e.Item == 0 { // an item of a loop is no step of its own
			s.kept[key] = true
		}
	case runner.EntryForgotten:
		s.over(key, e.Item)
		delete(s.kept, key)
	}
	return nil
}

// over takes in that a step has ended, and with it all items of its loop, or that one item has.
func (s *standing) over(key stepKey, item int) {
	if delete(s.acting[key], item); item == 0 || len(s.acting[key]) == 0 {
		delete(s.acting, key)
	}
}

func (s *standing) conclude() *Standing {
	for name, c := range s.recap {
		s.host(name).Counts = c
	}
	for _, h := range s.hosts {
		s.out.Hosts = append(s.out.Hosts, *h)
	}
	slices.SortFunc(s.out.Hosts, func(a, b HostStanding) int { return strings.Compare(a.Host, b.Host) })
	for _, items := range s.acting {
		for _, e := range items {
			key := e.Host + "\x00" + e.Task
			in, ok := s.began[key]
			if !ok {
				in = flight{InFlight: InFlight{Host: e.Host, Task: e.Task, Ended: s.ended[key]}}
			}
			in.Acting = true
			s.began[key] = in
		}
	}
	for _, in := range s.began {
		in.Since, _ = time.Parse(`"`+time.RFC3339Nano+`"`, in.since) //nolint:errcheck // what began without an event has none
		s.out.InFlight = append(s.out.InFlight, in.InFlight)
	}
	slices.SortFunc(s.out.InFlight, func(a, b InFlight) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), a.Since.Compare(b.Since), strings.Compare(a.Task, b.Task))
	})
	s.out.Remembers = len(s.kept)
	return &s.out
}

// Err is what is wrong with the journal; nil where it can be relied on.
func (s *Standing) Err() error {
	var errs []error
	for _, d := range s.Damage {
		errs = append(errs, d)
	}
	return errors.Join(errs...)
}
