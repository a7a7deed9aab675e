package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/vars"
)

// kept is a result as it is written down: what the run goes by afterwards, not what was shown of it. What nobody
// can ask for any more (the output of a task that does not register it) is left out, so that most are short.
type kept struct {
	Status   event.Status               `json:"s"`
	Changed  bool                       `json:"c,omitempty"`
	Ignored  bool                       `json:"ign,omitempty"`
	Opaque   bool                       `json:"opq,omitempty"`
	Fatal    bool                       `json:"fatal,omitempty"`
	Missing  bool                       `json:"miss,omitempty"`
	Passed   bool                       `json:"pass,omitempty"`
	NoLog    bool                       `json:"nolog,omitempty"`
	Msg      string                     `json:"msg,omitempty"`
	Fields   map[string]json.RawMessage `json:"f,omitempty"`
	Attempts int                        `json:"n,omitempty"`
	Item     json.RawMessage            `json:"item,omitempty"`
	Label    string                     `json:"label,omitempty"`
	Loop     bool                       `json:"loop,omitempty"`
	Items    []*kept                    `json:"items,omitempty"`
	Learned  []keptVars                 `json:"vars,omitempty"`
	Notify   []string                   `json:"notify,omitempty"`
	Includes []keptInclude              `json:"inc,omitempty"`
	Joins    []keptJoin                 `json:"join,omitempty"`
}

// keptStep is what is kept of a step besides its result.
type keptStep struct {
	kept
	// Task is the digest of the task, Uses the files and variables that it used, by their numbers.
	Task string `json:"d"`
	Uses []int  `json:"u,omitempty"`
	// Alone is a step that stood for all hosts of its row (run_once), Forced one of a handler that ran although
	// its host was lost.
	Alone  bool `json:"once,omitempty"`
	Forced bool `json:"forced,omitempty"`
	// Proof is a step that has proved what the next ones on its host count on.
	Proof bool `json:"proof,omitempty"`
}

// keptVars are variables that a task has set on a host, "" being its own: by their values, or by the file that
// was read, whose values may be templates.
type keptVars struct {
	Layer vars.Layer                 `json:"l"`
	Host  string                     `json:"h,omitempty"`
	Vars  map[string]json.RawMessage `json:"v,omitempty"`
	File  string                     `json:"file,omitempty"`
	Under string                     `json:"under,omitempty"`
}

// keptInclude is what an include has brought in.
type keptInclude struct {
	Name string                     `json:"name"`
	Item map[string]json.RawMessage `json:"item,omitempty"`
	Key  string                     `json:"key"`
}

// keptJoin is what the inventory has got.
type keptJoin struct {
	Host    string                     `json:"host"`
	Groups  []string                   `json:"groups,omitempty"`
	Parents []string                   `json:"parents,omitempty"`
	Vars    map[string]json.RawMessage `json:"vars,omitempty"`
	Present bool                       `json:"present,omitempty"`
}

// keep makes of a result what is written down of it.
func (st *step) keep(res *result) *kept {
	k := &kept{Status: res.status, Changed: res.changed, Ignored: res.ignored, Opaque: res.opaque, Fatal: res.fatal, Missing: res.missing,
		Passed: res.passed, NoLog: res.noLog, Attempts: res.attempts, Loop: res.items != nil, Notify: res.notify}
	for _, item := range res.items {
		k.Items = append(k.Items, st.keep(item))
	}
	if st.row.task.Register != "" || res.lost() {
		k.Msg, k.Fields = res.msg, keepData(res.fields)
		if res.looped && res.opaque {
			k.Item = res.item.Exact()
		}
	}
	for _, l := range res.learned {
		kv := keptVars{Layer: l.layer, File: l.file.path, Under: l.file.under}
		if l.host != nil {
			kv.Host = l.host.Name
		}
		if l.file.path == "" {
			kv.Vars = keepValues(l.vars)
		}
		k.Learned = append(k.Learned, kv)
	}
	for _, in := range res.includes {
		k.Includes = append(k.Includes, keptInclude{in.name, keepValues(in.item), in.key})
	}
	for _, j := range res.joins {
		k.Joins = append(k.Joins, keptJoin{j.Host, j.Groups, j.Parents, keepValues(j.Vars), j.Present})
	}
	return k
}

