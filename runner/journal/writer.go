package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/event"
)

const (
	// syncEvery is how often what was written is brought to the disk while nobody waits for it.
	syncEvery = 100 * time.Millisecond
	// gather is how long events may wait for others to be written with: nothing the run does depends on them.
	gather = 20 * time.Millisecond
	// mostPending is how many bytes may wait to be written before the run waits for the disk.
	mostPending = 8 << 20
)

// Writer keeps one run. It is safe for concurrent use.
//
// When the disk is full no act is kept any more, so the run starts nothing more (see Failed), but how what is in
// flight ends still is where it is small, in the room that was reserved for it. After any other error nothing is kept.
type Writer struct {
	home *Home
	dir  string
	lock *os.File // held while the run goes on
	meta Meta     // belongs to who creates and closes
	done *event.RunDone
	// behind is the block of the steps behind which the writer has begun.
	behind uint32

	bounds bounds

	mu      sync.Mutex // guards the fields below
	change  *sync.Cond // of written, synced, err
	events  file
	steps   file
	written uint64 // entries in the kernel's hands
	synced  uint64 // of them, on the disk
	awaited uint64 // up to where somebody waits for the disk
	told    bool   // events are in the kernel's hands that are not on the disk
	gathers bool   // events that are pending wait for others
	due     bool   // they have waited
	closed  bool
	full    error // no act is kept
	spent   error // no entry behind those written is kept
	err     error // nothing is kept

	short bool // full, for the writing goroutine

	wake, wakeSync chan struct{}
	complete       chan struct{} // closed when nothing more is written
	failed         chan struct{}
	ended          sync.WaitGroup
}

// file is one of a run's two files.
type file struct {
	*os.File
	pending []byte // records
	added   uint64 // of them, ever
	// What follows belongs to the writing goroutine: size is where the last whole block ends.
	packer packer
	block  []byte
	size   int64
	room   int // how much it may grow while the disk is full
}

// Create begins to keep a run. Its folder appears under its name when it is whole.
func (h *Home) Create(m Meta, p Private) (*Writer, error) {
	w, err := h.create(m, p)
	if err != nil {
		return nil, notKept(h.dir, plain(err))
	}
	return w, nil
}

func (h *Home) create(m Meta, p Private) (*Writer, error) {
	var err error
	m.Schema = schema
	if m.Run, err = h.reserve(m.Run); err != nil {
		return nil, err
	}
	temp := h.folder(newMark + m.Run)
	if m.Sealed, err = h.sealPrivate(m.Run, p); err != nil {
		return nil, errors.Join(err, os.Remove(temp))
	}
	w := h.newWriter(m)
	if err := w.begin(temp); err != nil {
		return nil, errors.Join(err, w.closeFiles(), os.RemoveAll(temp))
	}
	w.start()
	return w, nil
}

// reserve makes the folder in which a run begins, under a name that no run has: the one asked for, or one behind it.
// Others may begin in the same moment.
func (h *Home) reserve(run string) (string, error) {
	name := run
	for n := 2; ; n++ {
		if _, err := os.Lstat(h.folder(name)); err != nil {
			temp := h.folder(newMark + name)
			if err := os.Mkdir(temp, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return "", err
			} else if err == nil {
				if _, err := os.Lstat(h.folder(name)); err != nil {
					return name, nil
				}
				_ = os.Remove(temp) // the other has become the run of this name in between
			}
		}
		name = fmt.Sprintf("%s-%d", run, n)
	}
}

func (h *Home) newWriter(m Meta) *Writer {
	w := &Writer{home: h, dir: h.folder(m.Run), meta: m, wake: make(chan struct{}, 1), wakeSync: make(chan struct{}, 1),
		complete: make(chan struct{}), failed: make(chan struct{})}
	w.steps.room, w.events.room = roomSteps, roomEvents
	if m.Check {
		w.events.room = roomCheck
	}
	w.events.packer = packer{seed: seedOf(m.Run, eventsFile)}
	w.steps.packer = packer{seed: seedOf(m.Run, stepsFile), seal: h.sealer(m.Run)}
	w.change = sync.NewCond(&w.mu)
	return w
}

func (w *Writer) start() {
	w.ended.Add(2)
	go w.write()
	go w.sync()
}

