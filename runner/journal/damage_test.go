package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

func TestEntriesComeBackAsTheyWereKept(t *testing.T) {
	h, want := kept(t)
	got, found, err := read(t, h)
	require.NoError(t, err)
	assert.Equal(t, Reading{}, found)
	assert.Equal(t, want, got)
}

func TestATornEndIsLeftOutAndTheRunGoesOnBehindTheRest(t *testing.T) {
	h, want := kept(t)
	path := filepath.Join(h.folder("r1"), stepsFile)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	last := bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1
	for cut := last + 1; cut < len(whole); cut++ {
		require.NoError(t, os.WriteFile(path, whole[:cut], 0o600))
		got, found, err := read(t, h)
		require.NoError(t, err)
		assert.Equal(t, want[:len(want)-1], got)
		assert.Empty(t, found.Damage)
		if assert.NotNil(t, found.Torn, cut) {
			assert.Equal(t, int64(cut-last), found.Torn.Bytes)
		}
	}
	var before []runner.Entry
	w, torn, err := h.Resume("r1", Session{}, func(e runner.Entry) { before = append(before, e) })
	require.NoError(t, err)
	assert.Len(t, torn, 1)
	assert.Equal(t, want[:len(want)-1], before)
	require.NoError(t, w.Keep(want[len(want)-1]))
	require.NoError(t, w.Close())
	got, found, err := read(t, h)
	require.NoError(t, err)
	assert.Equal(t, Reading{}, found)
	assert.Equal(t, want, got)
}

// TestNoChangeGoesUnnoticed: whatever is done to a byte or line of what a run remembers, the entries that are read are
// those that were kept, up to where damage is told.
func TestNoChangeGoesUnnoticed(t *testing.T) {
	h, want := kept(t)
	path := filepath.Join(h.folder("r1"), stepsFile)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := bytes.SplitAfter(whole, []byte{'\n'})
	lines = lines[:len(lines)-1]
	changes := map[string][]byte{}
	for i := range whole {
		changed := slices.Clone(whole)
		changed[i] ^= 1 << (i % 8)
		changes[fmt.Sprintf("byte %d", i)] = changed
	}
	for i := range lines {
		changes[fmt.Sprintf("without line %d", i+1)] = bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil)
		changes[fmt.Sprintf("line %d twice", i+1)] = bytes.Join(slices.Insert(slices.Clone(lines), i, lines[i]), nil)
		if i > 0 {
			swapped := slices.Clone(lines)
			swapped[i], swapped[i-1] = swapped[i-1], swapped[i]
			changes[fmt.Sprintf("line %d before %d", i+1, i)] = bytes.Join(swapped, nil)
		}
	}
	delete(changes, fmt.Sprintf("without line %d", len(lines))) // as if it had not been written yet
	for what, changed := range changes {
		require.NoError(t, os.WriteFile(path, changed, 0o600))
		got, found, err := read(t, h)
		told := err != nil || len(found.Damage) > 0 || found.Torn != nil
		assert.True(t, told, "%s is not told", what)
		for _, e := range got {
			assert.Contains(t, want, e, what)
		}
		if found.Torn != nil {
			assert.Equal(t, fmt.Sprintf("byte %d", len(whole)-1), what, "only the last line's end makes it a torn one")
			continue
		}
		_, _, err = h.Resume("r1", Session{}, func(runner.Entry) {})
		var damage *DamageError
		if assert.ErrorAs(t, err, &damage, what) {
			assert.Equal(t, stepsFile, damage.File)
			assert.Positive(t, damage.Line)
		}
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

// FuzzLines: a file of anything is read to its end, within bounds, and gives no record whose checksum does not fit.
func FuzzLines(f *testing.F) {
	line, sum := appendLine(nil, []byte(`{"a":1}`), 0)
	two, _ := appendLine(slices.Clone(line), []byte(`{"b":2}`), sum)
	for _, seed := range [][]byte{line, two, two[:len(two)-3], {}, []byte("\n\n"), bytes.Repeat([]byte{0}, 100), append(slices.Clone(two), two...)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		l := newLines(bytes.NewReader(raw), "fuzz")
		var again []byte
		before := uint32(0)
		for range len(raw) + 2 {
			object, err := l.next()
			var damage *DamageError
			if errors.As(err, &damage) {
				before = l.before
				continue
			}
			if err != nil {
				return
			}
			again, before = appendLine(again[:0], object, before)
			assert.True(t, bytes.Contains(raw, again), "%q is no line of it", again)
		}
		t.Fatal("it does not come to an end")
	})
}
