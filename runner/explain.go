package runner

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/vars"
)

// Explanation is what a run would do and why, as far as can be told before it. Nothing is contacted for it.
type Explanation struct {
	Check bool              `json:"check"`
	Limit []string          `json:"limit,omitempty"`
	Plays []PlayExplanation `json:"plays"`
}

// Kind is "explanation".
func (Explanation) Kind() string { return "explanation" }

// PlayExplanation is a play: on which hosts, in which batches, and what of each task.
type PlayExplanation struct {
	Playbook string        `json:"playbook"`
	Play     string        `json:"play"`
	At       diag.Position `json:"at"`
	Strategy string        `json:"strategy"`
	// After are the plays, counted from 0 within the playbook, that end before this one starts; a play that
	// is in no other's After runs beside it.
	After   []int    `json:"after"`
	Pattern []string `json:"pattern"`
	Order   string   `json:"order,omitempty"`
	// Hosts are the play's, in its order; Outside those of the pattern that --limit leaves out.
	Hosts   []string   `json:"hosts" secrets:"shown"`
	Outside []string   `json:"outside,omitempty" secrets:"shown"`
	Batches [][]string `json:"batches" secrets:"shown"`
	// Lock is what the play holds.
	Lock string `json:"lock,omitempty"`
	// Undecided says why hosts or batches cannot be told before the run.
	Undecided string `json:"undecided,omitempty"`
	// Guard is what is looked at before each batch and while it runs; nil for nothing.
	Guard *GuardNode        `json:"guard,omitempty"`
	Tasks []TaskExplanation `json:"tasks"`
	// Left are tasks that the run does not come to.
	Left     []LeftTask           `json:"left,omitempty"`
	Handlers []HandlerExplanation `json:"handlers,omitempty"`
}

// LeftTask is a task that tags or --start-at-task leave out.
type LeftTask struct {
	RowNode
	Reason string `json:"reason"`
}

// HandlerExplanation is a handler that the play may run.
type HandlerExplanation struct {
	Name   string        `json:"name"`
	Module string        `json:"module,omitempty"`
	At     diag.Position `json:"at"`
	// By are the tasks that notify it when they change something.
	By []string `json:"by"`
}

// TaskExplanation is a task in its place.
type TaskExplanation struct {
	RowNode
	Sides [][]TaskExplanation `json:"sides,omitempty"`
	// Verdicts are the hosts by what becomes of the task on them.
	Verdicts []Verdict `json:"verdicts,omitempty"`
	// Once are the hosts that do the task for all of their batch.
	Once []string `json:"once,omitempty" secrets:"shown"`
	// The others are what keywords say for the hosts on which the task may run: DependsOnHost where that is not
	// the same for all, "decided in the run" where it is not known.
	Delegated string   `json:"delegated_to,omitempty"`
	Connect   string   `json:"connect,omitempty"`
	Become    string   `json:"become,omitempty"`
	CheckMode string   `json:"check_mode,omitempty"`
	Throttle  string   `json:"throttle,omitempty"`
	Loop      string   `json:"loop,omitempty"`
	Notifies  []string `json:"notifies,omitempty"`
	Register  string   `json:"register,omitempty"`
	// Include is what an include brings in: its tasks, or Later where that is decided in the run.
	Include []InclusionExplanation `json:"include,omitempty"`
}

// InclusionExplanation is content that an include brings to hosts.
type InclusionExplanation struct {
	File  string            `json:"file,omitempty"`
	Hosts []string          `json:"hosts,omitempty" secrets:"shown"`
	Later string            `json:"later,omitempty"`
	Tasks []TaskExplanation `json:"tasks,omitempty"`
}

// Verdict is what becomes of a task on some hosts.
type Verdict struct {
	// Runs is yes, no, or later: decided in the run.
	Runs  Runs     `json:"runs"`
	Hosts []string `json:"hosts" secrets:"shown"`
	// Reason says why not, or what decides; Values are what it read, where that is the same for all hosts.
	Reason string        `json:"reason,omitempty"`
	Values []event.Value `json:"values,omitempty"`
}

// Runs is whether a task runs.
type Runs string

// Answers.
const (
	RunsYes   Runs = "yes"
	RunsNo    Runs = "no"
	RunsLater Runs = "later"
)