// begin fills the folder and gives it its name.
func (w *Writer) begin(temp string) error {
	var err error
	fresh := func(name string) *os.File {
		f, e := os.OpenFile(filepath.Join(temp, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		err = errors.Join(err, e)
		return f
	}
	w.lock, w.events.File, w.steps.File = fresh(lockFile), fresh(eventsFile), fresh(stepsFile)
	if err != nil {
		return err
	}
	if held, err := hold(w.lock); err != nil || !held {
		return errors.Join(err, fmt.Errorf("%s is locked by another process", w.lock.Name()))
	}
	if err := errors.Join(reserve(temp, w.meta), writeMeta(temp, w.meta)); err != nil { // which brings the folder to the disk
		return err
	}
	if err := os.Rename(temp, w.dir); err != nil {
		return err
	}
	if w.meta.Check {
		return nil
	}
	return syncFolder(filepath.Dir(w.dir))
}

// RunningError is a run that another process carries on.
type RunningError struct{ Run string }

func (e *RunningError) Error() string {
	return fmt.Sprintf("run %s is going on in another process", e.Run)
}

// take locks a run that no process carries on, for as long as the file is open. One that goes on is a *RunningError.
func (h *Home) take(run string) (*os.File, error) {
	lock, err := openOwn(filepath.Join(h.folder(run), lockFile), os.O_RDWR)
	if err != nil {
		return nil, err
	}
	held, err := hold(lock)
	if err == nil && !held {
		err = &RunningError{run}
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// Resume goes on with a run that no process carries on any more: what is kept from now on comes behind what there is.
// The block that a power loss has left in pieces, told as torn, is removed. Damage of what the run remembers is an
// error.
func (h *Home) Resume(run string, s Session) (w *Writer, torn []*TornError, err error) {
	if err := valid(run); err != nil {
		return nil, nil, err
	}
	lock, err := h.take(run)
	if err != nil {
		return nil, nil, err
	}
	m, err := readMeta(h.folder(run)) // not before: who carried it on until now may have written it only then
	if err != nil {
		return nil, nil, errors.Join(err, lock.Close())
	}
	w = h.newWriter(m)
	w.lock = lock
	if torn, err = w.goOn(); err == nil {
		w.meta.Sessions = append(w.meta.Sessions, s)
		err = w.beginAgain()
	}
	if err != nil {
		return nil, torn, errors.Join(err, w.closeFiles())
	}
	w.start()
	return w, torn, nil
}

// goOn opens the files of a run to write behind their last whole blocks.
func (w *Writer) goOn() (torn []*TornError, err error) {
	for _, f := range []struct {
		*file
		name string
	}{{&w.steps, stepsFile}, {&w.events, eventsFile}} {
		s, err := scan(filepath.Join(w.dir, f.name), w.meta.Run, nil, nil)
		if err != nil {
			return torn, err
		}
		if s.torn != nil {
			torn = append(torn, s.torn)
		}
		s.reaches(f.name, w.meta.blocks(f.name))
		if f.name == stepsFile && len(s.damage) > 0 {
			return torn, s.damage[0]
		}
		if err := f.goOn(filepath.Join(w.dir, f.name), s); err != nil {
			return torn, err
		}
		// Blocks that were cut off stay missing: their numbers are not given a second time.
		f.packer.number = max(s.number, w.meta.blocks(f.name))
	}
	w.behind = w.steps.packer.number
	return torn, nil
}

// beginAgain takes the room that the end needs, and writes down that the run is gone on with.
func (w *Writer) beginAgain() error {
	err := errors.Join(reserve(w.dir, w.meta), writeMeta(w.dir, w.meta))
	if err == nil {
		return nil
	}
	w.release(reserveFile)
	w.release(endFile)
	return fmt.Errorf("run %s cannot be gone on with, as its journal in %s cannot be written: %w", w.meta.Run, w.dir, plain(err))
}

// goOn opens a file to write behind its last whole block.
func (f *file) goOn(path string, s scanned) (err error) {
	if f.File, err = openOwn(path, os.O_RDWR); err != nil {
		return err
	}
	f.size = s.size
	return f.Truncate(s.size)
}

// Follows says whether the writer goes on right behind what a reading of the run's entries has read.
func (w *Writer) Follows(r Reading) bool { return w.behind == r.blocks }

// Run is the name of the run.
func (w *Writer) Run() string { return w.meta.Run }

// Dir is the run's folder. It is private; what belongs to the run while it goes on may be put there.
func (w *Writer) Dir() string { return w.dir }

// Failed is closed when the run must come to an end because it can no longer be kept. Err says why.
func (w *Writer) Failed() <-chan struct{} { return w.failed }

// Err says why the run can no longer be kept; nil while it can.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	return w.full
}

// Record keeps an event.
func (w *Writer) Record(r event.Record) {
	if e, ok := r.Event.(event.RunDone); ok {
		w.done = &e
	}
	raw, err := w.bounds.event(r)
	if err != nil {
		w.fail(err)
		return
	}
	if _, err := w.add(&w.events, raw); err == nil { // else Failed says it
		w.gather()
	}
}

// Keep keeps an entry. What it holds besides its place is sealed.
func (w *Writer) Keep(e runner.Entry) error {
	if e.Kind == runner.EntryActing {
		w.mu.Lock()
		full := w.full
		w.mu.Unlock()
		if full != nil {
			return full
		}
	}
	raw, err := writeEntry(w.bounds.entry(e))
	if err != nil {
		return err
	}
	n, err := w.add(&w.steps, raw)
	if err != nil {
		return err
	}
	if e.Soon {
		nudge(w.wake)
		return nil
	}
	return w.await(n, e.Durable)
}

// add hands a record over to be written, and says how many records of its file that makes. It waits only when the disk
// is far behind.
func (w *Writer) add(to *file, record []byte) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.err == nil && !w.closed && len(w.events.pending)+len(w.steps.pending) > mostPending {
		w.change.Wait()
	}
	if w.closed && w.err == nil {
		return 0, os.ErrClosed
	}
	if w.err != nil {
		return 0, w.err
	}
	if w.spent != nil && to == &w.steps {
		return 0, w.spent
	}
	to.pending = append(append(to.pending, record...), '\n')
	to.added++
	return to.added, nil
}

// gather has the events that are pending written when they have waited for others.
func (w *Writer) gather() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case len(w.events.pending) > anewAfter:
		w.due = true
		nudge(w.wake)
	case !w.gathers:
		w.gathers = true
		time.AfterFunc(gather, w.gathered)
	}
}

