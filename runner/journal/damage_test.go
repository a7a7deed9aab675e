package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner"
	"github.com/pegbook/pegbook/runner/event"
)

// kept keeps a small run and gives its home and the entries.
func kept(t *testing.T) (*Home, []runner.Entry) {
	t.Helper()
	h := home(t)
	w := create(t, h, "r1")
	w.Record(event.Record{Seq: 1, Time: time.Unix(0, 0), Event: event.RunStarted{Run: "r1"}})
	entries := []runner.Entry{
		{Kind: runner.EntryUsed, Place: "site.yml", State: json.RawMessage(`{"id":1}`)},
		{Kind: runner.EntryActing, Place: "0.1", Host: "h1", Task: "first"},
		{Kind: runner.EntryDone, Place: "0.1", Host: "h1", Task: "first", Item: 2, State: json.RawMessage(`{"a":"b\"c"}`), Private: true},
		{Kind: runner.EntryDecided, Place: "0.2 gate", Host: "", State: json.RawMessage(`"yes"`)},
		{Kind: runner.EntryDone, Place: "0.3", Host: `odd "host"`, Task: "sec\"ond", State: json.RawMessage(`{}`)},
		{Kind: runner.EntryForgotten, Place: "0.1", Host: "h1", Task: "first"},
	}
	for _, e := range entries {
		require.NoError(t, w.Keep(e))
	}
	require.NoError(t, w.Close())
	return h, entries
}

func read(t *testing.T, h *Home) ([]runner.Entry, Reading, error) {
	t.Helper()
	r, err := h.Open("r1")
	require.NoError(t, err)
	var got []runner.Entry
	found, err := r.Entries(func(e runner.Entry) error {
		got = append(got, e)
		return nil
	})
	return got, found, err
}

// parts are the blocks of a file of a run, as they lie there.
func parts(t *testing.T, path, run string) [][]byte {
	t.Helper()
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	b := newBlocks(bytes.NewReader(whole), int64(len(whole)), run, filepath.Base(path))
	var all [][]byte
	for {
		start := b.off
		if _, _, err := b.next(); errors.Is(err, io.EOF) {
			return all
		} else {
			require.NoError(t, err)
		}
		all = append(all, whole[start:b.off])
	}
}

func TestItemsOfALoopAreNotRememberedAsSteps(t *testing.T) {
	h := home(t)
	w := create(t, h, "r1")
	for _, item := range []int{1, 2, 0} {
		require.NoError(t, w.Keep(runner.Entry{Kind: runner.EntryDone, Place: "0.1", Host: "h1", Item: item, State: json.RawMessage(`{}`)}))
	}
	require.NoError(t, w.Close())
	r, err := h.Open("r1")
	require.NoError(t, err)
	s, err := r.Standing()
	require.NoError(t, err)
	assert.Equal(t, 1, s.Remembers)
}

func TestEntriesComeBackAsTheyWereKept(t *testing.T) {
	h, want := kept(t)
	got, found, err := read(t, h)
	require.NoError(t, err)
	assert.Equal(t, Reading{blocks: uint32(len(want))}, found)
	assert.Equal(t, want, got)
}

func TestATornEndIsLeftOutAndTheRunGoesOnBehindTheRest(t *testing.T) {
	h, want := kept(t)
	path := filepath.Join(h.folder("r1"), stepsFile)
	blocks := parts(t, path, "r1")
	whole, last := bytes.Join(blocks, nil), blocks[len(blocks)-1]
	before := len(whole) - len(last)
	for cut := 1; cut < len(last); cut++ {
		for what, left := range map[string][]byte{"cut": last[:cut], "zeros": append(slices.Clone(last[:cut]), make([]byte, len(last)-cut)...)} {
			if what == "zeros" && cut > 3 && cut < headLen || bytes.Equal(left, last) {
				continue // half a head is damage
			}
			if what == "zeros" && cut < headLen {
				left = make([]byte, len(last))
			}
			require.NoError(t, os.WriteFile(path, append(slices.Clone(whole[:before]), left...), 0o600))
			got, found, err := read(t, h)
			require.NoError(t, err)
			assert.Equal(t, want[:len(want)-1], got)
			assert.Empty(t, found.Damage)
			if assert.NotNil(t, found.Torn, "%s at %d", what, cut) {
				assert.Equal(t, int64(len(left)), found.Torn.Bytes)
			}
		}
	}
	w, torn, err := h.Resume("r1", Session{})
	require.NoError(t, err)
	assert.Len(t, torn, 1)
	require.NoError(t, w.Keep(want[len(want)-1]))
	require.NoError(t, w.Close())
	got, found, err := read(t, h)
	require.NoError(t, err)
	assert.Equal(t, Reading{blocks: uint32(len(want))}, found)
	assert.Equal(t, want, got)
}

