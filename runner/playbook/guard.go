package playbook

import (
	"time"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

// Guard is what must hold before each batch of a play, and goes on being looked at while the batch runs.
type Guard struct {
	At diag.Position
	// Tasks only look. Each runs on the hosts of the batch, or on those that Hosts selects.
	Tasks []*Task
	Hosts vars.Value
	// Interval is how long to wait between two looks; Timeout how long one task of a look may take.
	Interval, Timeout time.Duration
	// Fails says that a breach fails the run; else it pauses it.
	Fails bool
}

const (
	defaultInterval = 30 * time.Second
	defaultTimeout  = 30 * time.Second
)

// guard reads guard: a list of tasks, or a mapping with tasks and how to look.
func (r *reader) guard(n *yaml.Node, p *place) *Guard {
	if isNull(n) {
		return nil
	}
	g := &Guard{At: p.at(n), Interval: defaultInterval, Timeout: defaultTimeout}
	if n.Kind == yaml.SequenceNode {
		g.Tasks = r.guardTasks(n, p)
		return g
	}
	if n.Kind != yaml.MappingNode {
		r.problems.Add(g.At, "write the tasks below it, or guard: {tasks: […], interval: 30}", "guard takes a list of tasks or a mapping, not %s", describe(n))
		return nil
	}
	for _, e := range pairs(n) {
		switch e.name() {
		case "tasks":
			g.Tasks = r.guardTasks(e.value, p)
		case "hosts":
			g.Hosts = r.hosts(e, p)
		case "interval":
			g.Interval = max(r.seconds(e, p), time.Second)
		case "timeout":
			g.Timeout = r.seconds(e, p)
		case "on_breach":
			g.Fails = r.constant(e, p, "pause", "fail") == "fail"
		default:
			r.unknownKey(e, p, "guard", keysOf("guard"))
		}
	}
	if find(n, "tasks") == nil {
		r.problems.Add(g.At, "write guard: {tasks: […]}", "the guard has no tasks")
	}
	return g
}

// guardTasks reads tasks that may only look: neither blocks nor anything that brings in, notifies or goes on
// by itself.
func (r *reader) guardTasks(n *yaml.Node, p *place) []*Task {
	var tasks []*Task
	for _, b := range r.blocks(n, p) {
		t := b.Task
		if t == nil {
			r.problems.Add(b.At, "write the tasks themselves", "a guard takes no blocks and no imports")
			continue
		}
		for _, wrong := range []struct {
			given bool
			what  string
		}{
			{t.Include != nil, "includes"}, {t.Meta != "", "meta"}, {t.Gate != nil, "gates"},
			{!t.Async.IsZero(), "async"}, {len(t.Notify) > 0, "notify"},
		} {
			if wrong.given {
				r.problems.Add(t.At, "a guard only looks", "a guard takes no %s", wrong.what)
			}
		}
		if t.Include == nil && t.Meta == "" && t.Gate == nil {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// Gate is a task that waits for somebody's approval.
type Gate struct {
	// Message is what is asked; zero for the usual question.
	Message vars.Value
}

// gate reads a task that is a gate.
func (r *reader) gate(does entry, t *Task, p *place) {
	t.ArgsAt = p.at(does.value)
	t.Gate = &Gate{}
	if !isNull(does.value) {
		t.Gate.Message = r.value(does, p, isText)
	}
	if p.handler {
		r.problems.Add(t.At, "write it as a task", "a gate is no handler")
	}
	r.takesNot(t, "gate")
}

// takesNot reports keywords that what the runner itself does has no use for.
func (r *reader) takesNot(t *Task, what string) {
	for _, wrong := range []struct {
		given bool
		name  string
	}{
		{!t.Loop.IsZero(), "loop"}, {len(t.Until) > 0, "until"}, {!t.Async.IsZero(), "async"}, {t.Register != "", "register"},
		{t.Gate != nil && len(t.Notify) > 0, "notify"}, {t.Gate != nil && len(t.ChangedWhen) > 0, "changed_when"}, {t.Gate != nil && len(t.FailedWhen) > 0, "failed_when"},
	} {
		if wrong.given {
			r.problems.Add(t.At, "", "%s does not take %s", what, wrong.name)
		}
	}
}