func (w *Writer) gathered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.due = true
	nudge(w.wake)
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// await returns when the entries up to the nth are in the kernel's hands, or on the disk.
func (w *Writer) await(n uint64, onDisk bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	nudge(w.wake)
	safe := &w.written
	if onDisk {
		safe, w.awaited = &w.synced, max(w.awaited, n)
	}
	for *safe < n && w.err == nil && w.spent == nil {
		w.change.Wait()
	}
	if w.err == nil && *safe < n {
		return w.spent
	}
	return w.err
}

// Close brings everything to the disk and ends the run's journal.
func (w *Writer) Close() error {
	w.mu.Lock()
	w.closed = true
	w.change.Broadcast()
	w.mu.Unlock()
	nudge(w.wake)
	w.ended.Wait()
	err := w.Err()
	w.release(reserveFile)
	w.release(endFile)
	if w.done != nil && w.whole() {
		end := endOf(*w.done)
		end.Blocks = map[string]uint32{eventsFile: w.events.packer.number, stepsFile: w.steps.packer.number}
		w.meta.Sessions[len(w.meta.Sessions)-1].End = end
		err = errors.Join(err, plain(writeMeta(w.dir, w.meta)))
	}
	return errors.Join(err, w.closeFiles())
}

// whole says whether what was written can be relied on: nothing went wrong but that the disk was full.
func (w *Writer) whole() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err == nil
}

func endOf(d event.RunDone) *End {
	e := &End{Time: time.Now().UTC(), ExitCode: d.ExitCode, Message: d.Message, Hosts: len(d.Recap)}
	for _, c := range d.Recap {
		if c.Changed > 0 {
			e.Changed++
		}
		if c.Failed+c.Unreachable > 0 {
			e.Lost++
		}
	}
	return e
}

func (w *Writer) closeFiles() error {
	var errs []error
	for _, f := range []*os.File{w.events.File, w.steps.File, w.lock} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// fail keeps nothing more.
func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tellFailed()
	if w.err == nil {
		w.err = fmt.Errorf("the journal in %s cannot be written: %w", w.dir, plain(err))
	}
	w.change.Broadcast()
}

// tellFailed has the run come to an end; w.mu is held, and neither full nor err is set for what is told.
func (w *Writer) tellFailed() {
	if w.err == nil && w.full == nil {
		close(w.failed)
	}
}

// write brings records into the kernel's hands, all that are to be written at a time.
func (w *Writer) write() {
	defer w.ended.Done()
	defer close(w.complete)
	var events, steps []byte // taken in turn with the pending ones
	for range w.wake {
		w.mu.Lock()
		n, closed := w.steps.added, w.closed
		if w.spent != nil {
			w.steps.pending = w.steps.pending[:0]
		}
		steps, w.steps.pending = w.steps.pending, steps[:0]
		if events = events[:0]; w.due || closed {
			events, w.events.pending = w.events.pending, events
			w.due, w.gathers = false, false
		}
		w.mu.Unlock()
		if closed {
			w.release(endFile)
		}
		if err := errors.Join(w.put(&w.events, events), w.put(&w.steps, steps)); err != nil {
			w.fail(err)
			return
		}
		w.mu.Lock()
		if w.spent != nil {
			n = w.written
		}
		w.written, w.told = n, w.told || len(events) > 0
		urgent := w.awaited > w.synced
		w.change.Broadcast()
		w.mu.Unlock()
		if closed {
			return
		}
		if urgent {
			nudge(w.wakeSync)
		}
	}
}

// sync brings what is written to the disk: at once where somebody waits for it, else now and then.
func (w *Writer) sync() {
	defer w.ended.Done()
	timer := time.NewTicker(syncEvery)
	defer timer.Stop()
	for {
		select {
		case <-w.wakeSync:
		case <-timer.C:
		case <-w.complete:
			w.syncNow()
			return
		}
		if !w.syncNow() {
			return
		}
	}
}

func (w *Writer) syncNow() bool {
	w.mu.Lock()
	n, known, told := w.written, w.synced, w.told
	w.told = false
	w.mu.Unlock()
	if n == known && !told {
		return true
	}
	var err error
	if told && !w.meta.Check {
		err = w.events.Sync()
	}
	if n != known && !w.meta.Check {
		err = errors.Join(err, w.steps.Sync())
	}
	if err != nil {
		w.fail(err)
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.synced = n
	w.change.Broadcast()
	return true
}
