package journal

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pegbook/pegbook/runner/event"
)

// Difference is in what two runs differ.
type Difference struct {
	A        string              `json:"a"`
	B        string              `json:"b"`
	Settings []SettingDifference `json:"settings"`
	Inputs   []InputDifference   `json:"inputs"`
	Outcomes []OutcomeDifference `json:"outcomes"`
}

// SettingDifference is something that the runs were started with, or ended with.
type SettingDifference struct {
	What string `json:"what"`
	A    string `json:"a"`
	B    string `json:"b"`
}

// InputDifference is a file that is another, or in only one of the runs.
type InputDifference struct {
	What string `json:"what"`
	Path string `json:"path"`
	// How is "changed", "only in A" or "only in B".
	How string `json:"how"`
}

// OutcomeDifference is a task that ended otherwise on hosts; a status that is empty says that it did not end there.
type OutcomeDifference struct {
	Play  string       `json:"play"`
	Task  string       `json:"task"`
	Hosts []string     `json:"hosts"`
	A     event.Status `json:"status_a"`
	B     event.Status `json:"status_b"`
	// Msg is what B said, or A where B said nothing.
	Msg string `json:"msg,omitempty"`
}

// Same says whether there is no difference.
func (d *Difference) Same() bool { return len(d.Settings)+len(d.Inputs)+len(d.Outcomes) == 0 }

// Compare says in what two runs differ.
func Compare(a, b *Run) (*Difference, error) {
	d := &Difference{A: a.Run, B: b.Run, Settings: settingsOf(a, b), Outcomes: []OutcomeDifference{}}
	var ends [2]*outcomes
	var used [2][]Input
	for i, r := range []*Run{a, b} {
		var err error
		if used[i], err = r.Used(); err != nil {
			return nil, fmt.Errorf("run %s: %w", r.Run, err)
		}
		ends[i] = &outcomes{ended: map[outcomeKey]brief{}, times: map[outcomeKey]int{}}
		if _, err := r.read(eventsFile, nil, ends[i].event); err != nil {
			return nil, fmt.Errorf("run %s: %w", r.Run, err)
		}
	}
	d.Inputs = inputsOf(used[0], used[1])
	d.Outcomes = append(d.Outcomes, ends[0].against(ends[1])...)
	return d, nil
}

func settingsOf(a, b *Run) []SettingDifference {
	out := []SettingDifference{}
	for _, s := range []SettingDifference{
		{"playbooks", strings.Join(a.Playbooks, " "), strings.Join(b.Playbooks, " ")},
		{"inventory", strings.Join(a.Inventory, " "), strings.Join(b.Inventory, " ")},
		{"limit", strings.Join(a.Limit, ","), strings.Join(b.Limit, ",")},
		{"tags", strings.Join(a.Tags, ","), strings.Join(b.Tags, ",")},
		{"skip-tags", strings.Join(a.SkipTags, ","), strings.Join(b.SkipTags, ",")},
		{"check mode", yes(a.Check), yes(b.Check)},
		{"pegbook", a.Last().Version, b.Last().Version},
		{"user", a.Last().User, b.Last().User},
		{"plan", a.Plan, b.Plan},
		{"state", string(a.State), string(b.State)},
	} {
		if s.A != s.B {
			out = append(out, s)
		}
	}
	return out
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func inputsOf(a, b []Input) []InputDifference {
	out := []InputDifference{}
	in := func(list []Input, i Input) (Input, bool) {
		at := slices.IndexFunc(list, func(x Input) bool { return x.What == i.What && x.Path == i.Path })
		if at < 0 {
			return Input{}, false
		}
		return list[at], true
	}
	for _, i := range a {
		other, there := in(b, i)
		switch {
		case !there:
			out = append(out, InputDifference{i.What, i.Path, "only in A"})
		case other.Digest != i.Digest:
			out = append(out, InputDifference{i.What, i.Path, "changed"})
		}
	}
	for _, i := range b {
		if _, there := in(a, i); !there {
			out = append(out, InputDifference{i.What, i.Path, "only in B"})
		}
	}
	return out
}

// outcomeKey is a task on a host: the nth of that name there.
type outcomeKey struct {
	play, task, host string
	nth              int
}

// outcomes is how the tasks of a run ended, the last time they did.
type outcomes struct {
	ended map[outcomeKey]brief
	order []outcomeKey
	times map[outcomeKey]int
}

func (o *outcomes) event(object []byte) error {
	e, err := briefly(object)
	if err != nil {
		return err
	}
	if e.Event != (event.TaskDone{}).Kind() {
		return nil
	}
	key := outcomeKey{play: e.Play, task: e.Task, host: e.Host}
	o.times[key]++
	key.nth = o.times[key]
	o.ended[key] = e
	o.order = append(o.order, key)
	return nil
}

// against gives what ended otherwise, in the order of a and then of what only b did; hosts that differ alike stand
// together.
func (o *outcomes) against(b *outcomes) []OutcomeDifference {
	var out []OutcomeDifference
	at := map[string]int{}
	add := func(key outcomeKey, x, y brief) {
		if x.Status == y.Status {
			return
		}
		d := OutcomeDifference{Play: key.play, Task: key.task, A: x.Status, B: y.Status, Msg: y.Msg}
		if y.Msg == "" {
			d.Msg = x.Msg
		}
		same := fmt.Sprintf("%s\x00%s\x00%d\x00%s\x00%s\x00%s", key.play, key.task, key.nth, x.Status, y.Status, d.Msg)
		i, ok := at[same]
		if !ok {
			i = len(out)
			at[same] = i
			out = append(out, d)
		}
		out[i].Hosts = append(out[i].Hosts, key.host)
	}
	for _, key := range o.order {
		add(key, o.ended[key], b.ended[key])
	}
	for _, key := range b.order {
		if _, there := o.ended[key]; !there {
			add(key, brief{}, b.ended[key])
		}
	}
	for i := range out {
		slices.Sort(out[i].Hosts)
	}
	return out
}