func keepData(all map[string]vars.Data) map[string]json.RawMessage {
	if len(all) == 0 {
		return nil
	}
	out := make(map[string]json.RawMessage, len(all))
	for name, d := range all {
		out[name] = d.Exact()
	}
	return out
}

// keepValues are variables that hold data: what came about in a run is never a template.
func keepValues(vs *vars.Values) map[string]json.RawMessage {
	if vs.Len() == 0 {
		return nil
	}
	out := make(map[string]json.RawMessage, vs.Len())
	for _, name := range vs.Names() {
		v, _ := vs.Get(name)
		d, _ := v.Static()
		out[name] = d.Exact()
	}
	return out
}

// errRemembered is a record that does not fit what the run finds.
var errRemembered = errors.New("the record of the run cannot be used")

// recall makes the result again. What it refers to outside of the record (hosts, files) is looked up anew.
func (st *step) recall(k *kept) (*result, error) {
	res := &result{status: k.Status, changed: k.Changed, ignored: k.Ignored, opaque: k.Opaque, fatal: k.Fatal, missing: k.Missing, passed: k.Passed,
		noLog: k.NoLog, msg: k.Msg, attempts: k.Attempts, label: k.Label, notify: slices.Clip(k.Notify)}
	var err error
	if res.fields, err = recallData(k.Fields); err != nil {
		return nil, err
	}
	if len(k.Item) > 0 {
		res.looped = true
		if res.item, err = vars.FromExact(k.Item); err != nil {
			return nil, err
		}
	}
	if k.Loop {
		res.items = make([]*result, 0, len(k.Items))
	}
	for _, item := range k.Items {
		it, err := st.recall(item)
		if err != nil {
			return nil, err
		}
		res.items = append(res.items, it)
	}
	return res, errors.Join(st.recallVars(k, res), st.recallIncludes(k, res), recallJoins(k, res))
}

func (st *step) recallVars(k *kept, res *result) error {
	for _, kv := range k.Learned {
		l := learned{layer: kv.Layer, file: varFile{kv.File, kv.Under}}
		if kv.Host != "" {
			l.host = st.r.stateOf(st.r.hostOrAddress(kv.Host))
		}
		var err error
		if kv.File != "" {
			l.vars, err = st.r.readVarFile(l.file)
		} else {
			l.vars, err = recallValues(kv.Vars)
		}
		if err != nil {
			return err
		}
		res.learned = append(res.learned, l)
	}
	return nil
}

func (st *step) recallIncludes(k *kept, res *result) error {
	for _, in := range k.Includes {
		content := st.row.task.Include.Content
		if content == nil {
			var err error
			if content, err = st.r.content(st.row, in.Name, !st.row.task.Include.RoleName.IsZero()); err != nil {
				return fmt.Errorf("%s, which the run has included: %w", in.Name, err)
			}
		}
		item, err := recallValues(in.Item)
		if err != nil {
			return err
		}
		res.includes = append(res.includes, inclusion{content: content, name: in.Name, item: item, key: in.Key})
	}
	return nil
}

func recallJoins(k *kept, res *result) error {
	for _, j := range k.Joins {
		vs, err := recallValues(j.Vars)
		if err != nil {
			return err
		}
		res.joins = append(res.joins, inventory.Addition{Host: j.Host, Groups: j.Groups, Parents: j.Parents, Vars: vs, Present: j.Present})
	}
	return nil
}

func recallData(all map[string]json.RawMessage) (map[string]vars.Data, error) {
	if len(all) == 0 {
		return nil, nil
	}
	out := make(map[string]vars.Data, len(all))
	for name, raw := range all {
		d, err := vars.FromExact(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = d
	}
	return out, nil
}

func recallValues(all map[string]json.RawMessage) (*vars.Values, error) {
	data, err := recallData(all)
	if err != nil || len(data) == 0 {
		return nil, err
	}
	return vars.ValuesOf(data), nil
}
