package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/event"
)

// When the disk is full no act is kept any more, so none begins, but what is in flight ends, and how it does is worth
// keeping. Room for that was taken beforehand. Half of it is the steps', so that a large result does not take what the
// events, and the run's end, need. Of results only small ones are kept: the other ones count as not ended for whoever
// goes on with the run.
const (
	reserveFile = "reserve"
	endFile     = "reserve-end"
	roomSteps   = 512 << 10
	roomEvents  = 256 << 10
	// roomEnd is for the last event and run.json. It is given back no sooner than these are written: others fill the
	// disk, too.
	roomEnd = 256 << 10
	// roomCheck is for each of these two in a dry run.
	roomCheck = 64 << 10
	// alwaysSmall is what a result may be in any case. What may be larger is an eighth of the room that is left.
	alwaysSmall = 4 << 10
)

// reserve takes the room that the end of a run needs. A dry run has no results to keep, and begins the sooner the less it
// takes.
func reserve(dir string, m Meta) error {
	first, last := roomSteps+roomEvents, roomEnd
	if m.Check {
		first, last = roomCheck, roomCheck
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, reserveFile), make([]byte, first), 0o600),
		os.WriteFile(filepath.Join(dir, endFile), make([]byte, last), 0o600))
}

// release gives reserved room back; false when it was not there any more.
func (w *Writer) release(name string) bool { return os.Remove(filepath.Join(w.dir, name)) == nil }

func noRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// put writes records behind the others. Half a block does not stay.
func (w *Writer) put(f *file, records []byte) error {
	if len(records) == 0 {
		return nil
	}
	if err := w.gone(f); err != nil {
		return err
	}
	if !w.short {
		err := f.append(records)
		if !noRoom(err) || !w.release(reserveFile) {
			return err
		}
		w.short = true
		w.fill(err)
	}
	err := w.putSmall(f, records)
	if noRoom(err) {
		w.spend(err)
		return nil
	}
	return err
}

// putSmall writes on a full disk what is small, into the room that the file has left. Events that do not fit are left
// out: how the run ends has room of its own.
func (w *Writer) putSmall(f *file, records []byte) error {
	small := smallEvent
	if f == &w.steps {
		small = smallStep
	}
	for record := range bytes.Lines(records) {
		record, essential, err := small(record, max(alwaysSmall, min(smallState, f.room/8)))
		if err == nil && len(record) > f.room && !essential {
			err = syscall.ENOSPC
		}
		if err == nil && len(record) > 0 {
			before := f.size
			err = f.append(record)
			f.room -= int(f.size - before)
		}
		if err != nil && (f == &w.steps || !noRoom(err)) {
			return err
		}
	}
	return nil
}

// smallStep gives an entry's record as it is kept on a full disk: of a result that is large only that there is one.
func smallStep(record []byte, most int) (_ []byte, essential bool, _ error) {
	if len(record) <= most {
		return record, false, nil
	}
	var s stepRecord
	if err := json.Unmarshal(record, &s); err != nil || s.Kind != runner.EntryDone {
		return record, false, err
	}
	raw, err := writeEntry(runner.Entry{Kind: entryCut, Place: s.Place, Host: s.Host, Item: s.Item, Task: s.Task, State: digestOf(s.State)})
	return append(raw, '\n'), false, err
}

// smallEvent gives an event's record as it is kept on a full disk: nothing of what tasks tell on their way.
func smallEvent(record []byte, most int) (_ []byte, essential bool, _ error) {
	r, err := event.Parse(bytes.TrimSuffix(record, []byte{'\n'}))
	if err != nil {
		return nil, false, err
	}
	switch r.Event.(type) {
	case event.Noted:
		return nil, false, nil
	case event.RunDone, event.RunPaused:
		return record, true, nil
	}
	if len(record) <= most {
		return record, false, nil
	}
	r.Event = cutEvent(r.Event, most)
	raw, err := r.MarshalJSON()
	if err == nil && len(raw) > most && !ownWords(r.Event) {
		raw, err = cutRecord(raw, most)
	}
	return append(raw, '\n'), false, err
}

// append writes records behind the others, as a block.
func (f *file) append(records []byte) error {
	f.block = f.packer.block(f.block[:0], records)
	_, err := f.WriteAt(f.block, f.size)
	if err != nil {
		f.packer.undo()
		return errors.Join(plain(err), plain(f.Truncate(f.size)))
	}
	f.size += int64(len(f.block))
	return nil
}

// plain is an error without the path of the file, which was another one when the file was made.
func plain(err error) error {
	var at *os.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// gone says that the run's folder was removed while the run goes on.
func (w *Writer) gone(f *file) error {
	info, err := f.Stat()
	if err != nil {
		return plain(err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink == 0 {
		return runner.ErrRecordGone
	}
	return nil
}

// fill keeps no act any more.
func (w *Writer) fill(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tellFailed()
	w.full = fmt.Errorf("the journal in %s cannot grow: %w; make room first", w.dir, err)
}

// spend keeps no entry any more: how steps end that are in flight is not known to whoever goes on with the run.
func (w *Writer) spend(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.spent == nil {
		w.spent = fmt.Errorf("the journal in %s has no room left: %w", w.dir, err)
	}
	w.change.Broadcast()
}
