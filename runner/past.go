package runner

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// InFlight is what becomes of a step that had begun to act when the run ended, where nobody can tell whether it
// came to its end and it must not simply be done a second time.
type InFlight string

// Choices. Refuse, the zero value, goes on with nothing while there are such steps.
const (
	InFlightRefuse InFlight = ""
	InFlightRerun  InFlight = "rerun" // do it again
	InFlightSkip   InFlight = "skip"  // take it as done
	InFlightFail   InFlight = "fail"  // take it as failed
)

// Past is what an earlier run of the same plan has come to. Make it with NewPast; the fields say how to go on. It
// is used by one run.
type Past struct {
	InFlight InFlight
	// OnlyFailed lets the hosts that were not lost take no further part.
	OnlyFailed bool
	// FromBatch takes the batches before this one as done, in the play in which the run ended; 0 takes none.
	FromBatch int

	steps   map[stepKey]*pastStep
	alone   map[string]stepKey // steps that stood for all hosts, by place
	plays   map[string]bool    // places of plays, and of batches with a step
	decided map[string]json.RawMessage
	unasked bool // LeaveAll was answered
	used    map[int]usedInput
	lost    map[string]string    // hosts, and where
	last    string               // the place of the last step
	undone  []Entry              // what has been forgotten, to be written down
	ends    map[string]*keptStep // by how they were written: on most hosts a step ends as on the others
	begins  map[string]acting
	fit     bool // the plan has been found to fit
}

type stepKey struct{ place, host string }

// pastStep is what is known of a step.
type pastStep struct {
	task  string
	turn  int       // counts steps in the order in which they ended
	done  *keptStep // nil: it has not ended
	items map[int]json.RawMessage
	began map[int]acting
	tried map[int]int
	// counts is the turn in which it began to change what counts on what was proved; 0: it did not.
	counts int
}

// acting is what is written down of a step that begins to act.
type acting struct {
	// Changes says that there was something to change, Once that doing it twice is not the same as once.
	Changes bool `json:"changes,omitempty"`
	Once    bool `json:"once,omitempty"`
	// Mark is the proposal's.
	Mark string `json:"mark,omitempty"`
	// Counts says that the change counts on what was proved before it.
	Counts bool `json:"counts,omitempty"`
	// Reads says that the user says that it changes nothing (changed_when: false).
	Reads bool `json:"reads,omitempty"`
	// Items are those of a loop that act together.
	Items []int `json:"items,omitempty"`
	// What whoever takes it back has to know: the module, what the task is about, the host that it works on where that is another one, as
	// whom, what was there before, folders that stay, and that what differed is not to be shown.
	Module string          `json:"module,omitempty"`
	About  string          `json:"about,omitempty"` // modules.Module.About
	On     string          `json:"on,omitempty"`
	As     string          `json:"as,omitempty"` // the user that it became
	Before json.RawMessage `json:"before,omitempty"`
	Stays  []string        `json:"stays,omitempty"`
	Secret bool            `json:"secret,omitempty"`
	// Files says that files are changed, by a step that may change other things as well, or only.
	Files bool `json:"files,omitempty"`
	// Did is what was changed, of a module that puts nothing back: for people.
	Did  []string `json:"did,omitempty"`
	over bool     // it has ended
}

// forgetEnd is the State of an EntryForgotten of which only the end is forgotten.
const forgetEnd = `"end"`

// NewPast reads a run's entries, in their order, and forgets what is to be done again: the failures by which hosts
// were lost and what these led to.
func NewPast(entries iter.Seq[Entry]) (*Past, error) {
	p := &Past{steps: map[stepKey]*pastStep{}, alone: map[string]stepKey{}, plays: map[string]bool{}, decided: map[string]json.RawMessage{},
		used: map[int]usedInput{}, lost: map[string]string{}, ends: map[string]*keptStep{}, begins: map[string]acting{}}
	n := 0
	for e := range entries {
		if err := p.take(e, n); err != nil {
			return nil, fmt.Errorf("entry %d of the run: %w", n+1, err)
		}
		n++
	}
	if err := p.forget(); err != nil {
		return nil, err
	}
	if err := p.doubt(); err != nil {
		return nil, err
	}
	p.survey()
	p.ends, p.begins = nil, nil
	return p, nil
}

