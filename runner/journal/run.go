package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	f, err := openOwn(path, os.O_RDWR)
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
	return r.read(eventsFile, nil, func(object []byte) error {
		rec, err := event.Parse(object)
		if err != nil {
			return err
		}
		return take(rec)
	})
}

// Used are all inputs: those that the run was started with, and the templates and files that its tasks have used.
func (r *Run) Used() ([]Input, error) {
	all := slices.Clone(r.Inputs)
	known := map[string]bool{}
	for _, in := range all {
		known[in.Path] = true
	}
	_, err := r.Entries(func(e runner.Entry) error {
		if e.Kind != runner.EntryUsed || known[e.Place] {
			return nil
		}
		var u struct {
			What   string `json:"what"`
			SHA256 string `json:"sha256"`
			Bytes  int64  `json:"bytes"`
		}
		if err := json.Unmarshal(e.State, &u); err != nil {
			return fmt.Errorf("the run has used %s: %w", e.Place, err)
		}
		if u.What != "var" { // a variable's digest stays sealed: what it holds could be guessed
			known[e.Place] = true
			all = append(all, Input{What: u.What, Path: e.Place, Digest: u.SHA256, Bytes: u.Bytes})
		}
		return nil
	})
	return all, err
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
