package journal

import (
	"errors"
	"fmt"
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
	// mostPending is how many bytes may wait to be written before the run waits for the disk.
	mostPending = 8 << 20
)

// Writer keeps one run. It is safe for concurrent use. The first error of writing stays: nothing is kept after it,
// and Failed says so to the run.
type Writer struct {
	home *Home
	dir  string
	run  string
	lock *os.File // held while the run goes on

	mu      sync.Mutex // guards the fields below
	change  *sync.Cond // of written, synced, err
	events  file
	steps   file
	added   uint64 // records
	written uint64 // of them, in the kernel's hands
	synced  uint64 // of them, on the disk
	awaited uint64 // up to where somebody waits for the disk
	closed  bool
	err     error

	wake, wakeSync chan struct{}
	complete       chan struct{} // closed when nothing more is written
	failed         chan struct{}
	ended          sync.WaitGroup
}

// file is one of a run's two files. size is where its last whole record ends.
type file struct {
	*os.File
	pending []byte
	size    int64
}

// Create begins to keep a run. Its folder appears under its name when it is whole.
func (h *Home) Create(m Meta, p Private) (*Writer, error) {
	w, err := h.create(m, p)
	if err != nil {
		return nil, notKept(h.dir, err)
	}
	return w, nil
}

func (h *Home) create(m Meta, p Private) (*Writer, error) {
	var err error
	m.Schema = schema
	if m.Sealed, err = h.sealPrivate(m.Run, p); err != nil {
		return nil, err
	}
	temp := h.folder(newMark + m.Run)
	if err := os.Mkdir(temp, 0o700); err != nil {
		return nil, err
	}
	w := &Writer{home: h, dir: h.folder(m.Run), run: m.Run, wake: make(chan struct{}, 1), wakeSync: make(chan struct{}, 1),
		complete: make(chan struct{}), failed: make(chan struct{})}
	w.change = sync.NewCond(&w.mu)
	if err := w.begin(temp, m); err != nil {
		return nil, errors.Join(err, w.closeFiles(), os.RemoveAll(temp))
	}
	w.ended.Add(2)
	go w.write()
	go w.sync()
	return w, nil
}

// begin fills the folder and gives it its name.
func (w *Writer) begin(temp string, m Meta) error {
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
	if err := writeMeta(temp, m); err != nil {
		return err
	}
	if _, err := os.Lstat(w.dir); err == nil {
		return fmt.Errorf("there is a run called %s already", m.Run)
	}
	if err := os.Rename(temp, w.dir); err != nil {
		return err
	}
	return errors.Join(syncFolder(w.dir), syncFolder(filepath.Dir(w.dir)))
}

// Dir is the run's folder. It is private; what belongs to the run while it goes on may be put there.
func (w *Writer) Dir() string { return w.dir }

// Failed is closed when nothing more can be kept.
func (w *Writer) Failed() <-chan struct{} { return w.failed }

// Err says why nothing more can be kept.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Record keeps an event.
func (w *Writer) Record(r event.Record) {
	raw, err := r.MarshalJSON()
	if err != nil {
		w.fail(err)
		return
	}
	w.add(&w.events, raw) //nolint:errcheck // Failed says it
}

// Keep keeps an entry. What it holds besides its place is sealed.
func (w *Writer) Keep(e runner.Entry) error {
	raw, err := w.home.key.sealEntry(e)
	if err != nil {
		return err
	}
	n, err := w.add(&w.steps, raw)
	if err != nil {
		return err
	}
	return w.await(n, e.Durable)
}

// add hands a record over to be written. It waits only when the disk is far behind.
func (w *Writer) add(to *file, object []byte) (uint64, error) {
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
	to.pending = appendLine(to.pending, object)
	w.added++
	nudge(w.wake)
	return w.added, nil
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// await returns when the records up to the nth are in the kernel's hands, or on the disk.
func (w *Writer) await(n uint64, onDisk bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	safe := &w.written
	if onDisk {
		safe, w.awaited = &w.synced, max(w.awaited, n)
		if w.written >= n {
			nudge(w.wakeSync)
		}
	}
	for *safe < n && w.err == nil {
		w.change.Wait()
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
	return errors.Join(err, w.closeFiles())
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

func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = fmt.Errorf("the journal cannot be kept any more: %w", err)
		close(w.failed)
	}
	w.change.Broadcast()
}

// write brings records into the kernel's hands, all that wait at a time.
func (w *Writer) write() {
	defer w.ended.Done()
	defer close(w.complete)
	var events, steps []byte // taken in turn with the pending ones
	for range w.wake {
		w.mu.Lock()
		events, w.events.pending = w.events.pending, events[:0]
		steps, w.steps.pending = w.steps.pending, steps[:0]
		n, closed := w.added, w.closed
		w.mu.Unlock()
		// Events first: what is remembered as done has been said to be done.
		if err := errors.Join(w.events.append(events), w.steps.append(steps)); err != nil {
			w.fail(err)
			return
		}
		w.mu.Lock()
		w.written = n
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

func (f *file) append(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if _, err := f.WriteAt(b, f.size); err != nil {
		// Half a record must not stay.
		return errors.Join(err, f.Truncate(f.size))
	}
	f.size += int64(len(b))
	return nil
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
	n, known := w.written, w.synced
	w.mu.Unlock()
	if n == known {
		return true
	}
	if err := errors.Join(w.events.Sync(), w.steps.Sync()); err != nil {
		w.fail(err)
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.synced = n
	w.change.Broadcast()
	return true
}
