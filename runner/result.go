package runner

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/vars"
)

// result is how a task, or one item of its loop, ended on a host.
type result struct {
	status  event.Status
	changed bool
	ignored bool
	noLog   bool
	msg     string
	// fields are what register stores besides those that every result has.
	fields map[string]json.RawMessage
	// opaque: what fields would hold cannot be known in check mode.
	opaque      bool
	diff        []modules.Diff
	sides       bool // show both sides of the diff
	attempts    int
	item        vars.Data
	looped      bool // the result of an item
	label       string
	items       []*result // of a loop; not nil, if empty, when there was one
	delegatedTo string
	secrets     []string
	took        time.Duration
	learned     []learned // variables that the task set
	notify      []string  // handlers to run, as named
	includes    []inclusion
	err         error
	fatal       bool // any_errors_fatal covers the failure
	missing     bool // the file to include is not there
}

// learned are variables for a host.
type learned struct {
	layer vars.Layer
	vars  *vars.Values
	host  *host // nil: the task's
}

func (r *result) failed() bool { return r.status == event.Failed || r.status == event.Unreachable }

// lost says whether the host has failed for good, as far as the task is concerned.
func (r *result) lost() bool { return r.failed() && !r.ignored }

// set adds a field.
func (r *result) set(name string, d vars.Data) {
	if r.fields == nil {
		r.fields = map[string]json.RawMessage{}
	}
	r.fields[name] = d.JSON()
}

// output merges what a module answers into the fields.
func (r *result) output(out json.RawMessage) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(out, &fields); err != nil || fields == nil {
		return
	}
	if r.fields == nil {
		r.fields = map[string]json.RawMessage{}
	}
	for name, value := range fields {
		r.fields[name] = value
	}
	for _, name := range []string{"stdout", "stderr"} {
		if text, ok := textField(r.fields, name); ok {
			if _, has := r.fields[name+"_lines"]; !has {
				r.set(name+"_lines", vars.Of(lines(text)))
			}
		}
	}
}

func textField(fields map[string]json.RawMessage, name string) (string, bool) {
	var text string
	raw, ok := fields[name]
	if !ok || json.Unmarshal(raw, &text) != nil {
		return "", false
	}
	return text, true
}

func lines(text string) []string {
	if text == "" {
		return []string{}
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// fail makes the result that of an error.
func (r *result) fail(err error) {
	r.err = err
	var unreachable *modules.UnreachableError
	var exit *modules.ExitError
	var located *vars.Error
	switch {
	case errors.Is(err, vars.ErrUnknown), errors.Is(err, modules.ErrUnpredicted):
		r.status, r.opaque = event.Unknown, true
		r.msg = "cannot be known in check mode: " + err.Error()
		return
	case errors.As(err, &unreachable):
		r.status = event.Unreachable
		r.set("unreachable", vars.Of(true))
	default:
		r.status = event.Failed
	}
	r.changed = false
	r.msg = err.Error()
	if errors.As(err, &located) {
		r.msg = located.Error()
	}
	if errors.As(err, &exit) {
		r.exited(exit)
	}
}

func (r *result) exited(exit *modules.ExitError) {
	out := struct {
		RC     int    `json:"rc"`
		Stdout string `json:"stdout"`
		Stderr string `json:"stderr"`
	}{exit.ExitCode, strings.TrimRight(string(exit.Stdout), "\r\n"), strings.TrimRight(string(exit.Stderr), "\r\n")}
	if _, has := r.fields["rc"]; has {
		return // the module's own words count
	}
	if raw, err := json.Marshal(out); err == nil {
		r.output(raw)
	}
}

// all are the fields with those that every result has.
func (r *result) all() map[string]json.RawMessage {
	all := make(map[string]json.RawMessage, len(r.fields)+6)
	for name, value := range r.fields {
		all[name] = value
	}
	put := func(name string, d vars.Data) { all[name] = d.JSON() }
	put("changed", vars.Of(r.changed))
	put("failed", vars.Of(r.status == event.Failed))
	if r.status == event.Skipped {
		put("skipped", vars.Of(true))
	}
	if r.msg != "" {
		if _, has := all["msg"]; !has || r.failed() {
			put("msg", vars.Of(r.msg))
		}
	}
	if r.attempts > 0 {
		put("attempts", vars.Of(r.attempts))
	}
	return all
}

// json is what register stores, as JSON.
func (r *result) json() json.RawMessage {
	all := r.all()
	if r.items != nil {
		results := make([]json.RawMessage, len(r.items))
		for i, item := range r.items {
			results[i] = item.json()
		}
		all["results"] = joined(results)
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return json.RawMessage(`{"failed":true,"msg":"the module's result is no JSON"}`)
	}
	return raw
}

func joined(items []json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('[')
	for i, item := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(item)
	}
	b.WriteByte(']')
	return b.Bytes()
}

// data is what register stores. Of a result that check mode cannot know, only what every result has is
// known.
func (r *result) data() vars.Data {
	if r.items != nil && r.anyOpaque() {
		list := make([]vars.Data, len(r.items))
		for i, item := range r.items {
			list[i] = item.data()
		}
		return vars.Unknown(map[string]vars.Data{"changed": vars.Of(r.changed), "failed": vars.Of(r.status == event.Failed), "results": vars.Of(list)})
	}
	if r.opaque {
		known := map[string]vars.Data{}
		if r.status != event.Unknown {
			known["changed"], known["failed"], known["skipped"] = vars.Of(r.changed), vars.Of(false), vars.Of(false)
		}
		if r.looped {
			known["item"] = r.item
		}
		return vars.Unknown(known)
	}
	d, err := vars.FromJSON(r.json())
	if err != nil {
		return vars.Of(nil)
	}
	return d
}

func (r *result) anyOpaque() bool {
	for _, item := range r.items {
		if item.opaque {
			return true
		}
	}
	return r.opaque
}

// shownDiff is a diff as events carry it: both sides only where the user asked for them.
func shownDiff(diffs []modules.Diff, sides bool, secrets []string) []modules.Diff {
	if len(diffs) == 0 {
		return nil
	}
	shown := make([]modules.Diff, len(diffs))
	for i, d := range diffs {
		if d.Secret || !sides {
			d.Before, d.After = "", ""
		}
		d.Before, d.After, d.Note = maskText(d.Before, secrets), maskText(d.After, secrets), maskText(d.Note, secrets)
		shown[i] = d
	}
	return shown
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
