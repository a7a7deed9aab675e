package journal

import (
	"encoding/json"
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

var (
	_ runner.Recorder = (*Writer)(nil)
	_ event.Sink      = (*Writer)(nil)
)

func home(t *testing.T) *Home {
	t.Helper()
	h, err := OpenHome(filepath.Join(t.TempDir(), "home"))
	require.NoError(t, err)
	return h
}

func create(t *testing.T, h *Home, run string) *Writer {
	t.Helper()
	w, err := h.Create(Meta{Run: run, Sessions: []Session{{Started: time.Unix(0, 0).UTC()}}}, Private{Argv: []string{"pegbook", "run", "-e", "p=s3cret"}})
	require.NoError(t, err)
	return w
}

func TestAnEntryIsWrittenWhenKeepReturns(t *testing.T) {
	for _, durable := range []bool{false, true} {
		h := home(t)
		w := create(t, h, "r1")
		want := runner.Entry{Kind: runner.EntryActing, Place: "0", Host: "h"}
		for n := range 3 { // what is deflated together with what was there before, too
			kept := want
			kept.Durable = durable
			require.NoError(t, w.Keep(kept))
			got, found, err := read(t, h)
			require.NoError(t, err)
			assert.Equal(t, slices.Repeat([]runner.Entry{want}, n+1), got)
			assert.Empty(t, found.Damage)
			assert.Nil(t, found.Torn)
		}
		require.NoError(t, w.Close())
	}
}

func TestWhatIsPrivateIsNotReadableInTheFolder(t *testing.T) {
	w := create(t, home(t), "r1")
	require.NoError(t, w.Keep(runner.Entry{Kind: runner.EntryDone, Task: "set s3cret", State: json.RawMessage(`{"password":"s3cret"}`)}))
	require.NoError(t, w.Close())
	files, err := filepath.Glob(filepath.Join(w.Dir(), "*"))
	require.NoError(t, err)
	assert.NotEmpty(t, files)
	for _, f := range files {
		raw, err := os.ReadFile(f)
		require.NoError(t, err)
		assert.NotContains(t, string(raw), "s3cret", f)
	}
}