// TestNoChangeGoesUnnoticed: whatever is done to a byte or block of what a run remembers, the entries that are read are
// those that were kept, up to where damage is told.
func TestNoChangeGoesUnnoticed(t *testing.T) {
	h, want := kept(t)
	other, _ := kept(t)
	path := filepath.Join(h.folder("r1"), stepsFile)
	blocks := parts(t, path, "r1")
	whole := bytes.Join(blocks, nil)
	changes := map[string][]byte{}
	for i := range whole {
		changed := slices.Clone(whole)
		changed[i] ^= 1 << (i % 8)
		changes[fmt.Sprintf("byte %d", i)] = changed
	}
	for i := range blocks {
		changes[fmt.Sprintf("without block %d", i+1)] = bytes.Join(slices.Delete(slices.Clone(blocks), i, i+1), nil)
		changes[fmt.Sprintf("block %d twice", i+1)] = bytes.Join(slices.Insert(slices.Clone(blocks), i, blocks[i]), nil)
		if i > 0 {
			swapped := slices.Clone(blocks)
			swapped[i], swapped[i-1] = swapped[i-1], swapped[i]
			changes[fmt.Sprintf("block %d before %d", i+1, i)] = bytes.Join(swapped, nil)
		}
	}
	events, err := os.ReadFile(filepath.Join(h.folder("r1"), eventsFile))
	require.NoError(t, err)
	changes["the run's events"] = events
	delete(changes, fmt.Sprintf("without block %d", len(blocks))) // as if it had not been written yet
	for what, changed := range changes {
		require.NoError(t, os.WriteFile(path, changed, 0o600))
		got, found, err := read(t, h)
		require.NoError(t, err, what)
		assert.NotEmpty(t, found.Damage, "%s is not told", what)
		assert.Nil(t, found.Torn, what)
		for _, e := range got {
			assert.Contains(t, want, e, what)
		}
		_, _, err = h.Resume("r1", Session{})
		var damage *DamageError
		if assert.ErrorAs(t, err, &damage, what) {
			assert.Equal(t, stepsFile, damage.File)
			assert.Positive(t, damage.Block)
		}
	}
	theirs, err := os.ReadFile(filepath.Join(other.folder("r1"), stepsFile))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, theirs, 0o600))
	_, _, err = read(t, h)
	assert.ErrorIs(t, err, ErrSealed, "steps of the run of another home")
}

// TestAFileThatWasCutAfterTheEndIsTold: at whatever byte, between two blocks as well, where a run that crashed could
// simply not have written more.
func TestAFileThatWasCutAfterTheEndIsTold(t *testing.T) {
	h := home(t)
	w := create(t, h, "r1")
	for i := range 3 {
		require.NoError(t, w.Keep(runner.Entry{Kind: runner.EntryActing, Place: fmt.Sprint(i), Host: "h1"}))
	}
	w.Record(event.Record{Seq: 1, Time: time.Unix(0, 0), Event: event.RunDone{ExitCode: 2}})
	require.NoError(t, w.Close())
	path := filepath.Join(h.folder("r1"), stepsFile)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	_, found, err := read(t, h)
	require.NoError(t, err)
	require.Empty(t, found.Damage)
	for size := range whole {
		require.NoError(t, os.WriteFile(path, whole[:size], 0o600))
		_, found, err := read(t, h)
		require.NoError(t, err)
		assert.Nil(t, found.Torn, "cut at %d", size)
		assert.NotEmpty(t, found.Damage, "cut at %d", size)
		_, _, err = h.Resume("r1", Session{})
		var damage *DamageError
		assert.ErrorAs(t, err, &damage, "cut at %d", size)
	}
}

// TestARefusedRunStaysAsItIs: what is damaged may be mended from a copy, as long as nobody has cut off what lies behind.
func TestARefusedRunStaysAsItIs(t *testing.T) {
	h, _ := kept(t)
	path := filepath.Join(h.folder("r1"), stepsFile)
	blocks := parts(t, path, "r1")
	require.Greater(t, len(blocks), 3)
	damaged := slices.Concat(append([][]byte{blocks[0]}, blocks[2:]...)...)
	require.NoError(t, os.WriteFile(path, damaged, 0o600))
	_, _, err := h.Resume("r1", Session{})
	var damage *DamageError
	require.ErrorAs(t, err, &damage)
	left, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, damaged, left)
}