// take takes an entry in.
func (p *Past) take(e Entry, turn int) error {
	switch e.Kind {
	case EntryDecided:
		p.decided[e.Place] = e.State
		return nil
	case EntryUsed:
		var u usedInput
		if err := json.Unmarshal(e.State, &u); err != nil {
			return err
		}
		u.name = strings.TrimPrefix(e.Place, "var ")
		p.used[u.ID] = u
		return nil
	case EntryLost:
		p.lost[e.Host] = e.Place
		return nil
	case EntryBack:
		delete(p.lost, e.Host)
		return nil
	case EntryActing, EntryTried, EntryDone, EntryForgotten:
		return p.takeStep(e, turn)
	}
	return nil // of another part of the program
}

func (p *Past) takeStep(e Entry, turn int) error {
	key := stepKey{e.Place, e.Host}
	s := p.steps[key]
	if s == nil {
		s = &pastStep{task: e.Task}
		p.steps[key] = s
	}
	switch e.Kind {
	case EntryActing:
		a, err := once(p.begins, e.State)
		s.begin(e.Item, a)
		if a.Counts {
			s.counts = turn
		}
		return err
	case EntryTried:
		return s.try(e)
	case EntryForgotten:
		if string(e.State) == forgetEnd {
			return s.reopen()
		}
		delete(p.steps, key)
		return nil
	}
	if e.Item > 0 {
		if s.items == nil {
			s.items = map[int]json.RawMessage{}
		}
		s.items[e.Item] = e.State
		s.end(e.Item)
		return nil
	}
	var err error
	s.turn, p.last = turn, e.Place
	s.done, err = once(p.ends, e.State)
	return err
}

// once reads what was written, of what was written alike only the first.
func once[T any](read map[string]T, raw json.RawMessage) (T, error) {
	if v, known := read[string(raw)]; known {
		return v, nil
	}
	var v T
	err := json.Unmarshal(raw, &v)
	const short, many = 1 << 10, 1 << 14 // what is longer, or one of so many, is hardly there twice
	if err == nil && len(raw) <= short && len(read) < many {
		read[string(raw)] = v
	}
	return v, err
}

func (s *pastStep) begin(item int, a acting) {
	if s.began == nil {
		s.began = map[int]acting{}
	}
	for _, item := range append([]int{item}, a.Items...) {
		if a.Items != nil && item == 0 {
			continue
		}
		was := s.began[item]
		if was.Mark != "" && !was.over { // it is still the first that says how things were
			a.Mark = was.Mark
		}
		s.began[item] = acting{Changes: a.Changes || was.Changes, Once: a.Once, Mark: a.Mark}
	}
}

func (s *pastStep) try(e Entry) error {
	var n int
	if err := json.Unmarshal(e.State, &n); err != nil {
		return err
	}
	if s.tried == nil {
		s.tried = map[int]int{}
	}
	s.tried[e.Item] = n
	s.end(e.Item)
	return nil
}

// end notes that what had begun is over.
func (s *pastStep) end(item int) {
	if a, has := s.began[item]; has {
		a.over = true
		s.began[item] = a
	}
}

// reopen forgets how a step ended, and of its items those that failed.
func (s *pastStep) reopen() error {
	s.done, s.tried = nil, nil
	for item, raw := range s.items {
		var k kept
		if err := json.Unmarshal(raw, &k); err != nil {
			return err
		}
		if (&result{status: k.Status}).failed() {
			delete(s.items, item)
		}
	}
	for item := range s.began {
		s.end(item)
	}
	return nil
}

// forget makes the lost hosts begin again where they were lost: at the step that failed, or, where the way from
// there has led into rescue or always, at the beginning of the outermost such block. Handlers that ran on a host
// although it was lost are notified again.
func (p *Past) forget() error {
	if len(p.lost) == 0 {
		return nil
	}
	of := map[string][]string{} // host → places
	for key := range p.steps {
		if _, lost := p.lost[key.host]; lost {
			of[key.host] = append(of[key.host], key.place)
		}
	}
	hosts := slices.Sorted(maps.Keys(p.lost))
	for _, host := range hosts {
		places := of[host]
		slices.Sort(places)
		if err := p.forgetOn(host, places); err != nil {
			return err
		}
		p.undone = append(p.undone, Entry{Kind: EntryBack, Host: host})
	}
	return nil
}

