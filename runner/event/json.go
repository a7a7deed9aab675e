package event

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/pegbook/pegbook/runner/secret"
)

// MarshalJSON gives one object: seq, time (RFC 3339, UTC), event, and the event's own fields.
func (r Record) MarshalJSON() ([]byte, error) {
	if o, ok := r.Event.(Other); ok {
		return o.Raw, nil
	}
	head := append(make([]byte, 0, 128), headSeq...)
	head = append(strconv.AppendInt(head, r.Seq, 10), headTime...)
	head = append(r.Time.UTC().AppendFormat(head, time.RFC3339Nano), headEvent...)
	head = append(append(head, r.Event.Kind()...), `"}`...)
	body, err := plain(r.Event)
	if err != nil {
		return nil, err
	}
	if string(body) == "{}" {
		return head, nil
	}
	return slices.Concat(head[:len(head)-1], []byte{','}, body[1:]), nil
}

// plain is JSON with <, > and & as they are: people read these lines, no browser does.
func plain(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// Lines is a sink that writes one JSON object a line. The first write that fails is kept and nothing
// is written after it.
type Lines struct {
	mu  sync.Mutex // guards w, err
	w   io.Writer
	err error
}

// NewLines makes a sink that writes to w.
func NewLines(w io.Writer) *Lines { return &Lines{w: w} }

// Record writes the record.
func (l *Lines) Record(r Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	line, err := r.MarshalJSON()
	if err == nil {
		_, err = l.w.Write(append(line, '\n'))
	}
	l.err = err
}

// Err is the first error of writing.
func (l *Lines) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Tee is a sink that passes every record on to all of its sinks, in order.
type Tee []Sink

// Record passes the record on.
func (t Tee) Record(r Record) {
	for _, s := range t {
		s.Record(r)
	}
}

// Stream numbers events and passes them on as records. It is safe for concurrent use.
type Stream struct {
	mu   sync.Mutex // guards seq and the order in which the sink sees records
	seq  int64
	sink Sink
	now  func() time.Time
	// secrets are masked in every event: this is the one way by which anything leaves a run.
	secrets *secret.Set
}

// NewStream makes a stream into a sink; nil drops everything. now is the clock. What secrets holds, or comes to
// hold, is masked in every event; nil masks nothing.
func NewStream(sink Sink, now func() time.Time, secrets *secret.Set) *Stream {
	return &Stream{sink: sink, now: now, secrets: secrets}
}

// Emit numbers the event and passes it on, secrets masked, before it returns.
func (s *Stream) Emit(e Event) {
	e = Masked(e, s.secrets)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	if s.sink != nil {
		s.sink.Record(Record{Seq: s.seq, Time: s.now(), Event: e})
	}
}