// TestEventsThatWereCutOffStayMissing when the run was gone on with.
func TestEventsThatWereCutOffStayMissing(t *testing.T) {
	h := home(t)
	record := func(w *Writer) {
		for i := range 3 {
			w.Record(event.Record{Seq: int64(i), Time: time.Unix(0, 0), Event: event.RunDone{ExitCode: 2, Message: strings.Repeat("x", anewAfter)}})
		}
		require.NoError(t, w.Close())
	}
	record(create(t, h, "r1"))
	path := filepath.Join(h.folder("r1"), eventsFile)
	blocks := parts(t, path, "r1")
	require.NoError(t, os.Truncate(path, int64(len(slices.Concat(blocks[:len(blocks)-1]...)))))
	w, _, err := h.Resume("r1", Session{})
	require.NoError(t, err)
	record(w)
	r, err := h.Open("r1")
	require.NoError(t, err)
	found, err := r.Events(func(event.Record) error { return nil })
	require.NoError(t, err)
	assert.NotEmpty(t, found.Damage)
}

func TestNoChangeOfWhatARunWasStartedWithGoesUnnoticed(t *testing.T) {
	h, _ := kept(t)
	path := filepath.Join(h.folder("r1"), metaFile)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	want, err := readMeta(h.folder("r1"))
	require.NoError(t, err)
	for i := range whole {
		changed := slices.Clone(whole)
		changed[i] ^= 1 << (i % 7)
		require.NoError(t, os.WriteFile(path, changed, 0o600))
		if got, err := readMeta(h.folder("r1")); err == nil {
			assert.Equal(t, want, got, "byte %d", i) // a blank for another
		}
	}
}

// TestDamageLosesNoMoreThanWhatIsNear: behind a place that cannot be read the events are read again.
func TestDamageLosesNoMoreThanWhatIsNear(t *testing.T) {
	h := home(t)
	w := create(t, h, "r1")
	const all = 5000
	for n := range all {
		w.Record(event.Record{Seq: int64(n + 1), Time: time.Now(), Event: event.TaskDone{Task: fmt.Sprint("task ", n), Host: "h", Msg: strings.Repeat(fmt.Sprint(n), 30)}})
	}
	require.NoError(t, w.Close())
	path := filepath.Join(h.folder("r1"), eventsFile)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, at := range []int{5, headLen + 3, len(whole) / 2} {
		changed := slices.Clone(whole)
		changed[at] ^= 1
		require.NoError(t, os.WriteFile(path, changed, 0o600))
		r, err := h.Open("r1")
		require.NoError(t, err)
		n, last := 0, int64(0)
		found, err := r.Events(func(e event.Record) error {
			assert.Greater(t, e.Seq, last)
			n, last = n+1, e.Seq
			return nil
		})
		require.NoError(t, err)
		if assert.Len(t, found.Damage, 1) {
			assert.LessOrEqual(t, found.Damage[0].Offset, int64(at))
			assert.Contains(t, found.Damage[0].Error(), "bytes from there are left out")
		}
		assert.Equal(t, int64(all), last)
		assert.Greater(t, n, all/2)
		assert.Less(t, n, all)
	}
}

func TestWithoutTheKeyNothingPrivateIsRead(t *testing.T) {
	h, _ := kept(t)
	require.NoError(t, os.Remove(filepath.Join(h.dir, keyFile)))
	h, err := OpenHome(h.dir)
	require.NoError(t, err)
	_, _, err = read(t, h)
	assert.ErrorIs(t, err, ErrSealed)
	r, err := h.Open("r1")
	require.NoError(t, err)
	_, err = r.Private()
	assert.ErrorIs(t, err, ErrSealed)
	_, err = r.Events(func(event.Record) error { return nil })
	assert.NoError(t, err)
}

// FuzzBlocks: a file of anything is read to its end, within bounds, and gives nothing whose checksum does not fit.
func FuzzBlocks(f *testing.F) {
	p := packer{seed: seedOf("r1", eventsFile)}
	one := p.block(nil, []byte("{\"a\":1}\n"))
	two := p.block(slices.Clone(one), []byte("{\"b\":2}\n"))
	for _, seed := range [][]byte{one, two, two[:len(two)-3], {}, bytes.Repeat([]byte{0}, 100), append(slices.Clone(two), two...), append([]byte("pgb*"), two...)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b := newBlocks(bytes.NewReader(raw), int64(len(raw)), "r1", eventsFile)
		var u unpacker
		for range 2*len(raw) + 2 {
			h, body, err := b.next()
			var damage *DamageError
			if errors.As(err, &damage) {
				continue
			}
			if err != nil {
				return
			}
			block := append(h.put(nil, b.seed), body...)
			assert.True(t, bytes.Contains(raw, append(binary.BigEndian.AppendUint32(block, checksum(h.sum, body)), end)), "%q is no block of it", block)
			if h.unpacked < 1<<16 {
				_, _ = u.records(h, body)
			}
		}
		t.Fatal("it does not come to an end")
	})
}
