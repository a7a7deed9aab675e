package runner

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
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
	fields map[string]vars.Data
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
	took        time.Duration
	at          int           // which item of the loop it is of, from 1; 0 of none
	taken       bool          // as done: nobody knows what came of it
	acted       bool          // its host was, or may have been, changed
	expects     time.Duration // as the module said
	learned     []learned     // variables that the task set
	notify      []string      // handlers to run, as named
	includes    []inclusion
	joins       []inventory.Addition // what the inventory gets
	err         error
	wrong       diag.Position // what the failure is about; zero when it is the whole task
	fatal       bool          // any_errors_fatal covers the failure
	missing     bool          // the file to include is not there
	passed      bool          // skipped because of a condition
	why         event.Why
}

const (
	skipReason = "Conditional result was False"
	// skippedJSON is the data of a result without fields that is skipped because of a condition. There may be
	// tens of thousands of them in a run, so nobody makes it anew.
	skippedJSON = `{"changed":false,"failed":false,"skip_reason":"` + skipReason + `","skipped":true}`
)

// json is what register stores, as it is shown.
func (r *result) json() json.RawMessage {
	if r.passed && len(r.fields) == 0 && r.items == nil {
		return json.RawMessage(skippedJSON)
	}
	return r.data().JSON()
}

// learned are variables for a host.
type learned struct {
	layer vars.Layer
	vars  *vars.Values
	host  *host   // nil: the task's
	file  varFile // where the variables were read; zero for others
}

// varFile is a file of variables, all of them under one name where that is not "".
type varFile struct{ path, under string }

func (r *result) failed() bool { return r.status == event.Failed || r.status == event.Unreachable }

// lost says whether the host has failed for good, as far as the task is concerned.
func (r *result) lost() bool { return r.failed() && !r.ignored }

// expected is how long the task was expected to take, over all items of its loop.
func (r *result) expected() time.Duration {
	sum := r.expects
	for _, item := range r.items {
		sum += item.expects
	}
	return sum
}

// set adds a field.
func (r *result) set(name string, d vars.Data) {
	if r.fields == nil {
		r.fields = map[string]vars.Data{}
	}
	r.fields[name] = d
}

// output merges what a module answers into the fields.
func (r *result) output(out vars.Data) {
	for _, name := range out.Keys() {
		value, _ := out.Get(name)
		r.set(name, value)
	}
	for _, name := range []string{"stdout", "stderr"} {
		text, has := r.fields[name]
		if _, split := r.fields[name+"_lines"]; has && !split && text.Kind() == "string" {
			r.set(name+"_lines", vars.Of(lines(text.Text())))
		}
	}
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
		r.wrong = located.Position
	}
	if errors.As(err, &exit) {
		r.exited(exit)
	}
}

func (r *result) exited(exit *modules.ExitError) {
	if _, has := r.fields["rc"]; has {
		return // the module's own words count
	}
	r.output(vars.Of(map[string]vars.Data{"rc": vars.Of(exit.ExitCode),
		"stdout": vars.Of(strings.TrimRight(string(exit.Stdout), "\r\n")), "stderr": vars.Of(strings.TrimRight(string(exit.Stderr), "\r\n"))}))
}

// all are the fields with those that every result has.
func (r *result) all() map[string]vars.Data {
	all := make(map[string]vars.Data, len(r.fields)+6)
	maps.Copy(all, r.fields)
	all["changed"] = vars.Of(r.changed)
	all["failed"] = vars.Of(r.status == event.Failed)
	if r.status == event.Skipped {
		all["skipped"] = vars.Of(true)
	}
	if r.passed {
		all["skip_reason"] = vars.Of(skipReason)
	}
	if r.msg != "" {
		if _, has := all["msg"]; !has || r.failed() {
			all["msg"] = vars.Of(r.msg)
		}
	}
	if r.attempts > 0 {
		all["attempts"] = vars.Of(r.attempts)
	}
	return all
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
	all := r.all()
	if r.items != nil {
		list := make([]vars.Data, len(r.items))
		for i, item := range r.items {
			list[i] = item.data()
		}
		all["results"] = vars.Of(list)
	}
	return vars.Of(all)
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
func shownDiff(diffs []modules.Diff, sides bool) []modules.Diff {
	if len(diffs) == 0 {
		return nil
	}
	shown := make([]modules.Diff, len(diffs))
	for i, d := range diffs {
		if d.Secret || !sides {
			d.Before, d.After = "", ""
		}
		shown[i] = d
	}
	return shown
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