func (p *Past) forgetOn(host string, places []string) error {
	at := p.lost[host]
	since := 0
	if s := p.steps[stepKey{at, host}]; s != nil {
		since = s.turn
	}
	again := undoneBlock(at, places)
	for _, place := range places {
		key := stepKey{place, host}
		s := p.steps[key]
		_, inside := again.within(place)
		e := Entry{Kind: EntryForgotten, Place: place, Host: host, Task: s.task}
		switch {
		case again.place != "" && inside, s.done != nil && s.done.Forced:
			delete(p.steps, key)
		case s.done != nil && s.turn >= since && s.done.lost(): // those beside it in a parallel block as well
			if err := s.reopen(); err != nil {
				return err
			}
			e.State = json.RawMessage(forgetEnd)
		default:
			continue
		}
		p.undone = append(p.undone, e)
	}
	return nil
}

// doubt forgets what was proved and nothing has counted on yet: nobody knows what has become of it since.
func (p *Past) doubt() error {
	last, counted := 0, map[string]int{}
	for key, s := range p.steps {
		counted[key.host] = max(counted[key.host], s.counts)
		last = max(last, s.counts)
	}
	for key, s := range p.steps {
		if s.done == nil || !s.done.Proof || s.turn < counted[key.host] || s.done.Alone && s.turn < last {
			continue
		}
		if err := s.reopen(); err != nil {
			return err
		}
		p.undone = append(p.undone, Entry{Kind: EntryForgotten, Place: key.place, Host: key.host, Task: s.task, State: json.RawMessage(forgetEnd)})
	}
	return nil
}

// lost says whether the step failed for good.
func (k *keptStep) lost() bool { return (&result{status: k.Status, ignored: k.Ignored}).lost() }

// undoneBlock is the outermost block around a place of whose rescue or always something has run.
func undoneBlock(at string, places []string) blockAt {
	for _, b := range blocksOf(at) {
		for _, place := range places {
			if section, ok := b.within(place); ok && section != 'b' {
				return b
			}
		}
	}
	return blockAt{}
}

// survey finds what can be asked of the whole, once all is forgotten that is.
func (p *Past) survey() {
	for place, raw := range p.decided {
		var leave Leave
		if isStepQuestion(place) && json.Unmarshal(raw, &leave) == nil && leave == LeaveAll {
			p.unasked = true
		}
	}
	for key, s := range p.steps {
		p.plays[playOf(key.place)] = true
		p.plays[batchPlace(playOf(key.place), batchOf(key.place))] = true
		if s.done != nil && s.done.Alone {
			p.alone[key.place] = key
		}
	}
}

// Flying is a step that had begun to act when the run ended.
type Flying struct {
	Task, Host string
	Item       int // of its loop, from 1; 0 without
}

// Undecided are the steps for which InFlight has to say what becomes of them.
func (p *Past) Undecided() []Flying {
	var all []Flying
	for key, s := range p.steps {
		if s.done != nil {
			continue
		}
		for item, a := range s.began {
			if a.Once && !a.over {
				all = append(all, Flying{s.task, key.host, item})
			}
		}
	}
	slices.SortFunc(all, func(a, b Flying) int {
		return strings.Compare(a.Task+"\x00"+a.Host+fmt.Sprintf("%09d", a.Item), b.Task+"\x00"+b.Host+fmt.Sprintf("%09d", b.Item))
	})
	return all
}

// Remembered is how many steps are done and not done again.
func (p *Past) Remembered() int {
	if p == nil {
		return 0
	}
	n := 0
	for _, s := range p.steps {
		if s.done != nil {
			n++
		}
	}
	return n
}

// Lost are the hosts that the run had lost, in order of their names.
func (p *Past) Lost() []string { return slices.Sorted(maps.Keys(p.lost)) }

// Answered is what sources of plugins had answered when the run began; nil where none was asked.
func (p *Past) Answered() json.RawMessage {
	if p == nil {
		return nil
	}
	return p.decided[sourcesPlace]
}

// Answers are the answers to the questions of vars_prompt; false when none were asked.
func (p *Past) Answers() ([]string, bool) {
	raw, ok := p.decided[answersPlace]
	if !ok {
		return nil, false
	}
	var answers []string
	if err := json.Unmarshal(raw, &answers); err != nil {
		return nil, false
	}
	return answers, true
}
