package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/event"
)

// Run is a run that is kept.
type Run struct {
	Meta
	State State
	// Live says that a process carries it on, in whatever state.
	Live bool
	// Waits are what it waits for while it is live.
	Waits []Wait
	// Bytes is what it takes of the disk.
	Bytes int64
	home  *Home
	dir   string
	used  *used // once it is known
}

// Open gives a run by its name (see Find).
func (h *Home) Open(name string) (*Run, error) {
	if err := valid(name); err != nil {
		return nil, err
	}
	dir := h.folder(name)
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil, &NotFoundError{Run: name}
	}
	if err != nil {
		return nil, err
	}
	if err := own(dir, info, 0o077); err != nil {
		return nil, err
	}
	m, err := readMeta(dir)
	if err != nil {
		return nil, err
	}
	r := &Run{Meta: m, Bytes: sizeOf(dir, metaFile, eventsFile, stepsFile, reserveFile, endFile), home: h, dir: dir}
	return r, r.findState()
}

// Dir is the run's folder.
func (r *Run) Dir() string { return r.dir }

// Private is what the run was started with, secrets and all.
func (r *Run) Private() (Private, error) { return r.home.unsealPrivate(r.Meta) }

// Resumable says whether there is something left to go on with, and nobody does.
func (r *Run) Resumable() bool { return !r.Check && !r.Live && r.State != Done }

// Acted says whether the run has begun to change something. A dry run has not.
func (r *Run) Acted() (bool, error) {
	told := !r.Check
	for _, s := range r.Sessions {
		if s.End != nil && s.End.Changed > 0 && !r.Check {
			return true, nil
		}
		told = told && s.End != nil && s.End.ExitCode == 0
	}
	if told || r.Check {
		return false, nil
	}
	acted := false
	_, err := r.Entries(func(e runner.Entry) error {
		acted = acted || e.Kind == runner.EntryActing
		return nil
	})
	return acted, err
}

// TakenBackBy is the run that has taken this one back, or has begun to; "" when none has. What such a run remembers is
// not so any more.
func (r *Run) TakenBackBy() (string, error) {
	names, err := r.home.Names()
	if err != nil {
		return "", err
	}
	for _, name := range slices.Backward(names) {
		if name <= r.Run {
			break
		}
		m, err := readMeta(r.home.folder(name))
		if err != nil || m.RollsBack != r.Run || m.Check {
			continue // one that cannot be read says nothing
		}
		by, err := r.home.Open(name)
		if err != nil {
			return "", err
		}
		if acted, err := by.Acted(); acted || err != nil {
			return name, err
		}
	}
	return "", nil
}

// Active is when the run was last carried on, as far as that is known.
func (r *Run) Active() time.Time {
	if end := r.Last().End; end != nil {
		return end.Time
	}
	return r.Last().Started
}

// Reading is what was found besides the records.
type Reading struct {
	Torn   *TornError
	Damage []*DamageError
	blocks uint32
}

// Events hands every event to take, in order, session after session.
func (r *Run) Events(take func(event.Record) error) (Reading, error) {
	var found Reading
	var wrong error
	queue := make(chan chan parsed, 2*runtime.GOMAXPROCS(0)) // in order; bounds what is in memory
	go func() {
		defer close(queue)
		found, wrong = r.parseEvents(queue)
	}()
	var err error
	for next := range queue {
		some := <-next
		for _, rec := range some.records {
			if err == nil {
				err = take(rec)
			}
		}
		if err == nil {
			err = some.err
		}
	}
	return found, errors.Join(wrong, err)
}

// parsed are events, as far as they could be read.
type parsed struct {
	records []event.Record
	err     error
}

// parseEvents parses the events of a run, many at a time and several such at once: that takes longer than reading them.
func (r *Run) parseEvents(queue chan<- chan parsed) (Reading, error) {
	const many = 512
	var some [][]byte
	parse := func() {
		done := make(chan parsed, 1)
		queue <- done
		go func(some [][]byte) {
			var p parsed
			for _, raw := range some {
				rec, err := event.Parse(raw)
				if err != nil {
					p.err = err
					break
				}
				p.records = append(p.records, rec)
			}
			done <- p
		}(some)
		some = make([][]byte, 0, many)
	}
	found, err := r.read(eventsFile, nil, func(raw []byte) error {
		if some = append(some, raw); len(some) == many {
			parse()
		}
		return nil
	})
	parse()
	return found, err
}

// Used are all inputs: those that the run was started with, and the templates and files that its tasks have used.
func (r *Run) Used() ([]Input, error) {
	if r.used != nil {
		return r.used.all, nil
	}
	used := r.newUsed()
	_, err := r.Entries(used.take)
	return used.all, err
}

// used collects the inputs of a run.
type used struct {
	all   []Input
	known map[string]bool
}

func (r *Run) newUsed() *used {
	u := &used{slices.Clone(r.Inputs), map[string]bool{}}
	for _, in := range u.all {
		u.known[in.Path] = true
	}
	return u
}

func (u *used) take(e runner.Entry) error {
	if e.Kind != runner.EntryUsed || u.known[e.Place] {
		return nil
	}
	var in struct {
		What   string `json:"what"`
		SHA256 string `json:"sha256"`
		Bytes  int64  `json:"bytes"`
	}
	if err := json.Unmarshal(e.State, &in); err != nil {
		return fmt.Errorf("the run has used %s: %w", e.Place, err)
	}
	if in.What != "var" { // a variable's digest stays sealed: what it holds could be guessed
		u.known[e.Place] = true
		u.all = append(u.all, Input{What: in.What, Path: e.Place, Digest: in.SHA256, Bytes: in.Bytes})
	}
	return nil
}

// Entries hands everything that the run remembers to take, in order.
func (r *Run) Entries(take func(runner.Entry) error) (Reading, error) {
	in := entries{map[string]string{}}
	return r.read(stepsFile, r.home.sealer(r.Run), func(record []byte) error {
		e, ok, err := in.entry(record)
		if err != nil || !ok {
			return err
		}
		return take(e)
	})
}

func (r *Run) read(name string, seal *sealer, take func(record []byte) error) (Reading, error) {
	s, err := scan(filepath.Join(r.dir, name), r.Run, seal, take)
	s.reaches(name, r.blocks(name))
	if r.Live {
		s.torn = nil // it is being written
	}
	return Reading{Torn: s.torn, Damage: s.damage, blocks: s.number}, err
}

// Took is how long the run has gone on, over all its sessions, as far as that is known.
func (m Meta) Took() time.Duration {
	var d time.Duration
	for _, s := range m.Sessions {
		if s.End != nil {
			d += s.End.Time.Sub(s.Started)
		}
	}
	return d
}
