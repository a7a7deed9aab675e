package journal

import (
	"bytes"
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

// State is where a run stands.
type State string

// States. A crashed run is one whose process has ended without saying so: it was killed, or the machine went down.
const (
	Running     State = "running"
	Done        State = "done"
	Failed      State = "failed"
	Paused      State = "paused"
	Interrupted State = "interrupted"
	Crashed     State = "crashed"
)

// Run is a run that is kept.
type Run struct {
	Meta
	State State
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
	r := &Run{Meta: m, home: h, dir: dir}
	for _, name := range []string{metaFile, eventsFile, stepsFile, reserveFile} {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			r.Bytes += info.Size()
		}
	}
	return r, r.findState()
}

// Dir is the run's folder.
func (r *Run) Dir() string { return r.dir }

// Private is what the run was started with, secrets and all.
func (r *Run) Private() (Private, error) { return r.home.unsealPrivate(r.Meta) }

// Resumable says whether there is something left to go on with.
func (r *Run) Resumable() bool { return !r.Check && r.State != Done && r.State != Running }

func (r *Run) findState() error {
	running, err := locked(filepath.Join(r.dir, lockFile))
	if err != nil {
		return err
	}
	if last := r.Last(); last.End != nil && !running {
		r.State = stateOf(last.End.ExitCode)
		return nil
	}
	// Neither did the process say how it ended: the events may.
	r.State = Crashed
	if running {
		r.State = Running
	}
	_, err = scan(filepath.Join(r.dir, eventsFile), r.Run, nil, func(object []byte) error {
		var e struct {
			Event    string `json:"event"`
			ExitCode int    `json:"exit_code"`
		}
		if !marks(object) {
			return nil
		}
		if err := json.Unmarshal(object, &e); err != nil {
			return err
		}
		switch {
		case e.Event == "run_done":
			r.State = stateOf(e.ExitCode)
		case e.Event == "run_paused" && running:
			r.State = Paused
		case running:
			r.State = Running
		case e.Event == "run_started":
			r.State = Crashed
		}
		return nil
	})
	return err
}

// locked says whether a process holds a run's lock.
func locked(path string) (bool, error) {
	f, err := openOwn(path, os.O_RDONLY) // a home that cannot be written to can be read
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // closing lets the lock go
	return held(f)
}

// marks says whether an event is about the whole run, without a look at the rest of it.
func marks(object []byte) bool {
	return bytes.Contains(object[:min(len(object), 128)], []byte(`"event":"run_`))
}

func stateOf(code int) State {
	switch code {
	case 0:
		return Done
	case 5:
		return Paused
	case 130:
		return Interrupted
	}
	return Failed
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
	if r.State == Running || r.State == Paused {
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