// Explain tells what a run would do. It reads files of the control node, as the run does, and contacts nobody.
func (p *Plan) Explain(o Options) Explanation {
	o.Events, o.Now = nil, time.Now
	e := &explainer{run: p.newRun(o), later: map[string]map[string]string{}, maybe: map[string]map[string]bool{}}
	all := Explanation{Check: o.Check, Limit: p.in.Limit}
	for _, b := range p.playbooks {
		for _, pl := range b.plays {
			all.Plays = append(all.Plays, e.play(b, pl))
		}
	}
	return event.Masked(all, e.secrets).(Explanation)
}

// explainer goes through a plan as a run does. Of what tasks would find out it knows the names only.
type explainer struct {
	*run
	// later are, for each host, the variables that tasks up to here set in the run, and which task; maybe are
	// those of them that may stay as they are.
	later map[string]map[string]string
	maybe map[string]map[string]bool
	depth int // how many includes are around
}

func (e *explainer) play(b *book, pl *play) PlayExplanation {
	s := e.plan.playScope(pl.Play)
	x := PlayExplanation{Playbook: b.path, Play: pl.name, At: pl.At, Strategy: firstOf(pl.Strategy, "linear"), After: append([]int{}, pl.needs...),
		Pattern: patternsOf(pl.Play, s), Order: pl.Order, Hosts: namesOf(pl.hosts), Outside: e.outside(pl, s), Guard: e.plan.guardNode(pl), Batches: [][]string{}, Tasks: []TaskExplanation{}}
	x.Lock = pl.lockName()
	cut, err := batches(pl.hosts, pl.Serial, s)
	if _, hostsErr := texts(pl.Hosts, s); err == nil {
		err = hostsErr
	}
	if err != nil {
		x.Undecided = undecided(err)
		cut = [][]*inventory.Host{pl.hosts}
	}
	pr := &playRun{play: pl}
	pr.begin(pl.hosts, cut, nil)
	var lanes []*lane
	for i, hosts := range cut {
		lanes = append(lanes, (&batchRun{pr: pr, number: i + 1}).lane(e.run))
		x.Batches = append(x.Batches, namesOf(hosts))
	}
	if len(pl.hosts) > 0 {
		x.Tasks = e.rows(lanes, pl.rows)
	}
	for _, l := range pl.left {
		x.Left = append(x.Left, LeftTask{e.plan.rowNode(l.row), l.reason})
	}
	x.Handlers = e.handlers(pl, x.Tasks)
	return x
}

// undecided is why something cannot be told before the run.
func undecided(err error) string {
	if errors.Is(err, vars.ErrUnknown) {
		return "an answer to vars_prompt decides"
	}
	return err.Error()
}

// outside are the hosts of the pattern that the limit leaves out.
func (e *explainer) outside(pl *play, s *vars.Scope) []string {
	patterns, err := texts(pl.Hosts, s)
	if e.plan.limit == nil || err != nil {
		return nil
	}
	hosts, _ := selectPatterns(e.inventory(), patterns, pl.Hosts.Position())
	return namesOf(slices.DeleteFunc(slices.Clone(hosts), func(h *inventory.Host) bool { return e.plan.limit[h.Name] }))
}

// rows explains rows that follow one another, for the batches given.
func (e *explainer) rows(lanes []*lane, rows strand) []TaskExplanation {
	all := []TaskExplanation{}
	rows.each(func(r *row) { all = append(all, e.row(lanes, r)) }, func(sides []strand) {
		x := TaskExplanation{RowNode: RowNode{Kind: "parallel"}}
		for _, side := range sides {
			x.Sides = append(x.Sides, e.rows(lanes, side))
		}
		all = append(all, x)
	})
	return all
}

// handlers are a play's, with the tasks that notify them.
func (e *explainer) handlers(pl *play, tasks []TaskExplanation) []HandlerExplanation {
	by := map[*handler][]string{}
	var walk func([]TaskExplanation)
	walk = func(tasks []TaskExplanation) {
		for _, t := range tasks {
			for _, name := range t.Notifies {
				for _, h := range pl.handlers.notified(name) {
					by[h] = append(by[h], fmt.Sprintf("%s (%s)", t.Name, place(t.At)))
				}
			}
			for _, side := range t.Sides {
				walk(side)
			}
			for _, in := range t.Include {
				walk(in.Tasks)
			}
		}
	}
	walk(tasks)
	var all []HandlerExplanation
	for _, h := range pl.handlers {
		all = append(all, HandlerExplanation{Name: roleName(h.Role, firstOf(h.name, strings.Join(h.Listen, ", "))),
			Module: h.Task.Module, At: h.Task.At, By: append([]string{}, by[h]...)})
	}
	return all
}

// place is where something is written, without the column.
func place(at diag.Position) string {
	at.Column = 0
	return at.String()
}
