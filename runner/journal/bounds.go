package journal

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/event"
)

// What hosts answer goes into the journal, so a host could fill the control node's disk. Up to these sizes it is
// kept as it is; what is larger is kept by its digest.
const (
	mostEvent = 1 << 20
	mostState = 8 << 20
	// perHost and perRun are how much there may be of one host and altogether before only what is small is kept.
	perHost    = 64 << 20
	perRun     = 2 << 30
	shortEvent = 4 << 10
	smallState = 64 << 10
)

// entryCut stands for an entry that was too large. Whoever goes on with the run does not get to see it: the step
// counts as one that has not ended.
const entryCut runner.EntryKind = "cut"

// bounds is how much of a run is kept already. It is safe for concurrent use.
type bounds struct {
	mu    sync.Mutex // guards the fields below
	total int64
	hosts map[string]int64
}

// limit is large, or small where there is much already.
func (b *bounds) limit(host string, large, small int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.total > perRun || b.hosts[host] > perHost {
		return small
	}
	return large
}

func (b *bounds) count(host string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hosts == nil {
		b.hosts = map[string]int64{}
	}
	b.total += int64(n)
	b.hosts[host] += int64(n)
}

// event gives an event's object, cut to the limit.
func (b *bounds) event(r event.Record) ([]byte, error) {
	host := ""
	switch e := r.Event.(type) {
	case event.TaskDone:
		host = e.Host
	case event.Noted:
		host = e.Host
	}
	limit := b.limit(host, mostEvent, shortEvent)
	raw, err := r.MarshalJSON()
	if err == nil && len(raw) > limit {
		r.Event = cutEvent(r.Event, limit)
		raw, err = r.MarshalJSON()
	}
	if err == nil && len(raw) > limit && !ownWords(r.Event) {
		raw, err = cutRecord(raw, limit)
	}
	b.count(host, len(raw))
	return raw, err
}

// entry gives the entry, or what stands for it.
func (b *bounds) entry(e runner.Entry) runner.Entry {
	if len(e.State) > b.limit(e.Host, mostState, smallState) {
		e = runner.Entry{Kind: entryCut, Place: e.Place, Host: e.Host, Item: e.Item, Task: e.Task, State: digestOf(e.State)}
	}
	b.count(e.Host, len(e.State))
	return e
}

// cutEvent gives the event with the digests of what is large in it.
func cutEvent(e event.Event, limit int) event.Event {
	const short = 512
	switch e := e.(type) {
	case event.TaskDone:
		e.Result, e.Diff, e.Msg, e.Values = cutJSON(e.Result, short), cutDiff(e.Diff), cutText(e.Msg, short), nil
		most := max(1, limit/(4*short))
		if len(e.Items) > most {
			e.Msg = strings.TrimSpace(fmt.Sprintf("%s (the journal keeps %d of %d items)", e.Msg, most, len(e.Items)))
			e.Items = e.Items[:most]
		}
		items := make([]event.Item, len(e.Items))
		for i, it := range e.Items {
			it.Item, it.Result, it.Diff = cutJSON(it.Item, short/2), cutJSON(it.Result, short), cutDiff(it.Diff)
			it.Label, it.Msg, it.Values = cutText(it.Label, short/2), cutText(it.Msg, short), nil
			items[i] = it
		}
		e.Items = items
		return e
	}
	return e
}

// ownWords says whether all of an event is the runner's own, or the inventory's: it is as large as the run.
func ownWords(e event.Event) bool {
	switch e.(type) {
	case event.RunStarted, event.RunDone, event.PlayStarted, event.BatchStarted, event.Included, event.Rollback:
		return true
	}
	return false
}

// cutRecord is an event's object whose texts are cut and, where that does not do, without its lists: whatever else of
// an event came from a host, a plugin or a playbook. What is neither stays, in its order.
func cutRecord(raw []byte, limit int) ([]byte, error) {
	cut, err := cutFields(raw, true)
	if err == nil && len(cut) > limit {
		cut, err = cutFields(raw, false)
	}
	return cut, err
}

func cutFields(raw []byte, lists bool) ([]byte, error) {
	const short = 512
	cut := []byte{'{'}
	err := fields(raw, func(name, value []byte) bool {
		var text string
		switch {
		case len(value) > short && json.Unmarshal(value, &text) == nil:
			value, _ = json.Marshal(cutText(text, short)) //nolint:errchkjson // a text
		case len(value) > short && !lists:
			return true
		}
		cut = append(append(append(append(append(cut, '"'), name...), `":`...), value...), ',')
		return true
	})
	cut[len(cut)-1] = '}'
	return cut, err
}

func cutJSON(raw json.RawMessage, most int) json.RawMessage {
	if len(raw) <= most {
		return raw
	}
	return digestOf(raw)
}

// digestOf is what stands for a value that was too large.
func digestOf(raw json.RawMessage) json.RawMessage {
	sum := sha256.Sum256(raw)
	return fmt.Appendf(nil, `{"cut":true,"bytes":%d,"sha256":"%s"}`, len(raw), hex.EncodeToString(sum[:]))
}

func cutText(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + fmt.Sprintf("… (%d bytes)", len(s))
}

func cutDiff(diffs []modules.Diff) []modules.Diff {
	if len(diffs) == 0 {
		return nil
	}
	d := diffs[0]
	d.Subject, d.Before, d.After, d.Note = cutText(d.Subject, 256), cutText(d.Before, 128), cutText(d.After, 128), cutText(d.Note, 256)
	return []modules.Diff{d}
}
